"""What is in deploy/: each file is of its kind, and they agree with one another, the models and the client."""

import http.server
import importlib.util
import json
import os
import re
import shutil
import subprocess
import threading
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from google.protobuf import text_format
from serving_protos import BatchingParameters, MonitoringConfig

from nlp_lstm import client

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
MODELS = sorted(path.name for path in (ROOT / "saved_models").iterdir() if path.is_dir())

METRICS = {
    "request_count": ("counter", {"model_name", "status"}),
    "request_latency": ("histogram", {"model_name", "API", "entrypoint"}),
    "runtime_latency": ("histogram", {"model_name", "API", "runtime"}),
    "batching_session:queuing_latency": ("histogram", {"thread_pool_name"}),
    "batching_session:wrapped_run_count": ("counter", set()),
}
"""Metrics with their kinds and labels, below `:tensorflow:serving:`, as the server's sources register them
(`servables/tensorflow/util.cc`, `batching/batching_session.cc`)."""

FLAGS = {
    "model_config_file",
    "allow_version_labels_for_unavailable_models",
    "enable_batching",
    "batching_parameters_file",
    "enable_per_model_batching_parameters",
    "monitoring_config_file",
    "tensorflow_intra_op_parallelism",
    "tensorflow_inter_op_parallelism",
    "rest_api_num_threads",
    "rest_api_timeout_in_ms",
}
"""Of those that the server's `main.cc` has."""


def documents(path):
    return list(yaml.safe_load_all((DEPLOY / path).read_text(encoding="utf-8")))


def document(path):
    (found,) = documents(path)
    return found


@pytest.fixture(scope="module")
def compose():
    return document("compose.yaml")


@pytest.fixture(scope="module")
def container():
    (found,) = document("kubernetes/deployment.yaml")["spec"]["template"]["spec"]["containers"]
    return found


class TestProtos:
    def test_models_config(self):
        from tensorflow_serving.config import model_server_config_pb2

        for path in (DEPLOY / "models.config", ROOT / "saved_models" / "models.config"):
            found = text_format.Parse(path.read_text(), model_server_config_pb2.ModelServerConfig())
            configs = found.model_config_list.config
            assert sorted(one.name for one in configs) == MODELS
            for one in configs:
                assert one.base_path == f"/models/{one.name}"
                assert one.model_platform == "tensorflow"
                for version in one.version_labels.values():
                    assert (ROOT / "saved_models" / one.name / str(version) / "saved_model.pb").is_file()

    def test_batching(self):
        shared = text_format.Parse((DEPLOY / "batching.config").read_text(), BatchingParameters())
        # Of the others the server says that they are ignored where each model has its own.
        assert {field.name for field, _ in shared.ListFields()} == {"num_batch_threads", "thread_pool_name"}
        assert shared.num_batch_threads.value >= 1

    @pytest.mark.parametrize("name", MODELS)
    def test_each_models_batching_takes_what_the_client_sends(self, name):
        (version,) = (path for path in (ROOT / "saved_models" / name).iterdir() if path.name.isdecimal())
        found = text_format.Parse((version / "batching_params.pbtxt").read_text(), BatchingParameters())
        assert found.max_batch_size.value >= client.ROWS
        assert 0 <= found.batch_timeout_micros.value <= 5_000
        assert found.max_enqueued_batches.value > 0
        assert not found.HasField("num_batch_threads")

    def test_monitoring(self):
        found = text_format.Parse((DEPLOY / "monitoring.config").read_text(), MonitoringConfig()).prometheus_config
        assert found.enable
        (job,) = document("monitoring/prometheus.yaml")["scrape_configs"]
        assert job["metrics_path"] == found.path
        annotations = document("kubernetes/deployment.yaml")["spec"]["template"]["metadata"]["annotations"]
        assert annotations["prometheus.io/path"] == found.path


