"""Where the modules of before the packages went: their old names can still be imported, with a `DeprecationWarning`.

>>> with warnings.catch_warnings(action="ignore"):
...     from nlp_lstm.subwords import Subwords  # now in nlp_lstm.text.subwords

Two tables tell the whole of it; a line of them goes when nobody needs it any more.
"""

import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

MODULES = {
    "activity_map": ["pictures.activity_map"],
    "attention_map": ["pictures.attention_map"],
    "batches": ["sentiment.batches", "char_lm.batches"],
    "char_lm_inference": ["char_lm.inference", "char_lm.export"],
    "char_lm_looking": ["char_lm.looking"],
    "char_lm_serving": ["char_lm.serving"],
    "char_lm_writing": ["char_lm.writing"],
    "datasets.records": ["datasets.review_records"],
    "datasets.table": ["datasets.review_table"],
    "drawing": ["pictures.drawing", "visible"],
    "dynamic_evaluation": ["char_lm.dynamic_evaluation"],
    "export": ["saved_model"],
    "folded_language_model": ["char_lm.folded_language_model"],
    "gates": ["pictures.gate_map"],
    "metrics": ["sentiment.metrics", "pictures.reliability"],
    "ngram_fitting": ["sentiment.ngram_fitting"],
    "pair_batches": ["translation.batches"],
    "rewriting": ["text.rewriting"],
    "sentiment_inference": ["sentiment.inference", "sentiment.export"],
    "sentiment_serving": ["sentiment.serving"],
    "subwords": ["text.subwords"],
    "symbols": ["text.symbols", "text.utf8"],
    "text_properties": ["char_lm.text_properties"],
    "translation_inference": ["translation.inference", "translation.export"],
    "translation_metrics": ["translation.metrics"],
    "translation_search": ["decoding.beam_to_end"],
    "translation_serving": ["translation.serving"],
    "trie": ["text.trie"],
    "unit_search": ["char_lm.unit_search"],
    "vocabulary": ["text.vocabulary"],
}
"""Modules that are no more, and where what they held is now, all below `nlp_lstm`."""

PACKAGES = {
    "char_lm": ["char_lm.settings", "char_lm.build", "char_lm.train"],
    "datasets": ["datasets.reviews", "datasets.review_records"],
    "decoding": ["decoding.sampling", "decoding.beam_to_length"],
    "sentiment": ["sentiment.settings", "sentiment.build", "sentiment.train"],
    "text": ["text.words"],
    "translation": ["translation.settings", "translation.build", "translation.batches", "translation.train"],
}
"""Modules that are packages now, and where what they held is."""

_RENAMED = {("datasets", "load"): "load_reviews"}


def names_of(package: str) -> Callable[[str], Any]:
    """The `__getattr__` of a package that was a module: finds in its modules what the module held.

    >>> __getattr__ = names_of("nlp_lstm.text")
    >>> with warnings.catch_warnings(action="ignore"):
    ...     __getattr__("tokenize").__module__
    'nlp_lstm.text.words'
    """
    former = package.removeprefix("nlp_lstm.")
    return _found_in(former, [f"nlp_lstm.{module}" for module in PACKAGES[former]])


def _found_in(former: str, modules: list[str]) -> Callable[[str], Any]:
    def find(name: str) -> Any:
        # `from package import module` asks here before it imports the module. To look for that name in others would
        # import them, and one of them may be importing the very module.
        is_module = former in PACKAGES and not name.startswith("__") and find_spec(f"nlp_lstm.{former}.{name}")
        now = _RENAMED.get((former, name), name)
        for module in () if name.startswith("__") or is_module else modules:
            found = import_module(module)
            # What a module merely imports, such as another module, was never part of it.
            if now in vars(found) and not isinstance(vars(found)[now], ModuleType):
                told = f"nlp_lstm.{former}.{name} is now {module}.{now}"
                warnings.warn(told, DeprecationWarning, stacklevel=2)
                return vars(found)[now]
        raise AttributeError(f"module 'nlp_lstm.{former}' has no attribute {name!r}")

    return find


class _FormerModules(MetaPathFinder, Loader):
    """Finds the modules of `MODULES`; Python asks it last, when nothing of that name is there."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        former = fullname.removeprefix("nlp_lstm.")
        return ModuleSpec(fullname, self) if fullname != former and former in MODULES else None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        former = module.__name__.removeprefix("nlp_lstm.")
        module.__getattr__ = _found_in(former, [f"nlp_lstm.{now}" for now in MODULES[former]])  # type: ignore[method-assign]


def install() -> None:
    """Let Python find former modules from now on."""
    if not any(isinstance(finder, _FormerModules) for finder in sys.meta_path):
        sys.meta_path.append(_FormerModules())
