"""`python -m nlp_lstm`: the same as `nlp-lstm`."""

import sys

from nlp_lstm.main import main

if __name__ == "__main__":
    sys.exit(main(program="python -m nlp_lstm"))
