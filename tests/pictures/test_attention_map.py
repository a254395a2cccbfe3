"""Attention in all three forms, with pieces that trip up each."""

import html.parser
import io
import json
import re
import shutil
import subprocess

import matplotlib
import matplotlib.image
import numpy as np
import pytest

from nlp_lstm.errors import UserError
from nlp_lstm.pictures.attention_map import AttendedTranslation, draw_attention, print_attention, write_attention_html

HOSTILE = [
    *("</script><script>alert(1)</script>", "<!--", "]]>", "&amp;", '"', "'", "$x$", "$", "{title}", "${a}", "\\", "▁"),
    *("\u2028", "\x00", "\r", "\n", "\t", "\x1b", "\x7f", "\ufeff", "\u202e", "\ud800", "\uffff", " ", ""),
    *("▁😀", "映画", "ก\u0301", "▁שלום", "[red]", "[/]", ":smile:", "</p>", "W" * 1000),
]
SOURCE = ["▁A", "▁kar", "ate", "▁dog", "."]
TARGET = ["▁Ein", "▁Karate", "hund", "."]


def distributions(source, target, seed=0):
    """A random distribution over the source for each piece of the target, some of them sharp."""
    return np.random.default_rng(seed).dirichlet(np.full(len(source), 0.5), len(target)).T


@pytest.fixture
def path(tmp_path):
    return tmp_path / "attention.png"


# The picture


@pytest.fixture
def letters(monkeypatch):
    """What the picture says, instead of its letters, so that the colours are seen by themselves."""
    said = []
    monkeypatch.setattr(
        "matplotlib.backends.backend_agg.RendererAgg.draw_text",
        lambda self, gc, x, y, text, *_, **__: said.append((text, round(x), round(y))),
    )
    return said


def drawn(path, source, target, attention, title=""):
    draw_attention(source, target, attention, path, title)
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    return np.round(matplotlib.image.imread(path)[..., :3] * 255).astype(int)


def cells(picture, columns, rows):
    """The colours `(rows, columns, 3)` of a picture without letters, whose cells stand left of all else."""
    colored = (picture != 255).any(axis=-1)
    across = np.nonzero(colored.any(axis=0))[0]
    across = across[: np.nonzero(np.diff(across, append=np.inf) > 1)[0][0] + 1]
    down = np.nonzero(colored[:, across].any(axis=1))[0]
    block = picture[down[0] : down[-1] + 1, across[0] : across[-1] + 1]
    middles = []
    for count, pixels in zip((rows, columns), block.shape, strict=False):
        middles.append(((np.arange(count) + 0.5) * pixels / count).astype(int))
    return block[np.ix_(*middles)]


def in_8_bits(position):
    return np.round(np.array(matplotlib.colormaps["Blues"](position))[..., :3] * 255)


def test_a_row_has_the_colors_of_what_its_piece_looked_at(path, letters):
    attention = distributions(SOURCE, TARGET)
    picture = cells(drawn(path, SOURCE, TARGET, attention), len(SOURCE), len(TARGET))
    np.testing.assert_allclose(picture, in_8_bits(attention.T), atol=1)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 10


def test_dark_is_much_and_white_is_nothing(path, letters):
    picture = cells(drawn(path, "ab", "cd", np.array([[1.0, 0.5], [0.0, 0.5]])), 2, 2)
    assert picture[0, 0].sum() < picture[1, 0].sum() < picture[0, 1].sum()
    assert (picture[1, 0] == picture[1, 1]).all()
    assert picture[0, 1].min() > 240


def test_the_source_stands_along_the_top_and_the_translation_down_the_side(path, letters):
    drawn(path, SOURCE, TARGET, distributions(SOURCE, TARGET), "A karate dog.")
    places = {text: (x, y) for text, x, y in letters}
    assert {*SOURCE, *TARGET, "source", "translation", "attention", "A karate dog."} <= set(places)
    across = [places[piece] for piece in SOURCE if piece != "."]
    assert [x for x, _ in across] == sorted({x for x, _ in across})
    down = [places[piece] for piece in TARGET if piece != "."]
    assert [y for _, y in down] == sorted({y for _, y in down})
    assert max(y for _, y in across) < min(y for _, y in down)
    assert places["A karate dog."][1] < places["source"][1] < min(y for _, y in across)


