"""From a model's guesses to text, in graph: sampling, and beam search for the likeliest continuation.

Every row of a batch stands for itself: its own length, temperature and seed, and random numbers that depend on its seed
and the place in its text alone.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from nlp_lstm.decoding.limits import LARGEST_TEMPERATURE, SMALLEST_TEMPERATURE

Step = Callable[[Any, Sequence[Any]], tuple[Any, list[Any]]]
"""From the symbol just read `(batch,)` and the state before it to log-probabilities `(batch, symbols)` of the next and
the state after it; each part of a state has the batch first."""


class Rules(NamedTuple):
    """Which symbols may follow, as an automaton that reads what is written.

    For plain characters it has one state, for bytes those of UTF-8: see `nlp_lstm.text.utf8`.
    """

    allowed: Any  # boolean (states, symbols)
    next_state: Any  # int32 (states, symbols); what it says of a symbol that is not allowed does not count

    def restrict(self, log_probs: Any, state: Any) -> Any:
        """-inf in `(batch, symbols)` for what may not follow in each row's state."""
        allowed = self.allowed if self.allowed.shape[0] == 1 else tf.gather(self.allowed, state)
        return tf.where(allowed, log_probs, -float("inf"))

    def follow(self, state: Any, symbol: Any) -> Any:
        """The state of each row after its symbol."""
        if self.allowed.shape[0] == 1:
            return state
        return tf.gather_nd(self.next_state, tf.stack([state, symbol], axis=1))


def uniform_numbers(seed: Any, count: int) -> Any:
    """Random numbers in [0, 1) for each row, settled by its seed alone.

    >>> one, again, other = uniform_numbers(tf.constant([7, 7, 8]), 2).numpy().tolist()
    >>> one == again, one == other
    (True, False)

    Args:
        seed: int32 `(batch,)`.
        count: how many; the same for all requests, since a generator may spread its numbers over them.

    Returns:
        float32 `(batch, count)`.
    """
    # Named, so that it is the same on every kind of device.
    draw = lambda one: tf.random.stateless_uniform([count], seed=tf.stack([one, 0]), alg="philox")  # noqa: E731
    return tf.ensure_shape(tf.map_fn(draw, seed, fn_output_signature=tf.float32), [None, count])


class Sampling(NamedTuple):
    """How each row draws, brought into the form that a step reads; `sampling` makes it."""

    inverse_temperature: Any  # (B, 1)
    in_top_k: Any  # (B, V), one or zero by rank
    top_p: Any  # (B, 1)


def sampling(temperature: Any, top_k: Any, top_p: Any, symbols: int) -> Sampling:
    """Settle how each row of a batch draws.

    >>> how = sampling(temperature=[0.5], top_k=[2], top_p=[1.0], symbols=3)
    >>> how.inverse_temperature.numpy().tolist(), how.in_top_k.numpy().tolist()
    ([[2.0]], [[1.0, 1.0, 0.0]])

    First the temperature applies, then `top_k`, then `top_p` on what is left, as is usual.

    Args:
        temperature: float32 `(batch,)`. 0 takes the likeliest; so do a negative one and NaN. Others are clamped to
            1e-4 to 100.
        top_k: int32 `(batch,)`. Only so many symbols, the likeliest, are drawn from; 0 or less for all.
        top_p: float32 `(batch,)`. Only the least number of likeliest symbols that make up this probability are drawn
            from, at least one (Holtzman et al. 2020); NaN and 1 or more for all.
        symbols: how many there are.
    """
    temperature, top_p = tf.convert_to_tensor(temperature, tf.float32), tf.convert_to_tensor(top_p, tf.float32)
    top_k = tf.convert_to_tensor(top_k, tf.int32)
    greedy = tf.logical_not(temperature > 0.0)  # NaN is not above 0
    temperature = tf.where(greedy, 1.0, tf.clip_by_value(temperature, SMALLEST_TEMPERATURE, LARGEST_TEMPERATURE))
    top_k = tf.where(greedy, 1, tf.where(top_k > 0, top_k, symbols))
    # NaN is not below 1. 2, since rounding may leave a sum below 1; and of nothing at all the first symbol is kept.
    top_p = tf.where(top_p < 1.0, tf.maximum(top_p, 1e-30), 2.0)
    in_top_k = tf.cast(tf.range(symbols) < top_k[:, None], tf.float32)
    return Sampling(1.0 / temperature[:, None], in_top_k, top_p[:, None])


