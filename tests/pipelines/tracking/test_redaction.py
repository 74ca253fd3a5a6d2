"""Secrets are removed from addresses and texts, and nothing else is."""

import pytest

from pipelines.tracking.redaction import MASK, redact, redact_uri


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://host:5000", "http://host:5000"),
        ("https://me:planted@host/mlflow/", "https://host/mlflow"),
        ("https://planted@host", "https://host"),
        ("http://host:5000/?token=planted#planted", "http://host:5000"),
        ("https://host/@me/page", "https://host/@me/page"),
        ("postgresql+psycopg2://me:planted@host:5432/runs", "postgresql+psycopg2://host:5432/runs"),
        ("postgresql://host/runs?user=me&password=planted", "postgresql://host/runs"),
        ("mysql://me:p/lanted@host/runs", "mysql://host/runs"),
        ("mysql://me:p?planted@host/runs", f"mysql://{MASK}"),
        ("postgresql://host/runs?password=planted@1", f"postgresql://{MASK}"),
        ("sqlite:////home/me@work/a#b/mlflow.db", "sqlite:////home/me@work/a#b/mlflow.db"),
        ("sqlite:///mlflow.db?key=planted", "sqlite:///mlflow.db"),
        ("file:///home/me/mlruns", "file:///home/me/mlruns"),
        ("databricks", "databricks"),
        ("./mlruns", "./mlruns"),
        ("", ""),
    ],
)
def test_addresses(uri: str, shown: str) -> None:
    assert redact_uri(uri) == shown


@pytest.mark.parametrize(
    "name", ["MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD", "HF_TOKEN"]
)
def test_values_of_secret_variables_are_masked_in_texts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "pla/nted+")
    assert redact("FATAL: not with pla/nted+, again pla/nted+") == f"FATAL: not with {MASK}, again {MASK}"


@pytest.mark.parametrize(
    "uri",
    [
        "http://me:planted%2Bpart@host",
        "http://planted%2Bpart@host",
        "postgresql://host/runs?user=me&password=planted%2Bpart",
    ],
)
def test_what_is_secret_in_the_address_of_the_store_is_masked_elsewhere_too(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert redact(f"{uri} refused planted+part of me") == f"{redact_uri(uri)} refused {MASK} of me"


def test_words_that_only_look_like_secrets_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "TOKENIZERS_PARALLELISM": "noise0.4",
        "MONKEY_BARS": "noise0.4",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "noise0.4",
        "SOME_TOKEN": "yes",
    }.items():
        monkeypatch.setenv(name, value)
    assert redact("noise0.4, yes: see #/experiments/1?x=2") == "noise0.4, yes: see #/experiments/1?x=2"
