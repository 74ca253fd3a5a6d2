"""The card of an exported net: what it takes and answers, where it came from, and how good it is; for machines and people."""

import re
from collections.abc import Mapping
from typing import Any

from robustkd.specs import split_at
from robustkd.study import comparison

SHARES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "worst_recall": "worst class",
    "worst_three": "mean of the worst three classes",
    "macro_f1": "macro F1",
}
SCORES = {"nll": "negative log-likelihood", "brier": "Brier score", "ece": "expected calibration error (15 bins)"}
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


def described(card: Mapping[str, Any], result: Mapping[str, Any], study: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of a net.

    Args:
        card: the net's own, from its model.pt.
        result: the result.json that lies beside it, or nothing; one of another cell is left aside, and so is its study.
        study: the study.json above it, or nothing.
    """
    channels, height, width = card["shape"]
    cell = {name: card.get(name) for name in ("role", "method", "seed")}
    if result.get("cell") != cell:
        result = study = {}
    early = card.get("stopped_at")
    figures = result.get("last" if early is None else "early") or {}
    method, *criterion = split_at(cell["method"], "+") if cell["method"] else [None, None]
    return {
        "name": result.get("name") or card["model"],
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
        "precision": {"runs_in": "fp32", "measured_in": result.get("trained", {}).get("precision")},
        "role": cell["role"],
        "method": method,
        "criterion": criterion[0] if criterion else "ce",
        "seed": cell["seed"],
        "epoch": "last" if early is None else early,
        "scenario": card.get("scenario"),
        "dataset": {"name": card.get("dataset"), "fingerprint": study.get("fingerprint")},
        "test_labels": (comparison.caveat(study) or "clean") if study else None,
        "figures": told(figures),
        "figures_on_clean_test_rows": told(result.get("clean", {})) if early is None else None,
    }


def told(figures: Mapping[str, Any]) -> dict[str, Any] | None:
    """A summary without its matrices, or None where there is none."""
    return {key: value for key, value in figures.items() if key not in ("confusion", "reliability", "scaled")} or None


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
        for names, show in ((SHARES, percent), (SCORES, score)):
            rows += [
                [name, *(show(part.get(key)) for part in (figures, clean) if part)]
                for key, name in names.items()
                if key in figures
            ]
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
