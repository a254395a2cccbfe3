"""Long memory: adding, copying and recalling over hundreds of steps, by the suite's LSTM and a plain recurrent network.

    python examples/long_memory.py train --task adding --length 750 --json
    python examples/long_memory.py train --task adding --length 200 --seeds 3 --plot adding.png

The tasks, each with its figure where nothing is remembered (the baseline):

- adding (Hochreiter and Schmidhuber 1997): a sequence of numbers between 0 and 1, two of which are marked, one in
  either half. At the end: their sum. Whoever always says 1 has a mean squared error of 1/6.
- copy (Arjovsky, Shah and Bengio 2016): ten symbols of eight, then as many blanks as the length says, then a sign upon
  which they are to be told in order. Blanks first and symbols at random: 10 ln 8 / (length + 20) nats a step.
- recall: a symbol of eight, then random ones of the same eight. At the end: the first. At random: ln 8 nats.

What makes an LSTM remember for long is where its forget gates begin. `--forget-bias spread` begins them for memories of
1 to `length` steps, a different one in each unit, and the input gates at the opposite bias (Tallec and Ollivier 2018,
"Can recurrent neural networks warp time?"); a number begins all of them there.
"""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from cyclopts import Parameter

from nlp_lstm import cli, notices
from nlp_lstm.errors import UserError
from nlp_lstm.settings import check_ranges

keras = cli.LazyModule("keras")
lstm = cli.LazyModule("nlp_lstm.lstm")

app = cli.App(name="long_memory", help=__doc__, version_flags=[])

COPIED, SYMBOLS = 10, 8
BLANK, SIGN = SYMBOLS, SYMBOLS + 1
JUDGED = 1000
"""Sequences that tell when to stop, and as many others that the figures at the end are of."""
ROWS_AT_ONCE = 250
LOOKED_INTO = 50


class Task(NamedTuple):
    """A task at one length."""

    draw: Callable[[np.random.Generator, int, int], tuple[np.ndarray, np.ndarray]]
    """From a generator, a number of sequences and the length to inputs `(rows, time, features)` and targets."""
    figure: str
    baseline: Callable[[int], float]
    """The figure, at a length, of whoever remembers nothing."""
    until: float
    """Training ends where the figure is below."""
    outputs: int
    at_each_step: bool


