"""Text from a character language model while it is being written, through the signatures that any client has."""

import codecs
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from nlp_lstm.char_lm.limits import LONGEST_GENERATION, LONGEST_PROMPT
from nlp_lstm.char_lm.serving import writing_rules
from nlp_lstm.decoding.sampling import Sampling, Writing, begin_writing, sample_sequence, sampling, uniform_numbers
from nlp_lstm.text.symbols import Symbols
from nlp_lstm.text.until_stop import UntilStop

PIECE = 16
"""Symbols that are written between one look at the text and the next."""


def zero_state(step: Any) -> dict[str, Any]:
    """The state before any text, `(1, units)` each, by the names of the `step` signature."""
    specs = tf.nest.flatten(step.structured_input_signature)
    return {spec.name: tf.zeros([1, spec.shape[1]]) for spec in specs if spec.name != "char"}


class Writer:
    """Writes what the `generate` signature writes, piece by piece, with the signatures `encode` and `step` alone.

    >>> from nlp_lstm import saved_model
    >>> model = saved_model.load("saved_models/char_lm")
    >>> writer = Writer(model.signatures)
    >>> for piece in writer.write("ROMEO:", length=30, temperature=0.8, seed=7):
    ...     print(repr(piece))
    '...'
    '...'

    Args:
        signatures: those of an exported character language model by name; whoever calls must hold the model itself.
    """

    def __init__(self, signatures: Mapping[str, Callable[..., Mapping[str, Any]]]):
        self._signature = signatures["step"]
        self._spelling = signatures["encode"](text=tf.constant([""]))["symbols_bytes"][0]
        self.symbols = Symbols.of_spelling(self._spelling.numpy().tolist())
        self._rules = writing_rules(self.symbols)
        beginning = zero_state(self._signature)
        self._state_names, self._zeros = list(beginning), list(beginning.values())
        self._begin = tf.function(self._begin_in_graph, autograph=False, reduce_retracing=True)
        self._go_on = tf.function(self._go_on_in_graph, autograph=False, reduce_retracing=True)

    def write(
        self,
        prompt: str,
        length: int,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 0,
        stop: str = "",
    ) -> Iterator[str]:
        """Yield the continuation of a prompt, a few characters at a time.

        Args:
            prompt: its last `LONGEST_PROMPT` symbols are read.
            length: symbols to write, 1 to `LONGEST_GENERATION`.
            temperature: and `top_k`, `top_p`: see `nlp_lstm.decoding.sampling.sampling`.
            seed: settles the text.
            stop: the text ends before this string; "" for no such string.
        """
        how = sampling([temperature], [top_k], [top_p], len(self.symbols))
        uniform = uniform_numbers(tf.constant([seed]), LONGEST_GENERATION)
        # Its symbols and not their ids, of which that of the unknown character has no spelling of its own.
        writing = self._begin(tf.constant(self._split(prompt)[-LONGEST_PROMPT:], tf.string))
        decoder = codecs.getincrementaldecoder("utf-8")()
        until = UntilStop(stop)
        for start in range(0, length, PIECE):
            steps = min(PIECE, length - start)
            ids, writing = self._go_on(writing, uniform[:, start : start + steps], how)
            piece = decoder.decode(b"".join(self.symbols.spelling[number] for number in ids.numpy()[0]))
            if told := until.take(piece):
                yield told
            if until.ended:
                return
        yield until.rest()

    def _split(self, text: str) -> list[bytes]:
        if self.symbols.unit == "byte":
            return [bytes([value]) for value in text.encode("utf-8", "replace")]
        return [character.encode("utf-8", "replace") for character in text]

    def _step(self, char: Any, state: Sequence[Any]) -> tuple[Any, list[Any]]:
        answer = self._signature(char=char, **dict(zip(self._state_names, state, strict=True)))
        state = [answer[name] for name in self._state_names]
        # A signature promises no batch size, and a loop wants its own back.
        rows = [tf.ensure_shape(part, [1, part.shape[1]]) for part in (answer["log_probs"], *state)]
        return rows[0], rows[1:]

    def _begin_in_graph(self, prompt: Any) -> Writing:
        """Read the beginning of a text and its prompt, `(symbols,)`."""
        log_probs, state = self._step(tf.constant([""]), self._zeros)
        _, log_probs, state = tf.while_loop(
            lambda t, *_: t < tf.shape(prompt)[0],
            lambda t, _, state: (t + 1, *self._step(prompt[t : t + 1], state)),
            (tf.constant(0), log_probs, state),
        )
        return begin_writing(log_probs, state)

    def _go_on_in_graph(self, writing: Writing, uniform: Any, how: Sampling) -> tuple[Any, Writing]:
        def step(ids: Any, state: Sequence[Any]) -> tuple[Any, list[Any]]:
            return self._step(tf.gather(self._spelling, ids), state)

        return sample_sequence(step, writing, self._rules, tf.shape(uniform)[1], how, uniform)
