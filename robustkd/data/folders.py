"""Image data sets as folders: class and part of each file, from folder names alone. No image is decoded here.

    PATH/cat/1.jpg             class folders
    PATH/train/cat/1.jpg       parts that contain class folders
    PATH/cat/train/1.jpg       class folders that contain parts

Parts are recognised by the names that public data sets use (see `part_names`). Where names leave open which folders are the
classes, the data set is refused unless the user gives the level of the class folders.
"""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from robustkd.data.folder_tree import FolderTree, enclosing_folders, join
from robustkd.data.image_search import find_images
from robustkd.data.labels import sort_class_names
from robustkd.data.part_names import combine_parts_and_classes, match_part_names
from robustkd.data.paths import describe_missing_path
from robustkd.data.view import PART_ALIASES
from robustkd.errors import UsageError, did_you_mean

# Folders of the same names in several classes are refused as ambiguous from this share of all such names on, where at most the
# other share of the images is directly in the class folders.
MIN_SHARED = 0.5
MAX_DIRECT_SHARE = 0.1


class ImageFile(NamedTuple):
    """An image file with its part and class."""

    path: str  # relative to the data set's folder, with slashes
    part: str  # train, val or test
    class_folder: str


class ClassFolder(NamedTuple):
    """A folder that contains the images of a class in a part."""

    path: str
    part: str
    name: str  # of the class


@dataclass(frozen=True)
class Layout:
    """Which folders contain the images of which class and part.

    Attributes:
        part_names: the folders of each part, as printed; empty without parts.
        notes: sentences for the user.
        annotated: files whose class is not given by their folder.
        unlabelled: folders of images without labels.
    """

    folders: list[ClassFolder]
    part_names: Mapping[str, str]
    notes: tuple[str, ...] = ()
    annotated: tuple[ImageFile, ...] = ()
    unlabelled: tuple[str, ...] = ()


class FolderListing(NamedTuple):
    """The labelled image files of a data set, sorted, and what else was found."""

    files: list[ImageFile]
    class_folders: list[str]  # in the order of classes
    part_names: Mapping[str, str]  # empty if the publisher did not divide the data set into parts
    notes: tuple[str, ...]
    unread: Mapping[str, str]  # reasons by path


def list_folder(
    name: str, root: Path, *, class_level: int | None = None, every_class_trained: bool = True
) -> FolderListing:
    """List the labelled images of a folder.

    Args:
        name: the data set's name, for error messages.
        root: the folder.
        class_level: the depth of the class folders below the root, from 1; None: recognised by their names.
        every_class_trained: whether a class of the val or test part must be one of the train part.

    Raises:
        UsageError: the folder is missing, or its structure does not determine the class of each image.
    """
    if not root.is_dir():
        raise UsageError(
            f"{name}: {root} is a file, not a folder" if root.exists() else describe_missing_path(name, root)
        )
    found = find_images(root)
    if "." in found.outputs:
        raise UsageError(f"{name}: {root} was written by {found.outputs['.']}: it is no data set")
    tree = FolderTree(found.folders, found.images)
    if not tree.folders:
        raise UsageError(f"{name}: {root} contains no class folders{_suggest_table(root)}")
    layout = _recognise_layout(name, root, tree) if class_level is None else _read_level(name, tree, class_level)
    files, outside = _assign_images(layout, found.images)
    classes = sort_class_names({folder.name for folder in layout.folders} | {file.class_folder for file in files})
    _check_classes(name, root, tree, layout, classes, every_class_trained)
    filled = {file.part for file in files}
    empty = [f"{place} contains no images" for part, place in layout.part_names.items() if part not in filled]
    notes = (*_describe_outputs(found.outputs), *layout.notes, *empty)
    unread = {**found.unread, **dict.fromkeys(outside, "outside class folders")}
    return FolderListing(files, classes, layout.part_names, notes, dict(sorted(unread.items())))


def _check_classes(
    name: str, root: Path, tree: FolderTree, layout: Layout, classes: list[str], every_class_trained: bool
) -> None:
    if len(classes) == 1:
        path = layout.folders[0].path
        hint = f" (did you mean 'folder:{root / path}'?)" if len(tree.subfolders(path)) > 1 else ""
        raise UsageError(f"{name}: there is only one class, '{classes[0]}', but at least two are needed{hint}")
    trained = {folder.name for folder in layout.folders if folder.part == "train"}
    untrained = [class_name for class_name in classes if class_name not in trained]
    if untrained and every_class_trained:
        raise UsageError(
            f"{name}: val or test has classes that train does not have: {', '.join(untrained)}"
            f"{did_you_mean(untrained[0], trained)}; --min-class 1 leaves them out"
        )


def read_class_names(root: Path, class_folders: list[str]) -> tuple[str, ...]:
    """Return the class names, translated by words.txt if there is one, as in ImageNet and Tiny-ImageNet.

    A folder is called by the first word of its WordNet entry, unless another class has the same one.
    """
    table = root / "words.txt"
    lines = table.read_text(encoding="utf-8", errors="replace").splitlines() if table.is_file() else []
    words = {number: synonyms.split(",")[0].strip() for number, _, synonyms in (line.partition("\t") for line in lines)}
    first = [words.get(folder) or folder for folder in class_folders]
    times = Counter(first)
    return tuple(word if times[word] == 1 else folder for word, folder in zip(first, class_folders, strict=True))


