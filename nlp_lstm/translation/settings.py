"""The settings of a translator's run: each is a flag of `train`."""

import dataclasses
import math
from typing import Any, Literal

from nlp_lstm.models.limits import Attention
from nlp_lstm.settings import Range, check_ranges

TASK = "translation"

EXTRA_FINGERPRINT = "extra_data_sha256"
"""Of a run's settings that which settles what else it was trained on, where there is such."""

SourceCase = Literal["lower", "keep", "raw"]
Selection = Literal["greedy", "beam"]


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a translator is built and trained; each is a flag of `train`.

    Raises:
        UserError: if a value is out of its range.
    """

    seed: int = 0
    "Settles the weights, the order of the batches, how words are split in training and every dropout mask."
    source_language: str = ""
    "Language to translate from, as the data calls it; where the data tells, it need not be named."
    target_language: str = ""
    "Language to translate into."
    source_column: str = ""
    "Column of a table, or of JSON Lines, that holds the sentences; by default the first, or one with a usual name."
    target_column: str = ""
    "Column that holds their translations; by default the second, or one with a usual name."
    header: bool | None = None
    "Whether a table's first row names its columns; by default it does if nothing but usual names stands in it."
    reverse: bool = False
    "Translate from the second column of a table into the first."
    validation_fraction: float = 0.05
    "Share of the pairs that chooses the best epoch, where the source has no validation part of its own."
    encoding: str = ""
    "Encoding of files without a byte order mark, such as `cp1252`; by default UTF-8."
    start_from: str = ""
    "Folder of a finished run to go on from: its weights and its subwords; by default weights are drawn."
    subwords: int = 8000
    "Number of subwords, with 256 for bytes: of both languages together, or of each."
    character_coverage: float = 1.0
    "Share of the characters that must be subwords; 0.9995 spells the rarest of Chinese or Japanese in bytes."
    separate_subwords: bool = False
    "Let each language have subwords, and an embedding, of its own."
    subword_sampling: float = 0.3
    "Draw how words are split in training, by probabilities to this power (less is more daring); 0 never to."
    source_case: SourceCase = "lower"
    "Read sources in `lower` case, or `keep` theirs, both without invisible characters; or `raw`, just as they are."
    source_variants: float = 0.1
    "Share of the training sources that lose their full stop at the end, others in each epoch."
    longest: int = 128
    "Training leaves out pairs with more subwords on either side."
    embedding_size: int = 256
    "Width of the embedding, which source, target and output share."
    encoder_units: int = 224
    "Width of each direction of the encoder."
    encoder_layers: int = 1
    "Number of bidirectional LSTMs on top of one another."
    decoder_units: int = 320
    "Width of the decoder's LSTM."
    attention: Attention = "dot"
    "How a state of the decoder is held against those of the encoder."
    attention_size: int = 160
    "Width in which they are."
    embedding_dropout: float = 0.2
    "Rate at which embedding features are dropped, the same ones in the whole sentence."
    memory_dropout: float = 0.3
    "Rate at which features of the encoder's states are dropped."
    output_dropout: float = 0.4
    "Rate at which features are dropped before the guess."
    recurrent_kernel_dropout: float = 0.1
    "Rate at which recurrent weights are dropped (DropConnect)."
    label_smoothing: float = 0.1
    "Share of a guess that is to be spread over all subwords."
    r_drop: float = 0.0
    "Weight of how far two guesses with other features dropped are apart (R-Drop), which takes twice the time."
    epochs: int = 26
    "Passes over the pairs, at the most."
    extra_epochs: int = 10
    "So many of them, the first ones, are over the pairs of --extra-data, too."
    extra_reverse: bool = False
    "Translate from the second column of a table of --extra-data into the first."
    patience: int = 8
    "Stop after so many epochs without a better validation BLEU."
    selection: Selection = "greedy"
    "How the validation sentences are translated whose BLEU chooses the epoch: with a `beam` as in use, or without."
    tokens_per_batch: int = 1536
    "Source subwords in a batch, padding counted in."
    learning_rate: float = 0.002
    "Adam's highest rate."
    schedule: Literal["cosine", "plateau"] = "cosine"
    "How the rate falls: along a cosine, or by half after each epoch whose BLEU is no better than the best."
    final_rate_share: float = 0.02
    "The cosine ends at this share of the highest rate."
    clip_norm: float = 1.0
    "Largest norm of the gradient."
    averaging: float = 0.998
    "Decay of the average of the weights, which is what is judged and kept; 0 for none."
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    "Of the large matrix products in training: bfloat16 is faster where the processor has it."

    def __post_init__(self) -> None:
        check_ranges(self, _RANGES)


BEFORE: dict[str, Any] = {"source_case": "raw", "source_variants": 0.0}
"""What a run does that was started before there was a setting, where that is not the setting's default."""


_RANGES: list[Range] = [
    ("seed", lambda value: 0 <= value < 2**31, "0 to 2147483647"),
    (
        "embedding_size encoder_units encoder_layers decoder_units attention_size epochs patience tokens_per_batch",
        lambda value: value >= 1,
        "at least 1",
    ),
    ("subwords", lambda value: 261 <= value <= 100_000, "261 (four special ones, 256 bytes and another) to 100000"),
    ("character_coverage", lambda value: 0.98 <= value <= 1, "0.98 to 1"),
    ("longest", lambda value: 2 <= value <= 256, "2 to 256"),
    ("validation_fraction", lambda value: 0 < value < 0.5, "above 0 and less than 0.5"),
    ("extra_epochs", lambda value: value >= 0, "at least 0"),
    ("source_variants", lambda value: 0 <= value <= 1, "0 to 1"),
    (
        "embedding_dropout memory_dropout output_dropout recurrent_kernel_dropout label_smoothing averaging",
        lambda value: 0 <= value < 1,
        "at least 0 and less than 1",
    ),
    ("subword_sampling", lambda value: 0 <= value <= 1000, "0 to 1000"),
    ("r_drop", lambda value: 0 <= value < math.inf, "a finite number of at least 0"),
    ("learning_rate clip_norm", lambda value: 0 < value < math.inf, "a finite number above 0"),
    ("final_rate_share", lambda value: 0 <= value <= 1, "0 to 1"),
]
