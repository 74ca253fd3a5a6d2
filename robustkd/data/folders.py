"""Image data sets as folders: class and part of each file, from folder names alone. No image is opened here."""

import os
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from robustkd.data.labels import sort_class_names
from robustkd.data.paths import describe_missing_path
from robustkd.data.view import PART_ALIASES
from robustkd.errors import UsageError

# What counts as an image by its name. HEIC is not decoded, but ignoring it silently would lose images.
IMAGE_SUFFIX = re.compile(r"\.(jpe?g|jpe|jfif|a?png|gif|bmp|dib|tiff?|webp|p[pgbn]m|jp2|avif|hei[cf])$", re.IGNORECASE)


class ImageFile(NamedTuple):
    """An image file with its part and class."""

    path: str  # relative to the data set's folder, with slashes
    part: str  # train, val or test
    class_folder: str


class FolderListing(NamedTuple):
    """The labelled image files of a data set, sorted."""

    files: list[ImageFile]
    class_folders: list[str]  # in the order of classes
    has_parts: bool  # whether the publisher divided it into parts


def list_folder(name: str, root: Path) -> FolderListing:
    """List the labelled images of a folder that holds class folders, or parts (train, val, test) with class folders.

    A class may be called train, too: it contains images, whereas the part contains folders. Parts without labels are ignored.

    Args:
        name: the data set's name, for error messages.
        root: the folder.

    Raises:
        UsageError: the folder is missing, or its structure does not determine the class of each image.
    """
    if not root.is_dir():
        raise UsageError(
            f"{name}: {root} is a file, not a folder" if root.exists() else describe_missing_path(name, root)
        )
    folders = _subfolders(root)
    parts = {folder: PART_ALIASES[folder.lower()] for folder in folders if folder.lower() in PART_ALIASES}
    train = [folder for folder, part in parts.items() if part == "train"]
    classes = sort_class_names({class_folder for folder in train for class_folder in _subfolders(root / folder)})
    if len(train) == len(parts) < len(folders) and not classes:
        listing = FolderListing(_list_class_folders(root, folders), folders, has_parts=False)
    else:
        _check_layout(name, root, folders, list(parts), train, classes)
        listing = FolderListing(_list_parts(root, parts), classes, has_parts=True)
    if len(listing.class_folders) == 1:
        raise UsageError(f"{name}: there is only one class, '{listing.class_folders[0]}', but at least two are needed")
    unknown = sorted({file.class_folder for file in listing.files} - set(listing.class_folders))
    if unknown:
        raise UsageError(f"{name}: val or test has classes that train does not have: {', '.join(unknown)}")
    return listing


def read_class_names(root: Path, class_folders: list[str]) -> tuple[str, ...]:
    """Return the class names, translated by words.txt if there is one, as in ImageNet and Tiny-ImageNet.

    A folder is called by the first word of its WordNet entry, unless another class has the same one.
    """
    try:
        lines = (root / "words.txt").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return tuple(class_folders)
    words = {number: synonyms.split(",")[0].strip() for number, _, synonyms in (line.partition("\t") for line in lines)}
    first = [words.get(folder) or folder for folder in class_folders]
    times = Counter(first)
    return tuple(word if times[word] == 1 else folder for word, folder in zip(first, class_folders, strict=True))


def is_hidden(name: str) -> bool:
    """Return whether a file or folder was created by an editor, archiver or system rather than the user."""
    return name.startswith((".", "__MACOSX"))


def list_image_files(folder: Path) -> list[str]:
    """List the image files of a folder at any depth, hidden ones excluded: sorted relative paths with slashes."""
    files = []
    for place, subfolders, names in os.walk(folder):
        subfolders[:] = [name for name in subfolders if not is_hidden(name)]
        relative = Path(place).relative_to(folder)
        files += [(relative / n).as_posix() for n in names if not is_hidden(n) and IMAGE_SUFFIX.search(n)]
    return sorted(files)


def _check_layout(
    name: str, root: Path, folders: list[str], parts: list[str], train: list[str], classes: list[str]
) -> None:
    if not folders:
        raise UsageError(f"{name}: {root} contains no class folders")
    if not train:
        raise UsageError(f"{name}: {root} contains '{parts[0]}' but no 'train'")
    if not classes:
        raise UsageError(f"{name}: {root / train[0]} contains no class folders")
    unknown = next((folder for folder in folders if folder not in parts and list_image_files(root / folder)), None)
    if unknown:
        raise UsageError(
            f"{name}: '{unknown}' is next to '{train[0]}' but is none of train, val and test:"
            " rename it, or exclude it by a dot before its name"
        )


def _list_parts(root: Path, parts: dict[str, str]) -> list[ImageFile]:
    """List the files of all parts. Tiny-ImageNet's val part is one folder with annotations, and its test part has no labels."""
    files = []
    for folder, part in parts.items():
        annotations = root / folder / "val_annotations.txt"
        unsorted = part != "train" and _subfolders(root / folder) in ([], ["images"])
        if not unsorted:
            files += _list_class_folders(root, [f"{folder}/{name}" for name in _subfolders(root / folder)], part)
        elif annotations.is_file():
            lines = [line.split("\t") for line in annotations.read_text(encoding="utf-8").splitlines()]
            files += [ImageFile(f"{folder}/images/{line[0]}", part, line[1]) for line in lines if len(line) > 1]
    return sorted(files)


def _list_class_folders(root: Path, folders: list[str], part: str = "train") -> list[ImageFile]:
    """List the images in class folders."""
    return sorted(
        ImageFile(f"{folder}/{file}", part, Path(folder).name)
        for folder in folders
        for file in list_image_files(root / folder)
    )


def _subfolders(folder: Path) -> list[str]:
    return sort_class_names(entry.name for entry in folder.iterdir() if entry.is_dir() and not is_hidden(entry.name))
