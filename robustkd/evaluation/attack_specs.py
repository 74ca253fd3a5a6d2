"""Attacks by the names that users type, and attacks of the user's own.

    --attack fgsm,pgd                              both at L-infinity 8/255 and 2/255
    --attack "pgd50,pgd(eps=4/255, restarts=5)"    with parameters, as in any other name
    --attack mine:attack,FILE.py:NAME              a user's function attack(net, images, labels) -> images

A user's attack gets images in [0, 1], (B, C, H, W), their labels (B,), and a network that maps such images to logits (B, K), in
evaluation mode and float32. What it returns is checked, and reported with the largest change of an image. A package of attacks
needs a few lines, for example AutoAttack (Croce & Hein, ICML 2020) where it is installed:

    def attack(net, images, labels):
        adversary = AutoAttack(net, norm="Linf", eps=8 / 255, device=images.device, verbose=False)
        return adversary.run_standard_evaluation(images, labels, bs=len(images))

Torch is imported when an attack is run, so that wrong names are refused before it is loaded.
"""

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from annotated_types import Interval
from pydantic import BeforeValidator

from robustkd.errors import UsageError, did_you_mean
from robustkd.hashing import file_digest
from robustkd.registry import Entry, Registry, import_file
from robustkd.specs import split_at
from robustkd.types import Count

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from robustkd.attacks.boundary import LogitsFn

    Perturb = Callable[[LogitsFn, Tensor, Tensor, torch.Generator], Tensor]  # images and labels -> images

# Raised by every change of this file, of robustness.py or of robustkd/attacks/gradient.py that changes the accuracy under an
# attack: networks are then attacked again.
ATTACKS_VERSION = 1
DEFAULT_RADII = (8 / 255, 2 / 255)  # the first is the usual one in the literature for colour images

ATTACKS = Registry(
    "attack",
    "robustkd.evaluation",
    "robustkd.attacks",
    {
        "fgsm": Entry("attack_specs:FGSM", "one step along the sign of the gradient (arXiv 1412.6572)"),
        "pgd": Entry("attack_specs:PGD", "20 such steps from a random start, or pgd50 (arXiv 1706.06083)"),
        "{module}:{callable}": Entry("", "an attack of your own", examples=("MODULE:CALLABLE",)),  # see parse_attacks
    },
)


def _parse_fraction(value: Any) -> Any:
    """Convert a fraction such as 8/255 to a number; return anything else unchanged, to be validated by its type."""
    try:
        numerator, denominator = str(value).split("/")
        return float(numerator) / float(denominator)
    except (ValueError, ZeroDivisionError):
        return value


Radius = Annotated[float, BeforeValidator(_parse_fraction), Interval(ge=0, le=1)]


def format_radius(eps: float) -> str:
    """Format a radius as a decimal if that is exact, else as a multiple of 1/255.

    >>> format_radius(8 / 255), format_radius(0.1), format_radius(0.5 / 255)
    ('8/255', '0.1', '0.5/255')
    """
    return f"{eps:g}" if float(f"{eps:g}") == eps else f"{255 * eps:g}/255"


class Attack(Protocol):
    """An attack with one or several settings, each evaluated under a name of its own."""

    def load(self) -> None:
        """Import what the attack needs, so that a missing module is reported early."""

    def variants(self) -> "dict[str, Perturb]":
        """Return the perturbation functions to evaluate, by name."""
        ...


@dataclass(frozen=True)
class FGSM:
    """The fast gradient sign method (Goodfellow et al., ICLR 2015): one step of length eps, without a random start."""

    eps: Radius | None = None

    def load(self) -> None: ...

    def variants(self) -> "dict[str, Perturb]":
        from robustkd.attacks.gradient import fgsm

        return {f"fgsm {format_radius(eps)}": partial(fgsm, eps=eps) for eps in _radii(self.eps)}


@dataclass(frozen=True)
class PGD:
    """Projected gradient descent (Madry et al., ICLR 2018): steps of eps / 4 from a random point in the ball."""

    steps: Count = 20
    restarts: Count = 1
    eps: Radius | None = None

    def load(self) -> None: ...

    def variants(self) -> "dict[str, Perturb]":
        from robustkd.attacks.gradient import pgd

        name = f"pgd{self.steps}" + (f"x{self.restarts}" if self.restarts > 1 else "")
        attack = partial(pgd, steps=self.steps, restarts=self.restarts)
        return {f"{name} {format_radius(eps)}": partial(attack, eps=eps) for eps in _radii(self.eps)}


def _radii(eps: float | None) -> tuple[float, ...]:
    return DEFAULT_RADII if eps is None else (eps,)


