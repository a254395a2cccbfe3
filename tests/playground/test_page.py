"""The page in a real browser, in front of the shipped models: values, keyboard and pointer, errors, looks.

With `NLP_LSTM_SCREENSHOTS` set to a folder, the screenshots are kept there. Where there is a TensorFlow Serving
(`real_server`), the models are asked there, the playground's server passing requests on.
"""

import contextlib
import json
import os
import re
import shlex
import shutil
import urllib.parse
from pathlib import Path

import httpx
import numpy as np
import pytest
import real_server
import shipped_models
from numpy_lstm import block, sigmoid
from serving_in_process import serving

from nlp_lstm import cli, saved_model
from nlp_lstm.client import Client
from nlp_lstm.playground.served_model import find_models
from nlp_lstm.playground.server import PAGE, OwnModels, own_app, passing_on_app

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect
expect.set_options(timeout=60_000)  # of a machine that has other work, too
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH"),
    shipped_models.needed,
]

TEXT = "ROMEO:\nWhat light is that?"
PARTS = ("cell", "writing", "sentiment", "translation")
SHOWN = {
    "cell": "#cell-equations li",
    "writing": "#write-place",
    "sentiment": "#mood-shown",
    "translation": "#tr-list[aria-busy=false]",
}


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    if real_server.is_there():
        folder = tmp_path_factory.mktemp("real_server")
        with real_server.real_server(folder) as real, serving(passing_on_app(real)) as address:
            yield address
        return
    own = OwnModels(find_models(cli.SHIPPED_MODELS))
    with serving(own_app(own)) as address:
        own.wait()
        yield address


@pytest.fixture(scope="module")
def client(url):
    with Client(url) as one:
        yield one


@pytest.fixture(scope="module")
def chromium():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium, url):
    """Open a part of the page by its address; in the end nothing may have been complained of."""
    contexts, complaints = [], []

    def opened(part, width=1280, scheme="light", before=None, **settings):
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda one: complaints.append(one.text) if one.type in ("error", "warning") else None)
        page.on("request", lambda one: complaints.append(one.url) if not one.url.startswith(url) else None)
        if before is not None:
            before(page)
        query = urllib.parse.urlencode({key: str(value) for key, value in settings.items()})
        page.goto(f"{url}/#{part}" + (f"?{query}" if query else ""))
        return page

    opened.complaints = complaints
    yield opened
    for context in contexts:
        context.close()
    assert not complaints


def numbers(text):
    return [float(one) for one in re.findall(r"-?\d+\.\d+", text.replace("−", "-"))]


def settings_of(page):
    """The settings in the address."""
    return dict(urllib.parse.parse_qsl(page.evaluate("location.hash").partition("?")[2]))


# The cell


def expected_equations(gates, before, step, unit):
    """The numbers of each equation as they are shown, from what the model says."""
    i, f, g, o, c, h = (
        float(gates[name][step, unit]) for name in ("input", "forget", "candidate", "output", "cell", "hidden")
    )
    logit = lambda p: np.log(p / (1 - p))  # noqa: E731
    return [[logit(f), f], [logit(i), i], [np.arctanh(g), g], [f, before, i, g, c], [logit(o), o], [o, np.tanh(c), h]]


def assert_equations(page, expected):
    lines = page.locator("#cell-equations li").all_inner_texts()
    assert len(lines) == len(expected)
    for line, values in zip(lines, expected, strict=True):
        # A value near 0 or 1 has no exact logit in 32 bits.
        assert numbers(line) == pytest.approx(values, abs=0.0051, rel=2e-3), line


