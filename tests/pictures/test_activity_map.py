"""Text coloured by activity, in all three forms, with texts that trip up each."""

import html.parser
import io
import json
import os
import re
import shutil
import subprocess

import matplotlib
import matplotlib.image
import numpy as np
import pytest

from nlp_lstm.errors import UserError
from nlp_lstm.pictures.activity_map import STEPS, draw_activity, print_activity, write_html

HOSTILE = [
    *"</script><!-- <script> ]]> --> & &amp; \"'`$x$ ${a} {title} \\ \\u003c",
    *("\u2028", "\u2029", "\x00", "\r", "\n", "\t", "\x1b", "\x7f", "\x85", "\ufeff", "\u202e", "\u200d", "\u00a0"),
    *("😀", "映", "ก", "\u0301", "\ud800", "\udc80", "\uffff", "\U0010ffff", "\ufffd"),
    *("[red]", "[/]", ":smile:", "</pre>", "c3", "\\xe2", "<unk>", "\r\n", "$a^2$", "W" * 1000, ""),
]


def activity(symbols, seed=0, low=-1.0):
    return np.random.default_rng(seed).uniform(low, 1, len(symbols))


# The picture


@pytest.fixture
def path(tmp_path):
    return tmp_path / "activity.png"


@pytest.fixture
def letters(monkeypatch):
    """What the picture says, instead of its letters, so that the colours are seen by themselves."""
    said = []
    monkeypatch.setattr(
        "matplotlib.backends.backend_agg.RendererAgg.draw_text",
        lambda self, gc, x, y, text, *_, **__: said.append((text, tuple(gc.get_rgb()[:3]))),
    )
    return said


def drawn(path, symbols, rows, title="quotes", **options):
    draw_activity(symbols, rows, title, path, **options)
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    return np.round(matplotlib.image.imread(path)[..., :3] * 255).astype(int)


def cells(picture):
    """The colours `(bands, columns, 3)` of a picture without letters whose cells are all different from white."""
    colored = (picture != 255).any(axis=-1)
    down, across = np.nonzero(colored.any(axis=1))[0], np.nonzero(colored.any(axis=0))[0]
    block = picture[down[0] : down[-1] + 1, across[0] : across[-1] + 1]
    middles = []
    for pixels, inches in zip(block.shape, (0.19, 0.11), strict=False):
        count = round(pixels / (inches * 140))
        middles.append(((np.arange(count) + 0.5) * pixels / count).astype(int))
    return block[np.ix_(*middles)]


def in_8_bits(colormap, position):
    return np.round(np.array(matplotlib.colormaps[colormap](position))[..., :3] * 255)


def test_the_cells_have_the_colors_of_the_values(path, letters):
    values, gate = np.array([-1, -0.6, 0.4, 1, 3, -9]), np.array([0, 0.2, 0.4, 0.6, 0.8, 0.9])
    picture = cells(drawn(path, "abcdef", {"cell 3": values, "forget 3": gate}, symbols_in_line=4))
    assert picture.shape == (5, 4, 3)  # two rows, an empty band, two rows
    expected = np.full((5, 4, 3), 255.0)
    for line, part in ((0, slice(0, 4)), (3, slice(4, 6))):
        count = len(values[part])
        expected[line, :count] = in_8_bits("RdBu", (np.clip(values[part], -1, 1) + 1) / 2)
        expected[line + 1, :count] = in_8_bits("viridis", gate[part])
    np.testing.assert_allclose(picture, expected, atol=1)


def test_negative_is_red_and_positive_blue(path, letters):
    ((negative, positive),) = cells(drawn(path, "ab", {"cell": np.array([-1, 1])}))
    assert negative[0] > 2 * negative[1:].max()
    assert positive[2] > 2 * positive[0]


def test_a_scale_can_be_named(path, letters):
    values = np.array([0.1, 0.9])
    picture = cells(drawn(path, "ab", {"cell": values}, scale="diverging"))
    np.testing.assert_allclose(picture[0], in_8_bits("RdBu", (values + 1) / 2), atol=1)
    picture = cells(drawn(path, "ab", {"gate": values - 0.5}, scale="sequential"))
    np.testing.assert_allclose(picture[0], in_8_bits("viridis", [0.0, 0.4]), atol=1)


