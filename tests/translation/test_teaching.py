"""What teachers make of training sentences: kept as they go on, and trained on beside the data."""

import collections
import dataclasses
import json
import shutil

import pytest
import tensorflow as tf

from nlp_lstm.errors import UserError
from nlp_lstm.model_card import train_command
from nlp_lstm.run_folder import RunFolder
from nlp_lstm.translation import teaching
from nlp_lstm.translation import train as train_module
from nlp_lstm.translation.build import load_run
from nlp_lstm.translation.export import export_runs
from nlp_lstm.translation.inference import TranslationModel
from nlp_lstm.translation.settings import Settings
from nlp_lstm.translation.teaching import back_translated_pairs, taught_pairs
from nlp_lstm.translation.train import train


@pytest.fixture
def run(tmp_path):
    (tmp_path / "run").mkdir()
    return RunFolder(tmp_path / "run")


class TestTaughtPairs:
    def test_a_run_that_was_stopped_goes_on(self, run, monkeypatch, capsys):
        monkeypatch.setattr(teaching, "_AT_ONCE", 2)
        heard = []

        def translate(texts):
            heard.append(texts)
            if texts == ["c", "d"] and len(heard) == 2:
                raise KeyboardInterrupt
            return [f" {text.upper()}\u2028 {text}\n" for text in texts]

        with pytest.raises(KeyboardInterrupt):
            taught_pairs("abcde", translate, run)
        assert run.metrics() == []
        found = taught_pairs("abcde", translate, run)
        assert heard == [["a", "b"], ["c", "d"], ["c", "d"], ["e"]]
        assert found.source == list("abcde")
        assert found.target == ["A a", "B b", "C c", "D d", "E e"]
        ((stage, sentences),) = [(row["stage"], row["sentences"]) for row in run.metrics()]
        assert (stage, sentences) == ("teaching", 5)
        assert capsys.readouterr().err.splitlines()[-1] == "teaching: 5 of 5 sentences translated"
        # What is done is done.
        assert taught_pairs("abcde", lambda texts: pytest.fail("translated again"), run) == found
        assert len(run.metrics()) == 1

    def test_what_teachers_make_nothing_of_is_left_out(self, run):
        found = taught_pairs(["a", "b", "c"], lambda texts: ["A", " ", "C"], run)
        assert (found.source, found.target) == (["a", "c"], ["A", "C"])
        assert taught_pairs(["a", "b", "c"], lambda texts: [], run) == found

    def test_targets_are_translated_back_beside_them(self, run):
        taught = taught_pairs(["a", "b"], lambda texts: ["A", "B"], run)
        found = back_translated_pairs(["A", "B", "C"], lambda texts: ["x", "", "z"], run)
        assert (found.source, found.target) == (["x", "z"], ["A", "C"])
        assert back_translated_pairs(["A", "B", "C"], lambda texts: [], run) == found
        assert taught_pairs(["a", "b"], lambda texts: [], run) == taught
        assert [(row["stage"], row["sentences"]) for row in run.metrics()] == [("teaching", 2), ("back-translation", 3)]


