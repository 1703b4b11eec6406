"""From a proposal to the box of what is in it, by a ridge regression.

Girshick et al., "Rich feature hierarchies", 2014, appendix C: one for each class, learned of the proposals that overlap
one of its things by 0.6 or more, with a penalty of 1,000.
"""

import numpy as np
from jaxtyping import Float32, Float64
from numpy.typing import NDArray

OVERLAP, PENALTY = 0.6, 1000.0


class BoxRegression:
    """The sums that the regression of one class is solved from, so that not all proposals are in memory at once.

    Args:
        features: numbers that a proposal has become.
    """

    def __init__(self, features: int) -> None:
        # The last feature of each row is 1, for the bias.
        self._products: Float64[np.ndarray, "F F"] = np.zeros((features + 1, features + 1))
        self._answers: Float64[np.ndarray, "F 4"] = np.zeros((features + 1, 4))
        self.count = 0

    def show(self, rows: Float32[np.ndarray, "rows F"], offsets: Float32[np.ndarray, "rows 4"]) -> None:
        """Learn from proposals.

        Args:
            rows: features of each.
            offsets: from each to the box of its thing.
        """
        if not len(rows):
            return
        extended = np.hstack([rows, np.ones((len(rows), 1), np.float32)]).astype(np.float64)
        self._products += extended.T @ extended
        self._answers += extended.T @ offsets
        self.count += len(rows)

    def solve(self, scale: float = 1.0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return weights, 4 x features, and biases, on which there is no penalty; zeros where nothing was shown.

        Args:
            scale: of features, for which the penalty was found; they were shown without it.
        """
        if not self.count:
            return np.zeros((4, len(self._answers) - 1)), np.zeros(4)
        penalty = np.full(len(self._products), PENALTY / scale**2)
        penalty[-1] = 0
        solved = np.linalg.solve(self._products + np.diag(penalty), self._answers).T
        return solved[:, :-1], solved[:, -1]
