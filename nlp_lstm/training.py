"""Training in stages of epochs, each epoch a pure function of the state before it, recorded in a run folder.

A run folder holds `config.json`, `metrics.jsonl` (a line an epoch), `curves.png`, TensorBoard events, and under
`checkpoints/` the state after the last epoch (to go on from) and the best weights (to use). A run that was killed and
is started again with the same command goes on after its last whole epoch and ends where it would have ended.
"""

import contextlib
import dataclasses
import math
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from nlp_lstm import saved_model
from nlp_lstm.errors import UserError
from nlp_lstm.notices import tell
from nlp_lstm.pictures.curves import draw_curves
from nlp_lstm.process_setup import keep_freed_memory
from nlp_lstm.run_folder import RunFolder
from nlp_lstm.weights_file import save_weights
from nlp_lstm.workers import ALONE, RowWeights, Workers


def is_exported(path: Path) -> bool:
    """Whether what training builds on is a SavedModel, or a folder of versions of one, and no training run.

    >>> is_exported(Path("saved_models/sentiment"))
    True
    """
    if RunFolder(path).config_path.exists():
        return False
    try:
        saved_model.resolve(path)
    except UserError:
        return False
    return True


def tell_of_exported(path: Path) -> None:
    """Tell on standard error that an exported model, which training builds on, may have seen the validation data."""
    tell(
        f"the model at '{path}' does not tell which texts it was trained on: what it has seen of this run's validation "
        "data flatters the figures on them"
    )


@dataclasses.dataclass(frozen=True)
class Stage:
    """A part of training with one objective.

    Args:
        name: names its checkpoints and its lines in `metrics.jsonl`.
        epochs: how many at the most.
        batches: the training batches of an epoch, the same at each call: a `tf.data.Dataset` of known cardinality.
        validation: what Keras's `fit` takes as `validation_data`.
        monitor: the metric that chooses the best epoch, such as `val_loss`.
        higher_is_better: whether more of it is better.
        patience: stop after so many epochs without a better one.
        learning_rate: from the lines of the epochs before, the rate of the next; by default the optimizer's own.
        callbacks: more of Keras's callbacks, without a memory of earlier epochs.
        figures: what else to find out about the model after an epoch, with the weights that would be kept.
        row_weights: how much each row of a batch counts in its loss, for several workers, whose shares of a batch
            those weights are; by default all alike, as for a mean over rows.
    """

    name: str
    epochs: int
    batches: Callable[[int], Any]
    validation: Any
    monitor: str
    higher_is_better: bool = False
    patience: int = 1_000_000
    learning_rate: Callable[[list[dict[str, Any]]], float] | None = None
    callbacks: Sequence[keras.callbacks.Callback] = ()
    figures: Callable[[], dict[str, float]] = dict
    row_weights: RowWeights | None = None

    def score(self, row: dict[str, Any]) -> float:
        return row[self.monitor] if self.higher_is_better else -row[self.monitor]


def reseed(model: keras.Model, epoch: int, worker: int = 0) -> None:
    """Put every seed generator of the model where an epoch starts, whatever was drawn before.

    Several workers draw other masks each, since their rows are others. What a model's own `seed_generator` draws is for
    a whole batch, and the same on all.

    Args:
        model: what is trained.
        epoch: from 1.
        worker: which of several workers this is.
    """
    for_all = getattr(getattr(model, "seed_generator", None), "state", None)
    for variable in model.variables:
        if "seed_generator" in variable.path:
            first, _ = keras.ops.convert_to_numpy(variable)
            place = 0 if variable is for_all else worker
            variable.assign([int(first), (epoch << 20) + place * _BETWEEN_WORKERS])


# Far more than what is drawn in training, even in what is left of a multiple of it below 2**31, which Keras takes.
_BETWEEN_WORKERS = 1_000_003_037


class _NanGuard(keras.callbacks.Callback):
    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        _refuse_nan((logs or {}).get("loss", 0.0), "loss", f"batch {batch + 1}")


