"""Write a slice of CIFAR-10 with the labels of human annotators, CIFAR-10N, as a data set of one file.

    python benchmarks/cifar10n.py --labels CIFAR-10_human.pt --out cifar10n.npz
    robustkd run --dataset npz:cifar10n.npz --scenario clean ...

The images are those of --data-dir, or of --images: an npz with images (N, 32, 32, 3) uint8, labels (N,), class_names and train,
the number of training rows, in CIFAR-10's order. The labels given are those of a column of the file of Wei et al. (ICLR 2022,
arXiv 2110.12088), the published ones are recorded as the clean labels. The file's licence is CC BY-NC 4.0.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robustkd.data.sources import load_dataset
from scenarios.human import read_columns


def load_images(arguments: argparse.Namespace) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.str_], int]:
    """Return images, published labels, class names and the number of training rows."""
    if arguments.images is None:
        source = load_dataset("cifar10", data_dir=arguments.data_dir)
        images = np.ascontiguousarray(source.images.transpose(0, 2, 3, 1))
        return images, source.labels, np.array(source.classes), 50_000
    with np.load(arguments.images) as file:
        return file["images"], file["labels"], file["class_names"], int(file["train"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=Path, required=True, help="CIFAR-10_human.pt")
    parser.add_argument("--column", default="worse_label")
    parser.add_argument("--train", type=int, default=10_000, help="number of training rows, the first ones")
    parser.add_argument("--images", type=Path)
    parser.add_argument("--data-dir")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    human = read_columns(arguments.labels)
    images, labels, names, boundary = load_images(arguments)
    train = slice(0, min(arguments.train, boundary))
    given = human[arguments.column][train]
    if not np.array_equal(human["clean_label"][train], labels[train]):
        raise SystemExit("the images are not in CIFAR-10's order")
    np.savez(
        arguments.out,
        **{"X": images[train], "y": given, "clean": labels[train]},
        **{"X_test": images[boundary:], "y_test": labels[boundary:], "clean_test": labels[boundary:]},
        **{"classes": names, "flips": np.array(True)},
    )
    print(
        f"{arguments.out}: {len(given)} training rows, {100 * (given != labels[train]).mean():.1f} % of the labels wrong"
    )


if __name__ == "__main__":
    main()
