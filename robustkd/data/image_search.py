"""Find the image files below a folder, and account for everything else that is there."""

import os
import re
from collections.abc import Hashable
from pathlib import Path
from typing import NamedTuple

from robustkd.data.own_output import DEFAULT_NAMES, describe_program_output, is_tracking_store

# What counts as an image by its name. HEIC files are found even if they cannot be decoded, so that they are not lost silently.
IMAGE_SUFFIX = re.compile(r"\.(jpe?g|jpe|jfif|a?png|gif|bmp|dib|tiff?|webp|p[pgbn]m|jp2|avif|hei[cf])$", re.IGNORECASE)

NOT_AN_IMAGE = "not an image"  # the one reason for not reading a file that is no cause for concern

_SUFFIXES = {  # of files that are not read; the others are judged by their first bytes
    NOT_AN_IMAGE: "txt md csv tsv json jsonl xml yaml yml html htm pdf py ipynb log ini cfg db",
    "an image format that is not decoded": "svg psd xcf ico tga pcx jxl exr hdr fits nii dcm dng nef cr2 arw raw",
    "an archive that is not unpacked": "zip tar gz tgz bz2 xz 7z rar zst",
    "a video": "mp4 m4v avi mov mkv webm wmv mpg mpeg",
}
_REASONS = {suffix: reason for reason, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}

# How image files begin: JPEG, PNG, GIF, TIFF, WebP, JPEG 2000, and AVIF or HEIC.
_SIGNATURES = re.compile(
    rb"\xff\xd8\xff|\x89PNG|GIF8|II\*\0|MM\0\*|RIFF.{4}WEBP|\0\0\0\x0cjP  |.{4}ftyp(avif|avis|heic|heix|mif1)",
    re.DOTALL,
)

# Names that editors, archivers, systems and network drives give to folders and files of their own.
_SYSTEM_NAMES = re.compile(
    r"\..*|__MACOSX.*|__pycache__|@eaDir|#recycle|\$RECYCLE\.BIN|lost\+found|Thumbs\.db|desktop\.ini"
)


class FoundFiles(NamedTuple):
    """What is below a folder, as relative paths with slashes."""

    images: list[str]  # sorted
    folders: list[str]  # all that were entered, including empty ones; sorted
    unread: dict[str, str]  # what is not an image file or could not be entered, with reasons
    outputs: dict[str, str]  # folders that programs wrote, by the program


def is_hidden(name: str) -> bool:
    """Return whether a file or folder was created by an editor, archiver or system rather than the user.

    >>> is_hidden(".git"), is_hidden("@eaDir"), is_hidden("cat")
    (True, True, False)
    """
    return _SYSTEM_NAMES.fullmatch(name) is not None


def list_image_files(folder: Path) -> list[str]:
    """List the image files of a folder at any depth, hidden ones excluded: sorted relative paths with slashes."""
    return find_images(folder).images


def find_images(root: Path) -> FoundFiles:
    """Find the image files below a folder. Links are followed, hidden files and the output of programs are not entered."""
    found = FoundFiles([], [], {}, {})

    def note_failure(error: OSError) -> None:
        place = Path(error.filename).relative_to(root).as_posix()
        found.unread[place] = f"a folder that cannot be entered ({error.strerror})"

    enclosing: dict[str, tuple[Hashable, ...]] = {
        str(root): (_identity(root),)
    }  # the identities of each folder and of those around it
    for text, subfolders, names in os.walk(root, followlinks=True, onerror=note_failure):
        relative = Path(text).relative_to(root).as_posix()
        program = describe_program_output(Path(text), subfolders, names)
        if program:
            found.outputs[relative] = program
            subfolders.clear()
            continue
        found.folders.append(relative)
        prefix = "" if relative == "." else f"{relative}/"
        subfolders[:] = [name for name in subfolders if not is_hidden(name)]
        for name in list(subfolders):
            inner, identity = os.path.join(text, name), _identity(Path(text, name))
            enclosing[inner] = (*enclosing[text], identity)
            if identity in enclosing[text]:
                found.unread[prefix + name] = "a link to a folder around it"
                subfolders.remove(name)
        for name in names:
            if is_hidden(name) or is_tracking_store(name):
                continue
            if IMAGE_SUFFIX.search(name):
                found.images.append(prefix + name)
            else:
                found.unread[prefix + name] = _explain_unread(Path(text, name))
    return _without_outputs(found)


def _identity(folder: Path) -> Hashable:
    """Return what identifies a folder whatever links lead to it."""
    try:
        stat = folder.stat()
    except OSError:
        return str(folder)
    return stat.st_dev, stat.st_ino


def _explain_unread(file: Path) -> str:
    """Return why a file without the name of an image is not read."""
    if reason := _REASONS.get(file.suffix.lower().removeprefix(".")):
        return reason
    if not file.exists():
        return "a broken link"
    if not file.is_file():
        return "not a regular file"
    try:
        with file.open("rb") as opened:
            start = opened.read(32)
    except OSError as error:
        return error.strerror or "it cannot be opened"
    return "an image under another extension" if _SIGNATURES.match(start) else NOT_AN_IMAGE


def _without_outputs(found: FoundFiles) -> FoundFiles:
    """Count folders that contain outputs and no image, such as studies/ around the studies, as outputs; sort everything."""
    outputs, folders = dict(found.outputs), set(found.folders)
    holding_images = _with_enclosing({os.path.dirname(path) for path in found.images})
    for path, program in found.outputs.items():
        outputs |= dict.fromkeys(_with_enclosing({os.path.dirname(path)}) - holding_images, program)
    empty = folders - holding_images - _with_enclosing({os.path.dirname(path) for path in found.unread})
    created = {
        path for path in empty if os.path.basename(path) in DEFAULT_NAMES
    }  # by a command that wrote nothing then
    outputs = dict.fromkeys(created, "robustkd") | outputs
    outermost = {path for path in outputs if not _with_enclosing({os.path.dirname(path)}) & outputs.keys()}
    outside = {path for path in folders if not _with_enclosing({path}) & outermost}
    return FoundFiles(
        sorted(found.images),
        sorted(outside - {"."}),
        {path: found.unread[path] for path in sorted(found.unread) if (os.path.dirname(path) or ".") in outside},
        {path: outputs[path] for path in sorted(outermost)},
    )


def _with_enclosing(folders: set[str]) -> set[str]:
    """Return relative folders together with all folders around them, without the root."""
    return {path.as_posix() for folder in folders for path in (Path(folder), *Path(folder).parents)} - {"."}
