"""Integers in a graph: the same numbers, in the narrowest type that has them."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp_lstm.text.integer_table import integer_table


def held(values):
    """The type in which a graph holds a table."""
    with tf.Graph().as_default() as graph:
        integer_table(values)
    (constant,) = (operation for operation in graph.get_operations() if operation.type == "Const")
    return constant.outputs[0].dtype.name


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1))
@settings(max_examples=50, deadline=None)
def test_any_integers_come_back(values):
    table = integer_table(values)
    assert table.dtype == tf.int32
    np.testing.assert_array_equal(table, values)


@pytest.mark.parametrize(
    ("values", "narrowest"),
    [
        ([0, 255], "uint8"),
        ([-1, 127], "int8"),
        ([-1, 255], "int16"),
        ([0, 65_535], "uint16"),
        ([-1, 65_535], "int32"),
        ([-(2**31), 2**31 - 1], "int32"),
        (np.array([-1, 8_000], np.int32), "int16"),
    ],
)
def test_a_graph_holds_them_in_the_narrowest_type(values, narrowest):
    assert held(values) == narrowest
