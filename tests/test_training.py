"""Stages of epochs: what a run folder holds, which weights are kept, and going on after a stop."""

import dataclasses
import errno
import json
import math
import os

import keras
import matplotlib.image
import numpy as np
import pytest
import tensorflow as tf

from nlp_lstm import run_folder, training, weights_file
from nlp_lstm.char_lm.settings import Settings as CharLmSettings
from nlp_lstm.errors import UserError
from nlp_lstm.run_folder import RunFolder, as_started, settings_of
from nlp_lstm.training import Stage, adam, mean_of_outputs, reseed, train_stage

TIMES = ("seconds", "cpu_seconds")


def started(path, **config):
    run = RunFolder(path)
    run.start(config)
    return run


def without_times(rows):
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


class Follower:
    """A model of one weight that is, after each epoch, exactly what the list says.

    On one example with the input 1 the gradient of the squared error is 2 (w - target), so a step of rate 1/2 lands on
    the target. Validated against 0, the loss of the epoch is the weight's square.
    """

    def __init__(self, weights):
        self.weights = weights
        self.epochs_seen = []

    def model(self):
        keras.utils.clear_session()
        inputs = keras.Input((1,))
        model = keras.Model(inputs, keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")(inputs))
        # To trace so small a model takes longer than all its steps.
        model.compile(keras.optimizers.SGD(0.5), loss="mse", run_eagerly=True)
        return model

    def batches(self, epoch):
        self.epochs_seen.append(epoch)
        return tf.data.Dataset.from_tensors((np.ones((1, 1)), np.full((1, 1), self.weights[epoch - 1], np.float32)))

    def stage(self, name="follow", **options):
        nothing = tf.data.Dataset.from_tensors((np.ones((1, 1)), np.zeros((1, 1))))
        options = {"epochs": len(self.weights), "monitor": "val_loss", **options}
        return Stage(name, options.pop("epochs"), self.batches, options.pop("validation", nothing), **options)

    def train(self, run, **options):
        model = self.model()
        train_stage(model, self.stage(**options), run, verbose=False)
        return float(model.get_weights()[0][0, 0])


@pytest.fixture
def no_pictures(monkeypatch):
    """Most of the time of so small a stage goes into its plots."""
    monkeypatch.setattr(training, "draw_curves", lambda rows, path: None)
    monkeypatch.setattr(training, "write_events", lambda run, row: None)


class TestOneStage:
    @pytest.fixture(scope="class")
    def run(self, tmp_path_factory):
        run = started(tmp_path_factory.mktemp("runs") / "run", seed=0)
        assert Follower([3.0, -1.0, 2.0]).train(run) == -1.0
        return run

    def test_metrics_have_a_line_an_epoch(self, run):
        rows = [json.loads(line) for line in run.metrics_path.read_text().splitlines()]
        assert [(row["stage"], row["epoch"]) for row in rows] == [("follow", 1), ("follow", 2), ("follow", 3)]
        assert [row["loss"] for row in rows] == [9.0, 16.0, 9.0]
        assert [row["val_loss"] for row in rows] == [9.0, 1.0, 4.0]
        assert all(row[key] >= 0 for row in rows for key in TIMES)
        assert run.metrics() == rows

    def test_the_best_weights_and_the_last_state_are_kept(self, run):
        assert sorted(path.name for path in run.checkpoints.iterdir()) == [
            "follow-0003.weights.h5",
            "follow-best.weights.h5",
        ]
        model = Follower([0.0]).model()
        for path, expected in ((run.best_weights("follow"), -1.0), (run.checkpoints / "follow-0003.weights.h5", 2.0)):
            model.load_weights(path)
            assert model.get_weights()[0][0, 0] == expected

    def test_curves_are_a_picture(self, run):
        height, width, _ = matplotlib.image.imread(run.path / "curves.png").shape
        assert height > 100
        assert width > 100

    def test_curves_of_many_stages_stand_in_rows_of_three(self, tmp_path):
        rows = [{"stage": f"stage {number}", "epoch": 1, "loss": 2.0, "val_loss": 1.0} for number in range(7)]
        shapes = []
        for count in (1, 3, 7):
            training.draw_curves(rows[:count], tmp_path / "curves.png")
            shapes.append(matplotlib.image.imread(tmp_path / "curves.png").shape[:2])
        (height, width, *_), *_ = shapes
        assert shapes == [(height, width), (height, 3 * width), (3 * height, 3 * width)]

    def test_events_hold_the_metrics(self, run):
        found = {}
        for path in sorted((run.path / "tensorboard" / "follow").iterdir()):
            for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
                event = tf.compat.v1.Event.FromString(record)
                for value in event.summary.value:
                    found[value.tag, event.step] = float(tf.make_ndarray(value.tensor))
        for row in run.metrics():
            for key in ("loss", "val_loss", "seconds"):
                assert found[key, row["epoch"]] == pytest.approx(row[key])

    def test_nothing_else_is_left_in_the_folder(self, run):
        assert sorted(path.name for path in run.path.iterdir()) == [
            "checkpoints",
            "config.json",
            "curves.png",
            "metrics.jsonl",
            "tensorboard",
        ]

    def test_a_finished_stage_only_gives_its_best_weights(self, run):
        before = run.metrics_path.read_bytes()
        follower = Follower([3.0, -1.0, 2.0])
        assert follower.train(run) == -1.0
        assert follower.epochs_seen == []
        assert run.metrics_path.read_bytes() == before


@pytest.mark.usefixtures("no_pictures")
def test_the_monitor_may_be_better_when_higher(tmp_path):
    run = started(tmp_path / "run")
    assert Follower([1.0, 3.0, -2.0]).train(run, higher_is_better=True) == 3.0


@pytest.mark.usefixtures("no_pictures")
def test_of_equal_epochs_the_first_is_best(tmp_path):
    run = started(tmp_path / "run")
    assert Follower([1.0, -1.0]).train(run) == 1.0


@pytest.mark.usefixtures("no_pictures")
def test_patience(tmp_path):
    """Epoch 2 is the best, two without a better one follow, and what would have been better still is never seen."""
    weights = [3.0, 1.0, 2.0, 1.5, 0.0]
    follower = Follower(weights)
    run = started(tmp_path / "run")
    assert follower.train(run, patience=2) == 1.0
    assert follower.epochs_seen == [1, 2, 3, 4]
    assert [row["epoch"] for row in run.metrics()] == [1, 2, 3, 4]
    follower = Follower(weights)
    assert follower.train(run, patience=2) == 1.0
    assert follower.epochs_seen == []
    follower = Follower(weights)
    assert follower.train(run, patience=3) == 0.0
    assert follower.epochs_seen == [5]


@pytest.mark.usefixtures("no_pictures")
def test_patience_counts_from_the_last_better_epoch(tmp_path):
    follower = Follower([3.0, 4.0, 2.0, 4.0, 1.0])
    assert follower.train(started(tmp_path / "run"), patience=2) == 1.0
    assert follower.epochs_seen == [1, 2, 3, 4, 5]


@pytest.mark.usefixtures("no_pictures")
def test_stages_stand_side_by_side(tmp_path):
    run = started(tmp_path / "run")
    assert Follower([1.0, 2.0]).train(run, name="first") == 1.0
    assert Follower([3.0]).train(run, name="second") == 3.0
    assert [(row["stage"], row["epoch"]) for row in run.metrics()] == [("first", 1), ("first", 2), ("second", 1)]
    assert Follower([1.0, 2.0, 0.0]).train(run, name="first") == 0.0
    assert sorted((row["stage"], row["epoch"]) for row in run.metrics()) == [
        ("first", 1),
        ("first", 2),
        ("first", 3),
        ("second", 1),
    ]


class Stopped(Exception):
    """Stands for a kill."""


class Dropping:
    """A small network with dropout, so that a step hangs on the weights, the optimizer's state and the masks."""

    def __init__(self, stop_at=(0, 0)):
        self.stop_at = stop_at
        rng = np.random.default_rng(0)
        self.x = rng.normal(size=(24, 5)).astype(np.float32)
        self.y = np.sin(self.x.sum(axis=1, keepdims=True)).astype(np.float32)

    def model(self):
        keras.utils.clear_session()
        keras.utils.set_random_seed(7)
        inputs = keras.Input((5,))
        hidden = keras.layers.Dropout(0.5, seed=1)(keras.layers.Dense(6, activation="tanh")(inputs))
        model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Dropout(0.2, seed=2)(hidden)))
        schedule = keras.optimizers.schedules.CosineDecay(0.05, 20)
        model.compile(keras.optimizers.Adam(schedule, global_clipnorm=1.0), loss="mse", jit_compile=False)
        return model

    def stage(self):
        return Stage("drop", 4, self.batches, (self.x, self.y), monitor="val_loss")

    def batches(self, epoch):
        if self.stop_at == (epoch, 0):
            raise Stopped
        signature = tuple(tf.TensorSpec([6, width], tf.float32) for width in (5, 1))
        dataset = tf.data.Dataset.from_generator(lambda: self.walk(epoch), output_signature=signature)
        return dataset.apply(tf.data.experimental.assert_cardinality(4))

    def walk(self, epoch):
        order = np.random.default_rng([0, epoch]).permutation(24)
        for batch, start in enumerate(range(0, 24, 6), start=1):
            if self.stop_at == (epoch, batch):
                raise Stopped
            yield self.x[order[start : start + 6]], self.y[order[start : start + 6]]

    def train(self, run):
        model = self.model()
        train_stage(model, self.stage(), run, verbose=False)
        return model


