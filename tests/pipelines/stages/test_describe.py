"""The effect of scenarios, compared with loops, and the describe command: output, manifest and figure."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scenarios
from pipelines import cli
from pipelines.scenario_effect import ScenarioEffect, apply_steps, corrupted_samples, measure_scenario
from pipelines.stages import describe
from robustkd.data import manifest, sources
from robustkd.data.splits import split_source
from robustkd.data.view import Source, View
from scenarios.base import Chain, Scenario
from tests.pipelines.toys import stripes

REAL = Path(__file__).parents[4] / "shared" / "data"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return f"npz:{stripes(tmp_path / 'toy.npz')}"


def source(name: str, labels: list[int], truth: list[int] | None = None) -> Source:
    images = np.arange(len(labels), dtype=np.uint8).repeat(4).reshape(-1, 1, 2, 2)
    known = None if truth is None else np.array(truth)
    return Source(name, images, np.array(labels), ("a", "b", "c"), known)


@dataclass(frozen=True)
class Lend(Scenario):
    """Shows a foreign image under the label of every third row; `again` shows one and the same."""

    again: bool = False

    def corruption_rates(self, view: View) -> np.ndarray:
        return np.full(len(view.classes), 1 / 3)

    def apply(self, view: View) -> View:
        other = source("other", [2] * 100)
        origin, rows = np.zeros(len(view), np.int64), view.rows.copy()
        origin[::3] = 1
        rows[::3] = 0 if self.again else np.arange(len(rows[::3]))
        return replace(view, sources=(*view.sources, other), rows=rows, origin=origin)


@dataclass(frozen=True)
class Shuffle(Scenario):
    def apply(self, view: View) -> View:
        return view.take(np.random.default_rng(0).permutation(len(view)))


def measure(view: View, *steps: Scenario) -> ScenarioEffect:
    chain = list(steps)
    views = [view]
    for step in chain:
        views.append(step(views[-1]))
    return measure_scenario(chain, views)


@given(
    labels=st.lists(st.integers(0, 2), min_size=1, max_size=40),
    rate=st.floats(0, 1),
    words=st.sampled_from(["noise{}", "fraction0.5+noise{}", "noise{}+longtail3", "noise{}+noise{}"]),
    shuffled=st.booleans(),
)
@settings(max_examples=120, deadline=None)
def test_effects_equal_counts_by_loops(labels: list[int], rate: float, words: str, shuffled: bool) -> None:
    view = View.of(source("toy", labels), seed=4)
    chain = [*scenarios.parse(words.format(round(rate, 3), round(rate, 3))), *([Shuffle()] if shuffled else [])]
    views = apply_steps(Chain(tuple(chain)), view)
    found = measure_scenario(chain, views)
    after = dict(zip(views[-1].rows.tolist(), views[-1].labels.tolist(), strict=True))
    for i in range(3):
        line = found.per_class.iloc[i]
        assert line["before"] == labels.count(i)
        assert line["kept"] == sum(labels[row] == i for row in after)
        assert line["shown"] == line["clean"] + line["corrupted"] == list(after.values()).count(i)
        for j in range(3):
            assert found.transitions[i, j] == sum(labels[row] == i and label == j for row, label in after.items())
    for step, one, two in zip(found.steps, views, views[1:], strict=False):
        given_ = dict(zip(one.rows.tolist(), one.labels.tolist(), strict=True))
        left = dict(zip(two.rows.tolist(), two.labels.tolist(), strict=True))
        assert (step.before, step.after, step.foreign) == (len(given_), len(left), 0)
        assert step.realised == pytest.approx(np.mean([given_[row] != label for row, label in left.items()] or [0]))
        for i in range(3):
            mine = [label != i for row, label in left.items() if given_[row] == i]
            np.testing.assert_allclose(step.per_class["realised"].iloc[i], np.mean(mine) if mine else np.nan)


@pytest.mark.parametrize("again", [False, True], ids=["each its own", "one for all"])
def test_foreign_images_are_not_in_the_matrix(again: bool) -> None:
    view = View.of(source("toy", [0] * 12 + [1] * 6 + [2] * 3, truth=[0] * 12 + [1] * 6 + [2] * 3))
    found = measure(view, Lend(again), *scenarios.parse("noise0.5"), Shuffle())
    lent, noise, shuffled = found.steps
    assert (lent.foreign, lent.asked, lent.realised) == (7, pytest.approx(1 / 3), pytest.approx(1 / 3))
    assert lent.per_class["realised"].tolist() == pytest.approx([1 / 3] * 3)
    assert noise.foreign == 7, "they stay"
    if not again:  # the same image takes the same wrong label wherever it is shown
        assert noise.per_class["realised"].tolist() == pytest.approx([6 / 12, 3 / 6, 2 / 3])
        assert shuffled.realised == 0
    assert found.transitions.sum() == 14
    assert found.per_class["kept"].tolist() == [8, 4, 2]
    assert found.per_class["foreign"].sum() == 7
    assert found.per_class[["clean", "corrupted", "foreign"]].sum(axis=1).equals(found.per_class["shown"])
    assert found.known is None, "all labels of its own were true"


def test_two_steps_with_the_same_foreign_images_are_distinguished() -> None:
    @dataclass(frozen=True)
    class More(Scenario):
        def apply(self, view: View) -> View:
            assert view.origin is not None
            rows, origin = view.rows.copy(), view.origin.copy()
            rows[1::3], origin[1::3] = 0, 1
            return replace(view, rows=rows, origin=origin)

    found = measure(View.of(source("toy", [0] * 12 + [1] * 6)), Lend(again=True), More())
    assert [step.foreign for step in found.steps] == [6, 12]
    assert [step.realised for step in found.steps] == pytest.approx([1 / 3, 1 / 3])


def test_the_shares_of_an_empty_class_are_missing_rather_than_zero() -> None:
    found = measure(View.of(source("toy", [0, 0, 1])), *scenarios.parse("noise0"))
    assert np.isnan(found.shares[2]).all()
    assert np.isnan(found.steps[0].per_class["asked"].iloc[2])
    assert found.per_class.loc["c", "group"] == "few"


def test_groups_depend_on_published_labels() -> None:
    class Swap(Scenario):
        def apply(self, view: View) -> View:
            return view.relabel(2 - view.labels)

    found = measure(View.of(source("toy", [0] * 120 + [1] * 50 + [2] * 5)), Swap())
    assert found.per_class["shown"].tolist() == [5, 50, 120]
    assert found.per_class["group"].tolist() == ["many", "medium", "few"]
    assert found.per_class["third"].tolist() == ["head", "middle", "tail"]


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
    assert "asked 20.00 %, realised 22.22 %" in output  # 0.3 * 2 / 3 of 18 is 3.6, so 4 of each class
    assert "77.8" in output
    assert "digest" in output
    assert "true label" not in output


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


def test_corrupted_samples_have_both_labels() -> None:
    labels = [0] * 40 + [1] * 40
    view = View.of(source("toy", labels))
    after = scenarios.parse("noise0.5")(Lend()(view))
    images = labels_by_image(after)
    cells = corrupted_samples(after, describe.SAMPLES)
    assert len(cells) == describe.SAMPLES
    assert {before for _, before, _ in cells} == {"foreign", "a", "b"}
    for image, before, shown in cells:
        assert (before, shown) in images[image.tobytes()]
        assert before != shown
    assert corrupted_samples(view, 24) == []
    assert [before for _, before, _ in corrupted_samples(Lend(again=True)(view), 24)] == ["foreign"], "one image, once"


def labels_by_image(view: View) -> dict[bytes, set[tuple[str, str]]]:
    """By an image's bytes, which labels it came with and is shown under."""
    found: dict[bytes, set[tuple[str, str]]] = {}
    for image, before, shown in zip(view.images(), view.published_labels, view.labels, strict=True):
        pair = ("foreign" if before < 0 else view.classes[before], view.classes[shown])
        found.setdefault(image.tobytes(), set()).add(pair)
    return found


