"""Names of metrics, for any text."""

from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name

from pipelines.tracking.names import distinct_names, legal_name


@given(st.lists(st.text(), max_size=8))
def test_distinct_names_are_all_different_and_valid_in_mlflow(names):
    made = distinct_names(names)
    assert len({name.casefold() for name in made}) == len(names)
    for name in made:
        _validate_metric_name(f"recall/{name}")


@given(st.text())
def test_any_name_can_be_made_legal(name):
    _validate_metric_name(legal_name(name))
