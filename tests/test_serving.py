"""Inputs of a request that are no one batch: each signature of several inputs refuses them, and names them."""

import numpy as np
import pytest
import tensorflow as tf
import test_saved_model
from saved_model_in_fresh_process import run_signatures

from nlp_lstm.serving import of_one_batch

TEXTS = [b"A bee", b"rain", b""]


def test_inputs_of_one_batch_are_given_back_in_their_order():
    names, numbers = of_one_batch(names=tf.constant(["a", "b"]), numbers=tf.constant([[1, 2], [3, 4]]))
    assert names.numpy().tolist() == [b"a", b"b"]
    assert numbers.numpy().tolist() == [[1, 2], [3, 4]]
    assert of_one_batch(names=tf.zeros([0], tf.string))[0].shape == (0,)


@pytest.mark.parametrize("rows", [(2, 1), (1, 2), (0, 1), (3, 3, 1), (1, 3, 3)])
def test_inputs_of_other_batches_are_refused(rows):
    names = [f"input_{place}" for place in range(len(rows))]
    in_graph = tf.function(
        lambda *inputs: of_one_batch(**dict(zip(names, inputs, strict=True))),
        input_signature=[tf.TensorSpec([None, None])] * len(rows),
        autograph=False,
    )
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        in_graph(*(tf.zeros([count, 4]) for count in rows))
    assert_told(str(error.value), dict(zip(names, rows, strict=True)))


def assert_told(message, rows):
    assert "all inputs of a request must have the same number of rows:" in message
    for name, count in rows.items():
        assert f"[{name} has] [{count}]" in message


def requests_of_other_batches(signatures, inputs):
    """For each input of each signature that has several, a request with fewer rows of that input than of the others."""
    for signature in sorted(signatures):
        arrays = inputs[signature]
        for short in arrays if len(arrays) > 1 else ():
            for most, least in ((3, 1), (3, 2), (1, 0)):
                given = {name: array[: least if name == short else most] for name, array in arrays.items()}
                yield {signature: given}, {name: len(array) for name, array in given.items()}


@pytest.mark.parametrize("name", ["char_lm", "translation"])
def test_every_signature_refuses_them(name, exported_char_lm, exported_translation):
    app = exported_char_lm("byte") if name == "char_lm" else exported_translation("shared")
    refused = set()
    for request, rows in requests_of_other_batches(app.signatures, app.inputs(TEXTS)):
        with pytest.raises(tf.errors.InvalidArgumentError) as error:
            run_signatures(app.signatures, request)
        assert_told(str(error.value), rows)
        refused |= request.keys()
    assert refused == ({"generate", "likeliest", "read", "step"} if name == "char_lm" else {"n_best"})


def test_a_server_that_refused_them_goes_on_to_answer(loader, exported_char_lm, tmp_path):
    """In C++, without Python's own look at a request."""
    app = exported_char_lm("byte")
    state = app.inputs(TEXTS)["step"]
    assert not isinstance(test_saved_model.run_loader(loader, app.version, [{"step": state}], tmp_path), str)
    request = {"step": {**state, "char": np.array([b"a"], object)}}
    complaint = test_saved_model.run_loader(loader, app.version, [request], tmp_path)
    assert_told(complaint, {"char": 1, "hidden_1": 3, "cell_1": 3})