@dataclass(frozen=True)
class UserAttack:
    """A user's attack, MODULE:CALLABLE or FILE.py:CALLABLE, or a function from an entry point of an installed package."""

    text: str
    function: Callable[..., Any] | None = None

    def load(self) -> None:
        self.resolve()

    def variants(self) -> "dict[str, Perturb]":
        return {self.text: self.perturb}

    def resolve(self) -> Callable[..., Any]:
        """Return the function that the text names.

        Raises:
            UsageError: the text is not of the form MODULE:CALLABLE, or the module or callable does not exist.
        """
        if self.function is not None:
            return self.function
        module_name, _, name = self.text.rpartition(":")
        if not module_name or not name.isidentifier():
            raise UsageError(
                f"--attack {self.text}: an attack of your own is named by MODULE:CALLABLE or FILE.py:CALLABLE, without values"
            )
        module = _import_module(self.text, module_name)
        function: Callable[..., Any] | None = getattr(module, name, None)
        if function is None:
            names = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
            raise UsageError(f"--attack {self.text}: '{module_name}' has no '{name}'{did_you_mean(name, names)}")
        if not callable(function):
            raise UsageError(f"--attack {self.text}: '{name}' of '{module_name}' is not a function")
        return function

    def perturb(self, net: "LogitsFn", images: "Tensor", labels: "Tensor", random: "torch.Generator") -> "Tensor":
        """Apply the user's function to images and check what it returns.

        Raises:
            UsageError: it raises an exception, or does not return images.
        """
        import torch

        function = self.resolve()
        try:
            # Copies, in case it works in place; contiguous, in case it flattens images by `view`.
            with torch.enable_grad():
                perturbed = function(net, images.clone(memory_format=torch.contiguous_format), labels.clone())
        except UsageError:
            raise
        except Exception as error:
            raise UsageError(f"--attack {self.text}: running it failed with {_describe_error(error)}") from error
        if problem := _find_problem(perturbed, images):
            raise UsageError(f"--attack {self.text}: it returns {problem}")
        clipped: Tensor = perturbed.detach().to(images.device, images.dtype).clamp(0, 1)
        return clipped


def _find_problem(perturbed: Any, images: "Tensor") -> str | None:
    """Describe why something is not a perturbed version of images; None if it is."""
    import torch

    if not isinstance(perturbed, torch.Tensor):
        return f"a {type(perturbed).__name__} instead of a tensor of images"
    if perturbed.shape != images.shape:
        return f"images of shape {tuple(perturbed.shape)} for images of {tuple(images.shape)}"
    values = perturbed.detach().to(images.device, images.dtype)
    if not torch.isfinite(values).all():
        return "images that are not finite"
    least, greatest = float(values.min()), float(values.max())
    if least < -1e-6 or greatest > 1 + 1e-6:  # a tolerance for rounding errors
        return f"values from {least:g} to {greatest:g}, but images must be in [0, 1]"
    return None


def _import_module(text: str, name: str) -> ModuleType:
    """Import the user's module, by name (also from the current folder) or by file."""
    is_file = name.endswith(".py")
    if is_file and not Path(name).is_file():
        raise UsageError(f"--attack {text}: there is no file {name}")
    sys.path.insert(0, folder := str(Path.cwd()))  # not on the path of a console script
    try:
        return import_file(Path(name)) if is_file else importlib.import_module(name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            raise UsageError(
                f"--attack {text}: there is no module '{error.name}', neither installed nor in the current folder"
            ) from None
        raise UsageError(f"--attack {text}: importing '{name}' failed with {_describe_error(error)}") from error
    finally:
        sys.path.remove(folder)


def _describe_error(error: Exception) -> str:
    """Describe an exception in one line."""
    return ": ".join(filter(None, (type(error).__name__, " ".join(str(error).split()))))


def parse_attacks(text: str) -> tuple[Attack, ...]:
    """Parse a list of attacks; neither a user's attacks nor torch are imported.

    >>> parse_attacks("fgsm,pgd50,mine:attack")
    (FGSM(eps=None), PGD(steps=50, restarts=1, eps=None), UserAttack(text='mine:attack', function=None))

    Raises:
        UsageError: a name is unknown, or a parameter is invalid.
    """
    attacks: list[Attack] = []
    for part in split_at(text, ","):
        if ":" in part:
            attacks.append(UserAttack(part))
        else:
            spec = ATTACKS.parse(part)
            target = spec.load()
            attacks.append(target(**spec.kwargs()) if isinstance(target, type) else UserAttack(part, target))
    return tuple(attacks)


def attack_version(text: str) -> str:
    """Return the version of an attack's results; a user's attack has a digest of its file, "" if it cannot be imported."""
    if ":" not in text:
        return str(ATTACKS_VERSION)
    try:
        file = Path(str(_import_module(text, text.rpartition(":")[0]).__file__))
        return f"{ATTACKS_VERSION}.{file_digest(file)}"
    except (UsageError, OSError):
        return ""
