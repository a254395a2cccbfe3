"""Training a translator from sentence pairs to a run folder."""

import base64
import dataclasses
import functools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from nlp_lstm.datasets.known_sets import fingerprint_of_pairs
from nlp_lstm.datasets.pairs import Pairs, load_source
from nlp_lstm.errors import UserError
from nlp_lstm.models.translator import NatsPerToken, TeacherForcing, Translator, smoothed_loss, tokens_to_guess
from nlp_lstm.processor import tell_if_slower
from nlp_lstm.run_folder import DATA_FINGERPRINT, TRAINING, RunFolder
from nlp_lstm.text.subwords import Subwords
from nlp_lstm.training import Stage, adam, rate_by_plateau, train_stage
from nlp_lstm.translation.batches import IdPair, PairBatches, drawn_id_pairs, id_pairs, without_full_stops
from nlp_lstm.translation.build import (
    _FILES,
    _SHARED_FILE,
    TrainedTranslator,
    Vocabularies,
    build_model,
    load_run,
    load_vocabularies,
    save_vocabularies,
)
from nlp_lstm.translation.ensemble import best_translations
from nlp_lstm.translation.extra_data import TAG, ExtraPairs, fit_to_train_on, for_subwords, load_extra, tagged
from nlp_lstm.translation.limits import DEFAULT_BEAM
from nlp_lstm.translation.metrics import validation_bleu
from nlp_lstm.translation.serving import TranslationServing
from nlp_lstm.translation.settings import BEFORE, EXTRA_FINGERPRINT, TASK, Settings
from nlp_lstm.translation.source_text import plain_sources
from nlp_lstm.translation.teaching import (
    BACK_TRANSLATOR,
    back_translated_pairs,
    load_back_translator,
    load_teachers,
    taught_pairs,
)
from nlp_lstm.weights_file import save_weights
from nlp_lstm.workers import ALONE, Workers


def train(
    source: str | None,
    run: RunFolder,
    settings: Settings,
    source_file: str | None = None,
    target_file: str | None = None,
    extra_data: str | None = None,
    teacher_runs: Sequence[Path] = (),
    teacher_model: Path | None = None,
    back_translation_run: Path | None = None,
    workers: Workers = ALONE,
) -> None:
    """Train on a source and leave the best model in the run folder; goes on where an earlier call was stopped.

    Args:
        source: of the pairs; None with two files instead.
        run: where to.
        settings: how.
        source_file: instead of a source, with
        target_file: the translations of its sentences, line by line.
        extra_data: another source, to train on as well in the first epochs.
        teacher_runs: finished runs whose translations of the training sentences are trained on as well.
        teacher_model: instead of runs a SavedModel, or a folder of versions, whose translations are.
        back_translation_run: a finished run the other way round; what it makes of the training targets is trained on
            as well, as sources that are tagged (Sennrich, Haddow and Birch 2016, "Improving Neural Machine Translation
            Models with Monolingual Data"; the tag by Caswell, Chelba and Grangier 2019). With a teacher's translations
            beside it that is data diversification (Nguyen, Joty, Wu and Aw 2020), which needs no other data.
        workers: which train together; of several the chief's run alone is read and written.
    """
    if teacher_runs and teacher_model:
        raise UserError("name either --teacher-run or --teacher-model: translations are of the one or of the other")
    run = workers.run_folder(run)
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
    settings = _as_begun(_with_languages(settings, loaded.languages, run), run)
    files = {"source_file": source_file, "target_file": target_file}
    extra, fingerprint = None, ""
    if extra_data is not None:
        extra, fingerprint = load_extra(extra_data, settings, pairs["validation"])
        files["extra_data"] = extra_data
    # All this before the folder is made, so that what cannot be trained on leaves no run behind.
    has_tag = extra is not None or back_translation_run is not None
    earlier = _earlier(settings, has_tag) if settings.start_from and workers.is_chief else None
    if settings.start_from:
        vocabularies, languages = _taken_from_chief(earlier, workers)
        settings = _with_languages(settings, languages, run)
    else:
        vocabularies = _vocabularies(run, pairs["train"], settings, extra, has_tag)
    ids = {split: id_pairs(vocabularies, found, settings.source_case) for split, found in pairs.items()}
    for split in ids:
        _batches(ids[split], settings, None)
    digests = {"subwords_sha256": vocabularies.digest(), DATA_FINGERPRINT: fingerprint_of_pairs(pairs.values())}
    beside: list[tuple[ExtraPairs, int]] = []
    if extra is not None:
        digests[EXTRA_FINGERPRINT] = fingerprint
        extra_ids = id_pairs(vocabularies, extra, settings.source_case)
        fit = fit_to_train_on(str(extra_data), extra, extra_ids, settings.longest)
        beside.append((fit, min(settings.extra_epochs, settings.epochs)))
    # Of several workers the chief alone asks them.
    translate: Any = load_teachers(teacher_runs, teacher_model, settings) if workers.is_chief else None
    back: Any = load_back_translator(back_translation_run, settings) if workers.is_chief else None
    config: dict[str, Any] = {"task": TASK, "data": source, **files, **dataclasses.asdict(settings), **digests}
    if teacher_runs:
        config["teacher_run"] = [str(path) for path in teacher_runs]
    if teacher_model:
        config["teacher_model"] = str(teacher_model)
    if back_translation_run:
        config["back_translation_run"] = str(back_translation_run)
    workers.agree(config)
    if workers.is_chief:
        run.start(config, Settings(**BEFORE))
    if workers.from_chief(run.model_weights.exists):
        print(f"the run in '{run.path}' is finished", file=sys.stderr)
        return
    _tell_of_left_out(ids, settings)
    if workers.is_chief:
        save_vocabularies(vocabularies, run)
        run.keep_teachers(teacher_runs, config)
        if back_translation_run:
            run.keep_teacher(back_translation_run, config, BACK_TRANSLATOR)
        if settings.start_from:
            run.keep_run_gone_on_from(RunFolder(Path(settings.start_from)), config)
    if back_translation_run:
        turned = Pairs(*workers.from_chief(lambda: back_translated_pairs(pairs["train"].target, back, run)))
        turned_ids = id_pairs(vocabularies, turned, settings.source_case)
        fit = fit_to_train_on(str(back_translation_run), turned, turned_ids, settings.longest)
        beside.append((fit, settings.epochs))
    if teacher_runs or teacher_model:
        taught = Pairs(*workers.from_chief(lambda: taught_pairs(pairs["train"].source, translate, run)))
        taught_ids = id_pairs(vocabularies, taught, settings.source_case)
        pairs = {**pairs, "train": Pairs(*(own + more for own, more in zip(pairs["train"], taught, strict=True)))}
        ids = {**ids, "train": [*ids["train"], *taught_ids]}
    tell_if_slower(settings.precision)
    model = build_model(settings, vocabularies, None if settings.precision == "float32" else "bfloat16")
    if earlier is not None:  # of several workers the others take them from the chief before the first epoch
        for weight, found in zip(model.trainable_weights, earlier.model.trainable_weights, strict=True):
            weight.assign(found)
    print(
        f"{len(pairs['train'].source)} pairs to train on, {len(pairs['validation'].source)} for validation"
        f"{''.join(f', {len(more.ids)} tagged ones in the first {epochs} epochs' for more, epochs in beside)}; "
        f"{len(vocabularies.target)} subwords, {model.count_params()} weights",
        file=sys.stderr,
    )
    _train(model, vocabularies, pairs, ids, run, settings, beside, workers)
    if workers.is_chief:
        save_weights(model, run.model_weights)


