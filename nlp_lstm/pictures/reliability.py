"""Pictures of how far a classifier can be trusted: its confusion matrix and its reliability diagram."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from sklearn import metrics as sklearn_metrics

from nlp_lstm.files import atomic_path


def draw_confusion(labels: ArrayLike, scores: ArrayLike, names: Sequence[str], path: Path) -> None:
    """Write a confusion matrix as PNG: rows are the truth, columns what was answered."""
    from matplotlib.figure import Figure

    matrix = sklearn_metrics.confusion_matrix(labels, np.asarray(scores) > 0.5, labels=[0, 1])
    figure = Figure(figsize=(4, 3.6), layout="constrained")
    axes = figure.add_subplot(xlabel="answered", ylabel="true")
    sklearn_metrics.ConfusionMatrixDisplay(matrix, display_labels=names).plot(
        ax=axes, cmap="Blues", colorbar=False, values_format=",d"
    )
    with atomic_path(path) as scratch:
        figure.savefig(scratch, dpi=120)


def draw_reliability(labels: ArrayLike, scores: ArrayLike, path: Path, bins: int = 10) -> None:
    """Write a reliability diagram as PNG: how often a score was right, above how often each was given."""
    from matplotlib.figure import Figure
    from sklearn.calibration import calibration_curve

    right, given = calibration_curve(labels, scores, n_bins=bins)
    figure = Figure(figsize=(4, 5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color="gray", linestyle=":", label="perfectly calibrated")
    upper.plot(given, right, marker="o", label="model")
    upper.set_ylabel("share that is positive")
    upper.legend(loc="upper left")
    upper.grid(alpha=0.3)
    lower.hist(scores, bins=bins, range=(0, 1))
    lower.set_xlabel("P(positive)")
    lower.set_ylabel("texts")
    with atomic_path(path) as scratch:
        figure.savefig(scratch, dpi=120)
