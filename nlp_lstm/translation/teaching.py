"""What teachers make of the training sentences: what a student is trained on beside the data."""

import sys
from collections.abc import Callable, Sequence

from nlp_lstm.datasets.pairs import Pairs
from nlp_lstm.files import atomic_path
from nlp_lstm.run_folder import RunFolder

TEACHING = "teaching"
"Names the line of `metrics.jsonl` that tells how long the teachers' translations took."

_KEPT = "taught_translations.txt"
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
    kept = run.path / _KEPT
    found = kept.read_text(encoding="utf-8").split("\n")[:-1] if kept.exists() else []
    if len(found) < len(sources):
        with run.timed_stage(TEACHING) as row:
            while len(found) < len(sources):
                more = translate(list(sources[len(found) : len(found) + _AT_ONCE]))
                found += [" ".join(text.split()) for text in more]
                with atomic_path(kept) as path:
                    path.write_text("".join(f"{text}\n" for text in found), encoding="utf-8")
                print(f"{TEACHING}: {len(found):,} of {len(sources):,} sentences translated", file=sys.stderr)
            row["sentences"] = len(found)
    pairs = [(source, target) for source, target in zip(sources, found, strict=True) if target]
    return Pairs([source for source, _ in pairs], [target for _, target in pairs])
