"""Using a translator that a server has, without TensorFlow."""

from collections.abc import Sequence

from nlp_lstm.client import Client, Translation
from nlp_lstm.pictures.attention_map import AttendedTranslation
from nlp_lstm.translation.limits import DEFAULT_BEAM


class RemoteTranslationModel:
    """What `nlp_lstm.translation.inference.TranslationModel` does, asked of a server.

    >>> model = RemoteTranslationModel(Client("http://localhost:8501"))
    >>> model.translate([b"A man is riding a bike."])[0][0].text  # doctest: +SKIP
    'Ein Mann fährt Fahrrad.'
    """

    def __init__(self, client: Client):
        self._client = client

    def translate(self, texts: Sequence[bytes], beam_size: int = DEFAULT_BEAM) -> list[list[Translation]]:
        """The best translations of each text, at most `beam_size`, the best first."""
        return self._client.n_best(texts, beam_size)

    def explain(self, text: bytes) -> tuple[Translation, AttendedTranslation]:
        """The best translation of a text, and what was looked at for each subword of it."""
        (found,) = self._client.explain_translation([text])
        attended = AttendedTranslation(list(found.source_pieces), list(found.target_pieces), found.attention)
        return Translation(found.text, found.score), attended
