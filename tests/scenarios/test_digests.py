"""Digests of scenarios and chains are the same in every version and process."""

import os
import subprocess
import sys

import numpy as np
import pytest

import scenarios
from robustkd import seeds
from robustkd.data.view import View
from tests.scenarios.labelled import make_view

# A thousand labels of ten classes with seed 7. Draws define a study, so these digests must never change.
GOLDEN = {
    "noise0.4": "2481752983cf147c",
    "noise(0.4, convention=inclusive)": "ef2bba3f029ed479",
    "noise(0.4, draws=independent)": "0b63180cc6e9d2c4",
    "noise(0.4, targets=frequency)": "b0fcdffd62a9c62f",
    "noise(0.4, targets=frequency, draws=independent)": "94746fcd66c4ec71",
    "pair0.45": "22cebd582bd015ad",
    "pair(0.45, draws=independent)": "4e48e969dc12e7bb",
    "asym(0.4, map=mnist)": "dffa106d2ef7169c",
    "asym(0.4, map=mnist, draws=independent)": "39b47134cfc3e6a9",
    "asym(0.4, map=legacy_pair)": "faa56f1d5fe3f2b4",
    "matrix(file=T.csv)": "10254a1e7b96e09d",
    "matrix(file=T.csv, draws=independent)": "35bf9b01b5d2125e",
    "tail_noise0.2": "806c3a76ceecf95e",
    "tail_noise(0.2, draws=independent)": "355c79a50acf9f80",
    "head_noise0.2": "99bd299a4c7f0274",
    "head_noise(0.2, draws=independent)": "d812517b91d6426c",
    "longtail10+noise0.4": "0c4d0ea22460d156",
    "imbalance(0.6, ratio=5)+noise(0.4, targets=frequency)": "311bf85c7200e90f",
    "noise0.4+step4": "228cd6c30cad7509",
}


def thousand_labels() -> View:
    return make_view(seeds.row_keys(1, np.arange(1000)).astype(np.uint64) % 10, 10, seed=7)


def digests() -> dict[str, str]:
    """Return the digests of all scenarios of GOLDEN; write their matrix to the working folder."""
    with open("T.csv", "w", encoding="utf-8") as file:
        for i in range(10):
            row = ["0.6" if j == i else "0" for j in range(10)]
            row[(i + 3) % 10], row[(i + 7) % 10] = "0.3", "0.1"
            file.write(",".join(row) + "\n")
    return {words: scenarios.parse(words)(thousand_labels()).digest for words in GOLDEN}


def test_digests_are_stable(tmp_path: "os.PathLike[str]", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert digests() == GOLDEN


def test_digests_are_the_same_in_another_process(tmp_path: "os.PathLike[str]") -> None:
    check = "from tests.scenarios.test_digests import GOLDEN, digests; assert digests() == GOLDEN"
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    paths = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONHASHSEED": "4711", "PYTHONPATH": paths}
    subprocess.run([sys.executable, "-c", check], cwd=tmp_path, env=environment, check=True)
