"""The settings of a sentiment classifier's run: each is a flag of `train`."""

import dataclasses
import math
from typing import Literal

from nlp_lstm.datasets.review_table import TableFormat
from nlp_lstm.errors import UserError
from nlp_lstm.models.limits import LARGEST_BUCKETS, LARGEST_VOCABULARY
from nlp_lstm.run_folder import TRAINING
from nlp_lstm.settings import Range, check_ranges

TASK = "sentiment"


PRETRAINING = "pretraining"
"Names the stage, and its lines of `metrics.jsonl`, in which the encoder learns to tell the next word."

HEAD = "head"
"Names the line of `metrics.jsonl` that tells how good a linear unit over the encoder is before any fine-tuning."

TEACHING = "teaching"
"Names the line of `metrics.jsonl` that tells the validation accuracy of what labels texts without labels."

CALIBRATION = "calibration"
"Names the line of `metrics.jsonl` that tells what the logits are multiplied by, and what is then added to them."

BLEND = "blend"
"Names the line of `metrics.jsonl` that tells the validation accuracy of the LSTM, of the n-grams and of both."


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a sentiment classifier is built and trained; each is a flag of `train`.

    Raises:
        UserError: if a value is out of its range.
    """

    seed: int = 0
    "Settles the weights, the order of the texts and every dropout mask."
    validation_fraction: float = 0.1
    "Share of the training split, cut film by film, that chooses the best epoch."
    encoding: str = ""
    "Encoding of files without a byte order mark, such as `cp1252`; by default UTF-8."
    text_column: str = ""
    "Column of a table that holds the texts; by default `text`, or another usual name."
    label_column: str = ""
    "Column that holds the labels; by default `label`, or another usual name."
    labels: str = ""
    "What a table calls the labels, as in `0=negative,4=positive`; rows with others are left out."
    header: bool = True
    "The first row of a table names its columns; without one they are numbered from 1."
    vocabulary_size: int = 20_000
    "Most tokens to know, three special ones counted in."
    least_count: int = 2
    "A token seen fewer times in training text is unknown."
    embedding_size: int = 256
    "Width of the token embedding."
    units: int = 384
    "Width of the LSTM in each direction."
    word_dropout: float = 0.1
    "Rate at which whole tokens are dropped."
    dropout: float = 0.25
    "Rate at which embedding features are dropped."
    recurrent_dropout: float = 0.1
    "Rate at which features of the hidden state are dropped between steps."
    pooled_dropout: float = 0.5
    "Rate at which pooled features are dropped before the last layer."
    pretraining_epochs: int = 40
    "Epochs of language modelling on all training text before any label is used; 0 for none."
    pretraining_passes: float = 4.0
    "How often those epochs together go over the text."
    pretraining_learning_rate: float = 0.002
    "Adam's rate at the start of pre-training; it falls to a twentieth."
    samples: int = 2048
    "Wrong tokens drawn for each batch of pre-training."
    precision: Literal["float32", "mixed_bfloat16"] = "mixed_bfloat16"
    "Of the matrix products of a whole text, in training: bfloat16 is faster where the processor has it."
    start_from: str = ""
    "Folder of another run, or an exported model, whose vocabulary and weights this one starts from."
    start_stage: Literal["pretraining", "training"] = "pretraining"
    "Which weights of that run: those of its language models, or, as of a model, those of its finished classifier."
    epochs: int = 6
    "Most epochs of training with labels."
    patience: int = 3
    "Stop after so many epochs without a better validation accuracy."
    learning_rate: float = 0.0015
    "Adam's rate at the start of training; it falls to a twentieth."
    tokens_per_batch: int = 12_800
    "Tokens, padding counted in, in a batch of training."
    longest_training_text: int = 400
    "A longer text is cut, each epoch, to a random stretch of so many tokens."
    adversarial_noise: float = 0.0
    "Size of the noise against which each step trains as well, in spreads of the embedding; 0 for none."
    snippets: float = 0.5
    "Share of the texts of which, each epoch, a few sentences are a text to train on, too, for the sake of short ones."
    lstm_rate_share: float = 0.4
    "The LSTMs' share of that rate; the linear unit has all of it."
    embedding_rate_share: float = 0.1
    "The embedding's share of that rate."
    averaging: float = 0.999
    "Decay of an exponential average of the weights, which is what is judged and kept; 0 for none."
    teacher_order: int = 3
    "Longest run of tokens of the n-gram model that labels texts without labels, to be learnt from; 0 for no such."
    teacher_vectors: int = 0
    "Width of document vectors, learnt from such runs, whose linear model labels them beside it (200, say); 0: none."
    teacher_vector_passes: int = 10
    "Passes over all text in which these vectors are learnt."
    teacher_run: str = ""
    "Folder of a finished run, or an exported model, whose LSTM labels them, too."
    clip_norm: float = 1.0
    "Largest norm of the gradient."
    final_rate_share: float = 0.05
    "The learning rate ends at this share of where it starts."
    ngram_order: int = 2
    "Longest run of tokens that has a weight of its own in the n-gram model."
    ngram_buckets: int = 0
    "Weights, shared by hash, of an n-gram model beside the LSTM for runs of two or more tokens (524288, say); 0: none."
    ngram_regularization: float = 10.0
    "Strength of the penalty on the squared weights of the n-gram model."

    def __post_init__(self) -> None:
        check_ranges(self, _RANGES)
        if self.start_stage == TRAINING and not self.start_from:
            raise UserError(
                "--start-stage training says where in another run to start: name that run with --start-from"
            )
        for name in ("teacher_run", "teacher_vectors"):
            if getattr(self, name) and not self.teacher_order:
                flag = "--" + name.replace("_", "-")
                raise UserError(f"{flag} labels together with an n-gram model: leave out --teacher-order 0")

    @property
    def table(self) -> TableFormat:
        """How tables are read."""
        return TableFormat(**{name: getattr(self, name) for name in TableFormat._fields})


_RANGES: list[Range] = [
    ("seed", lambda value: 0 <= value < 2**31, "0 to 2147483647"),
    ("vocabulary_size", lambda value: 4 <= value <= LARGEST_VOCABULARY, f"4 to {LARGEST_VOCABULARY}"),
    ("pretraining_epochs teacher_order teacher_vectors", lambda value: value >= 0, "at least 0"),
    ("ngram_buckets", lambda value: 0 <= value <= LARGEST_BUCKETS, f"0 (no n-gram model) to {LARGEST_BUCKETS}"),
    (
        "least_count embedding_size units ngram_order samples epochs patience tokens_per_batch longest_training_text "
        "teacher_vector_passes",
        lambda value: value >= 1,
        "at least 1",
    ),
    (
        "averaging validation_fraction word_dropout dropout recurrent_dropout pooled_dropout",
        lambda value: 0 <= value < 1,
        "at least 0 and less than 1",
    ),
    (
        "pretraining_passes pretraining_learning_rate learning_rate lstm_rate_share embedding_rate_share clip_norm "
        "ngram_regularization",
        lambda value: 0 < value < math.inf,
        "a finite number above 0",
    ),
    ("adversarial_noise", lambda value: 0 <= value < math.inf, "a finite number, at least 0"),
    ("final_rate_share snippets", lambda value: 0 <= value <= 1, "0 to 1"),
]
