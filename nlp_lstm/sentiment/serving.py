"""What a served model does, from strings to strings in one graph of core TensorFlow operations."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from nlp_lstm.models.classifier import BlendedClassifier, SentimentClassifier
from nlp_lstm.sentiment.limits import LONGEST_TEXT_BYTES, LONGEST_TEXT_IN_PREFIXES, LONGEST_TEXT_TOKENS, MOST_UNITS
from nlp_lstm.sentiment.prefixes import prefix_logits
from nlp_lstm.settings import Precision
from nlp_lstm.text.vocabulary import BOUNDARY, PADDING, Vocabulary
from nlp_lstm.text.words import tokenize
from nlp_lstm.weight_matrix import WeightMatrix, weight_matrix

_TEXT = tf.TensorSpec([None], tf.string)


class SentimentServing(tf.Module):
    """The signatures of a sentiment model; `nlp_lstm.saved_model.save` writes them into a SavedModel.

    >>> from collections import Counter
    >>> from nlp_lstm.models.encoder import BidirectionalEncoder
    >>> vocabulary = Vocabulary.from_counts(Counter(["one", "of", "the", "best", "films"]), size=10)
    >>> classifier = SentimentClassifier(BidirectionalEncoder(len(vocabulary), embedding_size=8, units=4))
    >>> classifier.build((None, None))
    >>> serving = SentimentServing(classifier, vocabulary)
    >>> answer = serving.serving_default(tf.constant(["One of the best films of the year."]))
    >>> answer["label"].numpy()[0] == (b"positive" if answer["score"].numpy()[0] > 0.5 else b"negative")
    True

    A request cannot hold a server: of a text only the last `LONGEST_TEXT_BYTES` bytes are read and of those the last
    `LONGEST_TEXT_TOKENS` tokens are taken, since reviews come to their verdict at the end. Rows share nothing but the
    width of their padding, which the model does not see.

    Args:
        classifier: a built classifier.
        vocabulary: the tokens whose ids it was trained on.
        precision: of the products with recurrent kernels; those of another than float32 take the place of the
            classifier's own, which is then fit for use alone.
    """

    def __init__(
        self,
        classifier: SentimentClassifier | BlendedClassifier,
        vocabulary: Vocabulary,
        precision: Precision = "float32",
    ):
        super().__init__(name="sentiment")
        self.classifier = classifier
        self.table = vocabulary.table
        self._variables = [variable.value for variable in classifier.weights]
        self._matrices: list[WeightMatrix] = []
        encoder = (classifier.lstm if isinstance(classifier, BlendedClassifier) else classifier).encoder
        for lstm in (encoder.forward_lstm, encoder.backward_lstm) if precision != "float32" else ():
            kernel = lstm.cell.recurrent_kernel.value
            self._variables = [variable for variable in self._variables if variable is not kernel]
            self._matrices.append(weight_matrix(kernel, precision, "recurrent_kernel"))
            lstm.cell.recurrent_kernel = self._matrices[-1]

    @property
    def resources(self) -> list[Any]:
        """What the graphs read and a SavedModel must hold."""
        return [self._variables, self._matrices, self.table]

    @property
    def signatures(self) -> dict[str, Callable[..., dict[str, Any]]]:
        """The signatures by the names that a server knows them by."""
        return {
            "serving_default": self.serving_default,
            "classify": self.classify,
            "explain": self.explain,
            "prefixes": self.prefixes,
            "units": self.units,
        }

    @tf.function(input_signature=[_TEXT], autograph=False)
    def serving_default(self, text: Any) -> dict[str, Any]:
        """Label and P(positive) of each text.

        Args:
            text: string `(batch,)`; any bytes.

        Returns:
            `label`: string `(batch,)`, `negative` or `positive`; `score`: float32 `(batch,)`, P(positive).
        """
        score = tf.sigmoid(self.classifier(self._ids(_tokens(text))))
        return {"label": _labels(score), "score": score}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def classify(self, inputs: Any) -> dict[str, Any]:
        """The same for TensorFlow Serving's Classify.

        Args:
            inputs: string `(batch,)` of serialized `tf.Example`s with a bytes feature `text`; an absent one is empty.

        Returns:
            `classes`: string `(batch, 2)`, always `negative`, `positive`; `scores`: float32 `(batch, 2)`.
        """
        features = {"text": tf.io.FixedLenFeature([], tf.string, default_value="")}
        score = self.serving_default(tf.io.parse_example(inputs, features)["text"])["score"]
        classes = tf.tile(tf.constant([["negative", "positive"]]), [tf.shape(inputs)[0], 1])
        return {"classes": classes, "scores": tf.stack([1.0 - score, score], axis=-1)}

    @tf.function(input_signature=[_TEXT], autograph=False)
    def explain(self, text: Any) -> dict[str, Any]:
        """What each token did.

        Args:
            text: string `(batch,)`; any bytes.

        Returns:
            `tokens`: string `(batch, time)`, the first and last token of a text being its boundaries `<s>` and `</s>`
            and padding empty; `length`: int32 `(batch,)`; `label` and `score` as in `serving_default`; and float32
            `(batch, time)`, 0 in padding: `polarity`, a token's share of the logit (a row adds up to `logit - bias`),
            and `forward_input`, `forward_forget`, `forward_output`, `backward_input`, `backward_forget`,
            `backward_output`, the mean activity of each gate over its units; float32 `(batch,)`: `logit`, and `bias`,
            the logit of a text without words (its P(positive) is what `prefixes` has at `<s>`).
        """
        tokens = _tokens(text)
        ids = self._ids(tokens)
        shown = _between(tokens, "<s>", "</s>")
        logit, bias, polarity, directions = self.classifier.explain(ids)
        score = tf.sigmoid(logit)
        visible = tf.cast(tf.not_equal(ids, PADDING), tf.float32)
        answer = {
            "tokens": shown.to_tensor("", shape=tf.stack([-1, tf.shape(ids)[1]])),
            "length": tf.cast(shown.row_lengths(), tf.int32),
            "label": _labels(score),
            "score": score,
            "logit": logit,
            "bias": bias,
            "polarity": polarity * visible,
        }
        for direction, gates in zip(("forward", "backward"), directions, strict=True):
            for name in ("input", "forget", "output"):
                answer[f"{direction}_{name}"] = tf.reduce_mean(getattr(gates, name), axis=-1) * visible
        return answer

    @tf.function(input_signature=[_TEXT], autograph=False)
    def prefixes(self, text: Any) -> dict[str, Any]:
        """What would be said of the text if it ended behind each token.

        Args:
            text: string `(batch,)`; any bytes.

        Returns:
            `tokens` and `length` as in `explain`, and float32 `(batch, time)`: `score`, P(positive) of the text up to a
            token, that of `<s>` being the empty text's and that of `</s>` the whole one's. Of a text of more than
            `LONGEST_TEXT_IN_PREFIXES` tokens only each second, each third or so has one, counted back from the last;
            at all others, and in padding, it is -1.
        """
        tokens = _tokens(text)
        ids = self._ids(tokens)
        shown = _between(tokens, "<s>", "</s>")
        lengths = tf.cast(shown.row_lengths(), tf.int32)
        # One text at a time, so that many of them take no more memory than the longest; and one at the least, since of
        # no text at all the loop would not know what to stack.
        rows = tf.maximum(tf.shape(ids)[0], 1)
        padded = tf.pad(ids, [[0, rows - tf.shape(ids)[0]], [0, 0]], constant_values=BOUNDARY)
        scores = tf.map_fn(
            lambda row: self._prefix_scores(*row),
            (padded, tf.pad(lengths, [[0, rows - tf.shape(ids)[0]]], constant_values=2)),
            fn_output_signature=tf.TensorSpec([None], tf.float32),
            parallel_iterations=1,
        )
        return {
            "tokens": shown.to_tensor("", shape=tf.stack([-1, tf.shape(ids)[1]])),
            "length": lengths,
            "score": scores[: tf.shape(ids)[0]],
        }

    @tf.function(input_signature=[_TEXT], autograph=False)
    def units(self, text: Any) -> dict[str, Any]:
        """The units whose shares of the logit are the largest in size, that of the largest first.

        Args:
            text: string `(batch,)`; any bytes.

        Returns:
            `tokens`, `length`, `logit` and `bias` as in `explain`; of at most `MOST_UNITS` units, `(batch, shown)`:
            `direction`, string, `forward` or `backward`, `unit`, int32, its number there, `share`, float32, its share
            of the logit, and `peak`, int32, the place of the token at which its state is highest; `state`, float32
            `(batch, shown, time)`, 0 in padding; and float32 `(batch,)`: `others`, the shares of all other units, and
            `ngrams`, that of the n-grams. `share`, `others`, `ngrams` and `bias` add up to `logit`.
        """
        tokens = _tokens(text)
        ids = self._ids(tokens)
        shown = _between(tokens, "<s>", "</s>")
        shares, ngrams, bias, states = self.classifier.explain_units(ids)
        each = shares.shape[-1] // 2
        _, chosen = tf.math.top_k(tf.abs(shares), min(MOST_UNITS, 2 * each))  # (B, K)
        share = tf.gather(shares, chosen, batch_dims=1)
        state = tf.gather(tf.transpose(states, [0, 2, 1]), chosen, batch_dims=1)  # (B, K, T)
        is_token = tf.not_equal(ids, PADDING)[:, None]
        total = tf.reduce_sum(shares, axis=-1)
        return {
            "tokens": shown.to_tensor("", shape=tf.stack([-1, tf.shape(ids)[1]])),
            "length": tf.cast(shown.row_lengths(), tf.int32),
            "logit": total + ngrams + bias,
            "bias": bias,
            "ngrams": ngrams,
            "others": total - tf.reduce_sum(share, axis=-1),
            "direction": tf.where(chosen < each, "forward", "backward"),
            "unit": chosen % each,
            "share": share,
            # A state lies above -1.
            "peak": tf.argmax(tf.where(is_token, state, -1.0), axis=-1, output_type=tf.int32),
            "state": tf.where(is_token, state, 0.0),
        }

    def _prefix_scores(self, ids: Any, length: Any) -> Any:
        """Of one text, `(time,)`, whose padding stands behind its `length` tokens, boundaries counted in."""
        last = length - 2  # the place of its last token, or of the first boundary
        step = tf.maximum((last + LONGEST_TEXT_IN_PREFIXES - 1) // LONGEST_TEXT_IN_PREFIXES, 1)
        ends = tf.range(last % step, last + 1, step)
        found = tf.sigmoid(prefix_logits(self.classifier, ids[:length], ends))
        # The closing boundary is in the last of them already.
        places, found = tf.concat([ends, [last + 1]], axis=0), tf.concat([found, found[-1:]], axis=0)
        unread = tf.fill(tf.shape(ids), -1.0)
        return tf.tensor_scatter_nd_update(unread, places[:, None], found)

    def _ids(self, tokens: Any) -> Any:
        ids = _between(tokens.with_flat_values(self.table.lookup(tokens.flat_values)), BOUNDARY, BOUNDARY)
        # Every text has its two boundaries; no text at all must still have steps for the loop to stack.
        longest = tf.maximum(tf.reduce_max(ids.row_lengths()), 2)
        return ids.to_tensor(PADDING, shape=tf.stack([tf.constant(-1, tf.int64), longest]))


def _tokens(text: Any) -> Any:
    """The last tokens of each text, ragged `(batch, time)`."""
    start = tf.maximum(tf.strings.length(text) - LONGEST_TEXT_BYTES, 0)
    text = tf.strings.substr(text, start, tf.fill(tf.shape(start), LONGEST_TEXT_BYTES))
    return tokenize(text)[:, -LONGEST_TEXT_TOKENS:]


def _between(rows: Any, first: str | int, last: str | int) -> Any:
    """Put one value before and one behind every row of a ragged tensor."""
    column = tf.ones_like(rows.row_lengths()[:, None], tf.int32)
    edges = [tf.fill(tf.shape(column), tf.constant(value, rows.dtype)) for value in (first, last)]
    return tf.concat([edges[0], rows, edges[1]], axis=1)


def _labels(score: Any) -> Any:
    return tf.where(score > 0.5, "positive", "negative")
