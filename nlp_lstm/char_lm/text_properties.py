"""Properties of running text that a unit of a language model may have learned to follow, symbol by symbol.

Each is the value after its symbol has been read, as a cell state is: an opening mark already counts as inside, the
closing one as outside. A symbol is one character, or, for a model of bytes, a byte as text; what is written in several
symbols, such as a curly quotation mark in bytes, is not seen.
"""

from collections.abc import Callable, Sequence

import numpy as np

from nlp_lstm.char_lm.limits import PropertyName

TAB_WIDTH = 8
_CLOSING = {")": "(", "]": "[", "}": "{"}


def quotes(symbols: Sequence[str]) -> np.ndarray:
    """1 inside double quotes, straight or curly, and 0 outside.

    >>> quotes('a "b" c').tolist()
    [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0]

    The opening mark is inside, the closing one outside. A straight mark opens if none is open, and closes otherwise; a
    curly one knows which it is, and quotations do not nest. An empty line ends a quotation: where one runs over several
    paragraphs each opens it anew, and a mark left out turns no more than its own paragraph around.

    Returns:
        `(symbols,)`.
    """
    inside = np.zeros(len(symbols))
    is_open = line_is_empty = False
    for index, symbol in enumerate(symbols):
        if symbol == "\n":
            if line_is_empty:
                is_open = False
            line_is_empty = True
        elif not symbol.isspace():
            line_is_empty = False
        if symbol == '"':
            is_open = not is_open
        elif symbol in ("“", "”"):
            is_open = symbol == "“"
        inside[index] = is_open
    return inside


def line_position(symbols: Sequence[str]) -> np.ndarray:
    r"""How many characters were read since the last newline, or since the beginning of the text.

    >>> line_position("ab\nc").tolist()
    [1.0, 2.0, 0.0, 1.0]

    The newline itself is at 0, the first character of a line at 1.

    Returns:
        `(symbols,)`, in symbols.
    """
    return _since(symbols, lambda symbol: symbol == "\n")


def brackets(symbols: Sequence[str]) -> np.ndarray:
    """How many round, square and curly brackets are open.

    >>> brackets("f(x[1])").tolist()
    [0.0, 1.0, 1.0, 2.0, 2.0, 1.0, 0.0]

    An opening bracket counts as open, a closing one no longer. Each kind is counted by itself, and a closing bracket
    without an opening one of its kind changes nothing.

    Returns:
        `(symbols,)`, whole numbers from 0.
    """
    depth = np.zeros(len(symbols))
    still_open = dict.fromkeys(_CLOSING.values(), 0)
    for index, symbol in enumerate(symbols):
        if symbol in still_open:
            still_open[symbol] += 1
        elif symbol in _CLOSING and still_open[_CLOSING[symbol]]:
            still_open[_CLOSING[symbol]] -= 1
        depth[index] = sum(still_open.values())
    return depth


def word_position(symbols: Sequence[str]) -> np.ndarray:
    """How many characters were read since the last white space, or since the beginning of the text.

    >>> word_position("an ox").tolist()
    [1.0, 2.0, 0.0, 1.0, 2.0]

    White space itself is at 0, the first letter of a word at 1; punctuation belongs to the word it stands at.

    Returns:
        `(symbols,)`, in symbols.
    """
    return _since(symbols, str.isspace)


def indentation(symbols: Sequence[str]) -> np.ndarray:
    r"""How far the current line of source code is indented.

    >>> indentation("if a:\n  b").tolist()
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 2.0]

    Among the leading spaces it is the number of those read, this one included, and after them stays so to the end of
    the line; the newline that ends the line is at 0. A leading tab goes on to the next multiple of 8.

    Returns:
        `(symbols,)`, in columns.
    """
    columns = np.zeros(len(symbols))
    column, is_leading = 0, True
    for index, symbol in enumerate(symbols):
        if symbol == "\n":
            column, is_leading = 0, True
        elif is_leading and symbol == " ":
            column += 1
        elif is_leading and symbol == "\t":
            column += TAB_WIDTH - column % TAB_WIDTH
        else:
            is_leading = False
        columns[index] = column
    return columns


def upper_case(symbols: Sequence[str]) -> np.ndarray:
    """1 at a capital letter of any script, 0 elsewhere.

    >>> upper_case("NaÏ1").tolist()
    [1.0, 0.0, 1.0, 0.0]

    Returns:
        `(symbols,)`.
    """
    return np.array([symbol.isupper() for symbol in symbols], np.float64)


PROPERTIES: dict[PropertyName, Callable[[Sequence[str]], np.ndarray]] = {
    "quotes": quotes,
    "line_position": line_position,
    "brackets": brackets,
    "word_position": word_position,
    "indentation": indentation,
    "upper_case": upper_case,
}
"""Every property by the name that an app's user gives."""


def properties_of(symbols: Sequence[str]) -> dict[str, np.ndarray]:
    """All properties of a text by name, each `(symbols,)`.

    >>> properties_of("(Ah)")["upper_case"].tolist()
    [0.0, 1.0, 0.0, 0.0]
    """
    return {name: scan(symbols) for name, scan in PROPERTIES.items()}


def _since(symbols: Sequence[str], begins_anew: Callable[[str], bool]) -> np.ndarray:
    """How many symbols were read since the last that begins anew, 0 at that one."""
    distance = np.zeros(len(symbols))
    count = 0
    for index, symbol in enumerate(symbols):
        count = 0 if begins_anew(symbol) else count + 1
        distance[index] = count
    return distance
