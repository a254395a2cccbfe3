"""What the apps share on the command line: exit statuses, where texts come from, and JSON."""

import io
import json
import os
import sys
from pathlib import Path

import pytest
from cyclopts import App

from nlp_lstm import cli
from nlp_lstm.errors import UserError

UNICODE = ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")

app = App(name="shop", help="A shop.", version_flags=[])


@app.command
def sell(*goods: str, number: int = 1, fail: str = "") -> None:
    """Sell goods."""
    kinds = {"user": UserError("no\nbread\t left"), "key": KeyboardInterrupt(), "bug": ValueError("a bug")}
    for good in goods:
        print(number, good)
    if fail:
        raise kinds[fail]


@app.command
def tell(good: str) -> None:
    """Tell of a good."""
    cli.print_json({"good": good})


class TestRun:
    def test_success(self, capsys):
        assert cli.run(app, ["sell", "bread", "--number", "2"]) == 0
        assert capsys.readouterr() == ("2 bread\n", "")

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["sell", "--numbr", "2"], "--numbr"),
            (["sell", "--number", "many"], '"many"'),
            (["sell", "--number", "1\n2"], "--number"),
            (["sell", "--number"], "--number"),
            (["steal"], '"steal"'),
            (["tell"], "--good"),
            (["sell", "--fail", "user"], "no bread left"),
        ],
    )
    def test_a_mistake_is_one_line_and_status_2(self, capsys, arguments, told):
        assert cli.run(app, arguments) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("shop: ")
        assert err.endswith("\n")
        assert len(err.splitlines()) == 1
        assert told in err

    def test_a_bug_is_not_hidden(self):
        with pytest.raises(ValueError, match="a bug"):
            cli.run(app, ["sell", "--fail", "bug"])

    def test_interrupted(self, capsys):
        assert cli.run(app, ["sell", "bread", "--fail", "key"]) == 130
        assert capsys.readouterr() == ("1 bread\n", "shop: stopped\n")

    @pytest.mark.parametrize("arguments", [["--help"], ["sell", "--help"], ["sell", "-h"], []])
    def test_help(self, capsys, arguments):
        assert cli.run(app, arguments) == 0
        out, err = capsys.readouterr()
        assert "Usage: shop" in out
        assert err == ""

    @pytest.mark.parametrize("arguments", [["sell", "bread"], ["sell", *["bread"] * 10_000], ["tell", "bread"]])
    def test_a_reader_that_has_gone_is_no_error(self, capfd, monkeypatch, arguments):
        """Nor when all that was written still waits in a buffer."""
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "w") as stdout:
            monkeypatch.setattr(sys, "stdout", stdout)
            assert cli.run(app, arguments) == 0
        assert capfd.readouterr().err == ""

    @pytest.mark.parametrize("verb", ["sell", "tell"])
    def test_no_text_fails_in_the_encoding_of_a_terminal(self, monkeypatch, verb):
        written = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
        assert cli.run(app, [verb, "Brötchen 😀 \udcff"]) == 0
        out = written.getvalue().decode("utf-8")
        if verb == "sell":
            assert out == "1 Brötchen 😀 \\udcff\n"
        else:
            assert json.loads(out) == {"good": "Brötchen 😀 \udcff"}

    def test_without_standard_output(self, monkeypatch):
        monkeypatch.setattr(sys, "stdout", None)
        assert cli.run(app, ["sell", "bread"]) == 0


def stdin_of(content: bytes, terminal=False):
    stream = io.TextIOWrapper(io.BytesIO(content))
    stream.isatty = lambda: terminal
    return stream


