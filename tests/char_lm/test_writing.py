"""Text piece by piece: what the `generate` signature writes, ended before a stop string, and never half a character."""

import numpy as np
import pytest
import tensorflow as tf

from nlp_lstm.char_lm.inference import CharLm
from nlp_lstm.char_lm.serving import LONGEST_PROMPT
from nlp_lstm.char_lm.writing import PIECE, Writer, zero_state
from nlp_lstm.text.symbols import Symbols

LENGTHS = [1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 5]


@pytest.fixture(scope="module", params=["character", "byte", pytest.param("normalized", marks=pytest.mark.thorough)])
def app(request, exported_char_lm):
    return exported_char_lm(request.param)


@pytest.fixture(scope="module")
def model(app):
    return CharLm(app.base)


@pytest.fixture(scope="module")
def writer(model):
    return Writer(model.signatures)


def generated(model, prompt, length, temperature=1.0, top_k=0, top_p=1.0, seed=0):
    """What the signature writes behind the prompt."""
    answer = model.signatures["generate"](
        prompt=tf.constant([prompt]),
        length=tf.constant([length]),
        temperature=tf.constant([temperature]),
        top_k=tf.constant([top_k]),
        top_p=tf.constant([top_p]),
        seed=tf.constant([seed]),
    )
    text = answer["text"].numpy()[0].decode("utf-8")
    assert text.startswith(prompt)
    return text.removeprefix(prompt)


class TestTheSameTextAsGenerate:
    @pytest.mark.parametrize("length", LENGTHS)
    def test_at_every_length(self, model, writer, length):
        texts = []
        for seed, prompt in enumerate(["", "rain", "é😀 映 QQ", "\0\n"] * 2):
            texts.append("".join(writer.write(prompt, length, seed=seed)))
            assert texts[-1] == generated(model, prompt, length, seed=seed)
        assert len(set(texts)) > 4  # or all would be equal whatever is read and drawn

    @pytest.mark.parametrize(
        "how",
        [
            {"temperature": 0.0},
            {"temperature": 0.3, "seed": 2**31 - 1},
            {"temperature": 5.0, "top_k": 4, "seed": 3},
            {"temperature": 2.0, "top_p": 0.7, "seed": 4},
            {"top_k": 1},
        ],
    )
    def test_however_it_draws(self, model, writer, how):
        assert "".join(writer.write("an", 40, **how)) == generated(model, "an", 40, **how)

    def test_the_seed_settles_the_text(self, writer):
        first, again, other = ("".join(writer.write("an", 40, seed=seed)) for seed in (7, 7, 8))
        assert first == again != other

    def test_two_texts_at_once_do_not_disturb_each_other(self, model, writer):
        texts = ["", ""]
        for pieces in zip(writer.write("an", 40, seed=1), writer.write("rain", 40, seed=2), strict=False):
            texts = [text + piece for text, piece in zip(texts, pieces, strict=True)]
        for text, prompt, seed in zip(texts, ("an", "rain"), (1, 2), strict=True):
            assert len(text) > PIECE / 4
            assert generated(model, prompt, 40, seed=seed).startswith(text)

    def test_a_long_prompt(self, model, writer):
        """Longer than is read, its cut in the midst of a character for a model of bytes."""
        prompt = "x" + "é😀rain映" * LONGEST_PROMPT
        assert "".join(writer.write(prompt, 20, seed=5)) == generated(model, prompt, 20, seed=5)


def test_the_state_begins_with_zeros_by_name(app, model):
    state = zero_state(model.signatures["step"])
    layers, units = app.serving.folded.layers, app.serving.folded.units
    names = [f"{part}_{layer}" for layer in range(1, layers + 1) for part in ("cell", "hidden")]
    assert sorted(state) == sorted(names)
    for value in state.values():
        np.testing.assert_array_equal(value, np.zeros((1, units)))


def speller(text, unit="character"):
    """A writer on a model that knows one text by heart: what it writes is what stands where it is in that text."""
    symbols = Symbols("byte") if unit == "byte" else Symbols.of_text(text)
    ids = tf.constant(np.append(symbols.encode(text), 1))
    spelling = tf.constant(symbols.spelling)
    one = lambda dtype, name: tf.TensorSpec([None], dtype, name=name)  # noqa: E731

    @tf.function(input_signature=[one(tf.string, "char"), tf.TensorSpec([None, 1], tf.float32, name="place")])
    def step(char, place):
        place += tf.cast(tf.strings.length(char) > 0, tf.float32)[:, None]
        following = tf.gather(ids, tf.minimum(tf.cast(place[:, 0], tf.int32), len(ids) - 1))
        return {"log_probs": tf.math.log(tf.one_hot(following, len(symbols)) + 1e-9), "place": place}

    @tf.function(input_signature=[one(tf.string, "text")])
    def encode(text):
        return {"symbols_bytes": tf.repeat(spelling[None], tf.shape(text)[0], axis=0)}

    return Writer({"step": step.get_concrete_function(), "encode": encode.get_concrete_function()})


