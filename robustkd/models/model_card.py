"""The model card in a model.pt: what rebuilds the network, checked where a file is read, because anyone may have written it."""

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, ValidationError
from pydantic_core import PydanticCustomError

from robustkd.errors import UsageError, describe_validation_error, escape_controls
from robustkd.types import Count

Side = Annotated[int, Field(ge=1, le=1 << 16)]  # in pixels
MAX_CHARACTERS = 10_000_000


def _check_class_name(name: str) -> str:
    if escape_controls(name) != name:
        raise PydanticCustomError("class_name", "Input should be free of control characters")
    return name


class _Card(BaseModel):
    """The entries that every card has, and those that are checked if it has them; others are for people."""

    model_config = ConfigDict(strict=True)

    model: str
    shape: Annotated[list[Side], Field(min_length=3, max_length=3)]
    classes: Annotated[list[Annotated[str, AfterValidator(_check_class_name)]], Field(min_length=1)]
    mean: list[FiniteFloat]
    std: list[FiniteFloat]
    head: str
    image_size: Count | None = None
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    crop_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    value_range: Annotated[list[FiniteFloat], Field(min_length=2, max_length=2)] | None = None


def parse_model_card(text: object) -> dict[str, Any]:
    """Return the model card that a text of JSON holds, with all its entries.

    Raises:
        UsageError: it is no such text, or an entry is missing or of another type. The message lacks the file's name.

    >>> parse_model_card('{"shape": [1, 8]}')
    Traceback (most recent call last):
        ...
    robustkd.errors.UsageError: its model card has no 'model'
    """
    if not isinstance(text, str) or len(text) > MAX_CHARACTERS:
        raise UsageError("its model card is no text, or is too long")
    try:
        card = json.loads(text)
    except (ValueError, RecursionError):
        raise UsageError("its model card is not JSON") from None
    if not isinstance(card, dict):
        raise UsageError(f"its model card is a {type(card).__name__}, not a dictionary")
    # Earlier cards, without an interpolation, have another `image_size`, which is not read.
    unread = () if "interpolation" in card else ("image_size",)
    try:
        _Card.model_validate({name: value for name, value in card.items() if name not in unread})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"][:2]))
        if first["type"] == "missing":
            raise UsageError(f"its model card has no '{name}'") from None
        raise UsageError(f"its model card is wrong: {name} {describe_validation_error(error)}") from None
    return card
