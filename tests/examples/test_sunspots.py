"""Forecasts know nothing of what they forecast, and are judged rightly."""

import functools

import command_line
import matplotlib.image
import numpy as np
import pytest

pytest.importorskip("statsmodels", reason="the numbers and the autoregression are statsmodels's")

from examples import sunspots

call = functools.partial(command_line.call, sunspots.app)
SMALL = sunspots.Settings(judged_from=1985, refit_every=9, units=2, updates=2, members=1)


def test_the_numbers_are_those_of_1700_to_2008():
    numbers = sunspots.load_sunspots()
    assert len(numbers) == 309
    assert numbers[1957 - sunspots.FIRST_YEAR] == pytest.approx(190.2)  # the highest of all
    assert numbers.max() == numbers[1957 - sunspots.FIRST_YEAR]


def test_the_autoregression_is_the_recursion_of_its_coefficients():
    numbers = sunspots.load_sunspots()
    known, past = numbers[:250], numbers[:270]
    forecaster = sunspots.AutoregressiveForecaster(known)
    roots, (constant, *weights) = np.sqrt(known), forecaster._fitted.params
    rows = np.stack([roots[place - 9 : place][::-1] for place in range(9, len(roots))])
    expected = np.linalg.lstsq(np.column_stack([np.ones(len(rows)), rows]), roots[9:], rcond=None)[0]
    np.testing.assert_allclose([constant, *weights], expected, rtol=1e-6)
    ahead = list(np.sqrt(past))
    for _ in range(sunspots.CYCLE):
        ahead.append(constant + np.dot(weights, ahead[: -len(weights) - 1 : -1]))
    forecast = forecaster.forecast(past)
    np.testing.assert_allclose(forecast[:, 1], np.array(ahead[-11:]) ** 2, rtol=1e-6)
    assert np.all(np.diff(forecast, axis=1) >= 0)


def test_a_forecast_knows_nothing_of_later_years():
    numbers = sunspots.load_sunspots()
    changed = numbers.copy()
    changed[1990 - sunspots.FIRST_YEAR :] = 7.0
    known, unknown = sunspots.roll(numbers, SMALL), sunspots.roll(changed, SMALL)
    for name, forecasts in known.items():
        again = unknown[name]
        for origin in range(1985, 1991):
            np.testing.assert_array_equal(forecasts[origin - 1985], again[origin - 1985], err_msg=f"{name} {origin}")
        assert not np.array_equal(forecasts[6], again[6])


def test_errors_and_coverage_by_a_loop():
    numbers = sunspots.load_sunspots()
    rng = np.random.default_rng(0)
    quantiles = np.sort(rng.uniform(0, 150, (309 - 285 - 10, 11, 3)), axis=-1)
    judged = sunspots.judge(numbers, {"LSTM": quantiles, "persistence": quantiles[..., 0]}, SMALL)
    misses, covered, fifth = [], [], []
    for number, origin in enumerate(range(1985, 1999)):
        for ahead in range(11):
            low, middle, high = quantiles[number, ahead]
            truth = numbers[origin + ahead - sunspots.FIRST_YEAR]
            misses.append(middle - truth)
            covered.append(low <= truth <= high)
            if ahead == 4:
                fifth.append(abs(middle - truth))
    row = judged["LSTM"]
    assert row["mae"] == pytest.approx(np.mean(np.abs(misses)))
    assert row["rmse"] == pytest.approx(np.sqrt(np.mean(np.square(misses))))
    assert row["mae_5"] == pytest.approx(np.mean(fifth))
    assert row["coverage"] == pytest.approx(np.mean(covered))
    assert "coverage" not in judged["persistence"]


def test_the_example_as_it_is_called(tmp_path):
    plot = tmp_path / "sunspots.png"
    flags = ["--judged-from", "1985", "--units", "2", "--updates", "2", "--members", "1"]
    found = call(*flags, "--plot", plot, "--json").object
    assert set(found["models"]) == {"persistence", "seasonal naive", "autoregression", "LSTM"}
    assert found["origins"] == 14
    assert matplotlib.image.imread(plot).shape[0] > 600


def test_a_mistake_is_one_line():
    assert call("--judged-from", "2005").is_mistake("--judged-from is 2005")
    assert call("--plot", "a.gif").is_mistake("--plot")