def _with_languages(settings: Settings, languages: tuple[str, str], run: RunFolder) -> Settings:
    """Settings that name the languages of the data, so that a run knows whose rules its translations are judged by."""
    if os.path.exists(run.config_path) and not run.config().get("target_language"):
        return settings  # a run from before languages were kept goes on as it is
    return dataclasses.replace(
        settings,
        source_language=settings.source_language or languages[0],
        target_language=settings.target_language or languages[1],
    )


def _as_begun(settings: Settings, run: RunFolder) -> Settings:
    """Settings with which a run from before some of them goes on as it began."""
    if not os.path.exists(run.config_path):
        return settings
    config = run.config()
    return dataclasses.replace(settings, **{name: value for name, value in BEFORE.items() if name not in config})


def _tell_of_left_out(ids: dict[str, list[IdPair]], settings: Settings) -> None:
    for split, what in (("train", "to train on are"), ("validation", "for validation count for BLEU alone and are")):
        count = _batches(ids[split], settings, None).left_out
        if count:
            print(
                f"{count:,} of {len(ids[split]):,} pairs {what} left out, since a side has more than "
                f"{settings.longest} subwords, its end counted in: --longest says how many",
                file=sys.stderr,
            )


_MADE_ALIKE = (
    *("source_language", "target_language", "separate_subwords", "subwords", "character_coverage", "source_case"),
    *("embedding_size", "encoder_units", "encoder_layers", "decoder_units", "attention", "attention_size"),
)
"""Settings that a run and the one that it goes on from have in common."""


def _earlier(settings: Settings, has_tag: bool) -> TrainedTranslator:
    """The finished run to go on from.

    Args:
        settings: of the run that does.
        has_tag: whether it reads sources that are tagged.
    """
    found = load_run(RunFolder(Path(settings.start_from)))
    for name in _MADE_ALIKE:
        before, now = getattr(found.settings, name), getattr(settings, name)
        if before != now and not ("language" in name and "" in (before, now)):  # not all data tells its languages
            raise UserError(
                f"the run in '{settings.start_from}' has {name} {before!r}, this one {now!r}: give "
                f"--{name.replace('_', '-')} the same value"
            )
    if has_tag and TAG not in found.vocabularies.source.pieces:
        raise UserError(
            f"the run in '{settings.start_from}' was trained without tagged sources, and has no subword for their tag: "
            "leave --extra-data and --back-translation-run out, or go on from a run that had one of them"
        )
    return found