def sample(log_probs: Any, how: Sampling, uniform: Any) -> Any:
    r"""Draw a symbol for each row from :math:`p^{1/\tau}`, cut to its likeliest part.

    >>> sample(tf.math.log([[0.1, 0.9]]), sampling([1.0], [0], [1.0], symbols=2), uniform=[[0.85]])
    <tf.Tensor: shape=(1,), dtype=int32, numpy=array([1], dtype=int32)>

    Symbols are laid side by side from the likeliest on, each as wide as its probability, and `uniform` points at one.

    Args:
        log_probs: `(batch, symbols)`; -inf where a symbol may not stand.
        how: out of `sampling`.
        uniform: float32 `(batch, 1)` in [0, 1).

    Returns:
        int32 `(batch,)`.
    """
    ordered, order = tf.math.top_k(log_probs, how.in_top_k.shape[1])  # of equals the first
    # The distance to the likeliest first: a tiny temperature must not make all of them -inf.
    mass = tf.exp((ordered - ordered[:, :1]) * how.inverse_temperature) * how.in_top_k  # (B, V), of any sum
    reach = tf.cumsum(mass, axis=1)
    kept = reach - mass < how.top_p * reach[:, -1:]
    kept_reach = tf.reduce_max(tf.where(kept, reach, 0.0), axis=1, keepdims=True)
    place = tf.reduce_sum(tf.cast(reach <= uniform * kept_reach, tf.int32), axis=1, keepdims=True)
    return tf.gather(order, place, batch_dims=1)[:, 0]


class Writing(NamedTuple):
    """Where a text stands that is being written, and what is needed to go on with it."""

    log_probs: Any  # (B, V), of the symbol that comes next
    state: Any  # the model's, before that symbol
    rule_state: Any  # int32 (B,), that of the rules


def begin_writing(log_probs: Any, state: Iterable[Any]) -> Writing:
    """Where a text stands after its prompt: log-probabilities `(batch, symbols)` of what follows, and the state."""
    return Writing(log_probs, list(state), tf.zeros([tf.shape(log_probs)[0]], tf.int32))


def sample_sequence(
    step: Step, writing: Writing, rules: Rules, steps: Any, how: Sampling, uniform: Any
) -> tuple[Any, Writing]:
    """Draw symbol after symbol.

    >>> following = tf.math.log([[0.1, 0.6, 0.3], [0.5, 0.1, 0.4], [0.2, 0.2, 0.6]])  # by the symbol before
    >>> rules = Rules(tf.constant([[True, True, True]]), tf.zeros([1, 3], tf.int32))
    >>> symbols, writing = sample_sequence(
    ...     lambda symbol, state: (tf.gather(following, symbol), state),
    ...     begin_writing(following[:1], []),
    ...     rules,
    ...     steps=3,
    ...     how=sampling(temperature=[0.0], top_k=[0], top_p=[1.0], symbols=3),
    ...     uniform=uniform_numbers(tf.constant([7]), 3),
    ... )
    >>> symbols.numpy().tolist()
    [[1, 0, 1]]

    Args:
        step: the model.
        writing: where the text stands, out of `begin_writing` or an earlier call.
        rules: which symbols may follow.
        steps: int32 scalar, how many symbols to draw, at least one.
        how: out of `sampling`.
        uniform: `(batch, steps or more)`, such as `uniform_numbers` gives.

    Returns:
        The symbols int32 `(batch, steps)`, and where the text stands after them.
    """
    uniform = tf.transpose(uniform)[..., None]  # (T, B, 1)

    def body(t: Any, writing: Writing, drawn: Any) -> tuple[Any, Writing, Any]:
        allowed = rules.restrict(writing.log_probs, writing.rule_state)
        symbol = sample(allowed, how, uniform[t])
        log_probs, state = step(symbol, writing.state)
        return t + 1, Writing(log_probs, state, rules.follow(writing.rule_state, symbol)), drawn.write(t, symbol)

    drawn = tf.TensorArray(tf.int32, size=steps, element_shape=writing.log_probs.shape[:1])
    _, writing, drawn = tf.while_loop(
        lambda t, *_: t < steps, body, (tf.constant(0), writing, drawn), maximum_iterations=steps
    )
    return tf.transpose(drawn.stack()), writing
