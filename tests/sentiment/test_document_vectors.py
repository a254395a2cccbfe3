"""Document vectors: alike for texts of like n-grams, settled by a seed, and what a linear model of them tells."""

import dataclasses
import importlib.util

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from nlp_lstm.errors import UserError
from nlp_lstm.run_folder import RunFolder
from nlp_lstm.sentiment import document_vectors as module
from nlp_lstm.sentiment.document_vectors import document_vectors, vector_logits
from nlp_lstm.sentiment.ngram_fitting import ngram_logits
from nlp_lstm.sentiment.settings import Settings
from nlp_lstm.sentiment.teaching import EncodedTexts, taught_labels
from nlp_lstm.sentiment.train import train
from nlp_lstm.text.vocabulary import Vocabulary


def texts_of_two_topics(number, seed):
    """Texts of tokens 3 to 22 or 13 to 32: half of what they may have is the other's as well."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=number)
    return [(3 + 10 * label + rng.integers(20, size=40)).astype(np.int32) for label in labels], labels.tolist()


def test_alike_for_texts_of_like_ngrams():
    ids, labels = texts_of_two_topics(120, seed=0)
    found = document_vectors(ids, order=2, width=16, passes=30, seed=0)
    assert found.shape == (120, 16)
    directions = found / np.linalg.norm(found, axis=1, keepdims=True)
    likeness = directions @ directions.T
    same = np.equal.outer(labels, labels)
    np.fill_diagonal(likeness, np.nan)
    assert np.nanmean(likeness[same]) > np.nanmean(likeness[~same]) + 0.1


def test_a_seed_settles_them():
    ids, _ = texts_of_two_topics(40, seed=0)
    first, again, other = (document_vectors(ids, order=2, width=8, passes=2, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_places_stay():
    """Whatever the order in which they are learnt: the vector of a text is in its place."""
    ids, labels = texts_of_two_topics(100, seed=3)
    order = np.argsort(labels, kind="stable")
    found = document_vectors([ids[place] for place in order], order=2, width=8, passes=30, seed=0)
    model = LogisticRegression().fit(found[::2], np.asarray(labels)[order][::2])
    assert model.score(found[1::2], np.asarray(labels)[order][1::2]) > 0.9


def test_logits_of_other_texts():
    ids, labels = texts_of_two_topics(200, seed=1)
    logits = vector_logits(ids[:100], labels[:100], ids[100:], labels[100:150], order=2, width=16, passes=30, seed=0)
    assert logits.shape == (100,)
    assert np.mean((logits > 0) == np.asarray(labels[100:], bool)) > 0.9


def test_a_text_longer_than_gensim_reads():
    """Each order of its runs has a part in what is read."""
    long = np.arange(3, 30_003, dtype=np.int32)
    seen = list(module.runs_of_tokens(long[: module._MOST_RUNS // 3], 3))
    assert len(seen) <= module._MOST_RUNS and seen[-1].count(" ") == 2
    assert document_vectors([long, long, long], order=3, width=2, passes=1, seed=0).shape == (3, 2)


def test_texts_that_have_nothing_in_common():
    ids = [np.array([number], np.int32) for number in range(5)]
    with pytest.raises(UserError, match="occurs 3 times, so there are no document vectors to learn: leave"):
        document_vectors(ids, order=2, width=4, passes=1, seed=0)


SETTINGS = Settings(embedding_size=4, units=3, teacher_order=2, teacher_vectors=8, teacher_vector_passes=20)
VOCABULARY = Vocabulary(["", "[UNK]", "[BOUND]", *(f"word{number}" for number in range(30))])


def test_beside_the_ngram_model(tmp_path, capsys):
    ids, labels = texts_of_two_topics(200, seed=2)
    parts = (slice(80), slice(80, 140), slice(140, None))
    training, validation, unlabelled = (EncodedTexts(ids[part], labels[part]) for part in parts)
    run = RunFolder(tmp_path)
    found = taught_labels(training, validation, unlabelled.ids, VOCABULARY, None, run, SETTINGS)
    others = [*validation.ids, *unlabelled.ids]
    columns = {
        "ngram": ngram_logits(training.ids, training.labels, others, 2, SETTINGS.ngram_regularization),
        "vector": vector_logits(training.ids, training.labels, others, validation.labels, 2, 8, 20, SETTINGS.seed),
    }
    both = np.stack(list(columns.values()), axis=1)
    expected = LogisticRegression().fit(both[:60], validation.labels)
    assert found == pytest.approx(expected.predict_proba(both[60:])[:, 1], abs=1e-6)
    (row,) = run.metrics()
    truth = np.asarray(validation.labels, bool)
    assert row["stage"] == "teaching"
    for name, logits in columns.items():
        assert row[f"{name}_accuracy"] == np.mean((logits[:60] > 0) == truth)
    assert row["accuracy"] == expected.score(both[:60], validation.labels)
    assert f"vector_accuracy {row['vector_accuracy']:.4f}" in capsys.readouterr().err


def test_without_gensim(tmp_path, monkeypatch):
    """Told before anything is read or trained."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gensim" else find(name))
    with pytest.raises(UserError, match=r'needs gensim, which is not installed: pip install "nlp_lstm\[vectors\]"'):
        train("sample", RunFolder(tmp_path / "run"), SETTINGS)
    assert not (tmp_path / "run").exists()


def test_not_without_ngrams():
    with pytest.raises(UserError, match="--teacher-vectors labels together with an n-gram model: leave out"):
        dataclasses.replace(SETTINGS, teacher_order=0)
