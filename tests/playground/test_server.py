"""The playground's server as clients see it, over HTTP, with small models in this process."""

import base64
import concurrent.futures
import http.client
import json
import logging
import socket
import threading
import time

import httpx
import numpy as np
import pytest
import tensorflow as tf
from rest_requests import rest_answer
from serving_in_process import serving

from nlp_lstm.playground.refusal import RefusedError
from nlp_lstm.playground.served_model import ServedModel, find_models
from nlp_lstm.playground.server import PAGE, Bounds, OwnModels, own_app, passing_on_app, target_of
from nlp_lstm.playground.worker_pool import WorkerPool

TEXTS = [b"", b"A bee sees the best film!", "Übung é 😀 映画".encode(), b"\xff\xc3", b'\x00\n\t"\\', b"a " * 40]


class Toy(tf.Module):
    """Signatures of every kind: slow ones, failing ones, several inputs, bytes."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def lengths(self, text):
        return {"length": tf.strings.length(text), "text_bytes": text}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, name="turns")])
    def count(self, turns):
        """Takes as long as one likes."""
        one = tf.while_loop(
            lambda turn, _: turn < tf.reduce_max(turns), lambda turn, x: (turn + 1, x * 0.5 + 1.0), (0, tf.ones([64]))
        )[1]
        return {"x": tf.fill(tf.shape(turns), one[0])}

    @tf.function(
        input_signature=[tf.TensorSpec([None, 2], tf.float32, name="a"), tf.TensorSpec([None], tf.bool, name="b")]
    )
    def negated(self, a, b):
        with tf.control_dependencies([tf.debugging.assert_less(a, 100.0, message="too large")]):
            return {"x": tf.where(b[:, None], -a, a)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def classify(self, inputs):
        found = tf.io.parse_example(inputs, {"p": tf.io.FixedLenFeature([], tf.float32, 0.5)})["p"]
        classes = tf.tile(tf.constant([["no", "yes"]]), [tf.shape(inputs)[0], 1])
        return {"classes": classes, "scores": tf.stack([1.0 - found, found], -1)}


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A folder of models: `toy` with two versions, and folders that hold none."""
    folder = tmp_path_factory.mktemp("models")
    module = Toy()
    signatures = {name: getattr(module, name) for name in ("count", "negated", "classify")}
    tf.saved_model.save(module, str(folder / "toy" / "3"), {"serving_default": module.lengths, **signatures})
    (folder / "toy" / "1").mkdir()
    (folder / "toy" / "new").mkdir()
    (folder / ".hidden" / "1").mkdir(parents=True)
    (folder / "models.config").write_text("")
    (folder / "broken" / "7").mkdir(parents=True)
    (folder / "broken" / "7" / "saved_model.pb").write_bytes(b"\xff\xff")
    return folder


@pytest.fixture(scope="module")
def models(toy):
    own = OwnModels(find_models(toy))
    return own


@pytest.fixture(scope="module")
def url(models):
    with serving(own_app(models, bounds=Bounds(body=20_000, seconds=4.0, workers=2, waiting=1))) as address:
        models.wait()
        yield address


@pytest.fixture
def client(url):
    with httpx.Client(base_url=url, timeout=30) as one:
        yield one


TOY = "/v1/models/toy"


