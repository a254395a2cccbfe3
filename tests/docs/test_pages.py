"""The pages of docs/: their commands and their Python run, their links lead somewhere, the site builds."""

import re
import shlex
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import command_line
import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(ROOT.glob("docs/**/*.md"))
MARKDOWN = sorted(
    path
    for path in ROOT.glob("**/*.md")
    if not any(part.startswith(".") or part in ("build", "runs") for part in path.relative_to(ROOT).parts)
)
BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^\n]+) -->\n)?```(?P<language>console|python)\n(?P<body>.*?)\n```", re.S
)
ANY_LINES = "…"


class Block(NamedTuple):
    page: Path
    line: int
    language: str
    body: str
    reason: str | None
    """Why it is not run; None if it is."""


def blocks_of(page):
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, match.start()) + 1, match["language"], match["body"], match["reason"])
        for match in BLOCK.finditer(text)
    ]


def name_of(block):
    return f"{block.page.relative_to(ROOT).as_posix()}:{block.line}"


CONSOLES = [block for page in PAGES for block in blocks_of(page) if block.language == "console"]
PYTHON_PAGES = [page for page in PAGES if any(block.language == "python" for block in blocks_of(page))]


def commands_of(body):
    r"""Pairs of a command and the output that stands behind it.

    >>> commands_of("$ one \\\n  --flag\nout\n$ two")
    [('one --flag', 'out\n'), ('two', '')]
    """
    found = []
    for part in re.split(r"^\$ ", body, flags=re.M)[1:]:
        command, _, output = (part.rstrip("\n") + "\n").replace("\\\n", " ").partition("\n")
        found.append((" ".join(command.split()) if '"' not in command else command, output))
    return found


def app_of(script):
    if script.startswith("apps/"):
        return __import__(f"apps.{Path(script).stem}", fromlist=["app"]).app
    return __import__(f"examples.{Path(script).stem}", fromlist=["app"]).app


def run(command):
    """A command of a page, called within this process: `python SCRIPT …`, or `echo TEXT | python SCRIPT …`."""
    stdin = b""
    if command.startswith("echo "):
        told, _, command = command.partition(" | ")
        stdin = (shlex.split(told)[1] + "\n").encode()
    python, script, *arguments = shlex.split(command)
    assert python == "python", f"the test knows no command {python!r}: mark the block with a reason"
    return command_line.call(app_of(script), *arguments, stdin=stdin)


def pattern_of(output):
    r"""What fits the output of a page, in which a line of "…" stands for any lines.

    >>> bool(pattern_of("a\n…\nb\n").fullmatch("a\nx\ny\nb\n")), bool(pattern_of("a\n").fullmatch("b\n"))
    (True, False)
    """
    lines = output.splitlines(keepends=True)
    return re.compile("".join("(?:.*\n)*" if line.strip() == ANY_LINES else re.escape(line) for line in lines))


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A folder that has the project's files, and in which what is written does no harm."""
    for path in ROOT.iterdir():
        if not path.name.startswith("."):
            (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)


@pytest.mark.thorough
@pytest.mark.parametrize("block", CONSOLES, ids=name_of)
def test_the_commands_of_a_page_do_what_stands_below_them(block, clone):
    if block.reason:
        pytest.skip(block.reason)
    commands = commands_of(block.body)
    assert commands
    for command, output in commands:
        result = run(command)
        assert result.status == 0, result.err
        assert pattern_of(output).fullmatch(result.out), f"{command}\nprinted\n{result.out}"


@pytest.mark.parametrize("page", PYTHON_PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_python_of_a_page_prints_what_its_comments_say(page, clone, capsys):
    names = {"__name__": "page"}
    for block in blocks_of(page):
        if block.language != "python" or block.reason:
            continue
        promised = re.findall(r"^print\(.*\)  # (.+)$", block.body, flags=re.M)
        exec(compile(block.body, name_of(block), "exec"), names)
        printed = capsys.readouterr().out.splitlines()
        assert len(printed) == len(promised)
        for line, promise in zip(printed, promised, strict=True):
            assert line == promise or promise.startswith(line + ":"), (line, promise)


def headings_of(text):
    """The anchors of a Markdown page, as code hosts make them."""
    plain = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    titles = re.findall(r"^#+ +(.+?) *$", plain, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_links_of_a_page_lead_to_what_is_there(page):
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue  # `make links` asks the network
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{target}: there is no {linked}"
        if anchor and linked.suffix == ".md":
            assert anchor in headings_of(linked.read_text(encoding="utf-8")), f"{target}: no such heading"


@pytest.mark.thorough
def test_the_site_builds_without_a_warning(tmp_path):
    command = [
        *(sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going", "-b", "html"),
        *("-d", str(tmp_path / "doctrees"), str(ROOT / "docs"), str(tmp_path / "site")),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-5000:]
    layer = (tmp_path / "site/api/layer.html").read_text(encoding="utf-8")
    assert "<math" in layer  # the equations are set
    for page in (tmp_path / "site").rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"', text)
        assert not loaded, f"{page} loads {loaded}"


def test_each_page_is_reached_from_a_first_one():
    for first in (ROOT / "docs/index.md", ROOT / "docs/api/index.md", ROOT / "docs/decisions/index.md"):
        lists = re.findall(r"^```{toctree}(.*?)^```", first.read_text(encoding="utf-8"), flags=re.S | re.M)
        named = "\n".join(lists).split("\n")
        for page in first.parent.glob("*.md"):
            reached = any(fnmatch(page.stem, pattern) for pattern in named if pattern)
            assert page == first or reached, f"{page.name} is in no list of {first.relative_to(ROOT)}"
