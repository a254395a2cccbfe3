"""Try for long to break the suite, and tell in a table what came of it.

    make soak
    PYTHONPATH=tests python -m soak --only "kills, char_lm" --kills 5

Each part runs in a process of its own, so that one which dies is told like any other fault. The exit status is 1 where
a part found one.
"""

import argparse
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from soak.findings import Findings, table

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "saved_models"
APPS = ("char_lm", "sentiment", "translation")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="soak", description="Try for long to break the suite.")
    parser.add_argument("--kills", type=int, default=20, help="of training, and of export, of each app (default: 20)")
    parser.add_argument("--rooms", type=int, default=10, help="disks that are too small, of each app (default: 10)")
    parser.add_argument("--inputs", type=int, default=10_000, help="rows for each signature (default: 10,000)")
    parser.add_argument("--requests", type=int, default=2_000, help="to the playground's server (default: 2,000)")
    parser.add_argument("--archives", type=int, default=1_000, help="that are read (default: 1,000)")
    parser.add_argument("--seconds", type=float, default=60.0, help="of load on all signatures (default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn (default: 0)")
    parser.add_argument("--only", action="append", choices=list(parts()), help="this part alone; may be repeated")
    parser.add_argument("--json", type=Path, help="write what was found to this file, too")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # the one part, in this process
    return parser.parse_args()


def parts() -> dict[str, Callable[[argparse.Namespace, Path], Findings]]:
    """From names to what runs. What is imported for a part takes seconds and is imported there alone."""

    def kills(app: str) -> Callable[[argparse.Namespace, Path], Findings]:
        def run(given: argparse.Namespace, folder: Path) -> Findings:
            from soak import kills
            from soak.programs import Programs

            with Programs(folder / "programs") as programs:
                return kills.soak(app, given.kills, folder, given.seed, programs)

        return run

    def disks(app: str) -> Callable[[argparse.Namespace, Path], Findings]:
        def run(given: argparse.Namespace, folder: Path) -> Findings:
            from soak import disks
            from soak.programs import Programs

            with Programs(folder / "programs") as programs:
                return disks.soak(app, given.rooms, folder, given.seed, programs)

        return run

    def inputs(app: str) -> Callable[[argparse.Namespace, Path], Findings]:
        def run(given: argparse.Namespace, folder: Path) -> Findings:
            from soak import drawn_inputs

            return drawn_inputs.soak(MODELS / app, given.inputs, folder, given.seed)

        return run

    def playground(given: argparse.Namespace, folder: Path) -> Findings:
        from soak import playground

        return playground.soak(given.requests, folder, given.seed)

    def load(given: argparse.Namespace, folder: Path) -> Findings:
        from soak import load

        return load.soak(MODELS, given.seconds, folder)

    def archives(given: argparse.Namespace, folder: Path) -> Findings:
        from soak import archives

        return archives.soak(given.archives, folder, given.seed)

    return {
        "archives": archives,
        "load": load,
        "playground": playground,
        **{f"drawn inputs, {app}": inputs(app) for app in APPS},
        **{f"disks, {app}": disks(app) for app in APPS},
        **{f"kills, {app}": kills(app) for app in APPS},
    }


def in_a_process(name: str, folder: Path) -> Findings:
    """Run a part with the arguments of this process; what it dies of is a fault, beside what it last did."""
    answer = folder / "findings"
    command = [sys.executable, "-m", "soak", *sys.argv[1:], "--only", name, "--here", "--json", str(answer)]
    environment = {**os.environ, "SOAK_FOLDER": str(folder)}
    with subprocess.Popen(command, env=environment, stdout=sys.stderr) as process:
        try:
            process.wait()
        except BaseException:
            process.terminate()  # and wait for it, since it may have a disk to unmount
            process.wait(120)
            raise
    if answer.exists():
        return Findings(**json.loads(answer.read_text()))
    found = Findings(name)
    positions = [path.read_text()[:1000] for path in folder.rglob("position")]
    found.check(False, f"it died with {process.returncode}; its last inputs: {positions}")
    return found


def main() -> int:
    arguments = parse_arguments()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # So that what is mounted is unmounted, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if arguments.here:
        name = arguments.only[-1]
        found = parts()[name](arguments, Path(os.environ["SOAK_FOLDER"]))
        arguments.json.write_text(json.dumps(dataclasses.asdict(found)))
        return 0
    all_findings = []
    for name in arguments.only or parts():
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="soak-") as folder:
            found = in_a_process(name, Path(folder))
        found.figures["minutes"] = round((time.monotonic() - started) / 60, 1)
        all_findings.append(found)
        print(f"{name}: {len(found.faults)} faults, {found.figures}", file=sys.stderr, flush=True)
        if arguments.json:  # so that what is done is not lost
            arguments.json.write_text(json.dumps([dataclasses.asdict(one) for one in all_findings], indent=2) + "\n")
    print(table(all_findings))
    return int(any(found.faults for found in all_findings))


if __name__ == "__main__":
    sys.exit(main())
