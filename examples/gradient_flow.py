"""Why an LSTM: how much of the gradient comes back to each step, in a plain recurrent network and in LSTMs.

    python examples/gradient_flow.py --json
    python examples/gradient_flow.py --length 50 --length 200 --plot gradient_flow.png
    python examples/gradient_flow.py --updates 0

In the last network the forget gates begin at memories of 1 to as many steps as the sequence has, a different one in
each unit, as in `examples/long_memory.py` (Tallec and Ollivier 2018).

The networks read the adding problem (`examples/long_memory.py`): the loss is told at the last step alone, so whatever a
network is to learn of an earlier step t comes as ∂loss/∂h_t, and in an LSTM as ∂loss/∂c_t too. Their sizes are taken by
differentiating the layers' own cells, step by step, before and after a short training; with `--updates 0` before it
alone, which is quick.

What explodes instead, and what clipping the gradient's norm does about it, is shown on a plain network whose recurrent
kernel was made larger (Pascanu, Mikolov and Bengio 2013, "On the difficulty of training recurrent neural networks").
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from cyclopts import Parameter

from nlp_lstm import cli, notices
from nlp_lstm.settings import check_ranges

keras = cli.LazyModule("keras")
lstm = cli.LazyModule("nlp_lstm.lstm")
tf = cli.LazyModule("tensorflow")

app = cli.App(name="gradient_flow", help=__doc__, version_flags=[])

SPREAD = "LSTM, forget bias spread"
NETWORKS: dict[str, float | None] = {
    "plain RNN": None,
    "LSTM, forget bias 0": 0.0,
    "LSTM, forget bias 1": 1.0,
    "LSTM, forget bias 3": 3.0,
    SPREAD: 0.0,
}
"""From a network's name to the bias of its forget gates, which `SPREAD` draws; None for `keras.layers.SimpleRNN`."""
WHEN = ("before", "after")
SMALL = 1e-3
"""A gradient that is so much smaller than at the last step is called gone."""


@dataclass(frozen=True)
class Settings:
    """What is measured."""

    length: Annotated[tuple[int, ...], Parameter(help="Steps; give it again for other lengths.")] = (50, 200, 1000)
    units: Annotated[int, Parameter(help="Units of each network.")] = 32
    updates: Annotated[int, Parameter(help="Of the training between the two measurements; 0: none.")] = 500
    batch_size: Annotated[int, Parameter(help="Sequences an update, and of a measurement.")] = 16
    learning_rate: Annotated[float, Parameter(help="Adam's.")] = 0.01
    gain: Annotated[float, Parameter(help="What the recurrent kernel is multiplied by, to explode.")] = 2.0
    descent_rate: Annotated[float, Parameter(help="The rate of the plain descent that explodes.")] = 0.05
    clip_norm: Annotated[float, Parameter(help="The largest norm of a gradient that is clipped.")] = 1.0
    seed: Annotated[int, Parameter(help="Of weights and sequences.")] = 0

    def __post_init__(self) -> None:
        check_ranges(
            self,
            [
                ("length", lambda lengths: lengths and min(lengths) >= 4, "lengths of at least 4"),
                ("units batch_size", lambda value: value >= 1, "at least 1"),
                ("updates", lambda value: value >= 0, "0 or more"),
                ("learning_rate gain descent_rate clip_norm", lambda value: value > 0, "more than 0"),
            ],
        )


