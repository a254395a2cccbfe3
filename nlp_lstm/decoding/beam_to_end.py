"""From a translator's guesses to the best translations of each source, in graph: beam search to an end symbol."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

Step = Callable[[Any, Sequence[Any]], tuple[Any, list[Any], Any]]
"""From the ids just read `(batch * beams,)` and the state before them to log-probabilities `(batch * beams, ids)` of
the next, the state after them, each part with the batch first, and the attention `(batch, beams, source)`."""

NO_SCORE = -1e9
"""The score of a translation that is not there; a number, since JSON has no infinity."""


class Found(NamedTuple):
    """The translations of each source, the best first."""

    ids: Any  # int32 (B, K, T), each with its end, then zeros
    scores: Any  # float32 (B, K), NO_SCORE where there is none


class _Beam(NamedTuple):
    """Where the search stands: the translations under way, and those that are done."""

    t: Any  # int32, ids that each one under way has
    ids: Any  # int32 (B, K), the last id of each
    state: list[Any]  # the model's, parts (BK, ...)
    scores: Any  # (B, K), log-probability, -inf where none is under way
    coverage: Any  # (B, K, S), the attention that each source token got in all
    texts: Any  # int32 (B, K, T)
    done_texts: Any  # int32 (B, K, T), the best first
    done_scores: Any  # (B, K), with the penalties, NO_SCORE where there is none
    done_count: Any  # int32 (B,), how many ends were found
    is_going_on: Any  # boolean (B,)


def length_penalty(length: Any, alpha: float) -> Any:
    r"""What a log-probability is divided by: :math:`((5 + |Y|) / 6)^\alpha` (Wu et al. 2016, eq. 14).

    >>> length_penalty(7, alpha=1.0)
    2.0
    """
    return ((5.0 + length) / 6.0) ** alpha


def coverage_penalty(coverage: Any, is_token: Any, beta: float) -> Any:
    r"""Added to a score for what was not looked at: :math:`\beta \sum_s \log \min(1, \sum_t \alpha_{ts})` (ibid.).

    >>> coverage_penalty(tf.constant([[1.5, 0.5]]), tf.constant([[True, True]]), beta=1.0)
    <tf.Tensor: shape=(1,), dtype=float32, numpy=array([-0.6931472], dtype=float32)>

    Args:
        coverage: the attention that each source token got in all, `(..., source)`.
        is_token: false at padding, of a shape that goes with it.
        beta: :math:`\beta`.
    """
    # The least that counts, so that a token of no attention is no infinity.
    logs = tf.math.log(tf.clip_by_value(coverage, 1e-6, 1.0))
    return beta * tf.reduce_sum(tf.where(is_token, logs, 0.0), axis=-1)


def beam_search(
    step: Step,
    state: Sequence[Any],
    is_token: Any,
    *,
    beginning: int,
    end: int,
    never: Sequence[int],
    longest: Any,
    beam_size: Any,
    alpha: float = 1.0,
    beta: float = 0.0,
) -> Found:
    """Look for the best translations of each source, keeping the likeliest so many under way at every step.

    >>> following = tf.math.log([[0.1, 0.6, 0.3], [0.5, 0.1, 0.4], [1.0, 0.0, 0.0]])  # by the id before; 2 is the end
    >>> def step(ids, state):
    ...     return tf.gather(following, ids), state, tf.ones([1, tf.size(ids), 1])
    >>> source, two = tf.constant([[True]]), tf.constant([2])
    >>> found = beam_search(
    ...     step, [], source, beginning=0, end=2, never=[], longest=tf.constant([4]), beam_size=two, alpha=0.0
    ... )
    >>> found.ids.numpy().tolist(), tf.exp(found.scores).numpy().tolist()
    ([[[2, 0, 0, 0], [1, 2, 0, 0]]], [[0.30, 0.24]])

    A translation is done where its end is among the likeliest `beam_size` of all ways to go on with the row's
    translations; it leaves the beam to another one. A row is done when it has so many. So a beam of 1 is greedy, and
    one that holds all there are finds the best there is.

    Args:
        step: the model.
        state: that before the first id, parts `(batch, ...)`.
        is_token: boolean `(batch, source)`, false at padding.
        beginning: the id that is read first.
        end: the id that ends a translation.
        never: ids that do not stand in a translation.
        longest: int32 `(batch,)`, the most ids of a translation, its end counted in; at least one.
        beam_size: int32 `(batch,)`, at least one.
        alpha: of `length_penalty`.
        beta: of `coverage_penalty`.

    Returns:
        `Found`, with as many translations as the largest `beam_size`.
    """
    # Of no source at all the largest is no number to count with.
    rows, beams = tf.shape(beam_size)[0], tf.maximum(1, tf.reduce_max(beam_size))
    steps = tf.maximum(1, tf.reduce_max(longest))
    in_beam = tf.range(beams)[None] < beam_size[:, None]  # (B, K)
    infinity = float("inf")

    def body(beam: _Beam) -> _Beam:
        t = beam.t
        log_probs, state, attention = step(tf.reshape(beam.ids, [-1]), beam.state)  # (BK, V), ..., (B, K, S)
        symbols = tf.shape(log_probs)[1]
        forbidden = tf.reduce_any(tf.range(symbols)[:, None] == tf.constant(list(never), tf.int32), axis=1)
        is_end = tf.range(symbols) == end
        allowed = ~forbidden & (is_end | (t + 1 < longest)[:, None])  # (B, V); at last only the end
        log_probs = tf.reshape(log_probs, [rows, beams, symbols])
        extended = tf.where(allowed[:, None], beam.scores[:, :, None] + log_probs, -infinity)  # (B, K, V)
        # Of twice as many at most half are ends.
        count = tf.minimum(2 * beams, beams * symbols)
        best, where = tf.math.top_k(tf.reshape(extended, [rows, -1]), count)  # each (B, 2K)
        parent, symbol = where // symbols, where % symbols
        ends = symbol == end
        longer = tf.where(tf.range(steps) == t, symbol[:, :, None], tf.gather(beam.texts, parent, batch_dims=1))
        coverage = tf.gather(beam.coverage + attention, parent, batch_dims=1)  # (B, 2K, S)

        is_open = beam.done_count < beam_size
        counts = ends & (tf.range(count) < beam_size[:, None]) & (best > -infinity) & is_open[:, None]
        ranked = best / length_penalty(tf.cast(t + 1, tf.float32), alpha)
        ranked += coverage_penalty(coverage, is_token[:, None], beta)
        ranked = tf.concat([beam.done_scores, tf.where(counts, ranked, NO_SCORE)], axis=1)
        done_scores, place = tf.math.top_k(ranked, beams)  # of equals the earlier
        done_texts = tf.gather(tf.concat([beam.done_texts, longer], axis=1), place, batch_dims=1)
        done_count = beam.done_count + tf.reduce_sum(tf.cast(counts, tf.int32), axis=1)

        scores, place = tf.math.top_k(tf.where(ends, -infinity, best), beams)  # (B, K)
        scores = tf.where(in_beam, scores, -infinity)
        parent = tf.gather(parent, place, batch_dims=1)
        flat = tf.reshape(parent + beams * tf.range(rows)[:, None], [-1])
        return _Beam(
            t=t + 1,
            ids=tf.gather(symbol, place, batch_dims=1),
            state=[tf.gather(part, flat) for part in state],
            scores=scores,
            coverage=tf.gather(coverage, place, batch_dims=1),
            texts=tf.gather(longer, place, batch_dims=1),
            done_texts=done_texts,
            done_scores=done_scores,
            done_count=done_count,
            is_going_on=(done_count < beam_size) & tf.reduce_any(scores > -infinity, axis=1),
        )

    no_texts = tf.zeros([rows, beams, steps], tf.int32)
    beginning_of_all = _Beam(
        t=tf.constant(0),
        ids=tf.fill([rows, beams], beginning),
        state=[tf.repeat(part, beams, axis=0) for part in state],
        # All beams are the same one yet.
        scores=tf.where(tf.range(beams)[None] == 0, tf.zeros([rows, 1]), -infinity),
        coverage=tf.zeros([rows, beams, tf.shape(is_token)[1]]),
        texts=no_texts,
        done_texts=no_texts,
        done_scores=tf.fill([rows, beams], NO_SCORE),
        done_count=tf.zeros_like(beam_size),
        is_going_on=tf.ones_like(beam_size, tf.bool),
    )
    by_beam, by_place = tf.TensorShape([None, None]), tf.TensorShape([None, None, None])
    (found,) = tf.while_loop(
        lambda beam: (beam.t < steps) & tf.reduce_any(beam.is_going_on),
        lambda beam: (body(beam),),
        (beginning_of_all,),
        shape_invariants=(
            _Beam(
                t=tf.TensorShape([]),
                ids=by_beam,
                state=[tf.TensorShape([None, *part.shape[1:]]) for part in state],
                scores=by_beam,
                coverage=by_place,
                texts=by_place,
                done_texts=by_place,
                done_scores=by_beam,
                done_count=tf.TensorShape([None]),
                is_going_on=tf.TensorShape([None]),
            ),
        ),
        maximum_iterations=steps,
    )
    scores = tf.where(in_beam, found.done_scores, NO_SCORE)  # a row may have found more than it asked for
    return Found(tf.where(scores[:, :, None] > NO_SCORE, found.done_texts, 0), scores)