class TestCompose:
    def test_it_is_what_the_specification_says(self, compose):
        import jsonschema

        package = importlib.util.find_spec("check_jsonschema")
        if package is None or package.origin is None:
            pytest.skip("needs check-jsonschema, which ships the schema of compose files")
        path = Path(package.origin).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
        schema = json.loads(path.read_text(encoding="utf-8"))
        jsonschema.validate(compose, schema)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**compose, "services": {"serving": {"imag": "x"}}}, schema)

    def test_what_it_mounts_is_there(self, compose):
        mounted = {}
        for service in compose["services"].values():
            for volume in service.get("volumes", []):
                here, there, how = volume.split(":")
                assert (DEPLOY / here).exists(), volume
                assert how == "ro"
                mounted[there] = here
        serving = compose["services"]["serving"]
        used = re.findall(r"/config/\S+", " ".join([*serving["command"], *serving["healthcheck"]["test"]]))
        assert len(used) == 4
        assert set(used) <= mounted.keys()
        assert mounted["/models"] == "../saved_models"

    def test_images_are_pinned_and_ports_are_of_this_machine(self, compose):
        for service in compose["services"].values():
            assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+", service["image"])
            for port in service["ports"]:
                assert re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port)

    def test_one_server_everywhere(self, compose, container):
        serving = compose["services"]["serving"]
        assert container["image"] == serving["image"]
        assert container["args"] == serving["command"]
        flags = dict(one.removeprefix("--").split("=") for one in container["args"])
        assert flags.keys() == FLAGS
        assert client.Patience().timeout * 1000 > int(flags["rest_api_timeout_in_ms"])


