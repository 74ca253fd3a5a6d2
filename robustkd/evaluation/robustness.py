"""How a net stands up to attacks on the test images, measured on request.

    --attack fgsm,pgd                              both at L-infinity 8/255 and 2/255
    --attack "pgd50,pgd(eps=4/255, restarts=5)"    values as of any other word
    --attack mine:attack,FILE.py:NAME              yours: a function attack(net, images, labels) -> images

An attack of your own gets images in [0, 1], (B, C, H, W), their labels (B,), and a net that maps such images to logits
(B, K), in eval mode and in float32; what it gives back is checked, and told beside the largest change it made. A package
of attacks takes three lines; AutoAttack (Croce & Hein, ICML 2020), where you have it installed, these:

    def attack(net, images, labels):
        adversary = AutoAttack(net, norm="Linf", eps=8 / 255, device=images.device, verbose=False)
        return adversary.run_standard_evaluation(images, labels, bs=len(images))

Attacks end where they end: what FGSM and PGD do not find may be there all the same, so that their accuracies are upper
bounds of robustness. Torch is imported once something is measured: a wrong word is refused before it is loaded.
"""

import copy
import importlib
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from annotated_types import Interval
from pydantic import BeforeValidator

from robustkd import errors, registry, specs
from robustkd.errors import UsageError
from robustkd.hashing import digest
from robustkd.registry import Entry, Registry
from robustkd.types import Count

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from robustkd.attacks.boundary import LogitsFn
    from robustkd.data.loader import Loader
    from robustkd.data.view import View
    from robustkd.models.net import Network

    Perturb = Callable[[LogitsFn, Tensor, Tensor, torch.Generator], Tensor]  # images and labels -> images

DEFAULT_RADII = (8 / 255, 2 / 255)  # where no other is asked for; the first is the literature's for images in colour
SEED = 0  # of all that is drawn here: a net is measured twice alike
MAX_PIXELS = 1 << 18  # of the images that are attacked at a time: 256 of 32x32
MIN_BATCH = 32  # images at a time, however large they are

ATTACKS = Registry(
    "attack",
    "robustkd.evaluation",
    "robustkd.attacks",
    {
        "fgsm": Entry("robustness:FGSM", "one step along the sign of the gradient (arXiv 1412.6572)"),
        "pgd": Entry("robustness:PGD", "20 such steps from a random start, or pgd50 (arXiv 1706.06083)"),
        "{module}:{callable}": Entry(
            "", "an attack of your own", examples=("MODULE:CALLABLE",)
        ),  # parsed by parse_attacks
    },
)


def _number(value: Any) -> Any:
    """8/255 as a number; what is no fraction is left for the type to refuse."""
    try:
        above, below = str(value).split("/")
        return float(above) / float(below)
    except (ValueError, ZeroDivisionError):
        return value


Radius = Annotated[float, BeforeValidator(_number), Interval(ge=0, le=1)]


def format_radius(eps: float) -> str:
    """A radius as people write it.

    >>> format_radius(8 / 255), format_radius(0.1), format_radius(0.5 / 255)
    ('8/255', '0.1', '0.5/255')
    """
    return f"{eps:g}" if float(f"{eps:g}") == eps else f"{255 * eps:g}/255"


class Attack(Protocol):
    """One or several ways to change images, each measured under a name of its own."""

    def load(self) -> None:
        """Import what it takes, so that what is missing is refused early."""

    def each(self) -> "dict[str, Perturb]":
        """What is measured, by name."""
        ...


@dataclass(frozen=True)
class FGSM:
    """The fast gradient sign method (Goodfellow et al., ICLR 2015): one step of length eps, and no random start."""

    eps: Radius | None = None

    def load(self) -> None: ...

    def each(self) -> "dict[str, Perturb]":
        from robustkd.attacks.gradient import fgsm

        return {f"fgsm {format_radius(eps)}": partial(fgsm, eps=eps) for eps in _radii(self.eps)}


@dataclass(frozen=True)
class PGD:
    """Projected gradient descent (Madry et al., ICLR 2018): steps of eps / 4, from a random place in the ball."""

    steps: Count = 20
    restarts: Count = 1
    eps: Radius | None = None

    def load(self) -> None: ...

    def each(self) -> "dict[str, Perturb]":
        from robustkd.attacks.gradient import pgd

        name = f"pgd{self.steps}" + (f"x{self.restarts}" if self.restarts > 1 else "")
        walk = partial(pgd, steps=self.steps, restarts=self.restarts)
        return {f"{name} {format_radius(eps)}": partial(walk, eps=eps) for eps in _radii(self.eps)}


def _radii(eps: float | None) -> tuple[float, ...]:
    return DEFAULT_RADII if eps is None else (eps,)