@pytest.mark.parametrize(
    ("option", "name", "sentence"),
    [
        ("--figure", "a.gif", "--figure a.gif: its name should end in .png, .svg or .pdf"),
        ("--figure", "a", "--figure a: its name should end in .png, .svg or .pdf"),
        ("--figure", "there.png", "--figure there.png: there.png exists already and is not overwritten"),
        ("--figure", "hree/a.png", "--figure: there is no hree (did you mean 'there'?)"),
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
    assert capsys.readouterr().err.strip() == f"robustkd: {sentence}"


PLUG = """
from dataclasses import dataclass
import numpy as np
from scenarios.base import Chain, Scenario

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
    assert "1. Lower(by=2): 54 -> 54 samples; corrupted: asked 0.00 %, realised 66.67 %" in output


def test_a_published_data_set_is_described(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    if not (REAL / "fashion-mnist").is_dir():
        pytest.skip("shared/data/fashion-mnist is not next to this repository")
    where = ["--dataset", "fashion-mnist", "--data-dir", str(REAL / "fashion-mnist")]
    cli.main(["describe", "imbalance1+noise0.4", *where, "--save", str(tmp_path / "m.csv")])
    output = capsys.readouterr().out
    assert "asked 40.00 %, realised 40.00 %" in output
    assert "Ankle boot" in output
    assert pd.read_csv(tmp_path / "m.csv")["split"].value_counts()["test"] == 10000
