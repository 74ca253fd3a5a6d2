"""How much more distillation costs than plain training."""

import itertools
from dataclasses import replace

import pytest

from robustkd.data.view import View
from robustkd.method_spec import MethodSpec
from robustkd.study import cost_ratio
from robustkd.study.options import StudyOptions
from robustkd.study.plan import Run, Settings
from robustkd.study.run import Estimate, estimate_training
from tests.helpers import STUDENT, TEACHER, make_settings, small_view


@pytest.mark.parametrize(
    ("method", "measured"),
    [("longer", True), ("ensemble+balanced", True), ("longer(ratio=2)", False), ("hinton", False)],
)
def test_the_ratio_is_measured_for_methods_that_ask_for_it_and_were_not_given_one(method: str, measured: bool) -> None:
    assert cost_ratio.needs_cost_ratio(MethodSpec.parse(method)) is measured


def test_teacher_and_student_are_counted_relative_to_the_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {("teacher", "smooth"): 6.0, ("student", "hinton"): 3.0, ("student", "baseline"): 2.0}

    def estimate(view: View, run: Run, settings: Settings, *, steps: int) -> Estimate:
        return Estimate(1, seconds[run.role, run.method.text], {})

    monkeypatch.setattr(cost_ratio, "estimate_training", estimate)
    options = StudyOptions(scenario="clean", smooth_teacher="labels", methods="longer")
    assert cost_ratio.measure_cost_ratio(small_view(), make_settings(), options) == 4.5


def test_a_teacher_is_counted_with_its_own_epochs() -> None:
    settings = Settings.of(StudyOptions(scenario="clean", epochs=4, teacher_epochs=12), "cpu", False, (0.3,), (0.4,))
    settings = replace(settings, student=STUDENT, teacher=TEACHER, batch=6)
    baseline = MethodSpec.parse("baseline")
    teacher, student = (
        estimate_training(small_view(), Run(role, baseline, 0), settings, steps=1) for role in ("teacher", "student")
    )
    assert (teacher.updates, student.updates) == (12 * 2, 4 * 2)


def test_with_updates_of_equal_time_a_teacher_and_its_student_take_twice_as_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("time.perf_counter", itertools.count().__next__)
    options = StudyOptions(scenario="clean", batch=6)
    assert cost_ratio.measure_cost_ratio(small_view(), make_settings(), options) == 2.0