def test_the_cells_numbers_are_the_models(open_page, client):
    gates = client.gates(TEXT).activity
    page = open_page("cell", text=TEXT, step=9, unit=700, show="cell")
    page.wait_for_selector("#cell-equations li")
    assert_equations(page, expected_equations(gates, gates["cell"][8, 700], 9, 700))
    drawn = page.locator("#cell-wires svg").get_attribute("aria-label")
    assert numbers(drawn)[-1] == pytest.approx(float(gates["hidden"][9, 700]), abs=0.0051)

    page.locator("#cell-map .heat").press("ArrowRight")
    assert_equations(page, expected_equations(gates, gates["cell"][9, 700], 10, 700))
    page.locator("#cell-map .heat").press("ArrowDown")
    unit = int(page.locator("#cell-unit").input_value())
    movement = np.abs(np.diff(gates["cell"], axis=0)).sum(axis=0)
    order = np.argsort(-movement, kind="stable")
    assert unit == order[np.flatnonzero(order == 700)[0] + 1]
    assert_equations(page, expected_equations(gates, gates["cell"][9, unit], 10, unit))

    # The second character of the first row, by pointer; its order is that of movement.
    page.locator("#cell-quantity").select_option("hidden")
    best = int(np.argmax(np.abs(np.diff(gates["hidden"], axis=0)).sum(axis=0)))
    page.locator("#cell-map .heat").click(position={"x": 36, "y": 30})
    assert page.locator("#cell-unit").input_value() == str(best)
    assert_equations(page, expected_equations(gates, gates["cell"][0, best], 1, best))
    assert settings_of(page) == {
        "text": TEXT, "show": "hidden", "layer": "all", "order": "movement", "step": "1", "unit": str(best),
    }  # fmt: skip


def test_units_are_in_the_order_of_their_correlation(open_page, client):
    gates = client.gates(TEXT).activity
    page = open_page("cell", text=TEXT, show="cell", order="line_position", layer=1)
    page.wait_for_selector("#cell-equations li")
    position = [len(TEXT[: end + 1].rpartition("\n")[2]) for end in range(len(TEXT))]
    r = [abs(np.corrcoef(position, gates["cell"][:, unit])[0, 1]) for unit in range(512)]
    best = int(page.locator("#cell-unit").input_value())
    assert r[best] == pytest.approx(max(r), abs=1e-6)
    assert f"{r[best]:.2f}" in page.locator("#cell-summary").inner_text()


class HeldGate:
    """The shipped character model in NumPy from its weights, a row for each unit whose gate is held."""

    def __init__(self, client):
        import tensorflow as tf

        base = cli.SHIPPED_MODELS / "char_lm"
        newest = base / str(max(saved_model.versions(base)))
        read = tf.train.load_checkpoint(str(newest / "variables" / "variables")).get_tensor
        matrices = ("kernels/0", "recurrent_kernels/0", "recurrent_kernels/1", "head_kernel")
        found = {"table": "table", "biases/0": "biases/0", "head_bias": "head_bias"}
        found |= {name: f"{name}/values" for name in matrices}
        self.weights = {
            name: read(f"resources/0/{path}/.ATTRIBUTES/VARIABLE_VALUE").astype(np.float64)
            for name, path in found.items()
        }
        self.symbols = [one.decode() for one in client.symbols()]

    def read(self, text, layer, units, gate, value, held_at):
        """Log-probabilities `(time, units, symbols)` and cell states `(time, units)`; `held_at` says in which steps."""
        rows = np.arange(len(units))
        h = [np.zeros((len(units), 512)) for _ in range(2)]
        c = [np.zeros((len(units), 512)) for _ in range(2)]
        log_probs, cells = [], []
        for step, char in enumerate("\n" + text, start=-1):
            z = np.broadcast_to(self.weights["table"][self.symbols.index(char)], (len(units), 2048))
            for number in range(2):
                if number:
                    z = h[0] @ self.weights["kernels/0"] + self.weights["biases/0"]
                z = z + h[number] @ self.weights[f"recurrent_kernels/{number}"]
                at = {name: sigmoid(block(z, name)) for name in ("input", "forget", "output")}
                if number == layer and held_at(step):
                    at[gate] = at[gate].copy()
                    at[gate][rows, units] = value
                c[number] = at["forget"] * c[number] + at["input"] * np.tanh(block(z, "candidate"))
                h[number] = at["output"] * np.tanh(c[number])
            scores = h[1] @ self.weights["head_kernel"] + self.weights["head_bias"]
            log_probs.append(scores - np.log(np.exp(scores).sum(axis=1, keepdims=True)))
            cells.append(c[layer][rows, units].copy())
        return np.array(log_probs)[1:], np.array(cells)[1:]


