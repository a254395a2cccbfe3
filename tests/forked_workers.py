"""Train in processes of their own, alone or several together, forked from one that has imported TensorFlow for all.

    python forked_workers.py CASES

`CASES` is a JSON file, a list of objects as `train_forked` takes them; standard output gets, for each, a list of what
its workers came to.
"""

import dataclasses
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from nlp_lstm import cli
from nlp_lstm.cluster import on_this_machine

SECONDS_TO_NOTICE = 60
"""After one worker has failed, the others have so long to end by themselves; those that do not have the status None."""


def train_forked(cases, folder):
    """What the workers of each case came to, one after the other: a list of `(status, what it told)` a case.

    A case is a mapping of `app`, `source`, `run`, `settings` (those that are not the default) and, if need be,
    `workers`, how many; `rate`, of plain gradient descent instead of the app's optimizer; `killed`, a list of the
    place of a worker that kills itself, in which stage, which epoch and after which batch of it; `sources`, one for
    each worker.
    """
    path = folder / "cases.json"
    path.write_text(json.dumps([{**case, "run": str(case["run"])} for case in cases]))
    env = {**os.environ, "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "2"}
    done = subprocess.run([sys.executable, __file__, str(path)], capture_output=True, text=True, env=env, timeout=900)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def become_worker(case, place, cluster, told):
    """In a process that was forked: train, and leave as the program does."""
    descriptor = os.open(told, os.O_WRONLY | os.O_CREAT, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    if cluster is not None:
        os.environ["TF_CONFIG"] = cluster.as_tf_config()
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    from nlp_lstm import training
    from nlp_lstm.errors import UserError
    from nlp_lstm.local_workers import train_together
    from nlp_lstm.run_folder import RunFolder

    module = importlib.import_module(f"nlp_lstm.{case['app']}.train")
    settings = importlib.import_module(f"nlp_lstm.{case['app']}.settings").Settings(**case["settings"])
    if "rate" in case:
        module.adam = lambda *_, clip_norm, **__: keras.optimizers.SGD(case["rate"], global_clipnorm=clip_norm)
    training.draw_curves = lambda *_: None
    training.write_events = lambda *_: None
    if case.get("killed", [None])[0] == place:
        training.train_stage = module.train_stage = killed_in(training.train_stage, *case["killed"][1:])
    source = case["sources"][place] if "sources" in case else case["source"]
    run = RunFolder(case["run"] if place == 0 else f"{case['run']}-of-worker-{place}")  # of which nothing must come
    try:
        train_together(None, lambda workers: module.train(source, run, settings, workers=workers))
    except UserError as error:
        cli.tell(str(error))
        return 2
    return 0


def killed_in(train_stage, stage_name, epoch, batch):
    class Killer(keras.callbacks.Callback):
        def on_epoch_begin(self, number, logs=None):
            self.epoch = number + 1

        def on_train_batch_end(self, number, logs=None):
            if (self.epoch, number + 1) == (epoch, batch):
                os.kill(os.getpid(), signal.SIGKILL)

    def killed(model, stage, *arguments, **options):
        if stage.name == stage_name:
            stage = dataclasses.replace(stage, callbacks=[*stage.callbacks, Killer()])
        return train_stage(model, stage, *arguments, **options)

    return killed


def ends_of(processes):
    """Their statuses in order, None for one that had to be stopped."""
    statuses, since = {}, None
    while len(statuses) < len(processes):
        for process in set(processes) - statuses.keys():
            found, status = os.waitpid(process, os.WNOHANG)
            if found:
                statuses[process] = os.waitstatus_to_exitcode(status)
                if statuses[process] and since is None:
                    since = time.monotonic()
        if since is not None and time.monotonic() - since > SECONDS_TO_NOTICE:
            for process in set(processes) - statuses.keys():
                os.kill(process, signal.SIGKILL)
                os.waitpid(process, 0)
                statuses[process] = None
        time.sleep(0.05)
    return [statuses[process] for process in processes]


if __name__ == "__main__":
    path = Path(sys.argv[1])
    cli.import_tensorflow_quietly()
    import keras
    import sklearn.linear_model  # noqa: F401
    import tensorflow as tf

    results = []
    for number, case in enumerate(json.loads(path.read_text())):
        workers = case.get("workers", 1)
        clusters = [None] if workers == 1 else on_this_machine(workers)
        told = [path.with_name(f"told_{number}_{place}") for place in range(workers)]
        processes = []
        for place, cluster in enumerate(clusters):
            process = os.fork()
            if not process:
                sys.exit(become_worker(case, place, cluster, told[place]))
            processes.append(process)
        statuses = ends_of(processes)
        results.append([(status, words.read_text()) for status, words in zip(statuses, told, strict=True)])
    print(json.dumps(results))
