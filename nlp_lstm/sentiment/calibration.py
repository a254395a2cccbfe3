"""A scale and a shift of logits that make P(positive) mean what it says."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression


class Calibration(NamedTuple):
    """What logits are multiplied by, and what is then added to them."""

    scale: float
    shift: float


def calibration(logits: Sequence[float] | np.ndarray, labels: Sequence[float] | np.ndarray) -> Calibration:
    r"""The scale and the shift of logits for which labels are the likeliest (Platt 1999).

    >>> logits = [4.0, 4.0, 4.0, 4.0, -4.0, -4.0, -4.0, -4.0]  # 98 % sure each time, and right in 7 of 8
    >>> scale, shift = calibration(logits, [1, 1, 1, 0, 0, 0, 0, 0])
    >>> [round(float(1 / (1 + np.exp(-(scale * logit + shift)))), 2) for logit in (4.0, -4.0)]
    [0.64, 0.14]

    .. math:: P(\text{positive}) = \sigma(a z + b)

    Of :math:`N_+` positive and :math:`N_-` negative texts the labels count as :math:`(N_+ + 1) / (N_+ + 2)` and
    :math:`1 / (N_- + 2)`, so that a few texts, all answered rightly, make no model sure of everything. The verdict of a
    logit near 0 may change. Where the logits say nothing of the labels or the contrary, all stays as it is.

    "Probabilistic Outputs for Support Vector Machines and Comparisons to Regularized Likelihood Methods", section 2.2.

    Args:
        logits: of each text, as a model gives them.
        labels: 0 or 1 of each; texts that the model was not trained on.
    """
    is_positive = np.asarray(labels) == 1
    positive, negative = is_positive.sum(), (~is_positive).sum()
    target = np.where(is_positive, (positive + 1) / (positive + 2), 1 / (negative + 2))
    # Each text twice, as a positive and as a negative one, as much of either as its label counts.
    fit = LogisticRegression(C=np.inf).fit(
        np.reshape([logits, logits], (-1, 1)),
        np.repeat([1, 0], len(target)),
        sample_weight=np.concatenate([target, 1 - target]),
    )
    scale, shift = fit.coef_.item(), fit.intercept_.item()
    return Calibration(scale, shift) if scale > 0.05 else Calibration(1.0, 0.0)