def _recognise_layout(name: str, root: Path, tree: FolderTree) -> Layout:
    """Recognise the layout by the names of folders."""
    folders = tree.subfolders("")
    parts = match_part_names(folders)
    if any(part == "train" and tree.subfolders(folder) for folder, part in parts.items()):
        layout = _read_parts(name, root, tree, parts)
    else:
        layout = _read_class_folders(name, tree, folders)
        if not layout.part_names:
            _refuse_unlabelled_parts(name, folders)
    _refuse_ambiguous_classes(name, tree, layout)
    return layout


def _read_parts(name: str, root: Path, tree: FolderTree, parts: Mapping[str, str]) -> Layout:
    """Read parts that contain class folders."""
    repeated = next((part for part, times in Counter(parts.values()).items() if times > 1), None)
    if repeated:
        both = " and ".join(f"'{folder}'" for folder, part in parts.items() if part == repeated)
        raise UsageError(f"{name}: {both} would both be the {repeated} part: exclude one by a dot before its name")
    train = next(folder for folder, part in parts.items() if part == "train")
    place = train
    while (inner := tree.only_subfolder(place)) and len(tree.subfolders(inner)) > 1:
        place = inner  # archives often contain a folder of their own name
    layout = Layout(_list_class_folders(tree, place, "train"), {"train": f"{place}/"})
    classes = {folder.name for folder in layout.folders}
    for folder in tree.subfolders(""):
        place = folder
        while (inner := tree.only_subfolder(place)) and os.path.basename(inner) not in classes:
            place = inner
        if folder == train:
            continue
        if not tree.subfolders(place):
            layout = _add_unsorted(layout, root, tree, folder, parts.get(folder))
        elif folder in parts:
            layout = _add_part(layout, parts[folder], place, _list_class_folders(tree, place, parts[folder]))
        else:
            _refuse_other_parts(name, [folder], parts)
    return layout


def _refuse_other_parts(name: str, folders: Sequence[str], parts: Mapping[str, str]) -> None:
    """Refuse folders that are none of the parts."""
    other = next((folder for folder in folders if folder not in parts), None)
    if other is not None:
        train = next(folder for folder, part in parts.items() if part == "train")
        raise UsageError(
            f"{name}: '{other}' is next to '{train}' but is none of train, val and test:"
            " rename it, or exclude it by a dot before its name"
        )


def _add_part(layout: Layout, part: str, place: str, folders: list[ClassFolder]) -> Layout:
    part_names = {**layout.part_names, part: f"{place}/"}
    return replace(layout, folders=[*layout.folders, *folders], part_names=part_names)


def _add_unsorted(layout: Layout, root: Path, tree: FolderTree, folder: str, part: str | None) -> Layout:
    """Add a folder of images that are not in class folders: Tiny-ImageNet's val part has a table of labels instead."""
    annotations = root / folder / "val_annotations.txt"
    if part is not None and annotations.is_file():
        lines = [line.split("\t") for line in annotations.read_text(encoding="utf-8").splitlines()]
        files = tuple(ImageFile(f"{folder}/images/{line[0]}", part, line[1]) for line in lines if len(line) > 1)
        return replace(_add_part(layout, part, folder, []), annotated=(*layout.annotated, *files))
    if not (count := tree.count_images(folder)):
        return layout if part is None else _add_part(layout, part, folder, [])
    note = f"{folder}/ is not used: its {count:,} images are not in class folders, so they have no labels"
    return replace(layout, notes=(*layout.notes, note), unlabelled=(*layout.unlabelled, folder))


def _read_class_folders(name: str, tree: FolderTree, folders: Sequence[str]) -> Layout:
    """Read class folders, which may contain parts."""
    parts = {folder: match_part_names(tree.subfolders(folder)) for folder in folders}
    divided = [folder for folder in folders if parts[folder] and len(parts[folder]) == len(tree.subfolders(folder))]
    others = [folder for folder in folders if folder not in divided]
    if not others:
        inner = [
            ClassFolder(join(folder, inside), part, class_name(folder))
            for folder in divided
            for inside, part in parts[folder].items()
        ]
        return Layout(inner, {folder.part: f"*/{os.path.basename(folder.path)}/" for folder in inner})
    if any(len(parts[folder]) > 1 for folder in divided):
        raise UsageError(
            f"{name}: '{divided[0]}' contains {summarise_names(list(parts[divided[0]]))}, but '{others[0]}' does not:"
            " either all class folders contain parts or none"
        )
    return Layout([ClassFolder(folder, "train", class_name(folder)) for folder in folders], {})


def class_name(folder: str) -> str:
    """Return the class that a folder is named after: file systems write accents as one character or as two.

    >>> class_name("train/cafe\u0301") == "caf\u00e9"
    True
    """
    return unicodedata.normalize("NFC", os.path.basename(folder))


