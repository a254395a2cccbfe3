"""Sampling and beam search against plain Python: what is drawn and how often, and which continuation is likeliest."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf

from nlp_lstm.decoding.beam_to_length import beam_search
from nlp_lstm.decoding.sampling import (
    Rules,
    Sampling,
    begin_writing,
    sample,
    sample_sequence,
    sampling,
    uniform_numbers,
)
from nlp_lstm.text.utf8 import utf8_transitions

JUST_BELOW_1 = float(np.nextafter(np.float32(1), np.float32(0)))
NAN, INF = math.nan, math.inf


# Random numbers


def test_random_numbers_of_a_row_depend_on_its_seed_alone():
    seeds = [7, 7, 8, 0, -1, 2**31 - 1, -(2**31)]
    numbers = uniform_numbers(tf.constant(seeds), 50).numpy()
    assert numbers.dtype == np.float32
    assert numbers.shape == (len(seeds), 50)
    np.testing.assert_array_equal(numbers[0], numbers[1])
    assert len(np.unique(numbers, axis=0)) == len(seeds) - 1
    for row, seed in enumerate(seeds):
        np.testing.assert_array_equal(uniform_numbers(tf.constant([seed]), 50).numpy()[0], numbers[row])
    backwards = uniform_numbers(tf.constant(seeds[::-1]), 50).numpy()
    np.testing.assert_array_equal(backwards[::-1], numbers)
    in_graph = tf.function(lambda seed: uniform_numbers(seed, 50), [tf.TensorSpec([None], tf.int32)], autograph=False)
    np.testing.assert_array_equal(in_graph(tf.constant(seeds)), numbers)
    assert in_graph(tf.zeros([0], tf.int32)).shape == (0, 50)


def test_random_numbers_are_spread_evenly_over_seeds_and_places():
    numbers = uniform_numbers(tf.range(200), 200).numpy()
    assert numbers.min() >= 0.0
    assert numbers.max() < 1.0
    assert np.unique(numbers).size > 0.99 * numbers.size
    for several in (numbers, numbers[:, :5], numbers[:5]):
        ordered = np.sort(several.ravel())
        # Kolmogorov and Smirnov: chance passes 1.95 / sqrt(n) once in a thousand times, and these seeds are settled.
        assert np.abs(ordered - np.arange(ordered.size) / ordered.size).max() < 1.95 / np.sqrt(ordered.size)
    assert abs(np.corrcoef(numbers[:-1].ravel(), numbers[1:].ravel())[0, 1]) < 0.02  # of seeds that follow one another
    assert abs(np.corrcoef(numbers[:, :-1].ravel(), numbers[:, 1:].ravel())[0, 1]) < 0.02


# Drawing one symbol


def distribution(log_probs, temperature, top_k, top_p):
    """The symbols that may be drawn, the likeliest first, and their probabilities; with Python's own numbers."""
    order = sorted(range(len(log_probs)), key=lambda symbol: (-log_probs[symbol], symbol))
    if not temperature > 0:
        return order[:1], np.ones(1)
    temperature = min(max(temperature, 1e-4), 100.0)
    weights = np.array([math.exp((log_probs[symbol] - log_probs[order[0]]) / temperature) for symbol in order])
    if top_k > 0:
        weights = weights[:top_k]
    if top_p < 1:
        before = np.concatenate([[0.0], np.cumsum(weights)[:-1]]) / weights.sum()
        weights = weights[: max(1, np.count_nonzero(before < top_p))]
    return order[: len(weights)], weights / weights.sum()


def drawn_by_python(log_probs, temperature, top_k, top_p, uniform):
    order, probabilities = distribution(log_probs, temperature, top_k, top_p)
    place = np.count_nonzero(np.cumsum(probabilities) <= uniform)
    return order[min(place, np.flatnonzero(probabilities)[-1])]


def could_be_drawn(symbol, log_probs, settings, uniform, near=1e-5):
    """Whether Python draws the symbol, or would if a border lay elsewhere by as little as rounding moves it."""
    temperature, top_k, top_p = settings
    for some_top_p in (top_p * (1 - near), top_p, top_p * (1 + near)):
        order, probabilities = distribution(log_probs, temperature, top_k, some_top_p)
        if symbol in order:
            end = np.cumsum(probabilities)[order.index(symbol)]
            if end - probabilities[order.index(symbol)] - near <= uniform < end + near:
                return True
    return False


