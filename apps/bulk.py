"""Bulk inference: answers for whole files of texts, each row once, also after a kill."""

import sys

from nlp_lstm import cli
from nlp_lstm.bulk.commands import app

if __name__ == "__main__":
    sys.exit(cli.run(app))
