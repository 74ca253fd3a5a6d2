"""predict: classify images with a saved network, and evaluate it where labels are given; a CSV with one line per image."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from pipelines import tracking
from pipelines.cli_options import PredictOptions
from pipelines.console import PlainConsole, console, is_printable
from robustkd.csv_cells import write_csv
from robustkd.data.augment import crop_centre
from robustkd.data.labelled_images import LabelledImages, load_labelled_images
from robustkd.data.loader import to_channels_last, to_float_images
from robustkd.data.paths import describe_missing_path
from robustkd.data.value_range import ValueRange
from robustkd.errors import UsageError
from robustkd.models.net import Network
from robustkd.study.evaluate import evaluation_batch
from robustkd.training import checkpoint, hardware

MAX_NAMES = 5  # of classes and unknown labels that are printed


def main(model: str, options: PredictOptions) -> None:
    """Write file, label, predicted class, its probability, and the probability of every class; then print the accuracy.

    The accuracy is printed where labels are given: on standard output, or on standard error if the CSV is written there.

    Raises:
        robustkd.errors.UsageError: there is no such network or data set, or the CSV file exists.
    """
    if options.to is not None and options.to.exists():
        raise UsageError(f"--to {options.to}: this file exists already")
    if options.to is not None and not options.to.parent.is_dir():
        raise UsageError(describe_missing_path("--to", options.to.parent))
    is_file = Path(model).exists() or not tracking.is_reference(model)
    net, card = checkpoint.load_usable_net(Path(model) if is_file else tracking.download_network(model))
    device = torch.device(hardware.resolve_device(options.device))
    trained_range = ValueRange(*card["value_range"]) if "value_range" in card else None
    classes: list[str] = card["classes"]
    data = load_labelled_images(
        options.dataset, checkpoint.stored_shape(card), classes, value_range=trained_range, **options.read_options()
    )
    probabilities = predict_probabilities(net.to(device), data.images, tuple(card["shape"]), device)
    best = probabilities.max(dim=1)
    predicted = [classes[number] for number in best.indices]
    labels = {"label": data.labels} if any(label is not None for label in data.labels) else {}
    table = pd.DataFrame({"file": data.names, **labels, "predicted": predicted, "probability": best.values})
    table = table.join(pd.DataFrame(probabilities.numpy(), columns=[f"p({name})" for name in classes]))
    write_csv(table, sys.stdout if options.to is None else options.to, index=False, digits=4)
    out = PlainConsole(stderr=True) if options.to is None else console
    if options.to is None and not is_printable("".join([*data.names, *classes])):
        out.print("names that the console's encoding lacks were replaced: --to FILE writes all of them, in UTF-8")
    for note in data.notes:
        out.print(f"{options.dataset}: {note}", highlight=False)
    if data.value_range is not None and trained_range is None:
        out.print(
            f"{options.dataset} has images of more than 8 bits, but the network was trained on images of 8 bits:"
            f" {data.value_range.describe()}",
            highlight=False,
        )
    print_evaluation(out, data, predicted, classes)


def _list_names(names: Sequence[str]) -> str:
    return ", ".join(names[:MAX_NAMES]) + (", ..." if len(names) > MAX_NAMES else "")


def print_evaluation(out: Console, data: LabelledImages, predicted: Sequence[str], classes: Sequence[str]) -> None:
    """Print the accuracy on the images whose label is a class of the network: overall, of each part, and of each class."""
    unknown = Counter(label for label in data.labels if label is not None and label not in classes)
    rows = [row for row, label in enumerate(data.labels) if label in classes]
    if unknown:
        names = _list_names(list(unknown))
        out.print(
            f"the labels of {sum(unknown.values()):,} of {len(data.labels):,} images ({names}) are not classes of the network"
            f" ({_list_names(classes)}): these are not evaluated",
            highlight=False,
        )
    if not rows:
        return
    if missing := sum(label is None for label in data.labels):
        out.print(f"images without a label, which are not evaluated: {missing:,}", highlight=False)
    parts = {
        part: [row for row in rows if data.parts is None or data.parts[row] == part]
        for part in ("test", "val", "train")
    }
    parts = {part: members for part, members in parts.items() if members} if data.parts is not None else {"": rows}
    labels = np.array(data.labels, object)
    for part, members in parts.items():
        correct = sum(labels[row] == predicted[row] for row in members)
        name = f"{part}: " if part else ""
        out.print(f"{name}accuracy {100 * correct / len(members):.1f} % of {len(members):,} images", highlight=False)
    part, members = next(iter(parts.items()))
    out.print(accuracy_table(part, [labels[row] for row in members], [predicted[row] for row in members], classes))


def accuracy_table(part: str, labels: Sequence[str], predicted: Sequence[str], classes: Sequence[str]) -> Table:
    """Return a table of the accuracy on the images of each class that has any."""
    table = Table(title=f"accuracy per class{f', {part}' if part else ''}")
    table.add_column("class")
    table.add_column("images", justify="right")
    table.add_column("correct, %", justify="right")
    table.add_column("most often taken for")
    pairs = Counter(zip(labels, predicted, strict=True))
    for name in classes:
        count = sum(pairs[name, other] for other in classes)
        wrong = max((other for other in classes if other != name), key=lambda other: pairs[name, other], default=name)
        confused = f"{wrong} ({pairs[name, wrong]:,})" if wrong != name and pairs[name, wrong] else ""
        if count:
            table.add_row(name, f"{count:,}", f"{100 * pairs[name, name] / count:.1f}", confused)
    return table


@torch.no_grad()
def predict_probabilities(
    net: Network, pixels: NDArray[np.uint8], shape: tuple[int, int, int], device: torch.device
) -> torch.Tensor:
    """Return the class probabilities of images, on the CPU: (n, C, h, w) -> (n, K); the network sees their centre (C, H, W)."""
    logits = []
    size = evaluation_batch(shape)
    for start in range(0, len(pixels), size):
        batch = torch.from_numpy(to_channels_last(pixels[start : start + size])).to(device)
        logits.append(net(to_float_images(crop_centre(batch, shape))).logits)
    return torch.cat(logits).softmax(dim=1).cpu()