TEMPERATURES = [0.0, -0.0, -1.0, -INF, NAN, INF, 1e30, 1e-30, 1e-4, 0.01, 0.3, 0.8, 1.0, 2.5, 100.0, 200.0]
TOP_KS = [0, 0, -1, -(2**31), 1, 2, 3, 8, 1000, 2**31 - 1]
TOP_PS = [0.0, -1.0, -INF, NAN, INF, 1.0, 1.0, 2.0, 1e-30, 1e-9, 0.1, 0.5, 0.9, 0.999]
UNIFORMS = [0.0, JUST_BELOW_1]


def random_log_probs(rng, rows, symbols):
    """Some with ties, some with symbols that may not stand; not all of them distributions."""
    log_probs = rng.normal(0.0, rng.choice([0.01, 1.0, 5.0], (rows, 1)), (rows, symbols))
    tied = rng.random(rows) < 0.3
    log_probs[tied] = np.round(log_probs[tied])
    forbidden = rng.random((rows, symbols)) < rng.choice([0.0, 0.5, 0.9], (rows, 1))
    forbidden[np.arange(rows), rng.integers(0, symbols, rows)] = False
    log_probs[forbidden] = -INF
    return log_probs.astype(np.float32)


@pytest.mark.parametrize("symbols", [1, 2, 7, 40])
def test_a_symbol_is_drawn_as_python_draws_it(symbols):
    rng, rows = np.random.default_rng(symbols), 600
    log_probs = random_log_probs(rng, rows, symbols)
    temperature = rng.choice(TEMPERATURES, rows).astype(np.float32)
    top_k, top_p = rng.choice(TOP_KS, rows).astype(np.int32), rng.choice(TOP_PS, rows).astype(np.float32)
    uniform = np.where(rng.random(rows) < 0.3, rng.choice(UNIFORMS, rows), rng.random(rows)).astype(np.float32)
    how = sampling(temperature, top_k, top_p, symbols)
    drawn = sample(tf.constant(log_probs), how, uniform[:, None])
    assert drawn.dtype == tf.int32
    assert drawn.shape == (rows,)
    surely = 0
    for row, symbol in enumerate(drawn.numpy()):
        settings = (float(temperature[row]), int(top_k[row]), float(top_p[row]))
        assert log_probs[row, symbol] > -INF
        assert could_be_drawn(symbol, log_probs[row].astype(float), settings, uniform[row]), row
        surely += symbol == drawn_by_python(log_probs[row].astype(float), *settings, uniform[row])
    assert surely > 0.95 * rows
    assert len(set(drawn.numpy())) == symbols


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [(1.0, 0, 1.0), (0.5, 0, 1.0), (3.0, 0, 1.0), (1.0, 3, 1.0), (1.0, 0, 0.6), (2.0, 4, 0.7), (1e9, 0, 1.0)],
)
def test_symbols_come_as_often_as_they_are_likely(temperature, top_k, top_p):
    rng, draws = np.random.default_rng(0), 10_000
    log_probs = np.log(rng.dirichlet(np.full(6, 0.8)))
    log_probs[2] = -INF
    order, probabilities = distribution(log_probs, temperature, top_k, top_p)
    expected = np.zeros(6)
    expected[order] = probabilities
    assert np.count_nonzero(expected) > 1
    uniform = (np.arange(draws, dtype=np.float32) + 0.5) / draws  # evenly spread, so chance has no part in it
    how = sampling([temperature], [top_k], [top_p], 6)
    drawn = sample(tf.constant(np.tile(log_probs, (draws, 1)), tf.float32), how, uniform[:, None])
    counts = np.bincount(drawn, minlength=6)
    np.testing.assert_allclose(counts, expected * draws, rtol=0, atol=2)
    assert counts[2] == 0


