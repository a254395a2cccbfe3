"""The client: what it sends and makes of answers (a server of canned ones), when it tries again, what it says."""

import asyncio
import base64
import json
import math
import random
import subprocess
import sys
import time
from pathlib import Path

import fake_server
import numpy as np
import pytest
from fake_server import FakeServer, counting_model, sentiment_answer
from hypothesis import given
from hypothesis import strategies as st

from nlp_lstm import client as client_module
from nlp_lstm.client import AsyncClient, Client, Patience, ServingError, batches, sample
from nlp_lstm.errors import UserError

ROOT = Path(__file__).parents[1]
SOON = Patience(timeout=5.0, retries=3, first_pause=0.001)


@pytest.fixture(autouse=True)
def _clients_are_closed(monkeypatch):
    made, kept = [], Client.__init__

    def noted(self, *arguments, **named):
        kept(self, *arguments, **named)
        made.append(self)

    monkeypatch.setattr(Client, "__init__", noted)
    yield
    for client in made:
        client.close()


class TestBatches:
    @given(st.lists(st.integers(0, 300)), st.integers(1, 9), st.integers(1, 1000))
    def test_each_text_once_and_none_too_large(self, lengths, rows, padded):
        found = batches(lengths, rows, padded)
        assert sorted(place for batch in found for place in batch) == list(range(len(lengths)))
        for batch in found:
            assert 1 <= len(batch) <= rows
            assert len(batch) == 1 or len(batch) * max(lengths[place] for place in batch) <= padded
        by_length = [lengths[place] for batch in found for place in batch]
        assert by_length == sorted(by_length)

    def test_results_have_the_order_of_the_texts(self):
        rng = random.Random(0)
        texts = ["a" * rng.randrange(900) for _ in range(75)]
        with FakeServer(lambda *asked: sentiment_answer(asked[2])) as server, Client(server.url, SOON) as client:
            found = client.sentiment(texts)
            assert [one.score for one in found] == [pytest.approx(len(text) / 1000) for text in texts]
            assert client.sentiment([]) == []
        assert [len(body["inputs"]["text"]) for _, _, body in server.asked] == [32, 32, 11]
        assert {path for _, path, _ in server.asked} == {"/v1/models/sentiment:predict"}
        assert {body["signature_name"] for _, _, body in server.asked} == {"serving_default"}


def test_whether_a_model_has_a_signature():
    signatures = {"explain": {"inputs": {"text": {"dtype": "DT_STRING", "tensor_shape": {"dim": [{"size": "-1"}]}}}}}
    told = {"metadata": {"signature_def": {"signature_def": signatures}}}
    with FakeServer(lambda *_: told) as server:
        with Client(server.url, SOON) as client:
            found = [client.has_signature("sentiment", name) for name in ("explain", "prefixes")]

        async def ask():
            async with AsyncClient(server.url, SOON) as client:
                return [await client.has_signature("sentiment", name) for name in ("explain", "prefixes")]

        assert found == asyncio.run(ask()) == [True, False]
    assert {path for _, path, _ in server.asked} == {"/v1/models/sentiment/metadata"}


