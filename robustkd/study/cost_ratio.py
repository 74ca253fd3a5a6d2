"""How much more distillation costs than plain training: the measure of the controls that are trained at equal cost."""

from dataclasses import replace

from robustkd.data.view import View
from robustkd.method_spec import MethodSpec
from robustkd.study.options import StudyOptions
from robustkd.study.plan import Run, Settings, teacher_method
from robustkd.study.run import estimate_training

STEPS = 8  # timed updates of each


def needs_cost_ratio(spec: MethodSpec) -> bool:
    """Whether a method is trained for as long as distillation takes, without the user having said how long that is."""
    return "cost_ratio" in spec.ingredients() and "ratio" not in spec.method.kwargs()


def measure_cost_ratio(view: View, settings: Settings, options: StudyOptions) -> float:
    """Return the seconds of teacher and student together, relative to plain training of the student, from timed updates.

    Args:
        view: the training rows.
        options: of the study, which say what the teacher is trained with.
    """
    plain, student = replace(options, methods="baseline,hinton").method_specs()
    runs = (Run("teacher", teacher_method(options), 0), Run("student", student, 0), Run("student", plain, 0))
    *distillation, own = (estimate_training(view, run, settings, steps=STEPS).seconds for run in runs)
    return round(sum(distillation) / own, 2)
