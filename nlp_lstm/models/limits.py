"""What models can be built with, in numbers and names; apart from the models, so that the command line starts fast."""

from typing import Literal

LARGEST_VOCABULARY = 65_536
"""Of a model of n-grams: beyond it the hash leaves 32 bits."""

LARGEST_BUCKETS = 1_000_003
"""Of a model of n-grams: the hash has so many values, and buckets behind them would never be hit."""

Attention = Literal["additive", "dot"]
"""How a decoder holds its query against what it looks at: `nlp_lstm.models.translator.attend`."""
