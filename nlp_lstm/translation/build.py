"""A translator as its settings describe it, its subwords, and those of a finished run."""

import hashlib
from typing import Any, NamedTuple

from nlp_lstm.files import atomic_path
from nlp_lstm.models.translator import Translator
from nlp_lstm.run_folder import RunFolder, load_finished, settings_of
from nlp_lstm.text.subwords import Subwords
from nlp_lstm.translation.settings import BEFORE, TASK, Settings


class Vocabularies(NamedTuple):
    """The subwords of the two languages, the same ones where they share them."""

    source: Subwords
    target: Subwords

    @property
    def are_shared(self) -> bool:
        return self.source is self.target

    def digest(self) -> str:
        """Settles whether weights were trained with these very subwords, which as many others would fit, too."""
        return hashlib.sha256(b"".join(dict.fromkeys(side.model for side in self))).hexdigest()


class TrainedTranslator(NamedTuple):
    """What a finished run holds."""

    model: Translator
    vocabularies: Vocabularies
    settings: Settings


def build_model(settings: Settings, vocabularies: Vocabularies, product_dtype: str | None = None) -> Translator:
    """The translator that the settings describe, its weights drawn."""
    model = Translator(
        len(vocabularies.target),
        settings.embedding_size,
        settings.encoder_units,
        settings.decoder_units,
        encoder_layers=settings.encoder_layers,
        attention=settings.attention,
        attention_size=settings.attention_size,
        embedding_dropout=settings.embedding_dropout,
        memory_dropout=settings.memory_dropout,
        output_dropout=settings.output_dropout,
        recurrent_kernel_dropout=settings.recurrent_kernel_dropout,
        seed=settings.seed,
        source_vocabulary_size=None if vocabularies.are_shared else len(vocabularies.source),
        product_dtype=product_dtype,
    )
    model.build()
    return model


_FILES = ("source_subwords.model", "target_subwords.model")


_SHARED_FILE = "subwords.model"


def save_vocabularies(vocabularies: Vocabularies, run: RunFolder) -> None:
    names = (_SHARED_FILE,) if vocabularies.are_shared else _FILES
    for name, subwords in zip(names, vocabularies, strict=False):
        with atomic_path(run.path / name) as path:
            subwords.save(path)


def load_vocabularies(run: RunFolder) -> Vocabularies:
    if (run.path / _SHARED_FILE).exists():
        shared = Subwords.load(run.path / _SHARED_FILE)
        return Vocabularies(shared, shared)
    return Vocabularies(*(Subwords.load(run.path / name) for name in _FILES))


def load_run(run: RunFolder) -> TrainedTranslator:
    """The trained model of a run, as it is shipped, with its subwords and settings.

    Raises:
        UserError: if the folder holds no finished training run of a translator, or its parts do not fit together.
    """

    def load(config: dict[str, Any]) -> TrainedTranslator:
        settings = settings_of({**BEFORE, **config}, Settings)
        vocabularies = load_vocabularies(run)
        if vocabularies.digest() != config.get("subwords_sha256", vocabularies.digest()):
            raise ValueError("its subwords are not those that it was trained with")
        model = build_model(settings, vocabularies)
        model.load_weights(run.model_weights)
        return TrainedTranslator(model, vocabularies, settings)

    return load_finished(run, TASK, "a translator", load)
