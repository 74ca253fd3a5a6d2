"""The card of an exported net: what it takes and answers, where it came from, and how good it is; for machines and people."""

import re
from collections.abc import Mapping
from typing import Any

from robustkd.evaluation.metric_table import METRICS
from robustkd.evaluation.results import NetMetrics
from robustkd.study.conclusions import test_label_caveat
from robustkd.study.results import RunResult, StudyRecord

ONNX = """```python
import json, numpy, onnxruntime
session = onnxruntime.InferenceSession("model.onnx")
images = numpy.zeros({shape}, numpy.uint8)  # yours in their place
probabilities = session.run(["probabilities"], {{"images": images}})[0]
print(json.load(open("card.json", encoding="utf-8"))["classes"][probabilities[0].argmax()])
```"""
TORCH = """```python
import json, torch
net = torch.export.load("model.pt2").module()
images = torch.zeros({shape}, dtype=torch.uint8)  # yours in their place
probabilities = net(images)
print(json.load(open("card.json", encoding="utf-8"))["classes"][probabilities[0].argmax()])
```"""


def describe_model(card: Mapping[str, Any], result: RunResult | None, study: StudyRecord | None) -> dict[str, Any]:
    """Return what is known about a network.

    Args:
        card: the network's own, from its model.pt.
        result: the result.json next to it; one of another run is ignored, and so is its study.
        study: the study.json above it.
    """
    channels, height, width = card["shape"]
    run = {name: card.get(name) for name in ("role", "method", "seed")}
    if result is None or result.run.model_dump(include=set(run)) != run:
        result = study = None
    early = card.get("stopped_at")
    net = None if result is None else result.last if early is None else result.early
    return {
        "name": result.name if result else card["model"],
        "classes": list(card["classes"]),
        "input": {
            "name": "images",
            "dtype": "uint8",
            "shape": ["batch", height, width, channels],
            "range": [0, 255],
            "colours": {1: "grey", 3: "RGB"}.get(channels, f"{channels} channels"),
            "normalisation": "inside the files",
        },
        "output": {"name": "probabilities", "dtype": "float32", "shape": ["batch", len(card["classes"])]},
        "net": card["model"],
        "head": card["head"],
        "parameters": card.get("parameters"),
        "precision": {
            "runs_in": "fp32",
            "measured_in": result.training.precision if result and result.training else None,
        },
        "role": run["role"],
        "method": run["method"] and str(run["method"]).removesuffix(f"+{card.get('criterion')}"),
        "criterion": card.get("criterion"),
        "seed": run["seed"],
        "epoch": "last" if early is None else early,
        "scenario": card.get("scenario"),
        "dataset": {"name": card.get("dataset"), "fingerprint": study.fingerprint if study else None},
        "test_labels": (test_label_caveat(study) or "clean") if study else None,
        "figures": summarise_metrics(net),
        "figures_on_clean_test_rows": summarise_metrics(result.clean) if result and early is None else None,
    }


def summarise_metrics(net: NetMetrics | None) -> dict[str, Any] | None:
    """Return a network's metrics without its matrices, None where there are none."""
    if net is None:
        return None
    per_class = {**net.by_class, "support": net.support, "groups": net.groups}
    return {"rows": net.rows, **net.metrics, **per_class}


def page(about: Mapping[str, Any]) -> str:
    """The card as a person reads it, in Markdown."""
    _, height, width, channels = about["input"]["shape"]
    shape = (1, height, width, channels)
    calls = [
        text.format(shape=shape)
        for file, text in (("model.onnx", ONNX), ("model.pt2", TORCH))
        if file in about["files"]
    ]
    return (
        "\n\n".join([f"# {plain(about['name'])}", taking(about), *calls, *origin(about), *worth(about), files(about)])
        + "\n"
    )


def taking(about: Mapping[str, Any]) -> str:
    """What goes in and what comes out."""
    _, height, width, _ = about["input"]["shape"]
    return (
        f"It takes images as {about['input']['dtype']} from 0 to 255, {about['input']['colours']}, {height} high and {width} "
        f"wide, as many at once as you like: an array (batch, {', '.join(map(str, about['input']['shape'][1:]))}). Do not "
        "scale or normalise them; that is done inside. Pictures of another size are yours to bring to this one: "
        "`robustkd predict` turns them upright, scales the shorter side and keeps the centre. It answers with a probability "
        f"for each of the {len(about['classes'])} classes, in the order below: (batch, {len(about['classes'])})."
    )


