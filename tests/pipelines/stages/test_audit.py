"""The audit command: consistent files, reuse of folds, no leakage, and a contact sheet without active content."""

import json
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import scenarios
from pipelines import cli
from robustkd.data import manifest, sources
from robustkd.data.splits import split_source
from robustkd.label_audit import out_of_fold
from robustkd.training import engine
from tests.pipelines.toys import stripes, study_arguments

Audit = Callable[..., str]


@pytest.fixture
def audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Audit:
    """A function that audits the stripes in a new folder and returns the output."""
    monkeypatch.chdir(tmp_path)
    data = stripes(tmp_path / "toy.npz")

    def audited(*more: str, spec: str = f"npz:{data}") -> str:
        cli.main(["audit", spec, "--net", "resnet8", "--epochs", "4", "--batch", "12", "--threads", "1", *more])
        return " ".join(capsys.readouterr().out.split())

    return audited


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """The rows of each training."""
    rows: list[np.ndarray] = []
    fit = engine.fit
    monkeypatch.setattr(
        engine, "fit", lambda method, loader, *rest: rows.append(loader.view.rows) or fit(method, loader, *rest)
    )
    return rows


def folder() -> Path:
    (found,) = Path("audits").iterdir()
    return found


def test_files_and_output_agree(audit: Audit) -> None:
    output = audit("--scenario", "noise0.2", "--prune", "--relabel", "--keep", "3")
    found = folder()
    assert re.fullmatch(r"toy-noise0\.2-[0-9a-f]{8}", found.name)
    assert "[5/5] " in output
    assert "of the fold's labels are predicted" in output
    assert "training labels per class" in output
    assert "most suspicious training rows" in output
    assert f"'manifest(file={found}/pruned.csv)'" in output
    suspects = pd.read_csv(found / "suspects.csv")
    train = suspects[suspects["part"] == "train"]
    assert (train["given"] != train["suggested"]).all()
    assert train["rank"].tolist() == list(range(1, len(train) + 1))
    assert train["quality"].is_monotonic_increasing
    assert (train["given_probability"] < train["suggested_probability"]).all()
    matrix = pd.read_csv(found / "transition.csv", index_col=0)
    assert matrix.columns.tolist() == matrix.index.tolist() == ["rows", "columns", "checks"]
    assert np.allclose(matrix.sum(axis=1), 1, atol=1e-12)
    classes = pd.read_csv(found / "classes.csv", index_col="class")
    assert classes["given"].sum() == classes["estimated_true"].sum() == 54
    assert classes["suspicious"].sum() == len(train)
    card = json.loads((found / "audit.json").read_text(encoding="utf-8"))
    assert card["figures"]["train"]["suspicious"] == len(train)
    assert "where_truth_is_known" not in card["figures"]["train"]  # a user's own labels are not known to be true
    assert "precision" not in output
    assert "of the training labels out of fold" in output
    changed = re.search(r"of the (\d+) labels that the scenario changed, (\d+) are suspicious", output)
    assert changed is not None
    source = sources.load_dataset(f"npz:{Path('toy.npz').resolve()}")
    rows = split_source(source, held_out=0.1, seed=0)
    shown = manifest.build_splits(scenarios.parse("noise0.2"), source, rows, 0)
    drawn = {row for view in shown[:2] for row in view.rows[view.labels != view.published_labels]}
    assert int(changed[1]) == len(drawn)
    assert int(changed[2]) == len(drawn & set(train["row"])) >= len(drawn) / 2


def test_suspicious_rows_are_pruned_and_relabelled(audit: Audit) -> None:
    audit("--prune", "--relabel", "--keep", "1", "--scenario", "noise0.2")
    source = sources.load_dataset(f"npz:{Path('toy.npz').resolve()}")
    rows, found = split_source(source, held_out=0.1, seed=0), folder()
    pruned, relabelled = (manifest.load_manifest(found / f"{name}.csv", source) for name in ("pruned", "relabelled"))
    suspects = pd.read_csv(found / "suspects.csv").query("part == 'train'").set_index("row")
    assert len(suspects) > 3
    for views in (pruned, relabelled):
        assert set(views.train.rows) <= set(rows.train)
        assert set(views.held_out.rows) <= set(rows.held_out)
        assert (views.test.rows == rows.test).all()
        assert (views.test.labels == source.labels[rows.test]).all()
    left = {row for view in pruned[:2] for row in view.rows}
    assert {*rows.train, *rows.held_out} - left == set(suspects.index)
    for view in relabelled[:2]:
        for row, label in zip(view.rows, view.labels, strict=True):
            if row in suspects.index:
                assert source.classes[label] == suspects.loc[row, "suggested"]
    assert len(relabelled.train) + len(relabelled.held_out) == 54


