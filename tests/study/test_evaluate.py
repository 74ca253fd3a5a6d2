"""Evaluation of runs in their folders. The networks are untrained, since nothing here depends on what they learned."""

import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import log_loss, recall_score, roc_auc_score
from torch import nn

from pipelines import cli, planning
from robustkd.data.loader import Loader
from robustkd.evaluation.calibration import fit_temperature
from robustkd.evaluation.results import TemperatureScaling
from robustkd.method_spec import MethodSpec
from robustkd.methods.hinton import Hinton
from robustkd.study import evaluate, run_folder
from robustkd.study.construct import seeded_network
from robustkd.study.evaluate import Teacher
from robustkd.study.options import StudyOptions
from robustkd.study.plan import Plan, Run
from robustkd.study.results import RunResult, TrainingInfo, agreements, read_document, write_document
from robustkd.study.run import TrainedRun, run
from robustkd.study.run_folder import is_finished, load_source, load_views
from robustkd.study.versions import method_version
from robustkd.training import checkpoint
from tests.helpers import make_network
from tests.pipelines.toys import stripes, study_arguments

CLASSES = ("a, b", "a; b", "<süß>")
TEACHER = Run("teacher", MethodSpec.parse("baseline+ce"), 0)
HINTON, PLAIN = (Run("student", MethodSpec.parse(method), 0) for method in ("hinton", "baseline"))


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = stripes(tmp_path / "toy.npz")
    known(path, np.load(path)["y"])
    return path


def known(path: Path, clean: np.ndarray | None) -> None:
    """Say what the true labels are, or that nobody knows."""
    with np.load(path) as file:
        content = {**dict(file), "classes": np.array(CLASSES)}
    content.pop("clean", None)
    np.savez(path, **content, **({} if clean is None else {"clean": clean}))
    run_folder._read_source.cache_clear()


def planned(data: Path, **changes: Any) -> Plan:
    """A study, its manifests written and nothing trained."""
    options = {"scenario": "noise0.4", "methods": "baseline,hinton", "student": "resnet8", "teacher": "wrn_10_1"}
    options |= {"batch": 16, "epochs": 4, "seeds": 2, "jobs": 1, "precision": "fp32"}
    return planning.draft_study(StudyOptions(dataset=f"npz:{data}", **{**options, **changes})).write()


