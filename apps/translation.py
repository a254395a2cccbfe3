"""Translation: train on sentence pairs, judge, translate, look inside and export."""

import sys

from nlp_lstm import cli
from nlp_lstm.translation.commands import app

if __name__ == "__main__":
    sys.exit(cli.run(app))