class TestTrain:
    @pytest.fixture(scope="class")
    def teachers(self, trained_translation, tmp_path_factory):
        """A finished run twice: together they translate as it does alone."""
        other = tmp_path_factory.mktemp("teachers") / "other"
        shutil.copytree(trained_translation.run, other)
        return [trained_translation.run, other]

    @pytest.fixture
    def given(self, monkeypatch):
        found = []
        monkeypatch.setattr(train_module, "_train", lambda *arguments: found.append(arguments))
        return found

    def test_both_the_data_and_what_teachers_make_of_it(self, trained_translation, teachers, given, tmp_path):
        run = RunFolder(tmp_path / "run")
        data, settings = str(trained_translation.data), dataclasses.replace(trained_translation.settings, seed=3)
        train(data, run, settings)
        train(data, RunFolder(tmp_path / "student"), settings, teacher_runs=teachers)
        (_, vocabularies, pairs, ids, *_), (_, _, taught, taught_ids, *_) = given
        count = len(pairs["train"].source)
        assert taught["validation"] == pairs["validation"] and taught_ids["validation"] == ids["validation"]
        texts = [text.encode() for text in pairs["train"].source]
        answers = [found[0].text for found in TranslationModel(tmp_path, [teachers[0]]).translate(texts)]
        expected = [text for text in answers if text]
        sources = [source for source, text in zip(pairs["train"].source, answers, strict=True) if text]
        assert len(expected) > 0.9 * count
        assert taught["train"].source == pairs["train"].source + sources
        assert taught["train"].target == pairs["train"].target + expected
        assert taught_ids["train"][:count] == ids["train"]
        decoded = vocabularies.target.decode(
            tf.ragged.constant([list(pair.target) for pair in taught_ids["train"][count:]])
        ).numpy()
        assert [text.decode() for text in decoded] == expected

    def test_what_is_kept_of_them(self, trained_translation, teachers, given, tmp_path):
        student = RunFolder(tmp_path / "student")
        data, settings = str(trained_translation.data), trained_translation.settings
        train(data, student, settings, teacher_runs=teachers[:1])
        assert student.config()["teacher_run"] == [str(teachers[0])]
        stages = collections.Counter(row["stage"] for row in student.metrics())
        assert stages == {"teacher 1": settings.epochs, "teaching": 1}
        assert student.earlier_configs() == [RunFolder(teachers[0]).config()]
        with pytest.raises(UserError, match=r"other settings \(teacher_run\)"):
            train(data, student, settings, teacher_runs=teachers)

    def test_an_exported_model_teaches_as_its_run_does(self, trained_translation, teachers, given, tmp_path):
        model = export_runs(teachers[:1], tmp_path / "model")
        data, settings = str(trained_translation.data), trained_translation.settings
        by_run, by_model = (RunFolder(tmp_path / name) for name in ("by_run", "by_model"))
        train(data, by_run, settings, teacher_runs=teachers[:1])
        train(data, by_model, settings, teacher_model=model.parent)
        (_, _, expected, *_), (_, _, found, *_) = given
        assert found == expected
        assert by_model.config()["teacher_model"] == str(model.parent)
        assert [row["stage"] for row in by_model.metrics()] == ["teaching"]
        assert by_model.earlier_configs() == []
        command = train_command(by_model.config(), Settings())
        assert "--teacher-model model" in command and "--teacher-run" not in command

    def test_runs_and_a_model_are_not_asked_together(self, trained_translation, teachers, given, tmp_path):
        with pytest.raises(UserError, match="name either --teacher-run or --teacher-model"):
            train("sample", RunFolder(tmp_path / "run"), Settings(), teacher_runs=teachers, teacher_model=tmp_path)
        with pytest.raises(UserError, match="no model at"):
            train(
                str(trained_translation.data),
                RunFolder(tmp_path / "run"),
                trained_translation.settings,
                teacher_model=tmp_path / "none",
            )
        assert not (tmp_path / "run").exists()

    @pytest.mark.thorough
    def test_a_student_is_trained(self, trained_translation, teachers, tmp_path):
        student = RunFolder(tmp_path / "student")
        settings = dataclasses.replace(trained_translation.settings, epochs=1)
        train(str(trained_translation.data), student, settings, teacher_runs=teachers)
        assert load_run(student).settings == dataclasses.replace(settings, **_languages(student))
        assert [row["epoch"] for row in student.metrics() if row["stage"] == "training"] == [1]

    def test_teachers_that_do_not_fit_leave_no_run(self, trained_translation, teachers, given, tmp_path):
        student, data = RunFolder(tmp_path / "student"), str(trained_translation.data)
        other = tmp_path / "other"
        shutil.copytree(teachers[0], other)
        config = {**RunFolder(other).config(), "source_language": "en", "target_language": "fr"}
        RunFolder(other).config_path.write_text(json.dumps(config))
        settings = dataclasses.replace(trained_translation.settings, source_language="en", target_language="de")
        with pytest.raises(
            UserError, match="translates from 'en' to 'fr', and wanted is one from 'en' to 'de': name another"
        ):
            train(data, student, settings, teacher_runs=[teachers[0], other])
        with pytest.raises(UserError, match="is no training run"):
            train(data, student, settings, teacher_runs=[tmp_path / "none"])
        assert not student.path.exists() and not given


def _languages(run):
    config = run.config()
    return {name: config[name] for name in ("source_language", "target_language")}