def _list_class_folders(tree: FolderTree, place: str, part: str) -> list[ClassFolder]:
    return [ClassFolder(join(place, folder), part, class_name(folder)) for folder in tree.subfolders(place)]


def _read_level(name: str, tree: FolderTree, level: int) -> Layout:
    """Read the folders at a level as those of the classes; parts may be above or below them."""
    folders = tree.at_level(level)
    if not folders:
        raise UsageError(f"{name}: --class-level {level}, but no folder is {level} levels below the path")
    for depth in range(level - 1):
        names = [folder.split("/")[depth] for folder in folders]
        parts = match_part_names(sorted(set(names)))
        if parts:
            _refuse_other_parts(name, names, parts)
            listed = [ClassFolder(f, parts[n], class_name(f)) for f, n in zip(folders, names, strict=True)]
            return Layout(listed, {part: "*/" * depth + f"{folder}/" for folder, part in parts.items()})
    layout = _read_class_folders(name, tree, folders)
    around = sorted({os.path.dirname(folder) for folder in folders})
    note = f"the classes are the folders at level {level}, those in {summarise_names(around)} together"
    return layout if level == 1 else replace(layout, notes=(note,))


def _refuse_unlabelled_parts(name: str, folders: Sequence[str]) -> None:
    """Refuse class folders with the name of a part, unless only `train` is among other classes: it may be the vehicle."""
    if combine_parts_and_classes(folders):
        raise UsageError(
            f"{name}: the folders {summarise_names(folders)} are named by class and part: put them into folders called train"
            " and test; if these are names of classes, --class-level 1 says so"
        )
    words = {folder: PART_ALIASES[folder.lower()] for folder in folders if folder.lower() in PART_ALIASES}
    train = next((folder for folder, part in words.items() if part == "train"), None)
    if not words or (set(words.values()) == {"train"} and len(words) < len(folders)):
        return
    problem = f"'{train}' contains no class folders" if train else f"there is '{next(iter(words))}' but no 'train'"
    raise UsageError(f"{name}: {problem}; if these are names of classes, --class-level 1 says so")


def _refuse_ambiguous_classes(name: str, tree: FolderTree, layout: Layout) -> None:
    """Refuse classes that contain the same folders, which may be the classes themselves."""
    train = [folder for folder in layout.folders if folder.part == "train"]
    direct = sum(tree.count_images_in(folder.path) for folder in train)
    if len(train) < 2 or direct > MAX_DIRECT_SHARE * sum(tree.count_images(folder.path) for folder in train):
        return
    times = Counter(name for folder in train for name in tree.subfolders(folder.path))
    shared = [inside for inside, count in times.items() if count > 1]
    if len(times) > 1 and len(shared) >= MIN_SHARED * len(times):
        level = train[0].path.count("/") + 1
        outer_level = level if class_name(train[0].path) == train[0].name else level - 1  # or parts are between
        outer, inner = summarise_names([folder.name for folder in train]), summarise_names(sort_class_names(shared))
        raise UsageError(
            f"{name}: the folders {outer} contain folders of the same names, as {inner}: --class-level {outer_level} takes the"
            f" former as the classes, --class-level {level + 1} the latter; if the former are parts, call them train and test"
        )


def _assign_images(layout: Layout, images: Sequence[str]) -> tuple[list[ImageFile], list[str]]:
    """Return the images with their part and class, and those that are neither in a class folder nor known as unlabelled."""
    by_path = {folder.path: folder for folder in layout.folders}
    annotated = {file.path for file in layout.annotated}
    owners: dict[str, ClassFolder | None] = {}
    files, outside = list(layout.annotated), []
    annotated = {file.path for file in layout.annotated}
    for path in images:
        place = os.path.dirname(path)
        if place not in owners:
            owners[place] = next((by_path[p] for p in enclosing_folders(place) if p in by_path), None)
        if owner := owners[place]:
            files.append(ImageFile(path, owner.part, owner.name))
        elif path not in annotated and path.partition("/")[0] not in layout.unlabelled:
            outside.append(path)
    return sorted(files), outside


def _describe_outputs(outputs: Mapping[str, str]) -> Iterator[str]:
    """Describe the folders that programs wrote, which are not read."""
    if outputs:
        written = ", ".join(f"{folder}/ (by {program})" for folder, program in outputs.items())
        yield f"what programs wrote is not read: {written}"


def _suggest_table(root: Path) -> str:
    """Return a hint at a table of labels in a folder, if there is one."""
    tables = sorted(path for path in root.iterdir() if path.suffix.lower() in (".csv", ".parquet"))
    return f" (did you mean '{tables[0].suffix.lower()[1:]}:{tables[0]}'?)" if tables else ""


def summarise_names(names: Sequence[str], limit: int = 3) -> str:
    """List the first few names.

    >>> summarise_names(["a", "b", "c", "d"]), summarise_names(["a", "b"])
    ('a, b, c and 1 more', 'a and b')
    """
    if len(names) > limit:
        return f"{', '.join(names[:limit])} and {len(names) - limit} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
