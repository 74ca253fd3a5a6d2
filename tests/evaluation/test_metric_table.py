"""The table of metrics."""

import numpy as np
import pytest

from robustkd.evaluation import net_metrics
from robustkd.evaluation.metric_table import METRICS, find_metric, metrics_of
from tests.evaluation.predictions import one_hot_logits


def test_every_metric_of_predictions_is_in_the_table_and_computed() -> None:
    net = net_metrics.evaluate_predictions(np.array([0, 1]), one_hot_logits([0, 1], 2), ("a", "b"))
    assert set(net.metrics) == {name for name, metric in METRICS.items() if metric.compute is not None}
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.label
        assert not metric.description.endswith(".")


@pytest.mark.parametrize("name", ["ece", "nll", "accuracy"])
def test_a_metric_on_the_clean_part_has_the_unit_and_direction_of_the_metric(name: str) -> None:
    clean = find_metric(f"clean_{name}")
    assert (clean.unit, clean.higher_is_better) == (METRICS[name].unit, METRICS[name].higher_is_better)
    assert (clean.name, clean.label) == (f"clean_{name}", f"{METRICS[name].label}, clean part")


def test_a_metric_whose_own_name_starts_with_clean_is_itself() -> None:
    assert find_metric("clean_fit") is METRICS["clean_fit"]


@pytest.mark.parametrize("name", ["pgd20 8/255", "corruption blur", "clean_unknown"])
def test_a_name_that_is_not_in_the_table_is_an_accuracy(name: str) -> None:
    metric = find_metric(name)
    assert metric.higher_is_better
    assert (metric.name, metric.label, metric.unit, metric.group) == (name, name, "share", "other")


def test_groups_divide_the_table_and_keep_its_order() -> None:
    assert list(metrics_of("frequency")) == ["many", "medium", "few"]
    groups = {metric.group for metric in METRICS.values()}
    assert sorted(name for group in groups for name in metrics_of(group)) == sorted(METRICS)
    assert metrics_of("other") == {}
