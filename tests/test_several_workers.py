"""Workers that train together: the weights of one, whatever is killed and started again.

The oracle is the same training in one process, which knows nothing of workers.
"""

import json
import os
import random
import subprocess
import sys
import time

import h5py
import numpy as np
import psutil
import pytest
from forked_workers import train_forked

from nlp_lstm.workers import TRY_AGAIN

pytestmark = pytest.mark.thorough

CHAR_LM = {
    "seed": 5,
    "embedding_size": 6,
    "units": 7,
    "layers": 2,
    "input_dropout": 0.0,
    "hidden_dropout": 0.0,
    "output_dropout": 0.0,
    "recurrent_kernel_dropout": 0.0,
    "epochs": 2,
    "batch_size": 5,  # of which one worker has two streams and the other three
    "window": 64,
    "learning_rate": 0.02,
    "averaging": 0.8,
}

SENTIMENT = {
    "seed": 5,
    "vocabulary_size": 60,
    "embedding_size": 6,
    "units": 5,
    "word_dropout": 0.0,
    "dropout": 0.0,
    "recurrent_dropout": 0.0,
    "pooled_dropout": 0.0,
    "pretraining_epochs": 2,
    "pretraining_passes": 1.0,
    "pretraining_learning_rate": 0.02,
    "samples": 20,  # fewer than there are tokens: the others are drawn
    "precision": "float32",
    "epochs": 2,
    "snippets": 0.0,
    "learning_rate": 0.02,
    "averaging": 0.8,
    "tokens_per_batch": 24 * 7,  # seven texts, and in the end a few, or one
    "longest_training_text": 24,
    "adversarial_noise": 5.0,
    "ngram_buckets": 500,
    "teacher_order": 2,
}

