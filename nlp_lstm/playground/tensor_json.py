"""Tensors as TensorFlow Serving's REST interface has them in JSON: rows and columns, in and out.

The rules are those of https://www.tensorflow.org/tfx/serving/api_rest and of the server's own
`tensorflow_serving/util/json_tensor.cc`, whose cases the tests go through.
"""

import base64
import binascii
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from nlp_lstm.playground.refusal import RefusedError

try:
    import orjson
except ModuleNotFoundError:  # then large answers take longer
    orjson = None  # type: ignore[assignment,unused-ignore]

Form = Literal["rows", "columns"]

_MANY = 1_000
"""Floats from which on it is worth while to leave an array to orjson, which writes no NaN."""


class Input(NamedTuple):
    """What a signature says of one of its inputs."""

    dtype: str
    """As in protos: `DT_STRING`, `DT_FLOAT`, …"""
    shape: tuple[int, ...] | None = None
    """-1 for a dimension of any size; None for a shape of any kind."""


_INTEGERS = {
    name: np.dtype(kind)
    for name, kind in {
        "DT_INT8": "int8",
        "DT_INT16": "int16",
        "DT_INT32": "int32",
        "DT_INT64": "int64",
        "DT_UINT8": "uint8",
        "DT_UINT32": "uint32",
        "DT_UINT64": "uint64",
    }.items()
}
_FLOATS: dict[str, tuple[Any, int]] = {
    "DT_FLOAT": (np.dtype("float32"), 2**24 - 1),
    "DT_DOUBLE": (np.dtype("float64"), 2**53 - 1),
}
"""Each with the largest whole number up to which every one is a number of that type."""

_LONGEST_QUOTATION = 200


def parsed_object(body: bytes) -> dict[str, Any]:
    """The JSON object that is the body of a request.

    >>> parsed_object(b'{"instances": ["a"]}')
    {'instances': ['a']}

    Bytes that are not UTF-8 reach the model as they are, like in the server; they are lone surrogates here.

    Raises:
        RefusedError: 400, if it is none.
    """
    text = body.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    if not text.strip():
        raise RefusedError(400, "JSON Parse error: The document is empty")
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise RefusedError(400, f"JSON Parse error: {error.msg} at offset: {error.pos}") from None
    except RecursionError:
        raise RefusedError(400, "JSON Parse error: nested too deeply") from None
    except ValueError as error:  # a number of thousands of digits
        raise RefusedError(400, f"JSON Parse error: {error}") from None
    if not isinstance(found, dict):
        raise RefusedError(400, f"JSON Value: {_quoted(found)} Is not object")
    return found


def signature_name(request: Mapping[str, Any]) -> str:
    """The signature that a request names, or else `serving_default`.

    >>> signature_name({"signature_name": "explain"}), signature_name({})
    ('explain', 'serving_default')
    """
    name = request.get("signature_name", "")
    if not isinstance(name, str):
        raise RefusedError(400, "not formatted correctly. 'signature_name' key must be a string value.")
    return name or "serving_default"


def predict_inputs(request: Mapping[str, Any], inputs: Mapping[str, Input]) -> tuple[dict[str, np.ndarray], Form]:
    """The tensors of a predict request, and the form in which it has, and wants, them.

    >>> predict_inputs({"instances": ["a", {"b64": "YQ=="}]}, {"text": Input("DT_STRING")})
    ({'text': array([b'a', b'a'], dtype=object)}, 'rows')

    Args:
        request: with `instances`, a list of rows, or `inputs`, the columns; with one input alone a row may be its
            value, and so may the columns.
        inputs: those of the signature, by name.

    Returns:
        By the names of inputs an array with the dtype of each, strings as objects of bytes.

    Raises:
        RefusedError: 400, naming what does not fit.
    """
    if not inputs:
        raise RefusedError(400, "Failed to get input map for signature")
    if "instances" in request and "inputs" in request:
        raise RefusedError(400, "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist")
    if "instances" in request:
        return _of_rows(request["instances"], inputs), "rows"
    if "inputs" in request:
        return _of_columns(request["inputs"], inputs), "columns"
    raise RefusedError(400, "Missing 'inputs' or 'instances' key")


