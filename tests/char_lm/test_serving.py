"""The character model's signatures, run from the SavedModel: their contract, and row by row what the model says."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from language_model_gates import gates_of
from rest_requests import rest_answer, strings
from saved_model_in_fresh_process import run_signatures
from tensorflow.core.protobuf import saved_model_pb2

from nlp_lstm.char_lm import serving as serving_module
from nlp_lstm.char_lm.folded_language_model import FoldedLanguageModel
from nlp_lstm.char_lm.serving import (
    DEFAULT_LENGTH,
    DEFAULT_TEMPERATURE,
    LONGEST_GENERATION,
    LONGEST_PROMPT,
    LONGEST_SCORED_TEXT,
    LONGEST_TEXT_LOOKED_INTO,
    CharLmServing,
    writing_rules,
)
from nlp_lstm.decoding.sampling import sample, sampling, uniform_numbers
from nlp_lstm.lstm import Gates
from nlp_lstm.text.symbols import UNKNOWN

N, T = -1, -1
NAN, INF = float("nan"), float("inf")

PROMPTS = ["", "rain", "e", "A bee rests.", "Stars! " * 5]
WEIRD = [
    b"\0",
    b"a\0b\0",
    "😀👩‍👩‍👧🏳️‍🌈".encode(),
    "e\u0301e\u0301\u0302".encode(),
    "\ufeffzzz QQ 映画\U0010ffff\uffff".encode(),
    b"\r\n\t\x01\x7f",
    b"\xff\xfe a \xc3 film \x80\xed\xa0\x80\xf8",
    "é".encode()[:1],
    "映".encode()[1:],
    b"\xf0\x9f\x98",
]


@pytest.fixture(scope="module", params=["character", "byte", pytest.param("normalized", marks=pytest.mark.thorough)])
def app(request, exported_char_lm):
    return exported_char_lm(request.param)


def answer(app, signature, **inputs):
    """What a signature of the SavedModel says of rows given as lists."""
    specs = app.signatures[signature].structured_input_signature[1]
    arrays = {
        name: strings(inputs[name]) if spec.dtype == tf.string else np.array(inputs[name], spec.dtype.as_numpy_dtype)
        for name, spec in specs.items()
    }
    return run_signatures(app.signatures, {signature: arrays})[signature]


def generate(app, prompts, length=12, temperature=1.0, top_k=0, top_p=1.0, seed=0):
    """The whole texts as bytes; each setting is one number for all rows or a list."""
    rows = len(prompts)
    settings = {"length": length, "temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
    given = {name: value if isinstance(value, list) else [value] * rows for name, value in settings.items()}
    return answer(app, "generate", prompt=prompts, **given)["text"].tolist()


def continuations(app, prompts, **settings):
    texts = generate(app, prompts, **settings)
    mended = [tf.compat.as_bytes(prompt).decode("utf-8", "replace").encode() for prompt in prompts]
    for text, prompt in zip(texts, mended, strict=True):
        assert text.startswith(prompt)
    return [text.removeprefix(prompt) for text, prompt in zip(texts, mended, strict=True)]


def symbols_in(app, text):
    return len(text) if app.symbols.unit == "byte" else len(text.decode("utf-8"))


def ids_of(app, text):
    return app.symbols.encode(tf.compat.as_bytes(text).decode("utf-8", "replace")).tolist()


def keras_log_probs(app, ids, state=None):
    """Log-probabilities of what follows each id, by the Keras model, `(time, symbols)`, and the state."""
    logits, state = app.model(np.array([ids], np.int32), state)
    return keras.ops.convert_to_numpy(keras.ops.log_softmax(logits))[0], state


def beginning(app):
    return ids_of(app, "\n")


def random_text(characters, length):
    # By place: an array of strings would take a NUL for nothing.
    return "".join(characters[place] for place in np.random.default_rng(0).integers(0, len(characters), length))


def zero_state(app, rows=1):
    return {name: np.zeros((rows, app.serving.folded.units), np.float32) for name in app.serving.folded.state_names}


# The contract


def contract(app):
    units, symbols, layers = app.serving.folded.units, len(app.symbols), app.serving.folded.layers
    state = {
        f"{part}_{layer}": ("float32", [N, units]) for layer in range(1, layers + 1) for part in ("hidden", "cell")
    }
    scored = {"char_log_probs": ("float32", [N, T]), "length": ("int32", [N])}
    settings = {"temperature": "float32", "top_k": "int32", "top_p": "float32", "seed": "int32"}
    text = {"text": ("string", [N])}
    prompt_and_length = {"prompt": ("string", [N]), "length": ("int32", [N])}
    gates = {name: ("float32", [N, T, layers * units]) for name in Gates._fields}
    return {
        "serving_default": ({"prompt": ("string", [N])}, text),
        "generate": ({**prompt_and_length, **{name: (dtype, [N]) for name, dtype in settings.items()}}, text),
        "likeliest": ({**prompt_and_length, "beam_size": ("int32", [N])}, {**text, "log_prob": ("float32", [N])}),
        "score": (text, {**scored, "bits_per_char": ("float32", [N])}),
        "read": ({**text, **state}, {**scored, **state}),
        "step": ({"char": ("string", [N]), **state}, {"log_probs": ("float32", [N, symbols]), **state}),
        "encode": (
            text,
            {"ids": ("int32", [N, T]), "length": ("int32", [N]), "symbols_bytes": ("string", [N, symbols])},
        ),
        "gates": (text, {"length": ("int32", [N]), **gates}),
    }


def test_signatures_names_dtypes_and_shapes_are_the_contract(app):
    saved_model = saved_model_pb2.SavedModel.FromString((app.version / "saved_model.pb").read_bytes())
    (meta_graph,) = saved_model.meta_graphs
    assert set(meta_graph.meta_info_def.tags) == {"serve"}

    def described(tensors):
        return {
            key: (tf.as_dtype(info.dtype).name, [dimension.size for dimension in info.tensor_shape.dim])
            for key, info in tensors.items()
        }

    served = {
        name: (described(signature.inputs), described(signature.outputs))
        for name, signature in meta_graph.signature_def.items()
        if name != "__saved_model_init_op"
    }
    expected = contract(app)
    assert served.keys() == expected.keys()
    for name, (inputs, outputs) in expected.items():
        assert served[name][0] == inputs, name
        assert served[name][1].keys() == outputs.keys(), name
        for key, (dtype, shape) in outputs.items():
            found_dtype, found_shape = served[name][1][key]
            assert (found_dtype, len(found_shape), found_shape[0]) == (dtype, len(shape), N), (name, key)
            # A shape that the graph does not know is no promise broken; one that it knows must be the right one.
            assert all(size in (N, promised) for size, promised in zip(found_shape, shape, strict=True)), (name, key)
        assert meta_graph.signature_def[name].method_name == "tensorflow/serving/predict"


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_first_dimension_of_every_output_is_the_batch(app, rows):
    answers = run_signatures(app.signatures, app.inputs([b"A bee", "é".encode(), b""][:rows]))
    expected = contract(app)
    assert answers.keys() == expected.keys()
    for name, outputs in answers.items():
        assert outputs.keys() == expected[name][1].keys()
        for key, value in outputs.items():
            dtype, shape = expected[name][1][key]
            assert value.dtype == (object if dtype == "string" else dtype), (name, key)
            assert value.shape[0] == rows, (name, key)
            assert len(value.shape) == len(shape), (name, key)
            assert all(size in (T, found) for size, found in zip(shape[1:], value.shape[1:], strict=True)), (name, key)


# Writing


def test_step_fed_symbol_by_symbol_writes_what_generate_writes(app):
    prompts = ["", "rain", "A é\0b!", "😀e\u0301\n"]
    length, seeds = 25, [3, 3, -8, 2**31 - 1]
    settings = ([1.0, 0.7, 0.0, 1.5], [0, 5, 0, 9], [1.0, 1.0, 1.0, 0.8])
    rules, spelling = writing_rules(app.symbols), app.symbols.spelling
    uniform = uniform_numbers(tf.constant(seeds), LONGEST_GENERATION)
    whole = generate(app, prompts, length, *settings, seeds)
    for row, prompt in enumerate(prompts):
        how = sampling(*([setting[row]] for setting in settings), len(app.symbols))
        heard = answer(app, "step", char=[""], **zero_state(app))
        read = prompt.encode() if app.symbols.unit == "byte" else prompt
        for place in range(len(read)):
            heard = answer(app, "step", **{**heard, "char": [read[place : place + 1]]})
        written, rule_state = b"", tf.zeros([1], tf.int32)
        for t in range(length):
            symbol = sample(
                rules.restrict(tf.constant(heard["log_probs"]), rule_state), how, uniform[row, t, None, None]
            )
            rule_state = rules.follow(rule_state, symbol)
            written += spelling[int(symbol[0])]
            heard = answer(app, "step", **{**heard, "char": [spelling[int(symbol[0])]]})
        held_back = written.decode("utf-8", "ignore").encode()
        assert whole[row] == prompt.encode() + held_back
        assert len(written) - len(held_back) < 4


def test_step_says_what_the_model_says(app):
    text = "A é\0Qrst"
    spelled = [bytes([value]) for value in text.encode()] if app.symbols.unit == "byte" else list(text)
    state = None
    heard = zero_state(app, 2)
    for char, number in zip(["", *spelled], [*beginning(app), *ids_of(app, text)], strict=True):
        # Beside it stands another text; and of what follows a symbol in `char` nothing is read.
        heard = answer(app, "step", **{**heard, "char": [char, "a" if char else b"\xff\xffa"]})
        expected, state = keras_log_probs(app, [number], state)
        np.testing.assert_allclose(heard["log_probs"][0], expected[0], rtol=0, atol=1e-5)
        for name, part in zip(app.serving.folded.state_names, state, strict=True):
            np.testing.assert_allclose(heard[name][:1], part, rtol=0, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(np.exp(heard["log_probs"]).sum(axis=1), 1, rtol=0, atol=1e-5)


def test_step_reads_the_first_symbol_of_a_longer_text(app):
    rng = np.random.default_rng(0)
    state = {name: rng.normal(size=part.shape) for name, part in zero_state(app, 6).items()}
    chars = ["é", "éa", "é" * 1000, "a", "a\0", "aé"]
    if app.symbols.unit == "byte":
        chars[0] = b"\xc3"
    state = {name: np.concatenate([part[:1]] * 3 + [part[3:4]] * 3) for name, part in state.items()}
    log_probs = answer(app, "step", char=chars, **state)["log_probs"]
    np.testing.assert_allclose(log_probs[1:3], log_probs[[0, 0]], rtol=0, atol=1e-6)
    np.testing.assert_allclose(log_probs[4:6], log_probs[[3, 3]], rtol=0, atol=1e-6)
    assert np.abs(log_probs[0] - log_probs[3]).max() > 0.01


def test_a_row_is_the_same_alone_in_any_order_and_beside_others(app):
    rng = np.random.default_rng(0)
    prompts = [*PROMPTS, *WEIRD]
    rows = len(prompts)
    settings = {
        "length": rng.integers(0, 30, rows).tolist(),
        "temperature": rng.choice([0.0, 0.5, 1.0, 2.0, NAN], rows).tolist(),
        "top_k": rng.choice([0, 2, 5, 1000], rows).tolist(),
        "top_p": rng.choice([0.0, 0.5, 0.9, 1.0], rows).tolist(),
        "seed": rng.integers(-5, 5, rows).tolist(),
    }

    def of_rows(order, extra=()):
        chosen = {name: [values[row] for row in order] for name, values in settings.items()}
        for name, value in zip(chosen, extra[1:], strict=False):
            chosen[name].append(value)
        return generate(app, [prompts[row] for row in order] + list(extra[:1]), **chosen)

    together = of_rows(range(rows))
    assert len(set(together)) == rows
    assert [of_rows([row])[0] for row in range(rows)] == together
    order = rng.permutation(rows)
    assert of_rows(order) == [together[row] for row in order]
    assert of_rows(range(rows), ("rest " * 400, 300, 3.0, 4, 0.7, 99))[:-1] == together


def test_the_seed_settles_the_text(app):
    texts = generate(app, ["a"] * 8, 30, 1.0, seed=[5, 5, 6, 0, -5, 2**31 - 1, -(2**31), 5])
    assert texts[0] == texts[1] == texts[7]
    assert len(set(texts)) == 6
    assert generate(app, ["a"], 30, 1.0, seed=5) == texts[:1]
    shorter = generate(app, ["a"], 11, 1.0, seed=5)[0]
    assert texts[0].startswith(shorter)


def test_serving_default_is_generate_with_its_defaults(app):
    prompts = [*PROMPTS, *WEIRD]
    texts = answer(app, "serving_default", prompt=prompts)["text"].tolist()
    assert texts == generate(app, prompts, DEFAULT_LENGTH, DEFAULT_TEMPERATURE, 0, 1.0, 0)
    assert all(len(text) > DEFAULT_LENGTH - 4 for text in texts)


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": -1.0},
        {"temperature": NAN},
        {"temperature": -INF},
        {"temperature": 1e-30},
        {"top_k": 1, "temperature": INF},
        {"top_p": 0.0},
        {"top_p": -2.0, "temperature": 100.0},
        {"top_p": 1e-30, "top_k": 3},
    ],
)
def test_what_leaves_but_one_symbol_takes_the_likeliest_whatever_the_seed(app, settings):
    expected = generate(app, PROMPTS, 20, 0.0)
    assert generate(app, PROMPTS, 20, **{"temperature": 1.0, "seed": list(range(5)), **settings}) == expected
    greedy = answer(app, "likeliest", prompt=PROMPTS, length=[20] * 5, beam_size=[1] * 5)["text"].tolist()
    assert greedy == expected
    assert generate(app, PROMPTS, 20, 1.0, seed=list(range(5))) != expected


def test_values_out_of_range_mean_what_the_nearest_in_range_do(app):
    expected = generate(app, PROMPTS, 20, 1.0, seed=4)
    for settings in ({"top_p": NAN}, {"top_p": INF}, {"top_p": 7.0}, {"top_k": -3}, {"top_k": -(2**31)}):
        assert generate(app, PROMPTS, 20, **{"temperature": 1.0, "seed": 4, **settings}) == expected
    for top_k in (len(app.symbols), 2**31 - 1):
        assert generate(app, PROMPTS, 20, 1.0, top_k=top_k, seed=4) == expected
    assert generate(app, PROMPTS, 20, INF, seed=4) == generate(app, PROMPTS, 20, 100.0, seed=4) != expected


def test_no_length_gives_the_prompt_back(app):
    prompts = [*PROMPTS, *WEIRD]
    for length in (0, -1, -(2**31)):
        assert continuations(app, prompts, length=length) == [b""] * len(prompts)
        found = answer(app, "likeliest", prompt=prompts, length=[length] * len(prompts), beam_size=[3] * len(prompts))
        assert found["text"].tolist() == generate(app, prompts, 0)
        assert found["log_prob"].tolist() == [0.0] * len(prompts)


def test_any_prompt_comes_back_as_valid_utf_8_with_so_many_symbols_behind(app):
    lengths = [*range(1, len(WEIRD)), 40]
    for prompt, text, length in zip(WEIRD, continuations(app, WEIRD, length=lengths), lengths, strict=True):
        text.decode("utf-8")
        if app.symbols.unit == "byte":
            assert length - 4 < len(text) <= length, prompt
        else:
            assert symbols_in(app, text) == length, prompt


def test_the_longest_text_has_the_documented_length(app):
    just, over, far_over = continuations(app, ["a"] * 3, length=[LONGEST_GENERATION, LONGEST_GENERATION + 1, 2**31 - 1])
    assert just == over == far_over
    short_of = LONGEST_GENERATION - symbols_in(app, just)
    assert 0 <= short_of < (4 if app.symbols.unit == "byte" else 1)


def test_a_prompt_of_a_megabyte_comes_back_whole_and_its_end_is_what_is_read(app):
    ending = random_text("aeinrst é😀\0", LONGEST_PROMPT)
    if app.symbols.unit == "byte":
        ending = ending.encode()[-LONGEST_PROMPT:].decode("utf-8", "ignore")
        ending = "x" * (LONGEST_PROMPT - len(ending.encode())) + ending
    long = [filler * (2**20 // len(filler.encode())) + ending for filler in ("a", "b😀")]
    assert len(set(continuations(app, [ending, *long], length=40, temperature=1.0))) == 1
    found = [answer(app, "likeliest", prompt=[text], length=[3], beam_size=[2])["log_prob"] for text in (ending, *long)]
    np.testing.assert_allclose(found, [found[0]] * 3, rtol=0, atol=1e-5)


def test_the_unknown_character_is_never_written(exported_char_lm):
    app = exported_char_lm("character")
    assert "\ufffd" not in app.symbols.characters
    logits, _ = app.model(np.array([beginning(app)]))
    assert np.argmax(logits[0, 0]) == UNKNOWN  # the model would
    seeds = list(range(40))
    written = b"".join(continuations(app, [""] * 40, length=50, temperature=[1.0] * 20 + [50.0] * 20, seed=seeds))
    assert set(written.decode("utf-8")) == set(app.symbols.characters)
    found = answer(app, "likeliest", prompt=["", "QQ"], length=[30, 30], beam_size=[1, 16])["text"]
    assert "\ufffd" not in "".join(text.decode("utf-8") for text in found)


def test_a_model_of_bytes_writes_utf_8_and_holds_back_a_character_it_has_not_finished(exported_char_lm):
    app = exported_char_lm("byte")
    seeds = list(range(60))
    long = continuations(app, [""] * 60, length=40, temperature=[0.5, 1.0, 5.0] * 20, seed=seeds)
    written = "".join(text.decode("utf-8") for text in long)
    assert {len(character.encode()) for character in written} == {1, 2, 3, 4}
    held_back = set()
    for length in range(9):
        short = continuations(app, [""] * 60, length=length, temperature=[0.5, 1.0, 5.0] * 20, seed=seeds)
        for text, longer in zip(short, long, strict=True):
            assert text == longer[:length].decode("utf-8", "ignore").encode()
            held_back.add(length - len(text))
    assert held_back == {0, 1, 2, 3}
    found = answer(app, "likeliest", prompt=[""] * 9, length=list(range(9)), beam_size=[4] * 9)["text"]
    for length, text in enumerate(found):
        assert max(0, length - 3) <= len(text.decode("utf-8").encode()) <= length


def test_likeliest_gives_the_log_probability_of_the_text_it_gives(app):
    prompts = [*PROMPTS, *WEIRD]
    rows = len(prompts)
    lengths, sizes = [row % 7 + 1 for row in range(rows)], [row % 5 * 4 for row in range(rows)]
    found = answer(app, "likeliest", prompt=prompts, length=lengths, beam_size=sizes)
    scored = answer(app, "score", text=found["text"])
    whole = 0
    for row, (text, length) in enumerate(zip(found["text"], lengths, strict=True)):
        before = symbols_in(app, tf.compat.as_bytes(prompts[row]).decode("utf-8", "replace").encode())
        if symbols_in(app, text) == before + length:  # else bytes that are held back were counted, too
            expected = scored["char_log_probs"][row, before : before + length].sum()
            np.testing.assert_allclose(found["log_prob"][row], expected, rtol=0, atol=2e-5)
            whole += 1
    assert whole > rows // 3
    for row in range(0, rows, 4):
        alone = answer(app, "likeliest", prompt=prompts[row : row + 1], length=[lengths[row]], beam_size=[sizes[row]])
        assert alone["text"][0] == found["text"][row]
        np.testing.assert_allclose(alone["log_prob"], found["log_prob"][row], rtol=0, atol=1e-5)


def test_a_beam_is_at_least_one_and_at_most_the_documented(app):
    size = [-1, 0, 1, serving_module.LARGEST_BEAM, 17, 2**31 - 1]
    found = answer(app, "likeliest", prompt=["a"] * 6, length=[12] * 6, beam_size=size)
    for first, last in ((0, 3), (3, 6)):
        assert len(set(found["text"][first:last])) == 1
    assert found["text"][0] == generate(app, ["a"], 12, 0.0)[0]


# Reading


def assert_scores(app, found, row, text):
    ids = ids_of(app, text)
    log_probs, _ = keras_log_probs(app, [*beginning(app), *ids])
    expected = log_probs[np.arange(len(ids)), ids]
    assert found["length"][row] == len(ids)
    np.testing.assert_allclose(found["char_log_probs"][row, : len(ids)], expected, rtol=0, atol=2e-5)
    assert not found["char_log_probs"][row, len(ids) :].any()
    bits = -expected.mean() / np.log(2) if ids else 0.0
    np.testing.assert_allclose(found["bits_per_char"][row], bits, rtol=1e-5, atol=1e-6)


def test_score_is_the_log_softmax_of_the_keras_model(app):
    texts = [*PROMPTS, *WEIRD]
    found = answer(app, "score", text=texts)
    for row, text in enumerate(texts):
        assert_scores(app, found, row, text)
    assert found["char_log_probs"].shape[1] == max(found["length"])
    assert not np.signbit(found["bits_per_char"]).any()  # 0 and not -0 for an empty text
    for row in range(0, len(texts), 3):
        assert_scores(app, answer(app, "score", text=texts[row : row + 1]), 0, texts[row])
    assert answer(app, "score", text=["", ""])["char_log_probs"].tolist() == [[0.0], [0.0]]


def test_reading_in_pieces_is_scoring_the_whole(app):
    texts = ["A bee rests. é😀 Stars!", "", "rain\nrain\0rain"]
    whole = answer(app, "score", text=texts)
    heard = answer(app, "step", char=[""] * 3, **zero_state(app, 3))
    pieces = [[] for _ in texts]
    for first, last in [(0, 3), (3, 4), (4, 4), (4, 13), (13, 99)]:
        heard = answer(app, "read", **{**heard, "text": [text[first:last] for text in texts]})
        for row, piece in enumerate(pieces):
            piece.extend(heard["char_log_probs"][row, : heard["length"][row]])
            assert not heard["char_log_probs"][row, heard["length"][row] :].any()
    for row, piece in enumerate(pieces):
        np.testing.assert_allclose(piece, whole["char_log_probs"][row, : whole["length"][row]], rtol=0, atol=1e-5)
    for row, text in enumerate(texts):
        _, state = keras_log_probs(app, [*beginning(app), *ids_of(app, text)])
        for name, part in zip(app.serving.folded.state_names, state, strict=True):
            np.testing.assert_allclose(heard[name][row], part[0], rtol=0, atol=1e-5)


def test_encode_shows_what_the_model_reads_and_knows(app):
    texts = [*PROMPTS, *WEIRD]
    found = answer(app, "encode", text=texts)
    for row, text in enumerate(texts):
        ids = ids_of(app, text)
        assert found["length"][row] == len(ids)
        assert found["ids"][row].tolist() == ids + [0] * (found["ids"].shape[1] - len(ids))
        assert found["symbols_bytes"][row].tolist() == app.symbols.spelling


def test_gates_are_those_of_the_model_layer_after_layer(app):
    texts = [*PROMPTS, *WEIRD]
    found = answer(app, "gates", text=texts)
    for row, text in enumerate(texts):
        ids = ids_of(app, text)
        assert found["length"][row] == len(ids)
        by_layer = gates_of(app.model, np.array([[*beginning(app), *ids]], np.int32))
        for name in Gates._fields:
            expected = np.concatenate([getattr(gates, name)[0, 1:] for gates in by_layer], axis=-1)
            np.testing.assert_allclose(found[name][row, : len(ids)], expected, rtol=0, atol=1e-5, err_msg=name)
    assert found["input"].shape[1] == max(found["length"])


def test_of_a_longer_text_the_documented_beginning_is_read(app):
    text = random_text("aeinrst é😀\0", LONGEST_SCORED_TEXT + 10)
    for signature, longest in (("score", LONGEST_SCORED_TEXT), ("encode", LONGEST_SCORED_TEXT)):
        found = answer(app, signature, text=[text, text * 20, "rain"])
        assert found["length"].tolist() == [longest, longest, 4]
        if signature == "encode":
            assert found["ids"][1].tolist() == found["ids"][0].tolist() == ids_of(app, text)[:longest]
    found = answer(app, "gates", text=[text, text * 20])
    assert found["length"].tolist() == [LONGEST_TEXT_LOOKED_INTO] * 2
    assert found["hidden"].shape[1] == LONGEST_TEXT_LOOKED_INTO
    heard = answer(app, "read", text=[text], **zero_state(app))
    assert heard["length"].tolist() == [LONGEST_SCORED_TEXT]


@pytest.fixture(scope="module")
def narrow(app):
    """The same model with clamps so tight that a single symbol more or less shows."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (
            ("LONGEST_PROMPT", 5),
            ("LONGEST_GENERATION", 6),
            ("LONGEST_SCORED_TEXT", 4),
            ("LONGEST_TEXT_LOOKED_INTO", 3),
            ("LARGEST_BEAM", 2),
        ):
            patch.setattr(serving_module, name, value)
        serving = CharLmServing(app.model, app.symbols)
        for function in serving.signatures.values():
            function.get_concrete_function()
    return serving


