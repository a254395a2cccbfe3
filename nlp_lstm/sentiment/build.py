"""A sentiment classifier as its settings describe it, and that of a finished run."""

from typing import Any

from nlp_lstm.models.classifier import BlendedClassifier, SentimentClassifier
from nlp_lstm.models.encoder import BidirectionalEncoder
from nlp_lstm.models.ngrams import NgramClassifier
from nlp_lstm.run_folder import RunFolder, load_finished, settings_of
from nlp_lstm.sentiment.settings import TASK, Settings
from nlp_lstm.text.vocabulary import Vocabulary


def build_classifier(
    settings: Settings, vocabulary_size: int, stored_dtype: str | None = None
) -> SentimentClassifier | BlendedClassifier:
    """The classifier that the settings describe, its weights drawn; `stored_dtype` is that of the large tables."""
    encoder = BidirectionalEncoder(
        vocabulary_size,
        settings.embedding_size,
        settings.units,
        word_dropout=settings.word_dropout,
        dropout=settings.dropout,
        recurrent_dropout=settings.recurrent_dropout,
        seed=settings.seed,
        embedding_dtype=stored_dtype,
        lstm_dtype=None if stored_dtype else settings.precision,
    )
    classifier = SentimentClassifier(encoder, settings.pooled_dropout, settings.seed)
    classifier.build((None, None))
    if not settings.ngram_buckets:
        return classifier
    ngrams = NgramClassifier(vocabulary_size, settings.ngram_order, settings.ngram_buckets, stored_dtype)
    blended = BlendedClassifier(classifier, ngrams)
    blended.build((None, None))
    return blended


def load_run(run: RunFolder) -> tuple[SentimentClassifier | BlendedClassifier, Vocabulary, Settings]:
    """The trained classifier of a run, as it is shipped, with its vocabulary and settings.

    Raises:
        UserError: if the folder holds no finished training run of a sentiment classifier.
    """

    def load(config: dict[str, Any]) -> tuple[SentimentClassifier | BlendedClassifier, Vocabulary, Settings]:
        settings = settings_of(config, Settings)
        vocabulary = Vocabulary.load(run.path / "vocabulary.txt")
        classifier = build_classifier(settings, len(vocabulary), stored_dtype="float16")
        classifier.load_weights(run.model_weights)
        return classifier, vocabulary, settings

    return load_finished(run, TASK, "a sentiment classifier", load)
