"""How far runs are, from their files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from robustkd.study.progress import RunProgress, is_done, read_progress
from robustkd.study.run_folder import execute
from tests.study.toy_study import HINTON, PLAIN, TEACHER, write_study


def test_a_run_that_has_not_begun_has_no_progress(data: Path) -> None:
    plan = write_study(data)
    assert read_progress(plan, PLAIN) is None
    assert not is_done(replace(plan, share=0.25), PLAIN)


def test_a_paused_run_is_done_for_its_share_only_and_is_not_evaluated(data: Path) -> None:
    plan = write_study(data, held_out=0.25)
    execute(replace(plan, share=0.25), PLAIN, lambda progress: None)
    progress = read_progress(plan, PLAIN)
    assert progress is not None
    assert (progress.epochs, progress.total, progress.phases) == (1, 4, 1)
    assert progress.history["seconds"].iloc[-1] > 0
    assert is_done(replace(plan, share=0.25), PLAIN)
    assert not is_done(replace(plan, share=0.5), PLAIN)
    assert not is_done(plan, PLAIN)
    execute(replace(plan, share=1.0), PLAIN, lambda progress: None)
    assert is_done(replace(plan, share=1.0), PLAIN)
    assert not is_done(plan, PLAIN), "it is trained, but not evaluated"
    assert not (plan.run_folder(PLAIN) / "result.json").exists()
    trained = read_progress(plan, PLAIN)
    assert trained is not None
    assert trained.held_out.shape[0] == trained.epochs == 4
    assert (trained.held_out[:1] == progress.held_out).all()


def test_teachers_are_trained_whole_and_evaluated(data: Path) -> None:
    plan = replace(write_study(data), share=0.25)
    for run in (TEACHER, HINTON):
        execute(plan, run, lambda progress: None)
        assert is_done(plan, run)
    assert (plan.run_folder(TEACHER) / "result.json").exists()


def test_the_last_phase_has_begun_when_all_were_seen() -> None:
    history = pd.DataFrame({"phase": ["hint", "hint", "distil"], "seconds": [1.0, 2.0, 3.0]})
    progress = RunProgress(history, total=4, phases=2, held_out=np.zeros((3, 5), np.int16))
    assert [progress.is_in_last_phase(epoch) for epoch in (1, 2, 3)] == [False, False, True]
