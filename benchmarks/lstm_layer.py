"""Time the LSTM layer beside `keras.layers.LSTM`, PyTorch's and ONNX Runtime's where they are installed, on the CPU.

    python benchmarks/lstm_layer.py
    python benchmarks/lstm_layer.py --shape 32,50,64,128 --pass train --rounds 15 --json
    python benchmarks/lstm_layer.py --growth --plot growth.png

The implementations take turns within one process, so that a machine which slows down slows all of them down; the
numbers are medians over the rounds. Peak memory is measured apart, each in a process of its own.

`pip install -e ".[bench]"` installs PyTorch and ONNX Runtime.
"""

import argparse
import json
import os
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path

from measuring import machine, seconds_of, time_in_turns

from nlp_lstm.process_setup import keep_freed_memory

SHAPES = ((64, 200, 128, 256), (64, 100, 512, 512), (8, 200, 128, 256), (1, 200, 128, 256))
PASSES = ("train", "forward", "mixed lengths")
LEAST_TRAINED_BATCH = 32  # smaller ones are what is served
MIXED_STEPS, MIXED_LENGTHS = 60, 20
MIXED_SHAPE = (32, 0, 64, 128)
PEAK_PRODUCTS = ((2048, 2048, 2048), (12800, 256, 1024), (6400, 512, 2048))  # rows, inner, columns
# Implementation and dtype; the int8 one has its recurrent kernel in 8 bits, as an export with --precision int8.
TENSORFLOW = {
    "train": (("keras", "float32"), ("nlp_lstm", "float32"), ("keras", "bfloat16"), ("nlp_lstm", "bfloat16")),
    "forward": (("keras", "float32"), ("nlp_lstm", "float32"), ("nlp_lstm", "bfloat16"), ("nlp_lstm", "int8")),
    "mixed lengths": (("keras", "float32"), ("nlp_lstm", "float32")),
}
DIMENSIONS = ("batch", "time", "input", "units")
GROWTH = {
    "time": [(64, steps, 128, 256) for steps in (25, 50, 100, 200, 400)],
    "units": [(64, 100, 128, units) for units in (64, 128, 256, 512, 1024)],
    "batch": [(batch, 100, 128, 256) for batch in (8, 16, 32, 64, 128)],
}


@dataclass
class Row:
    implementation: str
    dtype: str
    batch: int
    time: int
    input: int
    units: int
    # `pass` is a keyword of Python, so the field gets its name on the way out.
    pass_: str
    ms: float
    ratio_to_keras: float
    gflops: float | None = None
    share_of_peak: float | None = None
    peak_memory_mb: float | None = None

    def as_dict(self):
        return {name.rstrip("_"): value for name, value in asdict(self).items()}


def shape(text):
    try:
        sizes = tuple(int(size) for size in text.split(","))
    except ValueError:
        sizes = ()
    if len(sizes) != 4 or min(sizes) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not BATCH,TIME,INPUT,UNITS: four positive integers")
    return sizes


