"""How much of a text a served sentiment model reads, and how often it reads anew."""

LONGEST_TEXT_BYTES = 65_536
LONGEST_TEXT_TOKENS = 1_024

LONGEST_TEXT_IN_PREFIXES = 256
"""In tokens. A longer text is cut off behind each second, each third or so of them: all would take seconds."""

MOST_UNITS = 16
"""Units of which a served model tells the state at each token."""