def last_state(run):
    """Everything in the last checkpoint: weights, optimizer and seeds."""
    model = Dropping().model()
    model.optimizer.build(model.trainable_variables)
    model.load_weights(run.checkpoints / "drop-0004.weights.h5")
    return [np.asarray(variable) for variable in [*model.variables, *model.optimizer.variables]]


@pytest.mark.usefixtures("no_pictures")
class TestGoingOn:
    @pytest.fixture(scope="class")
    def whole(self, tmp_path_factory):
        run = started(tmp_path_factory.mktemp("whole") / "run")
        return run, Dropping().train(run).get_weights()

    def check(self, run, weights, whole):
        whole_run, whole_weights = whole
        assert without_times(run.metrics()) == without_times(whole_run.metrics())
        for found, expected in zip(weights, whole_weights, strict=True):
            np.testing.assert_array_equal(found, expected)
        for found, expected in zip(last_state(run), last_state(whole_run), strict=True):
            np.testing.assert_array_equal(found, expected)
        assert sorted(path.name for path in run.checkpoints.iterdir()) == [
            "drop-0004.weights.h5",
            "drop-best.weights.h5",
        ]

    @pytest.mark.parametrize("stop_at", [(3, 0), (3, 3)])
    def test_after_a_stop_between_or_in_epochs(self, tmp_path, whole, stop_at):
        run = started(tmp_path / "run")
        with pytest.raises((Stopped, tf.errors.OpError)):  # TensorFlow wraps what its input raises
            Dropping(stop_at).train(run)
        assert [row["epoch"] for row in run.metrics()] == list(range(1, stop_at[0]))
        self.check(run, Dropping().train(run).get_weights(), whole)

    def test_after_stops_while_an_epoch_is_recorded(self, tmp_path, whole, monkeypatch):
        """At each of the files that are written, one after the other."""
        run = started(tmp_path / "run")
        real, allowed = run_folder.atomic_path, 0

        def stopping(target):
            nonlocal allowed
            if allowed == 0:
                raise Stopped
            allowed -= 1
            return real(target)

        def curves(rows, target):
            with run_folder.atomic_path(target) as path:
                path.write_bytes(b"")

        for module in (weights_file, run_folder):
            monkeypatch.setattr(module, "atomic_path", stopping)
        monkeypatch.setattr(training, "draw_curves", curves)
        # An epoch writes its best weights, if they are, metrics, curves and checkpoint.
        for allowed_here, done in ((1, 0), (2, 0), (3, 0), (4, 1)):
            allowed = allowed_here
            with pytest.raises(Stopped):
                Dropping().train(run)
            assert (run.checkpoints / "drop-0001.weights.h5").exists() == bool(done)
        allowed = 1000
        self.check(run, Dropping().train(run).get_weights(), whole)

    @pytest.mark.parametrize("epochs", [2, 4])
    def test_after_a_stop_before_the_checkpoint_of_the_epoch_before_was_removed(
        self, tmp_path, whole, monkeypatch, epochs
    ):
        real = training._remove_checkpoints_before

        def stopping(run, stage, epoch):
            if epoch == epochs:
                raise Stopped
            real(run, stage, epoch)

        run = started(tmp_path / "run")
        monkeypatch.setattr(training, "_remove_checkpoints_before", stopping)
        with pytest.raises(Stopped):
            Dropping().train(run)
        assert len(list(run.checkpoints.glob("drop-0*"))) == 2
        monkeypatch.setattr(training, "_remove_checkpoints_before", real)
        self.check(run, Dropping().train(run).get_weights(), whole)

    def test_the_runs_can_differ_at_all(self, whole, monkeypatch, tmp_path):
        """Without putting the seeds where an epoch starts, a run that goes on draws other masks."""
        monkeypatch.setattr(training, "reseed", lambda *_: None)
        run = started(tmp_path / "run")
        other = Dropping().train(run).get_weights()
        assert not all(np.array_equal(found, expected) for found, expected in zip(other, whole[1], strict=True))


