"""Pairs of another data set to train on beside those of the data: which of them, and how a source tells its set."""

import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nlp_lstm.datasets.known_sets import fingerprint_of_pairs
from nlp_lstm.datasets.pairs import Pairs, load_source
from nlp_lstm.errors import UserError
from nlp_lstm.text.subwords import Subwords
from nlp_lstm.translation.batches import IdPair
from nlp_lstm.translation.settings import Settings

TAG = "<extra>"
"""The subword that ends a source of extra data, or a translated one, in training, where others have the usual end.

So a model can tell the sets apart, in what it reads first and last of a source (Kobus, Crego and Senellart 2017,
"Domain Control for Neural Machine Translation"), and a model in use knows nothing of it. It is a control symbol of the
library, which no text has among its subwords.
"""

_MOST_UNEVEN = 3.0  # such a pair is hardly a translation
_MOST_FOR_SUBWORDS = 3  # extra pairs for each of the data, or subwords would be those of the extra ones


class ExtraPairs(NamedTuple):
    """What is trained on beside the data."""

    pairs: Pairs
    ids: list[IdPair]
    """Of the pairs in their likeliest segmentation, without an end of their own."""


def load_extra(source: str, settings: Settings, validation: Pairs) -> tuple[Pairs, str]:
    """The training part of a source of pairs, without what stands in the validation data.

    Args:
        source: any that `--data` takes.
        settings: of the run: its languages.
        validation: pairs by which the epochs are judged. A pair with a source or a target of theirs is left out, and
            standard error told how many were.

    Returns:
        The pairs, and the fingerprint of what was read.

    Raises:
        UserError: if the source cannot be read, or no pair is left.
    """
    loaded = load_source(
        source,
        ["train", "validation"],
        source_language=settings.source_language,
        target_language=settings.target_language,
        reverse=settings.extra_reverse,
        validation_fraction=settings.validation_fraction,
        seed=settings.seed,
    )
    pairs = loaded.splits["train"]
    known = [set(map(_letters_of, side)) for side in validation]
    is_new = [
        all(_letters_of(text) not in side for text, side in zip(pair, known, strict=True))
        for pair in zip(*pairs, strict=True)
    ]
    _tell_of_left_out(source, is_new, "they stand in the validation data")
    return _chosen(source, pairs, is_new), fingerprint_of_pairs(loaded.splits.values())


def _letters_of(text: str) -> str:
    return " ".join(text.casefold().split())


def for_subwords(extra: Pairs, pairs_of_data: int, seed: int) -> Pairs:
    """Extra pairs, drawn by the seed, that subwords are learnt from beside so many of the data."""
    most = _MOST_FOR_SUBWORDS * pairs_of_data
    if len(extra.source) <= most:
        return extra
    places = np.random.default_rng([seed, 0x5B]).choice(len(extra.source), most, replace=False)
    return Pairs(*([side[place] for place in places] for side in extra))


def fit_to_train_on(source: str, extra: Pairs, ids: Sequence[IdPair], longest: int) -> ExtraPairs:
    """Extra pairs without those that are too long or too uneven, of which standard error is told.

    Args:
        source: what they are of, for messages: a source of data, or a run.
        extra: all of them.
        ids: theirs.
        longest: subwords of a side, its end counted in.

    Raises:
        UserError: if none is left.
    """
    lengths = np.array([(len(pair.source), len(pair.target)) for pair in ids]).reshape(-1, 2)
    is_short = lengths.max(axis=1) < longest
    is_even = lengths.max(axis=1) <= _MOST_UNEVEN * lengths.min(axis=1)
    _tell_of_left_out(source, is_short.tolist(), f"a side has more than {longest} subwords, its end counted in")
    _tell_of_left_out(
        source, (is_even | ~is_short).tolist(), "a side has over three times as many subwords as the other"
    )
    kept = (is_short & is_even).tolist()
    return ExtraPairs(_chosen(source, extra, kept), [pair for pair, is_kept in zip(ids, kept, strict=True) if is_kept])


def _tell_of_left_out(source: str, kept: Sequence[bool], why: str) -> None:
    if not all(kept):
        count = len(kept) - sum(kept)
        print(f"{source!r}: {count:,} of {len(kept):,} extra pairs are left out: {why}", file=sys.stderr)


def _chosen(source: str, pairs: Pairs, kept: Sequence[bool]) -> Pairs:
    if not any(kept):
        raise UserError(f"{source!r} has no pair left to train on: name another, or leave it out")
    return Pairs(*([text for text, is_kept in zip(side, kept, strict=True) if is_kept] for side in pairs))


def tagged(ids: Sequence[IdPair], subwords: Subwords) -> list[IdPair]:
    """Ids of extra pairs whose sources end with the tag."""
    tag = subwords.pieces.index(TAG)
    return [pair._replace(end=tag) for pair in ids]
