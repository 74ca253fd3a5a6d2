"""human: human annotations, read from a file.

CIFAR-10N    worse, aggre, random1, random2, random3          CIFAR-100N    noisy
custom       the name of any column with a label for each image, by class number or class name; -1 or empty if missing

"Learning with Noisy Labels Revisited: A Study Using Real-World Human Annotations" (Wei et al., ICLR 2022, arXiv 2110.12088)
introduced CIFAR-N, published as CIFAR-10_human.pt and CIFAR-100_human.pt for non-commercial use (CC BY-NC 4.0). It is not
part of this package. An .npz or .csv with the same columns is accepted and must contain the same labels.

The file has a label for each row of the data set, or for each non-test row, or for each training row, in the order of the
data set. If it has a column clean_label, which is required for CIFAR-N, this is first compared with the labels of the data
set, because TensorFlow's copy of CIFAR-10 is in a different order. Rows without a label and foreign images keep the label
shown. In a .csv with a single column a blank line is a missing label. The scenario does not depend on the data seed.
"""

import io
import pickle
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from robustkd.data import csv_reader
from robustkd.data.paths import require_file
from robustkd.data.view import Labels, Source, View
from robustkd.errors import UsageError, did_you_mean, unknown_name
from robustkd.hashing import digest
from scenarios.base import Scenario

SHORT_NAMES = {
    **{name: f"{name}_label" for name in ("worse", "aggre", "noisy")},
    **{f"random{number}": f"random_label{number}" for number in (1, 2, 3)},
}
PUBLISHED_DIGESTS = {  # digests of CIFAR-N's label columns, independent of the file format
    "aggre_label": "2ee1997c182e046e",
    "worse_label": "4528092eb91c14d1",
    "random_label1": "32431feb37e1ad7c",
    "random_label2": "fb0b274932f71c72",
    "random_label3": "259abcc8303e6cd8",
    "noisy_label": "7353cac71bf2883a",
    "noisy_coarse_label": "0494a512a22d37a5",
}
CLEAN_COLUMN, SUPERCLASS_COUNT = "clean_label", 20  # CIFAR-100 has 20 superclasses


@dataclass(frozen=True)
class Human(Scenario):
    """Human annotations in place of the labels shown."""

    family = "label noise"
    column: str
    file: str

    def corruption_rates(self, view: View) -> NDArray[np.float64]:
        changed = view.labels[self.human_labels(view) != view.labels]
        rates: NDArray[np.float64] = np.bincount(changed, minlength=len(view.classes)) / np.maximum(view.counts, 1)
        return rates

    def apply(self, view: View) -> View:
        return view.relabel(self.human_labels(view))

    def human_labels(self, view: View) -> Labels:
        """Return the annotated label of each row, or the label shown if there is none: (n,)."""
        labels = load_human_labels(self.column, Path(self.file).expanduser(), view.sources[0])
        labels = np.where(view.foreign, -1, labels[np.where(view.foreign, 0, view.rows)])
        return np.where(labels >= 0, labels, view.labels)


# Labels read for each source, by column and file state, because a scenario is applied more than once.
_LOADED: WeakKeyDictionary[Source, dict[tuple[str, Path, int, int], Labels]] = WeakKeyDictionary()


def load_human_labels(column: str, path: Path, source: Source) -> Labels:
    """Load the annotated label of each row of a source, -1 if missing: (N,), read-only.

    Raises:
        UsageError: The file cannot be read, lacks the column, or does not belong to this data set.
    """
    status = require_file("human", path).stat()
    key, cache = (column, path, status.st_mtime_ns, status.st_size), _LOADED.setdefault(source, {})
    if key not in cache:
        cache[key] = _parse_human_labels(column, path, source)
        cache[key].flags.writeable = False
    return cache[key]


