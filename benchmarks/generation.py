"""Time writing text with two LSTMs of 512 units: this suite's exported graph, Python loops, and the memory's own speed.

    python benchmarks/generation.py
    python benchmarks/generation.py --json
    python benchmarks/generation.py --intra-op 2

All take turns within one process, so that a machine which slows down slows all of them down; the numbers are medians
over the rounds. The model is exported with random weights, whose values do not matter for speed, to a temporary folder,
and loaded from there.
"""

import argparse
import json
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

from measuring import machine, rates_in_turns

UNITS, LAYERS, SYMBOLS = 512, 2, 65
BATCHES = (1, 32)
LENGTHS = {1: 500, 32: 200}  # characters a row in a timed call
WINDOW = 40  # characters that the loops over `predict` see, as in Keras's own example of text generation
PROMPT = "abc"


def parse_arguments():
    parser = argparse.ArgumentParser(
        description="Time writing text with two LSTMs of 512 units.",
        epilog="""\
fields, for each batch
  chars_per_second                    of the `generate` signature of the loaded SavedModel, temperature 0.8, all rows
                                      together
  bfloat16_chars_per_second           of an export with --precision bfloat16, and
  int8_chars_per_second               with --precision int8
  predict_loop_chars_per_second       a Python loop over `model.predict` on the last 40 characters, keras.layers.LSTM,
                                      as tutorials do it
  stateful_predict_chars_per_second   the same with stateful layers, a character a call
  torch_loop_chars_per_second         a Python loop over torch.nn.LSTM, a character a call, where torch is installed
  onnx_loop_chars_per_second          a Python loop over the same network in ONNX Runtime, where it is installed, and
  onnx_int8_loop_chars_per_second     the same quantised by its own tools
  share_of_bandwidth_limit            steps a second (chars_per_second / batch) by how often the weights can be read a
                                      second: their bytes summed up by TensorFlow, same threads, same rounds
  times_predict_loop                  chars_per_second / predict_loop_chars_per_second""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=9, help="turns each of them takes (default: 9)")
    parser.add_argument("--intra-op", type=int, default=1, help="TensorFlow's threads within an operation (default: 1)")
    parser.add_argument(
        "--inter-op", type=int, default=2, help="TensorFlow's threads for operations side by side (default: 2)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    arguments = parser.parse_args()
    if min(arguments.rounds, arguments.intra_op, arguments.inter_op) < 1:
        parser.error("--rounds, --intra-op and --inter-op must be at least 1")
    return arguments


def exported_model(folder, precision):
    """`generate` of a SavedModel with random weights, what must stay alive for it, and its weights' bytes."""
    import tensorflow as tf

    from nlp_lstm.char_lm.build import build_model
    from nlp_lstm.char_lm.serving import CharLmServing
    from nlp_lstm.char_lm.settings import Settings
    from nlp_lstm.text.symbols import Symbols

    symbols = Symbols.of_text("".join(chr(ord("0") + number) for number in range(SYMBOLS)))
    model = build_model(Settings(units=UNITS, layers=LAYERS), len(symbols))
    serving = CharLmServing(model, symbols, precision)
    holder = tf.Module()
    holder.resources = serving.resources
    signatures = {"generate": serving.generate.get_concrete_function()}
    tf.saved_model.save(holder, str(folder), signatures=signatures)
    folded = serving.folded
    matrices = [*folded.recurrent_kernels, *folded.kernels, folded.head_kernel]
    # Of the table a step reads a single row.
    vectors = [*folded.biases, folded.head_bias, folded.table[0]]
    weight_bytes = sum(matrix.bytes_read for matrix in matrices) + sum(4 * int(tf.size(vector)) for vector in vectors)
    loaded = tf.saved_model.load(str(folder))
    return loaded, loaded.signatures["generate"], weight_bytes


def writing(generate, batch):
    import tensorflow as tf

    def each(value, dtype):
        return tf.fill([batch], tf.constant(value, dtype))

    inputs = {
        "prompt": each(PROMPT, tf.string),
        "length": each(LENGTHS[batch], tf.int32),
        "temperature": each(0.8, tf.float32),
        "top_k": each(0, tf.int32),
        "top_p": each(1.0, tf.float32),
        "seed": tf.range(batch),
    }
    return lambda: generate(**inputs)["text"].numpy(), batch * LENGTHS[batch]


def keras_model(batch, stateful):
    import keras

    inputs = keras.Input(batch_shape=(batch, 1 if stateful else WINDOW), dtype="int32")
    features = keras.layers.Embedding(SYMBOLS, 128)(inputs)
    for layer in range(LAYERS):
        last = layer == LAYERS - 1
        features = keras.layers.LSTM(UNITS, return_sequences=not last, stateful=stateful)(features)
    return keras.Model(inputs, keras.layers.Dense(SYMBOLS, activation="softmax")(features))


def predict_loop(batch, stateful):
    """Characters are drawn by NumPy; a few are enough to tell the speed."""
    import numpy as np

    model = keras_model(batch, stateful)
    rng = np.random.default_rng(0)
    steps = 8

    def write():
        text = rng.integers(0, SYMBOLS, (batch, WINDOW))
        for _ in range(steps):
            seen = text[:, -1:] if stateful else text[:, -WINDOW:]
            probabilities = model.predict(seen, verbose=0)
            reach = np.cumsum(probabilities, axis=1)
            drawn = (reach < rng.random((batch, 1)) * reach[:, -1:]).sum(axis=1)
            text = np.concatenate([text, drawn[:, None]], axis=1)
        return text

    return write, batch * steps


def torch_loop(batch):
    import torch

    embedding = torch.nn.Embedding(SYMBOLS, 128)
    lstm = torch.nn.LSTM(128, UNITS, LAYERS, batch_first=True)
    head = torch.nn.Linear(UNITS, SYMBOLS)
    steps = 50

    def write():
        with torch.inference_mode():
            drawn, state = torch.zeros(batch, 1, dtype=torch.long), None
            for _ in range(steps):
                features, state = lstm(embedding(drawn), state)
                drawn = torch.multinomial(torch.softmax(head(features[:, -1]) / 0.8, -1), 1)

    return write, batch * steps


def onnx_model(batch):
    """The network that torch's loop has, with random weights, as an ONNX model."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    weights, nodes, state = [], [], []

    def weight(name, *shape):
        weights.append(numpy_helper.from_array((0.05 * rng.normal(size=shape)).astype(np.float32), name))
        return name

    nodes.append(helper.make_node("Gather", [weight("embedding", SYMBOLS, 128), "ids"], ["features_0"]))
    for layer, size in enumerate((128, UNITS)):
        names = [weight(f"{kind}_{layer}", 1, 4 * UNITS, width) for kind, width in (("W", size), ("R", UNITS))]
        names.append(weight(f"B_{layer}", 1, 8 * UNITS))
        outputs = [f"{kind}_{layer}" for kind in ("y", "h_after", "c_after")]
        inputs = [f"features_{layer}", *names, "", f"h_{layer}", f"c_{layer}"]
        nodes.append(helper.make_node("LSTM", inputs, outputs, hidden_size=UNITS))
        nodes.append(helper.make_node("Squeeze", [outputs[0], "direction"], [f"features_{layer + 1}"]))
        state += [f"h_{layer}", f"c_{layer}"]
    weights.append(numpy_helper.from_array(np.array([1]), "direction"))
    nodes.append(helper.make_node("MatMul", [f"features_{LAYERS}", weight("head", UNITS, SYMBOLS)], ["logits"]))
    given = [helper.make_tensor_value_info("ids", TensorProto.INT64, [1, batch])]
    given += [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, batch, UNITS]) for name in state]
    found = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, batch, SYMBOLS])]
    for name in state:
        after = f"{name[0]}_after{name[1:]}"
        found.append(helper.make_tensor_value_info(after, TensorProto.FLOAT, [1, batch, UNITS]))
    model = helper.make_model(
        helper.make_graph(nodes, "generation", given, found, weights), opset_imports=[helper.make_opsetid("", 14)]
    )
    model.ir_version = 8
    return model, state


def onnx_loop(batch, folder, int8, threads):
    """A Python loop over ONNX Runtime; characters are drawn by NumPy, as one would."""
    import numpy as np
    import onnx
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model, state_names = onnx_model(batch)
    path = folder / f"generation_{batch}.onnx"
    onnx.save(model, path)
    if int8:
        narrow = folder / f"generation_{batch}_int8.onnx"
        quantize_dynamic(path, narrow, weight_type=QuantType.QInt8)
        path = narrow
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    steps = 100

    def write():
        ids = np.zeros((1, batch), np.int64)
        state = {name: np.zeros((1, batch, UNITS), np.float32) for name in state_names}
        for _ in range(steps):
            logits, *after = session.run(None, {"ids": ids, **state})
            state = dict(zip(state_names, after, strict=True))
            mass = np.exp((logits[0] - logits[0].max(axis=1, keepdims=True)) / 0.8)
            reach = np.cumsum(mass, axis=1)
            ids = (reach < rng.random((batch, 1)) * reach[:, -1:]).sum(axis=1)[None]

    return write, batch * steps


def reading(number_of_bytes, threads):
    """Sum up so many bytes in graph, over and over, each thread its share of them in a loop of its own."""
    import tensorflow as tf

    times = 200

    def reader():
        numbers = tf.Variable(tf.random.normal([number_of_bytes // 4 // threads]))

        @tf.function(autograph=False)
        def read():
            return tf.while_loop(
                lambda turn, _: turn < times,
                lambda turn, total: (turn + 1, total + tf.reduce_sum(numbers)),
                (tf.constant(0), tf.constant(0.0)),
            )

        return lambda: read()[1].numpy()

    readers = [reader() for _ in range(threads)]
    pool = ThreadPoolExecutor(threads)
    return lambda: list(pool.map(lambda read: read(), readers)), times


def main():
    arguments = parse_arguments()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(arguments.intra_op)
    tf.config.threading.set_inter_op_parallelism_threads(arguments.inter_op)
    here = machine()
    with tempfile.TemporaryDirectory() as folder:
        exports = {
            precision: exported_model(Path(folder) / precision / "1", precision)
            for precision in ("float32", "bfloat16", "int8")
        }
        weight_bytes = exports["float32"][2]
        calls = {"read": reading(weight_bytes, arguments.inter_op)}
        for batch in BATCHES:
            for precision, (_, generate, _) in exports.items():
                name = "" if precision == "float32" else f"{precision}_"
                calls[f"{name}chars_per_second {batch}"] = writing(generate, batch)
            calls[f"predict_loop_chars_per_second {batch}"] = predict_loop(batch, stateful=False)
            calls[f"stateful_predict_chars_per_second {batch}"] = predict_loop(batch, stateful=True)
            if find_spec("torch"):
                calls[f"torch_loop_chars_per_second {batch}"] = torch_loop(batch)
            if find_spec("onnxruntime") and find_spec("onnx"):
                for name, int8 in (("onnx", False), ("onnx_int8", True)):
                    loop = onnx_loop(batch, Path(folder), int8, arguments.intra_op * arguments.inter_op)
                    calls[f"{name}_loop_chars_per_second {batch}"] = loop
        print(f"timing {', '.join(calls)}", file=sys.stderr)
        rates = rates_in_turns(calls, arguments.rounds)
        del exports
    result = {
        "machine": here,
        "threads": {"intra_op": arguments.intra_op, "inter_op": arguments.inter_op},
        "weight_bytes": weight_bytes,
        "read_gigabytes_per_second": round(rates["read"] * weight_bytes / 1e9, 2),
        "bandwidth_limit_steps_per_second": round(rates["read"], 1),
    }
    for batch in BATCHES:
        found = {name.rpartition(" ")[0]: round(rate, 2) for name, rate in rates.items() if name.endswith(f" {batch}")}
        found["share_of_bandwidth_limit"] = round(found["chars_per_second"] / batch / rates["read"], 3)
        found["times_predict_loop"] = round(found["chars_per_second"] / found["predict_loop_chars_per_second"], 1)
        result[f"batch_{batch}"] = found
    result["batch_32_by_batch_1"] = round(
        result["batch_32"]["chars_per_second"] / result["batch_1"]["chars_per_second"], 2
    )
    if arguments.json:
        print(json.dumps(result))
        return
    for key, value in result.items():
        for name, number in value.items() if isinstance(value, dict) else [("", value)]:
            print(f"{key:34} {name:36} {number}")


if __name__ == "__main__":
    main()
