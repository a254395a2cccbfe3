"""A character language model as its settings describe it, and that of a finished run."""

from typing import Any

from nlp_lstm.char_lm.settings import TASK, Settings
from nlp_lstm.models.language_model import LanguageModel
from nlp_lstm.run_folder import RunFolder, load_finished, settings_of
from nlp_lstm.text.symbols import Symbols


def build_model(settings: Settings, number_of_symbols: int, lstm_dtype: str | None = None) -> LanguageModel:
    """The language model that the settings describe, its weights drawn."""
    model = LanguageModel(
        number_of_symbols,
        settings.embedding_size,
        settings.units,
        settings.layers,
        input_dropout=settings.input_dropout,
        hidden_dropout=settings.hidden_dropout,
        output_dropout=settings.output_dropout,
        recurrent_dropout=settings.recurrent_dropout,
        recurrent_kernel_dropout=settings.recurrent_kernel_dropout,
        zoneout_hidden=settings.zoneout_hidden,
        zoneout_cell=settings.zoneout_cell,
        layer_normalization=settings.layer_normalization,
        seed=settings.seed,
        lstm_dtype=lstm_dtype,
    )
    model.build((None, None))
    return model


def load_run(run: RunFolder) -> tuple[LanguageModel, Symbols, Settings]:
    """The trained model of a run, as it is shipped, with its symbols and settings.

    Raises:
        UserError: if the folder holds no finished training run of a character language model.
    """

    def load(config: dict[str, Any]) -> tuple[LanguageModel, Symbols, Settings]:
        settings = settings_of(config, Settings)
        symbols = Symbols.load(run.path / "symbols.json")
        model = build_model(settings, len(symbols))
        model.load_weights(run.model_weights)
        return model, symbols, settings

    return load_finished(run, TASK, "a character language model", load)
