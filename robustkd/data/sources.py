"""Load a data set by its name or path: published data sets, and the user's folders, tables and arrays."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from robustkd.data import arrow_tables
from robustkd.data.arrays import from_arrays, load_npz, save_npz
from robustkd.data.decode import decode_files, describe_error, raise_if_unreadable
from robustkd.data.file_sizes import describe_reduction
from robustkd.data.folders import ImageFile, list_folder, read_class_names
from robustkd.data.image_cache import decode_with_cache
from robustkd.data.image_formats import MAX_PIXELS
from robustkd.data.image_search import list_image_files
from robustkd.data.labels import Annotations
from robustkd.data.paths import describe_missing_path, to_writable_names
from robustkd.data.read_options import ColumnOptions, ReadOptions
from robustkd.data.resize import Pixels
from robustkd.data.small_classes import leave_out_small_classes
from robustkd.data.tables import from_frame, load_csv
from robustkd.data.user_datasets import USER_DATASETS, is_user_dataset, load_user_dataset
from robustkd.data.value_range import ValueRange
from robustkd.data.view import Source
from robustkd.errors import UsageError, did_you_mean
from robustkd.hashing import digest

DATASETS = {
    "digits": "1,797 greyscale digits of 8x8, included in scikit-learn",
    "mnist": "70,000 greyscale digits of 28x28",
    "fashion-mnist": "70,000 greyscale pieces of clothing of 28x28",
    "kmnist": "70,000 greyscale cursive Japanese letters of 28x28",
    "svhn": "99,289 house numbers of 32x32, in colour and naturally imbalanced",
    "cifar10": "60,000 photographs of 32x32 in 10 classes",
    "cifar100": "60,000 photographs of 32x32 in 100 classes",
    "stl10": "13,000 labelled photographs of 96x96 in 10 classes",
    "folder:PATH": "your image files in one folder per class, optionally below train, val and test",
    "csv:PATH": "your table of image files: columns image and label, optionally split, group and clean_label",
    "parquet:PATH": "the same columns, the images as paths or as encoded bytes; a file, a folder or a pattern with *",
    "hf:PATH": "a folder that save_to_disk of Hugging Face's datasets wrote",
    "npz:PATH": "your arrays X and y, optionally X_test, y_test, classes, clean, group and more",
}

FOREIGN_OPTIONS = (
    "data_dir",
    "download",
    "skip_bad_images",
    "cache_dir",
    "max_pixels",
)  # with which foreign data sets are read, too

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
    """A data set that torchvision loads."""

    class_name: str  # in torchvision.datasets
    path: str  # relative to the data folder
    flips: bool = False
    digits: bool = False  # whether the classes are called 0 to 9; otherwise torchvision's names are used


_TABLE_LOADERS = {"csv": load_csv, "parquet": arrow_tables.load_parquet, "hf": arrow_tables.load_huggingface}

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
    name: str,
    *,
    data_dir: str | None = None,
    download: bool = False,
    image_size: int = 32,
    crop_share: float = 1.0,
    skip_bad_images: bool = False,
    cache_dir: Path | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    root: str | None = None,
    header: bool = True,
    class_level: int | None = None,
    min_class: int = 0,
    value_range: str | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Source:
    """Load a data set.

    Args:
        name: a name in DATASETS; for user data with the path, as in folder:PATH.
        data_dir, download: the folder of published data sets, by default "data"; whether they may be downloaded.
        image_size: side of the images that networks see, which image files are scaled and cropped to; arrays keep their size.
        crop_share: that side relative to the stored one: below 1, image files keep a margin, which evaluation leaves out.
        cache_dir: where decoded image files are cached; None: the user's cache folder.
        skip_bad_images, image_column, ..., max_pixels: see robustkd.study.options.SourceOptions.

    Raises:
        UsageError: the name is unknown, or the data are missing or invalid.
    """
    table = ColumnOptions(image_column, label_column, split_column), Path(root).expanduser() if root else None, header
    scale = None if value_range is None else ValueRange.parse(value_range)
    read = ReadOptions(
        image_size, skip_bad_images, cache_dir, *table, class_level, scale, not min_class, max_pixels, crop_share
    )
    source = leave_out_small_classes(_load_by_kind(name, data_dir, download, read), min_class)
    values = tuple(zip(FOREIGN_OPTIONS, (data_dir, download, skip_bad_images, cache_dir, max_pixels), strict=True))
    return replace(_with_writable_names(source), read_options=values, notes=_collect_notes(source, read))


def _collect_notes(source: Source, options: ReadOptions) -> tuple[str, ...]:
    return source.notes + _note_unused(source, options) + _note_reduction(source)


def _with_writable_names(source: Source) -> Source:
    """Return a data set whose file names can be written as UTF-8."""
    unread = zip(to_writable_names(tuple(source.unread)), source.unread.values(), strict=True)
    return replace(
        source,
        files=None if source.files is None else tuple(to_writable_names(source.files)),
        skipped=tuple(to_writable_names(source.skipped)),
        unread=dict(unread),
    )


def _note_unused(source: Source, options: ReadOptions) -> tuple[str, ...]:
    """Return notes about options that were given for another kind of data set than this one."""
    kind = source.name.partition(":")[0]
    columns = [f"--{role}-column" for role, column in options.columns._asdict().items() if column is not None]
    for_tables = [*columns, *(["--root"] if options.root is not None else [])]
    unused = {
        "it is not a table": for_tables if kind not in _TABLE_LOADERS else [],
        "it is not a CSV file": ["--no-header"] if kind != "csv" and not options.header else [],
        "it is not a folder of images": ["--class-level"]
        if kind != "folder" and options.class_level is not None
        else [],
        "no image file has more than 8 bits": ["--value-range"]
        if options.value_range and not source.value_range
        else [],
    }
    return tuple(f"{reason}, so {', '.join(given)} had no effect" for reason, given in unused.items() if given)


def _note_reduction(source: Source) -> tuple[str, ...]:
    """Return a note where images are much smaller than their files."""
    if source.files is None or source.root is None:
        return ()
    return describe_reduction(source.root, source.files, source.stored_shape[1])


def _load_by_kind(name: str, data_dir: str | None, download: bool, options: ReadOptions) -> Source:
    kind, _, path = name.partition(":")
    if is_user_dataset(name):
        if name.partition("(")[0] in DATASETS:
            raise UsageError(f"the data set '{name.partition('(')[0]}' already exists: choose another name for yours")
        return load_user_dataset(name, image_size=options.image_size, data_dir=data_dir)
    if name == "digits":
        return _load_digits()
    if name in _TORCHVISION:
        return _load_torchvision(name, Path(data_dir or "data").expanduser(), download)
    if kind == "folder" and path:
        return _load_folder(name, Path(path).expanduser(), options)
    if kind in _TABLE_LOADERS and path:
        return _TABLE_LOADERS[kind](name, Path(path).expanduser(), options)
    if kind == "npz" and path:
        return load_npz(name, Path(path).expanduser(), options)
    known = [*DATASETS, *USER_DATASETS]
    guess = _guess_kind(Path(name).expanduser())
    hint = (
        f" (did you mean '{guess}:{name}'?)" if guess else did_you_mean(f"{kind}:PATH" if path else name.lower(), known)
    )
    raise UsageError(f"no data set is called '{name}'{hint}; there are: {', '.join(known)}")


def _guess_kind(path: Path) -> str:
    """Return the kind of data set that an existing path probably is, or an empty string."""
    if path.is_file():
        return {".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".pq": "parquet"}.get(path.suffix.lower(), "npz")
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        return "hf"
    if path.is_dir() and any(path.rglob("*.parquet")):
        return "parquet"
    return "folder" if path.is_dir() else ""


def load_foreign_dataset(name: str, own: Source) -> Source:
    """Load another data set for foreign images, with the options that the own one was loaded with.

    A view resizes its images to the own shape.

    Raises:
        UsageError: it cannot be loaded, or it is the same data set.
    """
    source = _load_foreign(name, own.stored_shape, own.read_options)
    if source.fingerprint == _foreign_fingerprint(own.fingerprint, own.stored_shape):
        raise UsageError(f"'{name}' is the data set itself: foreign images must come from another")
    return source


@lru_cache(maxsize=2)
def _load_foreign(name: str, shape: tuple[int, int, int], read_options: tuple[tuple[str, Any], ...]) -> Source:
    source = load_dataset(name, image_size=max(shape[1:]), **dict(read_options))
    return replace(source, fingerprint=_foreign_fingerprint(source.fingerprint, shape))


def _foreign_fingerprint(fingerprint: str, shape: tuple[int, int, int]) -> str:
    """Return the fingerprint of a data set as a foreign one: its images depend on the shape, too."""
    return digest(text=f"{fingerprint} as {shape}")


class LoadedImages(NamedTuple):
    """Images without labels: the N file names, (N, C, S, S), and by which values of more than 8 bits were scaled."""

    files: list[str]
    images: Pixels
    value_range: ValueRange | None


def load_images(
    path: str | Path,
    *,
    image_size: int,
    channels: int,
    skip_bad_images: bool = False,
    value_range: ValueRange | None = None,
    max_pixels: int = MAX_PIXELS,
) -> LoadedImages:
    """Load the image files of a folder at any depth, or a single one, without labels.

    Args:
        path: the folder or file.
        image_size: side of the images, in pixels.
        channels: 3 for colour, 1 for greyscale.
        skip_bad_images: skip files that cannot be read instead of raising an error.
        value_range: by which values of more than 8 bits are scaled; None: the range that holds those of all files.
        max_pixels: of each image, beyond which a file counts as unreadable.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise UsageError(describe_missing_path("images", path))
    root, files = (path, list_image_files(path)) if path.is_dir() else (path.parent, [path.name])
    if not files:
        raise UsageError(f"images: {path} contains no image files")
    images = np.empty((len(files), channels, image_size, image_size), np.uint8)
    unreadable, value_range = decode_files(root, files, images, value_range=value_range, max_pixels=max_pixels)
    raise_if_unreadable(f"images: {path}", len(files), unreadable, skip_bad_images)
    readable = [row for row, file in enumerate(files) if file not in unreadable]
    names = list(to_writable_names([files[row] for row in readable]))
    return LoadedImages(names, images[readable] if unreadable else images, value_range)


