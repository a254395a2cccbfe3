"""The translator: its guesses and gradients against NumPy, what padding and dropout may do, and that it learns."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy_lstm
import pytest
import tensorflow as tf
from keras import ops
from numpy_lstm import assert_all_near, assert_near, central_differences

from nlp_lstm.lstm import LSTMCell
from nlp_lstm.models.translator import (
    DecoderState,
    Memory,
    NatsPerToken,
    TeacherForcing,
    Translator,
    attend,
    smoothed_loss,
)

PADDING, BEGINNING, END = 0, 2, 3
# All of them different, so that no axis is taken for another.
SIZES = {"vocabulary_size": 9, "embedding_size": 4, "encoder_units": 3, "decoder_units": 5, "attention_size": 2}
VARIANTS = {
    "dot": {},
    "additive": {"attention": "additive"},
    "dot, two layers": {"encoder_layers": 2},
    "additive, two layers": {"attention": "additive", "encoder_layers": 2},
}
# Padding behind a sentence, and, as none has in use, before and within one.
SOURCE = np.array([[5, 1, 8, 4, 3], [7, 3, 0, 0, 0], [0, 4, 0, 6, 3]], np.int32)
TARGET = np.array([[2, 7, 7, 4, 3, 0], [2, 3, 0, 0, 0, 0], [2, 8, 5, 6, 1, 3]], np.int32)


def built(**options):
    """A model with random weights, and not small ones."""
    model = Translator(**{**SIZES, "seed": 1, **options})
    model.build()
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0.0, 0.8, weight.shape) for weight in model.weights])
    return model


@pytest.fixture(params=["dot, two layers", "additive"])
def model(request):
    return built(**VARIANTS[request.param])


@pytest.fixture
def full_model():
    """One with every kind of weight there is."""
    return built(**VARIANTS["additive, two layers"])


@pytest.fixture
def in_float64():
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy("float32")


def as_array(tensor):
    return ops.convert_to_numpy(tensor)


# The oracle


def variables(model):
    """The weights by what they are for."""
    decoder = model.decoder
    return {
        "embedding": model.embedding.embeddings,
        "encoder": [[list(lstm.weights) for lstm in pair] for pair in model.encoder],
        "keys": model.keys.kernel,
        "hidden_bridge": [model.hidden_bridge.kernel, model.hidden_bridge.bias],
        "cell_bridge": [model.cell_bridge.kernel, model.cell_bridge.bias],
        "cell": list(decoder.cell.weights),
        "query": list(decoder.query.weights),  # a bias in additive attention alone
        "score_weights": [] if decoder.score_weights is None else [decoder.score_weights],
        "combine": [decoder.combine.kernel, decoder.combine.bias],
        "output_bias": model.output_bias,
    }


def weights_of(model):
    return keras.tree.map_structure(lambda variable: np.asarray(variable, np.float64), variables(model))


class Kept(NamedTuple):
    """What dropout multiplies by: zeros and 1 / (1 - rate)."""

    source: Any = 1.0  # (B, 1, E)
    target: Any = 1.0  # (B, 1, E)
    memory: Sequence[Any] = (1.0, 1.0)  # each (B, S, 2U): of the states between layers, at last of the memory
    output: Any = 1.0  # (B, T, E)
    recurrent_kernels: Sequence[Any] = (None,) * 5  # forward and backward of each layer, at last the decoder's


class Answer(NamedTuple):
    attended: np.ndarray  # (B, T, E), as it is fed in
    logits: np.ndarray  # (B, T, V)
    attention: np.ndarray  # (B, T, S)


def oracle(weights, source, target, kept=None):
    """The model in float64, one row, one step and one token of the source at a time."""
    kept = kept or Kept()
    table, is_token = weights["embedding"], source != PADDING
    kernels = list(kept.recurrent_kernels)
    states = table[source] * kept.source
    for layer, pair in enumerate(weights["encoder"]):
        if layer:
            states = states * kept.memory[layer - 1]
        ahead, behind = (
            numpy_lstm.lstm(
                states, *lstm, mask=is_token, go_backwards=backwards, recurrent_kernel_dropout=kernels.pop(0)
            )
            for backwards, lstm in enumerate(pair)
        )
        states = np.concatenate([ahead.shown, behind.shown[:, ::-1]], axis=-1)
    states = states * kept.memory[-1]
    embedded, kept_output = table[target] * kept.target, np.broadcast_to(kept.output, (*target.shape, table.shape[1]))
    attended, attention = np.zeros((*target.shape, table.shape[1])), np.zeros((*target.shape, source.shape[1]))
    for row in range(len(source)):
        tokens = np.flatnonzero(is_token[row])
        kernel, bias = weights["hidden_bridge"]
        hidden = np.tanh(np.concatenate([ahead.last_hidden[row], behind.last_hidden[row]]) @ kernel + bias)
        kernel, bias = weights["cell_bridge"]
        cell = np.concatenate([ahead.last_cell[row], behind.last_cell[row]]) @ kernel + bias
        fed = np.zeros(table.shape[1])
        for t in range(target.shape[1]):
            step = numpy_lstm.lstm(
                np.concatenate([embedded[row, t], fed])[None, None],
                *weights["cell"],
                [hidden[None], cell[None]],
                recurrent_kernel_dropout=kernels[-1],
            )
            hidden, cell = step.last_hidden[0], step.last_cell[0]
            query = hidden @ weights["query"][0]
            scores = []
            for place in tokens:
                key = states[row, place] @ weights["keys"]
                if weights["score_weights"]:
                    scores.append(np.tanh(query + weights["query"][1] + key) @ weights["score_weights"][0])
                else:
                    scores.append(query @ key / np.sqrt(len(key)))
            attention[row, t, tokens] = np.exp(scores) / np.sum(np.exp(scores))
            context = sum(attention[row, t, place] * states[row, place] for place in tokens)
            kernel, bias = weights["combine"]
            fed = np.tanh(np.concatenate([hidden, context]) @ kernel + bias)
            attended[row, t] = fed
    return Answer(attended, (attended * kept_output) @ table.T + weights["output_bias"], attention)


def log_softmax(logits):
    logits = np.asarray(logits, np.float64)
    return logits - np.log(np.sum(np.exp(logits), axis=-1, keepdims=True))


def costs(logits, following, smoothing):
    """Nats of each id without and with smoothing, as a cross-entropy with the guess that there should be."""
    log_probs = log_softmax(logits)
    certain = np.eye(logits.shape[-1])[following]
    wanted = (1 - smoothing) * certain + smoothing / logits.shape[-1]
    is_token = following != PADDING
    return -np.sum(certain * log_probs, axis=-1) * is_token, -np.sum(wanted * log_probs, axis=-1) * is_token


# Guesses


class TestGuesses:
    def test_the_oracle_has_every_weight(self, model):
        found = keras.tree.flatten(variables(model))
        assert {weight.path for weight in found} == {weight.path for weight in model.weights}
        assert len(found) == len(model.weights) == len(model.trainable_weights)

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_they_equal_numpy(self, variant, in_float64):
        model = built(**VARIANTS[variant])
        expected = oracle(weights_of(model), SOURCE, TARGET)
        attended = model.attended(SOURCE, TARGET)
        assert_near(attended, expected.attended, 1e-11)
        assert_near(model.logits(attended), expected.logits, 1e-11)

    def test_id_by_id_they_are_those_of_teacher_forcing(self, model):
        expected = oracle(weights_of(model), SOURCE, TARGET)
        memory, state = model.encode(SOURCE)
        for t in range(TARGET.shape[1]):
            log_probs, state, attention = model.step(TARGET[:, t], state, memory)
            assert_near(log_probs, log_softmax(expected.logits[:, t]), 1e-5)
            assert_near(attention, expected.attention[:, t : t + 1], 1e-5)
            assert_near(state.attended, expected.attended[:, t], 1e-5)
        forced = log_softmax(as_array(model((SOURCE, TARGET)))[:, -1])
        assert_near(log_probs, forced, 1e-5)

    def test_several_translations_of_a_source_share_its_memory(self, model):
        """Those of a row stand together, as in a beam."""
        several = np.random.default_rng(1).integers(1, 9, (3, 2, 4)).astype(np.int32)
        memory, state = model.encode(SOURCE)
        state = DecoderState(*(ops.repeat(part, 2, axis=0) for part in state))
        guesses, looks = [], []
        for t in range(4):
            log_probs, state, attention = model.step(several[:, :, t].reshape(-1), state, memory)
            guesses.append(as_array(log_probs).reshape(3, 2, -1))
            looks.append(as_array(attention))
        for query in range(2):
            expected = oracle(weights_of(model), SOURCE, several[:, query])
            assert_near(np.stack(guesses, axis=2)[:, query], log_softmax(expected.logits), 1e-5)
            assert_near(np.stack(looks, axis=2)[:, query], expected.attention, 1e-5)

    def test_in_a_graph_of_any_size(self, model):
        anything = tf.TensorSpec([None, None], tf.int32)
        in_graph = tf.function(
            lambda source, target: model((source, target)), input_signature=[anything, anything], autograph=False
        )
        for rows, columns in ((3, 5), (2, 4)):
            expected = oracle(weights_of(model), SOURCE[:rows], TARGET[:rows, :columns]).logits
            assert_near(in_graph(SOURCE[:rows], TARGET[:rows, :columns]), expected, 1e-5)

    def test_an_id_changes_the_guesses_from_it_on_alone(self, model):
        places, steps = np.array([0, 2, 4]), TARGET.shape[1]
        target = np.tile(TARGET[2], (4, 1))
        target[[1, 2, 3], places] = 9 - target[0, places]
        logits = as_array(model((np.tile(SOURCE[2], (4, 1)), target)))
        changed = np.any(np.abs(logits[1:] - logits[0]) > 1e-5, axis=-1)
        np.testing.assert_array_equal(changed, np.arange(steps) >= places[:, None])

    @pytest.mark.parametrize("part", ["hidden", "cell"])
    def test_the_decoder_begins_with_what_both_bridges_give(self, part):
        model = built()
        _, start = model.encode(SOURCE)
        before = as_array(model((SOURCE, TARGET[:, :2])))
        bridge = getattr(model, f"{part}_bridge")
        bridge.kernel.assign(as_array(bridge.kernel) * 0.5)
        _, other = model.encode(SOURCE)
        changed = [name for name, a, b in zip(start._fields, start, other, strict=True) if np.any(a != b)]
        assert changed == [part]
        assert np.abs(as_array(model((SOURCE, TARGET[:, :2]))) - before)[:, 0].max() > 1e-3
        assert not np.any(start.attended)


class TestAttend:
    @pytest.mark.parametrize("additive", [False, True])
    def test_equals_numpy_query_by_query(self, additive):
        rng = np.random.default_rng(2)
        query, keys, values = (rng.normal(size=shape) for shape in ((2, 3, 4), (2, 5, 4), (2, 5, 6)))
        is_token = np.array([[1, 1, 0, 1, 0], [1, 0, 0, 0, 0]], bool)
        v = rng.normal(size=4) if additive else None
        context, weights = attend(query, Memory(values, keys, is_token), v)
        assert context.shape == (2, 3, 6)
        for row, place in itertools.product(range(2), range(3)):
            q, k, m = query[row, place], keys[row, is_token[row]], values[row, is_token[row]]
            scores = k @ q / 2.0 if v is None else np.tanh(k + q) @ v
            expected = np.exp(scores) / np.exp(scores).sum()
            np.testing.assert_allclose(weights[row, place][is_token[row]], expected, rtol=1e-6)
            np.testing.assert_allclose(context[row, place], expected @ m, rtol=1e-5, atol=1e-7)
        assert not np.any(as_array(weights)[~np.broadcast_to(is_token[:, None], weights.shape)])

    def test_one_token_is_all_there_is_to_look_at(self):
        memory = Memory(np.array([[[3.0], [9.0]]]), np.array([[[-80.0], [80.0]]]), np.array([[True, False]]))
        context, weights = attend(np.array([[[10.0]]]), memory)
        assert as_array(weights).tolist() == [[[1.0, 0.0]]]
        assert as_array(context).tolist() == [[[3.0]]]


# Gradients


@pytest.mark.parametrize("variant", ["dot, two layers", "additive"])
def test_gradients_equal_differences_of_the_oracle(variant, in_float64):
    smoothing = 0.3
    model = built(
        vocabulary_size=5, embedding_size=3, encoder_units=2, decoder_units=2, attention_size=2, **VARIANTS[variant]
    )
    source, target = np.array([[4, 1, 3], [3, 0, 0]], np.int32), np.array([[2, 4, 1, 3], [2, 3, 0, 0]], np.int32)

    def mean_cost(*flat):
        logits = oracle(keras.tree.pack_sequence_as(variables(model), flat), source, target[:, :-1]).logits
        return costs(logits, target[:, 1:], smoothing)[1].sum() / 4

    with tf.GradientTape() as tape:
        _, smoothed = model.nats(model.attended(source, target[:, :-1]), target[:, 1:], smoothing)
        cost = tf.reduce_sum(smoothed) / 4
    flat = keras.tree.flatten(weights_of(model))
    assert float(cost) == pytest.approx(mean_cost(*flat), rel=1e-10)
    found = tape.gradient(cost, [variable.value for variable in keras.tree.flatten(variables(model))])
    expected = central_differences(mean_cost, flat)
    assert all(np.any(np.abs(gradient) > 1e-4) for gradient in expected)
    assert_all_near([tf.convert_to_tensor(gradient) for gradient in found], expected, 1e-8)


def gradients(trained, source, target, training=False):
    """Those of the loss by every weight."""
    with tf.GradientTape() as tape:
        loss = smoothed_loss(None, trained((source, target), training=training))
    found = tape.gradient(loss, [weight.value for weight in trained.model.trainable_weights])
    return [as_array(tf.convert_to_tensor(gradient)) for gradient in found]


def test_gradients_in_training_are_the_same_where_nothing_is_dropped(full_model):
    trained = TeacherForcing(full_model, smoothing=0.1)
    found = gradients(trained, SOURCE, TARGET, training=True)
    assert_all_near(found, gradients(trained, SOURCE, TARGET), 1e-5)


def test_gradients_with_large_products_in_half_precision_are_near(full_model):
    """They lose some hundredths of their length; states, weights and what comes out stay in single precision."""
    mixed = built(**VARIANTS["additive, two layers"], product_dtype="bfloat16")
    mixed.set_weights(full_model.get_weights())
    assert {weight.dtype for weight in mixed.weights if "seed" not in weight.path} == {"float32"}
    memory, state = mixed.encode(SOURCE, training=True)
    assert {part.dtype for part in [*memory[:2], *state]} == {tf.float32}
    found, expected = (
        gradients(TeacherForcing(model, smoothing=0.1), SOURCE, TARGET, training=True) for model in (mixed, full_model)
    )
    for one, other in zip(found, expected, strict=True):
        distance = np.linalg.norm(one - other) / np.linalg.norm(other)
        assert 1e-5 < distance < 0.15


# Padding


def widened(ids, columns, rows=0):
    return np.pad(ids, [[0, rows], [0, columns]])


class TestPadding:
    @pytest.fixture
    def larger(self):
        """The same sentences in a batch with more columns, and a row of no sentence."""
        source, target = widened(SOURCE, 3, 1), widened(TARGET, 2, 1)
        source[-1, 0] = END
        return source, target

    def test_guesses_stay_the_same(self, full_model, larger):
        rows, columns = TARGET.shape
        found = full_model(larger)[:rows, :columns]
        assert_near(found, as_array(full_model((SOURCE, TARGET))), 1e-5)
        assert_near(found[1:2], as_array(full_model((SOURCE[1:2, :2], TARGET[1:2]))), 1e-5)  # that of a sentence alone

    def test_it_is_not_looked_at(self, full_model, larger):
        source, target = larger
        memory, state = full_model.encode(source)
        for ids in target.T[:3]:
            _, state, attention = full_model.step(ids, state, memory)
            assert not np.any(as_array(attention)[:, 0][source == PADDING])
            np.testing.assert_allclose(np.sum(attention, axis=-1), 1.0, rtol=1e-5)

    def test_costs_and_gradients_stay_the_same(self, full_model, larger):
        trained = TeacherForcing(full_model, smoothing=0.2)
        sums, expected = as_array(trained(larger)), as_array(trained((SOURCE, TARGET)))
        assert_near(sums[:3], expected, 1e-4)
        np.testing.assert_array_equal(sums[3], 0.0)
        assert float(smoothed_loss(None, sums)) == pytest.approx(float(smoothed_loss(None, expected)), rel=1e-5)
        assert_all_near(gradients(trained, *larger), gradients(trained, SOURCE, TARGET), 1e-5)

    def test_its_embedding_counts_as_a_guess_alone(self, full_model):
        """Whatever stands in its row, nothing but the logit of padding changes."""
        before = as_array(full_model((SOURCE, TARGET)))
        table = as_array(full_model.embedding.embeddings).copy()
        table[PADDING] = 7.0
        full_model.embedding.embeddings.assign(table)
        after, is_read = as_array(full_model((SOURCE, TARGET))), TARGET != PADDING
        np.testing.assert_array_equal(after[is_read][:, 1:], before[is_read][:, 1:])
        assert np.abs(after[is_read][:, 0] - before[is_read][:, 0]).max() > 1.0


# Costs


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_nats_are_cross_entropies(smoothing):
    model, rng = built(), np.random.default_rng(3)
    attended = rng.normal(size=(4, 5, SIZES["embedding_size"])).astype(np.float32)
    following = rng.integers(0, SIZES["vocabulary_size"], (4, 5)).astype(np.int32)
    assert np.any(following == PADDING)
    weights = weights_of(model)
    expected = costs(attended @ weights["embedding"].T + weights["output_bias"], following, smoothing)
    found = model.nats(attended, following, smoothing)
    assert_all_near(found, expected, 1e-5)
    assert (np.abs(expected[0] - expected[1]).max() > 1e-2) == (smoothing > 0)
    for part in found:
        np.testing.assert_array_equal(as_array(part)[following == PADDING], 0.0)


def batches_of_unequal_size():
    rng = np.random.default_rng(4)
    for rows, source_length, target_length in ((1, 3, 9), (5, 2, 3), (3, 6, 5)):
        source, target = (rng.integers(4, 9, (rows, length)) for length in (source_length, target_length))
        target[:, 0] = BEGINNING
        lengths = rng.integers(2, target_length + 1, rows)
        target[np.arange(target_length) >= lengths[:, None]] = PADDING
        yield (source.astype(np.int32), target.astype(np.int32)), np.zeros(rows, np.float32)


def expected_sums(model, source, target, smoothing):
    logits = oracle(weights_of(model), source, target[:, :-1]).logits
    parts = [*costs(logits, target[:, 1:], smoothing), target[:, 1:] != PADDING]
    return np.stack([part.sum(axis=1) for part in parts], axis=1)


class TestTeacherForcing:
    def test_sums_of_each_sentence(self, model):
        sums = TeacherForcing(model, smoothing=0.2)((SOURCE, TARGET))
        assert_near(sums, expected_sums(model, SOURCE, TARGET, 0.2), 1e-4)
        assert as_array(sums)[:, 2].tolist() == [4, 1, 5]
        without = as_array(TeacherForcing(model)((SOURCE, TARGET)))
        np.testing.assert_array_equal(without[:, 0], without[:, 1])

    def test_the_loss_is_the_mean_over_all_tokens(self):
        sums = np.array([[10.0, 30.0, 4.0], [20.0, 50.0, 1.0], [0.0, 0.0, 0.0]], np.float32)
        assert float(smoothed_loss(None, sums)) == 16.0
        assert float(smoothed_loss(None, sums[2:])) == 0.0

    def test_nats_per_token_are_those_of_all_tokens_seen(self):
        metric, rng = NatsPerToken(), np.random.default_rng(5)
        assert metric.name == "nats_per_token"
        for _ in range(2):
            batches = [rng.integers(0, 90, (rows, 3)).astype(np.float32) for rows in (1, 7, 4)]
            for sums in batches:
                metric.update_state(np.zeros(len(sums)), sums)
            nats, _, tokens = np.concatenate(batches).sum(axis=0)
            assert float(metric.result()) == pytest.approx(nats / tokens, rel=1e-6)
            metric.reset_state()
        assert float(metric.result()) == 0.0
        assert NatsPerToken.from_config(metric.get_config()).name == "nats_per_token"

    def test_evaluation_gives_the_exact_total_of_unequal_batches(self):
        model = built()
        trained = TeacherForcing(model, smoothing=0.1)
        trained.build()
        trained.compile("sgd", loss=smoothed_loss, metrics=[NatsPerToken()], jit_compile=False)
        ids = tf.TensorSpec([None, None], tf.int32)
        signature = ((ids, ids), tf.TensorSpec([None], tf.float32))
        dataset = tf.data.Dataset.from_generator(batches_of_unequal_size, output_signature=signature)
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(3))
        parts = [expected_sums(model, *inputs, 0.1) for inputs, _ in batches_of_unequal_size()]
        nats, _, tokens = np.concatenate(parts).sum(axis=0)
        means = [part[:, 0].sum() / part[:, 2].sum() for part in parts]
        assert abs(np.mean(means) - nats / tokens) > 1e-2  # it makes a difference
        for _ in range(2):
            found = trained.evaluate(dataset, verbose=0, return_dict=True)
            assert found["nats_per_token"] == pytest.approx(nats / tokens, rel=1e-5)

    def test_a_step_of_training_goes_down_the_gradient_of_the_mean_over_tokens(self):
        """On a copying task; the gradient from TensorFlow's own softmax and nothing of Keras's losses and means."""
        model, smoothing, rate = built(), 0.1, 0.2
        source = np.array([[4, 7, 5, 3, 0], [8, 3, 0, 0, 0], [6, 6, 4, 5, 3]], np.int32)
        target = np.concatenate([np.full((3, 1), BEGINNING, np.int32), source], axis=1)
        following, variables = target[:, 1:], [weight.value for weight in model.trainable_weights]

        def copying_loss():
            log_probs = tf.nn.log_softmax(model((source, target[:, :-1])))
            wanted = (1 - smoothing) * tf.one_hot(following, 9) + smoothing / 9
            return -tf.reduce_sum(tf.reduce_sum(wanted * log_probs, axis=-1)[following != PADDING]) / 11

        with tf.GradientTape() as tape:
            before = copying_loss()
        expected = [
            variable.numpy() - rate * tf.convert_to_tensor(gradient).numpy()
            for variable, gradient in zip(variables, tape.gradient(before, variables), strict=True)
        ]
        trained = TeacherForcing(model, smoothing)
        trained.build()
        assert [w.path for w in trained.trainable_weights] == [w.path for w in model.trainable_weights]
        trained.compile(keras.optimizers.SGD(rate), loss=smoothed_loss, jit_compile=False)
        loss = trained.train_on_batch((source, target), np.zeros(3, np.float32))
        assert float(loss) == pytest.approx(float(before), rel=1e-5)
        assert_all_near(variables, expected, 1e-5)
        assert float(copying_loss()) < float(before) - 0.05


# Dropout


RATES = ("embedding_dropout", "memory_dropout", "output_dropout", "recurrent_kernel_dropout")


@pytest.fixture
def drawn(monkeypatch):
    """What is drawn: for each dropout layer and cell the masks, in their order."""
    found: dict[Any, list[np.ndarray]] = {}
    for layer_class in (keras.layers.Dropout, keras.layers.SpatialDropout1D):

        def call(self, inputs, training=False, real=layer_class.call):
            outputs = real(self, inputs, training=training)
            if training:
                is_dropped = (as_array(outputs) == 0.0) & (as_array(inputs) != 0.0)
                found.setdefault(self.name, []).append(np.where(is_dropped, 0.0, 1.0 / (1.0 - self.rate)))
            return outputs

        monkeypatch.setattr(layer_class, "call", call)
    real = LSTMCell.draw_recurrent_kernel_mask

    def draw(self):
        mask = real(self)
        found.setdefault("recurrent_kernel", []).append(1.0 if mask is None else as_array(mask))
        return mask

    monkeypatch.setattr(LSTMCell, "draw_recurrent_kernel_mask", draw)
    return found


def kept_of(model, drawn):
    embedding = drawn[model.embedding_dropout.name]
    return Kept(
        *embedding, drawn[model.memory_dropout.name], *drawn[model.output_dropout.name], drawn["recurrent_kernel"]
    )


def assert_drawn_at(rate, mask):
    assert set(np.unique(mask)) == {0.0, 1.0 / (1.0 - rate)}


class TestDropout:
    @pytest.mark.parametrize("variant", ["dot", "additive, two layers"])
    def test_guesses_in_training_equal_numpy_with_what_was_drawn(self, variant, drawn):
        model = built(**VARIANTS[variant], **dict(zip(RATES, (0.4, 0.3, 0.6, 0.5), strict=True)))
        logits = model.logits(model.attended(SOURCE, TARGET, training=True))
        kept = kept_of(model, drawn)
        assert_near(logits, oracle(weights_of(model), SOURCE, TARGET, kept).logits, 1e-5)
        # A mask of the embedding for the whole of a sentence, one of a recurrent kernel for the whole of a batch.
        for mask in (kept.source, kept.target):
            np.testing.assert_array_equal(mask, np.broadcast_to(mask[:, :1], mask.shape))
            assert_drawn_at(0.4, mask)
        assert not np.array_equal(kept.source[:, 0], kept.target[:, 0])
        layers = model.settings["encoder_layers"]
        assert len(kept.memory) == layers
        for mask in kept.memory:
            assert_drawn_at(0.3, mask)
            assert np.ptp(mask, axis=1).any()  # each state has its own
        assert_drawn_at(0.6, kept.output)
        assert np.ptp(kept.output, axis=1).any()
        shapes = [mask.shape for mask in kept.recurrent_kernels]
        assert shapes == [(3, 12)] * (2 * layers) + [(5, 20)]
        for mask in kept.recurrent_kernels:
            assert_drawn_at(0.5, mask)
        for one, other in itertools.combinations(kept.recurrent_kernels[:-1], 2):
            assert not np.array_equal(one, other)

    @pytest.mark.parametrize("rate", RATES)
    def test_each_rate_counts_in_training_alone(self, rate):
        dropping = built(**{rate: 0.5})
        plain = oracle(weights_of(dropping), SOURCE, TARGET).logits
        one, other = (as_array(dropping((SOURCE, TARGET), training=True)) for _ in range(2))
        assert np.abs(one - plain).max() > 1e-2
        assert np.abs(one - other).max() > 1e-2
        assert_near(dropping((SOURCE, TARGET)), plain, 1e-5)

    def test_a_rate_of_zero_has_no_effect(self, model, drawn):
        found = as_array(model((SOURCE, TARGET), training=True))
        assert_near(found, as_array(model((SOURCE, TARGET))), 1e-5)
        for mask in keras.tree.flatten(kept_of(model, drawn)):
            np.testing.assert_array_equal(mask, 1.0)

    def test_nothing_is_dropped_where_a_translation_is_written(self):
        dropping, plain = built(**dict.fromkeys(RATES, 0.5)), built()
        answers = []
        for model in (dropping, plain):
            memory, state = model.encode(SOURCE)
            answers.append(model.step(TARGET[:, 0], state, memory))
        for found, expected in zip(*(keras.tree.flatten(answer) for answer in answers), strict=True):
            np.testing.assert_array_equal(found, expected)

    def test_training_reads_what_it_dropped_and_no_more(self, drawn):
        """The costs of `TeacherForcing` in training are those of one draw."""
        model = built(**dict.fromkeys(RATES, 0.5))
        sums = TeacherForcing(model, 0.1)((SOURCE, TARGET), training=True)
        logits = oracle(weights_of(model), SOURCE, TARGET[:, :-1], kept_of(model, drawn)).logits
        nats, smoothed = costs(logits, TARGET[:, 1:], 0.1)
        assert_near(sums[:, 0], nats.sum(axis=1), 1e-4)
        assert_near(sums[:, 1], smoothed.sum(axis=1), 1e-4)


class TestRDrop:
    @pytest.mark.parametrize("weight", [0.5, 3.0])
    def test_costs_of_two_passes_and_how_far_apart_they_are_equal_numpy(self, drawn, weight):
        model = built(**dict.fromkeys(RATES, 0.5))
        sums = as_array(TeacherForcing(model, 0.1, r_drop=weight)((SOURCE, TARGET), training=True))
        rows, following = len(SOURCE), TARGET[:, 1:]
        twice = np.concatenate([TARGET, TARGET])
        kept = kept_of(model, drawn)
        logits = oracle(weights_of(model), np.concatenate([SOURCE, SOURCE]), twice[:, :-1], kept).logits
        assert np.abs(logits[:rows] - logits[rows:]).max() > 0.1  # each pass has dropped other features
        nats, smoothed = (part.sum(axis=1).reshape(2, rows).mean(axis=0) for part in costs(logits, twice[:, 1:], 0.1))
        logits = logits.astype(np.longdouble)
        one, other = np.split(logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True)), 2)
        divergences = [(np.exp(p) * (p - q)).sum(axis=-1) for p, q in ((one, other), (other, one))]
        divergence = np.where(following != PADDING, np.mean(divergences, axis=0), 0.0).sum(axis=1)
        assert divergence.min() > 1e-3
        assert_near(sums[:, 0], nats, 1e-4)
        assert_near(sums[:, 1], smoothed + weight * divergence, 1e-4)
        np.testing.assert_array_equal(sums[:, 2], (following != PADDING).sum(axis=1))

    def test_the_gradient_is_that_of_the_costs(self, drawn):
        """By differences, in the output's bias, of what the same draws cost."""
        model = built(**dict.fromkeys(RATES, 0.5))
        attended = [tf.constant(np.random.default_rng(seed).normal(size=(3, 5, 4)), tf.float32) for seed in (0, 1)]
        bias = model.output_bias.value

        def cost():
            return tf.reduce_sum(model.divergence(*attended, TARGET[:, 1:]))

        with tf.GradientTape() as tape:
            scalar = cost()
        found = as_array(tape.gradient(scalar, bias))

        def moved(value):
            bias.assign(value)
            return float(cost())

        assert_near(found, central_differences(moved, [as_array(bias)], 1e-2)[0], 2e-3)

    def test_outside_training_and_without_a_weight_there_is_one_pass(self, drawn):
        model = built(**dict.fromkeys(RATES, 0.5))
        expected = as_array(TeacherForcing(model, 0.1)((SOURCE, TARGET)))
        np.testing.assert_array_equal(as_array(TeacherForcing(model, 0.1, 2.0)((SOURCE, TARGET))), expected)
        assert not drawn
        TeacherForcing(model, 0.1, r_drop=0.0)((SOURCE, TARGET), training=True)
        assert {mask.shape[0] for mask in drawn[model.output_dropout.name]} == {len(SOURCE)}


