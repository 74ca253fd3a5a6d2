"""The folder of a run, written without training, and what is logged of it."""

import json
import tempfile
from pathlib import Path

import numpy as np
import torch

from pipelines import tracking
from robustkd.models import MODELS
from robustkd.models.build import build_network
from robustkd.study.results import RunKey, RunResult, read_document, write_document
from robustkd.training import checkpoint
from tests.pipelines.documents import make_result, make_training

NAMES = ("süß, sauer", "süß; sauer", "a/b")


def make_run(folder, name, *, role="student", word="resnet8", shape=(3, 8, 8), head="linear", finished=None):
    """Write a run's folder as a study does; return it with its result."""
    path = folder / name
    path.mkdir(parents=True)
    card = {
        "model": word,
        "shape": shape,
        "classes": NAMES,
        "mean": [0.5] * shape[0],
        "std": [0.2] * shape[0],
        "head": head,
    }
    card |= {"method": "hinton", "seed": 0}
    net = build_network(
        MODELS.parse(word), shape=shape, classes=3, mean=card["mean"], std=card["std"], head=head, seed=5
    )
    for file in ("model.pt", "early.pt", "unfinished.pt"):
        checkpoint.save_net(path / file, net.state_dict(), card)
    training = make_training(hyperparameters={"hinton.alpha": 0.9}, **({"finished": finished} if finished else {}))
    run = RunKey(role=role, method="hinton", criterion="ce", seed=0)
    labels, logits = np.array([0, 0, 1, 1, 1]), np.log(np.eye(3) + 1)[[0, 1, 1, 1, 1]]
    result = make_result(name, run, labels, logits, classes=NAMES, training=training)
    last = result.last
    ensemble = last.model_copy(update={"metrics": {**last.metrics, "accuracy": 0.6}})
    result = result.model_copy(update={"early": last, "auxiliary": {"ensemble": ensemble}})
    write_document(path / "result.json", result)
    (path / "epochs.csv").write_text("epoch\n1\n")
    np.savez(path / "test-last.npz", logits=np.zeros(3))
    return path, read_document(path / "result.json", RunResult)


DATASET = {"name": "digits", "digest": "0123456789abcdef" * 4, "source": "digits", "counts": {"train": 7}}


def start_study(tracker=None, **changes):
    """Open the tracked run of a study, by default in a new tracker, of experiment `tests`, and in a folder of its own."""
    tracker = tracker or tracking.open_tracker("mlflow", changes.pop("experiment", "tests"))
    folder = changes.pop("folder", None) or Path(tempfile.mkdtemp(prefix="study-", dir="."))
    given = {"params": {}, "resolved": {}, "config": {}, "scenario_files": [], "dataset": DATASET, "tags": {}}
    tracker.start_study("study", **{**given, "folder": folder, **changes})
    return tracker


def tracked_run_id(folder):
    return json.loads((folder / "tracked.json").read_text())["run_id"]


def assert_predictions_match(model, path, shape):
    net, card = checkpoint.load_net(path)
    serving_model = checkpoint.ServingModel(net, card["shape"]).eval()
    for n in (1, 3, 100):
        images = np.random.default_rng(n).integers(0, 256, (n, *shape), dtype=np.uint8)
        with torch.no_grad():
            expected = serving_model(torch.from_numpy(images)).numpy()
        np.testing.assert_allclose(model.predict(images), expected, atol=1e-6)
        np.testing.assert_allclose(expected.sum(axis=1), 1, atol=1e-5)
