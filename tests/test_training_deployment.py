"""What starts workers on several machines: a Kubernetes Job and a Slurm script, each run by stand-ins of its tools."""

import json
import os
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from nlp_lstm.cluster import Cluster, cluster_of

DEPLOY = Path(__file__).parents[1] / "deploy"


@pytest.fixture
def stand_in(tmp_path):
    """Puts a program of a few lines of shell where the others are found; gives the environment to find it in."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def write(name, lines):
        (folder / name).write_text(f"#!/bin/sh\n{lines}\n")
        (folder / name).chmod(0o755)
        return {"PATH": f"{folder}:{os.environ['PATH']}"}

    return write


@pytest.fixture(scope="module")
def job():
    found = {part["kind"]: part for part in yaml.safe_load_all((DEPLOY / "training.yaml").read_text("utf-8"))}
    assert found.keys() == {"Service", "NetworkPolicy", "Job"}
    return found


def test_the_parts_of_the_job_are_of_their_kinds(job):
    for part in job.values():
        kubernetes_validate.validate(part, "1.31", strict=True)


def test_the_parts_of_the_job_fit_together(job):
    name = job["Job"]["metadata"]["name"]
    pod = job["Job"]["spec"]["template"]["spec"]
    label = {"job-name": name}  # which the Job's controller gives its pods
    assert job["Service"]["spec"]["selector"] == label
    assert job["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == label
    assert pod["subdomain"] == job["Service"]["metadata"]["name"]
    (container,) = pod["containers"]
    assert job["Job"]["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"]["containerName"] == container["name"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


@pytest.mark.parametrize("place", [0, 1])
def test_the_workers_of_the_job_find_one_another(job, place, stand_in):
    spec = job["Job"]["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    env = stand_in("nlp-lstm", 'printf "%s" "$TF_CONFIG"')
    env |= {variable["name"]: variable["value"] for variable in container["env"]}
    env |= {"JOB_COMPLETION_INDEX": str(place)}  # which the Job's controller sets
    told = subprocess.run([*container["command"], *container["args"]], env=env, capture_output=True, text=True)
    assert (told.returncode, told.stderr) == (0, "")
    name, port = job["Job"]["metadata"]["name"], job["Service"]["spec"]["ports"][0]["port"]
    # A pod of an indexed Job has the Job's name and its index for its host's, in the Service's domain.
    hosts = [f"{name}-{index}.{job['Service']['metadata']['name']}:{port}" for index in range(spec["completions"])]
    assert cluster_of({"TF_CONFIG": told.stdout}) == Cluster(tuple(hosts), place)


@pytest.fixture
def submitted(stand_in, tmp_path):
    """The script with stand-ins for what Slurm has; gives its status, and what the workers were told."""

    def submit(status):
        stand_in("nlp-lstm", f'printf "%s\\n%s\\n" "$TF_CONFIG" "$*" >"{tmp_path}/told_$SLURM_PROCID"; exit {status}')
        stand_in("srun", 'for SLURM_PROCID in 0 1; do export SLURM_PROCID; "$@" || status=$?; done; exit ${status:-0}')
        env = stand_in(
            "scontrol", f'case "$1" in show) printf "n7\\nn9\\n" ;; *) echo "$*" >"{tmp_path}/requeued" ;; esac'
        )
        env |= {"SLURM_JOB_ID": "1234567", "SLURM_JOB_NODELIST": "n[7,9]"}
        script = ["sh", str(DEPLOY / "training.sbatch"), "char-lm", "train", "--data", "a b"]
        done = subprocess.run(script, env=env, capture_output=True, text=True)
        assert done.stderr == ""
        return done.returncode, [(tmp_path / f"told_{place}").read_text().splitlines() for place in range(2)]

    return submit


def test_the_workers_of_the_script_find_one_another(submitted, tmp_path):
    status, told = submitted(0)
    assert status == 0
    for place, (config, arguments) in enumerate(told):
        assert cluster_of({"TF_CONFIG": config}) == Cluster(("n7:24567", "n9:24567"), place)
        assert json.loads(config)["task"]["type"] == "worker"
        assert arguments == "char-lm train --data a b"
    assert not (tmp_path / "requeued").exists()


@pytest.mark.parametrize(("status", "again"), [(2, False), (75, True), (137, True)])
def test_what_the_script_tries_again(submitted, tmp_path, status, again):
    found, _ = submitted(status)
    assert found == (0 if again else status)
    assert (tmp_path / "requeued").exists() == again
    if again:
        assert (tmp_path / "requeued").read_text() == "requeue 1234567\n"
