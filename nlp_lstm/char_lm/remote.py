"""Using a character language model that a server has, without TensorFlow."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from nlp_lstm.char_lm.generation import Generation
from nlp_lstm.char_lm.limits import LONGEST_TEXT_LOOKED_INTO
from nlp_lstm.client import Client
from nlp_lstm.text.unit import Unit
from nlp_lstm.text.until_stop import UntilStop

PIECE = 16
"""Symbols of the first piece of a text that is shown while it is written."""


class RemoteSymbols(NamedTuple):
    """The symbols that a model knows, in the order of their ids."""

    unit: Unit
    spelling: Sequence[bytes]


class RemoteCharLm:
    """What `nlp_lstm.char_lm.inference.CharLm` does, asked of a server.

    >>> model = RemoteCharLm(Client("http://localhost:8501"))  # doctest: +SKIP
    >>> model.log_probs("ROMEO:").shape  # doctest: +SKIP
    (6,)
    """

    def __init__(self, client: Client):
        self._client = client
        spelling = client.symbols()
        is_byte = spelling == [bytes([value]) for value in range(256)]
        self.symbols = RemoteSymbols("byte" if is_byte else "character", spelling)
        self._known = set(spelling[1:])

    def log_probs(self, text: str) -> np.ndarray:
        """The log-probability of each symbol of a text of any length, `(symbols,)`, the state carried all through."""
        return self._client.log_probs(text)

    def knows(self, character: str) -> bool:
        """Whether a character has an id of its own."""
        return self.symbols.unit == "byte" or character.encode("utf-8", "replace") in self._known

    def split(self, text: str) -> list[str]:
        """The symbols of a text as they can be shown: bytes beyond ASCII as in `\\xc3`."""
        if self.symbols.unit == "character":
            return list(text)
        return [chr(value) if value < 128 else f"\\x{value:02x}" for value in text.encode("utf-8", "replace")]

    def activity(self, text: str, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Gates and states by name, `(symbols, layers * units)` each, after every symbol of a text.

        The text is read in pieces of at most `LONGEST_TEXT_LOOKED_INTO` symbols, each as if it began anew.
        """
        characters = LONGEST_TEXT_LOOKED_INTO // (1 if self.symbols.unit == "character" else 4)
        pieces = [text[start : start + characters] for start in range(0, len(text), characters)]
        found = [self._client.gates(piece).activity for piece in pieces]
        return {name: np.concatenate([one[name] for one in found]) for name in names}

    def generate(self, prompt: bytes, how: Generation) -> list[dict[str, Any]]:
        """The prompt and its continuation, once for each sample, whose seeds follow one another; or the likeliest."""
        if how.beam:
            (found,) = self._client.likeliest([prompt], how.length, how.beam)
            return [{"text": found.text, "beam": how.beam, "log_prob": found.log_prob}]
        seeds = list(range(how.seed, how.seed + how.samples))
        texts = self._client.generate([prompt] * how.samples, how.length, how.temperature, how.top_k, how.top_p, seeds)
        return [{"text": text, "seed": seed} for text, seed in zip(texts, seeds, strict=True)]

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
        """Yield the continuation of a prompt in pieces, each as long as all before it.

        A text of one seed begins as a shorter one does, so the server is asked for 16 symbols, for 32 and so on: it
        writes twice as much as is shown at the most, keeps no state, and needs no request a character.

        Args:
            prompt: what to go on with.
            length: symbols to write.
            temperature: and the others as in `nlp_lstm.char_lm.writing.Writer.write`.
        """
        until, known, asked = UntilStop(stop), len(prompt), min(PIECE, length)
        while True:
            (text,) = self._client.generate([prompt], asked, temperature, top_k, top_p, seed)
            if told := until.take(text[known:]):
                yield told
            if until.ended:
                return
            if asked >= length:
                yield until.rest()
                return
            known, asked = len(text), min(2 * asked, length)