def rounds(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return int(text)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description="Time this LSTM layer beside keras.layers.LSTM (and torch's and ONNX Runtime's, if installed).",
        epilog="""\
passes
  train          forward and backward, with the gradient by the input and by all weights, as a training step does them
                 (training=True, so nlp_lstm is compiled by XLA)
  forward        as exported for serving: training=False, batch and time unknown to the graph, no XLA
  mixed lengths  60 training steps of 20 different lengths, one after the other, from the first one on: tracing and
                 compiling included (batch 32, 20 to 115 steps, 64 -> 128; jit_compile="auto")

columns
  dtype           bfloat16: a mixed_bfloat16 policy in training, the recurrent products alone in the forward pass;
                  int8: the recurrent products in 8 bits, as in an export with --precision int8
  ratio_to_keras  milliseconds of Keras's layer in float32 by the row's: above 1 is faster
  gflops          floating-point operations of the matrix products alone, a second
  share_of_peak   of the fastest large float32 tf.matmul, measured in the same rounds
  peak_memory_mb  growth of the process's largest resident size from before the first call, over three calls, tracing
                  and compiling included""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--shape",
        dest="shapes",
        type=shape,
        action="append",
        metavar="BATCH,TIME,INPUT,UNITS",
        help="a shape to time; may be given again (default: "
        + ", ".join(",".join(map(str, sizes)) for sizes in SHAPES)
        + ")",
    )
    parser.add_argument(
        "--pass", dest="passes", choices=PASSES, action="append", help="what to time; may be given again (default: all)"
    )
    parser.add_argument("--rounds", type=rounds, default=9, help="turns each implementation takes (default: 9)")
    parser.add_argument("--stepwise", action="store_true", help="time the layer's plain stepwise path too")
    parser.add_argument("--no-memory", dest="memory", action="store_false", help="leave the memory unmeasured")
    parser.add_argument(
        "--keep-freed-memory",
        action="store_true",
        help="let no implementation hand freed memory back to the system, as the apps do in training",
    )
    parser.add_argument(
        "--growth", action="store_true", help="instead: how the time grows with the number of steps, units and rows"
    )
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the growth (with --growth)")
    parser.add_argument("--json", action="store_true", help="print one JSON object a row on standard output")
    arguments = parser.parse_args()
    if arguments.plot and not arguments.growth:
        parser.error("--plot draws what --growth measures: give both")
    return arguments


def tensorflow_layer(implementation, sizes, policy="float32"):
    from keras import layers

    from nlp_lstm.lstm import LSTM

    class StepwiseLSTM(LSTM):
        def _fast_path_applies(self):
            return False

    classes = {"keras": layers.LSTM, "nlp_lstm": LSTM, "nlp_lstm stepwise": StepwiseLSTM}
    layer = classes[implementation](sizes[3], return_sequences=True, dtype=policy)
    layer.build((None, None, sizes[2]))
    return layer


def forward_call(implementation, dtype, sizes):
    """As an exported graph does it."""
    import numpy as np
    import tensorflow as tf

    from nlp_lstm.weight_matrix import weight_matrix

    batch, steps, features, _ = sizes
    layer = tensorflow_layer(implementation, sizes)
    if dtype != "float32":
        layer.cell.recurrent_kernel = weight_matrix(layer.cell.recurrent_kernel.value, dtype)
    forward = tf.function(layer, input_signature=[tf.TensorSpec([None, None, features])], autograph=False)
    x = tf.constant(np.random.default_rng(0).normal(size=(batch, steps, features)), tf.float32)
    return lambda: forward(x)


def training_step(layer, signature=None):
    import tensorflow as tf

    @tf.function(autograph=False, input_signature=signature)
    def train(x, upstream):
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = layer(x, training=True)
        wanted = [x, *(weight.value for weight in layer.trainable_variables)]
        return tape.gradient(outputs, wanted, output_gradients=tf.cast(upstream, outputs.dtype))

    return train


def train_call(implementation, dtype, sizes):
    import numpy as np
    import tensorflow as tf

    batch, steps, features, units = sizes
    policy = "mixed_bfloat16" if dtype == "bfloat16" else dtype
    train = training_step(tensorflow_layer(implementation, sizes, policy))
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=(batch, steps, features)), tf.float32)
    upstream = tf.constant(rng.normal(size=(batch, steps, units)), tf.float32)
    return lambda: train(x, upstream)


def torch_call(sizes, which):
    import torch

    batch, steps, features, units = sizes
    layer = torch.nn.LSTM(features, units, batch_first=True)
    x = torch.randn(batch, steps, features)
    if which == "forward":

        def forward():
            with torch.inference_mode():
                return layer(x)

        return forward
    upstream = torch.randn(batch, steps, units)
    x.requires_grad_()
    return lambda: torch.autograd.grad(layer(x)[0], [x, *layer.parameters()], upstream)


def onnx_call(sizes):
    """The forward pass of one LSTM node with random weights."""
    import numpy as np
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    batch, steps, features, units = sizes
    rng = np.random.default_rng(0)

    def weights(name, *dimensions):
        return numpy_helper.from_array((0.1 * rng.normal(size=dimensions)).astype(np.float32), name)

    node = helper.make_node("LSTM", ["x", "W", "R", "B"], ["y"], hidden_size=units)
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, None, features])
    found = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1, None, units])
    parameters = [weights("W", 1, 4 * units, features), weights("R", 1, 4 * units, units), weights("B", 1, 8 * units)]
    model = helper.make_model(
        helper.make_graph([node], "lstm", [given], [found], parameters), opset_imports=[helper.make_opsetid("", 14)]
    )
    model.ir_version = 8
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = rng.normal(size=(steps, batch, features)).astype(np.float32)
    return lambda: session.run(None, {"x": x})


def make_call(implementation, dtype, sizes, which):
    if implementation == "torch":
        return torch_call(sizes, which)
    if implementation == "onnxruntime":
        return onnx_call(sizes)
    call = forward_call if which == "forward" else train_call
    return call(implementation, dtype, sizes)


def matrix_products():
    """Calls that each do one large float32 product, with their floating-point operations."""
    import tensorflow as tf

    def product(rows, inner, columns):
        a, b = tf.random.normal([rows, inner]), tf.random.normal([inner, columns])
        return lambda: tf.matmul(a, b)

    return [(product(*sizes), 2 * sizes[0] * sizes[1] * sizes[2]) for sizes in PEAK_PRODUCTS]


def time_implementations(which_ones, sizes, which, turns):
    """Median seconds of each implementation, and the peak in floating-point operations a second."""
    products = matrix_products()
    peak = 0.0

    def largest_product():
        nonlocal peak
        peak = max(peak, *(operations / seconds_of(product) for product, operations in products))

    calls = {one: make_call(*one, sizes, which) for one in which_ones}
    medians = time_in_turns({**calls, None: largest_product}, turns)
    del medians[None]
    return medians, peak


def largest_resident_mb():
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / 2**20 if sys.platform == "darwin" else size / 2**10  # bytes there, KiB elsewhere


def memory_growth(implementation, dtype, sizes, which):
    call = make_call(implementation, dtype, sizes, which)
    with suppress(OSError):  # the imports peak higher than they stay; Linux can forget that
        Path("/proc/self/clear_refs").write_text("5")
    before = largest_resident_mb()
    for _ in range(3):
        call()
    return largest_resident_mb() - before


def matrix_product_operations(sizes, which):
    """Of x W and h U at every step; the gradients by their two factors cost as much again, each."""
    batch, steps, features, units = sizes
    forward = 2 * batch * steps * (features + units) * 4 * units
    return 3 * forward if which == "train" else forward


def in_fresh_process(function, *arguments):
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def measure(sizes, which, implementations, turns, memory):
    medians, peak = in_fresh_process(time_implementations, implementations, sizes, which, turns)
    print(f"  fastest matrix product: {peak / 1e9:.0f} GFLOPS", file=sys.stderr)
    for one in implementations:
        speed = matrix_product_operations(sizes, which) / medians[one]
        yield Row(
            *one,
            *sizes,
            which,
            ms=round(medians[one] * 1e3, 3),
            ratio_to_keras=round(medians["keras", "float32"] / medians[one], 3),
            gflops=round(speed / 1e9, 2),
            share_of_peak=round(speed / peak, 4),
            peak_memory_mb=round(in_fresh_process(memory_growth, *one, sizes, which), 1) if memory else None,
        )


def mixed_lengths(implementation, dtype):
    """Milliseconds of training steps on lengths that come and come again."""
    import numpy as np

    batch, _, features, units = MIXED_SHAPE
    rng = np.random.default_rng(0)
    lengths = np.tile(rng.permutation(np.arange(20, 20 + 5 * MIXED_LENGTHS, 5)), MIXED_STEPS // MIXED_LENGTHS)
    inputs = {
        steps: [rng.normal(size=(batch, steps, size)).astype(np.float32) for size in (features, units)]
        for steps in set(lengths.tolist())
    }
    if implementation == "torch":
        import torch

        layer = torch.nn.LSTM(features, units, batch_first=True)

        def step(x, upstream):
            x = torch.from_numpy(x).requires_grad_()
            torch.autograd.grad(layer(x)[0], [x, *layer.parameters()], torch.from_numpy(upstream))

    else:
        import tensorflow as tf

        # As `fit` traces it for a dataset of such batches.
        signature = [tf.TensorSpec([None, None, size]) for size in (features, units)]
        train = training_step(tensorflow_layer(implementation, MIXED_SHAPE, dtype), signature)

        def step(x, upstream):
            train(tf.constant(x), tf.constant(upstream))

    started = time.perf_counter()
    for steps in lengths.tolist():
        step(*inputs[steps])
    return (time.perf_counter() - started) * 1e3


def measure_mixed_lengths(implementations):
    found = {one: in_fresh_process(mixed_lengths, *one) for one in implementations}
    for one, milliseconds in found.items():
        ratio = found["keras", "float32"] / milliseconds
        yield Row(*one, *MIXED_SHAPE, "mixed lengths", ms=round(milliseconds, 1), ratio_to_keras=round(ratio, 3))


def measure_growth(which, turns):
    """Milliseconds by what grows, and the exponent of the power law through them."""
    import numpy as np

    for name, shapes in GROWTH.items():
        place = DIMENSIONS.index(name)
        medians = [
            in_fresh_process(time_implementations, [("nlp_lstm", "float32")], sizes, which, turns)[0]
            for sizes in shapes
        ]
        grown = [sizes[place] for sizes in shapes]
        milliseconds = [round(median["nlp_lstm", "float32"] * 1e3, 3) for median in medians]
        exponent = float(np.polyfit(np.log(grown), np.log(milliseconds), 1)[0])
        yield {"pass": which, "grows": name, "values": grown, "ms": milliseconds, "exponent": round(exponent, 2)}


def draw_growth(rows, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(GROWTH), figsize=(10, 3.4), sharey=True, layout="constrained")
    for axis, name in zip(axes, GROWTH, strict=True):
        for row in (row for row in rows if row["grows"] == name):
            axis.loglog(row["values"], row["ms"], "o-", label=f"{row['pass']}: {name}^{row['exponent']}")
        axis.set_xlabel(name)
        ticks = [sizes[DIMENSIONS.index(name)] for sizes in GROWTH[name]]
        axis.set_xticks(ticks, [str(tick) for tick in ticks])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.legend(fontsize="small", loc="upper left")
    axes[0].set_ylabel("milliseconds")
    figure.suptitle("nlp_lstm.LSTM: how a pass grows")
    figure.savefig(path, dpi=120)


def print_table(row_dicts):
    names = list(row_dicts[0])
    cells = [names, *([str(value) for value in row.values()] for row in row_dicts)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(names))]
    for line in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))


def peers(which):
    """Others that are installed and can do such a pass."""
    found = [("torch", "float32")] if find_spec("torch") else []
    if which == "forward" and find_spec("onnxruntime") and find_spec("onnx"):
        found.append(("onnxruntime", "float32"))
    return found


def all_rows(arguments):
    for which in arguments.passes or PASSES:
        implementations = [*TENSORFLOW[which], *peers(which)]
        if arguments.stepwise and which != "mixed lengths":
            implementations.append(("nlp_lstm stepwise", "float32"))
        names = ", ".join(f"{implementation} {dtype}" for implementation, dtype in implementations)
        if which == "mixed lengths":
            print(f"{which}: {names}", file=sys.stderr)
            yield from measure_mixed_lengths(implementations)
            continue
        for sizes in arguments.shapes or SHAPES:
            if which == "train" and sizes[0] < LEAST_TRAINED_BATCH and not arguments.shapes:
                continue
            print(f"{','.join(map(str, sizes))} {which}: {names}", file=sys.stderr)
            yield from measure(sizes, which, implementations, arguments.rounds, arguments.memory)


def main():
    arguments = parse_arguments()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    here = machine()
    print(json.dumps(here) if arguments.json else f"{here}", flush=True)
    if arguments.keep_freed_memory and not keep_freed_memory():
        print("this C library does not let freed memory be kept", file=sys.stderr)
    rows = []
    if arguments.growth:
        found = (row for which in ("train", "forward") for row in measure_growth(which, arguments.rounds))
    else:
        found = (row.as_dict() for row in all_rows(arguments))
    for row in found:
        rows.append(row)
        if arguments.json:
            print(json.dumps(row), flush=True)
    if not arguments.json:
        print_table(rows)
    if arguments.plot:
        draw_growth(rows, arguments.plot)


if __name__ == "__main__":
    main()
