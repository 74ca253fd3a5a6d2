"""Readers: a word or a path becomes a Source. Only this file and its helpers (folders, tables, arrays, decode) open data."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from robustkd.data.arrays import from_arrays, load_npz, save_npz, to_channels_first
from robustkd.data.decode import decode_files, describe_error, raise_if_unreadable
from robustkd.data.folders import ImageFile, list_folder, list_image_files, read_class_names
from robustkd.data.image_cache import decode_with_cache
from robustkd.data.labels import Annotations
from robustkd.data.paths import describe_missing_path
from robustkd.data.resize import Pixels
from robustkd.data.tables import DecodeOptions, from_frame, load_csv, load_parquet
from robustkd.data.view import Source
from robustkd.errors import UsageError, did_you_mean
from robustkd.hashing import digest

DATASETS = {
    "digits": "1,797 grey digits of 8x8 that come with scikit-learn",
    "mnist": "70,000 grey digits of 28x28",
    "fashion-mnist": "70,000 grey pieces of clothing of 28x28",
    "kmnist": "70,000 grey cursive Japanese letters of 28x28",
    "svhn": "99,289 house numbers of 32x32, in colour and naturally imbalanced",
    "cifar10": "60,000 photographs of 32x32 in 10 classes",
    "cifar100": "60,000 photographs of 32x32 in 100 classes",
    "stl10": "13,000 labelled photographs of 96x96 in 10 classes",
    "folder:PATH": "your image files in a folder per class, with train, val and test above them or without",
    "csv:PATH": "your table of image files: columns image, label, if you like split, group and clean_label",
    "parquet:PATH": "the same columns, the images as paths or as encoded bytes, as Hugging Face writes them",
    "npz:PATH": "your arrays X and y, if you like X_test, y_test, classes, clean, group and more",
}

__all__ = [
    "DATASETS",
    "from_arrays",
    "from_frame",
    "load_dataset",
    "load_foreign_dataset",
    "load_images",
    "save_npz",
]


class _TorchvisionDataset(NamedTuple):
    """A data set that torchvision reads."""

    reader: str
    place: str  # below the data folder
    flips: bool = False
    digits: bool = False  # whether the classes are called 0 to 9; otherwise as torchvision calls them


_TORCHVISION = {
    "mnist": _TorchvisionDataset("MNIST", "MNIST/raw", digits=True),
    "fashion-mnist": _TorchvisionDataset("FashionMNIST", "FashionMNIST/raw"),
    "kmnist": _TorchvisionDataset("KMNIST", "KMNIST/raw"),
    "svhn": _TorchvisionDataset("SVHN", "train_32x32.mat", digits=True),
    "cifar10": _TorchvisionDataset("CIFAR10", "cifar-10-batches-py", flips=True),
    "cifar100": _TorchvisionDataset("CIFAR100", "cifar-100-python", flips=True),
    "stl10": _TorchvisionDataset("STL10", "stl10_binary", flips=True),
}


def load_dataset(
    word: str,
    *,
    data_dir: str | None = None,
    download: bool = False,
    image_size: int = 32,
    skip_bad_images: bool = False,
    cache_dir: Path | None = None,
) -> Source:
    """The data set that a word of DATASETS names.

    Args:
        word: the word; for a user's own data with the path, as in folder:PATH.
        data_dir: where published data lies or is fetched to; "data" unless told.
        download: whether published data may be fetched.
        image_size: the side that image files are scaled and cropped to; arrays keep theirs.
        skip_bad_images: leave out image files that cannot be read, instead of refusing.
        cache_dir: where decoded image files are kept; the user's cache folder unless told.

    Raises:
        UsageError: there is no such data set, it is not there, or it is not what it should be.
    """
    found = _load_by_kind(word, data_dir, download, image_size, skip_bad_images, cache_dir)
    beside = {"data_dir": data_dir, "download": download, "skip_bad_images": skip_bad_images, "cache_dir": cache_dir}
    return replace(found, read_options=tuple(beside.items()))


def _load_by_kind(
    word: str, data_dir: str | None, download: bool, image_size: int, skip_bad_images: bool, cache_dir: Path | None
) -> Source:
    kind, _, place = word.partition(":")
    if word == "digits":
        return _load_digits()
    if word in _TORCHVISION:
        return _load_torchvision(word, Path(data_dir or "data").expanduser(), download)
    if kind == "folder" and place:
        return _load_folder(word, Path(place).expanduser(), image_size, skip_bad_images, cache_dir)
    if kind in ("csv", "parquet") and place:
        reader = load_csv if kind == "csv" else load_parquet
        return reader(word, Path(place).expanduser(), DecodeOptions(image_size, skip_bad_images, cache_dir))
    if kind == "npz" and place:
        return load_npz(word, Path(place).expanduser())
    own = _guess_kind(Path(word).expanduser())
    hint = (
        f" (did you mean '{own}:{word}'?)" if own else did_you_mean(f"{kind}:PATH" if place else word.lower(), DATASETS)
    )
    raise UsageError(f"no data set is called '{word}'{hint}; there are: {', '.join(DATASETS)}")


def _guess_kind(path: Path) -> str:
    """What a path would be read as, if there is something."""
    if path.is_file():
        return {".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".pq": "parquet"}.get(path.suffix.lower(), "npz")
    return "folder" if path.is_dir() else ""


def load_foreign_dataset(word: str, beside: Source) -> Source:
    """Another data set, read as the one was that it lends images to; a view brings these to its own shape.

    Raises:
        UsageError: it cannot be read, or it is the same data set.
    """
    found = _load_foreign(word, beside.shape, beside.read_options)
    if found.fingerprint == _foreign_fingerprint(beside.fingerprint, beside.shape):
        raise UsageError(f"'{word}' is the data set itself: foreign images come from another")
    return found


@lru_cache(maxsize=2)
def _load_foreign(word: str, shape: tuple[int, int, int], reading: tuple[tuple[str, Any], ...]) -> Source:
    found = load_dataset(word, image_size=max(shape[1:]), **dict(reading))
    return replace(found, fingerprint=_foreign_fingerprint(found.fingerprint, shape))


def _foreign_fingerprint(fingerprint: str, shape: tuple[int, int, int]) -> str:
    """What a data set is as a lender: what it shows hangs on the shape too."""
    return digest(text=f"{fingerprint} as {shape}")


def load_images(
    path: str | Path, *, image_size: int, channels: int, skip_bad_images: bool = False
) -> tuple[list[str], Pixels]:
    """The image files below a folder, or a single one, without labels: their names and (N, C, S, S)."""
    path = Path(path).expanduser()
    if not path.exists():
        raise UsageError(describe_missing_path("images", path))
    root, files = (path, list_image_files(path)) if path.is_dir() else (path.parent, [path.name])
    if not files:
        raise UsageError(f"images: {path} holds no image files")
    images = np.empty((len(files), channels, image_size, image_size), np.uint8)
    bad = decode_files(root, files, images)
    raise_if_unreadable(f"images: {path}", len(files), bad, skip_bad_images)
    good = [number for number, file in enumerate(files) if file not in bad]
    return [files[number] for number in good], images[good] if bad else images


def _load_digits() -> Source:
    from sklearn.datasets import load_digits

    sixteenths, labels = load_digits(return_X_y=True)
    images = np.rint(sixteenths * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    labels = labels.astype(np.int64)
    return Annotations(labels, tuple("0123456789"), labels).source("digits", images, flips=False)


def _load_torchvision(word: str, root: Path, download: bool) -> Source:
    import torchvision.datasets as library

    told = _TORCHVISION[word]
    kind: Any = getattr(library, told.reader)
    near = root / Path(told.place).name  # an MNIST's own folder may be named as well as the one around it
    place = near if near.exists() and not (root / told.place).exists() else root / told.place
    if not place.exists() and not download:
        raise UsageError(f"dataset '{word}': {place} is missing; --data-dir names another place, --download fetches it")
    try:
        halves = _load_train_and_test(kind, root, place, download)
    except Exception as error:  # no network, a half-written archive: what torchvision raises depends on the format
        cure = "" if download else ": delete what is there and fetch it with --download"
        raise UsageError(
            f"dataset '{word}' cannot be {'fetched to or ' * download}read from {place} ({describe_error(error)}){cure}"
        ) from error
    images = np.concatenate([to_channels_first(np.asarray(half.data)) for half in halves])
    labels = [np.asarray(half.targets if hasattr(half, "targets") else half.labels, np.int64) for half in halves]
    parts = np.repeat(["train", "test"], [len(half) for half in labels])
    both = np.concatenate(labels)
    if len(both) != len(images):
        raise UsageError(f"dataset '{word}' in {place} is damaged: {len(images)} images but {len(both)} labels")
    classes = tuple("0123456789") if told.digits else tuple(halves[0].classes)
    return Annotations(both, classes, both, parts).source(word, images, flips=told.flips)


def _load_train_and_test(kind: Any, root: Path, place: Path, download: bool) -> list[Any]:
    """The training and the test half as torchvision reads them."""
    asked: list[dict[str, Any]] = [{"split": "train"}, {"split": "test"}]
    if "train" in inspect.signature(kind).parameters:
        asked = [{"train": True}, {"train": False}]
    if not hasattr(kind, "resources"):
        return [kind(root, download=download, **half) for half in asked]
    with _unpacked_mnist(kind, place) as raw:  # an MNIST, which by itself looks below a folder of its own name only
        here = type(kind.__name__, (kind,), {"raw_folder": raw})
        return [here(root, download=download, **half) for half in asked]


@contextmanager
def _unpacked_mnist(kind: Any, raw: Path) -> Iterator[str]:
    """The folder with an MNIST's files: where they are published ones still packed, an unpacked copy for as long."""
    from torchvision.datasets.utils import check_integrity, extract_archive

    packed = [raw / name for name, _ in kind.resources]
    if all(file.with_suffix("").is_file() for file in packed) or not all(file.is_file() for file in packed):
        yield str(raw)
        return
    with TemporaryDirectory() as scratch:  # their own folder may be read-only
        for file, (_, checksum) in zip(packed, kind.resources, strict=True):
            if not check_integrity(file, checksum):
                raise ValueError(f"{file.name} is not the published file")
            extract_archive(str(file), scratch)
        yield scratch


def _load_folder(word: str, root: Path, size: int, skip_bad_images: bool, cache_dir: Path | None) -> Source:
    files, kinds, split = list_folder(word, root)
    _check_every_class_has_images(word, kinds, files, "images")
    images, pixels, bad = decode_with_cache(root, [file.path for file in files], size, cache_dir)
    raise_if_unreadable(word, len(files), bad, skip_bad_images)
    files = [file for file in files if file.path not in bad]
    _check_every_class_has_images(word, kinds, files, "readable images")
    label = {kind: number for number, kind in enumerate(kinds)}
    labels = np.array([label[file.class_folder] for file in files])
    parts = np.array([file.part for file in files]) if split else None
    return Annotations(labels, read_class_names(root, kinds), parts=parts).source(
        word, images, flips=True, pixels=pixels, files=tuple(file.path for file in files), skipped=tuple(bad)
    )


def _check_every_class_has_images(word: str, kinds: list[str], files: list[ImageFile], what: str) -> None:
    empty = sorted(set(kinds) - {file.class_folder for file in files if file.part == "train"})
    if empty:
        raise UsageError(f"{word}: there are no {what} to train on of {', '.join(empty)}")
