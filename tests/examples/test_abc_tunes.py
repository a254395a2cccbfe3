"""The judge of ABC tunes against tunes whose lengths are known, and its verbs as programs."""

import json
import random
import subprocess
import sys
from fractions import Fraction
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "abc_tunes.py"
_spec = spec_from_file_location("abc_tunes", SCRIPT)
abc_tunes = module_from_spec(_spec)
_spec.loader.exec_module(abc_tunes)

METRES = {"2/4": 4, "3/4": 6, "4/4": 8, "6/8": 6, "9/8": 9}  # in eighths
PIECES = [
    ("{}", 1),
    ("{}2", 2),
    ("{}/2{}/2", 1),
    ("{}>{}", 2),
    ("{}<{}", 2),
    ("(3{}{}{}", 2),
    ("{}3/2{}/2", 2),
    ("z", 1),
]


def bar_of(eighths, draw):
    """A bar of exactly so many eighths."""
    pieces = []
    while eighths:
        piece, length = draw.choice([(piece, length) for piece, length in PIECES if length <= eighths])
        pieces.append(piece.format(*(draw.choice("ABcdef") for _ in range(3))))
        eighths -= length
    return " ".join(pieces)


@pytest.mark.parametrize("metre", METRES)
def test_bars_are_told_right_short_and_long(metre):
    draw = random.Random(metre)
    errors = [draw.choice([-1, 0, 0, 1, 2]) for _ in range(60)]
    bars = " | ".join(bar_of(METRES[metre] + error, draw) for error in errors)
    found = abc_tunes.measured_bars(f"M:{metre}\nL:1/8\nK:D\nA | {bars} | d2 |]\n")
    assert found == (errors.count(0), errors.count(-1), errors.count(1) + errors.count(2))


def test_upbeats_and_ends_of_parts_are_no_inner_bars():
    assert abc_tunes.measured_bars("M:2/4\nL:1/8\nK:G\nG|ABcd|e3:|\n|:d|cBAG|G3|]\n") == (2, 0, 0)


@pytest.mark.parametrize("tune", ["", "K:G\nABcd|ABcd|ABcd|\n", "M:x\nK:G\nA|ABcd|A\n", "M:2/4\nL:1/8\nK:G\n(((((|[[|"])
def test_what_is_no_tune_has_no_bars(tune):
    assert not sum(abc_tunes.measured_bars(tune) or ())


@pytest.mark.parametrize(
    "tune, kept",
    [
        ("X:1\nM:C\nK:A min\nA>B (3cde|\\\nf4|\n", "M:4/4\nL:1/8\nK:Amin\nA>B (3cde|\nf4|\n"),
        ("X:1\nM:2/4\nK:C\ncdef|\n", "M:2/4\nL:1/16\nK:C\ncdef|\n"),
        ('X:1\nM:3/4\nL:1/4\nK:C\n"Am"c !trill!d +fermata+e|c\'2z % end\n', "M:3/4\nL:1/4\nK:C\nc d e|c'2z\n"),
        ("X:1\nM:3/4\nV:1\nK:C\ncde|\n", None),
        ("X:1\nM:3/4\nK:C\ncde|\nM:2/4\ncd|\n", None),
        ("X:1\nM:none\nK:C\ncde|\n", None),
        ("X:1\nM:3/4\nK:C\n", None),
        ("X:1\nM:3/4\nK:C\nWords of a song|\n", None),
    ],
)
def test_what_is_played_is_kept(tune, kept):
    assert abc_tunes.simplified(tune) == kept


def test_copies_are_counted():
    tunes = [f"M:4/4\nL:1/8\nK:D\n{' | '.join(bar_of(8, random.Random(seed)) for seed in seeds)}|\n"
             for seeds in (range(40), range(100, 140))]  # fmt: skip
    assert abc_tunes.check([tunes[0]], tunes[0])["copied"] == 1
    assert abc_tunes.check([tunes[1]], tunes[0])["copied"] == 0
    assert abc_tunes.check(tunes, tunes[0])["copied"] == pytest.approx(0.5, abs=0.1)


def test_a_table_of_long_contexts_repeats_its_text():
    text = "M:4/4\nL:1/8\nK:D\n" + bar_of(80, random.Random(0)) + "|\n\n"
    written = list(abc_tunes.written_by_ngrams(text, 30, 3, seed=1))
    assert [tune + "\n" for tune in written] == [text] * 3


def run(*arguments):
    return subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True)


def test_from_a_collection_to_figures(tmp_path):
    pytest.importorskip("music21")
    collected = run("collect", "--output", tmp_path / "tunes.txt")
    found = json.loads(collected.stdout)
    assert found["kept"] > 0.9 * found["found"] > 2000
    tunes = abc_tunes.tunes_of((tmp_path / "tunes.txt").read_text())
    assert len(tunes) == found["kept"] == len(set(tunes))
    (tmp_path / "few.txt").write_text("".join(tunes[:100]))
    figures = json.loads(run("check", tmp_path / "few.txt", "--training", tmp_path / "tunes.txt").stdout)
    # Printed music is counted well; its transcribers erred now and then.
    assert figures["readable"] == 100 and figures["bars_right"] > 0.95 and figures["copied"] > 0.99
    assert Fraction(figures["bars"]) > 1000


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["collect", "missing.abc", "--output", "out.txt"], "'missing.abc' cannot be read"),
        (["collect", SCRIPT, "--output", "out.txt"], "no plain tune was found"),
        (["check", "missing.txt"], "'missing.txt' cannot be read"),
    ],
)
def test_a_mistake_is_one_line(arguments, words, tmp_path):
    result = subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True, cwd=tmp_path
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert words in result.stderr and result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
