"""Characters that nobody sees, left out of a text in core TensorFlow operations."""

from typing import Any

import tensorflow as tf

# Where a line may break, and in which direction it runs: the letters are the same without. Soft hyphen; marks and
# isolates of direction; word joiner and invisible operators; the mark at the beginning of a file.
_ALWAYS = r"[\x{ad}\x{61c}\x{200e}\x{200f}\x{202a}-\x{202e}\x{2060}-\x{2064}\x{2066}-\x{2069}\x{feff}]+"

# Zero-width space, non-joiner and joiner mean something in some scripts: they part words in Thai or Khmer and parts of
# words in Persian, they choose a form of a letter in Hindi, and they make one picture of several. So they go only where
# they can mean nothing: behind a letter of a script whose letters neither join nor change, its accents, ASCII, a
# punctuation mark or white space, and at the beginning.
_PLAIN = r"\p{Latin}\p{Greek}\p{Cyrillic}\p{Armenian}\p{Georgian}\x{0}-\x{7f}\x{300}-\x{36f}\x{2010}-\x{2027}\p{Z}"
_JOINERS = rf"(^|[{_PLAIN}])[\x{{200b}}-\x{{200d}}]+"


def without_invisible(text: Any) -> Any:
    r"""Texts without characters that change nothing but how a line is broken, and that would part a word.

    >>> seen = without_invisible(tf.constant(["auto\u00admatic bi\u200bcy\u2060cle", "👩\u200d👧"]))
    >>> [text.decode() for text in seen.numpy()] == ["automatic bicycle", "👩\u200d👧"]
    True

    Args:
        text: strings of any shape, valid UTF-8.
    """
    return tf.strings.regex_replace(tf.strings.regex_replace(text, _ALWAYS, ""), _JOINERS, r"\1")