class TestKubernetes:
    @pytest.mark.parametrize("path", sorted(path.name for path in (DEPLOY / "kubernetes").iterdir()))
    def test_it_is_what_the_schema_says(self, path):
        for resource in documents(f"kubernetes/{path}"):
            for version in ("1.30", "1.37"):
                kubernetes_validate.validate(resource, version, strict=True)

    def test_the_schema_would_refuse_a_mistake(self, container):
        wrong = document("kubernetes/deployment.yaml")
        wrong["spec"]["template"]["spec"]["containers"] = [{**container, "readyProbe": {}}]
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(wrong, "1.30", strict=True)

    def test_all_is_applied(self):
        found = document("kustomization.yaml")
        assert sorted(found["resources"]) == sorted(
            f"kubernetes/{path.name}" for path in (DEPLOY / "kubernetes").iterdir()
        )
        (config,) = found["configMapGenerator"]
        assert all((DEPLOY / path).is_file() for path in config["files"])
        volumes = document("kubernetes/deployment.yaml")["spec"]["template"]["spec"]["volumes"]
        assert config["name"] in [one.get("configMap", {}).get("name") for one in volumes]
        claims = [one["persistentVolumeClaim"]["claimName"] for one in volumes if "persistentVolumeClaim" in one]
        assert claims == [document("kubernetes/models_volume.yaml")["metadata"]["name"]]

    def test_each_part_finds_the_others(self, container):
        deployment, service = document("kubernetes/deployment.yaml"), document("kubernetes/service.yaml")
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
        assert service["spec"]["selector"].items() <= labels.items()
        budget = document("kubernetes/disruption_budget.yaml")
        assert budget["spec"]["selector"]["matchLabels"].items() <= labels.items()
        scaled = document("kubernetes/autoscaler.yaml")["spec"]["scaleTargetRef"]
        assert (scaled["kind"], scaled["name"]) == (deployment["kind"], deployment["metadata"]["name"])
        assert {one["name"]: one["containerPort"] for one in container["ports"]} == {"grpc": 8500, "rest": 8501}
        assert {one["targetPort"]: one["port"] for one in service["spec"]["ports"]} == {"grpc": 8500, "rest": 8501}
        mounted = {one["mountPath"] for one in container["volumeMounts"]}
        assert mounted == {"/models", "/config"}
        probe = container["readinessProbe"]["exec"]["command"]
        assert probe == container["startupProbe"]["exec"]["command"] == ["/bin/bash", "/config/ready.sh"]

    def test_kserve_serves_the_same_models(self, container):
        found = documents("kserve.yaml")
        claim = document("kubernetes/models_volume.yaml")["metadata"]["name"]
        names = []
        for one in found:
            assert (one["apiVersion"], one["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
            assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", one["metadata"]["name"])
            model = one["spec"]["predictor"]["model"]
            assert model["modelFormat"] == {"name": "tensorflow"}
            assert container["image"].endswith(f":{model['runtimeVersion']}")
            name = model["storageUri"].removeprefix(f"pvc://{claim}/")
            told = [flag.split("=")[1] for flag in model["args"] if flag.startswith("--model_name=")]
            assert name == (told or [one["metadata"]["name"]])[0]
            names.append(name)
        assert sorted(names) == MODELS


class TestMonitoring:
    def test_prometheus_asks_the_server(self, compose):
        (job,) = document("monitoring/prometheus.yaml")["scrape_configs"]
        ((target,),) = (one["targets"] for one in job["static_configs"])
        host, port = target.split(":")
        assert host in compose["services"]
        assert f"127.0.0.1:{port}:{port}" in compose["services"][host]["ports"]
        (source,) = document("monitoring/grafana_datasources.yaml")["datasources"]
        host, port = source["url"].removeprefix("http://").split(":")
        assert f"127.0.0.1:{port}:{port}" in compose["services"][host]["ports"]

    def test_the_dashboard_asks_for_what_the_server_has(self, compose):
        (source,) = document("monitoring/grafana_datasources.yaml")["datasources"]
        (provider,) = document("monitoring/grafana_dashboards.yaml")["providers"]
        mounted = [volume.split(":")[1] for volume in compose["services"]["grafana"]["volumes"]]
        assert f"{provider['options']['path']}/dashboard.json" in mounted
        dashboard = json.loads((DEPLOY / "monitoring" / "dashboard.json").read_text(encoding="utf-8"))
        panels = dashboard["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels) >= 5
        seen = set()
        for panel in panels:
            assert panel["datasource"]["uid"] == source["uid"]
            for target in panel["targets"]:
                expression = target["expr"]
                assert expression.count("(") == expression.count(")")
                assert expression.count("[$__rate_interval]") == expression.count("rate(")
                for full in re.findall(r":tensorflow:serving:[a-z_:]+", expression):
                    name = full.removeprefix(":tensorflow:serving:")
                    bare = re.sub("_(bucket|sum|count)$", "", name) if name not in METRICS else name
                    kind, labels = METRICS[bare]
                    assert (kind == "histogram") == (bare != name), full
                    seen.add(bare)
                    grouped = re.findall(r"by \(([^)]*)\)", expression) + re.findall(r"\{(\w+)[!=]", expression)
                    asked = {label.strip() for group in grouped for label in group.split(",")} - {"le"}
                    assert asked <= labels, expression
                assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= asked
        assert seen == METRICS.keys()


class TestReady:
    @pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
    @pytest.mark.parametrize(
        ("states", "status"),
        [
            ({}, 0),
            ({"translation": '"state": "LOADING"'}, 1),
            ({"char_lm": '"state": "END", "x": "AVAILABLE"'}, 1),
            ({"sentiment": '"state": "AVAILABLE"},{"state": "LOADING"'}, 0),
        ],
    )
    def test_it_waits_for_every_model(self, states, status):
        asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                state = states.get(self.path.rpartition("/")[2], '"state": "AVAILABLE"')
                body = f'{{"model_version_status": [{{"version": "1", {state}}}]}}'.encode()
                self.send_response(200)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            environment = {**os.environ, "REST_PORT": str(server.server_port)}
            done = subprocess.run(["bash", DEPLOY / "ready.sh"], env=environment, capture_output=True, timeout=30)
            server.shutdown()
        assert (done.returncode, done.stdout, done.stderr) == (status, b"", b"")
        if status == 0:
            assert sorted(asked) == sorted(f"/v1/models/{name}" for name in MODELS)

    @pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
    def test_where_there_is_no_server(self):
        done = subprocess.run(["bash", DEPLOY / "ready.sh"], env={**os.environ, "REST_PORT": "1"}, capture_output=True)
        assert (done.returncode, done.stderr) == (1, b"")


def test_what_the_readme_names_is_there():
    text = (DEPLOY / "README.md").read_text(encoding="utf-8")
    for path in re.findall(r"\]\(([\w./]+)\)", text):
        assert (DEPLOY / path).exists(), path
