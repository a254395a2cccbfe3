"""Training a sentiment classifier from texts to a run folder."""

import dataclasses
import sys
import time
from typing import Any, NamedTuple

import keras
import numpy as np

from nlp_lstm.datasets.known_sets import fingerprint_of_reviews
from nlp_lstm.datasets.review_records import LabelledText
from nlp_lstm.datasets.reviews import load_reviews
from nlp_lstm.files import atomic_path
from nlp_lstm.models.classifier import BlendedClassifier, SentimentClassifier
from nlp_lstm.models.encoder import BidirectionalEncoder
from nlp_lstm.models.pretraining import BidirectionalLanguageModel
from nlp_lstm.run_folder import DATA_FINGERPRINT, RunFolder
from nlp_lstm.sentiment import batches
from nlp_lstm.sentiment.build import build_classifier
from nlp_lstm.sentiment.ngram_fitting import blend, fit_ngrams
from nlp_lstm.sentiment.settings import BLEND, TASK, Settings
from nlp_lstm.text.vocabulary import Vocabulary
from nlp_lstm.training import Stage, adam, mean_of_outputs, train_stage


def train(source: str, run: RunFolder, settings: Settings) -> None:
    """Train on a source and leave the best classifier in the run folder; goes on where an earlier call was stopped."""
    keras.utils.set_random_seed(settings.seed)
    splits = load_reviews(
        source,
        ["train", "validation", "unlabelled"],
        validation_fraction=settings.validation_fraction,
        seed=settings.seed,
        table=settings.table,
    )
    # Only now, so that a source that cannot be read leaves no run folder behind.
    fingerprint = {DATA_FINGERPRINT: fingerprint_of_reviews(splits.values())}
    run.start({"task": TASK, "data": source, **dataclasses.asdict(settings), **fingerprint}, Settings())
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


def _round_to_half(table: Any) -> None:
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


def _run_vocabulary(run: RunFolder, texts: list[str], settings: Settings) -> Vocabulary:
    path = run.path / "vocabulary.txt"
    if not path.exists():
        vocabulary = batches.build_vocabulary(texts, settings.vocabulary_size, settings.least_count)
        with atomic_path(path) as scratch:
            vocabulary.save(scratch)
    return Vocabulary.load(path)


def _pretrain(encoder: BidirectionalEncoder, ids: list[np.ndarray], run: RunFolder, settings: Settings) -> None:
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

    def epoch_windows(epoch: int) -> np.ndarray:
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

    def dataset(windows: np.ndarray) -> Any:
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
    def epoch_batches(epoch: int) -> Any:
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