# Initial weights


# Every matrix has another one of its shape.
EVEN_SIZES = {"vocabulary_size": 8, "embedding_size": 8, "encoder_units": 4, "decoder_units": 8, "encoder_layers": 2}


class TestInitialWeights:
    def drawn(self, seed):
        model = Translator(**EVEN_SIZES, attention="additive", **dict.fromkeys(RATES, 0.5), seed=seed)
        model.build()
        ids = np.random.default_rng(0).integers(1, 8, (2, 5)).astype(np.int32)
        return model, [*model.get_weights(), as_array(model((ids, ids), training=True))]

    def test_the_seed_settles_weights_and_draws(self):
        (model, first), (_, again), (_, other), (_, free), (_, freer) = map(self.drawn, (1, 1, 2, None, None))
        for found, expected in zip(first, again, strict=True):
            np.testing.assert_array_equal(found, expected)
        for a, b in ((first, other), (free, freer), (first, free)):
            is_random = [np.ptp(part) > 0 and not np.all(part % 1 == 0) for part in first]
            assert sum(is_random) == len(model.trainable_weights) + 1 - 10  # all but the biases
            for one, two in itertools.compress(zip(a, b, strict=True), is_random):
                assert not np.any(one == two)

    def test_no_two_matrices_are_alike(self):
        _, weights = self.drawn(3)
        matrices = [weight for weight in weights[:-1] if weight.ndim == 2]
        assert len(matrices) == 1 + 2 * 4 + 3 + 2 + 2
        pairs = [(a, b) for a, b in itertools.combinations(matrices, 2) if a.shape == b.shape]
        assert len(pairs) == 10 + 6 + 6  # five square ones, four kernels, four recurrent ones
        for a, b in pairs:
            assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.6

    def test_first_guesses_are_even(self):
        """Logits begin with a variance below 1, whatever the width."""
        for width in (4, 64):
            model = Translator(50, width, 8, 8, seed=0)
            model.build()
            ids = np.random.default_rng(1).integers(1, 50, (8, 6)).astype(np.int32)
            assert 0.01 < np.std(as_array(model((ids, ids)))) < 1.0

    def test_attention_is_as_wide_as_the_decoder_where_nothing_is_said(self):
        model = Translator(9, 4, 3, 5)
        model.build()
        assert model.keys.kernel.shape == (6, 5)
        assert len(model.decoder.query.weights) == 1
        assert model.decoder.score_weights is None


