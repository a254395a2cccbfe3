"""The translator's signatures, run from the SavedModel: their contract, and row by row what the models say."""

import json
import unicodedata

import keras
import numpy as np
import pytest
import sentencepiece
import tensorflow as tf
import test_saved_model
from rest_requests import rest_answer, strings
from saved_model_in_fresh_process import answers_of_a_fresh_process, run_signatures
from tensorflow.core.protobuf import saved_model_pb2

from nlp_lstm.decoding.beam_to_end import NO_SCORE
from nlp_lstm.text.subwords import BEGINNING, END, PADDING, UNKNOWN
from nlp_lstm.translation import serving as serving_module
from nlp_lstm.translation.build import build_model
from nlp_lstm.translation.serving import (
    DEFAULT_BEAM,
    LARGEST_BEAM,
    LONGEST_SOURCE,
    LONGEST_TEXT,
    LONGEST_TRANSLATION,
    TranslationServing,
)

N, S, T = -1, -1, -1
BREAKING = ("Cc", "Zl", "Zp")  # categories of characters that may end a line

TEXTS = ["The best film!", "A man sees a dog.", "dog", "Is it a dull film? It's the best.", "a a a a a a a"]
EMPTY = ["", " ", " \t\r\n\u00a0\u3000\u200b\ufeff"]
WEIRD = [
    b"\0",
    b"a\0man\0",
    "😀👩‍👩‍👧🏳️‍🌈".encode(),
    "e\u0301e\u0301\u0302 ﬁlm İstanbul".encode(),
    "映画は最高。这部电影很好".encode(),
    "ภาพยนตร์ที่ดี".encode(),
    "zzz \U0010ffff\uffff\ue000".encode(),
    b"\r\n\t\x01\x7f a\nman",
    b"\xff\xfe a \xc3 film \x80\xed\xa0\x80\xf8",
    "映".encode()[1:],
    b"<s> </s> <unk> <pad> <0x41>",
    "▁a▁▁man▁".encode(),
]
LONG = [b"man " * 10_000, b"x" * 2**20, "😀".encode() * 2**18, b"\xffa" * 2**19, b"the man " * 2**17]
ALL = [tf.compat.as_bytes(text) for text in [*TEXTS, *EMPTY, *WEIRD, *LONG]]


@pytest.fixture(scope="module", params=["shared", pytest.param("separate", marks=pytest.mark.thorough)])
def app(request, exported_translation):
    return exported_translation(request.param)


def answer(app, signature, texts, **inputs):
    """What a signature of the SavedModel says of texts; other inputs are lists, too."""
    arrays = {"text": strings(texts), **{name: np.array(values, np.int32) for name, values in inputs.items()}}
    return run_signatures(app.signatures, {signature: arrays})[signature]


@pytest.fixture(scope="module")
def translated(app):
    """Each of `ALL`, together."""
    return answer(app, "serving_default", ALL)


@pytest.fixture(scope="module")
def explained(app):
    return answer(app, "explain", ALL)


def ids_of(app, text):
    """What is read of a text, by the library, with its end."""
    library = sentencepiece.SentencePieceProcessor(model_proto=app.vocabularies.source.model)
    text = tf.compat.as_bytes(text).decode("utf-8", "replace")
    if app.settings.source_case == "lower":
        text = text.lower().replace("\0", "")
    ids = library.encode(text)
    return [*ids[: LONGEST_SOURCE - 1], END]


def pieces_of(explained, row):
    """Those of the source and of the translation, as they are spelled."""
    return (
        [piece.decode() for piece in explained["source_pieces"][row][: explained["source_length"][row]]],
        [piece.decode() for piece in explained["target_pieces"][row][: explained["target_length"][row]]],
    )


def followed(app, source, target):
    """By the Keras models, step by step: the log-probability of each id of a target, and the attention `(S, T)`."""
    log_probs, attention = np.zeros(len(target)), np.zeros((len(source), len(target)))
    for model in app.models:
        memory, state = model.encode(np.array([source], np.int32))
        for t, (read, following) in enumerate(zip([BEGINNING, *target[:-1]], target, strict=True)):
            guesses, state, weights = model.step(np.array([read], np.int32), state, memory)
            log_probs[t] += keras.ops.convert_to_numpy(guesses)[0, following] / len(app.models)
            attention[:, t] += keras.ops.convert_to_numpy(weights)[0, 0] / len(app.models)
    return log_probs, attention


