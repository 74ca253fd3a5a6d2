"""What the names in a folder of images say: of which class and part each file is. No image is opened here."""

import os
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from robustkd.data.paths import describe_missing_path
from robustkd.data.view import PART_ALIASES
from robustkd.errors import UsageError

# What counts as an image by its name. HEIC is not decoded here, but leaving it out in silence would lose images.
IMAGE_SUFFIX = re.compile(r"\.(jpe?g|jpe|jfif|a?png|gif|bmp|dib|tiff?|webp|p[pgbn]m|jp2|avif|hei[cf])$", re.IGNORECASE)


class ImageFile(NamedTuple):
    """An image file and what its place says of it."""

    path: str  # relative to the data set's folder, with slashes
    part: str  # train, val or test
    class_folder: str  # its class folder


class FolderListing(NamedTuple):
    """The image files of a data set, in order."""

    files: list[ImageFile]
    class_folders: list[str]  # the class folders, in order
    has_parts: bool  # whether the publisher divided it into parts


def list_folder(word: str, root: Path) -> FolderListing:
    """The labelled images below a folder: class folders, or parts (train, val, test) that hold class folders.

    A class may be called train too: it holds images where the part holds folders. Parts without labels are left out.

    Raises:
        UsageError: the folder is missing, or does not say which image is of which class.
    """
    if not root.is_dir():
        raise UsageError(
            f"{word}: {root} is a file, not a folder" if root.exists() else describe_missing_path(word, root)
        )
    folders = _subfolders(root)
    parts = {folder: PART_ALIASES[folder.lower()] for folder in folders if folder.lower() in PART_ALIASES}
    train = [folder for folder, part in parts.items() if part == "train"]
    kinds = sorted({kind for folder in train for kind in _subfolders(root / folder)})
    if len(train) == len(parts) < len(folders) and not kinds:
        found = FolderListing(_list_class_folders(root, folders), folders, False)
    else:
        _check_layout(word, root, folders, list(parts), train, kinds)
        found = FolderListing(_list_parts(root, parts), kinds, True)
    if len(found.class_folders) == 1:
        raise UsageError(f"{word}: there is one class only, '{found.class_folders[0]}', but telling apart takes two")
    strange = sorted({file.class_folder for file in found.files} - set(found.class_folders))
    if strange:
        raise UsageError(f"{word}: val or test has classes that train has not: {', '.join(strange)}")
    return found


def read_class_names(root: Path, kinds: list[str]) -> tuple[str, ...]:
    """The class names: WordNet's first word where words.txt translates a folder's number and no other class has it."""
    try:
        lines = (root / "words.txt").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return tuple(kinds)
    words = {number: synonyms.split(",")[0].strip() for number, _, synonyms in (line.partition("\t") for line in lines)}
    first = [words.get(kind) or kind for kind in kinds]
    times = Counter(first)
    return tuple(name if times[name] == 1 else kind for name, kind in zip(first, kinds, strict=True))


def is_hidden(name: str) -> bool:
    """Whether editors, archivers or systems left it rather than the user."""
    return name.startswith((".", "__MACOSX"))


def list_image_files(folder: Path) -> list[str]:
    """The image files of a folder at any depth, hidden ones apart, sorted: paths relative to it, with slashes."""
    files = []
    for place, inside, names in os.walk(folder):
        inside[:] = [name for name in inside if not is_hidden(name)]
        here = Path(place).relative_to(folder)
        files += [(here / n).as_posix() for n in names if not is_hidden(n) and IMAGE_SUFFIX.search(n)]
    return sorted(files)


def _check_layout(
    word: str, root: Path, folders: list[str], parts: list[str], train: list[str], kinds: list[str]
) -> None:
    if not folders:
        raise UsageError(f"{word}: {root} holds no class folders")
    if not train:
        raise UsageError(f"{word}: {root} holds '{parts[0]}' but no 'train' beside it")
    if not kinds:
        raise UsageError(f"{word}: {root / train[0]} holds no class folders")
    foreign = next((folder for folder in folders if folder not in parts and list_image_files(root / folder)), None)
    if foreign:
        raise UsageError(
            f"{word}: '{foreign}' stands beside '{train[0]}' but is none of train, val and test:"
            " rename it, or leave it out with a dot before its name"
        )


def _list_parts(root: Path, parts: dict[str, str]) -> list[ImageFile]:
    """The files of all parts, Tiny-ImageNet's among them: its val is one folder with notes, its test has no labels."""
    files, withheld = [], False
    for folder, part in parts.items():
        notes = root / folder / "val_annotations.txt"
        loose = part != "train" and _subfolders(root / folder) in ([], ["images"])
        withheld |= loose
        if not loose:
            files += _list_class_folders(root, [f"{folder}/{kind}" for kind in _subfolders(root / folder)], part)
        elif notes.is_file():
            lines = [line.split("\t") for line in notes.read_text(encoding="utf-8").splitlines()]
            files += [ImageFile(f"{folder}/images/{line[0]}", part, line[1]) for line in lines if len(line) > 1]
    # Where the labels of a test were withheld, everyone tests on the published val.
    if withheld and not any(file.part == "test" for file in files):
        files = [file._replace(part="test" if file.part == "val" else file.part) for file in files]
    return sorted(files)


def _list_class_folders(root: Path, folders: list[str], part: str = "train") -> list[ImageFile]:
    """The images of class folders."""
    below = [
        ImageFile(f"{place}/{file}", part, Path(place).name)
        for place in folders
        for file in list_image_files(root / place)
    ]
    return sorted(below)


def _subfolders(place: Path) -> list[str]:
    return sorted(inside.name for inside in place.iterdir() if inside.is_dir() and not is_hidden(inside.name))
