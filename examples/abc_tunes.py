"""Folk tunes in ABC notation for the character model: a collection to learn, and a judge of what is written.

    python examples/abc_tunes.py collect --output tunes.txt
    python apps/char_lm.py train --data tunes.txt --run runs/tunes
    python apps/char_lm.py generate --run runs/tunes --prompt $'M:6/8\nL:1/8\nK:G\n' --length 2000 > written.txt
    python examples/abc_tunes.py check written.txt --training tunes.txt

`collect` takes ABC files, such as those of the Nottingham collection; without any it takes two collections that the
package music21 carries: O'Neill's Music of Ireland and Ryan's Mammoth Collection. It keeps of a tune what is played:
metre, unit length, key, notes and bar lines; grace notes, slurs, ornaments and words go. `check` tells whether the bars
of a text add up to the metre that its tune announced, which a reader of characters can only know by counting.
`ngrams` writes tunes by a table of the last few characters alone, to hold a model's against.
"""

import argparse
import bisect
import itertools
import json
import random
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from nlp_lstm.errors import UserError
from nlp_lstm.files import atomic_path

COLLECTIONS = ("oneills1850", "ryansMammoth")
METRES = {"C": "4/4", "C|": "2/2"}
STRETCH = 24  # characters that are the training text's own if they stand in it: about two bars

# What is not played as a note of its own: grace notes, chord names and remarks, decorations, comments.
_UNPLAYED = re.compile(r'\{[^}]*\}|"[^"]*"|![^!]*!|\+[^+]*\+|%.*|\\$', re.MULTILINE)
_SLURS_AND_SIGNS = re.compile(r"\((?!\d)|\)|[-.~uvHLMOPSTJRky`*]")
_TUNE = re.compile(r"[A-Ga-gz^_=,'0-9/<>(|:\[\] \n]+")


def simplified(tune: str) -> str | None:
    r"""What of a tune is played, or None where it is no plain tune: several voices, a change of key or of metre.

    >>> simplified("X: 1\nT:A title\nM:C|\nL:1/8\nK:G % major\nB2|{d}(G>A) ~B2-|B4 |]\n")
    'M:2/2\nL:1/8\nK:G\nB2|G>A B2|B4 |]\n'
    >>> simplified("X:2\nM:3/4\nL:1/8\nK:D\nd2 e2 f2|\nK:G\ng6|\n") is None
    True
    """
    header: dict[str, str] = {}
    body: list[str] = []
    for line in map(str.strip, _UNPLAYED.sub("", tune).splitlines()):
        field = re.match(r"([A-Za-z]):\s*(.*)", line)
        if field is None:
            if line and "K" not in header:
                return None
            body.append(line)
        elif field[1] in "MLKV":
            if field[1] in header or "K" in header or field[1] == "V":
                return None
            header[field[1]] = field[2].strip()
    metre = METRES.get(header.get("M", ""), header.get("M", ""))
    key = re.match(r"[A-G][#b]?\s*[A-Za-z]{0,3}", header.get("K", ""))
    played = re.sub(" +", " ", _SLURS_AND_SIGNS.sub("", "\n".join(filter(None, body))))
    played = "\n".join(line.strip() for line in played.splitlines() if line.strip())
    if not (re.fullmatch(r"\d+/\d+", metre) and key and "|" in played and _TUNE.fullmatch(played)):
        return None
    length = header.get("L") or ("1/16" if Fraction(metre) < Fraction(3, 4) else "1/8")  # the standard's default
    return f"M:{metre}\nL:{length}\nK:{''.join(key[0].split())}\n{played}\n"


def tunes_of(text: str) -> list[str]:
    r"""The tunes of an ABC file, or of what a model wrote: each begins at an `X:`, or else an `M:`, behind other lines.

    >>> tunes_of("M:2/4\nK:C\ncdef|\n\nM:3/4\nK:C\ncde|\n")
    ['M:2/4\nK:C\ncdef|\n\n', 'M:3/4\nK:C\ncde|\n']
    """
    begin = "X" if re.search(r"^X:", text, re.MULTILINE) else "M"
    return [part for part in re.split(rf"^(?={begin}:)", text, flags=re.MULTILINE) if part.startswith(f"{begin}:")]


class Bars(NamedTuple):
    """How the inner bars of a tune, between two plain bar lines, measure up; upbeats and ends of parts are not among
    them."""

    right: int
    short: int
    long: int


def measured_bars(tune: str) -> Bars | None:
    r"""Hold each inner bar of a simplified tune against its metre; None where music21 cannot read the tune.

    >>> measured_bars("M:6/8\nL:1/8\nK:G\nG|GBd gdB|c2e (3dcBG|GBd gd|c3 B2A B|G3 G2|]\n")
    Bars(right=2, short=1, long=1)
    """
    from music21 import abcFormat

    metre = re.search(r"^M:(\d+/\d+)$", tune, re.MULTILINE)
    if metre is None:
        return None
    handler = abcFormat.ABCHandler()
    try:
        handler.process(tune)
    except Exception:  # it raises what its parts raise: for a reader of notes all of it means that these are none
        return None
    whole = Fraction(metre[1]) * 4  # in quarters
    found = Counter[int]()
    length, begun_plainly = Fraction(0), False
    for token in handler.tokens:
        if isinstance(token, abcFormat.ABCBar):
            plain = token.src.strip() == "|"
            if begun_plainly and plain and length:
                found[(length > whole) - (length < whole)] += 1
            length, begun_plainly = Fraction(0), plain
        elif isinstance(token, abcFormat.ABCNote) and not token.inGrace:
            # music21 leaves a tuplet's share to whoever makes a note of the token.
            share = token.activeTuplet.tupletMultiplier() if token.activeTuplet else 1
            length += Fraction(token.quarterLength).limit_denominator(960) * share
    return Bars(found[0], found[-1], found[1])


