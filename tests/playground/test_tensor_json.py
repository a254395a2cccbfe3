"""Tensors in JSON by TensorFlow Serving's rules, as its documentation and the cases of its own tests tell them."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from nlp_lstm.playground.refusal import RefusedError
from nlp_lstm.playground.tensor_json import (
    Input,
    array_json,
    classify_examples,
    parsed_object,
    predict_body,
    predict_inputs,
    signature_name,
)

ONE = {"x": Input("DT_INT32")}
SEVERAL = {"number": Input("DT_INT32"), "text": Input("DT_STRING"), "float": Input("DT_FLOAT")}


def read(text, inputs):
    return predict_inputs(parsed_object(text if isinstance(text, bytes) else text.encode()), inputs)


def refused(call, *arguments):
    with pytest.raises(RefusedError) as error:
        call(*arguments)
    return error.value.status, error.value.message


class TestRows:
    def test_lists_become_a_batch(self):
        found, form = read('{"instances": [[1,2],[3,4],[5,6]]}', ONE)
        assert form == "rows"
        assert found["x"].dtype == np.int32
        assert found["x"].tolist() == [[1, 2], [3, 4], [5, 6]]

    def test_objects_name_several_inputs(self):
        rows = '[{"number": [1], "text": ["a", "b"], "float": NaN}, {"number": [2], "text": ["c", "é"], "float": 2}]'
        found, _ = read(f'{{"instances": {rows}}}', SEVERAL)
        assert found["number"].tolist() == [[1], [2]]
        assert found["text"].tolist() == [[b"a", b"b"], [b"c", "é".encode()]]
        assert math.isnan(found["float"][0]) and found["float"][1] == 2.0

    def test_one_input_may_be_named_too(self):
        assert read('{"instances": [{"x": 1}, {"x": 2}]}', ONE)[0]["x"].tolist() == [1, 2]

    @pytest.mark.parametrize(
        ("row", "value"), [('{"b64": "aGVsbG8="}', b"hello"), ('{"b64": "aGVsbG8"}', b"hello"), ('{"b64": ""}', b"")]
    )
    def test_base64(self, row, value):
        found, _ = read(f'{{"instances": [{row}, "b"]}}', {"text": Input("DT_STRING")})
        assert found["text"].tolist() == [value, b"b"]

    def test_bytes_that_are_not_utf8_reach_the_model(self):
        assert read(b'{"instances": ["a\xffb"]}', {"text": Input("DT_STRING")})[0]["text"].tolist() == [b"a\xffb"]

    @pytest.mark.parametrize(
        ("rows", "inputs", "told"),
        [
            ("[]", ONE, "No values"),
            ("5", ONE, "list/array"),
            ("[[1,2],[3,4],[5,6,7]]", ONE, "unexpected size: 3"),
            ("[[1,2],[3,4],[[5,6]]]", ONE, "unexpected size: 1"),
            ("[1, [1]]", ONE, "JSON Value"),
            ("[[1], 1]", ONE, "incorrect level"),
            ("[1, {}]", ONE, "got object at item 1"),
            ('[{"x": 1}, 2]', ONE, "got value/list at item 1"),
            ('[{"x": 1, "y": 2}]', ONE, "must only have keys: x"),
            ("[{}]", ONE, "must only have keys: x"),
            ("[1]", SEVERAL, "plain list"),
            ('[{"number": 1, "text": "a"}]', SEVERAL, "must only have keys: float,number,text"),
            ("[1.0]", ONE, "is not of expected type: int32"),
            ("[true]", ONE, "Type: True"),
            ("[2147483648]", ONE, "is not of expected type: int32"),
            ("[null]", ONE, "Type: Null"),
            ('["a"]', ONE, "Type: String"),
            ("[1]", {"x": Input("DT_STRING")}, "is not of expected type: string"),
            ('[{"b64": "a"}]', {"x": Input("DT_STRING")}, "base64"),
            ('[{"b64": "YQ==", "c": 1}, "a"]', {"x": Input("DT_STRING")}, "must only have keys"),
            ('["\\ud800"]', {"x": Input("DT_STRING")}, "surrogate"),
            ("[16777217]", {"x": Input("DT_FLOAT")}, "without loss of precision"),
            ("[1e39]", {"x": Input("DT_FLOAT")}, "without loss of precision"),
            ("[true]", {"x": Input("DT_FLOAT")}, "is not of expected type: float"),
            ("[1]", {"x": Input("DT_FLOAT", (-1, 3))}, "must be of shape [?,3], got [1]"),
            ("[[1, 2]]", {"x": Input("DT_FLOAT", (-1, 3))}, "must be of shape [?,3], got [1,2]"),
        ],
    )
    def test_what_does_not_fit_is_400_and_told(self, rows, inputs, told):
        status, message = refused(read, f'{{"instances": {rows}}}', inputs)
        assert status == 400
        assert told in message

    def test_an_error_does_not_send_a_long_request_back(self):
        _, message = refused(read, json.dumps({"instances": ["a" * 10_000]}), ONE)
        assert len(message) < 400


class TestColumns:
    def test_named_and_not(self):
        assert read('{"inputs": {"x": [[1,2]]}}', ONE)[0]["x"].tolist() == [[1, 2]]
        found, form = read('{"inputs": [[1,2]]}', ONE)
        assert (found["x"].tolist(), form) == ([[1, 2]], "columns")
        assert read('{"inputs": 3}', ONE)[0]["x"].shape == ()

    def test_columns_may_differ_in_rows_and_have_none(self):
        found, _ = read('{"inputs": {"number": [], "text": {"b64": "YQ=="}, "float": [0.5]}}', SEVERAL)
        assert found["number"].shape == (0,)
        assert found["text"].shape == ()
        assert found["text"][()] == b"a"

    @pytest.mark.parametrize(
        ("body", "told"),
        [
            ('{"inputs": [1]}', "expecting an object"),
            ('{"inputs": {"number": 1, "text": "a"}}', "Missing named input: float"),
            ('{"inputs": {}, "instances": []}', "only one of"),
            ("{}", "Missing 'inputs' or 'instances' key"),
        ],
    )
    def test_errors(self, body, told):
        assert refused(read, body, SEVERAL)[0] == 400
        assert told in refused(read, body, SEVERAL)[1]


@pytest.mark.parametrize(
    "body",
    [b"", b" ", b"[1]", b"{", b'{"instances": ["a",]}', b"nul", b"[" * 100_000, b'{"x": ' + b"9" * 10_000 + b"}"],
)
def test_what_is_no_json_object_is_400(body):
    assert refused(parsed_object, body)[0] == 400


def test_a_signature_is_a_string():
    assert signature_name({"signature_name": ""}) == "serving_default"
    assert refused(signature_name, {"signature_name": 5})[0] == 400


class TestAnswers:
    @given(arrays.arrays(np.float32, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)))
    def test_every_float_comes_back_as_it_was(self, array):
        back = np.array(json.loads(array_json(array)), np.float32).reshape(array.shape)
        np.testing.assert_array_equal(back, array)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_and_those_of_large_arrays(self, dtype):
        rng = np.random.default_rng(0)
        array = (rng.normal(size=(2, 60, 20)) * 10.0 ** rng.integers(-30, 30, (2, 60, 20))).astype(dtype)
        array[0, 0] = 0.0
        found = json.loads(array_json(array))
        np.testing.assert_array_equal(np.array(found, dtype), array)
        assert all(isinstance(one, float) for row in found[0] for one in row)
        array[1, 3, 5] = np.nan
        assert math.isnan(json.loads(array_json(array))[1][3][5])
        np.testing.assert_array_equal(
            np.array(json.loads(array_json(array.swapaxes(0, 2))), dtype), array.swapaxes(0, 2)
        )

    @given(arrays.arrays(np.float64, 5))
    def test_and_every_double(self, array):
        np.testing.assert_array_equal(np.array(json.loads(array_json(array))), array)

    @given(st.lists(st.text(), max_size=5))
    def test_and_every_string(self, texts):
        array = np.array([text.encode("utf-8", "replace") for text in texts], object)
        assert json.loads(array_json(array)) == [text.decode() for text in array]

    def test_numbers_of_one_list_are_of_one_type(self):
        assert array_json(np.float32([1, 0.5, -0.0, 1e20, 3e8])) == "[1.0, 0.5, -0.0, 1.00000002e+20, 300000000.0]"
        assert array_json(np.array([True, False])) == "[true, false]"
        assert array_json(np.zeros([2, 0, 3])) == "[[], []]"

    def test_rows_and_columns_of_one_output_and_of_several(self):
        one = {"x": np.array([[1, 2], [3, 4]])}
        two = {**one, "t_bytes": np.array([b"\xff", b""], object)}
        assert json.loads(predict_body(one, "rows")) == {"predictions": [[1, 2], [3, 4]]}
        assert json.loads(predict_body(one, "columns")) == {"outputs": [[1, 2], [3, 4]]}
        assert json.loads(predict_body(two, "rows")) == {
            "predictions": [{"x": [1, 2], "t_bytes": {"b64": "/w=="}}, {"x": [3, 4], "t_bytes": {"b64": ""}}]
        }
        assert json.loads(predict_body(two, "columns")) == {
            "outputs": {"x": [[1, 2], [3, 4]], "t_bytes": [{"b64": "/w=="}, {"b64": ""}]}
        }

    @pytest.mark.parametrize(
        "outputs", [{"x": np.float32(1)}, {"x": np.zeros([0])}, {"x": np.ones(2), "y": np.ones(3)}]
    )
    def test_rows_need_a_batch(self, outputs):
        assert refused(predict_body, outputs, "rows")[0] == 400
        assert json.loads(predict_body(outputs, "columns"))

    def test_many_numbers_beside_others(self):
        """Large answers are written in another way, and are the same."""
        rng = np.random.default_rng(5)
        large = rng.standard_normal((2, 30, 40)).astype(np.float32)
        holed = np.where(rng.random(large.shape) < 0.01, np.nan, large)
        outputs = {
            "large": large,
            "turned": large.swapaxes(0, 2),
            "holed": holed,
            "text": np.array(['"ä"\n'.encode(), b"\xff"], object),
            "text_bytes": np.array([b"\xff\x00"], object),
            "length": np.array([3, 4], np.int32),
            "of_none": np.float32(0.1),
        }
        found = json.loads(predict_body(outputs, "columns"))["outputs"]
        assert list(found) == list(outputs)
        for name in ("large", "turned", "holed"):
            np.testing.assert_array_equal(np.float32(found.pop(name)), outputs[name])
        assert found == {
            "text": ['"ä"\n', "\ufffd"],
            "text_bytes": [{"b64": "/wA="}],
            "length": [3, 4],
            "of_none": pytest.approx(0.1),
        }
        alone = json.loads(predict_body({"large": large}, "columns"))["outputs"]
        np.testing.assert_array_equal(np.float32(alone), large)


class TestExamples:
    def test_values_lists_and_a_context(self):
        request = {"context": {"a": 1, "b": [True]}, "examples": [{"a": [0.5, 2.5]}, {"c": {"b64": "YQ=="}}]}
        assert classify_examples(request) == [{"a": [0.5, 2.5], "b": [1]}, {"a": [1], "b": [1], "c": [b"a"]}]

    @pytest.mark.parametrize(
        "request_",
        [
            {},
            {"examples": {}},
            {"examples": []},
            {"examples": ["a"]},
            {"examples": [{"a": None}]},
            {"examples": [{"a": [[1]]}]},
            {"examples": [{"a": [1, "b"]}]},
            {"examples": [{"a": 2**63}]},
            {"examples": [{"a": 1e39}]},
            {"examples": [{}], "context": []},
        ],
    )
    def test_errors(self, request_):
        assert refused(classify_examples, request_)[0] == 400
