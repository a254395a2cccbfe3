"""Text out of the bytes of a person's file, whatever encoding it is in.

A byte order mark decides; else the encoding that is named; else it is UTF-8. What cannot be decoded becomes U+FFFD and
is counted on standard error. What is no text at all, such as an image, is refused.
"""

import codecs
import re

from nlp_lstm.errors import UserError
from nlp_lstm.notices import tell

# The longer ones first: UTF-32's mark begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_WITHOUT_MARK = ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")

_UNPACK = "unpack it first"
_UNPACK_ALL = "unpack it and name the folder"
_AS_TEXT = "save it as plain text"
_ANOTHER = "name a text"
# How the files that are handed in by mistake begin; no text does so in any encoding.
_KINDS = (
    (
        rb"PK(\x03\x04|\x05\x06)",
        "an archive (zip, as Word and Excel files are)",
        f"{_UNPACK_ALL}, or save it as plain text",
    ),
    (rb"\x1f\x8b", "packed with gzip", _UNPACK),
    (rb"BZh[1-9]1AY&SY", "packed with bzip2", _UNPACK),
    (rb"\xfd7zXZ\0", "packed with xz", _UNPACK),
    (rb"\x28\xb5\x2f\xfd", "packed with zstd", _UNPACK),
    (rb"7z\xbc\xaf\x27\x1c", "an archive (7z)", _UNPACK_ALL),
    (rb"Rar!\x1a\x07", "an archive (RAR)", _UNPACK_ALL),
    (rb".{257}ustar", "an archive (tar)", _UNPACK_ALL),
    (rb"%PDF-\d", "a PDF", _AS_TEXT),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Word or Excel file", _AS_TEXT),
    (rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|II\*\0|MM\0\*|BM.{4}\0{4}|RIFF.{4}WEBP", "an image", _ANOTHER),
    (rb"GIF8[79]a.{0,64}[\0-\x08]", "an image", _ANOTHER),
    (rb"OggS\0|fLaC\0|ID3[\2-\4]|RIFF.{4}WAVE|\0{3}.ftyp", "sound or film", _ANOTHER),
    (rb"PAR1\x15|ARROW1\0|\x93NUMPY|\x89HDF\r\n\x1a\n", "a table or array of numbers", "write its texts to a CSV file"),
    (rb"SQLite format 3\0", "an SQLite database", "write its texts to a CSV file"),
    (rb"\x7fELF|MZ.{1,2}\0", "a program", _ANOTHER),
)
# What a text may hold: all but the control characters, save white space, backspace and the escape of colours.
_TEXT_BYTES = bytes(code for code in range(256) if code >= 32 and code != 127) + b"\t\n\v\f\r\b\x1b"
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_LINE_END = re.compile("\r\n?|\n")


class Replaced:
    r"""Counts what could not be decoded in the files of one source, to tell it in one line.

    >>> replaced = Replaced()
    >>> decode(b"caf\xe9", "menu.txt", replaced=replaced)
    'caf�'
    >>> replaced.characters, replaced.first
    (1, "'menu.txt' line 1")
    """

    def __init__(self) -> None:
        self.characters = 0
        self.files = 0
        self.first = ""
        self._encoding = ""
        self._mend = ""

    def add(self, characters: int, name: str, line: int, encoding: str, mend: str) -> None:
        """Count the replaced characters of one file, of which the first stands in `line`."""
        self.characters += characters
        self.files += 1
        if self.files == 1:
            self.first, self._encoding, self._mend = f"{name} line {line}", encoding, mend

    def tell(self) -> None:
        """Print the count on standard error, if it is not 0."""
        if self.characters:
            files = f" in {self.files:,} files" if self.files > 1 else ""
            these = (
                "a character that is"
                if self.characters == 1
                else f"the first of {self.characters:,} characters{files} that are"
            )
            tell(f"{self.first}: here is {these} not {self._encoding} and became U+FFFD: {self._mend}")


def decode(content: bytes, name: str, encoding: str | None = None, replaced: Replaced | None = None) -> str:
    r"""Text from the bytes of a file; line ends stay as they are.

    >>> decode("Größe".encode("utf-16"), "sizes.txt")
    'Größe'
    >>> decode(b"Gr\xf6\xdfe", "sizes.txt", "cp1252")
    'Größe'

    Args:
        content: All bytes of the file, unpacked.
        name: What to call it in messages: a path, or such as "standard input".
        encoding: The name of one of Python's encodings; None or "" for UTF-8. A byte order mark (UTF-8, UTF-16 or
            UTF-32, either end) overrules it, and is no part of the text.
        replaced: Where to count what cannot be decoded and has become U+FFFD. By default that is told on standard
            error.

    Raises:
        UserError: No such encoding, or content that is no text in it: an image, an archive, NUL after NUL.
    """
    named = _check(encoding) if encoding else ""
    name = name if name == STANDARD_INPUT else repr(name)
    counter = Replaced() if replaced is None else replaced
    text = _decoded(content, name, named, counter)
    if replaced is None:
        counter.tell()
    return text.removeprefix("\ufeff")


def _decoded(content: bytes, name: str, named: str, replaced: Replaced) -> str:
    for mark, marked in _MARKS:
        if content.startswith(mark):
            _refuse_known_kinds(content[len(mark) :], name)
            return decode_counted(content[len(mark) :], name, marked, "it may be cut off or damaged", replaced)
    _refuse_known_kinds(content, name)
    if not named or "a\n".encode(named) == b"a\n":  # else zero bytes may well be text
        _refuse_what_is_no_text(content, name)
    if not named:
        mend = "name its encoding, such as --encoding cp1252 (Windows, Western Europe)"
        return decode_counted(content, name, "utf-8", mend, replaced)
    text = decode_counted(content, name, named, "--encoding may name the wrong one", replaced)
    if named != "utf-8" and not content.isascii() and _is(content, "utf-8"):
        tell(f"{name} is read as {named}, as --encoding says, but looks like UTF-8: leave --encoding out if it is")
    # UTF-7 and escapes can spell half a surrogate pair, which no UTF-8 consumer takes.
    return _LONE_SURROGATE.sub("\ufffd", text)


def decode_counted(content: bytes, name: str, encoding: str, mend: str, replaced: Replaced) -> str:
    r"""Text from bytes whose encoding is known; what cannot be decoded becomes U+FFFD and is counted.

    >>> decode_counted(b"caf\xe9", "'menu.txt'", "utf-8", "write it anew as UTF-8", replaced := Replaced())
    'caf�'
    >>> replaced.characters
    1

    Args:
        content: The bytes.
        name: What to call them in the message.
        encoding: One of Python's.
        mend: How a person may mend it.
        replaced: Where to count.
    """
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        start = error.start
    text = content.decode(encoding, "replace")
    # A file may hold U+FFFD itself, the trace of an earlier loss.
    count = text.count("\ufffd") - content.decode(encoding, "ignore").count("\ufffd")
    line = len(_LINE_END.findall(content[:start].decode(encoding, "ignore"))) + 1
    replaced.add(max(1, count), name, line, encoding.upper(), mend)
    return text


STANDARD_INPUT = "standard input"
"""The name that stands without quotation marks in messages, since it is no file's."""


def plain_line_ends(text: str) -> str:
    r"""A text with "\n" at its line ends: for "\r\n", and for "\r" where no other line end is used.

    >>> plain_line_ends("one\r\ntwo"), plain_line_ends("one\rtwo\r")
    ('one\ntwo', 'one\ntwo\n')

    A carriage return among line ends of another kind is a character of its line.
    """
    return text.replace("\r\n", "\n") if "\n" in text else text.replace("\r", "\n")


def _check(encoding: str) -> str:
    """Python's name of an encoding."""
    try:
        found = codecs.lookup(encoding)
        if found._is_text_encoding:  # others, such as base64, make no text
            b"\xff".decode(found.name, "replace")  # punycode and others cannot replace
            return found.name.removesuffix("-sig")
    except (LookupError, ValueError):  # a ValueError is a NUL in the name, or one of those
        pass
    raise UserError(
        f"there is no encoding {encoding!r}: expected one such as utf-8, utf-16-le, cp1252, latin-1, cp1251, gb18030 "
        "or shift_jis"
    )


def _is(content: bytes, encoding: str) -> bool:
    try:
        content.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _refuse_known_kinds(content: bytes, name: str) -> None:
    for pattern, kind, mend in _KINDS:
        if re.match(pattern, content[:512], re.DOTALL):
            raise UserError(f"{name} is {kind}, not a text: {mend}")


def _refuse_what_is_no_text(content: bytes, name: str) -> None:
    controls = len(content.translate(None, _TEXT_BYTES))
    # A NUL or an escape here and there is a character like others. Packed data has one control character in nine bytes,
    # UTF-16 every other byte, or one in twenty where no letter is ASCII; neither of these two is UTF-8.
    if controls < 4 or (controls <= len(content) * 0.1 and (controls <= len(content) * 0.02 or _is(content, "utf-8"))):
        return
    encoding = _encoding_without_mark(content)
    if encoding:
        raise UserError(
            f"{name} looks like {encoding[:6].upper()} without a byte order mark: add --encoding {encoding} if it is"
        )
    raise UserError(
        f"{name} is mostly no text, with {controls:,} control characters among {len(content):,} bytes: name a text, or "
        "its --encoding if it is one"
    )


def _encoding_without_mark(content: bytes) -> str:
    """The one of UTF-16 and UTF-32 that bytes look like, or ""."""
    for encoding in _WITHOUT_MARK:
        width = 4 if "32" in encoding else 2
        whole = content[: len(content) // width * width]
        # The byte of highest value is the rarest to be anything but zero: that of spaces, digits and line ends is.
        zeros = [whole[at::width].count(0) for at in range(width)]
        high = zeros[-1] if encoding.endswith("le") else zeros[0]
        low = zeros[0] if encoding.endswith("le") else zeros[-1]
        if high > 4 * low and _is(whole, encoding):
            return encoding
    return ""
