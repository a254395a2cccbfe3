"""The translator: the settings of a run, and training from sentence pairs to a run folder."""

import dataclasses
import functools
import hashlib
import math
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from nlp_lstm.datasets.pairs import Pairs, load_pairs
from nlp_lstm.errors import UserError
from nlp_lstm.files import atomic_path
from nlp_lstm.models.translator import Attention, NatsPerToken, TeacherForcing, Translator, smoothed_loss
from nlp_lstm.pair_batches import IdPair, PairBatches
from nlp_lstm.settings import Range, check_ranges
from nlp_lstm.subwords import Subwords
from nlp_lstm.training import RunFolder, Stage, adam, load_finished, train_stage
from nlp_lstm.translation_metrics import validation_bleu
from nlp_lstm.translation_serving import TranslationServing

TASK = "translation"


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a translator is built and trained; each is a flag of `train`.

    Raises:
        UserError: if a value is out of its range.
    """

    seed: int = 0
    "Settles the weights, the order of the batches, how words are split in training and every dropout mask."
    source_language: str = ""
    "Language to translate from, as the data calls it; where the data tells, it need not be named."
    target_language: str = ""
    "Language to translate into."
    reverse: bool = False
    "Translate from the second column of a table into the first."
    validation_fraction: float = 0.05
    "Share of the pairs that chooses the best epoch, where the source has no validation part of its own."
    subwords: int = 4000
    "Number of subwords, with 256 for bytes: of both languages together, or of each."
    separate_subwords: bool = False
    "Let each language have subwords, and an embedding, of its own."
    subword_sampling: float = 0.3
    "Draw how words are split in training, by probabilities to this power (less is more daring); 0 never to."
    longest: int = 128
    "Training leaves out pairs with more subwords on either side."
    embedding_size: int = 256
    "Width of the embedding, which source, target and output share."
    encoder_units: int = 224
    "Width of each direction of the encoder."
    encoder_layers: int = 1
    "Number of bidirectional LSTMs on top of one another."
    decoder_units: int = 320
    "Width of the decoder's LSTM."
    attention: Attention = "dot"
    "How a state of the decoder is held against those of the encoder."
    attention_size: int = 160
    "Width in which they are."
    embedding_dropout: float = 0.2
    "Rate at which embedding features are dropped, the same ones in the whole sentence."
    memory_dropout: float = 0.3
    "Rate at which features of the encoder's states are dropped."
    output_dropout: float = 0.4
    "Rate at which features are dropped before the guess."
    recurrent_kernel_dropout: float = 0.1
    "Rate at which recurrent weights are dropped (DropConnect)."
    label_smoothing: float = 0.1
    "Share of a guess that is to be spread over all subwords."
    epochs: int = 26
    "Passes over the pairs, at the most."
    patience: int = 8
    "Stop after so many epochs without a better validation BLEU."
    tokens_per_batch: int = 1536
    "Source subwords in a batch, padding counted in."
    learning_rate: float = 0.002
    "Adam's highest rate."
    schedule: Literal["cosine", "plateau"] = "cosine"
    "How the rate falls: along a cosine, or by half after each epoch whose BLEU is no better than the best."
    final_rate_share: float = 0.02
    "The cosine ends at this share of the highest rate."
    clip_norm: float = 1.0
    "Largest norm of the gradient."
    averaging: float = 0.998
    "Decay of the average of the weights, which is what is judged and kept; 0 for none."

    def __post_init__(self):
        check_ranges(self, _RANGES)


_RANGES: list[Range] = [
    ("seed", lambda value: 0 <= value < 2**31, "0 to 2147483647"),
    (
        "embedding_size encoder_units encoder_layers decoder_units attention_size epochs patience tokens_per_batch",
        lambda value: value >= 1,
        "at least 1",
    ),
    ("subwords", lambda value: 261 <= value <= 100_000, "261 (four special ones, 256 bytes and another) to 100000"),
    ("longest", lambda value: 2 <= value <= 256, "2 to 256"),
    ("validation_fraction", lambda value: 0 < value < 0.5, "above 0 and less than 0.5"),
    (
        "embedding_dropout memory_dropout output_dropout recurrent_kernel_dropout label_smoothing averaging",
        lambda value: 0 <= value < 1,
        "at least 0 and less than 1",
    ),
    ("subword_sampling", lambda value: 0 <= value <= 1000, "0 to 1000"),
    ("learning_rate clip_norm", lambda value: 0 < value < math.inf, "a finite number above 0"),
    ("final_rate_share", lambda value: 0 <= value <= 1, "0 to 1"),
]


class Vocabularies(NamedTuple):
    """The subwords of the two languages, the same ones where they share them."""

    source: Subwords
    target: Subwords

    @property
    def are_shared(self) -> bool:
        return self.source is self.target

    def digest(self) -> str:
        """Settles whether weights were trained with these very subwords, which as many others would fit, too."""
        return hashlib.sha256(b"".join(dict.fromkeys(side.model for side in self))).hexdigest()


class TrainedTranslator(NamedTuple):
    """What a finished run holds."""

    model: Translator
    vocabularies: Vocabularies
    settings: Settings


def build_model(settings: Settings, vocabularies: Vocabularies) -> Translator:
    """The translator that the settings describe, its weights drawn."""
    model = Translator(
        len(vocabularies.target),
        settings.embedding_size,
        settings.encoder_units,
        settings.decoder_units,
        encoder_layers=settings.encoder_layers,
        attention=settings.attention,
        attention_size=settings.attention_size,
        embedding_dropout=settings.embedding_dropout,
        memory_dropout=settings.memory_dropout,
        output_dropout=settings.output_dropout,
        recurrent_kernel_dropout=settings.recurrent_kernel_dropout,
        seed=settings.seed,
        source_vocabulary_size=None if vocabularies.are_shared else len(vocabularies.source),
    )
    model.build()
    return model


def train(
    source: str | None,
    run: RunFolder,
    settings: Settings,
    source_file: str | None = None,
    target_file: str | None = None,
) -> None:
    """Train on a source and leave the best model in the run folder; goes on where an earlier call was stopped."""
    keras.utils.set_random_seed(settings.seed)
    pairs = load_pairs(
        source,
        ["train", "validation"],
        source_language=settings.source_language,
        target_language=settings.target_language,
        source_file=source_file,
        target_file=target_file,
        reverse=settings.reverse,
        validation_fraction=settings.validation_fraction,
        seed=settings.seed,
    )
    files = {"source_file": source_file, "target_file": target_file}
    # All this before the folder is made, so that what cannot be trained on leaves no run behind.
    vocabularies = _vocabularies(run, pairs["train"], settings)
    ids = {split: id_pairs(vocabularies, found) for split, found in pairs.items()}
    for split in ids:
        _batches(ids[split], settings, None)
    digest = {"subwords_sha256": vocabularies.digest()}
    run.start({"task": TASK, "data": source, **files, **dataclasses.asdict(settings), **digest})
    if run.model_weights.exists():
        print(f"the run in '{run.path}' is finished", file=sys.stderr)
        return
    _save(vocabularies, run)
    model = build_model(settings, vocabularies)
    print(
        f"{len(pairs['train'].source)} pairs to train on, {len(pairs['validation'].source)} for validation; "
        f"{len(vocabularies.target)} subwords, {model.count_params()} weights",
        file=sys.stderr,
    )
    _train(model, vocabularies, pairs, ids, run, settings)
    with atomic_path(run.model_weights) as path:
        model.save_weights(path)


_FILES = ("source_subwords.model", "target_subwords.model")
_SHARED_FILE = "subwords.model"


def _vocabularies(run: RunFolder, training: Pairs, settings: Settings) -> Vocabularies:
    # Unlike Path.exists this is false for a path that cannot be looked at, of which `run.start` tells.
    if any(os.path.exists(run.path / name) for name in (_SHARED_FILE, _FILES[-1])):
        return _load(run)
    if settings.separate_subwords:
        return Vocabularies(*(Subwords.train(texts, settings.subwords) for texts in training))
    shared = Subwords.train([*training.source, *training.target], settings.subwords)
    return Vocabularies(shared, shared)


def _save(vocabularies: Vocabularies, run: RunFolder) -> None:
    names = (_SHARED_FILE,) if vocabularies.are_shared else _FILES
    for name, subwords in zip(names, vocabularies, strict=False):
        with atomic_path(run.path / name) as path:
            subwords.save(path)


def _load(run: RunFolder) -> Vocabularies:
    if (run.path / _SHARED_FILE).exists():
        shared = Subwords.load(run.path / _SHARED_FILE)
        return Vocabularies(shared, shared)
    return Vocabularies(*(Subwords.load(run.path / name) for name in _FILES))


def id_pairs(vocabularies: Vocabularies, pairs: Pairs) -> list[IdPair]:
    """The ids of pairs, each side in its likeliest segmentation."""
    graphs = [tf.function(side.encode, input_signature=[_TEXTS], autograph=False) for side in vocabularies]
    return _in_batches(graphs, pairs)


def drawn_id_pairs(vocabularies: Vocabularies, alpha: float) -> Callable[[Pairs, Sequence[int]], list[IdPair]]:
    """What gives the ids of pairs, each side in a segmentation that is drawn, by a seed of integers."""

    def graph(side):
        seed = tf.TensorSpec([2], tf.int32)
        return tf.function(
            lambda texts, seed: side.sampled(texts, alpha, seed), input_signature=[_TEXTS, seed], autograph=False
        )

    graphs = [graph(side) for side in vocabularies]

    def draw(pairs, seed):
        seeds = [np.random.default_rng([*seed, side]) for side in range(len(graphs))]
        each = [
            lambda texts, graph=graph, rng=rng: graph(texts, rng.integers(2**31, size=2, dtype=np.int32))
            for graph, rng in zip(graphs, seeds, strict=True)
        ]
        return _in_batches(each, pairs)

    return draw


_TEXTS = tf.TensorSpec([None], tf.string)


def _in_batches(graphs, pairs: Pairs) -> list[IdPair]:
    sides = []
    for graph, texts in zip(graphs, pairs, strict=True):
        batches = (texts[start : start + 512] for start in range(0, len(texts), 512))
        sides.append([row for batch in batches for row in graph(tf.constant(batch, tf.string)).to_list()])
    return [IdPair(*ids) for ids in zip(*sides, strict=True)]


def _train(
    model: Translator,
    vocabularies: Vocabularies,
    pairs: dict[str, Pairs],
    ids: dict[str, list[IdPair]],
    run: RunFolder,
    settings: Settings,
) -> None:
    trained = TeacherForcing(model, settings.label_smoothing)
    validation = pairs["validation"]
    references = [[target] for target in validation.target]
    draw = drawn_id_pairs(vocabularies, settings.subword_sampling) if settings.subword_sampling else None

    @functools.lru_cache(maxsize=1)  # the schedule counts those of the first epoch, with which training then begins
    def batches(epoch):
        found = draw(pairs["train"], (settings.seed, epoch)) if draw else ids["train"]
        return _batches(found, settings, (settings.seed, epoch))

    steps = 0
    if settings.schedule == "cosine":  # about as many batches an epoch, however words are split
        steps = settings.epochs * len(batches(1))
    optimizer = adam(
        settings.learning_rate,
        steps,
        final_share=settings.final_rate_share,
        clip_norm=settings.clip_norm,
        averaging=settings.averaging,
    )
    trained.build()
    trained.compile(optimizer, loss=smoothed_loss, metrics=[NatsPerToken()], jit_compile=False)
    serving = TranslationServing([model], vocabularies.target, source_subwords=vocabularies.source)

    def figures():
        return {"val_bleu": validation_bleu(translate_greedily(serving, validation.source), references)}

    def rate_by_plateau(rows: list[dict[str, Any]]) -> float:
        best, halvings = -math.inf, 0
        for row in rows:
            halvings += row["val_bleu"] <= best
            best = max(best, row["val_bleu"])
        return settings.learning_rate * 0.5**halvings

    train_stage(
        trained,
        Stage(
            "training",
            settings.epochs,
            lambda epoch: batches(epoch).dataset(),
            _batches(ids["validation"], settings, None).dataset(),
            monitor="val_bleu",
            higher_is_better=True,
            patience=settings.patience,
            learning_rate=None if settings.schedule == "cosine" else rate_by_plateau,
            figures=figures,
        ),
        run,
    )


def _batches(ids: list[IdPair], settings: Settings, seed: tuple[int, int] | None) -> PairBatches:
    try:
        return PairBatches(ids, settings.tokens_per_batch, settings.longest, seed)
    except ValueError as error:
        raise UserError(f"{error}: raise --longest, or name other data") from None


def translate_greedily(serving: TranslationServing, texts: list[str]) -> list[str]:
    """Translations without a beam, as the model being trained is judged by."""
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    found: dict[int, str] = {}
    for start in range(0, len(order), 128):
        places = order[start : start + 128]
        answer = serving.greedy(tf.constant([texts[place] for place in places], tf.string))
        found |= {
            place: text.decode("utf-8")
            for place, text in zip(places, answer["translation"].numpy().tolist(), strict=True)
        }
    return [found[place] for place in range(len(texts))]


def load_run(run: RunFolder) -> TrainedTranslator:
    """The trained model of a run, as it is shipped, with its subwords and settings.

    Raises:
        UserError: if the folder holds no finished training run of a translator, or its parts do not fit together.
    """

    def load(config):
        settings = Settings(**{field.name: config[field.name] for field in dataclasses.fields(Settings)})
        vocabularies = _load(run)
        if vocabularies.digest() != config.get("subwords_sha256", vocabularies.digest()):
            raise ValueError("its subwords are not those that it was trained with")
        model = build_model(settings, vocabularies)
        model.load_weights(run.model_weights)
        return TrainedTranslator(model, vocabularies, settings)

    return load_finished(run, TASK, "a translator", load)
