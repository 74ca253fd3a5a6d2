"""Registry of data sets that users define: functions that return a Source, or labelled images as Python users hold them."""

import inspect
import re
from dataclasses import replace
from typing import Any

import numpy as np

from robustkd.data.arrays import from_arrays
from robustkd.data.image_arrays import to_uint8_images
from robustkd.data.image_collections import ReadingOptions, read_collection
from robustkd.data.view import Source
from robustkd.errors import UsageError, did_you_mean
from robustkd.registry import Registry
from robustkd.specs import Spec, settable_parameters

USER_DATASETS = Registry("data set", "robustkd.data", "robustkd.datasets", {})
INGREDIENTS = ("image_size", "data_dir")  # options that a function can ask for, by the names of positional parameters


def is_user_dataset(name: str) -> bool:
    """Return whether a name with parameters, as in photos(year=2024), is that of a user's data set."""
    match = re.match(r"[A-Za-z_][\w.-]*(?=\(|$)", name)
    return match is not None and match[0] in USER_DATASETS


def load_user_dataset(name: str, *, image_size: int, data_dir: str | None) -> Source:
    """Call a user's function, and return what it returns as a data set.

    Args:
        name: as typed, with parameters.
        image_size: the side that image files are scaled and cropped to.
        data_dir: the folder of published data sets, or None.

    Raises:
        UsageError: a parameter is wrong, or the function fails or returns something else.
    """
    spec = USER_DATASETS.parse(name)
    options = {"image_size": image_size, "data_dir": data_dir}
    arguments = {wanted: options[wanted] for wanted in _ingredients(spec)}
    kwargs = spec.kwargs()
    try:
        result = spec.load()(**arguments, **kwargs)
    except UsageError:
        raise
    except Exception as error:  # whatever a user's code raises
        raise UsageError(f"data set '{name}': it failed with {type(error).__name__}: {error}") from error
    return replace(result, name=name) if isinstance(result, Source) else _build_user_source(name, result, image_size)


def _ingredients(spec: Spec) -> list[str]:
    """Return the options that a function asks for."""
    target = spec.load()
    settable = settable_parameters(target)
    names = [name for name in inspect.signature(target).parameters if name not in settable]
    for name in names:
        if name not in INGREDIENTS:
            raise UsageError(
                f"data set '{spec.name}' asks for '{name}'{did_you_mean(name, INGREDIENTS)}; it may ask for"
                f" {' and '.join(INGREDIENTS)}; parameters with a value of their own come after a *"
            )
    return names


def _build_user_source(name: str, result: Any, image_size: int) -> Source:
    """Return labelled images as a data set."""
    wanted = "a robustkd.data.view.Source, or a torch or Hugging Face Dataset or a frame with images and labels"
    try:
        collection = read_collection(result, ReadingOptions(image_size))
        if collection is None or collection.labels is None:
            raise UsageError(f"it returns a {type(result).__name__} without labels, but {wanted} is wanted")
        images = to_uint8_images(np.asarray(collection.images))
        return from_arrays(images, collection.labels, name=name)
    except ValueError as error:
        raise UsageError(f"data set '{name}': {error}") from None
