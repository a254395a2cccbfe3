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


class Running:
    """The workers of a case, from their start to their ends."""

    def __init__(self, case, told):
        self.run = case["run"]
        self.told = told
        clusters = on_this_machine(len(told)) if len(told) > 1 else [None]
        self.processes = [self.forked(case, place, clusters[place]) for place in range(len(told))]
        self.statuses = {}
        self.failed_at = None

    def forked(self, case, place, cluster):
        process = os.fork()
        if not process:
            sys.exit(become_worker(case, place, cluster, self.told[place]))
        return process

    def look(self):
        """Whether all have ended."""
        for process in set(self.processes) - self.statuses.keys():
            found, status = os.waitpid(process, os.WNOHANG)
            if found:
                self.statuses[process] = os.waitstatus_to_exitcode(status)
                if self.statuses[process] and self.failed_at is None:
                    self.failed_at = time.monotonic()
        if self.failed_at is not None and time.monotonic() - self.failed_at > SECONDS_TO_NOTICE:
            for process in set(self.processes) - self.statuses.keys():
                os.kill(process, signal.SIGKILL)
                os.waitpid(process, 0)
                self.statuses[process] = None
        return len(self.statuses) == len(self.processes)

    def results(self):
        statuses = (self.statuses[process] for process in self.processes)
        return [(status, words.read_text()) for status, words in zip(statuses, self.told, strict=True)]


def run_all(cases, path):
    """In their order, as many at once as two processors have room for, but those of one run folder one by one."""
    waiting, running, results = list(enumerate(cases)), {}, {}
    while waiting or running:
        for number in [number for number, each in running.items() if each.look()]:
            results[number] = running.pop(number).results()
        if waiting:
            number, case = waiting[0]
            workers = case.get("workers", 1)
            room = 2 - sum(len(each.processes) for each in running.values())
            if workers <= room and all(each.run != case["run"] for each in running.values()):
                told = [path.with_name(f"told_{number}_{place}") for place in range(workers)]
                running[number] = Running(case, told)
                waiting.pop(0)
        time.sleep(0.05)
    return [results[number] for number in range(len(cases))]


if __name__ == "__main__":
    path = Path(sys.argv[1])
    cli.import_tensorflow_quietly()
    import keras
    import sklearn.linear_model  # noqa: F401
    import tensorflow as tf

    print(json.dumps(run_all(json.loads(path.read_text()), path)))
