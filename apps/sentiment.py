"""Sentiment analysis: train on labelled reviews, judge, use, look inside and export."""

import sys

from nlp_lstm import cli
from nlp_lstm.sentiment.commands import app

if __name__ == "__main__":
    sys.exit(cli.run(app))
