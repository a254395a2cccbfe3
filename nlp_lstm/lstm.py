r"""The LSTM, to be read: its equations in one pure function, the cell, the layer, and a look at the gates.

`lstm_step` is the whole of the mathematics. `LSTMCell` gives it weights, `LSTM` runs it over a sequence. On TensorFlow
the layer takes the route of `nlp_lstm.lstm_tensorflow`, which does the same arithmetic in larger pieces; on any other
backend, or with other activations, it walks step by step. Tests hold all of them equal to a NumPy oracle.
"""

from operator import attrgetter
from typing import Any, Literal, NamedTuple

import keras
from keras import ops

from nlp_lstm.lstm_inputs import first_mask, mask_of_steps, pair_of_states, refuse_features, refuse_mask, refuse_state
from nlp_lstm.lstm_regularizers import Gains, normalize, zoneout
from nlp_lstm.lstm_stepwise import Drawn, walk


class Gates(NamedTuple):
    """Every gate and state of an LSTM: of one step `(batch, units)`, or of a sequence `(batch, time, units)`."""

    input: Any
    forget: Any
    candidate: Any
    output: Any
    cell: Any
    hidden: Any


def lstm_step(
    x: Any,
    h: Any,
    c: Any,
    W: Any,
    U: Any,
    b: Any = None,
    activation: Any = ops.tanh,
    recurrent_activation: Any = ops.sigmoid,
    gains: Any = None,
) -> Gates:
    r"""Take one step of a long short-term memory network.

    >>> x, W, U, b = np.ones((1, 3)), np.ones((3, 8)), np.ones((2, 8)), np.zeros(8)
    >>> gates = lstm_step(x, np.zeros((1, 2)), np.zeros((1, 2)), W, U, b)
    >>> h, c = gates.hidden, gates.cell  # go into the next step
    >>> np.asarray(h).round(3)
    array([[0.704, 0.704]])

    .. math::

        i_t &= \sigma(x_t W_i + h_{t-1} U_i + b_i) && \text{input gate} \\
        f_t &= \sigma(x_t W_f + h_{t-1} U_f + b_f) && \text{forget gate} \\
        \tilde{c}_t &= \tanh(x_t W_c + h_{t-1} U_c + b_c) && \text{candidate} \\
        o_t &= \sigma(x_t W_o + h_{t-1} U_o + b_o) && \text{output gate} \\
        c_t &= f_t \odot c_{t-1} + i_t \odot \tilde{c}_t && \text{cell state} \\
        h_t &= o_t \odot \tanh(c_t) && \text{hidden state}

    Hochreiter and Schmidhuber 1997, with the forget gate of Gers, Schmidhuber and Cummins 2000 and no peepholes.
    :math:`W = [W_i\, W_f\, W_c\, W_o]`, likewise :math:`U` and :math:`b`: the gate order of `keras.layers.LSTM`.

    Args:
        x: the input :math:`x_t`, `(batch, features)`.
        h: the hidden state :math:`h_{t-1}`, `(batch, units)`.
        c: the cell state :math:`c_{t-1}`, `(batch, units)`.
        W: the kernel, `(features, 4 * units)`.
        U: the recurrent kernel, `(units, 4 * units)`.
        b: the bias, `(4 * units,)`, or None for none.
        activation: what stands as :math:`\tanh` above.
        recurrent_activation: what stands as :math:`\sigma` above.
        gains: `Gains` for layer normalisation: of :math:`x_t W`, of :math:`h_{t-1} U` and, in the last equation only,
            of :math:`c_t`.

    Returns:
        `Gates`, each `(batch, units)`; `hidden` and `cell` are the new state.
    """
    from_input, from_hidden = ops.matmul(x, W), ops.matmul(h, U)  # each (B, 4U)
    if gains is not None:
        from_input, from_hidden = normalize(from_input, gains.kernel), normalize(from_hidden, gains.recurrent)
    z = from_input + from_hidden
    if b is not None:
        z = z + b
    z_i, z_f, z_c, z_o = ops.split(z, 4, axis=-1)  # each (B, U)
    i = recurrent_activation(z_i)
    f = recurrent_activation(z_f)
    c_tilde = activation(z_c)
    o = recurrent_activation(z_o)
    c = f * c + i * c_tilde
    h = o * activation(c if gains is None else normalize(c, gains.cell) + gains.cell_shift)
    return Gates(i, f, c_tilde, o, c, h)