def trained(plan: Plan, run: Run, spoil: float = 1.0) -> None:
    """Write what training leaves of a run, without training: networks that predict every class for some images."""
    folder, view = plan.run_folder(run), load_views(plan, run.seed).train
    images = torch.from_numpy(load_source(plan.options).images).float() / 255
    nets = [seeded_network(view, run, plan.settings, number) for number in (0, 1)]
    for net in nets:
        with torch.no_grad():
            net.head.bias -= net.eval()(images).logits.mean(dim=0)
        net.load_state_dict({key: spoil * value for key, value in net.state_dict().items()})
    info = TrainingInfo(
        **{
            "seconds": {"teacher": 5.0, "student": 2.0}[run.role],
            "samples": len(view),
            "updates": 4 * -(-len(view) // 16),
        },
        **{"images_per_second": 9.0, "peak_memory": None, "early_epoch": 1, "finished": 0.0, "precision": "fp32"},
        **{"device": "cpu", "torch": torch.__version__, "version": method_version(run.method), "hyperparameters": {}},
    )
    done = TrainedRun(nets[0], "linear", info, pd.DataFrame({"epoch": [1], "accuracy": [0.5]}), nets[1].state_dict())
    folder.mkdir(parents=True, exist_ok=True)
    run_folder.save_trained(folder, done, run_folder.card_in_study(plan, run, done))


def result(plan: Plan, run: Run) -> RunResult:
    """A run's result as it is in its file, which must be strict JSON."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    path = plan.run_folder(run) / "result.json"
    json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    return read_document(path, RunResult)


def done(plan: Plan, *runs: Run) -> list[RunResult]:
    """Runs with untrained networks, evaluated in this order."""
    for each in runs:
        trained(plan, each)
    for each in runs:
        run_folder.evaluate_in_folder(plan, each)
    return [result(plan, each) for each in runs]


def classes_given(plan: Plan, path: Path, view: Any) -> np.ndarray:
    """What a net says of a view, asked in one go."""
    net, _ = checkpoint.load_net(path)
    with torch.no_grad():
        return net(torch.from_numpy(view.images()).float() / 255).logits.argmax(dim=1).numpy()


def test_metrics_are_those_of_the_predictions(data: Path) -> None:
    plan = planned(data)
    (made,) = done(plan, PLAIN)
    folder, shown = plan.run_folder(PLAIN), load_views(plan, 0)
    assert made.early is not None
    for which, file, net in (("last", "model.pt", made.last), ("early", "early.pt", made.early)):
        predicted = classes_given(plan, folder / file, shown.test)
        assert net.metrics["accuracy"] == pytest.approx((predicted == shown.test.labels).mean())
        assert list(net.recall) == list(CLASSES)
        assert list(net.recall.values()) == pytest.approx(recall_score(shown.test.labels, predicted, average=None))
        with np.load(folder / f"test-{which}.npz") as saved:
            assert saved["row"].tolist() == shown.test.rows.tolist()
            logits = saved["logits"].astype(float)
        assert net.scaled is not None
        for nll, by in ((net.metrics["nll"], 1.0), (net.scaled.nll, net.scaled.temperature)):
            p = torch.from_numpy(logits / by).softmax(1)
            assert nll == pytest.approx(log_loss(shown.test.labels, p, labels=range(3)))
    assert made.last.groups.keys() == {"few"}, "18 images of each class: no third is larger than another"
    assert made.auxiliary == made.robust == {}
    assert made.corruptions is None
    table = pd.read_csv(folder / "per_class.csv", index_col="class")
    assert table.index.tolist() == list(CLASSES)
    for column, values in {**made.last.by_class, "support": made.last.support}.items():
        expected = [np.nan if v is None else v for v in values.values()]
        assert table[column].tolist() == pytest.approx(expected, nan_ok=True)


def test_the_temperature_is_fitted_on_the_held_out_rows(data: Path) -> None:
    plan = planned(data)
    (made,) = done(plan, PLAIN)
    held_out = load_views(plan, 0).held_out
    net, _ = checkpoint.load_net(plan.run_folder(PLAIN) / "model.pt")
    with torch.no_grad():
        logits = net(torch.from_numpy(held_out.images()).float() / 255).logits.numpy()
    expected = fit_temperature(held_out.labels, logits)
    assert made.last.scaled.temperature == pytest.approx(expected, rel=1e-3)


def test_without_held_out_rows_nothing_is_scaled(data: Path) -> None:
    (made,) = done(planned(data, held_out=0.0), PLAIN)
    assert made.last.scaled is None
    assert made.early is not None
    assert made.early.scaled is None


def test_what_became_of_the_training_rows_is_saved_row_by_row(data: Path) -> None:
    plan = planned(data)
    (made,) = done(plan, PLAIN)
    train = load_views(plan, 0).train
    predicted = classes_given(plan, plan.run_folder(PLAIN) / "model.pt", train)
    with np.load(plan.run_folder(PLAIN) / "fit-last.npz") as fit:
        for column, expected in (("row", train.rows), ("label", train.labels), ("truth", train.truth)):
            np.testing.assert_array_equal(fit[column], expected)
        np.testing.assert_array_equal(fit["predicted"], predicted)
        assert (fit["probability"] >= 1 / 3).all(), "of three classes the likeliest"
        assert (fit["probability"] <= 1).all()
    wrong = train.labels != train.truth
    assert made.fit is not None
    assert made.fit.corrupted == wrong.sum() > 0
    assert made.fit.metrics["memorised"] == pytest.approx((predicted == train.labels)[wrong].mean())
    net, _ = checkpoint.load_net(plan.run_folder(PLAIN) / "model.pt")
    with torch.no_grad():
        logits = net(torch.from_numpy(train.images()).float() / 255).logits.double()
    loss = nn.functional.cross_entropy(logits, torch.from_numpy(train.labels), reduction="none")
    assert made.fit.metrics["loss_auroc"] == pytest.approx(roc_auc_score(wrong, loss), abs=1e-3)


def test_where_nobody_knows_the_truth_nothing_is_said_of_it(data: Path) -> None:
    done(planned(data), PLAIN)
    known(data, None)
    plan = planned(data)  # the same study, of the same words and images
    assert (plan.run_folder(PLAIN) / "fit-last.npz").exists()
    run_folder.evaluate_in_folder(plan, PLAIN)
    made = result(plan, PLAIN)
    assert made.fit is None
    assert made.predictions.keys() == {"test"}
    assert not (plan.run_folder(PLAIN) / "fit-last.npz").exists(), "it tells of a truth that was taken back"


def test_no_net_goes_over_the_same_rows_twice(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, asked = planned(data), []
    real = evaluate.predict_logits

    def noted(net: Any, loader: Any) -> Any:
        weights = sum(float(p.detach().double().abs().sum()) for p in net.parameters())
        asked.append((weights, loader.view.digest))
        return real(net, loader)

    monkeypatch.setattr(evaluate, "predict_logits", noted)
    done(plan, TEACHER, HINTON)
    # Two nets of two cells: the last on training, held-out and test rows, the early one on the last two.
    assert len(asked) == len(set(asked)) == 2 * 5


# Agreement


def test_agreement_is_the_share_of_rows_of_which_both_nets_say_the_same(data: Path) -> None:
    plan = planned(data)
    teacher, student, plain = done(plan, TEACHER, HINTON, PLAIN)
    shown = load_views(plan, 0)
    corrupted = shown.train.take(shown.train.labels != shown.train.truth)
    views = {"test": shown.test, "corrupted": corrupted}
    for cell, agreement in ((HINTON, student.agreement), (PLAIN, agreements(plain, teacher))):
        expected = {}
        for what, view in views.items():
            one, other = (classes_given(plan, plan.run_folder(c) / "model.pt", view) for c in (cell, TEACHER))
            expected[what] = (one == other).mean()
        assert agreement == pytest.approx(expected)
    assert agreements(student, teacher) == student.agreement, "both ways have the same result"
    assert teacher.agreement is None
    assert plain.agreement is None


def test_a_result_does_not_hang_on_whether_the_teacher_was_there(data: Path) -> None:
    plan = planned(data)
    (before,) = done(plan, PLAIN)
    done(plan, TEACHER)
    run_folder.evaluate_in_folder(plan, PLAIN)
    assert result(plan, PLAIN) == before


@pytest.mark.parametrize("scenario", ["noise0.4", "imbalance0.3+noise0.4"])  # of one and of other rows with each seed
def test_a_teacher_that_was_given_is_asked_about_the_rows_of_every_seed(data: Path, scenario: str) -> None:
    first = planned(data)
    trained(first, TEACHER)
    given = first.run_folder(TEACHER) / "model.pt"
    plan = planned(data, teacher=str(given), out="second", scenario=scenario)
    second = replace(HINTON, seed=1)
    for cell in (HINTON, second, PLAIN):
        trained(plan, cell)
    run_folder.evaluate_in_folder(plan, PLAIN)  # before the teacher is measured
    plan.run_folder(TEACHER).mkdir()
    for cell in (TEACHER, HINTON, second):
        run_folder.evaluate_in_folder(plan, cell)
    for cell in (HINTON, second, PLAIN):
        shown = load_views(plan, cell.seed)
        corrupted = shown.train.take(shown.train.labels != shown.train.truth)
        expected = {}
        for what, view in (("test", shown.test), ("corrupted", corrupted)):
            one, other = (classes_given(plan, path, view) for path in (plan.run_folder(cell) / "model.pt", given))
            expected[what] = (one == other).mean()
        made = result(plan, cell)
        assert made.agreement == pytest.approx(expected), cell.name
        assert made.cost.teacher_seconds == (0 if cell == PLAIN else None), "it was trained elsewhere"
    cost = result(plan, TEACHER).cost
    assert (cost.seconds, cost.images, cost.parameters > 0) == (None, None, True)


# Cost


class Small(nn.Module):
    """3 -> 8 channels by 3x3, pooled, to 5 classes; MACs by hand: 8 * 27 a pixel, and 40."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1))
        self.convolution, self.norm, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Linear(8, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.convolution(images)).relu().mean((2, 3)))