@pytest.mark.parametrize("temperature", [0.0, -3.0, NAN, -INF])
def test_no_temperature_is_the_likeliest_symbol_and_of_equals_the_first(temperature):
    log_probs = tf.math.log([[0.1, 0.2, 0.7], [0.4, 0.2, 0.4], [0.0, 0.5, 0.5]])
    for uniform in (0.0, 0.5, JUST_BELOW_1):
        how = sampling([temperature] * 3, [0, 3, -2], [1.0, NAN, 0.9], 3)
        assert sample(log_probs, how, [[uniform]] * 3).numpy().tolist() == [2, 0, 1]


@pytest.mark.parametrize("uniform", [0.0, 0.3, JUST_BELOW_1])
@pytest.mark.parametrize(("top_k", "top_p"), [(1, 1.0), (0, 0.0), (0, -1.0), (0, 1e-30), (0, -INF), (1, 0.0)])
def test_one_symbol_is_always_left(uniform, top_k, top_p):
    log_probs = tf.math.log([[0.3, 0.4, 0.3], [1e-30, 1e-36, 1e-33], [1 / 3, 1 / 3, 1 / 3]])
    how = sampling([100.0] * 3, [top_k] * 3, [top_p] * 3, 3)
    assert sample(log_probs, how, [[uniform]] * 3).numpy().tolist() == [1, 0, 0]


def test_a_border_belongs_to_the_symbol_behind_it():
    uniform = [[0.0], [0.25], [0.5], [0.75], [JUST_BELOW_1]]
    how = sampling([1.0] * 5, [0] * 5, [1.0] * 5, 4)
    assert sample(tf.zeros([5, 4]), how, uniform).numpy().tolist() == [0, 1, 2, 3, 3]


def test_what_may_not_stand_is_never_drawn_at_the_ends():
    rng, rows, symbols = np.random.default_rng(1), 500, 9
    log_probs = random_log_probs(rng, rows, symbols)
    log_probs[:, 0] = log_probs[:, -1] = -INF
    log_probs[:, 4] = -1e30  # so far off that its probability is 0
    log_probs[:, 5] = rng.normal(size=rows)
    for uniform, temperature in itertools.product(UNIFORMS, [1e-4, 1.0, 100.0, INF]):
        how = sampling(np.full(rows, temperature), np.zeros(rows), np.ones(rows), symbols)
        drawn = sample(tf.constant(log_probs), how, np.full((rows, 1), uniform, np.float32)).numpy()
        assert np.all(log_probs[np.arange(rows), drawn] > -1e29)
    assert np.any(np.diff(drawn))


def test_settings_are_a_row_each():
    how = sampling([0.5, 0.0], [2, 0], [0.9, 1.5], 3)
    assert isinstance(how, Sampling)
    np.testing.assert_allclose(how.inverse_temperature, [[2.0], [1.0]])
    assert how.in_top_k.numpy().tolist() == [[1, 1, 0], [1, 0, 0]]
    assert how.top_p[0, 0] == np.float32(0.9)
    assert how.top_p[1, 0] > 1


# Rules


def random_rules(rng, states, symbols):
    allowed = rng.random((states, symbols)) < 0.7
    allowed[np.arange(states), rng.integers(0, symbols, states)] = True
    return allowed, rng.integers(0, states, (states, symbols)).astype(np.int32)


@pytest.mark.parametrize("states", [1, 4])
def test_rules_forbid_and_follow_by_each_rows_state(states):
    rng, rows, symbols = np.random.default_rng(states), 12, 5
    allowed, next_state = random_rules(rng, states, symbols)
    rules = Rules(tf.constant(allowed), tf.constant(next_state))
    state = rng.integers(0, states, rows).astype(np.int32)
    log_probs = rng.normal(size=(rows, symbols)).astype(np.float32)
    restricted = rules.restrict(tf.constant(log_probs), tf.constant(state)).numpy()
    np.testing.assert_array_equal(restricted, np.where(allowed[state], log_probs, -INF))
    assert np.isinf(restricted).any()
    symbol = rng.integers(0, symbols, rows).astype(np.int32)
    followed = rules.follow(tf.constant(state), tf.constant(symbol)).numpy()
    np.testing.assert_array_equal(followed, next_state[state, symbol])


# Texts

SYMBOLS = 4


