r"""A trained translator laid out for use: what can be multiplied beforehand has been, and a step does little.

The decoder's LSTM takes one product a step, :math:`[E y_{t-1} \; \tilde{h}_{t-1} \; h_{t-1}] \, [W; U]`. What attention
multiplies a source's states :math:`m_s` with is multiplied once a source and not at each step. With
:math:`W_a = [W_h; W_m]`,

.. math::

    (h_t W_q) (m_s W_k)^\top = h_t \, (m_s W_k W_q^\top)^\top, \qquad
    [h_t \; \textstyle\sum_s \alpha_s m_s] \, W_a = h_t W_h + \textstyle\sum_s \alpha_s \, (m_s W_m)

(additive attention has a tanh between query and keys, and multiplies each query as before).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops

from nlp_lstm.lstm_tensorflow import advance, hidden_sequence
from nlp_lstm.models.translator import Translator
from nlp_lstm.settings import Precision
from nlp_lstm.weight_matrix import WeightMatrix, weight_matrix


class FoldedTranslator(tf.Module):
    """The weights of a `Translator` for inference, and the two ways through it: encode a source, step on from an id.

    >>> model = Translator(vocabulary_size=500, embedding_size=32, encoder_units=16, decoder_units=32)
    >>> model.build()
    >>> folded = FoldedTranslator(model)
    >>> memory, state = folded.encode(tf.constant([[5, 6, 3]]))
    >>> logits, log_total, state, attention = folded.step(tf.constant([2]), state, memory)
    >>> logits.shape, log_total.shape, attention.shape
    (TensorShape([1, 500]), TensorShape([1, 1]), TensorShape([1, 1, 3]))

    Log-probabilities are `logits - log_total`: whoever wants those of a few ids need not take all.

    Dropout is off.

    Args:
        model: a built translator.
        precision: of the products with weight matrices; those with cell states, which know no bound, are in float32.
    """

    def __init__(self, model: Translator, precision: Precision = "float32"):
        super().__init__(name="translator")
        settings = model.settings
        self.units, self.encoder_units, self.encoder_layers, self.embedding_size = (
            settings[name] for name in ("decoder_units", "encoder_units", "encoder_layers", "embedding_size")
        )
        self.precision, self.is_additive = precision, settings["attention"] == "additive"
        weights = _laid_out(model, precision)
        self.matrices: dict[str, WeightMatrix] = {
            name: weight_matrix(values, precision, name) for name, values in weights.items() if name.endswith("kernel")
        }
        self.others: dict[str, tf.Variable] = {
            name: tf.Variable(values, name=name) for name, values in weights.items() if name not in self.matrices
        }

    def take_weights(self, model: Translator) -> None:
        """Go by the weights that the model has now, where it was trained on; in float32 alone.

        >>> model = Translator(vocabulary_size=500, embedding_size=32, encoder_units=16, decoder_units=32)
        >>> model.build()
        >>> FoldedTranslator(model).take_weights(model)
        """
        for name, values in _laid_out(model, self.precision).items():
            (self.matrices[name].values if name in self.matrices else self.others[name]).assign(values)

    def encode(self, source: Any) -> tuple[list[Any], list[Any]]:
        """Read sources.

        Args:
            source: ids, int32 `(batch, source)`, 0 for padding.

        Returns:
            The memory, parts `(batch, source, ...)`, of which padding behind all tokens may be cut off; and the state
            before the first target id, parts `(batch, ...)`.
        """
        is_token = source != 0  # (B, S)
        mask = tf.transpose(is_token)[..., None]  # (S, B, 1)
        rows, length = tf.unstack(tf.shape(source))
        zeros = tf.zeros([rows, self.encoder_units])
        table = self.others.get("source_embedding", self.others["embedding"])
        states = tf.gather(table, tf.transpose(source))  # (S, B, E)
        for layer in range(1, self.encoder_layers + 1):
            kernel = self.matrices[f"encoder_{layer}_kernel"]
            product = kernel(tf.reshape(states, [-1, kernel.shape[0]])) + self.others[f"encoder_{layer}_bias"]
            forward, backward = tf.split(tf.reshape(product, [length, rows, kernel.shape[1]]), 2, axis=-1)
            forward_kernel, backward_kernel = (
                self.matrices[f"encoder_{layer}_{direction}_kernel"] for direction in ("forward", "backward")
            )
            ahead, ahead_hidden, ahead_cell = hidden_sequence(forward, zeros, zeros, forward_kernel, mask=mask)
            behind, behind_hidden, behind_cell = hidden_sequence(
                tf.reverse(backward, [0]), zeros, zeros, backward_kernel, mask=tf.reverse(mask, [0])
            )
            states = tf.concat([ahead, tf.reverse(behind, [0])], axis=-1)  # (S, B, 2U)
        hidden = self.matrices["hidden_bridge_kernel"](tf.concat([ahead_hidden, behind_hidden], axis=-1))
        hidden = tf.tanh(hidden + self.others["hidden_bridge_bias"])
        cell = tf.matmul(tf.concat([ahead_cell, behind_cell], axis=-1), self.others["cell_bridge"])
        cell += self.others["cell_bridge_bias"]
        kernel = self.matrices["memory_kernel"]
        memory = kernel(tf.reshape(tf.transpose(states, [1, 0, 2]), [-1, kernel.shape[0]]))
        memory = tf.reshape(memory, [rows, length, kernel.shape[1]])
        keys, values = memory[..., : -self.embedding_size], memory[..., -self.embedding_size :]
        is_padding = tf.where(is_token, 0.0, -1e9)  # added to the scores of attention
        # One part, which a search puts in another order in one go.
        state = tf.concat([tf.zeros([rows, self.embedding_size]), hidden, cell], axis=-1)
        return [keys, values, is_padding], [state]

    def step(self, ids: Any, state: Sequence[Any], memory: Sequence[Any]) -> tuple[Any, Any, list[Any], Any]:
        """Read one target id of each translation under way; a row of the memory has the same number of them.

        Args:
            ids: int32 `(batch * queries,)`.
            state: that before it, parts `(batch * queries, ...)`.
            memory: of `batch` sources.

        Returns:
            Logits of the next id `(batch * queries, vocabulary)`; the logarithm of the sum of their exponentials
            `(batch * queries, 1)`; the state after the id; and the attention `(batch, queries, source)` with which the
            next is guessed.
        """
        keys, values, is_padding = memory
        (state,) = state
        read = self.embedding_size + self.units  # the attentional vector and the hidden state of the step before
        joined = tf.concat([tf.gather(self.others["embedding"], ids), state[:, :read]], axis=-1)
        product = self.matrices["decoder_kernel"](joined)
        _, hidden, cell = advance(self.others["decoder_bias"], product, None, state[:, read:])
        scores = self._scores(hidden, keys) + is_padding[:, None]  # (B, Q, S)
        attention = tf.nn.softmax(scores)
        context = tf.reshape(tf.matmul(attention, values), [-1, self.embedding_size])
        attended = tf.tanh(self.matrices["combine_kernel"](hidden) + self.others["combine_bias"] + context)
        logits = self._logits(attended) + self.others["output_bias"]
        largest = tf.reduce_max(logits, axis=-1, keepdims=True)
        log_total = largest + tf.math.log(tf.reduce_sum(tf.exp(logits - largest), axis=-1, keepdims=True))
        return logits, log_total, [tf.concat([attended, hidden, cell], axis=-1)], attention

    def _scores(self, hidden: Any, keys: Any) -> Any:
        """What attention's softmax is of: `nlp_lstm.models.translator.attend`."""
        rows = tf.shape(keys)[0]
        if not self.is_additive:
            return tf.matmul(tf.reshape(hidden, [rows, -1, self.units]), keys, transpose_b=True)
        query = self.matrices["query_kernel"](hidden) + self.others["query_bias"]
        query = tf.reshape(query, [rows, -1, 1, query.shape[-1]])
        return tf.reduce_sum(tf.tanh(query + keys[:, None]) * self.others["score_weights"], axis=-1)

    def _logits(self, attended: Any) -> Any:
        if "output_kernel" in self.matrices:
            return self.matrices["output_kernel"](attended)
        # The embedding itself, so that it is not written twice.
        return tf.matmul(attended, self.others["embedding"], transpose_b=True)


