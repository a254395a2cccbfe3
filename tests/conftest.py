"""What several test modules share: small exported models of each app, and texts that are hard to serve."""

import contextlib
import ctypes
import dataclasses
import functools
import gc
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# A traced function is thousands of Python objects. By default the collector looks through all of them after each 700
# new ones, which was a sixth of the time of all tests.
gc.set_threshold(100_000)

# XLA compiles a loop anew for each shape, and in tests each runs a few steps. Without LLVM's optimization the same
# operations are done in the same order; processes that tests start have it from the environment.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

# Memory of one graph is kept for the next: to give it back and ask for it anew costs more.
with contextlib.suppress(OSError, AttributeError):  # not every C library can be told so
    for parameter, size in ((-1, 2**30), (-2, 2**26), (-3, 2**28)):  # M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD
        ctypes.CDLL(None).mallopt(parameter, size)

GROUPS = {
    "translation": ("translation", "[shared", "[separate"),
    "char_lm": ("char_lm", "[character", "[byte", "[normalized", "[int8"),
    "sentiment": ("sentiment",),
    "several_workers": ("several_workers",),
}
"""Tests that one worker runs, since what they share takes long to build; and what they have in their names."""

FIRST = (*GROUPS,)
"""What takes long goes first, so that no worker begins with it when the other has nothing left."""


def group_of(nodeid: str) -> str:
    path, _, name = nodeid.partition("::")
    if path.startswith("nlp_lstm"):  # an example shares nothing
        return path
    found = (group for text in (path, name) for group, parts in GROUPS.items() if any(part in text for part in parts))
    return next(found, path)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {group: place for place, group in enumerate(FIRST)}
    items.sort(key=lambda item: rank.get(group_of(item.nodeid), len(rank)))