class SmallModel:
    """A recurrence with random weights: what comes next depends on all that came before."""

    def __init__(self, seed, units=3):
        rng = np.random.default_rng(seed)
        self.recurrent = rng.normal(size=(units, units)).astype(np.float32)
        self.embedding = rng.normal(0.0, 2.0, (SYMBOLS, units)).astype(np.float32)
        self.head = rng.normal(0.0, 1.0, (units, SYMBOLS)).astype(np.float32)

    def step(self, symbol, state):
        hidden, count = state  # two parts, as an LSTM has them
        hidden = tf.tanh(tf.matmul(hidden, self.recurrent) + tf.gather(self.embedding, symbol))
        return tf.nn.log_softmax(tf.matmul(hidden, self.head)), [hidden, count + 1.0]

    def begin(self, rng, rows):
        hidden = tf.constant(rng.normal(size=(rows, len(self.recurrent))), tf.float32)
        return begin_writing(tf.nn.log_softmax(tf.matmul(hidden, self.head)), [hidden, tf.zeros([rows, 1])])


class SmallAutomaton:
    """Random rules, and plain Python's reading of them."""

    def __init__(self, seed, states=3):
        self.allowed, self.next_state = random_rules(np.random.default_rng(seed), states, SYMBOLS)
        self.rules = Rules(tf.constant(self.allowed), tf.constant(self.next_state))


def row_of(writing, row):
    return tf.nest.map_structure(lambda part: part[row : row + 1], writing)


def assert_same_writing(one, other):
    for part, expected in zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True):
        np.testing.assert_allclose(part, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("states", [1, 3])
def test_a_sequence_is_drawn_symbol_by_symbol_each_row_for_itself(states):
    rng, rows, steps = np.random.default_rng(states), 6, 15
    model, automaton = SmallModel(states), SmallAutomaton(2, states)
    temperature, top_k, top_p = np.array([1.0, 0.5, 2.0, 0.0, 1.0, 1.0]), [0, 0, 3, 0, 2, 0], [1, 1, 0.9, 1, 1, 0.8]
    uniform = rng.random((rows, steps + 3)).astype(np.float32)
    writing = model.begin(rng, rows)
    drawn, after = sample_sequence(
        model.step, writing, automaton.rules, steps, sampling(temperature, top_k, top_p, SYMBOLS), uniform
    )
    assert drawn.dtype == tf.int32
    assert drawn.shape == (rows, steps)
    for row in range(rows):
        log_probs, state, rule_state = row_of(writing, row)
        expected, rule_state = [], 0
        for t in range(steps):
            restricted = np.where(automaton.allowed[rule_state], log_probs[0], -INF).astype(float)
            symbol = drawn_by_python(restricted, temperature[row], top_k[row], top_p[row], float(uniform[row, t]))
            expected.append(symbol)
            rule_state = automaton.next_state[rule_state, symbol] if states > 1 else 0
            log_probs, state = model.step(tf.constant([symbol]), state)
        assert drawn[row].numpy().tolist() == expected
        assert_same_writing(row_of(after, row), begin_writing(log_probs, state)._replace(rule_state=[rule_state]))
    assert len(np.unique(drawn)) > 2


def test_a_sequence_in_pieces_is_the_one_drawn_in_one_go():
    rng, rows, steps = np.random.default_rng(5), 4, 20
    model, automaton = SmallModel(5), SmallAutomaton(5)
    uniform = rng.random((rows, steps)).astype(np.float32)
    how = sampling([1.0, 0.7, 3.0, 1.0], [0, 3, 0, 0], [1.0, 1.0, 1.0, 0.9], SYMBOLS)
    writing = model.begin(rng, rows)
    whole, end = sample_sequence(model.step, writing, automaton.rules, steps, how, uniform)
    pieces = []
    for first, last in [(0, 1), (1, 8), (8, 19), (19, 20)]:
        piece, writing = sample_sequence(
            model.step, writing, automaton.rules, last - first, how, uniform[:, first:last]
        )
        pieces.append(piece)
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), whole)
    assert_same_writing(writing, end)
    assert end.rule_state.numpy().any()  # so it matters that it is handed on


