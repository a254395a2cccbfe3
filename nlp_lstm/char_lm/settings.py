"""The settings of a character language model's run: each is a flag of `train`."""

import dataclasses
import math
from typing import Literal

from nlp_lstm.settings import Range, check_ranges
from nlp_lstm.text.unit import Unit

TASK = "char_lm"


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a character language model is built and trained; each is a flag of `train`.

    Raises:
        UserError: if a value is out of its range.
    """

    seed: int = 0
    "Settles the weights, where the windows lie and every dropout mask."
    unit: Unit = "character"
    "What the model reads and writes: Unicode characters, or bytes, of which none is ever unknown."
    line_mode: bool = False
    "The text is a set of lines: white space at their ends is dropped, as for PTB."
    validation_fraction: float = 0.1
    "Share of the text, its end, that chooses the best epoch, where the source has no validation part of its own."
    encoding: str = ""
    "Encoding of files without a byte order mark, such as `cp1252`; by default UTF-8."
    least_count: int = 1
    "A character seen fewer times in training text is unknown."
    start_from: str = ""
    "A finished run, on this text or another, or an exported model, whose weights to begin with; by default, drawn."
    teacher_share: float = 0.5
    "Share of the loss that goes by what the runs of `--teacher-run` guess; the text itself has the rest."
    embedding_size: int = 128
    "Width of the character embedding."
    units: int = 512
    "Width of each LSTM."
    layers: int = 2
    "Number of LSTMs on top of one another."
    input_dropout: float = 0.1
    "Rate at which embedding features are dropped."
    hidden_dropout: float = 0.2
    "Rate at which features between two LSTMs are dropped."
    output_dropout: float = 0.2
    "Rate at which features of the last LSTM are dropped."
    recurrent_dropout: float = 0.0
    "Rate at which features of the hidden state are dropped between steps."
    recurrent_kernel_dropout: float = 0.2
    "Rate at which recurrent weights are dropped (DropConnect)."
    zoneout_hidden: float = 0.0
    "Rate at which features of the hidden state stay what they were at a step."
    zoneout_cell: float = 0.0
    "Rate at which features of the cell state stay what they were at a step."
    layer_normalization: bool = False
    "Normalise the products and the cell state of each LSTM."
    epochs: int = 20
    "Passes over the text, at the most."
    patience: int = 5
    "Stop after so many epochs without a lower validation loss."
    batch_size: int = 32
    "Streams of text that are read side by side."
    window: int = 128
    "Characters through which the gradient flows back, about: windows vary by a quarter."
    learning_rate: float = 0.005
    "Adam's highest rate."
    schedule: Literal["cosine", "plateau"] = "cosine"
    "How the rate falls: along a cosine, or by half after each epoch that is no better than the best."
    final_rate_share: float = 0.01
    "The cosine ends at this share of the highest rate."
    clip_norm: float = 1.0
    "Largest norm of the gradient."
    weight_decay: float = dataclasses.field(default=0.2, metadata={"before": 0.0})
    "At each step every weight loses this times the rate of itself (AdamW)."
    averaging: float = 0.998
    "Decay of the average of the weights, which is what is judged and kept; 0 for none."
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    "Of the matrix products of a whole window, in training: bfloat16 is faster where the processor has it."

    def __post_init__(self) -> None:
        check_ranges(self, _RANGES)


_RANGES: list[Range] = [
    ("seed", lambda value: 0 <= value < 2**31, "0 to 2147483647"),
    (
        "least_count embedding_size units layers epochs patience batch_size window",
        lambda value: value >= 1,
        "at least 1",
    ),
    ("validation_fraction", lambda value: 0 < value < 1, "above 0 and less than 1"),
    (
        "input_dropout hidden_dropout output_dropout recurrent_dropout recurrent_kernel_dropout zoneout_hidden "
        "zoneout_cell averaging",
        lambda value: 0 <= value < 1,
        "at least 0 and less than 1",
    ),
    ("weight_decay", lambda value: 0 <= value < math.inf, "a finite number, at least 0"),
    ("learning_rate clip_norm", lambda value: 0 < value < math.inf, "a finite number above 0"),
    ("teacher_share final_rate_share", lambda value: 0 <= value <= 1, "0 to 1"),
]
