"""Pairs of texts that differ in little but in their sentiment: what they look like, and a model judged on them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from nlp_lstm.errors import UserError

MATTERS_OF_DEGREE = "intensity"
"""The kind of pairs of which one text is the more positive, and neither needs to be positive or negative."""

_FIELDS = ("kind", "positive", "negative")


class MinimalPair(NamedTuple):
    """Two texts, the second a small change of the first (as in Warstadt et al. 2020, of grammar)."""

    kind: str
    positive: str
    negative: str


def read_pairs(path: Path) -> list[MinimalPair]:
    """The pairs of a file in JSON Lines.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "pairs.jsonl")
    ...     line = '{"kind": "negation", "positive": "It is good.", "negative": "It isn\\'t good."}'
    ...     _ = path.write_text(line)
    ...     read_pairs(path)
    [MinimalPair(kind='negation', positive='It is good.', negative="It isn't good.")]

    Raises:
        UserError: if the file cannot be read, is empty, or a line is not such an object.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"cannot read --data '{path}': {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"cannot read --data '{path}': it is not in UTF-8") from None
    pairs = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict) or not all(isinstance(row.get(field), str) for field in _FIELDS):
            raise UserError(
                f"line {number} of '{path}' is no pair: expected a JSON object with the texts {', '.join(_FIELDS)}"
            )
        pairs.append(MinimalPair(*(row[field] for field in _FIELDS)))
    if not pairs:
        raise UserError(f"'{path}' has no pairs: name a file with one a line")
    return pairs


def judged(pairs: Sequence[MinimalPair], positive: ArrayLike, negative: ArrayLike) -> dict[str, Any]:
    """How many pairs are told apart.

    >>> pairs = [MinimalPair("negation", "It is good.", "It isn't good."), MinimalPair("intensity", "Superb.", "Good.")]
    >>> found = judged(pairs, [0.9, 0.8], [0.6, 0.7])
    >>> found["higher"], found["both_right"]
    (1.0, 0.0)

    Args:
        pairs: at least one.
        positive: P(positive) of the positive text of each, and
        negative: that of the negative one.

    Returns:
        `pairs`, how many; `higher`, the share of which the positive text has the higher P(positive); `both_right`, the
        share of which both texts lie on their side of 0.5 as well, of those that are no `MATTERS_OF_DEGREE` (None of no
        other); the same of each kind in `by_kind`; and the pairs that are not told apart in `wrong`, with both scores.
    """
    first, second = np.asarray(positive, np.float64), np.asarray(negative, np.float64)
    higher = first > second
    both_right = (first > 0.5) & (second <= 0.5)
    kinds = np.array([pair.kind for pair in pairs])

    def figures(chosen: np.ndarray) -> dict[str, Any]:
        sided = chosen & (kinds != MATTERS_OF_DEGREE)
        return {
            "pairs": int(chosen.sum()),
            "higher": float(higher[chosen].mean()),
            "both_right": float(both_right[sided].mean()) if sided.any() else None,
        }

    return {
        **figures(np.ones(len(pairs), bool)),
        "by_kind": [{"kind": kind, **figures(kinds == kind)} for kind in dict.fromkeys(kinds.tolist())],
        "wrong": [
            {**pairs[int(place)]._asdict(), "scores": [float(first[place]), float(second[place])]}
            for place in np.flatnonzero(~higher)
        ],
    }
