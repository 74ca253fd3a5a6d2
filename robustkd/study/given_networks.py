"""Networks that the user gives as files: a trained teacher, and first weights of the students.

A model.pt holds a network with its name, its classes and the preparation of its images. A file of weights alone needs the
network's name: `--teacher-net`, or that of the student. Its classes are known by their number only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from robustkd import seeds
from robustkd.data.view import Source
from robustkd.errors import UsageError
from robustkd.models import MODELS
from robustkd.models.class_order import find_class_order, reorder_outputs
from robustkd.models.net import Network
from robustkd.models.weight_files import read_model_card, read_state_dict
from robustkd.models.weight_sources import with_checkpoint
from robustkd.study.construct import build_role_network
from robustkd.study.image_sizes import resolve_study_sizes
from robustkd.study.options import StudyOptions
from robustkd.study.plan import Plan, Run
from robustkd.study.results import TEACHER
from robustkd.training import checkpoint


def load_given_network(plan: Plan, file: Path, source: Source, role: str) -> Network:
    """Load a role's model.pt, or the weights of a teacher, onto the plan's device, its outputs in the order of the classes.

    Raises:
        UsageError: the file cannot be used, or the network does not fit the study's images or classes.
    """
    options, context = plan.options, str(file)
    if read_model_card(file) is None:
        context = f"--teacher {options.teacher}"
        net = build_role_network(source, TEACHER, plan.settings, weights=file, word=options.teacher_net)
        if net.replaced_head is not None:
            theirs = f"a head for {net.replaced_head} classes" if net.replaced_head else "no head"
            raise UsageError(
                f"{context}: it has {theirs}, but the data set has {len(source.classes)} classes; to train it"
                f" further, give it as weights, as in --teacher '{options.teacher_net}(checkpoint={options.teacher})'"
            )
        card: dict[str, Any] = weights_card(source)
    else:
        net, card = checkpoint.load_net(file, plan.settings.bf16_of(role))
        if tuple(card["shape"]) != source.shape:
            net.image_size = net.image_size or card["shape"][1]
    reorder_outputs(context, net, class_order(context, card, source, options), source.shape)
    return net.eval().to(plan.settings.device)


def load_first_weights(plan: Plan, run: Run, source: Source) -> Network | None:
    """Load the network that a student starts from, if the user gave one.

    Of a network for other classes, and of a file of weights, the head is replaced unless it has as many outputs.

    Raises:
        UsageError: the file cannot be used, or its weights are not those of the student's network.
    """
    if plan.init is None or run.role == TEACHER:
        return None
    if (card := read_model_card(plan.init)) is not None and len(card["classes"]) == len(source.classes):
        return load_given_network(plan, plan.init, source, run.role)
    head, seed = run.method.criterion.load().head, seeds.derive(run.seed, "init", run.role, 0)
    net = build_role_network(source, run.role, plan.settings, head=head, seed=seed, weights=plan.init)
    if card is not None:
        net.mean, net.std = (net.mean.new_tensor(card[name]).view(1, -1, 1, 1) for name in ("mean", "std"))
    return net


def class_order(context: str, card: Mapping[str, Any], source: Source, options: StudyOptions) -> list[int]:
    """Return the number of a stored network's output for each class of the data set: (K,).

    Args:
        context: the network's file or option, which the error message starts with.
        card: its model card.
        source: the data set.
        options: of the study, which say whether classes are found by name.

    Raises:
        UsageError: the network does not fit the data set's images or classes.
    """
    if not is_resizable(card["shape"], source.shape):
        raise UsageError(
            f"{context}: this network takes images of {tuple(card['shape'])}, but '{source.name}' has {source.shape} (C, H, W)"
        )
    return find_class_order(context, card["classes"], source.classes, options.teacher_classes == "match")


def is_resizable(shape: Sequence[int], images: Sequence[int]) -> bool:
    """Return whether a network for one shape (C, H, W) can resize images of another: squares of as many channels."""
    same_channels, is_square = shape[0] == images[0], shape[1] == shape[2]
    return tuple(shape) == tuple(images) or (same_channels and is_square and images[1] == images[2])


def weights_card(source: Source) -> dict[str, Any]:
    """Return what takes the place of a model card for weights alone, which do not know the names of their classes."""
    return {"shape": source.shape, "classes": [str(number) for number in range(len(source.classes))]}


def check_given_files(options: StudyOptions, teacher: Path | None) -> None:
    """Refuse a given file that cannot be read, weights without the name of their network, and a name without such weights.

    Args:
        teacher: the file of a trained teacher.

    Raises:
        UsageError: as said.
    """
    if options.init is not None:
        if not Path(options.init).is_file():
            raise UsageError(f"--init {options.init}: there is no such file")
        read_state_dict(Path(options.init))
    if teacher is None:
        if options.teacher_net is not None:
            raise UsageError(
                f"--teacher-net {options.teacher_net}: it is for a trained teacher, but --teacher {options.teacher} is no"
                " file; a network to train is given as --teacher alone"
            )
        return
    read_state_dict(teacher)
    is_model = read_model_card(teacher) is not None
    if is_model and options.teacher_net is not None:
        raise UsageError(
            f"--teacher-net {options.teacher_net}: --teacher {options.teacher} says itself which network it holds"
        )
    if not is_model and options.teacher_net is None:
        raise UsageError(
            f"--teacher {options.teacher}: this file holds weights, but not which network they are of; name it, as in"
            " --teacher-net timm:resnet50"
        )


def resolve_given_sizes(options: StudyOptions, teacher: Path | None) -> StudyOptions:
    """Return the options with the image sizes that belong to the weights of the study's networks, given ones included."""
    init = Path(options.init) if options.init else None
    named = replace(
        options,
        student=_name_weights(options.student, init),
        teacher=_name_weights(options.teacher_net or options.teacher, teacher),
    )
    cards = [None if file is None else read_model_card(file) for file in (teacher, init)]
    resolved = resolve_study_sizes(named, *cards)
    return replace(resolved, student=options.student, teacher=options.teacher)


def _name_weights(word: str, file: Path | None) -> str:
    """Return a network with the file of its weights as its parameter, if it is one of weights alone."""
    if file is None or read_model_card(file) is not None:
        return word
    spec = with_checkpoint(MODELS.parse(word), file)
    return word if spec is None else spec.text
