"""The picture and the table of what the gates did, with tokens that trip up both."""

import matplotlib
import matplotlib.axes
import matplotlib.image
import numpy as np
import pytest

from nlp_lstm.pictures import gate_map
from nlp_lstm.pictures.gate_map import draw_heat_map, gate_rows, print_table

ODD_TOKENS = [
    *("$", "$a$", "\\$", "$x^2_3$", "a_b^c", "\\frac", "{", "%", "&amp;", "[red]", "[/]", ":smile:", "<s>"),
    *("😀", "👩‍👩‍👧", "映画", "ภาพ", "سينما", "\ufffd", "\U0010ffff", "\x00", "a\x07b"),
    *("\x1b[31m", "\u202eon", "\x9b1m", "a\rb"),
]


def activity(tokens, seed=0):
    rng = np.random.default_rng(seed)
    names = ("→ i input", "→ f forget", "→ o output", "← i input", "← f forget", "← o output")
    return rng.normal(size=tokens).astype(np.float32), {name: rng.random(tokens, np.float32) for name in names}


def drawn(path, tokens, **options):
    polarity, gates = activity(len(tokens))
    more = {name: options[name] for name in ("prefix_scores", "units") if name in options}
    draw_heat_map(tokens, options.get("polarity", polarity), options.get("gates", gates), "positive 0.93", path, **more)
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    return matplotlib.image.imread(path)[..., :3]


def test_gate_rows_are_named():
    answer = {
        f"{direction}_{name}": np.arange(3) + 10 * row
        for row, (direction, name) in enumerate(
            (direction, name) for direction in ("backward", "forward") for name in ("output", "forget", "input")
        )
    }
    rows = gate_rows(answer)
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
    shapes = [drawn(tmp_path / f"{count}.png", ["film"] * count).shape for count in (8, 16, 64)]
    assert shapes[0][1] == shapes[1][1] == shapes[2][1]
    assert shapes[0][0] < shapes[1][0] < shapes[2][0]


