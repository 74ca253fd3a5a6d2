"""Evaluation of a run's networks on the test set and against known true labels, in memory.

Nothing here affects training. After a change of what is evaluated, raise EVALUATION_VERSION: networks are evaluated again.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from robustkd.data.class_groups import are_uneven, many_medium_few, published_counts, thirds
from robustkd.data.loader import Loader
from robustkd.data.manifest import Splits
from robustkd.data.view import Labels, Source, View
from robustkd.evaluation import attack_specs, calibration, corruptions, net_metrics, robustness
from robustkd.evaluation.logit_adjustment import adjust_logits
from robustkd.evaluation.metric_table import METRICS
from robustkd.evaluation.results import AttackMetrics, FitMetrics, Latency, NetMetrics, TemperatureScaling
from robustkd.hashing import digest
from robustkd.models.net import Network, eval_no_grad
from robustkd.study.agreements import pack_classes
from robustkd.study.construct import training_rows
from robustkd.study.plan import Run, Settings
from robustkd.study.results import TEACHER, Cost, RunResult, TrainingInfo
from robustkd.study.versions import EVALUATION_VERSION
from robustkd.training.inference import predict_logits

BATCH = 512
LARGEST_SIDE = 96  # of images in such a batch; of larger ones, whose feature maps take more memory, there are fewer
LOGIT_ADJUSTED = "logit-adjusted"  # the row of a network whose logits were adjusted after training
ClassGroups = Sequence[NDArray[np.str_]]
Arrays = Mapping[str, NDArray[Any]]


def evaluation_loader(view: View, device: torch.device) -> Loader:
    """Return a view's images in order, without augmentation."""
    return Loader(view, evaluation_batch(view.sources[0].shape), device, augment=False)


