"""Training a character model on small texts, from text to a run folder: whole, stopped half-way, diverged, refused."""

import dataclasses
import itertools
import json
import math
import shutil

import keras
import numpy as np
import pytest

from nlp_lstm import training
from nlp_lstm.char_lm import train as train_module
from nlp_lstm.char_lm.build import build_model, load_run
from nlp_lstm.char_lm.settings import Settings
from nlp_lstm.char_lm.train import train
from nlp_lstm.datasets.corpus import load_corpus
from nlp_lstm.datasets.known_sets import fingerprint_of_texts
from nlp_lstm.errors import UserError
from nlp_lstm.run_folder import RunFolder
from nlp_lstm.text.symbols import Symbols

TINY = Settings(
    seed=5,
    embedding_size=6,
    units=7,
    layers=2,
    input_dropout=0.1,
    hidden_dropout=0.1,
    output_dropout=0.1,
    recurrent_kernel_dropout=0.2,
    epochs=3,
    batch_size=4,
    window=16,
    learning_rate=0.02,
    averaging=0.9,
)
# Its last tenth is so long that all windows of validation are whole: 193 = 4 streams * 3 windows * 16 + 1.
TEXT = ('The cat sat on the mat. "Why?" said the dog, and sat on the cat.\n' * 30)[:1930]


def changed(**settings):
    return dataclasses.replace(TINY, **settings)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "text.txt"
    path.write_text(TEXT)
    return str(path)


@pytest.fixture(scope="module")
def runs(source, tmp_path_factory):
    """A whole run, and what a kill in the midst of its second epoch would have left of it."""
    folder = tmp_path_factory.mktemp("runs")
    run, stopped = RunFolder(folder / "run"), RunFolder(folder / "stopped")

    class Copying(training._NanGuard):
        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)
            if batch == 3 and len(run.metrics()) == 1:
                shutil.copytree(run.path, stopped.path)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(training, "_NanGuard", Copying)
        train(source, run, TINY)
    return run, stopped


@pytest.fixture(scope="module")
def whole(runs):
    return runs[0]


@pytest.fixture(scope="module")
def stopped(runs):
    return runs[1]


@pytest.fixture
def copy_of(tmp_path):
    def copy(run):
        shutil.copytree(run.path, tmp_path / "copy")
        return RunFolder(tmp_path / "copy")

    return copy


def tree(run):
    return {path.relative_to(run.path).as_posix(): path.read_bytes() for path in run.path.rglob("*") if path.is_file()}


def without_times(run):
    times = ("seconds", "cpu_seconds")
    return [{key: value for key, value in row.items() if key not in times} for row in run.metrics()]


def assert_same_weights(found, expected):
    found, expected = load_run(found)[0].get_weights(), load_run(expected)[0].get_weights()
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


class TestSettings:
    @pytest.mark.parametrize(
        ("names", "values", "expected"),
        [
            ("seed", (-1, 2**31), "0 to 2147483647"),
            ("least_count embedding_size units layers epochs patience batch_size window", (0, -3), "at least 1"),
            ("validation_fraction", (0.0, 1.0, math.nan), "above 0 and less than 1"),
            (
                "input_dropout hidden_dropout output_dropout recurrent_dropout recurrent_kernel_dropout "
                "zoneout_hidden zoneout_cell averaging",
                (-0.1, 1.0, math.nan),
                "at least 0 and less than 1",
            ),
            ("weight_decay", (-0.1, math.inf, math.nan), "a finite number, at least 0"),
            ("learning_rate clip_norm", (0.0, -1.0, math.inf, math.nan), "a finite number above 0"),
            ("final_rate_share", (-0.1, 1.1, math.nan), "0 to 1"),
        ],
    )
    def test_out_of_range(self, names, values, expected):
        for name in names.split():
            for value in values:
                with pytest.raises(UserError) as caught:
                    Settings(**{name: value})
                assert str(caught.value) == f"--{name.replace('_', '-')} is {value}: expected {expected}"

    def test_every_number_has_a_range(self):
        """Whatever is added later: no number is below zero."""
        for field in dataclasses.fields(Settings):
            if type(field.default) in (int, float):
                with pytest.raises(UserError, match=f"--{field.name.replace('_', '-')} is -1"):
                    Settings(**{field.name: -1})

    def test_the_edges_are_taken(self):
        settings = Settings(seed=2**31 - 1, embedding_size=1, units=1, layers=1, input_dropout=0.0, final_rate_share=1)
        logits, _ = build_model(settings, 2)(np.array([[0, 1]]), training=True)
        assert np.isfinite(logits).all()
        Settings(seed=0, least_count=1, epochs=1, patience=1, batch_size=1, window=1, final_rate_share=0.0)
        Settings(zoneout_cell=0.999, averaging=0.0, learning_rate=1e-30)

    def test_every_setting_of_the_model_reaches_it(self):
        rates = {
            **{"input_dropout": 0.1, "hidden_dropout": 0.2, "output_dropout": 0.3, "recurrent_dropout": 0.15},
            **{"recurrent_kernel_dropout": 0.25, "zoneout_hidden": 0.35, "zoneout_cell": 0.45},
            **{"embedding_size": 3, "units": 4, "layers": 3, "layer_normalization": True, "seed": 9},
        }
        found = build_model(Settings(**rates), 11, "mixed_bfloat16").settings
        assert found == {**rates, "vocabulary_size": 11, "lstm_dtype": "mixed_bfloat16"}