@pytest.mark.parametrize("text", ["strains", "ééérééé", "😀😀n😀😀😀😀", "e\u0301re\u0301\0\0n"])
def test_exactly_the_last_symbols_of_a_prompt_are_read(app, narrow, text):
    ids = ids_of(app, text)
    (log_prob,) = narrow.likeliest(tf.constant([text]), [1], [1])["log_prob"].numpy()

    def likeliest_after(ids):
        log_probs, _ = keras_log_probs(app, [*beginning(app), *ids])
        return log_probs[-1][np.asarray(narrow.rules.allowed)[0]].max()

    np.testing.assert_allclose(log_prob, likeliest_after(ids[-5:]), rtol=0, atol=3e-6)
    assert min(abs(log_prob - likeliest_after(ids[-count:])) for count in (4, 6)) > 1e-5


@pytest.mark.parametrize(
    "text",
    [
        "strains",
        "éééré",
        "😀😀n😀😀😀",
        "😀" * 9,
        b"\xff" * 30,
        b"a\xf0\x9f\x98\xe6\x98\xc3r\x80\x80\x80",
        b"\xf8" * 30,
    ],
)
def test_exactly_the_first_symbols_of_a_text_are_scored_and_looked_into(app, narrow, text):
    ids = ids_of(app, text)
    found = {name: value.numpy() for name, value in narrow.score(tf.constant([text])).items()}
    assert found["length"].tolist() == [4]
    log_probs, _ = keras_log_probs(app, [*beginning(app), *ids[:4]])
    np.testing.assert_allclose(found["char_log_probs"][0], log_probs[np.arange(4), ids[:4]], rtol=0, atol=1e-5)
    assert narrow.encode(tf.constant([text]))["ids"].numpy().tolist() == [ids[:4]]
    (hidden,) = narrow.gates(tf.constant([text]))["hidden"].numpy()
    expected = [gates.hidden[0, 1:] for gates in gates_of(app.model, np.array([[*beginning(app), *ids[:3]]]))]
    np.testing.assert_allclose(hidden, np.concatenate(expected, axis=-1), rtol=0, atol=1e-5)


