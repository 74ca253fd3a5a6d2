"""A distillation method of your own, compared with Hinton's and with plain training.

    python own_method.py
    robustkd run --plug own_method.py --methods baseline,hinton,margins ...    # the same from the command line

A method is a class: what it needs are positional parameters, its hyperparameters follow the *, and `transfer` returns the terms
that relate a student to a teacher. METHODS gives it a name. CONTRIBUTING.md describes what else a method can do, and
docs/python.md data sets and augmentations of your own.
"""

from collections.abc import Callable

from torch import Tensor

from robustkd import run_study
from robustkd.criteria.base import Criterion
from robustkd.method import Distiller
from robustkd.models.net import Frozen, Network
from robustkd.types import Batch, Output, Positive


class Margins(Distiller):
    """The student decides for the teacher's class by the teacher's margin.

        L = CE(z_s, y) + weight mean_i |m(z_s) - m(z_t)|,   m(z) = z_c - max_{k != c} z_k,   c = argmax z_t

    Only the two largest logits of an image matter; where the teacher is unsure, its margin is small, and so is the student's.
    """

    def __init__(
        self, student: Network, teacher: Frozen, criterion: Callable[[], Criterion], *, weight: Positive = 0.1
    ) -> None:
        super().__init__(student, teacher, criterion)
        self.weight = weight

    def transfer(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        """Return the mean distance of the margins."""
        predicted = teacher.logits.argmax(1, keepdim=True)
        distance = margins(student.logits, predicted) - margins(teacher.logits, predicted)
        return {"margins": self.weight * distance.abs().mean()}


def margins(logits: Tensor, classes: Tensor) -> Tensor:
    """Return by how much the logit of a class exceeds the others: (B, K) logits, (B, 1) classes -> (B,)."""
    others = logits.scatter(1, classes, float("-inf")).amax(1)
    return logits.gather(1, classes)[:, 0] - others


METHODS = {"margins": Margins}


def main() -> None:
    """Compare the method under 30 % wrong labels."""
    study = run_study(
        dataset="digits",
        scenario="noise0.3",
        plug=__file__,
        methods=["baseline", "hinton", "margins(weight=0.2)"],
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
