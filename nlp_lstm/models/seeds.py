"""A seed for each part of a model, from the one that the model is given."""


def seed_of_part(seed: int | None, number: int) -> int | None:
    """The seed of a part, by a number of its own; without a seed each part draws freely.

    >>> seed_of_part(7, 2), seed_of_part(None, 2)
    (9, None)
    """
    return None if seed is None else seed + number
