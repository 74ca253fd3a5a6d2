"""Names of classes and files are anybody's: every command prints them as they are, but without what a terminal acts on.

They are written to no CSV file as a formula.
"""

import csv
from contextlib import nullcontext, suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipelines import cli
from robustkd.data.csv_reader import read_csv_rows
from robustkd.data.sources import load_dataset
from tests.pipelines.exports import save_untrained
from tests.pipelines.toys import study_arguments

CLASSES = ["=1+1", "[bold red]x", "-2:smile:"]  # in the order of their numbers
FORMULAS = ("=", "+", "-", "@", "\t", "\r")


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The CSV file of a data set of twelve images for each class; the working directory is another folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    random, rows = np.random.default_rng(0), []
    for number in range(36):
        name = ("@", "=", "[i]")[number % 3] + f"{number}.png"
        pixels = random.integers(0, 200, (8, 8)) + 18 * (number % 3)
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / name)
        rows.append({"image": name, "label": CLASSES[number % 3]})
    pd.DataFrame(rows).to_csv(tmp_path / "photos.csv", index=False)
    return tmp_path / "photos.csv"


def cells(path: Path) -> list[str]:
    """Return all cells of a CSV file as a spreadsheet sees them."""
    with path.open(newline="", encoding="utf-8") as file:
        return [cell for row in csv.reader(file) for cell in row]


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command and return its output, in one line."""
    cli.main([*arguments])
    return " ".join(capsys.readouterr().out.split())


def test_commands_print_names_as_they_are(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("L", (8, 8)).save(table.parent / "[b]single.png")
    data, size = f"csv:{table}", ("--image-size", "8")
    model = save_untrained(Path("[red]model.pt"), classes=CLASSES)
    outputs = [
        printed(capsys, "check-data", data, *size, "--least", "1"),
        printed(capsys, "describe", "noise0.4", "--dataset", data, *size),
        printed(capsys, "predict", str(model), data, "--to", "answers.csv"),
    ]
    for output in outputs:
        for name in CLASSES:
            assert name in output
    (file,) = {row[0] for row in read_csv_rows("toy", Path("answers.csv")).rows if row[0].startswith("[i]2.")}
    assert file == "[i]2.png"
    with pytest.raises(SystemExit):
        cli.main(["predict", "[red]lost.pt", "folder:[b]lost"])
    assert "[red]lost.pt" in capsys.readouterr().err


def test_csv_files_hold_no_formula_and_are_read_as_they_were(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, size = f"csv:{table}", ("--image-size", "8")
    source = load_dataset(data, image_size=8)
    given = np.eye(3)[(source.labels + (np.arange(36) % 5 == 0)) % 3]
    np.save("mine.npy", 0.8 * given + 0.2 / 3)
    cli.main(["audit", data, *size, "--probabilities", "mine.npy"])
    cli.main(["predict", str(save_untrained(Path("model.pt"), classes=CLASSES)), data, "--to", "answers.csv"])
    command, *options = study_arguments("run", table, methods="baseline", epochs="1", batch="8", scenario="clean")
    options[options.index("--dataset") + 1] = data
    cli.main([command, *options, *size])
    cli.main(["compare", "studies", "--csv", "tables"])
    capsys.readouterr()

    files = {path.name: path for path in Path().rglob("*.csv")}
    assert {
        "suspects.csv",
        "classes.csv",
        "transition.csv",
        "answers.csv",
        "confusion.csv",
        "per_class.csv",
    } <= files.keys()
    for path in Path().rglob("*.csv"):
        bare = [cell for cell in cells(path) if cell.startswith(FORMULAS) and not is_number(cell)]
        assert not bare, path
    for name in ("transition.csv", "confusion.csv"):
        header, *rows = read_csv_rows("toy", files[name]).rows
        assert header[1:] == [row[0] for row in rows] == list(source.classes)
        assert "'=1+1" in cells(files[name])

    matrix = f'matrix(file="{files["transition.csv"]}")'
    assert "=1+1" in printed(capsys, "describe", matrix, "--dataset", data, *size)
    answers = load_dataset(
        "csv:answers.csv", image_size=8, root=str(table.parent), image_column="file", label_column="predicted"
    )
    assert set(answers.classes) <= set(CLASSES)
    assert answers.files == source.files


RED = "\x1b[31m"  # turns what a terminal prints next to red
CONTROLS = {*map(chr, range(32)), *map(chr, range(127, 160))} - {"\n"}


def without_controls(text: str) -> str:
    assert not CONTROLS & set(text), repr(text)
    return text


def test_control_characters_are_escaped_wherever_a_name_goes(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = table.parent / "photos"
    for number, name in enumerate(sorted(table.parent.glob("*.png"))):
        target = photos / ("cat", "dog")[number % 2] / f"{RED if number < 12 else chr(0x9B)}{number}\r.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        name.rename(target)
    (photos / "cat" / f"{RED}bad.png").write_bytes(b"no image")
    (photos / f"{RED}readme.txt").write_text("")
    rows = [f'"photos/cat/{file.name}",{RED}cat' for file in photos.glob("cat/*0\r.png")]
    (table.parent / "labels.csv").write_bytes("\n".join(["image,label", *rows]).encode())
    data, size, skip = f"folder:{photos}", ("--image-size", "8"), "--skip-bad-images"
    model = save_untrained(Path("model.pt"), shape=(3, 8, 8), classes=["cat", "dog", "eel"])
    np.save("mine.npy", np.full((36, 2), 0.5))
    commands = {
        "check-data": ["check-data", data, *size, "--least", "1"],
        "audit": ["audit", data, *size, skip, "--probabilities", "mine.npy"],
        "predict": ["predict", str(model), data, skip],
        "predict to a file": ["predict", str(model), data, skip, "--to", "answers.csv"],
        "predict labelled images": [
            "predict",
            str(model),
            f"csv:{table.parent / 'labels.csv'}",
            "--to",
            "labelled.csv",
        ],
    }
    prints_a_name = []
    for name, command in commands.items():
        with suppress(SystemExit) if name == "check-data" else nullcontext():  # it finds an unreadable file
            cli.main(command)
        said = capsys.readouterr()
        if "\\x1b[31m" in without_controls(said.out + said.err):
            prints_a_name.append(name)
    assert prints_a_name == ["check-data", "predict", "predict labelled images"]
    written = [path for path in Path().rglob("*") if path.suffix in {".csv", ".html", ".md", ".json"}]
    for path in written:
        without_controls(path.read_text(encoding="utf-8"))
    assert {path.suffix for path in written} >= {".csv", ".html"}
    assert "\\x1b[31m" in Path("answers.csv").read_text(encoding="utf-8")


def test_a_network_whose_class_names_have_control_characters_is_refused(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_untrained(Path("model.pt"), classes=["cat", f"{RED}dog", "eel"])
    with pytest.raises(SystemExit) as refused:
        cli.main(["predict", str(model), f"csv:{table}"])
    assert refused.value.code == 2
    assert (
        "model card is wrong: classes.1 is '\\x1b[31mdog' but should be free of control characters"
        in without_controls(capsys.readouterr().err)
    )