def draw_adding(rng: np.random.Generator, rows: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers and marks `(rows, length, 2)`, and the sum of the two marked ones `(rows, 1)`.

    >>> inputs, targets = draw_adding(np.random.default_rng(0), 3, 6)
    >>> bool(np.allclose(targets[:, 0], np.sum(inputs[..., 0] * inputs[..., 1], axis=1)))
    True
    """
    numbers = rng.random((rows, length))
    marks = np.zeros((rows, length))
    marks[np.arange(rows), rng.integers(0, length // 2, rows)] = 1
    marks[np.arange(rows), rng.integers(length // 2, length, rows)] = 1
    inputs = np.stack([numbers, marks], axis=-1).astype("float32")  # (B, T, 2)
    return inputs, np.sum(numbers * marks, axis=1, keepdims=True).astype("float32")


def draw_copy(rng: np.random.Generator, rows: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """One-hot symbols `(rows, length + 20, 10)`, and the symbol to tell at each step `(rows, length + 20)`.

    >>> inputs, targets = draw_copy(np.random.default_rng(0), 3, 5)
    >>> bool(np.all(targets[:, -10:] == np.argmax(inputs[:, :10], axis=-1)))
    True
    """
    symbols = rng.integers(0, SYMBOLS, (rows, COPIED))
    read = np.full((rows, length + 2 * COPIED), BLANK)
    read[:, :COPIED] = symbols
    read[:, COPIED + length - 1] = SIGN
    told = np.full_like(read, BLANK)
    told[:, -COPIED:] = symbols
    return np.eye(SYMBOLS + 2, dtype="float32")[read], told


def draw_recall(rng: np.random.Generator, rows: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """One-hot symbols `(rows, length, 8)`, and the first of them `(rows,)`.

    >>> inputs, targets = draw_recall(np.random.default_rng(0), 3, 5)
    >>> bool(np.all(inputs[np.arange(3), 0, targets] == 1))
    True
    """
    symbols = rng.integers(0, SYMBOLS, (rows, length))
    return np.eye(SYMBOLS, dtype="float32")[symbols], symbols[:, 0]


TASKS = {
    "adding": Task(draw_adding, "mse", lambda length: 1 / 6, 0.002, 1, False),
    "copy": Task(
        draw_copy,
        "cross_entropy",
        lambda length: COPIED * np.log(SYMBOLS) / (length + 2 * COPIED),
        0.0005,
        SYMBOLS + 2,
        True,
    ),
    "recall": Task(draw_recall, "cross_entropy", lambda length: np.log(SYMBOLS), 0.01, SYMBOLS, False),
}


@dataclass(frozen=True)
class Settings:
    """How a network is trained."""

    task: Annotated[Literal["adding", "copy", "recall"], Parameter(help="What is to be remembered.")] = "adding"
    length: Annotated[int, Parameter(help="Steps over which it is to be remembered.")] = 200
    units: Annotated[int, Parameter(help="Units of either network.")] = 32
    forget_bias: Annotated[
        str, Parameter(help="Where the forget gates begin: `spread` over the length, or a number for all of them.")
    ] = "spread"
    learning_rate: Annotated[float, Parameter(help="Adam's rate for the LSTM.")] = 0.01
    rnn_learning_rate: Annotated[float, Parameter(help="Adam's rate for the plain network.")] = 0.001
    clip_norm: Annotated[float, Parameter(help="The largest norm of a gradient.")] = 1.0
    batch_size: Annotated[int, Parameter(help="Sequences an update; each is drawn anew.")] = 32
    updates: Annotated[int, Parameter(help="Updates at the most.")] = 20_000
    judged_every: Annotated[int, Parameter(help="Updates after which it is seen whether the task is solved.")] = 100
    minutes: Annotated[float, Parameter(help="Minutes of each training at the most.")] = 25.0
    seed: Annotated[int, Parameter(help="Of the first training; the next ones have those behind it.")] = 0

    def __post_init__(self) -> None:
        check_ranges(
            self,
            [
                ("length", lambda value: value >= 4, "at least 4"),
                ("units batch_size updates judged_every", lambda value: value >= 1, "at least 1"),
                ("learning_rate rnn_learning_rate clip_norm minutes", lambda value: value > 0, "more than 0"),
            ],
        )
        if self.forget_bias != "spread":
            try:
                float(self.forget_bias)
            except ValueError:
                raise UserError(f"--forget-bias is {self.forget_bias}: expected `spread` or a number") from None


def initial_bias(rng: np.random.Generator, units: int, length: int, forget_bias: str) -> np.ndarray:
    """The bias `(4 * units,)` of an LSTM that is to begin with forget gates at `forget_bias`.

    With `spread`, b_f = ln u with u drawn between 1 and `length` - 1, so that σ(b_f) = u / (1 + u), which keeps a share
    1/e of a state over about 1 + u steps; and b_i = -b_f, so that a unit that is to keep lets in little.
    """
    bias = np.zeros((4, units))  # i, f, c, o
    if forget_bias == "spread":
        bias[1] = np.log(rng.uniform(1, length - 1, units))
        bias[0] = -bias[1]
    else:
        bias[1] = float(forget_bias)
    return bias.reshape(-1)


def build(settings: Settings, cell: str, seed: int) -> Any:
    """A recurrent layer and a linear one upon its states, at each step or at the last, compiled."""
    task = TASKS[settings.task]
    keras.utils.set_random_seed(seed)
    layer_of = {"lstm": lstm.LSTM, "rnn": keras.layers.SimpleRNN}[cell]
    features = task.draw(np.random.default_rng(0), 1, settings.length)[0].shape[1:]
    layer = layer_of(settings.units, return_sequences=task.at_each_step, name="recurrent")
    model = keras.Sequential([keras.Input(features), layer, keras.layers.Dense(task.outputs)])
    if cell == "lstm":
        rng = np.random.default_rng([seed, 1])
        layer.cell.bias.assign(initial_bias(rng, settings.units, settings.length, settings.forget_bias))
    rate = settings.learning_rate if cell == "lstm" else settings.rnn_learning_rate
    loss = "mse" if task.figure == "mse" else keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # The layer has its own loops compiled; Keras's loop of small steps is quick only where all of it is.
    optimizer = keras.optimizers.Adam(rate, global_clipnorm=settings.clip_norm)
    model.compile(optimizer, loss, jit_compile=cell == "rnn")
    return model


def judge(model: Any, task: Task, inputs: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """The task's figure, and of a choice among symbols its accuracy, on the ten that are to be copied."""
    starts = range(0, len(inputs), ROWS_AT_ONCE)
    outputs = np.concatenate([model.predict_on_batch(inputs[start : start + ROWS_AT_ONCE]) for start in starts])
    outputs = outputs.astype("float64")
    if task.figure == "mse":
        return {"mse": float(np.mean((outputs - targets) ** 2))}
    shifted = outputs - np.max(outputs, axis=-1, keepdims=True)
    log_probs = shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True))
    right = np.argmax(outputs, axis=-1) == targets
    return {
        "cross_entropy": float(-np.mean(np.take_along_axis(log_probs, targets[..., None], axis=-1))),
        "accuracy": float(np.mean(right[:, -COPIED:] if task.at_each_step else right)),
    }


