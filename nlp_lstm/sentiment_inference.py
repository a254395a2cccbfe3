"""Using a sentiment model, be it a training run or an exported SavedModel: predict, evaluate, explain, export."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from nlp_lstm import datasets, export, metrics
from nlp_lstm.errors import UserError
from nlp_lstm.files import told_if_unwritable
from nlp_lstm.sentiment import BLEND, Settings, load_run
from nlp_lstm.sentiment_serving import LONGEST_TEXT_BYTES, LONGEST_TEXT_TOKENS, SentimentServing
from nlp_lstm.text import tokenize
from nlp_lstm.training import RunFolder

TEXTS_IN_BATCH = 64
_EXAMPLE_TEXTS = ["One of the best films of the year.", "A dull, lifeless mess."]

Signature = Callable[..., Mapping[str, Any]]


def open_signature(model: Path, run: Path | None, signature: str = "serving_default") -> Signature:
    """A signature of a training run where one is named, else of an exported model: texts in, a dict of tensors out."""
    if run is not None:
        classifier, vocabulary, _ = load_run(RunFolder(run))
        held: Any = SentimentServing(classifier, vocabulary)
    else:
        held = export.load(model, signature, "classify")  # which no other app's models have
    function = held.signatures[signature]

    def call(text: Any) -> Mapping[str, Any]:
        # TensorFlow frees the variables of a module that nobody holds, though its functions live on.
        assert held is not None
        return function(text=text)

    return call


def predict(signature: Signature, texts: Sequence[bytes]) -> dict[str, np.ndarray]:
    """Every output of a signature for all texts, in their order: each `(texts, ...)`.

    Texts of like length share a batch, so that little is padded.
    """
    order = np.argsort([len(text) for text in texts], kind="stable")
    answers = []
    for start in range(0, len(order), TEXTS_IN_BATCH):
        batch = tf.constant([texts[index] for index in order[start : start + TEXTS_IN_BATCH]])
        answers.append({name: value.numpy() for name, value in signature(text=batch).items()})
    places = np.argsort(order)
    return {name: np.concatenate([answer[name] for answer in answers])[places] for name in answers[0]}


def explain(signature: Signature, text: bytes) -> dict[str, Any]:
    """What the `explain` signature says of one text, its tokens as strings and nothing of the padding."""
    answer = {name: value.numpy()[0] for name, value in signature(text=tf.constant([text])).items()}
    length = int(answer["length"])
    answer["tokens"] = [token.decode("utf-8") for token in answer["tokens"][:length]]
    answer["polarity"] = answer["polarity"][:length]
    answer["label"] = answer["label"].decode()
    return answer


def evaluate(
    signature: Signature,
    source: str,
    split: datasets.Split,
    seed: int,
    plots: Path | None,
    validation_fraction: float = Settings.validation_fraction,
) -> dict[str, Any]:
    """Judge a model on a split of a source: `nlp_lstm.metrics.binary_classification` and the throughput."""
    records = datasets.load(source, [split], validation_fraction=validation_fraction, seed=seed)[split]
    texts = [record.text.encode("utf-8") for record in records]
    labels = [record.label for record in records if record.label is not None]
    if len(labels) < max(1, len(texts)):
        raise UserError(f"the split '{split}' of '{source}' has no labels to judge by: evaluate on another --split")
    if plots is not None:
        with told_if_unwritable("--plots", plots):  # before the work, which would be lost
            plots.mkdir(parents=True, exist_ok=True)
    predict(signature, texts[:1])  # the first call of a graph is slower, and no figure of its speed
    started = time.perf_counter()
    scores = predict(signature, texts)["score"]
    seconds = time.perf_counter() - started
    if plots is not None:
        with told_if_unwritable("--plots", plots):
            metrics.draw_confusion(labels, scores, datasets.LABELS, plots / "confusion.png")
            metrics.draw_reliability(labels, scores, plots / "reliability.png")
    return {
        "data": source,
        "split": split,
        **metrics.binary_classification(labels, scores, _lengths(texts)),
        "seconds": round(seconds, 2),
        "texts_per_second": round(len(texts) / seconds, 1),
    }


def _lengths(texts: Sequence[bytes]) -> list[int]:
    lengths: list[int] = []
    for start in range(0, len(texts), 1000):
        lengths.extend(tokenize(tf.constant(texts[start : start + 1000])).row_lengths().numpy().tolist())
    return lengths


def export_run(run: RunFolder, target: Path) -> Path:
    """Write a finished run as the next version of a SavedModel below `target`."""
    classifier, vocabulary, settings = load_run(run)
    serving = SentimentServing(classifier, vocabulary)
    examples = [
        tf.train.Example(
            features=tf.train.Features(
                feature={"text": tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode()]))}
            )
        ).SerializeToString()
        for text in _EXAMPLE_TEXTS
    ]
    warm_up = {
        "serving_default": {"text": _EXAMPLE_TEXTS},
        "classify": {"inputs": examples},
        "explain": {"text": _EXAMPLE_TEXTS},
    }
    return export.save(serving, target, warm_up, _model_card(run, settings, classifier.count_params()))


def _model_card(run: RunFolder, settings: Settings, weights: int) -> str:
    rows = run.metrics()
    training = [row for row in rows if row["stage"] == "training"]
    best = max(training, key=lambda row: row["val_accuracy"])
    data = Path(run.config()["data"]).name
    figures = [
        f"| validation (other films than in training), LSTM alone | {best['val_accuracy']:.4f} | | |",
    ]
    for row in (row for row in rows if row["stage"] == BLEND):
        figures.append(f"| validation, n-grams alone | {row['ngram_accuracy']:.4f} | | |")
        figures.append(f"| validation, both (their mixture was set on it) | {row['accuracy']:.4f} | | |")
    for found in run.evaluations():
        figures.append(
            f"| {found['split']} of {Path(found['data']).name} ({found['examples']:,} texts) | {found['accuracy']:.4f} "
            f"| {found['roc_auc']:.4f} | {found['expected_calibration_error']:.4f} |"
        )
    minutes = sum(row["seconds"] for row in rows) / 60
    processor_minutes = sum(row["cpu_seconds"] for row in rows) / 60
    lines = [
        "# Sentiment of English reviews",
        "",
        "Takes text, gives `negative` or `positive` and P(positive). An embedding, an LSTM in each direction,",
        "maximum and mean over the tokens, one linear unit.",
        *(
            ["Its logit and that of a linear model over n-grams are weighted and added."]
            if settings.ngram_buckets
            else []
        ),
        "",
        "## Data",
        "",
        f"Trained on `{data}`. Validation data was cut from its training split, and everything was chosen on it.",
        *_DATA_NOTES.get(data.split(".")[0], []),
        "",
        "## Figures",
        "",
        "| data | accuracy | ROC AUC | expected calibration error |",
        "|---|---|---|---|",
        *figures,
        "",
        f"Training took {minutes:.1f} minutes ({processor_minutes:.1f} processor minutes) over {len(rows)} epochs.",
        "",
        "## Limits",
        "",
        f"Of a text the last {LONGEST_TEXT_BYTES:,} bytes are read, and of those the last",
        f"{LONGEST_TEXT_TOKENS:,} tokens.",
        "Another language, another kind of text than the training data, irony, and texts that weigh two things against",
        "each other are answered with less accuracy than the figures say, and often with no less confidence. A text",
        "of unknown words alone gets a score that means nothing.",
        "",
        "## Settings",
        "",
        f"{weights:,} weights; the embedding and the n-gram weights are stored in half precision, to which they were",
        "rounded when training ended.",
        "",
        *(f"- `{name}`: {value}" for name, value in dataclasses.asdict(settings).items()),
        "",
    ]
    return "\n".join(lines)


_DATA_NOTES = {
    "aclImdb": [
        "",
        "Large Movie Review Dataset: Maas, Daly, Pham, Huang, Ng and Potts, *Learning Word Vectors for Sentiment",
        "Analysis*, ACL 2011. Pre-training read the training reviews (validation films left out) and the unlabelled",
        "ones, less the 270 of those whose text (266 different ones) occurs in the test split. 123 texts occur in",
        "both the training and the test split; they were left in, as in all published figures.",
    ],
    "sample": ["", "The sample is some hundreds of short reviews: enough to try the suite, not to judge texts with."],
}
