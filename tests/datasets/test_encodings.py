"""What encoding a file is in is decided, damage is counted, and what is no text is refused."""

import bz2
import functools
import gzip
import io
import lzma
import random
import re
import struct
import subprocess
import sys
import zipfile
import zlib

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nlp_lstm.datasets.encodings import STANDARD_INPUT, Replaced, decode, plain_line_ends
from nlp_lstm.errors import UserError

UNICODE = ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
TEXTS = {
    "English": "The dog runs, and the cat sits.\nIt rains.\r\n" * 9,
    "German": "Größe, Äpfel – „süß“ und Straße.\nTür\n" * 9,
    "Russian": "Собака бежит домой.\nИ кошка тоже.\n" * 9,
    "Chinese": "狗在公园里跑步。\n猫也在。\n" * 9,
    "Japanese": "犬が公園を走っている。\n猫もいる。\n" * 9,
    "emoji": "Fine 😀👍\n" * 9,
}


def message(content, encoding=None, name="it.txt"):
    with pytest.raises(UserError) as raised:
        decode(content, name, encoding)
    text = str(raised.value)
    assert "\n" not in text and repr(name) in text
    return text


@pytest.mark.parametrize("named", [None, "", "cp1252"])
@pytest.mark.parametrize("encoding", UNICODE)
@pytest.mark.parametrize("language", TEXTS)
def test_a_byte_order_mark_decides(capsys, language, encoding, named):
    text = TEXTS[language]
    assert decode(("\ufeff" + text).encode(encoding), "it.txt", named) == text
    assert decode("\ufeff".encode(encoding), "it.txt", named) == ""
    assert capsys.readouterr() == ("", "")


@given(text=st.text(), encoding=st.sampled_from(UNICODE))
def test_any_text_behind_a_mark_is_read_as_it_was_written(text, encoding):
    # A mark of UTF-16 and a NUL are the mark of UTF-32.
    assume(not (encoding.lower().startswith("utf-16") and text.startswith("\0")))
    content = ("\ufeff" + text).encode(encoding)
    try:
        assert decode(content, "it.txt") == text.removeprefix("\ufeff")
    except UserError as error:  # random bytes may be those of an image
        assert re.match("'it.txt' is (an|packed|sound|a )", str(error))


@pytest.mark.parametrize(
    ("language", "encoding"),
    [
        *((language, encoding) for language in TEXTS for encoding in (*UNICODE[1:], "utf-8", "utf-8-sig", "utf-7")),
        *(("German", encoding) for encoding in ("cp1252", "cp1250", "mac-roman", "Windows-1252")),
        *(("Russian", encoding) for encoding in ("cp1251", "koi8-r", "iso-8859-5", "cp866")),
        *(("Chinese", encoding) for encoding in ("gb18030", "gbk")),
        *(("Japanese", encoding) for encoding in ("shift_jis", "euc-jp", "iso-2022-jp")),
        *(("English", encoding) for encoding in ("cp037", "latin-1", "ascii")),
    ],
)
def test_the_encoding_that_is_named(capsys, language, encoding):
    text = TEXTS[language]
    assert decode(text.encode(encoding), "it.txt", encoding) == text
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("encoding", ["nope", "base64", "rot13", "undefined", "punycode", "idna", "a\0b", " ", "utf_9"])
def test_no_such_encoding(encoding):
    with pytest.raises(UserError, match="there is no encoding .* such as .*cp1252") as raised:
        decode(b"text", "it.txt", encoding)
    assert repr(encoding) in str(raised.value)


@pytest.mark.parametrize(
    ("content", "text", "count", "line"),
    [
        (b"caf\xe9", "caf\ufffd", 1, 1),
        (b"one\ntwo\r\nthree\rna\xefve \x93q\x94", "one\ntwo\r\nthree\rna\ufffdve \ufffdq\ufffd", 3, 4),
        # U+FFFD that is in the file was lost before.
        (b"\xef\xbf\xbd\n\xef\xbf\xbd \xe9", "\ufffd\n\ufffd \ufffd", 1, 2),
        (b"cut \xe2\x82", "cut \ufffd", 1, 1),
        ("\ufeffé\n😀".encode("utf-16-le")[:-1], "é\n\ufffd", 1, 2),
        (b"\xff\xfe" + "a\n\ufffd".encode("utf-16-le") + b"\x00\xdcb\0", "a\n\ufffd\ufffdb", 1, 2),
    ],
)
def test_damage_is_counted_with_its_first_line(capsys, content, text, count, line):
    assert decode(content, "it.txt") == text
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith(f"'it.txt' line {line}: here is ")
    assert ("a character" if count == 1 else f"the first of {count} characters") in err
    assert ("--encoding cp1252" in err) == (content[:2] != b"\xff\xfe")


def test_damage_is_counted_whatever_there_is_of_it(capsys):
    generator = random.Random(5)
    damaged = {generator.randrange(20_000) for _ in range(3_000)}
    # Each in front of a letter, so that each becomes a character of its own.
    content = b"".join((b"\xe9" if at in damaged else b"") + b"a\n" for at in range(20_000))
    decode(content, STANDARD_INPUT)
    err = capsys.readouterr().err
    assert err.startswith(f"standard input line {min(damaged) + 1}: ") and f"of {len(damaged):,} characters" in err


