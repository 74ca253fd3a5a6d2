"""What is evaluated after every epoch, and the weights of the epoch that is chosen on held-out rows."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustkd import seeds
from robustkd.data.loader import Loader
from robustkd.data.manifest import Splits
from robustkd.data.view import View
from robustkd.models.net import Network
from robustkd.study.early_stopping import stopping_score
from robustkd.study.evaluate import evaluation_loader
from robustkd.study.plan import Settings
from robustkd.study.recipe_presets import Role
from robustkd.study.results import MONITORED
from robustkd.training import engine
from robustkd.training.inference import compute_accuracy, predict_logits


def sample_rows(view: View) -> View:
    """Select the rows of a view to evaluate after every epoch: the same for every seed, in order."""
    keys = seeds.row_keys(0, view.sample_ids)
    return view.take(np.sort(np.argsort(keys, kind="stable")[:MONITORED]))


def memorisation_rates(net: Network, loader: Loader) -> dict[str, float]:
    """Return the shares of wrongly labelled rows predicted as their wrong label and as their true class."""
    view = loader.view
    if not len(view) or view.truth is None:
        return {}
    predicted = predict_logits(net, loader).argmax(axis=1)
    return {
        "memorised": float((predicted == view.labels).mean()),
        "recovered": float((predicted == view.truth).mean()),
    }


class EpochMonitor:
    """Evaluates the network after every epoch, and keeps the weights of the epoch that is chosen on held-out rows.

    It is an epoch of the last phase: before, the network is not what the method results in.

    Args:
        role: of the run.
        epochs: of the whole run.
        state: of a checkpoint, if the run is continued.
    """

    def __init__(
        self, data: Splits, settings: Settings, role: Role, epochs: int, state: Mapping[str, Any] | None
    ) -> None:
        device = torch.device(settings.device)
        corrupted = data.train.take(data.train.corrupted)
        views = sample_rows(data.test), data.held_out, sample_rows(corrupted)
        self.test, self.held_out, self.corrupted = (evaluation_loader(view, device) for view in views)
        self.counts_skipped, self.epochs = settings.on_nonfinite == "skip", epochs
        self.early_rule, self.stops_early = settings.early_rule, settings.stops_early(role)
        self.rows: list[dict[str, Any]] = [] if state is None else json.loads(state["rows"])
        self.best: dict[str, Any] = {"accuracy": -1.0} if state is None else state["best"]
        self.predicted: list[Tensor] = [] if state is None else [*state.get("held_out", ())]

    @property
    def seconds(self) -> float:
        """Training time so far."""
        return float(self.rows[-1]["seconds"]) if self.rows else 0.0

    @property
    def skipped_updates(self) -> int:
        """Updates so far that were dropped because they were not finite."""
        return sum(int(row.get("skipped_updates", 0)) for row in self.rows)

    def add(self, epoch: engine.Epoch, net: Network, seconds: float) -> dict[str, Any]:
        """Evaluate an epoch; return its row."""
        row: dict[str, Any] = {"epoch": epoch.number, "phase": epoch.phase, "seconds": seconds, **epoch.terms}
        row |= {"skipped_updates": epoch.skipped} if self.counts_skipped else {}
        row["accuracy"] = compute_accuracy(net, self.test)
        row["held_out_accuracy"] = self._predict_held_out(net)
        row |= memorisation_rates(net, self.corrupted)
        if self.rows and self.rows[-1]["phase"] != epoch.phase:
            self.best = {"accuracy": -1.0}
        self.rows.append(row)
        score = stopping_score([row["held_out_accuracy"] for row in self.rows], self.early_rule, self.epochs)
        if score > self.best["accuracy"]:
            weights = {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}
            self.best = {"accuracy": score, "epoch": epoch.number, "weights": weights}
        return row

    def select_network(self, net: Network) -> Network:
        """Return a network after training, with the weights of the chosen epoch if it is a teacher to be stopped early."""
        if self.stops_early:
            net.load_state_dict(self.best["weights"])
        return net

    def _predict_held_out(self, net: Network) -> float:
        """Keep the predicted classes of the held-out rows, and return the accuracy; NaN without such rows."""
        view = self.held_out.view
        if not len(view):
            return float("nan")
        predicted = predict_logits(net, self.held_out).argmax(axis=1)
        self.predicted.append(torch.from_numpy(predicted.astype(np.int16)))
        return float((predicted == view.labels).mean())

    @property
    def held_out_predictions(self) -> NDArray[np.int16]:
        """The predicted classes of the held-out rows after each epoch (e, N); e is 0 without such rows."""
        stacked: NDArray[np.int16] = (
            torch.stack(self.predicted).numpy() if self.predicted else np.zeros((0, 0), np.int16)
        )
        return stacked

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint needs of it."""
        held_out = {"held_out": torch.stack(self.predicted)} if self.predicted else {}
        return {"rows": json.dumps(self.rows), "best": self.best, **held_out}
