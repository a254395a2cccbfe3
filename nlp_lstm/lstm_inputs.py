"""What a caller hands to the LSTM beside the sequences, in the one form that the walk takes, or refused.

A mask of another length would be read past its end or, walked backwards, stand beside the wrong steps; both give an
answer, and a wrong one. So lengths are compared: when the graph is made where they are known, else while it runs.
"""

from collections.abc import Sequence
from typing import Any

from keras import ops

Shape = Sequence[int | None]


def refuse_features(shape: Shape, features: int | None) -> None:
    """Refuse sequences that are no `(batch, time, features)`, or of other features than a layer was built for.

    >>> refuse_features((2, 5), 3)
    Traceback (most recent call last):
    ValueError: sequences must be (batch, time, features), got shape (2, 5)
    """
    if len(shape) != 3:
        raise ValueError(f"sequences must be (batch, time, features), got shape {tuple(shape)}")
    if None not in (features, shape[2]) and shape[2] != features:
        raise ValueError(f"the layer was built for {features} features, got sequences of shape {tuple(shape)}")


def refuse_mask(shape: Shape, sequences_shape: Shape) -> None:
    """Refuse a mask that does not say of every step whether to take it.

    >>> refuse_mask((2, 7), (2, 5, 3))
    Traceback (most recent call last):
    ValueError: the mask of sequences of shape (2, 5, 3) must be (batch, time) or (batch, time, 1), got shape (2, 7)
    """
    # One row is the mask of every sequence, as in Keras.
    fits = len(shape) in (2, 3) and _agree(shape[0], 1, sequences_shape[0]) and _agree(shape[1], sequences_shape[1])
    if not fits or (len(shape) == 3 and not _agree(shape[2], 1)):
        raise ValueError(
            f"the mask of sequences of shape {tuple(sequences_shape)} must be (batch, time) or (batch, time, 1), "
            f"got shape {tuple(shape)}"
        )


def refuse_state(shapes: Sequence[Shape], batch: int | None, units: int) -> None:
    """Refuse a state that is not a hidden and a cell state of this layer.

    >>> refuse_state([(2, 5)], batch=2, units=4)
    Traceback (most recent call last):
    ValueError: the initial state must be [hidden, cell], each (batch, units) = (2, 4), got 1 of shape (2, 5)
    """
    fit = [len(shape) == 2 and _agree(shape[0], 1, batch) and _agree(shape[1], units) for shape in shapes]
    if fit != [True, True]:
        raise ValueError(
            f"the initial state must be [hidden, cell], each (batch, units) = ({batch}, {units}), "
            f"got {len(shapes)} of shape {', '.join(str(tuple(shape)) for shape in shapes)}"
        )


def _agree(size: int | None, *wanted: int | None) -> bool:
    """Whether a dimension is one of those wanted, or may be for all that is known."""
    return size is None or None in wanted or size in wanted


def first_mask(mask: Any) -> Any:
    """The mask of the sequences: itself, or the first of a list that has one for each input, as Keras's layers take it.

    >>> first_mask([[True, False], [True, True]])  # no list of masks, but one mask
    [[True, False], [True, True]]
    """
    if isinstance(mask, (list, tuple)) and mask and (mask[0] is None or len(getattr(mask[0], "shape", ())) > 1):
        return mask[0]
    return mask


def mask_of_steps(mask: Any, sequences: Any) -> Any:
    """A mask of any dtype as a boolean one of the steps, `(batch, time)`; None stays None.

    >>> np.asarray(mask_of_steps(np.array([[1.0, 1.0, 0.0]], "float16"), np.zeros((2, 3, 4))))
    array([[ True,  True, False],
           [ True,  True, False]])

    Args:
        mask: `(batch, time)` or `(batch, time, 1)`, for all sequences or one for each; a list of masks stands for
            its first; whatever is not zero is true.
        sequences: `(batch, time, features)`.

    Raises:
        ValueError: if the shapes disagree as far as they are known; what is not, fails when the graph runs.
    """
    mask = first_mask(mask)
    if mask is None:
        return None
    mask = ops.cast(ops.convert_to_tensor(mask), "bool")
    refuse_mask(mask.shape, sequences.shape)
    if len(mask.shape) == 3:
        mask = ops.squeeze(mask, axis=-1)
    batch, steps = ops.shape(sequences)[:2]
    if _same(mask.shape, sequences.shape[:2]):
        return mask
    mask = ops.broadcast_to(mask, (batch, ops.shape(mask)[1]))
    # To stack takes but equal shapes, where to multiply would stretch one and to walk would stop at the shorter.
    return ops.all(ops.stack([mask, ops.ones((batch, steps), dtype="bool")]), axis=0)


def pair_of_states(state: Any, sequences: Any, units: int, dtype: str) -> Any:
    """An initial state as `[hidden, cell]`, each `(batch, units)` in a dtype; None stays None.

    >>> hidden, cell = pair_of_states([np.zeros((1, 4)), np.ones((1, 4))], np.zeros((2, 3, 4)), 4, "float32")
    >>> np.asarray(cell).shape
    (2, 4)

    Args:
        state: two of `(batch, units)`, or of one row for all sequences.
        sequences: `(batch, time, features)`.
        units: the size of each state.
        dtype: of what is returned.

    Raises:
        ValueError: if there are not two, or their shapes disagree with this.
    """
    if state is None:
        return None
    parts = state if isinstance(state, (list, tuple)) else [state]
    parts = [ops.cast(ops.convert_to_tensor(part), dtype) for part in parts]
    refuse_state([part.shape for part in parts], sequences.shape[0], units)
    shape = (ops.shape(sequences)[0], units)
    known = (sequences.shape[0], units)
    return [part if _same(part.shape, known) else ops.broadcast_to(part, shape) for part in parts]


def _same(shape: Shape, wanted: Shape) -> bool:
    """Whether two shapes are known to be one."""
    return None not in tuple(shape) and tuple(shape) == tuple(wanted)
