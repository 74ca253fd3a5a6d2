"""The table of docs/methods-scaling.md is what is measured, and everything in it that depends on a size is explained."""

import math

import pytest

from robustkd.methods import METHODS
from tests.contracts.method_scaling import DOUBLED, NOTES, measure_factors, read_table

CLOSE = 0.3  # of the logarithms; perturbed images and draws differ between versions of PyTorch
UNCHANGED = (0.7, 1.4)  # factors that need no explanation


@pytest.mark.parametrize("method", METHODS)
def test_the_table_is_what_is_measured(method: str) -> None:
    stored, measured = read_table().get(method, {}), measure_factors(method)
    assert stored.keys() == measured.keys(), "run `python -m tests.contracts.method_scaling`"
    for term, factors in measured.items():
        for size, factor in factors.items():
            known = stored[term][size]
            if factor is None or known is None:
                assert factor is known is None
            else:
                assert abs(math.log(factor / known)) < CLOSE, f"{term} changes by {factor:.2f} when {size} is doubled"


def test_what_depends_on_a_size_is_explained() -> None:
    low, high = UNCHANGED
    for method, terms in read_table().items():
        for term, factors in terms.items():
            for size, factor in factors.items():
                if factor is not None and not low <= factor <= high:
                    assert f"{size}:" in NOTES.get((method, term), ""), (
                        f"{method}: {term} changes by {factor} with {size}"
                    )


def test_no_weight_depends_on_the_number_of_samples_or_the_resolution_but_where_it_says_so() -> None:
    exceptions = {("fsp", "flow"), ("tald", "gap"), ("one", "kl")}
    for method, terms in read_table().items():
        for term, factors in terms.items():
            for size in ("H W", "N"):
                if (factor := factors[size]) is not None and (method, term) not in exceptions:
                    assert factor == pytest.approx(1, abs=0.05), (method, term, size)
    assert set(DOUBLED) == {"H W", "K", "N", "batch"}
