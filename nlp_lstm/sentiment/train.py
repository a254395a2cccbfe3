"""Training a sentiment classifier from texts to a run folder."""

import dataclasses
import functools
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np

from nlp_lstm.datasets.known_sets import fingerprint_of_reviews
from nlp_lstm.datasets.review_records import LabelledText
from nlp_lstm.datasets.reviews import load_reviews
from nlp_lstm.errors import UserError
from nlp_lstm.files import atomic_path
from nlp_lstm.models.classifier import BlendedClassifier, SentimentClassifier
from nlp_lstm.models.encoder import BidirectionalEncoder
from nlp_lstm.models.pretraining import BidirectionalLanguageModel, guesses
from nlp_lstm.processor import tell_if_slower
from nlp_lstm.run_folder import DATA_FINGERPRINT, TRAINING, RunFolder, settings_of
from nlp_lstm.sentiment import batches
from nlp_lstm.sentiment.adversarial_training import AdversarialTraining
from nlp_lstm.sentiment.build import build_classifier, load_run
from nlp_lstm.sentiment.calibration import calibration
from nlp_lstm.sentiment.document_vectors import check_installed
from nlp_lstm.sentiment.exported import ExportedClassifier, load_exported
from nlp_lstm.sentiment.head_fitting import fit_head, take_exported_head
from nlp_lstm.sentiment.logits import logits_of
from nlp_lstm.sentiment.ngram_fitting import blend, fit_ngrams
from nlp_lstm.sentiment.settings import BLEND, CALIBRATION, PRETRAINING, TASK, Settings
from nlp_lstm.sentiment.teaching import EncodedTexts, load_teacher, taught_labels
from nlp_lstm.text.vocabulary import PADDING, Vocabulary
from nlp_lstm.training import Stage, adam, averaging_within, is_exported, mean_of_outputs, tell_of_exported, train_stage
from nlp_lstm.weights_file import save_weights
from nlp_lstm.workers import ALONE, Workers

SENTENCE_ENDS = (".", "!", "?", "…")
MOST_SENTENCES = 3

_VOCABULARY = "vocabulary.txt"


