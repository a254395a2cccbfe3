"""Figures of translations, against BLEU and chrF written down once more from the papers, and tokens split by hand."""

import itertools
import logging
import math
import socket
from collections import Counter

import numpy as np
import pytest
import sacrebleu
import sacremoses
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU

from nlp_lstm.errors import UserError
from nlp_lstm.translation.metrics import bleu_by_length, score_intervals, translation_scores, validation_bleu

TRANSLATIONS = ["Ein Hund rennt über die Wiese.", "Zwei Männer stehen an einer Ecke.", "Das Kind lacht laut."]
REFERENCES = [["Ein Hund läuft über die Wiese."], ["Zwei Männer stehen an der Ecke."], ["Ein Kind lacht sehr laut."]]


def ngrams(items, order):
    return Counter(tuple(items[start : start + order]) for start in range(len(items) - order + 1))


def bleu(translations, references):
    """Papineni et al. 2002 on lists of tokens: the score, the brevity penalty and the ratio of lengths.

    An order without a match counts as half of one match, the next such order as a quarter, as mteval-v13a has it.
    """
    written = sum(map(len, translations))
    # Of references that are equally near, the shorter one.
    asked = sum(
        min((abs(len(one) - len(translation)), len(one)) for one in alternatives)[1]
        for translation, alternatives in zip(translations, references, strict=True)
    )
    penalty = 1.0 if written >= asked else math.exp(1 - asked / written) if written else 0.0
    ratio = written / asked if asked else 0.0
    logarithms, share = [], 1.0
    matches = []
    for order in range(1, 5):
        right, total = 0, 0
        for translation, alternatives in zip(translations, references, strict=True):
            found = ngrams(translation, order)
            most = Counter()
            for one in alternatives:
                most |= ngrams(one, order)
            right += (found & most).total()
            total += found.total()
        matches.append(right)
        if not total:
            return 0.0, penalty, ratio
        if not right:
            share /= 2
        logarithms.append(math.log((right or share) / total))
    return 100 * penalty * math.exp(sum(logarithms) / 4) if any(matches) else 0.0, penalty, ratio


def chrf(translations, references):
    """Popović 2015 with one reference a sentence: F2 of the mean precision and recall of 1- to 6-grams of letters."""
    precisions, recalls = [], []
    for order in range(1, 7):
        right, written, asked = 0, 0, 0
        for translation, reference in zip(translations, references, strict=True):
            found, wanted = (ngrams("".join(text.split()), order) for text in (translation, reference))
            right += (found & wanted).total()
            written += found.total() if wanted else 0  # sacreBLEU leaves out what has nothing to be held against
            asked += wanted.total()
        if written and asked:
            precisions.append(right / written)
            recalls.append(right / asked)
    if not any(precisions):
        return 0.0
    precision, recall = sum(precisions) / len(precisions), sum(recalls) / len(recalls)
    return 100 * 5 * precision * recall / (4 * precision + recall)


words = st.lists(st.sampled_from(["a", "b", "cd", "übe"]), max_size=9)
corpora = st.lists(st.tuples(words, st.lists(words, min_size=1, max_size=3)), min_size=1, max_size=6)


def written(corpus):
    """The translations and references of a corpus as tokens, and both as text."""
    translations = [translation for translation, _ in corpus]
    references = [alternatives for _, alternatives in corpus]
    texts = [" ".join(tokens) for tokens in translations]
    return translations, references, texts, [[" ".join(one) for one in alternatives] for alternatives in references]


@settings(deadline=None, max_examples=150)
@given(corpora)
def test_bleu_against_its_equations(corpus):
    translations, references, texts, reference_texts = written(corpus)
    score, penalty, ratio = bleu(translations, references)
    assert validation_bleu(texts, reference_texts) == pytest.approx(score)
    found = translation_scores(texts, reference_texts, "de")
    # Of words in small letters, without punctuation, the protocols say the same.
    assert found["bleu"] == pytest.approx(score)
    assert found["bleu_lower_tok"] == pytest.approx(score)
    assert found["brevity_penalty"] == pytest.approx(penalty)
    assert found["length_ratio"] == pytest.approx(ratio)


def test_the_oracle_by_hand():
    """8 of 9 words, 6 of 7 pairs, 4 of 5 triples, 2 of 3 fours; one word less than was asked for."""
    texts = ["a b c d e", "f g h i"]
    references = [["a b c d x"], ["f g h x i", "f g h i j k l m"]]
    score, penalty, ratio = bleu(
        [text.split() for text in texts], [[one.split() for one in alternatives] for alternatives in references]
    )
    assert (penalty, ratio) == (pytest.approx(math.exp(1 - 10 / 9)), 0.9)
    assert score == pytest.approx(100 * penalty * math.prod([8 / 9, 6 / 7, 4 / 5, 2 / 3]) ** 0.25)