def _parse_human_labels(column: str, path: Path, source: Source) -> Labels:
    """Read and check the annotated labels of a source: (N,).

    Raises:
        UsageError: As for `load_human_labels`.
    """
    columns = read_columns(path)
    key = _find_column(column, path, columns)
    if "coarse" in key and key in PUBLISHED_DIGESTS and len(source.classes) != SUPERCLASS_COUNT:
        raise UsageError(
            f"human: column '{key}' names {SUPERCLASS_COUNT} superclasses, but {source.name} has {len(source.classes)} classes;"
            " use 'noisy' for CIFAR-100's classes"
        )
    clean = CLEAN_COLUMN if "coarse" not in key else "clean_coarse_label"
    if key in PUBLISHED_DIGESTS and clean not in columns:
        raise UsageError(
            f"human: {path} has no column '{clean}', which is needed to check the order of CIFAR-N's images"
        )
    rows = _rows_of_file(path, len(columns[key]), source)
    if key == clean or clean not in columns:
        (labels,) = _to_class_numbers(path, {key: columns[key]}, source.classes)
    else:
        labels, clean_labels = _to_class_numbers(path, {key: columns[key], clean: columns[clean]}, source.classes)
        _check_image_order(path, clean, clean_labels, source, rows)
    if key in PUBLISHED_DIGESTS and digest(labels.astype("<i8")) != PUBLISHED_DIGESTS[key]:
        raise UsageError(
            f"human: column '{key}' of {path} does not contain the labels that CIFAR-N published under this name;"
            " rename the column if it contains other labels"
        )
    table = np.full(len(source.labels), -1)
    table[rows] = labels
    return table


def _find_column(column: str, path: Path, columns: dict[str, NDArray[Any]]) -> str:
    """Return the file's name of a column that may be given by its short name."""
    for key in (column, SHORT_NAMES.get(column)):
        if key in columns:
            return key
    short_names = {key: short for short, key in SHORT_NAMES.items()}
    available = [short_names.get(key, key) for key in columns]
    hint = did_you_mean(column, [*available, *columns])
    raise UsageError(f"human: {path} has no column '{column}'{hint}; it has: {', '.join(available) or 'none'}")


def _rows_of_file(path: Path, length: int, source: Source) -> Labels:
    """Return the rows that a file with this number of labels describes: (length,)."""
    candidates = [np.arange(len(source.labels))]
    if source.parts is not None:
        candidates += [np.flatnonzero(source.parts != "test"), np.flatnonzero(source.parts == "train")]
    for rows in candidates:
        if len(rows) == length:
            return rows
    expected = " or ".join(str(size) for size in sorted({len(rows) for rows in candidates if len(rows)}))
    raise UsageError(f"human: {path} has {length} labels, but {source.name} has {expected} images to label")


def _check_image_order(path: Path, column: str, clean_labels: Labels, source: Source, rows: Labels) -> None:
    """Raise a UsageError if the file's clean labels differ from those of the source."""
    differences = int(((clean_labels >= 0) & (clean_labels != source.labels[rows])).sum())
    if differences:
        raise UsageError(
            f"human: column '{column}' of {path} differs from the labels of {source.name} for {differences} of {len(rows)}"
            " images: the file is for these images in a different order, or for other images"
        )


def _to_class_numbers(path: Path, columns: dict[str, NDArray[Any]], classes: tuple[str, ...]) -> list[Labels]:
    """Convert columns to class numbers, -1 if missing. Values are class names if all of them are, else numbers."""
    factorised = {}
    for key, column in columns.items():
        codes, texts = _factorise(column)
        # A number may be written as a float: 3.0 is class 3.
        factorised[key] = codes, [text if text in classes else text.strip().removesuffix(".0") for text in texts]
    numbers = {name: number for number, name in enumerate(classes)}
    if not {text for _, texts in factorised.values() for text in texts} <= {*classes, "", "-1"}:
        numbers = {str(number): number for number in range(len(classes))}
    converted = []
    for key, (codes, texts) in factorised.items():
        values = np.full(len(texts), -1)
        for index, text in enumerate(texts):
            if text not in ("", "-1"):
                if text not in numbers:
                    raise UsageError(
                        f"human: column '{key}' of {path}: {unknown_name('class', text, classes)};"
                        f" nor is it a class number from 0 to {len(classes) - 1}"
                    )
                values[index] = numbers[text]
        converted.append(values[codes])
    return converted


