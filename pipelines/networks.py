"""The networks of a study as the user gives them: names and files, what is printed about them, and how they identify it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines import tracking
from pipelines.console import console
from robustkd.data.labelled_images import FILE_KINDS
from robustkd.data.value_range import ValueRange
from robustkd.data.view import Source
from robustkd.errors import UsageError
from robustkd.hashing import file_digest
from robustkd.models import MODELS
from robustkd.models.build import build_network
from robustkd.models.class_order import describe_class_order, is_reordered
from robustkd.models.net import Network
from robustkd.models.preprocessing import weights_preprocessing
from robustkd.models.weight_files import read_model_card
from robustkd.models.weight_sources import carries_weights, checkpoint_files
from robustkd.study.construct import build_role_network
from robustkd.study.given_networks import (
    check_given_files,
    class_order,
    load_first_weights,
    load_given_network,
    resolve_given_sizes,
    weights_card,
)
from robustkd.study.options import StudyOptions
from robustkd.study.plan import Plan, Run
from robustkd.study.results import TEACHER
from robustkd.study.versions import content_digest

WEIGHT_SUFFIXES = (".pt", ".pth", ".ckpt", ".safetensors", ".bin", ".tar")


def find_teacher(text: str) -> Path | None:
    """Return the file of a trained teacher, or None where the text names a network to train.

    Raises:
        UsageError: there is no such file, run, model or network.
    """
    if Path(text).expanduser().is_file():
        return Path(text).expanduser().resolve()
    if tracking.is_reference(text):
        return tracking.download_network(text)
    if text.endswith(WEIGHT_SUFFIXES):
        raise UsageError(f"--teacher {text}: there is no such file")
    check_network(text)
    return None


def check_network(word: str) -> None:
    """Refuse a network that does not exist, and wrong parameters, before data are read.

    Raises:
        UsageError: as said.
    """
    spec = MODELS.parse(word)
    spec.kwargs()
    weights_preprocessing(spec)  # asks the library for its name


def resolve_networks(options: StudyOptions) -> tuple[StudyOptions, Path | None]:
    """Return a study's options with the image sizes that belong to weights, and the file of a trained teacher, if one is given.

    Raises:
        UsageError: a network does not exist, its weights cannot be used, or it cannot be built for the images.
    """
    check_network(options.student)
    teacher = find_teacher(options.teacher)
    check_given_files(options, teacher)
    options = resolve_given_sizes(options, teacher)
    check_networks(options, teacher)
    return options, teacher


def check_networks(options: StudyOptions, teacher: Path | None) -> None:
    """Build the networks to train of a study of image files, whose shape is known, before files are decoded for minutes.

    Args:
        options: with the sizes that belong to weights.
        teacher: the file of a trained teacher.

    Raises:
        UsageError: a network cannot be built for images of this size, or its weights cannot be used.
    """
    side, student_side = options.read_options()["image_size"], options.image_size
    networks = {options.student: None if student_side == "auto" else student_side}
    if teacher is None:
        networks[options.teacher] = options.teacher_image_size or networks.get(
            options.teacher, networks[options.student]
        )
    check_buildable(options.dataset, side, networks)


def check_buildable(dataset: str, side: int, networks: Mapping[str, int | None]) -> None:
    """Build networks for a data set of image files, whose shape is known, before it is read.

    Args:
        side: of the images.
        networks: side to which each network resizes them, None if it takes them as they are, by the network's name.

    Raises:
        UsageError: a network cannot be built for images of this size, or its weights cannot be used.
    """
    if dataset.partition(":")[0] not in FILE_KINDS:
        return
    for word, own in networks.items():
        spec, shape = MODELS.parse(word), (3, side, side)
        if isinstance(spec.target, str):  # a user's builder may load a head that is for the data set's classes only
            build_network(spec, shape=shape, image_size=own, classes=2, mean=(0.0,), std=(1.0,), seed=0)


def identify_networks(options: StudyOptions, teacher: Path | None, source: Source) -> dict[str, Any]:
    """Return the networks' part of a study's identity. Files count by their content."""
    words = [options.student, options.teacher_net if teacher is not None else options.teacher]
    files = [file for word in words if word is not None for file in checkpoint_files(MODELS.parse(word))]
    return {
        "teacher": options.teacher if teacher is None else identify_network(teacher, source, options),
        "init": identify_network(Path(options.init), source, options) if options.init else None,
        **({"weights": [content_digest(file) for file in files]} if files else {}),
    }


def identify_network(path: Path, source: Source, options: StudyOptions) -> str:
    """Return the digest of a network's file, with the order that its outputs are put in where that differs."""
    card = read_model_card(path)
    order = class_order(str(path), card, source, options) if card is not None and has_classes_of(card, source) else []
    return f"{file_digest(path)} {order}" if is_reordered(order) else file_digest(path)


