"""What a classifier says of a text cut off behind each of its tokens, without reading each of those texts anew."""

from typing import Any

import tensorflow as tf

from nlp_lstm.lstm_tensorflow import advance
from nlp_lstm.models.classifier import BlendedClassifier, SentimentClassifier


def prefix_logits(classifier: SentimentClassifier | BlendedClassifier, ids: Any, ends: Any) -> Any:
    """The logits of beginnings of one text, each closed as the text is.

    >>> from nlp_lstm.models.encoder import BidirectionalEncoder
    >>> classifier = SentimentClassifier(BidirectionalEncoder(1000, 16, 8))
    >>> classifier.build((None, None))
    >>> logits = prefix_logits(classifier, tf.constant([2, 5, 7, 2]), tf.constant([1, 2]))
    >>> np.allclose(logits[0], classifier(np.array([[2, 5, 2]])), atol=1e-6)
    True
    >>> np.allclose(logits[1], classifier(np.array([[2, 5, 7, 2]])), atol=1e-6)
    True

    Forwards the prefixes are one walk, and a step more for each. Backwards each has a walk of its own, all of them in
    one batch, which a prefix leaves at its beginning: of `n` prefixes of a text of `t` tokens, `n * t / 2` steps of a
    cell.

    Args:
        classifier: a built classifier.
        ids: token ids of the text, int32 `(time,)`, of which the last closes it; 0, the padding, is not among them.
        ends: where to cut: the place of each prefix's own last token, ascending, int32 `(prefixes,)`; at least one,
            and none of them the last of the text.

    Returns:
        float32 `(prefixes,)`.
    """
    if isinstance(classifier, SentimentClassifier):
        return _lstm_logits(classifier, ids, ends)
    a, b, c = tf.unstack(tf.convert_to_tensor(classifier.mixture))
    # Which n-grams a prefix has, and that each counts once, is for their model to say: it costs little beside the LSTM.
    place = tf.range(ends[-1] + 2)[None]
    closed = tf.where(place == ends[:, None] + 1, ids[-1], 0)
    prefixes = tf.where(place <= ends[:, None], ids[None, : ends[-1] + 2], closed)  # (P, T)
    return a * _lstm_logits(classifier.lstm, ids, ends) + b * classifier.ngrams(prefixes) + c


def _lstm_logits(lstm: SentimentClassifier, ids: Any, ends: Any) -> Any:
    embedded = tf.cast(lstm.encoder.embedding(ids), tf.float32)  # (T, D)
    directions = [_read_forwards(lstm.encoder.forward_lstm, embedded, ends)]
    directions.append(_read_backwards(lstm.encoder.backward_lstm, embedded, ends))
    length = tf.cast(ends + 2, tf.float32)[:, None]  # the closing token counted in
    maxima, sums = zip(*directions, strict=True)
    pooled = tf.concat([*maxima, *(total / length for total in sums)], axis=-1)  # (P, 4U)
    kernel, bias = lstm.folded_head()
    return tf.linalg.matvec(pooled, kernel) + bias


def _read_forwards(layer: Any, embedded: Any, ends: Any) -> tuple[Any, Any]:
    """Maximum and sum of the states of each prefix and of its closing token, each `(prefixes, units)`."""
    gates = layer.gates(embedded[None])
    states = gates.hidden[0]  # (T, U)
    from_input, product = _products(layer, embedded[-1:])
    h, c = tf.gather(states, ends), tf.gather(gates.cell[0], ends)  # (P, U)
    _, closing, _ = advance(from_input, product(h), h, c)
    highest = tf.maximum(tf.gather(running_maximum(states), ends), closing)
    return highest, tf.gather(tf.cumsum(states), ends) + closing


def _read_backwards(layer: Any, embedded: Any, ends: Any) -> tuple[Any, Any]:
    """The same of a walk from each prefix's closing token to the beginning."""
    projected, product = _products(layer, embedded)  # (T, 4U)
    prefixes, units = tf.shape(ends)[0], layer.units
    start = tf.zeros([1, units])
    _, h, c = advance(projected[-1:], product(start), start, start)  # the closing token: the same for all
    h, c = tf.tile(h, [prefixes, 1]), tf.tile(c, [prefixes, 1])

    def step(back: Any, h: Any, c: Any, highest: Any, total: Any) -> Any:
        # The shortest stand first. Those that have come to their beginning are left as they are.
        done = tf.reduce_sum(tf.cast(ends < back, tf.int32))
        left = prefixes - done
        h, c = h[-left:], c[-left:]
        _, h, c = advance(tf.gather(projected, ends[done:] - back), product(h), h, c)
        highest = tf.concat([highest[:done], tf.maximum(highest[done:], h)], axis=0)
        return back + 1, h, c, highest, tf.concat([total[:done], total[done:] + h], axis=0)

    rows = tf.TensorShape([None, units])
    _, _, _, highest, total = tf.while_loop(
        lambda back, *_: back <= ends[-1],
        step,
        (tf.constant(0), h, c, h, h),
        shape_invariants=(tf.TensorShape([]), rows, rows, rows, rows),
    )
    return highest, total


def _products(layer: Any, embedded: Any) -> tuple[Any, Any]:
    """What an LSTM's gates have from their input, `(time, 4 * units)`, and what gives their part of hidden states."""
    W, U, b = layer.cell.cast_weights(dtype="float32")
    return tf.matmul(embedded, W) + b, U if callable(U) else lambda h: tf.matmul(h, U)


def running_maximum(values: Any) -> Any:
    """The maximum of each row and all before it, of the shape `(time, units)` given.

    >>> running_maximum(tf.constant([[1.0], [3.0], [2.0]])).numpy().ravel()
    array([1., 3., 3.], dtype=float32)
    """

    # That of the last 2, the last 4, the last 8 rows and so on, of which there are few.
    def double(width: Any, highest: Any) -> Any:
        before = tf.concat([highest[:width], highest[:-width]], axis=0)
        return 2 * width, tf.ensure_shape(tf.maximum(highest, before), highest.shape)

    return tf.while_loop(lambda width, _: width < tf.shape(values)[0], double, (tf.constant(1), values))[1]