def test_labels_are_what_they_are_and_no_formulas(path, letters, monkeypatch):
    monkeypatch.setattr("matplotlib.mathtext.MathTextParser.parse", lambda *_: pytest.fail("a formula was begun"))
    source = ["▁$a$", "$", "\n", "\x00", "\u202e", "\ud800", "W" * 1000, "▁"]
    drawn(path, source, ["</a>"], np.full((8, 1), 1 / 8), "$x$\n" + "t" * 1000)
    said = {text for text, *_ in letters}
    assert {"▁$a$", "$", "↵", "^@", "\ufffd", "W" * 23 + "…", "▁", "</a>"} <= said
    (title,) = [text for text in said if text.startswith("$x$↵t")]
    assert title.endswith("t…")
    assert len(title) <= 40


@pytest.mark.parametrize(("source", "target"), [(["a"], ["b"]), (HOSTILE, ["▁映"]), (["$"], HOSTILE)])
def test_odd_sentences_are_drawn_without_a_warning(path, source, target):
    picture = drawn(path, source, target, distributions(source, target), "映$ " * 3000)
    assert max(picture.shape) < 2500


def test_a_longer_sentence_makes_a_larger_picture(path, letters):
    """A cell keeps its size, and the letters beside it are the same."""
    small, wide, high = (
        drawn(path, "a" * source, "b" * target, np.full((source, target), 1 / source)).shape
        for source, target in ((10, 10), (60, 10), (10, 60))
    )
    assert 50 * 30 < wide[1] - small[1] < 50 * 32
    assert 50 * 30 < high[0] - small[0] < 50 * 32
    assert abs(wide[0] - small[0]) <= 1
    assert abs(high[1] - small[1]) <= 1


def test_what_is_too_much_for_a_picture(path):
    for source, target in ((201, 1), (1, 201)):
        with pytest.raises(UserError, match="201 pieces are too many for a picture: give sentences of at most 200"):
            draw_attention("a" * source, "b" * target, np.full((source, target), 1 / source), path)
    assert not path.exists()


def draw(source, target, attention, path):
    draw_attention(source, target, attention, path)


def write(source, target, attention, path):
    write_attention_html([AttendedTranslation(source, target, attention)], "title", path)


def tell(source, target, attention, path):
    with path.open("w", encoding="utf-8") as stream:
        print_attention(source, target, attention, stream)


FORMS = pytest.mark.parametrize("show", [draw, write, tell])


@FORMS
def test_mistakes(show, path):
    def refused(error, message, source, target, attention):
        with pytest.raises(error, match=message) as raised:
            show(source, target, attention, path)
        assert "\n" not in str(raised.value)
        assert not path.exists() or path.read_text(encoding="utf-8") == ""

    even = np.full((2, 3), 0.5)
    refused(UserError, "the source is empty", [], ["b"], np.zeros((0, 1)))
    refused(UserError, "the translation is empty", ["a"], [], np.zeros((1, 0)))
    refused(ValueError, r"shape \(3, 2\): give \(source, target\) pieces, \(2, 3\)", "ab", "cde", even.T)
    refused(ValueError, r"shape \(6,\)", "ab", "cde", even.ravel())
    refused(ValueError, r"shape \(1, 2, 3\)", "ab", "cde", even[None])
    for wrong in (np.nan, np.inf, -np.inf):
        refused(UserError, "not finite", "ab", "cde", np.where([[1, 0, 0], [0, 0, 0]], wrong, even))
    refused(ValueError, "weights from -0.5", "ab", "cd", np.array([[1.5, 0.5], [-0.5, 0.5]]))
    # A square matrix that lies on its side has rows, and not columns, that sum to 1.
    refused(ValueError, "columns that sum to 1.9", "ab", "cd", np.array([[0.9, 0.1], [1.0, 0.0]]))


