"""The sentiment signatures, run from the SavedModel: their contract, what they answer, and that rows keep apart."""

import json

import numpy as np
import pytest
import tensorflow as tf
from rest_requests import rest_answer, sentiment_inputs, serialized_example, strings
from saved_model_in_fresh_process import run_signatures
from tensorflow.core.protobuf import saved_model_pb2

from nlp_lstm import saved_model
from nlp_lstm.sentiment.limits import LONGEST_TEXT_BYTES, LONGEST_TEXT_IN_PREFIXES, LONGEST_TEXT_TOKENS
from nlp_lstm.sentiment.serving import SentimentServing
from nlp_lstm.text.vocabulary import BOUNDARY, UNKNOWN
from nlp_lstm.text.words import tokenize

GATES = [f"{direction}_{gate}" for direction in ("forward", "backward") for gate in ("input", "forget", "output")]
N, T = -1, -1
CONTRACT = {
    "serving_default": (
        {"text": ("string", [N])},
        {"label": ("string", [N]), "score": ("float32", [N])},
    ),
    "classify": (
        {"inputs": ("string", [N])},
        {"classes": ("string", [N, 2]), "scores": ("float32", [N, 2])},
    ),
    "explain": (
        {"text": ("string", [N])},
        {
            "tokens": ("string", [N, T]),
            "length": ("int32", [N]),
            "label": ("string", [N]),
            "score": ("float32", [N]),
            "logit": ("float32", [N]),
            "bias": ("float32", [N]),
            "polarity": ("float32", [N, T]),
            **{gate: ("float32", [N, T]) for gate in GATES},
        },
    ),
    "prefixes": (
        {"text": ("string", [N])},
        {"tokens": ("string", [N, T]), "length": ("int32", [N]), "score": ("float32", [N, T])},
    ),
    "units": (
        {"text": ("string", [N])},
        {
            "tokens": ("string", [N, T]),
            "length": ("int32", [N]),
            **{name: ("float32", [N]) for name in ("logit", "bias", "ngrams", "others")},
            "direction": ("string", [N, 12]),
            "unit": ("int32", [N, 12]),
            "share": ("float32", [N, 12]),
            "peak": ("int32", [N, 12]),
            "state": ("float32", [N, 12, T]),
        },
    ),
}


@pytest.fixture(scope="module")
def model(exported_sentiment):
    return saved_model.load(exported_sentiment.base)


@pytest.fixture(scope="module")
def explained(model, difficult_texts):
    return explain(model, difficult_texts)


def explain(model, texts):
    return run_signatures(model.signatures, {"explain": {"text": strings(texts)}})["explain"]


def scores(model, texts):
    inputs = {"serving_default": {"text": strings(texts)}}
    return run_signatures(model.signatures, inputs)["serving_default"]["score"]


def rows_of(answer):
    """The rows of `explain`, without their padding."""
    for row, length in enumerate(answer["length"]):
        yield {key: value[row, :length] if value.ndim == 2 else value[row] for key, value in answer.items()}


def assert_same_row(one, other):
    assert one.keys() == other.keys()
    for key, value in one.items():
        if np.asarray(value).dtype.kind == "f":
            np.testing.assert_allclose(value, other[key], rtol=2e-6, atol=1e-6, err_msg=key)
        else:
            np.testing.assert_array_equal(value, other[key], err_msg=key)


def test_signatures_names_dtypes_and_shapes_are_the_contract(exported_sentiment):
    saved_model = saved_model_pb2.SavedModel.FromString((exported_sentiment.version / "saved_model.pb").read_bytes())
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
    assert served == CONTRACT
    for name in CONTRACT:
        assert meta_graph.signature_def[name].method_name == "tensorflow/serving/predict"


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_first_dimension_of_every_output_is_the_batch(model, rows):
    for name, answer in run_signatures(model.signatures, sentiment_inputs([b"The best film!"] * rows)).items():
        assert set(answer) == set(CONTRACT[name][1])
        for key, value in answer.items():
            dtype, shape = CONTRACT[name][1][key]
            assert value.shape[0] == rows, (name, key)
            assert value.ndim == len(shape), (name, key)
            assert value.dtype == (object if dtype == "string" else dtype), (name, key)