class Recording(keras.callbacks.Callback):
    """What a run goes through: every step's rate and weights, and when it is called."""

    def __init__(self):
        super().__init__()
        self.rates, self.weights, self.calls = [], [], []

    def on_epoch_begin(self, epoch, logs=None):
        self.calls.append(("epoch", epoch + 1))

    def on_train_batch_begin(self, batch, logs=None):
        self.rates.append(float(np.asarray(self.model.optimizer.learning_rate)))

    def on_train_batch_end(self, batch, logs=None):
        self.weights.append([np.array(weight, np.float64) for weight in self.model.trainable_weights])

    def on_test_begin(self, logs=None):
        self.calls.append("validation")


class Averaging(Dropping):
    """The same network, trained so hard that its weights lie far from their average."""

    def __init__(self, stop_at=(0, 0), averaging=0.9):
        super().__init__(stop_at)
        self.averaging = averaging
        self.recording = Recording()

    def model(self):
        model = super().model()
        optimizer = adam(0.2, 16, final_share=0.5, clip_norm=1.0, averaging=self.averaging)
        model.compile(optimizer, loss="mse", jit_compile=False)
        return model

    def stage(self):
        return dataclasses.replace(super().stage(), callbacks=[self.recording])

    def validation_loss(self, weights):
        hidden_kernel, hidden_bias, kernel, bias = weights
        return np.mean((np.tanh(self.x @ hidden_kernel + hidden_bias) @ kernel + bias - self.y) ** 2)


