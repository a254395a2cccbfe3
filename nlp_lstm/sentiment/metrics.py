"""How good a classifier is: what scikit-learn counts, calibration, accuracy by length, and pictures of them."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn import metrics as sklearn_metrics

from nlp_lstm.errors import UserError
from nlp_lstm.intervals import mean_interval

LENGTH_BUCKETS = (100, 200, 300, 400, 600, 1000)


def binary_classification(labels: ArrayLike, scores: ArrayLike, lengths: ArrayLike) -> dict[str, Any]:
    """Judge P(positive) against the truth.

    >>> binary_classification([0, 1, 1], [0.2, 0.9, 0.4], [5, 7, 6])["accuracy"]
    0.6666666666666666

    Args:
        labels: 0 or 1; both must occur.
        scores: P(positive) of each; above 0.5 counts as positive.
        lengths: tokens of each text.

    Returns:
        `examples`, `accuracy`, its 95 % `accuracy_interval`, `precision`, `recall`, `f1` (of the positive class),
        `roc_auc`, `expected_calibration_error` (Guo et al. 2017, 15 equal bins of the confidence in the label given)
        and `accuracy_by_length`, whose entries tell `tokens` ("0-100"), `examples` and `accuracy`.

    Raises:
        UserError: if a label does not occur.
    """
    truth, score, length = np.asarray(labels), np.asarray(scores, np.float64), np.asarray(lengths)
    if set(truth.tolist()) != {0, 1}:
        raise UserError(f"the labels are all of {sorted(set(truth.tolist()))}: judge on texts of both, 0 and 1")
    predicted = (score > 0.5).astype(int)
    precision, recall, f1, _ = sklearn_metrics.precision_recall_fscore_support(
        truth, predicted, average="binary", zero_division=0.0
    )
    return {
        "examples": len(truth),
        "accuracy": float(np.mean(predicted == truth)),
        "accuracy_interval": mean_interval(predicted == truth),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "roc_auc": float(sklearn_metrics.roc_auc_score(truth, score)),
        "expected_calibration_error": expected_calibration_error(truth, score),
        "accuracy_by_length": _accuracy_by_length(predicted == truth, length),
    }


def expected_calibration_error(labels: ArrayLike, scores: ArrayLike, bins: int = 15) -> float:
    r"""How far confidence and accuracy lie apart (Guo et al. 2017, eq. 3).

    .. math:: \text{ECE} = \sum_m \tfrac{|B_m|}{n} \, |\text{acc}(B_m) - \text{conf}(B_m)|

    Args:
        labels: 0 or 1.
        scores: P(positive); the confidence is that in the likelier label, at least 0.5.
        bins: number of equal bins of the confidence between 0.5 and 1.
    """
    truth, score = np.asarray(labels), np.asarray(scores, np.float64)
    confidence = np.maximum(score, 1.0 - score)
    correct = (score > 0.5) == (truth == 1)
    index = np.minimum(((confidence - 0.5) * 2 * bins).astype(int), bins - 1)
    total = 0.0
    for number in range(bins):
        inside = index == number
        if inside.any():
            total += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    return float(total)


def _accuracy_by_length(correct: np.ndarray, length: np.ndarray) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    low = -1  # a text may have no token
    for high in (*LENGTH_BUCKETS, None):
        inside = (length > low) & (length <= high) if high else length > low
        if inside.any():
            name = f"{low + 1}-{high}" if high else f">{low}"
            rows.append({"tokens": name, "examples": int(inside.sum()), "accuracy": float(correct[inside].mean())})
        low = high or low
    return rows
