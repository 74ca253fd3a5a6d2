"""What the names in a folder of images say: of which class and part each file is. No image is opened here."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from robustkd.data.decode import hidden, images_below
from robustkd.errors import UsageError, did_you_mean

PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


class File(NamedTuple):
    """An image file and what its place says of it."""

    path: str  # relative to the data set's folder, with slashes
    part: str  # train, val or test
    kind: str  # its class folder


class Listing(NamedTuple):
    """The image files of a data set, in order."""

    files: list[File]
    kinds: list[str]  # the class folders, in order
    split: bool  # whether the publisher divided it into parts


def listing(word: str, root: Path) -> Listing:
    """The labelled images below a folder: class folders, or parts (train, val, test) that hold class folders.

    A class may be called train too: it holds images where the part holds folders. Parts without labels are left out.

    Raises:
        UsageError: the folder is missing, or does not say which image is of which class.
    """
    if not root.is_dir():
        raise UsageError(f"{word}: {root} is a file, not a folder" if root.exists() else missing(word, root))
    folders = _folders(root)
    parts = {folder: PARTS[folder.lower()] for folder in folders if folder.lower() in PARTS}
    train = [folder for folder, part in parts.items() if part == "train"]
    kinds = sorted({kind for folder in train for kind in _folders(root / folder)})
    if len(train) == len(parts) < len(folders) and not kinds:
        found = Listing(_below(root, folders), folders, False)
    else:
        _checked(word, root, folders, list(parts), train, kinds)
        found = Listing(_parts(root, parts), kinds, True)
    if len(found.kinds) == 1:
        raise UsageError(f"{word}: there is one class only, '{found.kinds[0]}', but telling apart takes two")
    strange = sorted({file.kind for file in found.files} - set(found.kinds))
    if strange:
        raise UsageError(f"{word}: val or test has classes that train has not: {', '.join(strange)}")
    return found


def names(root: Path, kinds: list[str]) -> tuple[str, ...]:
    """The class names: WordNet's first word where words.txt translates a folder's number and no other class has it."""
    try:
        lines = (root / "words.txt").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return tuple(kinds)
    words = {number: synonyms.split(",")[0].strip() for number, _, synonyms in (line.partition("\t") for line in lines)}
    first = [words.get(kind) or kind for kind in kinds]
    times = Counter(first)
    return tuple(name if times[name] == 1 else kind for name, kind in zip(first, kinds, strict=True))


def there(word: str, path: Path) -> Path:
    """A user's file, which must be one.

    Raises:
        UsageError: it is not there, or it is a folder.
    """
    if path.is_file():
        return path
    kind = "a folder, not a file" if path.is_dir() else "no file that can be read again"
    raise UsageError(f"{word}: {path} is {kind}" if path.exists() else missing(word, path))


def missing(word: str, path: Path) -> str:
    """The sentence for a path that leads nowhere, with the nearest name beside it."""
    beside = [near.name for near in path.parent.iterdir()] if path.parent.is_dir() else []
    return f"{word}: there is no {path}{did_you_mean(path.name, beside)}"


def _checked(word: str, root: Path, folders: list[str], parts: list[str], train: list[str], kinds: list[str]) -> None:
    if not folders:
        raise UsageError(f"{word}: {root} holds no class folders")
    if not train:
        raise UsageError(f"{word}: {root} holds '{parts[0]}' but no 'train' beside it")
    if not kinds:
        raise UsageError(f"{word}: {root / train[0]} holds no class folders")
    foreign = next((folder for folder in folders if folder not in parts and images_below(root / folder)), None)
    if foreign:
        raise UsageError(
            f"{word}: '{foreign}' stands beside '{train[0]}' but is none of train, val and test:"
            " rename it, or leave it out with a dot before its name"
        )


def _parts(root: Path, parts: dict[str, str]) -> list[File]:
    """The files of all parts, Tiny-ImageNet's among them: its val is one folder with notes, its test has no labels."""
    files, withheld = [], False
    for folder, part in parts.items():
        notes = root / folder / "val_annotations.txt"
        loose = part != "train" and _folders(root / folder) in ([], ["images"])
        withheld |= loose
        if not loose:
            files += _below(root, [f"{folder}/{kind}" for kind in _folders(root / folder)], part)
        elif notes.is_file():
            lines = [line.split("\t") for line in notes.read_text(encoding="utf-8").splitlines()]
            files += [File(f"{folder}/images/{line[0]}", part, line[1]) for line in lines if len(line) > 1]
    # Where the labels of a test were withheld, everyone tests on the published val.
    if withheld and not any(file.part == "test" for file in files):
        files = [file._replace(part="test" if file.part == "val" else file.part) for file in files]
    return sorted(files)


def _below(root: Path, folders: list[str], part: str = "train") -> list[File]:
    """The images of class folders."""
    below = [
        File(f"{place}/{file}", part, Path(place).name) for place in folders for file in images_below(root / place)
    ]
    return sorted(below)


def _folders(place: Path) -> list[str]:
    return sorted(inside.name for inside in place.iterdir() if inside.is_dir() and not hidden(inside.name))
