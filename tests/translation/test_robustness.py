"""The shipped translator on sentences that are written in another way than those it was trained on."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from nlp_lstm.translation.inference import TranslationModel

SHIPPED = Path(__file__).parents[2] / "saved_models" / "translation"
CASES = [json.loads(line) for line in Path(__file__).with_name("robustness_cases.jsonl").read_text().splitlines()]
"""Each a `text`, the `usual` form of it, and the `kind` of what was changed."""

KINDS = list(dict.fromkeys(case["kind"] for case in CASES))
SAME = {"capitals", "title case", "lower case", "some capitals", "soft hyphen", "zero width", "spaces"}
"""Kinds that are the same text to a model that reads lower case."""
ALWAYS = {"spaces", "no full stop"}
"""Kinds that hold with a model that reads sources as they are, too."""


def words(text):
    return re.findall(r"\w+", text.lower())


def shared(one, other):
    """The share of words that two texts have in common, of the longer one's."""
    one, other = Counter(words(one)), Counter(words(other))
    return (one & other).total() / max(one.total(), other.total(), 1)


def stammers(text):
    """Whether anything within a word, or any word, stands more than three times in a row."""
    return bool(re.search(r"(\w{2,8}?)\1{3}|\b(\w+)(?: \2){3}\b", text, re.IGNORECASE))


def test_what_is_measured():
    assert shared("Ein Mann fährt Rad.", "ein mann fährt rad") == 1.0
    assert shared("Ein Mann", "Ein Mann und ein Hund") == 0.4
    assert stammers("Auf einem MAINININININ") and stammers("der der der der Hund")
    assert not stammers("Kokosnuss, ha ha ha, Papa")
    assert len(CASES) >= 30 and {*KINDS} > SAME | ALWAYS
    for case in CASES:
        assert case["text"] != case["usual"]


@pytest.fixture(scope="module")
def translations():
    model = TranslationModel(SHIPPED)
    texts = list(dict.fromkeys(case[form] for case in CASES for form in ("usual", "text")))
    found = model.translate([text.encode() for text in texts])
    return {text: best[0].text for text, best in zip(texts, found, strict=True)}


def reads_lower_case():
    return "- `source_case`: lower" in (SHIPPED / "model_card.md").read_text(encoding="utf-8").splitlines()


@pytest.mark.thorough
@pytest.mark.parametrize("kind", KINDS)
def test_a_sentence_written_in_another_way_has_its_translation(kind, translations):
    if not (reads_lower_case() or kind in ALWAYS):
        pytest.skip("the shipped model was trained on sources as they are")
    for case in CASES:
        if case["kind"] != kind:
            continue
        found, usual = translations[case["text"]], translations[case["usual"]]
        assert words(found) and not stammers(found), case
        assert shared(found, usual) > 0.5, (case, found, usual)
        assert kind not in SAME or found == usual, (case, found, usual)
