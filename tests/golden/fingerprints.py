"""Fingerprints of results: a few numbers that a short training of every method, the label audit and the metrics produce."""

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import scenarios
from robustkd.criteria import CRITERIA
from robustkd.data.manifest import Splits, build_splits
from robustkd.data.splits import split_source
from robustkd.evaluation.net_metrics import evaluate_predictions
from robustkd.label_audit.out_of_fold import TrainingConfig, assign_folds, out_of_fold_probabilities
from robustkd.method_spec import DEFAULT_CRITERION, MethodSpec
from robustkd.methods import METHODS
from robustkd.models.net import Network, eval_no_grad
from robustkd.study.construct import seeded_network
from robustkd.study.evaluate import Teacher
from robustkd.study.plan import Run, Settings
from robustkd.study.run import train
from robustkd.study.versions import EVALUATION_VERSION, RESULTS_VERSION, method_version
from tests.helpers import RECIPE, STUDENT, TEACHER, golden, make_settings, make_source

FILE = Path(__file__).with_name("weights.json")
CRITERION_TEXTS = tuple(f"baseline+{word}" for word in CRITERIA if word != DEFAULT_CRITERION)
METHOD_TEXTS = (*METHODS, *CRITERION_TEXTS)
# Weights of this size amplify rounding errors. Default values are compared too, so that smaller ones can be trained with.
TRAINED_AS = {"at": "at(weight=10)", "sp": "sp(weight=30)"}
SETTINGS = replace(make_settings(), recipe=replace(RECIPE, epochs=2, lr=0.01), batch=12, augment=True)
TEACHER_SCALE = 6.0
SEEDS = 3
IMAGES, DIGITS = 6, 7  # images whose logits are stored, and significant digits of every number
# Relative to 0.1 + |x|. Rounding changes most fingerprints by less than 1e-5. Where it moves an activation across the kink of
# a ReLU, one seed changes by up to a few hundredths and the others do not: one seed must match closely, all must match loosely.
CLOSE, LOOSE = 1e-4, 0.2

Fingerprint = dict[str, list[float]]


@cache
def make_splits() -> Splits:
    """Return toy data with unbalanced classes and wrong labels."""
    source = make_source(45)
    rows = split_source(source, held_out=0.2, seed=0)
    return build_splits(scenarios.parse("imbalance0.4+noise0.2"), source, rows, 0)


@cache
def make_golden_teacher() -> Network:
    """Return a teacher that classifies untrained features by the means of the classes.

    A trained one would differ between machines by more than rounding, and with it the students of all seeds.
    """
    view = make_splits().held_out
    net = seeded_network(view, Run("teacher", MethodSpec.parse("baseline"), 0), SETTINGS)
    with eval_no_grad(net):
        features = net(torch.from_numpy(view.images()).float() / 255).embedding
        labels = torch.from_numpy(view.labels)
        means = torch.stack([features[labels == label].mean(dim=0) for label in range(len(view.classes))])
        centre = means.mean(dim=0)
        weight = TEACHER_SCALE * (means - centre) / (means - centre).square().sum(dim=1).mean()
        net.head.weight.copy_(weight)
        net.head.bias.copy_(-(weight * (means + centre) / 2).sum(dim=1))
    return net


def train_network(run: Run, settings: Settings = SETTINGS) -> Network:
    """Train as a study does; return the network of the last epoch."""
    return train(make_splits(), run, settings, teacher=Teacher(make_golden_teacher)).model


def describe_network(net: Network) -> Fingerprint:
    """Return a network's logits on the first test images, and the norms of its layers' weights."""
    images = torch.from_numpy(make_splits().test.images()[:IMAGES]).float() / 255
    with eval_no_grad(net):
        logits = net(images).logits
    layers = [module for module in net.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    norms = [float(layer.weight.detach().double().norm()) for layer in layers]
    return {"logits": round_numbers(logits.flatten().tolist()), "norms": round_numbers(norms)}


def describe_training(
    text: str, settings: Settings = SETTINGS, seeds: Sequence[int] = range(SEEDS)
) -> list[Fingerprint]:
    """Return the fingerprint of a method's student for each seed."""
    runs = [Run("student", MethodSpec.parse(text), seed) for seed in seeds]
    return [describe_network(train_network(run, settings)) for run in runs]


def describe_audit(seed: int) -> Fingerprint:
    """Return the out-of-fold probabilities of the first training and test rows."""
    view, test = make_splits().train, make_splits().test
    config = TrainingConfig(STUDENT, SETTINGS.recipe, SETTINGS.batch, seed=seed)
    folds = assign_folds(view, 2, seed)
    with tempfile.TemporaryDirectory() as folder:
        own, other = out_of_fold_probabilities(view, folds, test, config, Path(folder), lambda progress: None)
    return {name: round_numbers(rows[:IMAGES].flatten().tolist()) for name, rows in (("own", own), ("test", other))}


def describe_metrics() -> dict[str, Any]:
    """Return all metrics of fixed logits."""
    logits = golden((60, 6), 0.7, 0.3, 3).float().numpy()
    predicted = logits.argmax(axis=1)
    labels = np.where(np.arange(60) % 4 == 0, (predicted + 1) % 6, predicted)
    metrics = evaluate_predictions(labels, logits, ("a", "b", "c", "d", "e", "f")).metrics
    return {name: None if value is None else round_numbers([value]) for name, value in metrics.items()}


def round_numbers(values: list[float]) -> list[float]:
    """Round to significant digits, for a small file."""
    return [float(f"{value:.{DIGITS}g}") for value in values]


TRAININGS: dict[str, Callable[[], list[Fingerprint]]] = {
    f"teacher {TEACHER}": lambda: [
        describe_network(train_network(Run("teacher", MethodSpec.parse("baseline"), seed))) for seed in range(SEEDS)
    ],
    f"student {TEACHER}": lambda: describe_training("baseline", replace(SETTINGS, student=TEACHER)),
    **{text: partial(describe_training, TRAINED_AS.get(text, text)) for text in METHOD_TEXTS},
    "audit": lambda: [describe_audit(seed) for seed in range(SEEDS)],
}


def describe_versions() -> dict[str, Any]:
    """Return the versions that results depend on, and every method's hyperparameters."""
    specs = {text: MethodSpec.parse(text) for text in METHOD_TEXTS}
    return {
        "results": RESULTS_VERSION,
        "evaluation": EVALUATION_VERSION,
        "methods": {text: method_version(spec) for text, spec in specs.items()},
        "hyperparameters": {text: spec.hyperparameters() for text, spec in specs.items()},
    }


def match_fingerprints(stored: Sequence[Fingerprint], trained: Sequence[Fingerprint]) -> bool:
    """Return whether the fingerprints of the same seeds are equal up to rounding errors."""
    distances = [largest_difference(one, other) for one, other in zip(stored, trained, strict=True)]
    return min(distances) < CLOSE and max(distances) < LOOSE


def largest_difference(one: Fingerprint, other: Fingerprint) -> float:
    """Return the largest difference of two numbers, relative to 0.1 + |x|; infinite where their kinds or counts differ."""
    if {name: len(values) for name, values in one.items()} != {name: len(values) for name, values in other.items()}:
        return math.inf
    pairs = [pair for name, values in one.items() for pair in zip(values, other[name], strict=True)]
    return max(abs(a - b) / (0.1 + abs(a)) if math.isfinite(b) else math.inf for a, b in pairs)
