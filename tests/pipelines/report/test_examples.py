"""The methods that a study's pictures show."""

import numpy as np

from pipelines.report.examples import Examples, select_examples
from tests.pipelines import synthetic
from tests.pipelines.report.cases import not_started


def test_examples_are_the_best_the_worst_and_those_with_a_verdict() -> None:
    methods = ("baseline", "hinton", *(f"m{n}" for n in range(9)), "at")
    compared = synthetic.compared_study(methods, 5)
    table = compared.verdicts.copy()
    table["difference"] = np.arange(len(table)) / 100.0  # at, the last, is the best
    verdicts = {5: "better", 7: "worse", 9: "better"}
    table["verdict"] = [verdicts.get(place, "no difference shown") for place in range(len(table))]
    examples = select_examples(compared._replace(verdicts=table))
    assert examples == Examples("baseline", "at", ["at", "m8", "m6", "m4", "hinton"])
    assert select_examples(synthetic.compared_study(("hinton", "dml"), 2)).reference is None
    assert select_examples(not_started()) == Examples(None, None)


def test_oracles_are_no_examples() -> None:
    compared = synthetic.compared_study(("baseline", "hinton", "oracle_clean"), 5)
    table = compared.verdicts.copy()
    table["difference"] = [0.01, 0.05]
    table["verdict"] = ["no difference shown", "oracle"]
    assert select_examples(compared._replace(verdicts=table)) == Examples("baseline", "hinton", ["hinton"])
