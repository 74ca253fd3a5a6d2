"""A command at work on a study: its lock, progress, failures and the runs that it logs."""

from pathlib import Path

import pytest

from pipelines import cli, session
from tests.pipelines.toys import find_study, study_arguments


def test_a_second_command_on_a_study_is_refused(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(study_arguments("prepare", data))
    with session.study_lock(find_study()), pytest.raises(SystemExit) as refused:
        cli.main(study_arguments("run", data))
    assert refused.value.code == 2
    assert "another command is at work on this study" in capsys.readouterr().err
    assert not (find_study() / "runs").exists()
