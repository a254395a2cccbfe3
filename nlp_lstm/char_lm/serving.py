"""What a served character language model does, from strings to strings in one graph of core TensorFlow operations."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from nlp_lstm.char_lm.folded_language_model import FoldedLanguageModel
from nlp_lstm.char_lm.limits import (
    DEFAULT_LENGTH,
    DEFAULT_TEMPERATURE,
    LARGEST_BEAM,
    LONGEST_GENERATION,
    LONGEST_PROMPT,
    LONGEST_SCORED_TEXT,
    LONGEST_TEXT_LOOKED_INTO,
)
from nlp_lstm.decoding.beam_to_length import beam_search
from nlp_lstm.decoding.sampling import Rules, Writing, begin_writing, sample_sequence, sampling, uniform_numbers
from nlp_lstm.models.language_model import LanguageModel
from nlp_lstm.serving import of_one_batch
from nlp_lstm.settings import Precision
from nlp_lstm.text.symbols import Symbols
from nlp_lstm.text.utf8 import mend, utf8_transitions

BEGINNING = "\n"
"""A text begins as if a line had ended before it."""


def _rows(dtype: tf.DType, name: str) -> tf.TensorSpec:
    return tf.TensorSpec([None], dtype, name=name)


class CharLmServing(tf.Module):
    """The signatures of a character language model; `nlp_lstm.saved_model.save` writes them into a SavedModel.

    >>> symbols = Symbols.of_text("ROMEO: what say you?")
    >>> model = LanguageModel(len(symbols), embedding_size=4, units=8)
    >>> model.build((None, None))
    >>> serving = CharLmServing(model, symbols)
    >>> (text,) = serving.generate(["ROMEO:"], [12], [0.8], [0], [1.0], [7])["text"].numpy()
    >>> text[:6], len(text)
    (b'ROMEO:', 18)

    A request cannot hold a server. Counted in symbols: of a prompt the last `LONGEST_PROMPT` are read (all of it comes
    back), at most `LONGEST_GENERATION` are written, of a text to score the first `LONGEST_SCORED_TEXT` are, and of a
    text to look into the first `LONGEST_TEXT_LOOKED_INTO`.
    A beam holds 1 to `LARGEST_BEAM` texts. What a sampler does with values out of range:
    `nlp_lstm.decoding.sampling.sampling`.

    Bytes that are not UTF-8 are read as U+FFFD. A text is read as if a newline stood before it, so an empty prompt
    begins a line. A model of bytes writes only what keeps the text UTF-8; a character that it has not finished when the
    length is reached is held back.

    Args:
        model: a built language model.
        symbols: what its ids stand for.
        precision: of the products with weight matrices; in bfloat16 a row's answer depends, in its last digits, on the
            rows beside it.
    """

    def __init__(self, model: LanguageModel, symbols: Symbols, precision: Precision = "float32"):
        super().__init__(name="char_lm")
        self.symbols = symbols
        self.folded = FoldedLanguageModel(model, precision)
        self.rules = writing_rules(symbols)
        self.beginning = int(symbols.encode(BEGINNING)[0])
        self.spelling = tf.constant(symbols.spelling, tf.string)
        state = [tf.TensorSpec([None, self.folded.units], tf.float32, name=name) for name in self.folded.state_names]
        self.step = tf.function(self._step, input_signature=[_rows(tf.string, "char"), *state], autograph=False)
        self.read = tf.function(self._read, input_signature=[_rows(tf.string, "text"), *state], autograph=False)

    @property
    def resources(self) -> list[Any]:
        """What the graphs read and a SavedModel must hold."""
        return [self.folded, self.symbols.table]

    @property
    def signatures(self) -> dict[str, Any]:
        """The signatures by the names that a server knows them by."""
        names = ("serving_default", "generate", "likeliest", "score", "read", "step", "encode", "gates")
        return {name: getattr(self, name) for name in names}

    @tf.function(input_signature=[_rows(tf.string, "prompt")], autograph=False)
    def serving_default(self, prompt: Any) -> dict[str, Any]:
        """Go on with each prompt for `DEFAULT_LENGTH` symbols at `DEFAULT_TEMPERATURE`, with seed 0.

        Args:
            prompt: string `(batch,)`; any bytes.

        Returns:
            `text`: string `(batch,)`, the prompt and its continuation.
        """
        everywhere = lambda value: tf.fill(tf.shape(prompt), value)  # noqa: E731
        return self.generate(
            prompt,
            everywhere(DEFAULT_LENGTH),
            everywhere(DEFAULT_TEMPERATURE),
            everywhere(0),
            everywhere(1.0),
            everywhere(0),
        )

    @tf.function(
        input_signature=[
            _rows(tf.string, "prompt"),
            _rows(tf.int32, "length"),
            _rows(tf.float32, "temperature"),
            _rows(tf.int32, "top_k"),
            _rows(tf.float32, "top_p"),
            _rows(tf.int32, "seed"),
        ],
        autograph=False,
    )
    def generate(self, prompt: Any, length: Any, temperature: Any, top_k: Any, top_p: Any, seed: Any) -> dict[str, Any]:
        """Go on with each prompt by drawing symbol after symbol.

        Args:
            prompt: string `(batch,)`; any bytes.
            length: int32 `(batch,)`, symbols to write, clamped to 0 to `LONGEST_GENERATION`.
            temperature: float32 `(batch,)`, and
            top_k: int32 `(batch,)`, and
            top_p: float32 `(batch,)`: see `nlp_lstm.decoding.sampling.sampling`.
            seed: int32 `(batch,)`; it settles a row's text, whatever rows stand beside it.

        Returns:
            `text`: string `(batch,)`, the prompt and its continuation.
        """
        prompt, length, temperature, top_k, top_p, seed = of_one_batch(
            prompt=prompt, length=length, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed
        )
        prompt, length = mend(prompt), tf.clip_by_value(length, 0, LONGEST_GENERATION)
        written, _ = sample_sequence(
            self.folded.step,
            self._after(prompt),
            self.rules,
            _largest(length),
            sampling(temperature, top_k, top_p, len(self.symbols)),
            uniform_numbers(seed, LONGEST_GENERATION),
        )
        return {"text": tf.strings.join([prompt, self._text(written, length)])}

    @tf.function(
        input_signature=[_rows(tf.string, "prompt"), _rows(tf.int32, "length"), _rows(tf.int32, "beam_size")],
        autograph=False,
    )
    def likeliest(self, prompt: Any, length: Any, beam_size: Any) -> dict[str, Any]:
        """Go on with each prompt as the model finds likeliest, as far as a beam search sees.

        Args:
            prompt: string `(batch,)`; any bytes.
            length: int32 `(batch,)`, symbols to write, clamped to 0 to `LONGEST_GENERATION`.
            beam_size: int32 `(batch,)`, clamped to 1 to `LARGEST_BEAM`.

        Returns:
            `text`: string `(batch,)`, the prompt and its continuation; `log_prob`: float32 `(batch,)`, that of the
            continuation, in nats.
        """
        prompt, length, beam_size = of_one_batch(prompt=prompt, length=length, beam_size=beam_size)
        prompt, length = mend(prompt), tf.clip_by_value(length, 0, LONGEST_GENERATION)
        texts, scores = beam_search(
            self.folded.step,
            self._after(prompt),
            self.rules,
            _largest(length),
            length=length,
            beam_size=tf.clip_by_value(beam_size, 1, LARGEST_BEAM),
            largest_beam=LARGEST_BEAM,
        )
        return {"text": tf.strings.join([prompt, self._text(texts[:, 0], length)]), "log_prob": scores[:, 0]}

    @tf.function(input_signature=[_rows(tf.string, "text")], autograph=False)
    def score(self, text: Any) -> dict[str, Any]:
        """How likely the model finds each symbol of a text, after those before it.

        Args:
            text: string `(batch,)`; any bytes.

        Returns:
            `char_log_probs`: float32 `(batch, time)`, natural logarithms, 0 in padding; `length`: int32 `(batch,)`;
            `bits_per_char`: float32 `(batch,)`, the mean of the negative logarithms to base 2, 0 for an empty text.
        """
        log_probs, length, _ = self._scored(text, self._state_at_beginning(tf.shape(text)[0]))
        nats = tf.abs(tf.reduce_sum(log_probs, axis=1)) / tf.maximum(tf.cast(length, tf.float32), 1.0)  # never -0
        return {"char_log_probs": log_probs, "length": length, "bits_per_char": nats / float(np.log(2.0))}

    def _read(self, text: Any, *state: Any) -> dict[str, Any]:
        """Score a piece of a text and hand the state back: for texts of any length, with no state in the server.

        Args:
            text: string `(batch,)`, whole symbols.
            state: as in `step`, which gives the first one when it reads an empty `char`.

        Returns:
            `char_log_probs` and `length` as in `score`, and the state by the same names.
        """
        text, *before = of_one_batch(text=text, **self._named(state))
        log_probs, length, after = self._scored(text, self.folded.readable(before))
        return {"char_log_probs": log_probs, "length": length, **self._named(after)}

    def _scored(self, text: Any, state: Sequence[Any]) -> tuple[Any, Any, list[Any]]:
        """Log-probability of each symbol `(batch, time)`, how many there are, and the state after them."""
        ids, mask = self._ids(self._split(text, LONGEST_SCORED_TEXT))
        hidden, new_state = self.folded.sequence(ids, mask, state)
        before = tf.concat([state[-2][:, None], hidden[:, :-1]], axis=1)  # a symbol is guessed from those before it
        log_probs = tf.gather(self.folded.log_probs(before), ids, batch_dims=2)
        return tf.where(mask, log_probs, 0.0), tf.reduce_sum(tf.cast(mask, tf.int32), axis=1), new_state

    def _named(self, state: Sequence[Any]) -> dict[str, Any]:
        return dict(zip(self.folded.state_names, state, strict=True))

    def _step(self, char: Any, *state: Any) -> dict[str, Any]:
        """Read one symbol and hand the state back: streaming, with no state in the server.

        Args:
            char: string `(batch,)`, one symbol each (of a longer text the first is read); an empty one stands for the
                beginning of a text.
            state: `hidden_1`, `cell_1` and so on, float32 `(batch, units)`: zeros at first, then what came back.

        Returns:
            `log_probs`: float32 `(batch, symbols)`, of the symbol that follows; and the state by the same names.
        """
        char, *before = of_one_batch(char=char, **self._named(state))
        first = _bytes(char, tf.zeros_like(tf.strings.length(char)), _room(1))
        first = self.symbols.split(
            first if self.symbols.unit == "byte" else mend(first)
        )  # part of a character is a byte
        first = first[:, :1].to_tensor("", shape=[None, 1])[:, 0]
        ids = tf.where(tf.equal(tf.strings.length(char), 0), self.beginning, self.symbols.lookup(first))
        log_probs, after = self.folded.step(ids, self.folded.readable(before))
        return {"log_probs": log_probs, **self._named(after)}

    @tf.function(input_signature=[_rows(tf.string, "text")], autograph=False)
    def encode(self, text: Any) -> dict[str, Any]:
        """The symbols of a text as the model sees them, and all that it knows.

        Args:
            text: string `(batch,)`; any bytes.

        Returns:
            `ids`: int32 `(batch, time)`, 0 in padding; `length`: int32 `(batch,)`; `symbols_bytes`: string
            `(batch, symbols)`, what each id stands for, in the order of `log_probs` in `step`: base64 in REST, since
            a single byte need not be UTF-8.
        """
        ids, mask = self._ids(self._split(text, LONGEST_SCORED_TEXT))
        symbols = tf.repeat(self.spelling[None], tf.shape(text)[0], axis=0)
        return {"ids": ids, "length": tf.reduce_sum(tf.cast(mask, tf.int32), axis=1), "symbols_bytes": symbols}

    @tf.function(input_signature=[_rows(tf.string, "text")], autograph=False)
    def gates(self, text: Any) -> dict[str, Any]:
        """Every gate and state of every unit while a text is read.

        Args:
            text: string `(batch,)`; any bytes.

        Returns:
            `length`: int32 `(batch,)`, and float32 `(batch, time, layers * units)` by the names of
            `nlp_lstm.lstm.Gates`, the first layer's units first; what stands in padding means nothing.
        """
        ids, mask = self._ids(self._split(text, LONGEST_TEXT_LOOKED_INTO))
        by_layer = self.folded.gates(ids, mask, self._state_at_beginning(tf.shape(ids)[0]))
        answer = {
            name: tf.concat([getattr(gates, name) for gates in by_layer], axis=-1) for name in by_layer[0]._fields
        }
        return {"length": tf.reduce_sum(tf.cast(mask, tf.int32), axis=1), **answer}

    def _split(self, text: Any, longest: int) -> Any:
        return self.symbols.split(mend(_bytes(text, tf.zeros_like(tf.strings.length(text)), _room(longest))))[
            :, :longest
        ]

    def _ids(self, symbols: Any) -> tuple[Any, Any]:
        """The ids `(batch, time)` of ragged symbols, and which of them are no padding."""
        ids = symbols.with_flat_values(self.symbols.lookup(symbols.flat_values))
        # No text at all, or empty ones alone, must still have a step for the loop to stack.
        longest = tf.maximum(tf.reduce_max(ids.row_lengths()), 1)
        dense = ids.to_tensor(0, shape=tf.stack([tf.constant(-1, tf.int64), longest]))
        return dense, tf.sequence_mask(ids.row_lengths(), longest)

    def _state_at_beginning(self, rows: Any) -> list[Any]:
        _, state = self.folded.step(tf.fill([rows], self.beginning), self.folded.initial_state(rows))
        return state

    def _after(self, prompt: Any) -> Writing:
        """Where each text stands after its prompt."""
        start = tf.maximum(tf.strings.length(prompt) - _room(LONGEST_PROMPT), 0)
        ending = mend(_bytes(prompt, start, _room(LONGEST_PROMPT)))
        ids, mask = self._ids(self.symbols.split(ending)[:, -LONGEST_PROMPT:])
        rows = tf.shape(ids)[0]
        ids = tf.concat([tf.fill([rows, 1], self.beginning), ids], axis=1)
        mask = tf.concat([tf.fill([rows, 1], True), mask], axis=1)
        _, state = self.folded.sequence(ids, mask, self.folded.initial_state(rows))
        return begin_writing(self.folded.log_probs(state[-2][:, None])[:, 0], state)

    def _text(self, ids: Any, length: Any) -> Any:
        """The text of the first `length` of each row's ids `(batch, time)`."""
        inside = tf.range(tf.shape(ids)[1]) < length[:, None]
        text = tf.strings.reduce_join(tf.where(inside, tf.gather(self.spelling, ids), ""), axis=-1)
        if self.symbols.unit == "byte":  # the rules leave but one thing to mend: a last character that is not whole
            text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="ignore")
        return text


def writing_rules(symbols: Symbols) -> Rules:
    """Which symbols may follow when a model writes: none that stands for no text, and only what keeps bytes UTF-8."""
    if symbols.unit == "byte":
        following = utf8_transitions()
        return Rules(tf.constant(following >= 0), tf.constant(np.maximum(following, 0)))
    allowed = ~symbols.never_generated()[None]
    return Rules(tf.constant(allowed), tf.zeros(allowed.shape, tf.int32))


def _bytes(text: Any, start: Any, count: int) -> Any:
    return tf.strings.substr(text, start, tf.fill(tf.shape(text), count))


def _room(longest: int) -> int:
    """Bytes that hold so many symbols, and what a cut leaves of one more."""
    return 4 * longest + 3


def _largest(length: Any) -> Any:
    # Of no row at all the largest is no number, and of no step at all there would be nothing to stack.
    return tf.maximum(tf.reduce_max(length), 1)
