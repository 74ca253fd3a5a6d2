"""The arrays of an npz file, read one by one. Large ones are memory-mapped instead of loaded.

An array that np.savez wrote is mapped where it is in the file. One that np.savez_compressed wrote is unpacked first.
"""

import shutil
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from robustkd.data.decode import describe_error
from robustkd.data.image_cache import require_free_space
from robustkd.errors import UsageError
from robustkd.hashing import digest

MAP_BYTES = 1 << 27  # arrays from this size on are mapped
LOCAL_HEADER = struct.Struct("<26xHH")  # the lengths of a member's name and extra field, after which its content begins


class NpzFile(Mapping[str, NDArray[Any]]):
    """The arrays of an npz file by name; each access reads the array.

    Attributes:
        scratch: a folder for large arrays that are compressed, which are loaded without one. Arrays that were unpacked there
            must not be used after it is removed.

    Raises:
        UsageError: on creation and access: the file is not an npz file, or is damaged.
    """

    def __init__(self, context: str, path: Path) -> None:
        self.context, self.path = context, path
        self.scratch: Path | None = None
        with self._readable(), zipfile.ZipFile(path) as archive:
            self.members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}

    def rename(self, keys: Mapping[str, str]) -> None:
        """Keep some of the arrays under other names: the present name by the new one."""
        self.members = {name: self.members[key] for name, key in keys.items()}

    def __iter__(self) -> Iterator[str]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)

    def __contains__(self, key: object) -> bool:
        return key in self.members  # a Mapping's own test would read the array

    def __getitem__(self, key: str) -> NDArray[Any]:
        member = self.members[key]
        with self._readable():
            if member.file_size >= MAP_BYTES and self.is_mappable(key):
                return self._map_member(member)
            if member.file_size >= MAP_BYTES and self.scratch is not None:
                return self._unpack_member(member, self.scratch)
            with zipfile.ZipFile(self.path) as archive, archive.open(member) as file:
                array: NDArray[Any] = npy.read_array(file, allow_pickle=False)
                return array

    def is_mappable(self, key: str) -> bool:
        """Return whether an array is in the file as it is, without compression or encryption."""
        member = self.members[key]
        return member.compress_type == zipfile.ZIP_STORED and not member.flag_bits & 1

    def size(self, key: str) -> int:
        """Return the size of an array in bytes, with its header."""
        return self.members[key].file_size

    def content_digest(self, *keys: str) -> str:
        """Return a digest of the content of arrays, from the checksums in the file."""
        stamps = [(key, self.members[key].CRC, self.members[key].file_size) for key in keys]
        stat = self.path.stat()
        return digest(text=repr((stamps, stat.st_size, stat.st_mtime_ns)))

    def length(self, key: str) -> int:
        """Return the number of rows of an array, from its header."""
        with self._readable(), zipfile.ZipFile(self.path) as archive, archive.open(self.members[key]) as file:
            shape = _read_header(file)[0]
            return shape[0] if shape else 0

    def _map_member(self, member: zipfile.ZipInfo) -> NDArray[Any]:
        """Map an array that is not compressed, where it is in the file."""
        with self.path.open("rb") as file:
            file.seek(member.header_offset)
            file.seek(member.header_offset + LOCAL_HEADER.size + sum(LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))))
            shape, fortran, dtype = _read_header(file)
            return np.memmap(self.path, dtype, "r", file.tell(), shape, "F" if fortran else "C")

    def _unpack_member(self, member: zipfile.ZipInfo, folder: Path) -> NDArray[Any]:
        """Map an array that is compressed, unpacked in a folder."""
        unpacked = folder / f"{member.header_offset}.npy"
        if not unpacked.is_file():
            require_free_space(f"unpacking {self.path.name}", folder, member.file_size)
            with zipfile.ZipFile(self.path) as archive, archive.open(member) as packed, unpacked.open("wb") as file:
                shutil.copyfileobj(packed, file, 1 << 20)
        mapped: NDArray[Any] = np.load(unpacked, mmap_mode="r", allow_pickle=False)
        return mapped

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Report in one sentence that the file is no archive, is damaged, or holds Python objects, which could execute code."""
        try:
            yield
        except UsageError:
            raise
        except Exception as error:  # what is raised depends on the damage
            raise UsageError(
                f"{self.context}: {self.path} is not a file of plain arrays as written by np.savez ({describe_error(error)})"
            ) from error


def _read_header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the header of an array: its shape, whether it is in Fortran order, and its type.

    Raises:
        ValueError: it is of another version, or contains Python objects.
    """
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(npy.read_magic(file))
    if read is None:
        raise ValueError("an array has a header of an unknown version")
    shape, fortran, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("it contains Python objects")
    return shape, fortran, dtype
