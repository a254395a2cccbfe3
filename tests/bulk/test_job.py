"""Jobs: every row exactly once, whatever stops them; the engines against a plain loop."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from nlp_lstm.bulk import local_engine
from nlp_lstm.bulk.answering import FIELDS, Answering
from nlp_lstm.bulk.job import Job
from nlp_lstm.bulk.records import format_of
from nlp_lstm.errors import UserError
from nlp_lstm.main import main

SHIPPED = Path(__file__).parents[2] / "saved_models"


def lengths(texts):
    """In place of a model."""
    return [(text.upper(), float(len(text))) for text in texts]


def words(number, seed=0):
    draw, known = random.Random(seed), ["a", "fine", "dull", "film", "that", "I", "liked", "not"]
    return [" ".join(draw.choices(known, k=draw.randint(0, 9))) for _ in range(number)]


def alike(found, expected):
    """Answers of two calls, whose last digits go by the rows beside them."""
    return all(
        one == other if isinstance(one, str) else one == pytest.approx(other, rel=1e-4)
        for one, other in zip(found, expected, strict=True)
    )


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Two files of JSON Lines and one of text in the current folder; in the first, two bad rows."""
    monkeypatch.chdir(tmp_path)
    texts = words(83)
    for name, part in (("one", texts[:40]), ("two", texts[40:63])):
        Path(f"{name}.jsonl").write_text("".join(json.dumps({"id": n, "text": text}) + "\n" for n, text in
                                                 enumerate(part)))  # fmt: skip
    with Path("one.jsonl").open("a") as stream:
        stream.write('{"id": 1}\nno JSON\n')
    Path("three.txt").write_text("".join(text + "\n" for text in texts[63:]))
    return texts


def job_in(folder, **options):
    how = {"batch_size": 4, "shard_rows": 10, "folder": folder} | options
    return Job("sentiment", SHIPPED / "sentiment", folder / "out", **how)


def written(folder):
    """Every row of the parts, and of the errors, by where it comes from."""
    found = {}
    for path in [*folder.glob("part-*"), *folder.glob("errors/part-*")]:
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            place = (row["source_file"], row["source_row"])
            assert place not in found, f"{place} stands twice"
            found[place] = row
    return found


def test_every_row_is_answered_or_told_of(data, tmp_path):
    job = job_in(tmp_path)
    shards = job.shards(["*.jsonl", "three.txt"])
    assert [(shard.source, shard.start, shard.stop) for shard in shards][:5] == [
        *(("one.jsonl", start, start + 10) for start in (0, 10, 20, 30)),
        ("one.jsonl", 40, 42),
    ]
    results = [job.answer(shard, lengths) for shard in shards]
    assert sum(result.answered for result in results) == 83 and sum(result.bad for result in results) == 2
    found = written(tmp_path / "out")
    texts = {("one.jsonl", n): text for n, text in enumerate(data[:40])}
    texts |= {("two.jsonl", n): text for n, text in enumerate(data[40:63])}
    texts |= {("three.txt", n): text for n, text in enumerate(data[63:])}
    assert set(found) == {*texts, ("one.jsonl", 40), ("one.jsonl", 41)}
    for place, text in texts.items():
        expected = {"text": text, "source_file": place[0], "source_row": place[1]}
        expected |= {"sentiment": text.upper(), "positive_probability": float(len(text))}
        assert found[place] == expected | ({} if place[0] == "three.txt" else {"id": place[1]})
    assert found["one.jsonl", 40]["reason"] == "has no field 'text'"
    assert found["one.jsonl", 41]["record"] == "no JSON"


def test_a_job_that_was_stopped_does_what_is_missing(data, tmp_path):
    job = job_in(tmp_path)
    shards = job.shards(["one.jsonl", "two.jsonl"])

    def fails(texts):
        raise KeyboardInterrupt

    job.answer(shards[0], lengths)
    with pytest.raises(KeyboardInterrupt):
        job.answer(shards[1], fails)
    assert [shard.number for shard in shards if job.written(shard).exists()] == [0]
    again = job_in(tmp_path)
    assert again.shards(["one.jsonl", "two.jsonl"]) == shards
    for shard in shards[1:]:
        again.answer(shard, lengths)
    assert len(written(tmp_path / "out")) == 65