def train(source: str, run: RunFolder, settings: Settings, workers: Workers = ALONE) -> None:
    """Train on a source and leave the best classifier in the run folder; goes on where an earlier call was stopped.

    Several workers pre-train and train with labels together. What is fitted and not trained, the chief fits: the linear
    unit that training begins with, the n-gram models and the mixture.

    Args:
        source: of the texts.
        run: where to; of several workers the chief's alone.
        settings: how.
        workers: which train together.
    """
    if settings.teacher_vectors:
        check_installed()
    keras.utils.set_random_seed(settings.seed)
    splits = load_reviews(
        source,
        ["train", "validation", "unlabelled"],
        validation_fraction=settings.validation_fraction,
        seed=settings.seed,
        table=settings.table,
    )
    # Of several workers only the chief has what it takes of other runs.
    earlier = _start(settings) if workers.is_chief else None
    teacher = load_teacher(Path(settings.teacher_run)) if settings.teacher_run and workers.is_chief else None
    # Only now, so that a source that cannot be read leaves no run folder behind.
    fingerprint = {DATA_FINGERPRINT: fingerprint_of_reviews(splits.values())}
    config = {"task": TASK, "data": source, **dataclasses.asdict(settings), **fingerprint}
    workers.agree(config)
    if workers.is_chief:
        run.start(config, Settings())
    if workers.from_chief(run.model_weights.exists):
        print(f"the run in '{run.path}' is finished", file=sys.stderr)
        return
    texts = [record.text for record in [*splits["train"], *splits["unlabelled"]]]
    vocabulary = Vocabulary(workers.from_chief(lambda: _run_vocabulary(run, texts, settings, earlier).tokens))
    tell_if_slower(settings.precision)
    classifier = build_classifier(settings, len(vocabulary))
    print(
        f"{len(splits['train'])} texts to train on, {len(splits['validation'])} for validation, "
        f"{len(splits['unlabelled'])} without labels; {len(vocabulary)} tokens, {classifier.count_params()} weights",
        file=sys.stderr,
    )
    lstm = classifier.lstm if isinstance(classifier, BlendedClassifier) else classifier
    trained = _standardized(classifier, settings)
    training, validation = (_encode(splits[split], vocabulary) for split in ("train", "validation"))
    unlabelled = batches.token_ids([record.text for record in splits["unlabelled"]], vocabulary)
    if workers.is_chief:
        seen_labels = {settings.teacher_run: teacher.run} if teacher is not None else {}
        if earlier is not None and settings.start_stage == TRAINING:
            seen_labels[settings.start_from] = earlier if isinstance(earlier, RunFolder) else None
        for folder, other in seen_labels.items():
            if other is not None:
                other.tell_if_cut_otherwise(config, ("seed", "validation_fraction"))
            else:
                tell_of_exported(Path(folder))
    if settings.start_from:
        if isinstance(earlier, ExportedClassifier):
            take_exported_head(earlier.classifier, trained, training, validation, run, settings)
        elif earlier is not None:
            if settings.start_stage == TRAINING:
                _go_on_from(earlier, trained, len(vocabulary), settings)
                run.keep_all_earlier(earlier)
            else:
                _start_from(earlier, lstm.encoder, settings)
                run.keep_earlier(earlier, PRETRAINING, PRETRAINING)
    elif settings.pretraining_epochs:
        _pretrain(lstm.encoder, [*training.ids, *unlabelled], run, settings, workers)
    if workers.is_chief and settings.start_stage == PRETRAINING:
        fit_head(trained, training, validation, run, settings)
    # What `AdversarialTraining` goes by must be the same, before the first epoch takes all weights from the chief.
    workers.take_from_chief(trained.weights)
    if settings.teacher_order and unlabelled:
        went_on = settings.start_stage == TRAINING and settings.start_from == settings.teacher_run  # kept already
        if teacher is not None and teacher.run is not None and not went_on:
            run.keep_all_of_teacher(teacher.run, "teacher")
        how = (training, validation, unlabelled, vocabulary, teacher, run, settings)
        labels = workers.from_chief(lambda: taught_labels(*how))
        taught = EncodedTexts([*training.ids, *unlabelled], [*training.labels, *labels])
    else:
        taught = training
    _train_with_labels(trained, taught, validation, vocabulary, run, settings, workers)
    if not workers.is_chief:
        return
    kernel, bias = trained.folded_head()
    lstm.head.kernel.assign(kernel[:, None])
    lstm.head.bias.assign(bias[None])
    # What is shipped stores its large tables in half precision. Rounded here, run and export hold the same numbers.
    _round_to_half(lstm.encoder.embedding.embeddings)
    if isinstance(classifier, BlendedClassifier):
        _add_ngrams(classifier, training, validation, run, settings)
    else:
        _calibrate(classifier, validation, run)
    save_weights(classifier, run.model_weights)


def _encode(records: list[LabelledText], vocabulary: Vocabulary) -> EncodedTexts:
    labelled = [(record.text, record.label) for record in records if record.label is not None]
    return EncodedTexts(batches.token_ids([text for text, _ in labelled], vocabulary), [label for _, label in labelled])


def _start(settings: Settings) -> RunFolder | ExportedClassifier | None:
    """What to start from, where it is named: a run, or an exported model, whose encoder must be of this size."""
    if not settings.start_from:
        return None
    place = Path(settings.start_from)
    exported = load_exported(place) if is_exported(place) else None
    other = RunFolder(place)
    config = other.config() if exported is None else exported.classifier.encoder.settings
    for name in ("embedding_size", "units"):
        if config.get(name) != getattr(settings, name):
            raise UserError(
                f"the {'run in' if exported is None else 'model at'} '{place}' has {name} {config.get(name)}, this one "
                f"{getattr(settings, name)}: give --{name.replace('_', '-')} the same value"
            )
    if exported is not None:
        if settings.start_stage != TRAINING:
            raise UserError(
                f"the model at '{place}' holds a finished classifier, and no language models any more: go on from it "
                "with --start-stage training"
            )
        return exported
    if settings.start_stage == TRAINING:
        load_run(other)  # refuses one that is not finished
    elif not other.best_weights(PRETRAINING).exists():
        raise UserError(f"the run in '{other.path}' has no pre-trained encoder: name another with --start-from")
    return other


