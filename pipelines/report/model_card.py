"""The card of an exported network for programs and for people: its input and output, its origin and its metrics."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.report.renderers.html import fill_template
from pipelines.report.training_notes import format_machine, list_machines
from robustkd.evaluation.metric_table import METRICS
from robustkd.evaluation.results import LATENCY_BATCH, NetMetrics
from robustkd.models import MODELS
from robustkd.models.weight_sources import carries_weights, checkpoint_files
from robustkd.study.conclusions import test_label_caveat
from robustkd.study.recipe_presets import describe_recipe
from robustkd.study.results import Cost, RunResult, StudyRecord
from robustkd.study.run import AVERAGED
from robustkd.training.checkpoint import stored_shape

MetricSummary = Mapping[str, Any]


def describe_model(card: Mapping[str, Any], result: RunResult | None, study: StudyRecord | None) -> dict[str, Any]:
    """Return what is known about a network.

    Args:
        card: the network's own, from its model.pt.
        result: the result.json next to it; one of another run is ignored, and so is its study.
        study: the study.json above it.
    """
    run = {name: card.get(name) for name in ("role", "method", "seed")}
    if result is None or result.run.model_dump(include=set(run)) != run:
        result = study = None
    early, averaged = card.get("stopped_at"), card.get("averaged", False)
    net = None if result is None else result.last if early is None else result.early
    if result is not None and averaged:
        net = result.auxiliary.get(AVERAGED)
    return {
        "name": result.name if result else card["model"],
        "classes": list(card["classes"]),
        **_describe_interface(card),
        "net": card["model"],
        "head": card["head"],
        "weights": _describe_weights(card, study),
        **_describe_costs(card, result),
        "role": run["role"],
        "method": run["method"] and str(run["method"]).removesuffix(f"+{card.get('criterion')}"),
        "criterion": card.get("criterion"),
        "oracle": card.get("oracle", False),
        "recipe": study.resolved.recipes.get(run["role"]) if study and run["role"] else None,
        "seed": run["seed"],
        "trained_on": [format_machine(machine) for machine in list_machines([result] if result else [])],
        "epoch": "last" if early is None else early,
        "averaged": averaged,
        "scenario": card.get("scenario"),
        "dataset": {"name": card.get("dataset"), "fingerprint": study.fingerprint if study else None},
        "test_labels": (test_label_caveat(study) or "clean") if study else None,
        "figures": summarise_metrics(net),
        "figures_on_clean_test_rows": summarise_metrics(result.clean)
        if result and early is None and not averaged
        else None,
    }


def _describe_interface(card: Mapping[str, Any]) -> dict[str, Any]:
    """Describe the input and the output of the exported files."""
    channels, height, width = stored_shape(card)
    mean, std = (card[name] for name in ("mean", "std"))
    seen = {"crop": list(card["shape"][1:])} if tuple(card["shape"]) != (channels, height, width) else {}
    if "interpolation" in card and card["image_size"] not in (None, card["shape"][1]):
        seen["resized_to"] = [card["image_size"]] * 2
        seen["interpolation"] = card["interpolation"]
    return {
        "input": {
            "name": "images",
            "dtype": "uint8",
            "shape": ["batch", height, width, channels],
            "range": [0, 255],
            **({"scaled_from": card["value_range"]} if "value_range" in card else {}),
            "colours": {1: "grey", 3: "RGB"}.get(channels, f"{channels} channels"),
            "normalisation": {"inside_the_files": True, "mean": list(mean), "std": list(std)},
            **seen,
        },
        "output": {"name": "probabilities", "dtype": "float32", "shape": ["batch", len(card["classes"])]},
    }


def _describe_weights(card: Mapping[str, Any], study: StudyRecord | None) -> str:
    """Return where the first weights of a net were from."""
    spec = MODELS.parse(card["model"])
    files = [file.name for file in checkpoint_files(spec)]
    if study is not None and study.options.init is not None and card.get("role") == "student":
        files = [Path(study.options.init).name]
    if files:
        return f"the file {files[0]}"
    return f"published ones of {spec.name}" if carries_weights(spec) else "random"


def _describe_costs(card: Mapping[str, Any], result: RunResult | None) -> dict[str, Any]:
    """Return the size of a network, its precision, and the milliseconds that it takes in PyTorch, as far as they are known."""
    return {
        "parameters": card.get("parameters"),
        "macs": result.cost.macs if result else None,
        "latency": _describe_latency(result.cost) if result else {},
        "precision": {
            "runs_in": "fp32",
            "measured_in": result.training.precision if result and result.training else None,
        },
    }


def _describe_latency(cost: Cost) -> dict[str, float]:
    """Return the milliseconds that a network takes in PyTorch, as far as they were measured."""
    values = {
        "one image, one CPU thread": cost.cpu_image_ms,
        f"{LATENCY_BATCH} images, one CPU thread": cost.cpu_batch_ms,
        "one image, device of the study": cost.device_image_ms,
        f"{LATENCY_BATCH} images, device of the study": cost.device_batch_ms,
    }
    return {name: value for name, value in values.items() if value is not None}


def summarise_metrics(net: NetMetrics | None) -> dict[str, Any] | None:
    """Return a network's metrics without its matrices, None where there are none."""
    if net is None:
        return None
    per_class = {**net.by_class, "support": net.support, "groups": net.groups}
    return {"rows": net.rows, **net.metrics, **per_class}