def test_exactly_so_many_symbols_are_written(app, narrow):
    for length in (6, 7, 2**31 - 1):
        arguments = (tf.constant(["a"]), [length], [0.0], [0], [1.0], [0])
        (text,) = narrow.generate(*arguments)["text"].numpy()
        assert text == generate(app, ["a"], 6, 0.0)[0]
        assert narrow.likeliest(tf.constant(["a"]), [length], [1])["text"].numpy()[0] == text


# REST


@pytest.mark.parametrize("form", ["values", "objects"])
def test_a_rest_request_of_one_input_goes_there_and_back_without_loss(app, form):
    prompts = [tf.compat.as_bytes(text).decode("utf-8", "replace") for text in [*PROMPTS, *WEIRD]]
    for signature in ("serving_default", "score", "encode", "gates"):
        name = "prompt" if signature == "serving_default" else "text"
        instances = prompts if form == "values" else [{name: prompt} for prompt in prompts]
        assert_rest(app.signatures[signature], instances)


def assert_rest(function, instances):
    body, outputs = rest_answer(function, json.dumps({"instances": instances}))
    predictions = json.loads(body)["predictions"]
    assert len(predictions) == len(instances)
    for key, value in outputs.items():
        column = [row if len(outputs) == 1 else row[key] for row in predictions]
        if key == "symbols_bytes":
            for row in column:
                assert all(item.keys() == {"b64"} for item in row)
        elif value.dtype == object:
            assert column == [text.decode() for text in value]
        else:
            np.testing.assert_array_equal(np.array(column, value.dtype), value, err_msg=key)
    return predictions


