"""A trained language model laid out for use: what can be multiplied beforehand has been, and a step reads little.

The embedding and the first LSTM's input product are one table, :math:`E W^{(1)} + b^{(1)}`, of which a step reads one
row. Each other weight matrix is read once a step; the products :math:`h^{(l)}_{t-1} U^{(l)}` need nothing of step t, so
that TensorFlow takes them while the step before still draws its symbol.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from nlp_lstm.lstm import Gates
from nlp_lstm.lstm_regularizers import Gains, normalize
from nlp_lstm.lstm_tensorflow import advance, hidden_sequence, trace_sequence
from nlp_lstm.models.language_model import LanguageModel
from nlp_lstm.settings import Precision
from nlp_lstm.weight_matrix import weight_matrix


class FoldedLanguageModel(tf.Module):
    """The weights of a `LanguageModel` for inference, and the three ways through it: step, sequence, gates.

    >>> model = LanguageModel(vocabulary_size=65, embedding_size=16, units=32, layers=2)
    >>> model.build((None, None))
    >>> folded = FoldedLanguageModel(model)
    >>> log_probs, state = folded.step(tf.constant([7]), folded.initial_state(1))
    >>> log_probs.shape
    TensorShape([1, 65])

    A state is the hidden and the cell state of each LSTM in turn, each `(batch, units)`. Dropout is off, and zoneout
    mixes by its rates.

    Args:
        model: a built language model.
        precision: of the products with weight matrices.
    """

    def __init__(self, model: LanguageModel, precision: Precision = "float32"):
        super().__init__(name="language_model")
        self.precision = precision
        self.units = model.settings["units"]
        self.layers = len(model.lstms)
        zoneout = (model.settings["zoneout_hidden"], model.settings["zoneout_cell"])
        self.zoneout = tuple(tf.constant(rate) for rate in zoneout) if any(zoneout) else None
        cells = [lstm.cell for lstm in model.lstms]
        self.gains = None
        if model.settings["layer_normalization"]:
            self.gains = [Gains(*(tf.Variable(gain, name="gain") for gain in cell.gains)) for cell in cells]
        table = tf.matmul(model.embedding.embeddings, cells[0].kernel)
        if self.gains is not None:
            table = normalize(table, self.gains[0].kernel)
        self.table = tf.Variable(table + cells[0].bias, name="table")  # (V, 4U)
        # Each (U, 4U); what they are multiplied with are hidden states.
        self.kernels = [weight_matrix(cell.kernel, precision, "kernel") for cell in cells[1:]]
        self.biases = [tf.Variable(cell.bias, name="bias") for cell in cells[1:]]  # each (4U,)
        self.recurrent_kernels = [weight_matrix(cell.recurrent_kernel, precision, "recurrent_kernel") for cell in cells]
        self.head_kernel = weight_matrix(model.head.kernel, precision, "head_kernel")  # (U, V)
        self.head_bias = tf.Variable(model.head.bias, name="head_bias")  # (V,)

    @property
    def state_names(self) -> list[str]:
        """A name for each part of the state, such as `hidden_1`, in their order."""
        return [f"{part}_{layer}" for layer in range(1, self.layers + 1) for part in ("hidden", "cell")]

    def initial_state(self, batch_size: Any) -> list[Any]:
        """Zeros: the state before a text."""
        return [tf.zeros([batch_size, self.units]) for _ in range(2 * self.layers)]

    def readable(self, state: Sequence[Any]) -> list[Any]:
        """A state that comes from outside as the products take it: 8 bits tell nothing beyond -1 and 1."""
        if self.precision != "int8":
            return list(state)
        return [tf.clip_by_value(part, -1.0, 1.0) if place % 2 == 0 else part for place, part in enumerate(state)]

    def _projected(self, layer: int, features: Any) -> Any:
        """The input product of a layer above the first, bias and all: `(batch, 4 * units)`."""
        product = self.kernels[layer - 1](features)
        if self.gains is not None:
            product = normalize(product, self.gains[layer].kernel)
        return product + self.biases[layer - 1]

    def _layer_gains(self, layer: int) -> Gains | None:
        return None if self.gains is None else self.gains[layer]

    def step(self, ids: Any, state: Sequence[Any]) -> tuple[Any, list[Any]]:
        """Read one symbol of each row.

        Args:
            ids: int32 `(batch,)`.
            state: the state before it.

        Returns:
            log-probabilities of the next symbol, float32 `(batch, symbols)`, and the state after it.
        """
        new_state: list[Any] = []
        z = tf.gather(self.table, ids)  # (B, 4U)
        for layer in range(self.layers):
            h, c = state[2 * layer : 2 * layer + 2]
            if layer:
                z = self._projected(layer, new_state[-2])
            from_hidden = self.recurrent_kernels[layer](h)
            _, h, c = advance(z, from_hidden, h, c, self.zoneout, self._layer_gains(layer))
            new_state += [h, c]
        return tf.nn.log_softmax(self.head_kernel(new_state[-2]) + self.head_bias), new_state

    def sequence(self, ids: Any, mask: Any, state: Sequence[Any]) -> tuple[Any, list[Any]]:
        """Read whole texts.

        Args:
            ids: int32 `(batch, time)`.
            mask: boolean `(batch, time)`, false behind the end of a text: the state passes it unchanged.
            state: the state before them.

        Returns:
            The last LSTM's hidden states `(batch, time, units)`, and the state after each text.
        """
        mask = tf.transpose(mask)[..., None]  # (T, B, 1)
        projected = tf.gather(self.table, tf.transpose(ids))  # (T, B, 4U)
        new_state: list[Any] = []
        hidden: Any = None
        for layer in range(self.layers):
            if layer:
                projected = self._over_time(layer, hidden)
            hidden, h, c = hidden_sequence(
                projected,
                state[2 * layer],
                state[2 * layer + 1],
                self.recurrent_kernels[layer],
                mask=mask,
                zoneout=self.zoneout,
                gains=self._layer_gains(layer),
            )
            new_state += [h, c]
        return tf.transpose(hidden, [1, 0, 2]), new_state

    def _over_time(self, layer: int, hidden: Any) -> Any:
        flat = self._projected(layer, tf.reshape(hidden, [-1, self.units]))
        return tf.reshape(flat, [tf.shape(hidden)[0], tf.shape(hidden)[1], 4 * self.units])

    def log_probs(self, hidden: Any) -> Any:
        """Log-probabilities of the symbol after each hidden state `(batch, time, units)`: `(batch, time, symbols)`."""
        flat = self.head_kernel(tf.reshape(hidden, [-1, self.units])) + self.head_bias
        shape = [tf.shape(hidden)[0], tf.shape(hidden)[1], self.head_kernel.shape[1]]
        return tf.reshape(tf.nn.log_softmax(flat), shape)

    def gates(self, ids: Any, mask: Any, state: Sequence[Any]) -> list[Gates]:
        """Every gate and state of each LSTM over whole texts, each `(batch, time, units)`."""
        mask = tf.transpose(mask)[..., None]
        projected = tf.gather(self.table, tf.transpose(ids))
        looked_at: list[Gates] = []
        trace: Any = None
        for layer in range(self.layers):
            if trace is not None:
                projected = self._over_time(layer, trace.hidden[1:])
            trace = trace_sequence(
                projected,
                state[2 * layer],
                state[2 * layer + 1],
                None,
                self.recurrent_kernels[layer],
                mask=mask,
                zoneout=self.zoneout,
                gains=self._layer_gains(layer),
            )
            parts = [*tf.split(trace.gates, 4, axis=-1), trace.cell[1:], trace.hidden[1:]]
            looked_at.append(Gates(*(tf.transpose(part, [1, 0, 2]) for part in parts)))
        return looked_at