def test_any_bytes_get_a_label_that_goes_with_a_score_and_valid_utf_8(model, difficult_texts):
    answers = run_signatures(model.signatures, sentiment_inputs(difficult_texts))
    score = answers["serving_default"]["score"]
    assert np.all((score > 0) & (score < 1))
    assert np.ptp(score) > 0.1  # else a test on random weights tells nothing
    expected = np.where(score > 0.5, b"positive", b"negative")
    assert set(expected) == {b"positive", b"negative"}
    np.testing.assert_array_equal(answers["serving_default"]["label"], expected)
    np.testing.assert_array_equal(answers["explain"]["label"], expected)
    # `explain` walks over padding and keeps what it needs on the way, so its last digits are its own.
    np.testing.assert_allclose(answers["explain"]["score"], score, rtol=0, atol=1e-6)
    for name, answer in answers.items():
        for key, value in answer.items():
            if value.dtype == object:
                b"\n".join(value.flat).decode("utf-8")
            else:
                assert np.all(np.isfinite(value)), (name, key)
    assert "\ufffd".encode() in answers["explain"]["tokens"]  # one text was not UTF-8


def test_equal_texts_get_equal_answers(model, difficult_texts):
    first = difficult_texts.index(b"The best film!")
    again = difficult_texts.index(b"The best film!", first + 1)
    rows = list(rows_of(explain(model, difficult_texts)))
    assert_same_row(rows[first], rows[again])


def test_score_is_that_of_the_classifier_given_the_ids_of_the_tokens(model, exported_sentiment, difficult_texts):
    ids_of = {token: number for number, token in enumerate(exported_sentiment.vocabulary.tokens)}
    assert len(ids_of) > 10
    texts = [text for text in difficult_texts if len(text) < 1_000]
    expected = []
    for text in texts:
        tokens = [token.decode() for token in tokenize(tf.constant([text])).to_list()[0]]
        ids = [BOUNDARY, *(ids_of.get(token, UNKNOWN) for token in tokens), BOUNDARY]
        logit = exported_sentiment.serving.classifier(np.array([ids], np.int32))
        expected.append(float(tf.sigmoid(logit)[0]))
    np.testing.assert_allclose(scores(model, texts), expected, rtol=0, atol=1e-6)


def test_explain_shows_each_token_between_boundaries_and_nothing_in_padding(explained, difficult_texts):
    width = explained["tokens"].shape[1]
    assert width == max(explained["length"]) == LONGEST_TEXT_TOKENS + 2
    for row, (text, length) in enumerate(zip(difficult_texts, explained["length"], strict=True)):
        tokens = tokenize(tf.constant([text[-LONGEST_TEXT_BYTES:]])).to_list()[0][-LONGEST_TEXT_TOKENS:]
        shown = explained["tokens"][row].tolist()
        assert shown == [b"<s>", *tokens, b"</s>"] + [b""] * (width - length)
        for key in ["polarity", *GATES]:
            assert np.all(explained[key][row, :length] != 0), key
            assert np.all(explained[key][row, length:] == 0), key
    assert min(explained["length"]) == 2


