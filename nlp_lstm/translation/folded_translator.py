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
        matrices, others = _laid_out(model, precision)
        self.matrices: dict[str, WeightMatrix] = {
            name: weight_matrix(kernel, "float32" if name == "cell_bridge" else precision, name, bias)
            for name, (kernel, bias) in matrices.items()
        }
        self.others = {name: tf.Variable(values, name=name) for name, values in others.items()}

    def take_weights(self, model: Translator) -> None:
        """Go by the weights that the model has now, where it was trained on; in float32 alone.

        >>> model = Translator(vocabulary_size=500, embedding_size=32, encoder_units=16, decoder_units=32)
        >>> model.build()
        >>> FoldedTranslator(model).take_weights(model)
        """
        matrices, others = _laid_out(model, self.precision)
        for name, (kernel, bias) in matrices.items():
            self.matrices[name].assign(kernel, bias)
        for name, values in others.items():
            self.others[name].assign(values)

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
        rows = tf.shape(source)[0]
        zeros = tf.zeros([rows, self.encoder_units])
        table = self.others.get("source_embedding", self.others["embedding"])
        # Read and then gathered from: from a variable that rows are gathered from, later reads are copies.
        states = tf.gather(table.read_value(), tf.transpose(source))  # (S, B, E)
        for layer in range(1, self.encoder_layers + 1):
            product = self._product(f"encoder_{layer}", states)  # (S, B, 8U)
            forward, backward = tf.split(product, 2, axis=-1)
            forward_kernel, backward_kernel = (
                self.matrices[f"{direction}_{layer}"] for direction in ("forward", "backward")
            )
            ahead, ahead_hidden, ahead_cell = hidden_sequence(forward, zeros, zeros, forward_kernel, mask=mask)
            behind, behind_hidden, behind_cell = hidden_sequence(
                tf.reverse(backward, [0]), zeros, zeros, backward_kernel, mask=tf.reverse(mask, [0])
            )
            states = tf.concat([ahead, tf.reverse(behind, [0])], axis=-1)  # (S, B, 2U)
        hidden = tf.tanh(self.matrices["hidden_bridge"](tf.concat([ahead_hidden, behind_hidden], axis=-1)))
        cell = self.matrices["cell_bridge"](tf.concat([ahead_cell, behind_cell], axis=-1))
        memory = self._product("memory", tf.transpose(states, [1, 0, 2]))  # (B, S, A + E)
        keys, values = memory[..., : -self.embedding_size], memory[..., -self.embedding_size :]
        is_padding = tf.where(is_token, 0.0, -1e9)  # added to the scores of attention
        read = tf.concat([tf.zeros([rows, self.embedding_size]), hidden], axis=-1)  # no attentional vector yet
        return [keys, values, is_padding], [read, cell]

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
        read, cell = state
        embedded = tf.gather(self.others["embedding"].read_value(), ids)
        product = self.matrices["decoder"](tf.concat([embedded, read], axis=-1))
        _, hidden, cell = advance(self.others["gate_bias"], product, None, cell)
        scores = self._scores(hidden, keys) + is_padding[:, None]  # (B, Q, S)
        attention = tf.nn.softmax(scores)
        context = tf.reshape(tf.matmul(attention, values), [-1, self.embedding_size])
        attended = tf.tanh(self.matrices["combine"](hidden) + context)
        logits = self._logits(attended)
        largest = tf.reduce_max(logits, axis=-1, keepdims=True)
        log_total = largest + tf.math.log(tf.reduce_sum(tf.exp(logits - largest), axis=-1, keepdims=True))
        return logits, log_total, [tf.concat([attended, hidden], axis=-1), cell], attention

    def _scores(self, hidden: Any, keys: Any) -> Any:
        """What attention's softmax is of: `nlp_lstm.models.translator.attend`."""
        rows = tf.shape(keys)[0]
        if not self.is_additive:
            return tf.matmul(tf.reshape(hidden, [rows, -1, self.units]), keys, transpose_b=True)
        query = self.matrices["query"](hidden)
        query = tf.reshape(query, [rows, -1, 1, query.shape[-1]])
        return tf.reduce_sum(tf.tanh(query + keys[:, None]) * self.others["score_weights"], axis=-1)

    def _logits(self, attended: Any) -> Any:
        if "output" in self.matrices:
            return self.matrices["output"](attended)
        # By the embedding itself, so that it is not written twice; laid out anew it would be quicker by little.
        return tf.matmul(attended, self.others["embedding"], transpose_b=True) + self.others["output_bias"]

    def _product(self, name: str, states: Any) -> Any:
        """Of states `(..., ..., units)`."""
        matrix = self.matrices[name]
        rows, columns = matrix.shape
        return tf.reshape(matrix(tf.reshape(states, [-1, rows])), [*tf.unstack(tf.shape(states)[:2]), columns])


