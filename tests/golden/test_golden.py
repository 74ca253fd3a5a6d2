"""Golden tests: a change of weights or metrics that nobody intended is noticed, and an intended one raises a version."""

import json
from dataclasses import replace
from typing import Any

import pytest

from robustkd.methods import METHODS
from tests.golden import fingerprints
from tests.golden.fingerprints import (
    CRITERION_TEXTS,
    SETTINGS,
    TRAINED_AS,
    TRAININGS,
    Fingerprint,
    describe_training,
    match_fingerprints,
)
from tests.helpers import TEACHER

REGENERATE = "run `python tests/golden/regenerate.py`"
CHANGED = (
    "weights of {name} changed: if that is intended, raise `version` of the method or criterion, or RESULTS_VERSION in"
    f" robustkd/study/versions.py if many changed, and {REGENERATE}"
)


@pytest.fixture(scope="module")
def golden_file() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(fingerprints.FILE.read_text(encoding="utf-8"))
    return content


@pytest.fixture
def baseline(golden_file: dict[str, Any]) -> list[Fingerprint]:
    stored: list[Fingerprint] = golden_file["trainings"]["baseline"]
    return stored


@pytest.fixture
def hinton(golden_file: dict[str, Any]) -> list[Fingerprint]:
    stored: list[Fingerprint] = golden_file["trainings"]["hinton"]
    return stored


@pytest.mark.parametrize("name", TRAININGS)
def test_weights_are_those_of_the_golden_file(name: str, golden_file: dict[str, Any]) -> None:
    stored = golden_file["trainings"].get(name)
    assert stored is not None, f"the golden file has no {name}: {REGENERATE}"
    assert match_fingerprints(stored, TRAININGS[name]()), CHANGED.format(name=name)


def test_every_method_and_criterion_is_in_the_golden_file(golden_file: dict[str, Any]) -> None:
    assert set(golden_file["trainings"]) == set(TRAININGS) >= {*METHODS, *CRITERION_TEXTS}, REGENERATE


def test_versions_and_hyperparameters_are_those_of_the_golden_file(golden_file: dict[str, Any]) -> None:
    stored, current = golden_file["versions"], json.loads(json.dumps(fingerprints.describe_versions()))
    for text, hyperparameters in current["hyperparameters"].items():
        assert stored["hyperparameters"].get(text) == hyperparameters, CHANGED.format(name=text)
    assert stored == current, f"a version was raised: {REGENERATE}"


def test_metrics_are_those_of_the_golden_file(golden_file: dict[str, Any]) -> None:
    stored, current = golden_file["metrics"], fingerprints.describe_metrics()
    changed = sorted(
        name
        for name in stored  # one that is added changes no result
        if name not in current or stored[name] != pytest.approx(current[name], rel=1e-5)
    )
    assert changed == [], f"metrics changed: if that is intended, raise EVALUATION_VERSION and {REGENERATE}"


def test_the_golden_file_is_small() -> None:
    assert fingerprints.FILE.stat().st_size < 200_000


# --- what the comparison notices --------------------------------------------------------------------------------------


def test_the_comparison_allows_for_rounding_errors_of_one_seed(baseline: list[Fingerprint]) -> None:
    first, *others = baseline
    moved = [{name: [value + 0.01 for value in values] for name, values in first.items()}, *others]
    assert match_fingerprints(baseline, moved)
    everywhere = [{name: [value + 0.001 for value in values] for name, values in seed.items()} for seed in baseline]
    assert not match_fingerprints(baseline, everywhere)


def test_another_seed_is_noticed(baseline: list[Fingerprint]) -> None:
    assert not match_fingerprints(baseline, describe_training("baseline", seeds=(1, 2, 3)))


@pytest.mark.parametrize("text", ["hinton(temperature=4.4)", "hinton(alpha=0.85)", "baseline"])
def test_another_hyperparameter_is_noticed(text: str, hinton: list[Fingerprint]) -> None:
    assert not match_fingerprints(hinton, describe_training(text))


@pytest.mark.parametrize(
    "change", [{"lr": 0.0101}, {"weight_decay": 2e-3}, {"schedule": "constant"}, {"nesterov": False}]
)
def test_another_recipe_is_noticed(change: dict[str, Any], baseline: list[Fingerprint]) -> None:
    settings = replace(SETTINGS, recipe=replace(SETTINGS.recipe, **change))
    assert not match_fingerprints(baseline, describe_training("baseline", settings))


def test_another_order_of_draws_is_noticed(baseline: list[Fingerprint], monkeypatch: pytest.MonkeyPatch) -> None:
    from robustkd.training import engine

    original = engine.fit

    def fit(method: Any, loader: Any, *args: Any, **kwargs: Any) -> Any:
        loader.seed += 1  # of the order of batches and of the augmentation
        return original(method, loader, *args, **kwargs)

    monkeypatch.setattr(engine, "fit", fit)
    assert not match_fingerprints(baseline, describe_training("baseline"))


def test_smaller_weights_stand_in_for_the_defaults_of_few_methods() -> None:
    assert set(TRAINED_AS) <= set(METHODS)
    assert all(text.startswith(f"{name}(weight=") for name, text in TRAINED_AS.items())
    assert f"student {TEACHER}" in TRAININGS
