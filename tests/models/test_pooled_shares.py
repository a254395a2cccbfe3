"""The shares of a maximum are Shapley's value: the mean over all orders of what each token adds to it."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from nlp_lstm.models.pooled_shares import shares_of_maximum


def over_all_orders(values, start):
    """Of one unit: what each value `(time,)` raises the maximum by, in the mean over all orders of coming in.

    Where the maximum is below the start, all have equal shares in that.
    """
    missing = min(max(values) - start, 0.0)
    shares, start = np.full(len(values), missing / len(values)), start + missing
    orders = list(itertools.permutations(range(len(values))))
    for order in orders:
        highest = start
        for token in order:
            shares[token] += max(values[token] - highest, 0.0) / len(orders)
            highest = max(highest, values[token])
    return shares


@settings(max_examples=50, deadline=None)
@given(
    # Few different values, so that ties are drawn, too.
    st.lists(st.sampled_from([-0.9, -0.5, -0.1, 0.0, 0.3, 0.30001, 0.8]), min_size=1, max_size=6),
    st.sampled_from([-1.0, -0.5, 0.0, 0.9]),
    st.integers(0, 3),
)
def test_equal_the_mean_over_all_orders(values, start, padding):
    given_values = np.array([*values, *[5.0] * padding], np.float32)[None, :, None]
    is_token = np.arange(len(values) + padding)[None] < len(values)
    found = ops.convert_to_numpy(shares_of_maximum(given_values, np.full((1, 1), start, np.float32), is_token))
    np.testing.assert_allclose(found[0, : len(values), 0], over_all_orders(values, start), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(found[0, len(values) :, 0], 0)


def test_rows_and_units_share_nothing():
    rng = np.random.default_rng(0)
    values, start = rng.normal(size=(3, 7, 4)).astype(np.float32), rng.normal(size=(3, 4)).astype(np.float32)
    is_token = np.arange(7) < np.array([7, 1, 4])[:, None]
    found = ops.convert_to_numpy(shares_of_maximum(values, start, is_token))
    for row, unit in itertools.product(range(3), range(4)):
        alone = values[row, is_token[row], unit]
        np.testing.assert_allclose(
            found[row, is_token[row], unit], over_all_orders(alone, start[row, unit]), rtol=0, atol=1e-5
        )
    highest = np.where(is_token[..., None], values, -np.inf).max(axis=1)
    np.testing.assert_allclose(found.sum(axis=1), highest - start, atol=1e-6)


@pytest.mark.parametrize("lowest", [-1.0, 0.0])
def test_equals_have_equal_shares(lowest):
    values = np.array([0.5, lowest, 0.5, 0.5], np.float32)[None, :, None]
    found = ops.convert_to_numpy(shares_of_maximum(values, np.full((1, 1), -1.0, np.float32), np.ones((1, 4), bool)))
    np.testing.assert_allclose(found[0, [0, 2, 3], 0], found[0, 0, 0])
    assert found[0, 0, 0] == pytest.approx((1.5 - (lowest + 1) / 4) / 3)
