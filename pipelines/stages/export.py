"""export: a trained net as files that need nothing of ours, a card beside them; and as a version in MLflow's registry."""

import hashlib
import importlib.util
import json
import logging
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

import robustkd
from pipelines import tracking
from pipelines.console import console
from pipelines.report.model_card import describe_model, render_model_card
from pipelines.tracking import registry
from pipelines.tracking.models import load_serving_model
from robustkd.data import sources
from robustkd.errors import ExecutionError, UsageError, unknown_name
from robustkd.specs import split_at
from robustkd.study.results import Document, RunResult, StudyRecord, read_document, run_name

FILES = {"onnx": "model.onnx", "torch": "model.pt2"}
EXTRA = ("onnx", "onnxscript", "onnxruntime")  # what the extra `export` installs
TOLERANCE = 1e-4  # of a probability
BATCHES = (1, 2, 5)  # sizes that a file must take; it is traced with 2
Model = TypeVar("Model", bound=Document)
READY = ("digits", "mnist", "fashion-mnist", "kmnist", "svhn", "cifar10", "cifar100", "stl10", "npz")  # read in seconds
Images = NDArray[np.uint8]
Probabilities = NDArray[np.float32]


class Found(NamedTuple):
    """A net, and what is known of it."""

    path: Path
    model: Callable[[], str]  # its name in MLflow; asked only where it is to be registered
    result: RunResult | None
    study: StudyRecord | None


class Trace(NamedTuple):
    """A net written by an exporter."""

    probabilities: Callable[[Images], Probabilities]  # as the file gives them, read back
    made: dict[str, Any]  # by which versions


def main(
    model: str, method: str | None, to: Path | None, formats: str, register: str | None, alias: str | None
) -> None:
    """Export a net to a folder, register it, or both; all that can be refused is refused before anything is written."""
    if register is None and alias is not None:
        raise UsageError(f"--alias {alias}: an alias is given to what --register NAME registers")
    if register is None and to is None:
        raise UsageError("export: --to DIR says where the files go, --register NAME what MLflow's registry calls it")
    kinds = chosen(formats)
    if to is not None:
        installed(kinds)
        vacant(to)
    if register is not None:
        registry.require_valid_names(register, alias)
    found = find(model, method)
    net, card = load_serving_model(found.path)
    uri = registry.find_logged_model(found.model())[0] if register is not None else ""
    if to is not None:
        export(found, net, card, kinds, to)
    if register is not None:
        made = registry.register_version(uri, register, alias)
        told = "registered as" if made.is_new else "registered already as"
        moved = f" ({alias} was version {made.previous})" if made.previous else ""
        console.print(f"{told} version {made.version} of {register}{moved}: {made.uri}", markup=False)


# What is asked for


def chosen(formats: str) -> list[str]:
    """The formats asked for, each once.

    >>> chosen("torch, onnx")
    ['torch', 'onnx']
    """
    kinds = list(dict.fromkeys(split_at(formats, ",")))
    for kind in kinds:
        if kind not in FILES:
            raise UsageError(f"--formats {formats}: {unknown_name('format', kind, list(FILES))}")
    return kinds


def installed(kinds: Sequence[str]) -> None:
    """Refuse ONNX where its packages are missing."""
    missing = [name for name in EXTRA if "onnx" in kinds and importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"ONNX needs {', '.join(missing)}: pip install 'robustkd[export]'; --formats torch does without"
        )


def vacant(to: Path) -> None:
    """Refuse a place where there is something, or that cannot be written."""
    if to.is_dir() and any(to.iterdir()):
        raise UsageError(f"--to {to}: this folder is not empty")
    if to.exists() and not to.is_dir():
        raise UsageError(f"--to {to}: this is a file, and a folder is wanted")
    home = to if to.exists() else to.absolute().parent
    if not home.is_dir():
        raise UsageError(f"--to {to}: there is no folder {home}")
    if not os.access(home, os.W_OK):
        raise UsageError(f"--to {to}: {'it' if to.exists() else 'its folder'} cannot be written to")


