"""Settings that refuse a value out of its range in the words of the command line."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from nlp_lstm.errors import UserError

Precision = Literal["float32", "bfloat16", "int8"]
"""The arithmetic in which an exported model takes its products with weights."""

Range = tuple[str, Callable[[Any], bool], str]
"""Names of settings between spaces, what accepts their values, and the words for what is accepted."""


def check_ranges(settings: Any, ranges: Sequence[Range]) -> None:
    """Refuse the first setting that is out of its range.

    >>> from types import SimpleNamespace
    >>> check_ranges(SimpleNamespace(units=8, layers=0), [("units layers", lambda value: value >= 1, "at least 1")])
    Traceback (most recent call last):
    nlp_lstm.errors.UserError: --layers is 0: expected at least 1

    Raises:
        UserError: names the flag, the value and what is expected. NaN compares false, and is never accepted.
    """
    for names, accepts, expected in ranges:
        for name in names.split():
            value = getattr(settings, name)
            if not accepts(value):
                raise UserError(f"--{name.replace('_', '-')} is {value}: expected {expected}")
