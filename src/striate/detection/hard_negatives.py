"""A linear SVM for one class, learned from far more negatives than fit into memory, or than matter.

Girshick et al., "Rich feature hierarchies", 2014, section 2.3, after Felzenszwalb et al., "Object detection with
discriminatively trained part-based models", 2010: of negatives only those count that lie within the margin, or beyond
it. So the SVM is learned of some, shown others, and learned again with those among these that are hard; those that have
become easy are let go. After one pass over all images little changes (ibid.).
"""

import warnings

import numpy as np
from jaxtyping import Float32
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC

# Of the authors' program: the penalty, the weight of a positive, how much the bias is spared from the penalty, and from
# which margins on a negative is hard, and below which it is let go.
FREEDOM, POSITIVE_WEIGHT, BIAS_SCALE = 1e-3, 2.0, 10.0
HARD, EASY = -1.0001, -1.2001
NEW = 2000  # Hard negatives, after which it learns again.
MISSING = -2.0  # The margin of all, of a class without a positive.

Rows = Float32[np.ndarray, "rows F"]


class HardNegatives:
    """What is learned of one class.

    Args:
        positives: features of all its things; scaled to a norm of about 20, for which the penalty was found.
    """

    def __init__(self, positives: Rows) -> None:
        self.positives = positives
        self.negatives: Rows = positives[:0]
        self.weight: Float32[np.ndarray, " F"] = np.zeros(positives.shape[1], np.float32)
        self.bias = MISSING
        self.shown = 0
        self._new: list[Rows] = []
        self._is_fitted = False

    def margins(self, rows: Rows) -> Float32[np.ndarray, " rows"]:
        """Return how far each is on the positives' side."""
        margins: Float32[np.ndarray, " rows"] = rows @ self.weight + np.float32(self.bias)
        return margins

    @property
    def hard(self) -> int:
        """Negatives within the margin, or beyond it, of those that it was learned of."""
        return int((self.margins(self.negatives) > HARD).sum())

    def show(self, negatives: Rows) -> None:
        """Learn from the hard ones among some negatives."""
        self.shown += len(negatives)
        if not len(self.positives):
            return
        self._new.append(negatives[self.margins(negatives) > HARD] if self._is_fitted else negatives)
        if sum(map(len, self._new)) >= NEW:
            self.fit()

    def fit(self) -> None:
        """Learn from all positives, and from the hard negatives that are known."""
        self.negatives = np.concatenate([self.negatives, *self._new])
        self._new = []
        if not len(self.positives):
            return
        if not len(self.negatives):
            self.bias = -MISSING
            return
        svm = LinearSVC(
            C=FREEDOM,
            loss="hinge",
            intercept_scaling=BIAS_SCALE,
            class_weight={1: POSITIVE_WEIGHT},
            random_state=0,
        )
        rows = np.concatenate([self.positives, self.negatives])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # A fit that was cut short is still one.
            svm.fit(rows, np.arange(len(rows)) < len(self.positives))
        self.weight, self.bias = svm.coef_[0].astype(np.float32), float(svm.intercept_[0])
        self._is_fitted = True
        self.negatives = self.negatives[self.margins(self.negatives) > EASY]
