"""Removes secrets from what is printed or stored: those in the addresses of stores, and those of the environment."""

import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

SECRET_VARIABLE = re.compile(r"PASSWORD|PASSWD|(^|_)(TOKEN|SECRETS?|CREDENTIALS?|(API|ACCESS|PRIVATE)_KEY)(_|$)", re.I)
FILE_VARIABLE = re.compile(r"_(FILE|PATH|DIR)$", re.I)  # it names the file of a secret
URI_VARIABLES = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")
MIN_LENGTH = 6  # of a secret that is searched for in texts; shorter ones would be found in ordinary words
MASK = "***"
URI = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>`]+", re.I)


def redact_uri(uri: str) -> str:
    """Remove user name, password, query and fragment from an address.

    >>> redact_uri("http://me:word@host:5000/")
    'http://host:5000'
    >>> redact_uri("postgresql://me:w/rd@host/runs?user=me&password=word")
    'postgresql://host/runs'
    >>> redact_uri("sqlite:////home/me@work/#1/mlflow.db?timeout=9")
    'sqlite:////home/me@work/#1/mlflow.db'
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return uri
    if scheme.lower() in ("sqlite", "file"):
        return f"{scheme}://{rest.partition('?')[0]}"
    address = re.split("[?#]", rest)[0]
    if "@" in rest[len(address) :]:  # in a password with ? or #, or in a query: they cannot be told apart
        return f"{scheme}://{MASK}"
    user, _, host = address.rpartition("@")
    if "/" in user and ":" not in user.partition("/")[0]:  # an @ in a path
        host = address
    return f"{scheme}://{host}".rstrip("/")


def redact(text: str) -> str:
    """Redact the addresses in a text, and replace secrets of the environment by '***'.

    >>> redact("no answer from http://me:word@host/api?token=1")
    'no answer from http://host/api'
    """
    text = URI.sub(lambda found: redact_uri(found[0]), text)
    for secret in sorted(find_secrets(), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text


def redact_values(value: Any) -> Any:
    """Return a value of JSON with all texts in it redacted.

    >>> redact_values({"a": ["http://me:word@host"], "b": 1})
    {'a': ['http://host'], 'b': 1}
    """
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {str(key): redact_values(item) for key, item in value.items()}
    return [redact_values(item) for item in value] if isinstance(value, list | tuple) else value


def find_secrets() -> set[str]:
    """Return the secrets of the environment: variables named as such, and those in the addresses of MLflow's stores."""
    names = [name for name in os.environ if SECRET_VARIABLE.search(name) and not FILE_VARIABLE.search(name)]
    secrets = {os.environ[name] for name in names}
    for name in URI_VARIABLES:
        secrets |= _uri_secrets(os.environ.get(name, ""))
    secrets |= {unquote(secret) for secret in secrets}
    return {secret for secret in secrets if len(secret) >= MIN_LENGTH}


def _uri_secrets(uri: str) -> set[str]:
    """Return the password and the values of the query in an address."""
    _, _, rest = uri.partition("://")
    user, _, _ = rest.rpartition("@")
    query = re.split("[?#]", rest, maxsplit=1)[1:]
    return {user.partition(":")[2] or user, *(value for part in query for _, value in parse_qsl(part))}
