"""What teachers guess of a text, against one window and one symbol at a time, and a student that is given it."""

import collections
import dataclasses
import shutil

import keras
import numpy as np
import pytest

from nlp_lstm import training
from nlp_lstm.char_lm import teaching
from nlp_lstm.char_lm import train as train_module
from nlp_lstm.char_lm.batches import Streams
from nlp_lstm.char_lm.build import load_run
from nlp_lstm.char_lm.settings import Settings
from nlp_lstm.char_lm.teaching import load_teachers, taught_probabilities
from nlp_lstm.char_lm.train import train
from nlp_lstm.errors import UserError
from nlp_lstm.models.language_model import CarriedStateTraining, LanguageModel
from nlp_lstm.run_folder import RunFolder
from nlp_lstm.text.symbols import Symbols

SIZE = 6
TINY = Settings(
    seed=5, embedding_size=6, units=7, layers=1, epochs=2, batch_size=4, window=16, learning_rate=0.02, averaging=0.0
)
TEXT = ('The cat sat on the mat. "Why?" said the dog, and sat on the cat.\n' * 15)[:900]


def teacher_of(seed, units=5, layers=2):
    keras.utils.set_random_seed(seed)
    model = LanguageModel(SIZE, 4, units, layers, output_dropout=0.5, seed=seed)
    model.build((None, None))
    for weight in model.trainable_weights:
        weight.assign(np.random.default_rng(seed).normal(size=weight.shape))
    return model


@pytest.fixture(scope="module")
def ids():
    return np.random.default_rng(0).integers(0, SIZE, 53).astype(np.int32)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "text.txt"
    path.write_text(TEXT)
    return str(path)


@pytest.fixture(scope="module")
def teachers(source, tmp_path_factory):
    """Two runs of other sizes than the student's."""
    folder = tmp_path_factory.mktemp("teachers")
    runs = [folder / "one", folder / "two"]
    train(source, RunFolder(runs[0]), TINY)
    train(source, RunFolder(runs[1]), dataclasses.replace(TINY, seed=6, units=9, layers=2, epochs=1))
    return runs


class TestTaughtProbabilities:
    @pytest.mark.parametrize(("batch_size", "window"), [(1, 52), (1, 7), (3, 5), (4, 100)])
    def test_the_mean_of_the_teachers_each_stream_read_through(self, ids, batch_size, window):
        models = [teacher_of(1), teacher_of(2, units=3, layers=1)]
        found = taught_probabilities(models, ids, batch_size, window)
        assert (found.shape, found.dtype) == ((53, SIZE), np.float16)
        guesses = 52 // batch_size
        expected = np.eye(SIZE)[ids]  # where no stream guesses
        for row in range(batch_size):
            stream = ids[row * guesses : (row + 1) * guesses]
            each = [keras.ops.softmax(model(stream[None])[0])[0] for model in models]
            expected[row * guesses + 1 : (row + 1) * guesses + 1] = np.mean(each, axis=0)
        np.testing.assert_allclose(found, expected, atol=6e-4)
        np.testing.assert_allclose(found.astype(float).sum(axis=1), 1, atol=3e-3)


class TestLoadTeachers:
    def test_none(self):
        assert load_teachers([], Symbols("byte"), 10**15) == []

    def test_other_symbols(self, teachers):
        with pytest.raises(UserError, match=r"the run in '.*one' has other symbols: let it teach on the data"):
            load_teachers(teachers, Symbols("byte"), 100)

    def test_a_text_that_is_too_long(self, teachers):
        symbols = load_run(RunFolder(teachers[0]))[1]
        length = teaching._MOST_BYTES // (2 * len(symbols))
        assert len(load_teachers(teachers, symbols, length)) == 2
        with pytest.raises(UserError, match=r"of [\d,]+ characters takes 8 GiB of memory, and 8 is the most: train on"):
            load_teachers(teachers, symbols, length + 1)


class TestStreams:
    @pytest.mark.parametrize("seed", [None, (3, 1)])
    def test_what_is_taught_stands_beside_its_symbol(self, seed):
        """The place of each symbol, taught as a vector of it, tells where it comes from."""
        ids = np.arange(40, dtype=np.int32)
        streams = Streams(ids, 2, 4, seed, taught=np.stack([ids, ids**2], axis=1).astype(np.float16))
        seen = 0
        for (read, taught), nothing in streams.dataset().as_numpy_iterator():
            assert taught.shape == (2, read.shape[1] - 1, 2)
            np.testing.assert_array_equal(taught[..., 0], read[:, 1:])
            np.testing.assert_array_equal(taught[..., 1], read[:, 1:] ** 2)
            assert nothing.tolist() == [0, 0]
            seen += 1
        assert seen == len(streams) > 2

    def test_the_ids_are_as_without(self):
        ids = np.arange(100, dtype=np.int32)
        taught = Streams(ids, 3, 8, (1, 2), taught=np.zeros((100, 2), np.float16)).dataset().as_numpy_iterator()
        alone = Streams(ids, 3, 8, (1, 2)).dataset().as_numpy_iterator()
        for ((one, _), _), (other, _) in zip(taught, alone, strict=True):
            np.testing.assert_array_equal(one, other)


