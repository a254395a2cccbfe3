"""A language model over symbols: an embedding, LSTM layers on top of one another, and a guess at the next symbol."""

from collections.abc import Iterable, Sequence
from typing import Any, Self

import keras
import numpy as np
from keras import ops

from nlp_lstm.lstm import LSTM
from nlp_lstm.models.seeds import seed_of_part


@keras.saving.register_keras_serializable("nlp_lstm")
class LanguageModel(keras.Model):
    r"""Guess each symbol from those before it (Graves 2013, "Generating Sequences With Recurrent Neural Networks").

    >>> model = LanguageModel(vocabulary_size=65, embedding_size=16, units=32, layers=2)
    >>> logits, state = model(np.array([[7, 1, 9]]))
    >>> logits.shape, len(state)
    (TensorShape([1, 3, 65]), 4)
    >>> logits, state = model(np.array([[4, 2]]), state)  # the text goes on

    Training is regularised as in Merity, Keskar and Socher 2018 ("AWD-LSTM"): variational dropout of features and
    DropConnect on the recurrent kernels.

    Args:
        vocabulary_size: number of symbols.
        embedding_size: width of the embedding.
        units: width of each LSTM.
        layers: number of LSTMs.
        input_dropout: rate at which embedding features are dropped, the same ones in a whole window.
        hidden_dropout: rate at which features between two LSTMs are dropped, the same ones in a whole window.
        output_dropout: rate at which features of the last LSTM are dropped, the same ones in a whole window.
        recurrent_dropout: rate at which features of the hidden state are dropped between steps.
        recurrent_kernel_dropout: rate at which recurrent weights are dropped.
        zoneout_hidden: rate at which features of the hidden state stay what they were at a step.
        zoneout_cell: the same of the cell state.
        layer_normalization: normalise the products and the cell state of each LSTM.
        seed: seed of the initial weights and the dropout masks.
        lstm_dtype: dtype policy of the LSTMs, such as `mixed_bfloat16`; by default that of the model.
    """

    def __init__(
        self,
        vocabulary_size: int,
        embedding_size: int,
        units: int,
        layers: int = 2,
        input_dropout: float = 0.0,
        hidden_dropout: float = 0.0,
        output_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        recurrent_kernel_dropout: float = 0.0,
        zoneout_hidden: float = 0.0,
        zoneout_cell: float = 0.0,
        layer_normalization: bool = False,
        seed: int | None = None,
        lstm_dtype: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.settings: dict[str, Any] = {
            "vocabulary_size": vocabulary_size,
            "embedding_size": embedding_size,
            "units": units,
            "layers": layers,
            "input_dropout": input_dropout,
            "hidden_dropout": hidden_dropout,
            "output_dropout": output_dropout,
            "recurrent_dropout": recurrent_dropout,
            "recurrent_kernel_dropout": recurrent_kernel_dropout,
            "zoneout_hidden": zoneout_hidden,
            "zoneout_cell": zoneout_cell,
            "layer_normalization": layer_normalization,
            "seed": seed,
            "lstm_dtype": lstm_dtype,
        }

        self.embedding = keras.layers.Embedding(
            vocabulary_size,
            embedding_size,
            embeddings_initializer=keras.initializers.RandomUniform(-0.1, 0.1, seed=seed),
            name="embedding",
        )
        self.lstms = [
            LSTM(
                units,
                return_sequences=True,
                jit_compile=True,  # batches come in few lengths, which the graph does not know
                return_state=True,
                dropout=hidden_dropout if number else input_dropout,
                recurrent_dropout=recurrent_dropout,
                recurrent_kernel_dropout=recurrent_kernel_dropout,
                zoneout_hidden=zoneout_hidden,
                zoneout_cell=zoneout_cell,
                layer_normalization=layer_normalization,
                kernel_initializer=keras.initializers.GlorotUniform(seed_of_part(seed, number + 1)),
                recurrent_initializer=keras.initializers.Orthogonal(seed=seed_of_part(seed, number + 1)),
                seed=seed_of_part(seed, number + 1),
                dtype=lstm_dtype,
                name=f"lstm_{number + 1}",
            )
            for number in range(layers)
        ]
        self.output_dropout = keras.layers.Dropout(
            output_dropout, noise_shape=(None, 1, None), seed=seed_of_part(seed, layers + 1)
        )
        self.head = keras.layers.Dense(
            vocabulary_size,
            kernel_initializer=keras.initializers.GlorotUniform(seed_of_part(seed, layers + 2)),
            name="head",
        )

    def build(self, input_shape: Sequence[int | None]) -> None:
        self.embedding.build(input_shape)
        width = self.settings["embedding_size"]
        for lstm in self.lstms:
            lstm.build((*input_shape, width))
            width = self.settings["units"]
        self.output_dropout.build((*input_shape, width))
        self.head.build((*input_shape, width))

    def initial_state(self, batch_size: Any) -> list[Any]:
        """Zeros `(batch_size, units)`: the hidden and the cell state of each LSTM in turn."""
        shape = (batch_size, self.settings["units"])
        return [ops.zeros(shape, dtype=self.variable_dtype) for _ in range(2 * len(self.lstms))]

    def begin_with(self, other: "LanguageModel", ids: np.ndarray) -> None:
        """Take over the weights of another model, symbol by symbol: it may have other symbols.

        >>> first = LanguageModel(vocabulary_size=3, embedding_size=2, units=4, seed=0)
        >>> model = LanguageModel(vocabulary_size=2, embedding_size=2, units=4, seed=1)
        >>> for part in (first, model):
        ...     part.build((None, None))
        >>> model.begin_with(first, np.array([2, -1]))  # its first symbol is the other's last, its second is new
        >>> bool(np.all(model.embedding.embeddings[0] == first.embedding.embeddings[2]))
        True

        Args:
            other: a model of as many layers, as wide.
            ids: `(vocabulary_size,)`, what number each symbol has in the other model, -1 for one that it does not
                have: its embedding, and its part of the head, stay as they are.

        Raises:
            ValueError: if the other model has other sizes.
        """
        for size in ("embedding_size", "units", "layers", "layer_normalization"):
            if self.settings[size] != other.settings[size]:
                raise ValueError(f"{size} is {self.settings[size]}, and {other.settings[size]} of the other model")
        taken = ids >= 0
        by_symbol = {self.embedding.embeddings.path: 0, self.head.kernel.path: 1, self.head.bias.path: 0}
        for weight, found in zip(self.trainable_weights, other.trainable_weights, strict=True):
            value = ops.convert_to_numpy(found)
            if weight.path in by_symbol:
                axis = by_symbol[weight.path]
                drawn = np.moveaxis(np.array(ops.convert_to_numpy(weight)), axis, 0)  # (symbols, ...)
                drawn[taken] = np.moveaxis(value, axis, 0)[ids[taken]]
                value = np.moveaxis(drawn, 0, axis)
            weight.assign(value)

    def call(
        self, ids: Any, state: Iterable[Any] | None = None, mask: Any = None, training: bool = False
    ) -> tuple[Any, list[Any]]:
        """Logits of the symbol after each, and the state to go on from.

        Args:
            ids: `(batch, time)`.
            state: what an earlier call returned, or None at the beginning of a text.
            mask: boolean `(batch, time)`, false where a text has ended: the state passes it unchanged.
            training: whether dropout applies.

        Returns:
            Logits `(batch, time, vocabulary_size)`, and the hidden and cell state of each LSTM in turn, each
            `(batch, units)`.
        """
        state = list(state) if state is not None else self.initial_state(ops.shape(ids)[0])
        features = self.embedding(ids)  # (B, T, D)
        new_state = []
        for number, lstm in enumerate(self.lstms):
            features, hidden, cell = lstm(
                features, initial_state=state[2 * number : 2 * number + 2], mask=mask, training=training
            )  # (B, T, U)
            new_state += [hidden, cell]
        features = self.output_dropout(ops.cast(features, self.compute_dtype), training=training)
        # A product of two matrices: a batched one would have a batched gradient.
        batch, steps = ops.shape(features)[0], ops.shape(features)[1]
        logits = self.head(ops.reshape(features, (-1, self.settings["units"])))
        logits = ops.reshape(logits, (batch, steps, self.settings["vocabulary_size"]))
        return logits, [ops.cast(part, self.variable_dtype) for part in new_state]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.settings}


