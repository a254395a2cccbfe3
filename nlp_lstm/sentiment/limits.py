"""How much of a text a served sentiment model reads."""

LONGEST_TEXT_BYTES = 65_536
LONGEST_TEXT_TOKENS = 1_024