def _load_digits() -> Source:
    from sklearn.datasets import load_digits

    sixteenths, labels = load_digits(return_X_y=True)
    images = np.rint(sixteenths * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    labels = labels.astype(np.int64)
    return Annotations(labels, tuple("0123456789"), labels).to_source("digits", images, flips=False)


def _load_torchvision(name: str, root: Path, download: bool) -> Source:
    import torchvision.datasets

    dataset = _TORCHVISION[name]
    loader: Any = getattr(torchvision.datasets, dataset.class_name)
    inner = root / Path(dataset.path).name  # the data folder may be MNIST's own folder instead of its parent
    path = inner if inner.exists() and not (root / dataset.path).exists() else root / dataset.path
    if not path.exists() and not download:
        raise UsageError(f"dataset '{name}': {path} is missing; --data-dir sets another folder, --download fetches it")
    try:
        halves = _load_train_and_test(loader, root, path, download)
    except Exception as error:  # no network, a partial archive: what torchvision raises depends on the format
        hint = "" if download else ": delete it and download it again with --download"
        raise UsageError(
            f"dataset '{name}' cannot be {'downloaded to or ' * download}read from {path} ({describe_error(error)}){hint}"
        ) from error
    images = np.concatenate([_to_channels_first(np.asarray(half.data)) for half in halves])
    labels = [np.asarray(half.targets if hasattr(half, "targets") else half.labels, np.int64) for half in halves]
    parts = np.repeat(["train", "test"], [len(half) for half in labels])
    truth = np.concatenate(labels)
    if len(truth) != len(images):
        raise UsageError(f"dataset '{name}' in {path} is damaged: {len(images)} images but {len(truth)} labels")
    classes = tuple("0123456789") if dataset.digits else tuple(halves[0].classes)
    return Annotations(truth, classes, truth, parts).to_source(name, images, flips=dataset.flips)


def _to_channels_first(images: Pixels) -> Pixels:
    """Convert (N, H, W) or (N, H, W, C) to (N, C, H, W); images that are channels-first already are unchanged."""
    if images.ndim == 3:
        return images[:, None]
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)) if images.shape[-1] in (1, 3) else images


