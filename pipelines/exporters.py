"""Export of a network to ONNX and to torch's own format, with a comparison of its probabilities on both sides."""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

import robustkd
from robustkd.data import sources
from robustkd.errors import ExecutionError, UsageError
from robustkd.study.results import StudyRecord
from robustkd.training.checkpoint import stored_shape

FORMATS = {"onnx": "model.onnx", "torch": "model.pt2"}
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")  # installed by the extra `export`
TOLERANCE = 1e-4  # largest difference of a probability
BATCH_SIZES = (1, 2, 5)  # that a file must accept; it is traced with 2
# Data sets that are read in seconds.
QUICK_SOURCES = ("digits", "mnist", "fashion-mnist", "kmnist", "svhn", "cifar10", "cifar100", "stl10", "npz")

Images = NDArray[np.uint8]  # (n, H, W, C)
Probabilities = NDArray[np.float32]  # (n, K)


class ExportedModel(NamedTuple):
    """An exported file, loaded again.

    Attributes:
        predict: returns the probabilities that the file computes.
        versions: of the exporter's packages.
    """

    predict: Callable[[Images], Probabilities]
    versions: dict[str, Any]


@dataclass
class ExportReport:
    """The versions with which files were exported, and their largest difference from the network, by file name."""

    versions: dict[str, Any] = field(
        default_factory=lambda: {"robustkd": robustkd.__version__, "torch": torch.__version__}
    )
    differences: dict[str, float] = field(default_factory=dict)


def export_formats(
    net: torch.nn.Module, card: Mapping[str, Any], formats: Sequence[str], images: Mapping[str, Images], folder: Path
) -> ExportReport:
    """Export a network to files in a folder, and compare each with the network.

    Raises:
        robustkd.errors.ExecutionError: the network cannot be exported, or a file computes other probabilities.
    """
    program, report = trace_network(net, card), ExportReport()
    for name in formats:
        file = FORMATS[name]
        exported = export_onnx(program, folder / file) if name == "onnx" else export_torch(program, folder / file)
        report.differences[file] = compare_probabilities(net, exported.predict, images, file)
        report.versions |= exported.versions
    return report


def random_images(shape: Sequence[int]) -> Images:
    """Return random images of a shape (C, H, W), as many as are compared."""
    channels, height, width = shape
    size = (sum(BATCH_SIZES), height, width, channels)
    return np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)


def dataset_images(study: StudyRecord | None, shape: Sequence[int]) -> Images | None:
    """Return evenly spaced images of the study's data set, None where it is unknown or slow to read."""
    if study is None or study.options.dataset.partition(":")[0] not in QUICK_SOURCES:
        return None
    try:
        source = sources.load_dataset(study.options.dataset, **study.options.read_options())
    except (UsageError, OSError):  # its files were moved
        return None
    if source.stored_shape != tuple(shape):
        return None
    rows = np.linspace(0, len(source.images) - 1, sum(BATCH_SIZES)).astype(int)
    return np.ascontiguousarray(np.asarray(source.images)[rows].transpose(0, 2, 3, 1))


@contextmanager
def silence_exporters() -> Iterator[None]:
    """Suppress warnings and log messages of the exporters."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def trace_network(net: torch.nn.Module, card: Mapping[str, Any]) -> torch.export.ExportedProgram:
    """Trace a network for batches of any size.

    Raises:
        robustkd.errors.ExecutionError: torch.export cannot trace it.
    """
    channels, height, width = stored_shape(card)
    # With a single image, torch.export would fix the batch size to 1.
    example = torch.zeros(2, height, width, channels, dtype=torch.uint8)
    dynamic_shapes = ({0: torch.export.Dim("batch")},)
    try:
        with silence_exporters(), torch.no_grad():
            program = torch.export.export(net, (example,), dynamic_shapes=dynamic_shapes, strict=False)
    except Exception as error:  # a user's network may raise anything
        raise ExecutionError(f"torch.export cannot trace the network {card['model']} ({first_line(error)})") from None
    for module in program.graph_module.modules():  # stack traces would reveal paths of this machine
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)
    return program


def export_onnx(program: torch.export.ExportedProgram, path: Path) -> ExportedModel:
    """Write an ONNX file and load it in ONNX Runtime.

    Raises:
        robustkd.errors.ExecutionError: ONNX lacks an operation of the network.
    """
    import onnxruntime

    try:
        with silence_exporters():
            onnx_program = torch.onnx.export(
                program,
                dynamo=True,
                dynamic_shapes=({0: "batch"},),
                input_names=["images"],
                output_names=["probabilities"],
                verbose=False,
            )
            assert onnx_program is not None  # it is only None when torch writes the file
            for node in onnx_program.model.graph.all_nodes():
                node.metadata_props.clear()
            onnx_program.save(path, external_data=False)  # in one file, which is limited to 2 GB
    except Exception as error:  # an operation that ONNX lacks
        raise ExecutionError(f"torch.onnx cannot export this network ({first_line(error)})") from None
    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def predict(images: Images) -> Probabilities:
        (probabilities,) = session.run(["probabilities"], {"images": images})
        return np.asarray(probabilities)

    versions = {"opset": onnx_program.model.opset_imports[""], **{name: version(name) for name in ONNX_PACKAGES}}
    return ExportedModel(predict, versions)


def export_torch(program: torch.export.ExportedProgram, path: Path) -> ExportedModel:
    """Write a file of torch.export and load it."""
    with silence_exporters():
        torch.export.save(program, path)
        module = torch.export.load(path).module()

    def predict(images: Images) -> Probabilities:
        with torch.no_grad():
            return np.asarray(module(torch.from_numpy(images)))

    return ExportedModel(predict, {})


def compare_probabilities(
    net: torch.nn.Module, predict: Callable[[Images], Probabilities], images: Mapping[str, Images], name: str
) -> float:
    """Return the largest difference between the probabilities of a network and of an exported file.

    Args:
        images: by kind, as many as the batch sizes add up to.
        name: of the file, for the error message.

    Raises:
        robustkd.errors.ExecutionError: it exceeds the tolerance.
    """
    largest = 0.0
    for of_kind in images.values():
        for batch in np.split(of_kind, np.cumsum(BATCH_SIZES)[:-1]):
            with torch.no_grad():
                expected = net(torch.from_numpy(batch)).numpy()
            actual = predict(batch)
            difference = np.abs(actual - expected).max() if actual.shape == expected.shape else np.inf
            largest = float(np.maximum(largest, difference))  # unlike max(), this keeps NaN
            if not largest <= TOLERANCE:
                raise ExecutionError(
                    f"{name} differs from the network: a probability differs by {largest:.1g} in a batch of "
                    f"{len(batch)}, and {TOLERANCE:g} is allowed; nothing was written"
                )
    return largest


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, at most 200 characters."""
    line = next((text for text in str(error).splitlines() if text.strip()), type(error).__name__)
    return line.strip()[:200]