def _start_from(other: RunFolder, encoder: BidirectionalEncoder, settings: Settings) -> None:
    """Give the encoder the weights that another run's pre-training left."""
    model = BidirectionalLanguageModel(encoder, settings.samples, seed=settings.seed)
    model.build((None, None))
    model.load_weights(other.best_weights(PRETRAINING))


def _go_on_from(other: RunFolder, trained: SentimentClassifier, vocabulary_size: int, settings: Settings) -> None:
    """Give a classifier the weights that another run's training with labels left, before any calibration."""
    earlier = _standardized(build_classifier(settings, vocabulary_size), settings)
    noise = settings_of(other.config(), Settings).adversarial_noise
    (AdversarialTraining(earlier, noise) if noise else earlier).load_weights(other.best_weights(TRAINING))
    for weight, found in zip(trained.weights, earlier.weights, strict=True):
        weight.assign(found)


def _standardized(classifier: SentimentClassifier | BlendedClassifier, settings: Settings) -> SentimentClassifier:
    """The same encoder under a linear unit that is trained over standardised features."""
    lstm = classifier.lstm if isinstance(classifier, BlendedClassifier) else classifier
    found = SentimentClassifier(lstm.encoder, settings.pooled_dropout, settings.seed, standardized=True)
    found.build((None, None))
    return found


def _round_to_half(table: Any) -> None:
    table.assign(keras.ops.convert_to_numpy(table).astype(np.float16).astype(np.float32))


def _calibrate(classifier: SentimentClassifier, validation: EncodedTexts, run: RunFolder) -> None:
    """Scale and shift the logits as suits the validation texts; a mixture has its own scale and bias."""
    with run.timed_stage(CALIBRATION) as row:
        scale, shift = calibration(logits_of(classifier, validation.ids), validation.labels)
        classifier.head.kernel.assign(scale * classifier.head.kernel)
        classifier.head.bias.assign(scale * classifier.head.bias + shift)
        row |= {"scale": scale, "shift": shift}
    print(f"{CALIBRATION}: the logits are multiplied by {scale:.3f}, and {shift:+.3f} added", file=sys.stderr)


def _add_ngrams(
    classifier: BlendedClassifier,
    training: EncodedTexts,
    validation: EncodedTexts,
    run: RunFolder,
    settings: Settings,
) -> None:
    """Fit the n-gram model on the labelled training texts and the mixture on the validation texts."""
    with run.timed_stage(BLEND) as row:
        fit_ngrams(classifier.ngrams, training.ids, training.labels, settings.ngram_regularization)
        _round_to_half(classifier.ngrams.table)
        accuracies = blend(classifier, validation.ids, validation.labels)
        row |= accuracies
    print(", ".join(f"{BLEND} {name} {value:.4f}" for name, value in accuracies.items()), file=sys.stderr)


def _run_vocabulary(
    run: RunFolder, texts: list[str], settings: Settings, earlier: RunFolder | ExportedClassifier | None
) -> Vocabulary:
    path = run.path / _VOCABULARY
    if not path.exists():
        if earlier is None:
            vocabulary = batches.build_vocabulary(texts, settings.vocabulary_size, settings.least_count)
        elif isinstance(earlier, ExportedClassifier):  # the rows of its embedding are these tokens'
            vocabulary = earlier.vocabulary
        else:
            vocabulary = Vocabulary.load(earlier.path / _VOCABULARY)
        with atomic_path(path) as scratch:
            vocabulary.save(scratch)
    return Vocabulary.load(path)


