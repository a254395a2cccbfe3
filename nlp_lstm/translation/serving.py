"""What a served translator does, from strings to strings in one graph of core TensorFlow operations."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from nlp_lstm.decoding.beam_to_end import NO_SCORE, Found, beam_search
from nlp_lstm.models.translator import Translator
from nlp_lstm.serving import of_one_batch
from nlp_lstm.settings import Precision
from nlp_lstm.text.subwords import BEGINNING, END, PADDING, UNKNOWN, Subwords
from nlp_lstm.translation.folded_translator import FoldedTranslator
from nlp_lstm.translation.limits import (
    DEFAULT_ALPHA,
    DEFAULT_BEAM,
    DEFAULT_BETA,
    LARGEST_BEAM,
    LONGEST_SOURCE,
    LONGEST_TEXT,
    LONGEST_TEXT_BYTES,
    LONGEST_TRANSLATION,
)
from nlp_lstm.translation.settings import SourceCase
from nlp_lstm.translation.source_text import SourceReader


class TranslationServing(tf.Module):
    """The signatures of a translator; `nlp_lstm.saved_model.save` writes them into a SavedModel.

    >>> subwords = Subwords.train(["a man rides a bike", "ein Mann fährt Fahrrad"], size=300)
    >>> model = Translator(len(subwords), embedding_size=8, encoder_units=4, decoder_units=8)
    >>> model.build()
    >>> serving = TranslationServing([model], subwords)
    >>> answer = serving.serving_default(tf.constant(["a bike", ""]))
    >>> answer["translation"].shape, answer["translation"].numpy()[1], answer["score"].numpy()[1].item()
    (TensorShape([2]), b'', 0.0)

    A request cannot hold a server: of a text the first `LONGEST_TEXT_BYTES` are read, of these, made plain (NFKC, white
    space drawn together), the first `LONGEST_TEXT` characters, and of these the first `LONGEST_SOURCE` subwords; a
    translation has at most twice as many subwords as its source and ten more, and never more than
    `LONGEST_TRANSLATION`; a beam holds 1 to `LARGEST_BEAM`. Bytes that are not UTF-8 are read as U+FFFD. A text of
    nothing but spaces has the translation "" and the score 0. A translation is one line: it holds no control character.

    Several models over the same subwords are asked together, and their log-probabilities averaged.

    Args:
        models: built translators.
        subwords: what their ids stand for.
        alpha: of the length penalty, see `nlp_lstm.decoding.beam_to_end.length_penalty`.
        beta: of the coverage penalty.
        source_subwords: what ids of the source stand for, where the languages have subwords of their own.
        precision: of the products with weight matrices; in bfloat16 a row's answer depends, in its last digits, on the
            rows beside it.
        source_case: how the models read a source, `nlp_lstm.translation.source_text.SourceReader`; its pieces are told
            as they are read.
    """

    def __init__(
        self,
        models: Sequence[Translator],
        subwords: Subwords,
        alpha: float = DEFAULT_ALPHA,
        beta: float = DEFAULT_BETA,
        source_subwords: Subwords | None = None,
        precision: Precision = "float32",
        source_case: SourceCase = "raw",
    ):
        super().__init__(name="translation")
        self.models, self.subwords, self.alpha, self.beta = list(models), subwords, alpha, beta
        self.source_subwords, self.precision = source_subwords or subwords, precision
        self.reader = SourceReader(self.source_subwords, source_case)
        self.folded = [FoldedTranslator(model, precision) for model in self.models]

    def take_weights(self) -> None:
        """Go by the weights that the models have now, where they were trained on; in float32 alone."""
        for folded, model in zip(self.folded, self.models, strict=True):
            folded.take_weights(model)

    @property
    def resources(self) -> list[Any]:
        """What the graphs read and a SavedModel must hold."""
        return [*self.folded, *self.source_subwords.resources]

    @property
    def signatures(self) -> dict[str, Any]:
        """The signatures by the names that a server knows them by."""
        return {name: getattr(self, name) for name in ("serving_default", "n_best", "explain", "encode")}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")], autograph=False)
    def serving_default(self, text: Any) -> dict[str, Any]:
        """Translate texts, with a beam of `DEFAULT_BEAM`.

        Args:
            text: string `(batch,)`; any bytes.

        Returns:
            `translation`: string `(batch,)`; `score`: float32 `(batch,)`, its log-probability by the length penalty.
        """
        source = self._source(text)
        found = self._search(source, tf.fill(tf.shape(text), DEFAULT_BEAM))
        return {"translation": self._told(found.ids[:, :1])[:, 0], "score": found.scores[:, 0]}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, name="text"),
            tf.TensorSpec([None], tf.int32, name="beam_size"),
        ],
        autograph=False,
    )
    def n_best(self, text: Any, beam_size: Any) -> dict[str, Any]:
        """The best translations of texts.

        Args:
            text: string `(batch,)`; any bytes.
            beam_size: int32 `(batch,)`, how many to keep and to give, clamped to 1 to `LARGEST_BEAM`.

        Returns:
            `translations`: string `(batch, LARGEST_BEAM)`, the best first, and `scores` float32, the same; behind a
            row's last translation "" and `NO_SCORE`. They are different texts, and fewer than `beam_size` where the
            search found a text in several segmentations, of which the best counts.
        """
        text, beam_size = of_one_batch(text=text, beam_size=beam_size)
        source = self._source(text)
        found = self._search(source, tf.clip_by_value(beam_size, 1, LARGEST_BEAM))
        missing = [[0, 0], [0, LARGEST_BEAM - tf.shape(found.scores)[1]]]
        translations, scores = _different(self._told(found.ids), found.scores)
        translations = tf.pad(translations, missing, constant_values="")
        scores = tf.pad(scores, missing, constant_values=NO_SCORE)
        return {
            "translations": tf.ensure_shape(translations, [None, LARGEST_BEAM]),
            "scores": tf.ensure_shape(scores, [None, LARGEST_BEAM]),
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")], autograph=False)
    def explain(self, text: Any) -> dict[str, Any]:
        """Translate texts and tell what was looked at.

        Args:
            text: string `(batch,)`; any bytes.

        Returns:
            `translation` and `score` as of `serving_default`; `source_pieces` string `(batch, S)` and `target_pieces`
            `(batch, T)` with the end `</s>`, "" behind it; `attention` float32 `(batch, S, T)`, of each target piece
            over the source, 0 behind the ends; `source_length` and `target_length` int32 `(batch,)`.
        """
        source = self._source(text)
        found = self._search(source, tf.fill(tf.shape(text), DEFAULT_BEAM))
        best = found.ids[:, 0]  # (B, T)
        target_length = tf.reduce_sum(tf.cast(best != PADDING, tf.int32), axis=1)
        best = best[:, : tf.maximum(1, tf.reduce_max(target_length))]  # of no text at all the largest is no length
        attention = tf.where((best != PADDING)[:, None], self._attention(source, best), 0.0)
        return {
            "translation": self._told(found.ids[:, :1])[:, 0],
            "score": found.scores[:, 0],
            "source_pieces": self._source_spelled(source),
            "target_pieces": self._spelled(best),
            "attention": attention,
            "source_length": tf.reduce_sum(tf.cast(source != PADDING, tf.int32), axis=1),
            "target_length": target_length,
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")], autograph=False)
    def encode(self, text: Any) -> dict[str, Any]:
        """Split texts into the subwords that the model reads.

        Args:
            text: string `(batch,)`; any bytes.

        Returns:
            `ids`: int32 `(batch, S)`, each row with its end, 0 behind it; `pieces`: string, the same, "" behind it;
            `length`: int32 `(batch,)`, the end counted in.
        """
        source = self._source(text)
        length = tf.reduce_sum(tf.cast(source != PADDING, tf.int32), axis=1)
        return {"ids": source, "pieces": self._source_spelled(source), "length": length}

    # What several signatures call is a function of its own, so that a SavedModel holds it, and its tables, once.

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def _source(self, text: Any) -> Any:
        """Ids `(batch, source)` of what is read of texts, each with its end."""
        text = tf.strings.substr(text, 0, LONGEST_TEXT_BYTES)
        ids = self.reader.encode(text, 1 + LONGEST_TEXT)  # the mark of the first word before it
        ids = ids[:, : LONGEST_SOURCE - 1]
        ends = tf.RaggedTensor.from_tensor(tf.fill([ids.nrows(), 1], END), row_splits_dtype=ids.row_splits.dtype)
        ids = tf.concat([ids, ends], axis=1).to_tensor(PADDING)
        # Of no text at all a loop would have no steps, which TensorFlow does not allow.
        return tf.pad(ids, [[0, 0], [0, tf.cast(tf.shape(ids)[1] == 0, tf.int32)]], constant_values=PADDING)

    @tf.function(
        input_signature=[tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)], autograph=False
    )
    def _search(self, source: Any, beam_size: Any) -> Found:
        """The best translations of source ids, `Found`; of an empty source the end alone, with the score 0."""
        length = tf.reduce_sum(tf.cast(source != PADDING, tf.int32), axis=1)
        state, memory = self._encode(source)
        found = beam_search(
            self._ask,
            state,
            memory,
            source != PADDING,
            beginning=BEGINNING,
            end=END,
            never=[PADDING, UNKNOWN, BEGINNING, *self.subwords.tags],
            longest=tf.minimum(2 * length + 10, LONGEST_TRANSLATION),
            beam_size=beam_size,
            alpha=self.alpha,
            beta=self.beta,
        )
        rank, place = tf.range(tf.shape(found.scores)[1])[:, None], tf.range(tf.shape(found.ids)[2])
        end_alone = tf.where((rank == 0) & (place == 0), END, PADDING)  # (K, T)
        is_empty = (source[:, 0] == END)[:, None]
        return Found(
            tf.where(is_empty[:, None], end_alone, found.ids),
            tf.where(is_empty, tf.where(rank[:, 0] == 0, 0.0, NO_SCORE), found.scores),
        )

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)], autograph=False)
    def _spelled(self, ids: Any) -> Any:
        return self.subwords.spelled(ids)

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)], autograph=False)
    def _source_spelled(self, ids: Any) -> Any:
        return self._spelled(ids) if self.source_subwords is self.subwords else self.source_subwords.spelled(ids)

    def _encode(self, source: Any) -> tuple[list[Any], list[Any]]:
        """All models' states before the first id, one after the other, and their memories."""
        memories, states = zip(*(model.encode(source) for model in self.folded), strict=True)
        return [part for state in states for part in state], [part for memory in memories for part in memory]

    def _ask(self, ids: Any, state: Sequence[Any], memory: Sequence[Any]) -> tuple[Any, Any, list[Any], Any]:
        """One step of all models: means of their logits, of what is taken off them, and of their attention."""
        count = len(self.folded)
        shares = zip(self.folded, _in_turn(state, count), _in_turn(memory, count), strict=True)
        answers = [model.step(ids, *share) for model, *share in shares]
        logits, log_totals, states, attentions = zip(*answers, strict=True)
        mean = lambda parts: parts[0] if count == 1 else tf.add_n(parts) / count  # noqa: E731
        return mean(logits), mean(log_totals), [part for state in states for part in state], mean(attentions)

    def _attention(self, source: Any, target: Any) -> Any:
        """The attention `(batch, source, target)` with which each target id was guessed."""
        state, memory = self._encode(source)
        steps = tf.shape(target)[1]
        read = tf.concat([tf.fill([tf.shape(target)[0], 1], BEGINNING), target[:, :-1]], axis=1)

        def body(t: Any, state: Sequence[Any], all_attention: tf.TensorArray) -> tuple[Any, list[Any], tf.TensorArray]:
            _, _, state, attention = self._ask(read[:, t], state, memory)
            return t + 1, state, all_attention.write(t, attention[:, 0])

        _, _, attention = tf.while_loop(
            lambda t, *_: t < steps,
            body,
            (tf.constant(0), state, tf.TensorArray(tf.float32, size=steps, element_shape=[None, None])),
            maximum_iterations=steps,
        )
        return tf.transpose(tf.ensure_shape(attention.stack(), [None, None, None]), [1, 2, 0])

    @tf.function(input_signature=[tf.TensorSpec([None, None, None], tf.int32)], autograph=False)
    def _told(self, ids: Any) -> Any:
        """Translations `(batch, beams, T)` as text, each a line: what would break one is a space."""
        rows, beams, steps = tf.unstack(tf.shape(ids))
        text = self.subwords.decode(tf.reshape(ids, [rows * beams, steps]))
        text = tf.strings.regex_replace(text, r"[\p{Cc}\p{Zl}\p{Zp}]", " ")
        return tf.reshape(text, [rows, beams])


def _in_turn(parts: Sequence[Any], models: int) -> list[Sequence[Any]]:
    """The parts of each model, which stand one behind the other."""
    each = len(parts) // models
    return [parts[first : first + each] for first in range(0, len(parts), each)]


def _different(texts: Any, scores: Any) -> tuple[Any, Any]:
    """Each text of a row `(batch, found)` where it stands first, and what is left moved up."""
    places = tf.range(tf.shape(texts)[1])
    is_same_before = (texts[:, :, None] == texts[:, None, :]) & (places[:, None] > places)  # (B, text, text before)
    is_again = tf.reduce_any(is_same_before, axis=2)
    order = tf.argsort(tf.cast(is_again, tf.int32), axis=1, stable=True)
    texts, scores = tf.where(is_again, "", texts), tf.where(is_again, NO_SCORE, scores)
    return tf.gather(texts, order, batch_dims=1), tf.gather(scores, order, batch_dims=1)
