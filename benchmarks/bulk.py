"""Time bulk inference: rows a second in one process, and on one worker of Ray and on several.

    python benchmarks/bulk.py
    python benchmarks/bulk.py --app sentiment --rows 200000 --json

Each engine answers the same rows with the shipped model, as the command line does it, one after another: a run takes
minutes and no turns are taken. What starting takes is told apart, by a job of a single row.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from measuring import machine


def parse_arguments():
    parser = argparse.ArgumentParser(
        description="Time bulk inference, in one process and on workers.",
        epilog="""\
fields, for the local engine and for each number of workers
  seconds          of the whole command's work, its start and counting the rows included
  start_seconds    of the same command for a single row
  rows_per_second  rows - 1 by the difference of the two
  efficiency       rows_per_second by that of the local engine and the workers""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--app", choices=["sentiment", "translation", "char-lm"], default="translation")
    parser.add_argument("--rows", type=int, default=20_000, help="rows to answer (default: 20000)")
    parser.add_argument(
        "--workers", type=int, nargs="+", default=[1, 2], help="numbers of workers to try (default: 1 2)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    arguments = parser.parse_args()
    if arguments.rows < 2 or min(arguments.workers) < 1:
        parser.error("--rows must be at least 2, and --workers at least 1")
    return arguments


def write_rows(folder, rows):
    """The English sentences of the packaged sample, over and over, in files of at most 5,000 rows."""
    sample = files("nlp_lstm.datasets").joinpath("sample_pairs.tsv").read_text(encoding="utf-8").splitlines()
    sentences = [line.split("\t")[0] for line in sample]
    folder.mkdir()
    for start in range(0, rows, 5000):
        lines = (json.dumps({"text": sentences[row % len(sentences)]}) for row in range(start, min(start + 5000, rows)))
        (folder / f"{start:08d}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def timed(app, data, output, engine):
    command = [sys.executable, "-m", "nlp_lstm", "bulk", app, "--input", str(data), "--output", str(output), "--json"]
    root = str(Path(__file__).resolve().parents[1])
    found = subprocess.run(
        [*command, *engine],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))},
    )
    return json.loads(found.stdout)


def main():
    arguments = parse_arguments()
    engines = {"local": []}
    if find_spec("ray"):
        engines |= {f"ray_{number}": ["--engine", "ray", "--workers", str(number)] for number in arguments.workers}
    else:
        print('Ray is not installed (pip install "nlp_lstm[bulk]"): the local engine alone', file=sys.stderr)
    result = {"machine": machine(), "app": arguments.app, "rows": arguments.rows}
    with tempfile.TemporaryDirectory() as folder:
        few, many = Path(folder, "few"), Path(folder, "many")
        write_rows(few, 1)
        write_rows(many, arguments.rows)
        for name, engine in engines.items():
            print(f"timing {name}", file=sys.stderr)
            start = timed(arguments.app, few, Path(folder, f"{name}-few"), engine)["seconds"]
            found = timed(arguments.app, many, Path(folder, f"{name}-many"), engine)
            assert found["answered"] == arguments.rows, found
            rate = (arguments.rows - 1) / max(found["seconds"] - start, 1e-3)
            result[name] = {
                "seconds": found["seconds"],
                "start_seconds": start,
                "rows_per_second": round(rate, 1),
            }
            if name != "local":
                workers = int(name.removeprefix("ray_"))
                alone = result["local"]["rows_per_second"]
                result[name]["efficiency"] = round(rate / alone / workers, 3)
    if arguments.json:
        print(json.dumps(result))
        return
    for key, value in result.items():
        for name, number in value.items() if isinstance(value, dict) else [("", value)]:
            print(f"{key:12} {name:24} {number}")


if __name__ == "__main__":
    main()