def test_no_class_falls_below_keep(audit: Audit) -> None:
    output = audit("--prune", "--keep", "18", "--scenario", "noise0.3")
    source = sources.load_dataset(f"npz:{Path('toy.npz').resolve()}")
    views = manifest.load_manifest(folder() / "pruned.csv", source)
    given = pd.read_csv(folder() / "classes.csv")["given"].to_numpy()
    assert (views.train.counts + views.held_out.counts >= np.minimum(18, given)).all()
    assert "suspicious rows stay because their class would become too small (--keep 18)" in output


def test_a_study_runs_on_a_pruned_manifest(audit: Audit, capsys: pytest.CaptureFixture[str]) -> None:
    audit("--prune", "--scenario", "noise0.2")
    words = {"scenario": f"manifest(file={folder()}/pruned.csv)", "methods": "baseline", "epochs": "1"}
    cli.main(study_arguments("run", Path("toy.npz").resolve(), **words))
    assert "accuracy" in capsys.readouterr().out


def test_folds_are_reused_and_fresh_keeps_the_old_folder(audit: Audit, trained: list[np.ndarray]) -> None:
    audit()
    before = (folder() / "suspects.csv").read_bytes()
    again = audit("--prune")
    assert len(trained) == 5
    assert again.count("(reused)") == 5
    assert (folder() / "suspects.csv").read_bytes() == before
    assert "(reused)" not in audit("--fresh")
    assert len(trained) == 10
    renamed, fresh = sorted(Path("audits").iterdir(), key=lambda path: len(path.name), reverse=True)
    assert (renamed / "pruned.csv").is_file()
    assert (fresh / "suspects.csv").read_bytes() == before
    audit("--seed", "1")
    audit("--augment", "none")
    assert len(trained) == 20


def test_test_rows_are_listed_but_not_trained_on(audit: Audit, trained: list[np.ndarray]) -> None:
    data = np.load("toy.npz")
    wrong = np.arange(12) < 3  # test rows with a wrong label
    y_test = np.where(wrong, (data["y"][:12] + 1) % 3, data["y"][:12])
    arrays = {"X_test": data["X"][:12], "y_test": y_test, "classes": data["classes"]}
    np.savez("parts.npz", X=data["X"][12:], y=data["y"][12:], **arrays)
    audit("--prune", spec="npz:parts.npz")
    assert len(trained) == 5
    assert all(set(rows) <= set(range(60)) for rows in trained)
    listed = pd.read_csv(folder() / "suspects.csv").query("part == 'test'")
    assert set(listed["row"]) == {60, 61, 62}
    views = manifest.load_manifest(folder() / "pruned.csv", sources.load_dataset("npz:parts.npz"))
    assert (views.test.labels == y_test).all()


def test_small_classes_are_reported(audit: Audit) -> None:
    data = np.load("toy.npz")
    keep = np.concatenate([np.flatnonzero(data["y"] == 0), np.flatnonzero(data["y"] == 1)[:4], [2, 5]])
    np.savez("rare.npz", X=data["X"][keep], y=data["y"][keep], classes=data["classes"])
    output = audit("--prune", "--relabel", spec="npz:rare.npz")  # a quarter of each class is cut as the test split
    assert "class 'columns' (3 samples) is in 3 of the 5 folds: its estimates are rough" in output
    assert "class 'checks' (1 samples) is in one fold only: its labels cannot be audited" in output
    views = manifest.load_manifest(folder() / "pruned.csv", sources.load_dataset("npz:rare.npz"))
    assert (views.train.counts + views.held_out.counts)[1:].tolist() == [3, 1]


def test_groups_stay_together(audit: Audit, trained: list[np.ndarray]) -> None:
    data = np.load("toy.npz")
    group = np.arange(72) // 3 % 12 * 3 + data["y"]  # each of one class
    np.savez("groups.npz", X=data["X"], y=data["y"], group=group)
    audit("--folds", "3", "--held-out", "0", spec="npz:groups.npz")
    everything = set(np.concatenate(trained))
    for rows in trained:
        out = everything - set(rows)
        assert not set(group[list(rows)]) & set(group[list(out)])