@pytest.mark.parametrize(
    "gate, value, span, layer",
    [
        ("forget", 0, "all", 1),
        ("forget", 1, "all", 0),
        ("input", 0, "all", 0),
        ("input", 1, "one", 1),
        ("output", 0, "all", 0),
        ("output", 0, "one", 1),
    ],
)
def test_a_gate_held_is_what_the_equations_make_of_it(open_page, client, gate, value, span, layer):
    text, start = "What light is that?", 6
    held = HeldGate(client)
    units = np.arange(0, 512, 16)
    plain, _ = held.read(text, layer, units, gate, value, lambda step: False)
    changed, cells = held.read(text, layer, units, gate, value, lambda s: s == start or (span == "all" and s > start))
    bits = np.sum(np.exp(plain) * (plain - changed), axis=2) / np.log(2)  # (T, units)
    most = int(np.argmax(bits.max(axis=0)))
    assert bits[:, most].max() > 0.002  # otherwise there is nothing to see

    page = open_page("cell", text=text, step=start, unit=layer * 512 + units[most])
    page.wait_for_selector("#cell-equations li")
    for name, wanted in (("gate", gate), ("held", str(value)), ("span", span)):
        page.locator(f"#if-{name}").select_option(wanted)
    page.locator("#if-run").press("Enter")
    page.wait_for_selector("#if-bars li")
    for step in (start, start + 3, len(text) - 1):
        page.locator("#if-step").fill(str(step - start))
        *_, told_bits = numbers(page.locator("#if-summary").inner_text())
        assert told_bits == pytest.approx(bits[step, most], abs=6e-4, rel=0.01)
        assert numbers(page.locator("#if-summary").inner_text())[0] == pytest.approx(cells[step, most], abs=0.006)
        for row in page.locator("#if-bars li").all():
            char = row.locator(".char").inner_text()
            symbol = held.symbols.index({"␣": " ", "↵": "\n"}.get(char, char))
            shares = row.locator(".share").inner_text()
            if "<" not in shares and ">" not in shares:
                expected = [100 * np.exp(one[step, most, symbol]) for one in (plain, changed)]
                assert numbers(shares) == pytest.approx(expected, abs=0.06)


def test_what_step_cannot_do_is_not_offered(open_page):
    page = open_page("cell", text="A word")
    page.wait_for_selector("#cell-equations li")
    page.locator("#if-held").select_option("1")
    page.locator("#if-gate").select_option("output")
    assert page.locator("#if-run").is_disabled()
    assert "not offered" in page.locator("#if-note").inner_text()
    page.locator("#if-gate").select_option("input")
    assert page.locator("#if-run").is_disabled()
    page.locator("#if-span").select_option("one")
    assert page.locator("#if-run").is_enabled()


# Writing


def written(page):
    page.wait_for_selector("#write-halt[disabled]")
    return "".join(page.locator("#write-text span").all_text_contents())


@pytest.mark.parametrize("how", [{"seed": 3}, {"top_k": 4, "temperature": 1.5}, {"top_p": 0.7, "stop": "e "}])
def test_what_is_written_is_what_the_clients_stream_writes(open_page, client, how):
    settings = {"temperature": 0.8, "top_k": 0, "top_p": 1.0, "seed": 11, "length": 40, "stop": "", **how}
    page = open_page("writing", text="KING", **settings)
    assert written(page) == "KING" + "".join(client.stream("KING", **settings))


