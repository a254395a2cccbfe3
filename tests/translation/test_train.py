"""Training a translator on sentences of letters, to a run folder: whole, stopped half-way, diverged, refused."""

import collections
import dataclasses
import functools
import hashlib
import json
import math
import re
import shutil

import keras
import numpy as np
import pytest
import sacrebleu
import sentencepiece
import tensorflow as tf
from ids_by_library import ids_by_library

from nlp_lstm import training
from nlp_lstm.datasets.known_sets import fingerprint_of_pairs
from nlp_lstm.datasets.pairs import load_pairs
from nlp_lstm.errors import UserError
from nlp_lstm.model_card import train_command
from nlp_lstm.run_folder import RunFolder
from nlp_lstm.text.subwords import BEGINNING, END, PADDING, UNKNOWN, Subwords
from nlp_lstm.translation import teaching
from nlp_lstm.translation import train as train_module
from nlp_lstm.translation.batches import id_pairs
from nlp_lstm.translation.build import Vocabularies, build_model, load_run
from nlp_lstm.translation.ensemble import best_translations, serving_of
from nlp_lstm.translation.settings import Settings
from nlp_lstm.translation.train import train
from nlp_lstm.workers import ALONE


@pytest.fixture
def quick_ids(monkeypatch):
    monkeypatch.setattr(train_module, "id_pairs", ids_by_library)


@pytest.fixture(scope="module")
def whole(trained_translation):
    return RunFolder(trained_translation.run)


@pytest.fixture(scope="module")
def tiny(trained_translation):
    return trained_translation.settings


@pytest.fixture(scope="module")
def source(trained_translation):
    return str(trained_translation.data)


@pytest.fixture(scope="module")
def pairs(source, tiny):
    return load_pairs(source, ["train", "validation"], seed=tiny.seed)


@pytest.fixture
def copy_of(tmp_path):
    def copy(path):
        shutil.copytree(path, tmp_path / "copy")
        return RunFolder(tmp_path / "copy")

    return copy


def tree(run):
    return {path.relative_to(run.path).as_posix(): path.read_bytes() for path in run.path.rglob("*") if path.is_file()}


def without_times(run):
    times = ("seconds", "cpu_seconds")
    return [{key: value for key, value in row.items() if key not in times} for row in run.metrics()]