def test_a_rest_request_of_several_inputs_goes_there_and_back_without_loss(app):
    prompts = ["", "A bee", 'é😀\0\n"\\']
    settings = {"length": 7, "temperature": 0.9, "top_k": 3, "top_p": 0.95}
    instances = [{"prompt": prompt, "seed": seed, **settings} for seed, prompt in enumerate(prompts)]
    texts = assert_rest(app.signatures["generate"], instances)
    expected = generate(app, prompts, 7, 0.9, 3, 0.95, seed=[0, 1, 2])
    assert [text.encode() for text in texts] == expected
    assert_rest(app.signatures["likeliest"], [{"prompt": prompt, "length": 4, "beam_size": 3} for prompt in prompts])
    state = {name: part[0].tolist() for name, part in zero_state(app).items()}
    heard = assert_rest(app.signatures["step"], [{"char": "", **state}, {"char": "a", **state}])
    # What came back goes out again as it is; a byte that is no text goes as base64.
    state = {name: heard[0][name] for name in state}
    (again,) = assert_rest(app.signatures["step"], [{"char": {"b64": "YQ=="}, **state}])
    (scored,) = assert_rest(app.signatures["read"], [{"text": "ab", **state}])
    ids = ids_of(app, "ab")
    expected = [heard[0]["log_probs"][ids[0]], again["log_probs"][ids[1]]]
    np.testing.assert_allclose(scored["char_log_probs"], expected, rtol=0, atol=1e-5)


