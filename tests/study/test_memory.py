"""Training that does not fit into memory: the batch that would, and the sentence for the user."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from robustkd.errors import ExecutionError
from robustkd.method import Method
from robustkd.methods.baseline import Baseline
from robustkd.study import run_folder
from robustkd.study.memory import OutOfSharedMemory, describe_lack_of_memory, find_fitting_batch
from robustkd.study.run_folder import load_views
from robustkd.types import Batch, Objective
from tests.helpers import make_settings
from tests.study.toy_study import PLAIN, save_untrained, write_study


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Batches of more than five images do not fit; return the sizes of the batches that were tried."""
    sizes: list[int] = []
    objective = Baseline.objective

    def limited(self: Method, batch: Batch) -> Objective:
        sizes.append(len(batch.labels))
        if len(batch.labels) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return objective(self, batch)

    monkeypatch.setattr(Baseline, "objective", limited)
    return sizes


def test_the_largest_part_of_the_batch_that_fits_is_found(data: Path, small_memory: list[int]) -> None:
    plan = write_study(data)
    assert find_fitting_batch(load_views(plan, 0).train, PLAIN, plan.settings) == 4
    assert list(dict.fromkeys(small_memory)) == [8, 4]


def test_another_error_is_not_taken_for_a_lack_of_memory(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = write_study(data)

    def fail(*_: Any) -> Objective:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(Baseline, "objective", fail)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        find_fitting_batch(load_views(plan, 0).train, PLAIN, plan.settings)


@pytest.mark.usefixtures("small_memory")
def test_a_run_ends_with_the_batch_that_fits_and_no_traceback(data: Path) -> None:
    plan = write_study(data)
    with pytest.raises(ExecutionError) as caught:
        run_folder.execute(plan, PLAIN, lambda progress: None)
    assert str(caught.value) == (
        "out of memory on cpu with batches of 16 images; batches of 4 fit, as one update showed: use --batch 4, with"
        " --accumulate 4 for updates of as many images"
    )
    assert not (plan.run_folder(PLAIN) / "error.txt").exists()


def test_where_nothing_fits_no_batch_is_named(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = write_study(data)

    def fail(*_: Any) -> Objective:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")

    monkeypatch.setattr(Baseline, "objective", fail)
    with pytest.raises(ExecutionError, match=r"^out of memory on cpu with batches of 16 images, and no smaller batch"):
        run_folder.execute(plan, PLAIN, lambda progress: None)


def test_a_lack_of_memory_during_evaluation_is_named_as_such(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = write_study(data)
    save_untrained(plan, PLAIN)

    def fail(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(run_folder, "evaluate", fail)
    with pytest.raises(
        ExecutionError, match="out of memory on cpu during evaluation; with more memory, the same command"
    ):
        run_folder.execute(plan, PLAIN, lambda progress: None)


def test_updates_of_at_least_as_many_images_are_proposed() -> None:
    settings = replace(make_settings(), batch=100, device="cuda")
    assert "--accumulate 3 " in describe_lack_of_memory(settings, 37)


def test_next_to_others_no_batch_is_searched(data: Path, small_memory: list[int]) -> None:
    plan = replace(write_study(data), jobs=3)
    with pytest.raises(OutOfSharedMemory, match=r"^out of memory on cpu with 3 runs in parallel"):
        run_folder.execute(plan, PLAIN, lambda progress: None)
    assert set(small_memory) == {16}
