"""Drawn inputs for every signature of a SavedModel: an answer of the promised form for each, in a time that is bounded.

What is drawn: texts, random bytes, words, repetitions and texts of up to a megabyte, from none to many a batch; numbers
from all that their type holds; states from zeros to NaN. An answer has a row for each row asked, strings that are UTF-8
(but those whose names end in `_bytes`), and numbers that are finite where the state given is. A row now and then is
asked again alone, and must be answered as among others.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
from hypothesis import strategies as st
from rest_requests import serialized_example

from nlp_lstm import saved_model
from soak.findings import Findings

LONGEST_SECONDS = 120.0
"""For a single call, on a machine that may be busy."""

MOST_OTHER_TEXTS = 0.01
"""Share of rows that may read otherwise alone: where two texts are as good, rounding settles which is told."""

SENTENCES = [
    "A man is riding a bike.",
    "Two young, White males are outside near many bushes.",
    "One of the best films of the year.",
    "It's not a dull, lifeless mess!",
    "ROMEO:\nBut soft, what light through yonder window breaks?",
]
WORDS = sorted(
    {word for sentence in SENTENCES for word in sentence.split()}
    | {"<br />", "</s>", "[UNK]", "▁", "😀", "é", "\u200b"}
)

encoded = st.text(max_size=60).map(str.encode)
small_texts = st.one_of(
    encoded,
    st.binary(max_size=60),
    st.sampled_from(SENTENCES).map(str.encode),
    st.lists(st.sampled_from(WORDS), max_size=12).map(lambda words: " ".join(words).encode()),
    st.builds(lambda piece, times: (piece * times)[:120], st.binary(min_size=1, max_size=4), st.integers(0, 60)),
)
large_texts = st.builds(
    lambda piece, size: (piece * (size // len(piece) + 1))[:size],
    st.one_of(st.binary(min_size=1, max_size=40), encoded.filter(len), st.sampled_from(SENTENCES).map(str.encode)),
    st.integers(200, 3_000),
)
texts_of_a_batch = st.one_of(
    *[st.lists(small_texts, max_size=size) for size in (1, 6, 32, 32, 32, 32)],
    st.lists(st.one_of(small_texts, large_texts), max_size=3),
)

whole_numbers = st.one_of(st.integers(-3, 20), st.integers(-(2**31), 2**31 - 1))
lengths = st.one_of(st.integers(-3, 20), st.integers(-(2**31), 0))
real_numbers = st.one_of(st.floats(0.0, 2.0, width=32), st.floats(width=32))
states = st.tuples(
    st.sampled_from(["zeros", "small", "small", "small", "large", "huge", "infinite", "nan"]), st.integers(0, 2**32)
)


def state_rows(drawn: list[tuple[str, int]], units: int) -> np.ndarray:
    """States `(batch, units)`, each of a kind and from a seed."""
    rows = np.zeros((len(drawn), units), np.float32)
    for row, (kind, seed) in zip(rows, drawn, strict=True):
        rng = np.random.default_rng(seed)
        scale = {"zeros": 0.0, "large": 100.0, "huge": 1e30}.get(kind, 0.5)
        row[:] = np.clip(rng.normal(size=units), -3, 3) * scale
        if kind in ("infinite", "nan"):
            row[rng.integers(units)] = np.nan if kind == "nan" else rng.choice([-np.inf, np.inf])
    return rows


def batches(specs: dict[str, Any], signature: str) -> st.SearchStrategy[dict[str, np.ndarray]]:
    """Inputs of a signature, by their names and types."""
    import tensorflow as tf

    def row_of(name: str, spec: Any) -> st.SearchStrategy[Any]:
        if spec.dtype == tf.string:
            return small_texts
        if spec.dtype == tf.int32:
            return lengths if name == "length" else whole_numbers
        return states if len(spec.shape) == 2 else real_numbers

    def as_array(values: list[Any], spec: Any) -> np.ndarray:
        if spec.dtype == tf.string:
            return np.array([*values, b""], object)[:-1]  # else of bytes alone NumPy makes an array without their NULs
        if len(spec.shape) == 2:
            return state_rows(values, spec.shape[1])
        return np.array(values, spec.dtype.as_numpy_dtype)

    texts = [name for name, spec in specs.items() if spec.dtype == tf.string]
    assert len(texts) == 1, texts
    others = {name: spec for name, spec in specs.items() if name not in texts}

    @st.composite
    def drawn(draw: Callable[..., Any]) -> dict[str, np.ndarray]:
        rows = draw(texts_of_a_batch)
        if signature == "classify":
            rows = [draw(st.sampled_from([None, row, row, row])) for row in rows]
            rows = [serialized_example(row) for row in rows]
        batch = {texts[0]: as_array(rows, specs[texts[0]])}
        for name, spec in others.items():
            values = draw(st.lists(row_of(name, spec), min_size=len(rows), max_size=len(rows)))
            batch[name] = as_array(values, spec)
        return batch

    return drawn()


def hard_batches(specs: dict[str, Any], signature: str) -> list[dict[str, np.ndarray]]:
    """What drawing would rarely meet: a megabyte, no row at all, the longest that can be asked for."""
    import tensorflow as tf

    def filled(rows: list[bytes], number: float) -> dict[str, np.ndarray]:
        batch = {}
        for name, spec in specs.items():
            if spec.dtype == tf.string:
                given = [serialized_example(row) for row in rows] if signature == "classify" else rows
                batch[name] = np.array([*given, b""], object)[:-1]
            else:
                shape = (len(rows), *spec.shape[1:])
                batch[name] = np.full(shape, 0.0 if len(shape) == 2 else number, spec.dtype.as_numpy_dtype)
        return batch

    return [
        filled([], 1),
        filled([b"\xf0\x9f\x98\x80" * 2**18], 1),
        filled([(b"dull film " * 2**17)[: 2**20]], 0),
        filled([b" " * 2**20, b""], 2),
        filled([b"ROMEO:"], 2**31 - 2**8),  # which float32 holds, too
    ]


def row_is_exempt(batch: dict[str, np.ndarray]) -> np.ndarray:
    """For each row whether the state given holds what is no number, `(batch,)`."""
    rows = len(next(iter(batch.values())))
    exempt = np.zeros(rows, bool)
    for array in batch.values():
        if array.ndim == 2:
            exempt |= ~np.isfinite(array).all(axis=1)
    return exempt


def check_form(batch: dict[str, np.ndarray], answer: dict[str, np.ndarray]) -> None:
    exempt = row_is_exempt(batch)
    for key, value in answer.items():
        assert len(value) == len(exempt), f"{key} has {len(value)} rows of {len(exempt)}"
        if value.dtype == object:
            for one in value.reshape(-1):
                if not key.endswith("_bytes"):
                    one.decode("utf-8")
        elif value.dtype.kind == "f":
            finite = np.isfinite(value).all(axis=tuple(range(1, value.ndim)))
            assert (finite | exempt).all(), f"{key} is not finite in row {np.flatnonzero(~finite & ~exempt)[0]}"


def is_alike(among: np.ndarray, alone: np.ndarray) -> bool:
    """Whether a row's answer `(1, ...)` is that of the row alone, as far as that reaches: among others it is padded."""
    part = among[tuple(slice(size) for size in alone.shape)]
    if part.shape != alone.shape:
        return False
    if alone.dtype.kind == "f":
        return bool(np.allclose(part, alone, rtol=1e-3, atol=1e-3, equal_nan=True))
    return bool(np.array_equal(part, alone))


