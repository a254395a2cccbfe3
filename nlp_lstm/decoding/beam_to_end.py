"""From a translator's guesses to the best translations of each source, in graph: beam search to an end symbol."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

Step = Callable[[Any, Sequence[Any], Sequence[Any]], tuple[Any, Any, Sequence[Any], Any]]
"""From the ids just read `(batch * beams,)`, the state before them, each part with that many rows, and the memory to

- logits `(batch * beams, ids)` of the next id, the number of ids being known when the graph is built;
- what is to be taken off them for log-probabilities `(batch * beams, 1)`;
- the state after the ids read;
- and the attention `(batch, beams, source)`.
"""

NO_SCORE = -1e9
"""The score of a translation that is not there; a number, since JSON has no infinity."""


class Found(NamedTuple):
    """The translations of each source, the best first."""

    ids: Any  # int32 (B, K, T), each with its end, then zeros
    scores: Any  # float32 (B, K), NO_SCORE where there is none


class _Rows(NamedTuple):
    """What stays the same while a row is searched for."""

    place: Any  # int32 (B,), among all rows
    memory: list[Any]  # the model's, parts (B, S, ...)
    is_token: Any  # boolean (B, S)
    longest: Any  # int32 (B,)
    beam_size: Any  # int32 (B,)


class _Beam(NamedTuple):
    """Where the search stands: the translations under way, and those that are done."""

    t: Any  # int32, ids that each one under way has
    ids: Any  # int32 (B, K), the last id of each
    state: list[Any]  # the model's, parts (BK, ...)
    scores: Any  # (B, K), log-probability, -inf where none is under way
    coverage: Any  # (B, K, S), the attention that each source token got in all; of no source where it does not count
    texts: Any  # int32 (B, 2K, t), those under way, and those that are done, the best first
    done_scores: Any  # (B, K), with the penalties, NO_SCORE where there is none
    done_count: Any  # int32 (B,), how many ends were found
    is_going_on: Any  # boolean (B,)


_GO_ON_OF_TEN = 9
"""Rows that are done leave when no more of ten go on: copies of all others cost less than a step of theirs."""


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
    memory: Sequence[Any],
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
    >>> def step(ids, state, memory):
    ...     return tf.gather(following, ids), tf.zeros([tf.size(ids), 1]), state, tf.ones([1, tf.size(ids), 1])
    >>> source, two = tf.constant([[True]]), tf.constant([2])
    >>> found = beam_search(
    ...     step, [], [], source, beginning=0, end=2, never=[], longest=tf.constant([4]), beam_size=two, alpha=0.0
    ... )
    >>> found.ids.numpy().tolist(), tf.exp(found.scores).numpy().tolist()
    ([[[2, 0, 0, 0], [1, 2, 0, 0]]], [[0.30, 0.24]])

    A translation is done where its end is among the likeliest `beam_size` of all ways to go on with the row's
    translations; it leaves the beam to another one. A row is done when it has so many. So a beam of 1 is greedy, and
    one that holds all there are finds the best there is.

    When some rows are done the model is asked about the others alone, and about no more of their memory than they have
    tokens.

    Args:
        step: the model.
        state: that before the first id, parts `(batch, ...)`.
        memory: what the model looks at of each source, parts `(batch, source, ...)`.
        is_token: boolean `(batch, source)`, false at padding, which stands behind all tokens.
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
    beams, steps = tf.maximum(1, tf.reduce_max(beam_size)), tf.maximum(1, tf.reduce_max(longest))

    def search(rows: _Rows, beam: _Beam) -> _Beam:
        """Go on until some rows are done."""
        enough = _GO_ON_OF_TEN * tf.size(rows.place) // 10
        tables = _tables(rows, beams, steps, end, alpha)
        (beam,) = tf.while_loop(
            lambda beam: (beam.t < steps) & (tf.reduce_sum(tf.cast(beam.is_going_on, tf.int32)) > enough),
            lambda beam: (_extended(step, rows, beam, tables, beams, end, never, beta),),
            (beam,),
            shape_invariants=(shapes[1],),
        )
        return beam

    def body(rows: _Rows, beam: _Beam, found: Found) -> tuple[_Rows, _Beam, Found]:
        beam = search(rows, beam)
        texts = tf.pad(beam.texts[:, beams:], [[0, 0], [0, 0], [0, steps - tf.shape(beam.texts)[2]]])
        place = rows.place[:, None]
        found = Found(
            tf.tensor_scatter_nd_update(found.ids, place, texts),
            tf.tensor_scatter_nd_update(found.scores, place, beam.done_scores),
        )
        rows, beam = _those_that_go_on(rows, beam, beams)
        return rows, beam, found

    number = tf.shape(beam_size)[0]
    all_rows = _Rows(tf.range(number), list(memory), is_token, longest, beam_size)
    by_beam = tf.zeros([number, beams])
    first = _Beam(
        t=tf.constant(0),
        ids=tf.fill([number, beams], beginning),
        state=[tf.repeat(part, beams, axis=0) for part in state],
        # All beams are the same one yet.
        scores=tf.where(tf.range(beams)[None] == 0, by_beam, -np.inf),
        coverage=tf.zeros([number, beams, tf.shape(is_token)[1] if beta else 0]),
        texts=tf.zeros([number, 2 * beams, 0], tf.int32),
        done_scores=tf.fill([number, beams], NO_SCORE),
        done_count=tf.zeros_like(beam_size),
        is_going_on=tf.ones_like(beam_size, tf.bool),
    )
    nothing = Found(tf.zeros([number, beams, steps], tf.int32), tf.fill([number, beams], NO_SCORE))
    carried = (all_rows, first, nothing)
    shapes = _shapes(*carried)
    *_, found = tf.while_loop(
        lambda rows, beam, _: (beam.t < steps) & (tf.size(rows.place) > 0),
        body,
        carried,
        shape_invariants=shapes,
    )
    in_beam = tf.range(beams)[None] < beam_size[:, None]  # a row may have found more than it asked for
    scores = tf.where(in_beam, found.scores, NO_SCORE)
    return Found(tf.where(scores[:, :, None] > NO_SCORE, found.ids, 0), scores)


def _shapes(rows: _Rows, beam: _Beam, found: Found) -> tuple[_Rows, _Beam, Found]:
    """Those that hold throughout: rows leave, sources become shorter, and texts longer."""

    def of_any(nested: Any, axes: int) -> Any:
        sizes = lambda part: [None if axis < axes else size for axis, size in enumerate(part.shape)]  # noqa: E731
        return tf.nest.map_structure(lambda part: tf.TensorShape(sizes(part)), nested)

    of_beam = of_any(beam, 3)._replace(state=of_any(beam.state, 1))
    return of_any(rows, 2), of_beam, of_any(found, 3)


class _Tables(NamedTuple):
    """What each step looks up rather than to make it again: with few translations under way operations are the cost."""

    penalty: Any  # (T,), `length_penalty` of 1, 2, ... ids
    first: Any  # int32 (B, 1), the first beam of each row among all
    may_count: Any  # boolean (B, 2K), whether the end of a row's likeliest would be one of its beam
    out_of_beam: Any  # (B, K), 0, and -inf behind a row's beam
    done: Any  # int32 (B, K), where its texts that are done stand
    last: Any  # int32 (3K,), what is added to texts that are done, and to those that end


def _tables(rows: _Rows, beams: Any, steps: Any, end: int, alpha: float) -> _Tables:
    number = tf.size(rows.place)
    by_rank = tf.range(2 * beams) < rows.beam_size[:, None]
    return _Tables(
        penalty=length_penalty(tf.range(1.0, tf.cast(steps, tf.float32) + 1.0), alpha),
        first=beams * tf.range(number)[:, None],
        may_count=by_rank,
        out_of_beam=tf.where(by_rank[:, :beams], 0.0, -np.inf),
        done=tf.repeat(tf.range(beams, 2 * beams)[None], number, axis=0),
        last=tf.repeat([0, end], [beams, 2 * beams]),
    )


def _extended(
    step: Step, rows: _Rows, beam: _Beam, tables: _Tables, beams: Any, end: int, never: Sequence[int], beta: float
) -> _Beam:
    """One id further: `beam_search`."""
    t = beam.t
    logits, log_total, state, attention = step(tf.reshape(beam.ids, [-1]), beam.state, rows.memory)
    is_last = tf.cast(rows.longest == t + 1, tf.int32)[:, None]
    best, symbol, parent = _likeliest(logits, beam.scores, log_total, is_last, end, never)
    ends = symbol == end

    counts = ends & tables.may_count & beam.is_going_on[:, None] & (best > -np.inf)
    ranked = best / tf.gather(tables.penalty, t)
    coverage = beam.coverage
    if beta:
        coverage += attention
        penalty = coverage_penalty(coverage, rows.is_token[:, None], beta)  # (B, K)
        ranked += tf.gather(penalty, parent, batch_dims=1)
    ranked = tf.concat([beam.done_scores, tf.where(counts, ranked, NO_SCORE)], axis=1)
    done_scores, done = tf.math.top_k(ranked, beams)  # of equals the earlier
    done_count = beam.done_count + tf.reduce_sum(tf.cast(counts, tf.int32), axis=1)

    scores, place = tf.math.top_k(tf.where(ends, -np.inf, best), beams)  # (B, K)
    scores += tables.out_of_beam
    ids = tf.gather(symbol, place, batch_dims=1)
    on = tf.gather(parent, place, batch_dims=1)  # (B, K)
    # Where each text was: that of a beam, or among those that were done, to which ends are added.
    before = tf.gather(tf.concat([tables.done, parent], axis=1), done, batch_dims=1)
    texts = tf.gather(beam.texts, tf.concat([on, before], axis=1), batch_dims=1)
    last = tf.concat([ids, tf.gather(tables.last, done)], axis=1)
    flat = tf.reshape(on + tables.first, [-1])
    return _Beam(
        t=t + 1,
        ids=ids,
        state=[tf.gather(part, flat) for part in state],
        scores=scores,
        coverage=tf.gather(coverage, on, batch_dims=1) if beta else coverage,
        texts=tf.concat([texts, last[:, :, None]], axis=2),
        done_scores=done_scores,
        done_count=done_count,
        is_going_on=(done_count < rows.beam_size) & (scores[:, 0] > -np.inf),
    )


# To look for the likeliest ids among all takes longer than to look for the blocks of ids that they stand in, by the
# likeliest of each, and then in these.
_BLOCK = 32


def _likeliest(
    logits: Any, scores: Any, log_total: Any, is_last: Any, end: int, never: Sequence[int]
) -> tuple[Any, Any, Any]:
    """The likeliest ways to go on with a row's translations, twice as many as there are beams.

    At most half of them end, so that as many go on as there are beams. Of equals the first by beam, then by id.

    Args:
        logits: `(batch * beams, ids)`.
        scores: `(batch, beams)`, of the translations.
        log_total: `(batch * beams, 1)`, what is taken off the logits.
        is_last: int32 `(batch, 1)`, 1 where only the end may follow, else 0.
        end: its id.
        never: ids that may not follow.

    Returns:
        Their scores, ids and beams, each `(batch, 2 * beams)`; the score is -inf where there are not so many.
    """
    symbols = logits.shape[1]
    blocks = -(-symbols // _BLOCK)
    if symbols % _BLOCK:
        logits = tf.pad(logits, [[0, 0], [0, blocks * _BLOCK - symbols]], constant_values=-np.inf)
    # What may follow, and what at last: 0, and -inf for what may not.
    ids = np.arange(blocks * _BLOCK)
    may_not = np.stack([np.isin(ids, never), ids != end]).reshape(2 * blocks, _BLOCK)
    shut_out = np.where(may_not, -np.inf, 0.0).astype(np.float32)
    # That of a block is only for the last step, since the end may be far from likely; before it no block is left out.
    left_out = shut_out[blocks:].max(axis=1)

    number, beams = tf.unstack(tf.shape(scores))
    by_row = tf.stack([number, -1])
    before = scores - tf.reshape(log_total, by_row)  # (B, K)
    logits = tf.reshape(logits, [number, -1, _BLOCK])
    largest = tf.reshape(tf.reduce_max(logits, axis=-1), [number, -1, blocks]) + before[:, :, None]
    largest += tf.gather(np.stack([np.zeros_like(left_out), left_out]), is_last)  # (B, K, blocks)
    # Each of the likeliest is in another block at worst, and of each beam blocks with what may not follow may be there.
    count = tf.minimum(beams * (2 + len({id // _BLOCK for id in never})), beams * blocks)
    _, chosen = tf.math.top_k(tf.reshape(largest, by_row), count)
    chosen = -tf.math.top_k(-chosen, count)[0]  # in their order
    parent, block = chosen // blocks, chosen % blocks  # (B, n)
    extended = tf.gather(logits, chosen, batch_dims=1) + tf.gather(before, parent, batch_dims=1)[:, :, None]
    extended += tf.gather(shut_out, block + blocks * is_last)  # (B, n, 32)
    best, place = tf.math.top_k(tf.reshape(extended, by_row), 2 * beams)
    of_block = place // _BLOCK
    symbol = _BLOCK * tf.gather(block, of_block, batch_dims=1) + place % _BLOCK
    if symbols % _BLOCK:
        symbol = tf.minimum(symbol, symbols - 1)  # where there is no way to go on
    return best, symbol, tf.gather(parent, of_block, batch_dims=1)


def _those_that_go_on(rows: _Rows, beam: _Beam, beams: Any) -> tuple[_Rows, _Beam]:
    """All others are gone, and with them what of the sources is padding for who is left."""
    on = tf.cast(tf.where(beam.is_going_on)[:, 0], tf.int32)
    in_beams = tf.reshape(beams * on[:, None] + tf.range(beams), [-1])
    is_token = tf.gather(rows.is_token, on)
    width = tf.reduce_max(tf.math.count_nonzero(is_token, axis=1, dtype=tf.int32))
    width = tf.maximum(1, width)
    left = lambda part: tf.gather(part, on)  # noqa: E731
    left_rows = _Rows(
        place=left(rows.place),
        memory=[left(part[:, :width]) for part in rows.memory],
        is_token=is_token[:, :width],
        longest=left(rows.longest),
        beam_size=left(rows.beam_size),
    )
    return left_rows, _Beam(
        t=beam.t,
        ids=left(beam.ids),
        state=[tf.gather(part, in_beams) for part in beam.state],
        scores=left(beam.scores),
        coverage=left(beam.coverage[:, :, :width]),
        texts=left(beam.texts),
        done_scores=left(beam.done_scores),
        done_count=left(beam.done_count),
        is_going_on=left(beam.is_going_on),
    )
