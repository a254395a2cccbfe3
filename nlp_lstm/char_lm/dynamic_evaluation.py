"""Dynamic evaluation: a language model that goes on learning from the text it is judged on."""

import sys
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from nlp_lstm.models.language_model import LanguageModel

SEGMENT = 64


def dynamic_nats(
    model: LanguageModel, before: int, ids: np.ndarray, learning_rate: float = 0.05, decay: float = 0.002
) -> float:
    r"""The mean loss of a text in nats per symbol, the model adapted after each segment to what it has just read.

    >>> model = LanguageModel(vocabulary_size=3, embedding_size=4, units=8, layers=1)
    >>> model.build((None, None))
    >>> nats = dynamic_nats(model, before=0, ids=np.array([1, 2] * 500))
    >>> nats < 1.09  # it has learned some of it on the way
    True

    Each segment is guessed before the model learns from it, by a step of stochastic gradient descent that also pulls
    the weights back to where training left them (Krause, Kahembwe, Murray and Renals 2018, eq. 3 and 6, without the
    gradient statistics of the training text):

    .. math:: \theta \leftarrow \theta - \eta \nabla L + \lambda (\theta_0 - \theta)

    Its figure is not that of the model as it is shipped, and is reported apart. Afterwards the weights are those from
    before.

    Args:
        model: a built language model.
        before: the id of the symbol that is read before the first.
        ids: `(symbols,)`.
        learning_rate: :math:`\eta`; the gradient's norm is clipped to 1.
        decay: :math:`\lambda`.
    """
    trained = [tf.constant(weight) for weight in model.trainable_weights]
    variables = [weight.value for weight in model.trainable_weights]
    text = np.concatenate([[before], ids]).astype(np.int32)

    @tf.function(reduce_retracing=True, autograph=False)
    def read(piece: Any, state: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            logits, state = model(piece[:, :-1], state)
            losses = keras.losses.sparse_categorical_crossentropy(piece[:, 1:], logits, from_logits=True)
            loss = tf.reduce_mean(losses)
        # Dense, since the norm of slices would count a symbol's rows one by one.
        gradients = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, variables)]
        gradients, _ = tf.clip_by_global_norm(gradients, 1.0)
        for variable, gradient, origin in zip(variables, gradients, trained, strict=True):
            variable.assign(variable - learning_rate * gradient + decay * (origin - variable))
        return tf.reduce_sum(losses), state

    total, state = 0.0, model.initial_state(1)
    try:
        for start in range(0, len(ids), SEGMENT):
            loss, state = read(tf.constant(text[None, start : start + SEGMENT + 1]), state)
            total += float(loss)
            if start // SEGMENT % 200 == 199:
                print(f"dynamic evaluation: {start + SEGMENT} of {len(ids)} symbols", file=sys.stderr)
    finally:
        for variable, origin in zip(variables, trained, strict=True):
            variable.assign(origin)
    return total / len(ids)