def _factorise(column: NDArray[Any]) -> tuple[Labels, list[str]]:
    """Encode a column as codes (N,) into a list of distinct values as text, where NaN is empty."""
    if column.dtype.kind in "OU":  # hashing strings is faster than sorting them
        texts = column.tolist()
        code = {text: index for index, text in enumerate(dict.fromkeys(texts))}
        return np.fromiter(map(code.__getitem__, texts), np.int64, len(texts)), list(code)
    values, codes = np.unique(column, return_inverse=True)
    return codes, ["" if value != value else str(value) for value in values.tolist()]


def read_columns(path: Path) -> dict[str, NDArray[Any]]:
    """Read a file's columns by name: (N,) numbers or strings.

    Raises:
        UsageError: The file cannot be read as columns of one length.
    """
    readers = {".pt": _read_pt, ".npz": _read_npz, ".csv": _read_csv}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UsageError(f"human: {path} is not a {', '.join(readers)} file")
    try:
        columns = reader(path)
    except UsageError:
        raise
    except Exception as error:  # the exceptions for a damaged file depend on its format
        raise UsageError(
            f"human: {path} cannot be read as columns of labels ({' '.join(str(error).split())})"
        ) from None
    lengths = {key: len(values) for key, values in columns.items() if values.ndim == 1}
    if len(lengths) < len(columns) or len(set(lengths.values())) > 1:
        shapes = ", ".join(f"{key} {values.shape}" for key, values in columns.items())
        raise UsageError(f"human: {path} should contain columns of one length, but contains: {shapes}")
    return {key: values.astype(values.dtype.newbyteorder("=")) for key, values in columns.items()}


def _read_csv(path: Path) -> dict[str, NDArray[Any]]:
    header, *rows = csv_reader.read_csv_rows("human", path, keep_blank=True).rows
    names = [name.strip() for name in header]
    if repeated := next((name for name in names if names.count(name) > 1 and name), None):
        raise UsageError(f"human: two columns of {path} are called '{repeated}'")
    return {name: np.array([row[index] for row in rows], object) for index, name in enumerate(names) if name}


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as file:
        columns = {name: file[name] for name in file}
    return {name: np.strings.decode(v, "utf-8") if v.dtype.kind == "S" else v for name, v in columns.items()}


def _read_pt(path: Path) -> dict[str, NDArray[Any]]:
    with zipfile.ZipFile(path) as archive:
        (member,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
        content = _ArrayUnpickler(io.BytesIO(archive.read(member))).load()
    if not isinstance(content, dict) or not all(isinstance(values, _ArrayStub) for values in content.values()):
        raise pickle.UnpicklingError("the content is not a dictionary of arrays")
    return {str(key): values.values for key, values in content.items()}


class _DtypeStub:
    """Stub for numpy.dtype."""

    def __init__(self, code: str, *_: object) -> None:
        if not re.fullmatch("[iu][1248]", code):
            raise pickle.UnpicklingError(f"an array of dtype '{code}' is not an array of integers")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _ArrayStub:
    """Stub for numpy.ndarray."""

    values: NDArray[Any]

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran_order, content = state
        self.values = np.frombuffer(content, dtype.dtype).reshape(shape, order="F" if fortran_order else "C")


def _encode_latin1(text: str, _: str) -> bytes:
    """Stub for _codecs.encode, which old pickles use for bytes."""
    return text.encode("latin-1")


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickler for arrays of integers that runs no code: every allowed global is replaced by a stub."""

    allowed = {  # noqa: RUF012  # a table, never changed
        ("numpy", "ndarray"): _ArrayStub,
        ("numpy", "dtype"): _DtypeStub,
        ("numpy.core.multiarray", "_reconstruct"): _ArrayStub,
        ("numpy._core.multiarray", "_reconstruct"): _ArrayStub,
        ("_codecs", "encode"): _encode_latin1,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f"the pickle uses {module}.{name}, which labels do not need")
        return self.allowed[module, name]
