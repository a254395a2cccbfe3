"""Time training steps of one worker and of two, and the sum of gradients over loopback and over a slower link.

    python benchmarks/workers.py
    sudo env "PATH=$PATH" python benchmarks/workers.py --link 1gbit

A step is that of `apps/char_lm.py train` (two LSTMs of 512 units, windows of 128 characters, Adam, gradient clipped).
With `--link` each worker is in a network namespace of its own, a pair of virtual cards between them that is so fast,
for which the program must be run as root.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from measuring import machine

ROWS, WINDOW, SYMBOLS = 16, 128, 66
NAMES = ("nlp_lstm_a", "nlp_lstm_b")
ADDRESSES = ("10.219.0.1", "10.219.0.2")


def work(steps):
    """In a worker: print the milliseconds of a step and of a sum of as much as the gradients are."""
    from nlp_lstm import cli
    from nlp_lstm.cluster import cluster_here
    from nlp_lstm.workers import ALONE

    cli.import_tensorflow_quietly()
    from nlp_lstm.workers_tensorflow import SeveralWorkers

    cluster = cluster_here()
    if cluster is None:
        timed(ALONE, steps)
    else:
        with SeveralWorkers(cluster) as workers:
            timed(workers, steps)


def timed(workers, steps):
    import keras
    import numpy as np
    import tensorflow as tf

    from nlp_lstm.models.language_model import CarriedStateTraining, LanguageModel
    from nlp_lstm.training import adam, mean_of_outputs

    rows = int(os.environ["ROWS"])
    model = LanguageModel(SYMBOLS, 128, 512, 2, input_dropout=0.1, hidden_dropout=0.4, output_dropout=0.4, seed=0)
    trained = CarriedStateTraining(model, rows, workers.rows(rows))
    trained.build((rows, None))
    trained.compile(
        adam(0.003, 1000, final_share=0.01, clip_norm=1.0, averaging=0.998), loss=mean_of_outputs, jit_compile=False
    )
    trained.optimizer.build(trained.trainable_variables)
    workers.distribute(trained)
    ids = np.random.default_rng(0).integers(0, SYMBOLS, (rows, WINDOW + 1)).astype(np.int32)
    batches = tf.data.Dataset.from_tensors((ids, np.zeros(rows, np.float32))).repeat(steps)

    class Clock(keras.callbacks.Callback):
        ends: list = []  # noqa: RUF012

        def on_train_batch_end(self, batch, logs=None):
            self.ends.append(time.perf_counter())

    trained.fit(workers.own_rows(batches), verbose=0, callbacks=[Clock()])
    between = [after - before for before, after in zip(Clock.ends[2:], Clock.ends[3:], strict=False)]
    found = {"weights": model.count_params(), "step_ms": round(1e3 * statistics.median(between), 1)}
    if workers.number > 1:
        gradients = [tf.random.normal(weight.shape) for weight in model.trainable_weights]
        seconds = []
        for _ in range(12):
            began = time.perf_counter()
            for value in workers.sum(gradients):
                value.numpy()
            seconds.append(time.perf_counter() - began)
        found["sum_ms"] = round(1e3 * statistics.median(seconds[2:]), 1)
    if workers.is_chief:
        print(json.dumps(found), flush=True)


def measured(workers, rows, steps, threads, prefixes=((), ()), hosts=("127.0.0.1", "127.0.0.1")):
    """What the chief prints of so many workers with so many rows together."""
    from nlp_lstm.cluster import Cluster, on_this_machine

    env = {**os.environ, "ROWS": str(rows), "TF_NUM_INTRAOP_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    env.pop("TF_CONFIG", None)
    ports = [address.rpartition(":")[2] for address in on_this_machine(2)[0].addresses]
    addresses = tuple(f"{host}:{port}" for host, port in zip(hosts, ports, strict=True))
    processes = []
    for place in range(workers):
        told = {"TF_CONFIG": Cluster(addresses, place).as_tf_config()} if workers > 1 else {}
        command = [*prefixes[place], sys.executable, __file__, "--steps", str(steps), "--worker"]
        processes.append(
            subprocess.Popen(command, env={**env, **told}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        )
    told = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        sys.exit("a worker failed: start it alone to see why")
    return json.loads(told[0])


def linked(stack, rate):
    """Two network namespaces with a link between them, for as long as the stack is open."""

    def run(*words):
        subprocess.run(words, check=True)

    for name in NAMES:
        run("ip", "netns", "add", name)
        stack.callback(run, "ip", "netns", "delete", name)
    run("ip", "link", "add", "nlp0", "netns", NAMES[0], "type", "veth", "peer", "name", "nlp0", "netns", NAMES[1])
    for name, address in zip(NAMES, ADDRESSES, strict=True):
        inside = ("ip", "netns", "exec", name)
        run(*inside, "ip", "address", "add", f"{address}/24", "dev", "nlp0")
        run(*inside, "ip", "link", "set", "nlp0", "up")
        run(*inside, "ip", "link", "set", "lo", "up")
        run(
            *inside,
            "tc",
            "qdisc",
            "add",
            "dev",
            "nlp0",
            "root",
            "tbf",
            "rate",
            rate,
            "burst",
            "256k",
            "latency",
            "50ms",
        )
    return [("ip", "netns", "exec", name) for name in NAMES]


def main():
    parser = argparse.ArgumentParser(description="Time training steps of one worker and of two.")
    parser.add_argument("--steps", type=int, default=24, help="steps of each measurement (default: 24)")
    parser.add_argument("--link", help="how fast a link between two network namespaces is, as `tc` has it: 1gbit")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.steps < 5:
        parser.error("--steps must be at least 5")
    if arguments.worker:
        work(arguments.steps)
        return
    print(json.dumps(machine()), flush=True)
    steps = arguments.steps
    with ExitStack() as stack:
        if arguments.link:
            prefixes = linked(stack, arguments.link)
            table = {f"2 workers, {ROWS} rows each, {arguments.link}": (2, 2 * ROWS, steps, 1, prefixes, ADDRESSES)}
        else:
            table = {
                f"1 worker, {ROWS} rows, 1 thread": (1, ROWS, steps, 1),
                f"1 worker, {2 * ROWS} rows, 2 threads": (1, 2 * ROWS, steps, 2),
                f"2 workers, {ROWS} rows and 1 thread each": (2, 2 * ROWS, steps, 1),
            }
        for name, how in table.items():
            print(json.dumps({"what": name, "rows": how[1], **measured(*how)}), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    main()