def error(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.json().keys() == {"error"}
    return answer.json()["error"]


def test_status_is_in_the_servers_form(client):
    expected = {
        "model_version_status": [
            {"version": "3", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        ]
    }
    for path in (TOY, f"{TOY}/versions/3", f"{TOY}/labels/stable"):
        assert client.get(path).json() == expected
    assert "Could not find" in error(client.get("/v1/models/nothing"), 404)
    assert "version 1" in error(client.get(f"{TOY}/versions/1"), 404)
    assert "label" in error(client.get(f"{TOY}/labels/canary"), 400)
    (broken,) = client.get("/v1/models/broken").json()["model_version_status"]
    assert (broken["state"], broken["status"]["error_code"]) == ("END", "UNKNOWN")
    assert "Cannot parse" in broken["status"]["error_message"]
    error(client.post("/v1/models/broken:predict", json={"instances": ["a"]}), 404)


def test_metadata_is_the_response_that_the_proto_describes(client, toy):
    """Read back into the protos, it is what the SavedModel says."""
    from google.protobuf import json_format
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow_serving.apis import get_model_metadata_pb2

    answer = client.get(f"{TOY}/metadata").json()
    assert answer["model_spec"] == {"name": "toy", "signature_name": "", "version": "3"}
    found = json_format.ParseDict(answer["metadata"]["signature_def"], get_model_metadata_pb2.SignatureDefMap())
    stored = saved_model_pb2.SavedModel.FromString((toy / "toy" / "3" / "saved_model.pb").read_bytes())
    assert dict(found.signature_def) == dict(stored.meta_graphs[0].signature_def)
    text = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"]["text"]
    assert text == {
        "dtype": "DT_STRING",
        "name": "serving_default_text:0",
        "tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False},
    }


def test_predict_by_rows_and_by_columns(client):
    rows = client.post(f"{TOY}:predict", json={"instances": ["é", {"b64": "/w=="}]}).json()
    assert rows == {
        "predictions": [
            {"length": 2, "text_bytes": {"b64": "w6k="}},
            {"length": 1, "text_bytes": {"b64": "/w=="}},
        ]
    }
    columns = client.post(f"{TOY}/versions/3:predict", json={"inputs": {"text": ["ab"]}}).json()
    assert columns == {"outputs": {"length": [2], "text_bytes": [{"b64": "YWI="}]}}
    request = {"signature_name": "negated", "instances": [{"a": [1, 2.5], "b": True}, {"a": [0, -1], "b": False}]}
    assert client.post(f"{TOY}/labels/stable:predict", json=request).json() == {"predictions": [[-1, -2.5], [0, -1]]}
    empty = client.post(f"{TOY}:predict", json={"inputs": []}).json()
    assert empty == {"outputs": {"length": [], "text_bytes": []}}


def test_classify(client):
    request = {"signature_name": "classify", "context": {"p": 0.25}, "examples": [{"p": 0.75}, {}]}
    found = client.post(f"{TOY}:classify", json=request).json()
    assert found == {"results": [[["no", 0.25], ["yes", 0.75]], [["no", 0.75], ["yes", 0.25]]]}
    error(client.post(f"{TOY}:classify", json={"examples": [{}]}), 400)
    error(client.post(f"{TOY}:regress", json={"examples": [{}]}), 400)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"{TOY}:predict", 400),
        ("POST", TOY, 400),
        ("POST", f"{TOY}:frob", 400),
        ("GET", "/v1/models", 400),
        ("GET", "/v1/nothing", 400),
        ("GET", f"{TOY}/versions/x", 400),
        ("GET", f"{TOY}/versions/99999999999999999999", 400),
        ("PUT", f"{TOY}:predict", 405),
        ("DELETE", TOY, 405),
        ("POST", "/", 405),
        ("POST", "/v1/models/no:predict", 404),
        ("POST", f"{TOY}/versions/2:predict", 404),
        ("GET", "/nothing.js", 404),
        ("GET", "/a/b", 404),
        ("GET", "/v1/models/..%2f..%2fetc", 400),
        ("GET", "/v1/models/%00", 404),
    ],
)
def test_other_paths_and_methods(client, method, path, status):
    error(client.request(method, path, content=b"{}" if method in ("POST", "PUT") else None), status)


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff", b"{", b"{}", b'{"instances": []}', b'{"instances": [1]}', b'{"signature_name": "no", "inputs": []}'],
)
def test_bad_bodies(client, body):
    error(client.post(f"{TOY}:predict", content=body), 400)


def test_what_the_graph_refuses_is_400_without_places_in_it(client):
    request = {"signature_name": "negated", "instances": [{"a": [1, 200], "b": True}]}
    told = error(client.post(f"{TOY}:predict", json=request), 400)
    assert "too large" in told
    assert "{{" not in told and "/" not in told.replace("assert_less/", "").replace("/Assert", "")
    request = {"signature_name": "negated", "inputs": {"a": [[1, 2]], "b": [True, False, True]}}
    assert client.post(f"{TOY}:predict", json=request).status_code == 200  # a row beside three is broadcast, as there


