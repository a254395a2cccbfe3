"""A translator: a bidirectional encoder, and a decoder that attends to it."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import keras
from keras import ops

from nlp_lstm.lstm import LSTM, LSTMCell, lstm_step
from nlp_lstm.models.limits import Attention
from nlp_lstm.models.seeds import seed_of_part


class Memory(NamedTuple):
    """What a decoder looks at of a source, computed once."""

    values: Any  # (B, S, 2U), the encoder's states
    keys: Any  # (B, S, A), what a query is held against
    is_token: Any  # boolean (B, S), false at padding


class DecoderState(NamedTuple):
    """Where a translation stands."""

    hidden: Any  # (B, U)
    cell: Any  # (B, U)
    attended: Any  # (B, E), the attentional vector of the step before


def attend(query: Any, memory: Memory, score_weights: Any = None) -> tuple[Any, Any]:
    r"""Look at a source: a weight for each of its tokens, and the mean of their states by these weights.

    >>> values = np.array([[[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]]])
    >>> memory = Memory(values, keys=np.ones((1, 3, 4)), is_token=np.array([[True, True, False]]))
    >>> context, weights = attend(np.ones((1, 1, 4)), memory)
    >>> ops.convert_to_numpy(weights).tolist(), ops.convert_to_numpy(context).tolist()
    ([[[0.5, 0.5, 0.0]]], [[[0.5, 0.5]]])

    .. math::

        e_{s} &= v^\top \tanh(q + k_s) && \text{additive (Bahdanau, Cho and Bengio 2015)} \\
        e_{s} &= q^\top k_s / \sqrt{A} && \text{scaled dot product (Vaswani et al. 2017)} \\
        \alpha &= \mathrm{softmax}(e), \quad \text{context} = \sum_s \alpha_s \, m_s

    Args:
        query: `(batch, queries, A)`.
        memory: of the source; padding has weight 0.
        score_weights: :math:`v`, `(A,)`, for additive attention; None for the dot product.

    Returns:
        The context `(batch, queries, 2 * units)` and the weights `(batch, queries, source)`.
    """
    if score_weights is None:
        scores = ops.matmul(query, ops.transpose(memory.keys, (0, 2, 1))) / query.shape[-1] ** 0.5  # (B, Q, S)
    else:
        mixed = ops.tanh(query[:, :, None, :] + memory.keys[:, None, :, :])  # (B, Q, S, A)
        scores = ops.sum(mixed * score_weights, axis=-1)
    scores = ops.where(memory.is_token[:, None, :], scores, -1e9)
    weights = ops.softmax(scores, axis=-1)
    return ops.matmul(weights, memory.values), weights


class _Decoder(keras.layers.Layer):
    """The decoder's weights and its step.

    The LSTM reads the embedding of the token before beside the attentional vector of the step before (input feeding;
    Luong, Pham and Manning 2015, section 3.3).
    """

    def __init__(
        self,
        units: int,
        attention_size: int,
        output_size: int,
        attention: Attention,
        recurrent_kernel_dropout: float,
        seed: int | None,
        product_dtype: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.product_dtype = product_dtype
        self.state_size = [units, units, output_size]
        self.output_size = output_size
        self.cell = LSTMCell(
            units,
            recurrent_kernel_dropout=recurrent_kernel_dropout,
            kernel_initializer=_glorot(seed, 11),
            recurrent_initializer=keras.initializers.Orthogonal(seed=seed_of_part(seed, 12)),
            seed=seed_of_part(seed, 13),
            name="cell",
        )
        self.query = keras.layers.Dense(
            attention_size, use_bias=attention == "additive", kernel_initializer=_glorot(seed, 14), name="query"
        )
        self.combine = keras.layers.Dense(
            output_size, activation="tanh", kernel_initializer=_glorot(seed, 15), name="combine"
        )
        self.attention, self.attention_size, self.seed = attention, attention_size, seed
        self.score_weights: Any = None

    def build(self, embedding_size: int, memory_size: int) -> None:
        units = self.state_size[0]
        self.cell.build((None, embedding_size + self.output_size))
        self.query.build((None, units))
        self.combine.build((None, units + memory_size))
        if self.attention == "additive":
            self.score_weights = self.add_weight(
                shape=(self.attention_size,),
                initializer=keras.initializers.RandomUniform(-0.1, 0.1, seed=seed_of_part(self.seed, 16)),
                name="score_weights",
            )
        self.built = True

    def walk(self, embedded: Any, state: DecoderState, memory: Memory, training: bool) -> Any:
        """The attentional vector `(batch, target, E)` after each embedded token `(batch, target, E)`."""
        lstm_weights = self.cell.cast_weights(self.cell.draw_recurrent_kernel_mask() if training else None)
        if training and self._fast_path_applies():
            return self._walk_in_large_pieces(embedded, state, memory, lstm_weights)
        loop = keras.layers.RNN(
            _WalkingCell(self, memory, lstm_weights), return_sequences=True, dtype=self.dtype_policy
        )
        return loop(embedded, initial_state=list(state))

    def _fast_path_applies(self) -> bool:
        return keras.config.backend() == "tensorflow" and self.compute_dtype in ("float32", "float64")

    def _walk_in_large_pieces(self, embedded: Any, state: DecoderState, memory: Memory, lstm_weights: Any) -> Any:
        """The same with a hand-written gradient; not fit for an export, since XLA compiles it."""
        from nlp_lstm import attention_decoder_tensorflow  # here, so that this module imports without TensorFlow

        weights = [self.query.kernel, self.combine.kernel, self.combine.bias]
        if self.attention == "additive":
            weights += [self.query.bias, self.score_weights]
        attended = attention_decoder_tensorflow.attended_sequence(
            ops.transpose(embedded, (1, 0, 2)),
            *(*state, memory.keys, memory.values, memory.is_token, *lstm_weights),
            *(ops.cast(weight, self.compute_dtype) for weight in weights),
            product_dtype=self.product_dtype,
        )
        return ops.transpose(attended, (1, 0, 2))

    def step(self, embedded: Any, state: DecoderState, memory: Memory, lstm_weights: Any) -> tuple[DecoderState, Any]:
        """Read an embedded token `(batch * queries, E)`; the memory has a row for each `queries` of them."""
        joined = ops.concatenate([embedded, state.attended], axis=-1)
        gates = lstm_step(joined, state.hidden, state.cell, *lstm_weights)
        query = ops.reshape(self.query(gates.hidden), (ops.shape(memory.keys)[0], -1, self.attention_size))
        score_weights = None if self.score_weights is None else ops.cast(self.score_weights, self.compute_dtype)
        context, weights = attend(query, memory, score_weights)  # (B, Q, 2U), (B, Q, S)
        context = ops.reshape(context, (-1, memory.values.shape[-1]))
        attended = self.combine(ops.concatenate([gates.hidden, context], axis=-1))
        return DecoderState(gates.hidden, gates.cell, attended), weights


class _WalkingCell(keras.layers.Layer):
    """The decoder's step with what stays the same in one call, as a cell that `keras.layers.RNN` walks with.

    Made anew for each call: held by the decoder, a memory would be read by whoever calls the model at the same time.
    """

    def __init__(self, decoder: _Decoder, memory: Memory, lstm_weights: Any):
        super().__init__(dtype=decoder.dtype_policy)
        self.decoder, self.memory, self.lstm_weights = decoder, memory, lstm_weights
        self.state_size, self.output_size = decoder.state_size, decoder.output_size
        self.built = True

    def call(self, embedded: Any, states: Sequence[Any]) -> tuple[Any, list[Any]]:
        state, _ = self.decoder.step(embedded, DecoderState(*states), self.memory, self.lstm_weights)
        return state.attended, list(state)


@keras.saving.register_keras_serializable("nlp_lstm")
class Translator(keras.Model):
    r"""From source ids to the logits of each next target id (Bahdanau, Cho and Bengio 2015; Luong et al. 2015).

    >>> model = Translator(vocabulary_size=500, embedding_size=32, encoder_units=16, decoder_units=32)
    >>> model((np.array([[5, 6, 3]]), np.array([[2, 7, 8]]))).shape
    TensorShape([1, 3, 500])

    .. math::

        m_s &= [\overrightarrow{h}_s \, \overleftarrow{h}_s] && \text{memory} \\
        h_0 &= \tanh(W_h [\overrightarrow{h}_S \, \overleftarrow{h}_1] + b_h), \quad
        c_0 = W_c [\overrightarrow{c}_S \, \overleftarrow{c}_1] + b_c && \text{bridge} \\
        h_t, c_t &= \mathrm{LSTM}([E y_{t-1} \; \tilde{h}_{t-1}], h_{t-1}, c_{t-1}) && \text{input feeding} \\
        \tilde{h}_t &= \tanh(W_a [h_t \; \mathrm{context}(h_t, m)]) && \text{attentional vector} \\
        p(y_t) &= \mathrm{softmax}(E \tilde{h}_t + b) && \text{one embedding for target and output}

    Id 0 is padding: it is neither attended to nor does it change a state. Every source needs one token at least, such
    as its end.

    Args:
        vocabulary_size: number of ids of the target, and of the source, which then shares the embedding.
        embedding_size: width of the embedding and of the attentional vector.
        encoder_units: width of each direction of the encoder.
        decoder_units: width of the decoder's LSTM.
        encoder_layers: number of bidirectional layers on top of one another.
        attention: how a query is held against the memory.
        attention_size: width of queries and keys.
        embedding_dropout: rate at which embedding features are dropped, the same ones in the whole text.
        memory_dropout: rate at which features of the encoder's states are dropped.
        output_dropout: rate at which features of the attentional vector are dropped where it is turned into logits.
        recurrent_kernel_dropout: rate at which recurrent weights are dropped, in every LSTM.
        seed: seed of the initial weights and the dropout masks.
        source_vocabulary_size: number of ids of the source where they are others than the target's; it then has an
            embedding of its own.
        product_dtype: dtype that the large products of training are taken in, such as `bfloat16`, and those of the
            encoder at all times; by default that of all else. States, weights and losses are in the model's own dtype.
    """

    def __init__(
        self,
        vocabulary_size: int,
        embedding_size: int,
        encoder_units: int,
        decoder_units: int,
        encoder_layers: int = 1,
        attention: Attention = "dot",
        attention_size: int | None = None,
        embedding_dropout: float = 0.0,
        memory_dropout: float = 0.0,
        output_dropout: float = 0.0,
        recurrent_kernel_dropout: float = 0.0,
        seed: int | None = None,
        source_vocabulary_size: int | None = None,
        product_dtype: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.settings: dict[str, Any] = {
            "vocabulary_size": vocabulary_size,
            "embedding_size": embedding_size,
            "encoder_units": encoder_units,
            "decoder_units": decoder_units,
            "encoder_layers": encoder_layers,
            "attention": attention,
            "attention_size": attention_size,
            "embedding_dropout": embedding_dropout,
            "memory_dropout": memory_dropout,
            "output_dropout": output_dropout,
            "recurrent_kernel_dropout": recurrent_kernel_dropout,
            "seed": seed,
            "source_vocabulary_size": source_vocabulary_size,
            "product_dtype": product_dtype,
        }
        attention_size = attention_size or decoder_units
        self.embedding = keras.layers.Embedding(
            vocabulary_size,
            embedding_size,
            # As the output layer, too, each logit then begins with a variance below 1.
            embeddings_initializer=keras.initializers.RandomNormal(
                stddev=embedding_size**-0.5, seed=seed_of_part(seed, 1)
            ),
            name="embedding",
        )
        self.source_embedding = self.embedding
        if source_vocabulary_size is not None:
            self.source_embedding = keras.layers.Embedding(
                source_vocabulary_size,
                embedding_size,
                embeddings_initializer=keras.initializers.RandomNormal(
                    stddev=embedding_size**-0.5, seed=seed_of_part(seed, 8)
                ),
                name="source_embedding",
            )
        self.embedding_dropout = keras.layers.SpatialDropout1D(embedding_dropout, seed=seed_of_part(seed, 2))
        self.encoder = [
            tuple(
                LSTM(
                    encoder_units,
                    return_sequences=True,
                    jit_compile=True,  # batches come in few lengths, which the graph does not know
                    return_state=True,
                    go_backwards=backwards,
                    recurrent_kernel_dropout=recurrent_kernel_dropout,
                    kernel_initializer=_glorot(seed, 100 + 10 * layer + 3 * backwards),
                    recurrent_initializer=keras.initializers.Orthogonal(
                        seed=seed_of_part(seed, 101 + 10 * layer + 3 * backwards)
                    ),
                    seed=seed_of_part(seed, 102 + 10 * layer + 3 * backwards),
                    dtype=product_dtype and f"mixed_{product_dtype}",
                    name=f"{'backward' if backwards else 'forward'}_lstm_{layer + 1}",
                )
                for backwards in (False, True)
            )
            for layer in range(encoder_layers)
        ]
        self.memory_dropout = keras.layers.Dropout(memory_dropout, seed=seed_of_part(seed, 3))
        self.keys = keras.layers.Dense(attention_size, use_bias=False, kernel_initializer=_glorot(seed, 4), name="keys")
        self.hidden_bridge = keras.layers.Dense(
            decoder_units, activation="tanh", kernel_initializer=_glorot(seed, 5), name="hidden_bridge"
        )
        self.cell_bridge = keras.layers.Dense(decoder_units, kernel_initializer=_glorot(seed, 6), name="cell_bridge")
        self.decoder = _Decoder(
            decoder_units,
            attention_size,
            embedding_size,
            attention,
            recurrent_kernel_dropout,
            seed,
            product_dtype,
            name="decoder",
        )
        self.output_dropout = keras.layers.Dropout(output_dropout, seed=seed_of_part(seed, 7))

    def build(self, input_shape: Any = None) -> None:
        settings = self.settings
        embedding_size, memory_size = settings["embedding_size"], 2 * settings["encoder_units"]
        self.embedding.build((None, None))
        if self.source_embedding is not self.embedding:
            self.source_embedding.build((None, None))
        width = embedding_size
        for forward, backward in self.encoder:
            forward.build((None, None, width))
            backward.build((None, None, width))
            width = memory_size
        self.keys.build((None, None, memory_size))
        self.hidden_bridge.build((None, memory_size))
        self.cell_bridge.build((None, memory_size))
        self.decoder.build(embedding_size, memory_size)
        self.output_bias = self.add_weight(
            shape=(settings["vocabulary_size"],), initializer="zeros", name="output_bias"
        )
        self.built = True

    def encode(self, source: Any, training: bool = False) -> tuple[Memory, DecoderState]:
        """Read sources `(batch, source)`: what a decoder looks at, and where it begins."""
        is_token = ops.not_equal(source, 0)  # (B, S)
        states = self.embedding_dropout(self.source_embedding(source), training=training)
        for number, (forward, backward) in enumerate(self.encoder):
            if number:
                states = self.memory_dropout(states, training=training)
            ahead, ahead_hidden, ahead_cell = forward(states, mask=is_token, training=training)
            behind, behind_hidden, behind_cell = backward(states, mask=is_token, training=training)
            states = ops.concatenate([ahead, ops.flip(behind, axis=1)], axis=-1)  # (B, S, 2U)
            states = ops.cast(states, self.compute_dtype)
        states = self.memory_dropout(states, training=training)
        hidden = self.hidden_bridge(ops.concatenate([ahead_hidden, behind_hidden], axis=-1))
        cell = self.cell_bridge(ops.concatenate([ahead_cell, behind_cell], axis=-1))
        attended = ops.zeros((ops.shape(source)[0], self.settings["embedding_size"]), dtype=hidden.dtype)
        return Memory(states, self.keys(states), is_token), DecoderState(hidden, cell, attended)

    def call(self, inputs: tuple[Any, Any], training: bool = False) -> Any:
        """Logits `(batch, target, vocabulary)` of each next target id, the ones before it being given.

        Args:
            inputs: source ids `(batch, source)`, and target ids `(batch, target)` that begin with the beginning.
            training: whether to drop.
        """
        source, target = inputs
        return self.logits(self.attended(source, target, training))

    def attended(self, source: Any, target: Any, training: bool = False) -> Any:
        """The attentional vector `(batch, target, E)` after each target id; arguments as of `call`."""
        memory, state = self.encode(source, training)
        embedded = self.embedding_dropout(self.embedding(target), training=training)
        attended = self.decoder.walk(embedded, state, memory, training)  # (B, T, E)
        return self.output_dropout(attended, training=training)

    def logits(self, attended: Any) -> Any:
        """Logits `(..., vocabulary)` from attentional vectors `(..., E)`."""
        flat = ops.reshape(attended, (-1, self.settings["embedding_size"]))
        logits = ops.matmul(flat, ops.transpose(ops.cast(self.embedding.embeddings, flat.dtype)))
        logits = logits + ops.cast(self.output_bias, flat.dtype)
        return ops.reshape(logits, (*ops.shape(attended)[:-1], self.settings["vocabulary_size"]))

    def nats(self, attended: Any, target: Any, smoothing: float = 0.0, training: bool = False) -> tuple[Any, Any]:
        r"""What each target id costs, without and with label smoothing (Szegedy et al. 2016, section 7).

        .. math::

            -\log p(y_t) \quad \text{and} \quad -(1 - \epsilon) \log p(y_t) - \epsilon \, \mathrm{mean}_v \log p(v)

        Padding costs nothing.

        Args:
            attended: the attentional vectors from which each id is guessed, `(batch, target, E)`.
            target: ids `(batch, target)`, 0 for padding.
            smoothing: :math:`\epsilon`.
            training: whether products may be taken in half precision, where the model is one that does.

        Returns:
            Twice `(batch, target)`.
        """
        # What the two differ by needs two products with single vectors, and not the logits a second time.
        table = ops.cast(self.embedding.embeddings, attended.dtype)
        bias = ops.cast(self.output_bias, attended.dtype)
        own = ops.sum(attended * ops.take(table, target, axis=0), axis=-1) + ops.take(bias, target)
        if keras.config.backend() == "tensorflow":
            from nlp_lstm.cross_entropy_tensorflow import log_normalizer  # here: this module imports without TensorFlow

            flat = ops.reshape(attended, (-1, self.settings["embedding_size"]))
            product_dtype = self.settings["product_dtype"] if training else None
            nats = ops.reshape(log_normalizer(flat, table, bias, product_dtype), ops.shape(own)) - own
        else:
            nats = keras.losses.sparse_categorical_crossentropy(target, self.logits(attended), from_logits=True)
        mean = ops.matmul(attended, ops.mean(table, axis=0)) + ops.mean(bias)
        smoothed = nats + smoothing * (own - mean)
        is_token = ops.not_equal(target, 0)
        return ops.where(is_token, nats, 0.0), ops.where(is_token, smoothed, 0.0)

    def divergence(self, attended: Any, other: Any, target: Any, training: bool = False) -> Any:
        r"""How far apart two guesses at each target id are, in nats.

        .. math::

            \tfrac12 (\mathrm{KL}(p \| q) + \mathrm{KL}(q \| p)) = \tfrac12 \sum_v (p_v - q_v)(\log p_v - \log q_v)

        At padding it is 0.

        Args:
            attended: the attentional vectors from which each id is guessed, `(batch, target, E)`.
            other: others for the same ids.
            target: ids `(batch, target)`, 0 for padding.
            training: as of `nats`.

        Returns:
            `(batch, target)`.
        """
        product_dtype = self.settings["product_dtype"] if training else None
        logits, other_logits = (
            ops.cast(self.logits(ops.cast(part, product_dtype or part.dtype)), part.dtype) for part in (attended, other)
        )
        # What each softmax divides by is the same for all classes, and the differences of probabilities sum up to 0.
        apart = (ops.softmax(logits) - ops.softmax(other_logits)) * (logits - other_logits)
        return ops.where(ops.not_equal(target, 0), 0.5 * ops.sum(apart, axis=-1), 0.0)

    def step(self, ids: Any, state: DecoderState, memory: Memory) -> tuple[Any, DecoderState, Any]:
        """Read one target id `(batch * queries,)` for each translation under way.

        Returns:
            Log-probabilities of the next id `(batch * queries, vocabulary)`, the state after it, and the attention
            `(batch, queries, source)` with which the next is guessed.
        """
        state, weights = self.decoder.step(self.embedding(ids), state, memory, self.decoder.cell.cast_weights())
        return ops.log_softmax(self.logits(state.attended)), state, weights

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.settings}


def _glorot(seed: int | None, number: int) -> keras.initializers.GlorotUniform:
    return keras.initializers.GlorotUniform(seed_of_part(seed, number))


@keras.saving.register_keras_serializable("nlp_lstm")
class TeacherForcing(keras.Model):
    """The model in training: what all tokens of a batch cost together, and how many there are.

    >>> training = TeacherForcing(Translator(500, 32, encoder_units=16, decoder_units=32), smoothing=0.1)
    >>> sums = training((np.array([[5, 6, 3]]), np.array([[2, 7, 8, 3]])))
    >>> nats, smoothed_nats, tokens = ops.convert_to_numpy(sums)[0].tolist()
    >>> tokens
    3.0

    Targets begin with the beginning and end with the end; the model reads all but the last id and guesses all but the
    first. Sums are given rather than means, so that padding has no part in any loss.

    Args:
        model: what is trained.
        smoothing: share of a guess that is to be spread over all ids.
        r_drop: weight of `Translator.divergence` between two passes over the same batch with other features dropped,
            which is added to what tokens cost with smoothing, the mean of both passes (Liang et al. 2021, "R-Drop:
            Regularized Dropout for Neural Networks", whose weight is twice as large for the same loss). 0 for one pass.
    """

    def __init__(self, model: Translator, smoothing: float = 0.0, r_drop: float = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.model = model
        self.smoothing, self.r_drop = smoothing, r_drop

    def build(self, input_shape: Any = None) -> None:
        if not self.model.built:
            self.model.build()
        self.built = True

    def call(self, inputs: tuple[Any, Any], training: bool = False) -> Any:
        source, target = inputs
        is_twice = training and self.r_drop > 0
        if is_twice:  # each row once more below: what is dropped is drawn for each, but for recurrent weights
            source, target = (ops.concatenate([ids, ids], axis=0) for ids in (source, target))
        attended = self.model.attended(source, target[:, :-1], training=training)
        following = target[:, 1:]
        nats, smoothed = self.model.nats(ops.cast(attended, "float32"), following, self.smoothing, training)
        tokens = ops.cast(ops.not_equal(following, 0), "float32")
        if is_twice:
            first, second = ops.split(ops.cast(attended, "float32"), 2, axis=0)
            divergence = self.model.divergence(first, second, ops.split(following, 2, axis=0)[0], training)
            nats, smoothed, tokens = (sum(ops.split(column, 2, axis=0)) / 2 for column in (nats, smoothed, tokens))
            smoothed = smoothed + self.r_drop * divergence
        return ops.stack([ops.sum(column, axis=1) for column in (nats, smoothed, tokens)], axis=1)

    def get_config(self) -> dict[str, Any]:
        model = keras.saving.serialize_keras_object(self.model)
        return {**super().get_config(), "model": model, "smoothing": self.smoothing, "r_drop": self.r_drop}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**{**config, "model": keras.saving.deserialize_keras_object(config["model"])})


def tokens_to_guess(sides: tuple[Any, Any]) -> Any:
    """How many tokens of each target are guessed, `(batch,)`: what `TeacherForcing` counts, its inputs being given.

    >>> tokens_to_guess((np.array([[5, 3], [6, 3]]), np.array([[2, 7, 8, 3], [2, 9, 3, 0]]))).numpy()
    array([3., 2.], dtype=float32)
    """
    return ops.sum(ops.cast(ops.not_equal(sides[1][:, 1:], 0), "float32"), axis=1)


def smoothed_loss(_: Any, sums: Any) -> Any:
    """The smoothed nats of a batch for each of its tokens."""
    return ops.sum(sums[:, 1]) / ops.maximum(ops.sum(sums[:, 2]), 1.0)


@keras.saving.register_keras_serializable("nlp_lstm")
class NatsPerToken(keras.metrics.Metric):
    """Nats that a token costs, over all tokens seen, without smoothing."""

    def __init__(self, name: str = "nats_per_token", **kwargs: Any):
        super().__init__(name=name, **kwargs)
        self.nats = self.add_weight(name="nats", initializer="zeros")
        self.tokens = self.add_weight(name="tokens", initializer="zeros")

    def update_state(self, _: Any, sums: Any, sample_weight: Any = None) -> None:
        self.nats.assign_add(ops.sum(sums[:, 0]))
        self.tokens.assign_add(ops.sum(sums[:, 2]))

    def result(self) -> Any:
        return self.nats / ops.maximum(self.tokens, 1.0)
