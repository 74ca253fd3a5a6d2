"""The version, and completion in a shell."""

import platform
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

import robustkd
from pipelines import cli

# Calls the completion function as bash does when Tab is pressed after the words, and prints what it offers.
PRESS_TAB = """
. ./completion.bash
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
_robustkd robustkd
printf '%s\\n' "${COMPREPLY[@]}"
"""


def test_the_version_is_that_of_the_package_and_of_what_it_computes_with(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["--version"])
    expected = f"robustkd {robustkd.__version__} (torch {version('torch')}, Python {platform.python_version()})"
    assert capsys.readouterr().out == f"{expected}\n"


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_commands_options_and_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    script = tmp_path / "completion.bash"
    cli.main(["--install-completion", "--shell", "bash", "--output", str(script)])
    assert str(script) in (tmp_path / ".bashrc").read_text(), "bash loads it when it starts"

    def press_tab(*words: str) -> list[str]:
        return subprocess.run(
            ["bash", "-c", PRESS_TAB, "bash", *words], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout.split()

    assert press_tab("robustkd", "ve") == ["verify"]
    assert press_tab("robustkd", "run", "--see") == ["--seeds"]
    assert press_tab("robustkd", "run", "--precision", "") == ["auto", "bf16", "fp32"]
