"""export: write a trained network to files that run without robustkd, with a model card, and register it in MLflow."""

import hashlib
import importlib.util
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

from pipelines import tracking
from pipelines.console import console
from pipelines.exporters import (
    BATCH_SIZES,
    FORMATS,
    ONNX_PACKAGES,
    TOLERANCE,
    ExportReport,
    Images,
    dataset_images,
    export_formats,
    random_images,
)
from pipelines.report.model_card import describe_model, render_model_card
from pipelines.tracking import registry
from pipelines.tracking.models import load_serving_model
from robustkd.errors import UsageError, needs_packages, unknown_name
from robustkd.method_spec import spell_method
from robustkd.specs import split_at
from robustkd.study.results import Document, RunResult, StudyRecord, read_document, run_name
from robustkd.training.checkpoint import stored_shape

Model = TypeVar("Model", bound=Document)


class ModelSource(NamedTuple):
    """A saved network, and what is known about it.

    Attributes:
        path: of the model.pt.
        mlflow_name: returns its name in MLflow; called only if it is to be registered.
    """

    path: Path
    mlflow_name: Callable[[], str]
    result: RunResult | None
    study: StudyRecord | None


def main(
    model: str, method: str | None, to: Path | None, formats: str, register: str | None, alias: str | None
) -> None:
    """Export a network to a folder, register it, or both.

    Raises:
        robustkd.errors.UsageError: an argument is invalid; nothing was written.
        robustkd.errors.ExecutionError: the network cannot be exported or registered.
    """
    if register is None and alias is not None:
        raise UsageError(f"--alias {alias}: an alias needs --register NAME")
    if register is None and to is None:
        raise UsageError(
            "export: give a folder to write to with --to DIR, or a name in MLflow's registry with --register NAME"
        )
    format_names = parse_formats(formats)
    if to is not None:
        require_exporters(format_names)
        require_empty_folder(to)
    if register is not None:
        registry.require_valid_names(register, alias)
    source = find_model_source(model, method)
    net, card = load_serving_model(source.path)
    uri = registry.find_logged_model(source.mlflow_name())[0] if register is not None else ""
    if to is not None:
        write_export(source, net, card, format_names, to)
    if register is not None:
        version = registry.register_version(uri, register, alias)
        state = "registered as" if version.is_new else "already registered as"
        moved = f" ({alias} was version {version.previous})" if version.previous else ""
        console.print(f"{state} version {version.version} of {register}{moved}: {version.uri}")


# Arguments


def parse_formats(formats: str) -> list[str]:
    """Return the requested formats, each once.

    >>> parse_formats("torch, onnx")
    ['torch', 'onnx']
    """
    names = list(dict.fromkeys(split_at(formats, ",")))
    for name in names:
        if name not in FORMATS:
            raise UsageError(f"--formats {formats}: {unknown_name('format', name, list(FORMATS))}")
    return names


def require_exporters(formats: Sequence[str]) -> None:
    """Raise a UsageError if ONNX is requested and its packages are missing."""
    missing = [name for name in ONNX_PACKAGES if "onnx" in formats and importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"{needs_packages('ONNX', *missing)}, or use --formats torch, which does not need it")


def require_empty_folder(to: Path) -> None:
    """Raise a UsageError for a path that is not an empty or new folder, or that cannot be written."""
    if to.is_dir() and any(to.iterdir()):
        raise UsageError(f"--to {to}: this folder is not empty")
    if to.exists() and not to.is_dir():
        raise UsageError(f"--to {to}: this is a file, but should be a folder")
    folder = to if to.exists() else to.absolute().parent
    if not folder.is_dir():
        raise UsageError(f"--to {to}: there is no folder {folder}")
    if not os.access(folder, os.W_OK):
        raise UsageError(f"--to {to}: {'it' if to.exists() else 'its folder'} cannot be written to")


