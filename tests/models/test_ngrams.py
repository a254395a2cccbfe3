"""The n-gram model against a dictionary of tuples, and the mixture of it and the LSTM."""

import keras
import numpy as np
import pytest

from nlp_lstm.errors import UserError
from nlp_lstm.models.classifier import BlendedClassifier, SentimentClassifier
from nlp_lstm.models.encoder import BidirectionalEncoder
from nlp_lstm.models.limits import LARGEST_BUCKETS
from nlp_lstm.models.ngrams import NgramClassifier, first_occurrences, ngram_indices
from nlp_lstm.sentiment.ngram_fitting import blend, fit_ngrams
from nlp_lstm.sentiment.settings import Settings

SIZE, BUCKETS = 40, 1_000_003  # as many buckets as the hash has values, so that few runs share one


def random_texts(rng, rows=6, longest=12):
    lengths = rng.integers(1, longest + 1, rows)
    ids = np.zeros((rows, longest), np.int32)
    for row, length in enumerate(lengths):
        ids[row, :length] = rng.integers(1, SIZE, length)
    return ids, lengths


def ngrams_of(row, length, order):
    """The n-grams that end at each token, as tuples."""
    return [
        [tuple(row[end - n + 1 : end + 1]) for n in range(1, order + 1) if end - n + 1 >= 0] for end in range(length)
    ]


def built(order=2, buckets=BUCKETS, seed=0):
    model = NgramClassifier(SIZE, order, buckets)
    model.build((None, None))
    rng = np.random.default_rng(seed)
    model.table.assign(rng.normal(size=model.table.shape).astype(np.float32))
    model.bias.assign(np.float32(rng.normal()))
    return model


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_equal_runs_and_only_those_share_an_index(order):
    ids, lengths = random_texts(np.random.default_rng(order), rows=40, longest=20)
    indices = keras.ops.convert_to_numpy(ngram_indices(ids, order, SIZE, BUCKETS))
    assert indices.shape == (40, 20, order)
    seen: dict[tuple, set[int]] = {}
    for row, length in enumerate(lengths):
        assert (indices[row, length:] == -1).all()
        for end, runs in enumerate(ngrams_of(ids[row], length, order)):
            assert (indices[row, end, len(runs) :] == -1).all()
            for run, index in zip(runs, indices[row, end], strict=False):
                seen.setdefault(run, set()).add(int(index))
                assert (index == run[0]) if len(run) == 1 else (SIZE <= index < SIZE + BUCKETS)
    assert all(len(found) == 1 for found in seen.values())
    assert len({next(iter(found)) for found in seen.values()}) >= 0.99 * len(seen)


def test_the_largest_ids_stay_in_32_bits():
    ids = np.full((1, 5), 65_535, np.int32)
    indices = keras.ops.convert_to_numpy(ngram_indices(ids, 4, 65_536, 1000))
    run, expected = 65_535, []
    for factor in (32_749, 2_039, 2_039):
        run = (run * factor + 65_535) % 1_000_003
        expected.append(65_536 + run % 1000)
    assert indices[0, 4].tolist() == [65_535, *expected]


