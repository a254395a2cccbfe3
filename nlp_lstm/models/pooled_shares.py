"""Whom the maximum over a text is owed to: each token's part of it."""

from typing import Any

from keras import ops


def shares_of_maximum(values: Any, start: Any, is_token: Any) -> Any:
    r"""How much of the maximum over the tokens, less where it starts, is owed to each.

    >>> values = np.array([[[0.0], [0.9], [0.6], [1.0]]])
    >>> shares = shares_of_maximum(values, np.zeros((1, 1)), np.ones((1, 4), bool))
    >>> ops.convert_to_numpy(shares)[0, :, 0].round(2).tolist()
    [0.0, 0.35, 0.2, 0.45]

    To give all of it to the token that has the maximum would leave nothing to one that nearly has it, and would change
    hands at the least touch. Shapley's value shares it fairly: the mean, over all orders in which the tokens could come
    in, of how far each raises the maximum. Up to the lowest token's height all paid for it alike, from there to the
    second lowest all but that one, and so on (Littlechild and Owen 1973): with
    :math:`x_{(1)} \le \dots \le x_{(n)}` in order of size above the start and :math:`x_{(0)} = 0`,

    .. math:: \mathrm{share}_{(k)} = \sum_{j=1}^{k} \frac{x_{(j)} - x_{(j-1)}}{n - j + 1} .

    Args:
        values: of each token and unit, `(batch, time, units)`.
        start: where the maximum starts, `(batch, units)`; a token below it is owed nothing, and where all of them are,
            all have equal shares in what is missing.
        is_token: which places hold a token, `(batch, time)`.

    Returns:
        `(batch, time, units)`, 0 where there is no token; over time they add up to the maximum less the start.
    """
    is_token = is_token[..., None]
    highest = ops.max(ops.where(is_token, values, -float("inf")), axis=1)  # (B, U)
    floor = ops.minimum(start, highest)[:, None]
    above = ops.where(is_token, ops.maximum(values - floor, 0.0), ops.zeros_like(values))
    above = ops.swapaxes(above, 1, 2)  # (B, U, T)
    # What is 0 raises nothing and is counted with nobody, so that padding need not be told from it.
    order = ops.argsort(above, axis=-1)
    ascending = ops.take_along_axis(above, order, axis=-1)
    steps = ascending - ops.pad(ascending[..., :-1], [[0, 0], [0, 0], [1, 0]])
    as_high = ops.cast(ops.flip(ops.arange(1, ops.shape(above)[-1] + 1)), above.dtype)  # tokens that reach the step
    in_order = ops.cumsum(steps / as_high, axis=-1)
    back = ops.argsort(order, axis=-1)
    shares = ops.swapaxes(ops.take_along_axis(in_order, back, axis=-1), 1, 2)
    tokens = ops.sum(ops.cast(is_token, values.dtype), axis=1, keepdims=True)
    missing = (floor - start[:, None]) / ops.maximum(tokens, 1.0)
    return shares + ops.where(is_token, missing, ops.zeros_like(values))