@functools.lru_cache(2)
def _order_of_pass(size: int, seed: int, number: int) -> np.ndarray:
    return np.random.default_rng((seed, number)).permutation(size)


def _pretrain(
    encoder: BidirectionalEncoder, ids: list[np.ndarray], run: RunFolder, settings: Settings, workers: Workers = ALONE
) -> None:
    """Pre-train the encoder as two language models on whole texts, each from its beginning as a classifier reads it."""
    model = BidirectionalLanguageModel(encoder, settings.samples, seed=settings.seed)
    model.build((None, None))
    held_out = [text for index, text in enumerate(ids) if index % 100 == 0]
    training = [text for index, text in enumerate(ids) if index % 100]

    def some_batches(texts: list[np.ndarray], *seed: int) -> Any:
        return batches.bucketed_batches(
            texts, [0] * len(texts), settings.tokens_per_batch, settings.longest_training_text, (settings.seed, *seed)
        )

    def epoch_batches(epoch: int) -> Any:
        """Pass after pass over the texts, as many texts an epoch as make up the passes asked for."""
        share = len(training) * settings.pretraining_passes / settings.pretraining_epochs
        texts: list[np.ndarray] = []
        for place in range(round((epoch - 1) * share), max(round(epoch * share), round((epoch - 1) * share) + 1)):
            number, offset = divmod(place, len(training))
            texts.append(training[_order_of_pass(len(training), settings.seed, number)[offset]])
        return some_batches(texts, epoch)

    steps = int(epoch_batches(1).cardinality())
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
            PRETRAINING,
            settings.pretraining_epochs,
            epoch_batches,
            some_batches(held_out, 0),
            monitor="val_loss",
            row_weights=lambda ids, _: guesses(ids),
        ),
        run,
        workers=workers,
    )


def _train_with_labels(
    classifier: SentimentClassifier,
    training: EncodedTexts,
    validation: EncodedTexts,
    vocabulary: Vocabulary,
    run: RunFolder,
    settings: Settings,
    workers: Workers = ALONE,
) -> None:
    is_end = np.isin(vocabulary.tokens, SENTENCE_ENDS)

    def epoch_batches(epoch: int) -> Any:
        rng = np.random.default_rng((settings.seed, epoch, 1))
        ids, labels = list(training.ids), list(training.labels)
        for place in np.flatnonzero(rng.uniform(size=len(ids)) < settings.snippets):
            found = batches.snippet(ids[place], is_end, MOST_SENTENCES, rng)
            if found is not None:
                ids.append(found)
                labels.append(labels[place])
        return batches.bucketed_batches(
            ids, labels, settings.tokens_per_batch, settings.longest_training_text, (settings.seed, epoch)
        )

    steps = int(epoch_batches(1).cardinality()) * settings.epochs  # of which epochs have about as many
    model: keras.Model = classifier
    if settings.adversarial_noise:
        counts = np.bincount(np.concatenate(training.ids), minlength=len(vocabulary))
        counts[PADDING] = 0
        model = AdversarialTraining(classifier, settings.adversarial_noise, counts)
    model.compile(
        adam(
            settings.learning_rate,
            steps,
            final_share=settings.final_rate_share,
            clip_norm=settings.clip_norm,
            averaging=averaging_within(settings.averaging, steps),
            rate_shares={"embedding": settings.embedding_rate_share, "lstm": settings.lstm_rate_share},
        ),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0)],
        jit_compile=False,
    )
    validation_batches = batches.bucketed_batches(
        validation.ids, validation.labels, 4 * settings.tokens_per_batch, 1024, (0,)
    )
    train_stage(
        model,
        Stage(
            TRAINING,
            settings.epochs,
            epoch_batches,
            validation_batches,
            monitor="val_accuracy",
            higher_is_better=True,
            patience=settings.patience,
        ),
        run,
        workers=workers,
    )
