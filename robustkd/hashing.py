"""Content digests of arrays, texts and files."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PIECE_BYTES = 1 << 24


def digest(*arrays: NDArray[np.generic], text: str = "") -> str:
    """Return a digest of arrays and a text as 16 hexadecimal digits."""
    state = hashlib.blake2b(text.encode(), digest_size=8)
    for array in arrays:
        state.update(str((array.shape, array.dtype.str)).encode())
        rows = max(1, PIECE_BYTES // max(1, array[:1].nbytes))  # so that a memory-mapped array is not loaded whole
        for start in range(0, len(array), rows):
            state.update(np.ascontiguousarray(array[start : start + rows]).view(np.uint8).data)
    return state.hexdigest()


def json_digest(content: Mapping[str, Any]) -> str:
    """Return a digest of what can be written as JSON, whatever the order of keys."""
    return digest(text=json.dumps(content, sort_keys=True))


def file_digest(path: Path) -> str:
    """Return a digest of a file's content as 16 hexadecimal digits."""
    return digest(np.fromfile(path, dtype=np.uint8))
