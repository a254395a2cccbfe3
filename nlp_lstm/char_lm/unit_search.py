"""Finding the units of a language model that follow a property of its text."""

from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

from nlp_lstm.errors import UserError


class Found(NamedTuple):
    """A unit, and how well its activity follows the property.

    >>> Found(unit=37, correlation=-0.81, correlation_first_half=-0.84, auc=0.02)
    Found(unit=37, correlation=-0.81, correlation_first_half=-0.84, auc=0.02)
    """

    unit: int
    "Its place among the columns of the activity."
    correlation: float
    "Pearson's, in [-1, 1], on the second half of the text, which took no part in the choice."
    correlation_first_half: float
    "The same on the first half, by which the unit was chosen: flattering, for it is the best of many."
    auc: float | None
    """Chance that the activity is higher at a symbol with the property than at one without, on the second half; below
    0.5 for a unit that falls where the property holds. None for a property with values other than 0 and 1."""


def search(activity: np.ndarray, target: np.ndarray, count: int = 5) -> list[Found]:
    """The units whose activity follows a property of the text best, those of the largest absolute correlation first.

    >>> inside = np.array([0, 1, 1, 0, 0, 1, 1, 0])
    >>> cell_states = np.stack([np.arange(8.0), 1 - 2 * inside], axis=1)
    >>> search(cell_states, inside, count=1)
    [Found(unit=1, correlation=-1.0, correlation_first_half=-1.0, auc=0.0)]

    Among a thousand units some follow anything by chance. They are therefore ranked on the first half of the text and
    told with what they do on the second: a find of chance has there a correlation near 0, and the rank order is not
    that of the figures reported.

    Args:
        activity: `(symbols, units)`, such as cell states after each symbol.
        target: `(symbols,)`, the property after each symbol.
        count: how many units to tell of; all of them, where there are fewer. A unit that never changes comes last, with
            a correlation of 0.

    Raises:
        UserError: if the property never changes within a half of the text, the activity is not finite, as that of a
            diverged model, or `count` is below 1.
        ValueError: if the shapes do not belong together.

    Source: the single cells of Karpathy, Johnson and Fei-Fei 2015, "Visualizing and Understanding Recurrent Networks",
    section 4.1, there found by eye.
    """
    target = np.asarray(target, np.float64)
    activity = np.asarray(activity)
    if activity.ndim != 2 or target.shape != activity.shape[:1]:
        raise ValueError(f"activity {activity.shape} and target {target.shape} must be (symbols, units) and (symbols,)")
    if count < 1:
        raise UserError(f"cannot find {count} units: ask for at least 1")
    if not np.isfinite(activity).all():
        raise UserError("the activity of the units is not finite: take a model whose training did not diverge")
    middle = len(target) // 2
    for name, half in (("first", target[:middle]), ("second", target[middle:])):
        _check_changes(name, half)
    first_half = _correlations(activity[:middle], target[:middle])
    best = np.argsort(-np.abs(first_half), kind="stable")[:count]
    chosen, judge = activity[middle:, best], target[middle:]
    second_half = _correlations(chosen, judge)
    is_binary = bool(np.isin(target, (0, 1)).all())
    areas = _areas_under_curve(chosen, judge == 1).tolist() if is_binary else [None] * len(best)
    return [
        Found(unit, correlation, first, area)
        for unit, correlation, first, area in zip(
            best.tolist(), second_half.tolist(), first_half[best].tolist(), areas, strict=True
        )
    ]


def _check_changes(name: str, half: np.ndarray) -> None:
    if len(half) < 2:
        raise UserError(f"the {name} half of the text has {len(half)} symbols: give a longer text")
    if half.min() == half.max():
        what = "never has the property" if half[0] == 0 else f"has the property at {half[0]:g} everywhere"
        raise UserError(f"the {name} half of the text {what}: name another text or another property")


def _correlations(activity: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Pearson's correlation of each unit `(units,)`, 0 for one that never changes."""
    deviation = activity - activity.mean(axis=0, dtype=np.float64)  # (S, U)
    wanted = target - target.mean()
    size = np.sqrt(np.einsum("su,su->u", deviation, deviation)) * np.sqrt(wanted @ wanted)
    # A constant unit's deviations need not be 0 but in exact arithmetic.
    changes = (activity.min(axis=0) < activity.max(axis=0)) & (size > 0)
    return np.clip(np.where(changes, wanted @ deviation / np.where(changes, size, 1), 0), -1, 1)


def _areas_under_curve(activity: np.ndarray, holds: np.ndarray) -> np.ndarray:
    """ROC AUC of each unit `(units,)` from the rank sum of Mann and Whitney, ties counted half."""
    with_property, without = int(holds.sum()), int((~holds).sum())
    rank_sum = rankdata(activity, axis=0)[holds].sum(axis=0)
    return (rank_sum - with_property * (with_property + 1) / 2) / (with_property * without)
