"""MLflow's store: opened once, or refused in one sentence before MLflow tries for minutes."""

import logging
import os
import ssl
import tempfile
import textwrap
from contextlib import AbstractContextManager, nullcontext
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit
from urllib.request import urlopen

from robustkd.errors import UsageError

if TYPE_CHECKING:
    from mlflow import MlflowClient

PATIENCE = 5.0  # seconds that a tracking server has to answer
QUIET = {  # what MLflow is told unless the user has told it already
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4",  # half a minute without a server, not four
}


def client() -> "MlflowClient":
    """MLflow's client, with the store open and without its chatter."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if uri.startswith(("http://", "https://")):
        _refuse_silent(uri)
    elif not uri or uri.startswith("sqlite:///"):
        _refuse_closed(Path(unquote(uri.removeprefix("sqlite:///").partition("?")[0]) or "mlflow.db"))
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        raise UsageError(f"MLflow cannot be imported ({error}); `--tracker files` does without it") from None
    # A new store's tables, announced one by one; and tracebacks of what is said here in a sentence.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    try:
        with _turn(uri):
            return MlflowClient()
    except Exception as error:  # the store's driver decides what is raised
        raise UsageError(
            f"MLflow cannot open its store {shown(uri) or 'mlflow.db'} ({line(error)}); `--tracker files` does without it"
        ) from None


def _turn(uri: str) -> AbstractContextManager[object]:
    """One process at a time: two that make the tables of a new SQLite store together would ruin it."""
    if os.name == "nt" or (uri and not uri.startswith("sqlite:")):
        return nullcontext()
    from mlflow.utils.file_utils import ExclusiveFileLock

    return ExclusiveFileLock(f"{tempfile.gettempdir()}/robustkd-{os.getuid()}.lock")


# MLflow itself would go on trying for minutes in both cases.


def _refuse_closed(path: Path) -> None:
    """Refuse an SQLite file that cannot be written."""
    if not (os.access(path.parent, os.W_OK) and (os.access(path, os.W_OK) or not path.exists())):
        raise UsageError(f"MLflow cannot write its store {path.resolve()}; `--tracker files` does without it")


def _refuse_silent(uri: str) -> None:
    """Refuse a tracking server that does not answer."""
    place = shown(uri)
    try:
        with urlopen(f"{place}/health", timeout=PATIENCE):
            return
    except HTTPError as error:
        error.close()
        if error.code < 500:  # a server that wants a password is a server
            return
        reason = f"it answers with HTTP {error.code}"
    except (OSError, HTTPException, ValueError) as error:
        cause = getattr(error, "reason", error)
        if isinstance(cause, ssl.SSLError):  # it is there; whether to trust it is for MLflow to say
            return
        reason = str(cause) or type(cause).__name__
    raise UsageError(
        f"no MLflow server answers at {place}, which MLFLOW_TRACKING_URI names ({reason}); `--tracker files` does without it"
    )


def shown(uri: str) -> str:
    """An address without the password in it."""
    parts = urlsplit(uri)
    host = parts.netloc.rpartition("@")[2]
    return uri.replace(parts.netloc, host, 1).rstrip("/") if parts.netloc else uri


def line(error: BaseException) -> str:
    """What an error says, in one line."""
    said = str(error).partition("\n[SQL:")[0]  # what follows is the statement that failed, at length
    return textwrap.shorten(said, 300, placeholder=" ...") or type(error).__name__
