"""Where the image files of a table are: paths relative to a root, which none may leave, and identifiers without an ending.

The root is the table's folder, or the one that the user names. Relative paths start at the root; with a root that the user
names, a path that starts with ../ starts at the table's folder instead. A path is refused if it leads out of the root as it is
written. Symbolic links below the root are followed, wherever they lead: they belong to the root's owner, a table's paths to
the table's author.
"""

import os
import posixpath
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from robustkd.data.image_search import IMAGE_SUFFIX
from robustkd.errors import UsageError

MAX_SEARCHED_FOLDERS = 10_000  # when looking for files that are not where the table says


class PathResolver(NamedTuple):
    """Resolves the paths in a table.

    Attributes:
        name: the data set's name, for error messages.
        folder: the table's folder.
        root: the folder that the user named; None: the table's folder.
        locate: describes a row's location.
    """

    name: str
    folder: Path
    root: Path | None
    locate: Callable[[int], str]

    @property
    def base(self) -> Path:
        """The folder that file names are relative to."""
        return self.folder if self.root is None else self.root

    def relative_paths(self, paths: Sequence[str | None]) -> list[str]:
        """Return paths relative to the root, with slashes; None is kept as an empty text.

        Raises:
            UsageError: a path leads out of the root, or the root does not exist.
        """
        if self.root is not None and not self.root.is_dir():
            raise UsageError(f"{self.name}: --root {self.root}: there is no such folder")
        roots = [self.base.absolute().as_posix(), self.base.resolve().as_posix()]
        prefixes = tuple(dict.fromkeys(f"{root.rstrip('/')}/" for root in roots))
        folder = self.folder.absolute().as_posix()
        files = []
        for row, path in enumerate(paths):
            file = (path or "").replace("\\", "/")
            if self.root is not None and file.startswith("../"):
                file = posixpath.normpath(f"{folder}/{file}")
            prefix = next((prefix for prefix in prefixes if file.startswith(prefix)), "")
            file = posixpath.normpath(file[len(prefix) :]) if file else ""
            if file == ".." or file.startswith(("/", "../")) or re.match("[A-Za-z]:", file):
                raise UsageError(
                    f"{self.name}: {self.locate(row)}: '{path}' is outside {self.base}, the folder that all images must be"
                    " in; --root names another"
                )
            files.append(file)
        return files

    def complete_endings(self, files: Sequence[str]) -> list[str]:
        """Return the files with the ending of the image file that a name without one stands for, as in x for x.jpg.

        Raises:
            UsageError: there are several such files.
        """
        listings: dict[str, dict[str, list[str]]] = {}
        completed = []
        for row, file in enumerate(files):
            if not file or IMAGE_SUFFIX.search(file):
                completed.append(file)
                continue
            folder, _, stem = file.rpartition("/")
            if folder not in listings:
                listings[folder] = _list_by_stem(self.base / folder)
            names = listings[folder].get(stem, [stem])
            if len(names) > 1:
                raise UsageError(f"{self.name}: {self.locate(row)}: '{file}' may be {' or '.join(sorted(names))}")
            completed.append(f"{folder}/{names[0]}" if folder else names[0])
        return completed

    def check_root(self, files: Sequence[str]) -> None:
        """Raise a UsageError if none of some files exists, but the first one does in another folder below the root."""
        if any((self.base / file).exists() for file in files[:10]):
            return
        below, _, wanted = files[0].rpartition("/")
        for number, (place, folders, names) in enumerate(os.walk(self.base)):
            folders.sort()
            stems = {name.rpartition(".")[0] for name in names if IMAGE_SUFFIX.search(name)}
            root = Path(place).as_posix().removesuffix(f"/{below}") if below else place
            if number and (wanted in names or wanted in stems) and (root != Path(place).as_posix() or not below):
                raise UsageError(
                    f"{self.name}: {self.locate(0)}: there is no '{files[0]}' in {self.base}, but there is one in {root}:"
                    f" --root {root}"
                )
            if number > MAX_SEARCHED_FOLDERS:
                return


def _list_by_stem(folder: Path) -> dict[str, list[str]]:
    """List the image files of a folder by their names without the ending; a file without one stands for itself only."""
    listing: dict[str, list[str]] = defaultdict(list)
    names = os.listdir(folder) if folder.is_dir() else []
    for name in names:
        if IMAGE_SUFFIX.search(name):
            listing[name.rpartition(".")[0]].append(name)
    return listing | {name: [name] for name in names if not IMAGE_SUFFIX.search(name)}