def find_model_source(model: str, method: str | None) -> ModelSource:
    """Find the network of a file, a folder, an MLflow run id or a model URI.

    Raises:
        robustkd.errors.UsageError: there is none.
    """
    path = Path(model)
    if method is not None or (path / "study.json").is_file():
        path = student_path(path, method)
    elif (path / "model.pt").is_file():  # a run's folder
        path /= "model.pt"
    elif not path.exists() and tracking.is_reference(model):
        return ModelSource(tracking.download_network(model), lambda: model, *registry.fetch_records(model))
    elif not path.exists():
        raise UsageError(
            f"{model}: there is no such file or folder; give a model.pt, a study's folder with --method, an MLflow run id or "
            "a model URI"
        )
    elif path.is_dir():
        raise UsageError(f"{model}: this folder contains neither a study (study.json) nor a network (model.pt)")
    run = path.absolute().parent
    study = read_if_possible(run.parents[1] / "study.json", StudyRecord) if run.parent.name == "runs" else None
    result = read_if_possible(run / "result.json", RunResult)
    return ModelSource(path, lambda: registry.read_model_uri(path), result, study)


def student_path(folder: Path, method: str | None) -> Path:
    """Return the file of a method's student of a study's first seed, which does not depend on any result.

    Raises:
        robustkd.errors.UsageError: it does not exist.
    """
    if not (folder / "study.json").is_file():
        raise UsageError(f"{folder}: --method needs a study's folder, and this has no study.json")
    record = read_document(folder / "study.json", StudyRecord)
    methods, first = record.methods, record.options.first_seed
    if method is None:
        raise UsageError(f"{folder}: choose one of its students with --method: {', '.join(methods)}")
    names = {run_name("student", text, first) for text in methods}
    name = run_name("student", spell_method(method), first)
    if name not in names:
        raise UsageError(f"{folder}, --method {method}: {unknown_name('method', method, methods)}")
    path = folder / "runs" / name / "model.pt"
    if not path.is_file() or not (path.parent / "result.json").is_file():
        raise UsageError(f"{folder}: {name} is not finished; `robustkd run` with the study's options continues it")
    return path


def read_if_possible(path: Path, model: type[Model]) -> Model | None:
    """Read a document of a study, None if it is missing or damaged."""
    try:
        return read_document(path, model)
    except UsageError:
        return None


# Files


def write_export(
    source: ModelSource, net: torch.nn.Module, card: Mapping[str, Any], formats: Sequence[str], to: Path
) -> None:
    """Write the folder, either all of it or nothing.

    Raises:
        robustkd.errors.ExecutionError: the network cannot be exported, or a file computes other probabilities.
    """
    shape = stored_shape(card)
    images = {"random": random_images(shape)}
    if (real := dataset_images(source.study, shape)) is not None:
        images["real"] = real
    with new_folder(to) as folder:
        report = export_formats(net, card, formats, images, folder)
        content = card_content(source, card, report, images, folder)
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        (folder / "card.json").write_text(text, encoding="utf-8")
        (folder / "README.md").write_text(render_model_card(content), encoding="utf-8")
    counts = " and ".join(f"{len(of_kind)} {kind}" for kind, of_kind in images.items())
    for name, difference in report.differences.items():
        size = content["files"][name]["bytes"] / 1e6
        console.print(
            f"{name}: {size:.1f} MB; differs from the network by at most {difference:.1g}, on {counts} images",
        )
    console.print(f"exported {content['name']} to {to}: README.md explains how to use it")


@contextmanager
def new_folder(to: Path) -> Iterator[Path]:
    """Provide a temporary folder whose files are moved to `to` at the end, unless an exception is raised."""
    folder = (to if to.exists() else to.absolute().parent) / f".{to.absolute().name}.{os.getpid()}.part"
    folder.mkdir()
    try:
        yield folder
        if to.exists():  # it is not replaced, because it may be a working directory or a mount point
            for path in sorted(folder.iterdir()):
                os.replace(path, to / path.name)
        else:
            os.replace(folder, to)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def card_content(
    source: ModelSource, card: Mapping[str, Any], report: ExportReport, images: Mapping[str, Images], folder: Path
) -> dict[str, Any]:
    """Return the content of card.json."""
    return {
        **describe_model(card, source.result, source.study),
        "exported_from": file_record(source.path),
        "made_with": report.versions,
        "files": {path.name: file_record(path) for path in sorted(folder.iterdir())},
        "checked": {
            "images": {kind: len(of_kind) for kind, of_kind in images.items()},
            "batch_sizes": BATCH_SIZES,
            "largest_difference": report.differences,
            "tolerance": TOLERANCE,
        },
    }


def file_record(path: Path) -> dict[str, Any]:
    """Return a file's size and SHA-256."""
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
