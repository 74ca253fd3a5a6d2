"""Networks as MLflow models, and download of saved networks from MLflow."""

import atexit
import shutil
import tempfile
from contextlib import nullcontext
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pipelines.tracking.entities import param_values
from pipelines.tracking.redaction import redact_uri
from pipelines.tracking.store import open_client
from robustkd.errors import UsageError
from robustkd.hashing import digest

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models import Model

    from robustkd.study.results import RunKey
    from robustkd.training.checkpoint import ServingModel


def load_serving_model(path: Path) -> "tuple[ServingModel, dict[str, Any]]":
    """Load a saved network for serving, in float32 on the CPU and ready for torch.export; also return its card.

    Raises:
        robustkd.errors.UsageError: the file is missing, or is not a network saved by robustkd.
    """
    import torch

    from robustkd.training import checkpoint

    net, card = checkpoint.load_net(path)
    # Half precision is not used here, and torch.export fails on an autocast in which nothing is computed.
    net.autocast = lambda x: nullcontext()  # type: ignore[method-assign, assignment, return-value]
    return checkpoint.ServingModel(net, card["shape"]).eval().to(memory_format=torch.contiguous_format), card


def save_model(path: Path, to: Path) -> "Model":
    """Write a saved network as a folder that MLflow loads without unpickling; the returned card is not saved in it yet.

    The model maps (n, H, W, C) uint8 to (n, K) probabilities, for any n; model.pt is in its extra_files.
    """
    import mlflow.pytorch
    import numpy as np
    import torch
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    from robustkd.training.checkpoint import stored_shape

    net, network_card = load_serving_model(path)
    channels, height, width = stored_shape(network_card)
    card = Model()
    mlflow.pytorch.save_model(
        net,
        str(to),
        mlflow_model=card,
        signature=ModelSignature(
            Schema([TensorSpec(np.dtype(np.uint8), (-1, height, width, channels))]),
            Schema([TensorSpec(np.dtype(np.float32), (-1, len(network_card["classes"])))]),
        ),
        input_example=np.zeros((2, height, width, channels), np.uint8),  # with one image, torch.export would fix n to 1
        pip_requirements=["torch==" + torch.__version__.partition("+")[0]],
        extra_files=[str(path)],
        metadata=network_card,
        serialization_format="pt2",
    )
    # MLflow would move the images to a GPU if there is one, but an exported network stays on the CPU.
    card.flavors["python_function"]["config"] = {"device": "cpu"}
    return card


def log_model(
    client: "MlflowClient", experiment: str, run_id: str, path: Path, key: "RunKey", is_repeated: bool = False
) -> str:
    """Log a saved network as a run's model; return the model's id.

    Args:
        is_repeated: whether it may have been logged before, in whole or in part, which is then completed.
    """
    from mlflow.entities import LoggedModelOutput

    prefix = f"robustkd-{digest(text=str(path.resolve()))}-"  # what a killed process left is found by it
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        shutil.rmtree(left, ignore_errors=True)
    models = client.search_logged_models([experiment], f"source_run_id = '{run_id}'") if is_repeated else []
    model = next(iter(models), None)
    if model is None or model.status != "READY":
        with tempfile.TemporaryDirectory(prefix=prefix) as folder:
            card = save_model(path, Path(folder, "model"))
            model = model or client.create_logged_model(
                experiment, "model", run_id, params=param_values(key.model_dump())
            )
            card.model_id = card.model_uuid = model.model_id
            card.run_id, card.artifact_path = run_id, model.artifact_location
            card.save(str(Path(folder, "model", "MLmodel")))
            client.log_model_artifacts(model.model_id, str(Path(folder, "model")))
        client.finalize_logged_model(model.model_id, "READY")
    outputs = client.get_run(run_id).outputs if is_repeated else None
    if outputs is None or model.model_id not in {output.model_id for output in outputs.model_outputs}:
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    return str(model.model_id)


def download_network(reference: str) -> Path:
    """Download the model.pt of a run or MLflow model, to a folder that is deleted when the process exits.

    Raises:
        robustkd.errors.UsageError: it does not exist, or MLflow does not answer.
    """
    uri = open_client().tracking_uri
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    folder = tempfile.mkdtemp(prefix="robustkd-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    root = reference.rstrip("/") if ":" in reference else f"runs:/{reference}"
    root, _, name = root.rpartition("/") if root.endswith(".pt") else (root, "", "model.pt")
    try:
        repository = get_artifact_repository(root)
        # Servers list files at once, but respond slowly to a request for a missing file.
        names = {PurePosixPath(file.path).name for file in repository.list_artifacts(None)}
        file_path = name if name in names else f"extra_files/{name}" if "extra_files" in names else None
        path = Path(repository.download_artifacts(file_path, folder)) if file_path else None  # type: ignore[no-untyped-call]
    except Exception:  # each kind of store raises errors of its own
        path = None
    if path is None or not path.is_file():
        raise UsageError(
            f"{reference}: {redact_uri(uri)} has no {name} under this name (a study's networks are in its child runs)"
        )
    return path
