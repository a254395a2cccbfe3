"""What a person should know beside the result: a line on standard error."""

import sys
from contextlib import suppress

from nlp_lstm.visible import for_terminal


def tell(notice: str) -> None:
    """Print a line on standard error, so that JSON on standard output stays pure.

    >>> tell("'reviews.csv': fields are separated by ';'")
    """
    with suppress(OSError):  # nobody reads it, or the disk is full: no reason for another exit status
        if sys.stderr is not None:  # print would take None for standard output
            print(for_terminal(" ".join(notice.split())), file=sys.stderr, flush=True)
