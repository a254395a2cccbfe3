"""Fit the linear unit over a pre-trained encoder, which stays as it is: what fine-tuning starts from, and a probe."""

import sys
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from nlp_lstm.models.classifier import SentimentClassifier
from nlp_lstm.run_folder import RunFolder
from nlp_lstm.sentiment import batches
from nlp_lstm.sentiment.logits import logits_of, outputs_of
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
    if _has_head(classifier, run):
        return
    with run.timed_stage(HEAD) as row:
        features, mean, scale = _pooled(classifier, training, settings)
        held_out = outputs_of(classifier.pooled, validation.ids)
        features, held_out = (features - mean) / scale, (held_out - mean) / scale
        fits = [LogisticRegression(C=strength, max_iter=300).fit(features, training.labels) for strength in _STRENGTHS]
        accuracies = [fit.score(held_out, validation.labels) for fit in fits]
        best = fits[int(np.argmax(accuracies))]
        classifier.standardize(mean, scale)
        classifier.head.kernel.assign(best.coef_.T)
        classifier.head.bias.assign(best.intercept_)
        row |= {"val_accuracy": max(accuracies), "strength": best.C}
        _keep_head(classifier, run)
    print(f"{HEAD}: val_accuracy {max(accuracies):.4f} of the encoder as it is", file=sys.stderr)


def take_exported_head(
    exported: SentimentClassifier,
    classifier: SentimentClassifier,
    training: Any,
    validation: Any,
    run: RunFolder,
    settings: Settings,
) -> None:
    """Take all weights of an exported classifier, and standardise what it pools without changing what it says.

    Args:
        exported: whose weights are taken; its linear unit stands over pooled features as they are.
        classifier: built, and standardised.
        training: token ids and labels, over whose pooled features is standardised.
        validation: the same, on which is told how good the classifier is before it is trained any further.
        run: takes the weights and a line of metrics, and where it has them already nothing is asked.
        settings: of the run.
    """
    if _has_head(classifier, run):
        return
    with run.timed_stage(HEAD) as row:
        for weight, found in zip(classifier.encoder.weights, exported.encoder.weights, strict=True):
            weight.assign(np.asarray(found, np.float32))
        _, mean, scale = _pooled(classifier, training, settings)
        kernel, bias = np.asarray(exported.head.kernel), np.asarray(exported.head.bias)
        classifier.standardize(mean, scale)
        classifier.head.kernel.assign(kernel * scale[:, None])
        classifier.head.bias.assign(bias + mean @ kernel)
        right = (logits_of(classifier, validation.ids) > 0) == (np.asarray(validation.labels) == 1)
        row["val_accuracy"] = float(np.mean(right))
        _keep_head(classifier, run)
    print(f"{HEAD}: val_accuracy {row['val_accuracy']:.4f} of the exported model as it is", file=sys.stderr)


def _pooled(classifier: SentimentClassifier, training: Any, settings: Settings) -> tuple[np.ndarray, Any, Any]:
    """What the encoder pools of the training texts, `(texts, 4 * units)`, and each feature's mean and scale."""
    rng = np.random.default_rng(settings.seed)
    cut = [batches.crop(ids, settings.longest_training_text, rng) for ids in training.ids]
    features = outputs_of(classifier.pooled, cut)
    return features, features.mean(axis=0), np.maximum(features.std(axis=0), 1e-3)


def _has_head(classifier: SentimentClassifier, run: RunFolder) -> bool:
    """Whether the run had come so far before; if so the weights are taken."""
    path = run.best_weights(HEAD)
    if not (any(row["stage"] == HEAD for row in run.metrics()) and path.exists()):
        return False
    classifier.load_weights(path)
    return True


def _keep_head(classifier: SentimentClassifier, run: RunFolder) -> None:
    run.checkpoints.mkdir(parents=True, exist_ok=True)
    save_weights(classifier, run.best_weights(HEAD))
