"""A small study on disk whose networks are untrained, for tests that do not depend on what networks have learned."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from pipelines import planning
from robustkd.method_spec import MethodSpec
from robustkd.study import run_folder
from robustkd.study.construct import seeded_network
from robustkd.study.options import StudyOptions
from robustkd.study.plan import Plan, Run
from robustkd.study.results import RunResult, TrainingInfo, read_document
from robustkd.study.run import TrainedRun
from robustkd.study.run_folder import load_source, load_views
from robustkd.study.versions import method_version
from robustkd.training import checkpoint

CLASSES = ("a, b", "a; b", "<süß>")
TEACHER = Run("teacher", MethodSpec.parse("baseline+ce"), 0)
HINTON, PLAIN = (Run("student", MethodSpec.parse(method), 0) for method in ("hinton", "baseline"))


def write_true_labels(path: Path, clean: np.ndarray | None) -> None:
    """Write the true labels into the data set, or remove them."""
    with np.load(path) as file:
        content = {**dict(file), "classes": np.array(CLASSES)}
    content.pop("clean", None)
    np.savez(path, **content, **({} if clean is None else {"clean": clean}))
    run_folder._read_source.cache_clear()


def write_study(data: Path, **changes: Any) -> Plan:
    """Write a study of the data set with its manifests; nothing is trained."""
    options = {"scenario": "noise0.4", "methods": "baseline,hinton", "student": "resnet8", "teacher": "wrn_10_1"}
    options |= {"batch": 16, "epochs": 4, "seeds": 2, "jobs": 1, "precision": "fp32"}
    return planning.draft_study(StudyOptions(dataset=f"npz:{data}", **{**options, **changes})).write()


def save_untrained(plan: Plan, run: Run, spoil: float = 1.0) -> None:
    """Write the files of a trained run with untrained networks that predict every class for some images."""
    folder, view = plan.run_folder(run), load_views(plan, run.seed).train
    images = torch.from_numpy(load_source(plan.options).images).float() / 255
    nets = [seeded_network(view, run, plan.settings, number) for number in (0, 1)]
    for net in nets:
        with torch.no_grad():
            net.head.bias -= net.eval()(images).logits.mean(dim=0)
        weights = {key: spoil * value for key, value in net.state_dict().items()}
        net.load_state_dict({**weights, "mean": net.mean, "std": net.std})
    info = TrainingInfo(
        **{
            "seconds": {"teacher": 5.0, "student": 2.0}[run.role],
            "samples": len(view),
            "updates": 4 * -(-len(view) // 16),
        },
        **{"images_per_second": 9.0, "peak_memory": None, "early_epoch": 1, "finished": 0.0, "precision": "fp32"},
        **{"device": "cpu", "torch": torch.__version__, "version": method_version(run.method), "hyperparameters": {}},
    )
    outcome = TrainedRun(nets[0], "linear", info, pd.DataFrame({"epoch": [1], "accuracy": [0.5]}), nets[1].state_dict())
    folder.mkdir(parents=True, exist_ok=True)
    run_folder.save_trained(folder, outcome, run_folder.card_in_study(plan, run, outcome))


def read_result(plan: Plan, run: Run) -> RunResult:
    """Read a run's result from its file, which must be strict JSON."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    path = plan.run_folder(run) / "result.json"
    json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    return read_document(path, RunResult)


def evaluate_untrained(plan: Plan, *runs: Run) -> list[RunResult]:
    """Evaluate runs with untrained networks, in this order."""
    for each in runs:
        save_untrained(plan, each)
    for each in runs:
        run_folder.evaluate_in_folder(plan, each)
    return [read_result(plan, each) for each in runs]


def predict_classes(plan: Plan, path: Path, view: Any) -> np.ndarray:
    """Return the classes that a network predicts for a view, in one batch."""
    net, _ = checkpoint.load_net(path)
    with torch.no_grad():
        return net(torch.from_numpy(view.images()).float() / 255).logits.argmax(dim=1).numpy()
