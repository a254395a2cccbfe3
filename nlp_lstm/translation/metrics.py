"""How good translations are: BLEU by two protocols, chrF, and BLEU by the length of what was translated."""

import itertools
import json
import re
from collections.abc import Sequence
from typing import Any

import sacremoses
from sacrebleu.metrics import BLEU, CHRF

from nlp_lstm.errors import UserError

_RESAMPLES = 1000


def check_language(code: str) -> None:
    """Refuse what is no code of a language, before any work is done.

    >>> check_language("de")

    Raises:
        UserError: if it has not two or three small letters.
    """
    if not re.fullmatch("[a-z]{2,3}", code):
        raise UserError(f"target language {code!r} is no code: give two or three letters, as in 'de'")


def translation_scores(
    translations: Sequence[str], references: Sequence[Sequence[str]], target_language: str | None
) -> dict[str, Any]:
    """Judge translations of a whole test set.

    >>> scores = translation_scores(["Ein Hund rennt."], [["Ein Hund rennt weg.", "Der Hund läuft."]], "de")
    >>> round(scores["bleu"], 2), round(scores["bleu_lower_tok"], 2), scores["length_ratio"]
    (63.89, 63.89, 1.0)

    Args:
        translations: raw text, one for each sentence.
        references: for each sentence one or more right translations, not all sentences need as many.
        target_language: code such as `de`, by whose rules Moses tokenises; a language that it has no rules for goes
            by those of any language and the abbreviations of English. None where it is not known.

    Returns:
        `bleu` (Papineni et al. 2002 as sacreBLEU computes it by default: cased, tokenised by 13a; Post 2018),
        `chrf` (Popović 2015), `bleu_lower_tok` (what papers on Multi30k report: either side lower-cased, punctuation
        normalised and tokenised by Moses with hyphenated words left whole, then BLEU as before), each from 0 to 100
        with what it was computed by in `signature`, `chrf_signature` and `lower_tok_signature`; and the
        `brevity_penalty` and `length_ratio`, tokens written for a token of the reference, of `bleu`. Without a language
        `bleu_lower_tok` and its signature are None.

    Raises:
        UserError: for no sentences, one without a reference, or a language that is no code.
        ValueError: if there are not as many references as translations, or something is no text.
    """
    if target_language is not None:
        check_language(target_language)
    streams = _streams(translations, references)
    bleu_metric, chrf_metric = BLEU(force=True), CHRF()  # forced, it does not warn of text that looks tokenised
    bleu = bleu_metric.corpus_score(translations, streams)
    chrf = chrf_metric.corpus_score(translations, streams)
    tokenized = tokenized_signature = None
    if target_language is not None:
        metric = BLEU(force=True, tokenize="none")
        tokenized = metric.corpus_score(*_lower_tokenized(translations, references, target_language)).score
        tokenized_signature = _lower_tokenized_signature(metric, target_language)
    return {
        "bleu": bleu.score,
        "signature": str(bleu_metric.get_signature()),
        "chrf": chrf.score,
        "chrf_signature": str(chrf_metric.get_signature()),
        "bleu_lower_tok": tokenized,
        "lower_tok_signature": tokenized_signature,
        "brevity_penalty": bleu.bp,
        "length_ratio": bleu.ratio,
    }


def score_intervals(
    translations: Sequence[str], references: Sequence[Sequence[str]], target_language: str | None
) -> dict[str, list[float] | None]:
    """The 95 % intervals of the figures of `translation_scores`, by sacreBLEU's bootstrap over sentences (Koehn 2004).

    >>> texts = ["Ein Hund rennt.", "Eine Katze schläft auf dem Sofa.", "Zwei Kinder spielen."]
    >>> found = score_intervals(texts, [[texts[0]], [texts[1]], ["Kinder spielen im Garten."]], "de")
    >>> [name for name in found]
    ['bleu_interval', 'chrf_interval', 'bleu_lower_tok_interval']
    >>> found["bleu_interval"][0] < 80 < found["bleu_interval"][1]
    True

    Takes, as `translation_scores` does, raw text, one or more right translations of each, and the language of both.
    A single sentence says nothing of others: its intervals are None. So is one that needs a language where none is
    known, and one of so few sentences that a draw may have nothing right.
    """
    streams = _streams(translations, references)
    tokenized = None
    if target_language is not None:
        metric = BLEU(force=True, tokenize="none")
        tokenized = _interval(metric, *_lower_tokenized(translations, references, target_language))
    return {
        "bleu_interval": _interval(BLEU(force=True), translations, streams),
        "chrf_interval": _interval(CHRF(), translations, streams),
        "bleu_lower_tok_interval": tokenized,
    }


def _interval(metric: BLEU | CHRF, translations: Sequence[str], streams: Sequence[Sequence[Any]]) -> list[float] | None:
    if len(translations) == 1:
        return None
    try:
        score = metric.corpus_score(translations, streams, n_bootstrap=_RESAMPLES)
    except TypeError:  # sacreBLEU 2.6 cannot take the mean where some draws have no match at all
        return None
    found = json.loads(score.format(width=6, signature=str(metric.get_signature()), is_json=True))
    middle, half = found.get("confidence_mean", 0.0), found.get("confidence_var", 0.0)  # left out where all draws are 0
    return [middle - half, middle + half]


