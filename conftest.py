"""What the examples in docstrings need to run as tests: the four usual names, and a place to write in."""

from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

from nlp_lstm.process_setup import switch_on_onednn

switch_on_onednn()  # as the apps do

# The same examples in each run, so that a change that breaks nothing is never told that it does.
settings.register_profile("same_each_time", derandomize=True, deadline=None)
settings.load_profile("same_each_time")

ROOT = Path(__file__).parent


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
