import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

USER_MODULE = """
EPS = 0.25

def attack(net, images, labels):
    assert not net.training
    assert net(images).shape == (len(labels), 3)
    images += 0.1 * (images < 0.5)  # in place, and more for one image
    images[0] += 0.15 * (images[0] < 0.5)
    net.train()
    net(images)  # this changes the statistics of the network it was given
    for parameter in net.parameters():
        parameter.data += 1
    return images

def noisy(net, images, labels):
    import torch
    return torch.rand_like(images)

def raises(net, images, labels):
    raise KeyError("oh dear")

def returns_nothing(net, images, labels):
    pass

def logits(net, images, labels):
    return net(images)

def infinite(net, images, labels):
    return images / 0

def bright(net, images, labels):
    return images + 1
"""


@pytest.fixture
def user_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with modules of a user that define attacks."""
    (tmp_path / "mine.py").write_text(USER_MODULE)
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "needs.py").write_text("import not_there\n")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "inner.py").write_text(USER_MODULE)
    monkeypatch.chdir(tmp_path)
    path, modules = list(sys.path), set(sys.modules)
    yield tmp_path
    assert sys.path == path
    for name in set(sys.modules) - modules:
        if name.split(".")[0] in ("mine", "package") or name.startswith("robustkd_user_"):
            del sys.modules[name]
