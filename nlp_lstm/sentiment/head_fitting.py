"""Fit the linear unit over a pre-trained encoder, which stays as it is: what fine-tuning starts from, and a probe."""

import sys
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from nlp_lstm.models.classifier import SentimentClassifier
from nlp_lstm.run_folder import RunFolder
from nlp_lstm.sentiment import batches
from nlp_lstm.sentiment.logits import outputs_of
from nlp_lstm.sentiment.settings import HEAD, Settings
from nlp_lstm.weights_file import save_weights

_STRENGTHS = (1e-4, 1e-3, 1e-2)  # C, of which validation data chooses


def fit_head(
    classifier: SentimentClassifier, training: Any, validation: Any, run: RunFolder, settings: Settings
) -> None:
    """Standardise what the encoder pools, and fit the linear unit on it by logistic regression.

    Its validation accuracy tells what the encoder knows before any label reached it.

    Args:
        classifier: built, and standardised.
        training: token ids and labels, whose pooled features are fitted.
        validation: the same, which choose the strength of the penalty.
        run: takes the weights and a line of metrics, and where it has them already nothing is fitted.
        settings: of the run.
    """
    path = run.best_weights(HEAD)
    if any(row["stage"] == HEAD for row in run.metrics()) and path.exists():
        classifier.load_weights(path)
        return
    with run.timed_stage(HEAD) as row:
        rng = np.random.default_rng(settings.seed)
        cut = [batches.crop(ids, settings.longest_training_text, rng) for ids in training.ids]
        features, held_out = outputs_of(classifier.pooled, cut), outputs_of(classifier.pooled, validation.ids)
        mean, scale = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-3)
        features, held_out = (features - mean) / scale, (held_out - mean) / scale
        fits = [LogisticRegression(C=strength, max_iter=300).fit(features, training.labels) for strength in _STRENGTHS]
        accuracies = [fit.score(held_out, validation.labels) for fit in fits]
        best = fits[int(np.argmax(accuracies))]
        classifier.standardize(mean, scale)
        classifier.head.kernel.assign(best.coef_.T)
        classifier.head.bias.assign(best.intercept_)
        row |= {"val_accuracy": max(accuracies), "strength": best.C}
        run.checkpoints.mkdir(parents=True, exist_ok=True)
        save_weights(classifier, path)
    print(f"{HEAD}: val_accuracy {max(accuracies):.4f} of the encoder as it is", file=sys.stderr)