# Settings and weights on disk


OPTIONS = {
    **SIZES,
    "encoder_layers": 2,
    "attention": "additive",
    "embedding_dropout": 0.1,
    "memory_dropout": 0.2,
    "output_dropout": 0.3,
    "recurrent_kernel_dropout": 0.4,
    "seed": 8,
    "product_dtype": "bfloat16",
    "name": "interpreter",
}


class TestSaving:
    def test_config_round_trip(self):
        config = Translator(**OPTIONS).get_config()
        assert OPTIONS.items() <= config.items()
        assert config.keys() >= Translator(**SIZES).get_config().keys()
        again = Translator.from_config(config)
        assert again.get_config() == config
        rates = [again.embedding_dropout.rate, again.memory_dropout.rate, again.output_dropout.rate]
        assert rates == [0.1, 0.2, 0.3]
        cells = [again.decoder.cell, *(lstm.cell for pair in again.encoder for lstm in pair)]
        assert [cell.recurrent_kernel_dropout for cell in cells] == [0.4] * 5
        assert [cell.compute_dtype for cell in cells] == ["float32", *["bfloat16"] * 4]
        assert not any(cell.dropout or cell.recurrent_dropout for cell in cells)

    def test_config_round_trip_of_training(self):
        trained = TeacherForcing(Translator(**OPTIONS), smoothing=0.25, r_drop=1.5, name="lessons")
        again = TeacherForcing.from_config(trained.get_config())
        assert (again.name, again.smoothing, again.r_drop) == ("lessons", 0.25, 1.5)
        assert again.model.get_config() == trained.model.get_config()

    def test_a_saved_model_gives_the_same_guesses(self, full_model, tmp_path):
        expected = as_array(full_model((SOURCE, TARGET)))
        tf.function(full_model, autograph=False)((SOURCE, TARGET))  # tensors of a graph could not be saved
        full_model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        assert type(loaded) is Translator
        np.testing.assert_array_equal(as_array(loaded((SOURCE, TARGET))), expected)

    def test_a_saved_training_has_the_same_costs(self, tmp_path):
        trained = TeacherForcing(built(), smoothing=0.25)
        expected = as_array(trained((SOURCE, TARGET)))
        trained.save(tmp_path / "trained.keras")
        loaded = keras.saving.load_model(tmp_path / "trained.keras")
        np.testing.assert_array_equal(as_array(loaded((SOURCE, TARGET))), expected)

    def test_weights_alone(self, full_model, tmp_path):
        full_model.save_weights(tmp_path / "model.weights.h5")
        other = Translator.from_config(full_model.get_config())
        other.build()
        assert not np.array_equal(other.get_weights()[0], full_model.get_weights()[0])
        other.load_weights(tmp_path / "model.weights.h5")
        for found, expected in zip(other.get_weights(), full_model.get_weights(), strict=True):
            np.testing.assert_array_equal(found, expected)
        assert [weight.path for weight in other.weights] == [weight.path for weight in full_model.weights]

    def test_a_call_adds_no_weight(self, full_model):
        before = [weight.path for weight in full_model.weights]
        assert len(set(before)) == len(before)
        full_model((SOURCE, TARGET), training=True)
        assert [weight.path for weight in full_model.weights] == before