@FORMS
def test_weights_in_half_precision_and_columns_of_which_something_was_left_out_are_taken(show, path):
    attention = distributions("a" * 100, "bc").astype(np.float16)
    show("a" * 100, "bc", attention, path)
    show("a" * 99, "bc", attention[:-1], path)
    show("ab", "cd", np.zeros((2, 2)), path)
    show("a", "c", [[1.0 + 1e-4]], path)
    assert path.stat().st_size > 100


def test_a_failed_writing_leaves_what_was_there(path, monkeypatch, tmp_path):
    page = tmp_path / "attention.html"
    draw("ab", "c", np.full((2, 1), 0.5), path)
    write("ab", "c", np.full((2, 1), 0.5), page)
    before = path.read_bytes(), page.read_bytes()

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    monkeypatch.setattr("pathlib.Path.write_text", fail)
    for show, target in ((draw, path), (write, page)):
        with pytest.raises(OSError, match="No space"):
            show("ab", "d", np.full((2, 1), 0.5), target)
    assert sorted(tmp_path.iterdir()) == [page, path]
    assert (path.read_bytes(), page.read_bytes()) == before


# The page


class Page(html.parser.HTMLParser):
    """What a browser makes of a page: tags, texts, and of each section its sentences and the cells of its table."""

    def __init__(self, content):
        super().__init__(convert_charrefs=True)
        self.open, self.text, self.tags, self.scripts, self.sections = [], {}, [], [], []
        self.sentence = None
        self.feed(content)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        if tag != "meta":
            self.open.append(tag)
        if tag == "section":
            self.sections.append({"source": [], "target": [], "read": {"source": "", "target": ""}, "rows": []})
        if tag == "p":
            self.sentence = attributes.get("class") if attributes.get("class") in ("source", "target") else None
        if tag == "span" and self.sentence:
            self.sections[-1][self.sentence].append("")
        if tag == "tr":
            self.sections[-1]["rows"].append([])
        if tag in ("td", "th"):
            self.sections[-1]["rows"][-1].append([tag, attributes, ""])
        if tag == "script":
            self.scripts.append([attributes, ""])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "p":
            self.sentence = None

    def handle_data(self, data):
        inner = self.open[-1] if self.open else None
        self.text[inner] = self.text.get(inner, "") + data
        if self.sentence:
            self.sections[-1]["read"][self.sentence] += data
            if inner == "span":
                self.sections[-1][self.sentence][-1] += data
        if inner in ("td", "th"):
            self.sections[-1]["rows"][-1][-1][2] += data
        if inner == "script":
            self.scripts[-1][1] += data

    @property
    def data(self):
        (content,) = [text for attributes, text in self.scripts if attributes.get("id") == "data"]
        return content

    @property
    def program(self):
        (content,) = [text for attributes, text in self.scripts if "type" not in attributes]
        return content

    @property
    def colors(self):
        """Background and ink of each class."""
        rules = re.findall(
            r"\.(weight-\d+)\{background:#([0-9a-f]{6});color:#([0-9a-f]{6})\}", self.text["style"], flags=re.ASCII
        )
        return {name: (back, ink) for name, back, ink in rules}


def page(tmp_path, translations, title="dogs"):
    target = tmp_path / "attention.html"
    write_attention_html(translations, title, target)
    return Page(target.read_bytes().decode("utf-8"))


@pytest.fixture
def translations():
    return [
        AttendedTranslation(SOURCE, TARGET, distributions(SOURCE, TARGET)),
        AttendedTranslation(["▁a", "b"], ["▁c", "▁", "d"], np.array([[0.25, 1.0, 0.004], [0.75, 0.0, 0.996]])),
    ]


