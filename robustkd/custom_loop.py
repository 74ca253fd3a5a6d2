"""Methods and criteria as losses for a training loop of your own, with your own torch modules.

    loss = DistillationLoss("hinton(temperature=2)", student, teacher)
    optimiser = torch.optim.SGD(loss.parameters(), lr=0.05)
    for images, labels in loader:
        optimiser.zero_grad()
        loss(images, labels).backward()
        optimiser.step()

What a method needs beyond that (feature maps, class sizes, the number of epochs, ...) is refused by name where it is not given,
and not replaced by a guess.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from robustkd.criteria import CRITERIA
from robustkd.errors import UsageError
from robustkd.method import Method, Phase, backward_and_step
from robustkd.method_spec import MethodSpec
from robustkd.models.external import wrap_classifier
from robustkd.models.feature_taps import check_logits
from robustkd.models.initialisation import seeded_initialisation
from robustkd.models.net import Frozen, Network, eval_no_grad
from robustkd.specs import Spec
from robustkd.training.build import bind_criterion, build_method
from robustkd.types import Batch, Clock, DatasetInfo, Objective, Output

Shape = tuple[int, int, int]
Value = TypeVar("Value")

SHAPE_HINT = "shape=(C, H, W), the shape of an image"
COUNTS_HINT = "counts=[...], the number of training labels of each class"
GENERAL_LOOP = "iterate over phases() and Phase.step, as docs/python.md shows"


class DistillationLoss(nn.Module):
    """The loss of a distillation method for modules of your own.

    Its parameters are those of the student and of whatever the method trains along with it, such as adapters of feature maps;
    the teacher's are not among them. Move the networks to their device first.

    Args:
        method: a name of `robustkd methods`, optionally with parameters and criterion: "hinton(alpha=0.7)+balanced".
        student: a module that maps images (B, C, H, W) to logits (B, K); a list of modules for methods that train several at
            once, such as dml.
        teacher: such a module too, if the method needs one. It is set to evaluation mode, and its parameters are frozen.
        shape: (C, H, W) of the images, for methods that use feature maps or embeddings. These are tapped from the modules: the
            last map at each resolution, and the input of the last nn.Linear.
        counts: (K,) number of training labels of each class, for methods and criteria that use them; their sum is the number
            of training rows.
        epochs: number of epochs, for methods with a schedule.
        seed: of the initial weights of adapters and of the method's own draws.

    Attributes:
        method: the method, a `robustkd.method.Method`.

    Raises:
        UsageError: the method is unknown, or needs something that is not given.

    >>> student, teacher = (nn.Sequential(nn.Flatten(), nn.Linear(64, 10)) for _ in range(2))
    >>> loss = DistillationLoss("hinton", student, teacher)
    >>> loss(torch.rand(5, 1, 8, 8), torch.arange(5)).shape, len(list(loss.parameters()))
    (torch.Size([]), 2)
    """

    def __init__(
        self,
        method: str,
        student: nn.Module | Sequence[nn.Module],
        teacher: nn.Module | None = None,
        *,
        shape: Sequence[int] | None = None,
        counts: Iterable[int] | None = None,
        epochs: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        spec = MethodSpec.parse(method)
        students = [student] if isinstance(student, nn.Module) else list(student)
        self._text, self._epochs = spec.method.name, epochs
        self._criterion_text = spec.criterion_text
        image_shape = None if shape is None else _check_shape(shape)
        device = _common_device([*students, *([] if teacher is None else [teacher])])
        networks = [_wrap(module, image_shape, device, self._text) for module in students]
        data = _dataset_info(method, networks[0], image_shape, counts)
        ingredients = {
            "student": lambda: _take(self._text, networks, 1)[0],
            "students": lambda: partial(_take, self._text, networks),
            "teacher": lambda: Frozen(_wrap(_require_teacher(self._text, teacher), image_shape, device, self._text)),
            "data": lambda: data,
            "criterion": lambda: bind_criterion(spec.criterion, data),
            "random": lambda: torch.Generator(device).manual_seed(seed),
            "cost_ratio": lambda: None,  # nothing is measured here
        }
        with seeded_initialisation(seed):
            self.method: Method = build_method(spec, ingredients).to(device)

    def forward(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        index: Tensor | None = None,
        epoch: int | None = None,
        views: Sequence[Tensor] = (),
    ) -> Tensor:
        """Compute the loss of a batch: a scalar.

        Args:
            images: (B, C, H, W), as the modules take them. Methods that perturb images (bss, tald, ...) need values in [0, 1].
            labels: (B,) integers.
            index: (B,) row of each image in the training set, for methods that remember rows, such as crd.
            epoch: from 0, for methods with a schedule.
            views: the same images, augmented once more for each entry of `method.views`.

        Raises:
            UsageError: the method needs an argument that is not given, or more than one update per batch.
        """
        return self.objective(images, labels, index=index, epoch=epoch, views=views).loss

    def objective(self, images: Tensor, labels: Tensor, **arguments: Any) -> Objective:
        """Compute the named terms whose sum is the loss; see `forward` for arguments and errors."""
        if type(self.method).step is not Method.step:
            raise UsageError(f"{self._text} does more than one update of a single loss per batch: {GENERAL_LOOP}")
        phases = self.method.phases()
        if len(phases) > 1 or phases[0].update is not backward_and_step:
            raise UsageError(f"{self._text} trains in phases, or with an update of its own: {GENERAL_LOOP}")
        return self.method.objective(self.batch(images, labels, **arguments))

    def phases(self) -> tuple[Phase, ...]:
        """Return the training phases, for any method.

        Each has its parameters, its step and its update::

            for phase in loss.phases():
                optimiser = torch.optim.SGD(phase.parameters, lr=0.05)
                for images, labels in loader:
                    for objective in phase.step(loss.batch(images, labels)):
                        phase.update(objective, optimiser)
        """
        return self.method.phases()

    def batch(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        index: Tensor | None = None,
        epoch: int | None = None,
        views: Sequence[Tensor] = (),
    ) -> Batch:
        """Return what a phase's step takes; see `forward`.

        Raises:
            UsageError: the number of views is not that of the method.
        """
        if len(views) != len(self.method.views):
            names = ", ".join(self.method.views) or "none"
            raise UsageError(
                f"{self._text} needs views of each image ({names}), views=[...], but {len(views)} are given"
            )
        return _make_batch(self._text, images, labels, index, epoch, self._epochs, views)


class SupervisedLoss(nn.Module):
    """A criterion of `robustkd criteria` as a loss of logits and labels.

    Args:
        criterion: its name, optionally with parameters, such as "balanced".
        counts: (K,) number of training labels of each class, for criteria that use them.
        epochs: number of epochs, for criteria with a schedule.
        reduction: "mean" over the batch, or "none" for the loss of each sample.

    Raises:
        UsageError: the criterion is unknown, or needs something that is not given.

    >>> loss = SupervisedLoss("balanced", counts=[90, 10])
    >>> round(loss(torch.zeros(1, 2), torch.tensor([1])).item(), 4)  # -log 0.1
    2.3026
    """

    def __init__(
        self,
        criterion: str = "ce",
        *,
        counts: Iterable[int] | None = None,
        epochs: int | None = None,
        reduction: Literal["mean", "none"] = "mean",
    ) -> None:
        super().__init__()
        if reduction not in ("mean", "none"):
            raise UsageError(f"reduction is {reduction!r} but should be 'mean' or 'none'")
        spec: Spec = CRITERIA.parse(criterion)
        self._text, self._epochs, self.reduction = spec.name, epochs, reduction
        self.criterion = bind_criterion(spec, _dataset_info(spec.name, None, None, counts))()

    def forward(
        self, logits: Tensor, labels: Tensor, *, index: Tensor | None = None, epoch: int | None = None
    ) -> Tensor:
        """Compute the loss: logits (B, K) and labels (B,) to a scalar, or to (B,) with reduction "none".

        Args:
            index: (B,) row of each sample in the training set, for criteria that remember rows.
            epoch: from 0, for criteria with a schedule.

        Raises:
            UsageError: the criterion needs an argument that is not given.
        """
        losses: Tensor = self.criterion(logits, _make_batch(self._text, None, labels, index, epoch, self._epochs, ()))
        return losses.mean() if self.reduction == "mean" else losses


class LogitNetwork(Network):
    """A module of which only the logits are known.

    Args:
        reason: the message of the error that embedding and feature maps raise.
    """

    def __init__(self, model: nn.Module, reason: str) -> None:
        super().__init__()
        self.model, self._reason = model, reason

    @property
    def head(self) -> nn.Linear:  # type: ignore[override]
        raise UsageError(self._reason)

    def replace_head(self, head: nn.Linear) -> None:
        raise UsageError(self._reason)

    def forward(self, images: Tensor) -> Output:
        logits = self.model(images)
        check_logits(self.model, logits)
        missing: Any = _Missing(self._reason)
        return Output(logits, missing, missing)

    def iter_features(self, images: Tensor) -> Iterator[Tensor]:
        raise UsageError(self._reason)


class _Missing:
    """Stands for a tensor that was not given: using it raises a UsageError, selecting from it does not."""

    def __init__(self, message: str) -> None:
        self._message = message

    def __getitem__(self, _: Any) -> "_Missing":
        return self

    def __iter__(self) -> Iterator[Any]:
        raise UsageError(self._message)

    def __getattr__(self, name: str) -> Any:
        raise UsageError(self._message)

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        """Refuse to take part in torch's functions, indexing of other tensors included."""
        given = [*arguments, *(options or {}).values()]
        for value in (part for each in given for part in (each if isinstance(each, (list, tuple)) else [each])):
            if isinstance(value, cls):
                raise UsageError(value._message)
        return NotImplemented


