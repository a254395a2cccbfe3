"""How tables of any kind are printed."""

from rich.console import Console
from rich.table import Table


def print_whole(table: Table) -> None:
    """Print a table as wide as the terminal, or, into a file or a pipe, as wide as it needs to be."""
    # There is no terminal then to ask for its width, and a table cut to 80 columns would lose its numbers.
    console = Console()
    if not console.is_terminal:
        console = Console(width=132)
    with console.capture() as capture:
        console.print(table)
    print(capture.get(), end="")  # rich itself would end the program where the reader of a pipe has had enough
