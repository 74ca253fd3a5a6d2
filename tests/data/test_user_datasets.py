"""Data sets that users define as functions."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import TensorDataset

from robustkd.data.sources import load_dataset
from robustkd.data.user_datasets import USER_DATASETS, is_user_dataset
from robustkd.data.view import Source
from robustkd.errors import UsageError
from tests.helpers import make_source

STRIPES = make_source(4)


def stripes(*, per_class: int = 4) -> Source:
    """Stripes."""
    return make_source(per_class)


def tensors(image_size: int, data_dir: str | None, *, bright: float = 1.0) -> TensorDataset:
    assert (image_size, data_dir) == (8, "there")
    return TensorDataset(torch.from_numpy(STRIPES.images) / 255, torch.from_numpy(STRIPES.labels))


def test_a_function_returns_a_source() -> None:
    USER_DATASETS.add("stripes", stripes)
    assert is_user_dataset("stripes")
    assert is_user_dataset("stripes(per_class=2)")
    assert not is_user_dataset("stripes:folder")
    source = load_dataset("stripes(per_class=2)")
    assert (source.name, len(source.labels)) == ("stripes(per_class=2)", 6)
    assert source.fingerprint == make_source(2).fingerprint
    assert len(load_dataset("stripes", min_class=1).labels) == 12


def test_a_function_may_return_labelled_images_and_ask_for_options() -> None:
    USER_DATASETS.add("tensors", tensors)
    source = load_dataset("tensors", image_size=8, data_dir="there")
    np.testing.assert_array_equal(source.images, STRIPES.images)
    assert source.labels.tolist() == STRIPES.labels.tolist()


def fails() -> None:
    raise KeyError("key")


def refuses() -> None:
    raise UsageError("the disk is not there")


def asks(size: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "text", "message"),
    [
        (lambda: [1, 2], "own", "it returns a list without labels, but a robustkd.data.view.Source, or"),
        (lambda: pd.DataFrame({"path": ["absent.png"], "label": ["a"]}), "own", r"absent\.png \(No such file"),
        (lambda: [np.zeros((8, 8)), 3], "own", "data set 'own': X: item 1 is a int"),
        (fails, "own", "data set 'own': it failed with KeyError: 'key'"),
        (refuses, "own", "^the disk is not there$"),
        (asks, "own", r"asks for 'size' \(did you mean 'image_size'\?\)"),
        (stripes, "own(classes=3)", "has no parameter 'classes'"),
        (stripes, "ow", r"no data set is called 'ow' \(did you mean 'own'\?\); there are: digits, .*own"),
        (stripes, "mnist", "the data set 'mnist' already exists"),
    ],
)
def test_what_does_not_work_is_one_sentence(function: Any, text: str, message: str) -> None:
    USER_DATASETS.add("mnist" if text == "mnist" else "own", function)
    with pytest.raises(UsageError, match=message):
        load_dataset(text)
