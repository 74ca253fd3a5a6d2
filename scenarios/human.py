"""human: labels that people gave, read from a file of yours.

CIFAR-10N    worse, aggre, random1, random2, random3          CIFAR-100N    noisy
your own     the name of any column: a label for each image, by class number or class name; -1 or nothing where there is none

"Learning with Noisy Labels Revisited: A Study Using Real-World Human Annotations" (Wei et al., ICLR 2022, arXiv 2110.12088)
collected CIFAR-N and publishes it as CIFAR-10_human.pt and CIFAR-100_human.pt, for non-commercial use (CC BY-NC 4.0): it is
not part of this package. An .npz or .csv with the same columns is as good, and must hold the same labels.

The file has a label for each row of the data set, of those that are not for testing, or of those to train on, in the data
set's order. Where it has a column clean_label, as CIFAR-N must, that is held against the data set's own labels before
anything is shown: TensorFlow's copy of CIFAR-10 has another order than everyone else's. A row without a label keeps the one
it shows; so do foreign images. In a .csv with a single column a blank line is such a row. Nothing is drawn: every data seed
is shown the same.
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
from robustkd.data.folders import there
from robustkd.data.view import Labels, Source, View
from robustkd.errors import UsageError, did_you_mean, unknown_name
from robustkd.hashing import digest
from scenarios.base import Scenario

SHORT_NAMES = {
    **{name: f"{name}_label" for name in ("worse", "aggre", "noisy")},
    **{f"random{number}": f"random_label{number}" for number in (1, 2, 3)},
}
PUBLISHED_DIGESTS = {  # what CIFAR-N's columns hold, wherever they were read from
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
    """Each image is shown under the label that people gave it."""

    column: str
    file: str

    def corruption_rates(self, view: View) -> NDArray[np.float64]:
        changed = view.labels[self.human_labels(view) != view.labels]
        shares: NDArray[np.float64] = np.bincount(changed, minlength=len(view.classes)) / np.maximum(view.counts, 1)
        return shares

    def apply(self, view: View) -> View:
        return view.relabel(self.human_labels(view))

    def human_labels(self, view: View) -> Labels:
        """The label of each row shown, the one it has where the file has none: (n,)."""
        told = load_human_labels(self.column, Path(self.file).expanduser(), view.sources[0])
        told = np.where(view.foreign, -1, told[np.where(view.foreign, 0, view.rows)])
        return np.where(told >= 0, told, view.labels)


# What was read for each source, by column and state of the file: a scenario is asked more than once.
_LOADED: WeakKeyDictionary[Source, dict[tuple[str, Path, int, int], Labels]] = WeakKeyDictionary()


def load_human_labels(column: str, path: Path, source: Source) -> Labels:
    """What the file says of each row of a source: its label, -1 where it has none or does not reach: (N,), read-only.

    Raises:
        UsageError: the file cannot be read, has no such column, or is not of this data set.
    """
    status = there("human", path).stat()
    key, known = (column, path, status.st_mtime_ns, status.st_size), _LOADED.setdefault(source, {})
    if key not in known:
        known[key] = _parse_human_labels(column, path, source)
        known[key].flags.writeable = False
    return known[key]


def _parse_human_labels(column: str, path: Path, source: Source) -> Labels:
    columns = _read_columns(path)
    key = _find_column(column, path, columns)
    if "coarse" in key and key in PUBLISHED_DIGESTS and len(source.classes) != SUPERCLASS_COUNT:
        raise UsageError(
            f"human: column '{key}' names {SUPERCLASS_COUNT} superclasses, but {source.name} has {len(source.classes)} classes;"
            " for CIFAR-100's own there is 'noisy'"
        )
    clean = CLEAN_COLUMN if "coarse" not in key else "clean_coarse_label"
    if key in PUBLISHED_DIGESTS and clean not in columns:
        raise UsageError(f"human: {path} has no column '{clean}', by which CIFAR-N's order of images is checked")
    rows = _rows_of_file(path, len(columns[key]), source)
    if key == clean or clean not in columns:
        (labels,) = _to_class_numbers(path, {key: columns[key]}, source.classes)
    else:
        labels, known = _to_class_numbers(path, {key: columns[key], clean: columns[clean]}, source.classes)
        _check_image_order(path, clean, known, source, rows)
    if key in PUBLISHED_DIGESTS and digest(labels.astype("<i8")) != PUBLISHED_DIGESTS[key]:
        raise UsageError(
            f"human: column '{key}' of {path} does not hold the labels that CIFAR-N published under this name;"
            " if they are your own, call the column otherwise"
        )
    table = np.full(len(source.labels), -1)
    table[rows] = labels
    return table


def _find_column(column: str, path: Path, columns: dict[str, NDArray[Any]]) -> str:
    """The file's name of a column that may be called by its short name."""
    for key in (column, SHORT_NAMES.get(column)):
        if key in columns:
            return key
    short = {key: word for word, key in SHORT_NAMES.items()}
    known = [short.get(key, key) for key in columns]
    hint = did_you_mean(column, [*known, *columns])
    raise UsageError(f"human: {path} has no column '{column}'{hint}; it has: {', '.join(known) or 'none'}")


def _rows_of_file(path: Path, length: int, source: Source) -> Labels:
    """Which rows a file with so many labels is about: (length,)."""
    reaches = [np.arange(len(source.labels))]
    if source.parts is not None:
        reaches += [np.flatnonzero(source.parts != "test"), np.flatnonzero(source.parts == "train")]
    for rows in reaches:
        if len(rows) == length:
            return rows
    wanted = " or ".join(str(size) for size in sorted({len(rows) for rows in reaches if len(rows)}))
    raise UsageError(f"human: {path} has {length} labels, but {source.name} has {wanted} images to give one to")


