"""predict: classify the images of a folder with a saved network; a CSV with one line per image."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pipelines import tracking
from pipelines.console import is_printable
from robustkd.data import sources
from robustkd.data.loader import to_float_images
from robustkd.data.value_range import ValueRange
from robustkd.errors import UsageError
from robustkd.models.net import Network
from robustkd.training import checkpoint, hardware

BATCH = 512


def main(model: str, images: str, to: Path | None, device: str, skip_bad_images: bool) -> None:
    """Write file, predicted class, its probability, and the probability of every class.

    Raises:
        robustkd.errors.UsageError: there is no such network or folder, or the CSV file exists.
    """
    kind, _, folder = images.partition(":")
    if kind != "folder" or not folder:
        raise UsageError(f"'{images}': images are given as folder:PATH")
    if to is not None and to.exists():
        raise UsageError(f"--to {to}: this file exists already")
    is_file = Path(model).exists() or not tracking.is_reference(model)
    net, card = checkpoint.load_net(Path(model) if is_file else tracking.download_network(model))
    torch_device = torch.device(hardware.resolve_device(device))
    channels, height, width = card["shape"]
    if height != width:
        raise UsageError(f"{model}: this network takes images of {height}x{width}, but images of folders are square")
    trained_range = ValueRange(*card["value_range"]) if "value_range" in card else None
    files, pixels, value_range = sources.load_images(
        folder, image_size=height, channels=channels, skip_bad_images=skip_bad_images, value_range=trained_range
    )
    if value_range is not None and trained_range is None:
        sys.stderr.write(
            f"{images} has images of more than 8 bits, but the network was trained on images of 8 bits:"
            f" {value_range.describe()}\n"
        )
    probabilities = predict_probabilities(net.to(torch_device), pixels, torch_device)
    best = probabilities.max(dim=1)
    table = pd.DataFrame(
        {"file": files, "predicted": [card["classes"][i] for i in best.indices], "probability": best.values}
    )
    table = table.join(pd.DataFrame(probabilities.numpy(), columns=[f"p({name})" for name in card["classes"]]))
    table.to_csv(sys.stdout if to is None else to, index=False, float_format="%.4f")
    if to is None and not is_printable("".join([*files, *card["classes"]])):
        sys.stderr.write(
            "names that the console's encoding lacks were replaced: --to FILE writes all of them, in UTF-8\n"
        )


@torch.no_grad()
def predict_probabilities(net: Network, pixels: NDArray[np.uint8], device: torch.device) -> torch.Tensor:
    """Return the class probabilities of images, on the CPU: (n, C, H, W) -> (n, K)."""
    logits = []
    for start in range(0, len(pixels), BATCH):
        batch = torch.from_numpy(pixels[start : start + BATCH].transpose(0, 2, 3, 1)).to(device)
        logits.append(net(to_float_images(batch)).logits)
    return torch.cat(logits).softmax(dim=1).cpu()