def _of_rows(rows: Any, inputs: Mapping[str, Input]) -> dict[str, np.ndarray]:
    if not isinstance(rows, list):
        raise RefusedError(400, "Expecting 'instances' to be a list/array")
    if not rows:
        raise RefusedError(400, "No values in 'instances' array")
    are_objects = _is_row_object(rows[0])
    if not are_objects and len(inputs) > 1:
        raise RefusedError(
            400,
            "instances is a plain list, but expecting list of objects as multiple input tensors required: "
            + ",".join(sorted(inputs)),
        )
    columns: dict[str, list[Any]] = {name: [] for name in inputs}
    for number, row in enumerate(rows):
        if _is_row_object(row) != are_objects:
            expected, found = ("object", "value/list") if are_objects else ("value/list", "object")
            raise RefusedError(400, f"Expecting {expected} but got {found} at item {number} of input list")
        named = row if are_objects else {next(iter(inputs)): row}
        if named.keys() != inputs.keys():
            raise RefusedError(
                400,
                f"Failed to process element: {number} of 'instances' list. JSON object: {_quoted(row)} must only have "
                f"keys: {','.join(sorted(inputs))}",
            )
        for name, value in named.items():
            columns[name].append(value)
    return {name: _array(values, name, inputs[name]) for name, values in columns.items()}


def _of_columns(columns: Any, inputs: Mapping[str, Input]) -> dict[str, np.ndarray]:
    if not isinstance(columns, dict) or _is_base64(columns):
        if len(inputs) > 1:
            raise RefusedError(
                400,
                "inputs is a plain value/list, but expecting an object as multiple input tensors required: "
                + ",".join(sorted(inputs)),
            )
        columns = {next(iter(inputs)): columns}
    missing = [name for name in inputs if name not in columns]
    if missing:
        raise RefusedError(400, f"Missing named input: {missing[0]} in 'inputs' object.")
    return {name: _array(columns[name], name, expected) for name, expected in inputs.items()}


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str)