def averages(steps, decay):
    """The exponential average of weights after each step, which begins with the weights after the first."""
    average, found = steps[0], []
    for weights in steps:
        average = [decay * old + (1 - decay) * new for old, new in zip(average, weights, strict=True)]
        found.append(average)
    return found


@pytest.mark.usefixtures("no_pictures")
class TestAveraging:
    @pytest.fixture(scope="class")
    def whole(self, tmp_path_factory):
        run, task = started(tmp_path_factory.mktemp("averaged") / "run"), Averaging()
        model = task.train(run)
        return run, task, model.get_weights()

    def test_the_average_is_validated_and_kept(self, whole):
        run, task, weights = whole
        steps = task.recording.weights
        assert len(steps) == 16
        expected = averages(steps, 0.9)[3::4]
        losses = [task.validation_loss(average) for average in expected]
        np.testing.assert_allclose([row["val_loss"] for row in run.metrics()], losses, rtol=1e-4)
        unaveraged = [task.validation_loss(step) for step in steps[3::4]]
        assert np.abs(np.subtract(unaveraged, losses)).min() > 1e-3  # so that it is one or the other
        best = int(np.argmin(losses))
        assert losses[best] != unaveraged[best]
        for found, average in zip(weights, expected[best], strict=True):
            np.testing.assert_allclose(found, average, rtol=1e-4, atol=1e-5)

    def test_training_goes_on_from_the_weights_themselves(self, whole, tmp_path):
        """Step by step as without an average."""
        _, task, _ = whole
        without = Averaging(averaging=0.0)
        without.train(started(tmp_path / "run"))
        for found, expected in zip(task.recording.weights, without.recording.weights, strict=True):
            for weight, other in zip(found, expected, strict=True):
                np.testing.assert_allclose(weight, other, rtol=1e-3, atol=1e-4)

    def test_a_run_that_was_stopped_ends_where_it_would_have(self, whole, tmp_path):
        whole_run, _, whole_weights = whole
        run = started(tmp_path / "run")
        with pytest.raises((Stopped, tf.errors.OpError)):
            Averaging(stop_at=(3, 3)).train(run)
        weights = Averaging().train(run).get_weights()
        assert without_times(run.metrics()) == without_times(whole_run.metrics())
        for found, expected in zip(weights, whole_weights, strict=True):
            np.testing.assert_array_equal(found, expected)
        states = []
        for path in (run, whole_run):
            model = Averaging().model()
            model.optimizer.build(model.trainable_variables)
            model.load_weights(path.checkpoints / "drop-0004.weights.h5")
            states.append([np.asarray(variable) for variable in [*model.variables, *model.optimizer.variables]])
        for found, expected in zip(*states, strict=True):
            np.testing.assert_array_equal(found, expected)

    def test_callbacks_are_called_in_every_epoch(self, whole):
        _, task, _ = whole
        expected = [call for epoch in range(1, 5) for call in (("epoch", epoch), "validation")]
        assert task.recording.calls == expected


def halved_when_no_better(rows):
    """Half the rate for each epoch that is no better than the best before it."""
    worse = [row["val_loss"] >= min(r["val_loss"] for r in rows[:place]) for place, row in enumerate(rows) if place]
    return 0.5 * 0.5 ** sum(worse)


@pytest.mark.usefixtures("no_pictures")
class TestLearningRate:
    """With a rate r the weight of a `Follower` goes from w to w + 2r (target - w)."""

    # To 4; past it to 6 (worse: from now on halfway); to 3; to 5 (worse: a quarter of the way); to 4.
    TARGETS = (4.0, 6.0, 0.0, 7.0, 1.0)
    WEIGHTS = (4.0, 6.0, 3.0, 5.0, 4.0)
    RATES = (0.5, 0.5, 0.25, 0.25, 0.125)

    def check(self, run):
        np.testing.assert_allclose([row["val_loss"] for row in run.metrics()], np.square(self.WEIGHTS), rtol=1e-6)

    def test_it_follows_from_the_epochs_before(self, tmp_path):
        run, recording, asked = started(tmp_path / "run"), Recording(), []

        def rate(rows):
            asked.append([row["epoch"] for row in rows])
            return halved_when_no_better(rows)

        best = Follower(self.TARGETS).train(run, learning_rate=rate, callbacks=[recording])
        assert best == pytest.approx(3.0)
        assert tuple(recording.rates) == self.RATES
        assert asked == [list(range(1, epoch)) for epoch in range(1, 6)]
        self.check(run)

    def test_a_run_that_goes_on_has_the_same(self, tmp_path):
        run, recording, done = started(tmp_path / "run"), Recording(), 3
        Follower(self.TARGETS).train(run, epochs=done, learning_rate=halved_when_no_better)
        Follower(self.TARGETS).train(run, learning_rate=halved_when_no_better, callbacks=[recording])
        assert tuple(recording.rates) == self.RATES[done:]
        self.check(run)

    def test_rows_of_another_stage_do_not_count(self, tmp_path):
        run, asked = started(tmp_path / "run"), []
        Follower([1.0]).train(run, name="first")
        Follower([2.0]).train(run, name="second", learning_rate=lambda rows: asked.append(list(rows)) or 0.5)
        assert asked == [[]]