# The model laid out for use


def test_the_folded_model_is_the_keras_model(app):
    folded, rng = FoldedLanguageModel(app.model), np.random.default_rng(3)
    rows, steps, symbols = 3, 9, len(app.symbols)
    ids = rng.integers(0, symbols, (rows, steps)).astype(np.int32)
    lengths = np.array([9, 0, 4])
    mask = np.arange(steps) < lengths[:, None]
    first = [rng.normal(size=(rows, folded.units)).astype(np.float32) for _ in folded.state_names]
    hidden, last = folded.sequence(tf.constant(ids), tf.constant(mask), [tf.constant(part) for part in first])
    log_probs = folded.log_probs(hidden).numpy()
    assert log_probs.shape == (rows, steps, symbols)
    state = [tf.constant(part) for part in first]
    for t in range(steps):
        by_step, state = folded.step(tf.constant(ids[:, t]), state)
        for row in np.flatnonzero(mask[:, t]):
            np.testing.assert_allclose(by_step[row], log_probs[row, t], rtol=0, atol=1e-5)
    looked_at = folded.gates(tf.constant(ids), tf.constant(mask), [tf.constant(part) for part in first])
    for row, length in enumerate(lengths):
        own = [part[row : row + 1] for part in first]
        if length:
            expected, own_last = keras_log_probs(app, ids[row, :length], own)
            np.testing.assert_allclose(log_probs[row, :length], expected, rtol=0, atol=1e-5)
            for gates, layer in zip(looked_at, gates_of(app.model, ids[row : row + 1, :length], own), strict=True):
                for name in Gates._fields:
                    part = getattr(gates, name)[row, :length]
                    np.testing.assert_allclose(part, getattr(layer, name)[0], rtol=0, atol=1e-5, err_msg=name)
        else:
            own_last = own
        for part, expected in zip(last, own_last, strict=True):
            np.testing.assert_allclose(part[row : row + 1], expected, rtol=0, atol=1e-5)
    assert [part.shape for part in folded.initial_state(2)] == [(2, folded.units)] * len(first)
    assert not np.any(folded.initial_state(2))


