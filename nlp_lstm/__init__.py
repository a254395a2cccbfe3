"""One custom LSTM layer with explicit gates, and three applications on it."""

__version__ = "0.1.0"
