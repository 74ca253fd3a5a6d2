"""The describe command: output, manifest and figure."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import scenarios
from pipelines import cli
from pipelines.stages import describe
from robustkd.data import manifest, sources
from robustkd.data.splits import split_source
from robustkd.data.view import Source, View
from tests.pipelines.test_scenario_effect import measure, source
from tests.pipelines.toys import stripes

REAL = Path(__file__).parents[4] / "shared" / "data"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return f"npz:{stripes(tmp_path / 'toy.npz')}"


def test_partly_known_truth_is_reported_with_its_size(capsys: pytest.CaptureFixture[str]) -> None:
    view = View.of(source("toy", [0, 0, 1, 1, 2, 2], truth=[0, 1, -1, -1, 2, 0]))
    found = measure(view, *scenarios.parse("clean"))
    assert (found.known, found.wrong) == (4, 2)
    describe.print_effect("title", found, view.classes)
    output = capsys.readouterr().out
    assert "the true label is known of 4 of the 6 own samples shown; 50.00 % of them have another label" in output
    for truth in (None, [0, 0, 1, 1, 2, 2]):
        found = measure(View.of(source("toy", [0, 0, 1, 1, 2, 2], truth)), *scenarios.parse("clean"))
        assert found.known is None


def test_describe_prints_requested_and_realised_rates(data: str, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["describe", "noise(rate=0.3, convention=inclusive)", "--dataset", data, "--held-out", "0"])
    output = capsys.readouterr().out
    assert "requested 20.00 %, realised 22.22 %" in output  # 0.3 * 2 / 3 of 18 is 3.6, so 4 of each class
    assert "77.8" in output
    assert "digest" in output
    assert "true label" not in output


@pytest.mark.parametrize(
    ("options", "said"),
    [(["step4"], True), (["step4", "--held-out", "0"], False), (["noise0.3"], False)],
)
def test_class_sizes_are_said_to_be_those_without_the_held_out_rows(
    options: list[str], said: bool, data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(["describe", *options, "--dataset", data])
    assert ("published ones are those with --held-out 0" in " ".join(capsys.readouterr().out.split())) == said


def test_priors_depend_on_the_order_of_the_steps(data: str, capsys: pytest.CaptureFixture[str]) -> None:
    def priors(words: str) -> list[list[str]]:
        cli.main(["describe", words, "--dataset", data])
        lines = [line.replace("│", " ").split() for line in capsys.readouterr().out.splitlines()]
        return [line[4:6] for line in lines if line[:1] in (["rows"], ["columns"], ["checks"])][:3]

    first, second = priors("step4+noise0.6"), priors("noise0.6+step4")
    thinned = [line[0] for line in first]
    assert thinned == [line[1] for line in second], "thinning goes by what is shown"
    assert thinned != [line[1] for line in first]
    assert thinned != [line[0] for line in second]


@pytest.mark.parametrize("classes", [20, 21])
def test_any_class_name_is_printed_as_text(classes: int, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["[bold]süß[/]", "$x^2$", *map(str, range(2, classes))]
    labels = np.arange(200) % classes
    view = View.of(Source("toy", np.zeros((200, 1, 1, 1), np.uint8), labels, tuple(names)))
    describe.print_effect("title", measure(view, *scenarios.parse("noise0.5")), view.classes)
    output = capsys.readouterr().out
    assert "[bold]süß[/]" in output
    assert "$x^2$" in output
    assert ("the largest confusions" in output) == (classes == 21)


def test_a_class_without_samples_is_reported(data: str, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["describe", "longtail100", "--dataset", data])
    assert "class 'checks' has no samples left: a study would refuse this scenario" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["m.csv", "noise0.4.parquet"])
def test_a_saved_manifest_reproduces_what_a_study_is_shown(
    name: str, data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = Path("..", "sizes.csv")
    sizes.write_text("class,count\nrows,12\ncolumns,9\nchecks,6\n")
    words = f"counts(file={sizes})+noise0.25"
    cli.main(["describe", words, "--dataset", data, "--held-out", "0.25", "--seed", "3", "--save", name])
    assert sorted(path.name for path in Path().iterdir()) == sorted([name, str(Path(name).with_suffix(".json"))])
    assert f"written to {name}" in " ".join(capsys.readouterr().out.split())
    source_ = sources.load_dataset(data)
    views = manifest.load_manifest(Path(name), source_)
    rows, scenario = split_source(source_, held_out=0.25, seed=0), scenarios.parse(words)
    held_out = View.of(source_, rows.held_out, 3, scale=len(rows.held_out) / len(rows.train), training=False)
    assert views.train.digest == scenario(View.of(source_, rows.train, 3)).digest
    assert views.held_out.digest == scenario(held_out).digest
    assert len(views.held_out) < len(rows.held_out), "thinned to the same proportions"
    assert views.test.digest == View.of(source_, rows.test).digest


def test_figures_are_reproducible(data: str) -> None:
    for name in ("one.png", "two.png"):
        cli.main(["describe", "imbalance0.5+noise0.4", "--dataset", data, "--figure", name])
    assert Path("one.png").read_bytes() == Path("two.png").read_bytes()
    assert Path("one.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("option", "name", "sentence"),
    [
        ("--figure", "a.gif", "--figure a.gif: its name should end in .png, .svg or .pdf"),
        ("--figure", "a", "--figure a: its name should end in .png, .svg or .pdf"),
        ("--figure", "there.png", "--figure there.png: there.png exists already and is not overwritten"),
        ("--figure", "hree/a.png", "--figure: there is no hree in {here} (did you mean 'there'?)"),
        ("--save", "m", "--save m: its name should end in .csv or .parquet"),
        ("--save", "there.csv", "--save there.csv: there.json exists already and is not overwritten"),
    ],
)
def test_invalid_files_are_refused_before_data_are_read(
    option: str,
    name: str,
    sentence: str,
    data: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for there in ("there.png", "there.json"):
        Path(there).touch()
    Path("there").mkdir()
    monkeypatch.setattr(sources, "load_dataset", lambda *_, **__: pytest.fail("data were read"))
    with pytest.raises(SystemExit) as left:
        cli.main(["describe", "clean", "--dataset", data, option, name])
    assert left.value.code == 2
    assert capsys.readouterr().err.strip() == f"robustkd: {sentence.replace('{here}', str(Path.cwd()))}"


PLUG = """
from dataclasses import dataclass
import numpy as np
from scenarios.base import Scenario