def _without(kind: type[Value], messages: Mapping[str, str]) -> type[Value]:
    """Return a subclass of a record of numbers, some of which were not given: reading them raises a UsageError.

    Args:
        messages: by the name of the field.
    """

    def refuse(message: str) -> property:
        def read(_: object) -> Any:
            raise UsageError(message)

        return property(read, lambda _, value: None)  # the constructor of a dataclass sets every field

    return type(kind.__name__, (kind,), {name: refuse(message) for name, message in messages.items()})


def _make_batch(
    word: str,
    images: Tensor | None,
    labels: Tensor,
    index: Tensor | None,
    epoch: int | None,
    epochs: int | None,
    views: Sequence[Tensor],
) -> Batch:
    """Return a batch; what is None is refused when it is used."""
    clock = {
        **(
            {}
            if epoch is not None
            else {"epoch": f"{word} has a schedule: it needs epoch=..., from 0, with every batch"}
        ),
        **({} if epochs is not None else {"epochs": f"{word} has a schedule: it needs epochs=..., their number"}),
    }
    no_images: Any = _Missing(f"{word} uses the images, so it needs a DistillationLoss")
    no_index: Any = _Missing(f"{word} needs index=..., the row of each image in the training set")
    return Batch(
        no_images if images is None else images,
        labels,
        no_index if index is None else index,
        _without(Clock, clock)(epoch or 0, epochs or 1),
        tuple(views),
    )


