"""What a trained cell is worth: its net measured on the test set and against the truth, written as result.json.

Nothing here decides what is trained: a change of this file, or of what is asked of it, measures the nets there are again.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from robustkd.atomic import write_text_atomically
from robustkd.data.class_groups import many_medium_few, published_counts, thirds
from robustkd.data.loader import Loader
from robustkd.data.view import Labels, View
from robustkd.evaluation import attack_specs, corruptions, metrics, robustness
from robustkd.models.net import Network, eval_no_grad
from robustkd.study.plan import Plan, Run, evaluation_version, loaded, source, teacher_of, views
from robustkd.training.inference import predict_logits

Groups = Sequence[NDArray[np.str_]]
PER_CLASS = ("recall", "precision", "f1", "support")  # the columns of per_class.csv


def evaluate(plan: Plan, cell: Run) -> dict[str, Any]:
    """Measure a trained cell and write its result.

    On the test set, at the last epoch and stopped early; and against the truth, as far as it is known: on the test rows where
    labels as given may be wrong, and on the training rows. Each net goes over a set of rows once.

    `scaled` is what one temperature leaves of miscalibration. It is fitted on the held-out rows, whose labels are as noisy as
    those of the training rows: under label noise it makes a net as unsure as noisy labels are, and that is less sure than
    clean test labels ask for. A net stopped early was chosen on the same rows.

    `answers` are the classes that the net gives, packed: whoever has the results of two runs of a seed can tell how far they
    agree (`metrics.agreements`). `agreement` with the teacher stands in the result itself where that teacher is sure to be
    there, because the method needs it or because it was given. A method without a teacher may run before its seed's teacher
    has ended, and a result must not hang on who was first.
    """
    folder, shown, device = plan.run(cell), views(plan, cell.seed), torch.device(plan.device)
    train, held_out, test = (Loader(view, 512, device, augment=False) for view in shown)
    names, labels = test.view.classes, test.view.labels
    counts = published_counts(train.view)
    # Of classes as large as one another, the largest third would be the first by number.
    groups = many_medium_few(counts), *([thirds(counts)] if counts.max() >= 2 * counts.min() else [])
    result: dict[str, Any] = {"cell": {"role": cell.role, "method": cell.method, "seed": cell.seed}, "name": cell.name}
    result["measured"] = evaluation_version(plan.options)
    path = plan.teacher if cell.role == "teacher" and plan.teacher else folder / "model.pt"
    for what, file in (("last", path), ("early", folder / "early.pt")):
        if not file.exists():
            continue
        net = loaded(plan, file)
        logits = predict_logits(net, test)
        np.savez_compressed(folder / f"test-{what}.npz", logits=logits, labels=labels, row=test.view.rows)
        result[what] = metrics.summary(labels, logits, names, groups)
        if len(held_out.view):
            by = metrics.temperature(held_out.view.labels, predict_logits(net, held_out))
            result[what]["scaled"] = metrics.scaled(labels, logits, by)
        result[what] |= clean_figures(logits, test.view, groups)
        if what == "last":
            if "clean" in result["last"]:
                result["clean"] = result["last"].pop("clean")
            result |= fit_figures(folder, net, train)
            mine = said(folder, test.view, train.view)
            result["answers"] = {rows: metrics.packed(predicted) for rows, predicted in mine.items()}
            result |= agreement(plan, cell, mine, test, train)
            result["cost"] = cost(plan, cell, net)
            result |= changed_figures(plan, net, test, document(folder / "result.json"))
    beside = arrays(folder / "beside.npz")
    result["beside"] = {name: metrics.summary(labels, logits, names, groups) for name, logits in beside.items()}
    result["trained"] = document(folder / "trained.json")
    last = result["last"]
    table = pd.DataFrame({column: last[column] for column in PER_CLASS}, index=list(names))
    table.rename_axis("class").to_csv(folder / "per_class.csv")
    pd.DataFrame(last["confusion"], index=list(names), columns=list(names)).to_csv(folder / "confusion.csv")
    write(folder / "result.json", result)
    return result


def clean_figures(logits: NDArray[np.float32], test: View, groups: Groups) -> dict[str, Any]:
    """`clean`: the test set's figures on the rows whose true label is known, by that; only where those shown may be wrong."""
    if not test.may_have_label_noise or test.truth is None or not (known := test.truth >= 0).any():
        return {}
    part = metrics.summary(test.truth[known], logits[known], test.classes, groups)
    return {"clean": {"rows": int(known.sum()), **part}}


def fit_figures(folder: Path, net: Network, train: Loader) -> dict[str, Any]:
    """`fit`: what became of the training rows; and the answers to them, saved as fit-last.npz. Nothing without a truth."""
    view = train.view
    truth = truth_of(view)
    if not ((truth >= 0) | view.foreign).any():
        (folder / "fit-last.npz").unlink(missing_ok=True)  # of a truth that was taken back
        return {}
    logits = predict_logits(net, train)
    logs, rows, predicted = metrics.log_probabilities(logits), np.arange(len(view)), logits.argmax(axis=1)
    probability = np.exp(logs[rows, predicted])
    np.savez_compressed(
        folder / "fit-last.npz",
        row=view.rows,
        origin=origin_of(view),
        label=view.labels,
        truth=truth,
        predicted=predicted,
        probability=probability.astype(np.float32),
    )
    loss = -logs[rows, view.labels]
    return {"fit": metrics.against_truth(predicted, view.labels, truth, view.foreign, loss)}


def truth_of(view: View) -> Labels:
    """The true labels, -1 where unknown: (n,)."""
    return np.full(len(view), -1) if view.truth is None else view.truth


