"""Beam search for the likeliest continuation of a given length, in graph."""

from typing import Any, NamedTuple

import tensorflow as tf

from nlp_lstm.decoding.sampling import Rules, Step, Writing


class _Beam(NamedTuple):
    """Where the search stands."""

    t: Any  # int32, symbols that each continuation has
    writing: Writing  # of each beam, the batch being (BK,)
    scores: Any  # (B, K), log-probability, -inf where a row has no beam
    texts: Any  # int32 (B, K, T)


def beam_search(
    step: Step, writing: Writing, rules: Rules, steps: Any, *, length: Any, beam_size: Any, largest_beam: int
) -> tuple[Any, Any]:
    """Look for the likeliest continuation of each row, keeping its best so many at every step.

    >>> from nlp_lstm.decoding.sampling import begin_writing
    >>> following = tf.math.log([[0.1, 0.6, 0.3], [0.5, 0.1, 0.4], [0.2, 0.2, 0.6]])  # by the symbol before
    >>> rules = Rules(tf.constant([[True, True, True]]), tf.zeros([1, 3], tf.int32))
    >>> two = tf.constant([2])
    >>> texts, log_probs = beam_search(
    ...     lambda symbol, state: (tf.gather(following, symbol), state),
    ...     begin_writing(following[:1], []), rules, steps=2, length=two, beam_size=two, largest_beam=2,
    ... )
    >>> texts.numpy().tolist(), tf.exp(log_probs).numpy().tolist()
    ([[[1, 0], [1, 2]]], [[0.30, 0.24]])

    Args:
        step: the model.
        writing: where the text stands, out of `begin_writing`.
        rules: which symbols may follow.
        steps: int32 scalar, the largest of `length`.
        length: int32 `(batch,)`, how many symbols a row goes on for.
        beam_size: int32 `(batch,)`, from 1 to `largest_beam`.
        largest_beam: what the search makes room for.

    Returns:
        The symbols int32 `(batch, largest_beam, steps)`, the likeliest continuation first, 0 behind a row's length;
        and their log-probability `(batch, largest_beam)`, -inf from a row's beam size on.
    """
    rows, symbols, beams = tf.shape(writing.log_probs)[0], tf.shape(writing.log_probs)[1], largest_beam
    in_beam = tf.range(beams)[None] < beam_size[:, None]  # (B, K)

    def body(beam: _Beam) -> _Beam:
        writing, going_on = beam.writing, (beam.t < length)[:, None]  # (B, 1)
        allowed = rules.restrict(writing.log_probs, writing.rule_state)  # (BK, V)
        extended = beam.scores[:, :, None] + tf.reshape(allowed, [rows, beams, symbols])  # (B, K, V)
        best, where = tf.math.top_k(tf.reshape(extended, [rows, -1]), beams)  # each (B, K)
        parent = tf.where(going_on, where // symbols, tf.range(beams)[None])
        symbol = tf.where(going_on, where % symbols, 0)
        scores = tf.where(going_on, tf.where(in_beam, best, -float("inf")), beam.scores)
        texts = tf.gather(beam.texts, parent, batch_dims=1)  # (B, K, T)
        texts = tf.where(tf.range(steps) == beam.t, symbol[:, :, None], texts)
        from_flat = tf.reshape(parent + beams * tf.range(rows)[:, None], [-1])  # (BK,)
        symbol = tf.reshape(symbol, [-1])
        log_probs, state = step(symbol, [tf.gather(part, from_flat) for part in writing.state])
        rule_state = rules.follow(tf.gather(writing.rule_state, from_flat), symbol)
        return _Beam(beam.t + 1, Writing(log_probs, state, rule_state), scores, texts)

    beginning = _Beam(
        t=tf.constant(0),
        writing=tf.nest.map_structure(lambda part: tf.repeat(part, beams, axis=0), writing),
        # At first all of a row's beams are the same one.
        scores=tf.where(tf.range(beams)[None] == 0, tf.zeros([rows, 1]), -float("inf")),
        texts=tf.zeros([rows, beams, steps], tf.int32),
    )
    (found,) = tf.while_loop(
        lambda beam: beam.t < steps,
        lambda beam: (body(beam),),
        (beginning,),
        shape_invariants=(
            _Beam(
                t=tf.TensorShape([]),
                writing=tf.nest.map_structure(lambda part: tf.TensorShape([None, *part.shape[1:]]), writing),
                scores=tf.TensorShape([None, beams]),
                texts=tf.TensorShape([None, beams, None]),
            ),
        ),
        maximum_iterations=steps,
    )
    return found.texts, found.scores
