"""Fit the n-gram model, and the mixture of it and the LSTM: both small convex problems that scikit-learn solves."""

import functools
from collections.abc import Iterator, Sequence

import keras
import numpy as np
import scipy.sparse
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LogisticRegression

from nlp_lstm.models.classifier import BlendedClassifier
from nlp_lstm.models.ngrams import NgramClassifier
from nlp_lstm.sentiment import batches
from nlp_lstm.sentiment.logits import logits_of

_TOKENS_PER_BATCH = 200_000


def fit_ngrams(
    ngrams: NgramClassifier, ids: Sequence[np.ndarray], labels: Sequence[float], regularization: float
) -> None:
    r"""Set an n-gram model's weights (Wang and Manning 2012, section 2.3, with logistic loss).

    >>> ngrams = NgramClassifier(vocabulary_size=6, order=2, buckets=10)
    >>> ngrams.build((None, None))
    >>> ids = [np.array([3, 5]), np.array([3]), np.array([4, 5]), np.array([4])]
    >>> fit_ngrams(ngrams, ids, [1, 1, 0, 0], regularization=10.0)
    >>> good, dull = ngrams(np.array([[3], [4]]))
    >>> bool(good > 0 > dull)
    True

    A text is the vector of which n-grams it has, each scaled by the log-count ratio
    :math:`r = \log \frac{p / \|p\|_1}{q / \|q\|_1}`, `p` and `q` being one plus the number of positive and of negative
    texts that have the n-gram.

    Args:
        ngrams: a built n-gram model.
        ids: the token ids of each text.
        labels: 0 or 1 for each; both must occur.
        regularization: strength of the penalty on the squared weights.
    """
    weights, bias = _fitted(_present_ngrams(ngrams, ids), labels, regularization)
    ngrams.table.assign(weights.astype(np.float32))
    ngrams.bias.assign(np.float32(bias))


def _fitted(
    present: scipy.sparse.csr_matrix, labels: Sequence[float], regularization: float
) -> tuple[np.ndarray, float]:
    """Each n-gram's weight and the bias, from which texts `(texts, n-grams)` have which."""
    truth = np.asarray(labels)
    positive = np.asarray(present[truth == 1].sum(axis=0)).ravel() + 1.0
    negative = np.asarray(present[truth == 0].sum(axis=0)).ravel() + 1.0
    ratio = np.log(positive / positive.sum()) - np.log(negative / negative.sum())
    scaled = present.multiply(ratio).tocsr()
    model = LogisticRegression(C=1.0 / regularization, max_iter=500).fit(scaled, truth)
    return ratio * model.coef_[0], float(model.intercept_[0])


def ngram_logits(
    ids: Sequence[np.ndarray],
    labels: Sequence[float],
    others: Sequence[np.ndarray],
    order: int,
    regularization: float,
) -> np.ndarray:
    """The logits of other texts by an n-gram model of those that have labels.

    >>> ids = [np.array([2, 3, 5, 2]), np.array([2, 3, 2]), np.array([2, 4, 5, 2]), np.array([2, 4, 2])]
    >>> others = [np.array([2, 3, 2]), np.array([2, 4, 2])]
    >>> good, dull = ngram_logits(ids, [1, 1, 0, 0], others, order=2, regularization=1.0)
    >>> bool(good > 0 > dull)
    True

    As `fit_ngrams` does it, with more room: this model is not kept, and may be as large as it likes.

    Args:
        ids: the token ids of each labelled text.
        labels: 0 or 1 for each; both must occur.
        others: the token ids of each other text.
        order: longest run of tokens with a weight of its own.
        regularization: strength of the penalty on the squared weights.

    Returns:
        `(others,)`.
    """
    vectorizer = HashingVectorizer(
        n_features=2**22,
        analyzer=functools.partial(runs_of_tokens, order=order),
        binary=True,
        norm=None,
        alternate_sign=False,
    )
    found = vectorizer.transform(ids)
    seen = np.flatnonzero(found.getnnz(axis=0))  # of a small set few of the columns, and the fit takes its time by them
    weights, bias = _fitted(found[:, seen], labels, regularization)
    return vectorizer.transform(others)[:, seen] @ weights + bias


def runs_of_tokens(ids: np.ndarray, order: int) -> Iterator[str]:
    """Every run of up to `order` tokens of a text, as their ids.

    >>> list(runs_of_tokens(np.array([2, 7, 5]), order=2))
    ['2', '7', '5', '2 7', '7 5']
    """
    words = [str(token) for token in ids.tolist()]
    for length in range(1, order + 1):
        yield from map(" ".join, zip(*(words[start:] for start in range(length)), strict=False))


def _present_ngrams(ngrams: NgramClassifier, ids: Sequence[np.ndarray]) -> scipy.sparse.csr_matrix:
    """Which n-grams each text has: ones in a sparse `(texts, weights)`."""
    found: list[np.ndarray] = [np.empty(0)] * len(ids)
    for places, batch in batches.sorted_batches(ids, _TOKENS_PER_BATCH):
        indices = keras.ops.convert_to_numpy(ngrams.indices(batch))
        for place, row in zip(places, indices.reshape(len(places), -1), strict=True):
            found[place] = np.unique(row[row >= 0])
    starts = np.cumsum([0, *(len(row) for row in found)])
    columns = np.concatenate(found)
    shape = (len(ids), ngrams.vocabulary_size + ngrams.buckets)
    return scipy.sparse.csr_matrix((np.ones(len(columns)), columns, starts), shape=shape)


def blend(classifier: BlendedClassifier, ids: Sequence[np.ndarray], labels: Sequence[float]) -> dict[str, float]:
    """Set the mixture of both models by logistic regression over their two logits on validation data.

    >>> from nlp_lstm.models.classifier import SentimentClassifier
    >>> from nlp_lstm.models.encoder import BidirectionalEncoder
    >>> lstm = SentimentClassifier(BidirectionalEncoder(vocabulary_size=6, embedding_size=2, units=3))
    >>> classifier = BlendedClassifier(lstm, NgramClassifier(vocabulary_size=6, order=1, buckets=0))
    >>> classifier.build((None, None))
    >>> _ = classifier.ngrams.table.assign([0, 0, 0, 2, -2, 0])  # 3 is good, 4 is dull
    >>> figures = blend(classifier, [np.array([3, 5]), np.array([4]), np.array([3])], [1, 0, 1])
    >>> figures["ngram_accuracy"], figures["accuracy"]
    (1.0, 1.0)

    Args:
        classifier: both models, fitted on other data.
        ids: the token ids of each validation text.
        labels: 0 or 1 for each; both must occur.

    Returns:
        The validation accuracy of the LSTM alone, of the n-grams alone and of the mixture.
    """
    logits = np.stack([logits_of(model, ids) for model in (classifier.lstm, classifier.ngrams)], axis=1)
    truth = np.asarray(labels)
    model = LogisticRegression().fit(logits, truth)
    classifier.mixture.assign(np.array([*model.coef_[0], model.intercept_[0]], np.float32))
    scores = {
        "lstm_accuracy": logits[:, 0],
        "ngram_accuracy": logits[:, 1],
        "accuracy": model.decision_function(logits),
    }
    return {name: float(np.mean((score > 0) == (truth == 1))) for name, score in scores.items()}