class TestSettings:
    @pytest.mark.parametrize(
        ("names", "values", "expected"),
        [
            ("seed", (-1, 2**31), "0 to 2147483647"),
            (
                "embedding_size encoder_units encoder_layers decoder_units attention_size epochs patience "
                "tokens_per_batch",
                (0, -3),
                "at least 1",
            ),
            ("subwords", (-1, 0, 260, 100_001), "261 (four special ones, 256 bytes and another) to 100000"),
            ("longest", (0, 1, 257), "2 to 256"),
            ("validation_fraction", (0.0, 0.5, 1.0, math.nan), "above 0 and less than 0.5"),
            (
                "embedding_dropout memory_dropout output_dropout recurrent_kernel_dropout label_smoothing averaging",
                (-0.1, 1.0, math.nan),
                "at least 0 and less than 1",
            ),
            ("character_coverage", (0.0, 0.9799, 1.001, math.nan), "0.98 to 1"),
            ("subword_sampling", (-0.1, 1000.1, math.nan), "0 to 1000"),
            ("extra_epochs", (-1,), "at least 0"),
            ("r_drop", (-0.1, math.inf, math.nan), "a finite number of at least 0"),
            ("source_variants", (-0.1, 1.1, math.nan), "0 to 1"),
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
        Settings(seed=0, subwords=261, longest=2, validation_fraction=1e-9, subword_sampling=0.0, final_rate_share=0.0)
        Settings(seed=2**31 - 1, subwords=100_000, longest=256, validation_fraction=0.499, subword_sampling=1000.0)
        Settings(epochs=1, patience=1, tokens_per_batch=1, averaging=0.0, learning_rate=1e-30, final_rate_share=1)
        smallest = dict.fromkeys(("embedding_size", "encoder_units", "decoder_units", "attention_size"), 1)
        Settings(encoder_layers=1, label_smoothing=0.0, output_dropout=0.999, **smallest)

    def test_half_precision_is_of_training_alone(self, begun):
        assert [begun(precision=name)[0].model.settings["product_dtype"] for name in ("mixed_bfloat16", "float32")] == [
            "bfloat16",
            None,
        ]

    @pytest.mark.parametrize("shared", [True, False])
    def test_every_setting_of_the_model_reaches_it(self, shared):
        rates = {
            **{"embedding_dropout": 0.1, "memory_dropout": 0.2, "output_dropout": 0.3, "recurrent_kernel_dropout": 0.4},
            **{"embedding_size": 3, "encoder_units": 4, "decoder_units": 5, "attention_size": 6, "encoder_layers": 2},
            **{"attention": "additive", "seed": 9},
        }
        source, target = ["." * 11, "." * 13]  # all that counts is how many there are
        vocabularies = Vocabularies(target, target) if shared else Vocabularies(source, target)
        found = build_model(Settings(**rates), vocabularies).settings
        sizes = {"vocabulary_size": 13, "source_vocabulary_size": None if shared else 11, "product_dtype": None}
        assert found == {**rates, **sizes}


class TestTraining:
    def test_the_run_folder(self, whole, source, tiny):
        files = {"source_file": None, "target_file": None}
        digest = {"subwords_sha256": hashlib.sha256((whole.path / "subwords.model").read_bytes()).hexdigest()}
        expected = {"task": "translation", "data": source, **files, **dataclasses.asdict(tiny)}
        languages = {"source_language": tiny.source_language, "target_language": tiny.target_language}
        fractions = {"validation_fraction": tiny.validation_fraction, "seed": tiny.seed}
        pairs = load_pairs(source, ["train", "validation"], **languages, **fractions)
        digest["data_sha256"] = fingerprint_of_pairs(pairs.values())
        assert whole.config() == {**expected, **digest}
        names = {name.split("/")[0] for name in tree(whole)}
        assert names == {
            *("checkpoints", "config.json", "curves.png", "metrics.jsonl", "model.weights.h5", "subwords.model"),
            "tensorboard",
        }
        assert {name for name in tree(whole) if name.startswith("checkpoints/")} == {
            *("checkpoints/training-0003.weights.h5", "checkpoints/training-best.weights.h5"),
        }
        assert (whole.path / "curves.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")

    def test_metrics_have_a_line_an_epoch(self, whole):
        rows = whole.metrics()
        assert [(row["stage"], row["epoch"]) for row in rows] == [("training", epoch) for epoch in (1, 2, 3)]
        figures = {"loss", "nats_per_token", "val_loss", "val_nats_per_token", "val_bleu"}
        for row in rows:
            assert set(row) == {"stage", "epoch", "seconds", "cpu_seconds", *figures}
            assert all(math.isfinite(row[name]) for name in figures)
            assert 0 <= row["val_bleu"] <= 100

    def test_it_learns(self, whole):
        rows = whole.metrics()
        for name in ("nats_per_token", "val_nats_per_token", "loss", "val_loss"):
            assert rows[-1][name] < rows[0][name] < math.log(300) + 1

    def test_subwords_are_those_of_the_training_sentences_alone(self, whole, pairs):
        training_pairs = pairs["train"]
        expected = Subwords.train([*training_pairs.source, *training_pairs.target], 300)
        assert (whole.path / "subwords.model").read_bytes() == expected.model

    def test_ids_are_those_of_the_library(self, whole, pairs):
        vocabularies = load_run(whole).vocabularies
        assert id_pairs(vocabularies, pairs["validation"], "lower") == ids_by_library(vocabularies, pairs["validation"])

    def test_what_is_kept_is_the_epoch_of_the_best_bleu(self, whole, pairs, tiny):
        trained = load_run(whole)
        assert trained.settings == tiny
        assert trained.vocabularies.are_shared
        best = max(whole.metrics(), key=lambda row: row["val_bleu"])
        nats, tokens = 0.0, 0
        for pair in ids_by_library(trained.vocabularies, pairs["validation"]):
            read, following = [BEGINNING, *pair.target], [*pair.target, END]
            logits = trained.model((np.array([[*pair.source, END]]), np.array([read])))
            log_probs = keras.ops.convert_to_numpy(keras.ops.log_softmax(logits))[0]
            nats -= log_probs[np.arange(len(following)), following].sum(dtype=np.float64)
            tokens += len(following)
        assert nats / tokens == pytest.approx(best["val_nats_per_token"], rel=1e-5)

    def test_bleu_is_that_of_greedy_translations(self, whole, pairs):
        """Found here token by token, by the model itself."""
        model, vocabularies, _ = load_run(whole)
        library = sentencepiece.SentencePieceProcessor(model_proto=vocabularies.target.model)
        never = [PADDING, UNKNOWN, BEGINNING]
        translations = []
        for pair in ids_by_library(vocabularies, pairs["validation"]):
            memory, state = model.encode(np.array([[*pair.source, END]]))
            ids, longest = [BEGINNING], 2 * (len(pair.source) + 1) + 10
            while ids[-1] != END and len(ids) <= longest:
                log_probs, state, _ = model.step(np.array(ids[-1:]), state, memory)
                scores = keras.ops.convert_to_numpy(log_probs)[0].copy()
                scores[never] = -np.inf
                ids.append(END if len(ids) == longest else int(scores.argmax()))
            translations.append(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", library.decode(ids[1:-1])))
        expected = sacrebleu.corpus_bleu(translations, [pairs["validation"].target], force=True).score
        assert max(row["val_bleu"] for row in whole.metrics()) == pytest.approx(expected, rel=1e-6)

    def test_what_it_says(self, trained_translation, pairs, whole):
        first, *_ = trained_translation.told.splitlines()
        model, vocabularies, _ = load_run(whole)
        assert first.startswith(
            f"{len(pairs['train'].source)} pairs to train on, {len(pairs['validation'].source)} for validation; "
        )
        weights = sum(weight.size for weight in model.get_weights() if weight.dtype == np.float32)
        assert first.endswith(f"; {len(vocabularies.target)} subwords, {weights} weights")
        assert "training: Epoch 3/3" in trained_translation.told

    @pytest.mark.usefixtures("quick_ids")
    def test_a_finished_run_is_left_alone(self, whole, source, tiny, capsys):
        before = tree(whole)
        train(source, whole, tiny)
        assert tree(whole) == before
        assert capsys.readouterr() == ("", f"the run in '{whole.path}' is finished\n")

    @pytest.mark.usefixtures("quick_ids")
    def test_other_settings_are_refused(self, whole, source, tiny):
        before = tree(whole)
        with pytest.raises(UserError, match=r"other settings \(attention, epochs\)"):
            train(source, whole, dataclasses.replace(tiny, attention="additive", epochs=4))
        assert tree(whole) == before


@pytest.mark.usefixtures("quick_ids")
@pytest.mark.thorough
class TestStopped:
    def test_it_goes_on_and_ends_where_it_would_have(self, trained_translation, whole, copy_of, tiny, source, capsys):
        run = copy_of(trained_translation.stopped)
        assert [row["epoch"] for row in run.metrics()] == [1]
        assert not run.model_weights.exists()
        train(source, run, tiny)
        assert "training: going on after epoch 1 of 3" in capsys.readouterr().err
        assert without_times(run) == without_times(whole)
        found, expected = (load_run(one).model.get_weights() for one in (run, whole))
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)
        assert {name for name in tree(run) if not name.startswith("tensorboard")} == {
            name for name in tree(whole) if not name.startswith("tensorboard")
        }

    def test_in_half_precision_it_goes_on_and_ends_where_it_would_have(self, tiny, source, tmp_path, monkeypatch):
        """What it leaves is a run like any other, whose model is in single precision."""
        settings = dataclasses.replace(tiny, precision="mixed_bfloat16", epochs=2)
        runs = [RunFolder(tmp_path / name) for name in ("whole", "stopped")]
        train(source, runs[0], settings)
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(training, "_remove_checkpoints_before", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            train(source, runs[1], settings)
        train(source, runs[1], settings)
        whole, stopped = map(without_times, runs)
        assert [row["epoch"] for row in stopped] == [1, 2]
        assert stopped == whole
        assert whole[1]["nats_per_token"] < whole[0]["nats_per_token"]
        model, *_ = load_run(runs[1])
        assert model.settings["product_dtype"] is None
        assert best_translations(serving_of([runs[1].path], 1.0, 0.0), ["a b c"], 1)

    def test_loss_that_is_no_number_keeps_the_last_good_checkpoint(
        self, trained_translation, copy_of, tiny, source, monkeypatch
    ):
        """The weights of a later epoch are spoilt."""
        run = copy_of(trained_translation.stopped)
        before = tree(run)
        original = training.reseed

        def spoiling(model, epoch, place):
            original(model, epoch, place)
            model.trainable_weights[0].assign(model.trainable_weights[0] * math.nan)

        monkeypatch.setattr(training, "reseed", spoiling)
        # Of one batch a graph is not worth its tracing.
        compile_model = train_module.TeacherForcing.compile
        eagerly = functools.partialmethod(compile_model, run_eagerly=True)
        monkeypatch.setattr(train_module.TeacherForcing, "compile", eagerly)
        with pytest.raises(UserError, match="the loss became nan at batch 1: the last good checkpoint is kept"):
            train(source, run, tiny)
        assert tree(run) == before
        assert "checkpoints/training-0001.weights.h5" in before
        assert "checkpoints/training-best.weights.h5" in before
        with pytest.raises(UserError, match="is not finished"):
            load_run(run)


@pytest.fixture
def begun(source, tiny, tmp_path, monkeypatch, quick_ids):
    """The model, the stage and the run that training would begin with."""
    given = []
    monkeypatch.setattr(train_module, "train_stage", lambda *arguments, **_: given.append(arguments))

    def begin(source=source, extra_data=None, back_translation_run=None, **changed):
        run = RunFolder(tmp_path / f"run{len(given)}")
        settings = dataclasses.replace(tiny, **changed)
        train(source, run, settings, extra_data=extra_data, back_translation_run=back_translation_run)
        return given[-1]

    return begin


class TestSchedule:
    def test_the_rate_falls_by_half_after_an_epoch_that_is_no_better_than_the_best(self, begun):
        model, stage, _ = begun(schedule="plateau")
        assert float(model.optimizer.learning_rate) == pytest.approx(0.03)
        for bleus, halvings in [
            ([], 0),
            ([3.0], 0),
            ([1.0, 2.0, 3.0], 0),
            ([3.0, 3.0], 1),
            ([1.0, 2.0, 1.5, 3.0], 1),
            ([1.0, 2.0, 1.5, 1.7], 2),  # better than the last one, not than the best
            ([3.0, 2.0, 1.0, 3.5, 3.5], 3),
            ([0.0, 0.0, 0.0], 2),
        ]:
            found = stage.learning_rate([{"val_bleu": bleu} for bleu in bleus])
            assert found == pytest.approx(0.03 / 2**halvings), bleus

    def test_the_cosine_ends_with_the_last_batch_of_the_last_epoch(self, begun):
        model, stage, _ = begun(final_rate_share=0.25, epochs=7, subword_sampling=0.0)
        assert stage.learning_rate is None
        steps = sum(len(list(stage.batches(epoch))) for epoch in range(1, 8))
        rates = []
        for step in range(steps + 1):
            model.optimizer.iterations.assign(step)
            rates.append(float(model.optimizer.learning_rate))
        assert max(rates) == pytest.approx(0.03)
        assert rates[-1] == pytest.approx(0.03 / 4)
        assert rates[-2] > rates[-1] * 1.00001
        assert np.argmax(rates) <= steps / 19

    def test_what_the_best_epoch_is_and_when_to_stop(self, begun):
        _, stage, _ = begun(epochs=9, patience=4)
        assert (stage.monitor, stage.higher_is_better, stage.epochs, stage.patience) == ("val_bleu", True, 9, 4)

    @pytest.mark.parametrize(("selection", "beam_size"), [("greedy", 1), ("beam", 5)])
    def test_how_the_best_epoch_is_found(self, begun, monkeypatch, pairs, selection, beam_size):
        asked = []

        def translations(_serving, texts, beam_size):
            asked.append((texts, beam_size))
            return pairs["validation"].target

        monkeypatch.setattr(train_module, "best_translations", translations)
        _, stage, _ = begun(selection=selection)
        assert stage.figures() == {"val_bleu": pytest.approx(100.0)}
        assert asked == [(pairs["validation"].source, beam_size)]

    def test_optimizer_and_loss_have_their_settings(self, begun):
        model, _, _ = begun(clip_norm=0.7, averaging=0.6, label_smoothing=0.3, r_drop=2.5)
        assert (model.optimizer.global_clipnorm, model.optimizer.ema_momentum) == (0.7, 0.6)
        assert (model.smoothing, model.r_drop) == (0.3, 2.5)
        model, _, _ = begun(averaging=0.0)
        assert not model.optimizer.use_ema


def sentences_of(batches):
    """The ids of each row of some batches, source and target, without padding."""
    found = []
    for (source, target), _ in batches:
        for sides in zip(source.numpy(), target.numpy(), strict=True):
            ids = [[number for number in side.tolist() if number != PADDING] for side in sides]
            if ids[1]:  # else a row that fills up the batch
                found.append((tuple(ids[0]), tuple(ids[1])))
    return found


class TestBatches:
    def test_without_sampling_words_are_split_in_the_likeliest_way(self, begun, pairs):
        _, stage, run = begun(subword_sampling=0.0, longest=40)
        vocabularies = load_run(run).vocabularies
        expected = [
            ((*pair.source, END), (BEGINNING, *pair.target, END))
            for pair in ids_by_library(vocabularies, pairs["train"])
        ]
        epochs = [sentences_of(stage.batches(epoch)) for epoch in (1, 2)]
        assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(expected)
        assert epochs[0] != epochs[1]  # in another order
        validation = ids_by_library(vocabularies, pairs["validation"])
        expected = [((*pair.source, END), (BEGINNING, *pair.target, END)) for pair in validation]
        assert sorted(sentences_of(stage.validation)) == sorted(expected)

    def test_with_sampling_each_epoch_splits_them_anew(self, begun, pairs):
        _, stage, run = begun(subword_sampling=0.3, longest=40)
        library = sentencepiece.SentencePieceProcessor(model_proto=load_run(run).vocabularies.target.model)
        epochs = [sorted(sentences_of(stage.batches(epoch))) for epoch in (1, 2, 1)]
        assert epochs[0] == epochs[2]
        assert not set(epochs[0]) & set(epochs[1])
        texts = sorted(zip(*pairs["train"], strict=True))
        for epoch in epochs[:2]:
            decoded = sorted((library.decode(list(source)), library.decode(list(target))) for source, target in epoch)
            assert decoded == texts
            likeliest = sum(list(source[:-1]) == library.encode(library.decode(list(source))) for source, _ in epoch)
            assert likeliest < len(epoch) / 2
        # Neither side is drawn with the numbers of the other.
        lengths = [(len(source) + 1, len(target)) for source, target in epochs[0]]
        assert sum(source != target for source, target in lengths) > len(lengths) / 2

    @pytest.mark.parametrize("sampling", [0.0, 0.3])
    def test_some_sources_lose_their_full_stop_others_in_each_epoch(self, begun, tmp_path, sampling):
        rows = [(f"a{chr(97 + n % 26)}b{chr(97 + n // 26)} .", f"E{n}.") for n in range(200)]
        table = tmp_path / "stops.tsv"
        table.write_text("".join("\t".join(row) + "\n" for row in rows))
        _, stage, run = begun(source=str(table), subword_sampling=sampling, longest=60, source_variants=0.25)
        library = sentencepiece.SentencePieceProcessor(model_proto=load_run(run).vocabularies.target.model)
        lost = []
        for epoch in (1, 2, 1):
            texts = [
                (library.decode(list(one)), library.decode(list(other)))
                for one, other in sentences_of(stage.batches(epoch))
            ]
            assert all(target.endswith(".") for _, target in texts)
            lost.append({source for source, _ in texts if not source.endswith(".")})
            assert 0.15 < len(lost[-1]) / len(texts) < 0.35
        assert lost[0] == lost[2] != lost[1]
        validation = [library.decode(list(source)) for source, _ in sentences_of(stage.validation)]
        assert all(text.endswith(".") for text in validation)

    def test_another_seed_splits_them_in_other_ways(self, begun):
        one, other = (begun(seed=seed, subword_sampling=0.3, longest=40)[1] for seed in (3, 4))
        same = set(sentences_of(one.batches(1))) & set(sentences_of(other.batches(1)))
        assert not same

    def test_longer_pairs_are_left_out_and_batches_hold_so_many_tokens(self, begun):
        _, stage, _ = begun(subword_sampling=0.0, longest=10, tokens_per_batch=50)
        for (source, target), _ in stage.batches(1):
            assert source.shape[0] * source.shape[1] <= 50
            assert source.shape[1] <= 10
            assert max(np.count_nonzero(target, axis=1)) <= 11  # the beginning is not counted in
        kept = sentences_of(stage.batches(1))
        assert 0 < len(kept) < 130
        assert max(len(source) for source, _ in kept) == 10

    def test_the_seed_settles_the_first_weights(self, begun):
        found = [begun(seed=seed, subword_sampling=0.0)[0].model.get_weights() for seed in (3, 3, 4)]
        for one, again in zip(found[0], found[1], strict=True):
            np.testing.assert_array_equal(one, again)
        assert any(np.any(one != other) for one, other in zip(found[0], found[2], strict=True) if one.ndim == 2)


@pytest.fixture
def extra(tmp_path):
    rows = [(f"{one} {two}.", f"{two}{one}.") for one in "abcdef" for two in "abcdefghijklm"]
    (tmp_path / "extra.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    return str(tmp_path / "extra.tsv")


class TestExtraData:
    @pytest.mark.parametrize("sampling", [0.0, 0.3])
    def test_it_is_trained_on_in_the_first_epochs_with_a_tag(self, begun, extra, source, tiny, sampling):
        changed = {"subword_sampling": sampling, "longest": 40, "epochs": 4, "extra_epochs": 2, "patience": 1}
        model, stage, run = begun(extra_data=extra, **changed)
        subwords = load_run(run).vocabularies.source
        (tag,) = subwords.tags
        library = sentencepiece.SentencePieceProcessor(model_proto=subwords.model)
        of_data = load_pairs(source, ["train"], seed=tiny.seed)["train"]
        of_extra = load_pairs(extra, ["train"], seed=tiny.seed)["train"]
        steps = []
        for epoch in range(1, 5):
            found = {tag: [], END: []}
            batches = stage.batches(epoch)
            for one, other in sentences_of(batches):
                found[one[-1]].append((library.decode(list(one[:-1])), library.decode(list(other))))
            assert sorted(found[END]) == sorted(zip(*of_data, strict=True))
            expected = sorted(zip(*of_extra, strict=True)) if epoch <= 2 else []
            assert sorted((one.rstrip(".") + ".", other) for one, other in found[tag]) == expected
            steps.append(len(list(batches)))
        rate = model.optimizer._learning_rate
        ends = rate.warmup_steps + rate.decay_steps
        assert ends == pytest.approx(2 * steps[0] + 2 * steps[3], abs=2)
        assert stage.patience == 2
        assert not any(tag in one for one, _ in sentences_of(stage.validation))
        serving = serving_of([run.path], 1.0, 0.0)
        assert tag not in serving.encode(tf.constant(["a b <extra>"]))["ids"].numpy()

    def test_subwords_are_of_both(self, begun, extra, source, tiny):
        _, _, run = begun(extra_data=extra)
        both = [load_pairs(path, ["train"], seed=tiny.seed)["train"] for path in (source, extra)]
        texts = [text for side in zip(*both, strict=True) for part in side for text in part]
        assert load_run(run).vocabularies.source.model == Subwords.train(texts, 300, tags=["<extra>"]).model

    def test_a_run_goes_on_with_the_extra_data_it_began_with(self, begun, extra, source, tiny, tmp_path):
        *_, run = begun(extra_data=extra)
        run.model_weights.unlink()
        train(source, run, tiny, extra_data=extra)
        for other in (None, source):
            with pytest.raises(UserError, match=r"other settings \((.*, )?extra_data(, .*)?\)"):
                train(source, run, tiny, extra_data=other)

    def test_what_cannot_be_read_leaves_no_run(self, source, tiny, tmp_path):
        with pytest.raises(UserError, match="no such file"):
            train(source, RunFolder(tmp_path / "run"), tiny, extra_data=str(tmp_path / "none.tsv"))
        assert not (tmp_path / "run").exists()


class TestBackTranslation:
    """The run at hand is from letters to capitals: the student is to go from capitals to letters."""

    @pytest.fixture
    def made(self, monkeypatch):
        """What the run makes of targets is ready at once, and nothing for those that begin with an a."""
        asked = []

        def translations(serving, texts, beam_size):
            asked.append((serving, beam_size))
            return ["" if text.startswith("a") else text.upper()[2:] for text in texts]

        monkeypatch.setattr(teaching, "best_translations", translations)
        return asked

    @pytest.mark.parametrize("with_extra", [False, True])
    def test_targets_have_tagged_sources_in_all_epochs(self, begun, made, trained_translation, extra, with_extra):
        seed = trained_translation.settings.seed
        model, stage, run = begun(
            str(trained_translation.data),
            extra_data=extra if with_extra else None,
            back_translation_run=trained_translation.run,
            reverse=True,
            seed=seed,
            longest=40,
            epochs=3,
            extra_epochs=1,
            subword_sampling=0.0,
            source_case="keep",
        )
        ((serving, beam_size),) = made
        of_run = load_run(RunFolder(trained_translation.run))
        np.testing.assert_array_equal(serving.models[0].get_weights()[0], of_run.model.get_weights()[0])
        assert beam_size == 5
        subwords = load_run(run).vocabularies.source
        (tag,) = subwords.tags
        of_data = load_pairs(str(trained_translation.data), ["train"], seed=seed, reverse=True)["train"]
        of_extra = load_pairs(extra, ["train"], seed=seed)["train"]
        turned = [(text.upper()[2:], text) for text in of_data.target if not text.startswith("a")]
        assert 50 < len(turned) < len(of_data.target)
        library = sentencepiece.SentencePieceProcessor(model_proto=subwords.model)
        steps = []
        for epoch in (1, 2, 3):
            found = {tag: [], END: []}
            batches = stage.batches(epoch)
            for one, other in sentences_of(batches):
                found[one[-1]].append((library.decode(list(one[:-1])).rstrip("."), library.decode(list(other))))
            assert sorted(found[END]) == sorted(zip(*of_data, strict=True))
            more = [(one.rstrip("."), other) for one, other in zip(*of_extra, strict=True)]
            assert sorted(found[tag]) == sorted([*turned, *more] if with_extra and epoch == 1 else turned)
            steps.append(len(list(batches)))
        assert stage.patience == 8
        rate = model.optimizer._learning_rate
        assert rate.warmup_steps + rate.decay_steps == pytest.approx(sum(steps), abs=2)

    def test_what_is_kept_of_it(self, begun, made, trained_translation, tiny, capsys):
        data, run = str(trained_translation.data), trained_translation.run
        changed = {"reverse": True, "seed": trained_translation.settings.seed}
        *_, student = begun(data, back_translation_run=run, **changed)
        assert student.config()["back_translation_run"] == str(run)
        stages = collections.Counter(row["stage"] for row in student.metrics())
        assert stages == {"back-translator": trained_translation.settings.epochs, "back-translation": 1}
        assert student.earlier_configs() == [RunFolder(run).config()]
        # A table is cut by its sources, which are others here.
        assert "what it has seen of this one's validation data" in capsys.readouterr().err
        assert "--back-translation-run run" in train_command(student.config(), Settings())
        student.model_weights.unlink()
        train(data, student, dataclasses.replace(tiny, **changed), back_translation_run=run)
        assert len(made) == 1  # all is kept
        student.model_weights.unlink()
        with pytest.raises(UserError, match=r"other settings \(.*back_translation_run"):
            train(data, student, dataclasses.replace(tiny, **changed))

    def test_one_in_the_same_direction_leaves_no_run(self, trained_translation, tiny, tmp_path):
        other = tmp_path / "other"
        shutil.copytree(trained_translation.run, other)
        config = {**RunFolder(other).config(), "source_language": "en", "target_language": "de"}
        RunFolder(other).config_path.write_text(json.dumps(config))
        settings = dataclasses.replace(tiny, source_language="en", target_language="de")
        with pytest.raises(UserError, match="wanted is one from 'de' to 'en': .* with --back-tr"):
            train(str(trained_translation.data), RunFolder(tmp_path / "run"), settings, back_translation_run=other)
        assert not (tmp_path / "run").exists()


class TestStartFrom:
    @pytest.fixture
    def others(self, tmp_path):
        """Pairs that the run at hand was not trained on."""
        rng = np.random.default_rng(1)
        path = tmp_path / "others.tsv"
        sentences = {" ".join(rng.choice(list("bcdefg"), 8)) for _ in range(60)}
        path.write_text("".join(f"{sentence}\t{sentence.upper()}\n" for sentence in sorted(sentences)))
        return str(path)

    def test_weights_and_subwords_are_those_of_the_other_run(self, begun, whole, others, tiny, capsys):
        model, _, run = begun(others, start_from=str(whole.path), seed=5)
        earlier, found = load_run(whole), load_run(run)
        assert found.vocabularies.digest() == earlier.vocabularies.digest()
        assert found.vocabularies.are_shared
        for weight, expected in zip(model.model.trainable_weights, earlier.model.trainable_weights, strict=True):
            np.testing.assert_array_equal(weight, expected)
        assert run.earlier_configs() == [whole.config()]
        stages = [(row["stage"], row["epoch"]) for row in run.metrics()]
        assert stages == [("earlier training", number) for number in range(1, tiny.epochs + 1)]
        assert f"--start-from {whole.path.name}" in train_command(run.config(), Settings())
        assert f"the run in '{whole.path}' was trained on other data than this one" in capsys.readouterr().err

    def test_nothing_is_told_of_the_same_data(self, begun, whole, source, capsys):
        begun(source, start_from=str(whole.path), epochs=1)
        assert "was trained on other data" not in capsys.readouterr().err

    def test_languages_with_subwords_of_their_own(self, begun, source):
        *_, first = begun(source, separate_subwords=True)
        *_, second = begun(source, separate_subwords=True, start_from=str(first.path))
        before, after = load_run(first).vocabularies, load_run(second).vocabularies
        assert not after.are_shared
        assert [side.model for side in after] == [side.model for side in before]

    @pytest.mark.parametrize(
        ("changed", "words"),
        [
            ({"encoder_units": 4}, "has encoder_units 8, this one 4: give --encoder-units the same value"),
            ({"subwords": 290}, "has subwords 300, this one 290: give --subwords the same value"),
            ({"separate_subwords": True}, "has separate_subwords False, this one True: give --separate-subwords"),
            ({"attention": "additive"}, "has attention 'dot', this one 'additive': give --attention the same"),
            ({"source_case": "keep"}, "has source_case 'lower', this one 'keep': give --source-case the same"),
        ],
    )
    def test_one_of_another_make_leaves_no_run(self, begun, whole, others, tmp_path, changed, words):
        with pytest.raises(UserError, match=f"the run in '{re.escape(str(whole.path))}' {words}"):
            begun(others, start_from=str(whole.path), **changed)
        assert not (tmp_path / "run0").exists()

    def test_its_languages_are_taken_and_others_leave_no_run(self, begun, whole, copy_of, others, tmp_path):
        other = copy_of(whole.path)
        other.config_path.write_text(json.dumps({**other.config(), "source_language": "en", "target_language": "de"}))
        *_, run = begun(others, start_from=str(other.path), source_language="en")  # which is all that the data tells
        assert (run.config()["source_language"], run.config()["target_language"]) == ("en", "de")
        with pytest.raises(UserError, match="has target_language 'de', this one 'fr': give --target-language the same"):
            begun(others, start_from=str(other.path), source_language="en", target_language="fr")
        assert not (tmp_path / "run1").exists()

    def test_tagged_sources_need_one_that_had_such(self, begun, whole, source, extra, tmp_path):
        with pytest.raises(UserError, match="was trained without tagged sources"):
            begun(source, start_from=str(whole.path), extra_data=extra)
        assert not (tmp_path / "run0").exists()
        *_, first = begun(source, extra_data=extra)
        _, stage, _ = begun(source, extra_data=extra, start_from=str(first.path), epochs=2, extra_epochs=1)
        (tag,) = load_run(first).vocabularies.source.tags
        assert {one[-1] for one, _ in sentences_of(stage.batches(1))} == {tag, END}

    def test_what_is_no_run(self, begun, source, tmp_path):
        with pytest.raises(UserError, match="is no training run"):
            begun(source, start_from=str(tmp_path / "nothing"))
        assert not (tmp_path / "run0").exists()

    @pytest.mark.thorough
    def test_it_is_trained_on_from_there(self, whole, source, tiny, tmp_path):
        run = RunFolder(tmp_path / "run")
        settings = dataclasses.replace(tiny, start_from=str(whole.path), epochs=1, learning_rate=1e-12, averaging=0.0)
        train(source, run, settings)
        (row,) = [row for row in run.metrics() if row["stage"] == "training"]
        best = max((row for row in whole.metrics()), key=lambda row: row["val_bleu"])
        assert (row["val_loss"], row["val_bleu"]) == pytest.approx((best["val_loss"], best["val_bleu"]), rel=1e-4)


class Echo:
    """A model that says what it hears, and remembers how much at once."""

    def __init__(self, beam_size):
        self.heard, self.beam_size = [], beam_size

    def n_best(self, texts, beam_size):
        assert beam_size.numpy().tolist() == [self.beam_size] * len(texts)
        self.heard.append(texts.numpy().tolist())
        return {"translations": tf.stack([tf.strings.join(["é", texts]), tf.fill(tf.shape(texts), "")], axis=1)}


@pytest.mark.parametrize(("count", "beam_size"), [(0, 1), (1, 1), (127, 5), (128, 1), (129, 1), (300, 5)])
def test_best_translations_keep_their_order(count, beam_size):
    rng = np.random.default_rng(0)
    texts = ["x" * rng.integers(0, 9) + str(number % 17) for number in range(count)]
    echo = Echo(beam_size)
    assert best_translations(echo, texts, beam_size) == ["é" + text for text in texts]
    assert max((len(batch) for batch in echo.heard), default=0) <= 128
    lengths = [len(text) for batch in echo.heard for text in batch]
    assert lengths == sorted(lengths)


PAIRS = [(f"a{number} cab fee", f"D{number} FAD BEE") for number in range(60)]


@pytest.mark.usefixtures("quick_ids")
class TestSources:
    """Up to where training begins: which pairs it is given."""

    @pytest.fixture
    def given(self, monkeypatch):
        found = []
        monkeypatch.setattr(train_module, "_train", lambda *arguments: found.append(arguments))
        return found

    @pytest.fixture
    def sources(self, tmp_path):
        folder = tmp_path / "data"
        folder.mkdir()
        for place, language in enumerate(("en", "de")):
            (folder / f"all.{language}").write_text("".join(pair[place] + "\n" for pair in PAIRS))
        (folder / "pairs.tsv").write_text("".join("\t".join(pair) + "\n" for pair in PAIRS))
        return folder

    @staticmethod
    def all_of(pairs):
        return sorted(row for split in ("train", "validation") for row in zip(*pairs[split], strict=True))

    def test_two_files(self, sources, given, tiny, tmp_path):
        run = RunFolder(tmp_path / "run")
        files = (str(sources / "all.en"), str(sources / "all.de"))
        train(None, run, tiny, *files)
        model, vocabularies, pairs, ids, _, settings, beside, workers = given[0]
        assert workers is ALONE
        assert beside == []
        assert self.all_of(pairs) == sorted(PAIRS)
        assert len(pairs["validation"].source) == 3
        assert ids == {split: ids_by_library(vocabularies, pairs[split]) for split in ("train", "validation")}
        # Whose rules its translations are to be judged by is kept, as the files' names tell.
        assert settings == dataclasses.replace(tiny, source_language="en", target_language="de")
        config = run.config()
        assert (config["data"], config["source_file"], config["target_file"]) == (None, *files)
        found = load_run(run)
        for one, other in zip(found.model.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
        assert found.vocabularies.target.model == vocabularies.target.model
        (sources / "copy.en").write_bytes((sources / "all.en").read_bytes())
        with pytest.raises(UserError, match=r"other settings \(source_file\)"):
            train(None, run, tiny, str(sources / "copy.en"), files[1])

    def test_a_prefix(self, sources, given, tiny, tmp_path):
        languages = {"source_language": "de", "target_language": "en"}
        train(str(sources / "all"), RunFolder(tmp_path / "run"), dataclasses.replace(tiny, **languages))
        assert self.all_of(given[0][2]) == sorted((german, english) for english, german in PAIRS)

    def test_a_table_and_its_reverse(self, sources, given, tiny, tmp_path):
        for reverse in (False, True):
            settings = dataclasses.replace(tiny, reverse=reverse)
            train(str(sources / "pairs.tsv"), RunFolder(tmp_path / f"run{reverse}"), settings)
        forward, backward = (arguments[2] for arguments in given)
        assert len(forward["validation"].source) == 3
        assert set(self.all_of(forward)) < set(PAIRS)  # some are kept for a test
        assert {(target, source) for source, target in self.all_of(backward)} < set(PAIRS)

    def test_the_sample(self, given, tiny, tmp_path):
        train("sample", RunFolder(tmp_path / "run"), dataclasses.replace(tiny, subwords=400, longest=64))
        _, vocabularies, pairs, *_ = given[0]
        assert pairs == load_pairs("sample", ["train", "validation"])
        assert len(vocabularies.target) == 400

    def test_subwords_of_their_own(self, sources, given, tiny, tmp_path):
        run = RunFolder(tmp_path / "run")
        settings = dataclasses.replace(tiny, separate_subwords=True)
        train(str(sources / "pairs.tsv"), run, settings)
        vocabularies, pairs = given[0][1:3]
        for found, texts in zip(vocabularies, pairs["train"], strict=True):
            assert found.model == Subwords.train(texts, 300).model
        names = {path.name for path in run.path.iterdir()}
        assert names == {"config.json", "model.weights.h5", "source_subwords.model", "target_subwords.model"}
        found = load_run(run)
        assert [side.model for side in found.vocabularies] == [side.model for side in vocabularies]
        assert not found.vocabularies.are_shared
        assert found.model.settings["source_vocabulary_size"] == len(vocabularies.source)
        assert found.model.settings["vocabulary_size"] == len(vocabularies.target)

    def test_what_is_left_out_is_counted(self, sources, given, tiny, tmp_path, capsys):
        """Pairs with an empty side, and those too long, which would go without a word."""
        long = "a" * 3 + " bcd" * 30
        with (sources / "all.en").open("a") as english, (sources / "all.de").open("a") as german:
            for source, target in (("a cab", ""), ("", "D"), (long + " a", "FAD"), (long + " b", "FAD")):
                english.write(source + "\n")
                german.write(target + "\n")
        files = (str(sources / "all.en"), str(sources / "all.de"))
        train(None, RunFolder(tmp_path / "run"), dataclasses.replace(tiny, longest=25), *files)
        told = capsys.readouterr().err
        assert f"{files[0]!r}: 2 of 64 pairs have an empty side and are left out\n" in told
        counts = [
            int(count) for count in re.findall(r"^(\d+) of \d+ pairs .* left out, .*--longest", told, re.MULTILINE)
        ]
        ids = given[0][3]
        assert sum(counts) == sum(max(map(len, pair[:2])) >= 25 for split in ids.values() for pair in split) >= 2

    def test_nothing_is_said_of_nothing_left_out(self, sources, given, tiny, tmp_path, capsys):
        train(str(sources / "pairs.tsv"), RunFolder(tmp_path / "run"), tiny)
        assert "left out" not in capsys.readouterr().err

    def test_character_coverage_reaches_the_subwords_and_is_kept(self, sources, given, tiny, tmp_path):
        rows = [*PAIRS, *((f"a{chr(0x4E00 + place)}", "FAD BEE FAD BEE FAD BEE") for place in range(30))]
        (sources / "pairs.tsv").write_text("".join("\t".join(pair) + "\n" for pair in rows * 3))
        table, run = str(sources / "pairs.tsv"), RunFolder(tmp_path / "run")
        settings = dataclasses.replace(tiny, subwords=284, character_coverage=0.98)
        with pytest.raises(UserError, match="--character-coverage"):
            train(table, run, dataclasses.replace(settings, character_coverage=1.0))
        train(table, run, settings)
        _, vocabularies, pairs, *_ = given[0]
        texts = [*pairs["train"].source, *pairs["train"].target]
        assert vocabularies.target.model == Subwords.train(texts, 284, 0.98).model
        assert run.config()["character_coverage"] == 0.98 and load_run(run).settings == settings

    def test_the_columns_of_a_table_are_kept(self, sources, given, tiny, tmp_path):
        table, run = sources / "pairs.csv", RunFolder(tmp_path / "run")
        table.write_text(
            "German,id,English\n" + "".join(f"{target},{i},{source}\n" for i, (source, target) in enumerate(PAIRS))
        )
        train(str(table), run, dataclasses.replace(tiny, source_column="English", target_column="german"))
        assert set(self.all_of(given[0][2])) < set(PAIRS)
        config = run.config()
        assert (config["source_column"], config["target_column"], config["header"]) == ("English", "german", None)
        assert (config["source_language"], config["target_language"]) == ("en", "de")

    def test_a_run_from_before_a_setting_goes_on(self, sources, given, tiny, tmp_path):
        run, files = RunFolder(tmp_path / "run"), (str(sources / "all.en"), str(sources / "all.de"))
        train(None, run, tiny, *files)
        config = run.config()
        for name in ("character_coverage", "source_column", "target_column", "header", "encoding", "precision"):
            del config[name]
        config |= {"source_language": "", "target_language": ""}
        run.config_path.write_text(json.dumps(config))
        run.model_weights.unlink()
        train(None, run, tiny, *files)
        assert len(given) == 2 and load_run(run).settings == tiny

    def test_a_run_from_before_sources_were_read_in_lower_case_goes_on_as_it_began(
        self, sources, given, tiny, tmp_path
    ):
        run, files = RunFolder(tmp_path / "run"), (str(sources / "all.en"), str(sources / "all.de"))
        before = dataclasses.replace(tiny, source_case="raw", source_variants=0.0)
        train(None, run, before, *files)
        config = run.config()
        assert (config.pop("source_case"), config.pop("source_variants")) == ("raw", 0.0)
        run.config_path.write_text(json.dumps(config))
        run.model_weights.unlink()
        train(None, run, tiny, *files)
        settings = given[1][5]
        assert (settings.source_case, settings.source_variants) == ("raw", 0.0)
        assert load_run(run).settings == settings
        assert (tiny.source_case, tiny.source_variants) == ("lower", 0.1)

    def test_subwords_are_learnt_from_sources_as_they_are_read(self, sources, given, tiny, tmp_path):
        rows = [(source.upper() + "\u00ad", target) for source, target in PAIRS]
        (sources / "pairs.tsv").write_text("".join("\t".join(pair) + "\n" for pair in rows))
        for case in ("lower", "keep"):
            settings = dataclasses.replace(tiny, source_case=case, longest=40)
            train(str(sources / "pairs.tsv"), RunFolder(tmp_path / case), settings)
        for (_, vocabularies, pairs, *_), change in zip(given, (str.lower, str), strict=True):
            read = [change(source.replace("\u00ad", "")) for source in pairs["train"].source]
            assert vocabularies.source.model == Subwords.train([*read, *pairs["train"].target], 300).model

    def test_what_cannot_be_trained_on_leaves_no_run(self, sources, given, tiny, tmp_path):
        table, run = str(sources / "pairs.tsv"), RunFolder(tmp_path / "run")
        files = (str(sources / "all.en"), str(sources / "all.de"))
        for arguments, changed, told in [
            ((str(tmp_path / "none.tsv"),), {}, r"none\.tsv"),
            ((None,), {}, "no data is named"),
            ((table,), {"subwords": 261}, "cannot choose 261 subwords"),
            ((table,), {"source_language": "en", "target_language": "en"}, "name two languages"),
            ((table, *files), {}, "leave one out"),
            ((None, files[0]), {}, "has no partner: name it with --target-file"),
            ((None, None, files[1]), {}, "has no partner: name it with --source-file"),
            ((None, *files), {"reverse": True}, "--reverse is for tables"),
            ((str(sources / "all"),), {}, "--source-language and --target-language"),
        ]:
            source, *files_named = arguments
            with pytest.raises(UserError, match=told) as caught:
                train(source, run, dataclasses.replace(tiny, **changed), *files_named)
            assert len(str(caught.value).splitlines()) == 1
        assert given == []
        assert [path.name for path in tmp_path.iterdir()] == ["data"]

    @pytest.mark.parametrize("sampling", [0.0, 0.5])
    def test_pairs_that_are_all_too_long_leave_no_run(self, sources, tiny, tmp_path, sampling, capsys):
        settings = dataclasses.replace(tiny, longest=2, subword_sampling=sampling)
        with pytest.raises(UserError, match="no pair has at most 2 ids on either side: raise --longest"):
            train(str(sources / "pairs.tsv"), RunFolder(tmp_path / "run"), settings)
        assert [path.name for path in tmp_path.iterdir()] == ["data"]
        assert capsys.readouterr() == ("", "")


class TestLoadRun:
    def test_of_another_app(self, tmp_path):
        run = RunFolder(tmp_path)
        run.start({"task": "char_lm"})
        with pytest.raises(UserError, match="is no run of a translator: name one with --run"):
            load_run(run)

    def test_no_run(self, tmp_path):
        with pytest.raises(UserError, match="is no training run"):
            load_run(RunFolder(tmp_path / "none"))

    def test_not_finished(self, trained_translation):
        with pytest.raises(UserError, match="is not finished: start its train command again"):
            load_run(RunFolder(trained_translation.stopped))

    @pytest.mark.parametrize(
        "damage",
        [
            *("no subwords", "subwords cut", "subwords empty", "other subwords", "fewer subwords"),
            *("weights cut", "no weights at all", "other size", "no number", "range"),
        ],
    )
    def test_damaged(self, whole, copy_of, damage):
        run = copy_of(whole.path)
        config = run.config()
        weights, subwords = run.model_weights, run.path / "subwords.model"
        match damage:
            case "no subwords":
                subwords.unlink()
            case "subwords cut":
                subwords.write_bytes(subwords.read_bytes()[:1000])
            case "subwords empty":
                subwords.write_bytes(b"")
            case "other subwords":
                Subwords.train(["der die das und wo wie was? Ganz andere Wörter!"], 300).save(subwords)
            case "fewer subwords":
                Subwords.train(["a b c"], 300).save(subwords)
            case "weights cut":
                weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
            case "no weights at all":
                weights.write_bytes(b"")
            case "other size":
                config["decoder_units"] = 13
            case "no number":
                config["decoder_units"] = "twelve"
            case "range":
                config["decoder_units"] = 0
        run.config_path.write_text(json.dumps(config))
        with pytest.raises(UserError, match="is damaged or from another version .*: train again in a new") as caught:
            load_run(run)
        assert len(str(caught.value).splitlines()) == 1
        assert re.search(re.escape(str(run.path)), str(caught.value))

    @pytest.mark.usefixtures("quick_ids")
    def test_training_goes_on_with_no_other_subwords_than_those_it_began_with(
        self, trained_translation, copy_of, tiny, source
    ):
        run = copy_of(trained_translation.stopped)
        subwords = run.path / "subwords.model"
        for content in (b"no model", Subwords.train(["a b c d e f A B C D E F G"], 300).model):
            subwords.write_bytes(content)
            before = tree(run)
            with pytest.raises(UserError) as caught:
                train(source, run, tiny)
            assert len(str(caught.value).splitlines()) == 1
            assert tree(run) == before
