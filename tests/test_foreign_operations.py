"""Models that would read or write files, run Python or reach other machines are refused before they are loaded."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.trackable.resource import CapturableResource

from nlp_lstm import saved_model
from nlp_lstm.errors import UserError
from nlp_lstm.foreign_operations import refuse_foreign_operations
from nlp_lstm.playground.served_model import ServedModel


def with_python(text):
    return tf.ensure_shape(tf.py_function(tf.strings.length, [text], tf.int32), [None])


def within_a_loop(text):
    return tf.while_loop(lambda turn: turn < 1, lambda turn: turn + tf.size(tf.io.matching_files("/*")), [0])[0]


def printed(text):
    with tf.control_dependencies([tf.raw_ops.PrintV2(input=text[0], output_stream="file:///tmp/printed")]):
        return tf.size(text)


@pytest.mark.parametrize(
    ("operation", "function"),
    [
        ("ReadFile", lambda text: tf.io.read_file(text[0])),
        ("MatchingFiles", within_a_loop),
        ("EagerPyFunc", with_python),
        ("PyFunc", lambda text: tf.numpy_function(np.size, [text], tf.int64)),
        ("PrintV2", printed),
        ("TextLineDataset", lambda text: tf.data.TextLineDataset(text).reduce(0, lambda count, _: count + 1)),
    ],
)
def test_each_is_refused_by_name(tmp_path, operation, function):
    signature = [tf.TensorSpec([None], tf.string, name="text")]
    outer = tf.function(lambda text: {"found": function(text)}, input_signature=signature, autograph=False)
    tf.saved_model.save(tf.Module(), str(tmp_path / "1"), signatures=outer.get_concrete_function())
    with pytest.raises(UserError, match="reach beyond its inputs") as error:
        saved_model.load(tmp_path)
    assert operation in str(error.value) and str(tmp_path / "1") in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    model = ServedModel("hostile", 1, tmp_path / "1")
    model.load()
    assert (model.state, operation in model.error) == ("END", True)


class Writes(CapturableResource):
    """A resource that leaves a file behind wherever it is loaded."""

    def __init__(self, path):
        super().__init__()
        self.path = tf.constant(str(path))

    def _create_resource(self):
        return tf.raw_ops.MutableHashTableV2(key_dtype=tf.string, value_dtype=tf.int64)

    def _initialize(self):
        tf.io.write_file(self.path, "was here")


def test_what_would_run_while_it_is_loaded_does_not(tmp_path):
    module, trace = tf.Module(), tmp_path / "trace"
    module.resource = Writes(trace)
    signature = [tf.TensorSpec([None], tf.string, name="text")]
    answer = tf.function(lambda text: {"rows": tf.shape(text)}, input_signature=signature)
    tf.saved_model.save(module, str(tmp_path / "1"), signatures=answer.get_concrete_function())
    trace.unlink(missing_ok=True)
    tf.saved_model.load(str(tmp_path / "1"))
    assert trace.read_text() == "was here"  # such models are
    trace.unlink()
    with pytest.raises(UserError, match="WriteFile"):
        saved_model.load(tmp_path)
    ServedModel("hostile", 1, tmp_path / "1").load()
    assert not trace.exists()


def test_what_is_exported_here_is_not_refused(exported_sentiment, tmp_path):
    refuse_foreign_operations(exported_sentiment.version)
    for content in (None, b"", b"\xff\xff"):  # left to who loads it
        if content is not None:
            (tmp_path / "saved_model.pb").write_bytes(content)
        refuse_foreign_operations(tmp_path)
