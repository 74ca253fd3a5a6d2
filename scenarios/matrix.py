"""matrix: label noise by a transition matrix from a file.

T[i, j] = P(shown as j | class i), each row sums to 1. The file is a CSV of K lines of K numbers in the order of the classes,
or the same with class names as header row and first column, in any order.

A matrix estimated from human labels gives a class-dependent control for instance-dependent human noise.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustkd.data.class_matrix import read_transition_matrix
from robustkd.data.view import View
from scenarios.base import Draws, MatrixNoise


@dataclass(frozen=True)
class Matrix(MatrixNoise):
    """Label noise by a transition matrix from a file."""

    file: str
    draws: Draws = "exact"

    def transition_matrix(self, view: View) -> NDArray[np.float64]:
        """Return T: (K, K).

        Raises:
            UsageError: The file is not a K x K table of probabilities, or a row does not sum to 1.
        """
        return read_transition_matrix("matrix", self.file, view.classes)
