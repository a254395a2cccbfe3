"""The parts of `make soak` in short; and that each notices what it is there for."""

import shutil

import numpy as np
import pytest
import shipped_models
import tensorflow as tf
from soak import archives, disks, drawn_inputs, kills, load, playground
from soak.findings import Findings, table
from soak.programs import Programs

from nlp_lstm import cli


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    with Programs(tmp_path_factory.mktemp("programs")) as found:
        yield found


@pytest.mark.thorough
class TestInShort:
    def test_kills(self, programs, tmp_path):
        found = kills.soak("char_lm", 2, tmp_path, 1, programs)
        assert found.faults == []
        assert (found.figures["kills of training"], found.figures["kills of export"]) == (2, 2)

    def test_disks(self, programs, tmp_path):
        found = disks.soak("char_lm", 1, tmp_path, 1, programs)
        assert found.faults == []

    @shipped_models.needed
    @pytest.mark.parametrize("app", ["char_lm", "sentiment", "translation"])
    def test_drawn_inputs(self, app, tmp_path):
        found = drawn_inputs.soak(cli.SHIPPED_MODELS / app, 40, tmp_path, 1, is_short=True)
        assert found.faults == []
        assert found.figures["rows"] >= 40 * found.figures["signatures"]

    @shipped_models.needed
    def test_playground(self, tmp_path):
        found = playground.soak(40, tmp_path, 1)
        assert found.faults == []
        assert found.figures["status 200"] > 3
        assert found.figures["status 400"] > 2

    @shipped_models.needed
    def test_load(self, loader, tmp_path):
        found = load.soak(cli.SHIPPED_MODELS, 5.0, tmp_path, loader)
        assert found.faults == []


def test_archives(tmp_path):
    found = archives.soak(15, tmp_path, 1)
    assert found.faults == []
    assert found.figures["read"] > 0
    assert found.figures["refused"] > 0


class Faulty(tf.Module):
    """Answers as one asks for: well, with NaN, with broken text, with too few rows, or by the rows beside."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def nan(self, text):
        return {"score": tf.where(tf.strings.length(text) > 50, np.nan, 1.0)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def broken(self, text):
        return {"text": tf.strings.substr(text, tf.zeros_like(tf.strings.length(text)), tf.fill(tf.shape(text), 3))}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def fewer(self, text):
        return {"length": tf.strings.length(text)[:2]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def beside(self, text):
        return {"score": tf.fill(tf.shape(text), tf.cast(tf.size(text), tf.float32))}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def serving_default(self, text):
        return {"length": tf.strings.length(text), "text_bytes": text}


def test_drawn_inputs_find_what_is_wrong(tmp_path):
    module = Faulty()
    names = ("nan", "broken", "fewer", "beside", "serving_default")
    base = tmp_path / "faulty"
    tf.saved_model.save(module, str(base / "1"), {name: getattr(module, name) for name in names})
    found = drawn_inputs.soak(base, 200, tmp_path / "folder", 0)
    told = {fault.split(":")[0]: fault for fault in found.faults}
    assert told.keys() == {"nan", "broken", "fewer", "beside"}, found.faults
    assert "score is not finite in row" in told["nan"]
    assert "codec can't decode" in told["broken"]
    assert "has 2 rows of" in told["fewer"]
    assert "answered otherwise alone" in told["beside"]


def test_a_state_that_is_no_number_excuses_its_row_alone():
    batch = {"char": np.array([b"a", b"b"], object), "cell_1": np.array([[0.0, np.inf], [0.0, 1.0]], np.float32)}
    answer = {"log_probs": np.array([[np.nan], [-1.0]], np.float32)}
    drawn_inputs.check_form(batch, answer)
    with pytest.raises(AssertionError, match="log_probs is not finite in row 1"):
        drawn_inputs.check_form(batch, {"log_probs": answer["log_probs"][::-1]})


def test_answers_of_the_playground_that_are_none_are_faults():
    found = Findings("playground")
    json_head = b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\n\r\n"
    for answer in (
        json_head % 200 + b'{"predictions": [1]}',
        json_head % 400 + b'{"error": "no"}',
        b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\n\r\nInvalid HTTP request received.",
    ):
        playground.check_answer(found, b"POST /", answer, 0.1)
    assert found.faults == []
    assert found.figures == {"status 200": 1, "status 400": 2}
    wrong = [
        b"",
        b"nonsense",
        json_head % 500 + b'{"error": "internal error"}',
        json_head % 200 + b'{"predictions": [NaN]}',
        json_head % 200 + b'{"error": "no"}',
        json_head % 400 + b'{"predictions": [1]}',
        json_head % 200 + b'{"predictions": ["\xff"]}',
        json_head % 200 + b'{"predictions": [',
    ]
    for answer in wrong:
        playground.check_answer(found, b"POST /", answer, 0.1)
    assert len(found.faults) == len(wrong)


def test_the_table_has_a_line_a_part():
    found = Findings("kills, char_lm", {"kills": 20}, ["one"])
    assert table([found]).splitlines()[2:] == ["| kills, char_lm | kills 20 | 1 |"]


@pytest.mark.skipif(shutil.which("mount") is None, reason="no mount")
def test_a_small_disk_is_full_when_it_should_be(tmp_path):
    with disks.Disk(tmp_path / "disk") as disk:
        if not disk.is_mounted:
            pytest.skip("nothing can be mounted here")
        (tmp_path / "disk" / "before").write_bytes(bytes(10_000))
        with disk.with_room_for(20_000):
            with pytest.raises(OSError, match="No space"):
                (tmp_path / "disk" / "large").write_bytes(bytes(30_000))
            (tmp_path / "disk" / "large").unlink()
            (tmp_path / "disk" / "small").write_bytes(bytes(5_000))
        with disk.read_only() as is_so, pytest.raises(OSError, match="Read-only"):
            assert is_so
            (tmp_path / "disk" / "more").write_bytes(b"a")
        (tmp_path / "disk" / "more").write_bytes(bytes(100_000))