@pytest.mark.parametrize(
    ("options", "inputs", "what"),
    [
        ({"shard_rows": 11}, ["one.jsonl"], "shard_rows"),
        ({"prefix": "new_"}, ["one.jsonl"], "prefix"),
        ({}, ["one.jsonl", "two.jsonl"], "files"),
        ({"text_column": "id", "prefix": "p"}, ["one.jsonl"], "text_column and prefix"),
    ],
)
def test_another_job_in_the_same_folder_is_refused(data, tmp_path, options, inputs, what):
    job_in(tmp_path).shards(["one.jsonl"])
    with pytest.raises(UserError, match=f"holds a job with another {what}: go on"):
        job_in(tmp_path, **options).shards(inputs)


def test_a_file_that_has_changed(data, tmp_path):
    job = job_in(tmp_path)
    (shard,) = job.shards(["two.jsonl"])[2:]
    lines = Path("two.jsonl").read_text().splitlines(keepends=True)
    Path("two.jsonl").write_text("".join(lines[:21]))
    with pytest.raises(UserError, match="has fewer rows than when the job began"):
        job.answer(shard, lengths)
    assert not job.written(shard).exists()
    with pytest.raises(UserError, match="holds a job with another files"):
        job.shards(["two.jsonl"])


@pytest.mark.parametrize(
    ("inputs", "what"),
    [(["none*.jsonl"], "no file at 'none"), (["."], "has no ending known here"), (["one.doc"], "no file at 'one.doc'")],
)
def test_inputs_that_are_none(data, tmp_path, inputs, what):
    Path("notes.md").write_text("")
    with pytest.raises(UserError, match=what):
        job_in(tmp_path).shards(inputs)
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_things_is_refused(data, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(UserError, match="is not empty and holds no job"):
        job_in(tmp_path).shards(["one.jsonl"])
    (tmp_path / "out" / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        job_in(tmp_path).shards(["one.jsonl"])


@pytest.mark.parametrize("name", ["[1].txt", "a*b.txt"])
def test_a_name_that_looks_like_a_pattern(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path(name).write_text("a\n")
    assert [shard.source for shard in job_in(tmp_path).shards([name])] == [name]


@pytest.mark.parametrize("app", FIELDS)
def test_models_answer_as_by_themselves(app):
    """In whatever batch."""
    answering = Answering(app, SHIPPED / app)
    texts = ["A man is riding a bike.", "", "Dull \ud800.", "One of the best films of the year."]
    together = answering(texts)
    for text, answer in zip(texts, together, strict=True):
        assert tuple(map(type, answer)) == tuple(FIELDS[app].values())
        assert alike(answering([text])[0], answer)
    assert len(set(together)) == 4


def test_the_command(data, tmp_path, capsys):
    command = ["bulk", "sentiment", "--input", "one.jsonl", "three.txt", "--output", "out", "--shard-rows", "15"]
    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["rows"], told["answered"], told["bad"], told["done_before"]) == (62, 60, 2, 0)
    found = written(tmp_path / "out")
    answering = Answering("sentiment", SHIPPED / "sentiment")
    for (file, number), row in found.items():
        if "reason" not in row:
            text = data[number] if file == "one.jsonl" else data[63 + number]
            assert alike((row["sentiment"], row["positive_probability"]), answering([text])[0])
    os.remove(tmp_path / "out" / "part-000001.jsonl")
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("part-*")}
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert "47 of 62 rows are done" in err
    assert dict(line.split() for line in out.splitlines())["done_before"] == "47"
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("part-*")}
    assert before.items() < after.items() and written(tmp_path / "out") == found


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        (["--workers", "2"], "--workers is for --engine ray"),
        (["--batch-size", "0"], "--batch-size is 0"),
        (["--shard-rows", "-1"], "--shard-rows is -1"),
        (["--model", "nowhere"], "no model at"),
        (["--text-column", "body", "--input", "mine.csv"], "has no column 'body' but text"),
    ],
)
def test_mistakes(data, capsys, flags, what):
    Path("mine.csv").write_text("text\na\n")
    assert main(["bulk", "sentiment", "--input", "one.jsonl", "--output", "out", *flags]) == 2
    out, err = capsys.readouterr()
    assert what in err and err.splitlines()[-1].startswith("nlp-lstm bulk: ") and not out