def test_sizes_are_bounded(client):
    assert "20000" in error(client.post(f"{TOY}:predict", content=b'{"instances": ["' + b"a" * 20_000 + b'"]}'), 413)

    parts = iter([b"a" * 5_000] * 5)  # no length is told before
    assert "20000" in error(client.post(f"{TOY}:predict", content=parts), 413)
    assert "129 rows" in error(client.post(f"{TOY}:predict", json={"instances": ["a"] * 129}), 400)
    assert len(client.post(f"{TOY}:predict", json={"instances": ["a"] * 128}).json()["predictions"]) == 128
    error(client.post(f"{TOY}:predict", content=b"x", headers={"content-encoding": "gzip"}), 415)


def test_a_client_that_leaves_before_its_request_is_whole_is_no_error(url, monkeypatch):
    told = []
    monkeypatch.setattr(logging.getLogger("uvicorn.error"), "error", lambda *arguments, **_: told.append(arguments))
    host, port = url.removeprefix("http://").split(":")
    for _ in range(3):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(
                f"POST {TOY}:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{{".encode()
            )
            time.sleep(0.05)
    assert httpx.post(f"{url}{TOY}:predict", json={"instances": ["ab"]}).status_code == 200
    assert told == []


def test_work_that_takes_long_is_given_up_and_others_do_not_wait(client):
    endless = {"signature_name": "count", "instances": [2**31 - 1]}
    short = {"signature_name": "count", "instances": [3]}
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        began = time.monotonic()
        long = [threads.submit(client.post, f"{TOY}:predict", json=endless) for _ in range(3)]  # 2 run, 1 waits
        time.sleep(1.0)  # a short one that came before the last of them would take its place
        while client.post(f"{TOY}:predict", json=short).status_code != 503:  # until all places are taken
            assert not all(one.done() for one in long)
            time.sleep(0.05)
        assert client.get(TOY).status_code == 200  # a question about the state does not wait
        answers = [one.result() for one in long]
    assert {one.status_code for one in answers} == {504}
    assert all(one.json().keys() == {"error"} for one in answers)
    assert time.monotonic() - began > 1.9
    # The workers are free again: the loops have stopped.
    assert client.post(f"{TOY}:predict", json=short).json() == {"predictions": [1.875]}


def test_a_pool_refuses_what_does_not_fit_and_leaves_out_what_is_given_up():
    pool, go_on, ran = WorkerPool(workers=1, waiting=1), threading.Event(), []
    first = pool.submit(go_on.wait)
    while not first.running():
        time.sleep(0.001)
    second = pool.submit(lambda: ran.append(2))
    with pytest.raises(RefusedError) as error_:
        pool.submit(lambda: ran.append(3))
    assert error_.value.status == 503
    assert second.cancel()
    go_on.set()
    assert first.result() is True
    with pytest.raises(ZeroDivisionError):
        pool.submit(lambda: 1 / 0).result()
    assert ran == []


class TestGuards:
    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({"host": "localhost:1234"}, 200),
            ({"host": "[::1]:80"}, 200),
            ({"host": "10.1.2.3"}, 200),
            ({"host": "LOCALHOST."}, 200),
            ({"host": "evil.example"}, 403),
            ({"host": "localhost.evil.example"}, 403),
            ({"host": "127.0.0.1.evil.example"}, 403),
            ({"host": "[::1"}, 403),
            ({"host": ""}, 403),
            ({"host": "localhost", "origin": "http://localhost"}, 200),
            ({"host": "localhost", "origin": "http://evil.example"}, 403),
            ({"host": "localhost", "origin": "null"}, 403),
            ({"host": "localhost", "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403),
            ({"host": "localhost", "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 200),
        ],
    )
    def test_names_and_origins(self, client, headers, status):
        answer = client.get(TOY, headers=headers)
        assert answer.status_code == status
        if status == 403:
            error(answer, 403)

    def test_every_answer_forbids_what_the_page_has_no_use_for(self, client):
        for answer in (client.get("/"), client.get(TOY), client.get("/x"), client.get(TOY, headers={"host": "evil"})):
            policy = answer.headers["content-security-policy"]
            assert "default-src 'self'" in policy and "unsafe" not in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "access-control-allow-origin" not in answer.headers


def test_the_page_is_served_and_no_other_file(client):
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.content == (PAGE / "index.html").read_bytes()
    assert b"<script>" not in page.content and b" style=" not in page.content and b" on" + b"click=" not in page.content
    # Sent as they stand here: httpx would make paths plain first.
    connection = http.client.HTTPConnection(client.base_url.host, client.base_url.port)
    for path in ("/../server.py", "/..%2fserver.py", "/%2e%2e/server.py", "/page", "/.", "/index.html/", "/a%00.js"):
        connection.request("GET", path)
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())) == (404, {"error": "Not Found"}), path
    connection.close()


