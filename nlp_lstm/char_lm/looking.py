"""Which units of a character language model to show on a text: those named, those that move, those that follow."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nlp_lstm.char_lm.limits import Gate, PropertyName
from nlp_lstm.char_lm.text_properties import PROPERTIES
from nlp_lstm.char_lm.unit_search import search
from nlp_lstm.datasets.corpus import load_corpus
from nlp_lstm.errors import UserError
from nlp_lstm.pictures.activity_map import Scale

if TYPE_CHECKING:
    from nlp_lstm.char_lm.inference import CharLm
    from nlp_lstm.char_lm.remote import RemoteCharLm

SYMBOLS_SEARCHED = 50_000
"""Of a source, so many characters of its validation part are searched for units."""


class UnitRows(NamedTuple):
    """What `explain` shows."""

    units: list[int]
    rows: dict[str, np.ndarray]  # a name for each unit to its activity (symbols,)
    found: list[Mapping[str, Any]]  # for each unit how well it follows the property, if one was asked for
    scale: Scale
    searched: str  # where units were looked for


def rows_to_show(
    model: "CharLm | RemoteCharLm",
    text: str,
    gate: Gate,
    units: str,
    follow: PropertyName | None,
    count: int,
    data: str | None,
    line_mode: bool,
    encoding: str = "",
) -> UnitRows:
    """The units to show on a text and their activity; a cell state's is its tanh, what the output gate lets out.

    Raises:
        UserError: for no text, units that the model does not have, or a property that the text never has.
    """
    if not text:
        raise UserError("no text to look into: give one as an argument or in a --file")
    if units and follow:
        raise UserError("--units names units and --follow finds them: give one of the two")
    if data and not follow:
        raise UserError("--data is where --follow looks for units: name a property with --follow")
    if count < 1:
        raise UserError(f"--count is {count}: expected at least 1")
    activity = _shown(model, text, gate)
    found: list[Mapping[str, Any]] = []
    searched = "the text"
    if follow:
        target_text, searched_in = text, activity
        if data is not None:
            split = load_corpus(data, ["validation"], line_mode=line_mode, encoding=encoding)["validation"]
            target_text = split[:SYMBOLS_SEARCHED]
            searched_in, searched = _shown(model, target_text, gate), f"the validation part of {data}"
        best = search(searched_in, PROPERTIES[follow](model.split(target_text)), count)
        numbers = [one.unit for one in best]
        found = [{key: value for key, value in one._asdict().items() if key != "unit"} for one in best]
    elif units:
        numbers = _numbers(units, activity.shape[1])
    else:
        numbers = np.argsort(-activity.std(axis=0), kind="stable")[:count].tolist()
    return UnitRows(
        numbers,
        {f"{gate} {number}": activity[:, number] for number in numbers},
        found or [{}] * len(numbers),
        "diverging" if gate in ("cell", "hidden", "candidate") else "sequential",
        searched,
    )


def _shown(model: "CharLm | RemoteCharLm", text: str, gate: Gate) -> np.ndarray:
    activity = model.activity(text, [gate])[gate]
    return np.tanh(activity) if gate == "cell" else activity


def _numbers(units: str, number_of_units: int) -> list[int]:
    numbers = []
    for part in units.split(","):
        if not part.strip().isdecimal() or int(part) >= number_of_units:
            raise UserError(
                f"--units has {part.strip()!r}: expected numbers from 0 to {number_of_units - 1}, as in 3,40"
            )
        numbers.append(int(part))
    return list(dict.fromkeys(numbers))