def find(model: str, method: str | None) -> Found:
    """The net that a file, a folder, a run id or a URI names.

    Raises:
        robustkd.errors.UsageError: there is none.
    """
    place = Path(model)
    folder = place if method is not None or (place / "study.json").is_file() else None
    if folder is not None:
        place = of_study(folder, method)
    elif (place / "model.pt").is_file():  # a run's folder
        place /= "model.pt"
    elif not place.exists() and tracking.is_reference(model):
        return Found(tracking.download_network(model), lambda: model, *registry.fetch_records(model))
    elif not place.exists():
        raise UsageError(
            f"{model}: there is no such file or folder; a net is named by a model.pt, a study's folder with --method, "
            "an MLflow run id or a model URI"
        )
    elif place.is_dir():
        raise UsageError(f"{model}: this folder holds neither a study (study.json) nor a net (model.pt)")
    run = place.absolute().parent
    study = read_if_possible(run.parents[1] / "study.json", StudyRecord) if run.parent.name == "runs" else None
    return Found(place, lambda: registry.read_model_uri(place), read_if_possible(run / "result.json", RunResult), study)


def of_study(folder: Path, method: str | None) -> Path:
    """The student of a study's first seed; which seed that is hangs on no result."""
    if not (folder / "study.json").is_file():
        raise UsageError(
            f"{folder}: --method chooses among the students of a study's folder, and here is no study.json"
        )
    methods = read_document(folder / "study.json", StudyRecord).methods
    if method is None:
        raise UsageError(f"{folder}: --method says which of its students: {', '.join(methods)}")
    names = {run_name("student", text, 0): text for text in methods}
    name = run_name("student", method, 0)  # spaces within the brackets make no difference
    if name not in names:
        raise UsageError(f"{folder}, --method {method}: {unknown_name('method', method, methods)}")
    path = folder / "runs" / name / "model.pt"
    if not path.is_file() or not (path.parent / "result.json").is_file():
        raise UsageError(f"{folder}: {name} is not finished; `robustkd run` with the study's words goes on with it")
    return path


def read_if_possible(path: Path, model: type[Model]) -> Model | None:
    """Read a document of a study, None where there is none that can be read."""
    try:
        return read_document(path, model)
    except UsageError:
        return None


# What is written


def export(found: Found, net: torch.nn.Module, card: Mapping[str, Any], kinds: Sequence[str], to: Path) -> None:
    """Write the folder: all of it or nothing.

    Raises:
        robustkd.errors.ExecutionError: an exporter cannot write this net, or its file answers differently.
    """
    images = {**drawn(card["shape"]), **real(found.study, card["shape"])}
    part = (to if to.exists() else to.absolute().parent) / f".{to.absolute().name}.{os.getpid()}.part"
    part.mkdir()
    try:
        program = traced(net, card)
        made, checked = versions(), {}
        for kind in kinds:
            trace = {"onnx": onnx, "torch": pt2}[kind](program, part / FILES[kind])
            checked[FILES[kind]] = difference(net, trace.probabilities, images, FILES[kind])
            made |= trace.made
        files = {path.name: file(path) for path in sorted(part.iterdir())}
        about = {**describe_model(card, found.result, found.study), "exported_from": file(found.path)}
        about |= {"made_with": made, "files": files}
        about["checked"] = {
            "images": {kind: len(some) for kind, some in images.items()},
            "batch_sizes": BATCHES,
            "largest_difference": checked,
            "tolerance": TOLERANCE,
        }
        (part / "card.json").write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        (part / "README.md").write_text(render_model_card(about), encoding="utf-8")
        if to.exists():  # as it is, for it may be where somebody stands, or where a disk is mounted
            for path in sorted(part.iterdir()):
                os.replace(path, to / path.name)
        else:
            os.replace(part, to)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    for name, worst in checked.items():
        size = about["files"][name]["bytes"] / 1e6
        console.print(
            f"{name}: {size:.1f} MB; differs from the net by {worst:.1g} at most, on {' and '.join(told(images))} images",
            markup=False,
        )
    console.print(f"exported {about['name']} to {to}: README.md says how to call it", markup=False)


def told(images: Mapping[str, Images]) -> Iterator[str]:
    """How many images of each kind, in words."""
    yield from (f"{len(some)} {kind}" for kind, some in images.items())


def drawn(shape: Sequence[int]) -> dict[str, Images]:
    """Random images, as many as are compared: (n, H, W, C)."""
    channels, height, width = shape
    return {
        "random": np.random.default_rng(0).integers(0, 256, (sum(BATCHES), height, width, channels), dtype=np.uint8)
    }


