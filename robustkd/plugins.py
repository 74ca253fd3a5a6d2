"""The registries that a user's Python files can extend, and how they are loaded. torch is not imported."""

from collections.abc import Mapping
from pathlib import Path

from robustkd.criteria import CRITERIA
from robustkd.data.augmentations import AUGMENTATIONS
from robustkd.data.paired_views import PAIRED_VIEWS
from robustkd.data.user_datasets import USER_DATASETS
from robustkd.hashing import file_digest
from robustkd.methods import METHODS
from robustkd.models import MODELS
from robustkd.registry import Registry, load_plugin
from robustkd.specs import split_at

REGISTRIES = {
    "METHODS": METHODS,
    "CRITERIA": CRITERIA,
    "MODELS": MODELS,
    "VIEWS": PAIRED_VIEWS,
    "AUGMENTATIONS": AUGMENTATIONS,
    "DATASETS": USER_DATASETS,
}


def plugin_paths(files: str | None) -> list[str]:
    """Split the value of --plug into paths."""
    return split_at(files, ",") if files else []


def load_plugins(files: str | None, further: Mapping[str, Registry] | None = None) -> None:
    """Register what a user's files define.

    Args:
        files: paths separated by commas, or None.
        further: registries beyond those of the library, by the name of the dictionary that feeds each.

    Raises:
        UsageError: a file is missing, fails when run, or defines nothing.
    """
    for path in plugin_paths(files):
        load_plugin(path, {**REGISTRIES, **(further or {})})


def plugin_digests(files: str | None) -> list[str]:
    """Return the digests of a user's files, which stand for their version in what they take part in."""
    return [file_digest(Path(path)) for path in plugin_paths(files)]