def test_the_text_stands_in_the_cells_once_for_each_row(path, letters, monkeypatch):
    monkeypatch.setattr("matplotlib.mathtext.MathTextParser.parse", lambda *_: pytest.fail("a formula was begun"))
    text = ["$", "$a$", " ", "\n", "\t", "\x00", "\x7f", "\u2028", "\ud800", "😀", "<unk>"]
    rows = {"$cell$ 3": activity(text), "g\x07te": activity(text, low=0)}
    drawn(path, text, rows, title="$a$\n\ud800")
    # No font of matplotlib's has the pictures of controls.
    shown = ["$", "$a$", "↵", "→", "^@", "^?", "\ufffd", "\ufffd", "😀", "<un…"]
    said = [text for text, _ in letters]
    assert [text for text in said if text in shown] == shown * 2
    rest = [text for text in said if text not in shown]
    assert sorted(rest) == sorted(["$cell$ 3", "g^Gte", "$a$↵\ufffd", "red -1, white 0, blue +1; violet 0, yellow 1"])


def test_letters_are_black_or_white_whichever_is_read_better(path, letters):
    drawn(path, "abcd", {"cell": np.array([-1, -0.1, 0.1, 1])})
    inks = {text: ink for text, ink in letters if text in "abcd"}
    assert inks == {"a": (1, 1, 1), "b": (0, 0, 0), "c": (0, 0, 0), "d": (1, 1, 1)}


@pytest.mark.parametrize("symbols", [["a"], HOSTILE, ["$"] * 7, ["W" * 5000]], ids=["one", "hostile", "$", "long"])
def test_odd_texts_are_drawn_without_a_warning(path, symbols):
    rows = {"cell " + "x" * 500: activity(symbols), "映画 $": activity(symbols)}
    assert max(drawn(path, symbols, rows, title="映$ " * 3000).shape) < 2500


def test_a_longer_text_makes_a_higher_picture(path, letters):
    shapes = [drawn(path, "a" * count, {"cell": activity("a" * count)}).shape for count in (80, 81, 3000)]
    assert shapes[0][1] == shapes[1][1] == shapes[2][1]
    assert shapes[0][0] < shapes[1][0] < shapes[2][0]


def test_what_is_too_much_for_a_picture(path):
    with pytest.raises(UserError, match="5001 symbols are too many for a picture: give at most 5000"):
        draw_activity("a" * 5001, {"cell": activity("a" * 5001)}, "title", path)
    many = "a" * 5000
    for symbols_in_line in (1, 5000):
        with pytest.raises(UserError, match="another number of symbols in a line"):
            draw_activity(many, {"cell": activity(many)}, "title", path, symbols_in_line)
    with pytest.raises(UserError, match="200 rows are too many"):
        draw_activity(many, {f"cell {unit}": activity(many) for unit in range(200)}, "title", path)
    with pytest.raises(UserError, match="give at least 1"):
        draw_activity("ab", {"cell": activity("ab")}, "title", path, 0)
    assert not path.exists()


@pytest.mark.parametrize("show", [draw_activity, write_html])
def test_mistakes(show, tmp_path):
    def refused(error, message, symbols, rows):
        with pytest.raises(error, match=message):
            show(symbols, rows, "title", tmp_path / "activity.png")

    refused(UserError, "no text", "", {"cell": np.zeros(0)})
    refused(ValueError, "at least one row", "ab", {})
    refused(ValueError, r"row 'gate' has the shape \(3,\).*each of 2", "ab", {"cell": np.zeros(2), "gate": np.zeros(3)})
    refused(UserError, "'cell' is not finite", "ab", {"cell": np.array([0, np.nan])})
    assert not list(tmp_path.iterdir())


def test_a_failed_writing_leaves_what_was_there(path, monkeypatch, tmp_path):
    drawn(path, "ab", {"cell": activity("ab")})
    page = tmp_path / "activity.html"
    write_html("ab", {"cell": activity("ab")}, "title", page)
    before = path.read_bytes(), page.read_bytes()

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    monkeypatch.setattr("pathlib.Path.write_text", fail)
    for show, target in ((draw_activity, path), (write_html, page)):
        with pytest.raises(OSError, match="No space"):
            show("cd", {"cell": activity("cd")}, "title", target)
    assert sorted(tmp_path.iterdir()) == [page, path]
    assert (path.read_bytes(), page.read_bytes()) == before


# The page