def spelled(text, length=None, unit="character", **options):
    symbols = len(text.encode()) if unit == "byte" else len(text)
    return list(speller(text, unit).write("", length or symbols, temperature=0.0, **options))


class TestPieces:
    TEXT = "".join(chr(ord("a") + index % 26) for index in range(3 * PIECE + 5))

    def test_they_come_while_it_is_written(self):
        pieces = spelled(self.TEXT)
        assert "".join(pieces) == self.TEXT
        assert [len(piece) for piece in pieces if piece] == [PIECE, PIECE, PIECE, 5]

    @pytest.mark.parametrize("shift", range(4))
    @pytest.mark.parametrize("character", ["é", "映", "😀"])
    def test_none_splits_a_character(self, character, shift):
        """Of bytes: a border of pieces falls into every place of a character in turn."""
        text = "x" * shift + character * (2 * PIECE)
        pieces = spelled(text, unit="byte")
        assert "".join(pieces) == text
        assert len([piece for piece in pieces if piece]) > 2

    @pytest.mark.parametrize("length", range(1, 9))
    def test_a_last_character_that_is_not_finished_is_held_back(self, length):
        whole = "😀é映".encode()[:length].decode("utf-8", "ignore")
        assert "".join(spelled("😀é映", length, unit="byte")) == whole

    def test_the_prompt_is_read_first_and_not_written(self):
        writer = speller("It rains.")
        assert "".join(writer.write("It ", 6, temperature=0.0)) == "rains."

    @pytest.mark.parametrize("more", [0, 1, 3 * LONGEST_PROMPT])
    def test_of_a_prompt_the_last_symbols_are_read(self, more):
        """The speller counts what it reads."""
        text = "x" * LONGEST_PROMPT + "abc"
        assert "".join(speller(text).write("x" * (LONGEST_PROMPT + more), 3, temperature=0.0)) == "abc"


class TestStop:
    @pytest.mark.parametrize(
        ("text", "stop"),
        [
            ("one. two.", "."),
            ("one", "o"),  # at once
            ("one", "one"),
            ("one", "e"),  # the very last
            ("one", "x"),
            ("one", "one more"),  # longer than all that is written
            ("one", "ne."),  # it begins, and never comes
            ("aaaab", "aab"),
            ("abababc", "ababc"),
            ("xyxyxz", "xyxz"),
            ("line\n\nnext", "\n\n"),
            ("é映😀é", "😀"),
        ],
    )
    @pytest.mark.parametrize("unit", ["character", "byte"])
    def test_the_text_ends_before_it(self, text, stop, unit):
        assert "".join(spelled(text, unit=unit, stop=stop)) == text.split(stop)[0]

    def test_across_the_borders_of_pieces(self):
        """Every place for a stop string of every length around a border, and one that is longer than a piece."""
        text = TestPieces.TEXT
        writer = speller(text)
        for length in (1, 2, 3, PIECE - 1, PIECE, PIECE + 7):
            for start in range(max(0, PIECE - length - 1), min(26, PIECE + 2)):
                stop = text[start : start + length]
                pieces = list(writer.write("", len(text), temperature=0.0, stop=stop))
                assert "".join(pieces) == text[: text.find(stop)], (start, length)

    def test_what_may_be_its_beginning_is_not_shown_before_it_is_known(self):
        text = "a" * (PIECE - 2) + "END" + "b" * PIECE
        for stop in ("END", "ENDED"):
            shown = ""
            for piece in speller(text).write("", len(text), temperature=0.0, stop=stop):
                shown += piece
                assert not shown.endswith("E")
            assert shown == text.split(stop)[0]

    def test_nothing_is_written_after_it(self, writer):
        whole = "".join(writer.write("an", 60, seed=3))
        stop = whole[20:22]
        assert "".join(writer.write("an", 60, seed=3, stop=stop)) == whole[: whole.index(stop)]
        assert "".join(writer.write("an", 60, seed=3, stop="never written")) == whole

    def test_it_is_not_looked_for_in_the_prompt(self):
        assert "".join(speller("stop and go.").write("stop ", 7, temperature=0.0, stop="stop")) == "and go."
        assert "".join(speller("ab").write("a", 1, temperature=0.0, stop="ab")) == "b"
