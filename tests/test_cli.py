"""What the apps share on the command line: exit statuses, where texts come from, and JSON."""

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cyclopts import App

from nlp_lstm import cli
from nlp_lstm.errors import UserError

ROOT = Path(__file__).parents[1]
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


class TestPrintText:
    def test_a_file_gets_it_as_it_is(self):
        with contextlib.redirect_stdout(io.StringIO()) as stream:
            cli.print_text("a\x1b[31m\r\u202e\n", end="")
        assert stream.getvalue() == "a\x1b[31m\r\u202e\n"

    def test_a_terminal_does_not_obey(self):
        with contextlib.redirect_stdout(io.StringIO()) as stream:
            stream.isatty = lambda: True
            cli.print_text("two\n\tlines\x1b[31m\r\u202e")
        assert stream.getvalue() == "two\n\tlines␛[31m␍\\u202e\n"


class TestRun:
    def test_a_mistake_that_names_controls_rings_no_bell(self, capsys):
        assert cli.run(app, ["sell", "--number", "\x1b[31m\x07"]) == 2
        err = capsys.readouterr().err
        assert "␛[31m␇" in err
        assert "\x1b" not in err

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


class TestClosedStreams:
    """`2>&-` and the like: the program works, its exit status is true, and nothing lands where it should not."""

    SCRIPT = """
import os, sys
from pathlib import Path
from cyclopts import App
from nlp_lstm import cli
from nlp_lstm.errors import UserError

app = App(name="shop")

@app.command
def sell(file: Path, *, fail: bool = False):
    with open(file, "w") as written:  # has the lowest number that is free
        for number in (1, 2):
            os.write(number, b"C++ writes here\\n")
        cli.tell("a note")
        cli.print_json({"good": "bread"})
        written.write("sold")
    with cli._standard_error_closed():
        os.write(2, b"a notice\\n")
    if fail:
        raise UserError("no bread left")

sys.exit(cli.run(app))
"""

    @pytest.mark.parametrize("fail", [False, True])
    @pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
    def test_the_program_works(self, tmp_path, closed, fail):
        file = tmp_path / "sold.txt"
        command = ["sh", "-c", f'exec "$0" "$@" {closed}', sys.executable, "-c", self.SCRIPT, "sell", str(file)]
        done = subprocess.run(
            [*command, *(["--fail"] if fail else [])], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == (2 if fail else 0)
        assert file.read_text() == "sold"
        told = "C++ writes here\nshop: a note\n" + ("shop: no bread left\n" if fail else "")
        assert done.stderr == ("" if "2>&-" in closed else told)
        assert done.stdout == ("" if " >&-" in f" {closed}" else 'C++ writes here\n{"good": "bread"}\n')

    def test_a_full_disk_is_told(self, tmp_path):
        if not Path("/dev/full").exists():
            pytest.skip("no device here is always full")
        command = ["sh", "-c", 'exec "$0" "$@" >/dev/full', sys.executable, "-c", self.SCRIPT, "sell", "/dev/null"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1].startswith("shop: cannot write (No space left on device)")

    def test_a_closed_standard_error_does_not_stop_the_import_of_tensorflow(self, monkeypatch):
        monkeypatch.setattr(sys, "stderr", None)
        monkeypatch.setitem(sys.modules, "tensorflow", sys)  # imported already
        cli.import_tensorflow_quietly()
        assert sys.stderr is None


class TestShippedUnlessNamed:
    def test_what_is_named_goes_first(self):
        assert cli.shipped_unless_named(Path("mine"), None, "sentiment") == Path("mine")
        assert cli.shipped_unless_named(None, None, "sentiment") == ROOT / "saved_models" / "sentiment"

    @pytest.mark.parametrize("run", [Path("run"), [Path("run")]])
    def test_a_model_beside_a_run_is_refused(self, run):
        with pytest.raises(UserError, match="--model and --run both name what to use: give one of the two"):
            cli.shipped_unless_named(Path("mine"), run, "sentiment")

    def test_installed_alone_there_is_none(self, tmp_path, monkeypatch):
        monkeypatch.setattr(cli, "SHIPPED_MODELS", tmp_path / "saved_models")
        with pytest.raises(UserError, match=r"no model was installed.* --model \(.*saved_models/char_lm\).* --run"):
            cli.shipped_unless_named(None, None, "char_lm")
        assert cli.shipped_unless_named(Path("mine"), [], "char_lm") == Path("mine")
        cli.shipped_unless_named(None, Path("run"), "char_lm")  # no model is needed


class TestCheckSuffix:
    def test_names_that_end_well(self):
        cli.check_suffix("--plot", None, ".png")
        cli.check_suffix("--plot", Path("a/b.PNG"), ".png")

    @pytest.mark.parametrize("name", ["a.pdf", "png", ".png", "a.png.txt", "a.png/b"])
    def test_others_are_refused(self, name):
        with pytest.raises(UserError, match="--plot writes PNG, got '.*': name a file that ends in .png"):
            cli.check_suffix("--plot", Path(name), ".png")


class TestPrintFigures:
    def test_in_columns(self, capsys):
        cli.print_figures({"examples": 3, "loss": 0.123456, "perplexity": None, "name": "a b"})  # None: there is none
        out = capsys.readouterr().out
        assert out == "examples  3\nloss      0.1235\nname      a b\n"

    def test_none(self, capsys):
        cli.print_figures({})
        assert capsys.readouterr().out == ""


class TestPrintVersion:
    def test_both_ways(self, capsys):
        cli.print_version(Path("models/2"), False)
        cli.print_version(Path("models/2"), True)
        assert capsys.readouterr().out == 'models/2\n{"version": "models/2"}\n'


class TestLazyModule:
    def test_is_imported_when_it_is_used(self, tmp_path, monkeypatch):
        imported = []
        monkeypatch.setattr(cli, "import_tensorflow_quietly", lambda: imported.append("tensorflow"))
        monkeypatch.syspath_prepend(tmp_path)
        (tmp_path / "slow_to_import.py").write_text("answer = 42\n")
        module = cli.LazyModule("slow_to_import")
        assert "slow_to_import" not in sys.modules
        assert module.answer == 42
        assert imported == ["tensorflow"]
        monkeypatch.setattr(sys.modules["slow_to_import"], "answer", 43)
        assert module.answer == 43
        assert imported == ["tensorflow"]
        with pytest.raises(AttributeError, match="no attribute 'question'"):
            _ = module.question
        del sys.modules["slow_to_import"]


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


HEAVY = ("tensorflow", "keras", "numpy", "matplotlib", "sklearn", "scipy", "sentencepiece", "sacrebleu")


@pytest.mark.parametrize("app_name", ["sentiment", "char_lm", "translation"])
def test_help_and_mistakes_are_told_without_what_takes_seconds_to_import(app_name):
    """Every verb's help, a flag that is not there, and values that the verb itself refuses."""
    script = f"""
import sys
from nlp_lstm import cli
from nlp_lstm.{app_name}.commands import app
verbs = [name for name in app if not name.startswith("-")]
assert "train" in verbs and len(verbs) >= 5, verbs
assert cli.run(app, ["--help"]) == 0
assert all(cli.run(app, [verb, "--help"]) == 0 for verb in verbs)
assert all(cli.run(app, [verb, "--nonsense"]) == 2 for verb in verbs)
for mistake in (
    ["train", "--data", "sample", "--run", "none", "--units", "none"],
    ["train", "--data", "sample", "--run", "none", "--seed", "-1"],
    ["explain", "a text", "--plot", "a.pdf"],
    ["explain", "a text", "--file", "none.txt"],
    {{"sentiment": ["explain", "a", "b", "--plot", "a.png"], "char_lm": ["generate", "--length", "0"],
      "translation": ["translate", "dog", "--beam-size", "17"]}}["{app_name}"],
):
    assert cli.run(app, mistake) == 2, mistake
print(sorted(set({HEAVY}) & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "[]"
