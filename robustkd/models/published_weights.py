"""Published weights: files in the caches of Hugging Face and torch, or on their servers, which must be within reach."""

import os
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlparse
from urllib.request import Request, urlopen

from robustkd.errors import UsageError

PATIENCE = 10.0  # seconds; the libraries themselves would retry for a minute


def require_connection(net: str, url: str) -> None:
    """Try to reach the server of a file once, because the libraries that download it retry for long.

    Args:
        net: the net without parameters, which the error message says how to give the file for.

    Raises:
        UsageError: the server cannot be reached.
    """
    try:
        if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
            raise OSError("HF_HUB_OFFLINE is set")
        urlopen(Request(url, method="HEAD"), timeout=PATIENCE).close()
    except HTTPError:
        return  # it answers, and the download will say more
    except OSError as error:
        cause = getattr(error, "reason", error)
        reason = getattr(cause, "strerror", None) or cause
        raise UsageError(cannot_download(net, url, f"{urlparse(url).netloc} cannot be reached ({reason})")) from None


def cannot_download(net: str, url: str, reason: str) -> str:
    """Return the message for weights that cannot be downloaded, with what to do about it."""
    return f"{net}: {reason}; download {url} and give the file as checkpoint=FILE"


def find_in_torch_cache(url: str) -> Path | None:
    """Return the file that torch.hub downloaded from an address, if it has."""
    import torch

    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    return file if file.is_file() else None