def has_classes_of(card: dict[str, Any], source: Source) -> bool:
    """Return whether a stored network has as many classes as a data set; others are first weights without their head."""
    return len(card["classes"]) == len(source.classes)


def print_class_orders(options: StudyOptions, teacher: Path | None, source: Source) -> None:
    """Print how the classes of a given teacher and of --init are paired with the data set's, unless they are the same."""
    init = Path(options.init) if options.init else None
    given = {f"--teacher {options.teacher}": teacher, f"--init {options.init}": init}
    for option, path in given.items():
        card = None if path is None else read_model_card(path)
        if card is None or (path is init and not has_classes_of(card, source)):
            continue  # `print_first_weights` describes its head
        order = class_order(option, card, source, options)
        if text := describe_class_order(card["classes"], source.classes, order):
            console.print(f"{option}: {text}")
        print_other_range(option, card.get("value_range"), source)


def print_other_range(option: str, stored: Sequence[float] | None, source: Source) -> None:
    """Print that a given network was trained on values of another range than those of the data set, if so."""
    own = source.value_range
    if stored is None or own is None or tuple(stored) == own:
        return
    low, high = ValueRange(*stored).limits()
    console.print(
        f"{option}: it was trained on values from {low} to {high}, but of '{source.name}' {own.describe()};"
        f" --value-range {low},{high} scales them alike",
    )


def print_first_weights(plan: Plan, runs: Sequence[Run], source: Source) -> None:
    """Print what becomes of the heads in files of weights, and of grey images in networks for colour.

    Raises:
        UsageError: weights cannot be used.
    """
    if plan.teacher is not None and read_model_card(plan.teacher) is None:
        load_given_network(plan, plan.teacher, source, TEACHER)  # refuses a head for other classes
        numbers: list[str] = weights_card(source)["classes"]
        if text := describe_class_order(numbers, source.classes, range(len(numbers))):
            console.print(f"--teacher {plan.options.teacher}: {text}")
    for role in dict.fromkeys(run.role for run in runs):
        run = next(run for run in runs if run.role == role)
        for name, net in first_networks(plan, run, source):
            for line in describe_first_weights(net, source):
                console.print(f"{name}: {line}", highlight=False, soft_wrap=True)


def first_networks(plan: Plan, run: Run, source: Source) -> Iterator[tuple[str, Network]]:
    """Yield a role's network where it starts from given weights, with the option that names them."""
    word = plan.settings.teacher if run.role == TEACHER else plan.settings.student
    if (run.role != TEACHER or plan.teacher is None) and carries_weights(MODELS.parse(word)):
        yield f"--{run.role} {word}", build_role_network(source, run.role, plan.settings)
    if (net := load_first_weights(plan, run, source)) is not None:
        yield f"--init {plan.options.init}", net


def describe_first_weights(net: Network, source: Source) -> list[str]:
    """Describe what is done with a head from given weights, and with grey images."""
    number, theirs = f"{len(source.classes)} classes", net.replaced_head
    drawn = f"one for {number}, drawn from the seed"
    if "replaced_head" not in vars(net):  # of a plugged builder that does not say it
        lines = []
    elif theirs is None:
        lines = [f"its head for {number} is kept, with its outputs in the order of the data set's classes"]
    else:
        lines = [
            f"its head for {theirs} classes is replaced by {drawn}" if theirs else f"it has no head; it gets {drawn}"
        ]
    if (repeats := getattr(net, "channel_repeats", 1)) > 1:
        lines.append(f"grey images are repeated for its {repeats} channels")
    return lines