def test_alternatives_have_the_models_probabilities_and_lead_on(open_page, client):
    page = open_page("writing", text="KING", length=30, seed=5)
    text = written(page)
    page.locator("#write-text").press("Home")
    page.locator("#write-text").press("ArrowRight")
    assert "character 2" in page.locator("#write-heading").inner_text()
    first = page.locator("#write-choices li")
    symbols = [one.decode() for one in client.symbols()]
    for row in first.all()[:3]:
        char = row.locator("button").inner_text()
        other = {"␣": " ", "↵": "\n"}.get(char, char)
        log_prob = client.log_probs(text[:5] + other)[5]
        assert other in symbols
        assert numbers(row.locator(".share").inner_text())[0] == pytest.approx(100 * np.exp(log_prob), abs=0.06)
    second = first.nth(1).locator("button")
    char = second.inner_text()
    page.locator("#write-text").press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    other = {"␣": " ", "↵": "\n"}.get(char, char)
    begun = text[:5] + other
    assert page.locator("#write-prompt").input_value() == begun
    assert written(page) == begun + "".join(client.stream(begun, length=30, seed=5))
    assert settings_of(page)["text"] == begun
    page.locator("#write-text [data-place='4']").click()
    assert "character 5" in page.locator("#write-heading").inner_text()


# Sentiment


def test_the_curve_is_the_models_verdict_on_each_beginning(open_page, client):
    text = "A dull plot, yet I’d call it one of the BEST films…"
    page = open_page("sentiment", text=text)
    page.wait_for_selector("#mood-shown")
    words = text.split()
    cuts = [text[: re.match(rf"(?:\s*\S+){{{count}}}", text).end()] for count in range(1, len(words) + 1)]
    scores = [one.score for one in client.sentiment(cuts)]
    page.locator("summary").click()
    rows = [row.split("\t") for row in page.locator("#mood-table tbody tr").all_inner_texts()]
    assert [row[0] for row in rows] == words
    assert [float(row[1]) for row in rows] == pytest.approx(scores, abs=0.00051)
    (shares,) = client.explain([text])
    told = [numbers(row[2])[0] for row in rows]
    inner = dict(zip(shares.tokens, shares.polarity, strict=True))
    assert shares.tokens[1:5] == ("a", "dull", "plot", ",")
    assert told[:3] == pytest.approx([inner["a"], inner["dull"], inner["plot"] + inner[","]], abs=0.0051)
    assert told[-1] == pytest.approx(inner["films"] + inner["…"], abs=0.0051)
    assert float(rows[1][4]) == pytest.approx(float(shares.gates["forward_forget"][2]), abs=0.0051)
    assert float(page.locator("#mood-score").inner_text()) == pytest.approx(shares.score, abs=0.00051)

    page.locator("#mood-chart").press("Home")
    assert "“A”" in page.locator("#mood-word").inner_text()
    page.locator("#mood-chart").press("ArrowRight")
    assert numbers(page.locator("#mood-word").inner_text())[0] == pytest.approx(scores[1], abs=0.00051)
    page.locator("#mood-chart svg circle").nth(5).hover()
    assert f"“{words[4]}”" in page.locator("#mood-word").inner_text()


def test_a_model_that_gives_the_curve_itself_is_asked_for_it(open_page, url):
    def answered(route):
        asked = json.loads(route.request.post_data)
        if asked["signature_name"] != "prefixes":
            assert asked["signature_name"] != "serving_default"
            route.continue_()
            return
        tokens = ["<s>", "so", "dull", ",", "really", "</s>"]
        outputs = {"tokens": [tokens], "length": [6], "score": [[0.5, 0.6, -1, 0.25, 0.125, 0.125]]}
        route.fulfill(json={"outputs": outputs})

    def told(route):
        metadata = httpx.get(f"{url}/v1/models/sentiment/metadata").json()
        definitions = metadata["metadata"]["signature_def"]["signature_def"]
        definitions["prefixes"] = definitions["explain"]
        route.fulfill(json=metadata)

    def before(page):
        page.route("**/sentiment/metadata", told)
        page.route("**/sentiment:predict", answered)

    page = open_page("sentiment", before=before, text="So dull, really")
    page.wait_for_selector("#mood-shown")
    page.locator("summary").click()
    rows = [row.split("\t") for row in page.locator("#mood-table tbody tr").all_inner_texts()]
    assert [row[1] for row in rows] == ["0.600", "0.250", "0.125"]