def test_macs_of_a_convolution_and_a_linear_layer_by_hand() -> None:
    net = Small().train()
    assert evaluate.count_macs(net, (3, 10, 6)) == 60 * 8 * 27 + 8 * 5  # type: ignore[arg-type]
    assert net.training, "it is left as it was"
    assert net.norm.num_batches_tracked == 0


def test_macs_do_not_hang_on_the_precision() -> None:
    full, half = (evaluate.count_macs(make_network("wrn_10_1", bf16=half), (1, 8, 8)) for half in (False, True))
    assert full == half > 0


def test_the_cost_counts_the_teacher_where_the_method_needs_one(data: Path) -> None:
    plan = planned(data)
    teacher, student, plain = (made.cost for made in done(plan, TEACHER, HINTON, PLAIN))
    assert (teacher.seconds, teacher.teacher_seconds) == (5.0, 0.0)
    assert (student.seconds, student.teacher_seconds) == (2.0, 5.0)
    assert (plain.seconds, plain.teacher_seconds) == (2.0, 0.0)
    assert plain.images == 4 * len(load_views(plan, 0).train), "four epochs"
    net, _ = checkpoint.load_net(plan.run_folder(PLAIN) / "model.pt")
    assert plain.parameters == sum(p.numel() for p in net.parameters())
    assert plain.peak_memory is None, "it was not measured"


