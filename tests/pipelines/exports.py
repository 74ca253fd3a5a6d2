"""Untrained networks to export, alone and in the folder of a study, and exports that are refused."""

import numpy as np
import pytest
import torch

from pipelines import cli
from robustkd.models import MODELS
from robustkd.models.build import build_network
from robustkd.study.results import RunKey, write_document
from robustkd.training import checkpoint
from tests.pipelines.documents import make_record, make_result, make_training

NAMES = ["süß, sauer", "a|b <script>", "100 %"]


def save_untrained(path, word="resnet8", shape=(1, 8, 8), head="linear", **more):
    """Save an untrained network whose probabilities differ between images."""
    known = {"model": word, "shape": shape, "classes": NAMES, "mean": [0.4] * shape[0], "std": [0.2] * shape[0]}
    known |= {"head": head, "role": "student", "method": "hinton+balanced", "criterion": "balanced"}
    known |= {"seed": 0, "scenario": "noise0.4"}
    net = build_network(
        MODELS.parse(word), shape=shape, classes=3, mean=known["mean"], std=known["std"], head=head, seed=5
    )
    if head == "linear":
        with torch.no_grad():
            net.head.weight *= 10
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save_net(path, net.state_dict(), {**known, "dataset": "toy", "parameters": 78000, **more})
    return path


def study(folder, truth_known=True):
    """Write the files of a study with one student; return the run's folder."""
    run = folder / "runs" / "hinton+balanced-seed0"
    save_untrained(run / "model.pt")
    logits = np.log([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1]])
    key = RunKey(role="student", method="hinton+balanced", criterion="balanced", seed=0)
    training = make_training(precision="bf16")
    result = make_result(run.name, key, np.array([0, 0, 1]), logits, classes=NAMES, training=training)
    early = result.last.model_copy(update={"metrics": {**result.last.metrics, "accuracy": 0.25}})
    write_document(run / "result.json", result.model_copy(update={"early": early}))
    record = make_record(["baseline", "hinton+balanced"], classes=NAMES, truth_known=truth_known)
    write_document(folder / "study.json", record)
    return run


def refused(arguments, capsys, code=2):
    """Return the one sentence with which an export is refused."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(["export", *map(str, arguments)])
    message = capsys.readouterr().err
    assert stopped.value.code == code, message
    assert message.startswith("robustkd: ")
    assert message.count("\n") == 1
    return message
