"""Model cards are as anyone may have written them: each is read, or refused in one sentence that names the entry."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustkd.errors import UsageError, as_one_line
from robustkd.models.model_card import parse_model_card

CARD: dict[str, Any] = {
    **{"model": "resnet8", "shape": [1, 8, 8], "classes": ["0", "1"], "mean": [0.3], "std": [0.2], "head": "linear"},
    **{"image_size": None, "interpolation": "bilinear", "crop_share": 0.875, "value_range": [0, 4096], "seed": 3},
}
MINIMAL = {name: CARD[name] for name in ("model", "shape", "classes", "mean", "std", "head")}


@pytest.mark.parametrize("card", [CARD, MINIMAL, {**MINIMAL, "image_size": "auto"}])
def test_a_card_is_returned_with_all_its_entries(card: dict[str, Any]) -> None:
    assert parse_model_card(json.dumps(card)) == card


@pytest.mark.parametrize("name", MINIMAL)
def test_a_missing_entry_is_named(name: str) -> None:
    card = {key: value for key, value in CARD.items() if key != name}
    with pytest.raises(UsageError, match=f"^its model card has no '{name}'$"):
        parse_model_card(json.dumps(card))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("shape", value) for value in (["a", 8, 8], [8, 8], [1, -8, 8], [1, 8, 10**9], [1, 8, 8.5], 8, None)),
        *(("classes", value) for value in (5, [1, 2], [], {"a": 1}, [["a"]])),
        *(("mean", value) for value in ("abc", ["x"], 0.5)),
        *(("crop_share", value) for value in (0, 1.5, "x", None)),
        *(("value_range", value) for value in (5, ["a", "b"], [1, 2, 3])),
        *(("interpolation", value) for value in ("zzz", 3)),
        *(("model", 5), ("head", None), ("image_size", "x"), ("image_size", 0)),
    ],
)
def test_an_entry_of_another_type_is_named(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"^its model card is wrong: {name}.* is .* but "):
        parse_model_card(json.dumps({**CARD, name: value}))


@pytest.mark.parametrize("text", [None, 5, b"{}", [], "{", "[" * 100_000, "[1]", "null", '{"a": NaN' * 9, "9" * 5000])
def test_what_is_no_card_is_refused(text: object) -> None:
    with pytest.raises(UsageError, match=r"^its model card is "):
        parse_model_card(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(name=st.sampled_from([*CARD]), value=JSON)
@settings(max_examples=300, deadline=None)
def test_any_entry_is_accepted_or_refused_in_one_sentence(name: str, value: Any) -> None:
    message = ""
    try:
        parse_model_card(json.dumps({**CARD, name: value}))
    except UsageError as error:
        message = as_one_line(str(error))
    assert len(message) <= 200
