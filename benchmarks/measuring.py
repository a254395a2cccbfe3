"""What the benchmarks share: what machine this is and whether it was quiet, and calls that take turns."""

import os
import statistics
import sys
import time
from collections.abc import Callable

from nlp_lstm.process_setup import switch_on_onednn

switch_on_onednn()  # as the apps do, before TensorFlow is imported

# What matrix products can use; the first ones are what narrower arithmetic needs.
FEATURES = ("amx_bf16", "amx_int8", "avx512_bf16", "avx512_vnni", "avx512f", "avx2", "fma", "asimd", "bf16", "i8mm")
BUSY = 10.0  # percent of the machine that others may use before a figure is doubtful


def machine() -> dict:
    """The processor, what of its instructions counts here, its cores, and how busy others keep it.

    Says so on standard error where the machine is not quiet.
    """
    import cpuinfo
    import psutil

    found = cpuinfo.get_cpu_info()
    flags = set(found.get("flags", ()))
    busy = psutil.cpu_percent(interval=1.0)
    if busy > BUSY:
        print(
            f"this machine is not quiet: others use {busy:.0f} % of it, so the times below are upper bounds and the "
            "ratios doubtful; stop what else runs, and start again",
            file=sys.stderr,
        )
    return {
        "processor": found.get("brand_raw", "unknown"),
        "features": [name for name in FEATURES if name in flags],
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "busy_percent": busy,
    }


def seconds_of(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def time_in_turns(calls: dict[str, Callable[[], object]], rounds: int, warm_up: int = 2) -> dict[str, float]:
    """Median seconds of each call. They take turns, so that a machine which slows down slows all of them down."""
    for call in calls.values():
        for _ in range(warm_up):
            call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for turn in range(rounds):
        first = turn % len(names)  # nobody always follows the same neighbour
        for name in names[first:] + names[:first]:
            times[name].append(seconds_of(calls[name]))
    return {name: statistics.median(found) for name, found in times.items()}


def rates_in_turns(calls: dict[str, tuple[Callable[[], object], int]], rounds: int) -> dict[str, float]:
    """Units of work a second of each call, which stands beside the units that it does."""
    seconds = time_in_turns({name: call for name, (call, _) in calls.items()}, rounds, warm_up=1)
    return {name: work / seconds[name] for name, (_, work) in calls.items()}
