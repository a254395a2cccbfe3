"""The tasks are what they are said to be, figures are right, and the recipe solves a short one."""

import functools

import command_line
import matplotlib.image
import numpy as np
import pytest
from scipy.special import log_softmax

from examples import long_memory
from nlp_lstm.lstm import Gates

call = functools.partial(command_line.call, long_memory.app)
TINY = ["--length", "6", "--units", "5", "--batch-size", "4", "--updates", "4", "--judged-every", "2"]


def test_adding_marks_a_number_in_either_half_and_asks_for_their_sum():
    inputs, targets = long_memory.draw_adding(np.random.default_rng(0), 200, 9)
    assert inputs.shape == (200, 9, 2)
    for row, (total,) in zip(inputs, targets, strict=True):
        first, second = np.flatnonzero(row[:, 1])
        assert first < 4 <= second
        assert total == pytest.approx(row[first, 0] + row[second, 0])
    error = np.mean((targets - 1) ** 2)
    assert error == pytest.approx(long_memory.TASKS["adding"].baseline(9), rel=0.3)


def test_copy_gives_ten_symbols_then_blanks_and_a_sign():
    inputs, targets = long_memory.draw_copy(np.random.default_rng(0), 5, 7)
    read = np.argmax(inputs, axis=-1)
    assert read.shape == targets.shape == (5, 27)
    assert np.array_equal(read[:, 16] == long_memory.SIGN, np.ones(5, bool))
    assert np.all(np.delete(read, 16, axis=1)[:, 10:] == long_memory.BLANK)
    assert np.array_equal(targets[:, 17:], read[:, :10])
    assert np.all(targets[:, :17] == long_memory.BLANK)
    assert len(np.unique(read[:, :10])) == long_memory.SYMBOLS


def test_forget_gates_begin_at_memories_spread_over_the_length():
    bias = long_memory.initial_bias(np.random.default_rng(0), 500, 100, "spread").reshape(4, 500)
    kept = 1 / (1 + np.exp(-bias[1]))
    odds = kept / (1 - kept)
    assert 1 <= odds.min() < 3
    assert 97 < odds.max() <= 99
    assert np.array_equal(bias[0], -bias[1])
    assert not bias[2:].any()
    assert np.array_equal(long_memory.initial_bias(np.random.default_rng(0), 2, 100, "3"), [0, 0, 3, 3, 0, 0, 0, 0])


@pytest.mark.parametrize("name", ["copy", "recall"])
def test_cross_entropy_and_accuracy_by_another_reckoning(name):
    task = long_memory.TASKS[name]
    rng = np.random.default_rng(0)
    inputs, targets = task.draw(rng, 300, 5)
    logits = rng.normal(0, 3, (*targets.shape, task.outputs))

    class Model:
        def predict_on_batch(self, batch):
            start = next(place for place in range(len(inputs)) if np.array_equal(inputs[place], batch[0]))
            return logits[start : start + len(batch)]

    judged = long_memory.judge(Model(), task, inputs, targets)
    log_probs = log_softmax(logits, axis=-1).reshape(-1, task.outputs)
    expected = -np.mean([row[target] for row, target in zip(log_probs, targets.reshape(-1), strict=True)])
    assert judged["cross_entropy"] == pytest.approx(expected)
    right = logits.argmax(-1) == targets
    assert judged["accuracy"] == pytest.approx(right[:, -10:].mean() if name == "copy" else right.mean())


def test_the_carrier_is_the_unit_that_goes_with_the_sum():
    rng = np.random.default_rng(0)
    inputs, targets = long_memory.draw_adding(rng, 30, 8)
    cell, gate = rng.normal(size=(30, 8, 4)), rng.random((30, 8, 4))
    cell[:, -1, 2] = -3 * targets[:, 0] + 0.01 * rng.normal(size=30)
    found = long_memory.carrier(Gates(gate, 1 - gate, None, None, cell, None), inputs, targets)
    assert found["unit"] == 2
    assert found["correlation"] == pytest.approx(np.corrcoef(cell[:, -1, 2], targets[:, 0])[0, 1])
    marked = inputs[..., 1] == 1
    assert found["input_marked"] == pytest.approx(gate[..., 2][marked].mean())
    assert found["forget_unmarked"] == pytest.approx(1 - gate[..., 2][~marked].mean())


@pytest.mark.parametrize(
    ("task", "figure"),
    [
        ("adding", "mse"),
        pytest.param("copy", "cross_entropy", marks=pytest.mark.thorough),
        pytest.param("recall", "cross_entropy", marks=pytest.mark.thorough),
    ],
)
def test_each_task_is_trained_judged_and_drawn(task, figure, tmp_path):
    plot = tmp_path / "curves.png"
    found = call("train", "--task", task, *TINY, "--plot", plot, "--json").object
    assert found["task"] == task
    assert found[figure] == found["seeds"][0][figure] > 0
    assert found["rnn"]["updates"] == found["seeds"][0]["updates"] == 4
    assert set(found["memory_steps"]) == {"before", "after"}
    assert ("carrier" in found) == (task == "adding")
    assert matplotlib.image.imread(plot).shape[0] > 300


def test_the_same_seed_gives_the_same_figures_and_another_one_others():
    one, again = (call("train", *TINY, "--no-rnn", "--json").object for _ in range(2))
    assert one["mse"] == again["mse"]
    assert call("train", *TINY, "--no-rnn", "--seed", "1", "--json").object["mse"] != one["mse"]


@pytest.mark.thorough
def test_the_recipe_remembers_over_twenty_steps():
    result = call("train", "--length", "20", "--updates", "800", "--no-rnn", "--json").object
    assert result["mse"] < 0.01 < result["baseline"]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--forget-bias", "wide"], "--forget-bias is wide"),
        (["--length", "2"], "--length is 2"),
        (["--seeds", "0"], "--seeds is 0"),
        (["--plot", "curves.pdf"], "--plot"),
    ],
)
def test_a_mistake_is_one_line(flags, told):
    assert call("train", *flags).is_mistake(told)
