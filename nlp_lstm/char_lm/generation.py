"""How a text is to be written: the flags of `generate`, and what is accepted of them."""

from typing import NamedTuple

from nlp_lstm.char_lm.limits import DEFAULT_LENGTH, DEFAULT_TEMPERATURE, LARGEST_BEAM, LONGEST_GENERATION, MOST_SAMPLES
from nlp_lstm.decoding.limits import LARGEST_TEMPERATURE
from nlp_lstm.settings import check_ranges


class Generation(NamedTuple):
    """How to write: the flags of `generate`."""

    length: int = DEFAULT_LENGTH
    temperature: float = DEFAULT_TEMPERATURE
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    samples: int = 1
    beam: int = 0

    def check(self) -> None:
        """Refuse what is out of range.

        Raises:
            UserError: names the flag, the value and what is expected.
        """
        check_ranges(
            self,
            [
                ("length", lambda value: 1 <= value <= LONGEST_GENERATION, f"1 to {LONGEST_GENERATION}"),
                ("temperature", lambda value: 0 <= value <= LARGEST_TEMPERATURE, "0 (the likeliest) to 100"),
                ("top_k", lambda value: 0 <= value < 2**31, "0 (no limit) to 2147483647"),
                ("top_p", lambda value: 0 < value <= 1, "above 0 and at most 1 (no limit)"),
                ("samples", lambda value: 1 <= value <= MOST_SAMPLES, f"1 to {MOST_SAMPLES}"),
                ("seed", lambda value: 0 <= value < 2**31 - self.samples, f"0 to {2**31 - 1 - self.samples}"),
                ("beam", lambda value: 0 <= value <= LARGEST_BEAM, f"0 (draw) to {LARGEST_BEAM}"),
            ],
        )
