"""Labels for texts that have none, by models of those that have some."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.special
from sklearn.linear_model import LogisticRegression

from nlp_lstm.errors import UserError
from nlp_lstm.files import atomic_path
from nlp_lstm.models.classifier import BlendedClassifier, SentimentClassifier
from nlp_lstm.run_folder import RunFolder
from nlp_lstm.sentiment.build import load_run
from nlp_lstm.sentiment.document_vectors import vector_logits
from nlp_lstm.sentiment.exported import load_exported
from nlp_lstm.sentiment.logits import logits_of
from nlp_lstm.sentiment.ngram_fitting import ngram_logits
from nlp_lstm.sentiment.settings import TEACHING, Settings
from nlp_lstm.text.vocabulary import Vocabulary
from nlp_lstm.training import is_exported

_KEPT = "taught_labels.npy"


class EncodedTexts(NamedTuple):
    """Texts as token ids, and P(positive) of each: 0 or 1, or what a teacher makes of it."""

    ids: list[np.ndarray]
    labels: list[float]


class Teacher(NamedTuple):
    """An earlier classifier, what it reads with, and its run; None for that in an exported model, which keeps none."""

    classifier: SentimentClassifier | BlendedClassifier
    vocabulary: Vocabulary
    run: RunFolder | None


def load_teacher(path: Path) -> Teacher:
    """The classifier of a finished run, or that in an exported model.

    Raises:
        UserError: if there is neither.
    """
    if is_exported(path):
        return Teacher(*load_exported(path), None)
    run = RunFolder(path)
    return Teacher(*load_run(run)[:2], run)


def taught_labels(
    training: EncodedTexts,
    validation: EncodedTexts,
    unlabelled: Sequence[np.ndarray],
    vocabulary: Vocabulary,
    teacher: Teacher | None,
    run: RunFolder,
    settings: Settings,
) -> list[float]:
    """P(positive) of each text without a label.

    By an n-gram model of the labelled texts, and where the settings name them, by a linear model of vectors of the
    documents and by the LSTM of an earlier run or model. Several are mixed by logistic regression over their logits on
    the validation texts. What comes of it is kept in the run folder, and how good each is in a line of its metrics.

    Args:
        training: what the n-gram model and that of the vectors are fitted on.
        validation: what the mixture is fitted on.
        unlabelled: the token ids of each text that is to be labelled.
        vocabulary: of the ids.
        teacher: the earlier classifier.
        run: the folder.
        settings: the run's.

    Raises:
        UserError: if the earlier classifier reads with another vocabulary; and as of `document_vectors`.
    """
    kept = run.path / _KEPT
    if not kept.exists():
        with run.timed_stage(TEACHING) as row:
            logits = _logits(training, validation, unlabelled, vocabulary, teacher, settings)
            both = np.stack(list(logits.values()), axis=1)
            held_out, others = both[: len(validation.ids)], both[len(validation.ids) :]
            mixed, mixed_held_out = others[:, 0], held_out[:, 0]
            if len(logits) > 1:
                mixture = LogisticRegression().fit(held_out, validation.labels)
                mixed, mixed_held_out = mixture.decision_function(others), mixture.decision_function(held_out)
            truth = np.asarray(validation.labels) == 1
            row |= {f"{name}_accuracy": _accuracy(found[: len(truth)], truth) for name, found in logits.items()}
            row["accuracy"] = _accuracy(mixed_held_out, truth)
        print(", ".join(f"{name} {row[name]:.4f}" for name in row if name.endswith("accuracy")), file=sys.stderr)
        with atomic_path(kept) as path:
            np.save(path, scipy.special.expit(mixed))
    return np.load(kept).tolist()


def _accuracy(logits: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean((logits > 0) == truth))


def _logits(
    training: EncodedTexts,
    validation: EncodedTexts,
    unlabelled: Sequence[np.ndarray],
    vocabulary: Vocabulary,
    teacher: Teacher | None,
    settings: Settings,
) -> dict[str, np.ndarray]:
    """By each model, of the validation texts and those that are to be labelled, in one row."""
    others = [*validation.ids, *unlabelled]
    if teacher is not None and list(teacher.vocabulary.tokens) != list(vocabulary.tokens):
        raise UserError(
            f"the teacher '{settings.teacher_run}' reads with another vocabulary: let this run start from it, or both "
            "from the same one, with --start-from"
        )
    found = {
        "ngram": ngram_logits(
            training.ids, training.labels, others, settings.teacher_order, settings.ngram_regularization
        )
    }
    if settings.teacher_vectors:
        found["vector"] = vector_logits(
            training.ids,
            training.labels,
            others,
            validation.labels,
            settings.teacher_order,
            settings.teacher_vectors,
            settings.teacher_vector_passes,
            settings.seed,
        )
    if teacher is not None:
        classifier = teacher.classifier
        found["lstm"] = logits_of(classifier.lstm if isinstance(classifier, BlendedClassifier) else classifier, others)
    return found
