"""Beam search against plain Python: on models small enough to try everything, and on a translator."""

import itertools
import math
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from nlp_lstm.decoding.beam_to_end import NO_SCORE, beam_search, coverage_penalty, length_penalty
from nlp_lstm.models.translator import DecoderState, Memory, Translator

PADDING, BEGINNING = 0, 1
SOURCE = 3  # tokens of the longest source


class PrefixModel:
    """Random logits and attention for every prefix and source, so that no two prefixes share anything.

    Prefixes have numbers: the empty one 0, and that of p with a further id v the number p * symbols + v + 1.

    Args:
        symbols: the ids are 0 to `symbols` - 1; the last but one is the end.
        longest: the most ids of a translation.
        rounded: round log-probabilities to halves, so that many scores are equal, and each is exact in float32.
    """

    def __init__(self, seed, rows, symbols, longest, rounded=False):
        rng = np.random.default_rng(seed)
        prefixes = sum(symbols**length for length in range(longest + 1))
        logits = rng.normal(0.0, 1.5, (rows, prefixes, symbols))
        logits -= np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        self.log_probs = (np.round(2 * logits) / 2 if rounded else logits).astype(np.float32)
        self.is_token = np.arange(SOURCE) < rng.integers(1, SOURCE + 1, (rows, 1))
        attention = rng.gamma(0.5, size=(rows, prefixes, SOURCE)) * self.is_token[:, None]
        self.attention = (attention / attention.sum(axis=-1, keepdims=True)).astype(np.float32)
        self.log_totals = np.round(rng.normal(0.0, 4.0, (rows, prefixes))).astype(np.float32)  # exact, too
        self.symbols, self.end = symbols, symbols - 2

    def number(self, prefix):
        number = 0
        for symbol in prefix:
            number = number * self.symbols + symbol + 1
        return number

    def begin(self, rows):
        """The state of these rows before the first id: none is read, and which row it is, in parts of two shapes."""
        return [tf.fill(tf.shape(rows), -1), tf.stack([rows, rows], axis=1)[:, None]]

    def memory(self, rows):
        """Which row it is, once more, at each token of its source."""
        return [tf.repeat(rows[:, None], SOURCE, axis=1)]

    def step(self, ids, state, memory):
        number, row = state
        beginning = tf.where(ids == BEGINNING, 0, 1)  # another id would lead elsewhere
        number = tf.where(number < 0, beginning, number * self.symbols + ids + 1)
        place = tf.stack([row[:, 0, 1], number], axis=1)
        remembered, width = memory[0], tf.shape(memory[0])[1]
        # Of the source that is remembered.
        by_row = tf.repeat(remembered[:, 0], tf.size(ids) // tf.shape(remembered)[0])
        attention = tf.gather_nd(self.attention, tf.stack([by_row, number], axis=1))[:, :width]
        attention = tf.reshape(attention, [tf.shape(remembered)[0], -1, width])
        log_total = tf.gather_nd(self.log_totals, place)[:, None]
        return tf.gather_nd(self.log_probs, place) + log_total, log_total, [number, row], attention


class Way(NamedTuple):
    """A prefix that a search in Python has come to."""

    log_prob: float
    ids: tuple[int, ...]
    coverage: np.ndarray


def ways_on(model, row, way, never, only_end):
    """By one id further, in the order of the ids."""
    number = model.number(way.ids)
    coverage = way.coverage + model.attention[row, number]
    for symbol in range(model.symbols):
        if symbol == model.end or not (only_end or symbol in never):
            yield Way(way.log_prob + float(model.log_probs[row, number, symbol]), (*way.ids, symbol), coverage)


def score(model, row, way, alpha, beta):
    """Wu et al. 2016, equation 14."""
    covered = [min(max(float(c), 1e-6), 1.0) for c in way.coverage[model.is_token[row]]]
    return way.log_prob / ((5 + len(way.ids)) / 6) ** alpha + beta * sum(math.log(c) for c in covered)


EMPTY = Way(0.0, (), np.zeros(SOURCE))


def every_translation(model, row, longest, never, alpha, beta):
    """The score and the ids of each translation there is, the best first."""
    under_way, found = [EMPTY], []
    for t in range(longest):
        ways = [on for way in under_way for on in ways_on(model, row, way, never, only_end=t == longest - 1)]
        found += [way for way in ways if way.ids[-1] == model.end]
        under_way = [way for way in ways if way.ids[-1] != model.end]
    return sorted(((score(model, row, way, alpha, beta), way.ids) for way in found), reverse=True)


def searched_by_python(model, row, longest, beam_size, never, alpha, beta):
    """A beam search of one row with lists: what it finds, and in how many steps."""
    under_way, found = [EMPTY], []
    for t in range(longest):
        ways = [on for way in under_way for on in ways_on(model, row, way, never, only_end=t == longest - 1)]
        ways.sort(key=lambda way: -way.log_prob)  # of equals the first stays first
        found += [way for way in ways[:beam_size] if way.ids[-1] == model.end]
        under_way = [way for way in ways if way.ids[-1] != model.end][:beam_size]
        if len(found) >= beam_size or not under_way:
            break
    scored = [(score(model, row, way, alpha, beta), way.ids) for way in found]
    return sorted(scored, key=lambda one: -one[0])[:beam_size], t + 1


def search(model, rows, longest, beam_size, never=(PADDING, BEGINNING), alpha=1.0, beta=0.0, step=None):
    rows = tf.constant(rows, tf.int32)
    found = beam_search(
        step or model.step,
        model.begin(rows),
        model.memory(rows),
        tf.gather(model.is_token, rows),
        beginning=BEGINNING,
        end=model.end,
        never=never,
        longest=tf.constant(longest, tf.int32),
        beam_size=tf.constant(beam_size, tf.int32),
        alpha=alpha,
        beta=beta,
    )
    assert (found.ids.dtype, found.scores.dtype) == (tf.int32, tf.float32)
    return found.ids.numpy(), found.scores.numpy()


def assert_found(ids, scores, expected, exact=False):
    """A row's translations are the expected ones, and where there are none, there is nothing."""
    there = len(expected)
    np.testing.assert_allclose(scores[:there], [score for score, _ in expected], rtol=0, atol=0 if exact else 1e-5)
    assert [tuple(text[: len(wanted)]) for text, (_, wanted) in zip(ids.tolist(), expected, strict=False)] == [
        wanted for _, wanted in expected
    ]
    for text, (_, wanted) in zip(ids, expected, strict=False):
        assert not text[len(wanted) :].any()
    assert np.all(scores[there:] == np.float32(NO_SCORE))
    assert not ids[there:].any()


# Everything tried


@pytest.mark.parametrize(("symbols", "longest", "never"), [(4, 4, [0]), (5, 4, [0, 1]), (6, 3, [0]), (6, 4, [0, 1])])
@pytest.mark.parametrize(("alpha", "beta"), list(itertools.product([0.0, 0.6, 1.0], [0.0, 0.2])))
def test_a_beam_with_room_for_all_finds_every_translation_in_order(symbols, longest, never, alpha, beta):
    lengths = [longest, longest - 1, longest, 1]
    model = PrefixModel(symbols, len(lengths), symbols, longest)
    every = [every_translation(model, row, length, never, alpha, beta) for row, length in enumerate(lengths)]
    going_on = symbols - 1 - len(never)
    assert [len(texts) for texts in every] == [sum(going_on**t for t in range(length)) for length in lengths]
    room = len(every[0])
    ids, scores = search(model, range(4), lengths, [room] * 4, never, alpha, beta)
    assert ids.shape == (4, room, longest)
    assert scores.shape == (4, room)
    for row in range(4):
        assert_found(ids[row], scores[row], every[row])


def test_the_penalties_change_what_is_best():
    """Else the test above could not tell one from another."""
    model = PrefixModel(6, 3, 6, 4)
    orders = {
        tuple(ids for row in range(3) for _, ids in every_translation(model, row, 4, [0, 1], alpha, beta))
        for alpha, beta in itertools.product([0.0, 0.6, 1.0], [0.0, 0.2])
    }
    assert len(orders) == 6


# A beam


def greedy(model, row, longest, never):
    ids, log_prob = [], 0.0
    while not ids or ids[-1] != model.end:
        log_probs = model.log_probs[row, model.number(ids)].astype(float)
        allowed = [symbol for symbol in range(model.symbols) if symbol not in never]
        best = max(allowed, key=lambda symbol: log_probs[symbol]) if len(ids) < longest - 1 else model.end
        log_prob, ids = log_prob + log_probs[best], [*ids, best]
    return log_prob, ids


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_a_beam_of_one_takes_the_likeliest_id_until_the_end(alpha):
    rows, longest = 60, 5
    model = PrefixModel(1, rows, 5, longest)
    lengths = [1 + row % longest for row in range(rows)]
    ids, scores = search(model, range(rows), lengths, [1] * rows, alpha=alpha)
    assert ids.shape == (rows, 1, longest)
    seen = set()
    for row, length in enumerate(lengths):
        log_prob, expected = greedy(model, row, length, [PADDING, BEGINNING])
        assert_found(ids[row], scores[row], [(log_prob / ((5 + len(expected)) / 6) ** alpha, tuple(expected))])
        seen.add((length, len(expected)))
    assert len(seen) > 10  # some end by themselves, and some because they must


@pytest.mark.parametrize(
    ("seed", "alpha", "beta", "rounded"),
    [(2, 1.0, 0.0, False), (3, 0.6, 0.2, False), (4, 0.0, 0.0, True)],
)
def test_it_is_the_search_of_plain_python(seed, alpha, beta, rounded):
    """With rows of all lengths and beam sizes side by side; where scores are rounded, ties are settled alike."""
    rows, longest, never = 90, 5, [PADDING, BEGINNING]
    model = PrefixModel(seed, rows, 6, longest, rounded)
    lengths, beams = [1 + row % 5 for row in range(rows)], [1 + row // 5 % 6 for row in range(rows)]
    ids, scores = search(model, range(rows), lengths, beams, never, alpha, beta)
    assert ids.shape == (rows, 6, longest)
    ties = 0
    for row in range(rows):
        expected, _ = searched_by_python(model, row, lengths[row], beams[row], never, alpha, beta)
        assert_found(ids[row], scores[row], expected, exact=rounded)
        ties += len(expected) - len({found for found, _ in expected})
    assert (ties > 20) == rounded


def test_rows_do_not_touch_one_another():
    """Alone each row finds what it finds beside others of other lengths and beam sizes."""
    rows = 12
    model = PrefixModel(7, rows, 6, 5)
    lengths, beams = [1 + row % 5 for row in range(rows)], [1 + row // 2 for row in range(rows)]
    ids, scores = search(model, range(rows), lengths, beams, alpha=0.6, beta=0.2)
    for row in range(rows):
        alone, alone_scores = search(model, [row], lengths[row : row + 1], beams[row : row + 1], alpha=0.6, beta=0.2)
        assert alone.shape == (1, beams[row], lengths[row])
        np.testing.assert_array_equal(ids[row, : beams[row], : lengths[row]], alone[0])
        np.testing.assert_allclose(scores[row, : beams[row]], alone_scores[0], rtol=1e-6)
        assert not ids[row, :, lengths[row] :].any()
        assert not ids[row, beams[row] :].any()
        assert np.all(scores[row, beams[row] :] == np.float32(NO_SCORE))


def test_no_row_finds_more_than_its_beam_holds():
    """Where two ends come into a beam that lacks one alone, the best of all are kept."""
    model = PrefixModel(0, 1, 5, 3)
    log_probs = np.full_like(model.log_probs, -9.0)
    a, end, b = 2, 3, 4
    log_probs[0, model.number([]), [end, a, b]] = [-1.0, -0.5, -1.5]
    log_probs[0, model.number([a]), end] = -0.1
    log_probs[0, model.number([b]), end] = -0.2
    model.log_probs = log_probs
    for rows, beams in (([0], [2]), ([0, 0], [2, 5])):
        ids, scores = search(model, rows, [3] * len(rows), beams, alpha=0.0)
        assert_found(ids[0], scores[0], [(-0.6, (a, end)), (-1.0, (end,))])


@pytest.mark.parametrize("never", [[0, 1, 5], [0, 1, 2, 5], []])
def test_what_may_not_stand_never_does(never):
    """However likely it is; and each translation has one end, zeros behind it, and is there once."""
    rows, longest = 20, 5
    model = PrefixModel(8, rows, 6, longest)
    model.log_probs[:, :, never] = -1e-3
    ids, scores = search(model, range(rows), [longest] * rows, [6] * rows, never)
    for row in range(rows):
        there = scores[row] > NO_SCORE
        assert there.any()
        texts = ids[row, there].tolist()
        assert len({tuple(text) for text in texts}) == len(texts)
        for text in texts:
            length = text.index(model.end) + 1
            assert not set(text[:length]) & set(never)
            assert not any(text[length:])
    assert np.all(np.diff(scores, axis=1) <= 0)
    assert np.all(scores[scores > NO_SCORE] > -1e3)
    if not never:  # the id of padding may stand in a translation then
        assert (ids[:, 0, 0] == PADDING).any()


def test_what_is_impossible_is_not_found():
    model = PrefixModel(9, 2, 5, 3)
    model.log_probs[0, 0, model.end] = -np.inf
    model.log_probs[1, :, 2] = model.log_probs[1, :, 4] = -np.inf
    ids, scores = search(model, [0, 1], [3, 3], [7, 7], alpha=0.0)
    assert_found(ids[0], scores[0], every_translation(model, 0, 3, [0, 1], 0.0, 0.0)[:-1])
    assert_found(ids[1], scores[1], [(float(model.log_probs[1, 0, model.end]), (model.end,))])


def test_rows_that_are_done_leave_and_it_stops_with_the_last():
    rows, longest, never = 15, 5, [PADDING, BEGINNING]
    model = PrefixModel(10, rows, 5, longest)
    model.log_probs[:, :, model.end] += 0.5
    lengths, beams = [1 + row % longest for row in range(rows)], [1 + row % 3 for row in range(rows)]
    needed = [searched_by_python(model, row, lengths[row], beams[row], never, 1.0, 0.0)[1] for row in range(rows)]
    assert set(needed) == {1, 2, 3, 4, 5}
    several = [[row] for row in range(rows)] + [[row for row in range(rows) if needed[row] <= most] for most in (2, 3)]
    for chosen in [*several, range(rows)]:
        taken = []

        def counted(ids, state, memory, taken=taken):
            taken.append((len(ids), *memory[0].shape))
            return model.step(ids, state, memory)

        search(model, chosen, [lengths[row] for row in chosen], [beams[row] for row in chosen], never, step=counted)
        # As soon as a tenth of the rows that it asks about is done, they leave, and padding that only they needed.
        left, width, expected = list(chosen), SOURCE, []
        for t in range(max(needed[row] for row in chosen)):
            expected.append((max(beams[row] for row in chosen) * len(left), len(left), width))
            going_on = [row for row in left if needed[row] > t + 1]
            if 10 * len(going_on) <= 9 * len(left):
                left, width = going_on, model.is_token[going_on].sum(axis=1).max(initial=0)
        assert taken == expected


# Ties


def test_of_equals_the_first_by_id_comes_first():
    model = PrefixModel(0, 1, 6, 3)
    model.log_probs[:] = -1.0
    ids, scores = search(model, [0], [3], [5], alpha=0.0)
    end = model.end
    # At the second step (2, 2), (2, 3), (2, end), (2, 5) and (3, 2) come first, and (3, 3) takes the end's place; at
    # the third all five end, and there is room for three of them.
    expected = [(-1.0, (end,)), (-2.0, (2, end)), *((-3.0, (2, symbol, end)) for symbol in (2, 3, 5))]
    assert_found(ids[0], scores[0], expected, exact=True)


# Penalties


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0, 2.0])
def test_length_penalty(alpha):
    lengths = np.arange(1, 30, dtype=np.float32)
    np.testing.assert_allclose(length_penalty(tf.constant(lengths), alpha), ((5 + lengths) / 6) ** alpha, rtol=1e-6)
    assert length_penalty(1, alpha) == 1.0
    assert length_penalty(7, alpha) == 2.0**alpha


@pytest.mark.parametrize("beta", [0.0, 0.2, 1.5])
def test_coverage_penalty(beta):
    rng = np.random.default_rng(11)
    coverage = rng.uniform(0.0, 2.0, (4, 3, 6)).astype(np.float32)
    coverage[0, 0, 0], coverage[0, 0, 1], coverage[0, 1, 0] = 1.0, 1e-3, 2.0
    is_token = rng.random((4, 1, 6)) < 0.7
    found = coverage_penalty(tf.constant(coverage), tf.constant(is_token), beta).numpy()
    assert found.shape == (4, 3)
    for row, beam in np.ndindex(4, 3):
        looked_at = coverage[row, beam][is_token[row, 0]].astype(float)
        expected = beta * sum(math.log(min(1.0, amount)) for amount in looked_at)
        assert found[row, beam] == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_what_was_not_looked_at_at_all_costs_a_finite_number():
    found = coverage_penalty(tf.constant([[0.0, 1.0], [0.0, 1.0]]), tf.constant([[True, True], [False, True]]), 1.0)
    assert -20 < float(found[0]) < -10
    assert float(found[1]) == 0.0


# In a graph


def test_in_a_graph_of_any_batch():
    longest, rows = 5, 8
    model = PrefixModel(12, rows, 6, longest)
    many = tf.TensorSpec([None], tf.int32)

    @tf.function(input_signature=[many, many, many], autograph=False)
    def in_graph(chosen, lengths, beams):
        return beam_search(
            model.step,
            model.begin(chosen),
            model.memory(chosen),
            tf.gather(model.is_token, chosen),
            beginning=BEGINNING,
            end=model.end,
            never=[PADDING, BEGINNING],
            longest=lengths,
            beam_size=beams,
            alpha=0.6,
            beta=0.2,
        )

    lengths, beams = [1 + row % 5 for row in range(rows)], [1 + row // 2 for row in range(rows)]
    for chosen in (range(rows), [3], [5, 2, 2]):
        arguments = [[part[row] for row in chosen] for part in (lengths, beams)]
        found = in_graph(list(chosen), *arguments)
        ids, scores = search(model, list(chosen), *arguments, alpha=0.6, beta=0.2)
        np.testing.assert_array_equal(found.ids, ids)
        np.testing.assert_allclose(found.scores, scores, rtol=1e-6)
    nothing = in_graph(*[tf.zeros([0], tf.int32)] * 3)
    assert nothing.ids.shape[0] == nothing.scores.shape[0] == 0
    assert nothing.ids.shape[1] == nothing.scores.shape[1]


def test_no_row_finds_nothing():
    model = PrefixModel(13, 1, 5, 2)
    ids, scores = search(model, [], [], [])
    assert len(ids) == len(scores) == 0


# With a translator


def test_a_translator_is_searched_with_each_source_its_own_memory():
    """Of two sources side by side all translations are found, with the scores they have when simply written down."""
    model = Translator(6, 4, 3, 5, attention="additive", attention_size=2)
    model.build()
    rng, end, longest, alpha, beta = np.random.default_rng(14), 3, 3, 0.6, 0.2
    model.set_weights([rng.normal(0.0, 1.0, weight.shape) for weight in model.weights])
    source = np.array([[4, 5, 5, 3], [5, 3, 0, 0]], np.int32)
    memory, state = model.encode(source)

    def step(ids, parts, looked_at):
        log_probs, after, looks = model.step(ids, DecoderState(*parts), Memory(*looked_at))
        return log_probs, tf.zeros([tf.size(ids), 1]), list(after), looks

    found = beam_search(
        step,
        list(state),
        list(memory),
        source != PADDING,
        beginning=2,
        end=end,
        never=[0, 1, 2],
        longest=tf.constant([longest, longest]),
        beam_size=tf.constant([7, 7]),
        alpha=alpha,
        beta=beta,
    )
    texts = [(*text, end) for length in range(longest) for text in itertools.product([4, 5], repeat=length)]
    read = np.array([(2, *text, *[PADDING] * (longest - len(text))) for text in texts], np.int32)  # (7, 4)
    for row in range(2):
        memory_alone, state = model.encode(source[row : row + 1])
        state = DecoderState(*(tf.repeat(part, len(texts), axis=0) for part in state))
        log_probs, coverage = np.zeros(len(texts)), np.zeros((len(texts), source.shape[1]))
        for before, after in itertools.pairwise(read.T):
            guesses, state, looks = model.step(before, state, memory_alone)
            log_probs += np.where(after != PADDING, guesses.numpy()[np.arange(len(texts)), after], 0.0)
            coverage += np.where(after[:, None] != PADDING, looks[0], 0.0)
        covered = np.log(np.minimum(1.0, coverage[:, source[row] != PADDING])).sum(axis=1)
        totals = log_probs / [((5 + len(text)) / 6) ** alpha for text in texts] + beta * covered
        expected = sorted(zip(totals.tolist(), texts, strict=True), reverse=True)
        assert_found(found.ids.numpy()[row], found.scores.numpy()[row], expected)
