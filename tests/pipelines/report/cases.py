"""Studies of every kind, compared."""

from collections.abc import Callable
from typing import Any

from robustkd.study import comparison
from robustkd.study.comparison import Comparison
from robustkd.study.results import RunResult
from tests.pipelines import synthetic

HUNDRED_CLASSES = tuple(f"class {n}" for n in range(100))


def half_finished() -> Comparison:
    """A study with missing runs: all of one method, one seed of another."""
    study = synthetic.loaded_study(("baseline", "hinton", "dml"), 3)
    results = [r for r in study.results if r.run.method != "dml" and (r.run.method, r.run.seed) != ("hinton", 2)]
    return comparison.compare_runs(study._replace(results=results))


def not_started() -> Comparison:
    return comparison.compare_runs(synthetic.loaded_study()._replace(results=[], epochs={}))


def compare_changed(change: Callable[[RunResult], RunResult], **options: Any) -> Comparison:
    """Compare a study whose results have all been changed."""
    study = synthetic.loaded_study(**options)
    return comparison.compare_runs(study._replace(results=[change(result) for result in study.results]))


def change_last(result: RunResult, **fields: Any) -> RunResult:
    """Replace fields of a run's metrics at the last epoch."""
    return result.model_copy(update={"last": result.last.model_copy(update=fields)})


def without_optional_parts(result: RunResult) -> RunResult:
    """Remove everything that is not measured of every run."""
    nothing = dict.fromkeys(("early", "fit", "agreement", "training"))
    return change_last(result.model_copy(update=nothing), scaled=None)


def without_fit(result: RunResult) -> RunResult:
    return result.model_copy(update={"fit": None})


def with_infinite_logits(result: RunResult) -> RunResult:
    metrics = {**result.last.metrics, "nll": None, "brier": None, "ece": None}
    return change_last(result, metrics=metrics, reliability=[])


def without_rows_of_a_class(result: RunResult) -> RunResult:
    """Leave the last class without test rows."""
    last = result.last
    return change_last(
        result,
        recall={**last.recall, "eel": None},
        support={**last.support, "eel": 0},
        confusion={name: line for name, line in last.confusion.items() if name != "eel"},
    )


def labels_as_given(trust: bool = False) -> Comparison:
    study = synthetic.loaded_study(("baseline", "hinton"), 5)
    results = [r.model_copy(update={"clean": r.last.model_copy(update={"rows": 7})}) for r in study.results]
    record = study.record.model_copy(update={"truth_known": False, "known_test": (7, 60), "known_training": (5, 9)})
    return comparison.compare_runs(study._replace(record=record, results=results), trust)


CASES = {
    "plain": lambda: synthetic.compared_study(("baseline", "hinton", "at"), 5),
    "odd names": lambda: synthetic.compared_study(
        ("baseline", "hinton(alpha=0.7, temperature=2)+balanced", "baseline+balanced"), 2, synthetic.SPECIAL_NAMES
    ),
    "100 classes": lambda: synthetic.compared_study(("baseline", "hinton", "dml", "at"), 5, HUNDRED_CLASSES, 400),
    "2 classes": lambda: synthetic.compared_study(("baseline", "hinton"), 2, ("no", "yes")),
    "1 seed": lambda: synthetic.compared_study(("baseline", "hinton"), 1),
    "half finished": half_finished,
    "nothing finished": not_started,
    "no baseline": lambda: synthetic.compared_study(("hinton", "dml"), 2),
    "baseline alone": lambda: synthetic.compared_study(("baseline",), 2),
    "labels as given": labels_as_given,
    "nothing optional": lambda: compare_changed(without_optional_parts),
    "logits not finite": lambda: compare_changed(with_infinite_logits),
    "class without test rows": lambda: compare_changed(without_rows_of_a_class),
}
