"""manifest: a study's split reproduces the study's rows; another split gets the common rows."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import scenarios
from robustkd.data import manifest, sources
from robustkd.data.splits import split_source
from robustkd.data.view import Source, View
from robustkd.errors import UsageError

CHAINS = (
    "noise0.4",
    "imbalance0.2+noise0.4",
    "openset(0.2, source=digits)+noise0.2",
    "openset(0.2, source=digits)+step4",
    "noise0.2+openset(0.9, source=digits)",
)


def source(n: int = 400, seed: int = 0) -> Source:
    labels = np.arange(n) % 4
    images = np.random.default_rng(seed).integers(0, 256, (n, 1, 8, 8), dtype=np.uint8)
    return Source("toy", images, labels, tuple("abcd"), truth=labels.copy())


def split_views(shown: Source, held_out: float = 0.1, split_seed: int = 0, data_seed: int = 0) -> list[View]:
    rows = split_source(shown, held_out=held_out, seed=split_seed)
    return [View.of(shown, part, data_seed, scale=len(part) / len(rows.train)) for part in rows]


def save_study_manifest(path: Path, chain: str, shown: Source) -> manifest.Splits:
    """Save a manifest as a study does, with a different data seed from that of the tests."""
    train, held_out, test = split_views(shown, data_seed=7)
    steps = scenarios.parse(chain)
    saved = manifest.Splits(steps(train), steps(held_out), test)
    manifest.save_manifest(path, saved, {"scenario": chain})
    return saved


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("name", ["manifest-0.csv", "manifest-0.parquet"])
def test_the_same_split_reproduces_the_study(tmp_path: Path, chain: str, name: str) -> None:
    shown = source()
    saved = save_study_manifest(tmp_path / name, chain, shown)
    scenario = scenarios.parse(f'manifest(file="{tmp_path / name}")')
    for before, after in zip(split_views(shown)[:2], saved[:2], strict=True):
        read = scenario(before)
        assert read.digest == after.digest
        assert np.array_equal(read.images(), after.images())
        assert np.array_equal(read.truth, after.truth)
        assert (read.seed, read.position, read.scale) == (0, 1, before.scale)


def test_another_split_gets_the_common_rows(tmp_path: Path) -> None:
    shown = source()
    saved = save_study_manifest(tmp_path / "m.csv", "fraction0.8+noise0.4", shown)
    named = {int(row): int(label) for part in saved[:2] for row, label in zip(part.rows, part.labels, strict=True)}
    scenario = scenarios.parse(f"manifest(file={tmp_path / 'm.csv'})")
    for before in split_views(shown, held_out=0.3, split_seed=5)[:2]:
        after = scenario(before)
        expected = {int(row): named[int(row)] for row in before.rows if int(row) in named}
        assert dict(zip(after.rows.tolist(), after.labels.tolist(), strict=True)) == expected
        assert 0 < len(after) < len(before)


def test_without_held_out_rows_training_gets_both_parts(tmp_path: Path) -> None:
    shown = source()
    saved = save_study_manifest(tmp_path / "m.csv", "noise0.2+openset(0.3, source=digits)", shown)
    train, nothing, _ = split_views(shown, held_out=0)
    scenario = scenarios.parse(f"manifest(file={tmp_path / 'm.csv'})")
    after = scenario(train)
    assert len(after) == len(saved.train) + len(saved.held_out)
    assert after.foreign.sum() == saved.train.foreign.sum() + saved.held_out.foreign.sum()
    assert np.array_equal(after.images(), np.concatenate([saved.train.images(), saved.held_out.images()]))
    assert len(after.sources) == 2, "one foreign source, though both parts use it"
    assert len(scenario(nothing)) == 0


def test_foreign_sources_of_both_parts_are_distinguished(tmp_path: Path) -> None:
    """Combine two parts that number the same foreign sources differently."""
    shown = source()
    np.savez(tmp_path / "lender.npz", X=source(seed=5).images[:, 0], y=np.arange(400) % 4)
    one, other = "openset(0.2, source=digits)", f'openset(0.3, source="npz:{tmp_path / "lender.npz"}")'
    train, held_out, test = split_views(shown)
    saved = manifest.Splits(scenarios.parse(f"{one}+{other}")(train), scenarios.parse(f"{other}+{one}")(held_out), test)
    manifest.save_manifest(tmp_path / "m.csv", saved, {})
    after = scenarios.parse(f"manifest(file={tmp_path / 'm.csv'})")(split_views(shown, held_out=0)[0])
    assert len(after.sources) == 3
    assert np.array_equal(after.images(), np.concatenate([saved.train.images(), saved.held_out.images()]))


def test_foreign_images_without_a_part_are_rejected(tmp_path: Path) -> None:
    shown = source()
    save_study_manifest(tmp_path / "m.csv", "openset(0.3, source=digits)", shown)
    scenario = scenarios.parse(f"manifest(file={tmp_path / 'm.csv'})")
    with pytest.raises(UsageError, match="--split-seed and --held-out that it was made with"):
        scenario(split_views(shown, split_seed=1)[0])
    save_study_manifest(tmp_path / "all.csv", "openset(1, source=digits)", shown)
    with pytest.raises(UsageError, match="cannot be assigned to a split"):
        scenarios.parse(f"manifest(file={tmp_path / 'all.csv'})")(split_views(shown)[0])


def test_manifest_in_a_chain(tmp_path: Path) -> None:
    shown = source()
    saved = save_study_manifest(tmp_path / "m.csv", "noise0.4", shown)
    text = f"manifest(file={tmp_path / 'm.csv'})"
    train = split_views(shown)[0]
    after = scenarios.parse(f"{text}+openset(0.2, source=digits)+noise0.1")(train)
    assert after.foreign.sum() == pytest.approx(0.2 * len(train), abs=2)
    reduced = scenarios.parse(f"fraction0.5+{text}")(train)
    kept = scenarios.parse("fraction0.5")(train)
    assert sorted(reduced.rows.tolist()) == sorted(kept.rows.tolist())
    label = dict(zip(saved.train.rows.tolist(), saved.train.labels.tolist(), strict=True))
    assert [label[row] for row in reduced.rows.tolist()] == reduced.labels.tolist()
    dropped = scenarios.parse(f"openset(0.5, source=digits)+{text}")(train)
    assert not dropped.foreign.any()
    assert 0 < len(dropped) < len(train)


@pytest.mark.parametrize("chain", CHAINS[:1] + CHAINS[-1:])
def test_corruption_rates_match_the_changes(tmp_path: Path, chain: str) -> None:
    shown = source()
    save_study_manifest(tmp_path / "m.csv", chain, shown)
    scenario = scenarios.parse(f"manifest(file={tmp_path / 'm.csv'})")
    train = split_views(shown)[0]
    rates = scenario.corruption_rates(train)
    assert rates.shape == (4,)
    rate = 0.4 if chain == "noise0.4" else 0.92
    assert rates @ train.counts / len(train) == pytest.approx(rate, abs=0.01)


def test_a_manifest_with_dropped_and_relabelled_rows(tmp_path: Path) -> None:
    """Save modified views, as an audit does."""
    shown = source()
    train, held_out, test = split_views(shown)
    pruned = train.take(np.arange(len(train)) % 3 > 0).relabel((train.labels[np.arange(len(train)) % 3 > 0] + 1) % 4)
    manifest.save_manifest(tmp_path / "mine.parquet", manifest.Splits(pruned, held_out.take(np.arange(0)), test), {})
    scenario = scenarios.parse(f"manifest(file={tmp_path / 'mine.parquet'})")
    after = scenario(train)
    assert after.digest == pruned.digest
    assert len(scenario(held_out)) == 0
    assert len(pd.read_parquet(tmp_path / "mine.parquet")) == len(pruned) + len(test)


def test_invalid_manifests_are_rejected(tmp_path: Path) -> None:
    shown = source()
    save_study_manifest(tmp_path / "pruned.csv", "noise0.4", shown)
    with pytest.raises(UsageError, match=r"there is no .*prund.csv \(did you mean 'pruned.csv'\?\)"):
        scenarios.parse(f"manifest(file={tmp_path / 'prund.csv'})")(split_views(shown)[0])
    with pytest.raises(UsageError, match="was made from 'toy'"):
        scenarios.parse(f"manifest(file={tmp_path / 'pruned.csv'})")(View.of(source(seed=1)))
    with pytest.raises(UsageError, match=r"was made from 'toy' .* not from 'digits'"):
        scenarios.parse(f"manifest(file={tmp_path / 'pruned.csv'})")(View.of(sources.load_dataset("digits")))
    with pytest.raises(UsageError, match="needs a value for file"):
        scenarios.parse("manifest")


def test_a_manifest_of_an_audit_is_valid_for_its_split_only(tmp_path: Path) -> None:
    shown = source()
    train, held_out, test = split_views(shown)
    manifest.save_manifest(
        tmp_path / "pruned.csv", manifest.Splits(train, held_out, test), {"audit": "toy", "split_seed": 0}
    )
    step = scenarios.parse(f"manifest(file={tmp_path / 'pruned.csv'})")
    assert step(train).digest == train.digest
    with pytest.raises(UsageError, match="trained on test rows of this split; use the audit's --split-seed 0"):
        step(split_views(shown, split_seed=1)[0])