def test_in_a_graph_a_sequence_of_any_length_and_batch_is_the_same():
    model, automaton = SmallModel(6), SmallAutomaton(6)

    @tf.function(
        input_signature=[tf.TensorSpec([None, 3]), tf.TensorSpec([], tf.int32), tf.TensorSpec([None, None])],
        autograph=False,
    )
    def run(hidden, steps, uniform):
        log_probs, state = model.step(tf.zeros([tf.shape(hidden)[0]], tf.int32), [hidden, hidden[:, :1]])
        how = sampling(tf.ones([tf.shape(hidden)[0]]), tf.zeros([tf.shape(hidden)[0]], tf.int32), [1.0], SYMBOLS)
        return sample_sequence(model.step, begin_writing(log_probs, state), automaton.rules, steps, how, uniform)[0]

    rng = np.random.default_rng(6)
    hidden, uniform = rng.normal(size=(3, 3)).astype(np.float32), rng.random((3, 12)).astype(np.float32)
    whole = run(hidden, 12, uniform).numpy()
    assert whole.shape == (3, 12)
    np.testing.assert_array_equal(run(hidden[1:2], 5, uniform[1:2]), whole[1:2, :5])
    assert run(hidden[:0], 5, uniform[:0]).shape == (0, 5)
    log_probs, state = model.step(tf.zeros([3], tf.int32), [tf.constant(hidden), tf.constant(hidden[:, :1])])
    how = sampling([1.0] * 3, [0] * 3, [1.0], SYMBOLS)
    eager, _ = sample_sequence(model.step, begin_writing(log_probs, state), automaton.rules, 12, how, uniform)
    np.testing.assert_array_equal(whole, eager)


# The likeliest continuation


def continuations(model, writing, automaton, steps):
    """Every text of so many symbols that the rules allow, and its log-probability, the likeliest first."""
    found = [(0.0, (), writing.log_probs, writing.state, 0)]
    for _ in range(steps):
        longer = []
        for score, text, log_probs, state, rule_state in found:
            for symbol in np.flatnonzero(automaton.allowed[rule_state]):
                following = automaton.next_state[rule_state, symbol] if len(automaton.allowed) > 1 else 0
                after = model.step(tf.constant([symbol], tf.int32), state)
                longer.append((score + float(log_probs[0, symbol]), (*text, int(symbol)), *after, following))
        found = longer
    return sorted(((score, text) for score, text, *_ in found), reverse=True)


def searched_by_python(model, writing, automaton, steps, beam_size):
    """A beam search over one row, with lists."""
    beam = [(0.0, (), writing.log_probs, writing.state, 0)]
    for _ in range(steps):
        longer = [
            (score + float(log_probs[0, symbol]), (*text, int(symbol)), state, rule_state)
            for score, text, log_probs, state, rule_state in beam
            for symbol in np.flatnonzero(automaton.allowed[rule_state])
        ]
        beam = []
        for score, text, state, rule_state in sorted(longer, key=lambda one: -one[0])[:beam_size]:
            following = automaton.next_state[rule_state, text[-1]] if len(automaton.allowed) > 1 else 0
            beam.append((score, text, *model.step(tf.constant([text[-1]]), state), following))
    return [(score, text) for score, text, *_ in beam]


def search(model, writing, automaton, lengths, beam_sizes, largest_beam):
    texts, scores = beam_search(
        model.step,
        writing,
        automaton.rules,
        max(1, *lengths, 0),
        length=tf.constant(lengths, tf.int32),
        beam_size=tf.constant(beam_sizes, tf.int32),
        largest_beam=largest_beam,
    )
    assert texts.dtype == tf.int32
    assert texts.shape == (len(lengths), largest_beam, max(1, *lengths, 0))
    assert scores.shape == (len(lengths), largest_beam)
    return texts.numpy(), scores.numpy()


def assert_beam(texts, scores, expected, length):
    """A row's beam is the expected one, with nothing behind its end."""
    np.testing.assert_allclose(scores[: len(expected)], [score for score, _ in expected], rtol=0, atol=1e-5)
    assert np.all(scores[len(expected) :] == -INF)
    assert [tuple(text[:length]) for text in texts[: len(expected)].tolist()] == [text for _, text in expected]
    assert np.all(texts[:, length:] == 0)