def check(tunes: Iterable[str], training: str = "") -> dict[str, float | int]:
    """Figures of tunes: how many can be read, how many of their inner bars add up, how much stands in `training`."""
    read, measured, stretches = 0, [0, 0, 0], [0, 0]
    tunes = list(tunes)
    for tune in tunes:
        bars = measured_bars(tune)
        if bars is not None and sum(bars):
            read += 1
            measured = [total + count for total, count in zip(measured, bars, strict=True)]
        if training:
            body = tune.partition("K:")[2].partition("\n")[2]
            parts = [body[start : start + STRETCH] for start in range(0, len(body) - STRETCH + 1, STRETCH)]
            stretches = [stretches[0] + sum(part in training for part in parts), stretches[1] + len(parts)]
    result: dict[str, float | int] = {
        "tunes": len(tunes),
        "readable": read,
        "bars": sum(measured),
        "bars_right": round(measured[0] / max(sum(measured), 1), 4),
        "bars_short": round(measured[1] / max(sum(measured), 1), 4),
        "bars_long": round(measured[2] / max(sum(measured), 1), 4),
    }
    if training:
        result["copied"] = round(stretches[0] / max(stretches[1], 1), 4)
    return result


def written_by_ngrams(training: str, order: int, number: int, seed: int) -> Iterator[str]:
    """Tunes drawn character by character from what followed the last `order` characters in `training`, or fewer where
    these never stood there."""
    following: list[dict[str, Counter[str]]] = [defaultdict(Counter) for _ in range(order + 1)]
    for place, character in enumerate(training):
        for length in range(min(order, place) + 1):
            following[length][training[place - length : place]][character] += 1
    draw = random.Random(seed)
    headers = ["".join(tune.splitlines(keepends=True)[:3]) for tune in tunes_of(training)]
    for _ in range(number):
        text = draw.choice(headers)
        while not text.endswith("\n\n") and len(text) < 2000:
            length = next(size for size in range(order, -1, -1) if text[-size or len(text) :] in following[size])
            counts = following[length][text[-length or len(text) :]]
            sums = list(itertools.accumulate(counts.values()))
            text += list(counts)[bisect.bisect_right(sums, draw.random() * sums[-1])]
        yield text.rstrip("\n") + "\n"


def _files_of_music21() -> list[Path]:
    from music21 import corpus

    folder = Path(corpus.__file__).parent
    return [path for name in COLLECTIONS for path in sorted((folder / name).glob("*.abc"))]


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError as error:
        raise UserError(f"'{path}' cannot be read: {error.strerror}; give an ABC file") from error


def _collect(arguments: argparse.Namespace) -> dict[str, float | int]:
    found = [tune for path in arguments.files or _files_of_music21() for tune in tunes_of(_read(path))]
    # The same tune often stands in both collections, or twice in one.
    kept = list(dict.fromkeys(filter(None, map(simplified, found))))
    if not kept:
        raise UserError("no plain tune was found: each begins with X:, and has an M: and a K: line before its notes")
    # Else the end of the file, which is held out, would be one collection's end.
    random.Random(arguments.seed).shuffle(kept)
    with atomic_path(arguments.output) as path:
        path.write_text("\n".join(kept) + "\n", "utf-8")
    return {"found": len(found), "kept": len(kept), "characters": sum(map(len, kept))}


def _check(arguments: argparse.Namespace) -> dict[str, float | int]:
    return check(
        [tune for path in arguments.files for tune in tunes_of(_read(path))],
        _read(arguments.training) if arguments.training else "",
    )


def _ngrams(arguments: argparse.Namespace) -> dict[str, float | int]:
    tunes = list(written_by_ngrams(_read(arguments.training), arguments.order, arguments.number, arguments.seed))
    with atomic_path(arguments.output) as path:
        path.write_text("\n".join(tunes), "utf-8")
    return {"written": len(tunes), "characters": sum(map(len, tunes))}


def parse_arguments() -> argparse.Namespace:
    """The verb and its flags from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    verb = verbs.add_parser("collect", help="write a collection of simplified tunes, in drawn order")
    verb.add_argument("files", nargs="*", type=Path, help="ABC files; without any, two collections of music21's")
    verb.add_argument("--output", type=Path, required=True, help="where to write it")
    verb.add_argument("--seed", type=int, default=0, help="settles the order (default: 0)")
    verb.set_defaults(do=_collect)
    verb = verbs.add_parser("check", help="tell how many bars add up")
    verb.add_argument("files", nargs="+", type=Path, help="what was written")
    verb.add_argument("--training", type=Path, help=f"tell how many stretches of {STRETCH} characters stand in this")
    verb.set_defaults(do=_check)
    verb = verbs.add_parser("ngrams", help="write tunes by a table of the last few characters")
    verb.add_argument("--training", type=Path, required=True, help="the collection to count")
    verb.add_argument("--output", type=Path, required=True, help="where to write them")
    verb.add_argument("--order", type=int, default=6, help="characters that are looked at (default: 6)")
    verb.add_argument("--number", type=int, default=100, help="tunes to write (default: 100)")
    verb.add_argument("--seed", type=int, default=0, help="settles what is drawn (default: 0)")
    verb.set_defaults(do=_ngrams)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    try:
        print(json.dumps(arguments.do(arguments)))
    except UserError as error:
        print(f"abc_tunes: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
