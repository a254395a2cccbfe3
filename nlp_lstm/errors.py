"""The one exception that stands for a user's mistake."""


class UserError(ValueError):
    """A mistake of the user's, told in one line: what, where, how to mend it.

    The apps print it to standard error and leave with status 2; in library use it is a `ValueError`.

    >>> raise UserError("no data at 'reviews.csv': name an existing file with --data")
    Traceback (most recent call last):
    nlp_lstm.errors.UserError: no data at 'reviews.csv': name an existing file with --data
    """
