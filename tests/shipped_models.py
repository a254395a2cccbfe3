"""A mark for tests of the models that are shipped, which a tree may be without."""

import pytest

from nlp_lstm import cli

needed = pytest.mark.skipif(not cli.SHIPPED_MODELS.is_dir(), reason="no models are shipped with this")