# Learning


class InventedLanguage:
    """Words 4 to 9 stand for 10 to 15, and are said the other way round; every sentence of up to three words."""

    WORDS, SPECIAL, LONGEST = 6, 4, 3

    def __init__(self):
        words = range(self.SPECIAL, self.SPECIAL + self.WORDS)
        sentences = [
            sentence for length in range(1, self.LONGEST + 1) for sentence in itertools.product(words, repeat=length)
        ]
        order = np.random.default_rng(0).permutation(len(sentences))
        self.source = np.zeros((len(sentences), self.LONGEST + 1), np.int32)
        self.target = np.zeros((len(sentences), self.LONGEST + 2), np.int32)
        for row, place in enumerate(order):
            sentence = sentences[place]
            translation = [word + self.WORDS for word in reversed(sentence)]
            self.source[row, : len(sentence) + 1] = [*sentence, END]
            self.target[row, : len(sentence) + 2] = [BEGINNING, *translation, END]

    def batches(self, rows, size):
        ids = (self.source[:rows], self.target[:rows])
        dataset = tf.data.Dataset.from_tensor_slices((ids, np.zeros(rows, np.float32)))
        return dataset.batch(size, drop_remainder=True)


def greedily(model, source, steps):
    memory, state = model.encode(source)
    ids, written = np.full(len(source), BEGINNING, np.int32), []
    for _ in range(steps):
        log_probs, state, _ = model.step(ids, state, memory)
        ids = as_array(log_probs).argmax(axis=1).astype(np.int32)
        written.append(ids)
    return np.stack(written, axis=1)


