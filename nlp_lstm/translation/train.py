"""Training a translator from sentence pairs to a run folder."""

import dataclasses
import functools
import os
import sys
from typing import Any

import keras
import tensorflow as tf

from nlp_lstm.datasets.known_sets import fingerprint_of_pairs
from nlp_lstm.datasets.pairs import Pairs, load_source
from nlp_lstm.errors import UserError
from nlp_lstm.files import atomic_path
from nlp_lstm.inference import answers_by_length
from nlp_lstm.models.translator import NatsPerToken, TeacherForcing, Translator, smoothed_loss
from nlp_lstm.run_folder import DATA_FINGERPRINT, RunFolder
from nlp_lstm.text.subwords import Subwords
from nlp_lstm.training import Stage, adam, rate_by_plateau, train_stage
from nlp_lstm.translation.batches import IdPair, PairBatches, drawn_id_pairs, id_pairs
from nlp_lstm.translation.build import (
    _FILES,
    _SHARED_FILE,
    Vocabularies,
    build_model,
    load_vocabularies,
    save_vocabularies,
)
from nlp_lstm.translation.metrics import validation_bleu
from nlp_lstm.translation.serving import TranslationServing
from nlp_lstm.translation.settings import TASK, Settings


def train(
    source: str | None,
    run: RunFolder,
    settings: Settings,
    source_file: str | None = None,
    target_file: str | None = None,
) -> None:
    """Train on a source and leave the best model in the run folder; goes on where an earlier call was stopped."""
    keras.utils.set_random_seed(settings.seed)
    loaded = load_source(
        source,
        ["train", "validation"],
        source_language=settings.source_language,
        target_language=settings.target_language,
        source_file=source_file,
        target_file=target_file,
        source_column=settings.source_column,
        target_column=settings.target_column,
        header=settings.header,
        reverse=settings.reverse,
        validation_fraction=settings.validation_fraction,
        seed=settings.seed,
        encoding=settings.encoding,
    )
    pairs = loaded.splits
    settings = _with_languages(settings, loaded.languages, run)
    files = {"source_file": source_file, "target_file": target_file}
    # All this before the folder is made, so that what cannot be trained on leaves no run behind.
    vocabularies = _vocabularies(run, pairs["train"], settings)
    ids = {split: id_pairs(vocabularies, found) for split, found in pairs.items()}
    for split in ids:
        _batches(ids[split], settings, None)
    digests = {"subwords_sha256": vocabularies.digest(), DATA_FINGERPRINT: fingerprint_of_pairs(pairs.values())}
    run.start({"task": TASK, "data": source, **files, **dataclasses.asdict(settings), **digests}, Settings())
    if run.model_weights.exists():
        print(f"the run in '{run.path}' is finished", file=sys.stderr)
        return
    _tell_of_left_out(ids, settings)
    save_vocabularies(vocabularies, run)
    model = build_model(settings, vocabularies)
    print(
        f"{len(pairs['train'].source)} pairs to train on, {len(pairs['validation'].source)} for validation; "
        f"{len(vocabularies.target)} subwords, {model.count_params()} weights",
        file=sys.stderr,
    )
    _train(model, vocabularies, pairs, ids, run, settings)
    with atomic_path(run.model_weights) as path:
        model.save_weights(path)


def _with_languages(settings: Settings, languages: tuple[str, str], run: RunFolder) -> Settings:
    """Settings that name the languages of the data, so that a run knows whose rules its translations are judged by."""
    if os.path.exists(run.config_path) and not run.config().get("target_language"):
        return settings  # a run from before languages were kept goes on as it is
    return dataclasses.replace(
        settings,
        source_language=settings.source_language or languages[0],
        target_language=settings.target_language or languages[1],
    )


def _tell_of_left_out(ids: dict[str, list[IdPair]], settings: Settings) -> None:
    for split, what in (("train", "to train on are"), ("validation", "for validation count for BLEU alone and are")):
        count = _batches(ids[split], settings, None).left_out
        if count:
            print(
                f"{count:,} of {len(ids[split]):,} pairs {what} left out, since a side has more than "
                f"{settings.longest} subwords, its end counted in: --longest says how many",
                file=sys.stderr,
            )


def _vocabularies(run: RunFolder, training: Pairs, settings: Settings) -> Vocabularies:
    # Unlike Path.exists this is false for a path that cannot be looked at, of which `run.start` tells.
    if any(os.path.exists(run.path / name) for name in (_SHARED_FILE, _FILES[-1])):
        return load_vocabularies(run)
    if settings.separate_subwords:
        return Vocabularies(
            *(Subwords.train(texts, settings.subwords, settings.character_coverage) for texts in training)
        )
    shared = Subwords.train([*training.source, *training.target], settings.subwords, settings.character_coverage)
    return Vocabularies(shared, shared)


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
    def batches(epoch: int) -> PairBatches:
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

    def figures() -> dict[str, float]:
        serving.take_weights()
        return {"val_bleu": validation_bleu(translate_greedily(serving, validation.source), references)}

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
            learning_rate=None
            if settings.schedule == "cosine"
            else rate_by_plateau(settings.learning_rate, "val_bleu", higher_is_better=True),
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

    def ask(batch: list[str]) -> Any:
        return serving.n_best(tf.constant(batch, tf.string), tf.ones([len(batch)], tf.int32))

    return [found.decode("utf-8") for found in answers_by_length(ask, texts, 128)["translations"][:, 0].tolist()]
