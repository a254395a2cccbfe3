"""The playground: a page on which to watch the three models, and the small server behind it."""

import sys

from nlp_lstm import cli
from nlp_lstm.playground.commands import app

if __name__ == "__main__":
    sys.exit(cli.run(app))