@pytest.mark.thorough
def test_it_learns_to_translate_sentences_it_has_not_seen():
    language, kept_back = InventedLanguage(), 50
    model = Translator(16, 16, 12, 24, seed=1)
    model.build()
    trained = TeacherForcing(model, smoothing=0.05)
    trained.build()
    trained.compile(keras.optimizers.Adam(0.03), loss=smoothed_loss, metrics=[NatsPerToken()], jit_compile=False)
    batches = language.batches(len(language.source) - kept_back, 32)
    history = trained.fit(batches, epochs=25, verbose=0, shuffle=False).history
    assert history["nats_per_token"][0] > 1.0
    assert history["nats_per_token"][-1] < 0.1
    source, target = language.source[-kept_back:], language.target[-kept_back:, 1:]
    written = greedily(model, source, language.LONGEST + 1)
    np.testing.assert_array_equal(np.where(target == PADDING, PADDING, written), target)


# Without TensorFlow


WITHOUT_TENSORFLOW = """
import sys
from importlib.machinery import ModuleSpec
from unittest import mock

class Gate:
    '''No TensorFlow; and for JAX, which Keras's NumPy backend imports for a few operations, a stand-in.'''
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "torch"):
            raise ImportError(name + " is shut out")
        if name.split(".")[0] == "jax":
            return ModuleSpec(name, self, is_package=True)
    def create_module(self, spec):
        module = mock.MagicMock(name=spec.name)
        module.__path__, module.__spec__ = [], spec
        return module
    def exec_module(self, module):
        pass

sys.meta_path.insert(0, Gate())
import json
import keras
import numpy as np
from nlp_lstm.models.translator import NatsPerToken, TeacherForcing, Translator, smoothed_loss

assert keras.backend.backend() == "numpy"
given = np.load(sys.argv[1])
model = Translator(**json.loads(str(given["settings"])))
model.build()
model.set_weights([given[f"weight{i}"] for i in range(len(model.weights))])
source, target = given["source"], given["target"]
found = {"logits": model((source, target)), "sums": TeacherForcing(model, smoothing=0.1)((source, target))}
found["loss"] = smoothed_loss(None, found["sums"])
metric = NatsPerToken()
metric.update_state(None, found["sums"])
found["nats_per_token"] = metric.result()
memory, state = model.encode(source)
for t in range(target.shape[1]):
    found["log_probs"], state, found["attention"] = model.step(target[:, t], state, memory)
assert np.ptp(model((source, target), training=True)) > 0
assert type(found["logits"]) is np.ndarray
np.savez(sys.argv[2], **found)
assert not any(name.split(".")[0] in ("tensorflow", "torch") for name in sys.modules)
"""


