"""A selection's record: written, read again, and what follows from it."""

from pathlib import Path

import numpy as np
import pytest

from robustkd.evaluation.power import Spread
from robustkd.selection.confirm import Evidence, judge_look
from robustkd.selection.evidence import PLAIN, STOPPED
from robustkd.selection.race import Rung, judge_rung
from robustkd.selection.record import CostsRecord, LookRecord, SelectionRecord, record_finding, record_rung
from robustkd.study.results import read_document, write_document


def make_selection() -> SelectionRecord:
    """Return the record of a selection with one rung and one look."""
    correct = {"a": [np.array([1.0, 1.0, 0.0])], "b": [np.array([1.0, 0.0, 0.0])], "c": [np.zeros(3)]}
    standings = judge_rung(correct, 2, is_partial=True)
    gains = {PLAIN: 0.03, STOPPED: 0.02}
    evidence = {name: Evidence(gain, 0.001, gain - 0.01, gain + 0.01, Spread(0.01)) for name, gain in gains.items()}
    finding = judge_look("a", 5, 0.01, evidence, is_last=True)
    return SelectionRecord(
        options={"seeds": 5},
        dataset="toy",
        scenario="clean",
        contenders=["a", "b", "c"],
        left_out={},
        costs=CostsRecord(contenders={"a": 2.0, "b": 1.0, "c": 1.0}, teacher=1.0, baseline=1.0),
        budget=50.0,
        grid=100.0,
        race_study="race",
        planned_looks=[5],
        rungs=[record_rung(Rung(0.5, 1, 2), standings, 4.0)],
        looks=[LookRecord(seeds=5, seconds=6.0, findings=[record_finding(finding, 0.01)])],
    )


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = make_selection()
    write_document(tmp_path / "selection.json", record)
    assert read_document(tmp_path / "selection.json", SelectionRecord) == record


def test_finalists_cost_and_gain_follow_from_it() -> None:
    record = make_selection()
    assert record.finalists == ["a", "b"]
    assert record.seconds == 10
    assert [finding.gain for finding in record.last_findings] == pytest.approx([0.02])
    assert record.model_copy(update={"rungs": []}).finalists == ["a", "b", "c"]


def test_a_screening_leaves_the_finalists_and_is_part_of_what_the_looks_cost() -> None:
    record = make_selection()
    standings = judge_rung({"b": [np.ones(3)], "a": [np.zeros(3)]}, 1, is_partial=True)
    screened = record.model_copy(update={"screening": [record_rung(Rung(1.0, 1, 1), standings, 3.0)]})
    assert (screened.entrants, screened.finalists) == (["a", "b"], ["b"])
    assert screened.seconds == 10, "the look's seconds include it"
    assert screened.model_copy(update={"looks": []}).seconds == 7
    table = screened.race_table()
    assert table["rows"].tolist() == ["held-out"] * 3 + ["test"] * 2
    assert table["rung"].tolist() == [1, 1, 1, 2, 2]