class Page(html.parser.HTMLParser):
    """What a browser makes of a page: the text of each element and its attributes."""

    def __init__(self, content):
        super().__init__(convert_charrefs=True)
        self.open, self.text, self.spans, self.tags, self.options, self.scripts = [], {}, [], [], [], []
        self.feed(content)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag != "meta":
            self.open.append(tag)
        if tag == "span":
            self.spans.append([dict(attributes), ""])
        if tag == "option":
            self.options.append("")
        if tag == "script":
            self.scripts.append([dict(attributes), ""])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        inner = self.open[-1] if self.open else None
        self.text[inner] = self.text.get(inner, "") + data
        if inner == "span":
            self.spans[-1][1] += data
        if inner == "option":
            self.options[-1] += data
        if inner == "script":
            self.scripts[-1][1] += data

    @property
    def data(self):
        (content,) = [text for attributes, text in self.scripts if attributes.get("id") == "data"]
        return json.loads(content)

    @property
    def program(self):
        (content,) = [text for attributes, text in self.scripts if "type" not in attributes]
        return content

    @property
    def colors(self):
        """Background and ink of each class."""
        rules = re.findall(
            r"\.(\w+-\d+)\{background:#([0-9a-f]{6});color:#([0-9a-f]{6})\}", self.text["style"], flags=re.ASCII
        )
        return {name: (back, ink) for name, back, ink in rules}


def page(tmp_path, symbols, rows, title="quotes", properties=None, **options):
    target = tmp_path / "activity.html"
    write_html(symbols, rows, title, target, properties, **options)
    return Page(target.read_bytes().decode("utf-8"))


TEXT = '“Hé & <b>” said\tI,\n\n  "you".'


def test_the_page_holds_text_rows_and_properties(tmp_path):
    rows = {"cell 37": activity(TEXT), "forget 37": activity(TEXT, 1, low=0)}
    properties = {"line_position": np.arange(len(TEXT)), "upper_case": np.zeros(len(TEXT))}
    found = page(tmp_path, TEXT, rows, "What cell 37 does", properties)
    assert [row["name"] for row in found.data["rows"]] == ["cell 37", "forget 37", "line_position", "upper_case"]
    assert found.options == ["cell 37", "forget 37", "line_position", "upper_case"]
    assert [row["scale"] for row in found.data["rows"]] == ["diverging", "sequential", "sequential", "sequential"]
    assert [row["largest"] for row in found.data["rows"]] == [1, 1, len(TEXT) - 1, 1]
    for row, values in zip(found.data["rows"], [*rows.values(), *properties.values()], strict=True):
        np.testing.assert_allclose(row["values"], values, atol=0.5001e-4)
    assert found.data["symbols"] == list(TEXT)
    assert found.text["title"] == found.text["h1"] == "What cell 37 does"
    assert "".join(text for _, text in found.spans) == found.text["span"] == TEXT  # what is copied is the text
    assert [text for attributes, text in found.spans if "data-mark" in attributes] == ["\t", "\n", "\n"]
    assert ("html", {"lang": "en"}) in found.tags
    assert ("meta", {"charset": "utf-8"}) in found.tags


def test_the_page_loads_nothing(tmp_path):
    found = page(tmp_path, TEXT, {"cell": activity(TEXT)})
    assert not {tag for tag, _ in found.tags} & {"link", "img", "iframe", "base", "object"}
    assert not any({"src", "href"} & set(attributes) for _, attributes in found.tags)
    content = (tmp_path / "activity.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|url\(|@import|fetch\(|//\w", content)


def test_without_javascript_the_text_has_the_colors_of_the_first_row(tmp_path):
    values = np.linspace(-1.2, 1.2, len(TEXT))
    found = page(tmp_path, TEXT, {"cell <37>": values, "gate": activity(TEXT)})
    assert found.text["p"].startswith("Coloured by cell <37>.")
    for (attributes, _), value in zip(found.spans, values, strict=True):
        background = np.array(list(bytes.fromhex(found.colors[attributes["class"]][0])))
        nearest = round((np.clip(value, -1, 1) + 1) / 2 * (STEPS - 1)) / (STEPS - 1)
        np.testing.assert_allclose(background, in_8_bits("RdBu", nearest), atol=1)
    backgrounds = [found.colors[attributes["class"]][0] for attributes, _ in found.spans]
    assert len(set(backgrounds)) > 20