class TestAdam:
    def rates(self, optimizer, steps):
        found = []
        for step in steps:
            optimizer.iterations.assign(step)
            found.append(float(np.asarray(optimizer.learning_rate)))
        return found

    @pytest.mark.parametrize("final_share", [0.0, 0.1, 1.0])
    def test_the_rate_rises_and_falls_along_a_cosine(self, final_share):
        optimizer = adam(0.4, 100, final_share=final_share, clip_norm=1.0)
        found = self.rates(optimizer, [0, 1, 4, 5, 100, 1000])
        np.testing.assert_allclose(found[:4], [0.0, 0.08, 0.32, 0.4], atol=1e-6)
        np.testing.assert_allclose(found[4:], 0.4 * final_share, atol=1e-6)
        for step in (24, 52, 76):
            cosine = (1 + math.cos(math.pi * (step - 5) / 95)) / 2
            expected = 0.4 * (final_share + (1 - final_share) * cosine)
            assert self.rates(optimizer, [step])[0] == pytest.approx(expected, abs=1e-6)

    @pytest.mark.parametrize("steps", [1, 2, 19])
    def test_few_steps_have_a_warm_up_of_one(self, steps):
        found = self.rates(adam(0.4, steps, final_share=0.1, clip_norm=1.0), [1, steps + 1])
        np.testing.assert_allclose(found, [0.4, 0.04], atol=1e-6)

    def test_without_steps_the_rate_stays_and_may_be_set(self):
        optimizer = adam(0.4, 0, final_share=0.1, clip_norm=1.0)
        np.testing.assert_allclose(self.rates(optimizer, [0, 1, 10**6]), 0.4, rtol=1e-6)
        optimizer.learning_rate = 0.1
        np.testing.assert_allclose(self.rates(optimizer, [7]), 0.1, rtol=1e-6)

    def test_the_gradient_is_cut_to_the_norm(self):
        """Adam's first step goes by the rate along each sign; a mean of the gradients tells their size."""
        for gradient, expected in (([30.0, 40.0], [1.2, 1.6]), ([0.3, 0.4], [0.3, 0.4])):
            optimizer, variable = adam(0.1, 0, final_share=1.0, clip_norm=2.0), keras.Variable([0.0, 0.0])
            optimizer.apply([keras.ops.array(gradient)], [variable])
            np.testing.assert_allclose(variable, [-0.1, -0.1], rtol=1e-4)
            mean = next(v for v in optimizer.variables if "momentum" in v.path)
            np.testing.assert_allclose(mean, np.multiply(expected, 0.1), rtol=1e-5)  # 1 - β₁

    def test_weights_decay_by_the_rate_whatever_the_gradient(self):
        weights = keras.Variable([2.0, -4.0])
        optimizer = adam(0.1, 0, final_share=1.0, clip_norm=1.0, weight_decay=0.5)
        for expected in ([1.9, -3.8], [1.805, -3.61]):  # times 1 - 0.1 * 0.5
            optimizer.apply([keras.ops.zeros(2)], [weights])
            np.testing.assert_allclose(weights, expected, rtol=1e-6)

    def test_the_decay_follows_the_rate_along_the_cosine(self):
        weights = keras.Variable([1.0])
        optimizer = adam(0.4, 100, final_share=0.1, clip_norm=1.0, weight_decay=0.25)
        expected = 1.0
        for step in range(8):
            rate = self.rates(optimizer, [step])[0]
            optimizer.apply([keras.ops.zeros(1)], [weights])
            expected *= 1 - 0.25 * rate
        np.testing.assert_allclose(weights, [expected], rtol=1e-6)
        assert expected < 0.6  # it says something

    def test_nothing_decays_by_default(self):
        weights = keras.Variable([2.0])
        adam(0.1, 0, final_share=1.0, clip_norm=1.0).apply([keras.ops.zeros(1)], [weights])
        np.testing.assert_array_equal(weights, [2.0])

    def test_averaging_is_off_by_default(self):
        assert not adam(0.1, 0, final_share=1.0, clip_norm=1.0).use_ema
        optimizer = adam(0.1, 0, final_share=1.0, clip_norm=1.0, averaging=0.75)
        assert (optimizer.use_ema, optimizer.ema_momentum) == (True, 0.75)


def test_mean_of_outputs():
    found = mean_of_outputs(np.zeros(3), np.array([1.0, 2.0, 6.0], np.float32))
    assert float(np.asarray(found)) == 3.0


