"""Training a character language model from running text to a run folder."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from nlp_lstm.char_lm.batches import Streams
from nlp_lstm.char_lm.build import build_model, load_run
from nlp_lstm.char_lm.exported import load_exported
from nlp_lstm.char_lm.settings import TASK, Settings
from nlp_lstm.char_lm.teaching import load_teachers, taught_probabilities
from nlp_lstm.datasets.corpus import load_corpus
from nlp_lstm.datasets.known_sets import fingerprint_of_texts
from nlp_lstm.errors import UserError
from nlp_lstm.files import atomic_path
from nlp_lstm.models.language_model import CarriedStateTraining, LanguageModel
from nlp_lstm.notices import tell
from nlp_lstm.processor import tell_if_slower
from nlp_lstm.run_folder import DATA_FINGERPRINT, TRAINING, RunFolder
from nlp_lstm.text.symbols import Symbols
from nlp_lstm.training import (
    Stage,
    adam,
    is_exported,
    mean_of_outputs,
    rate_by_plateau,
    tell_of_exported,
    train_stage,
)
from nlp_lstm.weights_file import save_weights
from nlp_lstm.workers import ALONE, Workers

_SIZES = ("unit", "embedding_size", "units", "layers", "layer_normalization")
"""Settings in which a model is as that which it goes on from."""


def train(
    source: str,
    run: RunFolder,
    settings: Settings,
    workers: Workers = ALONE,
    teacher_runs: Sequence[Path] = (),
) -> None:
    """Train on a source and leave the best model in the run folder; goes on where an earlier call was stopped.

    Args:
        source: of the text.
        run: where to; of several workers the chief's alone.
        settings: how.
        workers: which train together.
        teacher_runs: finished runs on the same text, whose guesses in the mean are learnt, too.
    """
    keras.utils.set_random_seed(settings.seed)
    texts = load_corpus(
        source,
        ["train", "validation"],
        line_mode=settings.line_mode,
        validation_fraction=settings.validation_fraction,
        encoding=settings.encoding,
    )
    symbols = Symbols("byte") if settings.unit == "byte" else Symbols.of_text(texts["train"], settings.least_count)
    ids = {split: symbols.encode(text) for split, text in texts.items()}
    for split, least in (
        ("train", settings.batch_size * max(1, settings.window * 5 // 4)),
        ("validation", settings.batch_size),
    ):
        if len(ids[split]) <= least:
            raise UserError(
                f"'{source}' has {len(ids[split])} {settings.unit}s for {split}, too few for windows of "
                f"{settings.window} with --batch-size {settings.batch_size}: lower them or name a larger source"
            )
    if settings.batch_size < workers.number:
        raise UserError(
            f"--batch-size is {settings.batch_size}: expected at least the number of workers, {workers.number}"
        )
    earlier = _load_earlier(settings, symbols) if settings.start_from and workers.is_chief else None
    teachers = load_teachers(teacher_runs, symbols, len(ids["train"]))
    # Only now, so that a source that cannot be read leaves no run folder behind.
    fingerprint = {DATA_FINGERPRINT: fingerprint_of_texts(texts)}
    config: dict[str, Any] = {"task": TASK, "data": source, **dataclasses.asdict(settings), **fingerprint}
    if teachers:
        config["teacher_run"] = [str(path) for path in teacher_runs]
    workers.agree(config)
    if workers.is_chief:
        run.start(config, Settings())
    if workers.from_chief(run.model_weights.exists):
        print(f"the run in '{run.path}' is finished", file=sys.stderr)
        return
    if workers.is_chief:
        with atomic_path(run.path / "symbols.json") as path:
            symbols.save(path)
        run.keep_teachers(teacher_runs, config)
        if earlier is not None and earlier.exported:
            tell_of_exported(Path(settings.start_from))
        elif earlier is not None:
            run.keep_run_gone_on_from(RunFolder(Path(settings.start_from)), config)
    tell_if_slower(settings.precision)
    model = build_model(settings, len(symbols), settings.precision)
    if earlier is not None:
        model.begin_with(earlier.model, earlier.ids)
        new = int(np.sum(earlier.ids < 0))
        if new:
            tell(f"{new} of the {len(symbols)} symbols are new to '{settings.start_from}'")
    print(
        f"{len(ids['train'])} {settings.unit}s to train on, {len(ids['validation'])} for validation; "
        f"{len(symbols)} symbols, {model.count_params()} weights",
        file=sys.stderr,
    )
    taught = taught_probabilities(teachers, ids["train"], settings.batch_size, settings.window) if teachers else None
    _train(model, ids["train"], ids["validation"], run, settings, taught, workers)
    if workers.is_chief:
        save_weights(model, run.model_weights)


class _Earlier(NamedTuple):
    """What a model goes on from."""

    model: LanguageModel
    ids: np.ndarray
    "`(symbols,)`, which it has for those of this run; -1 for none."
    exported: bool
    "Whether it was no run, but an exported model."


def _load_earlier(settings: Settings, symbols: Symbols) -> _Earlier:
    place = Path(settings.start_from)
    exported = is_exported(place)
    earlier, known, sizes = load_exported(place, settings.embedding_size) if exported else load_run(RunFolder(place))
    changed = [f"{name}: {getattr(sizes, name)}" for name in _SIZES if getattr(sizes, name) != getattr(settings, name)]
    if changed:
        raise UserError(
            f"the {'model at' if exported else 'run in'} '{place}' has other sizes ({', '.join(changed)}): give this "
            "one the same --unit, --embedding-size, --units, --layers and --layer-normalization"
        )
    return _Earlier(earlier, symbols.ids_in(known), exported)


class _FromTheBeginning(keras.callbacks.Callback):
    """Forget the state before each pass over a text."""

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.model.reset()

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.model.reset()


def _train(
    model: LanguageModel,
    training: np.ndarray,
    validation: np.ndarray,
    run: RunFolder,
    settings: Settings,
    taught: np.ndarray | None = None,
    workers: Workers = ALONE,
) -> None:
    size = settings.batch_size
    trained = CarriedStateTraining(model, size, workers.rows(size), settings.teacher_share)

    def streams(epoch: int) -> Streams:
        return Streams(training, size, settings.window, (settings.seed, epoch), taught)

    by_cosine = settings.schedule == "cosine"
    steps = sum(len(streams(epoch)) for epoch in range(1, settings.epochs + 1)) if by_cosine else 0
    optimizer = adam(
        settings.learning_rate,
        steps,
        final_share=settings.final_rate_share,
        clip_norm=settings.clip_norm,
        averaging=settings.averaging,
        weight_decay=settings.weight_decay,
    )
    trained.build((size, None))
    trained.compile(optimizer, loss=mean_of_outputs, jit_compile=False)

    train_stage(
        trained,
        Stage(
            TRAINING,
            settings.epochs,
            lambda epoch: streams(epoch).dataset(),
            Streams(validation, size, settings.window, None).dataset(),
            monitor="val_loss",
            patience=settings.patience,
            learning_rate=None if by_cosine else rate_by_plateau(settings.learning_rate, "val_loss"),
            callbacks=[_FromTheBeginning()],
        ),
        run,
        workers=workers,
    )
