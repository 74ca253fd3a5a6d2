"""A folder of images with wrong labels, from a first look to a network to ship.

    python noisy_folder.py

Replace `write_photos` by your own folder: photos/train/CLASS/*.png and, checked by hand, photos/test/CLASS/*.png. Here images
of handwritten digits take its place, and a fifth of those for training lie in the folder of another class. For photographs,
leave out `image_size`, and use networks with pretrained weights (docs/photographs.md).
"""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.datasets import load_digits

from pipelines.cli import main as robustkd  # the command line
from robustkd import audit, check_data, compare, run_study

PHOTOS = "folder:photos"


def write_photos(folder: Path) -> None:
    """Write digits as PNG files, those for training with wrong labels."""
    digits, random = load_digits(), np.random.default_rng(0)
    for row in range(1200):
        part, label = ("train", digits.target[row]) if row < 1000 else ("test", digits.target[row])
        if part == "train" and random.random() < 0.2:
            label = (label + random.integers(1, 10)) % 10
        file = folder / part / f"digit {label}" / f"{row}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((16 * digits.images[row]).clip(0, 255).astype(np.uint8)).save(file)


def main() -> None:
    """Look at the data, find wrong labels, and compare training with and without them."""
    write_photos(Path("photos"))

    check = check_data(PHOTOS, image_size=8)
    print(check.table[["severity", "name", "sentence"]].to_string(index=False))

    # Networks that have not seen an image judge its label. pruned.csv lists the training rows without the suspicious ones.
    found = audit(
        PHOTOS, image_size=8, net="wrn_10_1", folds=2, epochs=15, batch=32, threads=1, prune=True, verbose=False
    )
    print(f"about {found.noise_rate:.0%} of the training labels are wrong; the most suspicious ones:")
    print(found.suspects[["file", "given", "suggested", "quality"]].head().round(3).to_string(index=False))

    # The same comparison on the labels as given, and without the suspicious ones. A verdict takes five seeds.
    options = {
        "dataset": PHOTOS,
        "image_size": 8,
        "methods": "baseline,hinton",
        "student": "resnet8",
        "teacher": "resnet8",
        "epochs": 4,
        "batch": 32,
        "seeds": 1,
        "jobs": 1,  # such short runs are not worth processes and threads of their own
        "threads": 1,
        "trust_test_labels": True,
    }
    given = run_study(options, scenario="clean", verbose=False)
    pruned = run_study(options, scenario=f"manifest(file={found.folder / 'pruned.csv'})", verbose=False)
    print(given.answer)
    print(pruned.per_class.round(2))
    table: pd.DataFrame = compare(given, pruned)
    print(table[["study", "method", "mean", "std"]].round(3).to_string(index=False))

    # As on the command line: robustkd predict MODEL folder:NEW --to predictions.csv; robustkd export STUDY --method hinton ...
    model = pruned.folder / "runs" / "hinton-seed0" / "model.pt"
    robustkd(["predict", str(model), "folder:photos/test", "--to", "predictions.csv"])
    print(pd.read_csv("predictions.csv").head().to_string(index=False))
    robustkd(["export", str(pruned.folder), "--method", "hinton", "--to", "student", "--formats", "torch"])


if __name__ == "__main__":
    main()