def score_of(app, log_probs, attention):
    """Wu et al. 2016, equation 14."""
    alpha, beta = app.penalties
    penalty = ((5 + len(log_probs)) / 6) ** alpha
    return log_probs.sum() / penalty + beta * np.log(np.clip(attention.sum(axis=1), 1e-6, 1)).sum()


def decoded(subwords, ids):
    """The text of ids, by the library, as a line."""
    text = sentencepiece.SentencePieceProcessor(model_proto=subwords.model).decode(ids)
    return "".join(" " if unicodedata.category(character) in BREAKING else character for character in text)


# The contract


TEXT = {"text": ("string", [N])}
TRANSLATION = {"translation": ("string", [N]), "score": ("float32", [N])}
CONTRACT = {
    "serving_default": (TEXT, TRANSLATION),
    "n_best": (
        {**TEXT, "beam_size": ("int32", [N])},
        {"translations": ("string", [N, LARGEST_BEAM]), "scores": ("float32", [N, LARGEST_BEAM])},
    ),
    "explain": (
        TEXT,
        {
            **TRANSLATION,
            "source_pieces": ("string", [N, S]),
            "target_pieces": ("string", [N, T]),
            "attention": ("float32", [N, S, T]),
            "source_length": ("int32", [N]),
            "target_length": ("int32", [N]),
        },
    ),
    "encode": (TEXT, {"ids": ("int32", [N, S]), "pieces": ("string", [N, S]), "length": ("int32", [N])}),
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
    assert served.keys() == CONTRACT.keys()
    for name, (inputs, outputs) in CONTRACT.items():
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
    answers = run_signatures(app.signatures, app.inputs([b"A man", "é".encode(), b""][:rows]))
    assert answers.keys() == CONTRACT.keys()
    for name, outputs in answers.items():
        assert outputs.keys() == CONTRACT[name][1].keys()
        for key, value in outputs.items():
            dtype, shape = CONTRACT[name][1][key]
            assert value.dtype == (object if dtype == "string" else dtype), (name, key)
            assert len(value.shape) == len(shape), (name, key)
            assert value.shape[0] == rows, (name, key)
            assert all(size in (N, found) for size, found in zip(shape, value.shape, strict=True)), (name, key)


def test_the_graph_has_core_operations_only(app):
    saved_model = test_saved_model.read_saved_model(app.version)
    graph = saved_model.meta_graphs[0].graph_def
    operations = {node.op for function in graph.library.function for node in function.node_def}
    # The walk goes deep.
    assert {"MatMul", "TopKV2", "LookupTableFindV2", "UnicodeTranscode", "TensorListSetItem"} <= operations
    assert operations & {"StatelessWhile", "While"}
    assert test_saved_model.unservable(saved_model) == []


def constants(app):
    """Those in functions, as protocol buffers."""
    graph = test_saved_model.read_saved_model(app.version).meta_graphs[0].graph_def
    nodes = [node for function in graph.library.function for node in function.node_def]
    return [node.attr["value"].tensor for node in nodes if node.op == "Const"]


def test_a_large_table_is_in_the_graph_once(app):
    """Each signature walks the rules and the trie of the subwords."""
    tables = [tensor.SerializeToString() for tensor in constants(app) if tensor.ByteSize() > 10_000]
    assert len(tables) == len(set(tables)) > 4


# One model will do for what takes long; that an export says what was built is told with its use.


@pytest.mark.usefixtures("rewritten_graphs")
@pytest.mark.thorough
def test_a_process_without_this_project_and_keras_gives_the_same_answers(
    exported_translation, difficult_texts, tmp_path
):
    app = exported_translation("shared")
    requests = test_saved_model.batches(app, difficult_texts)
    (result,) = answers_of_a_fresh_process([(app.version, requests)], tmp_path)
    for inputs, answers in zip(requests, result["answers"], strict=True):
        assert answers.keys() == set(result["signatures"]) == CONTRACT.keys()
        test_saved_model.assert_same_answers(answers, run_signatures(app.signatures, inputs), 1e-5)


@pytest.mark.usefixtures("rewritten_graphs")
@pytest.mark.parametrize("name", [pytest.param("separate", marks=pytest.mark.thorough), "translation_int8"])
def test_the_loader_of_tensorflow_serving_gives_the_same_answers(
    loader, exported_translation, difficult_texts, tmp_path, name
):
    app = exported_translation(name)
    requests = test_saved_model.batches(app, difficult_texts)
    assert all(inputs.keys() == CONTRACT.keys() for inputs in requests)
    test_saved_model.assert_loader_agrees(loader, app.version, app.signatures, requests, tmp_path)


# REST


@pytest.mark.parametrize("form", ["values", "objects"])
def test_a_rest_request_of_one_input_goes_there_and_back_without_loss(app, form):
    texts = [tf.compat.as_bytes(text).decode("utf-8", "replace") for text in [*TEXTS, *EMPTY, *WEIRD]]
    for signature in ("serving_default", "explain", "encode"):
        assert_rest(app.signatures[signature], texts if form == "values" else [{"text": text} for text in texts])


def test_a_rest_request_of_several_inputs_goes_there_and_back_without_loss(app):
    texts = ["", "A man", 'é😀\0\n"\\']
    instances = [{"text": text, "beam_size": size} for size, text in enumerate(texts)]
    found = assert_rest(app.signatures["n_best"], instances)
    assert all(len(row["translations"]) == len(row["scores"]) == LARGEST_BEAM for row in found)
    # A text that is no UTF-8 goes as base64.
    found = assert_rest(app.signatures["serving_default"], [{"b64": "/2E="}, "\ufffda"])
    assert found[0]["translation"] == found[1]["translation"] != ""
    assert found[0]["score"] == pytest.approx(found[1]["score"])


def assert_rest(function, instances):
    body, outputs = rest_answer(function, json.dumps({"instances": instances}))
    predictions = json.loads(body)["predictions"]
    assert len(predictions) == len(instances)
    for key, value in outputs.items():
        column = [row[key] for row in predictions]
        if value.dtype == object:
            assert column == np.vectorize(bytes.decode, otypes=[object])(value).tolist()
        else:
            # A batch of the request may be rounded otherwise than the one of the answer it is held against.
            np.testing.assert_allclose(np.array(column, value.dtype), value, rtol=1e-5, err_msg=key)
    return predictions


# What is read


def test_encode_gives_the_ids_of_the_library_and_an_end(app):
    texts = [*TEXTS, *EMPTY, *WEIRD]
    found = answer(app, "encode", texts)
    spelled = app.vocabularies.source.pieces
    for row, text in enumerate(texts):
        ids = ids_of(app, text)
        assert found["length"][row] == len(ids)
        behind = found["ids"].shape[1] - len(ids)
        assert found["ids"][row].tolist() == ids + [PADDING] * behind
        assert found["pieces"][row].tolist() == [spelled[number].encode() for number in ids] + [b""] * behind
    assert found["ids"].shape[1] == max(found["length"])
    assert answer(app, "encode", EMPTY)["ids"].tolist() == [[END]] * len(EMPTY)


def test_of_a_long_text_the_documented_beginning_is_read(app):
    long = answer(app, "encode", LONG)
    assert set(long["length"]) == {LONGEST_SOURCE}
    for row, text in enumerate(LONG):
        beginning = text[: 4 * LONGEST_TEXT].decode("utf-8", "replace")[:LONGEST_TEXT]
        assert long["ids"][row].tolist() == ids_of(app, beginning)
    found = answer(app, "serving_default", LONG)
    short = answer(app, "serving_default", [text[: 4 * LONGEST_TEXT] for text in LONG])
    assert found["translation"].tolist() == short["translation"].tolist()
    np.testing.assert_allclose(found["score"], short["score"], rtol=1e-5)


def test_a_text_in_any_case_and_with_what_nobody_sees_is_the_same_text(app):
    changes = (str.upper, str.title, str.lower, lambda text: "\u00ad".join(text), lambda text: f"\ufeff{text}\u2060")
    for name in ("serving_default", "explain"):
        expected = answer(app, name, TEXTS)
        for number, change in enumerate(changes):
            found = answer(app, name, [change(text) for text in TEXTS])
            same = all(np.array_equal(found[key], expected[key]) for key in expected)
            assert same == (app.settings.source_case == "lower"), (name, number)


def test_white_space_does_not_count_among_the_characters_of_a_long_text(app):
    """Which was cut off before it was made plain: 5,000 spaces and a sentence gave nothing."""
    texts = [blank * 5000 + TEXTS[1] + blank * 2000 for blank in (" ", "\n", "\u3000", "\u200b", "\x01 ", "▁")]
    assert max(len(text.encode()) for text in texts) < serving_module.LONGEST_TEXT_BYTES
    behind = TEXTS[1].rjust(serving_module.LONGEST_TEXT_BYTES + len(TEXTS[1]))
    found = answer(app, "explain", [TEXTS[1], behind, *texts])
    assert found["source_length"][0] > 1
    pieces, translations = found["source_pieces"].tolist(), found["translation"].tolist()
    assert pieces[2:] == pieces[:1] * len(texts) and translations[2:] == translations[:1] * len(texts)
    assert translations[1] == b""


@pytest.fixture(scope="module")
def narrow(exported_translation):
    """Clamps so tight that a single subword more or less shows."""
    app = exported_translation("separate")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("LONGEST_TEXT", 7), ("LONGEST_SOURCE", 5), ("LONGEST_TRANSLATION", 6)):
            patch.setattr(serving_module, name, value)
        vocabularies = app.vocabularies
        serving = TranslationServing(app.models, vocabularies.target, source_subwords=vocabularies.source)
        serving.encode.get_concrete_function()
        serving.n_best.get_concrete_function()
    return serving


