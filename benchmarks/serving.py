"""Time every signature of the shipped SavedModels, a sentiment model beside one of Keras, a cold start, and the page.

    python benchmarks/serving.py
    python benchmarks/serving.py --json
    python benchmarks/serving.py --only sentiment --batches 1 --part signatures

Signatures are run by TensorFlow in this process, as a server runs them, but without a server's own share. Rows take
turns, a few calls each, until each has had its time. The playground is a program of its own, asked over HTTP what its
page asks.
"""

import argparse
import http.client
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from measuring import machine, seconds_of

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ROOT / "saved_models"
PARTS = ("signatures", "cold-start", "playground")
TWENTY_WORDS = "A man in a blue shirt is standing on a ladder, cleaning the window of a house while children play."
ROUNDS = 4  # turns of each row
MOST_CALLS = 1000
WRITTEN = 100  # characters of `generate`, a row
LIKELIEST = 20  # of `likeliest`
OWN = "sentiment without n-grams"
KERAS = "sentiment, keras.layers.LSTM"
KERAS_STEPS = "sentiment, keras.layers.LSTM, as many steps"


def parse_arguments():
    parser = argparse.ArgumentParser(
        description="Time what is served.",
        epilog="""\
fields
  model, signature, batch     which signature, and how many rows a call has
  calls                       how many were timed
  median_ms, p99_ms           of a call
  rows_per_second             by the median
  steps                       of each direction's loop: the tokens of the longest row
  times_keras                 of the rows "sentiment without n-grams": rows_per_second by that of the same model built
                              on keras.layers.LSTM, with Keras's own TextVectorization, and exported by model.export;
                              it drops punctuation, so its loops have fewer steps
  times_keras_with_as_many_steps  the same, where Keras's model is given texts of as many words as the other's tokens

cold start, of a new process, in seconds
  import                      of TensorFlow
  load                        until the model is loaded
  warm_up                     its warm-up requests, where they are run
  first, second               answers after that, to serving_default

playground, a sentence of 20 words
  median_ms, p99_ms           until the answers are there that a part of the page asks for first, all at once, and draws
  answer_bytes                of these
  behind                      what it asks for when it has drawn these
  behind_median_ms            until that is there as well""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--models", type=Path, default=SHIPPED, help="a folder of folders of versions")
    parser.add_argument("--only", action="append", help="this model alone; may be repeated")
    parser.add_argument("--batches", default="1,8,64", help="rows of a call (default: 1,8,64)")
    parser.add_argument("--seconds", type=float, default=1.5, help="that each row is timed for (default: 1.5)")
    parser.add_argument("--intra-op", type=int, default=1, help="TensorFlow's threads within an operation (default: 1)")
    parser.add_argument("--inter-op", type=int, default=2, help="its threads for operations side by side (default: 2)")
    parser.add_argument("--part", action="append", choices=PARTS, help="this part alone; may be repeated")
    parser.add_argument("--rounds", type=int, default=30, help="of the playground (default: 30)")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    arguments = parser.parse_args()
    arguments.batches = [int(one) for one in arguments.batches.split(",")]
    counts = [*arguments.batches, arguments.intra_op, arguments.inter_op, arguments.rounds]
    if min(counts) < 1 or arguments.seconds <= 0:
        parser.error("--batches, --seconds, --intra-op, --inter-op and --rounds must be above 0")
    arguments.part = arguments.part or PARTS
    return arguments


def sentences():
    """Texts of about 20 words: sources and translations of the packaged sample, two by two."""
    from nlp_lstm.datasets.pairs import load_pairs

    sources = load_pairs("sample", ["train"])["train"].source
    return [f"{one} {other}"[:200] for one, other in zip(sources[::2], sources[1::2], strict=False)][:64]


def inputs_of(signature, function, batch, texts):
    """What a signature is asked: the next texts, and of other inputs what their names say."""
    import tensorflow as tf

    rows = [texts[row % len(texts)].encode() for row in range(batch)]
    numbers = {"length": WRITTEN, "temperature": 0.8, "top_k": 0, "top_p": 1.0, "beam_size": 5}
    inputs = {}
    for name, spec in function.structured_input_signature[1].items():
        if signature == "classify":
            feature = [tf.train.Feature(bytes_list=tf.train.BytesList(value=[row])) for row in rows]
            examples = [tf.train.Example(features=tf.train.Features(feature={"text": one})) for one in feature]
            inputs[name] = tf.constant([example.SerializeToString() for example in examples])
        elif spec.dtype == tf.string:
            inputs[name] = tf.constant([row[:1] for row in rows] if name == "char" else rows)
        elif name == "seed":
            inputs[name] = tf.range(batch)
        elif name in numbers:
            inputs[name] = tf.fill([batch], tf.constant(numbers[name], spec.dtype))
        else:
            inputs[name] = tf.zeros([batch, *spec.shape[1:]], spec.dtype)  # a state
    if "beam_size" in inputs and "length" in inputs:
        inputs["length"] = tf.fill([batch], LIKELIEST)
    return inputs


def as_words(texts):
    """Texts of which Keras's TextVectorization makes as many tokens as the sentiment model makes of these."""
    from nlp_lstm.text.words import tokenize

    rows = [["start", *row, "end"] for row in tokenize(texts).to_list()]
    return [" ".join(f"word{number}" for number, _ in enumerate(row)) for row in rows]


def call_of(function, inputs):
    """A function that runs a signature and waits for all of its outputs."""

    def call():
        for value in function(**inputs).values():
            value.numpy()

    return call


def sentiment_sizes(model):
    """Of the shipped sentiment model: subwords, embedding and units, by its model card."""
    card = (model / "model_card.md").read_text(encoding="utf-8")
    given = dict(re.findall(r"^- `(\w+)`: (\d+)$", card, re.MULTILINE))
    return {name: int(given[name]) for name in ("vocabulary_size", "embedding_size", "units")}


def own_sentiment(folder, sizes, words):
    """The sentiment model without n-grams and with random weights, as `export` writes it."""
    from nlp_lstm import saved_model
    from nlp_lstm.models.classifier import SentimentClassifier
    from nlp_lstm.models.encoder import BidirectionalEncoder
    from nlp_lstm.sentiment.serving import SentimentServing
    from nlp_lstm.text.vocabulary import Vocabulary

    vocabulary = Vocabulary(["", "[UNK]", "[BOUND]", *words])
    encoder = BidirectionalEncoder(len(vocabulary), sizes["embedding_size"], sizes["units"])
    classifier = SentimentClassifier(encoder)
    classifier.build((None, None))
    serving = SentimentServing(classifier, vocabulary)
    warm_up = {name: {"inputs" if name == "classify" else "text": ["a film"]} for name in serving.signatures}
    warm_up["classify"] = {"inputs": [b""]}
    return saved_model.save(serving, folder, warm_up, "# A sentiment model of random weights\n")


def keras_sentiment(folder, sizes, words):
    """The same network on keras.layers.LSTM, as one would build and export it."""
    import keras
    import tensorflow as tf

    warnings.filterwarnings("ignore", ".*support masking.*")  # that the maximum sees padding makes no difference here
    text = keras.Input((1,), dtype="string", name="text")
    ids = keras.layers.TextVectorization(vocabulary=words)(text)
    features = keras.layers.Embedding(len(words) + 2, sizes["embedding_size"], mask_zero=True)(ids)
    states = keras.layers.Bidirectional(keras.layers.LSTM(sizes["units"], return_sequences=True))(features)
    pooled = [keras.layers.GlobalMaxPooling1D()(states), keras.layers.GlobalAveragePooling1D()(states)]
    score = keras.layers.Dense(1, activation="sigmoid")(keras.layers.Concatenate()(pooled))
    model = keras.Model(text, score)
    model(tf.constant([["a film"]]))  # a vectorization that was never called is not exported whole
    model.export(str(folder), input_signature=[tf.TensorSpec([None, 1], tf.string, name="text")], verbose=False)
    return folder


def time_in_turns(calls, seconds):
    """For each call the seconds that each of its runs took."""
    times = {name: [] for name in calls}
    for call in calls.values():
        call()
        call()
    for _ in range(ROUNDS):
        for name, call in calls.items():
            end = time.perf_counter() + seconds / ROUNDS
            while not times[name] or (time.perf_counter() < end and len(times[name]) < MOST_CALLS):
                times[name].append(seconds_of(call))
    return times


COLD_START = """
import json, os, sys, time
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
started = time.perf_counter()
import tensorflow as tf
times = {"import": time.perf_counter() - started}
path, text, is_warmed_up, intra_op, inter_op = json.loads(sys.argv[1])
tf.config.threading.set_intra_op_parallelism_threads(intra_op)
tf.config.threading.set_inter_op_parallelism_threads(inter_op)

def timed(name, call):
    started = time.perf_counter()
    result = call()
    times[name] = time.perf_counter() - started
    return result

model = timed("load", lambda: tf.saved_model.load(path))

def warm_up():
    from tensorflow_serving.apis import prediction_log_pb2
    for record in tf.data.TFRecordDataset(path + "/assets.extra/tf_serving_warmup_requests"):
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        inputs = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
        model.signatures[request.model_spec.signature_name](**inputs)

if is_warmed_up:
    timed("warm_up", warm_up)
(name,) = model.signatures["serving_default"].structured_input_signature[1]
ask = lambda: [one.numpy() for one in model.signatures["serving_default"](**{name: tf.constant([text])}).values()]
timed("first", ask)
timed("second", ask)
print(json.dumps({name: round(value, 3) for name, value in times.items()}))
"""


def cold_start(version, text, is_warmed_up, arguments):
    told = json.dumps([str(version), text, is_warmed_up, arguments.intra_op, arguments.inter_op])
    done = subprocess.run([sys.executable, "-c", COLD_START, told], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def page_requests(models, signatures):
    """For each part of the page what it asks for, and what behind that: lists of model, signature and inputs."""
    words = TWENTY_WORDS.split()
    cuts = [" ".join(words[:count]) for count in range(len(words) + 1)]
    curve = ("prefixes", [TWENTY_WORDS]) if "prefixes" in signatures.get("sentiment", ()) else ("serving_default", cuts)
    asked = {
        "sentiment": (
            [
                ("sentiment", "explain", {"text": [TWENTY_WORDS]}),
                ("sentiment", curve[0], {"text": curve[1]}),
            ],
            [],
        ),
        "translation": (
            [("translation", "explain", {"text": [TWENTY_WORDS]})],
            [("translation", "n_best", {"text": [TWENTY_WORDS], "beam_size": [5]})],
        ),
        "cell": ([("char_lm", "gates", {"text": [TWENTY_WORDS]})], []),
    }
    return {part: requests for part, requests in asked.items() if requests[0][0][0] in models}


def exchanged(connection, method, path, body=None):
    connection.request(method, path, body)
    answer = connection.getresponse()
    content = answer.read()
    assert answer.status == 200, content[:300]
    return content


def time_playground(arguments, names):
    """Start the playground, and ask what its page asks."""
    command = [sys.executable, str(ROOT / "apps" / "playground.py"), "--port", "0", "--no-open"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = time.perf_counter()
    with subprocess.Popen(
        [*command, "--models", str(arguments.models)], env=environment, stdout=subprocess.PIPE, text=True
    ) as program:
        try:
            host, port = re.search(r"//([\d.]+):(\d+)/", program.stdout.readline()).groups()
            page_is_there = time.perf_counter() - started
            connections = [http.client.HTTPConnection(host, int(port), timeout=120) for _ in range(2)]
            signatures = {}
            for name in names:
                while True:
                    (version,) = json.loads(exchanged(connections[0], "GET", f"/v1/models/{name}"))[
                        "model_version_status"
                    ]
                    if version["state"] == "AVAILABLE":
                        break
                    assert version["state"] in ("START", "LOADING"), version
                    time.sleep(0.05)
                told = json.loads(exchanged(connections[0], "GET", f"/v1/models/{name}/metadata"))
                signatures[name] = told["metadata"]["signature_def"]["signature_def"]
            models_are_there = time.perf_counter() - started
            rows = []
            with ThreadPoolExecutor(2) as threads:

                def ask(requests):
                    """Ask all at once; bytes of the answers."""
                    bodies = [
                        (f"/v1/models/{model}:predict", json.dumps({"signature_name": signature, "inputs": inputs}))
                        for model, signature, inputs in requests
                    ]
                    waiting = [
                        threads.submit(exchanged, one, "POST", *body)
                        for one, body in zip(connections, bodies, strict=False)
                    ]
                    return sum(len(one.result()) for one in waiting)

                for part, (first, behind) in page_requests(names, signatures).items():
                    size = ask(first)
                    ask(behind)
                    times, whole = [], []
                    for _ in range(arguments.rounds):
                        times.append(seconds_of(lambda first=first: ask(first)))
                        whole.append(times[-1] + seconds_of(lambda behind=behind: ask(behind)))
                    row = {
                        "part": part,
                        "signatures": [signature for _, signature, _ in first],
                        "median_ms": round(1000 * statistics.median(times), 1),
                        "p99_ms": round(1000 * float(np.percentile(times, 99)), 1),
                        "answer_bytes": size,
                    }
                    if behind:
                        row["behind"] = [signature for _, signature, _ in behind]
                        row["behind_median_ms"] = round(1000 * statistics.median(whole), 1)
                    rows.append(row)
            return {
                "page_seconds": round(page_is_there, 2),
                "models_seconds": round(models_are_there, 2),
                "parts": rows,
            }
        finally:
            program.send_signal(signal.SIGINT)


def time_signatures(arguments, names, texts):
    """A row for each signature and batch."""
    import keras
    import tensorflow as tf

    from nlp_lstm import saved_model

    loaded, calls, steps, given, rows = {}, {}, {}, {}, []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            loaded[name] = saved_model.load(arguments.models / name)
        if "sentiment" in names:
            sizes = sentiment_sizes(arguments.models / "sentiment")
            words = sorted({word.lower() for text in texts for word in re.findall(r"\w+", text)})
            words += [f"word{number}" for number in range(sizes["vocabulary_size"] - len(words))]
            own = own_sentiment(Path(folder) / "own", sizes, words)
            other = keras_sentiment(Path(folder) / "keras", sizes, words)
            loaded[OWN] = saved_model.load(own)
            loaded[KERAS] = loaded[KERAS_STEPS] = saved_model.load(other)
            given[KERAS_STEPS] = as_words(texts)
            vectorization = keras.layers.TextVectorization(vocabulary=words)
        for batch in arguments.batches:
            for name, model in loaded.items():
                for signature, function in sorted(model.signatures.items()):
                    if name in (OWN, KERAS, KERAS_STEPS) and signature != "serving_default":
                        continue
                    inputs = inputs_of(signature, function, batch, given.get(name, texts))
                    if name in (KERAS, KERAS_STEPS):
                        inputs = {key: tf.reshape(value, [-1, 1]) for key, value in inputs.items()}
                        steps[name, batch] = vectorization(inputs["text"]).shape[1]
                    calls[name, signature, batch] = call_of(function, inputs)
        print(f"timing {len(calls)} rows, {arguments.seconds:g} s each", file=sys.stderr)
        times = time_in_turns(calls, arguments.seconds)
    rates = {key: key[2] / statistics.median(found) for key, found in times.items()}
    for (name, signature, batch), found in times.items():
        row = {
            "model": name,
            "signature": signature,
            "batch": batch,
            "calls": len(found),
            "median_ms": round(1000 * statistics.median(found), 2),
            "p99_ms": round(1000 * float(np.percentile(found, 99)), 2),
            "rows_per_second": round(rates[name, signature, batch], 1),
        }
        if (name, batch) in steps:
            row["steps"] = steps[name, batch]
        if name == OWN:
            row["steps"] = steps[KERAS_STEPS, batch]
            rate = rates[name, signature, batch]
            row["times_keras"] = round(rate / rates[KERAS, signature, batch], 2)
            row["times_keras_with_as_many_steps"] = round(rate / rates[KERAS_STEPS, signature, batch], 2)
        rows.append(row)
    return rows


def main():
    arguments = parse_arguments()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(arguments.intra_op)
    tf.config.threading.set_inter_op_parallelism_threads(arguments.inter_op)
    from nlp_lstm import saved_model

    here, texts = machine(), sentences()
    names = arguments.only or sorted(path.name for path in arguments.models.iterdir() if saved_model.versions(path))
    result = {"machine": here, "threads": {"intra_op": arguments.intra_op, "inter_op": arguments.inter_op}}
    if "signatures" in arguments.part:
        result["signatures"] = time_signatures(arguments, names, texts)
    if "cold-start" in arguments.part:
        versions = {name: saved_model.resolve(arguments.models / name) for name in names}
        result["cold_start"] = [
            {"model": name, **cold_start(version, texts[0], is_warmed_up, arguments)}
            for name, version in versions.items()
            for is_warmed_up in (False, True)
        ]
    if "playground" in arguments.part:
        result["playground"] = time_playground(arguments, names)
    if arguments.json:
        print(json.dumps(result))
        return
    playground = result.get("playground", {})
    for row in [here, *result.get("signatures", []), *result.get("cold_start", [])]:
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    for row in [{key: value for key, value in playground.items() if key != "parts"}, *playground.get("parts", [])]:
        print("  ".join(f"{key} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
