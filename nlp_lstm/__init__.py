"""One custom LSTM layer with explicit gates, and three applications on it.

>>> from nlp_lstm import LSTM, LSTMCell, lstm_step
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nlp_lstm import former_names

if TYPE_CHECKING:
    from nlp_lstm.lstm import LSTM, LSTMCell, lstm_step

__version__ = "0.1.0"
__all__ = ["LSTM", "LSTMCell", "lstm_step"]

former_names.install()


def __getattr__(name: str) -> Any:
    # Only when asked for: Keras takes seconds to import, and `--help` has no use for it.
    if name in __all__:
        return getattr(import_module("nlp_lstm.lstm"), name)
    raise AttributeError(f"module 'nlp_lstm' has no attribute {name!r}")