def _refuse_nan(value: float, name: str, where: str) -> None:
    if not math.isfinite(value):
        raise UserError(
            f"the {name} became {value} at {where}: the last good checkpoint is kept (in a first epoch there is none); "
            "start again in a new folder with a lower --learning-rate"
        )


class _Progress(keras.callbacks.ProgbarLogger):
    """Keras's progress bar, on standard error, counting the stage's epochs where each `fit` knows of one alone."""

    def __init__(self, stage: Stage):
        super().__init__()
        self.stage = stage

    def set_params(self, params: dict[str, Any] | None) -> None:
        verbose = 1 if sys.stderr.isatty() else 2
        super().set_params({**(params or {}), "epochs": self.stage.epochs, "verbose": verbose})

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        with contextlib.redirect_stdout(sys.stderr):
            print(f"{self.stage.name}: ", end="")
            super().on_epoch_begin(epoch, logs)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        with contextlib.redirect_stdout(sys.stderr):
            super().on_train_batch_end(batch, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        with contextlib.redirect_stdout(sys.stderr):
            super().on_epoch_end(epoch, logs)


class _AveragedWeights(keras.callbacks.SwapEMAWeights):
    """Validate the averaged weights, and keep those to go on from: `fit` ends with the average in place."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_epoch_end(epoch, logs)
        self.unaveraged = [keras.ops.copy(weight) for weight in self.model.trainable_weights]

    def restore(self) -> None:
        for weight, value in zip(self.model.trainable_weights, self.unaveraged, strict=True):
            weight.assign(value)


@keras.saving.register_keras_serializable("nlp_lstm")
class LayerwiseAdam(keras.optimizers.Adam):
    """Adam with smaller rates for some weights (discriminative fine-tuning: Howard and Ruder 2018, section 3.2).

    >>> optimizer = LayerwiseAdam(0.1, rate_shares={"embedding": 0.1})
    >>> variable = keras.Variable([1.0], name="embedding")
    >>> optimizer.apply([np.ones(1)], [variable])
    >>> round(float(variable.numpy()[0]), 3)
    0.99

    Args:
        learning_rate: and all others, as of `keras.optimizers.Adam`.
        rate_shares: from a part of a variable's path to its share of the rate; the first that fits counts.
    """

    def __init__(self, learning_rate: Any, rate_shares: dict[str, float], **kwargs: Any):
        super().__init__(learning_rate, **kwargs)
        self.rate_shares = rate_shares

    def build(self, variables: Any) -> None:
        super().build(variables)
        self._shares = [
            next((share for part, share in self.rate_shares.items() if part in variable.path), 1.0)
            for variable in variables
        ]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        # TensorFlow hands its own variable, which has no path.
        super().update_step(gradient, variable, learning_rate * self._shares[self._get_variable_index(variable)])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate_shares": self.rate_shares}


def adam(
    learning_rate: float,
    steps: int,
    *,
    final_share: float,
    clip_norm: float,
    averaging: float = 0.0,
    weight_decay: float = 0.0,
    rate_shares: dict[str, float] | None = None,
) -> keras.optimizers.Optimizer:
    """Adam with a rate that rises for a twentieth of all steps and falls along a cosine.

    >>> optimizer = adam(0.1, steps=100, final_share=0.05, clip_norm=1.0)
    >>> [round(float(optimizer._learning_rate(step)), 3) for step in (0, 5, 100)]
    [0.0, 0.1, 0.005]

    Args:
        learning_rate: the highest rate.
        steps: of the whole stage; 0 for a rate that stays.
        final_share: the rate ends at this share of the highest.
        clip_norm: largest norm of the gradient.
        averaging: decay of an exponential average of the weights, which is what is validated and kept; 0 for none.
        weight_decay: at each step every weight loses this times the rate of itself, whatever the gradient says
            (Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization").
        rate_shares: as of `LayerwiseAdam`.
    """
    schedule: Any = learning_rate
    if steps:
        schedule = keras.optimizers.schedules.CosineDecay(
            0.0,
            max(1, steps - steps // 20),
            alpha=final_share,
            warmup_target=learning_rate,
            warmup_steps=max(1, steps // 20),
        )
    return LayerwiseAdam(
        schedule,
        rate_shares or {},
        global_clipnorm=clip_norm,
        use_ema=averaging > 0,
        ema_momentum=averaging or None,
        weight_decay=weight_decay or None,
    )


def averaging_within(decay: float, steps: int) -> float:
    """The decay of an average of weights that spans no more than a fifth of a stage, however short it is.

    >>> averaging_within(0.999, steps=100_000), averaging_within(0.999, steps=50), averaging_within(0.999, steps=3)
    (0.999, 0.9, 0.0)

    Args:
        decay: what is asked for; an average of decay `d` spans about `1 / (1 - d)` steps.
        steps: of the whole stage.
    """
    return min(decay, max(0.0, 1.0 - 5.0 / steps))


def rate_by_plateau(
    learning_rate: float, monitor: str, higher_is_better: bool = False
) -> Callable[[list[dict[str, Any]]], float]:
    """A stage's `learning_rate` that is halved after each epoch that is no better than the best before it.

    >>> rate = rate_by_plateau(0.1, "val_loss")
    >>> rate([]), rate([{"val_loss": 2.0}, {"val_loss": 1.5}, {"val_loss": 1.5}])
    (0.1, 0.05)

    Args:
        learning_rate: the rate of the first epoch.
        monitor: the metric that tells which epoch is better.
        higher_is_better: whether more of it is.
    """

    def rate(rows: list[dict[str, Any]]) -> float:
        best, halvings = -math.inf, 0
        for row in rows:
            score = row[monitor] if higher_is_better else -row[monitor]
            halvings += score <= best
            best = max(best, score)
        return learning_rate * 0.5**halvings

    return rate


def mean_of_outputs(_: Any, losses: Any) -> Any:
    """The loss of a model whose outputs are its losses.

    >>> float(mean_of_outputs(None, np.array([1.0, 2.0])))
    1.5
    """
    return keras.ops.mean(losses)


def epoch_dataset(batches: tf.data.Dataset, number: int) -> tf.data.Dataset:
    """A dataset of so many batches as `train_stage` wants that of an epoch.

    >>> len(epoch_dataset(tf.data.Dataset.from_tensors([1.0]).repeat(3), 3))
    3
    """
    return untuned(batches.apply(tf.data.experimental.assert_cardinality(number)).prefetch(2))


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """A dataset whose reading does not tune itself, so that there is no wait at its end.

    In TensorFlow 2.21 the thread that tunes does not hear, one time in four, that it is to end. Everything then waits,
    Python's lock held, until that thread looks up the next time, which it does at ever longer periods: after as long as
    was read before, and at the most a minute.

    >>> untuned(tf.data.Dataset.range(3)).options().autotune.enabled
    False
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def train_stage(
    model: keras.Model, stage: Stage, run: RunFolder, verbose: bool = True, workers: Workers = ALONE
) -> None:
    """Train a compiled model through a stage, from wherever the run stands, and leave it with its best weights.

    Args:
        model: compiled, and not yet distributed.
        stage: what to train it on, and for how long.
        run: takes checkpoints and metrics; of several workers the chief's alone is read and written.
        verbose: whether to tell how far an epoch is.
        workers: which train together.

    Raises:
        UserError: when the loss, or another metric, is no longer finite.
    """
    keep_freed_memory()
    workers.distribute(model)
    if workers.is_chief:
        run.checkpoints.mkdir(parents=True, exist_ok=True)
    done = workers.from_chief(lambda: _last_checkpoint(run, stage))
    metrics = workers.from_chief(run.metrics)
    others = [row for row in metrics if row["stage"] != stage.name]
    rows = [row for row in metrics if row["stage"] == stage.name and row["epoch"] <= done]
    if done or workers.number > 1:
        model.optimizer.build(model.trainable_variables)
    if done and workers.is_chief:
        model.load_weights(_checkpoint(run, stage, done))
        _remove_checkpoints_before(run, stage, done)  # the run may have been stopped just before it did so itself
        print(f"{stage.name}: going on after epoch {done} of {stage.epochs}", file=sys.stderr)
    validation = workers.own_rows(stage.validation, stage.row_weights)
    for epoch in range(done + 1, stage.epochs + 1):
        best = max(rows, key=stage.score, default=None)
        if best is not None and epoch - 1 - best["epoch"] >= stage.patience:
            break
        # At each epoch, so that machines which round in different ways do not drift apart.
        workers.take_from_chief([*model.weights, *model.optimizer.variables])
        reseed(model, epoch, workers.place)
        if stage.learning_rate is not None:
            model.optimizer.learning_rate = stage.learning_rate(rows)
        averaged = [_AveragedWeights()] if model.optimizer.use_ema else []
        started, cpu_started = time.perf_counter(), time.process_time()
        history = model.fit(
            workers.own_rows(stage.batches(epoch), stage.row_weights),
            validation_data=validation,
            initial_epoch=epoch - 1,
            epochs=epoch,
            shuffle=False,  # the batches come shuffled
            verbose=0,
            callbacks=[
                _NanGuard(),
                *stage.callbacks,
                *averaged,
                *([_Progress(stage)] if verbose and workers.is_chief else []),
            ],
        ).history
        row: dict[str, Any] = {
            "stage": stage.name,
            "epoch": epoch,
            **{key: float(values[-1]) for key, values in history.items()},
        }
        row |= workers.from_chief(stage.figures)  # `fit` ends with the average in place
        for key in row.keys() - {"stage"}:  # the last batch's step can spoil the weights after its loss was taken
            _refuse_nan(row[key], key, f"the end of epoch {epoch}")
        row["seconds"] = round(time.perf_counter() - started, 2)
        row["cpu_seconds"] = round(time.process_time() - cpu_started, 2)
        if workers.is_chief and (best is None or stage.score(row) > stage.score(best)):
            save_weights(model, run.best_weights(stage.name))
        for callback in averaged:
            callback.restore()
        rows.append(row)
        if not workers.is_chief:
            continue
        run.write_metrics([*others, *rows])
        write_events(run, row)
        draw_curves(run.metrics(), run.path / "curves.png")
        # Last of all: until this file stands, a new start repeats the epoch.
        save_weights(model, _checkpoint(run, stage, epoch))
        _remove_checkpoints_before(run, stage, epoch)
    if workers.is_chief:
        model.load_weights(run.best_weights(stage.name))
    workers.take_from_chief(model.weights)


def _checkpoint(run: RunFolder, stage: Stage, epoch: int) -> Path:
    return run.checkpoints / f"{stage.name}-{epoch:04d}.weights.h5"


def _checkpoints(run: RunFolder, stage: Stage) -> dict[int, Path]:
    """Those that are there, by epoch."""
    names = {path: re.fullmatch(rf"{stage.name}-(\d+)\.weights\.h5", path.name) for path in run.checkpoints.iterdir()}
    return {int(name[1]): path for path, name in names.items() if name}


def _last_checkpoint(run: RunFolder, stage: Stage) -> int:
    return max(_checkpoints(run, stage), default=0)


def _remove_checkpoints_before(run: RunFolder, stage: Stage, epoch: int) -> None:
    for other, path in _checkpoints(run, stage).items():
        if other < epoch:
            path.unlink(missing_ok=True)


def write_events(run: RunFolder, row: dict[str, Any]) -> None:
    """Add an epoch's figures to the run's TensorBoard events."""
    import tensorflow as tf  # here, since training itself needs Keras alone

    writer = tf.summary.create_file_writer(str(run.path / "tensorboard" / row["stage"]))
    with writer.as_default(step=row["epoch"]):
        for key, value in row.items():
            if isinstance(value, float):
                tf.summary.scalar(key, value)
    writer.close()