# What else is written


def test_a_net_of_which_nothing_is_finite_still_leaves_valid_json(data: Path) -> None:
    plan = planned(data)
    trained(plan, PLAIN, spoil=float("nan"))
    run_folder.evaluate_in_folder(plan, PLAIN)
    made = result(plan, PLAIN)
    assert made.last.metrics["nll"] is None
    assert made.last.scaled == TemperatureScaling(temperature=None, nll=None, ece=None)
    assert made.fit is not None
    assert made.fit.metrics["loss_auroc"] is None
    assert made.last.metrics["accuracy"] == pytest.approx(1 / 3), "it always predicts the first class"


def test_attacks_and_corruptions_are_measured_where_they_are_asked_for(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def robust(net: Any, loader: Loader, spec: str) -> dict[str, Any]:
        asked.append((spec, loader.view.digest))
        return {f"{spec} 8/255": {"accuracy": len(asked) / 10, "balanced_accuracy": 0.5, "recall": {}}}

    monkeypatch.setattr(evaluate.robustness, "evaluate_attacks", robust)
    monkeypatch.setattr(evaluate.corruptions, "evaluate_corruptions", lambda net, loader: {"noise": {"1": 0.5}})
    Path("mine.py").write_text("def attack(net, images, labels): return images")
    plan = planned(data)
    trained(plan, PLAIN)
    with_attack = planned(data, attack="fgsm,mine.py:attack", corruptions=True)

    def figures(of: Plan) -> dict[str, float]:
        run_folder.evaluate_in_folder(of, PLAIN)
        return {name: attacked.accuracy for name, attacked in result(of, PLAIN).robust.items()}

    assert not is_finished(with_attack, PLAIN)
    first = figures(with_attack)
    assert first == {"fgsm 8/255": 0.1, "mine.py:attack 8/255": 0.2}
    assert {view for _, view in asked} == {load_views(plan, 0).test.digest}
    assert result(plan, PLAIN).corruptions == {"noise": {"1": 0.5}}
    assert is_finished(with_attack, PLAIN)
    assert is_finished(plan, PLAIN), "what was measured beyond what is asked for does no harm"
    assert figures(plan) == first, "and is kept"
    assert figures(planned(data, attack="pgd")) == {**first, "pgd 8/255": 0.3}, "nothing is measured twice"
    monkeypatch.setattr(evaluate.corruptions, "CORRUPTIONS_VERSION", 2)
    assert not is_finished(with_attack, PLAIN), "the corruptions are of another version now"
    assert figures(with_attack).items() >= first.items()
    assert is_finished(with_attack, PLAIN)
    Path("mine.py").write_text("def attack(net, images, labels): return 0 * images")
    sys.modules.pop(next(name for name in sys.modules if name.startswith("robustkd_user_")))
    assert not is_finished(with_attack, PLAIN), "the attack is another now"
    assert figures(with_attack)["mine.py:attack 8/255"] == 0.4
    Path("mine.py").unlink()
    sys.modules.pop(next(name for name in sys.modules if name.startswith("robustkd_user_")))
    assert figures(plan)["mine.py:attack 8/255"] == 0.4, "its figures outlive it"


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
    assert "1 runs to do" in capsys.readouterr().out
    infos = {path.parent.name: read_document(path, TrainingInfo) for path in folder.glob("runs/*/trained.json")}
    assert {name for name, info in infos.items() if info.version == "1.2.1"} == {"hinton-seed0"}
    assert {path.parent.name: path.read_bytes() for path in folder.glob("runs/*/model.pt")} == before, "same weights"


def test_a_run_in_memory_is_that_in_a_folder(data: Path) -> None:
    """`run` needs no folder, and trains the same weights with the same result."""
    plan = planned(data)
    for each in (TEACHER, HINTON):
        run_folder.execute(plan, each, lambda progress: None)
    views, epochs = load_views(plan, 0), []
    taught = run(views, TEACHER, plan.settings)
    teacher = Teacher(taught.trained.model, taught.trained.info.seconds)
    made = run(views, HINTON, plan.settings, teacher=teacher, report=epochs.append)
    net, _ = checkpoint.load_net(plan.run_folder(HINTON) / "model.pt")
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in made.trained.model.state_dict().items())
    timed = {"cost", "training"}
    assert made.result.model_dump(exclude=timed) == result(plan, HINTON).model_dump(exclude=timed)
    assert [event.epoch for event in epochs] == [1, 2, 3, 4]