@pytest.mark.parametrize("text", ["a manses", "ééééééééé", "😀a", "b" * 40, "a b c d e f g"])
def test_exactly_so_many_characters_and_subwords_are_read(narrow, text):
    library = sentencepiece.SentencePieceProcessor(model_proto=narrow.source_subwords.model)
    characters = text[:7]
    expected = [*library.encode(characters)[:4], END]
    (ids,) = narrow.encode(tf.constant([text]))["ids"].numpy().tolist()
    assert ids == expected


def test_exactly_so_many_subwords_are_written(narrow):
    """A translation that would be longer ends there; of the last place all but the end is shut out."""
    texts = [*TEXTS, *(tf.compat.as_text(text) for text in WEIRD[4:7])]
    never, lengths = [PADDING, UNKNOWN, BEGINNING], []
    greedy = narrow.n_best(tf.constant(texts), tf.ones([len(texts)], tf.int32))["translations"].numpy()[:, 0]
    for text, found in zip(texts, greedy, strict=True):
        (source,) = narrow.encode(tf.constant([text]))["ids"].numpy()
        encoded = [model.encode(source[None]) for model in narrow.models]
        memories, states = map(list, zip(*encoded, strict=True))
        ids = [BEGINNING]
        while ids[-1] != END:
            answers = [
                model.step(np.array(ids[-1:]), state, memory)
                for model, state, memory in zip(narrow.models, states, memories, strict=True)
            ]
            states = [state for _, state, _ in answers]
            guesses = sum(keras.ops.convert_to_numpy(log_probs)[0] for log_probs, _, _ in answers)
            guesses[never] = -np.inf
            lengths.append(len(ids) if guesses.argmax() == END else 99)
            ids.append(END if len(ids) == 6 else int(guesses.argmax()))
        assert found.decode() == decoded(narrow.subwords, ids[1:-1])
        lengths.append(len(ids) - 1)
    assert 6 in lengths


