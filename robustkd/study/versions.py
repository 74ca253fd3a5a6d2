"""Versions of results. A study is identified by its options, its data and RESULTS_VERSION, not by the text of source files.

Raise a version when, and only when, results change. The golden tests in tests/golden fail when a change of the code changes
weights, and name the version to raise:

    RESULTS_VERSION     any change that affects the weights of many methods, their data or their recipe: studies get new names
    Method.version      a change of one method: its runs are trained again, those of others are kept (not for `baseline` and
                        `smooth`, which train teachers: raise RESULTS_VERSION)
    EVALUATION_VERSION  a change of metrics: networks are evaluated again, not trained again
    ATTACKS_VERSION, CORRUPTIONS_VERSION (robustkd/evaluation): only attacked or corrupted images are evaluated again

PyTorch's version is recorded with each run and shown, but it is not part of the identity.
"""

from pathlib import Path

from robustkd.hashing import file_digest
from robustkd.method_spec import MethodSpec

RESULTS_VERSION = 1
EVALUATION_VERSION = 3


def method_version(spec: MethodSpec) -> str:
    """Return the version of the results of a method with its criterion. Files that they read count by their content.

    >>> method_version(MethodSpec.parse("hinton+balanced"))
    '1.1.1'
    """
    method, criterion = (getattr(part.load(), "version", 1) for part in (spec.method, spec.criterion))
    return ".".join([f"{RESULTS_VERSION}.{method}.{criterion}", *map(content_digest, spec.files())])


def content_digest(file: Path) -> str:
    """Return the digest of a file's content; a missing file, which is refused elsewhere, has one of its own."""
    return file_digest(file) if file.is_file() else "missing"
