"""Options of audits and sweeps: the studies of a sweep, and values that are refused."""

import pytest
from pydantic import ValidationError

from pipelines.cli_options import AuditOptions, StudySelection, SweepOptions
from robustkd.errors import UsageError


def test_a_sweep_has_a_study_for_each_pair_data_set_by_data_set() -> None:
    options = SweepOptions(
        scenarios="clean,noise(0.2, convention=inclusive),clean", datasets="npz:a.npz,digits", lr=0.05
    )
    studies = list(options.studies())
    assert [(study.dataset, study.scenario) for study in studies] == [
        ("npz:a.npz", "clean"),
        ("npz:a.npz", "noise(0.2, convention=inclusive)"),
        ("digits", "clean"),
        ("digits", "noise(0.2, convention=inclusive)"),
    ]
    assert {study.lr for study in studies} == {0.05}


def test_quotes_protect_the_commas_of_a_path() -> None:
    options = SweepOptions(scenarios="clean", datasets="'folder:a, b',\"npz:c,d.npz\"")
    assert [study.dataset for study in options.studies()] == ["folder:a, b", "npz:c,d.npz"]


def test_the_name_of_a_sweep_is_not_that_of_its_studies() -> None:
    (study,) = SweepOptions(scenarios="clean", name="all of it").studies()
    assert study.name is None


@pytest.mark.parametrize(
    ("lists", "option"),
    [({"scenarios": "clean,,noise0.2"}, "--scenarios"), ({"scenarios": "clean", "datasets": "'a"}, "--datasets")],
)
def test_a_malformed_list_is_refused_with_its_option(lists: dict[str, str], option: str) -> None:
    with pytest.raises(UsageError, match=f"^{option} "):
        list(SweepOptions(**lists).studies())


@pytest.mark.parametrize("values", [{"folds": 1}, {"keep": 0}, {"warmup": 1.0}, {"show": 201}, {"precision": "fp64"}])
def test_impossible_values_of_an_audit_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(values))):
        AuditOptions(**values)


def test_no_study_is_selected_without_a_scenario() -> None:
    assert StudySelection().scenario == ""
    with pytest.raises(ValidationError, match="scenarios"):
        SweepOptions()
