"""Runs on disk: when they are trained or evaluated again, and what their files contain."""

import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines import cli
from robustkd.errors import ExecutionError, UsageError
from robustkd.locks import hold_lock
from robustkd.methods.hinton import Hinton
from robustkd.study import run_folder
from robustkd.study.plan import Plan
from robustkd.study.results import RunResult, TrainingInfo, read_document, write_document
from robustkd.study.run_folder import is_finished, is_trained
from robustkd.training import checkpoint
from tests.helpers import make_network
from tests.pipelines.toys import study_arguments
from tests.study.toy_study import HINTON, PLAIN, TEACHER, save_untrained, write_study


def test_a_result_of_an_older_evaluation_is_evaluated_again_and_nothing_is_trained(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = study_arguments("run", data)
    cli.main(words)
    (folder,) = (path.parent for path in Path("studies").glob("*/study.json"))
    paths = sorted(folder.glob("runs/*/result.json"))
    before = [read_document(path, RunResult) for path in paths]
    for path, made in zip(paths, before, strict=True):
        write_document(path, made.model_copy(update={"evaluation_version": "older", "predictions": {}}))
    monkeypatch.setattr(run_folder, "train", lambda *_, **__: pytest.fail("it trains"))
    capsys.readouterr()
    cli.main(words)
    assert "3 runs to do" in capsys.readouterr().out
    assert [read_document(path, RunResult) for path in paths] == before


def test_a_run_of_an_older_version_of_its_method_is_trained_again_alone(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = study_arguments("run", data)
    cli.main(words)
    (folder,) = (path.parent for path in Path("studies").glob("*/study.json"))
    before = {path.parent.name: path.read_bytes() for path in folder.glob("runs/*/model.pt")}
    monkeypatch.setattr(Hinton, "version", 2, raising=False)
    capsys.readouterr()
    cli.main(words)
    assert "1 run to do" in capsys.readouterr().out
    infos = {path.parent.name: read_document(path, TrainingInfo) for path in folder.glob("runs/*/trained.json")}
    assert {name for name, info in infos.items() if info.version == "1.2.1"} == {"hinton-seed0"}
    assert {path.parent.name: path.read_bytes() for path in folder.glob("runs/*/model.pt")} == before, "same weights"


@pytest.mark.parametrize("content", ["{}", "{", '{"format": 2}'])
def test_a_damaged_result_is_evaluated_again(data: Path, content: str) -> None:
    plan = write_study(data)
    save_untrained(plan, PLAIN)
    first = run_folder.evaluate_in_folder(plan, PLAIN)
    (plan.run_folder(PLAIN) / "result.json").write_text(content)
    assert not is_finished(plan, PLAIN)
    assert run_folder.evaluate_in_folder(plan, PLAIN) == first
    assert is_finished(plan, PLAIN)


def test_an_unfinished_state_is_replaced_and_removed(tmp_path: Path) -> None:
    checkpointer = run_folder.FileCheckpointer(tmp_path / "unfinished.pt", "1.1.1", 30.0, lambda: False)
    assert checkpointer.load() is None
    checkpointer.clear()
    checkpointer.save({"epoch": 1, "weights": torch.zeros(2)})
    checkpointer.save({"epoch": 2, "weights": torch.ones(2)})
    state = checkpointer.load()
    assert state is not None
    assert state["epoch"] == 2
    assert torch.equal(state["weights"], torch.ones(2))
    checkpointer.clear()
    assert not list(tmp_path.iterdir())


def test_a_data_set_is_read_once(data: Path) -> None:
    plan = write_study(data)
    source = run_folder.load_source(plan.options)
    assert run_folder.load_source(replace(plan.options, seeds=7, scenario="clean")) is source
    assert run_folder.load_source(replace(plan.options, image_size=16)) is not source


def test_a_network_for_other_images_is_refused(data: Path, tmp_path: Path) -> None:
    plan = write_study(data)
    net = make_network("resnet8")
    card = {"model": "resnet8", "shape": (1, 8, 8), "classes": ["left", "right"], "mean": [0.3], "std": [0.25]}
    card["head"] = "linear"
    net.replace_head(torch.nn.Linear(net.head.in_features, 2))
    checkpoint.save_net(tmp_path / "two.pt", net.state_dict(), card)
    with pytest.raises(UsageError, match=r"two\.pt: this network has 2 classes, but the data set has 3"):
        run_folder.load_network(plan, tmp_path / "two.pt", "student")


def test_seeds_that_share_a_draw_of_the_scenario_share_a_manifest(data: Path) -> None:
    plan = write_study(data, data_seeds=1)
    assert [path.name for path in plan.folder.glob("manifest-*.csv")] == ["manifest-0.csv"]
    assert run_folder.load_views(plan, 0).train.digest == run_folder.load_views(plan, 1).train.digest


def test_an_unexpected_error_leaves_its_traceback(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = write_study(data)

    def fail(*_: object, **__: object) -> None:
        raise KeyError("nothing")

    monkeypatch.setattr(run_folder, "train", fail)
    with pytest.raises(ExecutionError, match=r"KeyError: 'nothing' \(see .*error\.txt\)"):
        run_folder.execute(plan, PLAIN, lambda progress: None)
    assert "Traceback" in (plan.run_folder(PLAIN) / "error.txt").read_text()
    assert not run_folder.is_trained(plan, PLAIN)


def test_a_run_that_an_orphan_still_writes_is_refused(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = write_study(data)
    monkeypatch.setattr(run_folder, "PATIENCE", 0.1)
    with (
        hold_lock(plan.run_folder(PLAIN)),
        pytest.raises(UsageError, match="baseline-seed0: another process is still at work on this run"),
    ):
        run_folder.execute(plan, PLAIN, lambda progress: None)
    assert [path.name for path in plan.run_folder(PLAIN).iterdir()] == [".lock"]


def test_what_an_earlier_process_left_is_removed(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, seen = write_study(data), list[str]()
    folder = plan.run_folder(PLAIN)
    folder.mkdir(parents=True)
    for name in (".model.pt.0123.tmp", "error.txt"):
        (folder / name).write_text("")
    monkeypatch.setattr(run_folder, "train_in_folder", lambda *_: seen.extend(path.name for path in folder.iterdir()))
    monkeypatch.setattr(run_folder, "evaluate_in_folder", lambda *_: None)
    run_folder.execute(plan, PLAIN, lambda progress: None)
    assert seen == [".lock"]


def test_a_full_disk_fails_the_run_and_breaks_no_file(data: Path) -> None:
    plan = write_study(data, epochs=1)
    run_folder.execute(plan, PLAIN, lambda progress: None)
    folder = plan.run_folder(PLAIN)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "result.json").unlink()
    (folder / "model.pt").unlink()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises((ExecutionError, OSError), match="File too large"):
            run_folder.execute(plan, PLAIN, lambda progress: None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(folder.glob("*.tmp"))
    assert not (folder / "model.pt").exists()
    run_folder.execute(plan, PLAIN, lambda progress: None)
    assert (folder / "model.pt").read_bytes() == before["model.pt"]


def test_the_state_of_another_version_of_a_method_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "unfinished.pt"
    run_folder.FileCheckpointer(path, "1.1.1", 30.0, lambda: False).save({"epoch": 3})
    state = run_folder.FileCheckpointer(path, "1.1.1", 30.0, lambda: False).load()
    assert state is not None
    assert state["epoch"] == 3
    assert run_folder.FileCheckpointer(path, "1.2.1", 30.0, lambda: False).load() is None


def test_a_usage_error_of_training_is_passed_on(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = write_study(data)

    def refuse(*_: object, **__: object) -> None:
        raise UsageError("these do not go together")

    monkeypatch.setattr(run_folder, "train", refuse)
    with pytest.raises(UsageError, match="these do not go together"):
        run_folder.execute(plan, PLAIN, lambda progress: None)
    assert not (plan.run_folder(PLAIN) / "error.txt").exists()


def test_files_that_do_not_exist_hold_no_arrays(tmp_path: Path) -> None:
    assert run_folder.read_npz(tmp_path / "absent.npz") == {}
    assert run_folder.read_arrays(tmp_path) == {}
    assert run_folder.read_training_info(tmp_path) is None
    np.savez(tmp_path / "test-last.npz", row=np.arange(3))
    assert run_folder.read_arrays(tmp_path)["test-last"]["row"].tolist() == [0, 1, 2]


def with_another_rate(plan: Plan) -> Plan:
    """The same study, by a machine that computes another teacher."""
    return replace(plan, settings=replace(plan.settings, recipe=replace(plan.settings.recipe, lr=0.05)))


def lose_teacher(plan: Plan) -> None:
    (plan.run_folder(TEACHER) / "model.pt").unlink()


def nothing(progress: object) -> None:
    """Report nothing."""


def test_students_are_trained_again_after_their_teacher_was_lost_and_is_another(data: Path) -> None:
    plan, runs = write_study(data), (TEACHER, HINTON, PLAIN)
    for run in runs:
        run_folder.execute(plan, run, nothing)
    assert all(is_finished(plan, run) for run in runs)
    lose_teacher(plan)
    assert [is_trained(plan, run) for run in runs] == [False, False, True]
    run_folder.execute(plan, TEACHER, nothing)
    assert all(is_finished(plan, run) for run in runs), "the teacher is the same again"
    lose_teacher(plan)
    run_folder.execute(with_another_rate(plan), TEACHER, nothing)
    assert [is_trained(plan, run) for run in runs] == [True, False, True]


def test_a_teacher_of_an_earlier_version_is_not_questioned(data: Path) -> None:
    plan = write_study(data)
    for run in (TEACHER, HINTON):
        run_folder.execute(plan, run, nothing)
    path = plan.run_folder(TEACHER) / "trained.json"
    write_document(path, read_document(path, TrainingInfo).model_copy(update={"weights": ""}))
    assert is_finished(plan, HINTON)


def test_an_unfinished_state_with_another_teacher_is_not_continued(data: Path) -> None:
    plan = write_study(data)
    run_folder.execute(plan, TEACHER, nothing)
    with pytest.raises(run_folder.RunStopped):
        run_folder.execute(plan, HINTON, nothing, lambda: True)
    lose_teacher(plan)
    run_folder.execute(with_another_rate(plan), TEACHER, nothing)
    epochs: list[int] = []
    run_folder.execute(plan, HINTON, lambda progress: epochs.append(progress.epoch))
    assert epochs == [1, 2, 3, 4]
    assert is_finished(plan, HINTON)