# What is written


def assert_is_one_line(text):
    assert len(text.splitlines()) <= 1
    assert not [character for character in text if unicodedata.category(character) in BREAKING], ascii(text)


def test_any_bytes_have_a_translation_of_one_line_of_utf_8(app, translated):
    for text in translated["translation"]:
        assert_is_one_line(text.decode("utf-8"))
    assert np.all(np.isfinite(translated["score"]))
    assert np.all(translated["score"] <= 0)
    # They are not all the same, and not all of plain letters.
    texts = {text.decode() for text in translated["translation"]}
    assert len(texts) > len(ALL) // 3
    assert any("\ufffd" in text for text in texts)
    assert any(text and "\ufffd" not in text for text in texts)


def test_a_model_that_would_write_characters_that_break_a_line_writes_spaces(exported_translation):
    """All that it knows is the bytes of one and the end, each as likely as the others."""
    app = exported_translation("shared")
    target = app.vocabularies.target
    model = build_model(app.settings, app.vocabularies)
    for weight in model.trainable_weights:
        weight.assign(np.zeros(weight.shape))
    serving = TranslationServing([model], target)
    for spelling in (b"\n", b"\r", b"\t", b"\0", b"\x1b", b"\x7f", b"\xc2\x85", b"\xc2\x9b"):
        liked = np.full(len(target), -9.0)
        liked[[END, *(target.first_byte + byte for byte in spelling)]] = 0.0
        model.output_bias.assign(liked)
        found = serving.n_best(tf.constant(["a"]), tf.constant([LARGEST_BEAM]))["translations"].numpy()[0]
        for text in found:
            assert_is_one_line(text.decode("utf-8"))
        assert any(text.startswith(b" ") for text in found), spelling