@pytest.mark.parametrize("variant", ["additive, two layers"])
def test_runs_on_numpy_without_tensorflow(variant, tmp_path):
    model = built(**VARIANTS[variant], **dict.fromkeys(RATES, 0.1))
    weights = {f"weight{place}": weight for place, weight in enumerate(model.get_weights())}
    settings = json.dumps(model.settings)
    np.savez(tmp_path / "given.npz", settings=settings, source=SOURCE, target=TARGET, **weights)
    subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, str(tmp_path / "given.npz"), str(tmp_path / "found.npz")],
        env={**os.environ, "KERAS_BACKEND": "numpy"},
        cwd=Path(__file__).parents[2],
        check=True,
    )
    found, expected = np.load(tmp_path / "found.npz"), oracle(weights_of(model), SOURCE, TARGET)
    assert_near(found["logits"], expected.logits, 1e-5)
    assert_near(found["log_probs"], log_softmax(expected.logits[:, -1]), 1e-5)
    assert_near(found["attention"], expected.attention[:, -1:], 1e-5)
    sums = expected_sums(model, SOURCE, TARGET, 0.1)
    assert_near(found["sums"], sums, 1e-4)
    assert_near(found["loss"], sums[:, 1].sum() / 10, 1e-4)
    assert_near(found["nats_per_token"], sums[:, 0].sum() / 10, 1e-4)