def origin(about: Mapping[str, Any]) -> list[str]:
    """Where it came from."""
    known = {
        "net": about["net"] + ("" if about["head"] == "linear" else f", {about['head']} head"),
        "parameters": None if about["parameters"] is None else f"{about['parameters']:,}",
        "role": about["role"],
        "method": about["method"],
        "criterion": about["method"] and about["criterion"],
        "scenario of the training labels": about["scenario"],
        "data set": about["dataset"]["name"],
        "its fingerprint": about["dataset"]["fingerprint"],
        "seed": about["seed"],
        "epoch": "the last" if about["epoch"] == "last" else f"{about['epoch']}, chosen on held-out rows",
    }
    rows = [f"| {name} | {plain(value)} |" for name, value in known.items() if value is not None]
    return ["## Where it came from", "\n".join(["| | |", "|---|---|", *rows])]


def worth(about: Mapping[str, Any]) -> list[str]:
    """How good it is, as far as that was measured, and what that is worth; and the classes in order."""
    figures, clean = about["figures"] or {}, about["figures_on_clean_test_rows"] or {}
    parts = ["## How good it is"]
    if not figures:
        parts.append("No measurement of this net lies beside it.")
    else:
        parts.append(caution(about))
        heads = ["", "all test rows", *([f"{clean['rows']} test rows with a clean label"] if clean else [])]
        rows = [heads, ["---"] * len(heads)]
        for name, metric in METRICS.items():
            if name in figures:
                show = percent if metric.unit == "share" else score
                rows.append([metric.label, *(show(part.get(name)) for part in (figures, clean) if part)])
        parts.append(table(rows))
    recall, support = figures.get("recall", {}), figures.get("support", {})
    rows = [["number", "class", "recall", "test rows"], ["---:", "---", "---:", "---:"]]
    for number, name in enumerate(about["classes"]):
        rows.append([str(number), plain(name), percent(recall.get(name)), str(support.get(name, "-"))])
    return [*parts, "## Classes", table(rows)]


def caution(about: Mapping[str, Any]) -> str:
    """What the figures are of, and what they do not say."""
    epoch = "at the last epoch" if about["epoch"] == "last" else f"after epoch {about['epoch']}"
    labels = {None: "whether the test labels are clean is not known here", "clean": "the test labels count as clean"}
    said = [f"Measured on the test set {epoch}; {labels.get(about['test_labels'], about['test_labels'])}."]
    if about["role"] == "student" and about["seed"] == 0:
        said.append(
            "It is the student of the study's first seed: which seed is shipped is settled before there are figures."
        )
    elif about["role"] == "student":
        said.append(
            f"Its seed, {about['seed']}, was chosen by hand: a net picked for its figures looks better than it is."
        )
    said.append(
        "This is one net of one seed: whether its method is better than another is for the study's comparison to say."
    )
    if about["precision"]["measured_in"] not in (None, "fp32"):
        said.append(
            f"It was trained and measured in {about['precision']['measured_in']} and computes in fp32 here: an answer that was "
            "close may be another."
        )
    return " ".join(said)


def files(about: Mapping[str, Any]) -> str:
    """The files with what proves them."""
    checked, made = about["checked"], about["made_with"]
    images = " and ".join(f"{count} {kind}" for kind, count in checked["images"].items())
    rows = [["file", "bytes", "SHA-256", "largest difference from the net"], ["---", "---:", "---", "---:"]]
    for name, file in about["files"].items():
        worst = checked["largest_difference"].get(name)
        rows.append([name, str(file["bytes"]), f"`{file['sha256']}`", "-" if worst is None else f"{worst:.1g}"])
    versions = ", ".join(f"{name} {value}" for name, value in made.items())
    return "\n\n".join(
        [
            "## Files",
            table(rows),
            f"Probabilities were compared with the net's on {images} images, in batches of "
            f"{', '.join(map(str, checked['batch_sizes']))}; {checked['tolerance']:g} was allowed. Made with {versions}. "
            "card.json says all of this to a machine.",
        ]
    )


def table(rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def percent(value: float | None) -> str:
    """A share, in per cent; what was not measured is a dash.

    >>> percent(0.934), percent(None)
    ('93.4 %', '-')
    """
    return "-" if value is None else f"{100 * value:.1f} %"


def score(value: float | None) -> str:
    """A figure that is no share."""
    return "-" if value is None else f"{value:.3f}"


def plain(value: object) -> str:
    """Text that Markdown leaves as it is, on one line.

    >>> print(plain("a|b <i> 5 %"))
    a\\|b \\<i\\> 5 %
    """
    return re.sub(r"([\\`*_{}\[\]<>|$&#~^])", r"\\\1", " ".join(str(value).split()))