def _dataset_info(word: str, network: Network | None, shape: Shape | None, counts: Iterable[int] | None) -> DatasetInfo:
    """Return what a method may know about its training set; what was not given is refused when it is used."""
    sizes = () if counts is None else tuple(int(count) for count in counts)
    if counts is not None and (not sizes or min(sizes) < 0):
        raise UsageError(f"counts is {list(sizes)} but should be {COUNTS_HINT.partition(', ')[2]}")
    missing = {} if counts is not None else dict.fromkeys(("samples", "counts"), f"{word} needs {COUNTS_HINT}")
    missing |= {} if shape is not None else {"shape": f"{word} needs {SHAPE_HINT}"}
    kind = _without(DatasetInfo, missing)
    if counts is None and network is not None and shape is not None:
        with eval_no_grad(network):
            classes = network(network.mean.new_zeros(2, *shape)).logits.shape[1]
        kind = type(kind.__name__, (kind,), {"classes": property(lambda _: classes)})
    return kind(sum(sizes), sizes, shape or (0, 0, 0))


def _wrap(module: nn.Module, shape: Shape | None, device: torch.device, word: str) -> Network:
    """Return a module as a network, with feature maps where the shape is given and they can be tapped."""
    if isinstance(module, Network):
        return module
    if shape is None:
        return LogitNetwork(module, f"{word} uses feature maps or embeddings: it needs {SHAPE_HINT}").to(device)
    try:
        return wrap_classifier(module, shape).to(device)
    except UsageError as error:
        if not _returns_logits(module, shape, device):
            raise
        return LogitNetwork(module, f"{word} uses feature maps or embeddings, but {error}").to(device)


def _returns_logits(module: nn.Module, shape: Shape, device: torch.device) -> bool:
    try:
        with eval_no_grad(module):
            check_logits(module, module(torch.zeros(2, *shape, device=device)))
    except Exception:  # each module rejects unsuitable images with exceptions of its own
        return False
    return True


def _common_device(modules: Sequence[nn.Module]) -> torch.device:
    devices = {parameter.device for module in modules for parameter in module.parameters()}
    if len(devices) > 1:
        raise UsageError(
            f"student and teacher are on {' and '.join(sorted(map(str, devices)))}: move them to one device"
        )
    return devices.pop() if devices else torch.device("cpu")


def _check_shape(shape: Sequence[int]) -> Shape:
    sides = tuple(int(side) for side in shape)
    if len(sides) != 3 or min(sides) < 1:
        raise UsageError(f"shape is {tuple(shape)} but should be (C, H, W)")
    channels, height, width = sides
    return channels, height, width


def _require_teacher(word: str, teacher: nn.Module | None) -> nn.Module:
    if teacher is None:
        raise UsageError(f"{word} needs a teacher: DistillationLoss('{word}', student, teacher)")
    return teacher


def _take(word: str, networks: list[Network], count: int) -> list[Network]:
    if len(networks) != count:
        given = f"{len(networks)} {'was' if len(networks) == 1 else 'were'} given"
        wanted = "one student" if count == 1 else f"a list of {count} students"
        raise UsageError(f"{word} needs {wanted}, but {given}")
    return networks
