r"""What a softmax over many classes divides by, in TensorFlow, with a hand-written gradient.

With :math:`P = \mathrm{softmax}(a E^\top + b)`, `(N, V)`, and the incoming gradient :math:`g`, `(N,)`,

.. math::

    \partial a = g \odot (P E), \qquad \partial E = P^\top (g \odot a), \qquad \partial b = P^\top g

so the probabilities, by far the largest array of a step of training, are written once and read by two products. From a
cross-entropy on logits autodiff writes them three times: before they are scaled, scaled, and to sum up for the bias.
"""

from typing import Any

import tensorflow as tf

from nlp_lstm.traced_calls import call_traced


def log_normalizer(states: Any, table: Any, bias: Any) -> Any:
    r"""The logarithm of what each softmax divides by, :math:`\log \sum_v \exp(a_n \cdot E_v + b_v)`.

    >>> log_normalizer(tf.zeros([2, 3]), tf.ones([4, 3]), tf.zeros([4])).numpy()  # log 4
    array([1.386, 1.386], dtype=float32)

    A cross-entropy is this less the logit of the class that is wanted.

    Args:
        states: :math:`a`, `(n, width)`.
        table: :math:`E`, `(classes, width)`.
        bias: :math:`b`, `(classes,)`.

    Returns:
        `(n,)`. Differentiable in all three, as often as you like.
    """
    return call_traced(_log_normalizer, states, (table, bias))


def _log_normalizer(states: Any, weights: Any) -> Any:
    @tf.custom_gradient
    def normalizer(states: Any, table: Any, bias: Any) -> Any:
        logits = tf.matmul(states, table, transpose_b=True) + bias  # (N, V)
        probabilities = tf.nn.softmax(logits)
        # From the likeliest class, whose probability is never too small for a logarithm.
        found = tf.reduce_max(logits, axis=-1) - tf.math.log(tf.reduce_max(probabilities, axis=-1))

        def gradient(d_found: Any) -> Any:
            g = d_found[:, None]
            scaled = tf.concat([g * states, g], axis=-1)  # (N, E + 1): the bias, too, by the one product
            d_weights = tf.matmul(probabilities, scaled, transpose_a=True)  # (V, E + 1)
            return g * tf.matmul(probabilities, table), d_weights[:, :-1], d_weights[:, -1]

        return found, gradient

    return normalizer(states, *weights)
