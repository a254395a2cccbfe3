"""Time the LSTM layer beside `keras.layers.LSTM`, and PyTorch's where it is installed, on the CPU at hand.

    python benchmarks/lstm_layer.py
    python benchmarks/lstm_layer.py --shape 32,50,64,128 --rounds 15 --json

The implementations take turns within one process, so that a machine which slows down slows all of them down; the
numbers are medians over the rounds. Peak memory is measured apart, each in a process of its own.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path

SHAPES = ((64, 200, 128, 256), (64, 100, 512, 512))
PASSES = ("train", "forward")
WARM_UP_CALLS = 2
PEAK_PRODUCTS = ((2048, 2048, 2048), (12800, 256, 1024), (6400, 512, 2048))  # rows, inner, columns


@dataclass
class Row:
    implementation: str
    batch: int
    time: int
    input: int
    units: int
    # `pass` is a keyword of Python, so the field gets its name on the way out.
    pass_: str
    ms: float
    ratio_to_keras: float
    gflops: float
    share_of_peak: float
    peak_memory_mb: float

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
        description="Time this LSTM layer beside keras.layers.LSTM (and torch.nn.LSTM, if installed).",
        epilog="""\
passes
  train    forward and backward, with the gradient by the input and by all weights, as a training step does them
           (training=True, so nlp_lstm is compiled by XLA)
  forward  as exported for serving: training=False, batch and time unknown to the graph, no XLA

columns
  ratio_to_keras  Keras's milliseconds by the row's: above 1 is faster than Keras
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
        help="a shape to time; may be given again (default: 64,200,128,256 and 64,100,512,512)",
    )
    parser.add_argument("--rounds", type=rounds, default=9, help="turns each implementation takes (default: 9)")
    parser.add_argument("--stepwise", action="store_true", help="time the layer's plain stepwise path too")
    parser.add_argument("--json", action="store_true", help="print one JSON object a row on standard output")
    return parser.parse_args()


def tensorflow_call(implementation, sizes, which):
    """A function without arguments that does one pass."""
    import numpy as np
    import tensorflow as tf
    from keras import layers

    from nlp_lstm.lstm import LSTM

    class StepwiseLSTM(LSTM):
        def _fast_path_applies(self):
            return False

    batch, steps, features, units = sizes
    classes = {"keras": layers.LSTM, "nlp_lstm": LSTM, "nlp_lstm stepwise": StepwiseLSTM}
    layer = classes[implementation](units, return_sequences=True)
    layer.build((None, None, features))
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=(batch, steps, features)), tf.float32)
    if which == "forward":
        forward = tf.function(layer, input_signature=[tf.TensorSpec([None, None, features])], autograph=False)
        return lambda: forward(x)
    upstream = tf.constant(rng.normal(size=(batch, steps, units)), tf.float32)

    @tf.function(autograph=False)
    def train(x, upstream):
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = layer(x, training=True)
        wanted = [x, *(weight.value for weight in layer.trainable_variables)]
        return tape.gradient(outputs, wanted, output_gradients=upstream)

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


def make_call(implementation, sizes, which):
    return torch_call(sizes, which) if implementation == "torch" else tensorflow_call(implementation, sizes, which)


def seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def matrix_products():
    """Calls that each do one large float32 product, with their floating-point operations."""
    import tensorflow as tf

    def product(rows, inner, columns):
        a, b = tf.random.normal([rows, inner]), tf.random.normal([inner, columns])
        return lambda: tf.matmul(a, b)

    return [(product(*sizes), 2 * sizes[0] * sizes[1] * sizes[2]) for sizes in PEAK_PRODUCTS]


def time_in_turns(implementations, sizes, which, turns):
    """Median seconds of each implementation, and the peak in floating-point operations a second."""
    calls = {implementation: make_call(implementation, sizes, which) for implementation in implementations}
    products = matrix_products()
    for call in [*calls.values(), *(product for product, _ in products)]:
        for _ in range(WARM_UP_CALLS):
            call()
    times = {implementation: [] for implementation in implementations}
    peak = 0.0
    for turn in range(turns):
        first = turn % len(implementations)  # nobody always follows the same neighbour
        for implementation in implementations[first:] + implementations[:first]:
            times[implementation].append(seconds(calls[implementation]))
        peak = max(peak, *(operations / seconds(product) for product, operations in products))
    return {implementation: statistics.median(values) for implementation, values in times.items()}, peak


def largest_resident_mb():
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / 2**20 if sys.platform == "darwin" else size / 2**10  # bytes there, KiB elsewhere


def memory_growth(implementation, sizes, which):
    call = make_call(implementation, sizes, which)
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


def measure(sizes, which, implementations, turns):
    medians, peak = in_fresh_process(time_in_turns, implementations, sizes, which, turns)
    print(f"  fastest matrix product: {peak / 1e9:.0f} GFLOPS; now memory", file=sys.stderr)
    for implementation in implementations:
        speed = matrix_product_operations(sizes, which) / medians[implementation]
        yield Row(
            implementation,
            *sizes,
            which,
            ms=round(medians[implementation] * 1e3, 3),
            ratio_to_keras=round(medians["keras"] / medians[implementation], 3),
            gflops=round(speed / 1e9, 2),
            share_of_peak=round(speed / peak, 4),
            peak_memory_mb=round(in_fresh_process(memory_growth, implementation, sizes, which), 1),
        )


def print_table(row_dicts):
    names = list(row_dicts[0])
    cells = [names, *([str(value) for value in row.values()] for row in row_dicts)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(names))]
    for line in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))


def main():
    arguments = parse_arguments()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    implementations = ["keras", "nlp_lstm"]
    if arguments.stepwise:
        implementations.append("nlp_lstm stepwise")
    if find_spec("torch"):
        implementations.append("torch")
    rows = []
    for sizes in arguments.shapes or SHAPES:
        for which in PASSES:
            print(f"{','.join(map(str, sizes))} {which}: {', '.join(implementations)}", file=sys.stderr)
            for row in measure(sizes, which, implementations, arguments.rounds):
                rows.append(row.as_dict())
                if arguments.json:
                    print(json.dumps(rows[-1]), flush=True)
    if not arguments.json:
        print_table(rows)


if __name__ == "__main__":
    main()