def evaluation_batch(shape: tuple[int, int, int]) -> int:
    """Return the number of images (C, H, W) that are evaluated at once.

    >>> evaluation_batch((3, 32, 32)), evaluation_batch((3, 224, 224))
    (512, 94)
    """
    _, height, width = shape
    return max(1, min(BATCH, BATCH * LARGEST_SIDE**2 // (height * width)))


class Teacher:
    """A run's trained teacher.

    Args:
        network: the teacher, or a function that loads it when it is first needed.
        seconds: of its training; None where unknown.
        predictions: its classes by `test` and `corrupted`, as far as they are known; others are computed when needed.
    """

    def __init__(
        self,
        network: Network | Callable[[], Network],
        seconds: float | None = None,
        predictions: Mapping[str, Labels] | None = None,
    ) -> None:
        self._network, self.seconds, self._predictions = network, seconds, dict(predictions or {})

    def network(self) -> Network:
        """Return the network."""
        if not isinstance(self._network, Network):
            self._network = self._network()
        return self._network

    def predictions(self, rows: str, view: View, device: torch.device) -> Labels:
        """Return the classes it predicts for a view: (n,)."""
        if rows not in self._predictions:
            loader = evaluation_loader(view, device)
            logits = predict_logits(self.network(), loader) if len(view) else np.zeros((0, 1), np.float32)
            self._predictions[rows] = logits.argmax(axis=1)
        return self._predictions[rows]


class Evaluation(NamedTuple):
    """A run's result, and the arrays behind it by the names of their files: test-last, test-early and fit-last."""

    result: RunResult
    arrays: dict[str, Arrays]


class _TestMetrics(NamedTuple):
    """A network on the test set: its logits, its metrics on all rows, and on those with a known true label."""

    logits: NDArray[np.float32]
    every: NetMetrics
    clean: NetMetrics | None


def evaluate(
    networks: Mapping[str, Network],
    data: Splits,
    spec: Run,
    settings: Settings,
    *,
    teacher: Teacher | None = None,
    auxiliary: Arrays | None = None,
    training: TrainingInfo | None = None,
    previous: RunResult | None = None,
) -> Evaluation:
    """Evaluate a run's networks, `last` and, with held-out rows, `early`. Each predicts each set of rows once.

    Args:
        teacher: of the run, if its method needs one or the user gave one.
        auxiliary: logits on the test set by name.
        previous: an earlier result of the same networks, whose robustness metrics are reused.
    """
    device, net = torch.device(settings.device), networks["last"]
    test, groups = evaluation_loader(data.test, device), class_groups(data.train)
    nets = {which: _evaluate_on_test(each, data, test, groups) for which, each in networks.items()}
    arrays = {f"test-{which}": prediction_arrays(each.logits, data.test) for which, each in nets.items()}
    predictions, fit = {"test": nets["last"].logits.argmax(axis=1)}, None
    if has_truth(data.train):
        fit, arrays["fit-last"] = evaluate_training_rows(net, evaluation_loader(data.train, device))
        predictions["corrupted"] = arrays["fit-last"]["predicted"][data.train.corrupted]
    result = RunResult(
        run=spec.key,
        name=spec.name,
        evaluation_version=evaluation_version(data.test.sources[0]),
        **_test_fields(nets),
        fit=fit,
        auxiliary=_evaluate_auxiliary(auxiliary or {}, nets["last"].logits, spec, settings, data, groups),
        agreement=teacher_agreement(spec, predictions, teacher, data, device),
        predictions={rows: pack_classes(classes) for rows, classes in predictions.items()},
        cost=measure_cost(net, data.test, spec, settings, training, teacher),
        training=training,
        **evaluate_robustness(net, test, settings, previous),
    )
    return Evaluation(result, arrays)


def _test_fields(nets: Mapping[str, _TestMetrics]) -> dict[str, Any]:
    """Return the fields of a result that are about the test set."""
    last, early = nets["last"], nets.get("early")
    fields = {"last": last.every, "clean": last.clean}
    return {**fields, "early": early.every, "clean_early": early.clean} if early else fields


def _evaluate_auxiliary(
    auxiliary: Arrays, logits: NDArray[np.float32], spec: Run, settings: Settings, data: Splits, groups: ClassGroups
) -> dict[str, NetMetrics]:
    test = data.test
    return {
        name: net_metrics.evaluate_predictions(test.labels, each, test.classes, groups)
        for name, each in {**auxiliary, **adjusted_logits(logits, spec, settings, data.train)}.items()
    }


def adjusted_logits(logits: NDArray[np.float32], spec: Run, settings: Settings, train: View) -> Arrays:
    """Return a network's logits after logit adjustment, by the name of their row.

    Returns:
        Nothing where classes have similar sizes, or where method, criterion or sampling have removed the class prior already.
        The prior is that of the labels that the method is trained with.
    """
    parts = (spec.method.method, spec.method.criterion)
    removed = settings.sampling != "natural" or any(getattr(part.load(), "removes_prior", False) for part in parts)
    counts = training_rows(train, spec).counts
    return {} if removed or not are_uneven(counts) else {LOGIT_ADJUSTED: adjust_logits(logits, counts)}


def _evaluate_on_test(net: Network, data: Splits, test: Loader, groups: ClassGroups) -> _TestMetrics:
    logits, view = predict_logits(net, test), data.test
    every = net_metrics.evaluate_predictions(view.labels, logits, view.classes, groups)
    scaled = scale_temperature(net, data, logits, test.device)
    return _TestMetrics(logits, every.model_copy(update={"scaled": scaled}), evaluate_clean(logits, view, groups))


def prediction_arrays(logits: NDArray[np.float32], test: View) -> Arrays:
    """Return what is saved of a network's predictions on the test set."""
    return {"logits": logits, "labels": test.labels, "row": test.rows}


def evaluation_version(source: Source) -> str:
    """Return a digest of what decides the metrics on unchanged images: known true labels, metrics, and the code's version."""
    truth = () if source.truth is None else (source.truth.astype("<i8"),)
    return digest(*truth, text=f"{EVALUATION_VERSION} {sorted(METRICS)}")


def class_groups(train: View) -> list[NDArray[np.str_]]:
    """Return the groupings of classes by size; thirds only where sizes differ, as ties would be ordered by class number."""
    counts = published_counts(train)
    return [many_medium_few(counts), *([thirds(counts)] if are_uneven(counts) else [])]


def scale_temperature(
    net: Network, data: Splits, logits: NDArray[np.float32], device: torch.device
) -> TemperatureScaling | None:
    """Return the test metrics after temperature scaling, None without held-out rows.

    The temperature is fitted on the held-out rows, whose labels are as noisy as those of the training rows: under label
    noise it makes a network as unsure as noisy labels are, which is less sure than clean test labels require. A network
    stopped early was chosen on the same rows.
    """
    if not len(data.held_out):
        return None
    held_out = predict_logits(net, evaluation_loader(data.held_out, device))
    temperature = calibration.fit_temperature(data.held_out.labels, held_out)
    return calibration.apply_temperature(data.test.labels, logits, temperature)


def evaluate_clean(logits: NDArray[np.float32], test: View, groups: ClassGroups) -> NetMetrics | None:
    """Evaluate the test rows with a known true label by that label; None where the labels given are known to be clean."""
    if not test.may_have_label_noise or test.truth is None or not (known := test.truth >= 0).any():
        return None
    return net_metrics.evaluate_predictions(test.truth[known], logits[known], test.classes, groups)


def has_truth(train: View) -> bool:
    """Whether a true label, or that there is none, is known of any row."""
    return bool(((true_labels(train) >= 0) | train.foreign).any())


def evaluate_training_rows(net: Network, train: Loader) -> tuple[FitMetrics, Arrays]:
    """Evaluate a network on its training rows against their true labels; also return the arrays behind it."""
    view = train.view
    truth = true_labels(view)
    logits = predict_logits(net, train)
    log_p, rows, predicted = calibration.log_probabilities(logits), np.arange(len(view)), logits.argmax(axis=1)
    arrays = {
        "row": view.rows,
        "origin": origins(view),
        "label": view.labels,
        "truth": truth,
        "predicted": predicted,
        "probability": np.exp(log_p[rows, predicted]).astype(np.float32),
    }
    loss = -log_p[rows, view.labels]
    return net_metrics.evaluate_fit(predicted, view.labels, truth, view.foreign, loss), arrays


def true_labels(view: View) -> Labels:
    """Return the true labels, -1 where unknown: (n,)."""
    return np.full(len(view), -1) if view.truth is None else view.truth


def origins(view: View) -> Labels:
    """Return which source each row is from, 0 for the data set itself: (n,)."""
    return np.zeros(len(view), np.int64) if view.origin is None else view.origin


def known_predictions(arrays: Mapping[str, Arrays], data: Splits) -> dict[str, Labels]:
    """Return the classes that an evaluated run predicted, as far as its arrays are of the same rows.

    Returns:
        `test`: of the test rows; `corrupted`: of the training rows with a wrong label, where the truth is known.
    """
    last, fit = arrays.get("test-last"), arrays.get("fit-last")
    classes: dict[str, Labels] = {}
    if last and np.array_equal(last["row"], data.test.rows):
        classes["test"] = last["logits"].argmax(axis=1)
    train = data.train
    if fit and np.array_equal(fit["row"], train.rows) and np.array_equal(fit["origin"], origins(train)):
        classes["corrupted"] = fit["predicted"][train.corrupted]
    return classes


def teacher_agreement(
    spec: Run, predictions: Mapping[str, Labels], teacher: Teacher | None, data: Splits, device: torch.device
) -> dict[str, float | None] | None:
    """Return the share of rows on which the student and its teacher predict the same class; None without a teacher.

    A method without a teacher may run before its seed's teacher has finished; its agreement is computed when the study is
    compared, from the packed predictions.
    """
    if spec.role == TEACHER or teacher is None:
        return None
    views = {"test": data.test, "corrupted": data.train.take(data.train.corrupted)}
    return {
        rows: net_metrics.agreement(classes, teacher.predictions(rows, views[rows], device))
        for rows, classes in predictions.items()
    }


def measure_cost(
    net: Network,
    test: View,
    spec: Run,
    settings: Settings,
    training: TrainingInfo | None,
    teacher: Teacher | None,
) -> Cost:
    """Return what a run costs."""
    recipe = settings.recipe_of(spec)
    epochs = training.updates // recipe.count_updates(-(-training.samples // settings.batch)) if training else 0
    needs_teacher = spec.role != TEACHER and spec.method.needs_teacher
    return Cost(
        parameters=sum(parameter.numel() for parameter in net.parameters()),
        macs=count_macs(net, test.sources[0].shape),
        images=epochs * training.samples if training else None,
        seconds=training.seconds if training else None,
        teacher_seconds=(teacher.seconds if teacher else None) if needs_teacher else 0.0,
        images_per_second=training.images_per_second if training else None,
        peak_memory=training.peak_memory if training else None,
        **settings.latencies.get(spec.role, Latency()).model_dump(),
    )


def count_macs(net: Network, shape: tuple[int, int, int]) -> int:
    """Count the multiply-accumulates of one image (C, H, W): half of the operations that PyTorch counts."""
    with FlopCounterMode(display=False) as counter, eval_no_grad(net):
        net(net.mean.new_zeros(1, *shape))
    return int(counter.get_total_flops()) // 2


def evaluate_robustness(net: Network, test: Loader, settings: Settings, previous: RunResult | None) -> dict[str, Any]:
    """Evaluate a network on attacked and corrupted images.

    What was evaluated before by the same version of the code is kept, whether it is requested again or not.

    Returns:
        The fields `robust`, `corruptions` and `robustness_versions` of a result.
    """
    before = dict(previous.robustness_versions) if previous else {}
    same_corruptions = before.pop("corruptions", None) == str(corruptions.CORRUPTIONS_VERSION)
    robust: dict[str, AttackMetrics] = {}
    versions: dict[str, str] = {}
    for word in dict.fromkeys([*before, *settings.attacks]):
        current = attack_specs.attack_version(word)
        if previous and word in before and current in ("", before[word]):  # a user's file may be gone: its metrics stay
            robust |= {name: of for name, of in previous.robust.items() if of.attack == word}
            versions[word] = before[word]
        elif word in settings.attacks:
            robust |= {
                name: AttackMetrics(attack=word, **of)
                for name, of in robustness.evaluate_attacks(net, test, word).items()
            }
            versions[word] = current
    found: dict[str, Any] = {"robust": robust, "robustness_versions": versions}
    if settings.corruptions or same_corruptions:
        kept = previous.corruptions if previous and same_corruptions else None
        found["corruptions"] = corruptions.evaluate_corruptions(net, test) if kept is None else kept
        versions["corruptions"] = str(corruptions.CORRUPTIONS_VERSION)
    return found
