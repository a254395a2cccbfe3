"""What the examples in docstrings need to run as tests: the four usual names, and a place to write in."""

from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent

# Modules whose examples are still to be mended; it must become empty, and then this goes.
TO_BE_MENDED = """
    char_lm/inference char_lm/serving cli decoding/sampling files former_names lstm_tensorflow models/classifier
    models/language_model models/ngrams models/pretraining models/translator pictures/activity_map
    pictures/attention_map pictures/gate_map run_folder saved_model sentiment/serving settings text/rewriting
    text/subwords text/utf8 translation/serving
"""


def pytest_itemcollected(item: pytest.Item) -> None:
    if isinstance(item, pytest.DoctestItem):
        module = item.path.relative_to(ROOT / "nlp_lstm").with_suffix("").as_posix()
        if module in TO_BE_MENDED.split():
            item.add_marker(pytest.mark.xfail(reason="its example is to be mended", strict=False))


@pytest.fixture(scope="session")
def doctest_namespace() -> dict[str, ModuleType]:
    """The names that an example may use without importing them."""
    import keras
    import numpy as np
    import tensorflow as tf

    return {"np": np, "keras": keras, "ops": keras.ops, "tf": tf}


@pytest.fixture(autouse=True)
def _examples_write_elsewhere(request: pytest.FixtureRequest, tmp_path_factory, monkeypatch) -> None:
    """An example sees the project's files under their paths in it, but what it writes is not left there."""
    if isinstance(request.node, pytest.DoctestItem):
        folder = tmp_path_factory.mktemp("example")
        for path in ROOT.iterdir():
            if not path.name.startswith("."):
                (folder / path.name).symlink_to(path)
        monkeypatch.chdir(folder)
