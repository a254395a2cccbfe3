"""The character language model: the settings of a run, and training from running text to a run folder."""

import dataclasses
import math
import sys
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from nlp_lstm.batches import Streams
from nlp_lstm.datasets.corpus import load_corpus
from nlp_lstm.errors import UserError
from nlp_lstm.files import atomic_path
from nlp_lstm.models.language_model import CarriedStateTraining, LanguageModel
from nlp_lstm.settings import Range, check_ranges
from nlp_lstm.symbols import Symbols, Unit
from nlp_lstm.training import RunFolder, Stage, adam, load_finished, mean_of_outputs, train_stage

TASK = "char_lm"


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a character language model is built and trained; each is a flag of `train`.

    Raises:
        UserError: if a value is out of its range.
    """

    seed: int = 0
    "Settles the weights, where the windows lie and every dropout mask."
    unit: Unit = "character"
    "What the model reads and writes: Unicode characters, or bytes, of which none is ever unknown."
    line_mode: bool = False
    "The text is a set of lines: white space at their ends is dropped, as for PTB."
    validation_fraction: float = 0.1
    "Share of the text, its end, that chooses the best epoch, where the source has no validation part of its own."
    least_count: int = 1
    "A character seen fewer times in training text is unknown."
    start_from: str = ""
    "Folder of a finished run whose weights to begin with; by default they are drawn."
    embedding_size: int = 128
    "Width of the character embedding."
    units: int = 512
    "Width of each LSTM."
    layers: int = 2
    "Number of LSTMs on top of one another."
    input_dropout: float = 0.1
    "Rate at which embedding features are dropped."
    hidden_dropout: float = 0.4
    "Rate at which features between two LSTMs are dropped."
    output_dropout: float = 0.4
    "Rate at which features of the last LSTM are dropped."
    recurrent_dropout: float = 0.0
    "Rate at which features of the hidden state are dropped between steps."
    recurrent_kernel_dropout: float = 0.4
    "Rate at which recurrent weights are dropped (DropConnect)."
    zoneout_hidden: float = 0.0
    "Rate at which features of the hidden state stay what they were at a step."
    zoneout_cell: float = 0.0
    "Rate at which features of the cell state stay what they were at a step."
    layer_normalization: bool = False
    "Normalise the products and the cell state of each LSTM."
    epochs: int = 25
    "Passes over the text, at the most."
    patience: int = 5
    "Stop after so many epochs without a lower validation loss."
    batch_size: int = 32
    "Streams of text that are read side by side."
    window: int = 128
    "Characters through which the gradient flows back, about: windows vary by a quarter."
    learning_rate: float = 0.003
    "Adam's highest rate."
    schedule: Literal["cosine", "plateau"] = "cosine"
    "How the rate falls: along a cosine, or by half after each epoch that is no better than the best."
    final_rate_share: float = 0.01
    "The cosine ends at this share of the highest rate."
    clip_norm: float = 1.0
    "Largest norm of the gradient."
    averaging: float = 0.998
    "Decay of the average of the weights, which is what is judged and kept; 0 for none."
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    "Of the matrix products of a whole window, in training: bfloat16 is faster where the processor has it."

    def __post_init__(self):
        check_ranges(self, _RANGES)


_RANGES: list[Range] = [
    ("seed", lambda value: 0 <= value < 2**31, "0 to 2147483647"),
    (
        "least_count embedding_size units layers epochs patience batch_size window",
        lambda value: value >= 1,
        "at least 1",
    ),
    ("validation_fraction", lambda value: 0 < value < 1, "above 0 and less than 1"),
    (
        "input_dropout hidden_dropout output_dropout recurrent_dropout recurrent_kernel_dropout zoneout_hidden "
        "zoneout_cell averaging",
        lambda value: 0 <= value < 1,
        "at least 0 and less than 1",
    ),
    ("learning_rate clip_norm", lambda value: 0 < value < math.inf, "a finite number above 0"),
    ("final_rate_share", lambda value: 0 <= value <= 1, "0 to 1"),
]


def build_model(settings: Settings, number_of_symbols: int, lstm_dtype: str | None = None) -> LanguageModel:
    """The language model that the settings describe, its weights drawn."""
    model = LanguageModel(
        number_of_symbols,
        settings.embedding_size,
        settings.units,
        settings.layers,
        input_dropout=settings.input_dropout,
        hidden_dropout=settings.hidden_dropout,
        output_dropout=settings.output_dropout,
        recurrent_dropout=settings.recurrent_dropout,
        recurrent_kernel_dropout=settings.recurrent_kernel_dropout,
        zoneout_hidden=settings.zoneout_hidden,
        zoneout_cell=settings.zoneout_cell,
        layer_normalization=settings.layer_normalization,
        seed=settings.seed,
        lstm_dtype=lstm_dtype,
    )
    model.build((None, None))
    return model


def train(source: str, run: RunFolder, settings: Settings) -> None:
    """Train on a source and leave the best model in the run folder; goes on where an earlier call was stopped."""
    keras.utils.set_random_seed(settings.seed)
    texts = load_corpus(
        source,
        ["train", "validation"],
        line_mode=settings.line_mode,
        validation_fraction=settings.validation_fraction,
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
    earlier = _earlier_weights(settings, symbols) if settings.start_from else None
    # Only now, so that a source that cannot be read leaves no run folder behind.
    run.start({"task": TASK, "data": source, **dataclasses.asdict(settings)})
    if run.model_weights.exists():
        print(f"the run in '{run.path}' is finished", file=sys.stderr)
        return
    with atomic_path(run.path / "symbols.json") as path:
        symbols.save(path)
    model = build_model(settings, len(symbols), settings.precision)
    if earlier is not None:
        for weight, value in zip(model.trainable_weights, earlier, strict=True):
            weight.assign(value)
    print(
        f"{len(ids['train'])} {settings.unit}s to train on, {len(ids['validation'])} for validation; "
        f"{len(symbols)} symbols, {model.count_params()} weights",
        file=sys.stderr,
    )
    _train(model, ids["train"], ids["validation"], run, settings)
    with atomic_path(run.model_weights) as path:
        model.save_weights(path)


def _earlier_weights(settings: Settings, symbols: Symbols) -> list[Any]:
    earlier, known, _ = load_run(RunFolder(Path(settings.start_from)))
    expected = [weight.shape for weight in build_model(settings, len(symbols)).trainable_weights]
    weights = [keras.ops.convert_to_numpy(weight) for weight in earlier.trainable_weights]
    if known.spelling != symbols.spelling or [weight.shape for weight in weights] != expected:
        raise UserError(
            f"the run in '{settings.start_from}' has other symbols or sizes: start from a run on the same data with "
            "the same --unit, --embedding-size, --units and --layers"
        )
    return weights


class _FromTheBeginning(keras.callbacks.Callback):
    """Forget the state before each pass over a text."""

    def on_epoch_begin(self, epoch, logs=None):
        self.model.reset()

    def on_test_begin(self, logs=None):
        self.model.reset()


def _train(model: LanguageModel, training: np.ndarray, validation: np.ndarray, run: RunFolder, settings: Settings):
    size = settings.batch_size
    trained = CarriedStateTraining(model, size)

    def streams(epoch):
        return Streams(training, size, settings.window, (settings.seed, epoch))

    by_cosine = settings.schedule == "cosine"
    steps = sum(len(streams(epoch)) for epoch in range(1, settings.epochs + 1)) if by_cosine else 0
    optimizer = adam(
        settings.learning_rate,
        steps,
        final_share=settings.final_rate_share,
        clip_norm=settings.clip_norm,
        averaging=settings.averaging,
    )
    trained.build((size, None))
    trained.compile(optimizer, loss=mean_of_outputs, jit_compile=False)

    def rate_by_plateau(rows: list[dict[str, Any]]) -> float:
        best, halvings = math.inf, 0
        for row in rows:
            halvings += row["val_loss"] >= best
            best = min(best, row["val_loss"])
        return settings.learning_rate * 0.5**halvings

    train_stage(
        trained,
        Stage(
            "training",
            settings.epochs,
            lambda epoch: streams(epoch).dataset(),
            Streams(validation, size, settings.window, None).dataset(),
            monitor="val_loss",
            patience=settings.patience,
            learning_rate=None if by_cosine else rate_by_plateau,
            callbacks=[_FromTheBeginning()],
        ),
        run,
    )


def load_run(run: RunFolder) -> tuple[LanguageModel, Symbols, Settings]:
    """The trained model of a run, as it is shipped, with its symbols and settings.

    Raises:
        UserError: if the folder holds no finished training run of a character language model.
    """

    def load(config):
        settings = Settings(**{field.name: config[field.name] for field in dataclasses.fields(Settings)})
        symbols = Symbols.load(run.path / "symbols.json")
        model = build_model(settings, len(symbols))
        model.load_weights(run.model_weights)
        return model, symbols, settings

    return load_finished(run, TASK, "a character language model", load)