def test_the_page_has_the_sentences_and_the_table_of_each_translation(tmp_path, translations):
    found = page(tmp_path, translations, "What it looked at")
    assert found.text["title"] == found.text["h1"] == "What it looked at"
    assert found.text["h2"] == "Sentence 1Sentence 2"
    first, second = found.sections
    assert first["read"] == {"source": "A karate dog.", "target": "Ein Karatehund."}
    assert first["source"] == ["A", "kar", "ate", "dog", "."]
    assert second["read"] == {"source": "ab", "target": "c ▁d"}
    for section, translation in zip(found.sections, translations, strict=True):
        head, *rows = section["rows"]
        assert [text for *_, text in head] == ["", *translation.source]
        assert [(tag, attributes["scope"]) for tag, attributes, _ in head[1:]] == [("th", "col")] * len(head[1:])
        assert [row[0][2] for row in rows] == translation.target
        assert {(row[0][0], row[0][1]["scope"]) for row in rows} == {("th", "row")}
        percents = [[int(text or 0) for *_, text in row[1:]] for row in rows]
        np.testing.assert_allclose(percents, 100 * translation.attention.T, atol=0.51)
    assert [[text for *_, text in row[1:]] for row in second["rows"][1:]] == [["25", "75"], ["100", ""], ["", "100"]]
    for translation, matrix in zip(translations, json.loads(found.data)["attention"], strict=True):
        np.testing.assert_allclose(matrix, translation.attention, atol=0.5001e-4)


def test_one_translation_has_no_number(tmp_path, translations):
    assert "h2" not in page(tmp_path, translations[:1]).text


def test_the_page_loads_nothing(tmp_path, translations):
    found = page(tmp_path, translations)
    assert not {tag for tag, _ in found.tags} & {"link", "img", "iframe", "base", "object"}
    assert not any({"src", "href"} & set(attributes) for _, attributes in found.tags)
    (policy,) = [attributes["content"] for _, attributes in found.tags if "http-equiv" in attributes]
    assert policy.startswith("default-src 'none';")
    content = (tmp_path / "attention.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|url\(|@import|fetch\(|//\w", content)


def test_without_javascript_the_table_is_colored(tmp_path):
    source, target = "abcdefgh", "ij"
    attention = distributions(source, target, seed=1)
    found = page(tmp_path, [AttendedTranslation(source, target, attention)])
    backgrounds = [
        [list(bytes.fromhex(found.colors[attributes["class"]][0])) for _, attributes, _ in row[1:]]
        for row in found.sections[0]["rows"][1:]
    ]
    np.testing.assert_allclose(backgrounds, in_8_bits(np.round(attention.T * 32) / 32), atol=1)
    assert len({tuple(color) for row in backgrounds for color in row}) > 5
    assert ("p", {"id": "hint", "hidden": None}) in found.tags  # it tells of what a script does


def test_every_color_can_be_read(tmp_path, translations):
    """Against the contrast of WCAG 2.2, which asks 4.5 of text."""
    colors = page(tmp_path, translations).colors
    assert len(colors) == 33

    def luminance(color):
        channels = np.array(list(bytes.fromhex(color))) / 255
        return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4) @ (
            [0.2126, 0.7152, 0.0722]
        )

    for background, ink in colors.values():
        dark, light = sorted((luminance(background), luminance(ink)))
        assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_what_the_keyboard_reaches_has_a_name(tmp_path, translations):
    found = page(tmp_path, translations)
    reached = [attributes for _, attributes in found.tags if attributes.get("tabindex") == "0"]
    assert len(reached) == 3 * len(translations)  # two sentences, and a table that may have to be scrolled
    assert all(attributes["aria-label"] and attributes["role"] for attributes in reached)


def test_hostile_pieces_break_no_page(tmp_path):
    title = "</title><script>alert(1)</script>\x00\ud800 {data}"
    found = page(tmp_path, [AttendedTranslation(HOSTILE, HOSTILE, distributions(HOSTILE, HOSTILE))], title)
    assert len(found.scripts) == 2
    assert found.text["title"] == found.text["h1"] == "</title><script>alert(1)</script>␀\ufffd {data}"
    (section,) = found.sections
    assert len(section["rows"]) == len(HOSTILE) + 1
    for spans in (section["source"], section["target"]):
        shown = dict(zip(HOSTILE, spans, strict=True))
        for piece in ("</script><script>alert(1)</script>", "&amp;", "{title}", "</p>", "▁", "W" * 1000, " "):
            assert shown[piece] == piece
        assert [shown[piece] for piece in ("▁😀", "\x00", "\n", "\x7f", "\u202e", "\ud800")] == list(
            "😀␀↵␡\ufffd\ufffd"
        )
    content = (tmp_path / "attention.html").read_bytes().decode("utf-8")
    assert not set(content) & set("\x00\r\x1b\x7f\u2028\u202e\ufeff")