def test_no_text_has_no_translation_and_the_score_0(app):
    for signature in ("serving_default", "explain"):
        found = answer(app, signature, [*EMPTY, "a man"])
        assert found["translation"].tolist()[:-1] == [b""] * len(EMPTY)
        assert found["score"].tolist()[:-1] == [0.0] * len(EMPTY)
        assert found["score"][-1] < 0
    found = answer(app, "n_best", EMPTY, beam_size=[1, 5, 16])
    assert set(found["translations"].ravel()) == {b""}
    assert found["scores"].tolist() == [[0.0] + [np.float32(NO_SCORE)] * (LARGEST_BEAM - 1)] * len(EMPTY)


def test_nothing_is_to_be_explained_of_no_text(app):
    """The pieces of the translation "" are none but its end."""
    found = answer(app, "explain", ["", "a man", " "])
    for row in (0, 2):
        assert pieces_of(found, row) == (["</s>"], ["</s>"])
        assert found["attention"][row].sum() == pytest.approx(1.0)
        assert found["attention"][row, 0, 0] == pytest.approx(1.0)


def test_a_row_is_the_same_alone_in_any_order_and_beside_others(app, translated):
    order = np.random.default_rng(0).permutation(len(ALL))
    shuffled = answer(app, "serving_default", [ALL[row] for row in order])
    assert shuffled["translation"].tolist() == translated["translation"][order].tolist()
    np.testing.assert_allclose(shuffled["score"], translated["score"][order], rtol=1e-4)
    for row in range(len(ALL)):
        alone = answer(app, "serving_default", [ALL[row]])
        assert alone["translation"].tolist() == [translated["translation"][row]], ALL[row][:50]
        np.testing.assert_allclose(alone["score"], translated["score"][row], rtol=1e-4)


def test_explanations_of_a_row_are_the_same_alone(app, explained):
    for row in range(0, len(ALL), 3):
        alone = answer(app, "explain", [ALL[row]])
        assert pieces_of(alone, 0) == pieces_of(explained, row)
        source, target = explained["source_length"][row], explained["target_length"][row]
        assert alone["attention"].shape == (1, source, target)
        np.testing.assert_allclose(
            alone["attention"][0], explained["attention"][row, :source, :target], rtol=0, atol=1e-4
        )


def test_n_best_of_a_row_is_the_same_beside_rows_of_other_beams(app):
    texts = [*TEXTS, *TEXTS, *TEXTS, ""]
    sizes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 2, 3]
    together = answer(app, "n_best", [*texts, "dog"], beam_size=[*sizes, LARGEST_BEAM])
    for row, (text, size) in enumerate(zip(texts, sizes, strict=True)):
        alone = answer(app, "n_best", [text], beam_size=[size])
        assert np.sum(together["scores"][row] > NO_SCORE) <= size, (text, size)
        assert alone["translations"][0].tolist() == together["translations"][row].tolist(), (text, size)
        np.testing.assert_allclose(alone["scores"][0], together["scores"][row], rtol=1e-4)


