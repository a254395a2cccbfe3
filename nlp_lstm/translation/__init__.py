"""Translation, from sentence pairs to a SavedModel."""

from nlp_lstm.former_names import names_of

__getattr__ = names_of(__name__)