@dataclass(frozen=True)
class Lower(Scenario):
    by: int = 1
    def apply(self, view):
        return view.relabel(np.maximum(view.labels - self.by, 0))

SCENARIOS = {"lower_by": Lower}
"""


def test_a_plugged_scenario_is_described(data: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.py").write_text(PLUG)
    cli.main(["describe", "lower_by(2)", "--dataset", data, "--plug", "mine.py", "--held-out", "0"])
    output = capsys.readouterr().out
    assert "1. Lower(by=2): 54 -> 54 samples; corrupted: requested 0.00 %, realised 66.67 %" in output


def test_a_published_data_set_is_described(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    if not (REAL / "fashion-mnist").is_dir():
        pytest.skip("shared/data/fashion-mnist is not next to this repository")
    where = ["--dataset", "fashion-mnist", "--data-dir", str(REAL / "fashion-mnist")]
    cli.main(["describe", "imbalance1+noise0.4", *where, "--save", str(tmp_path / "m.csv")])
    output = capsys.readouterr().out
    assert "requested 40.00 %, realised 40.00 %" in output
    assert "Ankle boot" in output
    assert pd.read_csv(tmp_path / "m.csv")["split"].value_counts()["test"] == 10000


def test_a_scenario_that_discards_most_of_uneven_data_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    labels = np.repeat(np.arange(3), [120, 100, 20])
    images = np.random.default_rng(0).integers(0, 256, (240, 8, 8), dtype=np.uint8)
    np.savez("uneven.npz", X=images, y=labels, classes=np.array(["glass", "paper", "trash"]))
    cli.main(["describe", "longtail10", "--dataset", "npz:uneven.npz"])
    output = " ".join(capsys.readouterr().out.split())
    assert "161 -> 18 samples (11.2 %)" in output
    assert "warning: longtail keeps 18 of 161 samples" in output
    assert "('trash', 13)" in output
    cli.main(["describe", "longtail(10, order=size, cap=own)", "--dataset", "npz:uneven.npz"])
    assert "warning" not in capsys.readouterr().out
