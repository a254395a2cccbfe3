"""Vectors of whole documents, learnt from their n-grams without a label: what a teacher's linear model goes by."""

import importlib.util
import os
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from nlp_lstm.errors import UserError
from nlp_lstm.sentiment.ngram_fitting import runs_of_tokens

_LEAST_COUNT = 3  # an n-gram seen fewer times tells little of its document, and most of them are
_MOST_RUNS = 10_000  # gensim reads no more of a document
_STRENGTHS = (1e-3, 1e-2, 1e-1)  # C, of which validation data chooses


def check_installed() -> None:
    """Refuse, before anything is trained, to learn vectors without gensim."""
    if importlib.util.find_spec("gensim") is None:
        raise UserError('--teacher-vectors needs gensim, which is not installed: pip install "nlp_lstm[vectors]"')


def document_vectors(ids: Sequence[np.ndarray], order: int, width: int, passes: int, seed: int) -> np.ndarray:
    r"""A vector for each document, from which its n-grams can be guessed.

    >>> ids = [np.array([2, 3, 4, 2]), np.array([2, 5, 6, 2])] * 10
    >>> document_vectors(ids, order=2, width=8, passes=2, seed=0).shape
    (20, 8)

    For each n-gram :math:`w` of a document with the vector :math:`d` one step of

    .. math:: -\log \sigma(u_w^\top d) - \sum_{i=1}^5 \log \sigma(-u_{w_i}^\top d)

    with other n-grams :math:`w_i` drawn (Le and Mikolov 2014, "Distributed Representations of Sentences and Documents",
    the bag of words; Li, Liu, Du, Zhang and Zhao 2016, "Learning Document Embeddings by Predicting N-grams for
    Sentiment Classification of Long Movie Reviews", with n-grams). By gensim, in one thread, so that a seed settles it.

    Args:
        ids: the token ids of each document.
        order: longest n-gram.
        width: of a vector.
        passes: over all documents.
        seed: settles the first vectors, the order of the documents and what is drawn.

    Returns:
        `(documents, width)`.

    Raises:
        UserError: if gensim is not installed, or no n-gram occurs three times.
    """
    check_installed()
    from gensim.models.callbacks import CallbackAny2Vec
    from gensim.models.doc2vec import Doc2Vec

    class Progress(CallbackAny2Vec):
        done = 0

        def on_epoch_end(self, _: Any) -> None:
            self.done += 1
            print(f"document vectors: pass {self.done} of {passes}", file=sys.stderr)

    # In an order of their own: what is learnt of a document drifts a little in a pass, and labels go by places.
    order_of_pass = np.random.default_rng(seed).permutation(len(ids))
    model = Doc2Vec(
        vector_size=width,
        dm=0,
        min_count=_LEAST_COUNT,
        negative=5,
        sample=1e-4,
        alpha=0.05,
        min_alpha=0.0005,
        epochs=passes,
        workers=1,
        seed=seed,
    )
    with tempfile.TemporaryDirectory() as folder:
        # From a file gensim reads nearly twice as fast as from Python.
        corpus = os.path.join(folder, "documents")
        with open(corpus, "w", encoding="ascii") as file:
            for place in order_of_pass.tolist():
                runs = runs_of_tokens(ids[place][: _MOST_RUNS // order], order)
                file.write(" ".join(run.replace(" ", "_") for run in runs) + "\n")
        model.build_vocab(corpus_file=corpus)
        if not len(model.wv):
            raise UserError(
                f"no n-gram of the texts occurs {_LEAST_COUNT} times, so there are no document vectors to learn: "
                "leave --teacher-vectors out"
            )
        model.train(
            corpus_file=corpus,
            total_examples=model.corpus_count,
            total_words=model.corpus_total_words,
            epochs=passes,
            callbacks=[Progress()],
        )
    vectors = np.empty_like(model.dv.vectors)
    vectors[order_of_pass] = model.dv.vectors
    return vectors


def vector_logits(
    ids: Sequence[np.ndarray],
    labels: Sequence[float],
    others: Sequence[np.ndarray],
    held_out_labels: Sequence[float],
    order: int,
    width: int,
    passes: int,
    seed: int,
) -> np.ndarray:
    """The logits of other texts by a linear model of the vectors of those that have labels.

    All of these texts together, without their labels, are what the vectors are learnt from.

    Args:
        ids: the token ids of each text with a label.
        labels: 0 or 1 for each; both must occur.
        others: the token ids of each other text.
        held_out_labels: of the first ones of these, which choose the strength of the penalty.
        order: and the rest, as of `document_vectors`.
        width: the same.
        passes: the same.
        seed: the same.

    Returns:
        `(others,)`.
    """
    vectors = document_vectors([*ids, *others], order, width, passes, seed)
    vectors = vectors / vectors.std()
    known, asked = vectors[: len(ids)], vectors[len(ids) :]
    fits = [LogisticRegression(C=strength, max_iter=500).fit(known, labels) for strength in _STRENGTHS]
    held_out = asked[: len(held_out_labels)]
    costs = [log_loss(held_out_labels, fit.predict_proba(held_out)[:, 1], labels=[0, 1]) for fit in fits]
    return fits[int(np.argmin(costs))].decision_function(asked)
