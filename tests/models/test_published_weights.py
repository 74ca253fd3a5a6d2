"""Servers of published weights are tried once."""

from urllib.error import HTTPError

import pytest
import torch

from robustkd.errors import UsageError
from robustkd.models import published_weights


def test_one_try_of_limited_length(monkeypatch):
    tries = []

    def unreachable(request, timeout):
        tries.append((request.full_url, request.get_method(), timeout))
        raise OSError("timed out")

    monkeypatch.setattr(published_weights, "urlopen", unreachable)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with pytest.raises(UsageError, match=r"^timm:a: .*example.org cannot be reached \(timed out\); download https"):
        published_weights.require_connection("timm:a", "https://example.org/model.safetensors")
    assert tries == [("https://example.org/model.safetensors", "HEAD", published_weights.PATIENCE)]


def test_a_server_that_answers_is_within_reach(monkeypatch):
    def forbidden(request, timeout):
        raise HTTPError(request.full_url, 403, "Forbidden", None, None)

    monkeypatch.setattr(published_weights, "urlopen", forbidden)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    published_weights.require_connection("timm:a", "https://example.org/model.safetensors")


def test_files_in_torchs_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert published_weights.find_in_torch_cache("https://example.org/a/net-1.pth?download=1") is None
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "net-1.pth").touch()
    found = published_weights.find_in_torch_cache("https://example.org/a/net-1.pth?download=1")
    assert found == tmp_path / "checkpoints" / "net-1.pth"