def test_every_color_can_be_read(tmp_path):
    """Against the contrast of WCAG 2.2, which asks 4.5 of text."""
    colors = page(tmp_path, TEXT, {"cell": activity(TEXT)}).colors
    assert len(colors) == 2 * STEPS

    def luminance(color):
        channels = np.array(list(bytes.fromhex(color))) / 255
        return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4) @ (
            [0.2126, 0.7152, 0.0722]
        )

    for background, ink in colors.values():
        dark, light = sorted((luminance(background), luminance(ink)))
        assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_a_hostile_text_breaks_no_page(tmp_path):
    names = ["</select><script>", "\ud800\u2028", "__proto__", "{text}"]
    rows = {name: activity(HOSTILE, seed) for seed, name in enumerate(names)}
    title = "</title><script>alert(1)</script>\x00\ud800 {data}"
    found = page(tmp_path, HOSTILE, rows, title, {"</option>": np.zeros(len(HOSTILE))})
    assert found.data["symbols"] == HOSTILE
    assert [row["name"] for row in found.data["rows"]] == [*names, "</option>"]
    assert len(found.spans) == len(HOSTILE)
    assert len(found.scripts) == 2
    assert found.text["title"] == "</title><script>alert(1)</script>␀\ufffd {data}"
    shown = dict(zip(HOSTILE, (text for _, text in found.spans), strict=True))
    assert shown["</pre>"] == "</pre>"
    assert shown["\n"] == "\n"
    assert [shown[symbol] for symbol in ("\x00", "\r", "\x7f", "\r\n")] == ["␀", "␍", "␡", "␍↵"]
    for invisible in ("\u2028", "\x85", "\ufeff", "\u202e", "\u200d", "\ud800", "\uffff"):
        assert shown[invisible] == "\ufffd"
    content = (tmp_path / "activity.html").read_bytes().decode("utf-8")
    assert not set(content) & set("\x00\r\x1b\x7f\x85\u2028\u2029\u202e\ufeff")


BROWSER = """
const listeners = {};
const element = (more) => ({ dataset: {}, addEventListener(kind, does) { listeners[kind] = does; }, ...more });
const page = JSON.parse(require("fs").readFileSync(0, "utf8"));
const spans = page.classes.map((className) => element({ className, scrollIntoView() {} }));
const steps = Array.from({ length: 5 }, () => element({}));
const elements = {
  scale: element({ children: steps }),
  data: element({ textContent: page.data }),
  text: element({ children: spans }),
  choice: element({ value: "0" }),
  about: element({}),
  panel: element({ hidden: true }),
};
globalThis.document = { getElementById: (id) => elements[id] };
new Function(page.program)();
const told = { hidden: elements.panel.hidden, classes: [], scales: [], about: [] };
for (const row of JSON.parse(page.data).rows.keys()) {
  elements.choice.value = String(row);
  listeners.change();
  told.classes.push(spans.map((span) => span.className));
  told.scales.push(steps.map((step) => [step.className, String(step.textContent)]));
}
const tell = () => told.about.push([elements.about.textContent, spans.findIndex((span) => "here" in span.dataset)]);
listeners.focus(); tell();
for (const key of ["ArrowRight", "End", "ArrowRight", "ArrowLeft", "Home", "ArrowLeft", "a"]) {
  listeners.keydown({ key, preventDefault() {} }); tell();
}
listeners.pointerover({ target: { closest: () => spans[2] } }); tell();
listeners.click({ target: { closest: () => null } }); tell();
console.log(JSON.stringify(told));
"""


