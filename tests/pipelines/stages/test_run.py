"""The run command: estimates of a dry run."""

from pathlib import Path

import pytest

from pipelines import cli
from tests.pipelines.toys import study_arguments


def test_a_dry_run_estimates_the_time_and_writes_nothing(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main([*study_arguments("run", data, methods="baseline,fitnet"), "--dry-run"])
    said = capsys.readouterr().out
    # 72 images, 24 of each class: 18 for training after the test split of 6, 2 of them held out, so 4 batches of 12.
    assert "baseline: 6 updates, about " in said
    assert "fitnet: 9 updates, about " in said, "a first phase of one epoch"
    assert "3 of 3 runs to do" in said
    assert not Path("studies").exists(), "it leaves nothing behind"
