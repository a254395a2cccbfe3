"""The apps' using verbs with --server: they print what they print with --model, and ask what is a server's business.

The server is the playground's; where there is a TensorFlow Serving (`real_server`), it is asked the same of what ships.
"""

import json
from pathlib import Path

import command_line
import pytest
import real_server
from serving_in_process import serving

import apps.char_lm
import apps.sentiment
import apps.translation
from nlp_lstm.client import Client
from nlp_lstm.playground.served_model import ServedModel, find_models
from nlp_lstm.playground.server import OwnModels, own_app, passing_on_app

APPS = {"sentiment": apps.sentiment.app, "char_lm": apps.char_lm.app, "translation": apps.translation.app}
ROOT = Path(__file__).parents[2]

CALLS = {
    "sentiment": [
        ["predict", "The best film!", "not a dull film", "映画 é", ""],
        ["predict", "The best film!", "--json"],
        ["explain", "It's the best film."],
        ["explain", "not a dull film", "映画", "--json"],
        ["explain", "It's the best film.", "--units", "--count", "2"],
        ["explain", "not a dull film", "--units", "--json"],
        ["pairs", "--data", str(ROOT / "tests" / "sentiment" / "polarity_pairs.jsonl")],
    ],
    "char_lm": [
        ["generate", "--prompt", "an", "--length", "70", "--seed", "3"],
        ["generate", "--prompt", "a rain", "--length", "40", "--seed", "5", "--samples", "3", "--temperature", "0.3"],
        ["generate", "--prompt", "a", "--length", "40", "--stop", "n", "--json"],
        ["generate", "--length", "33", "--samples", "2", "--top-k", "5", "--json"],
        ["generate", "--prompt", "an", "--length", "5", "--beam", "3"],
        ["score", "an inn in rain", "Ä", ""],
        ["score", "an inn in rain", "--json"],
        ["explain", "an inn in rain", "--count", "2"],
        ["explain", "an inn in rain", "--gate", "forget", "--units", "0,3", "--json"],
    ],
    "translation": [
        ["translate", "A man sees a dog.", "", "The best film!"],
        ["translate", "The best film!", "--n-best", "3", "--beam-size", "4"],
        ["translate", "The best film!", "--n-best", "2", "--json"],
        ["explain", "A dog, and a man."],
        ["explain", "A dog", "A man", "--json"],
    ],
}


@pytest.fixture(scope="module")
def models(exported_sentiment, exported_char_lm, exported_translation):
    """Small models of random weights, and where each is."""
    return {
        "sentiment": exported_sentiment.base,
        "char_lm": exported_char_lm("byte").base,
        "translation": exported_translation("shared").base,
    }


@pytest.fixture(scope="module")
def url(models):
    own = OwnModels([ServedModel(name, 1, base / "1") for name, base in models.items()])
    with serving(own_app(own)) as address:
        own.wait()
        yield address


REAL = pytest.param(
    "real",
    marks=[pytest.mark.thorough, pytest.mark.skipif(not real_server.is_there(), reason=real_server.NO_SERVER)],
)


@pytest.fixture(scope="module")
def real_url(tmp_path_factory):
    with real_server.real_server(tmp_path_factory.mktemp("real_server")) as address:
        yield address


@pytest.fixture(params=["playground", REAL])
def served(request, models):
    """Where models are, where they are served, and whether they are what ships."""
    if request.param == "playground":
        return models, request.getfixturevalue("url"), False
    return {name: ROOT / "saved_models" / name for name in models}, request.getfixturevalue("real_url"), True


@pytest.mark.parametrize("name", CALLS)
def test_each_verb_prints_the_same(name, served):
    models, url, ships = served
    for arguments in CALLS[name]:
        here = command_line.call(APPS[name], *arguments, "--model", models[name])
        there = command_line.call(APPS[name], *arguments, "--server", url)
        if ships and "has no signature" in here.err:  # a model of before it had them
            assert there.status == here.status == 2
            continue
        assert there.status == here.status == 0, there.err
        assert there.err == here.err
        if "--json" in arguments:
            assert_alike([json.loads(line) for line in there.lines], [json.loads(line) for line in here.lines])
        else:
            assert there.out == here.out, arguments


