"""The folders below a path and the number of images in each, for questions about their structure."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import PurePosixPath

from robustkd.data.labels import sort_class_names


class FolderTree:
    """Folders below a root, which is called by an empty path; all other paths are relative to it.

    Args:
        folders: the folders below the root.
        images: the image files below the root.

    >>> tree = FolderTree(["cat", "cat/day", "dog"], ["cat/day/1.png", "dog/1.png"])
    >>> tree.subfolders(""), tree.count_images("cat"), tree.count_images_in("cat")
    (['cat', 'dog'], 1, 0)
    """

    def __init__(self, folders: Sequence[str], images: Iterable[str]) -> None:
        self.folders = folders
        self._images = Counter(os.path.dirname(path) for path in images)

    @cached_property
    def _subfolders(self) -> dict[str, list[str]]:
        names = defaultdict(list)
        for folder in self.folders:
            names[os.path.dirname(folder)].append(os.path.basename(folder))
        return {folder: sort_class_names(inside) for folder, inside in names.items()}

    @cached_property
    def _counts(self) -> Counter[str]:
        """The number of images in and below each folder."""
        counts: Counter[str] = Counter()
        for folder, count in self._images.items():
            for place in enclosing_folders(folder):
                counts[place] += count
        return counts

    def subfolders(self, folder: str) -> list[str]:
        """Return the names of the folders in a folder, in the order of classes."""
        return self._subfolders.get(folder, [])

    def at_level(self, level: int) -> list[str]:
        """Return the folders at a depth: 1 for those in the root."""
        return [folder for folder in self.folders if folder.count("/") == level - 1]

    def count_images_in(self, folder: str) -> int:
        """Count the images in a folder itself."""
        return self._images[folder]

    def count_images(self, folder: str) -> int:
        """Count the images in and below a folder."""
        return self._counts[folder]

    def only_subfolder(self, folder: str) -> str | None:
        """Return the path of a folder's only subfolder, if there is nothing else in it."""
        inside = self.subfolders(folder)
        return join(folder, inside[0]) if len(inside) == 1 and not self._images[folder] else None


def join(folder: str, name: str) -> str:
    """Return the path of a folder within another one, which may be the root."""
    return f"{folder}/{name}" if folder else name


def enclosing_folders(folder: str) -> list[str]:
    """Return a folder and those around it up to the root, innermost first.

    >>> enclosing_folders("a/b")
    ['a/b', 'a', '']
    """
    parents = [parent.as_posix() for parent in PurePosixPath(folder).parents]
    return [folder, *("" if parent == "." else parent for parent in parents)] if folder else [""]