# Translation


def test_translations_and_attention_are_the_models(open_page, client):
    text = "A man in a red shirt is riding a bike."
    page = open_page("translation", text=text, beam=3)
    page.wait_for_selector("#tr-shown")

    def assert_found(beam):
        (found,) = client.n_best([text], beam)
        expect(page.locator("#tr-list")).to_have_attribute("aria-busy", "false")
        expect(page.locator("#tr-list li")).to_have_count(len(found))
        expect(page.locator("#tr-shown")).not_to_have_class("stale")
        told = page.locator("#tr-list li")
        assert told.locator("[lang=de]").all_inner_texts() == [one.text for one in found]
        assert [numbers(one)[-1] for one in told.locator(".score").all_inner_texts()] == pytest.approx(
            [one.score for one in found], abs=0.00051
        )
        assert page.locator("#tr-best").inner_text() == found[0].text

    assert_found(3)
    page.locator("#tr-beam").press("End")
    assert "16" in page.locator("#tr-beam-label").inner_text()
    assert_found(16)

    (looked,) = client.explain_translation([text])
    weights = np.array(
        [
            [float(cell) for cell in row.locator("td").all_inner_texts()]
            for row in page.locator("#tr-table tbody tr").all()
        ]
    )
    assert weights == pytest.approx(np.where(looked.attention.T < 0.005, 0, looked.attention.T), abs=0.0051)

    def smalls(side):
        return [float(one) for one in page.locator(f"#tr-{side} small").all_inner_texts() if one]

    page.locator("#tr-target button").nth(2).hover()
    assert smalls("source") == pytest.approx(looked.attention[:, 2], abs=0.0051)
    page.locator("#tr-target button").nth(0).focus()
    page.keyboard.press("ArrowRight")
    assert smalls("source") == pytest.approx(looked.attention[:, 1], abs=0.0051)
    page.locator("#tr-source button").nth(1).focus()
    assert smalls("target") == pytest.approx(looked.attention[1], abs=0.0051)
    piece = looked.source_pieces[1].lstrip("▁")
    assert f"“{piece}”" in page.locator("#tr-summary").inner_text()


def holding(page, held, *holds):
    """Hold back requests of the translation's part, those that a function picks, in a list of routes."""

    def asked(route):
        body = json.loads(route.request.post_data)
        picked = any(one(body["signature_name"], body["inputs"]) for one in holds)
        held.append(route) if picked else route.continue_()

    page.route("**/translation:predict", asked)


def looked_at(page):
    """The numbers of the table of attention, as they are shown."""
    rows = page.locator("#tr-table tbody tr").all()
    return np.array([[float(cell) for cell in row.locator("td").all_inner_texts()] for row in rows])