class TestTextsFrom:
    def test_arguments(self):
        assert cli.texts_from(("a", "", "b\nc", "é"), None) == [b"a", b"", b"b\nc", "é".encode()]

    def test_an_argument_that_is_no_utf_8_keeps_its_bytes(self):
        assert cli.texts_from((os.fsdecode(b"caf\xe9 \xff"),), None) == [b"caf\xe9 \xff"]

    @pytest.mark.parametrize("source", ["file", "standard input"])
    @pytest.mark.parametrize(
        ("content", "texts"),
        [
            (b"a\nb\n", [b"a", b"b"]),
            (b"a\nb", [b"a", b"b"]),
            (b"a\r\nb\r\n", [b"a", b"b"]),
            (b"\n\na\n\n", [b"", b"", b"a", b""]),
            (b"\r\n\r\n", [b"", b""]),
            (b"\n", [b""]),
            (b" \t\n", [b" \t"]),
            (b"\xef\xbb\xbfa\nb\n", [b"a", b"b"]),
            (b"a\n\xef\xbb\xbfb\n", [b"a", b"\xef\xbb\xbfb"]),  # there it is no byte order mark
            (b"a\x00b\x0bc\x0cd\x1ce\xc2\x85f\xe2\x80\xa8g\rh\n", [b"a\x00b\x0bc\x0cd\x1ce\xc2\x85f\xe2\x80\xa8g\rh"]),
            (b"\xfe\n\x80", ["\ufffd".encode(), "\ufffd".encode()]),
            (b"a\rb\r", [b"a", b"b"]),
            *(("\ufeffé\nb\r\n\ufeff\n".encode(name), ["é".encode(), b"b", b"\xef\xbb\xbf"]) for name in UNICODE),
            (b"x" * 2**20, [b"x" * 2**20]),
        ],
    )
    def test_lines(self, tmp_path, monkeypatch, source, content, texts):
        if source == "file":
            path = tmp_path / "texts.txt"
            path.write_bytes(content)
            assert cli.texts_from((), path) == texts
        else:
            monkeypatch.setattr(sys, "stdin", stdin_of(content))
            assert cli.texts_from((), None) == texts

    def test_encoding(self, tmp_path, monkeypatch, capsys):
        path = tmp_path / "texts.txt"
        path.write_bytes("„é …“\r\nß".encode("cp1252"))
        assert cli.texts_from((), path, "cp1252") == ["„é …“".encode(), "ß".encode()]
        assert capsys.readouterr().err == ""
        cli.texts_from((), path)
        assert "texts.txt' line 1: here is the first of 5 characters" in capsys.readouterr().err
        monkeypatch.setattr(sys, "stdin", stdin_of(path.read_bytes()))
        assert cli.text_from((), None) == "\ufffd\ufffd \ufffd\ufffd\n\ufffd".encode()
        err = capsys.readouterr().err
        assert err.startswith("standard input line 1: ") and "--encoding cp1252" in err
        with pytest.raises(UserError, match="--encoding is that of a --file"):
            cli.texts_from(("a",), None, "cp1252")
        path.write_bytes(b"\x89PNG\r\n\x1a\n\0")
        with pytest.raises(UserError, match="is an image, not a text"):
            cli.texts_from((), path)

    @pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\xff\xfe", b"\0\0\xfe\xff"])
    def test_nothing(self, tmp_path, monkeypatch, content):
        path = tmp_path / "texts.txt"
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"texts\.txt' is empty"):
            cli.texts_from((), path)
        monkeypatch.setattr(sys, "stdin", stdin_of(content))
        with pytest.raises(UserError, match="standard input is empty"):
            cli.texts_from((), None)

    @pytest.mark.parametrize("stdin", [stdin_of(b"waiting for the user", terminal=True), None])
    def test_a_terminal_is_not_waited_for(self, monkeypatch, stdin):
        monkeypatch.setattr(sys, "stdin", stdin)
        with pytest.raises(UserError, match="no text: give it as an argument"):
            cli.texts_from((), None)

    def test_arguments_and_a_file(self, tmp_path):
        with pytest.raises(UserError, match="not both"):
            cli.texts_from(("a",), tmp_path / "texts.txt")

    def test_files_that_cannot_be_read(self, tmp_path):
        with pytest.raises(UserError, match=r"cannot read --file '.*none\.txt': No such file"):
            cli.texts_from((), tmp_path / "none.txt")
        with pytest.raises(UserError, match="Is a directory"):
            cli.texts_from((), tmp_path)
        with pytest.raises(UserError, match="Is a directory"):
            cli.texts_from((), Path(""))


class TestTextFrom:
    def test_an_argument_keeps_its_line_breaks(self):
        assert cli.text_from(("a\n\nb é\n",), None) == "a\n\nb é\n".encode()
        assert cli.text_from(("",), None) == b""
        assert cli.text_from((os.fsdecode(b"caf\xe9"),), None) == b"caf\xe9"

    @pytest.mark.parametrize("source", ["file", "standard input"])
    @pytest.mark.parametrize(
        ("content", "text"),
        [
            (b"a\n\nb", b"a\n\nb"),
            (b"a\nb\n", b"a\nb"),
            (b"\xef\xbb\xbfa\r\n b \r\n", b"a\n b "),
            (b"a\x0bb\xff\x00", "a\x0bb\ufffd\x00".encode()),
            ("\ufeffe\u0301\r\n😀".encode("utf-16-be"), "e\u0301\n😀".encode()),
            (b"\n", b""),
        ],
    )
    def test_the_lines_of_a_source_are_one_text(self, tmp_path, monkeypatch, source, content, text):
        path = None
        if source == "file":
            path = tmp_path / "text.txt"
            path.write_bytes(content)
        else:
            monkeypatch.setattr(sys, "stdin", stdin_of(content))
        assert cli.text_from((), path) == text

    def test_several_texts_are_refused(self):
        with pytest.raises(UserError, match="this takes one text, got 2: put quotation marks round it"):
            cli.text_from(("a", "b"), None)

    def test_what_is_refused_of_several_is_refused_of_one(self, tmp_path, monkeypatch):
        (tmp_path / "empty.txt").write_text("")
        with pytest.raises(UserError, match="not both"):
            cli.text_from(("a",), tmp_path / "empty.txt")
        with pytest.raises(UserError, match=r"empty\.txt' is empty"):
            cli.text_from((), tmp_path / "empty.txt")
        with pytest.raises(UserError, match=r"cannot read --file '.*none\.txt'"):
            cli.text_from((), tmp_path / "none.txt")
        monkeypatch.setattr(sys, "stdin", stdin_of(b"waiting for the user", terminal=True))
        with pytest.raises(UserError, match="no text"):
            cli.text_from((), None)


class TestPrintJson:
    def test_one_line_that_reads_back(self, capsys):
        value = {"text": 'é 😀\n"\u2028', "scores": [0.1, 1e-30], "none": None}
        cli.print_json(value)
        out = capsys.readouterr().out
        assert out.endswith("\n")
        assert out.count("\n") == 1
        assert json.loads(out) == value
        assert "é 😀" in out

    @pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
    def test_what_is_no_json_is_refused(self, capsys, number):
        with pytest.raises(ValueError, match="JSON"):
            cli.print_json({"score": [number]})
        assert capsys.readouterr().out == ""


def test_tensorflow_is_imported_without_notices_and_standard_error_is_back(capfd, monkeypatch):
    def importing(*_, **__):
        os.write(2, b"notice of C++ code\n")
        raise ImportError("no such module")

    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ImportError):
        cli.import_tensorflow_quietly()
    monkeypatch.undo()
    monkeypatch.setattr("builtins.__import__", importing)
    with pytest.raises(ImportError):
        cli.import_tensorflow_quietly()
    monkeypatch.undo()
    os.write(2, b"still there\n")
    assert capfd.readouterr().err == "still there\n"
