"""Labels for texts that have none, by models of those that have some."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.special
from sklearn.linear_model import LogisticRegression

from nlp_lstm.errors import UserError
from nlp_lstm.files import atomic_path
from nlp_lstm.models.classifier import BlendedClassifier, SentimentClassifier
from nlp_lstm.run_folder import RunFolder
from nlp_lstm.sentiment.logits import logits_of
from nlp_lstm.sentiment.ngram_fitting import ngram_logits
from nlp_lstm.sentiment.settings import Settings
from nlp_lstm.text.vocabulary import Vocabulary

Run = tuple[SentimentClassifier | BlendedClassifier, Vocabulary, Settings]
"""What is loaded of a finished run."""

_KEPT = "taught_labels.npy"


class EncodedTexts(NamedTuple):
    """Texts as token ids, and P(positive) of each: 0 or 1, or what a teacher makes of it."""

    ids: list[np.ndarray]
    labels: list[float]


def taught_labels(
    training: EncodedTexts,
    validation: EncodedTexts,
    unlabelled: Sequence[np.ndarray],
    vocabulary: Vocabulary,
    teacher: Run | None,
    run: RunFolder,
    settings: Settings,
) -> list[float]:
    """P(positive) of each text without a label.

    By an n-gram model of the labelled texts; where there is an earlier run, by its LSTM and the n-gram model together,
    mixed by logistic regression over their two logits on the validation texts. What comes of it is kept in the run
    folder.

    Args:
        training: what the n-gram model is fitted on.
        validation: what the mixture is fitted on.
        unlabelled: the token ids of each text that is to be labelled.
        vocabulary: of the ids.
        teacher: the earlier run.
        run: the folder.
        settings: the run's.

    Raises:
        UserError: if the earlier run reads with another vocabulary.
    """
    kept = run.path / _KEPT
    if not kept.exists():
        labels = scipy.special.expit(_logits(training, validation, unlabelled, vocabulary, teacher, settings))
        with atomic_path(kept) as path:
            np.save(path, labels)
    return np.load(kept).tolist()


def _logits(
    training: EncodedTexts,
    validation: EncodedTexts,
    unlabelled: Sequence[np.ndarray],
    vocabulary: Vocabulary,
    teacher: Run | None,
    settings: Settings,
) -> np.ndarray:
    others = [*unlabelled, *validation.ids]
    by_ngrams = ngram_logits(
        training.ids, training.labels, others, settings.teacher_order, settings.ngram_regularization
    )
    if teacher is None:
        return by_ngrams[: len(unlabelled)]
    classifier, known, _ = teacher
    if list(known.tokens) != list(vocabulary.tokens):
        raise UserError(
            f"the run in '{settings.teacher_run}' reads with another vocabulary: let this one start from it, or both "
            "from the same run, with --start-from"
        )
    lstm = classifier.lstm if isinstance(classifier, BlendedClassifier) else classifier
    both = np.stack([logits_of(lstm, others), by_ngrams], axis=1)
    mixture = LogisticRegression().fit(both[len(unlabelled) :], validation.labels)
    return mixture.decision_function(both[: len(unlabelled)])
