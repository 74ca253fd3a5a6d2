"""Manifests: saving, loading, and the files that are refused."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import scenarios
from robustkd.data import manifest, sources
from robustkd.data.splits import SplitRows
from robustkd.data.view import Source, View
from robustkd.errors import UsageError
from tests.data.test_view import source

HOME = Path(__file__).parents[2]
FOREIGN = "noise0.4+openset(0.3, source=digits)"


def splits(shown: Source, chain: str = "noise0.4", seed: int = 3) -> manifest.Splits:
    steps = scenarios.parse(chain)
    train, held_out = (steps(View.of(shown, rows, seed)) for rows in (np.arange(30), np.arange(30, 34)))
    return manifest.Splits(train, held_out, View.of(shown, np.arange(34, 40), seed))


def assert_refused(path: Path, shown: Source, *expected: str) -> None:
    """Assert that loading fails with a single line that contains all expected texts."""
    with pytest.raises(UsageError) as caught:
        manifest.load_manifest(path, shown)
    assert "\n" not in str(caught.value)
    for text in expected:
        assert text in str(caught.value)


@pytest.mark.parametrize("chain", ["noise0.4", FOREIGN, "openset(1, source=digits)", "step2"])
@pytest.mark.parametrize("name", ["m", "m.csv", "m.parquet", "noise0.4", "noise0.4.parquet"])
def test_a_manifest_is_loaded_as_it_was_saved(tmp_path: Path, name: str, chain: str) -> None:
    shown = source()
    saved = splits(shown, chain)
    manifest.save_manifest(tmp_path / name, saved, {"scenario": chain})
    stem = name.removesuffix(".csv").removesuffix(".parquet")
    suffix = ".parquet" if name.endswith("parquet") else ".csv"
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([f"{stem}{suffix}", f"{stem}.json"])
    for path in (name, stem, f"{stem}.json"):
        loaded = manifest.load_manifest(tmp_path / path, shown)
        for before, after in zip(saved, loaded, strict=True):
            assert before.digest == after.digest
            assert np.array_equal(before.labels, after.labels)
            assert before.truth is not None
            assert after.truth is not None
            assert np.array_equal(before.truth, after.truth)
            assert np.array_equal(before.images(), after.images())
            assert after.labels.flags.writeable
        assert (loaded.train.seed, loaded.train.position) == (3, 1 + chain.count("+"))


def test_the_columns_of_the_table(tmp_path: Path) -> None:
    shown = source()
    saved = splits(shown, FOREIGN)
    manifest.save_manifest(tmp_path / "m", saved, {})
    table = pd.read_csv(tmp_path / "m.csv")
    assert list(table) == ["split", "row", "label", "truth", "origin"]
    assert table["split"].value_counts().to_dict() == {"train": 30, "held_out": 4, "test": 6}
    foreign = table[table["origin"] > 0]
    assert set(foreign["split"]) <= {"train", "held_out"}
    assert (foreign["truth"] == -1).all()
    assert len(foreign[foreign["split"] == "train"]) == saved.train.foreign.sum() > 0
    card = json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))
    assert card["foreign"]["train"] == [["digits", saved.train.sources[1].fingerprint]]
    manifest.save_manifest(tmp_path / "plain", splits(shown), {})
    assert list(pd.read_csv(tmp_path / "plain.csv")) == ["split", "row", "label", "truth"]


def test_it_is_the_same_in_another_process_and_folder(tmp_path: Path) -> None:
    """As on another machine: data and manifest are in another folder, the process is new."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    rng = np.random.default_rng(2)
    np.savez(here / "own.npz", X=rng.integers(0, 256, (40, 8, 8), dtype=np.uint8), y=np.arange(40) % 4)
    shown = sources.load_dataset(f"npz:{here / 'own.npz'}")
    saved = splits(shown, FOREIGN)
    manifest.save_manifest(here / "m.parquet", saved, {})
    shutil.move(here, there)
    code = (
        "import sys; from pathlib import Path; from robustkd.data import manifest, sources\n"
        "for view in manifest.load_manifest(Path('m.parquet'), sources.load_dataset('npz:own.npz')): print(view.digest)"
    )
    environment = {**os.environ, "PYTHONPATH": str(HOME), "PYTHONHASHSEED": "7"}
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=there, env=environment
    )
    assert process.stdout.split() == [view.digest for view in saved]


def test_a_manifest_of_another_data_set_is_refused(tmp_path: Path) -> None:
    manifest.save_manifest(tmp_path / "m", splits(source()), {})
    assert_refused(tmp_path / "m", source(n=44), "was made from 'toy'", "not from 'toy'", source(n=44).fingerprint)


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
@pytest.mark.parametrize("column", ["row", "label", "origin"])
def test_an_edited_manifest_is_refused(tmp_path: Path, name: str, column: str) -> None:
    manifest.save_manifest(tmp_path / name, splits(source(), FOREIGN), {})
    read, write = (pd.read_csv, "to_csv") if name == "m.csv" else (pd.read_parquet, "to_parquet")
    table = read(tmp_path / name)
    table.loc[0, column] = (table.loc[0, column] + 1) % 2
    getattr(table, write)(tmp_path / name, index=False)
    assert_refused(tmp_path / name, source(), "its train rows do not match its card")