def origin_of(view: View) -> Labels:
    """Which source each row is of, 0 for the data set itself: (n,)."""
    return np.zeros(len(view), np.int64) if view.origin is None else view.origin


def said(folder: Path, test: View, train: View) -> dict[str, Labels]:
    """The classes that a measured run's net gives to these rows, as far as its files hold them.

    `test`: of the test rows; `corrupted`: of the training rows under a wrong label, where the truth is known.
    """
    last, fit = arrays(folder / "test-last.npz"), arrays(folder / "fit-last.npz")
    found: dict[str, Labels] = {}
    if last and np.array_equal(last["row"], test.rows):
        found["test"] = last["logits"].argmax(axis=1)
    if fit and np.array_equal(fit["row"], train.rows) and np.array_equal(fit["origin"], origin_of(train)):
        found["corrupted"] = fit["predicted"][train.corrupted]
    return found


def agreement(plan: Plan, cell: Run, mine: dict[str, Labels], test: Loader, train: Loader) -> dict[str, Any]:
    """`agreement`: the share of rows to which the student and its teacher give one class, where it can be told now.

    A teacher is asked only for what it has not been asked before: one that was given meets other rows with each data seed.
    """
    before = teacher_of(plan, cell)
    if cell.role == "teacher" or (before is None and plan.teacher is None):
        return {}
    theirs = {} if before is None else said(plan.run(before), test.view, train.view)
    if mine.keys() - theirs.keys():
        net = loaded(plan, plan.teacher or plan.run(Run("teacher", "", cell.seed)) / "model.pt")
        views_ = {"test": test.view, "corrupted": train.view.take(train.view.corrupted)}
        for what in mine.keys() - theirs.keys():
            rows = Loader(views_[what], 512, test.device, augment=False)
            theirs[what] = predict_logits(net, rows).argmax(axis=1) if len(rows.view) else np.zeros(0, np.int64)
    return {"agreement": {what: metrics.agreement(mine[what], theirs[what]) for what in mine}}


def cost(plan: Plan, cell: Run, net: Network) -> dict[str, float | int | None]:
    """What a cell took: of the net it ships, and of its training with all that was trained beside it.

    Returns:
        parameters: of the net.
        macs: multiply-accumulates of its convolutions and matrix products for one image.
        images: training images that were shown, each epoch all of them once.
        seconds: of training, without measuring.
        teacher_seconds: of training the teacher, 0 where the method needs none.
        images_per_second, peak_memory (bytes): of training.

    None where it is not known, as of a net that was trained elsewhere.
    """
    trained, before = document(plan.run(cell) / "trained.json"), teacher_of(plan, cell)
    taught = {"seconds": 0.0} if before is None else document(plan.run(before) / "trained.json")
    epochs = trained["updates"] // -(-trained["samples"] // plan.options.batch) if trained else 0
    return {
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "macs": macs(net, source(plan.options).shape),
        "images": epochs * trained["samples"] if trained else None,
        "seconds": trained.get("seconds"),
        "teacher_seconds": taught.get("seconds"),
        "images_per_second": trained.get("images_per_second"),
        "peak_memory": trained.get("peak_memory"),
    }


def macs(net: Network, shape: tuple[int, int, int]) -> int:
    """Multiply-accumulates of one image (C, H, W): half of the operations that PyTorch counts."""
    with FlopCounterMode(display=False) as counter, eval_no_grad(net):
        net(net.mean.new_zeros(1, *shape))
    return int(counter.get_total_flops()) // 2


def changed_figures(plan: Plan, net: Network, test: Loader, before: dict[str, Any]) -> dict[str, Any]:
    """`robust` and `corruptions`: how the net stands up to changed images, as far as it was ever asked for.

    What was measured before by the same code is kept, asked for again or not; `changed` says by which: {word: its version}.

    Args:
        before: the result that this one replaces; empty where there is none.
    """
    versions: dict[str, str] = {}
    robust: dict[str, Any] = {}
    known = {word: mark for word, mark in before.get("changed", {}).items() if word != "corruptions"}
    for word in dict.fromkeys([*known, *plan.options.attack_texts()]):
        now = attack_specs.attack_version(word)
        if word in known and now in ("", known[word]):  # the user's file may be gone, and its figures stand
            found = {name: of for name, of in before["robust"].items() if of.get("word") == word}
        elif word in plan.options.attack_texts():
            found = {name: {**of, "word": word} for name, of in robustness.evaluate_attacks(net, test, word).items()}
            known[word] = now
        else:
            continue
        robust |= found
        versions[word] = known[word]
    figures: dict[str, Any] = {"robust": robust} if robust else {}
    same = before.get("changed", {}).get("corruptions") == corruptions.corruption_version()
    if plan.options.corruptions or same:
        figures["corruptions"] = before["corruptions"] if same else corruptions.evaluate_corruptions(net, test)
        versions["corruptions"] = corruptions.corruption_version()
    return {**figures, "changed": versions} if versions else {}


def arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an npz by name; none where there is no such file."""
    if not path.exists():
        return {}
    with np.load(path) as file:
        return dict(file)


def document(path: Path) -> dict[str, Any]:
    """What a JSON file holds; nothing where there is none."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def write(path: Path, result: dict[str, Any]) -> None:
    """Write a result so that the path holds either the old file or the whole new one."""
    text = json.dumps(valid(result), indent=2, ensure_ascii=False, allow_nan=False)
    write_text_atomically(path, text)


def valid(value: Any) -> Any:
    """The same with None for a number that JSON has no word for.

    >>> valid({"a": [1.0, float("nan")]})
    {'a': [1.0, None]}
    """
    if isinstance(value, dict):
        return {name: valid(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [valid(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
