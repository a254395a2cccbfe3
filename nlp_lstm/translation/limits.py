"""How much a served translator reads and writes, and how it looks for a translation where nothing else is asked for."""

LONGEST_TEXT_BYTES = 65_536
"""Bytes of a text that are read."""
LONGEST_TEXT = 1_024
"""Characters of these, made plain, that are read."""
LONGEST_SOURCE = 256
"""Subwords of these that are read, the end counted in."""
LONGEST_TRANSLATION = 256
LARGEST_BEAM = 16

DEFAULT_BEAM = 5
DEFAULT_ALPHA = 1.0
DEFAULT_BETA = 0.0
