"""An audit by probabilities that the user gives, and what is refused where the networks behind them are weak."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines import cli
from robustkd.data import sources
from robustkd.data.splits import split_source
from robustkd.training import engine


def audit_folder() -> Path:
    (found,) = Path("audits").iterdir()
    return found


@pytest.fixture
def learnable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """600 rows of random images in 4 classes, 60 of them with a wrong label, in data.npz; returns the true labels."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    truth, wrong = np.arange(600) % 4, random.permutation(600) < 60
    images = random.integers(0, 256, (600, 8, 8), dtype=np.uint8)
    np.savez("data.npz", X=images, y=np.where(wrong, (truth + 1) % 4, truth))
    return truth


def save_probabilities(truth: np.ndarray, accuracy: float) -> None:
    """Save probabilities of a model that predicts a share of the true labels, and is as sure of the others."""
    random = np.random.default_rng(1)
    predicted = np.where(random.random(len(truth)) < accuracy, truth, random.integers(0, 4, len(truth)))
    np.save("mine.npy", random.dirichlet(np.ones(4), len(truth)) * 0.2 + 0.8 * np.eye(4)[predicted])


def test_own_probabilities_are_audited_without_training(
    learnable: np.ndarray, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr(engine, "fit")
    save_probabilities(learnable, accuracy=1.0)
    cli.main(["audit", "npz:data.npz", "--probabilities", "mine.npy", "--prune"])
    output = " ".join(capsys.readouterr().out.split())
    assert "an estimated " in output
    data = np.load("data.npz")
    suspects = pd.read_csv(audit_folder() / "suspects.csv")
    assert set(suspects["row"]) == set(np.flatnonzero(data["y"] != learnable))
    assert len(pd.read_csv(audit_folder() / "pruned.csv").query("split != 'test'")) == 451 - len(
        suspects.query("part == 'train'")
    )


def test_an_estimate_of_weak_networks_is_an_upper_bound_and_not_pruned_by(
    learnable: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    save_probabilities(learnable, accuracy=0.2)
    with pytest.raises(SystemExit) as exit_:
        cli.main(["audit", "npz:data.npz", "--probabilities", "mine.npy", "--prune"])
    assert exit_.value.code == 2
    output, error = capsys.readouterr()
    output = " ".join(output.split())
    assert re.search(r"at most \d+\.\d % of the 451 training labels are wrong; \d+ are suspicious", output)
    assert "continue with" not in output
    assert re.fullmatch(
        r"robustkd: --prune is refused: the networks predict .* --force writes the manifest anyway\n", error
    )
    figures = json.loads((audit_folder() / "audit.json").read_text(encoding="utf-8"))["figures"]
    assert figures["train"]["believable"] is False
    assert not (audit_folder() / "pruned.csv").exists()
    assert len(pd.read_csv(audit_folder() / "suspects.csv")) > 100
    cli.main(["audit", "npz:data.npz", "--probabilities", "mine.npy", "--prune", "--force"])
    assert (audit_folder() / "pruned.csv").exists()


def test_rows_without_probabilities_are_not_assessed(learnable: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    save_probabilities(learnable, accuracy=1.0)
    probabilities = np.load("mine.npy")
    missing = split_source(sources.load_dataset("npz:data.npz"), held_out=0.1, seed=0).train[:100]
    probabilities[missing] = np.nan
    np.save("mine.npy", probabilities)
    cli.main(["audit", "npz:data.npz", "--probabilities", "mine.npy"])
    assert "100 training rows have no probabilities and are not assessed" in capsys.readouterr().out
    assert not set(pd.read_csv(audit_folder() / "suspects.csv")["row"]) & set(missing.tolist())


def test_probabilities_are_of_the_labels_as_given(learnable: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    save_probabilities(learnable, accuracy=1.0)
    with pytest.raises(SystemExit):
        cli.main(["audit", "npz:data.npz", "--probabilities", "mine.npy", "--scenario", "noise0.2"])
    assert "so --scenario should be clean" in capsys.readouterr().err
