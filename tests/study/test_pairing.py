"""References, and differences image by image."""

import numpy as np
import pytest

from robustkd.study import pairing
from robustkd.study.agreements import pack_classes, pack_groups
from tests.records import make_net, make_record, make_result


def test_a_method_is_compared_with_the_baseline_of_its_criterion() -> None:
    assert pairing.find_reference("hinton+balanced", {"baseline": "ce", "hinton+balanced": "balanced"}) == "baseline"
    assert pairing.find_reference("hinton", {"hinton": "ce"}) is None
    criteria = {"baseline": "ce", "baseline+gce": "gce", "hinton": "ce", "hinton+gce": "gce"}
    expected = {"baseline+gce": "baseline", "hinton": "baseline", "hinton+gce": "baseline+gce"}
    assert pairing.compared_methods(criteria) == expected
    same = dict.fromkeys(("baseline", "baseline+gce", "hinton+gce"), "hinton")
    assert pairing.compared_methods(criteria, "hinton") == same, "a reference on request is that of all others"


def test_seeds_of_one_draw_are_averaged_unless_there_is_only_one() -> None:
    d = np.arange(8.0).reshape(4, 2)
    np.testing.assert_array_equal(pairing.average_by_draw(d, [0, 1, 2, 3], 2), [[2, 3], [4, 5]])
    for shared in (None, 1):
        assert pairing.average_by_draw(d, [0, 1, 2, 3], shared) is d
    assert pairing.shared_draws(make_record(["baseline"], 3, {"data_seeds": 3})) is None
    assert pairing.shared_draws(make_record(["baseline"], 4, {"data_seeds": 3})) == 3


def predicted(method: str, seed: int, classes: list[int], recalls: tuple[float, float]):
    net = make_net(dict(zip(("cat", "dog"), recalls, strict=True)))
    return make_result("student", method, seed, net, clean=net, predictions={"test": pack_classes(np.array(classes))})


OWN = [predicted("hinton", 0, [0, 0, 1, 0], (1.0, 0.5)), predicted("hinton", 1, [0, 0, 1, 1], (1.0, 1.0))]
OTHER = [predicted("baseline", 0, [0, 1, 1, 1], (0.5, 1.0)), predicted("baseline", 1, [0, 1, 1, 1], (0.5, 1.0))]
PAIRS = pairing.Pairs(OWN, OTHER)
LABELS = pack_classes(np.array([0, 0, 1, 1]))


def test_differences_in_correctness_by_hand() -> None:
    found = pairing.image_differences(PAIRS, make_record(["baseline"], 2, test_labels=LABELS), "last")
    assert found is not None
    assert found.values.tolist() == [[0, 1, 0, -1], [0, 1, 0, 0]]
    assert found.labels.tolist() == [0, 0, 1, 1]
    assert found.groups is None
    grouped = make_record(["baseline"], 2, test_labels=LABELS, test_groups=pack_groups(np.array([5, 2, 5, 7])))
    assert pairing.image_differences(PAIRS, grouped, "last").groups.tolist() == [1, 0, 1, 2]
    one_draw = make_record(["baseline"], 2, {"data_seeds": 1}, test_labels=LABELS)
    assert len(pairing.image_differences(PAIRS, one_draw, "last").values) == 2


def test_images_without_a_known_true_label_are_left_out_of_the_clean_part() -> None:
    truth = pack_classes(np.array([-1, 0, 1, -1]))
    own = [predicted("hinton", 0, [0, 0, 1, 0], (1.0, 1.0))]
    other = [predicted("baseline", 0, [0, 1, 1, 1], (0.0, 1.0))]
    found = pairing.image_differences(
        pairing.Pairs(own, other), make_record(["baseline"], 1, test_truth=truth), "clean"
    )
    assert found is not None
    assert found.values.tolist() == [[1, 0]]
    groups = pack_groups(np.array([0, 0, 1, 1]))
    record = make_record(["baseline"], 1, test_truth=truth, test_groups=groups)
    assert pairing.image_differences(pairing.Pairs(own, other), record, "clean").groups.tolist() == [0, 1]
    assert (
        pairing.image_differences(pairing.Pairs(own, other), make_record(["baseline"], 1, test_truth=truth), "last")
        is None
    )


@pytest.mark.parametrize("labels", [pack_classes(np.array([0, 0, 1])), pack_classes(np.array([1, 0, 1, 1])), ""])
def test_predictions_of_other_images_or_labels_are_not_used(labels: str) -> None:
    assert pairing.image_differences(PAIRS, make_record(["baseline"], 2, test_labels=labels), "last") is None
    unrecorded = [OWN[0].model_copy(update={"predictions": {}}), OWN[1]]
    record = make_record(["baseline"], 2, test_labels=LABELS)
    assert pairing.image_differences(pairing.Pairs(unrecorded, OTHER), record, "last") is None
    assert pairing.image_differences(pairing.Pairs([], []), record, "last") is None
