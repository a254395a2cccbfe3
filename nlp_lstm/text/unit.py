"""What a language model reads and writes one at a time; apart from `symbols`, so that the command line starts fast."""

from typing import Literal

Unit = Literal["character", "byte"]
