"""Requests to served models: inputs for every signature of an app, and what TensorFlow Serving makes of REST rows."""

import base64
import json

import numpy as np
import tensorflow as tf


def strings(texts):
    """Texts as an array `(batch,)` of bytes."""
    return np.array([tf.compat.as_bytes(text) for text in texts], object)


def serialized_example(text=None):
    """A serialized `tf.Example` with the feature `text`, or with none."""
    feature = {}
    if text is not None:
        feature["text"] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[text]))
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def sentiment_inputs(texts):
    """`{signature: {input: array}}` for a batch of texts."""
    return {
        "serving_default": {"text": strings(texts)},
        "classify": {"inputs": strings([serialized_example(text) for text in texts])},
        "explain": {"text": strings(texts)},
        "prefixes": {"text": strings(texts)},
        "units": {"text": strings(texts)},
    }


def char_lm_inputs(texts, state_names, units):
    """`{signature: {input: array}}` for a batch of texts; no two rows are asked for the same."""
    texts, rows = strings(texts), np.arange(len(texts), dtype=np.int32)
    rng = np.random.default_rng(0)
    state = {name: rng.normal(size=(len(rows), units)).astype(np.float32) for name in state_names}
    return {
        "serving_default": {"prompt": texts},
        "generate": {
            "prompt": texts,
            "length": rows * 3 % 17,
            "temperature": rng.uniform(0.2, 2.0, len(rows)).astype(np.float32),
            "top_k": rows % 4 * 3,
            "top_p": rng.uniform(0.5, 1.1, len(rows)).astype(np.float32),
            "seed": rows - 2,
        },
        "likeliest": {"prompt": texts, "length": rows * 2 % 7, "beam_size": rows % 5},
        "score": {"text": texts},
        "read": {"text": texts, **state},
        "step": {"char": strings([text[:4] for text in texts]), **state},
        "encode": {"text": texts},
        "gates": {"text": texts},
    }


def translation_inputs(texts):
    """`{signature: {input: array}}` for a batch of texts; no two rows that follow one another have the same beam."""
    of_texts = {"text": strings(texts)}
    beam_sizes = np.arange(len(texts), dtype=np.int32) * 7 % 20 - 1
    return {
        "serving_default": of_texts,
        "n_best": {**of_texts, "beam_size": beam_sizes},
        "explain": of_texts,
        "encode": of_texts,
    }


def rest_answer(function, body):
    """What TensorFlow Serving's REST interface makes of a request in row form, and the outputs it was made of."""
    instances = json.loads(body)["instances"]
    specs = function.structured_input_signature[1]
    if len(specs) == 1:  # then a row may be the value itself
        (name,) = specs
        instances = [row if isinstance(row, dict) and name in row else {name: row} for row in instances]
    assert all(row.keys() == specs.keys() for row in instances)

    def received(value, dtype):
        if dtype == tf.string:
            return base64.b64decode(value["b64"]) if isinstance(value, dict) else value
        assert dtype.is_floating or isinstance(value, int)  # an integer must be sent as one
        return value

    columns = {name: [received(row[name], spec.dtype) for row in instances] for name, spec in specs.items()}
    answer = function(**{name: tf.constant(column, specs[name].dtype) for name, column in columns.items()})
    outputs = {key: value.numpy() for key, value in answer.items()}

    def plain(value, key):
        if isinstance(value, np.ndarray):
            return [plain(item, key) for item in value]
        if isinstance(value, bytes):
            return {"b64": base64.b64encode(value).decode()} if key.endswith("_bytes") else value.decode("utf-8")
        return value.item()

    assert all(value.shape[0] == len(instances) for value in outputs.values())
    predictions = [{key: plain(value[row], key) for key, value in outputs.items()} for row in range(len(instances))]
    if len(outputs) == 1:
        predictions = [value for row in predictions for value in row.values()]
    return json.dumps({"predictions": predictions}, allow_nan=False), outputs