class TestTexts:
    def test_bytes_that_are_no_text_go_in_base64(self):
        with FakeServer(lambda *asked: sentiment_answer({"inputs": {"text": "abcd"}})) as server:
            Client(server.url, SOON).sentiment(["é", b"\xff", "a\udcffb", "\ud800"])
        (_, _, body) = server.asked[0]
        expected = {"é", "?", *(base64.b64encode(one).decode() for one in (b"\xff", b"a\xffb"))}
        assert {one if isinstance(one, str) else one["b64"] for one in body["inputs"]["text"]} == expected

    def test_outputs_are_cut_by_length(self):
        """Under batching others' texts decide how wide an answer is."""
        shared = {"label": ["positive"], "score": [0.75], "logit": [1.5], "bias": [0.25], "length": [3]}
        padded = {"tokens": [["<s>", "fine", "</s>", "", ""]], "polarity": [[1, 0.125, 0.125, 0, 9]]}
        gates = {f"{way}_{gate}": [[0.5, 0.25, 1, 0, 0]] for way in ("forward", "backward") for gate in ("input",)}
        with FakeServer(lambda *_: {"outputs": {**shared, **padded, **gates}}) as server:
            (found,) = Client(server.url, SOON).explain(["fine"])
        assert found.tokens == ("<s>", "fine", "</s>")
        assert found.polarity.tolist() == [1, 0.125, 0.125]
        assert {name: one.tolist() for name, one in found.gates.items()} == {
            "backward_input": [0.5, 0.25, 1],
            "forward_input": [0.5, 0.25, 1],
        }
        prefixes = {"tokens": [["<s>", "fine", "</s>", ""]], "length": [3], "score": [[0.5, 0.25, 0.75, -1]]}
        with FakeServer(lambda *_: {"outputs": prefixes}) as server:
            (prefix,) = Client(server.url, SOON).prefixes(["fine"])
        assert (prefix.tokens, prefix.scores.tolist()) == (("<s>", "fine", "</s>"), [0.5, 0.25, 0.75])
        with FakeServer(
            lambda *_: {"outputs": {"length": [2], "cell": [[[1, 2], [3, 4], [5, 6]]], "input": [[[0, 0]] * 3]}}
        ) as server:
            gates = Client(server.url, SOON).gates("ab")
        assert gates.activity["cell"].tolist() == [[1, 2], [3, 4]]
        with FakeServer(
            lambda *_: {"outputs": {"char_log_probs": [[-1, -2, 0]], "length": [2], "bits_per_char": [2.25]}}
        ) as server:
            (score,) = Client(server.url, SOON).score(["ab"])
        assert (score.bits_per_char, score.char_log_probs.tolist()) == (2.25, [-1, -2])
        with FakeServer(
            lambda *_: {
                "outputs": {
                    "translation": ["b"],
                    "score": [-1],
                    "source_pieces": [["a", "</s>", ""]],
                    "target_pieces": [["b", "</s>", "", ""]],
                    "attention": [np.arange(12).reshape(3, 4).tolist()],
                    "source_length": [2],
                    "target_length": [2],
                }
            }
        ) as server:
            (told,) = Client(server.url, SOON).explain_translation(["a"])
        assert (told.source_pieces, told.target_pieces) == (("a", "</s>"), ("b", "</s>"))
        assert told.attention.tolist() == [[0, 1], [4, 5]]

    def test_there_are_only_so_many_translations(self):
        answer = {"outputs": {"translations": [["a", "b", ""]], "scores": [[-0.5, -1.5, -1e9]]}}
        with FakeServer(lambda *_: answer) as server:
            (found,) = Client(server.url, SOON).n_best(["x"], beam_size=2)
        assert [(one.text, one.score) for one in found] == [("a", -0.5), ("b", -1.5)]
        assert server.asked[0][2]["inputs"] == {"text": ["x"], "beam_size": [2]}

    def test_numbers_are_sent_as_what_they_are(self):
        """A server refuses 5.0 for an integer; an output that stands alone has no name."""
        with FakeServer(lambda *_: {"outputs": ["ab", "cd"]}) as server:
            found = Client(server.url, SOON, names={"char_lm": "mine"}, label="canary").generate(
                ["a", "c"], length=1, temperature=1, top_k=2, seed=[3, 4]
            )
        assert found == ["ab", "cd"]
        method, path, body = server.asked[0]
        assert (method, path) == ("POST", "/v1/models/mine/labels/canary:predict")
        assert json.dumps(body["inputs"], sort_keys=True) == (
            '{"length": [1, 1], "prompt": ["a", "c"], "seed": [3, 4], "temperature": [1.0, 1.0], "top_k": [2, 2], '
            '"top_p": [1.0, 1.0]}'
        )


