"""What the gates of a Keras language model do, by its layers one after the other: what a served model must say."""

from nlp_lstm.lstm import Gates
from nlp_lstm.models.language_model import LanguageModel


def gates_of(model: LanguageModel, ids, state=None) -> list[Gates]:
    """The gates and states of each LSTM over ids `(batch, time)`, each `(batch, time, units)`."""
    state = list(state) if state is not None else model.initial_state(len(ids))
    features, found = model.embedding(ids), []
    for number, lstm in enumerate(model.lstms):
        found.append(lstm.gates(features, initial_state=state[2 * number : 2 * number + 2]))
        features = found[-1].hidden
    return found
