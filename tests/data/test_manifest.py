"""A scenario frozen into files and read again."""

from pathlib import Path

import numpy as np
import pytest

import scenarios
from robustkd.data import manifest
from robustkd.data.view import Source, View
from robustkd.words import UsageError
from tests.data.test_view import source


def splits(shown: Source) -> manifest.Splits:
    before = View.of(shown, np.arange(30), seed=3)
    return manifest.Splits(
        scenarios.parse("noise0.4")(before), View.of(shown, np.arange(30, 34)), View.of(shown, np.arange(34, 40))
    )


def test_what_is_read_again_is_what_was_saved(tmp_path: Path) -> None:
    shown = source()
    saved = splits(shown)
    manifest.save(tmp_path / "m", saved, {"scenario": "noise0.4"})
    read = manifest.load(tmp_path / "m", shown)
    for before, after in zip(saved, read, strict=True):
        assert before.digest == after.digest
        assert np.array_equal(before.labels, after.labels)
    assert (read.train.seed, read.train.place) == (3, 1)


def test_a_manifest_of_another_data_set_is_refused(tmp_path: Path) -> None:
    manifest.save(tmp_path / "m", splits(source()), {})
    with pytest.raises(UsageError, match="was made of 'toy'"):
        manifest.load(tmp_path / "m", source(n=44))


def test_a_manifest_that_was_changed_by_hand_is_refused(tmp_path: Path) -> None:
    manifest.save(tmp_path / "m", splits(source()), {})
    text = (tmp_path / "m.csv").read_text().splitlines()
    first = text[1].split(",")
    text[1] = ",".join([first[0], first[1], str((int(first[2]) + 1) % 4), first[3]])
    (tmp_path / "m.csv").write_text("\n".join(text))
    with pytest.raises(UsageError, match="its train rows are not those of its card"):
        manifest.load(tmp_path / "m", source())
