"""How near the perturbed images of bss and amkd end to a trained network's decision boundary.

    robustkd run --scenario clean --methods baseline,hinton --student wrn_10_2 --teacher wrn_16_2 --seeds 1 --tracker files
    python benchmarks/boundary.py digits studies/digits-clean-*/runs/teacher-seed0/model.pt

Perturbs images of the data set that the network classifies as labelled, as bss does, by its default steps and by the authors'
(step=0.3). A row per rule: the median length of the gradient at the images, in units of the network's normalisation; the
median difference of the two highest probabilities where they end, 0 on a boundary; and in per cent, how many end in the class
that they were perturbed towards, in a third one, and near (at most 0.1) the boundary of the two classes, which amkd keeps.
"""

import argparse
from pathlib import Path

import torch

from robustkd.attacks.boundary import find_boundary_samples, margin_gradient
from robustkd.data.sources import load_dataset
from robustkd.training.checkpoint import load_net
from robustkd.types import Batch, Clock

NEAR = 0.1


def measure(dataset: str, model: Path, images: int, step: float | None) -> dict[str, float]:
    """Perturb the first images of a data set that a network classifies as labelled; return the row."""
    net, _ = load_net(model, bf16=False)
    net = net.eval().requires_grad_(False)
    source = load_dataset(dataset)
    x, labels = torch.from_numpy(source.images[:images]).float() / 255, torch.from_numpy(source.labels[:images])
    batch = Batch(x, labels, torch.arange(len(x)), Clock(0, 1))
    z = net(x).logits
    samples = find_boundary_samples(
        lambda images: net(images).logits,
        batch,
        z,
        z,
        torch.Generator().manual_seed(0),
        share=1.0,
        unit=net.std,
        step=step,
        max_margin=NEAR,
    )
    right = z[samples.rows].argmax(dim=1) == samples.base
    gradient = margin_gradient(lambda images: net(images).logits, x[samples.rows], samples.base, samples.target)[2]
    notes = {name: value.item() for name, value in samples.notes.items()}
    return {
        "gradient": (gradient * net.std).flatten(1).norm(dim=1)[right].median().item(),
        "margin": notes["margin"],
        "target": 100 * notes["crossed"],
        "third": 100 * notes["astray"],
        "near": 100 * notes["kept"] / notes["candidates"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("model", type=Path, help="a model.pt")
    parser.add_argument("--images", type=int, default=200)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name, step in (("default", None), ("step=0.3", 0.3)):
        row = measure(arguments.dataset, arguments.model, arguments.images, step)
        print(f"{name:8}", *(f"{key} {value:.4g}" for key, value in row.items()), sep="  ")


if __name__ == "__main__":
    main()