@pytest.mark.parametrize("tokens", [1, 8, 9, 17, 63, 64, 65, 200, 1026])
def test_lines_are_of_like_length_and_narrow_where_they_are_few(tokens):
    lines = gate_map._lines(tokens)
    assert [place for line in lines for place in line] == list(range(tokens))
    lengths = [len(line) for line in lines]
    assert max(lengths) - min(lengths) < len(lines) + 1
    assert max(lengths) == lengths[0] <= (8 if tokens <= 64 else 28)
    assert len(lines) == -(-tokens // (8 if tokens <= 64 else 28))


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
    red_columns, blue_columns = np.nonzero(is_red)[1], np.nonzero(is_blue)[1]
    assert min(len(red_columns), len(blue_columns)) > 1000  # a cell, of which the scale beside it has less
    assert np.median(red_columns) < np.median(blue_columns)  # the first token is the red one


def in_8_bits(colormap, position):
    return np.round(np.array(matplotlib.colormaps[colormap](position))[..., :3] * 255).astype(int)


def places(picture, color):
    """Where a picture has a color, as the middle `(down, across)` of a whole cell of it."""
    down, across = np.nonzero((np.abs(np.round(picture * 255) - color) <= 1).all(axis=-1))
    assert len(down) > 1000, "no cell has this color"
    return np.median(down), np.median(across)


@pytest.mark.parametrize(("lowest", "highest"), [(0.36, 0.51), (0.0, 1.0)])
def test_gates_have_one_scale_from_0_to_1(tmp_path, lowest, highest):
    """Whatever the other values of a row are, so that 0.36 to 0.51 does not look like 0 to 1."""
    values = np.linspace(lowest, highest, 6).reshape(2, 3)
    gates = dict(zip(("→ i input", "← o output"), values, strict=True))
    picture = drawn(tmp_path / "gates.png", ["a", "b", "c"], polarity=np.array([0.5, -0.25, 2]), gates=gates)
    rows = np.array([[places(picture, in_8_bits("viridis", value)) for value in row] for row in values])
    assert (np.diff(rows[..., 0], axis=0) > 20).all()
    assert (np.diff(rows[..., 1], axis=1) > 20).all()
    for share, column in zip((0.5 / 2, -0.25 / 2, 1), rows[0, :, 1], strict=True):
        down, across = places(picture, in_8_bits("RdBu", (share + 1) / 2))
        assert down < rows[0, 0, 0]
        assert abs(across - column) <= 2


def test_the_scales_are_shown_and_every_number_stands_in_its_cell(tmp_path, monkeypatch):
    labels, numbers = [], []
    monkeypatch.setattr(
        "matplotlib.backends.backend_agg.RendererAgg.draw_text",
        lambda self, gc, x, y, text, *_, **__: labels.append(text),
    )
    outline = gate_map._centered
    monkeypatch.setattr(gate_map, "_centered", lambda number: numbers.append(number) or outline(number))
    polarity, gates = np.array([0.5, -1.25, 0]), {"→ i input": [0.361, 0.5, 1], "← o output": [0, 0.249, 0.77]}
    gates = {name: np.array(values) for name, values in gates.items()}
    drawn(tmp_path / "gates.png", ["bad", "$good$", "so"], polarity=polarity, gates=gates)
    assert numbers == ["+0.50", "-1.25", "+0.00", "0.36", "0.50", "1.00", "0.00", "0.25", "0.77"]
    assert {"mean of a gate", "0", "0.5", "1", "share of the verdict", "+1.25", "-1.25"} <= set(labels)
    assert {"polarity", "→ i input", "← o output", "bad", "$good$", "so", "positive 0.93"} <= set(labels)


def test_states_of_units_have_a_scale_of_their_own_from_minus_1_to_1(tmp_path):
    values = np.array([[-0.9, -0.3, 0.45], [0.2, 0.7, 0.95]])
    units = dict(zip(("→ 17  +0.31", "← 3  -0.20"), values, strict=True))
    gates = {"→ i input": np.full(3, 0.5)}
    picture = drawn(tmp_path / "gates.png", ["a", "b", "c"], polarity=np.zeros(3), gates=gates, units=units)
    rows = np.array([[places(picture, in_8_bits("PuOr", (value + 1) / 2)) for value in row] for row in values])
    assert (np.diff(rows[..., 0], axis=0) > 20).all()
    assert (np.diff(rows[..., 1], axis=1) > 20).all()
    assert places(picture, in_8_bits("viridis", 0.5))[0] < rows[0, 0, 0]


def points_of(monkeypatch):
    """Where the points of curves come to stand, in the order of drawing: arrays of x and y within their axes."""
    found = []
    scatter = matplotlib.axes.Axes.scatter

    def noted(self, x, y, **options):
        found.append((self, np.array(x), np.array(y), options["c"]))
        return scatter(self, x, y, **options)

    monkeypatch.setattr(matplotlib.axes.Axes, "scatter", noted)
    return found


def test_the_curve_has_a_point_at_each_token_that_was_read_on_one_scale_from_0_to_1(tmp_path, monkeypatch):
    points = points_of(monkeypatch)
    scores = np.array([-1, 0.2, -1, 0.55, 0.9, -1, 0.4, 0.1, 0.8, -1, 0.3])
    drawn(tmp_path / "gates.png", ["film"] * 11, prefix_scores=scores)
    read = np.flatnonzero(scores >= 0)
    assert [axes.get_xlim() for axes, *_ in points] == [(-0.5, 5.5), (5.5, 10.5)]
    for axes, x, y, color in points:
        np.testing.assert_array_equal(x, read)
        np.testing.assert_array_equal(y, scores[read])
        low, high = axes.get_ylim()
        assert low < 0 < 1 < high
        is_blue = color[:, 2] > color[:, 0]
        np.testing.assert_array_equal(is_blue, scores[read] > 0.5)
        (dotted,) = (line for line in axes.lines if line.get_linestyle() == ":")
        assert set(dotted.get_ydata()) == {0.5}


def test_a_curve_stands_above_the_rows_and_none_where_nothing_is_known(tmp_path, monkeypatch):
    points = points_of(monkeypatch)
    without = drawn(tmp_path / "a.png", ["film"] * 3)
    assert points == []
    with_curve = drawn(tmp_path / "b.png", ["film"] * 3, prefix_scores=np.array([0.5, 0.6, 0.7]))
    ((axes, *_),) = points
    assert all(axes.get_position().y0 >= other.get_position().y1 for other in axes.figure.axes if other is not axes)
    assert with_curve.shape[0] > without.shape[0]


def test_the_numbers_can_be_seen(tmp_path, monkeypatch):
    """Black on light cells and white on dark ones: without them the cells have one colour."""

    def of_cells(name):
        zeros = np.zeros(2)
        picture = drawn(tmp_path / name, ["", ""], polarity=zeros, gates={"": np.array([0, 1.0])})
        return np.round(picture * 255)

    with_numbers = of_cells("with.png")
    monkeypatch.setattr("matplotlib.collections.PathCollection.draw", lambda *_: None)
    without = of_cells("without.png")
    changed = (with_numbers != without).any(axis=-1)
    for gate, ink in ((0.0, 255), (1.0, 0)):
        cell = (np.abs(without - in_8_bits("viridis", gate)) <= 1).all(axis=-1)
        assert 50 < (changed & cell).sum() < 0.5 * cell.sum()
        assert (with_numbers[changed & cell] == ink).all(axis=-1).any()


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

    def printed(tokens, polarity, gates, title="positive 0.93", **more):
        print_table(tokens, polarity, gates, title, **more)
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


def test_the_column_of_prefixes_is_empty_where_none_was_read(table):
    tokens, scores = ["a", "fine", "film"], np.array([-1, 0.25, 0.875])
    polarity, gates = activity(3)
    out = table(tokens, polarity, gates, prefix_scores=scores)
    assert "P so far" in out
    lines = [[cell.strip() for cell in line.strip("│").split("│")] for line in out.splitlines() if line[0] == "│"]
    assert [line[3] for line in lines] == ["", "0.250", "0.875"]
    assert [line[4:] for line in lines] == [[f"{row[index]:.2f}" for row in gates.values()] for index in range(3)]
    assert "P so far" not in table(tokens, polarity, gates)


def test_bars_are_as_long_as_the_shares(table):
    out = table(["a", "b", "c"], np.array([-1.0, 0.5, 0.0]), {})
    assert [line.count("█") for line in out.splitlines() if line.startswith("│")] == [8, 4, 0]


def test_odd_tokens_are_printed_as_they_are_and_controls_are_told(table):
    out = table(ODD_TOKENS, *activity(len(ODD_TOKENS)))
    for token in ODD_TOKENS:
        if token.isprintable() or "\u200d" in token or token == "\U0010ffff":
            assert token in out
    for told in ("␀", "a␇b", "␛[31m", "\\u202eon", "\\x9b1m", "a␍b"):
        assert told in out
    assert not set(out) & set("\x00\x07\x1b\r\x9b\u202e")