class TestTraining:
    def test_the_run_folder(self, whole, source):
        fingerprint = {"data_sha256": fingerprint_of_texts(load_corpus(source, ["train", "validation"]))}
        assert whole.config() == {"task": "char_lm", "data": source, **dataclasses.asdict(TINY), **fingerprint}
        assert [(row["stage"], row["epoch"]) for row in whole.metrics()] == [("training", epoch) for epoch in (1, 2, 3)]
        assert json.loads((whole.path / "symbols.json").read_text()) == {
            "unit": "character",
            "characters": sorted(set(TEXT)),
        }
        assert (whole.path / "curves.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        names = {name.split("/")[0] for name in tree(whole)}
        assert names == {
            *("checkpoints", "config.json", "curves.png", "metrics.jsonl", "model.weights.h5", "symbols.json"),
            "tensorboard",
        }
        assert {name for name in tree(whole) if name.startswith("checkpoints/")} == {
            *("checkpoints/training-0003.weights.h5", "checkpoints/training-best.weights.h5"),
        }

    def test_it_learns(self, whole):
        rows = whole.metrics()
        assert rows[-1]["val_loss"] < rows[0]["val_loss"] < math.log(len(set(TEXT)) + 1)

    def test_weights_decay(self, whole, source, tmp_path):
        decayed = RunFolder(tmp_path / "decayed")
        train(source, decayed, dataclasses.replace(TINY, weight_decay=5.0))
        sizes = [np.square(load_run(run)[0].lstms[0].cell.recurrent_kernel).sum() for run in (decayed, whole)]
        assert sizes[0] < 0.8 * sizes[1]

    def test_what_is_kept_is_the_best_epoch_and_its_loss_that_of_the_streams_read_through(self, whole):
        model, symbols, settings = load_run(whole)
        assert settings == TINY
        ids = symbols.encode(TEXT[1737:])
        streams = np.stack([ids[48 * row : 48 * row + 49] for row in range(4)])
        logits, _ = model(streams[:, :-1])  # the state carried all through
        guesses = keras.ops.convert_to_numpy(keras.ops.log_softmax(logits))
        loss = -np.take_along_axis(guesses, streams[:, 1:, None], axis=2).mean()
        assert loss == pytest.approx(min(row["val_loss"] for row in whole.metrics()), rel=1e-5)

    def test_what_it_says(self, source, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr(train_module, "train_stage", lambda *_, **__: None)
        train(source, RunFolder(tmp_path / "run"), TINY)
        out, err = capsys.readouterr()
        weights = sum(weight.size for weight in build_model(TINY, len(set(TEXT)) + 1).get_weights() if weight.ndim)
        assert out == ""
        assert err.startswith("1737 characters to train on, 193 for validation; ")
        symbols = len(set(TEXT)) + 1
        assert f"{symbols} symbols, " in err
        counted = symbols * 6 + (6 + 7 + 1) * 28 + (7 + 7 + 1) * 28 + 8 * symbols
        assert f" {counted} weights" in err or f" {weights} weights" in err

    @pytest.mark.parametrize("unit", ["character", "byte"])
    def test_line_mode_least_count_and_the_text_that_is_read(self, unit, tmp_path, monkeypatch):
        """Up to where training begins: which ids it is given."""
        given = []
        monkeypatch.setattr(train_module, "_train", lambda *arguments: given.append(arguments))
        lines = "".join(f"  é{'ab'[number % 2]} \n" for number in range(100)) + "Q c\n"
        (tmp_path / "lines.txt").write_text(lines)
        settings = changed(unit=unit, line_mode=True, least_count=2, validation_fraction=0.25)
        run = RunFolder(tmp_path / "run")
        train(str(tmp_path / "lines.txt"), run, settings)
        text = "".join(line.strip() + "\n" for line in lines.splitlines())
        at = text.find("\n", int(0.75 * len(text)) - 1) + 1
        _, training_ids, validation_ids, *_ = given[0]
        if unit == "byte":
            expected = [list(part.encode()) for part in (text[:at], text[at:])]
        else:
            known = ["", *"\nabé"]  # Q and c are seen but once, and not in training text at that
            expected = [[known.index(one) if one in known else 0 for one in part] for part in (text[:at], text[at:])]
        assert [training_ids.tolist(), validation_ids.tolist()] == expected
        assert len(load_run(run)[1]) == (256 if unit == "byte" else 5)

    @pytest.mark.thorough
    def test_bytes_layer_normalization_zoneout_and_half_precision(self, tmp_path):
        text = "Der Bär sagt: „Größe“. 熊は言う😀\n" * 20
        (tmp_path / "text.txt").write_text(text, encoding="utf-8")
        settings = changed(
            unit="byte",
            layer_normalization=True,
            zoneout_hidden=0.1,
            zoneout_cell=0.2,
            recurrent_dropout=0.1,
            epochs=2,
            schedule="plateau",
            precision="mixed_bfloat16",
        )
        run = RunFolder(tmp_path / "run")
        train(str(tmp_path / "text.txt"), run, settings)
        rows = run.metrics()
        assert rows[1]["val_loss"] < rows[0]["val_loss"] < math.log(256) + 0.1
        model, symbols, found = load_run(run)
        assert found == settings
        assert (symbols.unit, len(symbols)) == ("byte", 256)
        assert all(weight.dtype == np.float32 for weight in model.get_weights() if weight.dtype.kind == "f")
        # Shipped in single precision, it finds the text about as likely as in training.
        ids = symbols.encode(text[int(0.9 * len(text)) :])
        logits, _ = model(ids[None, :-1])
        guesses = keras.ops.convert_to_numpy(keras.ops.log_softmax(logits))[0]
        loss = -guesses[np.arange(len(ids) - 1), ids[1:]].mean()
        assert loss == pytest.approx(min(row["val_loss"] for row in rows), abs=0.2)

    def test_a_finished_run_is_left_alone(self, whole, source, capsys):
        before = tree(whole)
        train(source, whole, TINY)
        assert tree(whole) == before
        assert capsys.readouterr() == ("", f"the run in '{whole.path}' is finished\n")

    def test_other_settings_are_refused(self, whole, source):
        before = tree(whole)
        with pytest.raises(UserError, match=r"other settings \(epochs, units\)"):
            train(source, whole, changed(units=8, epochs=4))
        assert tree(whole) == before


@pytest.mark.thorough
class TestStopped:
    def test_it_goes_on_and_ends_where_it_would_have(self, stopped, whole, source, copy_of, capsys):
        run = copy_of(stopped)
        assert [row["epoch"] for row in run.metrics()] == [1]
        assert not run.model_weights.exists()
        train(source, run, TINY)
        assert "training: going on after epoch 1 of 3" in capsys.readouterr().err
        assert without_times(run) == without_times(whole)
        assert_same_weights(run, whole)
        assert {name for name in tree(run) if not name.startswith("tensorboard")} == {
            name for name in tree(whole) if not name.startswith("tensorboard")
        }

    def test_loss_that_is_no_number_keeps_the_last_good_checkpoint(self, stopped, source, copy_of, monkeypatch):
        """The weights of a later epoch are spoilt."""
        run = copy_of(stopped)
        before = tree(run)
        original = training.reseed

        def spoiling(model, epoch, place):
            original(model, epoch, place)
            model.trainable_weights[0].assign(model.trainable_weights[0] * math.nan)

        monkeypatch.setattr(training, "reseed", spoiling)
        with pytest.raises(UserError, match="the loss became nan at batch 1: the last good checkpoint is kept"):
            train(source, run, TINY)
        assert tree(run) == before
        assert "checkpoints/training-0001.weights.h5" in before
        assert "checkpoints/training-best.weights.h5" in before
        with pytest.raises(UserError, match="is not finished"):
            load_run(run)

    def test_a_rate_far_too_high(self, source, tmp_path):
        run = RunFolder(tmp_path / "run")
        with pytest.raises(UserError, match=r"became (nan|inf) at .*: .*lower --learning-rate"):
            train(source, run, changed(learning_rate=1e30, averaging=0.0))
        assert run.metrics() == []
        assert not run.model_weights.exists()


class TestStartFrom:
    def test_training_goes_on_from_the_weights_of_another_run(self, whole, source, tmp_path):
        run = RunFolder(tmp_path / "run")
        train(source, run, changed(start_from=str(whole.path), epochs=1, learning_rate=1e-12, averaging=0.0, seed=6))
        before, after = (load_run(found)[0].trainable_weights for found in (whole, run))
        for expected, found in zip(before, after, strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-6)
        *earlier, row = run.metrics()
        assert row["val_loss"] == pytest.approx(min(row["val_loss"] for row in whole.metrics()), rel=1e-4)
        # So that its card tells all that it took.
        assert earlier == [{**row, "stage": "earlier training"} for row in whole.metrics()]
        assert run.earlier_configs() == [whole.config()]

    def test_a_text_with_other_symbols_begins_with_what_is_known_of_them(self, whole, source, tmp_path, capsys):
        """Two are new, and the ids of the others change: what is known of a character goes by the character."""
        texts = load_corpus(source, ["train", "validation"])
        other = tmp_path / "other.txt"
        other.write_text((texts["train"] + texts["validation"]).replace("a", "Å").replace("e", "!"), encoding="utf-8")
        run = RunFolder(tmp_path / "run")
        settings = changed(start_from=str(whole.path), epochs=1, learning_rate=1e-12, averaging=0.0, seed=6)
        train(str(other), run, settings)
        (before, old, _), (after, new, _) = (load_run(found) for found in (whole, run))
        assert set(new.characters) - set(old.characters) == {"Å", "!"}
        drawn = build_model(settings, len(new))
        for number, symbol in enumerate(new.spelling):
            model, at = (before, old.spelling.index(symbol)) if symbol in old.spelling else (drawn, number)
            for expected, found in (
                (model.embedding.embeddings[at], after.embedding.embeddings[number]),
                (model.head.kernel[:, at], after.head.kernel[:, number]),
                (model.head.bias[at], after.head.bias[number]),
            ):
                np.testing.assert_allclose(found, expected, atol=1e-6)
        for first, second in zip(before.lstms, after.lstms, strict=True):
            for expected, found in zip(first.trainable_weights, second.trainable_weights, strict=True):
                np.testing.assert_allclose(found, expected, atol=1e-6)
        assert f"2 of the {len(new)} symbols are new to '{whole.path}'" in capsys.readouterr().err

    @pytest.mark.parametrize(
        "other", [{"units": 8}, {"layers": 1}, {"unit": "byte"}, {"embedding_size": 5}, {"layer_normalization": True}]
    )
    def test_other_sizes_are_refused_and_leave_no_run(self, whole, source, tmp_path, other):
        (name,) = other
        with pytest.raises(UserError, match=rf"has other sizes \({name}: {getattr(TINY, name)}\): give this one"):
            train(source, RunFolder(tmp_path / "run"), changed(start_from=str(whole.path), **other))
        assert not (tmp_path / "run").exists()

    def test_training_goes_on_from_an_exported_model(self, exported_char_lm, source, tmp_path, capsys):
        """Which keeps no figures, and does not tell what it has seen."""
        exported, run = exported_char_lm("character"), RunFolder(tmp_path / "run")
        settings = changed(start_from=str(exported.base), epochs=1, learning_rate=1e-12, averaging=0.0)
        train(source, run, settings)
        model, symbols, _ = load_run(run)
        both = [character for character in symbols.characters if character in exported.symbols.characters]
        assert len(both) > 5
        text = "".join(np.random.default_rng(0).choice(both, 30))
        logits, _ = model(symbols.encode(text)[None])
        expected, _ = exported.model(exported.symbols.encode(text)[None])
        np.testing.assert_allclose(
            logits.numpy()[0][:, symbols.encode("".join(both))],
            expected.numpy()[0][:, exported.symbols.encode("".join(both))],
            atol=1e-3,
        )
        assert f"the model at '{exported.base}' does not tell which texts it was trained on" in capsys.readouterr().err
        assert [row["stage"] for row in run.metrics()] == ["training"]
        train(source, run, settings)  # started again, it finds the same model
        assert "is finished" in capsys.readouterr().err

    def test_a_run_that_is_none_is_refused(self, source, tmp_path):
        with pytest.raises(UserError, match="is no training run"):
            train(source, RunFolder(tmp_path / "run"), changed(start_from=str(tmp_path / "nothing")))
        assert not (tmp_path / "run").exists()


class TestSchedule:
    @pytest.fixture
    def begun(self, source, tmp_path, monkeypatch):
        """The model and the stage that training would begin with."""

        def begin(**settings):
            given = []
            monkeypatch.setattr(
                train_module, "train_stage", lambda model, stage, run, **_: given.append((model, stage))
            )
            train(source, RunFolder(tmp_path / "run"), changed(**settings))
            return given[0]

        return begin

    @pytest.mark.parametrize(
        ("losses", "halvings"),
        [
            ([], 0),
            ([3.0], 0),
            ([3.0, 2.0, 1.0], 0),
            ([3.0, 3.0], 1),
            ([3.0, 2.0, 2.5, 1.0], 1),
            ([3.0, 2.0, 2.5, 2.2], 2),  # better than the last one, not than the best
            ([1.0, 2.0, 3.0, 0.5, 0.5], 3),
        ],
    )
    def test_the_rate_falls_by_half_after_an_epoch_that_is_no_better_than_the_best(self, begun, losses, halvings):
        model, stage = begun(schedule="plateau")
        assert float(model.optimizer.learning_rate) == pytest.approx(0.02)
        assert stage.learning_rate([{"val_loss": loss} for loss in losses]) == pytest.approx(0.02 / 2**halvings)

    def test_the_cosine_ends_with_the_last_batch_of_the_last_epoch(self, begun):
        model, stage = begun(final_rate_share=0.25)
        assert stage.learning_rate is None
        steps = sum(len(list(stage.batches(epoch))) for epoch in (1, 2, 3))
        rates = []
        for step in range(steps + 1):
            model.optimizer.iterations.assign(step)
            rates.append(float(model.optimizer.learning_rate))
        assert max(rates) == pytest.approx(0.02)
        assert rates[-1] == pytest.approx(0.02 / 4)
        assert rates[-2] > rates[-1] * 1.00001
        assert np.argmax(rates) <= steps / 19

    def test_batches_are_the_text_in_order_and_others_in_each_epoch(self, begun, source):
        _, stage = begun()
        epochs = []
        for epoch in (1, 2, 1):
            batches = [ids.numpy() for ids, _ in stage.batches(epoch)]
            assert all(len(ids) == 4 for ids in batches)
            for one, following in itertools.pairwise(batches):
                np.testing.assert_array_equal(one[:, -1], following[:, 0])
            epochs.append(batches)
        assert {ids.shape[1] - 1 for ids in epochs[0]} <= {12, 16, 20}
        for one, again in zip(epochs[0], epochs[2], strict=True):
            np.testing.assert_array_equal(one, again)
        assert not np.array_equal(epochs[0][0][:, :12], epochs[1][0][:, :12])
        assert (stage.monitor, stage.higher_is_better, stage.patience, stage.epochs) == ("val_loss", False, 5, 3)


class TestSources:
    @pytest.mark.parametrize(
        ("content", "told"),
        [
            ("", "is empty"),
            ("a", "has no text for the split"),
            ("abc" * 29, "has 78 characters for train, too few for windows of 16 with --batch-size 4"),
        ],
    )
    def test_too_little_text_leaves_no_run(self, tmp_path, content, told):
        (tmp_path / "text.txt").write_text(content)
        with pytest.raises(UserError, match=told) as caught:
            train(str(tmp_path / "text.txt"), RunFolder(tmp_path / "run"), TINY)
        assert "\n" not in str(caught.value)
        assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]

    @pytest.mark.parametrize(("split", "enough"), [("train", 81), ("valid", 5)])
    def test_how_much_is_enough(self, tmp_path, monkeypatch, split, enough):
        """Four windows of at most 20, and one symbol; for validation a guess in each of four streams."""
        monkeypatch.setattr(train_module, "train_stage", lambda *_, **__: None)
        folder = tmp_path / "data"
        folder.mkdir()
        for name, length in {"train": 200, "valid": 50, split: enough}.items():
            (folder / f"{name}.txt").write_text("a" * length)
        train(str(folder), RunFolder(tmp_path / "run"), TINY)
        assert (tmp_path / "run" / "model.weights.h5").exists()
        (folder / f"{split}.txt").write_text("a" * (enough - 1))
        with pytest.raises(UserError, match=f"has {enough - 1} characters for {'validation' if enough < 9 else split}"):
            train(str(folder), RunFolder(tmp_path / "another"), TINY)
        assert not (tmp_path / "another").exists()

    def test_a_source_that_cannot_be_read_leaves_no_run(self, tmp_path):
        with pytest.raises(UserError, match=r"none\.txt"):
            train(str(tmp_path / "none.txt"), RunFolder(tmp_path / "run"), TINY)
        assert list(tmp_path.iterdir()) == []


class TestLoadRun:
    def test_of_another_app(self, tmp_path):
        run = RunFolder(tmp_path)
        run.start({"task": "sentiment"})
        with pytest.raises(UserError, match="is no run of a character language model: name one with --run"):
            load_run(run)

    def test_no_run(self, tmp_path):
        with pytest.raises(UserError, match="is no training run"):
            load_run(RunFolder(tmp_path / "none"))

    def test_not_finished(self, stopped):
        with pytest.raises(UserError, match="is not finished: start its train command again"):
            load_run(stopped)

    @pytest.mark.parametrize(
        "damage",
        ["no symbols", "symbols cut", "weights cut", "no weights at all", "other size", "no number", "range"],
    )
    def test_damaged(self, whole, copy_of, damage):
        run = copy_of(whole)
        config = run.config()
        weights = run.model_weights.read_bytes()
        match damage:
            case "no symbols":
                (run.path / "symbols.json").unlink()
            case "symbols cut":
                (run.path / "symbols.json").write_text('{"unit": "char')
            case "weights cut":
                run.model_weights.write_bytes(weights[: len(weights) // 2])
            case "no weights at all":
                run.model_weights.write_bytes(b"")
            case "other size":
                config["units"] = 8
            case "no number":
                config["units"] = "seven"
            case "range":
                config["units"] = 0
        run.config_path.write_text(json.dumps(config))
        with pytest.raises(UserError, match="is damaged or from another version .*: train again in a new") as caught:
            load_run(run)
        assert len(str(caught.value).splitlines()) == 1
        assert str(run.path) in str(caught.value)

    def test_a_run_from_before_a_setting_has_its_default(self, whole, copy_of):
        run = copy_of(whole)
        config = run.config()
        del config["window"]
        run.config_path.write_text(json.dumps(config))
        assert load_run(run)[2] == dataclasses.replace(TINY, window=Settings.window)


def test_symbols_of_a_run_are_those_of_its_training_text_alone(whole):
    """What validation text alone holds is unknown, as it will be in use."""
    assert load_run(whole)[1].spelling == Symbols.of_text(TEXT[:1737]).spelling
