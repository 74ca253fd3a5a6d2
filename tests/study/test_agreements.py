"""Predicted classes as text, and the agreement of students with their teachers."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from robustkd.study.agreements import add_teacher_agreement, agreements, pack_classes, unpack_classes
from tests.study.predicted_classes import make_result


@given(arrays.arrays(np.int64, st.integers(0, 50), elements=st.integers(0, 65535)))
def test_packed_classes_are_plain_text_and_come_back(predicted: np.ndarray) -> None:
    text = pack_classes(predicted)
    assert text.isascii()
    assert '"' not in text
    np.testing.assert_array_equal(unpack_classes(text), predicted)


def test_agreement_of_two_results() -> None:
    teacher = make_result("teacher", test=[0, 1, 1, 0], corrupted=[2, 2])
    student = make_result(test=[0, 1, 0, 0], corrupted=[2, 1])
    assert agreements(student, teacher) == {"test": 0.75, "corrupted": 0.5}
    assert agreements(make_result(version="before", test=[0, 1, 0, 0], corrupted=[2, 1]), teacher) is None
    assert agreements(make_result(test=[0, 1], corrupted=[2, 1]), teacher) is None, "of other rows"
    assert agreements(make_result(), teacher) is None, "without predictions"


def test_students_get_the_agreement_with_their_own_seeds_teacher_and_keep_what_they_have() -> None:
    runs = [
        make_result(seed=1, test=[0, 1]),
        make_result("teacher", seed=0, test=[2, 2]),
        make_result("teacher", seed=1, test=[0, 1]),
        make_result(seed=0, agreement={"test": 0.125}, test=[2, 1]),
        make_result(seed=2, test=[2, 1]),
    ]
    made = add_teacher_agreement(runs)
    assert [run.agreement for run in made] == [{"test": 1.0}, None, None, {"test": 0.125}, None]
    assert runs[0].agreement is None, "the input is not changed"
