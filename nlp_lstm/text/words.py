"""Text to tokens, in core `tf.strings` operations: the same graph in training and in what is exported.

Source text may hold HTML line breaks, any script, emoji and invalid UTF-8. What comes out are lower-case words,
single punctuation marks and single symbols.
"""

from typing import Any

import tensorflow as tf

# RE2 syntax. A word is a run of letters, marks and digits, with apostrophes or single hyphens inside. In the scripts
# that put no spaces between words each character stands alone, and so does every other visible character.
_BLANK = r"[\p{Cc}\p{Z}]"
_LINE_BREAK = rf"(?i)<{_BLANK}*/?{_BLANK}*(?:br|p){_BLANK}*/?{_BLANK}*>"
_NO_SPACES = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
_SYMBOL = r"[^\p{L}\p{M}\p{N}\s'’_-]"
_APOSTROPHE = r"[’‘`´]"


def normalize(text: Any) -> Any:
    """Make text plain: valid UTF-8, lower case, no HTML breaks, no control characters, one kind of apostrophe.

    >>> normalize(tf.constant(["A GREAT<br />film, isn’t it?"])).numpy()
    array([b"a great film, isn't it?"], dtype=object)

    Args:
        text: string tensor of any shape; bytes that are not UTF-8 become U+FFFD.

    Returns:
        A string tensor of the same shape.
    """
    text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace", replace_control_characters=False)
    text = tf.strings.regex_replace(text, r"\p{Cf}+", "")  # soft hyphens, joiners, byte order marks
    text = tf.strings.regex_replace(text, _LINE_BREAK, " ")
    text = tf.strings.regex_replace(text, rf"{_BLANK}+", " ")
    text = tf.strings.lower(text, encoding="utf-8")
    text = tf.strings.regex_replace(text, _APOSTROPHE, "'")
    return tf.strings.strip(text)


def split(text: Any) -> Any:
    """Split normalised text into tokens.

    >>> split(tf.constant(["a great film, isn't it?"])).to_list()
    [[b'a', b'great', b'film', b',', b"isn't", b'it', b'?']]

    Words keep apostrophes and hyphens inside them; every other visible character is a token of its own, and so is each
    character of the scripts that put no spaces between words.

    Args:
        text: `(batch,)` strings out of `normalize`.

    Returns:
        A ragged `(batch, tokens)` string tensor; an empty text has no tokens.
    """
    text = tf.strings.regex_replace(text, r"\.\.+", "…")
    text = tf.strings.regex_replace(text, r"--+", " -- ")
    text = tf.strings.regex_replace(text, rf"({_NO_SPACES}|{_SYMBOL})", r" \1 ")
    # Quotation marks and dashes are the apostrophes and hyphens that do not stand between two letters or digits.
    text = tf.strings.regex_replace(text, r"(^|[^\p{L}\p{M}\p{N}])(['_-]+)", r"\1 \2 ")
    text = tf.strings.regex_replace(text, r"(['_-]+)($|[^\p{L}\p{M}\p{N}])", r" \1 \2")
    return tf.strings.split(text)


def tokenize(text: Any) -> Any:
    """`normalize`, then `split`."""
    return split(normalize(text))