def test_the_alignment_waits_for_no_other_translation(open_page, client):
    held = []
    text = "A man in a red shirt is riding a bike."
    page = open_page(
        "translation", before=lambda page: holding(page, held, lambda name, _: name == "n_best"), text=text, beam=1
    )
    page.wait_for_selector("#tr-table td")
    (looked,) = client.explain_translation([text])
    assert page.locator("#tr-best").inner_text() == looked.text
    shown = np.where(looked.attention.T < 0.005, 0, looked.attention.T)
    assert looked_at(page) == pytest.approx(shown, abs=0.0051)
    button = page.locator("#tr-target button").nth(1)
    button.hover()
    button.focus()
    assert f"“{looked.target_pieces[1].lstrip('▁')}”" in page.locator("#tr-summary").inner_text()
    assert page.locator("#tr-told").inner_text() == ""
    # Its list has room and nothing in it, and says that it waits.
    expect(page.locator("#tr-list")).to_have_attribute("aria-busy", "true")
    assert page.locator("#tr-list li").all_inner_texts() == ["…"]
    below = page.locator("#tr-table").bounding_box()["y"]

    page.evaluate("document.getElementById('tr-table').querySelector('td').mine = true")
    (route,) = held
    route.continue_()
    expect(page.locator("#tr-list")).to_have_attribute("aria-busy", "false")
    (found,) = client.n_best([text], 1)
    assert page.locator("#tr-list [lang=de]").all_inner_texts() == [one.text for one in found]
    assert page.locator("#tr-best").inner_text() == found[0].text
    # What was drawn is left as it was.
    assert page.evaluate("document.getElementById('tr-table').querySelector('td').mine")
    assert page.evaluate("document.activeElement.dataset.place") == "1"
    assert page.locator("#tr-table").bounding_box()["y"] == below


def test_a_newer_sentence_gives_up_the_others_of_an_older(open_page, client):
    held, given_up = [], []

    def before(page):
        holding(page, held, lambda name, inputs: name == "n_best" and "dog" in inputs["text"][0])
        page.on("requestfailed", lambda one: given_up.append(json.loads(one.post_data)["inputs"]["text"]))

    page = open_page("translation", before=before, text="A dog.")
    page.wait_for_selector("#tr-table td")
    page.locator("#tr-text").fill("A cat.")
    expect(page.locator("#tr-list")).to_have_attribute("aria-busy", "false")
    (found,) = client.n_best(["A cat."], 5)
    assert given_up == [["A dog."]]
    (route,) = held
    with contextlib.suppress(sync_api.Error):  # given up by the page, as it should be
        route.fulfill(json={"outputs": {"translations": [["Falsch."]], "scores": [[-0.1]]}})
    page.wait_for_timeout(100)
    assert page.locator("#tr-list [lang=de]").all_inner_texts() == [one.text for one in found]


def test_another_beam_asks_for_the_list_alone(open_page, client):
    asked = []

    def before(page):
        page.on("request", lambda one: asked.append(one.post_data_json) if one.method == "POST" else None)

    page = open_page("translation", before=before, text="A dog.")
    page.wait_for_selector("#tr-list[aria-busy=false]")
    page.locator("#tr-beam").press("ArrowRight")
    expect(page.locator("#tr-list")).to_have_attribute("aria-busy", "false")
    expect(page.locator("#tr-list li")).to_have_count(len(client.n_best(["A dog."], 6)[0]))
    assert [one["signature_name"] for one in asked] == ["explain", "n_best", "n_best"]
    assert [one["inputs"].get("beam_size") for one in asked] == [None, [5], [6]]
    assert settings_of(page) == {"text": "A dog.", "beam": "6"}


def test_a_list_that_is_refused_leaves_the_alignment(open_page):
    def answered(route):
        refused = route.request.post_data_json["signature_name"] == "n_best"
        route.fulfill(status=400, json={"error": "no list today"}) if refused else route.continue_()

    page = open_page("translation", before=lambda page: page.route("**/*:predict", answered), text="A dog.")
    page.wait_for_selector("#tr-list-told.error")
    assert "no list today" in page.locator("#tr-list-told").inner_text()
    expect(page.locator("#tr-list li")).to_have_count(0)
    expect(page.locator("#tr-list")).to_have_attribute("aria-busy", "false")
    assert page.locator("#tr-table td").count() > 4
    assert page.locator("#tr-told").inner_text() == ""
    assert all("400" in one for one in open_page.complaints)
    open_page.complaints.clear()


# All parts


