"""The sampled softmax against NumPy, no look at the answer, and that it learns."""

import keras
import numpy as np
import pytest
from keras import ops

from nlp_lstm.models.encoder import BidirectionalEncoder
from nlp_lstm.models.pretraining import BidirectionalLanguageModel
from nlp_lstm.training import mean_of_outputs

VOCABULARY, WIDTH, UNITS, SAMPLES = 17, 5, 4, 12


def build(samples=SAMPLES, vocabulary=VOCABULARY, seed=0, width=WIDTH, units=UNITS):
    model = BidirectionalLanguageModel(BidirectionalEncoder(vocabulary, width, units, seed=1), samples, seed=2)
    model.build((None, 8))
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(size=weight.shape).astype(np.float32) for weight in model.weights])
    return model


def random_ids(batch, time, seed=0):
    return np.random.default_rng(seed).integers(2, VOCABULARY, (batch, time)).astype(np.int32)


def next_draw(model):
    """What the model will draw next, from a twin of its seed generator: tokens, and how often each is expected."""
    twin = keras.random.SeedGenerator(0)
    twin.state.assign(model.seed_generator.state)
    frequent = model.samples // 2
    number = model.samples - frequent
    uniform = (np.arange(number) + np.asarray(keras.random.uniform((number,), seed=twin), np.float64)) / number
    # Log-uniform: the chance of an id below k is log((k + 1) / (F + 1)) / log((V + 1) / (F + 1)).
    edges = np.log((np.arange(frequent, VOCABULARY + 1) + 1) / (frequent + 1)) / np.log(
        (VOCABULARY + 1) / (frequent + 1)
    )
    drawn = frequent + np.searchsorted(edges, uniform, side="right") - 1
    expected = number * np.diff(edges)
    return [(token, 1.0) for token in range(frequent)] + [(token, expected[token - frequent]) for token in drawn]


def cross_entropy(hidden, target, chosen, projection, embedding, bias):
    """One guess, in float64 and with nothing taken out of the exponentials but what must be."""
    guess = hidden @ projection[0] + projection[1]

    def score(token):
        return guess @ embedding[token] + bias[token]

    wrong = [score(token) - np.log(expected) for token, expected in chosen if token != target]
    return np.logaddexp.reduce([score(target), *wrong]) - score(target)


def numpy_losses(model, ids, chosen):
    """The sum of each text's guesses, and how many there are."""
    projections = [[np.asarray(w, np.float64) for w in layer.weights] for layer in model.projections]
    embedding = np.asarray(model.encoder.embedding.embeddings, np.float64)
    bias = np.asarray(model.token_bias, np.float64)
    forward, backward = (np.asarray(direction, np.float64) for direction in model.encoder(ids))
    sums, count = np.zeros(len(ids)), 0
    for row, text in enumerate(ids):
        length = np.count_nonzero(text)
        for t in range(length - 1):
            sums[row] += cross_entropy(forward[row, t], text[t + 1], chosen, projections[0], embedding, bias) / 2
            sums[row] += cross_entropy(backward[row, t + 1], text[t], chosen, projections[1], embedding, bias) / 2
            count += 1
    return sums, count


def padded_ids():
    ids = random_ids(4, 8)
    ids[1, 5:] = 0
    ids[2, 1:] = 0  # a single token is nothing to guess from
    return ids