@keras.saving.register_keras_serializable("nlp_lstm")
class CarriedStateTraining(keras.Model):
    r"""Train a language model on parallel streams of text, the state carried from each window to the next.

    >>> model = LanguageModel(vocabulary_size=65, embedding_size=16, units=32)
    >>> trained = CarriedStateTraining(model, batch_size=2)
    >>> trained.reset()
    >>> windows = [[[7, 1, 9], [3, 3, 4]], [[9, 5, 2], [4, 1, 8]]]  # each begins as the one before ended
    >>> [trained(np.array(window)).shape for window in windows]
    [TensorShape([2]), TensorShape([2])]

    `fit` takes `(ids, zeros)`, with the loss `nlp_lstm.training.mean_of_outputs`, in the order of the text. The state
    is the model's own, as that of a stateful layer is: a call goes on where the one before it stood.

    A student's windows come as `(ids, taught)`, with what teachers guess in place of each guess,
    `(batch, guesses, vocabulary)`, and a symbol costs

    .. math:: -(1 - \lambda) \log p_t(x_t) - \lambda \sum_v q_t(v) \log p_t(v)

    with these :math:`q` (Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network", at a
    temperature of 1). Windows of ids alone, such as those of validation, cost what they cost without a teacher.

    Args:
        model: a `LanguageModel`.
        batch_size: the number of streams.
        rows: the first of them that this process reads, and the one after the last, where several share a batch; by
            default all. The state has room for all, so that what is saved does not depend on who shares.
        teacher_share: :math:`\lambda`.

    Returns:
        The mean loss of each stream in nats per symbol, `(batch,)`: windows hold one symbol more than there are
        guesses.
    """

    def __init__(
        self,
        model: LanguageModel,
        batch_size: int,
        rows: tuple[int, int] | None = None,
        teacher_share: float = 0.5,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.model = model
        self.rows = rows or (0, batch_size)
        self.teacher_share = teacher_share
        self.state = [
            self.add_weight(
                shape=(batch_size, model.settings["units"]),
                initializer="zeros",
                trainable=False,
                name=f"state_{number}",
            )
            for number in range(2 * len(model.lstms))
        ]

    def build(self, input_shape: Sequence[int | None]) -> None:
        if not self.model.built:
            self.model.build(input_shape)

    def reset(self) -> None:
        """Begin the text anew."""
        for part in self.state:
            part.assign(ops.zeros(part.shape))

    def call(self, inputs: Any, training: bool = False) -> Any:
        ids, taught = inputs if isinstance(inputs, tuple) else (inputs, None)
        start, stop = self.rows
        whole = [ops.convert_to_tensor(part) for part in self.state]
        logits, state = self.model(ids[:, :-1], [part[start:stop] for part in whole], training=training)
        for part, before, value in zip(self.state, whole, state, strict=True):
            part.assign(ops.concatenate([before[:start], value, before[stop:]], axis=0))
        losses = keras.losses.sparse_categorical_crossentropy(ids[:, 1:], logits, from_logits=True)  # (B, T)
        if taught is not None:
            guessed = keras.losses.categorical_crossentropy(ops.cast(taught, logits.dtype), logits, from_logits=True)
            losses = losses + self.teacher_share * (guessed - losses)
        return ops.mean(losses, axis=-1)

    def get_config(self) -> dict[str, Any]:
        model = keras.saving.serialize_keras_object(self.model)
        return {
            **super().get_config(),
            "model": model,
            "batch_size": self.state[0].shape[0],
            "rows": self.rows,
            "teacher_share": self.teacher_share,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**{**config, "model": keras.saving.deserialize_keras_object(config["model"])})