@dataclass(frozen=True)
class UserAttack:
    """The user's attack, MODULE:CALLABLE or FILE.py:CALLABLE, or a function that another package offers."""

    text: str
    given: Callable[..., Any] | None = None

    def load(self) -> None:
        self.function()

    def each(self) -> "dict[str, Perturb]":
        return {self.text: self.perturb}

    def function(self) -> Callable[..., Any]:
        """The callable that the text names.

        Raises:
            UsageError: the text is no MODULE:CALLABLE, or one of the two is not there.
        """
        if self.given is not None:
            return self.given
        place, _, name = self.text.rpartition(":")
        if not place or not name.isidentifier():
            raise UsageError(
                f"--attack {self.text}: an attack of your own is named by MODULE:CALLABLE or FILE.py:CALLABLE, without values"
            )
        module = _module(self.text, place)
        function: Callable[..., Any] | None = getattr(module, name, None)
        if not callable(function):
            offered = [each for each in vars(module) if callable(getattr(module, each)) and not each.startswith("_")]
            what = (
                f"no '{name}'{errors.did_you_mean(name, offered)}"
                if function is None
                else f"a '{name}', but no function"
            )
            raise UsageError(f"--attack {self.text}: '{place}' has {what}")
        return function

    def perturb(self, net: "LogitsFn", images: "Tensor", labels: "Tensor", random: "torch.Generator") -> "Tensor":
        """What the user's function makes of images, if images they are.

        Raises:
            UsageError: it raises, or gives back something else.
        """
        import torch

        function = self.function()
        try:
            # Copies: it may work in place; and in the usual memory format, for those who flatten by `view`.
            with torch.enable_grad():
                moved = function(net, images.clone(memory_format=torch.contiguous_format), labels.clone())
        except UsageError:
            raise
        except Exception as error:
            raise UsageError(f"--attack {self.text}: running it failed with {_told(error)}") from error
        if not isinstance(moved, torch.Tensor):
            raise UsageError(
                f"--attack {self.text}: it gives a {type(moved).__name__} and should give a tensor of images"
            )
        if moved.shape != images.shape:
            raise UsageError(
                f"--attack {self.text}: it gives images of shape {tuple(moved.shape)} for images of {tuple(images.shape)}"
            )
        moved = moved.detach().to(images.device, images.dtype)
        least, most = float(moved.min()), float(moved.max())
        if not torch.isfinite(moved).all():
            raise UsageError(f"--attack {self.text}: it gives images that are not finite")
        if least < -1e-6 or most > 1 + 1e-6:  # as far as a sum may be rounded
            raise UsageError(
                f"--attack {self.text}: it gives values from {least:g} to {most:g}, and images lie in [0, 1]"
            )
        return moved.clamp(0, 1)


def _module(text: str, place: str) -> ModuleType:
    """The user's module, by name (the current folder may hold it) or by file."""
    is_file = place.endswith(".py")
    if is_file and not Path(place).is_file():
        raise UsageError(f"--attack {text}: there is no file {place}")
    sys.path.insert(0, here := str(Path.cwd()))  # a console script does not look here by itself
    try:
        return registry.import_file(Path(place)) if is_file else importlib.import_module(place)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{place}.".startswith(f"{error.name}."):
            raise UsageError(
                f"--attack {text}: there is no module '{error.name}', neither installed nor in the current folder"
            ) from None
        raise UsageError(f"--attack {text}: importing '{place}' failed with {_told(error)}") from error
    finally:
        sys.path.remove(here)


def _told(error: Exception) -> str:
    """An error in one line."""
    return ": ".join(filter(None, (type(error).__name__, " ".join(str(error).split()))))


def parse_attacks(spec: str) -> tuple[Attack, ...]:
    """The attacks that a text names; the user's own are not imported yet, and neither is torch.

    >>> parse_attacks("fgsm,pgd50,mine:attack")
    (FGSM(eps=None), PGD(steps=50, restarts=1, eps=None), UserAttack(text='mine:attack', given=None))

    Raises:
        UsageError: a word that nobody knows, or a value that it does not take.
    """
    attacks: list[Attack] = []
    for text in specs.split_at(spec, ","):
        if ":" in text:
            attacks.append(UserAttack(text))
        else:
            word = ATTACKS.parse(text)
            target = word.load()
            attacks.append(target(**word.kwargs()) if isinstance(target, type) else UserAttack(text, target))
    return tuple(attacks)


def attack_version(word: str) -> str:
    """A digest of the code that an attack's figures hang on, ours and the user's own; "" where that is gone."""
    ours = Path(__file__), Path(__file__).parents[1] / "attacks" / "gradient.py"
    code = "".join(file.read_text(encoding="utf-8") for file in ours)
    if ":" in word:
        try:
            code += Path(str(_module(word, word.rpartition(":")[0]).__file__)).read_text(encoding="utf-8")
        except (UsageError, OSError):
            return ""
    return digest(text=code)


