"""The benchmark of what is served runs, and its fields are what they say."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nlp_lstm import cli

ROOT = Path(__file__).parents[1]


def run(*arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "benchmarks/serving.py", "--seconds", "0.01", "--rounds", "2", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.thorough
@pytest.mark.skipif(not cli.SHIPPED_MODELS.is_dir(), reason="no models are shipped with this")
def test_serving():
    found = run("--only", "sentiment", "--batches", "1,3", "--json")
    rows = {(row["model"], row["signature"], row["batch"]): row for row in found["signatures"]}
    own, other = "sentiment without n-grams", "sentiment, keras.layers.LSTM"
    for batch in (1, 3):
        assert ("sentiment", "explain", batch) in rows
        ratio = (
            rows[own, "serving_default", batch]["rows_per_second"]
            / rows[other, "serving_default", batch]["rows_per_second"]
        )
        assert rows[own, "serving_default", batch]["times_keras"] == pytest.approx(ratio, rel=0.02, abs=0.01)
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
    assert found["playground"]["models_seconds"] > found["playground"]["page_seconds"] > 0
