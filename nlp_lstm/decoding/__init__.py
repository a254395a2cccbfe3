"""From a model's guesses to text, in graph."""

from nlp_lstm.former_names import names_of

__getattr__ = names_of(__name__)
