"""Pictures drawn with the fonts that come with matplotlib, so that no test depends on those of the machine."""

import pytest


@pytest.fixture(autouse=True)
def only_fonts_of_matplotlib(monkeypatch):
    import matplotlib
    from matplotlib import font_manager

    own = [entry for entry in font_manager.fontManager.ttflist if entry.fname.startswith(matplotlib.get_data_path())]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)
    monkeypatch.setattr(font_manager, "findSystemFonts", list)


@pytest.fixture
def installed_font(monkeypatch, tmp_path):
    """Install a font of black squares: a call with characters, and those that it lists and has no outline of."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen
    from matplotlib import font_manager

    def install(characters, listed="", name="Squares"):
        pen = TTGlyphPen(None)
        pen.moveTo((100, 0))
        for corner in ((100, 800), (900, 800), (900, 0)):
            pen.lineTo(corner)
        pen.closePath()
        glyphs = {".notdef": TTGlyphPen(None).glyph(), "square": pen.glyph(), "nothing": TTGlyphPen(None).glyph()}
        builder = FontBuilder(1000, isTTF=True)
        builder.setupGlyphOrder(list(glyphs))
        builder.setupCharacterMap(
            {ord(character): "square" for character in characters} | {ord(character): "nothing" for character in listed}
        )
        builder.setupGlyf(glyphs)
        builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 0)))
        builder.setupHorizontalHeader(ascent=800, descent=-200)
        builder.setupNameTable({"familyName": name, "styleName": "Regular"})
        builder.setupOS2()
        builder.setupPost()
        path = tmp_path / f"{name}.ttf"
        builder.save(path)
        before = font_manager.findSystemFonts()
        monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [*before, str(path)])

    return install