def test_a_model_that_loads_is_503_until_it_is_there(toy):
    model = ServedModel("toy", 3, toy / "toy" / "3")
    own = OwnModels([model])
    own.start = lambda: None
    with serving(own_app(own)) as address, httpx.Client(base_url=address) as client:
        answer = client.post(f"{TOY}:predict", json={"instances": ["a"]})
        assert "being loaded" in error(answer, 503)
        assert answer.headers["retry-after"] == "1"
        error(client.get(f"{TOY}/metadata"), 503)
        assert client.get(TOY).json()["model_version_status"][0]["state"] == "START"
        model.state = "LOADING"
        assert client.get(TOY).json()["model_version_status"][0]["state"] == "LOADING"
        model.load()
        assert client.post(f"{TOY}:predict", json={"instances": ["a"]}).status_code == 200


def test_requests_are_passed_on(url):
    app = passing_on_app(url + "/", bounds=Bounds(body=20_000))
    with serving(app) as address, httpx.Client(base_url=address) as client:
        assert client.get("/").content == (PAGE / "index.html").read_bytes()
        assert client.get(TOY).json()["model_version_status"][0]["version"] == "3"
        assert client.post(f"{TOY}:predict", json={"inputs": ["ab"]}).json()["outputs"]["length"] == [2]
        error(client.post(f"{TOY}:predict", json={"inputs": [1]}), 400)
        error(client.get("/v1/models/no"), 404)
        error(client.get("/v1/other"), 400)
        error(client.post(f"{TOY}:predict", content=b"a" * 20_001), 413)
    with serving(passing_on_app("http://127.0.0.1:9")) as address:
        assert "cannot reach http://127.0.0.1:9" in error(httpx.get(address + TOY), 503)


def test_targets():
    assert target_of("GET", "/V1/Models/a/versions/7/METADATA")[1:] == ("a", 7, None, "metadata")
    assert target_of("POST", "/v1/models/a/labels/b:Classify")[1:] == ("a", None, "b", "classify")


@pytest.mark.parametrize("name", ["sentiment", "char_lm", "translation"])
def test_answers_are_the_models(name, request):
    """Every signature of small models of each app, by rows, beside what `tf.saved_model.load` answers."""
    app = request.getfixturevalue(f"exported_{name}")
    app = app if name == "sentiment" else app("byte" if name == "char_lm" else "shared")
    own = OwnModels([ServedModel(name, 1, app.version)])
    loaded = tf.saved_model.load(str(app.version)).signatures
    with serving(own_app(own)) as address, httpx.Client(base_url=address, timeout=60) as client:
        own.wait()
        for signature, inputs in app.inputs(TEXTS).items():
            rows = [{key: plain(value[row]) for key, value in inputs.items()} for row in range(len(TEXTS))]
            body = json.dumps({"signature_name": signature, "instances": rows})
            found = client.post(f"/v1/models/{name}:predict", content=body).json()
            expected = json.loads(rest_answer(loaded[signature], body)[0])
            assert_alike(found, expected)


def plain(value):
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    return value.tolist()


def assert_alike(found, expected):
    """Equal but for rounding of floats."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            assert_alike(found[key], expected[key])
    elif isinstance(expected, list) and expected and not isinstance(expected[0], float):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_alike(one, other)
    elif isinstance(expected, float) or (isinstance(expected, list) and expected):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    else:
        assert found == expected
