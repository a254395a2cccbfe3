"""UTF-8: which bytes may follow which, and mending texts that are none."""

from typing import Any

import numpy as np
import tensorflow as tf

# What may follow within a UTF-8 character (Unicode standard, table 3-7): from a state, which bytes lead to which state.
# State 0 stands between characters, 1 to 3 wait for that many continuation bytes, the others for a narrowed first one.
_WHOLE, _ONE, _TWO, _THREE, _AFTER_E0, _AFTER_ED, _AFTER_F0, _AFTER_F4 = range(8)


_UTF8 = [
    (_WHOLE, 0x00, 0x7F, _WHOLE),
    (_WHOLE, 0xC2, 0xDF, _ONE),
    (_WHOLE, 0xE0, 0xE0, _AFTER_E0),
    (_WHOLE, 0xE1, 0xEC, _TWO),
    (_WHOLE, 0xED, 0xED, _AFTER_ED),
    (_WHOLE, 0xEE, 0xEF, _TWO),
    (_WHOLE, 0xF0, 0xF0, _AFTER_F0),
    (_WHOLE, 0xF1, 0xF3, _THREE),
    (_WHOLE, 0xF4, 0xF4, _AFTER_F4),
    (_ONE, 0x80, 0xBF, _WHOLE),
    (_TWO, 0x80, 0xBF, _ONE),
    (_THREE, 0x80, 0xBF, _TWO),
    (_AFTER_E0, 0xA0, 0xBF, _ONE),
    (_AFTER_ED, 0x80, 0x9F, _ONE),
    (_AFTER_F0, 0x90, 0xBF, _TWO),
    (_AFTER_F4, 0x80, 0x8F, _TWO),
]


def utf8_transitions() -> np.ndarray:
    """The next state `(states, 256)` after each byte, -1 where the byte may not stand; state 0 is between characters.

    >>> table = utf8_transitions()
    >>> table[0, 0xC3].item(), table[1, 0xA9].item(), table[1, 0x41].item()  # é is C3 A9
    (1, 0, -1)
    """
    table = np.full((8, 256), -1, np.int32)
    for state, first, last, following in _UTF8:
        table[state, first : last + 1] = following
    return table


def mend(text: Any) -> Any:
    r"""Texts as valid UTF-8, in graph: bytes that are none become U+FFFD.

    >>> mend(tf.constant([b"a\xff"])).numpy()[0].decode() == "a\ufffd"
    True
    """
    return tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace", replace_control_characters=False)