def test_first_occurrences():
    rng = np.random.default_rng(0)
    values = rng.integers(-1, 6, (20, 15)).astype(np.int32)
    found = keras.ops.convert_to_numpy(first_occurrences(values))
    for row, marks in zip(values, found, strict=True):
        assert marks.tolist() == [value not in row[:place] for place, value in enumerate(row)]


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_logit_counts_each_different_ngram_once(order):
    rng = np.random.default_rng(order)
    model = built(order)
    ids, lengths = random_texts(rng)
    table = keras.ops.convert_to_numpy(model.table)
    indices = keras.ops.convert_to_numpy(model.indices(ids))
    expected = [
        sum(table[index] for index in {int(index) for index in indices[row, :length].ravel() if index >= 0})
        + float(model.bias)
        for row, length in enumerate(lengths)
    ]
    np.testing.assert_allclose(model(ids), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(keras.ops.sum(model.shares(ids), axis=1) + model.bias, expected, rtol=1e-5, atol=1e-5)


def test_padding_changes_nothing():
    model = built(3)
    ids, _ = random_texts(np.random.default_rng(5))
    wider = np.pad(ids, [[0, 0], [0, 9]])
    np.testing.assert_allclose(model(wider), model(ids), rtol=1e-6, atol=1e-6)
    assert (keras.ops.convert_to_numpy(model.shares(wider))[:, ids.shape[1] :] == 0).all()


def test_a_vocabulary_that_the_hash_cannot_take_is_refused():
    with pytest.raises(ValueError, match="at most 65536, got 65537"):
        NgramClassifier(65_537, 2, 10)


def test_every_bucket_is_there_to_be_hit_and_more_are_refused():
    largest = NgramClassifier(SIZE, 2, LARGEST_BUCKETS)
    # The run (x, y) has the hash 32,749 x + y: that of these two is the last there is, and the first.
    x, y = divmod(LARGEST_BUCKETS - 1, 32_749)
    indices = keras.ops.convert_to_numpy(largest.indices(np.array([[x, y], [x, y + 1]], np.int32)))
    assert indices[:, 1, 1].tolist() == [SIZE + LARGEST_BUCKETS - 1, SIZE]
    with pytest.raises(ValueError, match="buckets must be at most 1000003, got 1000004: the hash has no more values"):
        NgramClassifier(SIZE, 2, LARGEST_BUCKETS + 1)
    Settings(ngram_buckets=LARGEST_BUCKETS)
    with pytest.raises(UserError) as error:
        Settings(ngram_buckets=LARGEST_BUCKETS + 1)
    assert str(error.value) == "--ngram-buckets is 1000004: expected 0 (no n-gram model) to 1000003"


def labelled_texts(rng, count):
    """Token 1 followed by 2 is positive, 2 followed by 1 negative: words alone tell nothing."""
    texts, labels = [], []
    for _ in range(count):
        label = int(rng.integers(2))
        filler = rng.integers(3, SIZE, 6)
        pair = [1, 2] if label else [2, 1]
        texts.append(np.array([*filler[:3], *pair, *filler[3:]], np.int32))
        labels.append(label)
    return texts, labels


def test_fitting_finds_what_only_pairs_tell():
    rng = np.random.default_rng(0)
    texts, labels = labelled_texts(rng, 400)
    model = NgramClassifier(SIZE, 2, 4096)
    model.build((None, None))
    fit_ngrams(model, texts, labels, regularization=1.0)
    others, truth = labelled_texts(rng, 200)
    answered = keras.ops.convert_to_numpy(model(np.stack(others))) > 0
    assert np.mean(answered == truth) > 0.97
    words_alone = NgramClassifier(SIZE, 1, 1)
    words_alone.build((None, None))
    fit_ngrams(words_alone, texts, labels, regularization=1.0)
    answered = keras.ops.convert_to_numpy(words_alone(np.stack(others))) > 0
    assert np.mean(answered == truth) < 0.65


def test_fitting_gives_the_naive_bayes_regression():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(1)
    texts, labels = labelled_texts(rng, 60)
    truth = np.array(labels)
    model = NgramClassifier(SIZE, 1, 1)
    model.build((None, None))
    fit_ngrams(model, texts, labels, regularization=2.0)
    present = np.array([[token in text for token in range(SIZE + 1)] for text in texts], float)
    p, q = present[truth == 1].sum(0) + 1, present[truth == 0].sum(0) + 1
    ratio = np.log((p / p.sum()) / (q / q.sum()))
    oracle = LogisticRegression(C=0.5, max_iter=500).fit(present * ratio, truth)
    np.testing.assert_allclose(model.table, ratio * oracle.coef_[0], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(model.bias, oracle.intercept_[0], rtol=1e-3, atol=1e-4)


@pytest.fixture
def blended():
    lstm = SentimentClassifier(BidirectionalEncoder(SIZE, 5, 4, seed=0), seed=0)
    lstm.build((None, None))
    rng = np.random.default_rng(2)
    lstm.set_weights([rng.normal(size=weight.shape).astype(np.float32) for weight in lstm.weights])
    model = BlendedClassifier(lstm, built())
    model.build((None, None))
    model.mixture.assign(np.array([0.7, 0.4, -0.2], np.float32))
    return model


def test_the_mixture(blended):
    ids, _ = random_texts(np.random.default_rng(3))
    expected = 0.7 * np.array(blended.lstm(ids)) + 0.4 * np.array(blended.ngrams(ids)) - 0.2
    np.testing.assert_allclose(blended(ids), expected, rtol=1e-5, atol=1e-5)


def test_shares_and_bias_add_up_to_the_logit(blended):
    ids, _ = random_texts(np.random.default_rng(4))
    logits, bias, polarity, (forward, _) = blended.explain(ids)
    np.testing.assert_allclose(logits, blended(ids), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(keras.ops.sum(polarity, axis=1) + bias, logits, rtol=1e-5, atol=1e-5)
    units = blended.explain_units(ids)
    np.testing.assert_allclose(units.bias, bias, rtol=1e-5, atol=1e-5)
    total = keras.ops.sum(units.shares, axis=1) + units.ngrams + units.bias
    np.testing.assert_allclose(total, logits, rtol=1e-5, atol=1e-5)
    assert forward.input.shape == (*ids.shape, 4)


def test_round_trip_through_keras(blended, tmp_path):
    ids, _ = random_texts(np.random.default_rng(6))
    blended(ids)
    blended.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again(ids), blended(ids), rtol=1e-6, atol=1e-6)


def test_blending_leans_on_the_better_model(blended):
    rng = np.random.default_rng(0)
    texts, labels = labelled_texts(rng, 300)
    fit_ngrams(blended.ngrams, texts, labels, regularization=1.0)
    others, truth = labelled_texts(rng, 300)
    accuracies = blend(blended, others, truth)
    assert accuracies["ngram_accuracy"] > 0.95
    assert accuracies["lstm_accuracy"] < 0.7
    assert accuracies["accuracy"] >= accuracies["ngram_accuracy"] - 0.01
    lean, on, _ = keras.ops.convert_to_numpy(blended.mixture)
    assert on > abs(lean)
    answered = keras.ops.convert_to_numpy(blended(np.stack(others))) > 0
    assert np.mean(answered == truth) == accuracies["accuracy"]