class Memory:
    """Keeps the state of an unfinished run in memory, and stops the run after the second epoch."""

    interval = -1.0

    def __init__(self) -> None:
        self.content = b""

    def load(self) -> dict[str, Any] | None:
        return torch.load(io.BytesIO(self.content), weights_only=True) if self.content else None

    def save(self, state: Any) -> None:
        stream = io.BytesIO()
        torch.save(dict(state), stream)
        self.content = stream.getvalue()


def test_a_run_in_memory_is_resumed_from_its_checkpointer(data: Path) -> None:
    plan = planned(data)
    views, kept = load_views(plan, 0), Memory()

    def stop(event: Any) -> None:
        if event.epoch == 2:
            raise KeyboardInterrupt

    whole = run(views, PLAIN, plan.settings)
    with pytest.raises(KeyboardInterrupt):
        run(views, PLAIN, plan.settings, checkpointer=kept, report=stop)
    epochs: list[int] = []
    rest = run(views, PLAIN, plan.settings, checkpointer=kept, report=lambda event: epochs.append(event.epoch))
    assert epochs == [3, 4]
    weights = rest.trained.model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in whole.trained.model.state_dict().items())
    assert rest.trained.history.drop(columns="seconds").equals(whole.trained.history.drop(columns="seconds"))


def test_a_method_that_needs_a_teacher_says_so(data: Path) -> None:
    plan = planned(data)
    with pytest.raises(TypeError, match="'hinton' needs a teacher: run"):
        run(load_views(plan, 0), HINTON, plan.settings)


@pytest.mark.parametrize("content", ["{}", "{", '{"format": 2}'])
def test_a_damaged_result_is_evaluated_again(data: Path, content: str) -> None:
    plan = planned(data)
    trained(plan, PLAIN)
    first = run_folder.evaluate_in_folder(plan, PLAIN)
    (plan.run_folder(PLAIN) / "result.json").write_text(content)
    assert not is_finished(plan, PLAIN)
    assert run_folder.evaluate_in_folder(plan, PLAIN) == first
    assert is_finished(plan, PLAIN)