def test_the_best_of_five_is_what_serving_default_says(app, translated, explained):
    found = answer(app, "n_best", ALL, beam_size=[DEFAULT_BEAM] * len(ALL))
    assert found["translations"][:, 0].tolist() == translated["translation"].tolist()
    np.testing.assert_allclose(found["scores"][:, 0], translated["score"], rtol=1e-4)
    assert explained["translation"].tolist() == translated["translation"].tolist()
    np.testing.assert_allclose(explained["score"], translated["score"], rtol=1e-4)


def test_n_best_are_sorted_and_as_many_as_asked_for(app):
    texts = [*TEXTS, *WEIRD[1:5]]
    for size in (1, 4, LARGEST_BEAM):
        found = answer(app, "n_best", texts, beam_size=[size] * len(texts))
        there = found["scores"] > NO_SCORE
        assert there[:, 0].all()
        assert np.all(there.sum(axis=1) <= size)
        assert np.all(np.diff(found["scores"], axis=1) <= 0)
        assert np.all(found["translations"][~there] == b"")
        assert np.all(found["scores"][~there] == np.float32(NO_SCORE))
        assert np.all(found["scores"][there] < 0)
        for row, texts_there in zip(found["translations"], there, strict=True):
            assert len(set(row[texts_there].tolist())) == texts_there.sum()
        if size == 4:
            assert there.sum(axis=1).max() == size
        for text in found["translations"][there]:
            assert_is_one_line(text.decode("utf-8"))


def test_a_text_in_several_segmentations_is_given_once_with_the_best_score(exported_translation):
    """All that the model knows is "a", with a space before it and without, and the end."""
    app = exported_translation("shared")
    target = app.vocabularies.target
    model = build_model(app.settings, app.vocabularies)
    for weight in model.trainable_weights:
        weight.assign(np.zeros(weight.shape))
    liked = np.full(len(target), -9.0)
    liked[[END, *(target.pieces.index(piece) for piece in ("a", "▁a"))]] = 0.0, -1.0, -0.5
    model.output_bias.assign(liked)
    serving = TranslationServing([model], target, 0.6)
    source = serving._source(tf.constant(["a"]))
    found = serving._search(source, tf.constant([LARGEST_BEAM]))
    texts = serving._told(found.ids)[0].numpy().tolist()
    best = {}
    for text, score in zip(texts, found.scores[0].numpy().tolist(), strict=True):
        best.setdefault(text, score)
    assert {b"a", b"aa", b"a a"} <= best.keys() and len(best) < len(texts) - 2
    given = serving.n_best(tf.constant(["a"]), tf.constant([LARGEST_BEAM]))
    missing = LARGEST_BEAM - len(best)
    assert given["translations"][0].numpy().tolist() == [*best, *[b""] * missing]
    np.testing.assert_allclose(given["scores"][0], [*best.values(), *[NO_SCORE] * missing], rtol=1e-5)


def test_a_beam_is_at_least_one_and_at_most_the_documented(app):
    sizes = [-(2**31), -3, 0, 1, LARGEST_BEAM, LARGEST_BEAM + 1, 1000, 2**31 - 1]
    for text in ("A man sees a dog.", ""):
        found = answer(app, "n_best", [text] * len(sizes), beam_size=sizes)
        for first, last in ((0, 4), (4, 8)):
            translations, scores = (found[key][first:last] for key in ("translations", "scores"))
            assert (translations == translations[0]).all()
            # Rows of a batch may be rounded apart: not every processor takes the last ones as it takes the others.
            np.testing.assert_allclose(scores, np.broadcast_to(scores[0], scores.shape), rtol=1e-5)
    assert np.sum(answer(app, "n_best", ["A man"], beam_size=[-3])["scores"] > NO_SCORE) == 1


# What was looked at


