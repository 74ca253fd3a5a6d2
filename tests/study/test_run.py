"""Runs in memory."""

import io
import math
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from robustkd.method_spec import MethodSpec
from robustkd.methods.baseline import Baseline
from robustkd.models import MODELS
from robustkd.models.build import build_network
from robustkd.study import run_folder
from robustkd.study.construct import seeded_network
from robustkd.study.evaluate import Teacher
from robustkd.study.plan import Run
from robustkd.study.run import TrainedRun, estimate_training, model_card, run
from robustkd.study.run_folder import load_views
from robustkd.training import checkpoint
from robustkd.types import Batch, Objective
from tests.records import make_training
from tests.study.toy_study import (
    HINTON,
    PLAIN,
    TEACHER,
    read_result,
    write_study,
)


def test_a_run_in_memory_equals_the_run_in_a_folder(data: Path) -> None:
    """`run` needs no folder, and trains the same weights with the same result."""
    plan = write_study(data)
    for each in (TEACHER, HINTON):
        run_folder.execute(plan, each, lambda progress: None)
    views, epochs = load_views(plan, 0), []
    teacher_outcome = run(views, TEACHER, plan.settings)
    teacher = Teacher(teacher_outcome.trained.model, teacher_outcome.trained.info.seconds)
    outcome = run(views, HINTON, plan.settings, teacher=teacher, report=epochs.append)
    net, _ = checkpoint.load_net(plan.run_folder(HINTON) / "model.pt")
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in outcome.trained.model.state_dict().items())
    excluded = {"cost", "training", "files"}  # times, and checksums of what is in the folder
    assert outcome.result.model_dump(exclude=excluded) == read_result(plan, HINTON).model_dump(exclude=excluded)
    assert [event.epoch for event in epochs] == [1, 2, 3, 4]


class MemoryCheckpointer:
    """A checkpointer that keeps the state in memory and saves after every epoch."""

    interval, share = -1.0, 1.0

    def should_stop(self) -> bool:
        return False

    def __init__(self) -> None:
        self.content = b""

    def load(self) -> dict[str, Any] | None:
        return torch.load(io.BytesIO(self.content), weights_only=True) if self.content else None

    def save(self, state: Any) -> None:
        stream = io.BytesIO()
        torch.save(dict(state), stream)
        self.content = stream.getvalue()


def test_a_run_in_memory_is_resumed_from_its_checkpointer(data: Path) -> None:
    plan = write_study(data)
    views, kept = load_views(plan, 0), MemoryCheckpointer()

    def stop(event: Any) -> None:
        if event.epoch == 2:
            raise KeyboardInterrupt

    whole = run(views, PLAIN, plan.settings)
    with pytest.raises(KeyboardInterrupt):
        run(views, PLAIN, plan.settings, checkpointer=kept, report=stop)
    epochs: list[int] = []
    rest = run(views, PLAIN, plan.settings, checkpointer=kept, report=lambda event: epochs.append(event.epoch))
    assert epochs == [1, 2, 3, 4], "those of the earlier process are reported first"
    weights = rest.trained.model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in whole.trained.model.state_dict().items())
    assert rest.trained.history.drop(columns="seconds").equals(whole.trained.history.drop(columns="seconds"))