Matrices = dict[str, tuple[np.ndarray, np.ndarray | None]]
"""Kernels with their biases."""


def _laid_out(model: Translator, precision: Precision) -> tuple[Matrices, dict[str, np.ndarray]]:
    """Weights by their names: the matrices, which are multiplied with what lies between -1 and 1, and all others."""
    array = lambda weight: ops.convert_to_numpy(weight).astype(np.float32)  # noqa: E731
    decoder, cell = model.decoder, model.decoder.cell
    embedding_size, units = model.settings["embedding_size"], model.settings["decoder_units"]
    embedding = source_embedding = array(model.embedding.embeddings)  # (V, E)
    if model.source_embedding is not model.embedding:
        source_embedding = array(model.source_embedding.embeddings)
    # For 8 bits features of an embedding are brought between -1 and 1, and the rows that they meet make up for it.
    bound, source_bound = (
        np.maximum(np.abs(table).max(axis=0), 1e-30) if precision == "int8" else np.ones(embedding_size, np.float32)
        for table in (embedding, source_embedding)
    )
    others = {"embedding": embedding / bound, "gate_bias": array(cell.bias)}
    if model.source_embedding is not model.embedding:
        others["source_embedding"] = source_embedding / source_bound
    matrices: Matrices = {}
    for layer, directions in enumerate(model.encoder, start=1):
        cells = [direction.cell for direction in directions]
        kernel = np.concatenate([array(cell.kernel) for cell in cells], axis=1)
        if layer == 1:
            kernel *= source_bound[:, None]
        matrices[f"encoder_{layer}"] = kernel, np.concatenate([array(cell.bias) for cell in cells])
        for name, cell_of_encoder in zip(("forward", "backward"), cells, strict=True):
            matrices[f"{name}_{layer}"] = array(cell_of_encoder.recurrent_kernel), None
    for name, bridge in (("hidden_bridge", model.hidden_bridge), ("cell_bridge", model.cell_bridge)):
        matrices[name] = array(bridge.kernel), array(bridge.bias)
    kernel = array(cell.kernel)
    kernel[:embedding_size] *= bound[:, None]
    matrices["decoder"] = np.concatenate([kernel, array(cell.recurrent_kernel)]), None
    keys = array(model.keys.kernel)  # (2U, A)
    if decoder.score_weights is None:
        keys = keys @ array(decoder.query.kernel).T / np.sqrt(np.float32(decoder.attention_size))
    else:
        matrices["query"] = array(decoder.query.kernel), array(decoder.query.bias)
        others["score_weights"] = array(decoder.score_weights)
    combine = array(decoder.combine.kernel)
    matrices["memory"] = np.concatenate([keys, combine[units:]], axis=1), None
    matrices["combine"] = combine[:units], array(decoder.combine.bias)
    if precision == "float32":
        others["output_bias"] = array(model.output_bias)
    else:
        matrices["output"] = embedding.T, array(model.output_bias)
    return matrices, others
