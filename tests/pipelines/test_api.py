"""The commands as Python functions."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import robustkd
from pipelines import api, cli
from pipelines.console import console
from robustkd.errors import UsageError
from robustkd.study.options import StudyOptions
from tests.helpers import STUDENT
from tests.pipelines.toys import stripes

HOME = Path(__file__).parents[2]
QUICK = {
    "scenario": "noise0.4",
    "student": STUDENT,
    "teacher": STUDENT,
    "epochs": 1,
    "seeds": 2,
    "batch": 12,
    "device": "cpu",
}
SERIAL = {**QUICK, "jobs": 1, "threads": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small data set."""
    folder = tmp_path_factory.mktemp("api")
    stripes(folder / "toy.npz")
    return folder


@pytest.fixture(scope="module")
def study(folder: Path) -> api.Study:
    return api.run_study(
        SERIAL,
        methods=["baseline", "hinton"],
        dataset=f"npz:{folder / 'toy.npz'}",
        out=folder / "studies",
        verbose=False,
    )


def test_a_study_has_the_tables_of_the_command(study: api.Study, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(study.verdicts.index) == ["hinton"]
    assert {"baseline", "hinton"} <= set(study.summary.index)
    assert len(study.classes) == len(study.per_class)  # one method other than the baseline
    assert set(study.curves["method"]) == {"baseline", "hinton", "teacher"}
    assert study.answer.startswith("No verdict")
    assert study.options.tracker == "files"
    cli.main(["compare", str(study.folder)])
    page, printed = repr(study).split(), capsys.readouterr().out.split()
    assert printed[: len(page)] == page
    assert (study.folder / "comparison" / "report.html").exists()


def test_a_finished_study_is_reused_and_read_again(study: api.Study, capsys: pytest.CaptureFixture[str]) -> None:
    before = (study.folder / "runs" / "hinton-seed0" / "model.pt").stat().st_mtime_ns
    again = api.run_study(study.options)
    assert "4 of" not in (output := capsys.readouterr().out)
    assert "are already finished and are reused" in output
    assert (study.folder / "runs" / "hinton-seed0" / "model.pt").stat().st_mtime_ns == before
    for other in (again, api.load_study(study.folder)):
        pd.testing.assert_frame_equal(other.summary, study.summary)
        assert repr(other) == repr(study)


def test_its_process_is_left_as_it_was(study: api.Study, capsys: pytest.CaptureFixture[str]) -> None:
    torch.set_num_threads(1)
    api.run_study(study.options, threads=2, verbose=False)
    assert torch.get_num_threads() == 1
    assert not console.quiet
    assert capsys.readouterr().out == ""


def test_trained_networks_are_loaded(study: api.Study) -> None:
    network = study.network("hinton", seed=1)
    assert network(torch.rand(5, 1, 8, 8)).logits.shape == (5, 3)
    assert not network.training
    assert study.network("teacher") is not None
    spelled = study.network("hinton ( )+ce", seed=1)  # another spelling of the same method
    assert torch.equal(spelled.head.weight, network.head.weight)
    with pytest.raises(UsageError, match=r"no run hintn-seed0 \(did you mean 'hinton-seed0'\?\)"):
        study.network("hintn")


def test_studies_are_compared_in_a_frame(study: api.Study, folder: Path) -> None:
    for places in ([study], [study.folder], [str(folder / "studies")]):
        table = api.compare(*places, metric="accuracy")
        means = table.set_index("method")["mean"]
        assert means["hinton"] == pytest.approx(study.summary.loc["hinton", "accuracy_mean"])
    with pytest.raises(UsageError, match="at least one study"):
        api.compare()
    with pytest.raises(UsageError, match="did you mean 'accuracy'"):
        api.compare(study, metric="acuracy")
    with pytest.raises(UsageError, match="there is no study here"):
        api.load_study(folder / "nowhere")
    assert api.load_study(study.folder, reference="hinton").verdicts["reference"].to_dict() == {"baseline": "hinton"}
    with pytest.raises(UsageError, match=r"^reference dml: .* has no such method; it has: baseline, hinton"):
        api.load_study(study.folder, reference="dml")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "^scenario is needed"),
        ({"scenario": "clean", "epoch": 3}, r"^there is no option 'epoch' \(did you mean 'epochs'\?\)"),
        ({"scenario": "clean", "lr": -1}, "^lr is -1 but should be greater than 0"),
        ({"scenario": "nois"}, "did you mean 'noise'"),
        ({"scenario": "clean", "methods": ["hintn"]}, "did you mean 'hinton'"),
        ({"scenario": "clean", "batch": 5000}, "^batch 5000 is larger than the training set"),
    ],
)
def test_a_wrong_option_is_one_sentence(options: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        api.run_study(options, out=tmp_path)


def test_an_options_object_is_taken_as_it_is(tmp_path: Path) -> None:
    options = StudyOptions(scenario="clean", batch=5000, tracker="files", out=str(tmp_path))
    with pytest.raises(UsageError, match=r"^batch 5000 is larger"):
        api.run_study(options)


def test_a_script_needs_neither_mlflow_nor_a_main_guard(folder: Path) -> None:
    script = folder / "script.py"
    options = {**QUICK, "scenario": "clean", "dataset": "npz:toy.npz", "methods": "baseline", "jobs": 2, "threads": 2}
    script.write_text(
        f"import sys\nsys.modules['mlflow'] = None\nfrom robustkd import run_study\n"
        f"print('ran', *run_study({options!r}).summary.index)\n"
    )
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(HOME)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("ran ") == 1
    assert "[2/2]" in done.stdout


def test_audit_returns_suspects_and_estimates(folder: Path) -> None:
    found = robustkd.audit(
        f"npz:{folder / 'toy.npz'}",
        scenario="noise0.2", net=STUDENT, epochs=1, folds=2, batch=12, threads=1, device="cpu",
        out=folder / "audits", verbose=False,
    )  # fmt: skip
    assert 0 <= found.noise_rate <= 1
    assert {"rank", "part", "row", "given", "suggested", "quality"} <= set(found.suspects)
    assert list(found.classes.index) == list(found.transitions.index)
    assert (found.folder / "report.html").exists()
    assert f"{100 * found.noise_rate:.1f} %" in repr(found)
    with pytest.raises(UsageError, match="did you mean 'folds'"):
        robustkd.audit("digits", fold=2)


def test_check_data_returns_findings(folder: Path) -> None:
    check = robustkd.check_data(f"npz:{folder / 'toy.npz'}", least=10_000)
    assert check.verdict in ("errors", "warnings")
    assert len(check.table) == len(check.findings) > 0
    assert list(check.table)[:3] == ["severity", "name", "count"]
    with pytest.raises(UsageError, match="no data set is called"):
        robustkd.check_data("digts")


def test_describe_returns_what_a_scenario_does() -> None:
    effect = robustkd.describe("imbalance0.2+noise0.4", "digits", seed=1)
    assert effect.per_class["kept"].sum() < effect.per_class["before"].sum()
    assert effect.transitions.sum() == effect.per_class["shown"].sum()
    assert np.isclose(np.trace(effect.transitions) / effect.transitions.sum(), 0.6, atol=0.02)
    with pytest.raises(UsageError, match="did you mean 'held_out'"):
        robustkd.describe("clean", held_outs=0.2)
