"""The address space that a limit such as `ulimit -v` leaves."""

import mmap

ROOM = 1 << 30  # bytes for the libraries other than torch, of which 0.61 GiB were measured on two cores

LACK_OF_MEMORY = (
    "there is too little memory, which `ulimit -v` may limit; with more, the same command continues from here"
)


def require_address_space(size: int = ROOM) -> None:
    """Check that a limit leaves room for the libraries that are loaded after torch.

    OpenBLAS, which SciPy loads, never stops trying to allocate its buffers where there is none, and no signal reaches Python.

    Raises:
        MemoryError: there is less address space.
    """
    if not hasattr(mmap, "MAP_PRIVATE"):  # on Windows, which has no such limit
        return
    try:
        mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ).close()
    except OSError:
        raise MemoryError(f"less than {size / (1 << 30):.1f} GiB of address space are left") from None


def load_torch_if_limited() -> None:
    """Under a limit, load torch before any other library, and check that it leaves room for them.

    Raises:
        MemoryError, ImportError: it does not, or torch itself does not fit.
    """
    try:
        import resource
    except ImportError:  # on Windows
        return
    if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        import torch  # noqa: F401

        require_address_space()