def _check_image_order(path: Path, clean: str, known: Labels, source: Source, rows: Labels) -> None:
    """Refuse a file that was made for images in another order, or for others."""
    differ = int(((known >= 0) & (known != source.labels[rows])).sum())
    if differ:
        raise UsageError(
            f"human: column '{clean}' of {path} differs from {source.name}'s own labels for {differ} of {len(rows)} images:"
            " it was made for these images in another order, or for others"
        )


def _to_class_numbers(path: Path, columns: dict[str, NDArray[Any]], classes: tuple[str, ...]) -> list[Labels]:
    """Columns as class numbers, -1 where there is none; by name where all that stands in them is a class's name."""
    coded = {}
    for key, column in columns.items():
        codes, texts = _factorise(column)
        coded[key] = codes, [text if text in classes else text.strip().removesuffix(".0") for text in texts]  # or 3.0
    numbers = {name: number for number, name in enumerate(classes)}
    if not {text for _, found in coded.values() for text in found} <= {*classes, "", "-1"}:
        numbers = {str(number): number for number in range(len(classes))}
    read = []
    for key, (codes, found) in coded.items():
        values = np.full(len(found), -1)
        for place, text in enumerate(found):
            if text not in ("", "-1"):
                if text not in numbers:
                    raise UsageError(
                        f"human: column '{key}' of {path}: {unknown_name('class', text, classes)};"
                        f" nor is it a class number from 0 to {len(classes) - 1}"
                    )
                values[place] = numbers[text]
        read.append(values[codes])
    return read


def _factorise(column: NDArray[Any]) -> tuple[Labels, list[str]]:
    """A number for each value of a column, and the text of each number's value, empty for what is not a number."""
    if column.dtype.kind in "OU":  # texts are hashed, which is faster than sorting them
        texts = column.tolist()
        number = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        return np.fromiter(map(number.__getitem__, texts), np.int64, len(texts)), list(number)
    values, codes = np.unique(column, return_inverse=True)
    return codes, ["" if value != value else str(value) for value in values.tolist()]


def _read_columns(path: Path) -> dict[str, NDArray[Any]]:
    """A file's columns by name: (N,) of numbers or texts."""
    readers = {".pt": _read_pt, ".npz": _read_npz, ".csv": _read_csv}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UsageError(f"human: {path} is not a {', '.join(readers)} file")
    try:
        columns = reader(path)
    except UsageError:
        raise
    except Exception as error:  # what a damaged file raises depends on its format
        raise UsageError(
            f"human: {path} cannot be read as columns of labels ({' '.join(str(error).split())})"
        ) from None
    lengths = {key: len(values) for key, values in columns.items() if values.ndim == 1}
    if len(lengths) < len(columns) or len(set(lengths.values())) > 1:
        shapes = ", ".join(f"{key} {values.shape}" for key, values in columns.items())
        raise UsageError(f"human: {path} should hold columns of one length, but holds: {shapes}")
    return {key: values.astype(values.dtype.newbyteorder("=")) for key, values in columns.items()}


def _read_csv(path: Path) -> dict[str, NDArray[Any]]:
    header, *rows = csv_reader.read("human", path, gaps=True).rows
    names = [name.strip() for name in header]
    if twice := next((name for name in names if names.count(name) > 1 and name), None):
        raise UsageError(f"human: two columns of {path} are called '{twice}'")
    return {name: np.array([row[place] for row in rows], object) for place, name in enumerate(names) if name}


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as file:
        columns = {name: file[name] for name in file}
    return {name: np.strings.decode(v, "utf-8") if v.dtype.kind == "S" else v for name, v in columns.items()}


def _read_pt(path: Path) -> dict[str, NDArray[Any]]:
    with zipfile.ZipFile(path) as archive:
        (inside,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
        content = _ArrayUnpickler(io.BytesIO(archive.read(inside))).load()
    if not isinstance(content, dict) or not all(isinstance(values, _ArrayStub) for values in content.values()):
        raise pickle.UnpicklingError("it is not a dictionary of arrays")
    return {str(key): values.values for key, values in content.items()}


class _DtypeStub:
    """Stands for numpy.dtype."""

    def __init__(self, code: str, *_: object) -> None:
        if not re.fullmatch("[iu][1248]", code):
            raise pickle.UnpicklingError(f"an array of '{code}' is no array of whole numbers")
        self.kind = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.kind = self.kind.newbyteorder(state[1])


class _ArrayStub:
    """Stands for numpy.ndarray."""

    values: NDArray[Any]

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, columns_first, content = state
        self.values = np.frombuffer(content, kind.kind).reshape(shape, order="F" if columns_first else "C")


def _encode_latin1(text: str, _: str) -> bytes:
    """Stands for _codecs.encode, by which old pickles write bytes."""
    return text.encode("latin-1")


class _ArrayUnpickler(pickle.Unpickler):
    """Reads arrays of whole numbers and runs nothing: for all that a pickle may call there is a stand-in of ours."""

    known = {  # noqa: RUF012  # a table, never changed
        ("numpy", "ndarray"): _ArrayStub,
        ("numpy", "dtype"): _DtypeStub,
        ("numpy.core.multiarray", "_reconstruct"): _ArrayStub,
        ("numpy._core.multiarray", "_reconstruct"): _ArrayStub,
        ("_codecs", "encode"): _encode_latin1,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.known:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which labels do not need")
        return self.known[module, name]
