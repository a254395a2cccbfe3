"""Letters that matplotlib's own fonts lack: found where a font has them, and told of where none has."""

import matplotlib.image
import numpy as np
import pytest

from nlp_lstm.pictures.activity_map import draw_activity
from nlp_lstm.pictures.attention_map import draw_attention
from nlp_lstm.pictures.fonts import Fonts, font_for
from nlp_lstm.pictures.gate_map import draw_heat_map

PARROT, DEVANAGARI, CHINESE = "\U0001f99c", "अ", "映"


def test_what_matplotlib_draws_needs_no_other_font(capsys):
    fonts = Fonts(["plain $a$ ▁Hündchen", "→ ↵ …", "\ufffd"])
    assert fonts.families == ("DejaVu Sans", "DejaVu Sans Mono")
    assert not fonts.missing
    assert fonts.drawable("▁Hündchen") == "▁Hündchen"
    fonts.tell()
    assert capsys.readouterr() == ("", "")


def test_an_installed_font_is_found(installed_font, capsys):
    """One font for each of two scripts, though matplotlib has made its list before they were there."""
    installed_font(DEVANAGARI, name="Alphabet Sans")
    installed_font(CHINESE, name="Pictures Sans")
    fonts = Fonts([f"a{DEVANAGARI}", CHINESE])
    assert set(fonts.families[2:]) == {"Alphabet Sans", "Pictures Sans"}
    assert fonts.drawable(f"a{DEVANAGARI}{CHINESE}") == f"a{DEVANAGARI}{CHINESE}"
    fonts.tell()
    assert capsys.readouterr().err == ""


def test_the_font_that_has_most_of_them_is_taken(installed_font):
    installed_font(DEVANAGARI, name="Few Sans")
    installed_font(DEVANAGARI + CHINESE, name="Many")
    assert Fonts([DEVANAGARI + CHINESE]).families[2:] == ("Many",)


def test_a_character_that_a_font_lists_and_does_not_draw(installed_font):
    """As fonts of coloured emoji do."""
    installed_font(DEVANAGARI, listed=PARROT)
    fonts = Fonts([DEVANAGARI + PARROT])
    assert fonts.families[2:] == ("Squares",)
    assert fonts.drawable(DEVANAGARI + PARROT) == f"{DEVANAGARI}□"


def test_a_file_that_is_no_font(monkeypatch, tmp_path):
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: [str(tmp_path / "broken.ttf")])
    assert Fonts([CHINESE]).missing == {CHINESE}


def test_what_no_font_draws_is_told(capsys):
    fonts = Fonts([f"a{PARROT}{CHINESE}", DEVANAGARI])
    assert fonts.drawable(f"a{PARROT}b") == "a□b"
    fonts.tell()
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    for told in (f"{PARROT} (U+1F99C)", f"{CHINESE} (U+6620)", f"{DEVANAGARI} (U+0905)", "□", "Noto Emoji"):
        assert told in err
    assert "Noto Sans CJK" in err
    assert "Noto Sans Devanagari" in err
    assert "a (U+0061)" not in err


def test_of_many_characters_some_are_named(capsys):
    Fonts(map(chr, range(0x4E00, 0x4E80))).tell()
    err = capsys.readouterr().err
    assert err.count("U+") == 10
    assert "and 118 more" in err


def test_pictures_of_controls_become_carets(capsys):
    fonts = Fonts(["␀␛␡"])
    assert [fonts.drawable(sign) for sign in "␀␛␡"] == ["^@", "^[", "^?"]
    fonts.tell()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("character", "font"),
    [("ก", "Noto Sans Thai"), ("한", "Noto Sans CJK"), ("カ", "Noto Sans CJK"), ("\ue000", "a font that has them")],
)
def test_the_font_to_install(character, font):
    assert font_for(character) == font


def gates(text, path):
    draw_heat_map([text, "film"], np.zeros(2), {"→ f forget": np.full(2, 0.9)}, "title", path)


def activity(text, path):
    draw_activity([text, "a"], {"cell 3": np.zeros(2)}, "title", path, scale="diverging")


def attention(text, path):
    draw_attention([text, "a"], ["b"], np.full((2, 1), 0.5), path, "title")


@pytest.mark.parametrize("draw", [gates, activity, attention])
def test_each_picture_has_the_letters_of_the_font(draw, installed_font, tmp_path, capsys):
    """The font's letter is a black square, where without the font there is the outline of one."""

    def black(name):
        draw(DEVANAGARI, tmp_path / name)
        return np.sum(matplotlib.image.imread(tmp_path / name)[..., :3].max(axis=-1) < 0.1)

    without = black("without.png")
    assert f"{DEVANAGARI} (U+0905)" in capsys.readouterr().err
    installed_font(DEVANAGARI)
    assert black("with.png") > without + 40
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("draw", [gates, activity, attention])
def test_each_picture_says_what_it_could_not_draw(draw, tmp_path, monkeypatch, capsys):
    letters = []
    monkeypatch.setattr(
        "matplotlib.backends.backend_agg.RendererAgg.draw_text",
        lambda self, gc, x, y, text, *_, **__: letters.append(text),
    )
    draw(PARROT, tmp_path / "picture.png")
    assert "□" in letters
    assert PARROT not in letters
    out, err = capsys.readouterr()
    assert out == ""
    assert f"{PARROT} (U+1F99C)" in err
