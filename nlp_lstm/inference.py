"""What the apps' inference shares: the signatures of a run, and many texts asked about in batches of like length."""

from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from typing import Any

import numpy as np


class TracedSignatures(Mapping[str, Callable[..., Mapping[str, Any]]]):
    """The signatures of a module that has not been exported, each traced when it is first asked for.

    >>> double = tf.function(lambda x: {"y": 2 * x}, input_signature=[tf.TensorSpec([None], tf.int32, name="x")])
    >>> signatures = TracedSignatures({"serving_default": double})
    >>> signatures["serving_default"](x=tf.constant([3]))["y"].numpy()
    array([6], dtype=int32)

    To trace all of them takes seconds, and a verb calls one or two.

    Args:
        functions: a `tf.function` with one input signature for each name.
    """

    def __init__(self, functions: Mapping[str, Any]):
        self._functions = functions

    def __getitem__(self, name: str) -> Callable[..., Mapping[str, Any]]:
        return self._functions[name].get_concrete_function()

    def __iter__(self) -> Iterator[str]:
        return iter(self._functions)

    def __len__(self) -> int:
        return len(self._functions)


def by_length(texts: Sequence[Sized]) -> list[int]:
    """The places of texts, that of the shortest first; of equals the first.

    >>> by_length(["long", "a", "", "b"])
    [2, 1, 3, 0]
    """
    return sorted(range(len(texts)), key=lambda place: len(texts[place]))


def answers_by_length(
    ask: Callable[[list[Any]], Mapping[str, Any]], texts: Sequence[Any], rows: int
) -> dict[str, np.ndarray]:
    """What a signature answers to texts, in their order, those of like length in a batch: padding is work for nothing.

    >>> def upper(texts):
    ...     return {"text": np.array([text.upper() for text in texts])}
    >>> answers_by_length(upper, ["long", "a", "bc"], rows=2)
    {'text': array(['LONG', 'A', 'BC'], dtype='<U4')}

    Args:
        ask: from the texts of a batch to the outputs by name, each `(batch, ...)` and of one shape behind that.
        texts: as many as there are; of none `ask` is asked, too.
        rows: texts of a batch.

    Returns:
        Each output, `(texts, ...)`.
    """
    order = by_length(texts)
    batches = [order[start : start + rows] for start in range(0, max(1, len(order)), rows)]
    answers = [
        {name: np.asarray(value) for name, value in ask([texts[place] for place in batch]).items()} for batch in batches
    ]
    back = np.argsort(order)
    return {name: np.concatenate([answer[name] for answer in answers])[back] for name in answers[0]}