def test_reseed_makes_an_epoch_independent_of_earlier_draws():
    keras.utils.clear_session()
    model = keras.Sequential([keras.Input((50,)), keras.layers.Dropout(0.5, seed=3), keras.layers.Dropout(0.5, seed=4)])
    ones = np.ones((2, 50), np.float32)

    def draw(epoch, before):
        for _ in range(before):
            model(ones, training=True)
        reseed(model, epoch)
        return np.stack([model(ones, training=True) for _ in range(2)])

    first = draw(1, before=0)
    np.testing.assert_array_equal(draw(1, before=3), first)
    assert not np.array_equal(draw(2, before=0), first)
    assert not np.array_equal(first[0], first[1])
    other = keras.Sequential([keras.Input((50,)), keras.layers.Dropout(0.5, seed=5), keras.layers.Dropout(0.5, seed=4)])
    reseed(other, 1)
    assert not np.array_equal(other(ones, training=True), first[0]), "the layer's own seed must still count"


@pytest.mark.usefixtures("no_pictures")
class TestDivergence:
    @pytest.mark.parametrize(
        ("weights", "where"),
        [
            ([1.0, math.nan, 0.0], "loss became nan at batch 1"),
            ([1.0, math.inf, 0.0], "loss became inf at batch 1"),
            # (1.8e19)² is finite, and so is the loss of the batch; what the step makes of the weight is not.
            ([1.0, 1.8e19, 0.0], "val_loss became inf at the end of epoch 2"),
        ],
    )
    def test_the_last_good_checkpoint_is_kept(self, tmp_path, weights, where):
        far = tf.data.Dataset.from_tensors((np.ones((1, 1)), np.full((1, 1), -1.8e19 if weights[1] == 1.8e19 else 0.0)))
        run = started(tmp_path / "run")
        for _ in range(2):  # a second start comes to the same end
            with pytest.raises(UserError, match=where) as caught:
                Follower(weights).train(run, validation=far)
            assert "\n" not in str(caught.value)
            assert "--learning-rate" in str(caught.value)
            assert [row["epoch"] for row in run.metrics()] == [1]
            assert sorted(path.name for path in run.checkpoints.iterdir()) == [
                "follow-0001.weights.h5",
                "follow-best.weights.h5",
            ]
        model = Follower(weights).model()
        model.load_weights(run.best_weights("follow"))
        assert model.get_weights()[0][0, 0] == 1.0


class OpError(Exception):
    """As TensorFlow's, which come from a module of its own."""

    __module__ = "tensorflow.python.framework.errors_impl"