def _is_row_object(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _array(value: Any, name: str, expected: Input) -> np.ndarray:
    """A dense tensor out of lists in lists, each of which must have the size of the first at its level."""
    shape: list[int] = []
    first = value
    while isinstance(first, list):
        shape.append(len(first))
        if not first:
            break
        first = first[0]
    values = [value]
    for level, size in enumerate(shape):
        for one in values:
            if not isinstance(one, list):
                raise RefusedError(
                    400,
                    f"input {name}: JSON Value: {_quoted(one)} found at incorrect level: {level + 1} in the JSON DOM. "
                    f"Expected at level: {len(shape)}",
                )
            if len(one) != size:
                raise RefusedError(
                    400,
                    f"input {name}: Encountered list at unexpected size: {len(one)} at level: {level} expected size: "
                    f"{size}",
                )
        values = [item for one in values for item in one]
    wanted = expected.shape
    if wanted is not None and (
        len(wanted) != len(shape) or any(size not in (-1, has) for size, has in zip(wanted, shape, strict=True))
    ):
        raise RefusedError(400, f"input {name} must be of shape {_shape(wanted)}, got {_shape(shape)}")
    flat = _typed(values, name, expected.dtype)
    return flat.reshape(shape)


def _shape(sizes: Sequence[int]) -> str:
    return f"[{','.join('?' if size < 0 else str(size) for size in sizes)}]"


def _typed(values: list[Any], name: str, dtype: str) -> np.ndarray:
    """Values `(values,)` of a dtype; nothing is rounded, cut or taken for what it is not."""
    if dtype == "DT_STRING":
        array = np.empty(len(values), object)
        for place, value in enumerate(values):
            array[place] = _bytes(value, name)
        return array
    if dtype == "DT_BOOL":
        for value in values:
            if not isinstance(value, bool):
                raise _type_error(value, name, dtype)
        return np.array(values, bool)
    if dtype in _FLOATS:
        kind, largest_whole = _FLOATS[dtype]
        largest = float(np.finfo(kind).max)
        for value in values:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise _type_error(value, name, dtype)
            bound = largest_whole if isinstance(value, int) else largest
            if bound < abs(value) < math.inf:
                raise RefusedError(
                    400,
                    f"input {name}: Cannot convert JSON value: {_quoted(value)} to {kind} without loss of precision.",
                )
        return np.array(values, kind)
    if dtype in _INTEGERS:
        bounds = np.iinfo(_INTEGERS[dtype])
        for value in values:
            if isinstance(value, bool) or not isinstance(value, int) or not bounds.min <= value <= bounds.max:
                raise _type_error(value, name, dtype)
        return np.array(values, _INTEGERS[dtype])
    raise RefusedError(501, f"input {name}: Conversion of JSON values to type: {dtype}")


def _bytes(value: Any, name: str) -> bytes:
    if isinstance(value, str):
        return _utf8(value)
    if isinstance(value, dict):
        if not _is_base64(value):
            raise RefusedError(
                400, f"input {name}: JSON Value: {_quoted(value)} not formatted correctly for base64 data"
            )
        return decoded_base64(value["b64"])
    raise _type_error(value, name, "DT_STRING")


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise RefusedError(400, "JSON Parse error: The surrogate pair in string is invalid.") from None


def decoded_base64(text: str) -> bytes:
    """The bytes that a base64 text stands for; its padding may be missing.

    >>> decoded_base64("YWI")
    b'ab'
    """
    packed = "".join(text.split())
    try:
        return base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise RefusedError(400, "Unable to base64 decode") from None


def _type_error(value: Any, name: str, dtype: str) -> RefusedError:
    return RefusedError(
        400,
        f"input {name}: JSON Value: {_quoted(value)} Type: {_type_name(value)} is not of expected type: "
        f"{dtype.removeprefix('DT_').lower()}",
    )


def _type_name(value: Any) -> str:
    names = {"NoneType": "Null", "bool": str(value), "dict": "Object", "list": "Array", "str": "String"}
    return names.get(type(value).__name__, "Number")


def _quoted(value: Any) -> str:
    """A value as JSON, its beginning if it is long: an error must not send a whole request back."""
    text = json.dumps(value if not isinstance(value, list | dict) or len(value) < 100 else "…")
    return text if len(text) <= _LONGEST_QUOTATION else text[:_LONGEST_QUOTATION] + "…"


def predict_body(outputs: Mapping[str, np.ndarray], form: Form) -> bytes:
    """The body of the answer to a predict request, in the form of the request.

    >>> predict_body({"score": np.array([0.5, 1.0], np.float32)}, "rows")
    b'{"predictions": [0.5, 1.0]}'
    >>> predict_body({"text_bytes": np.array([b"a"], object)}, "columns")
    b'{"outputs": [{"b64": "YQ=="}]}'

    Args:
        outputs: by name; of strings, those whose name ends in `_bytes` become base64.
        form: `rows` needs a batch, of one size, in each output.

    Raises:
        RefusedError: 400, if outputs have no rows.
    """
    if form == "columns":
        if any(_is_many(value) for value in outputs.values()):
            return _many_columns(outputs)
        columns = {name: array_json(value, name.endswith("_bytes")) for name, value in outputs.items()}
        return f'{{"outputs": {_object_or_value(columns)}}}'.encode()
    rows = None
    for name, value in outputs.items():
        if value.ndim == 0:
            raise RefusedError(400, f"Tensor name: {name} has no shape information")
        if len(value) < 1:
            raise RefusedError(400, f"Tensor name: {name} has invalid batch size: {len(value)}")
        if rows not in (None, len(value)):
            raise RefusedError(400, f"Tensor name: {name} has inconsistent batch size: {len(value)} expecting: {rows}")
        rows = len(value)
    predictions = ", ".join(
        _object_or_value({name: array_json(value[row], name.endswith("_bytes")) for name, value in outputs.items()})
        for row in range(rows or 0)
    )
    return f'{{"predictions": [{predictions}]}}'.encode()


def _is_many(array: np.ndarray) -> bool:
    """Whether an array is left to orjson."""
    return bool(orjson is not None and array.size >= _MANY and array.dtype.kind == "f" and np.isfinite(array).all())


def _many_columns(outputs: Mapping[str, np.ndarray]) -> bytes:
    """A whole answer by orjson: of megabytes, each copy costs a good part of what writing them does."""
    columns = {
        name: np.ascontiguousarray(value)
        if _is_many(value)
        else orjson.Fragment(array_json(value, name.endswith("_bytes")))
        for name, value in outputs.items()
    }
    content = columns if len(columns) > 1 else next(iter(columns.values()))
    return orjson.dumps({"outputs": content}, option=orjson.OPT_SERIALIZE_NUMPY)


def _object_or_value(values: Mapping[str, str]) -> str:
    if len(values) == 1:
        return next(iter(values.values()))
    return "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in values.items()) + "}"


def array_json(value: Any, as_base64: bool = False) -> str:
    """An array, or one of its elements, as JSON; floats with as many digits as give the same number again.

    >>> array_json(np.array([[1, 2], [3, 4]]))
    '[[1, 2], [3, 4]]'
    >>> array_json(np.float32([0.1, 2, np.nan, np.inf]))
    '[0.100000001, 2.0, NaN, Infinity]'
    """
    array = np.asarray(value)
    if _is_many(array):
        packed = orjson.dumps(np.ascontiguousarray(array), option=orjson.OPT_SERIALIZE_NUMPY)
        return packed.decode("ascii")
    # One template for the whole array: several times as fast as a number at a time, and `gates` has a million.
    marks, values = _marked(array.reshape(-1), as_base64)
    for level in reversed(range(array.ndim)):
        size, lists = array.shape[level], math.prod(array.shape[:level])
        marks = ["[" + ", ".join(marks[one * size : (one + 1) * size]) + "]" for one in range(lists)]
    return marks[0] % tuple(values)


