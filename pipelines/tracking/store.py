"""MLflow's store: opened, or refused in one sentence where MLflow would retry for minutes."""

import logging
import os
import socket
import ssl
import textwrap
from contextlib import AbstractContextManager, nullcontext
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit
from urllib.request import urlopen

from pipelines.tracking.redaction import redact, redact_uri
from robustkd.errors import UsageError
from robustkd.locks import hold_lock

if TYPE_CHECKING:
    from mlflow import MlflowClient

SERVER_TIMEOUT = 5.0  # seconds
SERVER_SCHEMES = ("http://", "https://")
DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}  # where an address names none
SQLITE_START = b"SQLite format 3\0"
ENVIRONMENT = {  # variables that are set unless the user has set them
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",  # seconds that a server may take to answer, instead of 120
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4",  # half a minute without a server instead of four
}

REJECTIONS = {  # codes of MLflow's errors that say that a request is wrong, not that it could not be served
    "BAD_REQUEST",
    "ENDPOINT_NOT_FOUND",
    "INVALID_PARAMETER_VALUE",
    "INVALID_STATE_TRANSITION",
    "MALFORMED_REQUEST",
    "NOT_FOUND",
    "NOT_IMPLEMENTED",
    "RESOURCE_ALREADY_EXISTS",
    "RESOURCE_DOES_NOT_EXIST",
}


def open_client() -> "MlflowClient":
    """Open the store and return MLflow's client, with its progress messages disabled.

    Raises:
        robustkd.errors.UsageError: MLflow is not installed, or the store cannot be opened.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if uri.startswith(SERVER_SCHEMES):
        _require_responsive_server(uri)
    elif not uri or uri.startswith("sqlite:///"):
        _require_writable_file(sqlite_path(uri))
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        raise UsageError(f"MLflow cannot be imported ({error}); `--tracker files` does without it") from None
    # It reports each table of a new store, and tracebacks of errors that are reported here in a sentence.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    try:
        with _creation_lock(uri):
            return MlflowClient()
    except Exception as error:  # the store's driver decides what is raised
        raise UsageError(
            f"MLflow cannot open its store {redact_uri(uri) or 'mlflow.db'} ({summarise_error(error)}); "
            "`--tracker files` does without it"
        ) from None


def sqlite_path(uri: str) -> Path:
    """Return the file of an SQLite store; MLflow's default is mlflow.db."""
    return Path(unquote(uri.removeprefix("sqlite:///").partition("?")[0]) or "mlflow.db")


def _creation_lock(uri: str) -> AbstractContextManager[None]:
    """Lock an SQLite store while it is opened: two processes that create its tables at the same time would damage it."""
    if uri and not uri.startswith("sqlite:"):
        return nullcontext()
    return hold_lock("MLflow stores")


# In both of the following cases MLflow itself would retry for minutes.


def _require_writable_file(path: Path) -> None:
    """Raise a UsageError if an SQLite file cannot be written."""
    if not (os.access(path.parent, os.W_OK) and (os.access(path, os.W_OK) or not path.exists())):
        raise UsageError(f"MLflow cannot write its store {path.resolve()}; `--tracker files` does without it")


def _require_responsive_server(uri: str) -> None:
    """Raise a UsageError if a tracking server does not answer."""
    if reason := explain_silence(uri):
        raise UsageError(
            f"no MLflow server answers at {redact_uri(uri)}, which MLFLOW_TRACKING_URI names ({reason});"
            " `--tracker files` does without it"
        )


def explain_silence(uri: str) -> str | None:
    """Return why a tracking server does not answer, None if it does. Stores that are not servers are not asked."""
    if not uri.startswith(SERVER_SCHEMES):
        return None
    try:
        with urlopen(f"{redact_uri(uri)}/health", timeout=SERVER_TIMEOUT):
            return None
    except HTTPError as error:
        error.close()
        # Below 500, it is e.g. a server that requires a password.
        return None if error.code < 500 else f"it answers with HTTP {error.code}"
    except (OSError, HTTPException, ValueError) as error:
        cause = getattr(error, "reason", error)
        if isinstance(cause, ssl.SSLError):  # it answers; MLflow decides whether to trust it
            return None
        return summarise_error(cause) if isinstance(cause, BaseException) else redact(str(cause))


def explain_unusable_store(uri: str) -> str | None:
    """Return why a store could not be used, within seconds and without creating or changing it; None if nothing is known.

    A server is asked whether it is healthy, a database server whether it accepts connections, and a file is looked at.
    """
    if uri.startswith(SERVER_SCHEMES):
        return explain_silence(uri)
    if uri and not uri.startswith("sqlite:///"):
        return _explain_closed_port(uri)
    path = sqlite_path(uri)
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        return f"{path.resolve()} cannot be written"
    if not path.exists():
        return None
    with path.open("rb") as file:
        is_database = file.read(len(SQLITE_START)) in (b"", SQLITE_START)
    return None if is_database else f"{path.resolve()} is not an SQLite database"


def _explain_closed_port(uri: str) -> str | None:
    """Return why no connection to a database server is possible, None if there is one or the address names no server."""
    try:
        address = urlsplit(redact_uri(uri))
        usual = (port for name, port in DATABASE_PORTS.items() if address.scheme.startswith(name))
        port = address.port or next(usual, None)
        if address.hostname and port:
            socket.create_connection((address.hostname, port), SERVER_TIMEOUT).close()
    except (OSError, ValueError) as error:
        return summarise_error(error)
    return None


def is_outage(error: BaseException) -> bool:
    """Return whether an error says that a request could not be served, rather than that it is wrong."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return error.error_code not in REJECTIONS
    if isinstance(error, FileNotFoundError):  # of what is to be logged
        return False
    return isinstance(error, OSError) or type(error).__module__.startswith("sqlalchemy")


def summarise_error(error: BaseException) -> str:
    """Return an error's message without secrets, in one line of at most 300 characters."""
    message = redact(str(error).partition("\n[SQL:")[0])  # the failed statement follows, which is long
    return textwrap.shorten(message, 300, placeholder=" ...") or type(error).__name__
