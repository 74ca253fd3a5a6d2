"""How much more distillation costs than plain training: the measure of the controls that are trained at equal cost."""

from robustkd.data.view import View
from robustkd.method_spec import MethodSpec
from robustkd.study.plan import Run, Settings
from robustkd.study.run import estimate_training

STEPS = 8  # timed updates of each


def needs_cost_ratio(spec: MethodSpec) -> bool:
    """Whether a method is trained for as long as distillation takes, without the user having said how long that is."""
    return "cost_ratio" in spec.ingredients() and "ratio" not in spec.method.kwargs()


def measure_cost_ratio(view: View, settings: Settings, teacher: MethodSpec) -> float:
    """Return the seconds of teacher and student together, relative to plain training of the student, from timed updates.

    Args:
        view: the training rows.
        teacher: what the teacher is trained with.
    """
    plain, student = (Run("student", MethodSpec.parse(method), 0) for method in ("baseline", "hinton"))
    runs = (Run("teacher", teacher, 0), student, plain)
    *distillation, own = (estimate_training(view, run, settings, steps=STEPS)[1] for run in runs)
    return round(sum(distillation) / own, 2)