@settings(deadline=None, max_examples=60)
@given(corpora)
def test_chrf_against_its_equations(corpus):
    texts = [" ".join(translation) for translation, _ in corpus]
    references = [" ".join(alternatives[0]) for _, alternatives in corpus]
    found = translation_scores(texts, [[reference] for reference in references], "de")
    assert found["chrf"] == pytest.approx(chrf(texts, references))


def test_the_figures_of_sentences_with_punctuation():
    tokens = [text.replace(".", " .").split() for text in TRANSLATIONS]
    references = [[text.replace(".", " .").split() for text in alternatives] for alternatives in REFERENCES]
    version = f"version:{sacrebleu.__version__}"
    found = translation_scores(TRANSLATIONS, REFERENCES, "de")
    assert found == {
        "bleu": pytest.approx(bleu(tokens, references)[0]),
        "signature": f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|{version}",
        "chrf": pytest.approx(chrf(TRANSLATIONS, [one for (one,) in REFERENCES])),
        "chrf_signature": f"nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|{version}",
        "bleu_lower_tok": pytest.approx(bleu(tokens, references)[0]),
        "lower_tok_signature": (
            f"nrefs:1|case:lc|eff:no|tok:norm-moses-de|smooth:exp|sacremoses:{sacremoses.__version__}|{version}"
        ),
        "brevity_penalty": pytest.approx(math.exp(1 - 20 / 19)),
        "length_ratio": pytest.approx(19 / 20),
    }
    assert 20 < found["bleu"] < 80
    assert validation_bleu(TRANSLATIONS, REFERENCES) == found["bleu"]


def test_the_right_translations_score_100():
    right = [reference for (reference,) in REFERENCES]
    found = translation_scores(right, REFERENCES, "de")
    for name in ("bleu", "chrf", "bleu_lower_tok"):
        assert found[name] == pytest.approx(100)
    assert found["brevity_penalty"] == found["length_ratio"] == 1


def test_case_counts_in_raw_text_alone():
    right = translation_scores(TRANSLATIONS, REFERENCES, "de")
    shouted = translation_scores([text.upper() for text in TRANSLATIONS], REFERENCES, "de")
    assert shouted["bleu"] < right["bleu"] / 4
    assert shouted["chrf"] < right["chrf"] / 4
    assert shouted["bleu_lower_tok"] == right["bleu_lower_tok"]


@pytest.mark.parametrize(
    ("language", "raw", "tokens"),
    [
        ("de", "Ein Mädchen im T-Shirt ruft: „Hallo, du!“", 'ein mädchen im t-shirt ruft : " hallo , du ! "'),
        ("de", "Es kostet 3,50 Euro (z.B. hier) & mehr…", "es kostet 3,50 euro ( z.b. hier ) & mehr ..."),
        ("de", 'Sie sagt "Ja," und geht.', 'sie sagt " ja " , und geht .'),
        ("en", 'She says "yes", and goes.', 'she says " yes , " and goes .'),
        ("en", "The dog's owner doesn’t run – it's late.", "the dog 's owner doesn 't run - it 's late ."),
        ("fr", "L’homme d'hiver s'assied\u00a0!", "l' homme d' hiver s' assied !"),
        ("de", "Ca. 5 vs. 7 Hunde. Ja.", "ca. 5 vs. 7 hunde. ja ."),
        ("en", "Ca. 5 vs. 7 Hunde. Ja.", "ca . 5 vs. 7 hunde. ja ."),
        ("xx", "Ca. 5 vs. 7 Hunde. Ja.", "ca . 5 vs. 7 hunde. ja ."),  # of a language without rules
        ("xx", "It's Dog-Food.", "it ' s dog-food ."),
    ],
)
def test_tokens_split_by_hand(language, raw, tokens, monkeypatch):
    """What BLEU is given without a tokenizer of its own."""
    given_to_bleu = []
    corpus_score = BLEU.corpus_score

    def noted(self, translations, references):
        given_to_bleu.append((self.tokenizer_signature, translations, [list(stream) for stream in references]))
        return corpus_score(self, translations, references)

    monkeypatch.setattr(BLEU, "corpus_score", noted)
    found = translation_scores([raw, "Ja"], [["Nein", raw], ["JA!"]], language)
    assert given_to_bleu == [
        ("13a", [raw, "Ja"], [["Nein", "JA!"], [raw, None]]),
        ("none", [tokens, "ja"], [["nein", "ja !"], [tokens, None]]),
    ]
    expected, *_ = bleu([tokens.split(), ["ja"]], [[["nein"], tokens.split()], [["ja", "!"]]])
    assert found["bleu_lower_tok"] == pytest.approx(expected)


