"""The epoch of early-stopped networks, and teachers that are stopped early."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from robustkd.errors import UsageError
from robustkd.method_spec import MethodSpec
from robustkd.study import run_folder
from robustkd.study.early_stopping import check_early_stopping, stopping_score
from robustkd.study.evaluate import Teacher
from robustkd.study.options import StudyOptions
from robustkd.study.plan import Plan, Run
from robustkd.study.run import run
from robustkd.study.run_folder import load_teacher, load_views
from robustkd.training import checkpoint
from tests.study.test_run import MemoryCheckpointer
from tests.study.toy_study import HINTON, PLAIN, TEACHER, write_study


def chosen(accuracies: list[float], rule: Any) -> int:
    """Return the epoch that is chosen, counted from 1, as the monitor does."""
    best, epoch = -1.0, 0
    for number in range(1, len(accuracies) + 1):
        score = stopping_score(accuracies[:number], rule, len(accuracies))
        if score > best:
            best, epoch = score, number
    return epoch


@pytest.mark.parametrize(
    ("accuracies", "best", "smoothed"),
    [
        ([0.1, 0.9, 0.2, 0.6, 0.6, 0.6, 0.5], 2, 6),  # a single lucky epoch; means .4, .567, .467, .6, .567
        ([0.1, 0.2, 0.3, 0.4], 4, 4),
        ([0.4, 0.4, 0.4, 0.4], 1, 3),  # the first of equal ones, and the first full window
        ([0.7, 0.1, 0.2, 0.3, 0.2, 0.1], 1, 3),  # sums 1.0, .6, .7, .6
        ([0.3, 0.5], 2, 2),  # a run shorter than the window: the mean of all
        ([0.6], 1, 1),
    ],
)
def test_the_epoch_of_each_rule(accuracies: list[float], best: int, smoothed: int) -> None:
    assert chosen(accuracies, "best") == best
    assert chosen(accuracies, "smoothed") == smoothed


def test_the_rules_agree_with_pandas() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        hits = rng.integers(40, 60, 20) / 136
        assert chosen([*hits], "best") == int(hits.argmax()) + 1
        means = pd.Series(hits).rolling(3).mean().round(9)
        assert chosen([*hits], "smoothed") == int(means.idxmax()) + 1


def test_equal_means_of_other_orders_do_not_replace_each_other() -> None:
    """0.1 + 0.2 + 0.3 is not 0.3 + 0.2 + 0.1 in floats that are summed one by one."""
    scores = {stopping_score(order, "smoothed", 9) for order in ([0.1, 0.2, 0.3], [0.3, 0.2, 0.1], [0.2, 0.3, 0.1])}
    assert len(scores) == 1


def test_without_held_out_rows_no_epoch_is_chosen() -> None:
    assert chosen([math.nan] * 5, "best") == chosen([math.nan] * 5, "smoothed") == 0


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load_net(path)[0].state_dict()


def equal(one: Any, other: Any) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.fixture
def plan(data: Path) -> Plan:
    """Return a study of six epochs whose networks overfit, with a fifth of the rows held out."""
    return write_study(data, held_out=0.4, epochs=6, lr=0.5)


def with_settings(plan: Plan, **changes: Any) -> Plan:
    return replace(plan, settings=replace(plan.settings, **changes))


def execute_until(plan: Plan, spec: Run, epoch: int) -> None:
    """Train a run in its folder up to an epoch, after which it is saved and stopped."""
    seen: list[int] = []
    with pytest.raises(run_folder.RunStopped):
        run_folder.execute(plan, spec, lambda p: seen.append(p.epoch), lambda: len(seen) + 1 >= epoch)


def test_early_pt_is_the_network_of_the_chosen_epoch(plan: Plan) -> None:
    """As trained by a run of that many epochs with a constant rate, whose last network it is."""
    constant = replace(plan.settings.recipe, schedule="constant")
    plan = with_settings(plan, recipe=constant, early_rule="smoothed")
    whole = run(load_views(plan, 0), PLAIN, plan.settings).trained
    epoch = chosen([*whole.history["held_out_accuracy"]], "smoothed")
    assert whole.info.early_epoch == epoch
    short = with_settings(plan, recipe=replace(constant, epochs=epoch))
    assert equal(run(load_views(plan, 0), PLAIN, short.settings).trained.model.state_dict(), whole.early_weights)


def test_the_chosen_epoch_is_of_the_last_phase(plan: Plan) -> None:
    """The classifier of crt is trained after the network, which an earlier epoch has instead of it."""
    spec = Run("student", MethodSpec.parse("crt"), 0)
    trained = run(load_views(plan, 0), spec, plan.settings).trained
    history = trained.history.set_index("epoch")
    last = history[history["phase"] == history["phase"].iloc[-1]]
    assert len(last) == 3 < len(history) == 9
    assert trained.info.early_epoch == last["held_out_accuracy"].idxmax()


def test_a_resumed_run_chooses_the_same_epoch(plan: Plan) -> None:
    """The mean is over epochs of both processes."""
    settings = with_settings(plan, early_rule="smoothed").settings
    views, kept = load_views(plan, 0), MemoryCheckpointer()

    def stop(event: Any) -> None:
        if event.epoch == 3:
            raise KeyboardInterrupt

    whole = run(views, PLAIN, settings).trained
    with pytest.raises(KeyboardInterrupt):
        run(views, PLAIN, settings, checkpointer=kept, report=stop)
    rest = run(views, PLAIN, settings, checkpointer=kept).trained
    assert rest.info.early_epoch == whole.info.early_epoch
    assert equal(rest.early_weights, whole.early_weights)


def test_students_are_distilled_from_the_early_network_of_their_teacher(plan: Plan) -> None:
    early = with_settings(plan, teacher_stop="early")
    run_folder.execute(plan, TEACHER, lambda progress: None)
    folder = plan.run_folder(TEACHER)
    last, stopped = weights_of(folder / "model.pt"), weights_of(folder / "early.pt")
    assert not equal(last, stopped), "otherwise this test shows nothing"
    outcome = run(load_views(plan, 0), TEACHER, early.settings)
    assert equal(outcome.trained.model.state_dict(), stopped)
    assert outcome.result.last == outcome.result.early
    expected = run(load_views(plan, 0), HINTON, plan.settings, teacher=Teacher(outcome.trained.model)).trained.model
    for file in folder.iterdir():
        file.unlink()
    run_folder.execute(early, TEACHER, lambda progress: None)
    assert equal(weights_of(folder / "early.pt"), stopped)
    teacher = load_teacher(early, HINTON, load_views(early, 0))
    assert teacher is not None
    assert equal(teacher.network().state_dict(), stopped)
    run_folder.execute(early, HINTON, lambda progress: None)
    assert equal(weights_of(early.run_folder(HINTON) / "model.pt"), expected.state_dict())
    cards = [checkpoint.load_net(folder / name)[1]["stopped_at"] for name in ("model.pt", "early.pt")]
    assert cards == 2 * [outcome.trained.info.early_epoch]
    assert "stopped_at" not in checkpoint.load_net(early.run_folder(HINTON) / "model.pt")[1]


def test_a_teacher_that_was_interrupted_is_stopped_early_alike(plan: Plan) -> None:
    early = with_settings(plan, teacher_stop="early")
    outcome = run(load_views(plan, 0), TEACHER, early.settings)
    execute_until(early, TEACHER, outcome.trained.info.early_epoch or 0)
    run_folder.execute(early, TEACHER, lambda progress: None)
    assert equal(weights_of(early.run_folder(TEACHER) / "model.pt"), outcome.trained.model.state_dict())


def test_the_options_are_part_of_the_identity_where_they_are_given(data: Path) -> None:
    folders = [
        write_study(data, **changes).folder.name
        for changes in ({}, {"teacher_stop": "early"}, {"early_rule": "smoothed"}, {"teacher_stop": "last"})
    ]
    assert len(set(folders)) == 3
    assert folders[0] == folders[3]
    assert {"teacher_stop", "early_rule"}.isdisjoint(StudyOptions(scenario="clean").identity())


@pytest.mark.parametrize(
    ("changes", "held_out", "given", "message"),
    [
        (
            {"teacher_stop": "early"},
            0,
            False,
            "--teacher-stop early: the epoch is chosen by held-out rows, and no rows",
        ),
        ({"early_rule": "smoothed"}, 0, False, "--early-rule smoothed: the epoch is chosen by held-out rows, and no"),
        (
            {"teacher_stop": "early"},
            9,
            True,
            "--teacher-stop early: the teacher wrn_16_1 is already trained, so its epoch",
        ),
    ],
)
def test_options_without_an_effect_are_refused(
    changes: dict[str, Any], held_out: int, given: bool, message: str
) -> None:
    with pytest.raises(UsageError) as error:
        check_early_stopping(StudyOptions(scenario="clean", **changes), held_out, given)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_options_with_an_effect_are_not() -> None:
    check_early_stopping(StudyOptions(scenario="clean"), 0, True)
    check_early_stopping(StudyOptions(scenario="clean", early_rule="smoothed", teacher_stop="early"), 9, False)
