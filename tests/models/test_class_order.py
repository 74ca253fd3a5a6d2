"""Outputs of stored networks in the order of a data set's classes."""

import pytest
import torch
from torch import nn

from robustkd.errors import UsageError
from robustkd.models import MODELS
from robustkd.models.build import build_network
from robustkd.models.class_order import describe_class_order, find_class_order, reorder_outputs
from tests.helpers import ConstantNetwork

PETS = ("cat", "dog", "fox")


@pytest.mark.parametrize(
    ("stored", "classes", "order"),
    [(PETS, PETS, [0, 1, 2]), (PETS, ("fox", "cat", "dog"), [2, 0, 1]), ("012", "012", [0, 1, 2])],
)
def test_classes_are_found_by_name(stored, classes, order):
    found = find_class_order("model.pt", stored, classes)
    assert found == order
    assert [stored[output] for output in found] == list(classes)


@pytest.mark.parametrize(
    ("stored", "classes", "reason"),
    [
        (PETS, ("cat", "dog", "fxo"), r"there is no class 'fxo' \(did you mean 'fox'\?\); there are: cat, dog, fox"),
        (("0", "1", "2"), PETS, "this network has no class names but the numbers 0 to 2"),
        (PETS, ("0", "1", "2"), "the data set has no class names but the numbers 0 to 2"),
    ],
)
def test_other_names_are_refused_unless_they_are_ignored(stored, classes, reason):
    with pytest.raises(UsageError, match=f"model.pt: .*{reason}.*; --teacher-classes ignore pairs them by position"):
        find_class_order("model.pt", stored, classes)
    assert find_class_order("model.pt", stored, classes, by_name=False) == [0, 1, 2]


def test_another_number_of_classes_is_always_refused():
    with pytest.raises(UsageError, match="this network has 3 classes, but the data set has 2"):
        find_class_order("model.pt", PETS, ("cat", "dog"), by_name=False)


def test_pairs_are_described_where_they_may_surprise():
    assert describe_class_order(PETS, PETS, [0, 1, 2]) == ""
    letters = [chr(97 + k) for k in range(9)]
    assert describe_class_order(letters, list("012345678"), range(9)).endswith("d as 3, e as 4 and 4 more")


@pytest.mark.parametrize("head", ["linear", "cosine"])
@pytest.mark.parametrize("word", ["wrn_10_1", "torchvision:resnet18"])
def test_outputs_are_permuted_with_their_head(word, head):
    net = build_network(
        MODELS.parse(word), shape=(3, 32, 32), classes=3, mean=[0.5], std=[0.2], head=head, seed=0
    ).eval()
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = net(images)
        reorder_outputs("model.pt", net, [2, 0, 1], (3, 32, 32))
        after = net(images)
    torch.testing.assert_close(after.logits, before.logits[:, [2, 0, 1]])
    torch.testing.assert_close(after.embedding, before.embedding)


def test_a_network_whose_logits_are_not_its_heads_is_refused():
    class Plain(ConstantNetwork):
        head = nn.Linear(1, 3)

    with pytest.raises(UsageError, match=r"model\.pt: the outputs of this network cannot be put in the order"):
        reorder_outputs("model.pt", Plain(torch.tensor([[1.0, 2.0, 3.0]])), [1, 0, 2], (1, 8, 8))
