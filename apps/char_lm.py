"""Character language modelling: train on running text, judge, write, score, look inside and export."""

import sys

from nlp_lstm import cli
from nlp_lstm.char_lm.commands import app

if __name__ == "__main__":
    sys.exit(cli.run(app))