class Trained(NamedTuple):
    """A network and how it came about."""

    model: Any
    curve: list[tuple[int, float]]
    """Updates, and the figure on the sequences that tell when to stop."""
    updates: int
    seconds: float
    figures: dict[str, float]
    """On sequences that nothing was chosen by."""
    forget_before: np.ndarray | None
    """The LSTM's mean forget gate of each unit `(units,)` before training."""


def train_one(settings: Settings, cell: str, seed: int, updates: int) -> Trained:
    """Train a network until the task is solved, or for so many updates or minutes."""
    task = TASKS[settings.task]
    model = build(settings, cell, seed)
    chosen_by = task.draw(np.random.default_rng([seed, 2]), JUDGED, settings.length)
    rng = np.random.default_rng([seed, 3])
    forget_before = mean_forget_gate(model, chosen_by[0]) if cell == "lstm" else None
    curve = [(0, judge(model, task, *chosen_by)[task.figure])]
    done, started = 0, time.perf_counter()
    while done < updates and curve[-1][1] >= task.until and time.perf_counter() - started < 60 * settings.minutes:
        for _ in range(min(settings.judged_every, updates - done)):
            model.train_on_batch(*task.draw(rng, settings.batch_size, settings.length))
            done += 1
        curve.append((done, judge(model, task, *chosen_by)[task.figure]))
        notices.tell(f"{cell}, seed {seed}: {done} updates, {task.figure} {curve[-1][1]:.5f}")
    seconds = time.perf_counter() - started
    figures = judge(model, task, *task.draw(np.random.default_rng([seed, 4]), JUDGED, settings.length))
    return Trained(model, curve, done, seconds, figures, forget_before)


def gates_of(model: Any, inputs: np.ndarray) -> Any:
    """Every gate and state `(batch, time, units)` of the model's LSTM on a few sequences, as arrays."""
    gates = model.get_layer("recurrent").gates(inputs[:LOOKED_INTO])
    return type(gates)(*map(np.asarray, gates))


def mean_forget_gate(model: Any, inputs: np.ndarray) -> np.ndarray:
    """Of each unit, over sequences and steps, `(units,)`."""
    return np.mean(gates_of(model, inputs).forget, axis=(0, 1))


