"""Where training text comes from, a file a source kind; `reviews`, `corpus` and `pairs` choose among them."""

from nlp_lstm.former_names import names_of

__getattr__ = names_of(__name__)
