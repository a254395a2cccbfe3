"""From text to ids and back, in graph: words, characters and bytes, subwords."""

from nlp_lstm.former_names import names_of

__getattr__ = names_of(__name__)