class TestPatience:
    @pytest.mark.parametrize("failure", [(503, {"error": "loading"}), None], ids=["503", "connection"])
    def test_it_tries_again(self, failure):
        answers = iter([failure, failure, {"outputs": ["ab"]}])
        with FakeServer(lambda *_: next(answers)) as server:
            assert Client(server.url, SOON).generate(["a"]) == ["ab"]
        assert len(server.asked) == 3

    def test_but_not_for_ever(self):
        with FakeServer(lambda *_: (503, {"error": "loading"})) as server:
            with pytest.raises(ServingError, match="is not ready .loading.") as error:
                Client(server.url, SOON).translate(["a"])
            assert error.value.status == 503
        assert len(server.asked) == 1 + SOON.retries

    @pytest.mark.parametrize("status", [400, 404, 413, 429, 500, 504])
    def test_nothing_else_is_tried_again(self, status):
        with FakeServer(lambda *_: (status, {"error": "because"})) as server:
            with pytest.raises(ServingError, match="because") as error:
                Client(server.url, SOON).translate(["a"])
            assert error.value.status == status
            assert isinstance(error.value, UserError)
            assert server.url in str(error.value) and "\n" not in str(error.value)
        assert len(server.asked) == 1

    def test_a_server_says_how_long_to_wait(self, monkeypatch):
        slept = []
        monkeypatch.setattr(time, "sleep", slept.append)
        answers = iter([(503, {"error": "x"}, {"retry-after": "2"}), (503, {}), (503, {}), {"outputs": ["ab"]}])
        with FakeServer(lambda *_: next(answers)) as server:
            assert Client(server.url, Patience(first_pause=1.0)).generate(["a"]) == ["ab"]
        assert slept[0] == 2
        assert 1 <= slept[1] <= 2 and 2 <= slept[2] <= 4

    def test_no_answer_in_time(self):
        with FakeServer(lambda *_: time.sleep(0.5) or {}) as server:
            impatient = Client(server.url, Patience(timeout=0.1))
            with pytest.raises(ServingError, match="no answer within 0.1 s"):
                impatient.translate(["a"])
        assert len(server.asked) == 1

    def test_no_server(self):
        with pytest.raises(ServingError, match="cannot reach a server at 'http://127.0.0.1:9'") as error:
            Client("http://127.0.0.1:9", SOON).translate(["a"])
        assert error.value.status is None


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>",
        {},
        [],
        {"outputs": {"x": [1]}},
        {"outputs": ["a"]},
        {"outputs": {"translation": [1], "score": []}},
        (404, b"no"),
    ],
)
def test_what_is_no_answer_is_one_line(answer):
    with FakeServer(lambda *_: answer) as server, pytest.raises(ServingError) as error:
        Client(server.url, SOON).translate(["a"])
    assert server.url in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("url", ["", "localhost:8501", "ftp://a", "http://", "http://a:x", "http://a:0", "http://a b"])
def test_what_is_no_url_is_refused(url):
    for kind in (Client, AsyncClient):
        with pytest.raises(UserError, match="server's URL"):
            kind(url)


def test_async_asks_at_once():
    """The same questions and results as of the other, and several under way together."""
    waiting = asyncio.Event()

    async def both():
        async with AsyncClient(server.url, SOON) as client:
            found = await asyncio.gather(client.sentiment(["a" * 10] * 40), client.sentiment(["b" * 700]))
            written = [piece async for piece in client.stream("ab", length=3, temperature=0)]
            with pytest.raises(ServingError, match="has no model"):
                await client.translate(["a"])
            return found, written

    def answer(method, path, body):
        if "translation" in path:
            return 404, {"error": "Servable not found"}
        return sentiment_answer(body) if "sentiment" in path else counting_model(method, path, body)

    with FakeServer(answer) as server:
        (many, (one,)), written = asyncio.run(both())
    assert len(many) == 40
    assert one.label == "positive"
    assert written == ["c", "d", "e"]
    assert not waiting.is_set()