# Narrower arithmetic


@pytest.fixture(scope="module")
def in_8_bits(exported_char_lm):
    """An export in 8 bits."""
    return exported_char_lm("int8")


def test_8_bits_say_nearly_what_float32_says(in_8_bits):
    texts = strings(["rain rests, a bee", "Is", ""])
    exact = CharLmServing(in_8_bits.model, in_8_bits.symbols).score(texts)["char_log_probs"].numpy()
    found = in_8_bits.serving.score(texts)["char_log_probs"].numpy()
    assert 0 < np.abs(found - exact).max() < 0.15 < np.ptp(exact) / 20


def test_a_row_in_8_bits_does_not_depend_on_the_rows_beside_it(in_8_bits):
    texts = [b"rain", b"", b"a bee rests in the rain", b"Is"]
    together = in_8_bits.serving.score(tf.constant(texts))["char_log_probs"].numpy()
    for row, text in enumerate(texts):
        alone = in_8_bits.serving.score(tf.constant([text]))["char_log_probs"].numpy()[0]
        np.testing.assert_allclose(together[row, : len(alone)], alone, atol=1e-5)  # the gates' last digits may differ


def test_step_read_and_score_agree_in_8_bits(in_8_bits):
    """They take the products of one step, and of all steps at once."""
    text = "a bee rests"
    scored = in_8_bits.serving.score(tf.constant([text]))["char_log_probs"].numpy()[0]
    state = {
        name: np.zeros((1, in_8_bits.serving.folded.units), np.float32) for name in in_8_bits.serving.folded.state_names
    }
    answer = in_8_bits.serving.step(tf.constant([""]), *state.values())
    read = in_8_bits.serving.read(tf.constant([text]), *(answer[name] for name in in_8_bits.serving.folded.state_names))
    np.testing.assert_allclose(read["char_log_probs"][0], scored, atol=1e-5)
    for place, char in enumerate(text):
        (symbol,) = in_8_bits.symbols.encode(char)
        np.testing.assert_allclose(answer["log_probs"][0, symbol], scored[place], atol=1e-5)
        state = {name: answer[name] for name in in_8_bits.serving.folded.state_names}
        answer = in_8_bits.serving.step(tf.constant([char]), *state.values())


def test_a_state_from_outside_that_8_bits_cannot_tell_is_brought_into_their_range(in_8_bits):
    """A cast of it would wrap round, from 1.01 to -1."""
    names, units = in_8_bits.serving.folded.state_names, in_8_bits.serving.folded.units
    for signature in ("step", "read"):
        far, near = (
            answer(
                in_8_bits,
                signature,
                **{"char" if signature == "step" else "text": ["a"]},
                **{name: np.full((1, units), hidden if name.startswith("hidden") else 3.0) for name in names},
            )
            for hidden in (3.0, 1.0)
        )
        for name, value in near.items():
            np.testing.assert_array_equal(far[name], value)
