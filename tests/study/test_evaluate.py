"""Evaluation of runs in their folders. The networks are untrained, since nothing here depends on what they learned."""

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

from robustkd.data.loader import Loader
from robustkd.data.view import View
from robustkd.evaluation.calibration import fit_temperature
from robustkd.evaluation.results import TemperatureScaling
from robustkd.method_spec import MethodSpec
from robustkd.study import evaluate, run_folder
from robustkd.study.agreements import agreements
from robustkd.study.plan import Plan, Run
from robustkd.study.run_folder import is_finished, load_views
from robustkd.training import checkpoint
from tests.helpers import make_network, make_settings, make_source
from tests.study.toy_study import (
    CLASSES,
    HINTON,
    PLAIN,
    TEACHER,
    evaluate_untrained,
    predict_classes,
    read_result,
    save_untrained,
    write_study,
    write_true_labels,
)


def test_metrics_are_those_of_the_predictions(data: Path) -> None:
    plan = write_study(data)
    (made,) = evaluate_untrained(plan, PLAIN)
    folder, shown = plan.run_folder(PLAIN), load_views(plan, 0)
    assert made.early is not None
    for which, file, net in (("last", "model.pt", made.last), ("early", "early.pt", made.early)):
        predicted = predict_classes(plan, folder / file, shown.test)
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


def test_where_classes_differ_in_size_the_logits_are_adjusted_after_training(data: Path) -> None:
    plan = write_study(data, scenario="imbalance0.5")
    made = evaluate_untrained(plan, PLAIN, TEACHER)
    shown = load_views(plan, 0)
    counts = shown.train.counts
    assert counts.max() >= 2 * counts.min()
    (balanced,) = evaluate_untrained(plan, Run("student", MethodSpec.parse("hinton+balanced"), 0))
    assert balanced.auxiliary == {}, "its logits are free of the class prior"
    logits, resampled = np.zeros((1, 3), np.float32), replace(plan.settings, sampling="sqrt")
    assert evaluate.adjusted_logits(logits, PLAIN, plan.settings, shown.train)
    assert not evaluate.adjusted_logits(logits, PLAIN, resampled, shown.train)
    assert not evaluate.adjusted_logits(logits, Run("student", MethodSpec.parse("crt"), 0), plan.settings, shown.train)
    for run, result in zip((PLAIN, TEACHER), made, strict=True):
        assert list(result.auxiliary) == ["logit-adjusted"]
        with np.load(plan.run_folder(run) / "test-last.npz") as saved:
            logits = saved["logits"]
        predicted = np.array([row - np.log(counts / counts.sum()) for row in logits.astype(float)]).argmax(axis=1)
        recall = recall_score(shown.test.labels, predicted, average=None)
        assert list(result.auxiliary["logit-adjusted"].recall.values()) == pytest.approx(recall)


def test_the_temperature_is_fitted_on_the_held_out_rows(data: Path) -> None:
    plan = write_study(data)
    (made,) = evaluate_untrained(plan, PLAIN)
    held_out = load_views(plan, 0).held_out
    net, _ = checkpoint.load_net(plan.run_folder(PLAIN) / "model.pt")
    with torch.no_grad():
        logits = net(torch.from_numpy(held_out.images()).float() / 255).logits.numpy()
    expected = fit_temperature(held_out.labels, logits)
    assert made.last.scaled.temperature == pytest.approx(expected, rel=1e-3)


def test_without_held_out_rows_nothing_is_scaled(data: Path) -> None:
    (made,) = evaluate_untrained(write_study(data, held_out=0.0), PLAIN)
    assert made.last.scaled is None
    assert made.early is not None
    assert made.early.scaled is None


def test_what_became_of_the_training_rows_is_saved_row_by_row(data: Path) -> None:
    plan = write_study(data)
    (made,) = evaluate_untrained(plan, PLAIN)
    train = load_views(plan, 0).train
    predicted = predict_classes(plan, plan.run_folder(PLAIN) / "model.pt", train)
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
    evaluate_untrained(write_study(data), PLAIN)
    write_true_labels(data, None)
    plan = write_study(data)  # the same study, of the same words and images
    assert (plan.run_folder(PLAIN) / "fit-last.npz").exists()
    run_folder.evaluate_in_folder(plan, PLAIN)
    made = read_result(plan, PLAIN)
    assert made.fit is None
    assert made.predictions.keys() == {"test"}
    assert not (plan.run_folder(PLAIN) / "fit-last.npz").exists(), "it tells of a truth that was taken back"