def _laid_out(model: Translator, precision: Precision) -> dict[str, np.ndarray]:
    """Weights by their names; those that end in `kernel` are multiplied with what lies between -1 and 1."""
    array = lambda weight: ops.convert_to_numpy(weight).astype(np.float32)  # noqa: E731
    decoder = model.decoder
    embedding_size, units = model.settings["embedding_size"], model.settings["decoder_units"]
    embedding = array(model.embedding.embeddings)  # (V, E)
    has_own_source = model.source_embedding is not model.embedding
    source_embedding = array(model.source_embedding.embeddings) if has_own_source else embedding
    # Features of the embedding lie between -1 and 1 for 8 bits, and the rows that they meet make up for it.
    bound, source_bound = (
        np.maximum(np.abs(table).max(axis=0), np.finfo(np.float32).tiny) if precision == "int8" else np.ones(1, np.float32)
        for table in (embedding, source_embedding)
    )
    found: dict[str, np.ndarray] = {"embedding": embedding / bound}
    if has_own_source:
        found["source_embedding"] = source_embedding / source_bound
    for layer, directions in enumerate(model.encoder, start=1):
        cells = [direction.cell for direction in directions]
        kernel = np.concatenate([array(cell.kernel) for cell in cells], axis=1)
        found[f"encoder_{layer}_kernel"] = kernel * source_bound[:, None] if layer == 1 else kernel
        found[f"encoder_{layer}_bias"] = np.concatenate([array(cell.bias) for cell in cells])
        for name, cell in zip(("forward", "backward"), cells, strict=True):
            found[f"encoder_{layer}_{name}_kernel"] = array(cell.recurrent_kernel)
    found["hidden_bridge_kernel"] = array(model.hidden_bridge.kernel)
    found["hidden_bridge_bias"] = array(model.hidden_bridge.bias)
    found["cell_bridge"], found["cell_bridge_bias"] = array(model.cell_bridge.kernel), array(model.cell_bridge.bias)
    kernel = array(decoder.cell.kernel)
    kernel[:embedding_size] *= bound[:, None]
    found["decoder_kernel"] = np.concatenate([kernel, array(decoder.cell.recurrent_kernel)])
    found["decoder_bias"] = array(decoder.cell.bias)
    keys = array(model.keys.kernel)  # (2U, A)
    if decoder.score_weights is None:
        keys = keys @ array(decoder.query.kernel).T / np.sqrt(np.float32(decoder.attention_size))
    else:
        found["query_kernel"], found["query_bias"] = array(decoder.query.kernel), array(decoder.query.bias)
        found["score_weights"] = array(decoder.score_weights)
    combine = array(decoder.combine.kernel)
    found["memory_kernel"] = np.concatenate([keys, combine[units:]], axis=1)
    found["combine_kernel"], found["combine_bias"] = combine[:units], array(decoder.combine.bias)
    if precision != "float32":
        found["output_kernel"] = embedding.T
    found["output_bias"] = array(model.output_bias)
    return found
