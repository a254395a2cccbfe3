"""Another sequence: yearly sunspot numbers, forecast by the suite's LSTM and by what one would use instead.

    python examples/sunspots.py
    python examples/sunspots.py --plot sunspots.png --json

The numbers of 1700 to 2008 come with statsmodels (from the National Geophysical Data Center, in the public domain);
`pip install ".[examples]"` brings it.

Rolling origin: from each year of the judged ones on, the next eleven years, about one cycle, are forecast from the
years before alone. All models are fitted anew every `--refit-every` years, on what was known then. Beside the LSTM
stand persistence (the last year again), the seasonal-naive forecast (what was eleven years before) and an
autoregression of order nine (Yule 1927 began with these very numbers; the order is Akaike's for the years before the
judged ones).

The LSTM and the autoregression see square roots, whose spread is the same at any height. The LSTM tells three quantiles
of each of the next years (pinball loss: Koenker and Bassett 1978); several of them are averaged.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from cyclopts import Parameter

from nlp_lstm import cli, notices
from nlp_lstm.errors import UserError
from nlp_lstm.settings import check_ranges

keras = cli.LazyModule("keras")
lstm = cli.LazyModule("nlp_lstm.lstm")

app = cli.App(name="sunspots", help=__doc__, version_flags=[])

FIRST_YEAR = 1700
CYCLE = 11
HORIZONS = np.arange(1, CYCLE + 1)
QUANTILES = (0.1, 0.5, 0.9)
AUTOREGRESSIVE_ORDER = 9
TOLD_HORIZONS = (1, 5, 11)
FIRST_DRAWN = 1950


@dataclass(frozen=True)
class Settings:
    """How the LSTM is trained, and what is judged."""

    judged_from: Annotated[int, Parameter(help="The first year that is forecast.")] = 1920
    refit_every: Annotated[int, Parameter(help="Years after which all models are fitted anew.")] = 27
    units: Annotated[int, Parameter(help="Units of each LSTM.")] = 16
    window: Annotated[int, Parameter(help="Years that the LSTM reads.")] = 33
    updates: Annotated[int, Parameter(help="Updates, each on all windows of the years that are known.")] = 400
    learning_rate: Annotated[float, Parameter(help="Adam's, which falls along a cosine.")] = 0.005
    members: Annotated[int, Parameter(help="LSTMs that are averaged.")] = 3
    seed: Annotated[int, Parameter(help="Of the first of them.")] = 0

    def __post_init__(self) -> None:
        check_ranges(
            self,
            [
                ("judged_from", lambda value: 1800 <= value <= 1990, "1800 to 1990"),
                ("refit_every units updates members", lambda value: value >= 1, "at least 1"),
                ("window", lambda value: CYCLE <= value <= 66, "11 to 66"),
                ("learning_rate", lambda value: value > 0, "more than 0"),
            ],
        )


def load_sunspots() -> np.ndarray:
    """The yearly numbers `(309,)` of 1700 to 2008.

    Raises:
        UserError: where statsmodels is not installed.
    """
    try:
        from statsmodels.datasets import sunspots
    except ModuleNotFoundError:
        raise UserError(
            'statsmodels, which has the numbers, is not installed: pip install "nlp_lstm[examples]"'
        ) from None
    return sunspots.load_pandas().data["SUNACTIVITY"].to_numpy("float64")


def windows_of(roots: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """All windows `(windows, window, 1)` and the eleven values behind each `(windows, 11)`.

    >>> inputs, targets = windows_of(np.arange(30.0), 12)
    >>> inputs[0, -1].tolist(), targets[0].tolist()[:2], inputs.shape
    ([11.0], [12.0, 13.0], (8, 12, 1))
    """
    ends = np.arange(window, len(roots) - CYCLE + 1)
    inputs = np.stack([roots[end - window : end] for end in ends])[..., None]  # (B, T, 1)
    return inputs, np.stack([roots[end : end + CYCLE] for end in ends])


def pinball(targets: Any, quantiles: Any) -> Any:
    """The loss whose least mean is at the quantiles: targets `(batch, 11)`, quantiles `(batch, 33)`, three a year.

    >>> float(pinball(np.zeros((1, 11)), np.ones((1, 33)))), float(pinball(np.ones((1, 11)), np.zeros((1, 33))))
    (0.5, 0.5)
    """
    ops = keras.ops
    told = ops.reshape(quantiles, (-1, CYCLE, len(QUANTILES)))
    miss = ops.expand_dims(ops.cast(targets, told.dtype), -1) - told
    levels = ops.convert_to_tensor(QUANTILES, dtype=told.dtype)
    return ops.mean(ops.maximum(levels * miss, (levels - 1) * miss))


class LstmForecaster:
    """LSTMs fitted to the years that are known, each with weights of its own to begin with."""

    def __init__(self, known: np.ndarray, settings: Settings):
        roots = np.sqrt(known)
        self._window = settings.window
        self._mean, self._spread = roots.mean(), roots.std()
        inputs, targets = windows_of((roots - self._mean) / self._spread, settings.window)
        self._models = []
        for member in range(settings.members):
            keras.utils.set_random_seed(settings.seed + member)
            model = keras.Sequential(
                [
                    keras.Input((settings.window, 1)),
                    lstm.LSTM(settings.units),
                    keras.layers.Dense(CYCLE * len(QUANTILES)),
                ]
            )
            rate = keras.optimizers.schedules.CosineDecay(settings.learning_rate, settings.updates)
            # The layer has its loops compiled; the rest is not worth the compiler's time.
            model.compile(keras.optimizers.Adam(rate, global_clipnorm=1.0), pinball, jit_compile=False)
            for _ in range(settings.updates):
                model.train_on_batch(inputs, targets)
            self._models.append(model)

    def forecast(self, past: np.ndarray) -> np.ndarray:
        """The quantiles `(11, 3)` of the next eleven years."""
        window = ((np.sqrt(past[-self._window :]) - self._mean) / self._spread)[None, :, None].astype("float32")
        told = np.mean([model.predict_on_batch(window)[0] for model in self._models], axis=0)
        roots = np.sort(told.reshape(CYCLE, len(QUANTILES)), axis=-1) * self._spread + self._mean
        return np.maximum(roots, 0) ** 2  # a quantile of the root, squared, is the number's


class AutoregressiveForecaster:
    """An autoregression of the square roots."""

    def __init__(self, known: np.ndarray):
        from statsmodels.tsa.ar_model import AutoReg

        self._fitted = AutoReg(np.sqrt(known), AUTOREGRESSIVE_ORDER).fit()

    def forecast(self, past: np.ndarray) -> np.ndarray:
        """The quantiles `(11, 3)` of the next eleven years."""
        told = self._fitted.apply(np.sqrt(past)).get_prediction(len(past), len(past) + CYCLE - 1)
        low, high = np.asarray(told.conf_int(alpha=2 * QUANTILES[0])).T
        return np.maximum(np.stack([low, np.asarray(told.predicted_mean), high], axis=-1), 0) ** 2


def persistence(past: np.ndarray) -> np.ndarray:
    """The last year again, `(11,)`."""
    return np.full(CYCLE, past[-1])


def seasonal_naive(past: np.ndarray) -> np.ndarray:
    """What was eleven years before, `(11,)`.

    >>> seasonal_naive(np.arange(20.0))[[0, -1]]
    array([ 9., 19.])
    """
    return past[-CYCLE:].copy()


def roll(numbers: np.ndarray, settings: Settings) -> dict[str, np.ndarray]:
    """Forecasts from each origin, `(origins, 11)` or, with quantiles, `(origins, 11, 3)`."""
    first = settings.judged_from - FIRST_YEAR
    found: dict[str, list[np.ndarray]] = {"persistence": [], "seasonal naive": [], "autoregression": [], "LSTM": []}
    for origin in range(first, len(numbers) - CYCLE + 1):
        past = numbers[:origin]
        if (origin - first) % settings.refit_every == 0:
            notices.tell(f"fitting on the years to {FIRST_YEAR + origin - 1}")
            network, autoregression = LstmForecaster(past, settings), AutoregressiveForecaster(past)
        found["persistence"].append(persistence(past))
        found["seasonal naive"].append(seasonal_naive(past))
        found["autoregression"].append(autoregression.forecast(past))
        found["LSTM"].append(network.forecast(past))
    return {name: np.stack(forecasts) for name, forecasts in found.items()}


def judge(numbers: np.ndarray, forecasts: dict[str, np.ndarray], settings: Settings) -> dict[str, dict[str, Any]]:
    """Of each model the mean absolute error at a few horizons and over all, and how much its interval covers."""
    first = settings.judged_from - FIRST_YEAR
    origins = np.arange(first, len(numbers) - CYCLE + 1)
    truth = numbers[origins[:, None] + HORIZONS - 1]  # (origins, 11)
    judged = {}
    for name, forecast in forecasts.items():
        middle = forecast[..., 1] if forecast.ndim == 3 else forecast
        errors = np.abs(middle - truth)
        row = {"mae": float(errors.mean()), "rmse": float(np.sqrt(np.mean((middle - truth) ** 2)))}
        row |= {f"mae_{horizon}": float(errors[:, horizon - 1].mean()) for horizon in TOLD_HORIZONS}
        if forecast.ndim == 3:
            covered = (forecast[..., 0] <= truth) & (truth <= forecast[..., 2])
            row["coverage"] = float(covered.mean())
            row["interval_width"] = float(np.mean(forecast[..., 2] - forecast[..., 0]))
        judged[name] = row
    return judged


def draw_picture(
    numbers: np.ndarray, forecasts: dict[str, np.ndarray], judged: dict[str, dict[str, Any]], first: int, path: Path
) -> None:
    """Forecasts of a cycle, one after the other, with their intervals; and the errors over the horizon."""
    from nlp_lstm.pictures.line_panels import Line, Panel, draw_panels

    years = np.arange(FIRST_YEAR, FIRST_YEAR + len(numbers))
    drawn = {}
    for color, name in enumerate(("LSTM", "autoregression")):
        shown = years >= max(FIRST_DRAWN, first)
        lines = [Line("observed", years[shown], numbers[shown], color=6)]
        for origin in range(max(FIRST_DRAWN, first), years[-1] - CYCLE + 2, CYCLE):
            forecast = forecasts[name][origin - first]
            label = f"{name}, with its interval of 80 %" if len(lines) == 1 else ""
            ahead = origin + HORIZONS - 1
            lines.append(
                Line(label, ahead, forecast[:, 1], color, low=forecast[:, 0], high=forecast[:, 2], marked=True)
            )
        drawn[name] = lines
    # One scale for both, with room for the legend.
    highest = max(np.max(line.y if line.high is None else line.high) for lines in drawn.values() for line in lines)
    limits = (0.0, 1.25 * float(highest))
    panels = [
        Panel(f"{name}: eleven years at a time", "year", "sunspot number", lines, y_limits=limits)
        for name, lines in drawn.items()
    ]
    origins = np.arange(first - FIRST_YEAR, len(numbers) - CYCLE + 1)
    truth = numbers[origins[:, None] + HORIZONS - 1]
    lines = []
    for number, (name, forecast) in enumerate(forecasts.items()):
        middle = forecast[..., 1] if forecast.ndim == 3 else forecast
        color = {"LSTM": 0, "autoregression": 1}.get(name, -1)
        lines.append(Line(name, HORIZONS, np.abs(middle - truth).mean(axis=0), color, dash=number % 2))
    panels.append(Panel("mean absolute error by how far ahead", "years ahead", "sunspot number", lines))
    draw_panels(panels, path, columns=1, width=6.5)


def print_report(judged: dict[str, dict[str, Any]], settings: Settings, origins: int) -> None:
    from rich.table import Table

    from nlp_lstm.pictures.tables import print_whole

    title = f"mean absolute errors of {origins} forecasts of eleven years, from {settings.judged_from} on"
    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column("model")
    for name in (
        *(f"{horizon} ahead" for horizon in TOLD_HORIZONS),
        "all",
        "rmse",
        "in the 80 % interval",
        "its width",
    ):
        table.add_column(name, justify="right")
    for name, row in judged.items():
        errors = [f"{row[f'mae_{horizon}']:.1f}" for horizon in TOLD_HORIZONS]
        interval = [f"{100 * row['coverage']:.0f} %", f"{row['interval_width']:.0f}"] if "coverage" in row else ["", ""]
        table.add_row(name, *errors, f"{row['mae']:.1f}", f"{row['rmse']:.1f}", *interval)
    print_whole(table)


@app.default
def run(
    *,
    settings: Annotated[Settings, Parameter(name="*")] = Settings(),
    plot: Annotated[Path | None, Parameter(help="Draw forecasts and errors into this PNG.")] = None,
    json: cli.Json = False,
) -> None:
    """Fit, forecast from each origin, judge."""
    cli.check_suffix("--plot", plot, ".png")
    numbers = load_sunspots()
    forecasts = roll(numbers, settings)
    judged = judge(numbers, forecasts, settings)
    if plot is not None:
        draw_picture(numbers, forecasts, judged, settings.judged_from, plot)
    origins = len(forecasts["LSTM"])
    if json:
        cli.print_json({"judged_from": settings.judged_from, "origins": origins, "models": judged})
    else:
        print_report(judged, settings, origins)


if __name__ == "__main__":
    sys.exit(cli.run(app))
