"""What could be imported before the packages still can, and is the very object that stands in its new place."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import nlp_lstm
from nlp_lstm import former_names
from nlp_lstm.former_names import MODULES, PACKAGES


@pytest.mark.parametrize(
    ("module", "name", "now", "new_name"),
    [
        ("nlp_lstm.subwords", "Subwords", "nlp_lstm.text.subwords", "Subwords"),
        ("nlp_lstm.datasets.table", "parse", "nlp_lstm.datasets.review_table", "parse"),
        ("nlp_lstm.datasets", "load", "nlp_lstm.datasets.reviews", "load_reviews"),
        ("nlp_lstm.symbols", "mend", "nlp_lstm.text.utf8", "mend"),
        ("nlp_lstm.char_lm_inference", "export_run", "nlp_lstm.char_lm.export", "export_run"),
        ("nlp_lstm.sentiment", "Settings", "nlp_lstm.sentiment.settings", "Settings"),
        ("nlp_lstm.text", "tokenize", "nlp_lstm.text.words", "tokenize"),
        ("nlp_lstm.decoding", "beam_search", "nlp_lstm.decoding.beam_to_length", "beam_search"),
    ],
)
def test_a_former_name_gives_what_is_in_the_new_place(module, name, now, new_name):
    with pytest.warns(DeprecationWarning, match=f"{now}.{new_name}"):
        found = getattr(importlib.import_module(module), name)
    assert found is getattr(importlib.import_module(now), new_name)


def test_every_new_place_is_there():
    for places in [*MODULES.values(), *PACKAGES.values()]:
        for place in places:
            assert importlib.import_module(f"nlp_lstm.{place}")


def test_what_never_was_is_not_found():
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("nlp_lstm.nothing")
    with pytest.raises(ImportError):
        from nlp_lstm.subwords import Nothing  # noqa: F401
    with pytest.raises(AttributeError):
        _ = nlp_lstm.Nothing
    # A module that another merely imports is not one of its names.
    with pytest.raises(AttributeError):
        _ = importlib.import_module("nlp_lstm.subwords").tf


def test_a_module_of_a_package_is_no_former_name_and_imports_no_other(monkeypatch):
    """Else `from nlp_lstm.sentiment import batches` would import the training first, which imports who asks."""

    def refuse(name):
        raise AssertionError(f"{name} is imported")

    monkeypatch.setattr(former_names, "import_module", refuse)
    for package in PACKAGES:
        folder = Path(nlp_lstm.__file__).parent / package
        modules = [path.stem for path in folder.glob("*.py") if path.stem != "__init__"]
        assert modules
        for module in modules:
            with pytest.raises(AttributeError):
                former_names.names_of(f"nlp_lstm.{package}")(module)


def test_the_layer_alone_imports_nothing_else_of_the_suite():
    code = (
        "import sys; from nlp_lstm import LSTM, LSTMCell, lstm_step; "
        "print(sorted(name for name in sys.modules if name.startswith('nlp_lstm')))"
    )
    root = Path(nlp_lstm.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    layer = ["nlp_lstm.lstm", "nlp_lstm.lstm_inputs", "nlp_lstm.lstm_regularizers", "nlp_lstm.lstm_stepwise"]
    assert done.stdout.strip().splitlines()[-1] == str(["nlp_lstm", "nlp_lstm.former_names", *layer])


def test_the_package_itself_imports_neither_keras_nor_tensorflow():
    code = "import sys, nlp_lstm; print([name for name in ('keras', 'tensorflow', 'numpy') if name in sys.modules])"
    root = Path(nlp_lstm.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
