"""Small training runs of each app, and what must be the same of two of them."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from nlp_lstm import saved_model

TEXT = 'ROMEO:\nThe (cat) sat on the mat. "Why?" said the dog.\n\n"It [was] mine," he said.\nAnd so on.\n' * 25

SETTINGS: dict[str, dict[str, Any]] = {
    "sentiment": {
        "vocabulary-size": 300,
        "embedding-size": 6,
        "units": 5,
        "pretraining-epochs": 1,
        "samples": 20,
        "epochs": 2,
        "tokens-per-batch": 1536,
        "longest-training-text": 48,
        "learning-rate": 0.02,
        "ngram-buckets": 500,
    },
    "char_lm": {
        "embedding-size": 6,
        "units": 7,
        "epochs": 3,
        "batch-size": 4,
        "window": 16,
        "learning-rate": 0.02,
        "averaging": 0.9,
    },
    "translation": {
        "subwords": 300,
        "subword-sampling": 0.0,
        "longest": 12,
        "embedding-size": 16,
        "encoder-units": 8,
        "decoder-units": 12,
        "attention-size": 6,
        "epochs": 2,
        "tokens-per-batch": 384,
        "learning-rate": 0.03,
        "averaging": 0.7,
    },
}

TEXTS = ["A fine film.", "the cat sat", "a b c d", "", "é 😀 <br />"]


def write_data(app: str, folder: Path) -> str:
    """What to train an app on: for `--data`."""
    if app == "sentiment":
        return "sample"
    folder.mkdir(parents=True, exist_ok=True)
    if app == "char_lm":
        (folder / "input.txt").write_text(TEXT)
        return str(folder / "input.txt")
    rng = np.random.default_rng(0)
    sentences = {" ".join(rng.choice(list("abcdef"), rng.integers(8, 11))) for _ in range(150)}
    lines = "".join(f"{sentence}\t{sentence.upper()}\n" for sentence in sorted(sentences))
    (folder / "letters.tsv").write_text(lines)
    return str(folder / "letters.tsv")


def train_command(app: str, data: str, run: Path) -> list[Any]:
    flags = {"seed": 5, **SETTINGS[app]}
    return [
        "train",
        "--data",
        data,
        "--run",
        run,
        *(word for name, value in flags.items() for word in (f"--{name}", value)),
    ]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Of a finished run: its figures, less times, and its weights."""

    rows: list[dict[str, Any]]
    weights: dict[str, np.ndarray]


def outcome(run: Path) -> Outcome:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        del row["seconds"], row["cpu_seconds"]
    weights: dict[str, np.ndarray] = {}

    def take(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            weights[name] = np.asarray(item)

    with h5py.File(run / "model.weights.h5") as file:
        file.visititems(take)
    assert weights
    return Outcome(rows, weights)


def differences(found: Outcome, expected: Outcome) -> str:
    """What is not the same, in one line; "" for nothing."""
    if found.rows != expected.rows:
        return f"figures {found.rows} instead of {expected.rows}"
    if found.weights.keys() != expected.weights.keys():
        return f"weights {sorted(found.weights)} instead of {sorted(expected.weights)}"
    other = [name for name, value in expected.weights.items() if not np.array_equal(found.weights[name], value)]
    return f"other weights: {', '.join(other)}" if other else ""


def answers(model: Path) -> dict[str, Any]:
    """What each signature of an exported model that takes texts alone answers, and the files of its version."""
    import tensorflow as tf

    loaded = saved_model.load(model)
    found = {}
    for name, function in sorted(loaded.signatures.items()):
        specs = function.structured_input_signature[1]
        if len(specs) == 1 and name != "classify":
            (key,) = specs
            found[name] = {part: value.numpy() for part, value in function(**{key: tf.constant(TEXTS)}).items()}
    assert found
    return found


def are_alike(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Whether answers are the same, but for rounding."""
    return found.keys() == expected.keys() and all(
        found[name].keys() == outputs.keys()
        and all(
            found[name][key].shape == value.shape
            and (
                np.allclose(found[name][key], value, rtol=1e-5, atol=1e-5)
                if value.dtype.kind == "f"
                else np.array_equal(found[name][key], value)
            )
            for key, value in outputs.items()
        )
        for name, outputs in expected.items()
    )


def files_below(folder: Path) -> dict[str, bytes]:
    """Contents by relative path, of what is not hidden."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }
