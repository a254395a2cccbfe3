"""Curves in panels: what is drawn is what was handed in, and odd text and numbers do no harm."""

import matplotlib.colors
import matplotlib.image
import numpy as np
import pytest

from nlp_lstm.pictures.line_panels import COLORS, Line, Panel, draw_panels

X = np.arange(1, 6)


@pytest.fixture
def figures(monkeypatch):
    """The figures that were saved."""
    from matplotlib.figure import Figure

    saved, original = [], Figure.savefig

    def keep(figure, *arguments, **options):
        saved.append(figure)
        original(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return saved


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (2, 2, 1), (3, 2, 2), (5, 2, 3)])
def test_panels_stand_in_rows(tmp_path, figures, count, columns, rows):
    draw_panels([Panel(f"panel {number}", "x", "y", [Line("", X, X)]) for number in range(count)], tmp_path / "a.png")
    shape = figures[0].axes[0].get_gridspec().get_geometry()
    assert shape == (rows, columns)
    assert [axes.get_title("left") for axes in figures[0].axes] == [f"panel {number}" for number in range(count)]


def test_a_line_has_its_points_and_its_band(tmp_path, figures):
    y = np.random.default_rng(0).normal(size=5)
    draw_panels([Panel("", "", "", [Line("a", X, y, 1, low=y - 1, high=y + 2)])], tmp_path / "a.png")
    (axes,) = figures[0].axes
    (line,) = axes.lines
    np.testing.assert_array_equal(line.get_xydata(), np.column_stack([X, y]))
    assert matplotlib.colors.same_color(line.get_color(), COLORS[1])
    (band,) = axes.collections
    edges = band.get_paths()[0].vertices[:, 1]
    assert (edges.min(), edges.max()) == (pytest.approx((y - 1).min()), pytest.approx((y + 2).max()))


def test_what_a_logarithm_cannot_show_is_a_gap(tmp_path, figures):
    draw_panels([Panel("", "", "", [Line("", X, [1.0, 0.0, -1.0, np.inf, 2.0])], y_log=True)], tmp_path / "a.png")
    np.testing.assert_array_equal(np.isnan(figures[0].axes[0].lines[0].get_ydata()), [False, True, True, False, False])


def test_levels_and_names_are_written(tmp_path, figures):
    panel = Panel("", "", "", [Line("", X, X)], levels={"chance": 2.5}, x_names={1.0: "due", 4.0: "to"})
    draw_panels([panel], tmp_path / "a.png")
    (axes,) = figures[0].axes
    assert [text.get_text() for text in axes.texts] == ["chance"]
    assert axes.lines[1].get_ydata() == [2.5, 2.5]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["due", "to"]


def test_odd_text_is_drawn_and_told(tmp_path, capsys):
    draw_panels([Panel("$x$ \x1b", "映", "$", [Line("$a_$", X, X)], levels={"$": 1.0})], tmp_path / "a.png")
    assert matplotlib.image.imread(tmp_path / "a.png").ndim == 3
    assert "映" in capsys.readouterr().err


def test_every_color_is_seen_on_white():
    for color in COLORS:
        linear = np.array(matplotlib.colors.to_rgb(color)) ** 2.2
        assert 1.05 / (linear @ (0.2126, 0.7152, 0.0722) + 0.05) > 2, color
