"""Accuracy under adversarial attacks on the test images, evaluated on request.

The accuracies are upper bounds of robustness, since FGSM and PGD may miss adversarial examples that exist.
"""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import recall_score
from torch import Tensor, nn

from robustkd.data.loader import Loader
from robustkd.data.view import View
from robustkd.evaluation.attack_specs import UserAttack, parse_attacks
from robustkd.models.net import Network

if TYPE_CHECKING:
    from robustkd.evaluation.attack_specs import Perturb

SEED = 0  # of all random draws here, so that results are reproducible
MAX_PIXELS = 1 << 18  # of the images that are attacked at a time: 256 of 32x32
MIN_BATCH = 32  # images at a time, however large they are


def check_user_attacks(net: Network, view: View, attacks: str) -> None:
    """Run the user's own attacks on two images, so that one that does not work is refused before anything is trained.

    The network's predictions serve as labels, because most attacks do not change images that are misclassified already.

    Args:
        net: with the study's shapes, on its device; trained or not.
        view: provides the images.
        attacks: the list of attacks as typed.

    Raises:
        UsageError: an attack does not exist, raises an exception, or does not return images.
    """
    user_attacks = [attack for attack in parse_attacks(attacks) if isinstance(attack, UserAttack)]
    for attack in user_attacks:
        attack.load()
    loader = Loader(view.take(np.arange(min(2, len(view)))), 2, net.mean.device, augment=False)
    for attack in user_attacks:
        target = attackable_copy(net)
        with seeded_generator(loader.device) as random:
            for images, _ in loader.iter_plain():
                attack.perturb(target, images, target(images).argmax(dim=1), random)


def evaluate_attacks(net: Network, loader: Loader, attacks: str) -> dict[str, dict[str, Any]]:
    """Evaluate a network on a view whose images are attacked, with each attack.

    Gradients and predictions are computed in float32 whatever precision the network uses, since rounding could hide a
    gradient. Attacks get copies of the network, which itself is unchanged.

    Args:
        loader: of the view, without augmentation; its labels are used by the attacks and for the accuracy.
        attacks: the list of attacks as typed.

    Returns:
        By attack and radius ("fgsm 8/255", "pgd20 2/255", or a user's attack as typed): accuracy, balanced_accuracy and recall
        {class name: value, None for a class without samples}; for a user's attack also largest_linf and largest_l2, the
        largest change of any image.

    Raises:
        UsageError: a name is unknown, or a user's attack does not return images.
    """
    results: dict[str, dict[str, Any]] = {}
    for attack in parse_attacks(attacks):
        for name, perturb in attack.variants().items():
            if name in results:  # pgd and pgd20 are the same
                continue
            outcome = _attack_view(net, loader, perturb)
            results[name] = _score(loader.view, outcome.predictions)
            if isinstance(attack, UserAttack):
                results[name] |= {"largest_linf": outcome.largest_linf, "largest_l2": outcome.largest_l2}
    return results


class _Outcome(NamedTuple):
    """Predictions for a view's attacked images, and the largest change of any image."""

    predictions: NDArray[np.int64]  # (n,)
    largest_linf: float
    largest_l2: float


def _attack_view(net: Network, loader: Loader, perturb: "Perturb") -> _Outcome:
    size = max(MIN_BATCH, MAX_PIXELS // math.prod(loader.view.sources[0].shape[1:]))
    # An attack may change the network it gets, so predictions are made by another copy.
    target, judge = attackable_copy(net), attackable_copy(net)
    predictions, linf, l2 = [], [], []
    with seeded_generator(loader.device) as random:
        for batch, batch_labels in loader.iter_plain():
            for images, labels in zip(torch.split(batch, size), torch.split(batch_labels, size), strict=True):
                perturbed = perturb(target.eval(), images, labels, random)  # a user's attack may leave training mode on
                with torch.no_grad():
                    predictions.append(judge(perturbed).argmax(dim=1))
                    change = (perturbed - images).flatten(1)
                    linf.append(change.abs().amax())
                    l2.append(change.norm(dim=1).amax())
    return _Outcome(torch.cat(predictions).cpu().numpy(), float(torch.stack(linf).max()), float(torch.stack(l2).max()))


def _score(view: View, predictions: NDArray[np.int64]) -> dict[str, Any]:
    """Compute accuracy, balanced accuracy and the recall of each class from predictions (n,)."""
    recall = recall_score(
        view.labels, predictions, labels=np.arange(len(view.classes)), average=None, zero_division=np.nan
    )
    by_class = zip(view.classes, recall, view.counts, strict=True)
    return {
        "accuracy": float((predictions == view.labels).mean()),
        "balanced_accuracy": float(recall[view.counts > 0].mean()),
        "recall": {name: float(value) if count else None for name, value, count in by_class},
    }


class _LogitsModel(nn.Module):
    """A network whose output is only its logits."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images).logits


def attackable_copy(net: Network) -> nn.Module:
    """Copy a network as attacks use it: images in [0, 1] -> logits, in evaluation mode and float32, parameters frozen.

    Nothing that an attack does to the copy changes the network.
    """
    copied = copy.deepcopy(net)
    copied.bf16 = False
    return _LogitsModel(copied).eval().requires_grad_(False)


@contextmanager
def seeded_generator(device: torch.device) -> Iterator[torch.Generator]:
    """Provide a seeded generator, and seed the global one, which user code may draw from; the latter is restored on exit."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(SEED)
        yield torch.Generator(device).manual_seed(SEED)