def pytest_make_parametrize_id(val: object) -> str | None:
    """Long content is named by its length alone, since all workers have to collect the same names.

    Each does so at a moment of its own. What holds the time, such as the header that gzip writes, would make the tests
    of one unknown to the other, and pytest gives up before the first.
    """
    return f"{len(val)} bytes" if isinstance(val, bytes) and len(val) > 60 else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A worker that has nothing to do takes the next group."""
    from xdist.scheduler import LoadScopeScheduling

    class GroupScheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    config.option.loadscopereorder = False
    return GroupScheduling(config, log)


@pytest.fixture(scope="session", autouse=True)
def _graphs_are_run_as_they_are_written():
    """TensorFlow would rewrite each before its first run, which takes longer than the run.

    It does so in processes that tests start, but for training that is held against this one's; and wherever a test asks
    for `rewritten_graphs`.
    """
    import keras

    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


@pytest.fixture
def rewritten_graphs():
    """What a test calls runs as it does for users, and in other processes: to the same rounding."""
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})
    yield
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


@pytest.fixture(scope="module", autouse=True)
def _what_is_left_of_other_modules_is_not_looked_through():
    """Of TensorFlow millions of objects live on, and `keras.utils.clear_session` asks for a collection each time."""
    gc.collect()
    gc.freeze()


@dataclasses.dataclass(frozen=True)
class ExportedSentiment:
    """A model with its signatures in this process and as version 1 below `base`."""

    serving: Any
    vocabulary: Any
    warm_up: dict
    base: Path

    @property
    def version(self) -> Path:
        return self.base / "1"

    def inputs(self, texts: list[bytes]) -> dict:
        """For each signature."""
        from rest_requests import sentiment_inputs

        return sentiment_inputs(texts)


@pytest.fixture(scope="session")
def exported_sentiment(tmp_path_factory) -> ExportedSentiment:
    """Random weights, and not small ones: each token must count, and each place in the text."""
    import numpy as np
    from rest_requests import serialized_example

    from nlp_lstm import saved_model
    from nlp_lstm.models.classifier import BlendedClassifier, SentimentClassifier
    from nlp_lstm.models.encoder import BidirectionalEncoder
    from nlp_lstm.models.ngrams import NgramClassifier
    from nlp_lstm.sentiment.serving import SentimentServing
    from nlp_lstm.text.vocabulary import Vocabulary

    words = ["the", "a", "film", "best", "dull", "not", "it's", *".,!?<>映画é😀\ufffd"]
    vocabulary = Vocabulary(["", "[UNK]", "[BOUND]", *words])
    lstm = SentimentClassifier(BidirectionalEncoder(len(vocabulary), 8, 6, embedding_dtype="float16"))
    lstm.build((None, None))
    classifier = BlendedClassifier(lstm, NgramClassifier(len(vocabulary), 2, 50, table_dtype="float16"))
    classifier.build((None, None))
    rng = np.random.default_rng(0)
    for weight in classifier.weights:
        weight.assign(rng.normal(0.0, 0.5, weight.shape))
    classifier.mixture.assign([4.0, 0.6, 0.0])
    # Some texts on either side: about half of random ones.
    middle = np.median(classifier(rng.integers(1, len(vocabulary), (100, 6))))
    classifier.mixture.assign([4.0, 0.6, -middle])
    serving = SentimentServing(classifier, vocabulary)
    warm_up = {
        "serving_default": {"text": ["The best film!", "A dull film."]},
        "classify": {"inputs": [serialized_example(b"The best film!")]},
        "explain": {"text": ["The best film!"]},
        "prefixes": {"text": ["The best film!"]},
        "units": {"text": ["The best film!"]},
    }
    base = tmp_path_factory.mktemp("exported") / "sentiment"
    saved_model.save(serving, base, warm_up, "# A model of random numbers\n")
    return ExportedSentiment(serving, vocabulary, warm_up, base)


@pytest.fixture(scope="session")
def difficult_texts() -> list[bytes]:
    texts = [
        "The best film!",
        "It’s not a dull film, it's the BEST.",
        "",
        " \t\r\n\u00a0\u3000\u200b\ufeff",
        "😀",
        "😀👩‍👩‍👧🏳️‍🌈",
        "zzz qqq",  # no token of it is known
        "映画は最高。这部电影很好",
        "ภาพยนตร์ที่ดี",
        "Cafe\u0301 é É ﬁlm İstanbul",
        '<b>The best</b><br />film &amp; <script>alert("x")</script>',
        "<s> </s> [UNK] [BOUND]",
        '\\ "quoted" \\u0000 {}[]',
        "\U0010ffff\uffff\ue000",
        "!" * 3_000,
        "The best film!",  # again
    ]
    return [
        *(text.encode() for text in texts),
        b"\xff\xfe a \xc3 film \x80\xed\xa0\x80\xf8",  # not UTF-8
        b"a\x00film\x00",
        b"\x00",
        b"x" * 2**20,
        (b"dull " * 2**18)[: 2**20],
    ]


@dataclasses.dataclass(frozen=True)
class ExportedCharLm:
    """A character language model, its signatures in this process, and as version 1 below `base`."""

    model: Any
    symbols: Any
    serving: Any
    warm_up: dict
    base: Path

    @property
    def version(self) -> Path:
        return self.base / "1"

    @functools.cached_property
    def signatures(self):
        """Those of the SavedModel."""
        from nlp_lstm import saved_model

        return saved_model.load(self.base).signatures

    def inputs(self, texts: list[bytes]) -> dict:
        """For each signature."""
        from rest_requests import char_lm_inputs

        return char_lm_inputs(texts, self.serving.folded.state_names, self.serving.folded.units)


CHAR_LMS: dict[str, tuple[str, dict]] = {
    "character": ("\n !',.ABaeinrst\u0301é映😀\0", {"layers": 2}),
    "byte": ("", {"layers": 1, "unit": "byte"}),
    # One without a newline, and with the very character that stands for the unknown ones.
    "normalized": (
        " aeinrst\ufffdé",
        {"layers": 2, "zoneout_hidden": 0.2, "zoneout_cell": 0.4, "layer_normalization": True},
    ),
    "int8": ("\n !',.ABaeinrst", {"layers": 2}),
}


@pytest.fixture(scope="session")
def exported_char_lm(tmp_path_factory) -> Callable[[str], ExportedCharLm]:
    """From a key of `CHAR_LMS` to that model, of random weights that are not small."""
    import numpy as np

    from nlp_lstm import saved_model
    from nlp_lstm.char_lm.build import build_model
    from nlp_lstm.char_lm.serving import CharLmServing
    from nlp_lstm.char_lm.settings import Settings
    from nlp_lstm.text.symbols import Symbols

    @functools.cache
    def exported(name):
        text, changed = CHAR_LMS[name]
        settings = Settings(embedding_size=5, units=7, **changed)
        symbols = Symbols("byte") if settings.unit == "byte" else Symbols.of_text(text)
        model = build_model(settings, len(symbols))
        rng = np.random.default_rng(0)
        for weight in model.trainable_weights:
            weight.assign(rng.normal(0.0, 0.7, weight.shape))
        favoured = np.zeros(len(symbols))
        if settings.unit == "byte":
            favoured[0x80:] = 1.0  # so that whole characters are no easy matter
        else:
            favoured[0] = 3.0  # the unknown character would often be written, were it allowed
        model.head.bias.assign_add(favoured)
        serving = CharLmServing(model, symbols, "int8" if name == "int8" else "float32")
        state = {part: np.zeros((1, settings.units), np.float32) for part in serving.folded.state_names}
        warm_up = {
            "serving_default": {"prompt": ["an"]},
            "generate": {
                "prompt": ["an", ""],
                "length": [4, 2],
                "temperature": [0.5, 1.0],
                "top_k": [0, 3],
                "top_p": [1.0, 0.9],
                "seed": [0, -1],
            },
            "likeliest": {"prompt": ["an"], "length": [3], "beam_size": [2]},
            "score": {"text": ["rain"]},
            "read": {"text": ["rain"], **state},
            "step": {"char": ["a"], **state},
            "encode": {"text": ["rain"]},
            "gates": {"text": ["rain"]},
        }
        base = tmp_path_factory.mktemp("exported") / "char_lm"
        saved_model.save(serving, base, warm_up, "# A model of random numbers\n")
        return ExportedCharLm(model, symbols, serving, warm_up, base)

    return exported


@dataclasses.dataclass(frozen=True)
class ExportedTranslation:
    """Translators that are asked together: in this process, in finished runs, and as version 1 below `base`."""

    models: list
    vocabularies: Any
    settings: Any
    penalties: tuple[float, float]
    runs: list[Path]
    base: Path

    @property
    def version(self) -> Path:
        return self.base / "1"

    @functools.cached_property
    def signatures(self):
        """Those of the SavedModel."""
        from nlp_lstm import saved_model

        return saved_model.load(self.base).signatures

    def inputs(self, texts: list[bytes]) -> dict:
        """For each signature."""
        from rest_requests import translation_inputs

        return translation_inputs(texts)


SENTENCES = (
    ["The best film!", "A man sees a dog, and a dog sees a man.", "Is it a dull film? It's the best."],
    ["Der beste Film!", "Ein Mann sieht einen Hund, und ein Hund sieht einen Mann.", "Große Übung in Köln: é."],
)

TRANSLATORS: dict[str, dict] = {
    "shared": {"models": 1, "settings": {}, "penalties": (1.0, 0.0), "seed": 0, "end": 4.0},
    "separate": {
        "models": 2,
        "settings": {"separate_subwords": True, "attention": "additive", "source_case": "raw"},
        "penalties": (0.6, 0.3),
        "seed": 1,
        "end": 3.0,
    },
    "translation_int8": {
        "models": 1,
        "settings": {},
        "penalties": (1.0, 0.1),
        "seed": 0,
        "end": 4.0,
        "precision": "int8",
    },
}


@pytest.fixture(scope="session")
def exported_translation(tmp_path_factory) -> Callable[[str], ExportedTranslation]:
    """From a key of `TRANSLATORS` to those models, of random weights that are not small: each token must count."""
    import numpy as np

    from nlp_lstm.run_folder import RunFolder
    from nlp_lstm.text.subwords import END, Subwords
    from nlp_lstm.translation.build import Vocabularies, build_model
    from nlp_lstm.translation.export import export_runs
    from nlp_lstm.translation.settings import Settings

    def finished_run(folder, model, settings, vocabularies, loss):
        """As training would have left it."""
        run = RunFolder(folder)
        config = {"task": "translation", "data": "letters.tsv", "source_file": None, "target_file": None}
        run.start({**config, **dataclasses.asdict(settings), "subwords_sha256": vocabularies.digest()})
        names = ["subwords"] if vocabularies.are_shared else ["source_subwords", "target_subwords"]
        for name, subwords in zip(names, vocabularies, strict=False):
            subwords.save(folder / f"{name}.model")
        model.save_weights(run.model_weights)
        row = {"stage": "training", "loss": loss, "seconds": 60.0, "cpu_seconds": 150.0}
        run.write_metrics([{**row, "epoch": epoch, "val_bleu": bleu} for epoch, bleu in ((1, 34.567), (2, 30.0))])
        return folder

    @functools.cache
    def exported(name):
        translator = TRANSLATORS[name]
        settings = Settings(
            subwords=330, embedding_size=6, encoder_units=4, decoder_units=7, attention_size=3, **translator["settings"]
        )
        if settings.separate_subwords:
            vocabularies = Vocabularies(*(Subwords.train(texts, settings.subwords) for texts in SENTENCES))
        else:
            shared = Subwords.train([*SENTENCES[0], *SENTENCES[1]], settings.subwords)
            vocabularies = Vocabularies(shared, shared)
        models = [build_model(settings, vocabularies) for _ in range(translator["models"])]
        # Each text has a translation of its own, for which one looks here and there; but with recurrent weights as
        # large as the others, rounding would be heard at the end of a long text.
        spreads = {"embedding": 2.0, "keys": 4.0, "query": 4.0}
        rng = np.random.default_rng(translator["seed"])
        target = vocabularies.target
        for model in models:
            for weight in model.trainable_weights:
                spread = next((value for part, value in spreads.items() if part in weight.path), 0.8)
                weight.assign(rng.normal(0.0, spread, weight.shape))
            # Ends that come, and not too many bytes, so that most translations are text, but some of them broken.
            favoured = np.zeros(len(target))
            favoured[target.first_byte :][:256] = -3.0
            favoured[END] = translator["end"]
            model.output_bias.assign(favoured)
        folder = tmp_path_factory.mktemp("exported")
        runs = [
            finished_run(folder / f"run{number}", model, settings, vocabularies, loss=float(number))
            for number, model in enumerate(models)
        ]
        export_runs(
            runs, folder / "translation", *translator["penalties"], precision=translator.get("precision", "float32")
        )
        return ExportedTranslation(
            models, vocabularies, settings, translator["penalties"], runs, folder / "translation"
        )

    return exported


@dataclasses.dataclass(frozen=True)
class TrainedTranslation:
    """A finished run of a translator, and what a kill after its first epoch would have left of it."""

    run: Path
    stopped: Path
    data: Path
    settings: Any
    told: str
    """What stood on standard error."""


@pytest.fixture(scope="session")
def trained_translation(tmp_path_factory) -> TrainedTranslation:
    """From letters to capitals: each batch has the same shape, since XLA compiles the encoder for each anew."""
    import contextlib
    import io

    import numpy as np

    from nlp_lstm import training
    from nlp_lstm.translation.settings import Settings
    from nlp_lstm.translation.train import train

    settings = Settings(
        seed=3,
        subwords=300,
        subword_sampling=0.0,
        longest=12,
        embedding_size=16,
        encoder_units=8,
        decoder_units=12,
        attention_size=6,
        embedding_dropout=0.05,
        memory_dropout=0.05,
        output_dropout=0.05,
        recurrent_kernel_dropout=0.1,
        label_smoothing=0.05,
        epochs=3,
        tokens_per_batch=12 * 32,
        learning_rate=0.03,
        averaging=0.7,
    )
    folder = tmp_path_factory.mktemp("trained_translation")
    rng = np.random.default_rng(0)
    sentences = {" ".join(rng.choice(list("abcdef"), rng.integers(8, 11))) for _ in range(150)}
    data = folder / "letters.tsv"
    data.write_text("".join(f"{sentence}\t{sentence.upper()}\n" for sentence in sorted(sentences)))
    run, stopped = folder / "run", folder / "stopped"
    original = training._remove_checkpoints_before  # the first thing behind an epoch's checkpoint

    def copy_first(*arguments):
        if not stopped.exists():
            shutil.copytree(run, stopped)
        original(*arguments)

    told = io.StringIO()
    with pytest.MonkeyPatch.context() as patched, contextlib.redirect_stderr(told):
        patched.setattr(training, "_remove_checkpoints_before", copy_first)
        train(str(data), training.RunFolder(run), settings)
    return TrainedTranslation(run, stopped, data, settings, told.getvalue())


@pytest.fixture(scope="session")
def loader(tmp_path_factory, worker_id) -> Path:
    """The C++ program around the loader that TensorFlow Serving uses; the TensorFlow wheel carries what it needs."""
    import fcntl

    from loader_program import build

    if shutil.which("g++") is None:
        pytest.skip("there is no g++ to build the C++ loader")
    own = tmp_path_factory.getbasetemp()
    # It takes long to build: the first worker does it for all.
    folder = own if worker_id == "master" else own.parent
    program, built = folder / "saved_model_loader", folder / "saved_model_loader.built"
    with open(folder / "saved_model_loader.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists():
            build(folder)
            built.touch()
    return program