class TestFolderThatCannotBeWritten:
    @pytest.mark.parametrize(
        ("error", "told"),
        [
            (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
            (OSError(errno.ENOSPC, "Can't write data\n(errno = 28, error message = 'No space')"), "No space left on"),
            (OSError(errno.EROFS, "Read-only file system", "/run/.config"), "Read-only file system"),
            (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
            (
                RuntimeError("Can't decrement id ref count (file write failed: No space left on device)"),
                "No space left",
            ),
            (OpError("/run/events; No space left on device"), "No space left on device"),
        ],
    )
    def test_it_is_one_line(self, tmp_path, error, told):
        with pytest.raises(UserError) as raised, RunFolder(tmp_path / "run").being_written():
            raise error
        assert f"cannot write the run folder '{tmp_path / 'run'}' ({told}" in str(raised.value)
        assert "start the same command again" in str(raised.value)
        assert len(str(raised.value).splitlines()) == 1

    @pytest.mark.parametrize(
        "error",
        [
            BrokenPipeError(errno.EPIPE, "Broken pipe"),  # of who reads our output
            ConnectionError("no network"),
            RuntimeError("no graph"),
            OpError("out of memory"),
            UserError("No space left on device is what the text says"),
            KeyboardInterrupt(),
        ],
    )
    def test_other_errors_stay(self, tmp_path, error):
        with pytest.raises(type(error)) as raised, RunFolder(tmp_path / "run").being_written():
            raise error
        assert raised.value is error

    def test_nothing_is_told_where_nothing_happens(self, tmp_path):
        with RunFolder(tmp_path / "run").being_written() as run:
            run.start({"seed": 7})
        assert run.config() == {"seed": 7}


class TestRunFolder:
    def test_the_same_settings_again(self, tmp_path):
        config = {"task": "sentiment", "data": "é.csv", "rate": 0.1, "size": None, "on": True}
        run = started(tmp_path / "a" / "run", **config)
        before = run.config_path.read_bytes()
        run.start(dict(reversed(config.items())))
        assert run.config_path.read_bytes() == before
        assert run.config() == config

    @pytest.mark.parametrize(
        ("config", "named"), [({"a": 2, "b": 1}, "(a)"), ({"a": 1}, "(b)"), ({"a": 2, "b": 1, "c": 0}, "(a, c)")]
    )
    def test_other_settings_are_refused(self, tmp_path, config, named):
        run = started(tmp_path / "run", a=1, b=1)
        with pytest.raises(UserError, match="other settings") as caught:
            run.start(config)
        assert named in str(caught.value)
        assert str(run.path) in str(caught.value)
        assert "--run" in str(caught.value)
        assert run.config() == {"a": 1, "b": 1}

    def test_data_that_changed_is_refused(self, tmp_path):
        run = started(tmp_path / "run", a=1, data_sha256="12")
        run.start({"a": 1, "data_sha256": "12"})
        with pytest.raises(UserError, match="the data of the run in .* has changed since") as caught:
            run.start({"a": 1, "data_sha256": "34"})
        assert str(run.path) in str(caught.value)
        assert "--run" in str(caught.value)
        with pytest.raises(UserError, match=r"other settings \(a\)"):  # of which other data may be what comes
            run.start({"a": 2, "data_sha256": "34"})
        assert run.config() == {"a": 1, "data_sha256": "12"}

    def test_a_run_of_before_data_had_a_fingerprint_goes_on(self, tmp_path):
        run = started(tmp_path / "run", a=1)
        run.start({"a": 1, "data_sha256": "12"})
        assert run.config() == {"a": 1}
        with pytest.raises(UserError, match=r"other settings \(a\)"):
            run.start({"a": 2, "data_sha256": "12"})

    def test_an_empty_folder_will_do(self, tmp_path):
        (tmp_path / "run").mkdir()
        assert started(tmp_path / "run", a=1).config() == {"a": 1}

    def test_a_folder_of_something_else_is_refused(self, tmp_path):
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "thesis.tex").write_text("x")
        with pytest.raises(UserError, match="is no run"):
            started(tmp_path / "run")
        assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.tex"]

    def test_a_file_is_refused(self, tmp_path):
        (tmp_path / "run").write_text("x")
        with pytest.raises(UserError, match="is no run"):
            started(tmp_path / "run")
        with pytest.raises(UserError, match="cannot write the run folder"):
            started(tmp_path / "run" / "below")
        assert (tmp_path / "run").read_text() == "x"

    def test_a_name_too_long_is_refused(self, tmp_path):
        with pytest.raises(UserError, match="name another with --run"):
            started(tmp_path / ("x" * 300))

    def test_what_cannot_be_written_is_refused(self, tmp_path, monkeypatch):
        """By a stand-in, since root may write anywhere."""

        def refuse(*_args, **_options):
            raise PermissionError(13, os.strerror(13))

        monkeypatch.setattr("tempfile.mkdtemp", refuse)
        with pytest.raises(UserError, match=r"cannot write the run folder '.*run' \(Permission denied\)") as caught:
            started(tmp_path / "run")
        assert "\n" not in str(caught.value)

    def test_what_cannot_be_looked_at_is_refused(self, tmp_path, monkeypatch):
        def refuse(*_args, **_options):
            raise PermissionError(13, os.strerror(13))

        monkeypatch.setattr("pathlib.Path.exists", refuse)
        with pytest.raises(UserError, match="Permission denied"):
            started(tmp_path / "run")

    @pytest.mark.parametrize("content", [None, "", "{", "\x00", b"\xff"])
    def test_a_folder_that_is_no_run_has_no_settings(self, tmp_path, content):
        if content is not None:
            (tmp_path / "config.json").write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(UserError, match="no training run"):
            RunFolder(tmp_path).config()

    def test_a_half_written_last_line_is_left_out(self, tmp_path):
        run = started(tmp_path / "run")
        assert run.metrics() == []
        rows = [{"stage": "é", "epoch": 1, "loss": 0.1}, {"stage": "é", "epoch": 2, "loss": 1e-300}]
        run.write_metrics(rows)
        assert run.metrics() == rows
        whole = run.metrics_path.read_bytes()
        for cut in range(1, len(whole.splitlines(keepends=True)[1]) + 1):
            run.metrics_path.write_bytes(whole[:-cut])
            assert run.metrics() == rows[:1]

    def test_a_half_written_last_line_does_not_stop_training(self, tmp_path):
        run = started(tmp_path / "run")
        Follower([3.0, 1.0]).train(run)
        with run.metrics_path.open("a") as file:
            file.write('{"stage": "follow", "ep')
        assert Follower([3.0, 1.0, 2.0]).train(run) == 1.0
        assert [row["epoch"] for row in run.metrics()] == [1, 2, 3]


@pytest.mark.usefixtures("no_pictures")
class TestFigures:
    """What a stage finds out about its model after each epoch."""

    def train(self, run, weights, **options):
        follower = Follower(weights)
        model = follower.model()

        def figures():
            weight = float(model.get_weights()[0][0, 0])
            return {"val_weight": weight, "val_negative": -weight}

        train_stage(model, follower.stage(figures=figures, **options), run, verbose=False)
        return float(model.get_weights()[0][0, 0]), follower.epochs_seen

    def test_they_stand_beside_the_metrics_and_may_choose_the_best_epoch(self, tmp_path):
        run = started(tmp_path / "run")
        assert self.train(run, [3.0, -1.0, 2.0], monitor="val_weight", higher_is_better=True)[0] == 3.0
        rows = run.metrics()
        assert [(row["val_weight"], row["val_negative"], row["val_loss"]) for row in rows] == [
            (3.0, -3.0, 9.0),
            (-1.0, 1.0, 1.0),
            (2.0, -2.0, 4.0),
        ]

    def test_lower_may_be_better_and_patience_goes_by_them(self, tmp_path):
        run = started(tmp_path / "run")
        found = self.train(run, [3.0, -1.0, 2.0, 0.0, -5.0], monitor="val_weight", patience=2)
        assert found == (-1.0, [1, 2, 3, 4])

    def test_a_run_that_goes_on_knows_those_of_the_epochs_before(self, tmp_path):
        run, options = started(tmp_path / "run"), {"monitor": "val_weight", "higher_is_better": True}
        assert self.train(run, [3.0, 4.0, 1.0], epochs=2, **options) == (4.0, [1, 2])
        assert self.train(run, [3.0, 4.0, 1.0], **options) == (4.0, [3])
        assert [row["val_weight"] for row in run.metrics()] == [3.0, 4.0, 1.0]

    def test_without_any_a_row_holds_the_metrics_alone(self, tmp_path):
        run = started(tmp_path / "run")
        Follower([1.0]).train(run)
        assert set(run.metrics()[0]) == {"stage", "epoch", "loss", "val_loss", *TIMES}

    def test_with_an_average_they_are_of_the_average(self, tmp_path):
        run, task = started(tmp_path / "run"), Averaging()
        model = task.model()

        def figures():
            return {"again": float(task.validation_loss([np.asarray(weight) for weight in model.trainable_weights]))}

        train_stage(model, dataclasses.replace(task.stage(), epochs=2, figures=figures), run, verbose=False)
        rows = run.metrics()
        assert len(rows) == 2
        np.testing.assert_allclose([row["again"] for row in rows], [row["val_loss"] for row in rows], rtol=1e-4)
        trained = [task.validation_loss(weights) for weights in task.recording.weights[3::4]]
        assert np.abs(np.subtract([row["again"] for row in rows], trained)).min() > 1e-3


def test_a_run_from_before_a_setting_has_its_default(tmp_path):
    defaults = CharLmSettings()
    new = dataclasses.asdict(CharLmSettings(units=7))
    old = {name: value for name, value in new.items() if name != "encoding"}
    run = RunFolder(tmp_path / "run")
    run.start({"task": "char_lm", **old})
    run.start({"task": "char_lm", **new}, defaults)
    assert "encoding" not in run.config()
    assert settings_of(run.config(), CharLmSettings) == CharLmSettings(units=7)
    assert as_started(run.path, defaults, encoding=None, units=None) == {"encoding": "", "units": 7}
    with pytest.raises(UserError, match=r"other settings \(encoding\)"):
        run.start({"task": "char_lm", **new, "encoding": "cp1252"}, defaults)


def test_a_run_from_before_weights_decayed_goes_on_without(tmp_path):
    defaults = CharLmSettings()
    new = dataclasses.asdict(defaults)
    old = {name: value for name, value in new.items() if name != "weight_decay"}
    run = RunFolder(tmp_path / "run")
    run.start({"task": "char_lm", **old})
    assert defaults.weight_decay > 0
    assert settings_of(run.config(), CharLmSettings) == CharLmSettings(weight_decay=0.0)
    run.start({"task": "char_lm", **new, "weight_decay": 0.0}, defaults)
    with pytest.raises(UserError, match=r"other settings \(weight_decay\)"):
        run.start({"task": "char_lm", **new}, defaults)
    assert as_started(run.path, defaults, weight_decay=None) == {"weight_decay": 0.0}
    assert as_started(None, defaults, weight_decay=None) == {"weight_decay": defaults.weight_decay}


def test_a_verb_takes_what_was_given_then_what_the_run_has_then_the_default(tmp_path):
    defaults = CharLmSettings()
    run = RunFolder(tmp_path / "run")
    run.start({"task": "char_lm", "line_mode": True, "validation_fraction": 0.2})

    def asked(path, **given):
        return as_started(path, defaults, **{"line_mode": None, "validation_fraction": None, "seed": None, **given})

    assert asked(run.path) == {"line_mode": True, "validation_fraction": 0.2, "seed": defaults.seed}
    assert asked(run.path, line_mode=False, validation_fraction=0.3, seed=9) == {
        **{"line_mode": False, "validation_fraction": 0.3, "seed": 9}
    }
    own = {name: getattr(defaults, name) for name in ("line_mode", "validation_fraction", "seed")}
    assert asked(None) == own
    with pytest.raises(UserError, match="is no training run"):
        asked(tmp_path / "none")
