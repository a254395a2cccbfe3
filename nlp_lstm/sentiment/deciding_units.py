"""The units that decided on a text, as the command line shows them, whoever answered."""

from collections.abc import Mapping
from typing import Any

import numpy as np


def deciding_units(answer: Mapping[str, Any], count: int) -> dict[str, Any]:
    """The first of a text's units in the answer of the `units` signature, and what all others add to the logit.

    >>> answer = {
    ...     "length": 2, "direction": [b"forward", "backward"], "unit": [7, 1], "share": [-0.5, 0.25], "peak": [1, 0],
    ...     "state": [[0.1, 0.2, 0.0], [0.3, 0.4, 0.0]], "others": 0.125, "ngrams": 0.0,
    ... }
    >>> found = deciding_units(answer, count=1)
    >>> found["units"]
    [{'direction': 'forward', 'unit': 7, 'share': -0.5, 'peak': 1, 'state': [0.1, 0.2]}]
    >>> found["other_units"], found["ngrams"]
    (0.375, 0.0)

    Args:
        answer: the outputs for one text.
        count: the units to tell of at most.

    Returns:
        `units`, each with `direction`, `unit`, `share`, `peak` and `state` (a list over the tokens); `other_units`,
        what all others add to the logit; and `ngrams`, what n-grams add.
    """
    shares = [float(share) for share in answer["share"]]
    length = int(answer["length"])
    units = [
        {
            "direction": direction.decode() if isinstance(direction, bytes) else direction,
            "unit": int(unit),
            "share": share,
            "peak": int(peak),
            "state": np.asarray(state)[:length].tolist(),
        }
        for direction, unit, share, peak, state in zip(
            answer["direction"], answer["unit"], shares, answer["peak"], answer["state"], strict=True
        )
    ]
    others = float(answer["others"]) + sum(shares[count:])
    return {"units": units[:count], "other_units": others, "ngrams": float(answer["ngrams"])}