@pytest.mark.parametrize("language", ["", "German", "DE", "de-AT", "d", "deut", "../x", "d\n"])
def test_a_language_is_a_code(language):
    with pytest.raises(UserError, match="no code: give two or three letters") as raised:
        translation_scores(TRANSLATIONS, REFERENCES, language)
    assert "\n" not in str(raised.value)


same_length = st.integers(1, 9).flatmap(
    lambda count: st.lists(st.lists(st.sampled_from("abcd"), min_size=count, max_size=count), min_size=3, max_size=3)
)


@settings(deadline=None, max_examples=60)
@given(st.lists(same_length, min_size=1, max_size=5))
def test_a_second_reference_of_the_same_length_never_harms(corpus):
    texts, first, second = zip(*([" ".join(tokens) for tokens in sentence] for sentence in corpus), strict=True)
    one = validation_bleu(texts, [[reference] for reference in first])
    assert validation_bleu(texts, list(zip(first, second, strict=True))) >= one - 1e-9
    assert validation_bleu(texts, list(zip(first, first, strict=True))) == pytest.approx(one)


def test_sentences_with_differing_numbers_of_references():
    references = [[*REFERENCES[0], TRANSLATIONS[0]], REFERENCES[1], ["Es lacht.", *REFERENCES[2], TRANSLATIONS[2]]]
    found = translation_scores(TRANSLATIONS, references, "de")
    tokens = [text.replace(".", " .").split() for text in TRANSLATIONS]
    split = [[text.replace(".", " .").split() for text in alternatives] for alternatives in references]
    assert found["bleu"] == pytest.approx(bleu(tokens, split)[0])
    assert found["bleu"] == pytest.approx(found["bleu_lower_tok"])
    assert found["bleu"] > translation_scores(TRANSLATIONS, REFERENCES, "de")["bleu"] + 10
    for name in ("signature", "chrf_signature", "lower_tok_signature"):
        assert found[name].startswith("nrefs:var|")
    both = translation_scores(TRANSLATIONS, [one * 2 for one in REFERENCES], "de")
    assert both["signature"].startswith("nrefs:2|")


def test_nothing_is_printed_and_nobody_called(capfd, caplog, monkeypatch):
    """Of 200 lines with a period set apart sacreBLEU would warn."""
    monkeypatch.setattr(socket, "socket", lambda *_: pytest.fail("the network was asked"))
    caplog.set_level(logging.DEBUG)
    texts = ["Ein Hund rennt über die Wiese ."] * 200
    translation_scores(texts, [[text] for text in texts], "de")
    bleu_by_length([6] * 200, texts, [[text] for text in texts])
    translation_scores(["狗 跑"], [["狗 跑"]], "zh")  # it would rather see another tokenizer
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_odd_sentences():
    odd = ["", " \t\n", "\u2028", "\x00", "\ud800", "😀", "<skipped>", "&quot;&amp;", ".", "…" * 500, "a" * 10_000]
    found = translation_scores(odd, [[text, "Ein Hund ."] for text in reversed(odd)], "de")
    assert all(0 <= found[name] <= 100 + 1e-9 for name in ("bleu", "chrf", "bleu_lower_tok"))
    nothing = translation_scores(["", ""], [["Ein Hund."], ["Ja."]], "de")
    assert [nothing[name] for name in ("bleu", "chrf", "bleu_lower_tok", "brevity_penalty", "length_ratio")] == [0] * 5


def test_mistakes():
    def refused(error, message, translations, references):
        for judge in (
            lambda: translation_scores(translations, references, "de"),
            lambda: validation_bleu(translations, references),
            lambda: bleu_by_length([1] * len(translations), translations, references),
        ):
            with pytest.raises(error, match=message) as raised:
                judge()
            assert "\n" not in str(raised.value)

    refused(UserError, "no translation to judge", [], [])
    refused(ValueError, "2 translations and references of 1", ["a", "b"], [["a"]])
    refused(ValueError, "0 translations and references of 1", [], [["a"]])
    refused(UserError, "sentence 1 has no reference", ["a", "b"], [["a"], []])
    refused(ValueError, "sentence 0 is no text with a list of references", ["a"], ["a"])
    refused(ValueError, "sentence 1 is no text with a list of references", ["a", None], [["a"], ["b"]])
    refused(ValueError, "sentence 0 is no text with a list of references", ["a"], [["a", None]])


# By length