def _load_train_and_test(loader: Any, root: Path, path: Path, download: bool) -> list[Any]:
    """Load the training and the test half with torchvision."""
    halves: list[dict[str, Any]] = [{"split": "train"}, {"split": "test"}]
    if "train" in inspect.signature(loader).parameters:
        halves = [{"train": True}, {"train": False}]
    if not hasattr(loader, "resources"):
        return [loader(root, download=download, **half) for half in halves]
    with _unpacked_mnist(loader, path) as raw:  # MNIST's loader only looks for a folder named after its class
        subclass = type(loader.__name__, (loader,), {"raw_folder": raw})
        return [subclass(root, download=download, **half) for half in halves]


@contextmanager
def _unpacked_mnist(loader: Any, raw: Path) -> Iterator[str]:
    """Provide the folder with MNIST's unpacked files: a temporary one if the published files are still packed."""
    from torchvision.datasets.utils import check_integrity, extract_archive

    packed = [raw / name for name, _ in loader.resources]
    if all(file.with_suffix("").is_file() for file in packed) or not all(file.is_file() for file in packed):
        yield str(raw)
        return
    with TemporaryDirectory() as scratch:  # their own folder may be read-only
        for file, (_, checksum) in zip(packed, loader.resources, strict=True):
            if not check_integrity(file, checksum):
                raise ValueError(f"{file.name} is not the published file")
            extract_archive(str(file), scratch)
        yield scratch