def test_a_run_that_continues_with_other_threads_says_so_and_records_both(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, kept, notes = write_study(data), MemoryCheckpointer(), []
    views = load_views(plan, 0)

    def stop(event: Any) -> None:
        if event.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(views, PLAIN, plan.settings, checkpointer=kept, report=stop)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    outcome = run(views, PLAIN, plan.settings, checkpointer=kept, report=lambda event: notes.append(event.note))
    (note,) = filter(None, notes)
    assert "threads 1 and 5" in note
    assert notes.index(note) == 1, "with the last epoch of the earlier process"
    assert [machine.threads for machine in outcome.trained.info.machines] == [1, 5]


def test_skipped_updates_are_counted_in_the_record_and_the_epochs(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, objective, calls = write_study(data), Baseline.objective, count(1)

    def spoiled(self: Baseline, batch: Batch) -> Objective:
        factor = math.nan if next(calls) in (2, 8) else 1.0  # in the first and in the third epoch of three batches
        return objective(self, replace(batch, images=factor * batch.images))

    monkeypatch.setattr(Baseline, "objective", spoiled)
    settings = replace(plan.settings, on_nonfinite="skip")
    trained = run(load_views(plan, 0), PLAIN, settings).trained
    assert trained.info.updates == 4 * 3
    assert trained.info.skipped_updates == 2
    assert trained.history["skipped_updates"].tolist() == [1, 0, 1, 0]
    assert "skipped_updates" not in run(load_views(plan, 0), PLAIN, plan.settings).trained.history


def test_a_method_that_needs_a_teacher_is_refused_without_one(data: Path) -> None:
    plan = write_study(data)
    with pytest.raises(TypeError, match="'hinton' needs a teacher: run"):
        run(load_views(plan, 0), HINTON, plan.settings)


def test_an_estimate_counts_the_updates_of_all_phases(data: Path) -> None:
    plan = write_study(data)
    train = load_views(plan, 0).train
    batches = len(train) // plan.settings.batch
    assert batches > 1
    updates, seconds, _ = estimate_training(train, PLAIN, plan.settings, steps=1)
    assert updates == plan.settings.recipe.epochs * batches
    assert seconds > 0
    fitnet = Run("student", MethodSpec.parse("fitnet"), 0)
    settings = replace(plan.settings, student="wrn_10_1", teacher="wrn_10_1")
    more, _, _ = estimate_training(train, fitnet, settings, steps=1)
    assert more > updates, "the hints are trained first"


@pytest.mark.parametrize(("text", "weight"), [("at", 62.5), ("at(weight=3)", 3.0)])
def test_defaults_that_follow_the_data_are_recorded(data: Path, text: str, weight: float) -> None:
    plan = write_study(data)
    settings = replace(plan.settings, student="wrn_10_1", teacher="wrn_10_1")
    views, spec = load_views(plan, 0), Run("student", MethodSpec.parse(text), 0)
    assert views.train.sources[0].shape[1:] == (8, 8)
    assert estimate_training(views.train, spec, settings, steps=1).resolved == (
        {"weight": 62.5} if text == "at" else {}
    )
    teacher = Teacher(lambda: seeded_network(views.train, TEACHER, settings))
    outcome = run(views, spec, settings, teacher=teacher)
    assert outcome.trained.info.hyperparameters["at.weight"] == weight


@pytest.mark.parametrize(("run_spec", "network"), [(TEACHER, "wrn_10_1"), (PLAIN, "resnet8")])
def test_a_model_card_rebuilds_the_network(data: Path, run_spec: Run, network: str) -> None:
    plan = write_study(data)
    train = load_views(plan, 0).train
    net, source = seeded_network(train, run_spec, plan.settings), train.sources[0]
    trained = TrainedRun(net, "linear", make_training(), pd.DataFrame())
    card = model_card(trained, run_spec, plan.settings, source, dataset="toy")
    assert (card["model"], card["role"], card["criterion"], card["dataset"]) == (network, run_spec.role, "ce", "toy")
    assert card["oracle"] is False
    oracle = replace(run_spec, method=MethodSpec.parse("co_teaching(rate=0.4)"))
    assert model_card(trained, oracle, plan.settings, source)["oracle"] is True
    assert card["parameters"] == sum(parameter.numel() for parameter in net.parameters())
    rebuilt = build_network(
        MODELS.parse(card["model"]),
        **{name: card[name] for name in ("shape", "mean", "std", "head")},
        classes=len(card["classes"]),
        seed=1,
    )
    rebuilt.load_state_dict(net.state_dict())
