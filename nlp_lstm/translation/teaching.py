"""What other translators make of the training data: what a student is trained on beside it."""

import sys
from collections.abc import Callable, Sequence

from nlp_lstm.datasets.pairs import Pairs
from nlp_lstm.files import atomic_path
from nlp_lstm.run_folder import RunFolder

TEACHING = "teaching"
"Names the line of `metrics.jsonl` that tells how long the teachers' translations took."

BACK_TRANSLATION = "back-translation"
"Names the one that tells how long the translations of the targets took."

BACK_TRANSLATOR = "back-translator"
"Names those of the run that made them."

_AT_ONCE = 2_000  # sentences after which what is translated so far is kept


def taught_pairs(sources: Sequence[str], translate: Callable[[Sequence[str]], list[str]], run: RunFolder) -> Pairs:
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


def back_translated_pairs(
    targets: Sequence[str], translate: Callable[[Sequence[str]], list[str]], run: RunFolder
) -> Pairs:
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
    translate: Callable[[Sequence[str]], list[str]],
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