def test_a_class_in_one_fold_is_not_assessed(audit: Audit) -> None:
    data = np.load("toy.npz")
    X, y = data["X"], data["y"]
    group = np.where(y[12:] == 2, 99, np.arange(60))  # all checks are of one group, so of one fold
    np.savez("alone.npz", X=X[12:], y=y[12:], X_test=X[:12], y_test=y[:12], classes=data["classes"], group=group)
    output = audit("--held-out", "0", "--prune", "--keep", "1", spec="npz:alone.npz")
    assert "class 'checks' (20 samples) is in one fold only: its labels cannot be audited" in output
    assert "checks" not in set(pd.read_csv(folder() / "suspects.csv").query("part == 'train'")["given"])
    classes = pd.read_csv(folder() / "classes.csv", index_col="class")
    assert classes.loc["checks", ["given", "judged", "estimated_true"]].tolist() == [20, 0, 20]


def test_any_class_name_is_shown_as_text(audit: Audit) -> None:
    data = np.load("toy.npz")
    classes = np.array(["<b>&", "[red]a,b[/red]", "\N{GREEK SMALL LETTER BETA}"])
    np.savez("named.npz", X=data["X"], y=data["y"], classes=classes)
    output = audit("--scenario", "noise0.2", spec="npz:named.npz")
    assert "[red]a,b[/red]" in output
    page = (folder() / "report.html").read_text(encoding="utf-8")
    assert "<b>&" not in page.replace("&amp;", "")
    assert "&lt;b&gt;&amp;" in page
    assert pd.read_csv(folder() / "transition.csv", index_col=0).index.tolist() == classes.tolist()


def test_the_next_command_has_the_same_options(audit: Audit) -> None:
    output = audit("--scenario", "noise0.3", "--augment", "none", "--held-out", "0.2")
    (again,) = re.findall(r"continue with: robustkd (audit .* --prune)", output)
    assert "--held-out 0.2 --scenario noise0.3 --net resnet8 --epochs 4 --batch 12 --augment none --threads 1" in again
    cli.main(shlex.split(again))
    assert "pruned.csv" in {path.name for path in folder().iterdir()}


