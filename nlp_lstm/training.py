"""Training in stages of epochs, each epoch a pure function of the state before it, recorded in a run folder.

A run folder holds `config.json`, `metrics.jsonl` (a line an epoch), `curves.png`, TensorBoard events, and under
`checkpoints/` the state after the last epoch (to go on from) and the best weights (to use). A run that was killed and
is started again with the same command goes on after its last whole epoch and ends where it would have ended.
"""

import contextlib
import dataclasses
import json
import math
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras

from nlp_lstm.errors import UserError
from nlp_lstm.files import atomic_path, told_if_unwritable


class RunFolder:
    """Where a training run keeps what it needs to go on, to be judged and to be used."""

    def __init__(self, path: Path):
        self.path = Path(path)
        self.config_path = self.path / "config.json"
        self.metrics_path = self.path / "metrics.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.model_weights = self.path / "model.weights.h5"  # written last: a run that holds it is finished

    def best_weights(self, stage: str) -> Path:
        return self.checkpoints / f"{stage}-best.weights.h5"

    def start(self, config: dict[str, Any]) -> None:
        """Make the folder and keep the settings; refuse a folder that holds a run with others."""
        try:
            if not self.config_path.exists():
                # Hidden names are what a kill left of a start before this one.
                if self.path.exists() and not (
                    self.path.is_dir() and all(path.name.startswith(".") for path in self.path.iterdir())
                ):
                    raise UserError(f"'{self.path}' is there already and is no run: name a new folder with --run")
                with atomic_path(self.config_path) as path:
                    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise UserError(
                f"cannot write the run folder '{self.path}' ({error.strerror}): name another with --run"
            ) from None
        found = self.config()
        changed = sorted(key for key in {*found, *config} if found.get(key) != config.get(key))
        if changed:
            raise UserError(
                f"the run in '{self.path}' was started with other settings ({', '.join(changed)}): "
                "repeat its settings, or name a new folder with --run"
            )

    def config(self) -> dict[str, Any]:
        """The settings the run was started with."""
        try:
            found = json.loads(self.config_path.read_text(encoding="utf-8"))
            if not isinstance(found, dict):
                raise ValueError("no JSON object")
            return found
        except (OSError, ValueError):
            raise UserError(f"'{self.path}' is no training run: it holds no readable config.json") from None

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`; a line that a kill cut short is left out."""
        if not self.metrics_path.exists():
            return []
        lines = self.metrics_path.read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in lines[:-1]]

    def write_metrics(self, rows: list[dict[str, Any]]) -> None:
        with atomic_path(self.metrics_path) as path:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def keep_evaluation(self, result: dict[str, Any]) -> None:
        """Keep figures of a split, where the model card of an export finds them."""
        path = self.path / f"evaluation-{result['split']}.json"
        with told_if_unwritable("--run", self.path), atomic_path(path) as scratch:
            scratch.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")

    def evaluations(self) -> list[dict[str, Any]]:
        """The figures that were kept, by the name of their split."""
        return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(self.path.glob("evaluation-*.json"))]


def load_finished(run: RunFolder, task: str, model_name: str, load: Callable[[dict[str, Any]], Any]) -> Any:
    """What `load` makes of a finished run's settings and files.

    >>> load_finished(run, "sentiment", "a sentiment classifier", load)

    Raises:
        UserError: if the folder holds no run, one of another task or not finished, or what `load` cannot read.
    """
    config = run.config()
    if config.get("task") != task:
        raise UserError(f"'{run.path}' is no run of {model_name}: name one with --run")
    if not run.model_weights.exists():
        raise UserError(f"the run in '{run.path}' is not finished: start its train command again to go on with it")
    try:
        return load(config)
    except Exception as error:  # Keras and h5py raise half a dozen kinds for a damaged file
        reason = (str(error).strip().splitlines() or [""])[0]
        raise UserError(
            f"the run in '{run.path}' is damaged or from another version ({type(error).__name__}: {reason}): "
            "train again in a new folder"
        ) from None


def as_started(run: Path | None, defaults: Any, **given: Any) -> dict[str, Any]:
    """Settings of a verb that looks at a run: as given, else as the run was started with, else the defaults.

    >>> as_started(Path("runs/imdb"), Settings(), seed=None, validation_fraction=0.2)
    {'seed': 7, 'validation_fraction': 0.2}

    So a run whose validation data was cut off in a way of its own is judged on what it was not trained on.

    Args:
        run: the run's folder; None for none, such as where an exported model is looked at.
        defaults: the app's settings, a dataclass instance.
        given: settings by name, None for what was not given.

    Raises:
        UserError: if the folder holds no run.
    """
    config = {**dataclasses.asdict(defaults), **(RunFolder(run).config() if run else {})}
    return {name: config[name] if value is None else value for name, value in given.items()}


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

    def score(self, row: dict[str, Any]) -> float:
        return row[self.monitor] if self.higher_is_better else -row[self.monitor]


def reseed(model: keras.Model, epoch: int) -> None:
    """Put every seed generator of the model where an epoch starts, whatever was drawn before."""
    for variable in model.variables:
        if "seed_generator" in variable.path:
            first, _ = keras.ops.convert_to_numpy(variable)
            variable.assign([int(first), epoch << 20])


class _NanGuard(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
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

    def set_params(self, params):
        verbose = 1 if sys.stderr.isatty() else 2
        super().set_params({**(params or {}), "epochs": self.stage.epochs, "verbose": verbose})

    def on_epoch_begin(self, epoch, logs=None):
        with contextlib.redirect_stdout(sys.stderr):
            print(f"{self.stage.name}: ", end="")
            super().on_epoch_begin(epoch, logs)

    def on_train_batch_end(self, batch, logs=None):
        with contextlib.redirect_stdout(sys.stderr):
            super().on_train_batch_end(batch, logs)

    def on_epoch_end(self, epoch, logs=None):
        with contextlib.redirect_stdout(sys.stderr):
            super().on_epoch_end(epoch, logs)


class _AveragedWeights(keras.callbacks.SwapEMAWeights):
    """Validate the averaged weights, and keep those to go on from: `fit` ends with the average in place."""

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        self.unaveraged = [keras.ops.copy(weight) for weight in self.model.trainable_weights]

    def restore(self):
        for weight, value in zip(self.model.trainable_weights, self.unaveraged, strict=True):
            weight.assign(value)


def adam(
    learning_rate: float, steps: int, *, final_share: float, clip_norm: float, averaging: float = 0.0
) -> keras.optimizers.Optimizer:
    """Adam with a rate that rises for a twentieth of all steps and falls along a cosine.

    Args:
        learning_rate: the highest rate.
        steps: of the whole stage; 0 for a rate that stays.
        final_share: the rate ends at this share of the highest.
        clip_norm: largest norm of the gradient.
        averaging: decay of an exponential average of the weights, which is what is validated and kept; 0 for none.
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
    return keras.optimizers.Adam(
        schedule, global_clipnorm=clip_norm, use_ema=averaging > 0, ema_momentum=averaging or None
    )


def mean_of_outputs(_, losses):
    """The loss of a model whose outputs are its losses."""
    return keras.ops.mean(losses)


def train_stage(model: keras.Model, stage: Stage, run: RunFolder, verbose: bool = True) -> None:
    """Train a compiled model through a stage, from wherever the run stands, and leave it with its best weights.

    Raises:
        UserError: when the loss, or another metric, is no longer finite.
    """
    run.checkpoints.mkdir(parents=True, exist_ok=True)
    done = _last_checkpoint(run, stage)
    others = [row for row in run.metrics() if row["stage"] != stage.name]
    rows = [row for row in run.metrics() if row["stage"] == stage.name and row["epoch"] <= done]
    if done:
        model.optimizer.build(model.trainable_variables)
        model.load_weights(_checkpoint(run, stage, done))
        print(f"{stage.name}: going on after epoch {done} of {stage.epochs}", file=sys.stderr)
    for epoch in range(done + 1, stage.epochs + 1):
        best = max(rows, key=stage.score, default=None)
        if best is not None and epoch - 1 - best["epoch"] >= stage.patience:
            break
        reseed(model, epoch)
        if stage.learning_rate is not None:
            model.optimizer.learning_rate = stage.learning_rate(rows)
        averaged = [_AveragedWeights()] if model.optimizer.use_ema else []
        started, cpu_started = time.perf_counter(), time.process_time()
        history = model.fit(
            stage.batches(epoch),
            validation_data=stage.validation,
            initial_epoch=epoch - 1,
            epochs=epoch,
            shuffle=False,  # the batches come shuffled
            verbose=0,
            callbacks=[_NanGuard(), *stage.callbacks, *averaged, *([_Progress(stage)] if verbose else [])],
        ).history
        row: dict[str, Any] = {
            "stage": stage.name,
            "epoch": epoch,
            **{key: float(values[-1]) for key, values in history.items()},
        }
        row |= stage.figures()  # `fit` ends with the average in place
        for key in row.keys() - {"stage"}:  # the last batch's step can spoil the weights after its loss was taken
            _refuse_nan(row[key], key, f"the end of epoch {epoch}")
        row["seconds"] = round(time.perf_counter() - started, 2)
        row["cpu_seconds"] = round(time.process_time() - cpu_started, 2)
        if best is None or stage.score(row) > stage.score(best):
            with atomic_path(run.best_weights(stage.name)) as path:
                model.save_weights(path)
        for callback in averaged:
            callback.restore()
        rows.append(row)
        run.write_metrics([*others, *rows])
        # Last of all: until this file stands, a new start repeats the epoch.
        with atomic_path(_checkpoint(run, stage, epoch)) as path:
            model.save_weights(path)
        if epoch > 1:
            _checkpoint(run, stage, epoch - 1).unlink(missing_ok=True)
        write_events(run, row)
        draw_curves(run)
    model.load_weights(run.best_weights(stage.name))


def _checkpoint(run: RunFolder, stage: Stage, epoch: int) -> Path:
    return run.checkpoints / f"{stage.name}-{epoch:04d}.weights.h5"


def _last_checkpoint(run: RunFolder, stage: Stage) -> int:
    names = (re.fullmatch(rf"{stage.name}-(\d+)\.weights\.h5", path.name) for path in run.checkpoints.iterdir())
    return max((int(name[1]) for name in names if name), default=0)


def write_events(run: RunFolder, row: dict[str, Any]) -> None:
    """Add an epoch's figures to the run's TensorBoard events."""
    import tensorflow as tf  # here, since training itself needs Keras alone

    writer = tf.summary.create_file_writer(str(run.path / "tensorboard" / row["stage"]))
    with writer.as_default(step=row["epoch"]):
        for key, value in row.items():
            if isinstance(value, float):
                tf.summary.scalar(key, value)
    writer.close()


def draw_curves(run: RunFolder) -> None:
    """Draw every metric of the run, training and validation in one plot, into `curves.png`."""
    from matplotlib.figure import Figure

    rows = run.metrics()
    plots = sorted({(row["stage"], key.removeprefix("val_")) for row in rows for key in row if key.startswith("val_")})
    figure = Figure(figsize=(4.5 * max(1, len(plots)), 3.5), layout="constrained")
    for index, (stage, metric) in enumerate(plots):
        axes = figure.add_subplot(1, len(plots), index + 1, title=f"{stage}: {metric}", xlabel="epoch")
        for key, label in ((metric, "training"), (f"val_{metric}", "validation")):
            points = [(row["epoch"], row[key]) for row in rows if row["stage"] == stage and key in row]
            axes.plot(*zip(*points, strict=True), marker="o", label=label)
        axes.grid(alpha=0.3)
        axes.legend()
    with atomic_path(run.path / "curves.png") as path:
        figure.savefig(path, dpi=120)
