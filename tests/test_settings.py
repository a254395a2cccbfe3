"""Settings out of their range: which is named, and in which words."""

import math
from types import SimpleNamespace

import pytest

from nlp_lstm.errors import UserError
from nlp_lstm.settings import check_ranges

RANGES = [
    ("units batch_size", lambda value: value >= 1, "at least 1"),
    ("dropout", lambda value: 0 <= value < 1, "at least 0 and less than 1"),
    ("learning_rate", lambda value: 0 < value < math.inf, "a finite number above 0"),
]


def settings(**changed):
    return SimpleNamespace(**{"units": 1, "batch_size": 2, "dropout": 0.0, "learning_rate": 1e-300} | changed)


def test_what_is_in_range_passes():
    assert check_ranges(settings(), RANGES) is None
    assert check_ranges(settings(units=10**9, dropout=0.999, other=math.nan), RANGES) is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"units": 0}, "--units is 0: expected at least 1"),
        ({"batch_size": -3}, "--batch-size is -3: expected at least 1"),
        ({"dropout": 1}, "--dropout is 1: expected at least 0 and less than 1"),
        ({"dropout": -0.5}, "--dropout is -0.5: expected at least 0 and less than 1"),
        ({"dropout": math.nan}, "--dropout is nan: expected at least 0 and less than 1"),
        ({"units": math.nan}, "--units is nan: expected at least 1"),
        ({"learning_rate": math.inf}, "--learning-rate is inf: expected a finite number above 0"),
        ({"dropout": 2, "units": 0}, "--units is 0: expected at least 1"),  # the first
    ],
)
def test_what_is_out_of_range_is_named(changed, message):
    with pytest.raises(UserError) as caught:
        check_ranges(settings(**changed), RANGES)
    assert str(caught.value) == message