TRANSLATION = {
    "seed": 3,
    "subwords": 300,
    "subword_sampling": 0.0,
    "source_variants": 0.0,
    "longest": 12,
    "embedding_size": 12,
    "encoder_units": 6,
    "decoder_units": 8,
    "attention_size": 5,
    "embedding_dropout": 0.0,
    "memory_dropout": 0.0,
    "output_dropout": 0.0,
    "recurrent_kernel_dropout": 0.0,
    "label_smoothing": 0.1,
    "epochs": 2,
    "tokens_per_batch": 12 * 25,
    "learning_rate": 0.02,
    "averaging": 0.8,
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A text, reviews some of which have no label, and sentence pairs of any length."""
    folder = tmp_path_factory.mktemp("sources")
    draw = random.Random(0)
    text = folder / "text.txt"
    text.write_text("".join(" ".join(draw.choices(["the", "cat", "sat", "why?"], k=9)) + "\n" for _ in range(60)))
    words = [f"w{number}" for number in range(70)]
    reviews = folder / "aclImdb"
    for part, count in (("train/pos", 26), ("train/neg", 26), ("train/unsup", 15), ("test/pos", 2), ("test/neg", 2)):
        (reviews / part).mkdir(parents=True)
        rating = {"pos": 9, "neg": 2, "unsup": 0}[part.rpartition("/")[2]]
        for number in range(count):
            said = [*draw.choices(words, k=draw.randint(4, 30)), {9: "good", 2: "dull", 0: "film"}[rating]]
            (reviews / part / f"{number}_{rating}.txt").write_text(" ".join(said))
    pairs = folder / "letters.tsv"
    sentences = sorted({" ".join(draw.choices("abcdef", k=draw.randint(2, 10))) for _ in range(120)})
    pairs.write_text("".join(f"{sentence}\t{sentence.upper()}\n" for sentence in sentences))
    return {"char_lm": str(text), "sentiment": str(reviews), "translation": str(pairs)}


SETTINGS = {"char_lm": CHAR_LM, "sentiment": SENTIMENT, "translation": TRANSLATION}


def weights(path):
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    assert found
    return found


def assert_same_weights(folder, other, names, atol, rtol=0.0):
    for name in names:
        expected, found = weights(folder / name), weights(other / name)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            if key.startswith("vars/") and "training-best" in name:
                continue  # where a language model stands in its streams: the chief knows of its own alone
            np.testing.assert_allclose(found[key], value, rtol=rtol, atol=atol, err_msg=f"{name}: {key}")


def rows(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [
        {key: value for key, value in json.loads(line).items() if key not in ("seconds", "cpu_seconds")}
        for line in lines
    ]


RATES = {"sgd": 0.1, "adam": None}
COMPARED = [("char_lm", "sgd"), ("char_lm", "adam"), ("sentiment", "adam"), ("translation", "sgd")]
"""All six would take longer; the gradients of an embedding are sparse in pre-training, and in a language model."""

TOLERANCES = {"sgd": 1e-6, "adam": 1e-4}


class TestTheWeightsAreThoseOfOneWorker:
    @pytest.fixture(scope="class")
    def runs(self, sources, tmp_path_factory):
        """Folders by app, optimizer and number of workers; "2 then 1" had two until one was killed."""
        folder = tmp_path_factory.mktemp("same")

        def case(app, optimizer, workers, **options):
            rate = RATES[optimizer]
            run = folder / f"{app}-{optimizer}-{options.pop('name', workers)}"
            how = {"app": app, "source": sources[app], "settings": SETTINGS[app], "workers": workers, "run": run}
            return {**how, **options, **({"rate": rate} if rate else {})}

        # Those of one worker first: two of them run at once.
        cases = {(*how, workers): case(*how, workers) for workers in (1, 2) for how in COMPARED}
        mixed = {"name": "2 then 1"}
        begun = case("char_lm", "adam", 2, killed=[1, "training", 2, 1], **mixed)
        gone_on = case("char_lm", "adam", 1, **mixed)
        results = train_forked([*cases.values(), begun, gone_on], folder)
        for key, result in zip(cases, results, strict=False):
            assert [status for status, _ in result] == [0] * key[2], (key, result)
        assert [[status for status, _ in result] for result in results[-2:]] == [[TRY_AGAIN, -9], [0]], results[-2:]
        assert "going on after epoch 1 of 2" in results[-1][0][1]
        cases["char_lm", "adam", "2 then 1"] = gone_on
        return {key: case["run"] for key, case in cases.items()}

    @pytest.mark.parametrize(("app", "optimizer"), COMPARED)
    def test_weights(self, runs, app, optimizer):
        names = ["model.weights.h5", "checkpoints/training-best.weights.h5"]
        if app == "sentiment":
            names += ["checkpoints/pretraining-best.weights.h5", "checkpoints/head-best.weights.h5"]
        # The last layer of a classifier is divided by the spread of each feature, which may be 1000 times as small.
        rtol = 1e-5 if app == "sentiment" else 0.0
        assert_same_weights(runs[app, optimizer, 1], runs[app, optimizer, 2], names, TOLERANCES[optimizer], rtol)

    def test_one_worker_goes_on_where_two_were_stopped(self, runs):
        names = ["model.weights.h5", "checkpoints/training-best.weights.h5"]
        alone, mixed = runs["char_lm", "adam", 1], runs["char_lm", "adam", "2 then 1"]
        assert_same_weights(alone, mixed, names, TOLERANCES["adam"])

    @pytest.mark.parametrize(("app", "optimizer"), COMPARED)
    def test_figures(self, runs, app, optimizer):
        """Of each epoch, summed over what each worker saw."""
        for expected, found in zip(rows(runs[app, optimizer, 1]), rows(runs[app, optimizer, 2]), strict=True):
            assert found == pytest.approx(expected, abs=1e-5 if optimizer == "sgd" else 1e-4)

    @pytest.mark.parametrize(("app", "optimizer"), COMPARED)
    def test_the_chief_alone_writes(self, runs, app, optimizer):
        alone, together = runs[app, optimizer, 1], runs[app, optimizer, 2]
        names = {path.relative_to(alone) for path in alone.rglob("*")}
        assert {path.relative_to(together) for path in together.rglob("*")} == names
        assert not together.with_name(f"{together.name}-of-worker-1").exists()
        assert (together / "config.json").read_text() == (alone / "config.json").read_text()


class TestAWorkerIsLost:
    """Dropout is on: the masks of each worker, too, are those of an unbroken run."""

    @pytest.fixture(scope="class")
    def told(self, sources, tmp_path_factory):
        """A run unbroken, and one whose worker was killed, then its chief, then nobody; each start's ends."""
        folder = tmp_path_factory.mktemp("lost")
        settings = {**CHAR_LM, "epochs": 3, "hidden_dropout": 0.3, "recurrent_kernel_dropout": 0.2}
        how = {"app": "char_lm", "source": sources["char_lm"], "settings": settings, "workers": 2}
        broken = {**how, "run": folder / "broken"}
        results = train_forked(
            [
                {**how, "run": folder / "whole"},
                {**broken, "killed": [1, "training", 2, 2]},
                {**broken, "killed": [0, "training", 3, 1]},
                broken,
            ],
            folder,
        )
        return folder, results

    def test_the_others_stop_with_one_line(self, told):
        _, (_, worker_killed, chief_killed, _) = told
        for (killed, _), (status, words) in (worker_killed[::-1], chief_killed):
            assert (killed, status) == (-9, TRY_AGAIN)
            last = words.splitlines()[-1]
            assert "another worker of this training has stopped" in last and "start all workers again" in last
            assert "Traceback" not in words and "Error" not in words

    def test_started_again_they_go_on(self, told):
        _, (_, _, chief_killed, last) = told
        assert "training: going on after epoch 1 of 3" in chief_killed[0][1]
        assert "training: going on after epoch 2 of 3" in last[0][1]

    def test_the_weights_are_those_of_an_unbroken_run(self, told):
        folder, (whole, _, _, last) = told
        assert [status for status, _ in (*whole, *last)] == [0, 0, 0, 0]
        names = ["model.weights.h5", "checkpoints/training-best.weights.h5"]
        assert_same_weights(folder / "whole", folder / "broken", names, atol=0)
        assert rows(folder / "broken") == rows(folder / "whole")


def test_workers_with_other_data_do_not_train(sources, tmp_path):
    other = tmp_path / "text.txt"
    other.write_text((tmp_path / sources["char_lm"]).read_text().replace("cat", "dog"))
    case = {"app": "char_lm", "source": "", "settings": CHAR_LM, "workers": 2, "run": tmp_path / "run"}
    ((chief, worker),) = train_forked([{**case, "sources": [sources["char_lm"], str(other)]}], tmp_path)
    assert (chief[0], worker[0]) == (TRY_AGAIN, 2)
    assert (
        worker[1].splitlines()[-1].count("worker 2 has other settings or data than the chief (data, data_sha256)") == 1
    )


@pytest.fixture(scope="module")
def flags(sources):
    """As the command line has it."""
    settings = {**CHAR_LM, "epochs": 3}
    return [
        *("char-lm", "train", "--data", sources["char_lm"], "--workers", "local:2"),
        *(word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))),
    ]


def test_workers_on_this_machine(flags, tmp_path):
    """One is killed, so the command ends in one line and leaves no process; started again it ends as another does."""
    env = {key: value for key, value in os.environ.items() if key != "TF_CONFIG"}

    def started(run):
        command = [sys.executable, "-m", "nlp_lstm", *flags, "--run", str(run)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)

    run = tmp_path / "run"
    program = started(run)
    while not (run / "metrics.jsonl").exists():
        assert program.poll() is None, program.communicate()
        time.sleep(0.05)
    workers = psutil.Process(program.pid).children(recursive=True)
    workers[-1].kill()
    out, told = program.communicate(timeout=60)
    assert (program.returncode, out) == (TRY_AGAIN, "")
    assert "another worker of this training" not in told  # who started them tells it
    assert told.splitlines()[-1].endswith(
        "worker 2 of 2 was killed (SIGKILL), and the others are stopped: start the same command again, and it goes on "
        "after the last whole epoch"
    )
    assert not any(worker.is_running() for worker in workers)
    again = started(run)
    _, told = again.communicate(timeout=300)
    assert again.returncode == 0, told
    assert "going on after epoch" in told
    assert len(rows(run)) == 3 and (run / "model.weights.h5").exists()
