"""The picture and the table of what the gates did, with tokens that trip up both."""

import matplotlib.image
import numpy as np
import pytest

from nlp_lstm.pictures.gate_map import draw_heat_map, gate_rows, print_table

ODD_TOKENS = [
    *("$", "$a$", "\\$", "$x^2_3$", "a_b^c", "\\frac", "{", "%", "&amp;", "[red]", "[/]", ":smile:", "<s>"),
    *("😀", "👩‍👩‍👧", "映画", "ภาพ", "سينما", "\ufffd", "\U0010ffff", "\x00", "a\x07b", "\x1b[31m"),
]


def activity(tokens, seed=0):
    rng = np.random.default_rng(seed)
    names = ("→ i input", "→ f forget", "→ o output", "← i input", "← f forget", "← o output")
    return rng.normal(size=tokens).astype(np.float32), {name: rng.random(tokens, np.float32) for name in names}


def drawn(path, tokens, **options):
    polarity, gates = activity(len(tokens))
    draw_heat_map(tokens, options.get("polarity", polarity), options.get("gates", gates), "positive 0.93", path)
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    return matplotlib.image.imread(path)[..., :3]


def test_gate_rows_are_named_and_without_padding():
    answer = {
        f"{direction}_{name}": np.arange(5) + 10 * row
        for row, (direction, name) in enumerate(
            (direction, name) for direction in ("backward", "forward") for name in ("output", "forget", "input")
        )
    }
    rows = gate_rows(answer, 3)
    assert list(rows) == ["→ i input", "→ f forget", "→ o output", "← i input", "← f forget", "← o output"]
    assert {name: row.tolist() for name, row in rows.items()} == {
        "→ i input": [50, 51, 52],
        "→ f forget": [40, 41, 42],
        "→ o output": [30, 31, 32],
        "← i input": [20, 21, 22],
        "← f forget": [10, 11, 12],
        "← o output": [0, 1, 2],
    }


def test_one_token(tmp_path):
    assert min(drawn(tmp_path / "gates.png", ["film"]).shape[:2]) > 100


def test_many_tokens_go_over_several_lines(tmp_path):
    """A line is as wide as the picture becomes, and each further line makes it higher."""
    shapes = [drawn(tmp_path / f"{count}.png", ["film"] * count).shape for count in (28, 29, 60)]
    assert shapes[0][1] == shapes[1][1] == shapes[2][1]
    assert shapes[0][0] < shapes[1][0] < shapes[2][0]


def test_long_tokens_over_several_lines(tmp_path):
    drawn(tmp_path / "gates.png", ["W" * 40] * 60)


def test_odd_tokens_are_drawn_without_a_warning(tmp_path):
    drawn(tmp_path / "gates.png", ODD_TOKENS)


@pytest.mark.parametrize("tokens", [["$a", "b$"], ["$a$", "film"], ["\\$", "$"], ["a_b^c", "$x^2_3$"]])
def test_dollar_signs_make_no_formula(tmp_path, monkeypatch, tokens):
    labels = []
    monkeypatch.setattr("matplotlib.mathtext.MathTextParser.parse", lambda *_: pytest.fail("a formula was begun"))
    monkeypatch.setattr(
        "matplotlib.backends.backend_agg.RendererAgg.draw_text",
        lambda self, gc, x, y, text, *_, **__: labels.append(text),
    )
    drawn(tmp_path / "gates.png", tokens)
    assert [label for label in labels if label in tokens] == tokens


def test_a_token_of_a_book_length_makes_no_picture_of_that_size(tmp_path):
    assert max(drawn(tmp_path / "gates.png", ["a", "x" * 65_536]).shape) < 2000


def test_negative_is_red_and_positive_blue(tmp_path):
    picture = drawn(tmp_path / "gates.png", ["bad", "good"], polarity=np.array([-2.0, 2.0]))
    red, green, blue = (picture[..., channel] for channel in range(3))
    is_red = (red > 0.35) & (green < 0.05) & (blue < 0.2)
    is_blue = (red < 0.05) & (green < 0.25) & (blue > 0.35)
    assert is_red.sum() > 100
    assert is_blue.sum() > 100
    assert np.nonzero(is_red)[1].max() <= np.nonzero(is_blue)[1].min() + 2  # the first token is the red one


def test_nothing_but_zeros(tmp_path):
    polarity, gates = np.zeros(3), {"→ f forget": np.zeros(3)}
    drawn(tmp_path / "gates.png", ["a", "b", "c"], polarity=polarity, gates=gates)


def test_a_failed_drawing_leaves_the_old_picture(tmp_path, monkeypatch):
    drawn(tmp_path / "gates.png", ["film"])
    before = (tmp_path / "gates.png").read_bytes()

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    with pytest.raises(OSError, match="No space"):
        drawn(tmp_path / "gates.png", ["another", "film"])
    assert [path.name for path in tmp_path.iterdir()] == ["gates.png"]
    assert (tmp_path / "gates.png").read_bytes() == before


@pytest.fixture
def table(capsys, monkeypatch):
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)

    def printed(tokens, polarity, gates, title="positive 0.93"):
        print_table(tokens, polarity, gates, title)
        return capsys.readouterr().out

    return printed


def test_the_table_has_every_token_and_number(table):
    tokens = [*(f"token{index}" for index in range(200)), "</s>"]
    polarity, gates = activity(len(tokens))
    out = table(tokens, polarity, gates)
    lines = [line for line in out.splitlines() if line.startswith("│")]
    assert "positive 0.93" in out
    assert len(lines) == len(tokens)
    for index, (token, line) in enumerate(zip(tokens, lines, strict=True)):
        cells = [cell.strip() for cell in line.strip("│").split("│")]
        assert cells[0] == token
        assert cells[1] == f"{polarity[index]:+.3f}"
        assert cells[3:] == [f"{values[index]:.2f}" for values in gates.values()]
    for name in gates:
        assert name in out


def test_bars_are_as_long_as_the_shares(table):
    out = table(["a", "b", "c"], np.array([-1.0, 0.5, 0.0]), {})
    assert [line.count("█") for line in out.splitlines() if line.startswith("│")] == [8, 4, 0]


def test_odd_tokens_are_printed_as_they_are(table):
    out = table(ODD_TOKENS, *activity(len(ODD_TOKENS)))
    for token in ODD_TOKENS:
        assert token.replace("\x07", "") in out  # no bell is rung
    assert "\x07" not in out