def check_user_attacks(net: "Network", view: "View", spec: str) -> None:
    """Try the user's own attacks on two images, so that one that cannot work is refused before anything is trained.

    The labels are those that the net gives: most attacks leave alone what is wrong already.

    Args:
        net: of the study's shapes, on its device; trained or not.
        view: where the images are taken from.
        spec: the attacks, as typed.

    Raises:
        UsageError: one is missing, raises, or gives back something other than images.
    """
    import numpy as np

    from robustkd.data.loader import Loader

    own = [attack for attack in parse_attacks(spec) if isinstance(attack, UserAttack)]
    for attack in own:
        attack.load()
    loader = Loader(view.take(np.arange(min(2, len(view)))), 2, net.mean.device, augment=False)
    for attack in own:
        asked = attackable_copy(net)
        with seeded_generator(loader.device) as random:
            for images, _ in loader.iter_plain():
                attack.perturb(asked, images, asked(images).argmax(dim=1), random)


# --- attacks -------------------------------------------------------------------------------------------------------


def evaluate_attacks(net: "Network", loader: "Loader", spec: str) -> dict[str, dict[str, Any]]:
    """What is left of a net's figures on a view whose images are attacked, each by what the net makes of it.

    Gradients and verdicts are in float32 whatever the net computes in, so that no rounding hides a slope. Copies of the
    net are attacked and asked; it stays as it is.

    Args:
        loader: the view, whose labels are those attacked and judged by; not augmented.
        spec: the attacks, as typed.

    Returns:
        By attack and radius ("fgsm 8/255", "pgd20 2/255", or the user's words): accuracy, balanced_accuracy and recall
        {class name: share, None for a class without rows}; for the user's own also largest_linf and largest_l2, the
        largest change of any image.

    Raises:
        UsageError: a word is wrong, or an attack of the user's own does not do what it should.
    """
    import torch

    size = max(MIN_BATCH, MAX_PIXELS // math.prod(loader.view.sources[0].shape[1:]))
    figures: dict[str, dict[str, Any]] = {}
    judge = attackable_copy(net)
    for attack in parse_attacks(spec):
        for name, perturb in attack.each().items():
            if name in figures:  # pgd and pgd20 are one
                continue
            predicted, far, wide = [], [], []
            asked = attackable_copy(net)
            with seeded_generator(loader.device) as random:
                for batch, given in loader.iter_plain():
                    for images, labels in zip(torch.split(batch, size), torch.split(given, size), strict=True):
                        moved = perturb(asked.eval(), images, labels, random)  # whatever a user's has left it in
                        with torch.no_grad():
                            predicted.append(judge(moved).argmax(dim=1))
                            change = (moved - images).flatten(1)
                            far.append(change.abs().amax())
                            wide.append(change.norm(dim=1).amax())
            figures[name] = _figures(loader.view, torch.cat(predicted).cpu().numpy())
            if isinstance(attack, UserAttack):
                largest = {"largest_linf": far, "largest_l2": wide}
                figures[name] |= {what: float(torch.stack(values).max()) for what, values in largest.items()}
    return figures


def _figures(view: "View", predicted: Any) -> dict[str, Any]:
    """Accuracy, balanced accuracy and recalls of predicted classes (n,)."""
    import numpy as np
    from sklearn.metrics import recall_score

    recall = recall_score(
        view.labels, predicted, labels=np.arange(len(view.classes)), average=None, zero_division=np.nan
    )
    by_name = zip(view.classes, recall, view.counts, strict=True)
    return {
        "accuracy": float((predicted == view.labels).mean()),
        "balanced_accuracy": float(recall[view.counts > 0].mean()),
        "recall": {name: float(share) if count else None for name, share, count in by_name},
    }


def attackable_copy(net: "Network") -> "nn.Module":
    """A copy of a net as attacks see it: images in [0, 1] -> logits, in eval mode, in float32, no parameter learning.

    A copy, so that whatever an attack does to it, the net stays what it is.
    """
    from torch import nn

    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = copy.deepcopy(net)
            self.net.bf16 = False

        def forward(self, images: "Tensor") -> "Tensor":
            return self.net(images).logits

    return Bare().eval().requires_grad_(False)


@contextmanager
def seeded_generator(device: "torch.device") -> "Iterator[torch.Generator]":
    """A generator for our draws, and for a while the global one seeded for the user's; afterwards it is as it was."""
    import torch

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(SEED)
        yield torch.Generator(device).manual_seed(SEED)