def _load_folder(name: str, root: Path, options: ReadOptions) -> Source:
    listing = list_folder(name, root, class_level=options.class_level, every_class_trained=options.every_class_trained)
    files, class_folders = listing.files, listing.class_folders
    if options.every_class_trained:
        _check_every_class_has_images(name, class_folders, files, "images")
    images, images_digest, unreadable, value_range = decode_with_cache(
        root,
        [file.path for file in files],
        options.decoded_size,
        options.cache_dir,
        value_range=options.value_range,
        max_pixels=options.max_pixels,
    )
    raise_if_unreadable(name, len(files), unreadable, options.skip_bad_images)
    files = [file for file in files if file.path not in unreadable]
    if options.every_class_trained:
        _check_every_class_has_images(name, class_folders, files, "readable images")
    numbers = {class_folder: number for number, class_folder in enumerate(class_folders)}
    labels = np.array([numbers[file.class_folder] for file in files])
    parts = np.array([file.part for file in files]) if listing.part_names else None
    return Annotations(labels, read_class_names(root, class_folders), parts=parts).to_source(
        name,
        images,
        flips=True,
        images_digest=images_digest,
        files=tuple(file.path for file in files),
        skipped=tuple(unreadable),
        part_names=listing.part_names,
        notes=listing.notes,
        unread=listing.unread,
        value_range=value_range,
        root=root,
        crop=options.crop,
    )


def _check_every_class_has_images(name: str, class_folders: list[str], files: list[ImageFile], what: str) -> None:
    empty = sorted(set(class_folders) - {file.class_folder for file in files if file.part == "train"})
    if empty:
        raise UsageError(
            f"{name}: there are no {what} to train on of {', '.join(empty)}; --min-class 1 leaves such classes out"
        )