def test_bleu_of_each_length():
    """Each bucket against the equations on its sentences, with a length at either side of every bound."""
    lengths = [0, 1, 5, 6, 10, 11, 15, 16, 30, 31, 500]
    translations = [f"a b c d {number % 3} e f" for number in range(len(lengths))]
    references = [[f"a b c d {number % 2} e f g", "a b c"] for number in range(len(lengths))]
    buckets = [(0, 5), (6, 10), (11, 15), (16, 20), (21, 30), (31, 10**9)]
    rows = bleu_by_length(lengths, translations, references)
    assert [row["words"] for row in rows] == ["0-5", "6-10", "11-15", "16-20", "21-30", "31+"]
    assert [row["sentences"] for row in rows] == [3, 2, 2, 1, 1, 2]
    for row, (low, high) in zip(rows, buckets, strict=True):
        inside = [number for number, length in enumerate(lengths) if low <= length <= high]
        expected, *_ = bleu(
            [translations[number].split() for number in inside],
            [[one.split() for one in references[number]] for number in inside],
        )
        assert row["bleu"] == pytest.approx(expected)
        assert row["bleu"] > 0
    assert len({round(row["bleu"], 3) for row in rows}) > 3


def test_an_empty_bucket_has_no_bleu():
    rows = bleu_by_length([3, 40, 7], TRANSLATIONS, REFERENCES, bounds=(0, 9, 20))
    assert [(row["words"], row["sentences"]) for row in rows] == [("0-0", 0), ("1-9", 2), ("10-20", 0), ("21+", 1)]
    assert [row["bleu"] is None for row in rows] == [True, False, True, False]


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=8),
    st.lists(st.integers(0, 45), min_size=1, max_size=5, unique=True).map(sorted),
)
def test_every_sentence_is_in_one_bucket(lengths, bounds):
    texts = ["a b c d"] * len(lengths)
    rows = bleu_by_length(lengths, texts, [[text] for text in texts], bounds)
    assert len(rows) == len(bounds) + 1
    assert sum(row["sentences"] for row in rows) == len(lengths)
    ends = [row["words"].split("-") for row in rows[:-1]]
    assert all(int(high) + 1 == int(low) for (_, high), (low, _) in itertools.pairwise(ends))
    for row in rows:
        assert row["bleu"] == (pytest.approx(100) if row["sentences"] else None)


def test_mistakes_by_length():
    with pytest.raises(ValueError, match="2 lengths for 3 translations"):
        bleu_by_length([1, 2], TRANSLATIONS, REFERENCES)
    with pytest.raises(ValueError, match="length of -1"):
        bleu_by_length([1, -1, 2], TRANSLATIONS, REFERENCES)
    for bounds in ((), (5, 5), (10, 5), (-1, 5)):
        with pytest.raises(ValueError, match="lengths of at least 0 that rise"):
            bleu_by_length([1, 2, 3], TRANSLATIONS, REFERENCES, bounds)


@pytest.mark.parametrize("references", [1, 2])
def test_intervals_are_where_figures_of_drawn_sentences_lie(references):
    rng = np.random.default_rng(references)
    words = [f"wort{number}" for number in range(30)]
    right = [[" ".join(rng.choice(words, 9)) for _ in range(references)] for _ in range(60)]
    # Some words of each first reference are replaced.
    said = [" ".join(w if rng.random() < 0.8 else "anderes" for w in row[0].split()) for row in right]
    found = score_intervals(said, right, "de")
    drawn = []
    for _ in range(400):
        picks = rng.integers(0, 60, 60)
        drawn.append(translation_scores([said[pick] for pick in picks], [right[pick] for pick in picks], None))
    for name in ("bleu", "chrf"):
        expected = np.percentile([figures[name] for figures in drawn], [2.5, 97.5])
        assert found[f"{name}_interval"] == pytest.approx(expected, abs=0.25 * (expected[1] - expected[0]))
    assert found["bleu_lower_tok_interval"] == pytest.approx(found["bleu_interval"])  # the tokens are the same


def test_one_sentence_has_no_interval():
    assert set(score_intervals(["Ja."], [["Ja!"]], "de").values()) == {None}
    assert score_intervals(["Ja.", "Nein."], [["Ja!"], ["Nein."]], None)["bleu_lower_tok_interval"] is None


def test_without_a_language_what_needs_none_is_the_same():
    translations, references = ["Ein Hund rennt.", "Ja"], [["Ein Hund rennt weg.", "Der Hund."], ["Ja, ja"]]
    found = translation_scores(translations, references, None)
    expected = translation_scores(translations, references, "de")
    assert expected["bleu_lower_tok"] > 0 and "norm-moses-de" in expected["lower_tok_signature"]
    assert found == {**expected, "bleu_lower_tok": None, "lower_tok_signature": None}
