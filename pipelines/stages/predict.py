"""predict: classify the images of a folder with a saved net, a CSV line per image."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pipelines import tracking
from robustkd.data import sources
from robustkd.data.loader import to_float_images
from robustkd.errors import UsageError
from robustkd.training import checkpoint, hardware


def main(model: str, images: str, to: Path | None, device: str, skip_bad_images: bool) -> None:
    """Write file, predicted class, its probability, and the probability of every class."""
    kind, _, place = images.partition(":")
    if kind != "folder" or not place:
        raise UsageError(f"'{images}': images are named by folder:PATH")
    if to is not None and to.exists():
        raise UsageError(f"--to {to}: this file exists already")
    path = (
        tracking.download_network(model) if tracking.is_reference(model) and not Path(model).exists() else Path(model)
    )
    net, card = checkpoint.load_net(path)
    where = torch.device(hardware.resolve_device(device))
    channels, size, width = card["shape"]
    if size != width:
        raise UsageError(f"{model}: this net takes images of {size}x{width}, and folders are read as squares")
    files, pixels = sources.load_images(place, image_size=size, channels=channels, skip_bad_images=skip_bad_images)
    net.to(where)
    with torch.no_grad():
        parts = [
            net(to_float_images(torch.from_numpy(part.transpose(0, 2, 3, 1)).to(where))).logits
            for part in chunks(pixels)
        ]
    probabilities = torch.cat(parts).softmax(dim=1).cpu()
    best = probabilities.max(dim=1)
    table = pd.DataFrame(
        {"file": files, "predicted": [card["classes"][i] for i in best.indices], "probability": best.values}
    )
    table = table.join(pd.DataFrame(probabilities.numpy(), columns=[f"p({name})" for name in card["classes"]]))
    table.to_csv(sys.stdout if to is None else to, index=False, float_format="%.4f")


def chunks(pixels: NDArray[np.uint8], size: int = 512) -> list[NDArray[np.uint8]]:
    """The images in batches."""
    return [pixels[start : start + size] for start in range(0, len(pixels), size)]
