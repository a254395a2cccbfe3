"""The search for units: planted ones are found, and the figures are those of NumPy, scikit-learn and the other half."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from nlp_lstm.char_lm.unit_search import Found, search
from nlp_lstm.errors import UserError


def noise(symbols=400, units=50, seed=0):
    rng = np.random.default_rng(seed)
    activity = rng.normal(size=(symbols, units)).astype(np.float32)
    return activity, (rng.random(symbols) < 0.3).astype(float)


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_planted_unit_is_found_with_its_sign(sign):
    activity, target = noise()
    activity[:, 17] = sign * (2 * target - 1) + 0.3 * activity[:, 17]
    found = search(activity, target)
    assert [type(unit) for unit in found] == [Found] * 5
    assert found[0].unit == 17
    assert found[0].correlation * sign > 0.9
    assert (found[0].auc > 0.99) if sign > 0 else (found[0].auc < 0.01)
    assert all(abs(other.correlation) < 0.35 for other in found[1:])


def test_figures_against_numpy_and_scikit_learn():
    activity, target = noise(symbols=401)
    activity[:, 3] = np.round(activity[:, 3])  # ties
    activity = activity + 100  # far from 0, where a careless sum of squares would lose digits
    found = search(activity, target, count=50)
    assert sorted(unit.unit for unit in found) == list(range(50))
    for unit, correlation, first_half, auc in found:
        values = activity[:, unit]
        assert correlation == pytest.approx(np.corrcoef(values[200:], target[200:])[0, 1], abs=1e-6)
        assert first_half == pytest.approx(np.corrcoef(values[:200], target[:200])[0, 1], abs=1e-6)
        assert auc == pytest.approx(roc_auc_score(target[200:], values[200:]))
    strengths = [abs(unit.correlation_first_half) for unit in found]
    assert strengths == sorted(strengths, reverse=True)


def test_the_second_half_takes_no_part_in_the_choice():
    activity, target = noise()
    middle = len(target) // 2
    activity[:middle, 5], activity[middle:, 5] = target[:middle], 1 - target[middle:]  # turns round in the middle
    activity[middle:, 6] = target[middle:]  # follows only in the second half
    first, *others = search(activity, target)
    assert first == Found(5, pytest.approx(-1), pytest.approx(1), 0)
    assert 6 not in [unit.unit for unit in others]
    before = search(activity, target)
    activity[middle:] = np.random.default_rng(1).normal(size=activity[middle:].shape)
    after = search(activity, target)
    assert [unit.unit for unit in before] == [unit.unit for unit in after]
    assert [unit.correlation for unit in before] != [unit.correlation for unit in after]


def test_a_find_of_chance_is_seen_to_be_one():
    """The best of 2000 units of noise look good on the half they were chosen by, and no better than noise after it."""
    found = search(*noise(symbols=400, units=2000), count=10)
    assert min(abs(unit.correlation_first_half) for unit in found) > 0.18
    assert np.mean([abs(unit.correlation) for unit in found]) < 0.12


def test_a_property_of_many_values_has_no_area_under_the_curve():
    activity, _ = noise()
    target = np.arange(400) % 7.0
    activity[:, 2] = -target
    assert search(activity, target, 1) == [Found(2, pytest.approx(-1), pytest.approx(-1), None)]
    assert search(activity, target == 3)[0].auc is not None


@pytest.mark.parametrize("value", [0, 0.1, 1e-30, -7.3])
def test_units_that_never_change(value):
    activity, target = noise(units=3)
    activity[:, 1] = value
    found = search(activity, target)
    assert [unit.unit for unit in found][-1] == 1
    assert found[-1] == Found(1, 0, 0, 0.5)
    assert search(np.full((400, 2), value), target) == [Found(0, 0, 0, 0.5), Found(1, 0, 0, 0.5)]


def test_a_unit_that_changes_in_one_half_only():
    activity, target = noise(units=1)
    activity[200:] = 0.1
    (found,) = search(activity, target)
    assert found.correlation == 0
    assert found.correlation_first_half != 0


@pytest.mark.parametrize(
    ("symbols", "part", "value", "message"),
    [
        (400, slice(None), 0, "first half of the text never has the property: name another text or another property"),
        (400, slice(200, None), 0, "second half of the text never has the property"),
        (400, slice(0, 200), 1, "first half of the text has the property at 1 everywhere"),
        (3, slice(None), 0, "first half of the text has 1 symbols: give a longer text"),
        (0, slice(None), 0, "first half of the text has 0 symbols"),
    ],
)
def test_a_property_that_never_changes(symbols, part, value, message):
    activity, target = noise(symbols)
    target[part] = value
    with pytest.raises(UserError, match=message):
        search(activity, target)


def test_mistakes():
    activity, target = noise()
    with pytest.raises(ValueError, match=r"\(400, 50\) and target \(399,\)"):
        search(activity, target[1:])
    with pytest.raises(ValueError, match=r"activity \(400,\)"):
        search(target, target)
    with pytest.raises(UserError, match="0 units: ask for at least 1"):
        search(activity, target, 0)
    activity[3, 4] = np.nan
    with pytest.raises(UserError, match="not finite"):
        search(activity, target)
