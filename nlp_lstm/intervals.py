"""How far a figure of a test set may lie from the one of all such texts."""

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike

RESAMPLES = 2000


def mean_interval(values: ArrayLike) -> list[float]:
    """The 95 % interval of a mean by the bootstrap: where it lies in samples drawn with replacement from the values.

    >>> low, high = mean_interval([1.0] * 90 + [0.0] * 10)  # 90 of 100 right
    >>> print(f"{low:.2f} to {high:.2f}")
    0.84 to 0.96

    Efron and Tibshirani 1993, chapter 13, the percentile method. The draws are the same at each call. A single value
    says nothing of others, and has no width.

    Args:
        values: one of each independent piece of the test set: of a text whether it was answered right, of a block of
            characters its mean loss.

    Returns:
        The lower and the upper end.
    """
    sample = np.asarray(values, np.float64)
    if len(sample) < 2 or np.ptp(sample) == 0:
        return [float(sample.mean())] * 2
    found = scipy.stats.bootstrap(
        (sample,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=max(1, 2_000_000 // len(sample)),  # 16 MB at a time
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return [float(found.low), float(found.high)]