@pytest.mark.parametrize("states", [1, 3])
def test_a_beam_with_room_for_all_finds_the_likeliest_texts_there_are(states):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        model, automaton = SmallModel(seed), SmallAutomaton(seed, states)
        writing = model.begin(rng, 2)
        texts, scores = search(model, writing, automaton, [3, 2], [16, 16], 16)
        for row, length in enumerate([3, 2]):
            every = continuations(model, row_of(writing, row), automaton, length)
            assert_beam(texts[row], scores[row], every[:16], length)


def test_each_row_has_its_own_length_and_beam_size():
    rng = np.random.default_rng(4)
    model, automaton = SmallModel(4), SmallAutomaton(4)
    lengths, beam_sizes = [6, 1, 0, 9, 4, 9, 2], [2, 3, 5, 1, 5, 4, 5]
    writing = model.begin(rng, len(lengths))
    texts, scores = search(model, writing, automaton, lengths, beam_sizes, 5)
    for row, (length, beam_size) in enumerate(zip(lengths, beam_sizes, strict=True)):
        expected = searched_by_python(model, row_of(writing, row), automaton, length, beam_size)
        assert_beam(texts[row], scores[row], expected, length)
        alone = search(model, row_of(writing, row), automaton, [length], [beam_size], 8)
        assert_beam(alone[0][0], alone[1][0], expected, length)


def test_scores_are_sums_of_log_probabilities_and_a_beam_of_one_takes_the_likeliest_at_each_step():
    rng = np.random.default_rng(9)
    model, automaton = SmallModel(9), SmallAutomaton(9)
    writing, length = model.begin(rng, 3), 8
    texts, scores = search(model, writing, automaton, [length] * 3, [1, 3, 3], 3)
    for row, beam in itertools.product(range(3), range(3)):
        log_probs, state, rule_state, total = writing.log_probs[row : row + 1], row_of(writing, row).state, 0, 0.0
        if scores[row, beam] == -INF:
            assert row == 0 and beam > 0
            continue
        for symbol in texts[row, beam]:
            assert automaton.allowed[rule_state, symbol]
            if row == 0:
                assert symbol == np.where(automaton.allowed[rule_state], log_probs[0], -INF).argmax()
            total += float(log_probs[0, symbol])
            rule_state = automaton.next_state[rule_state, symbol]
            log_probs, state = model.step(tf.constant([symbol]), state)
        np.testing.assert_allclose(scores[row, beam], total, rtol=0, atol=1e-5)
    assert np.all(np.diff(scores[1:], axis=1) <= 0)


def test_of_no_steps_the_text_is_empty_and_certain():
    model, automaton = SmallModel(3), SmallAutomaton(3)
    texts, scores = search(model, model.begin(np.random.default_rng(3), 2), automaton, [0, 0], [3, 1], 3)
    assert not texts.any()
    assert scores.tolist() == [[0.0, -INF, -INF]] * 2


def test_bytes_are_searched_by_the_rules_of_utf_8():
    following = utf8_transitions()
    rules = Rules(tf.constant(following >= 0), tf.constant(np.maximum(following, 0)))
    logits = np.random.default_rng(0).normal(0, 3, (1, 256))
    logits[0, [0xC3, 0xA9]] = 16.0, 15.0  # the likeliest byte may not follow itself; é is C3 A9
    log_probs = tf.nn.log_softmax(tf.constant(logits, tf.float32))
    constant_model = lambda symbol, state: (tf.repeat(log_probs, tf.shape(symbol)[0], axis=0), state)  # noqa: E731
    texts, scores = beam_search(
        constant_model,
        begin_writing(log_probs, [tf.zeros([1, 1])]),
        rules,
        12,
        length=tf.constant([12]),
        beam_size=tf.constant([6]),
        largest_beam=6,
    )
    assert len(np.unique(texts[0], axis=0)) == 6
    assert np.isfinite(scores).all()
    for text, score in zip(texts[0].numpy(), scores[0].numpy(), strict=True):
        np.testing.assert_allclose(score, log_probs.numpy()[0, text].sum(), rtol=1e-5)
        whole = bytes(text.tolist()).decode("utf-8", "ignore").encode()
        assert bytes(text.tolist()).startswith(whole)
        assert len(whole) > 12 - 4
    assert bytes(texts[0, 0].numpy().tolist()) == "é".encode() * 6