def assert_alike(found, expected):
    """Equal, but for rounding of floats."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert_alike(found[key], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_alike(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-4, abs=2e-5)
    else:
        assert found == expected


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("sentiment", ["predict", "a"]), ("char_lm", ["score", "a"]), ("translation", ["translate", "a"])],
)
class TestMistakes:
    def test_one_thing_is_used(self, name, arguments, tmp_path):
        for flag in ("--model", "--run"):
            result = command_line.call(APPS[name], *arguments, "--server", "http://localhost:1", flag, tmp_path)
            assert result.is_mistake("--server, --model and --run", "give one")

    def test_a_url_is_one(self, name, arguments):
        result = command_line.call(APPS[name], *arguments, "--server", "localhost:8501")
        assert result.is_mistake("'localhost:8501'", "http://localhost:8501")

    def test_a_model_of_another_app(self, name, arguments, url, models, monkeypatch):
        other = {"sentiment": "translation", "char_lm": "sentiment", "translation": "char_lm"}[name]
        kept = Client.__init__

        def misnamed(self, url):
            kept(self, url, names={name: other})

        monkeypatch.setattr(Client, "__init__", misnamed)
        result = command_line.call(APPS[name], *arguments, "--server", url)
        assert result.is_mistake(url)


@pytest.fixture(params=["playground", REAL, pytest.param("passed on", marks=REAL.marks)])
def shipped_url(request):
    """Where what ships is served: by the playground, by a real server, and by the playground in front of that."""
    if request.param == "real":
        yield request.getfixturevalue("real_url")
        return
    if request.param == "passed on":
        with serving(passing_on_app(request.getfixturevalue("real_url"))) as address:
            yield address
        return
    own = OwnModels(find_models(ROOT / "saved_models"))
    with serving(own_app(own)) as address:
        own.wait()
        yield address


@pytest.mark.thorough
def test_the_shipped_models_answer_as_the_readme_says(shipped_url):
    told = command_line.call(APPS["translation"], "translate", "--server", shipped_url, "A man is riding a bike.")
    assert told.text == "Ein Mann fährt Fahrrad.\n"
    told = command_line.call(APPS["sentiment"], "predict", "--server", shipped_url, "A dull, lifeless mess.")
    assert told.text == "negative  0.000  A dull, lifeless mess.\n"
    told = command_line.call(APPS["char_lm"], "generate", "--server", shipped_url, "--prompt", "ROMEO:", "--seed", "7")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    _, _, shown = readme.partition("--length 300 --temperature 0.8 --seed 7\n")
    assert len(told.text) > 200
    assert shown.startswith(told.text.removesuffix("\n"))


@pytest.mark.thorough
def test_grpc_answers_as_rest_does(url, models):
    """A server of gRPC that asks the other one's models, with the protos of tensorflow-serving-api."""
    from concurrent import futures

    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

    loaded = {name: tf.saved_model.load(str(base / "1")) for name, base in models.items()}
    asked = []

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):
            asked.append(request)
            if request.model_spec.name not in loaded:
                context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found")
            if len(asked) == 1:
                context.abort(grpc.StatusCode.UNAVAILABLE, "just a moment")
            function = loaded[request.model_spec.name].signatures[request.model_spec.signature_name]
            inputs = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
            outputs = {name: tf.make_tensor_proto(value) for name, value in function(**inputs).items()}
            return predict_pb2.PredictResponse(outputs=outputs)

        def GetModelMetadata(self, request, context):
            stored = (models[request.model_spec.name] / "1" / "saved_model.pb").read_bytes()
            from tensorflow.core.protobuf import saved_model_pb2

            signatures = saved_model_pb2.SavedModel.FromString(stored).meta_graphs[0].signature_def
            answer = get_model_metadata_pb2.GetModelMetadataResponse()
            answer.metadata["signature_def"].Pack(get_model_metadata_pb2.SignatureDefMap(signature_def=signatures))
            return answer

    server = grpc.server(futures.ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with Client(f"grpc://127.0.0.1:{port}") as one, Client(url) as other:
            for client in (one, other):
                assert client.sentiment(["The best film!"])[0].label in ("positive", "negative")
            assert one.sentiment(["a", "é"])[1].score == pytest.approx(other.sentiment(["a", "é"])[1].score, rel=1e-5)
            assert one.generate(["an"], length=9) == other.generate(["an"], length=9)
            assert list(one.stream("an", 5, seed=3)) == list(other.stream("an", 5, seed=3))
            assert one.log_probs("rain") == pytest.approx(other.log_probs("rain"), abs=1e-5)
            assert [t.text for t in one.n_best(["A dog"])[0]] == [t.text for t in other.n_best(["A dog"])[0]]
            with pytest.raises(ValueError, match="has no model"):
                one.predict("none", "serving_default", {"text": ["a"]})
    finally:
        server.stop(0)