def memory(forget: np.ndarray) -> np.ndarray:
    """Steps after which a share 1/e is left of a state that is multiplied by `forget` at each step.

    >>> memory(np.array([0.5, 0.99])).round(1)
    array([ 1.4, 99.5])
    """
    return -1 / np.log(np.clip(forget, 1e-6, 1 - 1e-6))


def carrier(gates: Any, inputs: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """The unit whose cell state at the end goes most with the sum, and what its gates did at marked steps."""
    last, sums = gates.cell[:, -1], targets[: len(gates.cell), 0]
    spread = np.std(last, axis=0) * np.std(sums)
    together = np.mean((last - last.mean(0)) * (sums - sums.mean())[:, None], axis=0)
    correlation = together / np.maximum(spread, 1e-12)
    unit = int(np.argmax(np.abs(correlation)))
    marked = inputs[: len(gates.cell), :, 1] == 1
    return {
        "unit": unit,
        "correlation": float(correlation[unit]),
        **{
            f"{name}_{where}": float(np.mean(getattr(gates, name)[..., unit][steps]))
            for name in ("input", "forget")
            for where, steps in (("marked", marked), ("unmarked", ~marked))
        },
    }


def summary(trained: Trained) -> dict[str, Any]:
    return {**trained.figures, "updates": trained.updates, "seconds": round(trained.seconds, 1)}


def look_inside(settings: Settings, trained: Trained) -> dict[str, Any]:
    """How long the units' memories are, before and after, and which unit carries the sum."""
    task = TASKS[settings.task]
    inputs, targets = task.draw(np.random.default_rng(5), LOOKED_INTO, settings.length)
    gates = gates_of(trained.model, inputs)
    after = memory(np.mean(gates.forget, axis=(0, 1)))
    assert trained.forget_before is not None
    found: dict[str, Any] = {
        "memory_steps": {
            when: {name: round(float(np.quantile(steps, share)), 1) for name, share in QUANTILES.items()}
            for when, steps in (("before", memory(trained.forget_before)), ("after", after))
        }
    }
    if settings.task == "adding":
        found["carrier"] = carrier(gates, inputs, targets)
    return found


QUANTILES = {"tenth": 0.1, "median": 0.5, "ninety": 0.9, "longest": 1.0}


def draw_picture(settings: Settings, lstms: list[Trained], rnn: Trained | None, path: Path) -> None:
    """The curves of training, the units' memories before and after, and the unit that carries the sum."""
    from nlp_lstm.pictures.line_panels import Line, Panel, draw_panels

    task = TASKS[settings.task]
    curves = [
        Line(f"LSTM, seed {settings.seed + number}", *zip(*trained.curve, strict=True), dash=number)
        for number, trained in enumerate(lstms)
    ]
    if rnn is not None:
        curves.append(Line("plain RNN", *zip(*rnn.curve, strict=True), color=1))
    title = f"{settings.task} over {settings.length} steps"
    levels = {"remembers nothing": task.baseline(settings.length)}
    panels = [Panel(title, "updates", task.figure.replace("_", " "), curves, y_log=True, levels=levels)]
    inputs, targets = task.draw(np.random.default_rng(5), LOOKED_INTO, settings.length)
    gates = gates_of(lstms[0].model, inputs)
    ranks = np.arange(1, settings.units + 1)
    after = np.sort(memory(np.mean(gates.forget, axis=(0, 1))))
    memories = [Line("after training", ranks, after)]
    if lstms[0].forget_before is not None:
        memories.insert(0, Line("before", ranks, np.sort(memory(lstms[0].forget_before)), color=-1))
    panels.append(
        Panel(
            "memory of each unit (of its mean forget gate)",
            "units, from the shortest memory to the longest",
            "steps",
            memories,
            y_log=True,
            levels={"the length": settings.length},
        )
    )
    if settings.task == "adding":
        unit = int(carrier(gates, inputs, targets)["unit"])
        steps = np.arange(1, settings.length + 1)
        marked = np.flatnonzero(inputs[0, :, 1])
        panels += [
            Panel(
                f"unit {unit}, one sequence: its gates",
                "step",
                "gate",
                [
                    Line("forget", steps, gates.forget[0, :, unit]),
                    Line("input", steps, gates.input[0, :, unit], color=1),
                    Line("marked", steps[marked[[0, 0, 1]]], [1.06, np.nan, 1.06], color=6, marked=True),
                ],
                y_limits=(-0.05, 1.15),
            ),
            Panel(
                "and its cell state",
                "step",
                "c",
                [Line("", steps, gates.cell[0, :, unit], color=2)],
            ),
        ]
    draw_panels(panels, path, columns=1, width=5.2)


@app.command
def train(
    *,
    settings: Annotated[Settings, Parameter(name="*")] = Settings(),
    seeds: Annotated[int, Parameter(help="Trainings of the LSTM, each with numbers of its own.")] = 1,
    rnn: Annotated[bool, Parameter(help="Train a plain recurrent network beside it, for as many updates.")] = True,
    plot: Annotated[Path | None, Parameter(help="Draw the curves and the gates into this PNG.")] = None,
    json: cli.Json = False,
) -> None:
    """Train both networks and judge them on sequences that they have not seen."""
    cli.check_suffix("--plot", plot, ".png")
    if seeds < 1:
        raise UserError(f"--seeds is {seeds}: expected at least 1")
    task = TASKS[settings.task]
    first = settings.seed
    lstms = [train_one(settings, "lstm", seed, settings.updates) for seed in range(first, first + seeds)]
    plain = train_one(settings, "rnn", first, max(trained.updates for trained in lstms)) if rnn else None
    found = {
        "task": settings.task,
        "length": settings.length,
        "baseline": float(task.baseline(settings.length)),
        **{name: float(np.mean([trained.figures[name] for trained in lstms])) for name in lstms[0].figures},
        "seeds": [summary(trained) for trained in lstms],
        **look_inside(settings, lstms[0]),
        **({} if plain is None else {"rnn": summary(plain)}),
    }
    if plot is not None:
        draw_picture(settings, lstms, plain, plot)
    if json:
        cli.print_json(found)
    else:
        print_report(settings, found)


def print_report(settings: Settings, found: dict[str, Any]) -> None:
    from rich.table import Table

    from nlp_lstm.pictures.tables import print_whole

    figures = [name for name in ("mse", "cross_entropy", "accuracy") if name in found]
    table = Table(title=f"{settings.task} over {settings.length} steps", title_justify="left", header_style="bold")
    for name in ("", *(name.replace("_", " ") for name in figures), "updates", "seconds"):
        table.add_column(name, justify="right" if name else "left")
    rows = [(f"LSTM, seed {seed}", row) for seed, row in enumerate(found["seeds"], start=settings.seed)]
    rows += [("plain RNN", found["rnn"])] if "rnn" in found else []
    for name, row in rows:
        table.add_row(name, *(f"{row[figure]:.5f}" for figure in figures), str(row["updates"]), f"{row['seconds']:.0f}")
    table.add_row("remembers nothing", f"{found['baseline']:.5f}", *[""] * (len(figures) + 1))
    print_whole(table)
    for when, steps in found["memory_steps"].items():
        print(f"memory {when}: " + ", ".join(f"{name} {value:g}" for name, value in steps.items()) + " steps")
    if "carrier" in found:
        unit = found["carrier"]
        print(
            f"unit {unit['unit']} carries the sum (correlation {unit['correlation']:+.3f}): at marked steps its input "
            f"gate is {unit['input_marked']:.3f} and its forget gate {unit['forget_marked']:.3f}, "
            f"at others {unit['input_unmarked']:.3f} and {unit['forget_unmarked']:.3f}"
        )


if __name__ == "__main__":
    # Products of a few rows with a few units are quickest in one thread.
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    sys.exit(cli.run(app))