def test_what_comes_while_another_part_is_shown_is_drawn(open_page):
    held = []
    page = open_page(
        "sentiment",
        before=lambda page: page.route("**/sentiment:predict", lambda route: held.append(route)),
        text="Not bad.",
    )
    expect(page.locator("#mood-told")).not_to_be_empty()
    page.locator("#tab-writing").click()
    expect(page.locator("#part-sentiment")).to_be_hidden()
    while len(held) < 2:
        page.wait_for_timeout(20)
    for route in held:
        route.continue_()
    page.wait_for_selector("#mood-told", state="attached")
    expect(page.locator("#mood-told")).to_be_empty()
    page.locator("#tab-sentiment").click()
    expect(page.locator("#mood-chart svg")).to_be_visible()
    expect(page.locator("#mood-marked span")).to_have_count(2)


def test_one_key_is_asked_about_at_once_and_many_together(open_page):
    texts, held = [], []

    def asked(route):
        body = route.request.post_data_json
        if body["signature_name"] == "explain":
            texts.append(body["inputs"]["text"][0])
        held.append(route) if "slow" in texts[-1] else route.continue_()

    page = open_page("sentiment", before=lambda page: page.route("**/sentiment:predict", asked), text="Dull")
    expect(page.locator("#mood-marked span")).to_have_count(1)
    page.clock.install()
    page.clock.pause_at("2100-01-01")  # no timer ends
    page.locator("#mood-text").fill("Dull but")
    expect(page.locator("#mood-marked span")).to_have_count(2)
    page.locator("#mood-text").fill("Dull but slow")
    while len(held) < 2:
        page.wait_for_timeout(20)
    for more in ("Dull but slow a", "Dull but slow and", "Dull but fine and sharp"):
        page.locator("#mood-text").fill(more)
    page.clock.resume()
    expect(page.locator("#mood-marked span")).to_have_count(5)
    assert texts == ["Dull", "Dull but", "Dull but slow", "Dull but fine and sharp"]


def test_the_state_before_any_text_is_asked_for_once(open_page):
    asked = []

    def before(page):
        page.on(
            "request",
            lambda one: asked.append(one.post_data_json["signature_name"]) if one.method == "POST" else None,
        )

    page = open_page("cell", before=before, text="Ha")
    page.wait_for_selector("#cell-equations li")
    page.locator("#cell-text").fill("Hark")
    expect(page.locator("#cell-step-label")).to_contain_text("of 4")
    assert sorted(asked) == ["gates", "gates", "step"]


def test_tabs_go_by_keyboard_and_links_hold_what_is_shown(open_page, url):
    page = open_page("sentiment", text="Dull.")
    page.wait_for_selector("#mood-shown")
    page.locator("#mood-text").fill("Not dull at all.")
    assert settings_of(page) == {"text": "Not dull at all."}
    expect(page.locator("#mood-marked span")).to_have_count(4)
    link = page.evaluate("location.href")
    page.locator("#tab-sentiment").press("ArrowRight")
    expect(page.locator("#part-translation")).to_be_visible()
    assert page.evaluate("document.activeElement.id") == "tab-translation"
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#part-sentiment")).to_be_visible()
    expect(page).to_have_url(link)
    page.goto("about:blank")
    open_page.complaints.clear()  # of about:blank
    page.goto(link)
    page.wait_for_selector("#mood-shown")
    assert page.locator("#mood-text").input_value() == "Not dull at all."


def test_an_older_answer_does_not_take_a_newer_ones_place(open_page, client):
    held = []

    def before(page):
        page.route(
            "**/sentiment:predict",
            lambda route: held.append(route) if "slow" in route.request.post_data else route.continue_(),
        )

    page = open_page("sentiment", before=before, text="slow one")
    expect(page.locator("#mood-told")).not_to_be_empty()
    page.locator("#mood-text").fill("A fine film.")
    page.wait_for_selector("#mood-shown")
    shown = page.locator("#mood-score").inner_text()
    assert len(held) == 2
    for route in held:
        with contextlib.suppress(sync_api.Error):  # given up by the page, as it should be
            route.fulfill(json={"outputs": {"score": [1.0]}})
    page.wait_for_timeout(100)
    assert page.locator("#mood-score").inner_text() == shown
    assert float(shown) == pytest.approx(client.sentiment(["A fine film."])[0].score, abs=0.00051)


