"""Training of a teacher and a student in memory."""

import numpy as np
import pytest

from robustkd.study.in_memory import for_inference, history_frame, hold_out_rows, train_pair
from robustkd.study.options import StudyOptions
from tests.helpers import STUDENT, TEACHER, make_network, make_source

SOURCE = make_source(12)
OPTIONS = StudyOptions(
    scenario="clean", student=STUDENT, teacher=TEACHER, epochs=1, batch=12, device="cpu", methods="hinton"
)


def test_rows_are_held_out_of_each_class() -> None:
    data = hold_out_rows(SOURCE, 0, 0.25)
    assert data.held_out.counts.tolist() == [3, 3, 3]
    assert data.train.counts.tolist() == [9, 9, 9]
    assert not set(data.held_out.rows) & set(data.train.rows)
    assert set(data.test.rows) <= set(data.train.rows)  # monitored, not a test
    assert len(hold_out_rows(SOURCE, 0, None).held_out) == 0
    with pytest.raises(ValueError, match=r"validation_fraction=0\.01 of 36 rows holds out none"):
        hold_out_rows(SOURCE, 0, 0.01)


def test_a_pair_is_trained_with_its_cards_and_histories(capsys: pytest.CaptureFixture[str]) -> None:
    pair = train_pair(hold_out_rows(SOURCE, 0, None), OPTIONS, 3, given=None, verbose=True, dataset="toy")
    assert pair.teacher is not None
    assert pair.teacher_history is not None
    assert (pair.card["model"], pair.teacher.card["model"]) == (STUDENT, TEACHER)
    assert pair.card["dataset"] == pair.teacher.card["dataset"] == "toy"
    assert pair.history.index.tolist() == pair.teacher_history.index.tolist() == [1]
    assert [line.split(" ")[0] for line in capsys.readouterr().out.splitlines()] == ["teacher", "student"]
    again = train_pair(hold_out_rows(SOURCE, 0, None), OPTIONS, 3, given=pair.teacher, verbose=False)
    assert again.teacher_history is None
    for name, weights in pair.student.model.state_dict().items():
        np.testing.assert_array_equal(again.student.model.state_dict()[name], weights)


def test_networks_predict_in_float32() -> None:
    network = for_inference(make_network(bf16=True).train())
    assert not network.bf16
    assert not network.training


def test_a_history_has_a_row_per_epoch_and_no_empty_column() -> None:
    frame = history_frame([{"epoch": n, "accuracy": n / 4, "held_out_accuracy": np.nan} for n in (1, 2)])
    assert frame.to_dict("list") == {"train_accuracy": [0.25, 0.5]}
    assert frame.index.tolist() == [1, 2]