def render_model_card(about: Mapping[str, Any]) -> str:
    """Render the card in Markdown.

    Args:
        about: what `describe_model` returns, and the files with their checks.
    """
    metrics, clean = about["figures"] or {}, about["figures_on_clean_test_rows"] or {}
    checked = about["checked"]
    values = {
        "about": about,
        "origin": _origin_rows(about),
        "metric_headings": ["all test rows", *([f"{clean['rows']} test rows with a clean label"] if clean else [])],
        "metric_rows": _metric_rows([part for part in (metrics, clean) if part]),
        "metric_notes": _metric_notes(about),
        "class_rows": _class_rows(about["classes"], metrics),
        "file_rows": _file_rows(about),
        "checked_images": " and ".join(f"{count} {kind}" for kind, count in checked["images"].items()),
        "batch_sizes": ", ".join(map(str, checked["batch_sizes"])),
        "tolerance": f"{checked['tolerance']:g}",
        "versions": ", ".join(f"{name} {version}" for name, version in about["made_with"].items()),
    }
    return fill_template("model_card.md.j2", values)


def _origin_rows(about: Mapping[str, Any]) -> list[tuple[str, object]]:
    """Return where a network came from, as far as that is known."""
    rows = {
        "net": about["net"] + ("" if about["head"] == "linear" else f", {about['head']} head"),
        "first weights": about["weights"],
        "parameters": None if about["parameters"] is None else f"{about['parameters']:,}",
        "multiply-accumulates of an image": None if about["macs"] is None else f"{about['macs']:,}",
        **{f"latency, {name}": f"{value:g} ms" for name, value in about["latency"].items()},
        "role": about["role"],
        "method": about["method"],
        "criterion": about["method"] and about["criterion"],
        "oracle": "uses knowledge that a user would not have, such as true labels" if about["oracle"] else None,
        "scenario of the training labels": about["scenario"],
        "data set": about["dataset"]["name"],
        "its fingerprint": about["dataset"]["fingerprint"],
        "recipe": about["recipe"] and describe_recipe(about["recipe"]),
        "seed": about["seed"],
        "trained on": ", then ".join(about["trained_on"]) or None,
        "epoch": "the last" if about["epoch"] == "last" else f"{about['epoch']}, chosen on held-out rows",
        "weights": "a moving average over the updates" if about["averaged"] else None,
    }
    return [(name, value) for name, value in rows.items() if value is not None]


def _metric_rows(parts: list[MetricSummary]) -> list[list[str]]:
    """Return a row per metric: its label, and its value on each part of the test set."""
    rows = []
    for name, metric in METRICS.items():
        if parts and name in parts[0]:
            format_ = format_percent if metric.unit == "share" else format_number
            rows.append([metric.label, *(format_(part.get(name)) for part in parts)])
    return rows


def _metric_notes(about: Mapping[str, Any]) -> str:
    """Describe what was measured, and what the metrics do not say."""
    epoch = "at the last epoch" if about["epoch"] == "last" else f"after epoch {about['epoch']}"
    caveats = {None: "it is not known whether the test labels are clean", "clean": "the test labels count as clean"}
    notes = [f"Measured on the test set {epoch}; {caveats.get(about['test_labels'], about['test_labels'])}."]
    if about["role"] == "student" and about["seed"] == 0:
        notes.append("It is the student of the study's first seed, which was chosen before any results were known.")
    elif about["role"] == "student":
        notes.append(
            f"Its seed, {about['seed']}, was chosen by hand: a net selected for its results looks better than it is."
        )
    notes.append(
        "This is one net of one seed: whether its method is better than another is up to the study's comparison."
    )
    precision = about["precision"]["measured_in"]
    if precision not in (None, "fp32"):
        notes.append(
            f"It was trained and measured in {precision} and computes in fp32 here: close predictions may differ."
        )
    return " ".join(notes)


def _class_rows(classes: list[str], metrics: MetricSummary) -> list[list[str]]:
    """Return a row per class: name, recall and test rows."""
    recall, support = metrics.get("recall", {}), metrics.get("support", {})
    return [[name, format_percent(recall.get(name)), str(support.get(name, "-"))] for name in classes]


def _file_rows(about: Mapping[str, Any]) -> list[list[str]]:
    """Return a row per file: name, bytes, digest and the largest difference from the network."""
    largest = about["checked"]["largest_difference"]
    return [
        [name, str(file["bytes"]), file["sha256"], f"{largest[name]:.1g}" if largest.get(name) is not None else "-"]
        for name, file in about["files"].items()
    ]


def format_percent(value: float | None) -> str:
    """Format a share, a hyphen where it was not measured.

    >>> format_percent(0.934), format_percent(None)
    ('93.4 %', '-')
    """
    return "-" if value is None else f"{100 * value:.1f} %"


def format_number(value: float | None) -> str:
    """Format a number that is no share."""
    return "-" if value is None else f"{value:.3f}"
