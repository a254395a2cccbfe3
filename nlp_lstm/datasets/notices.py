"""What a person should know about the data that was read, beside the result: a line on standard error."""

import sys


def tell(notice: str) -> None:
    """Print a line on standard error, so that JSON on standard output stays pure.

    >>> tell("'reviews.csv': fields are separated by ';'")
    """
    if sys.stderr is not None:  # print would take None for standard output
        print(" ".join(notice.split()), file=sys.stderr)