def real(study: StudyRecord | None, shape: Sequence[int]) -> dict[str, Images]:
    """Return images from all over the study's data set, where it is known and quick to read."""
    if study is None or study.options.dataset.partition(":")[0] not in READY:
        return {}
    try:
        source = sources.load_dataset(study.options.dataset, data_dir=study.options.data_dir)
    except (UsageError, OSError):  # it lies elsewhere now
        return {}
    if tuple(source.shape) != tuple(shape):
        return {}
    rows = np.linspace(0, len(source.images) - 1, sum(BATCHES)).astype(int)
    return {"real": np.ascontiguousarray(np.asarray(source.images)[rows].transpose(0, 2, 3, 1))}


@contextmanager
def quiet() -> Iterator[None]:
    """What exporters say at themselves is not for the user."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def traced(net: torch.nn.Module, card: Mapping[str, Any]) -> torch.export.ExportedProgram:
    """The net as a graph that takes any number of images.

    Raises:
        robustkd.errors.ExecutionError: torch.export cannot follow it.
    """
    channels, height, width = card["shape"]
    example = torch.zeros(
        2, height, width, channels, dtype=torch.uint8
    )  # of one image, the number would be taken for 1
    try:
        with quiet(), torch.no_grad():
            program = torch.export.export(
                net, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},), strict=False
            )
    except Exception as error:  # a foreign net may do anything
        raise ExecutionError(f"torch.export cannot follow the net {card['model']} ({line(error)})") from None
    for part in program.graph_module.modules():  # the places of our files on this machine are nobody's business
        for node in part.graph.nodes if isinstance(part, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)
    return program


def onnx(program: torch.export.ExportedProgram, path: Path) -> Trace:
    """Write the ONNX file, and read it back in onnxruntime."""
    import onnxruntime

    try:
        with quiet():
            written = torch.onnx.export(
                program,
                dynamo=True,
                dynamic_shapes=({0: "batch"},),
                input_names=["images"],
                output_names=["probabilities"],
                verbose=False,
            )
            assert written is not None  # it is where no file was named
            for node in written.model.graph.all_nodes():
                node.metadata_props.clear()
            written.save(path, external_data=False)  # in one file, up to the 2 GB that such a file can hold
    except Exception as error:  # an operation that ONNX does not have
        raise ExecutionError(f"torch.onnx cannot write this net ({line(error)})") from None
    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def probabilities(images: Images) -> Probabilities:
        (answer,) = session.run(["probabilities"], {"images": images})
        return np.asarray(answer)

    made = {"opset": written.model.opset_imports[""], **{name: version(name) for name in EXTRA}}
    return Trace(probabilities, made)


def pt2(program: torch.export.ExportedProgram, path: Path) -> Trace:
    """Write torch's own file, and read it back."""
    with quiet():
        torch.export.save(program, path)
        module = torch.export.load(path).module()

    def probabilities(images: Images) -> Probabilities:
        with torch.no_grad():
            return np.asarray(module(torch.from_numpy(images)))

    return Trace(probabilities, {})


def difference(
    net: torch.nn.Module, other: Callable[[Images], Probabilities], images: Mapping[str, Images], name: str
) -> float:
    """The largest difference of a probability between the net and its file.

    Raises:
        robustkd.errors.ExecutionError: it is too large.
    """
    worst = 0.0
    for some in images.values():
        for batch in np.split(some, np.cumsum(BATCHES)[:-1]):
            with torch.no_grad():
                expected = net(torch.from_numpy(batch)).numpy()
            given = other(batch)
            apart = np.abs(given - expected).max() if given.shape == expected.shape else np.inf
            worst = float(np.maximum(worst, apart))  # which keeps what is no number, as max() does not
            if not worst <= TOLERANCE:
                raise ExecutionError(
                    f"{name} does not answer as the net does: a probability differs by {worst:.1g} in a batch of "
                    f"{len(batch)}, and {TOLERANCE:g} is allowed; nothing was written"
                )
    return worst


def line(error: Exception) -> str:
    """What an exporter says, as far as a line holds it."""
    first = next((text for text in str(error).splitlines() if text.strip()), type(error).__name__)
    return first.strip()[:200]


def versions() -> dict[str, Any]:
    return {"robustkd": robustkd.__version__, "torch": torch.__version__}


def file(path: Path) -> dict[str, Any]:
    """A file's size and SHA-256."""
    with path.open("rb") as opened:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(opened, "sha256").hexdigest()}
