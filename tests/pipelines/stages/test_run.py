"""The run command: estimates of a dry run, and which runs are left to do."""

from pathlib import Path

import pytest

from pipelines import cli
from tests.pipelines.toys import study_arguments


def test_a_dry_run_estimates_the_time_and_writes_nothing(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main([*study_arguments("run", data, methods="baseline,fitnet"), "--dry-run"])
    said = capsys.readouterr().out
    # 72 images, 24 of each class: 18 for training after the test split of 6, 2 of them held out, so 4 batches of 12.
    assert "baseline-seed0: 6 updates" in said
    assert "fitnet-seed0: 9 updates" in said, "a first phase of one epoch"
    assert "3 of 3 runs to do" in said
    assert not list(Path("studies").iterdir()), "it leaves nothing behind"
