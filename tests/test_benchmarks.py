"""The benchmarks measure what they say: memory at its most, every phase of a method, and the signs beside the paper's."""

import csv
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import torch

import scenarios
from robustkd.methods import METHODS

HOME = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def auxiliary_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script finds what lies in its own folder, as when it is run."""
    monkeypatch.syspath_prepend(str(HOME / "benchmarks"))


@pytest.fixture
def methods() -> ModuleType:
    return importlib.import_module("methods")


@pytest.fixture
def published() -> ModuleType:
    return importlib.import_module("published")


# --- methods.py ----------------------------------------------------------------------------------------------------


def allocating() -> Iterator[None]:
    """Steps of which each holds 6 MB at its most, and keeps one that the next lets go."""
    kept = None
    while True:
        first, second = (torch.empty(2_000_000, dtype=torch.uint8) for _ in range(2))
        del first
        third = torch.empty(4_000_000, dtype=torch.uint8)
        kept = torch.empty(1_000_000, dtype=torch.uint8)  # the old one goes when the new one is there
        del second, third
        yield
        assert kept is not None


def test_the_peak_is_what_lies_there_at_most_beyond_what_lay_there_before(methods: ModuleType) -> None:
    # 2 + 2 - 2 + 4 + 1 = 7 beside the kept one of the step before.
    assert methods.peak(allocating(), "cpu") == 7_000_000


def test_every_phase_has_its_row(
    methods: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(methods, "BATCH", 8)
    small = ["--teacher", "resnet8", "--samples", "16", "--threads", "1", "--rounds", "1", "--steps", "1"]
    done = methods.main([*small, "--methods", "baseline,fitnet", "--out", str(tmp_path / "it.csv")])
    assert [row.name for row in done] == ["baseline/train", "fitnet/hint", "fitnet/train"]
    assert all(row.ratio > 0 and row.megabytes > 0.1 for row in done)
    assert done[0].memory_ratio < done[2].memory_ratio == pytest.approx(1, rel=0.05)  # fitnet ends as hinton
    with (tmp_path / "it.csv").open() as file:
        assert [row["phase"] for row in csv.DictReader(file)] == ["train", "hint", "train"]
    assert "fitnet/hint" in capsys.readouterr().out


# --- published.py --------------------------------------------------------------------------------------------------


def figures(**means: float) -> pd.DataFrame:
    """Means by (scenario, method), named scenario_method; all with a standard deviation of 1."""
    index = pd.MultiIndex.from_tuples([tuple(name.split("_")) for name in means], names=["scenario", "method"])
    return pd.DataFrame({"mean": list(means.values()), "std": 1.0}, index)


def test_a_sign_is_zero_within_the_baselines_deviation(published: ModuleType) -> None:
    told = published.signs(
        figures(one_baseline=50, one_a=49, one_b=51.2, one_c=48.9, two_a=1, three_baseline=1, three_a=9)
    )
    assert told.to_dict() == {("one", "a"): "0", ("one", "b"): "+", ("one", "c"): "-", ("three", "a"): "+"}
    one_seed = figures(one_baseline=50, one_a=50, one_b=50.1).assign(std=float("nan"))
    assert list(published.signs(one_seed)) == ["0", "+"]


def test_signs_stand_beside_the_published_ones(
    published: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Published for sigma 0: hinton 94.28 and dml 94.38 against 93.95 ± 0.18; for gamma 2 one 80.88 against 83.33 ± 0.24.
    ours = figures(
        clean_baseline=70, clean_dml=80, clean_hinton=70.5, clean_smooth=9, imbalance2_baseline=9, imbalance2_one=3
    )
    ours.reset_index().to_csv(tmp_path / "table.csv", index=False)
    published.main([str(tmp_path / "table.csv")])
    assert capsys.readouterr().out.splitlines() == [
        "| published / ours | `clean` | `imbalance2` |",
        "| --- | --- | --- |",
        "| hinton | + / 0 |  |",
        "| dml | **+ / +** |  |",
        "| one |  | **- / -** |",
        "| the same | 1 of 2 | 1 of 1 |",
    ]


@pytest.mark.parametrize(
    ("tables", "sentence"),
    [
        ([figures(clean_hinton=3)], "has no scenario with a baseline and a method that are published"),
        ([figures(pair_baseline=2, pair_hinton=3)], "has no scenario with a baseline"),
        (2 * [figures(clean_baseline=2, clean_hinton=3)], "is of several data sets, and one is wanted"),
    ],
)
def test_a_table_of_something_else_is_refused(
    tables: list[pd.DataFrame],
    sentence: str,
    published: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pd.concat(tables).reset_index().to_csv(tmp_path / "table.csv", index=False)
    with pytest.raises(SystemExit):
        published.main([str(tmp_path / "table.csv")])
    assert sentence in capsys.readouterr().err


def test_what_is_published_is_said_in_our_words(published: ModuleType) -> None:
    table = published.read(HOME / "benchmarks" / "published.csv")
    assert len(table) == 8 * 12
    assert set(table.index.get_level_values("method")) <= set(METHODS)
    for scenario in set(table.index.get_level_values("scenario")):
        scenarios.parse(scenario)
    # Figures as the paper has them.
    assert table.loc[("clean", "one"), "mean"] == 92.80
    assert table.loc[("noise0.4", "dml"), "mean"] == 76.33
    assert table.loc[("imbalance0.2", "rkd_a"), "mean"] == 79.52
    assert table.loc[("imbalance2", "bss"), "mean"] == 82.15


# --- tracking.py ---------------------------------------------------------------------------------------------------


def test_every_metric_is_written_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    tracking = importlib.import_module("tracking")
    words = ["--metrics", "30", "--runs", "2", "--terms", "4", "--singly", "2"]
    assert tracking.main([*words, "--limit", "1000"]) == 0
    assert re.match(r"30 metrics of 2 runs: [\d.]+ s\none by one [\d.]+ s \(by 2\): ", capsys.readouterr().out)