def test_foreign_images_of_two_sources_are_audited_and_pruned(audit: Audit) -> None:
    data = np.load("toy.npz")
    for name, shade in (("first", 40), ("second", 90)):  # stripes too, so that the classes can be learnt
        np.savez(f"{name}.npz", X=data["X"] // 2 + shade, y=data["y"])
    # The first source is so rare that no held-out row gets its images: their first source is the second of the training rows.
    scenario = "openset(0.06, source='npz:first.npz')+openset(0.4, source='npz:second.npz')+noise0.2"
    audit("--scenario", scenario, "--prune", "--relabel", "--force", "--keep", "1", "--held-out", "0.2", "--folds", "3")
    source = sources.load_dataset(f"npz:{Path('toy.npz').resolve()}")
    shown = manifest.build_splits(scenarios.parse(scenario), source, split_source(source, held_out=0.2, seed=0), 0)
    assert [len(view.sources) for view in shown] == [3, 2, 1]
    pruned, everyone = (manifest.load_manifest(folder() / f"{name}.csv", source) for name in ("pruned", "relabelled"))
    for view, one in zip(shown[:2], everyone, strict=False):
        assert (view.images() == one.images()).all()
    source_names = lambda view: np.array([lender.name for lender in view.sources])[view.origin]  # noqa: E731
    named = lambda views: {row for view in views for row in zip(source_names(view), view.rows, strict=True)}  # noqa: E731
    suspects = pd.read_csv(folder() / "suspects.csv").query("part == 'train'")
    listed = set(zip(suspects["source"], suspects["row"], strict=True))
    assert {"npz:first.npz", "npz:second.npz"} <= set(source_names(everyone.train))
    assert "npz:second.npz" in {name for name, _ in listed & named([everyone.held_out])}
    assert named(pruned[:2]) == named(everyone[:2]) - listed


def test_a_foreign_image_shown_twice_is_identified_by_its_position(audit: Audit) -> None:
    data = np.load("toy.npz")
    np.savez("lent.npz", X=data["X"][:9] // 2 + 40, y=data["y"][:9])
    output = audit("--scenario", "openset(1.0, source='npz:lent.npz')+noise0.3", "--prune", "--force", "--keep", "1")
    assert "the labels that the scenario changed" not in output  # the true label of a foreign image is unknown
    suspects = pd.read_csv(folder() / "suspects.csv").query("part == 'train'")
    pruned = re.search(r"pruned\.csv: (\d+) rows pruned", output)
    assert pruned is not None
    assert 3 < int(pruned[1]) <= len(suspects)
    assert set(suspects["source"]) == {"npz:lent.npz"}
    assert suspects["row"].between(0, 8).all()
    source = sources.load_dataset(f"npz:{Path('toy.npz').resolve()}")
    assert sum(map(len, manifest.load_manifest(folder() / "pruned.csv", source)[:2])) == 54 - int(pruned[1])


def test_a_data_set_known_to_be_clean_is_not_to_be_pruned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    cli.main(["audit", "digits", "--net", "resnet8", "--epochs", "1", "--folds", "2", "--threads", "1"])
    output = " ".join(capsys.readouterr().out.split())
    assert re.search(r"train rows whose true label is known: none of 1347 is wrong, but \d+ are suspicious", output)
    assert re.search(r"at most \d+\.\d % of the 1347 training labels are wrong", output)
    assert "continue with" not in output  # pruning could only remove correct labels


def test_other_folds_give_another_audit(
    audit: Audit, trained: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    audit()
    folds = out_of_fold.assign_folds
    monkeypatch.setattr(
        out_of_fold, "assign_folds", lambda *of: (folds(*of) + 1) % 5
    )  # as another version of a library might assign them
    audit()
    assert len(trained) == 10
    assert len(list(Path("audits").iterdir())) == 2


def test_the_contact_sheet_has_at_most_the_requested_images(audit: Audit) -> None:
    audit("--scenario", "noise0.3", "--show", "4")
    assert (folder() / "report.html").read_text(encoding="utf-8").count("<img ") == 4


def test_the_expected_time_is_printed_before_and_along_the_training(audit: Audit) -> None:
    output = audit()
    assert re.search(r"is trained on the others: about \d+ (s|min) \[1/5\]", output)
    assert re.search(
        r"\[1/5\] \d+\.\d % of the fold's labels are predicted \(\d+ s(, about \d+ (s|min) left)?\)", output
    )
    (folder() / "fold-3.npz").unlink()
    assert re.search(r"is trained on the others: about \d+ s for the 1 that are left", audit())


def test_copies_of_an_image_are_in_one_fold(audit: Audit, trained: list[np.ndarray]) -> None:
    data = np.load("toy.npz")
    images = np.random.default_rng(0).integers(0, 256, (24, *data["X"].shape[1:]), dtype=np.uint8)
    np.savez("copies.npz", X=np.tile(images, (3,) + (1,) * (images.ndim - 1)), y=np.arange(72) % 3)
    output = audit("--folds", "3", "--held-out", "0", spec="npz:copies.npz")
    assert "48 of 72 images repeat the pixels of another: copies are kept in one split" in output
    everything = set(np.concatenate(trained).tolist())
    for rows in trained:
        seen = set(rows.tolist())
        assert not {row % 24 for row in seen} & {row % 24 for row in everything - seen}


@pytest.mark.parametrize(
    ("words", "output"),
    [
        (["lost"], "no data set is called 'lost'"),
        (["digits", "--folds", "1"], "--folds is '1' but should be greater than or equal to 2"),
        (["digits", "--folds", "1000"], "--folds 1000: should be at most"),
        (["digits", "--show", "201"], "--show is '201' but should be less than or equal to 200"),
        (["digits", "--keep", "0"], "--keep is '0' but should be greater than or equal to 1"),
        (["digits", "--net", "resent8"], "no net is called 'resent8' (did you mean 'resnet8'?)"),
        (["digits", "--net", "resnet21"], "the nearest is resnet20"),
        (["digits", "--scenario", "nois0.2"], "no scenario is called 'nois' (did you mean 'noise'?)"),
        (["digits", "--out", "file/below"], "it cannot be written"),
    ],
)
def test_invalid_arguments_are_refused(
    words: list[str], output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with pytest.raises(SystemExit) as exit_:
        cli.main(["audit", *words])
    error = capsys.readouterr().err
    assert exit_.value.code == 2
    assert output in error
    assert error.count("\n") == 1
    assert not list(Path.cwd().glob("audits/*"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_known_errors_in_digits_are_found(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    cli.main(["audit", "digits", "--scenario", "noise0.2", "--seed", str(seed), "--threads", str(os.cpu_count() or 1)])
    figures = json.loads((folder() / "audit.json").read_text(encoding="utf-8"))["figures"]
    detection = figures["train"]["where_truth_is_known"]
    assert detection["precision"] >= 0.8
    assert detection["recall"] >= 0.8
    assert figures["train"]["estimated_noise_rate"] == pytest.approx(0.2, abs=0.03)
    assert figures["test"]["suspicious"] <= 5


def test_the_network_is_checked_before_the_data_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pipelines.stages.audit.load_source", lambda options: pytest.fail("the data are read"))
    for net, message in (
        ("timm:resnet18(checkpoint=lost.pt)", "lost.pt"),
        ("torchvision:alexnet", "AlexNet does not accept images of 32x32"),
    ):
        with pytest.raises(SystemExit) as end:
            cli.main(["audit", "folder:photos", "--net", net])
        assert end.value.code == 2
        assert message in capsys.readouterr().err
