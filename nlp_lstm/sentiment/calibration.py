"""A temperature that makes P(positive) mean what it says."""

from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression


def temperature(logits: Sequence[float] | np.ndarray, labels: Sequence[float] | np.ndarray) -> float:
    r"""By what to divide logits for the likelihood of labels to be the greatest (Guo et al. 2017, section 4.2).

    >>> logits = [4.0, 4.0, 4.0, -4.0, -4.0, -4.0]  # 98 % sure each time, and right in 4 of 6
    >>> round(temperature(logits, [1, 1, 0, 0, 0, 1]), 2)  # log(4 / 2) is 0.69
    5.77

    .. math:: P(\text{positive}) = \sigma(z / T)

    No label changes: the sign of a logit stays. Where no temperature makes sense, since the logits say nothing of the
    labels or the contrary, it is 1.

    Args:
        logits: of each text, as a model gives them.
        labels: 0 or 1 of each; texts that the model was not trained on.
    """
    scale = LogisticRegression(C=np.inf, fit_intercept=False).fit(np.reshape(logits, (-1, 1)), labels).coef_.item()
    return 1.0 / scale if scale > 0.05 else 1.0
