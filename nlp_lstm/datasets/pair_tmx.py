"""Translation memories in TMX, the exchange format of translators' tools, read as a stream.

XML can be made to fill a memory or to fetch other files; `defusedxml` refuses such.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser, iterparse

from nlp_lstm.datasets.compressed import READ_ERRORS, open_decompressed, reason
from nlp_lstm.datasets.languages import is_language, language_code
from nlp_lstm.datasets.pair_columns import FilePairs, PairFormat
from nlp_lstm.datasets.pair_records import Pairs, direction, one_line
from nlp_lstm.errors import UserError
from nlp_lstm.notices import tell

SUFFIXES = (".tmx",)

_CODE = ("bpt", "ept", "it", "ph", "ut")  # inline elements that hold a tool's mark-up, and no text of the sentence
_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def read(path: Path, told: PairFormat = PairFormat()) -> FilePairs:  # noqa: B008
    """The pairs of a memory, plain or packed with gzip, bzip2 or xz.

    >>> import tempfile
    >>> german, english = ['<tuv xml:lang="de"><seg>Geh!</seg></tuv>', '<tuv xml:lang="en"><seg>Go.</seg></tuv>']
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "memory.tmx")
    ...     _ = path.write_text(f'<tmx version="1.4"><body><tu>{german}{english}</tu></body></tmx>')
    ...     read(path, PairFormat(source_language="en", target_language="de"))
    FilePairs(pairs=Pairs(source=['Go.'], target=['Geh!']), languages=('en', 'de'))

    A language is one of the memory's, `en-US` or `en` for `en-US` and other regions. Where the first unit has two and
    none is named, the memory's own source language, `srclang`, is the source. Units that lack one of the two are passed
    over, and counted on standard error. What is in bold or a link stays text, the mark-up of tools goes, and a line end
    becomes a space.

    Args:
        path: The file.
        told: The languages, whether to swap those that are not named, and the encoding, where that which the file
            declares is wrong.

    Raises:
        UserError: A file that cannot be read, is no XML, defines entities or refers to others; languages that are not
            there or of which there is no one way to choose.
    """
    pairs, chosen, lacking = Pairs([], []), None, 0
    seen: dict[str, None] = {}
    try:
        with open_decompressed(path) as stream:
            for own, unit in _units(stream, told.encoding):
                chosen = chosen or _choose(str(path), list(unit), own, told)
                seen |= dict.fromkeys(unit)
                source, target = (_of_language(unit, language) for language in chosen)
                if source is None or target is None:
                    lacking += 1
                    continue
                pairs.source.append(_text(source))
                pairs.target.append(_text(target))
    except DefusedXmlException as error:
        raise UserError(
            f"{str(path)!r} is refused: it defines entities or refers to other files, as hostile XML does "
            f"({type(error).__name__}): remove its <!ENTITY ...> lines if you trust it"
        ) from None
    except (ParseError, LookupError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{str(path)!r} is no whole TMX: {reason(error)}: check that it is XML and complete") from error
    except READ_ERRORS as error:
        raise UserError(
            f"cannot read {str(path)!r}: {reason(error)}: check its permissions and that it is whole"
        ) from error
    if chosen is None:
        raise UserError(f"{str(path)!r} has no translation unit (<tu>): expected TMX")
    if not pairs.source:
        there = [next((each for each in seen if is_language(each, language)), language) for language in chosen]
        direction(str(path), seen, there[0], there[1])
    if lacking:
        tell(f"{str(path)!r}: {lacking:,} units have not both {chosen[0]!r} and {chosen[1]!r} and are left out")
    return FilePairs(pairs, (language_code(chosen[0]), language_code(chosen[1])))


def _units(stream: Any, encoding: str) -> Iterator[tuple[str, dict[str, Element]]]:
    """For each unit the memory's own source language and, by its languages, the segments."""
    own = ""
    body: Element | None = None
    parser = DefusedXMLParser(encoding=encoding or None, forbid_entities=True, forbid_external=True)
    for event, element in iterparse(stream, ("start", "end"), parser):
        name = _name(element)
        if event == "start" and name == "body":
            body = element
        elif event == "end" and name == "header":
            own = element.get("srclang", "")
        elif event == "end" and name == "tu":
            yield element.get("srclang", own), _segments(element)
            if body is not None:
                body.clear()  # else the whole file would be held in the end


def _name(element: Element) -> str:
    return element.tag.rpartition("}")[2].lower() if isinstance(element.tag, str) else ""


def _segments(unit: Element) -> dict[str, Element]:
    found: dict[str, Element] = {}
    for variant in unit:
        language = variant.get(_LANGUAGE) or variant.get("lang") or ""
        segment = next((part for part in variant if _name(part) == "seg"), None)
        if _name(variant) == "tuv" and language and segment is not None:
            found.setdefault(language, segment)
    return found


def _choose(name: str, there: list[str], own: str, told: PairFormat) -> tuple[str, str]:
    """The languages as they are named, or as the first unit has them."""
    if told.source_language and told.target_language:
        return told.source_language, told.target_language
    source, target = (
        next((each for each in there if language and is_language(each, language)), language)
        for language in (told.source_language, told.target_language)
    )
    first = next((each for each in there if own and is_language(each, own)), "")
    others = [each for each in there if each != first]
    default = (first, others[0]) if first and len(others) == 1 else None
    if default and told.reverse:
        default = (default[1], default[0])
    found = direction(name, there, source, target, default)
    return told.source_language or found[0], told.target_language or found[1]


def _of_language(unit: dict[str, Element], language: str) -> Element | None:
    exact = (segment for each, segment in unit.items() if each.lower() == language.lower())
    alike = (segment for each, segment in unit.items() if is_language(each, language))
    return next((segment for segment in (*exact, *alike)), None)


def _text(segment: Element) -> str:
    for element in list(segment.iter()) if len(segment) else []:
        if _name(element) in _CODE:
            behind = element.tail
            element.clear()
            element.tail = behind
    return _LONE_SURROGATE.sub("\ufffd", one_line("".join(segment.itertext())))
