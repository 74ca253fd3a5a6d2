"""A distillation method of your own, compared with Hinton's and with plain training.

    python own_method.py
    robustkd run --plug own_method.py --methods baseline,hinton,confident ...    # the same from the command line

A method is a class: what it needs are positional parameters, its hyperparameters follow the *, and `transfer` returns the terms
that relate a student to a teacher. METHODS gives it a name. CONTRIBUTING.md describes what else a method can do, and
docs/python.md data sets and augmentations of your own.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor

from robustkd import run_study
from robustkd.criteria.base import Criterion
from robustkd.functional import kl_per_sample
from robustkd.method import Distiller
from robustkd.models.net import Frozen, Network
from robustkd.types import Batch, Output, Positive, Share


class Confident(Distiller):
    """Hinton's loss, with each image weighted by the probability of the class that the teacher predicts.

        L = (1 - alpha) CE(z_s, y) + alpha T^2 mean_i w_i KL(p_t || p_s),   w = max p_t at T = 1

    Where labels are wrong, a teacher is often unsure, and then the student is taught less.
    """

    def __init__(
        self,
        student: Network,
        teacher: Frozen,
        criterion: Callable[[], Criterion],
        *,
        alpha: Share = 0.9,
        temperature: Positive = 4.0,
    ) -> None:
        super().__init__(student, teacher, criterion, ce=1 - alpha)
        self.alpha, self.temperature = alpha, temperature

    def transfer(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        """Return the weighted divergence."""
        weight = teacher.logits.softmax(1).amax(1)
        divergence = kl_per_sample(teacher.logits, student.logits, self.temperature)
        return {"kd": self.alpha * self.temperature**2 * (weight * divergence).mean()}


METHODS = {"confident": Confident}


def write_photos(folder: Path) -> None:
    """Write 8x8 images of handwritten digits as folders of PNG files."""
    digits = load_digits()
    for row in range(600):
        file = folder / f"digit {digits.target[row]}" / f"{row}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((16 * digits.images[row]).clip(0, 255).astype(np.uint8)).save(file)


def main() -> None:
    """Compare the method under 30 % wrong labels."""
    write_photos(Path("photos"))
    study = run_study(
        dataset="folder:photos",
        image_size=8,
        scenario="noise0.3",
        plug=__file__,
        methods=["baseline", "hinton", "confident(temperature=2)"],
        student="resnet8",
        teacher="resnet8",
        epochs=4,
        batch=32,
        seeds=1,  # a verdict takes five
        jobs=1,
        threads=1,
        verbose=False,
    )
    print(study.answer)
    print(study.summary[["balanced_accuracy_mean", "worst_recall_mean"]].round(3).to_string())
    print(study.per_class.round(2).to_string())


if __name__ == "__main__":
    main()