class Asked:
    """A signature that is asked again and again."""

    def __init__(self, name: str, function: Any, found: Findings, position: Path):
        self.name, self.function, self.found, self.position = name, function, found, position
        self.specs = function.structured_input_signature[1]
        self.rows = self.calls = self.alone = self.other_alone = 0

    def call(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        import tensorflow as tf

        started = time.perf_counter()
        found = self.function(**{key: tf.constant(value, self.specs[key].dtype) for key, value in batch.items()})
        answer = {key: value.numpy() for key, value in found.items()}
        seconds = time.perf_counter() - started
        self.found.largest("slowest s", seconds)
        assert seconds < LONGEST_SECONDS, f"took {seconds:.0f} s"
        return answer

    def ask(self, batch: dict[str, np.ndarray]) -> None:
        """One batch, and now and then a row of it alone."""
        rows = len(next(iter(batch.values())))
        # If the process dies, this tells of what.
        self.position.write_text(f"{self.name}: { ({key: value.tolist() for key, value in batch.items()})!r}"[:100_000])
        self.calls += 1
        self.rows += rows
        answer = self.call(batch)
        check_form(batch, answer)
        if rows > 1 and self.calls % 4 == 0:
            row = self.calls // 4 % rows
            alone = self.call({key: value[row : row + 1] for key, value in batch.items()})
            among = {key: value[row : row + 1] for key, value in answer.items() if self.name != "gates"}
            same = [is_alike(value, alone[key]) for key, value in among.items()]
            self.alone += 1
            self.other_alone += not all(same)

    def ask_drawn(self, rows: int, seed: int) -> None:
        """So many rows at the least, or until something fails."""
        strategy, round_ = batches(self.specs, self.name), 0
        while self.rows < rows:
            examples = max(10, min(200, (rows - self.rows) // 8))  # the first is always a batch without rows

            @hypothesis.seed(seed * 10_000 + round_)
            @hypothesis.settings(
                max_examples=examples,
                deadline=None,
                database=None,
                suppress_health_check=list(hypothesis.HealthCheck),
                phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
                print_blob=False,
            )
            @hypothesis.given(strategy)
            def ask(batch: dict[str, np.ndarray]) -> None:
                self.ask(batch)

            ask()
            round_ += 1


def soak(model: Path, rows: int, folder: Path, seed: int, is_short: bool = False) -> Findings:
    """So many rows for each signature of a model; in short without those that take seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    found = Findings(f"drawn inputs, {model.name}")
    loaded = saved_model.load(model)
    for name, function in sorted(loaded.signatures.items()):
        asked = Asked(name, function, found, folder / "position")
        try:
            for batch in [] if is_short else hard_batches(asked.specs, name):
                asked.ask(batch)
            asked.ask_drawn(rows, seed)
        except Exception as error:
            notes = "\n".join(getattr(error, "__notes__", []))
            found.check(False, f"{name}: {type(error).__name__}: {error}\n{notes}")
        found.count("signatures")
        found.count("calls", asked.calls)
        found.count("rows", asked.rows)
        found.count("rows asked again alone", asked.alone)
        found.count("of these told otherwise", asked.other_alone)
        found.check(
            asked.other_alone <= max(1, MOST_OTHER_TEXTS * asked.alone),
            f"{name}: {asked.other_alone} of {asked.alone} rows are answered otherwise alone",
        )
    return found
