"""A finished run of a sentiment classifier as a SavedModel with its model card."""

import dataclasses
from pathlib import Path

import tensorflow as tf

from nlp_lstm import saved_model
from nlp_lstm.run_folder import RunFolder
from nlp_lstm.sentiment.build import load_run
from nlp_lstm.sentiment.limits import LONGEST_TEXT_BYTES, LONGEST_TEXT_TOKENS
from nlp_lstm.sentiment.serving import SentimentServing
from nlp_lstm.sentiment.settings import BLEND, Settings

_EXAMPLE_TEXTS = ["One of the best films of the year.", "A dull, lifeless mess."]


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
    return saved_model.save(serving, target, warm_up, _model_card(run, settings, classifier.count_params()))


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
