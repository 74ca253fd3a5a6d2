"""Nets as MLflow models, and model files by MLflow's names."""

import atexit
import re
import shutil
import tempfile
from contextlib import nullcontext
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pipelines.tracking.store import client, shown
from robustkd.errors import UsageError

if TYPE_CHECKING:
    from mlflow.models import Model

    from robustkd.training.checkpoint import ServingModel


def shipped(path: Path) -> "tuple[ServingModel, dict[str, Any]]":
    """A saved net as others call it, in float32 on the CPU and fit for torch.export, and its card.

    Raises:
        robustkd.errors.UsageError: the file is missing or holds no net.
    """
    import torch

    from robustkd.training import checkpoint

    net, card = checkpoint.load_net(path)
    # Nothing is in half precision here; and torch.export stumbles over an autocast in which nothing is computed.
    net.autocast = lambda x: nullcontext()  # type: ignore[method-assign, assignment, return-value]
    return checkpoint.ServingModel(net).eval().to(memory_format=torch.contiguous_format), card


def save(path: Path, to: Path) -> "Model":
    """Write a saved net as a folder that MLflow loads without unpickling anything; its card is yet to be saved in it.

    (n, H, W, C) uint8 in, (n, K) probabilities out, for any n; model.pt lies in its extra_files.
    """
    import mlflow.pytorch
    import numpy as np
    import torch
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    net, known = shipped(path)
    channels, height, width = known["shape"]
    card = Model()
    mlflow.pytorch.save_model(
        net,
        str(to),
        mlflow_model=card,
        signature=ModelSignature(
            Schema([TensorSpec(np.dtype(np.uint8), (-1, height, width, channels))]),
            Schema([TensorSpec(np.dtype(np.float32), (-1, len(known["classes"])))]),
        ),
        input_example=np.zeros((2, height, width, channels), np.uint8),  # of one image, torch.export would take n = 1
        pip_requirements=["torch==" + torch.__version__.partition("+")[0]],
        extra_files=[str(path)],
        metadata=known,
        serialization_format="pt2",
    )
    # MLflow would put the images on a GPU where there is one, and an exported net cannot follow them.
    card.flavors["python_function"]["config"] = {"device": "cpu"}
    return card


def is_reference(text: str) -> bool:
    """Whether a text names something in MLflow: a run id or a URI.

    >>> is_reference("runs:/0123/model"), is_reference("wrn_16_2")
    (True, False)
    """
    return bool(re.fullmatch(r"[0-9a-f]{32}|(runs|models|mlflow-artifacts):/.+", text))


def resolve(reference: str) -> Path:
    """The model.pt of a run or of an MLflow model, fetched into a folder that goes when this process does.

    Raises:
        robustkd.errors.UsageError: there is none, or MLflow cannot be asked.
    """
    uri = client().tracking_uri
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    folder = tempfile.mkdtemp(prefix="robustkd-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    place = reference.rstrip("/") if ":" in reference else f"runs:/{reference}"
    place, _, name = place.rpartition("/") if place.endswith(".pt") else (place, "", "model.pt")
    try:
        there = get_artifact_repository(place)
        # A server lists at once what it has, but takes its time to deny a file.
        names = {PurePosixPath(file.path).name for file in there.list_artifacts(None)}
        inside = name if name in names else f"extra_files/{name}" if "extra_files" in names else None
        path = Path(there.download_artifacts(inside, folder)) if inside else None  # type: ignore[no-untyped-call]
    except Exception:  # each kind of store has its own way to say no
        path = None
    if path is None or not path.is_file():
        raise UsageError(
            f"{reference}: {shown(uri)} holds no {name} under this name (a study's nets are in its child runs)"
        )
    return path