@pytest.mark.skipif(not shutil.which("node"), reason="no node to run the page's script in")
def test_the_script_of_the_page(tmp_path):
    symbols = ["a", "\n", "😀", "\ud800", "</script>", '"']
    rows = {"cell": np.array([-1, -0.5, 0, 0.123456, 1, 7]), "gate": np.array([0, 0.1, 0.5, 0.9, 1, 2])}
    counts = {"position": np.array([0, 10, 20, 30, 40, 80])}
    found = page(tmp_path, symbols, rows, properties=counts)
    (data,) = [text for attributes, text in found.scripts if attributes.get("id") == "data"]
    fed = {"data": data, "program": found.program, "classes": [attributes["class"] for attributes, _ in found.spans]}
    result = subprocess.run(
        ["node", "-e", BROWSER], input=json.dumps(fed), capture_output=True, encoding="utf-8", timeout=60
    )
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["hidden"] is False
    assert told["classes"] == [
        fed["classes"],  # as they were without the script
        [f"sequential-{step}" for step in (0, 3, 16, 29, 32, 32)],
        [f"sequential-{step}" for step in (0, 4, 8, 12, 16, 32)],
    ]
    diverging, sequential = ([f"{name}-{step}" for step in (0, 8, 16, 24, 32)] for name in ("diverging", "sequential"))
    scales = [
        [list(pair) for pair in zip(*scale, strict=True)]
        for scale in (
            (diverging, ["-1", "-0.5", "0", "0.5", "1"]),
            (sequential, ["0", "0.25", "0.5", "0.75", "1"]),
            (sequential, ["0", "20", "40", "60", "80"]),
        )
    ]
    assert told["scales"] == scales
    content = (tmp_path / "activity.html").read_text(encoding="utf-8")
    shown = [list(pair) for pair in re.findall(r'<li class="([\w-]+)">([^<]*)</li>', content)]
    assert shown == 2 * scales[0]  # without the script, and before it
    first, second, third = (
        '"a" U+0061 · index 0 · cell -1 · gate 0 · position 0',
        '"\\n" U+000A · index 1 · cell -0.5 · gate 0.1 · position 10',
        '"😀" U+1F600 · index 2 · cell 0 · gate 0.5 · position 20',
    )
    last = '"\\"" U+0022 · index 5 · cell 7 · gate 2 · position 80'
    before_last = '"</script>" ' + " ".join(f"U+{ord(letter):04X}" for letter in "</script>")
    texts, places = zip(*told["about"], strict=True)
    assert places == (0, 1, 5, 5, 4, 0, 0, 0, 2, 2)
    assert texts[:4] == (first, second, last, last)
    assert texts[4] == f"{before_last} · index 4 · cell 1 · gate 1 · position 40"
    assert texts[5:] == (first, first, first, third, third)


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


def test_the_terminal_has_the_colors(terminal):
    print_activity("ab\nc", np.array([-1, 0.2, 1, -0.4]), terminal)
    out = terminal.getvalue()
    pieces = re.findall(r"\x1b\[38;2;(\d+);(\d+);(\d+);48;2;(\d+);(\d+);(\d+)m([^\x1b]*)\x1b\[0m(\n?)", out)
    assert [(letter, end) for *_, letter, end in pieces] == [("a", ""), ("b", ""), ("↵", "\n"), ("c", "\n")]
    backgrounds = [[int(channel) for channel in piece[3:6]] for piece in pieces]
    np.testing.assert_allclose(backgrounds, in_8_bits("RdBu", np.array([0, 0.6, 1, 0.3])), atol=1)
    assert [piece[:3] for piece in pieces[:2]] == [("255",) * 3, ("0",) * 3]
    assert "".join(letter + end for *_, letter, end in pieces) == re.sub(r"\x1b\[[\d;]*m", "", out)


def test_a_named_scale_in_the_terminal(terminal):
    print_activity("a", np.array([0.5]), terminal, scale="diverging")
    print_activity("a", np.array([0.5]), terminal)
    backgrounds = re.findall(r"48;2;(\d+);(\d+);(\d+)m", terminal.getvalue())
    expected = [in_8_bits("RdBu", 0.75), in_8_bits("viridis", 0.5)]
    np.testing.assert_allclose(np.array(backgrounds, int), expected, atol=1)


def test_without_a_terminal_the_text_alone(terminal, capsys):
    print_activity(HOSTILE, activity(HOSTILE))
    out = capsys.readouterr().out
    assert "[red][/]:smile:</pre>c3\\xe2<unk>␍↵$a^2$" + "W" * 1000 in out  # and nothing wraps it
    assert not set(out) & set("\x00\r\x1b\x7f\x85\u2028\u202e\ud800")
    assert out.count("\n") == 2  # the text's own, and one at the end
    print_activity("ab\n", activity("ab\n"))
    assert capsys.readouterr().out == "ab↵\n"


def test_mistakes_in_the_terminal(terminal):
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        print_activity("abc", np.zeros(2), terminal)
    with pytest.raises(UserError, match="no text"):
        print_activity([], np.zeros(0), terminal)
    assert terminal.getvalue() == ""


def test_a_closed_pipe_is_left_to_the_caller():
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", encoding="utf-8", buffering=1) as stream:
        with pytest.raises(BrokenPipeError):
            print_activity("ab\n", np.zeros(3), stream)
        os.dup2(os.open(os.devnull, os.O_WRONLY), writer)  # for what is left in the buffer
