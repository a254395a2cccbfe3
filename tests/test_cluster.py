"""What `TF_CONFIG` tells of who trains together, and what it is refused for."""

import json
import re

import pytest

from nlp_lstm.cluster import Cluster, cluster_of, on_this_machine
from nlp_lstm.errors import UserError
from nlp_lstm.local_workers import MOST_WORKERS, train_together
from nlp_lstm.workers import ALONE, Workers


def told(cluster, task=None):
    return {"TF_CONFIG": json.dumps({"cluster": cluster, **({"task": task} if task else {})})}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"TF_CONFIG": ""},
        {"TF_CONFIG": " \n"},
        told({}),
        told({"worker": ["a:1"]}, {"type": "worker", "index": 0}),
        told({"chief": ["a:1"]}, {"type": "chief", "index": 0}),
    ],
)
def test_who_names_no_other_trains_alone(environment):
    assert cluster_of(environment) is None


@pytest.mark.parametrize(
    ("cluster", "task", "place"),
    [
        ({"worker": ["a:1", "b:1"]}, {"type": "worker", "index": 1}, 1),
        ({"worker": ["b:1"], "chief": ["a:1"]}, {"type": "worker", "index": 0}, 1),
        ({"worker": ["b:1"], "chief": ["a:1"]}, {"type": "chief", "index": 0}, 0),
        ({"worker": ["a:1", "b:1"]}, {"type": "worker", "index": "1"}, 1),  # as a shell writes it
    ],
)
def test_the_chief_comes_first(cluster, task, place):
    assert cluster_of(told(cluster, task)) == Cluster(("a:1", "b:1"), place)


def test_addresses_of_the_newer_protocol():
    found = cluster_of(told({"worker": ["[::1]:1", "[::1]:2"]}, {"type": "worker", "index": 0}))
    assert found.addresses == ("[::1]:1", "[::1]:2")


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"TF_CONFIG": "worker"}, "no description of a cluster"),
        ({"TF_CONFIG": "[]"}, "no description of a cluster"),
        (told({"worker": 3}), "no description of a cluster"),
        (told({"worker": ["a:1", "b:1"], "ps": ["c:1"]}), "has ps"),
        (told({"worker": ["a:1"], "chief": ["b:1", "c:1"]}), "more than one chief"),
        (told({"worker": ["a:1", "b"]}), "the address 'b'"),
        (told({"worker": ["a:1", "a:1"]}), "twice"),
        (told({"worker": ["a:1", "b:1"]}, {"type": "worker", "index": 2}), "the task worker 2"),
        (told({"worker": ["a:1", "b:1"]}, {"type": "worker", "index": -1}), "the task worker -1"),
        (told({"worker": ["a:1", "b:1"]}, {"type": "chief", "index": 0}), "the task chief 0"),
        (told({"worker": ["a:1", "b:1"]}, {"type": "worker", "index": "x"}), "no description of a cluster"),
    ],
)
def test_what_is_no_cluster(environment, words):
    with pytest.raises(UserError, match=re.escape(words)) as raised:
        cluster_of(environment)
    assert "\n" not in str(raised.value) and "TF_CONFIG" in str(raised.value)


def test_a_cluster_here_reads_as_it_was_written():
    clusters = on_this_machine(3)
    assert len({address for cluster in clusters for address in cluster.addresses}) == 3
    assert [cluster_of({"TF_CONFIG": cluster.as_tf_config()}) for cluster in clusters] == clusters


@pytest.mark.parametrize("flag", ["", "2", "local", "local:1", "local:x", "local:-2", f"local:{MOST_WORKERS + 1}"])
def test_what_the_flag_does_not_take(flag, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(UserError, match=f"--workers is '{flag}': expected local:2 to local:{MOST_WORKERS}"):
        train_together(flag, lambda workers: pytest.fail("trained"))


def test_workers_are_started_once(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", on_this_machine(3)[0].as_tf_config())
    with pytest.raises(UserError, match="give one of the two"):
        train_together("local:2", lambda workers: pytest.fail("trained"))


def test_without_flag_and_cluster_one_trains_alone(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    found = []
    train_together(None, found.append)
    assert found == [ALONE]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 32])
@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_each_row_has_one_worker(count, number):
    bounds = [Workers(number, place).rows(count) for place in range(number)]
    assert [row for start, stop in bounds for row in range(start, stop)] == list(range(count))
    sizes = [stop - start for start, stop in bounds]
    assert max(sizes) - min(sizes) <= 1
