"""Who takes part in a training: what `TF_CONFIG` tells, which is how launchers tell it to TensorFlow."""

import json
import os
import re
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

from nlp_lstm.errors import UserError

VARIABLE = "TF_CONFIG"


class Cluster(NamedTuple):
    """The processes that train together, and which of them this one is.

    >>> cluster = Cluster(("10.0.0.1:2222", "10.0.0.2:2222"), place=1)
    >>> cluster.as_tf_config()
    '{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": "worker", "index": 1}}'

    The first is the chief, which alone writes the run folder.
    """

    addresses: tuple[str, ...]
    place: int

    def as_tf_config(self) -> str:
        task = {"type": "worker", "index": self.place}
        return json.dumps({"cluster": {"worker": list(self.addresses)}, "task": task})


def cluster_of(environment: Mapping[str, str]) -> Cluster | None:
    """What an environment's `TF_CONFIG` tells; None without one, or if it names no other process.

    >>> config = {"cluster": {"chief": ["a:1"], "worker": ["b:1", "c:1"]}, "task": {"type": "worker", "index": 0}}
    >>> cluster_of({"TF_CONFIG": json.dumps(config)})
    Cluster(addresses=('a:1', 'b:1', 'c:1'), place=1)

    A `chief` comes before the workers; where there is none, the first worker is it.

    Raises:
        UserError: for what is no such description, and for roles that this training has no use for.
    """
    text = environment.get(VARIABLE, "")
    if not text.strip():
        return None
    try:
        config = json.loads(text)
        jobs: dict[str, Any] = config.get("cluster") or {}
        task = config.get("task") or {}
        kind, index = str(task.get("type", "worker")), int(task.get("index", 0))
        roles = {role: [str(address) for address in addresses] for role, addresses in jobs.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{VARIABLE} is no description of a cluster ({error}): {_EXPECTED}") from None
    others = sorted(roles.keys() - {"chief", "worker"})
    if others or len(roles.get("chief", [])) > 1:
        what = ", ".join(others) or "more than one chief"
        raise UserError(f"{VARIABLE} has {what}: only workers, and one chief at most, train together")
    addresses = (*roles.get("chief", []), *roles.get("worker", []))
    if len(addresses) < 2:
        return None
    for address in addresses:
        if not re.fullmatch(r".+:\d{1,5}", address):
            raise UserError(f"{VARIABLE} has the address '{address}': expected host:port")
    if len(set(addresses)) < len(addresses):
        raise UserError(f"{VARIABLE} has the same address twice: each worker has one of its own")
    if not 0 <= index < len(roles.get(kind, [])):
        raise UserError(f"{VARIABLE} has the task {kind} {index}, which its cluster does not: {_EXPECTED}")
    return Cluster(addresses, index + (len(roles.get("chief", [])) if kind == "worker" else 0))


_EXPECTED = 'expected {"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'


def cluster_here() -> Cluster | None:
    """The cluster that this process is part of; None if it trains alone."""
    return cluster_of(os.environ)


def on_this_machine(number: int) -> list[Cluster]:
    """A cluster of so many processes here, as each of them sees it, at ports that are free.

    >>> [cluster.place for cluster in on_this_machine(2)]
    [0, 1]
    """
    with ExitStack() as opened:  # all open at once, so that none is given twice
        sockets = [opened.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        addresses = tuple(f"127.0.0.1:{each.getsockname()[1]}" for each in sockets)
    return [Cluster(addresses, place) for place in range(number)]