def test_no_net_goes_over_the_same_rows_twice(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, asked = write_study(data), []
    real = evaluate.predict_logits

    def noted(net: Any, loader: Any) -> Any:
        weights = sum(float(p.detach().double().abs().sum()) for p in net.parameters())
        asked.append((weights, loader.view.digest))
        return real(net, loader)

    monkeypatch.setattr(evaluate, "predict_logits", noted)
    evaluate_untrained(plan, TEACHER, HINTON)
    # Two nets of two cells: the last on training, held-out and test rows, the early one on the last two.
    assert len(asked) == len(set(asked)) == 2 * 5


# Agreement


def test_agreement_is_the_share_of_rows_of_which_both_nets_say_the_same(data: Path) -> None:
    plan = write_study(data)
    teacher, student, plain = evaluate_untrained(plan, TEACHER, HINTON, PLAIN)
    shown = load_views(plan, 0)
    corrupted = shown.train.take(shown.train.labels != shown.train.truth)
    views = {"test": shown.test, "corrupted": corrupted}
    for cell, agreement in ((HINTON, student.agreement), (PLAIN, agreements(plain, teacher))):
        expected = {}
        for what, view in views.items():
            one, other = (predict_classes(plan, plan.run_folder(c) / "model.pt", view) for c in (cell, TEACHER))
            expected[what] = (one == other).mean()
        assert agreement == pytest.approx(expected)
    assert agreements(student, teacher) == student.agreement, "both ways have the same result"
    assert teacher.agreement is None
    assert plain.agreement is None


def test_a_result_does_not_hang_on_whether_the_teacher_was_there(data: Path) -> None:
    plan = write_study(data)
    (before,) = evaluate_untrained(plan, PLAIN)
    evaluate_untrained(plan, TEACHER)
    run_folder.evaluate_in_folder(plan, PLAIN)
    assert read_result(plan, PLAIN) == before


@pytest.mark.parametrize("scenario", ["noise0.4", "imbalance0.3+noise0.4"])  # of one and of other rows with each seed
def test_a_teacher_that_was_given_is_asked_about_the_rows_of_every_seed(data: Path, scenario: str) -> None:
    first = write_study(data)
    save_untrained(first, TEACHER)
    given = first.run_folder(TEACHER) / "model.pt"
    plan = write_study(data, teacher=str(given), out="second", scenario=scenario)
    second = replace(HINTON, seed=1)
    for cell in (HINTON, second, PLAIN):
        save_untrained(plan, cell)
    run_folder.evaluate_in_folder(plan, PLAIN)  # before the teacher is measured
    plan.run_folder(TEACHER).mkdir()
    for cell in (TEACHER, HINTON, second):
        run_folder.evaluate_in_folder(plan, cell)
    for cell in (HINTON, second, PLAIN):
        shown = load_views(plan, cell.seed)
        corrupted = shown.train.take(shown.train.labels != shown.train.truth)
        expected = {}
        for what, view in (("test", shown.test), ("corrupted", corrupted)):
            one, other = (predict_classes(plan, path, view) for path in (plan.run_folder(cell) / "model.pt", given))
            expected[what] = (one == other).mean()
        made = read_result(plan, cell)
        assert made.agreement == pytest.approx(expected), cell.name
        assert made.cost.teacher_seconds == (0 if cell == PLAIN else None), "it was trained elsewhere"
    cost = read_result(plan, TEACHER).cost
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
    plan = write_study(data)
    teacher, student, plain = (made.cost for made in evaluate_untrained(plan, TEACHER, HINTON, PLAIN))
    assert (teacher.seconds, teacher.teacher_seconds) == (5.0, 0.0)
    assert (student.seconds, student.teacher_seconds) == (2.0, 5.0)
    assert (plain.seconds, plain.teacher_seconds) == (2.0, 0.0)
    assert plain.images == 4 * len(load_views(plan, 0).train), "four epochs"
    net, _ = checkpoint.load_net(plan.run_folder(PLAIN) / "model.pt")
    assert plain.parameters == sum(p.numel() for p in net.parameters())
    assert plain.peak_memory is None, "it was not measured"


# What else is written


def test_a_net_of_which_nothing_is_finite_still_leaves_valid_json(data: Path) -> None:
    plan = write_study(data)
    save_untrained(plan, PLAIN, spoil=float("nan"))
    run_folder.evaluate_in_folder(plan, PLAIN)
    made = read_result(plan, PLAIN)
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
    plan = write_study(data)
    save_untrained(plan, PLAIN)
    with_attack = write_study(data, attack="fgsm,mine.py:attack", corruptions=True)

    def figures(of: Plan) -> dict[str, float]:
        run_folder.evaluate_in_folder(of, PLAIN)
        return {name: attacked.accuracy for name, attacked in read_result(of, PLAIN).robust.items()}

    assert not is_finished(with_attack, PLAIN)
    first = figures(with_attack)
    assert first == {"fgsm 8/255": 0.1, "mine.py:attack 8/255": 0.2}
    assert {view for _, view in asked} == {load_views(plan, 0).test.digest}
    assert read_result(plan, PLAIN).corruptions == {"noise": {"1": 0.5}}
    assert is_finished(with_attack, PLAIN)
    assert is_finished(plan, PLAIN), "what was measured beyond what is asked for does no harm"
    assert figures(plan) == first, "and is kept"
    assert figures(write_study(data, attack="pgd")) == {**first, "pgd 8/255": 0.3}, "nothing is measured twice"
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


def test_logits_are_adjusted_by_the_labels_that_the_method_is_trained_with() -> None:
    # Three classes of 20 images, of which 15 of the last are labelled as the first.
    source = make_source(20)
    labels = np.where((source.labels == 2) & (np.arange(60) < 45), 0, source.labels)
    view = View.of(source).relabel(labels)
    settings, z = make_settings(), np.zeros((1, 3), np.float32)
    priors = {"baseline": [35, 20, 5], "oracle_subset": [20, 20, 5]}
    for method, counts in priors.items():
        run = Run("student", MethodSpec.parse(method), 0)
        adjusted = evaluate.adjusted_logits(z, run, settings, view)[evaluate.LOGIT_ADJUSTED]
        assert adjusted[0].tolist() == pytest.approx((-np.log(np.array(counts) / sum(counts))).tolist())
    oracle = Run("student", MethodSpec.parse("oracle_clean"), 0)
    assert evaluate.adjusted_logits(z, oracle, settings, view) == {}, "the true labels are even"