def test_what_is_too_much_for_a_page(tmp_path):
    sentence = AttendedTranslation("a" * 500, "b" * 500, np.full((500, 500), 1 / 500))
    with pytest.raises(UserError, match="500000 weights of attention are too many for a page.*at most 250000"):
        page(tmp_path, [sentence] * 2)
    with pytest.raises(UserError, match="no translation to show"):
        page(tmp_path, [])
    assert not list(tmp_path.iterdir())


BROWSER = """
const element = (more) => {
  const made = { dataset: {}, className: "", textContent: "", listeners: {}, ...more };
  made.addEventListener = (kind, does) => { made.listeners[kind] = does; };
  made.closest = (selector) => made.tags === selector ? made : null;
  return made;
};
const fed = JSON.parse(require("fs").readFileSync(0, "utf8"));
const sections = fed.sections.map((found) => {
  const parts = { ".about": element({}) };
  for (const side of ["source", "target"])
    parts["." + side] = element({ children: found[side].map(() => element({ tags: "span" })) });
  const rows = found.rows.map((cells, rowIndex) => {
    const row = element({ rowIndex });
    row.cells = cells.map((textContent, cellIndex) =>
      element({ tags: "th, td", cellIndex, parentElement: row, textContent }));
    return row;
  });
  parts.table = { rows };
  return element({ parts, querySelector: (selector) => parts[selector] });
});
const elements = { data: element({ textContent: fed.data }), hint: element({ hidden: true }) };
globalThis.document = { getElementById: (id) => elements[id], querySelectorAll: () => sections };
new Function(fed.program)();
const told = [];
for (const [number, kind, place, key] of fed.events) {
  const { parts, listeners } = sections[number];
  const event = { target: element({}), key, preventDefault() {} };
  if (kind === "pointerover" && place) {
    const [where, index, cell] = place;
    event.target = where === "table" ? parts.table.rows[index].cells[cell] : parts["." + where].children[index];
  }
  if (kind === "pointerover") listeners.pointerover(event);
  else parts["." + place].listeners[kind](event);
  const here = (list) => list.flatMap((one, index) => "here" in one.dataset ? [index] : []);
  told.push({
    hidden: elements.hint.hidden,
    about: parts[".about"].textContent,
    source: parts[".source"].children.map((span) => span.className),
    target: parts[".target"].children.map((span) => span.className),
    here: [here(parts[".source"].children), here(parts[".target"].children),
           here(parts.table.rows[0].cells), here(parts.table.rows)],
  });
}
console.log(JSON.stringify(told));
"""