def test_refusals_are_told_in_words(open_page):
    refusing = {"status": 400, "json": {"error": "no such thing <b>here</b>"}}

    def before(page):
        page.route("**/*:predict", lambda route: route.fulfill(**refusing))

    for part, told in zip(PARTS, ("cell-told", "write-told", "mood-told", "tr-told"), strict=True):
        page = open_page(part, before=before)
        page.wait_for_selector(f"#{told}.error")
        assert "no such thing <b>here</b>" in page.locator(f"#{told}").inner_text()
    refused = [one for one in open_page.complaints if "400" in one]
    assert refused == open_page.complaints
    open_page.complaints.clear()


def test_a_model_that_loads_is_waited_for(open_page):
    answers = [{"status": 503, "json": {"error": "the model is being loaded"}}] * 2

    def before(page):
        page.route(
            "**/translation:predict", lambda route: route.fulfill(**answers.pop()) if answers else route.continue_()
        )

    page = open_page("translation", before=before, text="A dog.")
    page.wait_for_selector("#tr-told.waiting")
    assert "loaded" in page.locator("#tr-told").inner_text()
    page.wait_for_selector("#tr-best:not(:empty)")
    assert page.locator("#tr-told").inner_text() == ""
    assert all("503" in one for one in open_page.complaints)
    open_page.complaints.clear()


def test_the_lines_to_copy_ask_for_what_is_shown(open_page, client, url, capsys):
    text = "It's \"fine\" – 'so' $HOME\\n"
    pages = {
        "cell": (open_page("cell", text="A b"), lambda: client.gates("A b").activity["hidden"]),
        "writing": (open_page("writing", text=text, length=12), lambda: "".join(client.stream(text, 12, seed=7))),
        "sentiment": (open_page("sentiment", text=text), lambda: client.explain([text])),
        "translation": (open_page("translation", text=text, beam=2), lambda: client.n_best([text], 2)),
    }
    for part, (page, expected) in pages.items():
        page.wait_for_selector(SHOWN[part])
        section = page.locator(f"#part-{part}")
        section.get_by_role("button", name="Copy Python").click()
        line = section.locator(".line-shown")
        expect(line).to_have_value(re.compile("^from nlp_lstm.client import"))
        exec(line.input_value(), {})
        assert capsys.readouterr().out == f"{expected()}\n"
        section.get_by_role("button", name="Copy curl").click()
        expect(line).to_have_value(re.compile("^curl "))
        curl, address, flag, body = shlex.split(line.input_value())
        assert (curl, flag) == ("curl", "-d")
        outputs = httpx.post(address, content=body.encode(), timeout=30).json()["outputs"]
        if part == "translation":
            assert outputs["translations"][0][0] == page.locator("#tr-best").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_looks_and_accessibility(open_page, width, scheme, tmp_path):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    folder = Path(os.environ.get("NLP_LSTM_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        page = open_page(part, width=width, scheme=scheme, **({"length": 120} if part == "writing" else {}))
        page.wait_for_selector(SHOWN[part])
        if part == "writing":
            written(page)
        if part == "cell":
            page.locator("#if-run").click()
            page.wait_for_selector("#if-bars li")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = axe.run(page)
        assert found.violations_count == 0, found.generate_report()
        picture = page.screenshot(full_page=True, path=folder / f"{part}-{width}-{scheme}.png")
        assert len(picture) > 10_000
        page.close()


def test_the_page_names_no_other_place():
    files = {path.name: path.read_text() for path in PAGE.iterdir()}
    for name, text in files.items():
        assert set(re.findall(r"https?://[^\s\"'`)]+", text)) <= {"http://www.w3.org/2000/svg"}, name
        assert "innerHTML" not in text and 'setAttribute("style"' not in text