def start(*flags, cwd):
    command = [sys.executable, "-m", "nlp_lstm", "bulk", "sentiment", "--input", "data/*.jsonl", *flags]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env={**os.environ, "PYTHONPATH": str(SHIPPED.parent)})  # fmt: skip


def children(pid):
    import psutil

    return psutil.Process(pid).children(recursive=True)


@pytest.mark.thorough
@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
def test_workers_of_ray_and_kills(tmp_path):
    """A worker killed in the midst, then the whole job, and started again: the rows are those of the local engine."""
    rows = 20_000
    (tmp_path / "data").mkdir()
    texts = words(rows)
    for number in range(4):
        part = texts[number * 5000 : (number + 1) * 5000]
        lines = (json.dumps({"id": place, "text": text}) + "\n" for place, text in enumerate(part))
        (tmp_path / "data" / f"{number}.jsonl").write_text("".join(lines))
    command = ["--output", "out", "--engine", "ray", "--workers", "2", "--shard-rows", "250", "--json"]

    def parts():
        return len(list((tmp_path / "out").glob("part-*")))

    def wait_for(number, running):
        while parts() < number:
            assert running.poll() is None, running.communicate()[1]
            time.sleep(0.02)

    running = start(*command, cwd=tmp_path)
    wait_for(3, running)
    workers = [child for child in children(running.pid) if "MapWorker" in " ".join(child.cmdline())]
    assert len(workers) == 2
    workers[0].kill()
    wait_for(20, running)
    assert parts() < 80
    family = children(running.pid)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    for one in family:  # else Ray's other processes end by themselves within some seconds
        if one.is_running():
            one.kill()
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("part-*")}
    assert 20 <= len(before) < 80
    running = start(*command, cwd=tmp_path)
    out, err = running.communicate()
    assert running.returncode == 0, err
    told = json.loads(out)
    assert told["rows"] == rows and told["answered"] == rows - told["done_before"] and told["bad"] == 0
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("part-*")}
    assert before.items() < after.items() and len(after) == 80
    found = written(tmp_path / "out")
    plain = start("--output", "plain", "--shard-rows", "250", cwd=tmp_path)
    plain.communicate()
    assert plain.returncode == 0
    assert found == written(tmp_path / "plain") and len(found) == rows
    for (file, number), row in list(found.items())[:: rows // 50]:
        assert row["text"] == texts[int(file[5]) * 5000 + number] and row["id"] == number


@pytest.mark.thorough
@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
def test_what_a_worker_says_to_the_user_is_one_line(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.jsonl").write_text('{"text": "a"}\n')
    model = SHIPPED / "char_lm"
    running = start("--output", "out", "--engine", "ray", "--workers", "1", "--model", str(model), cwd=tmp_path)
    _, err = running.communicate()
    assert running.returncode == 2
    assert "has no signature 'classify'" in err.splitlines()[-1]
    assert "Traceback" not in err


def test_the_local_engine_answers_what_it_is_given(data, tmp_path):
    job = job_in(tmp_path)
    shards = job.shards(["one.jsonl"])
    assert [result.number for result in local_engine.run(job, shards[2:4])] == [2, 3]
    assert [shard.number for shard in shards if job.written(shard).exists()] == [2, 3]
    assert format_of(Path("one.jsonl")) == "jsonl"