def draw_adding(rng: np.random.Generator, rows: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers and marks `(rows, length, 2)`, one in either half, and the sum of the two marked numbers `(rows, 1)`."""
    numbers, marks = rng.random((rows, length)), np.zeros((rows, length))
    marks[np.arange(rows), rng.integers(0, length // 2, rows)] = 1
    marks[np.arange(rows), rng.integers(length // 2, length, rows)] = 1
    inputs = np.stack([numbers, marks], axis=-1).astype("float32")  # (B, T, 2)
    return inputs, np.sum(numbers * marks, axis=1, keepdims=True).astype("float32")


def build(network: str, units: int, length: int, seed: int) -> Any:
    """One recurrent layer, and a linear one upon its last state, for sequences of so many steps."""
    keras.utils.set_random_seed(seed)
    bias = NETWORKS[network]
    layer = keras.layers.SimpleRNN(units, name="recurrent") if bias is None else lstm.LSTM(units, name="recurrent")
    model = keras.Sequential([keras.Input((None, 2)), layer, keras.layers.Dense(1)])
    if bias is not None:
        biases = np.zeros((4, units))  # i, f, c, o
        biases[1] = bias
        if network == SPREAD:
            biases[1] = np.log(np.random.default_rng(seed).uniform(1, length - 1, units))
            biases[0] = -biases[1]  # a unit that is to keep lets in little
        layer.cell.bias.assign(biases.reshape(-1))
    return model


def gradient_sizes(model: Any, inputs: np.ndarray, targets: np.ndarray) -> dict[str, np.ndarray]:
    """The size of the loss's derivative by the states at each step, the mean over the sequences.

    Args:
        model: as of `build`.
        inputs: `(batch, time, features)`.
        targets: `(batch, 1)`.

    Returns:
        `hidden` `(time,)`, of ∂loss/∂h_t, and of an LSTM `cell` `(time,)`, of ∂loss/∂c_t, with what it does by way of
        h_t. A sequence's loss is the square of its error.
    """
    layer, head = model.get_layer("recurrent"), model.layers[-1]
    state = [tf.zeros((len(inputs), layer.units))] * (2 if isinstance(layer, lstm.LSTM) else 1)
    hidden, cell = [], []
    with tf.GradientTape() as tape:
        tape.watch(state)
        for step in range(inputs.shape[1]):
            if isinstance(layer, lstm.LSTM):
                gates = layer.cell.step(inputs[:, step], *state)
                state = [gates.hidden, gates.cell]
                cell.append(gates.cell)
            else:
                _, state = layer.cell(inputs[:, step], state)
            hidden.append(state[0])
        loss = tf.reduce_sum((head(state[0]) - targets) ** 2)  # of all sequences, each of which has states of its own
    by_hidden, by_cell = tape.gradient(loss, (hidden, cell))
    sizes = {"hidden": by_hidden, **({"cell": by_cell} if by_cell else {})}
    return {name: np.array([np.mean(np.linalg.norm(part, axis=-1)) for part in parts]) for name, parts in sizes.items()}


def steps_back(sizes: np.ndarray) -> int:
    """How many steps before the last one the gradient is first below `SMALL` of the last; all, where it never is.

    >>> steps_back(np.array([1e-6, 1e-5, 1e-4, 0.1, 1.0]))
    2
    """
    gone = np.flatnonzero(sizes < SMALL * sizes[-1])
    return len(sizes) - 1 - int(gone[-1]) if len(gone) else len(sizes)


def measure(settings: Settings, network: str, length: int) -> dict[str, Any]:
    """A network's gradient before and after a training, and its error after it."""
    model = build(network, settings.units, length, settings.seed)
    seen = draw_adding(np.random.default_rng([settings.seed, 1]), settings.batch_size, length)
    sizes = {"before": gradient_sizes(model, *seen)}
    if not settings.updates:
        return {"network": network, "length": length, **_told(sizes)}
    optimizer = keras.optimizers.Adam(settings.learning_rate, global_clipnorm=settings.clip_norm)
    model.compile(optimizer, "mse", jit_compile=NETWORKS[network] is None)
    rng = np.random.default_rng([settings.seed, 2])
    for _ in range(settings.updates):
        model.train_on_batch(*draw_adding(rng, settings.batch_size, length))
    unseen = draw_adding(np.random.default_rng([settings.seed, 3]), 500, length)
    # Called and not `predict`: each network would be traced for one batch.
    error = float(np.mean((model(unseen[0]).numpy() - unseen[1]) ** 2))
    notices.tell(f"{network}, {length} steps: mean squared error {error:.4f} after {settings.updates} updates")
    sizes["after"] = gradient_sizes(model, *seen)
    return {"network": network, "length": length, "mse": error, **_told(sizes)}


def _told(sizes: dict[str, dict[str, np.ndarray]]) -> dict[str, Any]:
    """What is told of the sizes before and after training."""
    return {
        when: {
            **{f"{name}_sizes": part.tolist() for name, part in by_state.items()},
            **{f"{name}_first_to_last": ratio(part) for name, part in by_state.items()},
            "steps_back": max(map(steps_back, by_state.values())),
        }
        for when, by_state in sizes.items()
    }


def ratio(sizes: np.ndarray) -> float:
    """The size at the first step by that at the last."""
    return float(sizes[0] / max(sizes[-1], 1e-38))


def explode(settings: Settings, clipped: bool, length: int = 50) -> dict[str, Any]:
    """Plain descent of a plain network with a larger recurrent kernel: the gradient's norms and the losses."""
    model = build("plain RNN", settings.units, length, settings.seed)
    kernel = model.get_layer("recurrent").cell.recurrent_kernel
    kernel.assign(settings.gain * kernel)
    seen = draw_adding(np.random.default_rng([settings.seed, 1]), settings.batch_size, length)
    first_to_last = ratio(gradient_sizes(model, *seen)["hidden"])

    @tf.function(jit_compile=True)
    def gradient(inputs: Any, targets: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(inputs, training=True) - targets) ** 2)
        gradients = tape.gradient(loss, [weight.value for weight in model.trainable_variables])
        return loss, gradients, tf.linalg.global_norm(gradients)

    rng = np.random.default_rng([settings.seed, 2])
    losses, norms = [], []
    for _ in range(settings.updates):
        loss, gradients, norm = gradient(*map(tf.constant, draw_adding(rng, settings.batch_size, length)))
        losses.append(float(loss))
        norms.append(float(norm))
        share = min(1.0, settings.clip_norm / max(norms[-1], 1e-38)) if clipped else 1.0
        for weight, part in zip(model.trainable_variables, gradients, strict=True):
            weight.assign_sub(settings.descent_rate * share * part)
    quarter = max(1, settings.updates // 4)
    return {
        "clipped": clipped,
        "length": length,
        "first_to_last": first_to_last,
        "norms": norms,
        "losses": losses,
        "median_norm": float(np.median(norms)),
        "largest_norm": float(np.max(norms)),
        "largest_loss": float(np.max(losses)),
        "last_quarter_loss": float(np.mean(losses[-quarter:])),
    }


def draw_picture(rows: list[dict[str, Any]], exploded: list[dict[str, Any]], path: Path) -> None:
    """The sizes over the steps, a panel for each length and time, and the norms that explode."""
    from nlp_lstm.pictures.line_panels import Line, Panel, draw_panels

    panels = []
    for length in dict.fromkeys(row["length"] for row in rows):
        for when in WHEN[: len(WHEN) if exploded else 1]:
            lines = []
            for color, row in enumerate(one for one in rows if one["length"] == length):
                for dash, name in enumerate(("hidden", "cell")):
                    sizes = np.array(row[when].get(f"{name}_sizes", []))
                    if len(sizes) and (name == "hidden" or row["network"] in ("LSTM, forget bias 3", SPREAD)):
                        label = row["network"] + (", ∂c" if name == "cell" else "")
                        # The first panel's names are those of all.
                        at = np.arange(1, length + 1)
                        lines.append(Line("" if panels else label, at, sizes / sizes[-1], color, dash))
            title = f"{length} steps, {when} training: ∂loss/∂h_t by that at the end"
            panels.append(Panel(title, "step t", "", lines, y_log=True, y_limits=(1e-12, 1e3)))
    updates = np.arange(1, len(exploded[0]["norms"]) + 1) if exploded else []
    names = ["clipped" if one["clipped"] else "not clipped" for one in exploded]
    for key, label in (("norms", "norm of the gradient"), ("losses", "loss")) if exploded else ():
        lines = [
            Line(name, updates, one[key], color) for color, (name, one) in enumerate(zip(names, exploded, strict=True))
        ]
        panels.append(Panel(f"a plain network that explodes: {label}", "update", label, lines, y_log=True))
    draw_panels(panels, path, columns=1, width=5.2)


def print_report(rows: list[dict[str, Any]], exploded: list[dict[str, Any]]) -> None:
    from rich.table import Table

    from nlp_lstm.pictures.tables import print_whole

    table = Table(title="the gradient at the first step by that at the last", title_justify="left", header_style="bold")
    for name in ("steps", "network", "∂h before", "∂c before", "∂h after", "∂c after", "steps back", "error after"):
        table.add_column(name, justify="left" if name == "network" else "right")
    for row in rows:
        parts = [
            f"{row[when][f'{name}_first_to_last']:.1e}" if f"{name}_first_to_last" in row.get(when, {}) else ""
            for when in WHEN
            for name in ("hidden", "cell")
        ]
        table.add_row(
            str(row["length"]),
            row["network"],
            *parts,
            ", ".join(str(row[when]["steps_back"]) for when in WHEN if when in row),
            f"{row['mse']:.4f}" if "mse" in row else "",
        )
    print_whole(table)
    print(f"steps back: until the gradient is below {SMALL:g} of that at the last step, before and after training")
    for one in exploded:
        print(
            f"a recurrent kernel made larger, {'clipped' if one['clipped'] else 'not clipped'}: first to last "
            f"{one['first_to_last']:.1e}; norm {one['median_norm']:.3g} in the middle, {one['largest_norm']:.3g} at "
            f"the most; loss {one['largest_loss']:.3g} at the most, {one['last_quarter_loss']:.3g} in the last quarter"
        )


@app.default
def run(
    *,
    settings: Annotated[Settings, Parameter(name="*")] = Settings(),
    plot: Annotated[Path | None, Parameter(help="Draw it into this PNG.")] = None,
    json: cli.Json = False,
) -> None:
    """Measure, train, measure again."""
    cli.check_suffix("--plot", plot, ".png")
    rows = [measure(settings, network, length) for length in settings.length for network in NETWORKS]
    exploded = [explode(settings, clipped) for clipped in (False, True)] if settings.updates else []
    if plot is not None:
        draw_picture(rows, exploded, plot)
    if json:
        cli.print_json({"rows": rows, "exploded": [_finite(one) for one in exploded]})
    else:
        print_report(rows, exploded)


def _finite(figures: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinities: what is no finite number is null."""

    def finite(value: Any) -> Any:
        return value if not isinstance(value, float) or np.isfinite(value) else None

    return {key: [*map(finite, value)] if isinstance(value, list) else finite(value) for key, value in figures.items()}


if __name__ == "__main__":
    sys.exit(cli.run(app))