def _whole_units(units: Any) -> int:
    try:
        whole = 0 if isinstance(units, bool) or int(units) != units else int(units)
    except (TypeError, ValueError, OverflowError):  # of None, of text, of an infinity
        whole = 0
    if whole <= 0:
        raise ValueError(f"units must be a positive integer, got {units!r}")
    return whole


def _refuse_rate(name: str, rate: Any) -> None:
    try:
        fits = 0.0 <= rate <= 1.0
    except TypeError:  # None, or text
        fits = False
    if not fits:
        raise ValueError(f"{name} must lie between 0 and 1, got {rate!r}")


def _activation(given: Any) -> Any:
    """An activation; the tanh and the sigmoid of `keras.ops` and TensorFlow as Keras's own, which the fast path knows.

    By name, because TensorFlow may not be there to compare with.
    """
    activation = keras.activations.get(given)
    library = (getattr(activation, "__module__", None) or "").partition(".")[0]
    name = getattr(activation, "__name__", None)
    if library in ("keras", "tensorflow") and name in ("tanh", "sigmoid"):
        return getattr(keras.activations, name)
    return activation


@keras.saving.register_keras_serializable("nlp_lstm")
class LSTMCell(keras.layers.Layer):
    """One step of an LSTM as a Keras layer, with the weights; arguments as of `keras.layers.LSTMCell`, and four more.

    >>> cell = LSTMCell(8)
    >>> output, (hidden, cell_state) = cell(np.zeros((2, 3), "float32"), cell.get_initial_state(2))
    >>> tuple(hidden.shape), tuple(cell_state.shape)
    ((2, 8), (2, 8))

    The state is `(hidden, cell)`, each `(batch, units)`. Inside `LSTM` a dropout mask is drawn once a sequence
    (Gal and Ghahramani 2016) and shared by the four gates; in a bare `keras.layers.RNN`, which knows nothing of it,
    the cell draws a new one at each step.

    `implementation` is taken as Keras's, and changes nothing: the four gates are always one product.

    What Keras's cell does not have is by name only.

    Beyond Keras:
        recurrent_kernel_dropout: rate at which single weights of the recurrent kernel are dropped in training, the same
            ones in a whole batch of sequences: DropConnect (Wan et al. 2013) as in Merity, Keskar and Socher 2018.
        zoneout_hidden: rate at which features of the hidden state stay what they were, drawn anew for each step in
            training; in use each keeps that share of what it was (Krueger et al. 2017).
        zoneout_cell: the same of the cell state.
        layer_normalization: normalise the input product, the recurrent product, and the cell state where it is shown
            (Ba, Kiros and Hinton 2016).

    Attributes:
        kernel: `(features, 4 * units)`, the gates in the order i, f, c, o.
        recurrent_kernel: `(units, 4 * units)`.
        bias: `(4 * units,)`, or None.
        gains: with layer normalisation, its four weights, `Gains`; else None.

    Raises:
        ValueError: if `units` is no positive integer, or a dropout rate lies outside [0, 1].
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        *,
        recurrent_kernel_dropout: float = 0.0,
        zoneout_hidden: float = 0.0,
        zoneout_cell: float = 0.0,
        layer_normalization: bool = False,
        implementation: int = 2,
        **kwargs: Any,
    ) -> None:
        units = _whole_units(units)
        rates = {
            "dropout": dropout,
            "recurrent_dropout": recurrent_dropout,
            "recurrent_kernel_dropout": recurrent_kernel_dropout,
            "zoneout_hidden": zoneout_hidden,
            "zoneout_cell": zoneout_cell,
        }
        for name, rate in rates.items():
            _refuse_rate(name, rate)
        super().__init__(**kwargs)
        self.implementation = implementation
        self.units = units
        self.activation = _activation(activation)
        self.recurrent_activation = _activation(recurrent_activation)
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.recurrent_initializer = keras.initializers.get(recurrent_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.unit_forget_bias = unit_forget_bias
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.recurrent_regularizer = keras.regularizers.get(recurrent_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)
        self.recurrent_constraint = keras.constraints.get(recurrent_constraint)
        self.bias_constraint = keras.constraints.get(bias_constraint)
        self.dropout = dropout
        self.recurrent_dropout = recurrent_dropout
        self.recurrent_kernel_dropout = recurrent_kernel_dropout
        self.zoneout_hidden = zoneout_hidden
        self.zoneout_cell = zoneout_cell
        self.layer_normalization = layer_normalization
        self.gains: Gains | None = None
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.state_size = [self.units, self.units]
        self.output_size = self.units

    def build(self, input_shape: Any) -> None:
        self.kernel = self.add_weight(
            shape=(input_shape[-1], 4 * self.units),
            name="kernel",
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        self.recurrent_kernel = self.add_weight(
            shape=(self.units, 4 * self.units),
            name="recurrent_kernel",
            initializer=self.recurrent_initializer,
            regularizer=self.recurrent_regularizer,
            constraint=self.recurrent_constraint,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                shape=(4 * self.units,),
                name="bias",
                initializer=self._initial_bias if self.unit_forget_bias else self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )
        if self.layer_normalization:
            self.gains = Gains(
                self.add_weight(shape=(4 * self.units,), name="kernel_gain", initializer="ones"),
                self.add_weight(shape=(4 * self.units,), name="recurrent_gain", initializer="ones"),
                self.add_weight(shape=(self.units,), name="cell_gain", initializer="ones"),
                self.add_weight(shape=(self.units,), name="cell_shift", initializer="zeros"),
            )

    def _initial_bias(self, shape: Any, dtype: Any = None) -> Any:
        """Start the forget gate open, b_f = 1 (Jozefowicz, Zaremba and Sutskever 2015), the rest as asked for."""
        return ops.concatenate(
            [
                self.bias_initializer((self.units,), dtype=dtype),
                ops.ones((self.units,), dtype=dtype),
                self.bias_initializer((2 * self.units,), dtype=dtype),
            ]
        )

    def draw_dropout_mask(self, batch_size: Any, width: Any, rate: float) -> Any:
        """A `(batch_size, width)` mask of zeros and `1 / (1 - rate)`, from the cell's one seed generator."""
        ones = ops.ones((batch_size, width), dtype=self.compute_dtype)
        return keras.random.dropout(ones, rate, seed=self.seed_generator)

    def draw_recurrent_kernel_mask(self) -> Any:
        """A mask of zeros and `1 / (1 - rate)` for the recurrent kernel, or None if nothing of it is dropped."""
        if not self.recurrent_kernel_dropout:
            return None
        return self.draw_dropout_mask(self.units, 4 * self.units, self.recurrent_kernel_dropout)

    def kept_shares(self, shape: Any, training: bool) -> Any:
        """What zoneout keeps of the hidden and of the cell state: drawn in this shape, a number, or None for none."""
        rates = (self.zoneout_hidden, self.zoneout_cell)
        if not any(rates):
            return None
        if not training:
            return tuple(ops.convert_to_tensor(rate, dtype=self.compute_dtype) for rate in rates)
        return tuple(
            ops.cast(keras.random.uniform(shape, seed=self.seed_generator) < rate, self.compute_dtype) for rate in rates
        )

    def call(self, inputs: Any, states: Any, training: bool = False) -> Any:
        h, c = states
        if training and self.dropout:
            inputs = inputs * self.draw_dropout_mask(ops.shape(inputs)[0], inputs.shape[-1], self.dropout)
        dropped = h
        if training and self.recurrent_dropout:
            dropped = h * self.draw_dropout_mask(ops.shape(h)[0], self.units, self.recurrent_dropout)
        kernel_mask = self.draw_recurrent_kernel_mask() if training else None
        gates = self.step(inputs, dropped, c, kernel_mask)
        gates = self.zone_out(gates, h, c, self.kept_shares(ops.shape(h), training))
        return gates.hidden, [gates.hidden, gates.cell]

    def step(self, inputs: Any, hidden: Any, cell: Any, recurrent_kernel_mask: Any = None) -> Gates:
        """`lstm_step` with this cell's weights and activations and no dropout: `Gates`, each `(batch, units)`."""
        W, U, b = self.cast_weights(recurrent_kernel_mask)
        return lstm_step(inputs, hidden, cell, W, U, b, self.activation, self.recurrent_activation, self.cast_gains())

    def zone_out(self, gates: Any, hidden: Any, cell: Any, kept: Any) -> Gates:
        """The same `Gates` with the shares `kept` of the state before the step in `hidden` and `cell`."""
        if kept is None:
            return gates
        return gates._replace(hidden=zoneout(hidden, gates.hidden, kept[0]), cell=zoneout(cell, gates.cell, kept[1]))

    def cast_weights(self, recurrent_kernel_mask: Any = None, dtype: Any = None) -> tuple[Any, Any, Any]:
        """Kernel, recurrent kernel and bias (or None) in a dtype, by default the one that the cell computes in.

        On TensorFlow a model that is only run may have a `nlp_lstm.weight_matrix.WeightMatrix` as its recurrent kernel,
        which is given as it is.
        """
        dtype = dtype or self.compute_dtype
        U = self.recurrent_kernel
        if not callable(U):
            U = ops.cast(U, dtype)
        if recurrent_kernel_mask is not None:
            U = U * ops.cast(recurrent_kernel_mask, dtype)
        return ops.cast(self.kernel, dtype), U, None if self.bias is None else ops.cast(self.bias, dtype)

    def cast_gains(self, dtype: Any = None) -> Gains | None:
        """The weights of layer normalisation in a dtype, or None without it."""
        if self.gains is None:
            return None
        return Gains(*(ops.cast(gain, dtype or self.compute_dtype) for gain in self.gains))

    def get_initial_state(self, batch_size: Any = None) -> list[Any]:
        return [ops.zeros((batch_size, self.units), dtype=self.compute_dtype) for _ in self.state_size]

    def get_config(self) -> dict[str, Any]:
        # What Keras's cell does not know stands here only where it says something, so that Keras can read the rest.
        beyond_keras = {
            "recurrent_kernel_dropout": (self.recurrent_kernel_dropout, 0.0),
            "zoneout_hidden": (self.zoneout_hidden, 0.0),
            "zoneout_cell": (self.zoneout_cell, 0.0),
            "layer_normalization": (self.layer_normalization, False),
            "implementation": (self.implementation, 2),
        }
        return {
            **super().get_config(),
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
            "recurrent_activation": keras.activations.serialize(self.recurrent_activation),
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "recurrent_initializer": keras.initializers.serialize(self.recurrent_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "unit_forget_bias": self.unit_forget_bias,
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "recurrent_regularizer": keras.regularizers.serialize(self.recurrent_regularizer),
            "bias_regularizer": keras.regularizers.serialize(self.bias_regularizer),
            "kernel_constraint": keras.constraints.serialize(self.kernel_constraint),
            "recurrent_constraint": keras.constraints.serialize(self.recurrent_constraint),
            "bias_constraint": keras.constraints.serialize(self.bias_constraint),
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
            "seed": self.seed,
            **{name: value for name, (value, default) in beyond_keras.items() if value != default},
        }


def _of_the_cell(name: str) -> Any:
    return property(attrgetter(f"cell.{name}"), doc=f"`{name}` of the layer's cell.")


@keras.saving.register_keras_serializable("nlp_lstm")
class LSTM(keras.layers.RNN):
    """A long short-term memory layer whose gates can be looked at; arguments as of `keras.layers.LSTM`, and four more.

    >>> layer = LSTM(8, return_sequences=True)
    >>> tuple(layer(np.zeros((2, 5, 3), "float32")).shape)
    (2, 5, 8)
    >>> tuple(layer.gates(np.zeros((2, 5, 3), "float32")).forget.shape)
    (2, 5, 8)

    Weights, their names, shapes and gate order (i, f, c, o) are those of `keras.layers.LSTM`, so
    `layer.set_weights(other.get_weights())` works in both directions, and so does `from_config(other.get_config())`,
    as long as the four additions stand at their defaults. It differs from it in this:

    - A mask may have any form: padding on the right, on the left, inside, or a whole row. A masked step hands the
      state on and gives the hidden state it stands at; before a row's first step, and for a row that is all padding,
      that is the initial state (Keras gives zeros there).
    - A dropout mask is drawn once a sequence and shared by the four gates.
    - `recurrent_kernel_dropout`, `zoneout_hidden`, `zoneout_cell` and `layer_normalization`, by name only: see
      `LSTMCell`. There, too, is why `implementation` changes nothing.
    - With a half-precision policy on TensorFlow the products over a whole sequence are taken in half precision and the
      recurrence in float32.
    - `jit_compile`, by name only, says whether XLA compiles the loops of training on TensorFlow, which makes a step
      quicker by a fifth or more and takes as long as ten steps for each length. "auto" compiles where the number of
      steps is known when the graph is built. True compiles always, for the next of a few lengths where it is not known,
      which is best for a long training on lengths that vary; False never does.
    - cuDNN is never used, so that a model trained on a GPU can be served on a CPU: `use_cudnn=True` is refused.

    Call arguments:
        sequences: `(batch, time, features)`.
        initial_state: `[hidden, cell]`, each `(batch, units)`; by default zeros, or with `stateful` where the last call
            ended.
        mask: `(batch, time)` or `(batch, time, 1)`, true or not zero at the steps to take. By default the one that
            `sequences` carries, as from an `Embedding` with `mask_zero`, but, as in Keras, not where an `initial_state`
            is given.
        training: whether dropout applies; on TensorFlow it also takes the hand-written gradient and lets XLA compile
            the loops, which an exported graph must not have. Derivatives of any order and kind are right with it and
            without; all but the first are slower.
        return_gates: give what `gates` gives instead, without dropout and without moving on the state of a
            `stateful` layer.

    Returns:
        `(batch, units)`, or `(batch, time, units)` with `return_sequences`; then the last hidden and cell state,
        each `(batch, units)`, with `return_state`.

    Raises:
        ValueError: as `LSTMCell`, for `use_cudnn=True`, and for a mask, a state or features that do not fit the
            sequences or the layer. A length that is not known when a TensorFlow graph is made is compared when it runs.
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        use_cudnn: Any = "auto",
        *,
        recurrent_kernel_dropout: float = 0.0,
        zoneout_hidden: float = 0.0,
        zoneout_cell: float = 0.0,
        layer_normalization: bool = False,
        implementation: int = 2,
        jit_compile: Literal["auto"] | bool = "auto",
        **kwargs: Any,
    ) -> None:
        if use_cudnn not in ("auto", False):
            raise ValueError(f"use_cudnn must be 'auto' or False (this layer never uses cuDNN), got {use_cudnn!r}")
        if jit_compile not in ("auto", True, False):
            raise ValueError(f"jit_compile must be 'auto', True or False, got {jit_compile!r}")
        cell = LSTMCell(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            bias_initializer=bias_initializer,
            unit_forget_bias=unit_forget_bias,
            kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            recurrent_constraint=recurrent_constraint,
            bias_constraint=bias_constraint,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            recurrent_kernel_dropout=recurrent_kernel_dropout,
            zoneout_hidden=zoneout_hidden,
            zoneout_cell=zoneout_cell,
            layer_normalization=layer_normalization,
            implementation=implementation,
            seed=seed,
            dtype=kwargs.get("dtype"),
            trainable=kwargs.get("trainable", True),
            name="lstm_cell",
        )
        super().__init__(
            cell,
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            unroll=unroll,
            activity_regularizer=activity_regularizer,
            **kwargs,
        )
        self.input_spec = keras.layers.InputSpec(ndim=3)
        self.supports_masking = True  # Keras 3.16 changes what RNN sets here
        self.use_cudnn = use_cudnn
        self.jit_compile = jit_compile
        self.product_ahead = False  # for a model to set: see `lstm_tensorflow.lstm_sequence`

    units = _of_the_cell("units")
    activation = _of_the_cell("activation")
    recurrent_activation = _of_the_cell("recurrent_activation")
    use_bias = _of_the_cell("use_bias")
    kernel_initializer = _of_the_cell("kernel_initializer")
    recurrent_initializer = _of_the_cell("recurrent_initializer")
    bias_initializer = _of_the_cell("bias_initializer")
    unit_forget_bias = _of_the_cell("unit_forget_bias")
    kernel_regularizer = _of_the_cell("kernel_regularizer")
    recurrent_regularizer = _of_the_cell("recurrent_regularizer")
    bias_regularizer = _of_the_cell("bias_regularizer")
    kernel_constraint = _of_the_cell("kernel_constraint")
    recurrent_constraint = _of_the_cell("recurrent_constraint")
    bias_constraint = _of_the_cell("bias_constraint")
    dropout = _of_the_cell("dropout")
    recurrent_dropout = _of_the_cell("recurrent_dropout")
    recurrent_kernel_dropout = _of_the_cell("recurrent_kernel_dropout")
    zoneout_hidden = _of_the_cell("zoneout_hidden")
    zoneout_cell = _of_the_cell("zoneout_cell")
    layer_normalization = _of_the_cell("layer_normalization")
    implementation = _of_the_cell("implementation")

    def compute_output_spec(
        self,
        sequences: Any,
        initial_state: Any = None,
        mask: Any = None,
        training: bool = False,
        return_gates: bool = False,
    ) -> Any:
        """What a symbolic call gives; refuses what `call` does, as far as shapes are known."""
        refuse_features(sequences.shape, self._features_built_for())
        mask = first_mask(mask)
        if mask is not None:
            refuse_mask(ops.shape(mask), sequences.shape)
        if initial_state is not None:
            parts = initial_state if isinstance(initial_state, (list, tuple)) else [initial_state]
            refuse_state([ops.shape(part) for part in parts], sequences.shape[0], self.units)
        if return_gates:
            shape = (*sequences.shape[:2], self.units)
            return Gates(*(keras.KerasTensor(shape, dtype=self.compute_dtype) for _ in Gates._fields))
        return super().compute_output_spec(sequences, initial_state=initial_state, mask=mask, training=training)

    def call(
        self,
        sequences: Any,
        initial_state: Any = None,
        mask: Any = None,
        training: bool = False,
        return_gates: bool = False,
    ) -> Any:
        refuse_features(sequences.shape, self._features_built_for())
        mask = mask_of_steps(mask, sequences)
        initial_state = pair_of_states(initial_state, sequences, self.units, self.compute_dtype)
        if return_gates:
            return self._look_inside(sequences, initial_state, mask)
        return super().call(sequences, initial_state=initial_state, mask=mask, training=training)

    def _features_built_for(self) -> int | None:
        return self.cell.kernel.shape[0] if self.cell.built else None

    def inner_loop(self, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> Any:
        """Run the recurrence; `call` has prepared the mask and the state, and puts the answer in shape."""
        sequences = ops.cast(sequences, self.compute_dtype)
        batch, steps = ops.shape(sequences)[0], ops.shape(sequences)[1]
        drawn = Drawn(kept=self.cell.kept_shares((batch, steps, self.units), training))
        if training and self.cell.dropout:
            mask_of_features = self.cell.draw_dropout_mask(batch, sequences.shape[2], self.cell.dropout)
            sequences = sequences * mask_of_features[:, None]
        if training and self.cell.recurrent_dropout:
            drawn = drawn._replace(
                recurrent_dropout_mask=self.cell.draw_dropout_mask(batch, self.units, self.cell.recurrent_dropout)
            )
        if training:
            drawn = drawn._replace(recurrent_kernel_mask=self.cell.draw_recurrent_kernel_mask())
        outputs, h, c = self._hidden_sequence(sequences, initial_state, mask, drawn, bool(training))
        last_output = h
        if self.zero_output_for_mask and mask is not None:
            shown = self._in_walking_order(mask)  # (B, T)
            outputs = ops.where(shown[..., None], outputs, ops.zeros_like(outputs))
            last_output = ops.where(shown[:, -1:], last_output, ops.zeros_like(last_output))
        return last_output, outputs, [h, c]

    def _in_walking_order(self, sequences: Any) -> Any:
        return ops.flip(sequences, axis=1) if self.go_backwards else sequences

    def _fast_path_applies(self) -> bool:
        return (
            keras.config.backend() == "tensorflow"
            and not self.unroll
            and self.cell.activation is keras.activations.tanh
            and self.cell.recurrent_activation is keras.activations.sigmoid
        )

    def _hidden_sequence(self, sequences: Any, initial_state: Any, mask: Any, drawn: Any, training: bool) -> Any:
        """The hidden states `(B, T, U)` and the last hidden and cell state, by the fast path or step by step."""
        if not self._fast_path_applies():
            outputs, h, c = self._walk(sequences, initial_state, mask, drawn, gates_too=False)
            return self._with_initial_state_before_first_step(outputs, initial_state[0], mask), h, c
        from nlp_lstm import lstm_tensorflow  # here, so that this module imports without TensorFlow

        arguments = self._time_major(sequences, initial_state, mask, drawn)
        outputs, h, c = lstm_tensorflow.lstm_sequence(
            **arguments, training=training, jit_compile=self.jit_compile, product_ahead=self.product_ahead
        )
        outputs, h, c = (ops.cast(state, self.compute_dtype) for state in (outputs, h, c))
        return ops.transpose(outputs, (1, 0, 2)), h, c

    def _time_major(self, sequences: Any, initial_state: Any, mask: Any, drawn: Any) -> dict[str, Any]:
        """What the fast path takes: time first, and in float32 what half precision would harm."""
        dtype = self.compute_dtype if self.compute_dtype == "float64" else "float32"
        if mask is not None:
            mask = ops.transpose(self._in_walking_order(mask))[..., None]  # (T, B, 1)
        by_time = ops.transpose(self._in_walking_order(sequences), (1, 0, 2))  # (T, B, D)
        state = [ops.cast(part, dtype) for part in initial_state]
        recurrent_dropout_mask, kernel_mask, kept = drawn
        if recurrent_dropout_mask is not None:
            recurrent_dropout_mask = ops.cast(recurrent_dropout_mask, dtype)
        if kept is not None:
            kept = [ops.cast(ops.transpose(k, (1, 0, 2)) if len(k.shape) else k, dtype) for k in kept]
        W, U, b = self.cell.cast_weights(kernel_mask, dtype)
        return {
            "x": by_time,
            "initial_hidden": state[0],
            "initial_cell": state[1],
            "W": W,
            "U": U,
            "b": b,
            "mask": mask,
            "recurrent_dropout_mask": recurrent_dropout_mask,
            "zoneout": kept,
            "gains": self.cell.cast_gains(dtype),
        }

    def _walk(self, sequences: Any, initial_state: Any, mask: Any, drawn: Any, gates_too: bool) -> Any:
        how = {"go_backwards": self.go_backwards, "unroll": self.unroll}
        # The dtype too, else the loop casts a float64 sequence to the global policy's float32.
        return walk(self.cell, sequences, initial_state, mask, drawn, gates_too, dtype=self.dtype_policy, **how)

    def _with_initial_state_before_first_step(self, states: Any, initial: Any, mask: Any) -> Any:
        """Put the initial state where Keras's loop, before a row's first step that is not masked, gives zeros."""
        if mask is None:
            return states
        begun = ops.cumsum(ops.cast(self._in_walking_order(mask), "int32"), axis=1) > 0  # (B, T)
        return ops.where(begun[..., None], states, initial[:, None])

    def gates(self, sequences: Any, initial_state: Any = None, mask: Any = None) -> Gates:
        r"""Every gate and state at every step, without dropout.

        >>> layer, x = LSTM(4, return_sequences=True), np.ones((2, 5, 3), "float32")
        >>> g = layer.gates(x)
        >>> np.array_equal(g.output * ops.tanh(g.cell), layer(x))  # h_t = o_t ⊙ tanh(c_t)
        True

        With zoneout `cell` and `hidden` are the mixed states, and with layer normalisation the cell state is normalised
        in that equation.

        At a masked step nothing happens, and the gates say so: :math:`f_t = 1`, :math:`i_t = \tilde c_t = o_t = 0`,
        while `cell` and `hidden` show the state that is handed on; with `zero_output_for_mask` `hidden` shows zeros
        there, as the layer's output does.

        Args:
            sequences: `(batch, time, features)`. If it, the state or the mask is symbolic, so is what is returned, for
                a functional model to have among its outputs.
            initial_state: and `mask`, as of a call of the layer. A `stateful` layer starts where its last call ended,
                and stays there.
            mask: `(batch, time)` or `(batch, time, 1)`.

        Returns:
            `Gates`, each `(batch, time, units)`, where time runs as the layer walks: with `go_backwards`, from the last
            step of `sequences` to the first. `hidden` is what the layer itself gives with `return_sequences`.

        Raises:
            ValueError: as a call of the layer.
        """
        if any(isinstance(part, keras.KerasTensor) for part in keras.tree.flatten((sequences, initial_state, mask))):
            return self(sequences, initial_state=initial_state, mask=mask, return_gates=True)
        # Else not by way of a call, which would add the penalty of an activity regulariser to the layer's losses.
        if mask is None and initial_state is None:
            mask = getattr(sequences, "_keras_mask", None)
        sequences = ops.cast(ops.convert_to_tensor(sequences), self.compute_dtype)
        refuse_features(sequences.shape, self._features_built_for())
        if not self.built:
            self.build(sequences.shape)
        mask = mask_of_steps(mask, sequences)
        initial_state = pair_of_states(initial_state, sequences, self.units, self.compute_dtype)
        return self._look_inside(sequences, initial_state, mask)

    def _look_inside(self, sequences: Any, initial_state: Any, mask: Any) -> Gates:
        sequences = ops.cast(sequences, self.compute_dtype)
        if initial_state is None and self.stateful:
            batch = self.states[0].shape[0]
            if sequences.shape[0] not in (None, batch):
                raise ValueError(f"this stateful layer was built for batches of {batch}, got {sequences.shape[0]}")
            initial_state = [ops.cast(state, self.compute_dtype) for state in self.states]
        if initial_state is None:
            initial_state = self.cell.get_initial_state(ops.shape(sequences)[0])
        drawn = Drawn(kept=self.cell.kept_shares(None, training=False))
        if self._fast_path_applies():
            from nlp_lstm import lstm_tensorflow

            trace = lstm_tensorflow.trace_sequence(**self._time_major(sequences, initial_state, mask, drawn))
            by_step = [*ops.split(trace.gates, 4, axis=-1), trace.cell[1:], trace.hidden[1:]]
            i, f, c_tilde, o, c, h = (ops.cast(ops.transpose(part, (1, 0, 2)), self.compute_dtype) for part in by_step)
        else:
            outputs, _, _ = self._walk(sequences, initial_state, mask, drawn, gates_too=True)
            i, f, c_tilde, o, c, h = ops.split(outputs, 6, axis=-1)
            h = self._with_initial_state_before_first_step(h, initial_state[0], mask)
            c = self._with_initial_state_before_first_step(c, initial_state[1], mask)
        if mask is not None:
            taken = self._in_walking_order(mask)[..., None]  # (B, T, 1)
            i, c_tilde, o = (ops.where(taken, gate, ops.zeros_like(gate)) for gate in (i, c_tilde, o))
            f = ops.where(taken, f, ops.ones_like(f))
            if self.zero_output_for_mask:
                h = ops.where(taken, h, ops.zeros_like(h))
        return Gates(i, f, c_tilde, o, c, h)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["cell"]  # its settings are this layer's arguments
        cell_config = self.cell.get_config()
        for key in ("name", "trainable", "dtype"):
            cell_config.pop(key, None)
        return {
            **config,
            **cell_config,
            "activity_regularizer": keras.regularizers.serialize(self.activity_regularizer),
            **({} if self.use_cudnn == "auto" else {"use_cudnn": self.use_cudnn}),
            **({} if self.jit_compile == "auto" else {"jit_compile": self.jit_compile}),
        }

    @classmethod
    def from_config(cls, config: Any) -> "LSTM":
        return cls(**config)