def test_the_loss_equals_numpy():
    model = build()
    ids = padded_ids()
    for _ in range(2):  # two draws
        chosen = next_draw(model)
        assert {token for token, _ in chosen[SAMPLES // 2 :]} & set(ids.ravel()), "no right token is among the drawn"
        sums, count = numpy_losses(model, ids, chosen)
        found = np.asarray(model(ids))
        np.testing.assert_allclose(found, sums * len(ids) / count, rtol=1e-4)
        np.testing.assert_allclose(found.mean(), sums.sum() / count, rtol=1e-4)  # each guess counts the same


def test_with_room_for_all_tokens_it_is_the_softmax():
    model = build(samples=VOCABULARY)
    ids = padded_ids()
    sums, count = numpy_losses(model, ids, [(token, 1.0) for token in range(VOCABULARY)])
    np.testing.assert_allclose(model(ids), sums * len(ids) / count, rtol=1e-4)


def test_the_draw_is_new_each_time_and_follows_the_seed():
    model, again = build(), build()
    ids = random_ids(2, 8)
    first, second = (ops.convert_to_numpy(model(ids)) for _ in range(2))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, again(ids))


def test_the_sum_over_the_chosen_is_that_over_all_tokens_on_the_average():
    model = build()
    counts = np.zeros(VOCABULARY)
    draws = 4000
    for _ in range(draws):
        chosen, counts_for = (ops.convert_to_numpy(part) for part in model._choose())
        assert len(chosen) == SAMPLES
        np.add.at(counts, chosen, np.exp(counts_for))
    # A token that is expected 0.4 times in a draw, and each time stands for 2.5.
    np.testing.assert_allclose(counts / draws, 1.0, atol=0.1)


@pytest.mark.parametrize("place", [0, 3, 7])
def test_a_guess_never_sees_what_it_guesses(monkeypatch, place):
    """What token `place` changes among the guesses: only those that are made after having read it."""
    model = build()
    ids = random_ids(1, 8)
    other = ids.copy()
    other[0, place] = 2 + (ids[0, place] - 1) % (VOCABULARY - 2)

    def guesses(ids):
        found = []
        monkeypatch.setattr(
            model,
            "_nats",
            lambda guess, target, *_: found.append((np.asarray(guess), np.asarray(target))) or np.zeros(target.shape),
        )
        model(ids)
        return found

    (forward, next_), (backward, previous) = guesses(ids)
    (other_forward, _), (other_backward, _) = guesses(other)
    np.testing.assert_array_equal(next_, ids[:, 1:])
    np.testing.assert_array_equal(previous, ids[:, :-1])
    # Row t of the forward guesses is about token t + 1 and has read 0…t; of the backward about t, having read t + 1….
    np.testing.assert_array_equal(np.any(forward != other_forward, axis=-1)[0], np.arange(7) >= place)
    np.testing.assert_array_equal(np.any(backward != other_backward, axis=-1)[0], np.arange(7) + 1 <= place)


def cyclic_windows(count, time, period, seed):
    starts = np.random.default_rng(seed).integers(0, period, count)
    return (2 + (starts[:, None] + np.arange(time)) % period).astype(np.int32)


def test_it_learns_a_cycle():
    """In a cycle each neighbour follows from the token, so the loss can fall to nothing; chance would be log 10."""
    period, time = 10, 8
    model = BidirectionalLanguageModel(BidirectionalEncoder(2 + period, 12, 16, seed=1), samples=40, seed=2)
    model.compile(keras.optimizers.Adam(0.02), loss=mean_of_outputs, jit_compile=False)
    model.fit(cyclic_windows(2048, time, period, seed=1), np.zeros(2048), batch_size=32, verbose=0, shuffle=False)
    fresh = cyclic_windows(64, time, period, seed=2)
    assert np.mean(model(fresh)) < 0.3 * np.log(period)


def test_a_step_moves_every_weight():
    model = build()
    model.compile(keras.optimizers.SGD(0.1), loss=mean_of_outputs, jit_compile=False)
    before = model.get_weights()
    model.train_on_batch(random_ids(4, 8), np.zeros(4))
    for weight, old, new in zip(model.weights, before, model.get_weights(), strict=True):
        assert np.any(old != new), weight.path


def test_huge_scores_stay_finite():
    model = build()
    model.set_weights([weight * 200 for weight in model.get_weights()])
    assert np.all(np.isfinite(model(random_ids(3, 8))))