@pytest.mark.skipif(not shutil.which("node"), reason="no node to run the page's script in")
def test_the_script_of_the_page(tmp_path, translations):
    found = page(tmp_path, translations)
    events = [
        (0, "pointerover", ("target", 2)),
        (0, "pointerover", ("source", 3)),
        (0, "pointerover", None),  # beside everything: what was told stays
        (0, "pointerover", ("table", 0, 0)),  # the corner
        (0, "pointerover", ("table", 4, 2)),
        (0, "pointerover", ("table", 0, 1)),
        (0, "focus", "target"),
        *((0, "keydown", "target", key) for key in ("ArrowLeft", "Home", "ArrowLeft", "ArrowRight", "End", "a")),
        (0, "keydown", "target", "ArrowRight"),
        (0, "focus", "source"),
        (1, "pointerover", ("target", 1)),
        (1, "pointerover", ("source", 1)),
    ]
    expected = [
        *([0, "target", 2], [0, "source", 3], [0, "source", 3], [0, "source", 3], [0, "target", 3], [0, "source", 0]),
        *([0, "target", place] for place in (3, 2, 0, 0, 1, 3, 3, 3)),
        *([0, "source", 0], [1, "target", 1], [1, "source", 1]),
    ]
    fed = {
        "data": found.data,
        "program": found.program,
        "events": events,
        "sections": [
            {**section, "rows": [[text for *_, text in row] for row in section["rows"]]} for section in found.sections
        ],
    }
    result = subprocess.run(
        ["node", "-e", BROWSER], input=json.dumps(fed), capture_output=True, encoding="utf-8", timeout=60
    )
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    for answer, (number, side, place) in zip(told, expected, strict=True):
        source, target, attention = translations[number]
        from_source = side == "source"
        weights = attention[place] if from_source else attention[:, place]
        pieces = source if from_source else target
        others = target if from_source else source
        assert answer["hidden"] is False
        assert answer[side] == [""] * len(pieces)
        classes = [f"weight-{step}" for step in np.floor(weights.round(4) * 32 + 0.5).astype(int)]
        assert answer["target" if from_source else "source"] == classes
        assert answer["here"] == ([[place], [], [place + 1], []] if from_source else [[], [place], [], [place + 1]])
        order = [other for other in np.argsort(-weights, kind="stable") if weights[other] >= 0.005]
        names = [f"“{others[other]}” {weights[other]:.2f}" for other in order]
        verb = "looked at by" if from_source else "looks at"
        assert answer["about"] == f"“{pieces[place]}” {verb} {' · '.join(names) or 'nothing'}"


# The terminal


@pytest.fixture
def terminal(monkeypatch):
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = io.StringIO()
    stream.isatty = lambda: True
    return stream


def table(text):
    """The cells of a printed table."""
    lines = [line for line in text.splitlines() if line.startswith(("│", "┃"))]
    return [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in lines]


def test_each_piece_stands_beside_what_it_looked_at_most(capsys):
    attention = distributions(SOURCE, TARGET, seed=2)
    print_attention(SOURCE, TARGET, attention)
    out = capsys.readouterr().out
    head, *rows = table(out)
    assert head == ["translation", "looks at", "weight"]
    for row, piece, column in zip(rows, TARGET, attention.T, strict=True):
        most = max(range(len(SOURCE)), key=lambda place: column[place])
        assert row == [piece, SOURCE[most], f"{column[most]:.2f}"]
    assert len({row[1] for row in rows}) > 1
    assert "\x1b" not in out


def test_the_terminal_has_the_colors(terminal):
    print_attention("ab", "cd", np.array([[0.9, 0.3], [0.1, 0.7]]), terminal)
    out = terminal.getvalue()
    pieces = re.findall(r"\x1b\[38;2;(\d+);(\d+);(\d+);48;2;(\d+);(\d+);(\d+)m *([\d.]+)\x1b\[0m", out)
    assert [number for *_, number in pieces] == ["0.90", "0.70"]
    np.testing.assert_allclose(
        [[int(channel) for channel in piece[3:6]] for piece in pieces], in_8_bits(np.array([0.9, 0.7])), atol=1
    )
    assert pieces[0][:3] == ("255",) * 3
    assert table(re.sub(r"\x1b\[[\d;]*m", "", out))[1:] == [["c", "a", "0.90"], ["d", "b", "0.70"]]


def test_hostile_pieces_in_the_terminal(capsys):
    print_attention(HOSTILE, HOSTILE, np.eye(len(HOSTILE)))
    out = capsys.readouterr().out
    assert not set(out) & set("\x00\r\t\x1b\x7f\u2028\u202e\ufeff\ud800")
    rows = table(out)[1:]
    assert len(rows) == len(HOSTILE)
    assert all(row[0] == row[1] for row in rows)
    assert {"[red]", "[/]", ":smile:", "↵", "W" * 23 + "…"} <= {row[0] for row in rows}