def test_a_score_is_the_log_probability_that_the_models_give_step_by_step(app, explained):
    """And the attention is theirs."""
    rows = [row for row in range(len(ALL)) if 2 < explained["target_length"][row] < 17]
    assert len(rows) >= 5
    moves = []
    for row in rows[:6]:
        source_pieces, target_pieces = pieces_of(explained, row)
        source = [app.vocabularies.source.pieces.index(piece) for piece in source_pieces]
        assert source == ids_of(app, ALL[row])
        target = [app.vocabularies.target.pieces.index(piece) for piece in target_pieces]
        log_probs, attention = followed(app, source, target)
        np.testing.assert_allclose(explained["score"][row], score_of(app, log_probs, attention), rtol=1e-4)
        found = explained["attention"][row, : len(source), : len(target)]
        np.testing.assert_allclose(found, attention, rtol=0, atol=1e-4)
        moves.append(np.ptp(attention, axis=1).max())
    assert max(moves) > 0.05  # it looks now here, now there


def test_attention_is_a_distribution_over_the_source_and_nothing_elsewhere(explained):
    for row in range(len(ALL)):
        source, target = explained["source_length"][row], explained["target_length"][row]
        attention = explained["attention"][row]
        np.testing.assert_allclose(attention[:source, :target].sum(axis=0), 1.0, rtol=0, atol=1e-5)
        assert np.all(attention >= 0)
        assert not attention[source:].any()
        assert not attention[:, target:].any()
    assert explained["attention"].shape[1:] == (max(explained["source_length"]), max(explained["target_length"]))


def test_pieces_join_to_the_translation_and_end(app, explained):
    subwords = app.vocabularies.target
    never = {subwords.pieces[number] for number in (PADDING, UNKNOWN, BEGINNING, END)}
    for row in range(len(ALL)):
        source, target = pieces_of(explained, row)
        assert source[-1] == target[-1] == "</s>"
        assert not never & set(target[:-1])
        assert len(target) <= min(2 * len(source) + 10, LONGEST_TRANSLATION)
        ids = [subwords.pieces.index(piece) for piece in target[:-1]]
        assert decoded(subwords, ids) == explained["translation"][row].decode()
        for key, pieces in (("source_pieces", source), ("target_pieces", target)):
            assert set(explained[key][row][len(pieces) :]) <= {b""}


# Narrower arithmetic


def test_8_bits_say_nearly_what_float32_says(exported_translation):
    app = exported_translation("translation_int8")
    exact = TranslationServing(app.models, app.vocabularies.target, *app.penalties)
    found = answer(app, "n_best", TEXTS, beam_size=[LARGEST_BEAM] * len(TEXTS))
    expected = exact.n_best(tf.constant(TEXTS), tf.fill([len(TEXTS)], LARGEST_BEAM))
    differences = []
    for row in range(len(TEXTS)):
        scores = dict(zip(expected["translations"][row].numpy(), expected["scores"][row].numpy(), strict=True))
        for text, score in zip(found["translations"][row], found["scores"][row], strict=True):
            if text and text in scores:
                differences.append(abs(score - scores[text]) / abs(scores[text]))
    assert len(differences) > 3 * len(TEXTS)
    # A text may be found in another segmentation, which has another score.
    assert 0 < np.median(differences) < 0.06


def test_a_row_in_8_bits_is_the_same_alone(exported_translation):
    app = exported_translation("translation_int8")
    together = answer(app, "serving_default", ALL)
    for row, text in enumerate(ALL):
        alone = answer(app, "serving_default", [text])
        assert alone["translation"].tolist() == [together["translation"][row]]
        np.testing.assert_allclose(alone["score"], together["score"][row], rtol=1e-4)


def test_weights_in_8_bits_are_in_the_graph_once(exported_translation):
    app = exported_translation("translation_int8")
    shapes = [
        tuple(dimension.size for dimension in tensor.tensor_shape.dim)
        for tensor in constants(app)
        if tensor.dtype == tf.qint8.as_datatype_enum
    ]
    settings = app.settings
    embedding, units, both = settings.embedding_size, settings.decoder_units, 2 * settings.encoder_units
    expected = [
        *[(embedding, 8 * settings.encoder_units), *2 * [(settings.encoder_units, 4 * settings.encoder_units)]],
        *[(both, units), (both, units + embedding)],  # what the decoder begins with, and what attention looks at
        *[(2 * embedding + units, 4 * units), (units, embedding), (embedding, len(app.vocabularies.target))],
    ]
    assert sorted(shapes) == sorted(expected)