def _marked(flat: np.ndarray, as_base64: bool) -> tuple[list[str], Sequence[Any]]:
    """The mark of a template for each value, and the values."""
    kind = flat.dtype.kind
    if kind in "iu":
        return ["%d"] * len(flat), flat.tolist()
    if kind == "b":
        return ["%s"] * len(flat), ["true" if one else "false" for one in flat.tolist()]
    if kind == "f":
        digits = 17 if flat.dtype.itemsize == 8 else 9
        mark = f"%.{digits}g"
        marks = [mark] * len(flat)
        # A number that is whole keeps a place behind the point, so that a list is of one type.
        for place in np.flatnonzero((flat == np.rint(flat)) & (np.abs(flat) < 10.0**digits)).tolist():
            marks[place] = "%.1f"
        values = flat.tolist()
        for place in np.flatnonzero(~np.isfinite(flat)).tolist():
            marks[place], values[place] = "%s", _NOT_FINITE.get(values[place], "NaN")
        return marks, values
    if as_base64:
        return ["%s"] * len(flat), [json.dumps({"b64": base64.b64encode(one).decode("ascii")}) for one in flat.tolist()]
    return ["%s"] * len(flat), [json.dumps(_text(one), ensure_ascii=False) for one in flat.tolist()]


_NOT_FINITE = {math.inf: "Infinity", -math.inf: "-Infinity"}


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def classify_examples(request: Mapping[str, Any]) -> list[dict[str, list[Any]]]:
    """The examples of a classify request: by the names of features lists of bytes, of floats or of ints.

    >>> classify_examples({"examples": [{"text": "fine"}], "context": {"film": 3}})
    [{'film': [3], 'text': [b'fine']}]

    What is in `context` is in each example, unless the example has a feature of that name itself.

    Raises:
        RefusedError: 400, naming what does not fit.
    """
    context = _features(request["context"]) if "context" in request else {}
    if "examples" not in request:
        raise RefusedError(400, "When method is classify, key 'examples' is expected and was not found")
    examples = request["examples"]
    if not isinstance(examples, list):
        raise RefusedError(400, "Expecting 'examples' value to be an list/array")
    if not examples:
        raise RefusedError(400, "'examples' value is an empty array")
    return [{**context, **_features(one)} for one in examples]


def _features(example: Any) -> dict[str, list[Any]]:
    if not isinstance(example, dict):
        raise RefusedError(400, f"Example must be JSON object but got JSON {_type_name(example)}")
    features = {}
    for name, content in example.items():
        values = [_feature_value(value, name) for value in (content if isinstance(content, list) else [content])]
        if len({type(value) for value in values}) > 1:
            raise RefusedError(400, f"Unexpected element type in feature: {_quoted(name)}: all must be of one type")
        features[name] = values
    return features


def _feature_value(value: Any, name: str) -> bytes | float | int:
    if isinstance(value, str) or _is_base64(value):
        return _bytes(value, name)
    if value is None or isinstance(value, dict | list):
        raise RefusedError(400, f"Feature: {_quoted(name)} has element with unexpected JSON type: {_type_name(value)}")
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise RefusedError(400, f"Feature: {_quoted(name)} has a number beyond int64. Only int64 is supported.")
    if isinstance(value, float) and math.isfinite(value) and abs(value) > float(np.finfo(np.float32).max):
        raise RefusedError(400, f"Cannot convert JSON value: {_quoted(value)} to float without loss of precision.")
    return value


def classify_body(classes: np.ndarray, scores: np.ndarray) -> bytes:
    """The body of the answer to a classify request: for each example its classes with their scores.

    >>> classify_body(np.array([[b"bad", b"good"]], object), np.float32([[0.25, 0.75]]))
    b'{"results": [[["bad", 0.25], ["good", 0.75]]]}'
    """
    results = ", ".join(
        "[" + ", ".join(f"[{array_json(label)}, {array_json(score)}]" for label, score in zip(*row, strict=True)) + "]"
        for row in zip(classes, scores, strict=True)
    )
    return f'{{"results": [{results}]}}'.encode()