def test_damage_of_several_files_is_told_at_once(capsys):
    replaced = Replaced()
    decode(b"fine", "a.txt", replaced=replaced)
    decode(b"\ncaf\xe9 \xe9", "b.txt", replaced=replaced)
    decode(b"\xe9", "c.txt", replaced=replaced)
    assert capsys.readouterr().err == ""
    replaced.tell()
    assert "'b.txt' line 2: here is the first of 3 characters in 2 files" in capsys.readouterr().err


def test_what_the_named_encoding_cannot_decode_is_counted(capsys):
    assert decode("a\n“é”".encode(), "it.txt", "ascii") == "a\n" + "\ufffd" * 8
    err = capsys.readouterr().err
    assert "line 2" in err and "8 characters that are not ASCII" in err


def test_utf_8_that_is_read_as_another_encoding_is_told(capsys):
    assert decode("é".encode(), "it.txt", "cp1252") == "Ã©"
    assert "looks like UTF-8" in capsys.readouterr().err
    assert decode(b"e\xe9", "it.txt", "cp1252") == "eé"
    assert decode(b"ascii", "it.txt", "cp1252") == "ascii"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("encoding", UNICODE[1:])
@pytest.mark.parametrize("language", TEXTS)
def test_utf_16_and_32_without_a_mark_are_refused_with_their_name(language, encoding):
    content = TEXTS[language].encode(encoding)
    assert f"--encoding {encoding} " in message(content)
    assert f"--encoding {encoding} " in message(content[:-1])
    if language == "English":
        assert f"--encoding {encoding} " in message(content, "latin-1")


def packed(pack):
    return pack(TEXTS["English"].encode())


def zipped():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a.txt"), "text")  # without the time of day: it is in the tests' names
    return stream.getvalue()


def random_bytes(count, seed=0):
    return random.Random(seed).randbytes(count)


PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">IIBBBBB", 3, 3, 8, 0, 0, 0, 0)


@pytest.mark.parametrize("named", [None, "cp1252", "utf-16-le"])
@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (PNG, "an image"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "an image"),
        (b"GIF89a\x03\0\x03\0", "an image"),
        (b"BM\x46\0\0\0\0\0\0\0\x36", "an image"),
        (b"%PDF-1.7\n1 0 obj\n", "a PDF"),
        (zipped(), "an archive"),
        (b"\0" * 257 + b"ustar\0", "an archive"),
        (packed(functools.partial(gzip.compress, mtime=0)), "packed with gzip"),
        (packed(bz2.compress), "packed with bzip2"),
        (packed(lzma.compress), "packed with xz"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 99, "Word"),
        (b"PAR1\x15\0", "table"),
        (b"SQLite format 3\0\x10", "SQLite"),
        (b"\x7fELF\2\1\1", "program"),
    ],
)
def test_known_kinds_are_refused_by_name(content, kind, named):
    text = message(content, named)
    assert kind in text and "not a text" in text


@pytest.mark.parametrize(
    "content",
    [
        b"\0" * 99,
        random_bytes(5_000),
        zlib.compress(random_bytes(2_000)),
        b"A header of text\n" * 20 + random_bytes(1_000),
        bytes(range(256)) * 9,
    ],
)
def test_what_is_mostly_no_text_is_refused(content):
    assert "mostly no text" in message(content)
    assert "mostly no text" in message(content, "latin-1")


@pytest.mark.parametrize(
    "text",
    [
        "a\0b",
        "\0",
        "one\0two\0three\0" + "a long text\n" * 9,  # as `find -print0` writes
        "\x1b[31mred\x1b[0m\n" * 9,
        "\x0c\v\t\b\r\n" * 9,
        "BMW drives.\0\n",
        "MZ\n",
        "GIF89a is a format.\n",
        "PK and I\n",
        "ID3 is a tag; %PDF is not.\n",
        "",
        "\n",
    ],
)
def test_odd_texts_are_texts(capsys, text):
    assert decode(text.encode(), "it.txt") == text
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("encoding", ["cp1251", "koi8-r", "cp1252", "gb18030", "shift_jis"])
def test_texts_of_other_encodings_are_no_binary(capsys, encoding):
    for text in TEXTS.values():
        try:
            content = text.encode(encoding)
        except UnicodeError:
            continue
        assert decode(content, "it.txt") == content.decode("utf-8", "replace")


def test_half_a_surrogate_pair_can_be_written_again():
    for encoding, content in (("utf-7", b"+2AA-"), ("unicode_escape", rb"\ud800")):
        assert decode(content, "it.txt", encoding) == "\ufffd"


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("a\r\nb\r\n", "a\nb\n"),
        ("a\nb\rc\r\n", "a\nb\rc\n"),
        ("a\rb\r\rc", "a\nb\n\nc"),
        ("a\n\rb", "a\n\rb"),
        ("a", "a"),
        ("", ""),
    ],
)
def test_plain_line_ends(text, plain):
    assert plain_line_ends(text) == plain


def test_reading_needs_no_tensorflow():
    code = (
        "import sys, nlp_lstm.datasets.encodings, nlp_lstm.datasets.review_table, nlp_lstm.datasets.text_files; "
        "print(sorted({'tensorflow', 'keras', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