def _lower_tokenized(
    translations: Sequence[str], references: Sequence[Sequence[str]], language: str
) -> tuple[list[str], list[Any]]:
    """The translations and the streams of references as lower-case Moses tokens."""
    normalizer = sacremoses.MosesPunctNormalizer(language)
    tokenizer = sacremoses.MosesTokenizer(language)

    def lower_tokenized(text: str) -> str:
        return str(tokenizer.tokenize(normalizer.normalize(text.lower()), escape=False, return_str=True))

    tokenized_references = [list(map(lower_tokenized, alternatives)) for alternatives in references]
    return list(map(lower_tokenized, translations)), list(itertools.zip_longest(*tokenized_references))


def _lower_tokenized_signature(metric: BLEU, language: str) -> str:
    """What it was computed by, once it was."""
    signature = metric.get_signature()
    # Of what was done before it, sacreBLEU knows nothing.
    signature.update("case", "lc")
    signature.update("tok", f"norm-moses-{language}")
    signature.update("sacremoses", sacremoses.__version__)
    return str(signature)


def validation_bleu(translations: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """The `bleu` of `translation_scores` alone, 0 to 100, for the epochs of a training.

    >>> validation_bleu(["Ein Hund rennt weg."], [["Ein Hund rennt davon."]])
    42.72870063962342

    Args:
        translations: raw text, one for each sentence.
        references: for each sentence one or more right translations.

    Raises:
        UserError: for no sentences, or one without a reference.
        ValueError: if there are not as many references as translations, or something is no text.
    """
    return BLEU(force=True).corpus_score(translations, _streams(translations, references)).score


def bleu_by_length(
    source_lengths: Sequence[int],
    translations: Sequence[str],
    references: Sequence[Sequence[str]],
    bounds: Sequence[int] = (5, 10, 15, 20, 30),
) -> list[dict[str, Any]]:
    """BLEU of the sentences of each length apart, which shows a model that long ones are too much for.

    >>> bleu_by_length([4], ["Ein Hund rennt."], [["Ein Hund rennt."]], bounds=(5,))
    [{'words': '0-5', 'sentences': 1, 'bleu': 100.00000000000004}, {'words': '6+', 'sentences': 0, 'bleu': None}]

    A bucket without a sentence of four tokens scores 0, since it has no 4-gram that could be right.

    Args:
        source_lengths: words of each sentence that was translated.
        translations: raw text, one for each sentence.
        references: for each sentence one or more right translations.
        bounds: the last length of each bucket but the last, which has no end.

    Returns:
        For each bucket `words` ("0-5", "6-10", "31+"), `sentences`, and `bleu`, which is None where there are none.

    Raises:
        UserError: for no sentences, or one without a reference.
        ValueError: if there are not as many lengths or references as translations, a length is negative, or the bounds
            do not rise from 0 or more.
    """
    _streams(translations, references)
    if len(source_lengths) != len(translations):
        raise ValueError(f"{len(source_lengths)} lengths for {len(translations)} translations: give one for each")
    if min(source_lengths) < 0:
        raise ValueError(f"a source has a length of {min(source_lengths)}: give its words, 0 or more")
    if not bounds or bounds[0] < 0 or any(low >= high for low, high in itertools.pairwise(bounds)):
        raise ValueError(f"bounds are {list(bounds)}: give lengths of at least 0 that rise, as in (5, 10)")
    rows = []
    low = 0  # a source may have no word
    for high in (*bounds, None):
        inside = [
            number for number, length in enumerate(source_lengths) if low <= length and (high is None or length <= high)
        ]
        bleu = None
        if inside:
            bleu = validation_bleu([translations[number] for number in inside], [references[n] for n in inside])
        rows.append({"words": f"{low}+" if high is None else f"{low}-{high}", "sentences": len(inside), "bleu": bleu})
        if high is not None:
            low = high + 1
    return rows


def _streams(translations: Sequence[str], references: Sequence[Sequence[str]]) -> list[list[Any]]:
    """The references as sacreBLEU takes them: a stream of first ones, one of second ones, and so on, None for none."""
    if len(translations) != len(references):
        raise ValueError(f"{len(translations)} translations and references of {len(references)}: give as many of both")
    if not len(translations):
        raise UserError("there is no translation to judge: give at least one sentence")
    for number, (translation, alternatives) in enumerate(zip(translations, references, strict=True)):
        if isinstance(alternatives, str) or not all(isinstance(text, str) for text in (translation, *alternatives)):
            raise ValueError(f"sentence {number} is no text with a list of references: give str and a list of str")
        if not len(alternatives):
            raise UserError(f"sentence {number} has no reference: give at least one right translation of it")
    return [list(stream) for stream in itertools.zip_longest(*references)]
