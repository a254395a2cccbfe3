"""How much a served character language model reads and writes, and what can be asked for by name."""

from typing import Literal

LONGEST_PROMPT = 1_024
LONGEST_GENERATION = 4_096
LONGEST_SCORED_TEXT = 8_192
LONGEST_TEXT_LOOKED_INTO = 1_024
LARGEST_BEAM = 16
MOST_SAMPLES = 256

DEFAULT_LENGTH = 200
DEFAULT_TEMPERATURE = 0.8

Gate = Literal["cell", "hidden", "input", "forget", "candidate", "output"]
"""What of a unit can be shown: a gate, the candidate, or a state."""

PropertyName = Literal["quotes", "line_position", "brackets", "word_position", "indentation", "upper_case"]
"""What of a text a unit can be found to follow: `nlp_lstm.char_lm.text_properties`."""