def test_polarity_adds_up_to_the_logit_and_the_logit_to_the_score(explained, exported_sentiment):
    total = explained["polarity"].astype(np.float64).sum(axis=1) + explained["bias"]
    np.testing.assert_allclose(total, explained["logit"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(explained["score"], 1 / (1 + np.exp(-explained["logit"])), rtol=0, atol=1e-6)
    lstm, ngrams = exported_sentiment.serving.classifier.lstm, exported_sentiment.serving.classifier.ngrams
    a, b, c = np.asarray(exported_sentiment.serving.classifier.mixture)
    expected = a * float(lstm(np.array([[BOUNDARY, BOUNDARY]], np.int32))[0]) + b * float(ngrams.bias) + c
    np.testing.assert_allclose(explained["bias"], expected, rtol=0, atol=1e-5)
    assert abs(explained["bias"][0]) > 0.01


def test_gate_activities_are_the_means_of_the_gates_and_polarity_the_classifiers(model, exported_sentiment):
    text = b"It's not a dull film, but not the best!"
    (row,) = rows_of(explain(model, [text]))
    tokens = [token.decode() for token in row["tokens"][1:-1]]
    ids = [BOUNDARY, *exported_sentiment.vocabulary.lookup(tf.constant(tokens)).numpy(), BOUNDARY]
    classifier = exported_sentiment.serving.classifier
    _, _, polarity, directions = classifier.explain(np.array([ids], np.int32))
    np.testing.assert_allclose(row["polarity"], polarity[0], rtol=0, atol=1e-6)
    for direction, gates in zip(("forward", "backward"), directions, strict=True):
        for gate in ("input", "forget", "output"):
            expected = np.mean(getattr(gates, gate)[0], axis=-1)
            np.testing.assert_allclose(row[f"{direction}_{gate}"], expected, rtol=0, atol=1e-6)
            assert np.ptp(expected) > 0.01


def test_forward_gates_have_seen_what_stands_before_and_backward_gates_what_stands_behind(model):
    one, same_beginning, same_end = rows_of(
        explain(model, [b"the film best dull", b"the film a not", b"a not best dull"])
    )
    for gate in GATES:
        beginning_alike = np.abs(one[gate][:3] - same_beginning[gate][:3]) < 1e-6  # <s> the film
        end_alike = np.abs(one[gate][-3:] - same_end[gate][-3:]) < 1e-6  # best dull </s>
        if gate.startswith("forward"):
            assert beginning_alike.all(), gate
            assert not end_alike.any(), gate
        else:
            assert end_alike.all(), gate
            assert not beginning_alike.any(), gate


def prefixes(model, texts):
    return run_signatures(model.signatures, {"prefixes": {"text": strings(texts)}})["prefixes"]


def test_the_score_at_each_token_is_that_of_the_text_that_ends_there(model, exported_sentiment, difficult_texts):
    ids_of = {token: number for number, token in enumerate(exported_sentiment.vocabulary.tokens)}
    texts = [text for text in difficult_texts if len(text) < 1_000]
    found, shown = prefixes(model, texts), explain(model, texts)
    for name in ("tokens", "length"):
        np.testing.assert_array_equal(found[name], shown[name])
    beginnings = []
    for row in rows_of(found):
        words = [ids_of.get(token.decode(), UNKNOWN) for token in row["tokens"][1:-1]]
        beginnings.append([[BOUNDARY, *words[:count], BOUNDARY] for count in [*range(len(words) + 1), len(words)]])
    every = [ids for row in beginnings for ids in row]
    padded = np.zeros((len(every), max(map(len, every))), np.int32)
    for row, ids in zip(padded, every, strict=True):
        row[: len(ids)] = ids
    expected = iter(tf.sigmoid(exported_sentiment.serving.classifier(padded)).numpy().tolist())
    for row, length in enumerate(found["length"]):
        scores_of_row = [next(expected) for _ in range(length)]
        np.testing.assert_allclose(found["score"][row, :length], scores_of_row, rtol=0, atol=2e-6)
        assert (found["score"][row, length:] == -1).all()
    np.testing.assert_allclose([row["score"][-1] for row in rows_of(found)], scores(model, texts), rtol=0, atol=2e-6)


def test_words_of_a_text_one_by_one_are_its_prefixes(model):
    words = b"it's the best film , not a dull film !".split()
    beginnings = [b" ".join(words[:count]) for count in range(len(words) + 1)]
    (found,) = prefixes(model, [beginnings[-1]])["score"]
    expected = scores(model, beginnings)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(found, [*expected, expected[-1]], rtol=0, atol=2e-6)


def test_of_a_long_text_prefixes_are_read_at_every_so_many_tokens_back_from_the_last(model):
    rng = np.random.default_rng(0)
    most = LONGEST_TEXT_IN_PREFIXES
    counts = [1, most - 1, most, most + 1, 2 * most, 2 * most + 1, LONGEST_TEXT_TOKENS, LONGEST_TEXT_TOKENS + 9]
    words = [rng.choice([b"best", b"dull", b"film", b"not", b"the"], count).tolist() for count in counts]
    found = prefixes(model, [b" ".join(row) for row in words])
    # Some of those that were read, each on its own.
    asked = {(row, int(end)) for row, count in enumerate(counts) for end in rng.integers(0, min(count, 1024), 3)}
    for row, count in enumerate(counts):
        count = min(count, LONGEST_TEXT_TOKENS)
        step = -(-count // most)
        read = sorted({*range(count, -1, -step), count + 1})
        assert np.flatnonzero(found["score"][row] >= 0).tolist() == read
        assert len(read) <= most + 2
        assert (np.delete(found["score"][row], read) == -1).all()
        asked.add((row, count))
    asked = [(row, end) for row, end in sorted(asked) if found["score"][row, end] >= 0]
    expected = scores(model, [b" ".join(words[row][-LONGEST_TEXT_TOKENS:][:end]) for row, end in asked])
    assert len(asked) > 12
    np.testing.assert_allclose([found["score"][place] for place in asked], expected, rtol=0, atol=2e-6)


def units(model, texts):
    return run_signatures(model.signatures, {"units": {"text": strings(texts)}})["units"]


def test_units_are_those_of_the_largest_shares_which_the_layers_states_give(model, exported_sentiment):
    """By NumPy, from the states of each text alone."""
    texts = [b"It's not a dull film, but not the best!", b"", b"the best best film"]
    classifier = exported_sentiment.serving.classifier
    w_max, w_mean = np.split(np.asarray(classifier.lstm.head.kernel)[:, 0], 2)
    a, b, _ = np.asarray(classifier.mixture)
    answer, explained = units(model, texts), explain(model, texts)
    for name in ("tokens", "length"):
        np.testing.assert_array_equal(answer[name], explained[name])
    for row, length in enumerate(answer["length"]):
        tokens = [token.decode() for token in answer["tokens"][row, 1 : length - 1]]
        known = exported_sentiment.vocabulary.lookup(tf.constant(tokens, tf.string)).numpy()
        ids = np.array([[BOUNDARY, *known, BOUNDARY]], np.int32)
        states = np.concatenate([part[0] for part in classifier.lstm.encoder(ids)], axis=-1)  # (T, 2U)
        without = np.concatenate([part[0] for part in classifier.lstm.encoder(ids[:, [0, -1]])], axis=-1)
        beyond_max, beyond_mean = states.max(axis=0) - without.max(axis=0), states.mean(axis=0) - without.mean(axis=0)
        shares = a * (w_max * beyond_max + w_mean * beyond_mean)
        # Of an empty text all shares are 0, up to rounding, and then their order says nothing.
        order = np.where(answer["direction"][row] == b"forward", 0, 6) + answer["unit"][row]
        assert sorted(order) == list(range(12))
        assert (np.diff(np.abs(shares[order])) < 1e-6).all()
        np.testing.assert_allclose(answer["share"][row], shares[order], rtol=0, atol=1e-5)
        np.testing.assert_array_equal(answer["peak"][row], states.argmax(axis=0)[order])
        np.testing.assert_allclose(answer["state"][row, :, :length], states.T[order], rtol=0, atol=1e-6)
        assert (answer["state"][row, :, length:] == 0).all()
        ngrams = b * (classifier.ngrams(ids).numpy()[0] - np.asarray(classifier.ngrams.bias))
        np.testing.assert_allclose(answer["ngrams"][row], ngrams, rtol=0, atol=1e-5)
        assert abs(ngrams) > 0.01
    np.testing.assert_allclose(answer["logit"], explained["logit"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(answer["bias"], explained["bias"], rtol=0, atol=1e-5)


def test_shares_of_units_n_grams_and_bias_add_up_to_the_logit(model, difficult_texts):
    answer = units(model, difficult_texts)
    parts = answer["share"].sum(axis=1) + answer["others"] + answer["ngrams"] + answer["bias"]
    np.testing.assert_allclose(parts, answer["logit"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(1 / (1 + np.exp(-answer["logit"])), scores(model, difficult_texts), rtol=0, atol=2e-6)


def test_of_more_units_than_are_shown_the_others_are_added_up(exported_sentiment, monkeypatch):
    monkeypatch.setattr("nlp_lstm.sentiment.serving.MOST_UNITS", 5)
    serving = SentimentServing(exported_sentiment.serving.classifier, exported_sentiment.vocabulary)
    texts = tf.constant(["The best film!", "dull"])
    few, all_of_them = serving.units(texts), exported_sentiment.serving.units(texts)
    for name in ("direction", "unit", "share", "peak", "state"):
        np.testing.assert_array_equal(few[name], all_of_them[name][:, :5])
    np.testing.assert_allclose(few["others"], np.sum(all_of_them["share"][:, 5:], axis=1), rtol=0, atol=1e-5)
    assert np.abs(few["others"]).min() > 1e-3
    np.testing.assert_allclose(all_of_them["others"], [0, 0], rtol=0, atol=1e-5)


def test_classify_is_serving_default_from_examples(model, difficult_texts):
    answers = run_signatures(model.signatures, sentiment_inputs(difficult_texts))
    score = answers["serving_default"]["score"]
    np.testing.assert_allclose(answers["classify"]["scores"], np.stack([1 - score, score], axis=1), rtol=0, atol=1e-6)
    assert answers["classify"]["classes"].tolist() == [[b"negative", b"positive"]] * len(difficult_texts)


def test_classify_takes_a_missing_feature_as_an_empty_text_and_leaves_others_alone(model):
    other = tf.train.Example()
    other.features.feature["text"].bytes_list.value.append(b"The best film!")
    other.features.feature["stars"].int64_list.value.append(4)
    inputs = [serialized_example(), serialized_example(b"The best film!"), b"", other.SerializeToString()]
    answer = model.signatures["classify"](inputs=tf.constant(inputs))["scores"].numpy()
    empty, film = scores(model, [b"", b"The best film!"])
    assert abs(empty - film) > 1e-3
    np.testing.assert_allclose(answer[:, 1], [empty, film, empty, film], rtol=0, atol=1e-6)


def test_a_row_is_the_same_alone_in_any_order_and_beside_a_long_neighbour(model, difficult_texts):
    texts = [text for text in difficult_texts if len(text) < 1_000]
    order = np.random.default_rng(0).permutation(len(texts))
    together = list(rows_of(explain(model, texts)))
    shuffled = list(rows_of(explain(model, [texts[index] for index in order])))
    beside = list(rows_of(explain(model, [*texts, b"dull " * 1_000])))
    assert len(beside[-1]["tokens"]) == 1_002
    score = scores(model, texts)
    np.testing.assert_allclose(scores(model, [texts[index] for index in order]), score[order], rtol=0, atol=1e-6)
    np.testing.assert_allclose(scores(model, [*texts, b"dull " * 1_000])[:-1], score, rtol=0, atol=1e-6)
    for place, index in enumerate(order):
        (alone,) = rows_of(explain(model, [texts[index]]))
        assert_same_row(alone, together[index])
        assert_same_row(alone, shuffled[place])
        assert_same_row(alone, beside[index])
        np.testing.assert_allclose(scores(model, [texts[index]]), [score[index]], rtol=0, atol=1e-6)


def test_only_the_last_tokens_are_taken(model):
    # Not the same few words over and over: then states repeat, and which of them is the highest hangs on rounding.
    words = np.random.default_rng(0).choice(
        [b"best", b"dull", b"film", b"not", b"the", b"zzz"], LONGEST_TEXT_TOKENS - 1
    )
    tail = b"best " + b" ".join(words)
    longer = [b"a the " * 50 + tail, b"not " + tail]
    whole, *clamped = rows_of(explain(model, [tail, *longer]))
    assert whole["length"] == LONGEST_TEXT_TOKENS + 2
    for row in clamped:
        assert_same_row(row, whole)
    full_score, *clamped_scores = scores(model, [tail, *longer])
    np.testing.assert_allclose(clamped_scores, full_score, rtol=0, atol=1e-6)
    (one_fewer,) = scores(model, [tail.removeprefix(b"best ")])
    assert abs(one_fewer - full_score) > 1e-5  # the first of the last tokens is still read


def test_only_the_last_bytes_are_read(model):
    just_whole = b"best " + b"z" * (LONGEST_TEXT_BYTES - len(b"best  film")) + b" film"
    assert len(just_whole) == LONGEST_TEXT_BYTES
    long = (b"best " + b"dull" * 100 + b" " + b"not " * 2) * 200
    assert len(long) > LONGEST_TEXT_BYTES
    texts = [just_whole, just_whole.replace(b" z", b"  z"), long, long[-LONGEST_TEXT_BYTES:]]
    whole, cut, clamped, tail = rows = list(rows_of(explain(model, texts)))
    assert whole["tokens"][:2].tolist() == [b"<s>", b"best"]
    assert cut["tokens"][:2].tolist() == [b"<s>", b"est"]
    assert clamped["length"] < LONGEST_TEXT_TOKENS
    assert_same_row(clamped, tail)
    np.testing.assert_allclose(scores(model, texts), [row["score"] for row in rows], rtol=0, atol=1e-6)


def test_a_cut_through_a_character_leaves_valid_utf_8(model):
    texts = [" ".join(["é" * 200] * 400).encode() + b"x" * shift for shift in (0, 1)]
    cut_through = [text[-LONGEST_TEXT_BYTES] & 0xC0 == 0x80 for text in texts]  # a byte that continues a character
    assert sorted(cut_through) == [False, True]
    for row, expected in zip(rows_of(explain(model, texts)), cut_through, strict=True):
        tokens = [token.decode("utf-8") for token in row["tokens"]]
        assert len(tokens) < LONGEST_TEXT_TOKENS
        assert (tokens[1] == "\ufffd") == expected


@pytest.mark.parametrize("name", ["serving_default", "explain"])
@pytest.mark.parametrize("form", ["values", "objects"])
def test_a_rest_request_in_row_form_goes_there_and_back_without_loss(model, difficult_texts, name, form):
    texts = [text.decode("utf-8", errors="replace") for text in difficult_texts if len(text) < 1_000]
    instances = texts if form == "values" else [{"text": text} for text in texts]
    answer, outputs = rest_answer(model.signatures[name], json.dumps({"instances": instances}))
    predictions = json.loads(answer)["predictions"]
    assert len(predictions) == len(texts)
    for key, value in outputs.items():
        column = [row[key] for row in predictions]
        if value.dtype == object:
            expected = [[item.decode() for item in np.atleast_1d(row)] for row in value]
            assert [np.atleast_1d(row).tolist() for row in column] == expected, key
        else:
            received = np.array(column, value.dtype)  # fails where rows differ in length
            np.testing.assert_array_equal(received, value, err_msg=key)
    np.testing.assert_allclose(
        [row["score"] for row in predictions],
        scores(model, [text.encode() for text in texts]),
        rtol=0,
        atol=1e-6,
    )
