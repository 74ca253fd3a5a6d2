"""Construction of a run's networks and method, with first weights that its seed draws."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from robustkd import seeds
from robustkd.criteria.base import Criterion
from robustkd.data.augmentations import check_augmentation
from robustkd.data.mixing import parse_mixing
from robustkd.data.paired_views import PAIRED_VIEWS
from robustkd.data.view import Source, View
from robustkd.errors import UsageError
from robustkd.method import Method
from robustkd.models import MODELS
from robustkd.models.build import build_network, build_with_weights
from robustkd.models.initialisation import seeded_initialisation
from robustkd.models.net import Frozen, Network
from robustkd.models.weight_files import describe_differences
from robustkd.models.weight_sources import carries_weights, has_checkpoint
from robustkd.specs import Spec
from robustkd.study.plan import Run, Settings
from robustkd.study.results import TEACHER
from robustkd.study.training_rows import select_training_rows
from robustkd.training.build import Ingredients, bind_criterion, build_method
from robustkd.training.optimisers import check_recipe
from robustkd.types import DatasetInfo, TrainingLabels


def seeded_network(view: View, spec: Run, settings: Settings, number: int = 0) -> Network:
    """Build a run's network with the first weights that its seed draws.

    Args:
        number: which of several networks, for methods that train more than one.
    """
    head = spec.method.criterion.load().head
    return untrained_network(view, spec.role, settings, head, seeds.derive(spec.seed, "init", spec.role, number))


def untrained_network(view: View, role: str, settings: Settings, head: str, seed: int) -> Network:
    """Build a role's network for a view's images and classes, on the settings' device."""
    return build_role_network(view.sources[0], role, settings, head=head, seed=seed)


def has_own_size(source: Source, net: Spec) -> bool:
    """Return whether a network sees images of the settings' size; others take arrays as they are."""
    return source.files is not None or carries_weights(net)


def build_role_network(
    source: Source,
    role: str,
    settings: Settings,
    *,
    head: str = "linear",
    seed: int = 0,
    word: str | None = None,
    weights: Path | None = None,
) -> Network:
    """Build a role's network for a data set's images and classes, on the settings' device.

    Args:
        word: the network, if it is another than that of the settings.
        weights: a file with its weights.
    """
    spec = MODELS.parse(word or (settings.teacher if role == TEACHER else settings.student))
    own_size = has_own_size(source, spec) or (weights is not None and has_checkpoint(spec))
    build = build_network if weights is None else partial(build_with_weights, file=weights)
    net = build(
        spec,
        shape=source.shape,
        image_size=settings.image_size_of(role) if own_size else None,
        classes=len(source.classes),
        mean=settings.mean,
        std=settings.std,
        head=head,
        bf16=settings.bf16_of(role),
        seed=seed,
    )
    return net.to(settings.device)


def dataset_info(view: View) -> DatasetInfo:
    """Return what a method may know about a training view."""
    return DatasetInfo(len(view), tuple(view.counts.tolist()), view.sources[0].shape, view.classes)


def training_rows(view: View, spec: Run) -> View:
    """Return the part of a training view, and its labels, that a run's method is trained on.

    Raises:
        UsageError: a control asks for true labels that are not known.
    """
    labels: TrainingLabels = getattr(spec.method.method.load(), "training_labels", "given")
    name = "clean_teacher" if spec.role == TEACHER else spec.method.text  # no other method trains such a teacher
    return select_training_rows(view, labels, name)


def construct_method(
    view: View,
    spec: Run,
    settings: Settings,
    random: torch.Generator,
    *,
    teacher: Callable[[], Network],
    init: Network | None = None,
) -> Method:
    """Construct a run's method on the settings' device.

    Args:
        teacher: called if the method needs a teacher.
        init: a network whose weights the student starts from.

    Raises:
        UsageError: method, network and data do not go together.
    """
    data = dataset_info(training_rows(view, spec))
    criterion = bind_criterion(spec.method.criterion, data)

    def student(number: int = 0) -> Network:
        net = seeded_network(view, spec, settings, number)
        if init is not None and spec.role != TEACHER and number == 0:
            load_initial_weights(net, init, settings)
        return net

    ingredients: Ingredients = {
        "student": student,
        "students": lambda: lambda count: [student(number) for number in range(count)],
        "teacher": lambda: Frozen(teacher()),
        "data": lambda: data,
        "criterion": lambda: criterion,
        "random": lambda: random,
        "cost_ratio": lambda: settings.cost_ratio,
    }
    with seeded_initialisation(seeds.derive(spec.seed, "init", spec.role, "method")):  # of the method's adapters
        method = build_method(spec.method, ingredients).to(settings.device)
    check_batches(method, spec, settings, view.sources[0].stored_shape)
    return method


def check_batches(method: Method, spec: Run, settings: Settings, shape: tuple[int, int, int]) -> None:
    """Refuse unknown views, augmentations that fail, and mixed images where a method or criterion is not defined for them.

    Raises:
        UsageError: a view does not exist; a mixture does not have the one label, or the one training row, that is needed.
    """
    check_augmentation(settings.transform, shape)
    for text in method.views:
        PAIRED_VIEWS.parse(text).kwargs()
    if parse_mixing(settings.mixing) is None:
        return
    criteria = (part for part in method.modules() if isinstance(part, Criterion))
    if not method.supports_mixing or not all(part.supports_mixing for part in criteria):
        raise UsageError(
            f"--mixing {settings.mixing}: '{spec.method.text}' is not defined for mixed images, because it needs one label or"
            " one training row per image"
        )


def load_initial_weights(net: Network, init: Network, settings: Settings) -> None:
    """Copy another network's weights, and how it normalises.

    Raises:
        UsageError: they are of another network.
    """
    net.mean, net.std = init.mean.clone(), init.std.clone()  # of as many channels as theirs
    differences = describe_differences(init.state_dict(), net.state_dict())
    if differences:
        raise UsageError(f"--init: its weights are not those of a {settings.student}: {differences}")
    net.load_state_dict(init.state_dict())


def check_constructible(
    view: View, spec: Run, settings: Settings, *, teacher: Network | None = None, init: Network | None = None
) -> Method:
    """Construct a run's method with an untrained teacher, so that what cannot work is refused before any training.

    Args:
        teacher: a trained one, if there is one.
        init: a network whose weights the student starts from.

    Raises:
        UsageError: method, network and data do not go together.
    """
    if teacher is not None and spec.method.teacher_labels != "given":
        raise UsageError(
            f"method '{spec.method.text}' trains a teacher with the true labels: give the name of a network as --teacher, not"
            " a trained one"
        )
    random = torch.Generator(settings.device).manual_seed(0)

    def untrained() -> Network:
        return untrained_network(view, TEACHER, settings, "linear", seeds.derive(0, "init"))

    trained = untrained if teacher is None else lambda: teacher
    method = construct_method(view, spec, settings, random, teacher=trained, init=init)
    check_recipe(spec.method.text, method, settings.recipe_of(spec))
    return method
