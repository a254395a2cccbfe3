"""The gradient over time, against the layers' own, and where it is known."""

import functools

import command_line
import keras
import matplotlib.image
import numpy as np
import pytest
import tensorflow as tf

from examples import gradient_flow

call = functools.partial(command_line.call, gradient_flow.app)


@pytest.mark.parametrize("network", gradient_flow.NETWORKS)
def test_sizes_are_those_of_the_layer_begun_at_each_step(network):
    model = gradient_flow.build(network, 5, 7, seed=0)
    layer, head = model.get_layer("recurrent"), model.layers[-1]
    inputs, targets = gradient_flow.draw_adding(np.random.default_rng(0), 3, 7)
    sizes = gradient_flow.gradient_sizes(model, inputs, targets)
    is_lstm = "LSTM" in network
    assert set(sizes) == ({"hidden", "cell"} if is_lstm else {"hidden"})
    for step in range(6):
        if is_lstm:
            gates = layer.gates(inputs[:, : step + 1])
            state = [tf.constant(gates.hidden[:, -1]), tf.constant(gates.cell[:, -1])]
        else:
            state = [tf.constant(layer(inputs[:, : step + 1]))]
        with tf.GradientTape() as tape:
            tape.watch(state)
            last = layer(inputs[:, step + 1 :], initial_state=state if is_lstm else state[0])
            losses = tf.reduce_sum((head(last) - targets) ** 2)
        slopes = [slope.numpy() for slope in tape.gradient(losses, state)]
        if is_lstm:  # the layer takes both states as given, but the cell state is also shown as the hidden one
            shown = np.asarray(gates.output[:, -1]) * (1 - np.tanh(gates.cell[:, -1]) ** 2)
            slopes[1] = slopes[1] + slopes[0] * shown
        for name, slope in zip(("hidden", "cell"), slopes, strict=False):
            expected = np.mean(np.sqrt(np.sum(slope**2, axis=-1)))
            np.testing.assert_allclose(sizes[name][step], expected, rtol=1e-4)


def test_a_cell_that_keeps_all_hands_back_all_of_its_gradient():
    model = gradient_flow.build("LSTM, forget bias 1", 4, 30, seed=0)
    cell = model.get_layer("recurrent").cell
    cell.recurrent_kernel.assign(keras.ops.zeros_like(cell.recurrent_kernel))
    cell.bias.assign(np.repeat([0.0, 60.0, 0.0, 0.0], 4))  # f = 1 to the last bit
    sizes = gradient_flow.gradient_sizes(model, *gradient_flow.draw_adding(np.random.default_rng(0), 2, 30))
    np.testing.assert_allclose(sizes["cell"], sizes["cell"][-1], rtol=1e-5)
    np.testing.assert_array_equal(sizes["hidden"][:-1], 0)  # nothing looks at it but the head


@pytest.mark.thorough
def test_it_measures_trains_and_draws(tmp_path):
    plot = tmp_path / "flow.png"
    tiny = ["--length", "5", "--units", "3", "--updates", "2", "--batch-size", "4"]
    found = call(*tiny, "--plot", plot, "--json").object
    assert [(row["network"], row["length"]) for row in found["rows"]] == [(name, 5) for name in gradient_flow.NETWORKS]
    for row in found["rows"]:
        sizes = np.array(row["before"]["hidden_sizes"])
        assert len(sizes) == row["length"]
        assert row["before"]["hidden_first_to_last"] == pytest.approx(sizes[0] / sizes[-1])
        assert row["after"]["hidden_sizes"] != row["before"]["hidden_sizes"]
    assert [one["clipped"] for one in found["exploded"]] == [False, True]
    assert matplotlib.image.imread(plot).shape[0] > 600


def test_without_updates_it_measures_alone(tmp_path):
    plot = tmp_path / "flow.png"
    found = call("--length", "4", "--units", "3", "--updates", "0", "--plot", plot, "--json").object
    assert found["exploded"] == []
    assert all("after" not in row and len(row["before"]["hidden_sizes"]) == 4 for row in found["rows"])
    assert matplotlib.image.imread(plot).ndim == 3
    assert "plain RNN" in call("--length", "4", "--units", "3", "--updates", "0").out


def test_clipping_bounds_a_step_and_not_the_gradient():
    settings = gradient_flow.Settings(units=6, updates=3, batch_size=4, gain=6.0, clip_norm=0.01, descent_rate=1.0)
    free, clipped = (gradient_flow.explode(settings, one, length=12) for one in (False, True))
    assert free["norms"][0] == clipped["norms"][0] > settings.clip_norm  # the first is taken at the same weights
    assert abs(clipped["losses"][1] - clipped["losses"][0]) < abs(free["losses"][1] - free["losses"][0])


def test_a_mistake_is_one_line():
    assert call("--length", "1").is_mistake("--length")
    assert call("--plot", "flow.svg").is_mistake("--plot")