def test_further_columns_and_their_order_are_ignored(tmp_path: Path) -> None:
    saved = splits(source())
    manifest.save_manifest(tmp_path / "m", saved, {})
    table = pd.read_csv(tmp_path / "m.csv")
    table.assign(note="é, mine")[["note", "label", "truth", "row", "split"]].to_csv(
        tmp_path / "m.csv", index=False, encoding="utf-8-sig", lineterminator="\r\n"
    )
    assert manifest.load_manifest(tmp_path / "m.csv", source()).train.digest == saved.train.digest


def test_changed_foreign_sources_are_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    foreign = tmp_path / "foreign.npz"
    np.savez(foreign, X=rng.integers(0, 256, (50, 8, 8), dtype=np.uint8), y=np.arange(50) % 4)
    saved = splits(source(), f'openset(0.5, source="npz:{foreign}")')
    manifest.save_manifest(tmp_path / "m", saved, {})
    card = json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))
    card["foreign"]["train"][0][1] = "0" * 16
    del card["checksum"]
    (tmp_path / "m.json").write_text(json.dumps(card), encoding="utf-8")
    assert_refused(
        tmp_path / "m",
        source(),
        f"'npz:{foreign}', a source of foreign images, has changed since this manifest was made",
    )


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    shown = source()
    manifest.save_manifest(tmp_path / "pruned.csv", splits(shown, FOREIGN), {})
    table, card = tmp_path / "pruned.csv", tmp_path / "pruned.json"
    assert_refused(tmp_path / "prune.csv", shown, "there is no", "did you mean 'pruned.csv'?")
    assert_refused(tmp_path, shown, f"{tmp_path} is a folder, not a file")
    whole = table.read_text(encoding="utf-8")

    card_text = card.read_text(encoding="utf-8")
    card.unlink()
    assert_refused(table, shown, f"there is no {card}")
    for broken, expected in (
        ("{", "cannot be read as JSON"),
        ("[]", "lacks a valid dataset, fingerprint, data_seed, place, digest"),
        ("{}", "lacks a valid dataset"),
        (card_text.replace('"digest"', '"digests"'), "lacks a valid digest"),
        (json.dumps({**json.loads(card_text), "digest": "abc"}), "lacks a valid digest"),
        ("[" * 100_000, "cannot be read as JSON"),
        *(
            (json.dumps({**json.loads(card_text), "foreign": foreign}), "lacks a valid foreign")
            for foreign in (5, {"train": 5}, {"train": [5]}, {"train": [["a", "b", "c"]]}, {"train": [[1, 2]]})
        ),
    ):
        card.write_text(broken, encoding="utf-8")
        assert_refused(table, shown, f"{card}: this is not a manifest's card", expected)
    card.write_bytes(b"\xff\xfe")
    assert_refused(table, shown, "cannot be read as JSON")
    card.write_text(card_text, encoding="utf-8")

    for text, expected in (
        (whole.replace("split,row", "part,row"), "has no column split; it has: part, row, label, truth, origin"),
        (whole.replace("row,label", "line,name"), "has no column row and no label"),
        (whole.replace(",origin", ",home"), "has no column origin"),
        (whole.replace("train,0,", "train,0.5,"), "its column row must contain only integers"),
        (whole.replace("train,0,", "train,zero,"), "its column row must contain only integers"),
        ("", "cannot be read"),
        ('split,row,label\n"', "cannot be read"),
    ):
        assert text != whole
        table.write_text(text, encoding="utf-8")
        assert_refused(table, shown, str(table), expected)
    table.unlink()
    table.mkdir()
    assert_refused(table, shown, "is a folder")
    (tmp_path / "pruned.parquet").write_bytes(b"PAR1")
    assert_refused(tmp_path / "pruned.parquet", shown, "cannot be read")


def test_foreign_paths_are_relative_to_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there, elsewhere = tmp_path / "there", tmp_path / "elsewhere"
    there.mkdir()
    elsewhere.mkdir()
    random = np.random.default_rng(0)
    np.savez(there / "small.npz", X=random.integers(0, 256, (9, 8, 8), dtype=np.uint8), y=np.arange(9) % 3)
    monkeypatch.chdir(there)
    shown = source()
    step = scenarios.parse("openset(0.5, source=npz:small.npz)")
    rows = SplitRows(np.arange(30), np.arange(30, 34), np.arange(34, 40))
    views = manifest.build_splits(step, shown, rows, seed=3)
    manifest.save_manifest(Path("m.csv"), views, {})
    monkeypatch.chdir(elsewhere)
    loaded = manifest.load_manifest(there / "m.csv", shown)
    assert [view.digest for view in loaded] == [view.digest for view in views]
    assert np.array_equal(loaded.train.images(), views.train.images())


def test_scenarios_are_applied_to_training_and_held_out_rows_only() -> None:
    rows = SplitRows(np.arange(24), np.arange(24, 30), np.arange(30, 40))
    train, held_out, test = manifest.build_splits(scenarios.parse("noise1"), source(), rows, seed=1)
    assert (train.labels != train.published_labels).all()
    assert (held_out.labels != held_out.published_labels).all()
    assert np.array_equal(test.labels, test.published_labels)
    assert (train.training, held_out.training, held_out.scale) == (True, False, 0.25)
