"""What other translators make of the training data: what a student is trained on beside it."""

import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from nlp_lstm import saved_model
from nlp_lstm.datasets.pairs import Pairs
from nlp_lstm.errors import UserError
from nlp_lstm.files import atomic_path
from nlp_lstm.inference import answers_by_length
from nlp_lstm.run_folder import RunFolder
from nlp_lstm.translation.ensemble import TEXTS_AT_ONCE, best_translations, serving_of
from nlp_lstm.translation.limits import DEFAULT_BEAM
from nlp_lstm.translation.settings import Settings

Translate = Callable[[Sequence[str]], list[str]]
"What gives the best translation of each of some sentences."

TEACHING = "teaching"
"Names the line of `metrics.jsonl` that tells how long the teachers' translations took."

BACK_TRANSLATION = "back-translation"
"Names the one that tells how long the translations of the targets took."

BACK_TRANSLATOR = "back-translator"
"Names those of the run that made them."

_AT_ONCE = 2_000  # sentences after which what is translated so far is kept


def load_teachers(runs: Sequence[Path], model: Path | None, settings: Settings) -> Translate | None:
    """What translates as teachers do, if there are any: finished runs together, or an exported model.

    Args:
        runs: their folders.
        model: instead of runs a SavedModel, or a folder of versions. It does not tell its languages: what it makes of
            the sentences is taken as it is.
        settings: of the student: its languages.

    Raises:
        UserError: if one cannot be loaded, or a run has other languages.
    """
    if model is None:
        return _of_runs(runs, (settings.source_language, settings.target_language), "--teacher-run") if runs else None
    # Held as a whole: TensorFlow frees the variables of a model that nobody holds, though its functions live on.
    teacher = saved_model.load(model, "serving_default", "n_best")

    def ask(batch: list[str]) -> Any:
        return teacher.signatures["serving_default"](text=tf.constant(batch, tf.string))

    def translate(texts: Sequence[str]) -> list[str]:
        found = answers_by_length(ask, texts, TEXTS_AT_ONCE)["translation"]
        return [text.decode("utf-8") for text in found.tolist()]

    return translate


def load_back_translator(run: Path | None, settings: Settings) -> Translate | None:
    """What translates as a finished run the other way round does, if there is one.

    Raises:
        UserError: if it cannot be loaded, or has other languages than the student's, turned round.
    """
    languages = (settings.target_language, settings.source_language)
    return _of_runs([run], languages, "--back-translation-run") if run else None


def _of_runs(runs: Sequence[Path], wanted: tuple[str, str], flag: str) -> Translate:
    serving = serving_of(runs)
    for path in runs:
        config = RunFolder(path).config()
        own = (config.get("source_language", ""), config.get("target_language", ""))
        if any(one and other and one != other for one, other in zip(own, wanted, strict=True)):
            raise UserError(
                f"the run in '{path}' translates from {own[0]!r} to {own[1]!r}, and wanted is one from {wanted[0]!r} "
                f"to {wanted[1]!r}: name another with {flag}"
            )
    return functools.partial(best_translations, serving, beam_size=DEFAULT_BEAM)


def taught_pairs(sources: Sequence[str], translate: Translate, run: RunFolder) -> Pairs:
    """Sentences with the translations of teachers (Kim and Rush 2016, "Sequence-Level Knowledge Distillation").

    A run that was killed goes on with what was translated before: all of it stands in the run folder, a line each.

    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> taught_pairs(["a dog", "a cat"], lambda texts: [text.upper() for text in texts], RunFolder(Path(mkdtemp())))
    Pairs(source=['a dog', 'a cat'], target=['A DOG', 'A CAT'])

    Args:
        sources: of the training data.
        translate: the teachers' best translations of some.
        run: the student's folder, with a line of metrics when all is translated.

    Returns:
        The pairs; a sentence of which the teachers make nothing is left out.
    """
    return _with_translations(sources, translate, run, TEACHING, "taught_translations.txt")


def back_translated_pairs(targets: Sequence[str], translate: Translate, run: RunFolder) -> Pairs:
    """Sentences as targets of what a translator the other way round makes of them, kept as those of teachers are.

    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> back_translated_pairs(["EIN HUND"], lambda texts: [text.lower() for text in texts], RunFolder(Path(mkdtemp())))
    Pairs(source=['ein hund'], target=['EIN HUND'])

    Args:
        targets: of the training data.
        translate: the translator's best translations of some.
        run: the student's folder, with a line of metrics when all is translated.

    Returns:
        The pairs; a target of which the translator makes nothing is left out.
    """
    pairs = _with_translations(targets, translate, run, BACK_TRANSLATION, "back_translations.txt")
    return Pairs(pairs.target, pairs.source)


def _with_translations(
    sentences: Sequence[str],
    translate: Translate,
    run: RunFolder,
    stage: str,
    kept_as: str,
) -> Pairs:
    kept = run.path / kept_as
    found = kept.read_text(encoding="utf-8").split("\n")[:-1] if kept.exists() else []
    if len(found) < len(sentences):
        with run.timed_stage(stage) as row:
            while len(found) < len(sentences):
                more = translate(list(sentences[len(found) : len(found) + _AT_ONCE]))
                found += [" ".join(text.split()) for text in more]
                with atomic_path(kept) as path:
                    path.write_text("".join(f"{text}\n" for text in found), encoding="utf-8")
                print(f"{stage}: {len(found):,} of {len(sentences):,} sentences translated", file=sys.stderr)
            row["sentences"] = len(found)
    pairs = [(sentence, text) for sentence, text in zip(sentences, found, strict=True) if text]
    return Pairs([sentence for sentence, _ in pairs], [text for _, text in pairs])
