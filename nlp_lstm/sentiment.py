"""Sentiment analysis: the settings of a run, and training from texts to a run folder."""

import dataclasses
import math
import sys
import time
from typing import NamedTuple

import keras
import numpy as np

from nlp_lstm import batches, datasets
from nlp_lstm.datasets.records import LabelledText
from nlp_lstm.files import atomic_path
from nlp_lstm.models.classifier import SentimentClassifier
from nlp_lstm.models.encoder import BidirectionalEncoder
from nlp_lstm.models.ngrams import LARGEST_VOCABULARY, BlendedClassifier, NgramClassifier
from nlp_lstm.models.pretraining import BidirectionalLanguageModel
from nlp_lstm.ngram_fitting import blend, fit_ngrams
from nlp_lstm.settings import Range, check_ranges
from nlp_lstm.training import RunFolder, Stage, adam, load_finished, mean_of_outputs, train_stage
from nlp_lstm.vocabulary import Vocabulary

TASK = "sentiment"
BLEND = "blend"
"Names the line of `metrics.jsonl` that tells the validation accuracy of the LSTM, of the n-grams and of both."


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a sentiment classifier is built and trained; each is a flag of `train`.

    Raises:
        UserError: if a value is out of its range.
    """

    seed: int = 0
    "Settles the weights, the order of the texts and every dropout mask."
    validation_fraction: float = 0.1
    "Share of the training split, cut film by film, that chooses the best epoch."
    vocabulary_size: int = 30_000
    "Most tokens to know, three special ones counted in."
    least_count: int = 2
    "A token seen fewer times in training text is unknown."
    embedding_size: int = 128
    "Width of the token embedding."
    units: int = 128
    "Width of the LSTM in each direction."
    word_dropout: float = 0.3
    "Rate at which whole tokens are dropped."
    dropout: float = 0.4
    "Rate at which embedding features are dropped."
    recurrent_dropout: float = 0.2
    "Rate at which features of the hidden state are dropped between steps."
    pooled_dropout: float = 0.5
    "Rate at which pooled features are dropped before the last layer."
    pretraining_epochs: int = 15
    "Epochs of language modelling on all training text before any label is used; 0 for none."
    pretraining_passes: float = 1.5
    "How often those epochs together go over the text."
    pretraining_units: int = 256
    "Width of the LSTM in each direction of the language models."
    pretraining_learning_rate: float = 0.002
    "Adam's rate at the start of pre-training; it falls to a twentieth."
    pretraining_batch_size: int = 128
    "Windows in a batch of pre-training."
    window: int = 80
    "Tokens in a window of pre-training."
    samples: int = 512
    "Wrong tokens drawn for each batch of pre-training."
    pretrained_embedding_scale: float = 0.3
    "Training with labels starts from the pre-trained embedding times this."
    epochs: int = 6
    "Most epochs of training with labels."
    patience: int = 3
    "Stop after so many epochs without a better validation accuracy."
    learning_rate: float = 0.0015
    "Adam's rate at the start of training; it falls to a twentieth."
    tokens_per_batch: int = 12_800
    "Tokens, padding counted in, in a batch of training."
    longest_training_text: int = 320
    "A longer text is cut, each epoch, to a random stretch of so many tokens."
    clip_norm: float = 1.0
    "Largest norm of the gradient."
    final_rate_share: float = 0.05
    "The learning rate ends at this share of where it starts."
    ngram_order: int = 2
    "Longest run of tokens that has a weight of its own in the n-gram model."
    ngram_buckets: int = 524_288
    "Weights of the n-gram model for runs of two and more tokens, which share them by hash; 0 for no n-gram model."
    ngram_regularization: float = 10.0
    "Strength of the penalty on the squared weights of the n-gram model."

    def __post_init__(self):
        check_ranges(self, _RANGES)


_RANGES: list[Range] = [
    ("seed", lambda value: 0 <= value < 2**31, "0 to 2147483647"),
    ("vocabulary_size", lambda value: 4 <= value <= LARGEST_VOCABULARY, f"4 to {LARGEST_VOCABULARY}"),
    ("window", lambda value: value >= 2, "at least 2"),
    ("pretraining_epochs ngram_buckets", lambda value: value >= 0, "at least 0"),
    (
        "least_count embedding_size units pretraining_units ngram_order pretraining_batch_size samples epochs patience "
        "tokens_per_batch longest_training_text",
        lambda value: value >= 1,
        "at least 1",
    ),
    (
        "validation_fraction word_dropout dropout recurrent_dropout pooled_dropout",
        lambda value: 0 <= value < 1,
        "at least 0 and less than 1",
    ),
    (
        "pretraining_passes pretraining_learning_rate pretrained_embedding_scale learning_rate clip_norm "
        "ngram_regularization",
        lambda value: 0 < value < math.inf,
        "a finite number above 0",
    ),
    ("final_rate_share", lambda value: 0 <= value <= 1, "0 to 1"),
]


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
    )
    classifier = SentimentClassifier(encoder, settings.pooled_dropout, seed=settings.seed)
    classifier.build((None, None))
    if not settings.ngram_buckets:
        return classifier
    ngrams = NgramClassifier(vocabulary_size, settings.ngram_order, settings.ngram_buckets, stored_dtype)
    blended = BlendedClassifier(classifier, ngrams)
    blended.build((None, None))
    return blended


def train(source: str, run: RunFolder, settings: Settings) -> None:
    """Train on a source and leave the best classifier in the run folder; goes on where an earlier call was stopped."""
    keras.utils.set_random_seed(settings.seed)
    splits = datasets.load(
        source,
        ["train", "validation", "unlabelled"],
        validation_fraction=settings.validation_fraction,
        seed=settings.seed,
    )
    # Only now, so that a source that cannot be read leaves no run folder behind.
    run.start({"task": TASK, "data": source, **dataclasses.asdict(settings)})
    if run.model_weights.exists():
        print(f"the run in '{run.path}' is finished", file=sys.stderr)
        return
    pretraining_texts = [record.text for record in [*splits["train"], *splits["unlabelled"]]]
    vocabulary = _run_vocabulary(run, pretraining_texts, settings)
    classifier = build_classifier(settings, len(vocabulary))
    print(
        f"{len(splits['train'])} texts to train on, {len(splits['validation'])} for validation, "
        f"{len(splits['unlabelled'])} without labels; {len(vocabulary)} tokens, {classifier.count_params()} weights",
        file=sys.stderr,
    )
    lstm = classifier.lstm if isinstance(classifier, BlendedClassifier) else classifier
    if settings.pretraining_epochs:
        # A pass or two over so much text cannot be learnt by heart, so this encoder goes without dropout.
        encoder = BidirectionalEncoder(
            len(vocabulary), settings.embedding_size, settings.pretraining_units, seed=settings.seed
        )
        _pretrain(encoder, batches.token_ids(pretraining_texts, vocabulary), run, settings)
        # The embedding alone goes on, and smaller: starting from the language models' states, or from an embedding of
        # full size, training stood still for hundreds of batches and ended lower on validation data.
        embedding = keras.ops.convert_to_numpy(encoder.embedding.embeddings)
        lstm.encoder.embedding.embeddings.assign(embedding * settings.pretrained_embedding_scale)
    training, validation = (_encode(splits[split], vocabulary) for split in ("train", "validation"))
    _train_with_labels(lstm, training, validation, run, settings)
    # What is shipped stores its large tables in half precision. Rounded here, run and export hold the same numbers.
    _round_to_half(lstm.encoder.embedding.embeddings)
    if isinstance(classifier, BlendedClassifier):
        _add_ngrams(classifier, training, validation, run, settings)
    with atomic_path(run.model_weights) as path:
        classifier.save_weights(path)


class _EncodedTexts(NamedTuple):
    ids: list[np.ndarray]
    labels: list[int]


def _encode(records: list[LabelledText], vocabulary: Vocabulary) -> _EncodedTexts:
    labelled = [(record.text, record.label) for record in records if record.label is not None]
    return _EncodedTexts(
        batches.token_ids([text for text, _ in labelled], vocabulary), [label for _, label in labelled]
    )


def _round_to_half(table) -> None:
    table.assign(keras.ops.convert_to_numpy(table).astype(np.float16).astype(np.float32))


def _add_ngrams(
    classifier: BlendedClassifier,
    training: _EncodedTexts,
    validation: _EncodedTexts,
    run: RunFolder,
    settings: Settings,
) -> None:
    """Fit the n-gram model on the training texts and the mixture on the validation texts."""
    started, cpu_started = time.perf_counter(), time.process_time()
    fit_ngrams(classifier.ngrams, training.ids, training.labels, settings.ngram_regularization)
    _round_to_half(classifier.ngrams.table)
    accuracies = blend(classifier, validation.ids, validation.labels)
    row = {"stage": BLEND, "epoch": 1, **accuracies}
    row["seconds"] = round(time.perf_counter() - started, 2)
    row["cpu_seconds"] = round(time.process_time() - cpu_started, 2)
    run.write_metrics([*(other for other in run.metrics() if other["stage"] != BLEND), row])
    print(", ".join(f"{BLEND} {name} {value:.4f}" for name, value in accuracies.items()), file=sys.stderr)


def load_run(run: RunFolder) -> tuple[SentimentClassifier | BlendedClassifier, Vocabulary, Settings]:
    """The trained classifier of a run, as it is shipped, with its vocabulary and settings.

    Raises:
        UserError: if the folder holds no finished training run of a sentiment classifier.
    """

    def load(config):
        settings = Settings(**{field.name: config[field.name] for field in dataclasses.fields(Settings)})
        vocabulary = Vocabulary.load(run.path / "vocabulary.txt")
        classifier = build_classifier(settings, len(vocabulary), stored_dtype="float16")
        classifier.load_weights(run.model_weights)
        return classifier, vocabulary, settings

    return load_finished(run, TASK, "a sentiment classifier", load)


def _run_vocabulary(run: RunFolder, texts: list[str], settings: Settings) -> Vocabulary:
    path = run.path / "vocabulary.txt"
    if not path.exists():
        vocabulary = batches.build_vocabulary(texts, settings.vocabulary_size, settings.least_count)
        with atomic_path(path) as scratch:
            vocabulary.save(scratch)
    return Vocabulary.load(path)


def _pretrain(encoder, ids: list[np.ndarray], run: RunFolder, settings: Settings) -> None:
    """Pre-train the encoder as two language models."""
    model = BidirectionalLanguageModel(encoder, settings.samples, seed=settings.seed)
    model.build((None, settings.window))
    held_out = [text for index, text in enumerate(ids) if index % 100 == 0]
    training = [text for index, text in enumerate(ids) if index % 100]
    size = settings.pretraining_batch_size
    validation = batches.running_windows(held_out, settings.window, (settings.seed,))
    # A pass that does not begin with its run's first id has one window less than fit into the run.
    windows_in_pass = max(1, sum(len(text) for text in training) // settings.window - 1)
    steps = max(1, round(windows_in_pass * settings.pretraining_passes / settings.pretraining_epochs / size))
    passes: dict[int, np.ndarray] = {}

    def epoch_windows(epoch):
        """Pass after pass over the text, as many windows an epoch as make up the passes asked for."""
        start = (epoch - 1) * steps * size
        rows: list[np.ndarray] = []
        while len(rows) < steps * size:
            number, offset = divmod(start + len(rows), windows_in_pass)
            if number not in passes:
                passes.clear()
                passes[number] = batches.running_windows(training, settings.window, (settings.seed, number))
            rows.extend(passes[number][offset : offset + steps * size - len(rows)])
        return np.stack(rows)

    def dataset(windows):
        import tensorflow as tf

        return tf.data.Dataset.from_tensor_slices((windows, np.zeros(len(windows), np.float32))).batch(size).prefetch(2)

    model.compile(
        adam(
            settings.pretraining_learning_rate,
            steps * settings.pretraining_epochs,
            final_share=settings.final_rate_share,
            clip_norm=settings.clip_norm,
        ),
        loss=mean_of_outputs,
        jit_compile=False,
    )
    train_stage(
        model,
        Stage(
            "pretraining",
            settings.pretraining_epochs,
            lambda epoch: dataset(epoch_windows(epoch)),
            dataset(validation),
            monitor="val_loss",
        ),
        run,
    )


def _train_with_labels(
    classifier: SentimentClassifier,
    training: _EncodedTexts,
    validation: _EncodedTexts,
    run: RunFolder,
    settings: Settings,
) -> None:
    def epoch_batches(epoch):
        return batches.bucketed_batches(
            training.ids,
            training.labels,
            settings.tokens_per_batch,
            settings.longest_training_text,
            (settings.seed, epoch),
        )

    steps = int(epoch_batches(1).cardinality())
    classifier.compile(
        adam(
            settings.learning_rate,
            steps * settings.epochs,
            final_share=settings.final_rate_share,
            clip_norm=settings.clip_norm,
        ),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0)],
        jit_compile=False,
    )
    validation_batches = batches.bucketed_batches(
        validation.ids, validation.labels, 4 * settings.tokens_per_batch, 1024, (0,)
    )
    train_stage(
        classifier,
        Stage(
            "training",
            settings.epochs,
            epoch_batches,
            validation_batches,
            monitor="val_accuracy",
            higher_is_better=True,
            patience=settings.patience,
        ),
        run,
    )
