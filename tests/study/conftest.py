from pathlib import Path

import numpy as np
import pytest

from tests.pipelines.toys import stripes
from tests.study.toy_study import write_true_labels


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a data set whose true labels are known, in the current folder."""
    monkeypatch.chdir(tmp_path)
    path = stripes(tmp_path / "toy.npz")
    write_true_labels(path, np.load(path)["y"])
    return path
