"""What is written of trained cells; the nets are as they were born, since nothing here hangs on what they learned."""

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
from robustkd.evaluation import metrics
from robustkd.study import evaluate
from robustkd.study import plan as study
from robustkd.study.options import StudyOptions
from robustkd.study.plan import Plan, Run
from robustkd.study.run import model_card
from robustkd.training import checkpoint
from tests.helpers import make_network
from tests.pipelines.toys import line, stripes

CLASSES = ("a, b", "a; b", "<süß>")
TEACHER, HINTON, PLAIN = Run("teacher", "baseline+ce", 0), Run("student", "hinton", 0), Run("student", "baseline", 0)


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
    study._source.cache_clear()


def planned(data: Path, **changes: Any) -> Plan:
    """A study, its manifests written and nothing trained."""
    options = {"scenario": "noise0.4", "methods": "baseline,hinton", "student": "resnet8", "teacher": "wrn_10_1"}
    options |= {"batch": 16, "epochs": 4, "seeds": 2, "jobs": 1, "precision": "fp32"}
    return planning.draft(StudyOptions(dataset=f"npz:{data}", **{**options, **changes})).freeze()


def trained(plan: Plan, cell: Run, spoil: float = 1.0) -> None:
    """What training leaves of a cell, but for having trained: nets that give every class to some."""
    folder, o = plan.run(cell), plan.options
    images = torch.from_numpy(study.source(o).images).float() / 255
    folder.mkdir(parents=True, exist_ok=True)
    for name, number in (("model.pt", 0), ("early.pt", 1)):
        net = study.network(
            plan, o.teacher if cell.role == "teacher" else o.student, cell.seed, "linear", cell.role, number
        )
        with torch.no_grad():
            net.head.bias -= net.eval()(images).logits.mean(dim=0)
        weights = {key: spoil * value for key, value in net.state_dict().items()}
        checkpoint.save_net(folder / name, weights, model_card(plan, cell, net))
    seconds = {"teacher": 5.0, "student": 2.0}[cell.role]
    samples = len(study.views(plan, cell.seed).train)
    card = {"seconds": seconds, "samples": samples, "updates": 4 * -(-samples // 16), "images_per_second": 9.0}
    (folder / "trained.json").write_text(json.dumps(card))


def result(plan: Plan, cell: Run) -> dict[str, Any]:
    """A cell's result as it is in its file, which must be JSON as everyone reads it."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    text = (plan.run(cell) / "result.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return found


def done(plan: Plan, *cells: Run) -> list[dict[str, Any]]:
    """Cells trained, as it were, and measured in this order."""
    for cell in cells:
        trained(plan, cell)
    for cell in cells:
        evaluate.evaluate(plan, cell)
    return [result(plan, cell) for cell in cells]


def classes_given(plan: Plan, path: Path, view: Any) -> np.ndarray:
    """What a net says of a view, asked in one go."""
    net, _ = checkpoint.load_net(path)
    with torch.no_grad():
        return net(torch.from_numpy(view.images()).float() / 255).logits.argmax(dim=1).numpy()


def test_figures_are_those_of_the_nets_answers(data: Path) -> None:
    plan = planned(data)
    (made,) = done(plan, PLAIN)
    folder, shown = plan.run(PLAIN), study.views(plan, 0)
    for what, file in (("last", "model.pt"), ("early", "early.pt")):
        predicted = classes_given(plan, folder / file, shown.test)
        assert made[what]["accuracy"] == pytest.approx((predicted == shown.test.labels).mean())
        recall = recall_score(shown.test.labels, predicted, average=None)
        assert list(made[what]["recall"]) == list(CLASSES)
        assert list(made[what]["recall"].values()) == pytest.approx(recall)
        with np.load(folder / f"test-{what}.npz") as saved:
            assert saved["row"].tolist() == shown.test.rows.tolist()
            logits = saved["logits"].astype(float)
        scaled = made[what]["scaled"]
        for figure, by in ((made[what]["nll"], 1.0), (scaled["nll"], scaled["temperature"])):
            p = torch.from_numpy(logits / by).softmax(1)
            assert figure == pytest.approx(log_loss(shown.test.labels, p, labels=range(3)))
    assert made["last"]["groups"].keys() == {"few"}, "18 images of each class: no third is larger than another"
    assert made["beside"] == {}
    assert "robust" not in made
    table = pd.read_csv(folder / "per_class.csv", index_col="class")
    assert table.index.tolist() == list(CLASSES)
    for column in ("recall", "precision", "f1", "support"):
        expected = [np.nan if v is None else v for v in made["last"][column].values()]
        assert table[column].tolist() == pytest.approx(expected, nan_ok=True)


def test_the_temperature_is_fitted_on_the_held_out_rows(data: Path) -> None:
    plan = planned(data)
    (made,) = done(plan, PLAIN)
    held_out = study.views(plan, 0).held_out
    net, _ = checkpoint.load_net(plan.run(PLAIN) / "model.pt")
    with torch.no_grad():
        logits = net(torch.from_numpy(held_out.images()).float() / 255).logits.numpy()
    expected = metrics.temperature(held_out.labels, logits)
    assert made["last"]["scaled"]["temperature"] == pytest.approx(expected, rel=1e-3)


def test_without_held_out_rows_nothing_is_scaled(data: Path) -> None:
    (made,) = done(planned(data, held_out=0.0), PLAIN)
    assert "scaled" not in made["last"]
    assert "scaled" not in made["early"]


def test_what_became_of_the_training_rows_is_saved_row_by_row(data: Path) -> None:
    plan = planned(data)
    (made,) = done(plan, PLAIN)
    train = study.views(plan, 0).train
    predicted = classes_given(plan, plan.run(PLAIN) / "model.pt", train)
    with np.load(plan.run(PLAIN) / "fit-last.npz") as fit:
        for column, expected in (("row", train.rows), ("label", train.labels), ("truth", train.truth)):
            np.testing.assert_array_equal(fit[column], expected)
        np.testing.assert_array_equal(fit["predicted"], predicted)
        assert (fit["probability"] >= 1 / 3).all(), "of three classes the likeliest"
        assert (fit["probability"] <= 1).all()
    wrong = train.labels != train.truth
    assert made["fit"]["corrupted"] == wrong.sum() > 0
    assert made["fit"]["memorised"] == pytest.approx((predicted == train.labels)[wrong].mean())
    net, _ = checkpoint.load_net(plan.run(PLAIN) / "model.pt")
    with torch.no_grad():
        logits = net(torch.from_numpy(train.images()).float() / 255).logits.double()
    loss = nn.functional.cross_entropy(logits, torch.from_numpy(train.labels), reduction="none")
    assert made["fit"]["loss_auroc"] == pytest.approx(roc_auc_score(wrong, loss), abs=1e-3)


def test_where_nobody_knows_the_truth_nothing_is_said_of_it(data: Path) -> None:
    done(planned(data), PLAIN)
    known(data, None)
    plan = planned(data)  # the same study, of the same words and images
    assert (plan.run(PLAIN) / "fit-last.npz").exists()
    evaluate.evaluate(plan, PLAIN)
    made = result(plan, PLAIN)
    assert "fit" not in made
    assert made["answers"].keys() == {"test"}
    assert not (plan.run(PLAIN) / "fit-last.npz").exists(), "it tells of a truth that was taken back"


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
    shown = study.views(plan, 0)
    corrupted = shown.train.take(shown.train.labels != shown.train.truth)
    views = {"test": shown.test, "corrupted": corrupted}
    for cell, agreement in ((HINTON, student["agreement"]), (PLAIN, metrics.agreements(plain, teacher))):
        expected = {}
        for what, view in views.items():
            one, other = (classes_given(plan, plan.run(c) / "model.pt", view) for c in (cell, TEACHER))
            expected[what] = (one == other).mean()
        assert agreement == pytest.approx(expected)
    assert metrics.agreements(student, teacher) == student["agreement"], "both ways come to the same"
    assert "agreement" not in teacher
    assert "agreement" not in plain


def test_a_result_does_not_hang_on_whether_the_teacher_was_there(data: Path) -> None:
    plan = planned(data)
    (before,) = done(plan, PLAIN)
    done(plan, TEACHER)
    evaluate.evaluate(plan, PLAIN)
    assert result(plan, PLAIN) == before


@pytest.mark.parametrize("scenario", ["noise0.4", "imbalance0.3+noise0.4"])  # of one and of other rows with each seed
def test_a_teacher_that_was_given_is_asked_about_the_rows_of_every_seed(data: Path, scenario: str) -> None:
    first = planned(data)
    trained(first, TEACHER)
    given = first.run(TEACHER) / "model.pt"
    plan = planned(data, teacher=str(given), out="second", scenario=scenario)
    second = replace(HINTON, seed=1)
    for cell in (HINTON, second, PLAIN):
        trained(plan, cell)
    evaluate.evaluate(plan, PLAIN)  # before the teacher is measured
    plan.run(TEACHER).mkdir()
    for cell in (TEACHER, HINTON, second):
        evaluate.evaluate(plan, cell)
    for cell in (HINTON, second, PLAIN):
        shown = study.views(plan, cell.seed)
        corrupted = shown.train.take(shown.train.labels != shown.train.truth)
        expected = {}
        for what, view in (("test", shown.test), ("corrupted", corrupted)):
            one, other = (classes_given(plan, path, view) for path in (plan.run(cell) / "model.pt", given))
            expected[what] = (one == other).mean()
        made = result(plan, cell)
        assert made["agreement"] == pytest.approx(expected), cell.name
        assert made["cost"]["teacher_seconds"] == (0 if cell == PLAIN else None), "nobody knows what it took"
    told = result(plan, TEACHER)["cost"]
    assert (told["seconds"], told["images"], told["parameters"] > 0) == (None, None, True)


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
    assert evaluate.macs(net, (3, 10, 6)) == 60 * 8 * 27 + 8 * 5  # type: ignore[arg-type]
    assert net.training, "it is left as it was"
    assert net.norm.num_batches_tracked == 0


def test_macs_do_not_hang_on_the_precision() -> None:
    full, half = (evaluate.macs(make_network("wrn_10_1", half=half), (1, 8, 8)) for half in (False, True))
    assert full == half > 0


def test_the_cost_counts_the_teacher_where_the_method_needs_one(data: Path) -> None:
    plan = planned(data)
    teacher, student, plain = (made["cost"] for made in done(plan, TEACHER, HINTON, PLAIN))
    assert (teacher["seconds"], teacher["teacher_seconds"]) == (5.0, 0.0)
    assert (student["seconds"], student["teacher_seconds"]) == (2.0, 5.0)
    assert (plain["seconds"], plain["teacher_seconds"]) == (2.0, 0.0)
    assert plain["images"] == 4 * len(study.views(plan, 0).train), "four epochs"
    assert plain["parameters"] == sum(
        p.numel() for p in checkpoint.load_net(plan.run(PLAIN) / "model.pt")[0].parameters()
    )
    assert plain["peak_memory"] is None, "the system did not say"


# What else is written


def test_a_net_of_which_nothing_is_finite_still_leaves_valid_json(data: Path) -> None:
    plan = planned(data)
    trained(plan, PLAIN, spoil=float("nan"))
    evaluate.evaluate(plan, PLAIN)
    made = result(plan, PLAIN)
    assert made["last"]["nll"] is None
    assert made["last"]["scaled"] == {"temperature": None, "nll": None, "ece": None}
    assert made["fit"]["loss_auroc"] is None
    assert made["last"]["accuracy"] == pytest.approx(1 / 3), "it always says the first class"


def test_attacks_and_corruptions_are_measured_where_they_are_asked_for(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def robust(net: Any, loader: Loader, spec: str) -> dict[str, Any]:
        asked.append((spec, loader.view.digest))
        return {f"{spec} 8/255": {"accuracy": len(asked) / 10}}

    monkeypatch.setattr(evaluate.robustness, "evaluate_attacks", robust)
    monkeypatch.setattr(evaluate.corruptions, "evaluate_corruptions", lambda net, loader: {"noise": {"1": 0.5}})
    Path("mine.py").write_text("def attack(net, images, labels): return images")
    plan = planned(data)
    trained(plan, PLAIN)
    with_attack = planned(data, attack="fgsm,mine.py:attack", corruptions=True)

    def figures(of: Plan) -> dict[str, float]:
        evaluate.evaluate(of, PLAIN)
        return {name: figures["accuracy"] for name, figures in result(of, PLAIN)["robust"].items()}

    assert not study.finished(with_attack, PLAIN)
    first = figures(with_attack)
    assert first == {"fgsm 8/255": 0.1, "mine.py:attack 8/255": 0.2}
    assert {view for _, view in asked} == {study.views(plan, 0).test.digest}
    assert result(plan, PLAIN)["corruptions"] == {"noise": {"1": 0.5}}
    assert study.finished(with_attack, PLAIN)
    assert study.finished(plan, PLAIN), "what was measured beyond what is asked for does no harm"
    assert figures(plan) == first, "and is kept"
    assert figures(planned(data, attack="pgd")) == {**first, "pgd 8/255": 0.3}, "nothing is measured twice"
    Path("mine.py").write_text("def attack(net, images, labels): return 0 * images")
    sys.modules.pop(next(name for name in sys.modules if name.startswith("robustkd_user_")))
    assert not study.finished(with_attack, PLAIN), "the attack is another now"
    assert figures(with_attack)["mine.py:attack 8/255"] == 0.4
    Path("mine.py").unlink()
    sys.modules.pop(next(name for name in sys.modules if name.startswith("robustkd_user_")))
    assert figures(plan)["mine.py:attack 8/255"] == 0.4, "its figures outlive it"


def test_a_result_of_older_figures_is_measured_again_and_nothing_is_trained(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = line("run", data)
    cli.main(words)
    (folder,) = (path.parent for path in Path("studies").glob("*/study.json"))
    paths = sorted(folder.glob("runs/*/result.json"))
    before = [json.loads(path.read_text()) for path in paths]
    for path, made in zip(paths, before, strict=True):
        path.write_text(json.dumps({**made, "measured": "by other code", "last": {}}))
    monkeypatch.setattr("robustkd.study.run.train", lambda *_: pytest.fail("it trains"))
    capsys.readouterr()
    cli.main(words)
    assert "3 runs to do" in capsys.readouterr().out
    assert [json.loads(path.read_text()) for path in paths] == before