class TestStream:
    def test_it_walks_with_the_state(self):
        with FakeServer(counting_model) as server, Client(server.url, SOON) as client:
            assert list(client.stream("ab", length=4, temperature=0)) == ["c", "d", "e", "f"]
            steps = [body["inputs"] for method, _, body in server.asked if body and body["signature_name"] == "step"]
            assert [one["char"][0] for one in steps] == ["", "a", "b", "c", "d", "e"]
            assert [one["hidden_1"][0][0] for one in steps] == [0, 1, 2, 3, 4, 5]
            assert "".join(client.stream("", length=3, temperature=0)) == "abc"

    def test_it_stops_before_a_string_and_shows_no_part_of_it(self):
        with FakeServer(counting_model) as server, Client(server.url, SOON) as client:
            pieces = list(client.stream("a", length=9, temperature=0, stop="ef"))
            assert "".join(pieces) == "bcd"
            assert "".join(client.stream("a", length=3, temperature=0, stop="dx")) == "bcd"

    def test_a_seed_settles_the_text(self):
        with FakeServer(counting_model) as server, Client(server.url, SOON) as client:
            one, again, other = ("".join(client.stream("a", 12, 5.0, seed=seed)) for seed in (1, 1, 2))
        assert one == again != other
        assert set(one + other) <= set("abcdefghij")

    def test_bytes_are_written_so_that_they_are_text(self, monkeypatch):
        """From a model that guesses wildly; what is not whole at the end is held back."""
        rng = np.random.default_rng(0)
        monkeypatch.setattr(fake_server, "LETTERS", [bytes([one]) for one in range(256)])

        def wild(method, path, body):
            if body is None or body["signature_name"] == "encode":
                return counting_model(method, path, body)
            state = {name: [[1.0]] for name in ("hidden_1", "cell_1")}
            return {"outputs": {"log_probs": [rng.normal(0, 3, 256).tolist()], **state}}

        with FakeServer(wild) as server, Client(server.url, SOON) as client:
            text = "".join(client.stream("é", length=300, temperature=2.0))
        assert len(text.encode()) <= 300 < len(text.encode()) + 4
        assert len(text) < 300
        assert "\ufffd" not in text


class TestSample:
    @given(st.integers(0, 2**32), st.floats(0, 0.999), st.sampled_from([0, 1, 3, 7]), st.floats(0.05, 1))
    def test_as_the_definition_says(self, seed, uniform, top_k, top_p):
        """Walk along the likeliest symbols with plain numbers."""
        rng = np.random.default_rng(seed)
        log_probs, temperature = rng.normal(size=7), float(rng.uniform(0.2, 3))
        weights = [math.exp(one / temperature) for one in log_probs]
        order = sorted(range(7), key=lambda one: -weights[one])[: top_k or 7]
        whole, kept = sum(weights[one] for one in order), []
        for one in order:
            if not kept or sum(weights[before] for before in kept) < top_p * whole * (1 - 1e-12):
                kept.append(one)
        left = uniform * sum(weights[one] for one in kept)
        expected = kept[-1]
        for one in kept:
            left -= weights[one]
            if left < 0:
                expected = one
                break
        found = sample(log_probs, temperature, top_k, top_p, uniform)
        assert found == expected or abs(left) < 1e-9

    def test_zero_takes_the_likeliest(self):
        assert sample(np.array([-2.0, -1.0, -np.inf]), 0.0, 0, 1.0, 0.99) == 1


def test_it_needs_no_tensorflow():
    """In a process where importing it, or Keras, fails; and so does each app's verb that asks a server."""
    script = """
import sys
for name in ("tensorflow", "keras", "tensorflow_serving", "grpc"):
    sys.modules[name] = None
sys.path.insert(0, "tests")
from fake_server import FakeServer, sentiment_answer
from nlp_lstm.client import Client
from nlp_lstm import cli
with FakeServer(lambda *asked: sentiment_answer(asked[2])) as server:
    assert Client(server.url).sentiment(["a" * 600])[0].label == "positive"
    from nlp_lstm.sentiment.commands import app
    assert cli.run(app, ["predict", "a" * 600, "--server", server.url]) == 0
try:
    Client("grpc://localhost:8500")
except ValueError as error:
    assert "gRPC needs" in str(error)
else:
    raise AssertionError("it has TensorFlow")
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"positive  0.600  {'a' * 600}\n"


def test_what_it_offers_is_told():
    assert all(hasattr(client_module, name) for name in client_module.__all__)