class TestLoss:
    @pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
    def test_by_hand(self, ids, share):
        model = teacher_of(3)
        window = ids[:20].reshape(2, 10)
        taught = np.random.default_rng(1).dirichlet(np.ones(SIZE), (2, 9)).astype(np.float16)
        trained = CarriedStateTraining(model, 2, teacher_share=share)
        log_p = keras.ops.convert_to_numpy(keras.ops.log_softmax(model(window[:, :-1])[0]))
        own = -np.take_along_axis(log_p, window[:, 1:, None], axis=2)[..., 0]
        guessed = -(taught * log_p).sum(axis=2)
        expected = ((1 - share) * own + share * guessed).mean(axis=1)
        np.testing.assert_allclose(trained((window, taught)), expected, rtol=1e-4)
        trained.reset()
        np.testing.assert_allclose(trained(window), own.mean(axis=1), rtol=1e-4)

    def test_its_config(self):
        trained = CarriedStateTraining(teacher_of(3), 2, teacher_share=0.25)
        assert CarriedStateTraining.from_config(trained.get_config()).teacher_share == 0.25


class TestStudent:
    @pytest.fixture(scope="class")
    def student(self, source, teachers, tmp_path_factory):
        run = RunFolder(tmp_path_factory.mktemp("student") / "run")
        train(source, run, TINY, teacher_runs=teachers)
        return run

    def test_what_is_kept_of_its_teachers(self, student, teachers):
        assert student.config()["teacher_run"] == [str(path) for path in teachers]
        stages = collections.Counter(row["stage"] for row in student.metrics())
        assert stages == {"teacher 1": 2, "teacher 2": 1, "training": 2}
        assert [config["units"] for config in student.earlier_configs()] == [7, 9]

    def test_a_teacher_with_no_share_teaches_nothing(self, source, teachers, tmp_path):
        run = RunFolder(tmp_path / "run")
        train(source, run, dataclasses.replace(TINY, teacher_share=0.0), teacher_runs=teachers)
        for one, other in zip(
            load_run(run)[0].get_weights(), load_run(RunFolder(teachers[0]))[0].get_weights(), strict=True
        ):
            np.testing.assert_allclose(one, other, atol=2e-4)

    def test_it_comes_nearer_to_its_teacher_than_a_model_of_the_text_alone(self, source, teachers, tmp_path):
        """A teacher that knows nothing of the text, whose guess is the same everywhere, is learnt as such."""
        flat = tmp_path / "flat"
        shutil.copytree(teachers[0], flat)
        model, symbols, _ = load_run(RunFolder(flat))
        for weight in model.trainable_weights:
            weight.assign(np.zeros(weight.shape))
        model.save_weights(RunFolder(flat).model_weights)
        run = RunFolder(tmp_path / "run")
        train(source, run, dataclasses.replace(TINY, teacher_share=1.0), teacher_runs=[flat])
        text = symbols.encode(TEXT[:200])[None]
        flatness = [
            float(np.std(keras.ops.softmax(load_run(found)[0](text)[0]), axis=-1).mean())
            for found in (run, RunFolder(teachers[0]))
        ]
        assert flatness[0] < 0.1 * flatness[1]

    @pytest.mark.thorough
    def test_one_that_was_stopped_goes_on(self, source, teachers, student, tmp_path, monkeypatch):
        run = RunFolder(tmp_path / "run")
        monkeypatch.setattr(training, "_remove_checkpoints_before", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(source, run, TINY, teacher_runs=teachers)
        monkeypatch.undo()
        assert not run.model_weights.exists()
        train(source, run, TINY, teacher_runs=teachers)
        for one, other in zip(load_run(run)[0].get_weights(), load_run(student)[0].get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)

    def test_a_teacher_that_may_have_seen_validation_text_is_told(
        self, source, teachers, tmp_path, monkeypatch, capsys
    ):
        monkeypatch.setattr(train_module, "_train", lambda *_: None)
        train(source, RunFolder(tmp_path / "same"), TINY, teacher_runs=teachers)
        assert "flatters" not in capsys.readouterr().err
        cut = dataclasses.replace(TINY, validation_fraction=0.2)
        train(source, RunFolder(tmp_path / "other"), cut, teacher_runs=teachers)
        (told, _) = (line for line in capsys.readouterr().err.splitlines() if "flatters" in line)
        assert told.startswith(
            f"the run in '{teachers[0]}' was trained on other data than this one, or with another part"
        )
        assert "(data_sha256)" in told

    def test_other_teachers_are_other_settings(self, source, teachers, student):
        with pytest.raises(UserError, match=r"started with other settings \(teacher_run\)"):
            train(source, student, TINY, teacher_runs=teachers[:1])
