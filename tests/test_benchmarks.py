"""The benchmarks of what is served and of bulk inference run, and their fields are what they say."""

import importlib.util
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import shipped_models

ROOT = Path(__file__).parents[1]


def program(script, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, f"benchmarks/{script}.py", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)


def run(script, *arguments):
    done = program(script, *arguments, "--json")
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.thorough
@shipped_models.needed
def test_serving():
    found = run("serving", "--seconds", "0.01", "--rounds", "2", "--only", "sentiment", "--batches", "1,3")
    rows = {(row["model"], row["signature"], row["batch"]): row for row in found["signatures"]}
    names = ("sentiment without n-grams", *(f"sentiment, keras.layers.LSTM{how}" for how in ("", ", as many steps")))
    for batch in (1, 3):
        assert ("sentiment", "explain", batch) in rows
        own, other, alike = (rows[name, "serving_default", batch] for name in names)
        for field, beside in (("times_keras", other), ("times_keras_with_as_many_steps", alike)):
            ratio = own["rows_per_second"] / beside["rows_per_second"]
            assert own[field] == pytest.approx(ratio, rel=0.02, abs=0.01)
        assert own["steps"] == alike["steps"] > other["steps"] > 15
    for row in rows.values():
        assert row["calls"] >= 4
        assert 0 < row["median_ms"] <= row["p99_ms"]
        assert row["rows_per_second"] == pytest.approx(1000 * row["batch"] / row["median_ms"], rel=0.02)
    cold, warm = found["cold_start"]
    assert cold.keys() == {"model", "import", "load", "first", "second"}
    assert warm.keys() == {*cold, "warm_up"}
    (part,) = found["playground"]["parts"]
    assert (part["part"], part["signatures"][0]) == ("sentiment", "explain")
    assert part["answer_bytes"] > 500
    assert "behind" not in part  # all that this part asks for is waited for
    assert found["playground"]["models_seconds"] > found["playground"]["page_seconds"] > 0


@pytest.mark.thorough
@shipped_models.needed
def test_what_the_page_asks_for_behind_what_it_draws():
    found = run("serving", "--rounds", "3", "--only", "translation", "--part", "playground")
    (part,) = found["playground"]["parts"]
    assert (part["signatures"], part["behind"]) == (["explain"], ["n_best"])
    assert 0 < part["median_ms"] <= part["p99_ms"]
    assert part["median_ms"] < part["behind_median_ms"]  # which counts the wait for both


@pytest.mark.thorough
@shipped_models.needed
def test_translation(tmp_path):
    """The loop over Keras's model, built anew by the card of what ships, finds the same translations."""
    (tmp_path / "captions.en").write_text("A man is riding a bike.\nTwo dogs play.\nA girl in a red coat.\n")
    found = run("translation", "--rounds", "1", "--source-file", str(tmp_path / "captions.en"))
    assert found["sentences"] == 3
    assert found["largest_score_difference"] < 1e-4
    for name in ("sentences_per_second", "single_sentences_per_second", "subword_sentences_per_minute"):
        assert found[name] > 0
    ratio = found["sentences_per_second"] / found["loop_sentences_per_second"]
    assert found["times_loop"] == pytest.approx(ratio, rel=0.02, abs=0.051)


@pytest.mark.thorough
@shipped_models.needed
def test_bulk():
    rows = 7
    found = run("bulk", "--app", "sentiment", "--rows", str(rows), "--workers", "1")
    engines = ["local", *(["ray_1"] if importlib.util.find_spec("ray") else [])]
    assert list(found) == ["machine", "app", "rows", *engines]
    assert (found["app"], found["rows"]) == ("sentiment", rows)
    rates = {}
    for name in engines:
        engine = found[name]
        assert engine["seconds"] > 0 and engine["start_seconds"] > 0
        # Of so few rows the time can be lost in that of two starts.
        rates[name] = (rows - 1) / max(engine["seconds"] - engine["start_seconds"], 1e-3)
        assert engine["rows_per_second"] == pytest.approx(rates[name], abs=0.051)
    assert "efficiency" not in found["local"]
    if "ray_1" in engines:
        ratio = rates["ray_1"] / found["local"]["rows_per_second"]
        assert found["ray_1"]["efficiency"] == pytest.approx(ratio, abs=0.00051)


def test_bulk_refuses_what_it_cannot_time():
    for arguments in (["--rows", "1"], ["--workers", "0"]):
        done = program("bulk", *arguments)
        assert done.returncode == 2
        assert "--rows must be at least 2, and --workers at least 1" in done.stderr


def test_the_rows_of_bulk_go_round_the_sample_in_files_of_5000(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    spec = importlib.util.spec_from_file_location("benchmark_of_bulk", ROOT / "benchmarks" / "bulk.py")
    bulk = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bulk)
    bulk.write_rows(tmp_path / "rows", 5003)
    first, second = sorted((tmp_path / "rows").iterdir())
    texts = [[json.loads(line)["text"] for line in path.read_text("utf-8").splitlines()] for path in (first, second)]
    assert [len(one) for one in texts] == [5000, 3]
    lines = (ROOT / "nlp_lstm" / "datasets" / "sample_pairs.tsv").read_text("utf-8").splitlines()
    sample = itertools.cycle(line.partition("\t")[0] for line in lines)
    assert texts[0] + texts[1] == list(itertools.islice(sample, 5003))