def _taken_from_chief(earlier: TrainedTranslator | None, workers: Workers) -> tuple[Vocabularies, tuple[str, str]]:
    """The subwords and the languages of the run to go on from, which the chief alone need have."""

    def told() -> dict[str, Any]:
        assert earlier is not None
        sides = dict.fromkeys(earlier.vocabularies)  # once, where both languages share it
        return {
            "subwords": [base64.b64encode(side.model).decode("ascii") for side in sides],
            "languages": [earlier.settings.source_language, earlier.settings.target_language],
        }

    found = workers.from_chief(told)
    sides = [Subwords(base64.b64decode(text)) for text in found["subwords"]]
    source, target = found["languages"]
    return Vocabularies(sides[0], sides[-1]), (source, target)


def _vocabularies(
    run: RunFolder, training: Pairs, settings: Settings, extra: Pairs | None, has_tag: bool
) -> Vocabularies:
    # Unlike Path.exists this is false for a path that cannot be looked at, of which `run.start` tells.
    if any(os.path.exists(run.path / name) for name in (_SHARED_FILE, _FILES[-1])):
        return load_vocabularies(run)
    tags: Sequence[str] = [TAG] if has_tag else ()
    if extra is not None:
        beside = for_subwords(extra, len(training.source), settings.seed)
        training = Pairs([*training.source, *beside.source], [*training.target, *beside.target])
    sources = plain_sources(training.source, settings.source_case)
    how = (settings.subwords, settings.character_coverage)
    if settings.separate_subwords:
        return Vocabularies(Subwords.train(sources, *how, tags), Subwords.train(training.target, *how))
    shared = Subwords.train([*sources, *training.target], *how, tags)
    return Vocabularies(shared, shared)


def _train(
    model: Translator,
    vocabularies: Vocabularies,
    pairs: dict[str, Pairs],
    ids: dict[str, list[IdPair]],
    run: RunFolder,
    settings: Settings,
    beside: Sequence[tuple[ExtraPairs, int]] = (),
    workers: Workers = ALONE,
) -> None:
    trained = TeacherForcing(model, settings.label_smoothing, settings.r_drop)
    validation = pairs["validation"]
    references = [[target] for target in validation.target]
    draw = None
    if settings.subword_sampling:
        draw = drawn_id_pairs(vocabularies, settings.subword_sampling, settings.source_case)

    def drawn(given: Pairs, likeliest: list[IdPair], seed: tuple[int, ...]) -> list[IdPair]:
        varied = without_full_stops(given, settings.source_variants, seed)
        if draw:
            return draw(varied, seed)
        return likeliest if varied == given else id_pairs(vocabularies, varied, settings.source_case)

    @functools.lru_cache(maxsize=1)  # the schedule counts those of the first epoch, with which training then begins
    def batches(epoch: int) -> PairBatches:
        seed = (settings.seed, epoch)
        found = drawn(pairs["train"], ids["train"], seed)
        for number, (more, epochs) in enumerate(beside, start=1):
            if epoch <= epochs:
                found = [*found, *tagged(drawn(*more, (*seed, number)), vocabularies.source)]
        return _batches(found, settings, seed)

    # In those after, nothing is trained on but what is trained on to the end.
    extra_epochs = max((epochs for _, epochs in beside if epochs < settings.epochs), default=0)
    steps = 0
    if settings.schedule == "cosine":  # about as many batches an epoch, however words are split
        kinds = ((settings.epochs - extra_epochs, settings.epochs), (extra_epochs, 1))
        steps = sum(count * len(batches(epoch)) for count, epoch in kinds if count)
    optimizer = adam(
        settings.learning_rate,
        steps,
        final_share=settings.final_rate_share,
        clip_norm=settings.clip_norm,
        averaging=settings.averaging,
    )
    trained.build()
    trained.compile(optimizer, loss=smoothed_loss, metrics=[NatsPerToken()], jit_compile=False)
    serving = TranslationServing(
        [model], vocabularies.target, source_subwords=vocabularies.source, source_case=settings.source_case
    )

    def figures() -> dict[str, float]:
        serving.take_weights()
        beam_size = DEFAULT_BEAM if settings.selection == "beam" else 1
        return {"val_bleu": validation_bleu(best_translations(serving, validation.source, beam_size), references)}

    train_stage(
        trained,
        Stage(
            TRAINING,
            settings.epochs,
            lambda epoch: batches(epoch).dataset(),
            _batches(ids["validation"], settings, None).dataset(),
            monitor="val_bleu",
            higher_is_better=True,
            # What is trained on changes after the extra epochs: no earlier one is the last.
            patience=max(settings.patience, extra_epochs),
            learning_rate=None
            if settings.schedule == "cosine"
            else rate_by_plateau(settings.learning_rate, "val_bleu", higher_is_better=True),
            figures=figures,
            row_weights=lambda sides, _: tokens_to_guess(sides),
        ),
        run,
        workers=workers,
    )


def _batches(ids: list[IdPair], settings: Settings, seed: tuple[int, int] | None) -> PairBatches:
    try:
        return PairBatches(ids, settings.tokens_per_batch, settings.longest, seed)
    except ValueError as error:
        raise UserError(f"{error}: raise --longest, or name other data") from None
