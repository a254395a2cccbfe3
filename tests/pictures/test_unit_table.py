"""The table of units: every share, where a state is highest, and rows of bars on one scale."""

import numpy as np
import pytest

from nlp_lstm.pictures.unit_table import WIDEST_ROW, bars, print_units, unit_name


@pytest.mark.parametrize("widest", [1, 3, 7, 48])
@pytest.mark.parametrize("count", [0, 1, 6, 48, 49, 97, 1026])
def test_a_bar_is_as_high_as_the_state_farthest_from_0_of_its_tokens(count, widest):
    states = np.random.default_rng(count).uniform(-1, 1, count)
    found = bars(states, widest)
    assert len(found) <= widest
    each = max(1, int(np.ceil(count / widest)))
    assert len(found) == int(np.ceil(count / each))
    for number, bar in enumerate(found):
        part = states[number * each : (number + 1) * each].tolist()
        height = ord(bar) - ord("▁")  # the block elements follow one another in Unicode
        low, high = -1 + height / 4, -1 + (height + 1) / 4
        assert low <= max(part, key=abs) < high


def test_the_ends_of_the_scale():
    assert bars(np.array([-1.0, 1.0, 0.0])) == "▁█▅"


def units():
    rng = np.random.default_rng(0)
    return [
        {"direction": way, "unit": number, "share": share, "peak": peak, "state": rng.uniform(-1, 1, 4).tolist()}
        for way, number, share, peak in (("forward", 0, -1.5, 2), ("backward", 383, 0.75, 0), ("forward", 12, 0.0, 3))
    ]


def test_every_part_is_told_and_their_sum(capsys):
    tokens = ["<s>", "fine", "\x1b[31m", "</s>"]
    print_units(tokens, units(), {"other units": 2.0, "n-grams": -0.125, "bias": 0.25})
    out = capsys.readouterr().out
    assert "the logit +1.375 by its parts" in out
    lines = [[cell.strip() for cell in line.strip("│").split("│")] for line in out.splitlines() if line[0] == "│"]
    assert [line[:4] for line in lines] == [
        ["→ 0", "-1.500", "████████", "␛[31m"],
        ["← 383", "+0.750", "████", "<s>"],
        ["→ 12", "+0.000", "", "</s>"],
        ["other units", "+2.000", "", ""],
        ["n-grams", "-0.125", "", ""],
        ["bias", "+0.250", "", ""],
    ]
    assert [line[4] for line in lines[:3]] == [bars(np.array(unit["state"])) for unit in units()]
    assert "a bar is" not in out


def test_of_a_long_text_it_is_told_how_many_tokens_a_bar_is(capsys):
    unit = {"direction": "forward", "unit": 1, "share": 1.0, "peak": 7, "state": [0.5] * (2 * WIDEST_ROW + 1)}
    print_units(["film"] * (2 * WIDEST_ROW + 1), [unit], {})
    assert "a bar is 3 tokens" in capsys.readouterr().out


def test_names():
    assert [unit_name(unit) for unit in units()] == ["→ 0", "← 383", "→ 12"]
