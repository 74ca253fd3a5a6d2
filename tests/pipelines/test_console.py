"""What a console cannot print is replaced; files and JSON keep it."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipelines import cli, console
from tests.pipelines.toys import find_study, study_arguments


@pytest.mark.parametrize(
    ("encoding", "printed"),
    [("utf-8", "猫 ± ─│ ü"), ("cp1252", "? ± -| ü"), ("ascii", "? +- -| ?")],
)
def test_unprintable_characters_are_replaced(monkeypatch: pytest.MonkeyPatch, encoding: str, printed: str) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    console.replace_unprintable()
    stream.write("猫 ± ─│ ü")
    stream.flush()
    assert stream.buffer.getvalue().decode(encoding) == printed  # type: ignore[attr-defined]
    assert console.is_printable("猫") == (encoding == "utf-8")


def test_streams_that_take_any_character_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    console.replace_unprintable()
    assert console.is_printable("猫")


def test_commands_print_and_write_every_class_name(data: Path) -> None:
    with np.load(data) as file:
        np.savez(data, **{**file, "classes": ["猫", "Größe", "ok"]})
    Path("new").mkdir()
    Image.new("L", (8, 8), 9).save("new/猫.png")
    commands = [
        study_arguments("run", data, methods="baseline"),
        ["compare", "studies", "--markdown", "all.md", "--csv", "tables", "--latex", "all.tex"],
        ["describe", "noise0.2", "--dataset", f"npz:{data}"],
        ["check-data", f"npz:{data}", "--json"],
        ["predict", "model.pt", "folder:new"],
        ["predict", "model.pt", "folder:new", "--to", "new.csv"],
        ["export", "model.pt", "--to", "exported", "--formats", "torch"],
    ]
    script = (
        "import shutil, sys; from pipelines import cli\n"
        f"for number, words in enumerate({commands!r}):\n"
        "    print('#', flush=True)\n"
        "    try: cli.main(words)\n"
        "    except SystemExit as end: assert end.code in (0, 1) and words[0] == 'check-data', words\n"
        "    if number == 0:\n"
        "        from pathlib import Path; shutil.copy(next(Path('studies').glob('*/runs/base*/model.pt')), 'model.pt')"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONPATH": str(Path(cli.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    printed = done.stdout.decode("cp1252").split("#\n")[1:]
    assert json.loads(printed[3])["classes"][1]["class"] == "Größe"
    assert "p(?)" in printed[4]
    assert "--to FILE writes all of them, in UTF-8" in done.stderr.decode("cp1252")
    assert list(pd.read_csv("new.csv")["file"]) == ["猫.png"]
    for name in ("all.md", "exported/card.json", str(find_study() / "study.json")):
        assert "猫" in Path(name).read_text(encoding="utf-8")


def test_durations_have_two_digits() -> None:
    assert [console.format_duration(seconds) for seconds in (0.4, 99, 100, 5999, 6000, 172_799, 172_800)] == [
        *("0 s", "99 s", "2 min", "100 min", "1.7 h", "48.0 h", "2.0 days"),
    ]
