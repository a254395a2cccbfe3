"""SavedModels on disk: versions, nothing half written, errors told, and that a stock TensorFlow Serving runs them."""

import functools
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from loader_program import in_bytes
from rest_requests import char_lm_inputs, sentiment_inputs, strings, translation_inputs
from saved_model_in_fresh_process import answers_of_a_fresh_process, run_signatures
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

from nlp_lstm import saved_model
from nlp_lstm.errors import UserError

TESTS = Path(__file__).parent
SHIPPED = TESTS.parent / "saved_models"
LARGEST = {"sentiment": 20_000_000, "char_lm": 16_000_000, "translation": 20_000_000}  # bytes of a version that ships


class Lengths(tf.Module):
    """The least that can be exported; `weight` gives it a variables file of some size."""

    def __init__(self, size=1):
        super().__init__(name="lengths")
        self.weight = tf.Variable(tf.ones([size]))
        self.resources = [self.weight]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def lengths(self, text):
        return {"length": tf.cast(tf.strings.length(text), tf.float32) * self.weight[0]}

    @property
    def signatures(self):
        return {"serving_default": self.lengths}


WARM_UP = {"serving_default": {"text": ["A fine film."]}}


def save(base, module=None, warm_up=WARM_UP, card="# Lengths\n"):
    return saved_model.save(module or Lengths(), base, warm_up, card)


def assert_loadable(path):
    answer = saved_model.load(path).signatures["serving_default"](text=tf.constant(["four"]))
    assert answer["length"].numpy().tolist() == [4.0]


def assert_one_line(error, *parts):
    assert isinstance(error, UserError)
    assert len(str(error).splitlines()) == 1
    for part in parts:
        assert str(part) in str(error)


def read_saved_model(version):
    return saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes())


# Versions


@pytest.mark.parametrize(
    ("present", "following"),
    [
        ([], 1),
        (["1"], 2),
        (["1", "2", "10"], 11),
        (["9", "10"], 11),
        (["0", "00", "007", "-3", "+4", "5.0", "6 ", "7a", "v8", "1e3", "best"], 1),
        (["٣", "1٣", "²", "9" * 25], 1),  # digits of other scripts; more than an int64 holds
        (["3", ".4.abcd", ".7", "8.tmp"], 4),
    ],
)
def test_the_next_version_is_one_above_the_highest_number(tmp_path, present, following):
    for name in present:
        (tmp_path / name).mkdir()
    assert saved_model.versions(tmp_path) == sorted(int(name) for name in present if following > 1 and name.isdigit())
    assert save(tmp_path) == tmp_path / str(following)
    assert {path.name for path in tmp_path.iterdir()} == {*present, str(following), saved_model.MODEL_CARD}
    assert saved_model.resolve(tmp_path) == tmp_path / str(following)


def test_there_are_no_versions_where_there_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("1")
    assert saved_model.versions(tmp_path / "nothing") == []
    assert saved_model.versions(tmp_path / "file") == []


def test_a_file_with_a_number_for_a_name_is_not_overwritten(tmp_path):
    (tmp_path / "3").write_text("mine")
    assert save(tmp_path) == tmp_path / "4"
    assert (tmp_path / "3").read_text() == "mine"
    assert_loadable(tmp_path)


def test_save_leaves_earlier_versions_as_they_were_and_renews_the_card(tmp_path):
    base = tmp_path / "not" / "yet" / "there"
    first = save(base, card="# One\n")
    before = {path: path.read_bytes() for path in first.rglob("*") if path.is_file()}
    second = save(base, Lengths(7), card="# Zwei, é\n")
    assert (first.name, second.name) == ("1", "2")
    assert {path: path.read_bytes() for path in first.rglob("*") if path.is_file()} == before
    assert (base / saved_model.MODEL_CARD).read_text(encoding="utf-8") == "# Zwei, é\n"
    assert (second / "assets.extra" / saved_model.MODEL_CARD).read_text(encoding="utf-8") == "# Zwei, é\n"
    assert (first / "assets.extra" / saved_model.MODEL_CARD).read_text(encoding="utf-8") == "# One\n"
    assert_loadable(first)
    assert_loadable(second)


def test_resolve_takes_a_version_or_the_highest_whole_one(tmp_path):
    for number in (9, 10):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "saved_model.pb").touch()
    (tmp_path / "11").mkdir()  # holds no model
    assert saved_model.resolve(tmp_path) == tmp_path / "10"
    assert saved_model.resolve(tmp_path / "9") == tmp_path / "9"


# Nothing half written


class Interrupted(Exception):
    """Not an error that `save` knows."""


def fail(*_, **__):
    raise Interrupted


def write_half_then_fail(_, path, **__):
    Path(path).mkdir()
    (Path(path) / "saved_model.pb").write_bytes(b"half")
    raise Interrupted


@pytest.mark.parametrize(
    ("owner", "name", "replacement"),
    [
        # Looked up when the test runs: what `tf` gives under this name at first is not always what it gives later.
        (lambda: saved_model.tf.saved_model, "save", write_half_then_fail),
        (lambda: saved_model, "write_warm_up", fail),
        (lambda: Path, "write_text", fail),
        (lambda: os, "rename", fail),
    ],
    ids=["saving", "warm-up", "model card", "renaming"],
)
def test_an_error_on_the_way_leaves_the_folder_as_it_was(tmp_path, monkeypatch, owner, name, replacement):
    save(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with monkeypatch.context() as patch:
        patch.setattr(owner(), name, replacement)
        with pytest.raises(Interrupted):
            save(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before
    assert_loadable(tmp_path)
    assert save(tmp_path).name == "2"


def test_a_signature_without_a_warm_up_request_is_not_exported(tmp_path):
    with pytest.raises(KeyError, match="serving_default"):
        save(tmp_path, warm_up={})
    assert list(tmp_path.iterdir()) == []


def test_a_kill_on_the_way_leaves_no_version_and_the_old_one_in_use(tmp_path):
    save(tmp_path)
    script = """
import os, signal, sys
import tensorflow as tf
from nlp_lstm import saved_model
module = tf.Module(name="killed")
module.resources = []
lengths = lambda text: {"length": tf.strings.length(text)}
signature = [tf.TensorSpec([None], tf.string, name="text")]
module.signatures = {"serving_default": tf.function(lengths, input_signature=signature, autograph=False)}
saved_model.write_warm_up = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
saved_model.save(module, sys.argv[1], {"serving_default": {"text": ["a"]}}, "card")
"""
    killed = subprocess.run(
        [sys.executable, "-c", script, tmp_path],
        env={**os.environ, "PYTHONPATH": str(TESTS.parent)},
        capture_output=True,
        timeout=120,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    leftovers = [path for path in tmp_path.iterdir() if path.name not in ("1", saved_model.MODEL_CARD)]
    assert leftovers  # the kill came when a model was being written
    assert any(path.name == "saved_model.pb" for leftover in leftovers for path in leftover.rglob("*"))
    assert all(path.name.startswith(".") for path in leftovers)
    assert saved_model.versions(tmp_path) == [1]
    assert_loadable(tmp_path)
    assert save(tmp_path).name == "2"


def test_a_polling_server_never_sees_half_a_version(tmp_path):
    whole = [
        Path("saved_model.pb"),
        Path("variables", "variables.index"),
        Path("variables", "variables.data-00000-of-00001"),
        saved_model.WARM_UP_FILE,
        saved_model.WARM_UP_FILE.with_name(saved_model.MODEL_CARD),
    ]
    seen, halves, done = set(), [], threading.Event()

    def poll():
        last = False
        while not last:
            last = done.is_set()
            for number in saved_model.versions(tmp_path):
                seen.add(number)
                halves.extend((number, part) for part in whole if not (tmp_path / str(number) / part).is_file())

    reader = threading.Thread(target=poll)
    reader.start()
    try:
        for _ in range(3):
            save(tmp_path, Lengths(100_000))
    finally:
        done.set()
        reader.join()
    assert seen == {1, 2, 3}
    assert halves == []


def test_a_version_that_another_export_put_there_meanwhile_is_kept(tmp_path):
    class Overtaken(Lengths):
        @property
        def signatures(self):
            (tmp_path / "1").mkdir()
            (tmp_path / "1" / "saved_model.pb").write_bytes(b"another's")
            return super().signatures

    with pytest.raises(UserError) as error:
        save(tmp_path, Overtaken())
    assert_one_line(error.value, tmp_path, "--to")
    assert (tmp_path / "1" / "saved_model.pb").read_bytes() == b"another's"
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


# A user's mistakes


def test_a_target_that_cannot_be_written_is_told(tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    targets = [file, file / "below", tmp_path / "dangling", Path("/dev/null/models"), tmp_path / ("long" * 100)]
    if os.geteuid():
        (tmp_path / "closed").mkdir(mode=0o500)
        targets.append(tmp_path / "closed")
    for target in targets:
        with pytest.raises(UserError) as error:
            save(target)
        assert_one_line(error.value, target, "--to")
    assert file.read_text() == "mine"


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path):
    save(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # writing more fails, as on a full disk
    try:
        with pytest.raises(UserError) as error:
            save(tmp_path, Lengths(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_one_line(error.value, tmp_path, "too large", "--to")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_path_without_a_model_is_told(tmp_path):
    (tmp_path / "empty" / "1").mkdir(parents=True)
    (tmp_path / "file").write_text("mine")
    names = ["nothing", "file", "file/below", "empty", "long" * 100]
    for path in (tmp_path / name for name in names):
        for read in (saved_model.resolve, saved_model.load):
            with pytest.raises(UserError) as error:
                read(path)
            assert_one_line(error.value, path)


def damage(file, change):
    def apply(version):
        path = version / file
        path.write_bytes(change(path.read_bytes()))

    return apply


@pytest.mark.parametrize(
    "apply",
    [
        damage("saved_model.pb", lambda content: b""),
        damage("saved_model.pb", lambda content: content[: len(content) // 2]),
        damage("saved_model.pb", lambda content: b"\xff" * 100),
        damage("variables/variables.index", lambda content: b""),
        damage("variables/variables.data-00000-of-00001", lambda content: content[:-3]),
        damage("variables/variables.data-00000-of-00001", lambda content: bytes(byte ^ 255 for byte in content)),
        lambda version: shutil.rmtree(version / "variables"),
        lambda version: (version / "variables" / "variables.index").unlink(),
    ],
    ids=["empty", "cut", "junk", "empty index", "cut variables", "changed variables", "no variables", "no index"],
)
def test_a_damaged_model_is_told(tmp_path, apply):
    version = save(tmp_path)
    assert_loadable(tmp_path)
    apply(version)
    with pytest.raises(UserError) as error:
        saved_model.load(tmp_path)
    assert_one_line(error.value, version, "--model")


def test_a_missing_signature_is_told_with_those_there_are(tmp_path):
    version = save(tmp_path)
    with pytest.raises(UserError) as error:
        saved_model.load(tmp_path, "generate")
    assert_one_line(error.value, version, "'generate'", "serving_default", "--model")


# What TensorFlow Serving can run


@pytest.fixture(scope="module", params=["sentiment", "character", "byte", "normalized"])
def exported(request, exported_sentiment, exported_char_lm):
    return exported_sentiment if request.param == "sentiment" else exported_char_lm(request.param)


def batches(app, difficult_texts):
    """The inputs of some requests: of no text at all, of one, of many, and of a long one."""
    short_texts = [text for text in difficult_texts if len(text) < 1_000]
    some = [[], [b"The best film!"], short_texts, difficult_texts[-1:]]
    return [app.inputs(texts) for texts in some]


def unservable(saved_model):
    """What a stock TensorFlow Serving would stumble over in the graph or in any function of a SavedModel."""
    found = []
    for meta_graph in saved_model.meta_graphs:
        graph = meta_graph.graph_def
        functions = graph.library.function
        function_names = {function.signature.name for function in functions}
        nodes = [*graph.node, *(node for function in functions for node in function.node_def)]
        for node in nodes:
            # `tf.raw_ops` lists what core TensorFlow registers, whatever other libraries this process has loaded.
            if node.op not in function_names and not hasattr(tf.raw_ops, node.op):
                found.append(f"{node.op} is no core operation")
            if re.match("Cudnn|Xla|PyFunc|EagerPyFunc|PyFuncStateless", node.op):
                found.append(f"{node.op} is not in every server")
            if "GPU" in node.device:
                found.append(f"{node.op} is tied to {node.device}")
        for attributes in (*(node.attr for node in nodes), *(function.attr for function in functions)):
            found.extend(key for key, value in attributes.items() if re.search("(?i)compile", key) and value.b)
        restore = meta_graph.saver_def.restore_op_name
        restored = {name for node in graph.node if node.name == restore for name in node.input}
        variables = {node.name for node in graph.node if node.op == "VarHandleOp"}
        found.extend(f"variable {name} is never restored" for name in variables - restored)
    return sorted(set(found))


def test_the_exported_graph_has_core_operations_only(exported):
    saved_model = read_saved_model(exported.version)
    graph = saved_model.meta_graphs[0].graph_def
    operations = {node.op for function in graph.library.function for node in function.node_def}
    # The walk goes deep.
    assert {"MatMul", "StatelessWhile", "LookupTableFindV2", "Sigmoid", "UnicodeTranscode"} <= operations
    assert unservable(saved_model) == []


def with_python(text):
    return tf.ensure_shape(tf.py_function(lambda strings: tf.strings.length(strings), [text], tf.int32), [None])


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        (lambda text: tf.function(lambda n: n * n, jit_compile=True)(tf.strings.length(text)), "_XlaMustCompile"),
        (with_python, "EagerPyFunc is not in every server"),
        (lambda text: tf.numpy_function(np.shape, [text], tf.int32), "PyFunc is not in every server"),
    ],
    ids=["jit_compile", "py_function", "numpy_function"],
)
def test_the_walk_finds_what_a_server_cannot_run(tmp_path, function, complaint):
    module = Lengths()
    signature = [tf.TensorSpec([None], tf.string, name="text")]
    outer = tf.function(lambda text: {"n": function(text)}, input_signature=signature, autograph=False)
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": outer.get_concrete_function()})
    assert complaint in unservable(read_saved_model(tmp_path))


def test_the_walk_finds_foreign_operations_in_nested_functions(exported_sentiment):
    for operation, complaint in [
        ("TFText>WhitespaceTokenize", "TFText>WhitespaceTokenize is no core operation"),
        ("NoSuchOperation", "NoSuchOperation is no core operation"),
        ("CudnnRNNV3", "CudnnRNNV3 is not in every server"),
    ]:
        saved_model = read_saved_model(exported_sentiment.version)
        graph = saved_model.meta_graphs[0].graph_def
        nodes = [node for function in graph.library.function for node in function.node_def if node.op == "MatMul"]
        nodes[-1].op = operation
        assert unservable(saved_model) == [complaint]


def test_the_walk_finds_variables_that_only_python_would_fill(exported_sentiment, tmp_path):
    """As Keras layers have them when they are saved as they are."""
    holder = tf.Module()
    holder.resources = [exported_sentiment.serving.classifier, exported_sentiment.serving.table]
    signature = exported_sentiment.serving.serving_default.get_concrete_function()
    tf.saved_model.save(holder, str(tmp_path), signatures={"serving_default": signature})
    assert any("never restored" in complaint for complaint in unservable(read_saved_model(tmp_path)))


def replay_warm_up(version, model=None):
    """Run the warm-up requests as a server does; gives them by signature."""
    model = model or tf.saved_model.load(str(version))
    requests = {}
    for record in tf.data.TFRecordDataset(str(version / saved_model.WARM_UP_FILE)).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        assert request.model_spec.signature_name not in requests
        inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
        function = model.signatures[request.model_spec.signature_name]
        for value in function(**{key: tf.constant(value) for key, value in inputs.items()}).values():
            assert len(value) == len(next(iter(inputs.values())))
        requests[request.model_spec.signature_name] = (request.model_spec.name, inputs)
    assert requests.keys() == model.signatures.keys()
    return requests


def test_warm_up_has_one_request_a_signature_and_each_runs(exported):
    requests = replay_warm_up(exported.version)
    assert requests.keys() == exported.warm_up.keys() == exported.serving.signatures.keys()
    for name, (model_name, inputs) in requests.items():
        assert model_name == exported.base.name
        expected = exported.warm_up[name]
        assert inputs.keys() == expected.keys()
        for key, value in expected.items():
            value = strings(value) if inputs[key].dtype == object else np.array(value, inputs[key].dtype)
            np.testing.assert_array_equal(inputs[key], value, err_msg=f"{name} {key}")


def assert_same_answers(answers, expected, tolerance):
    assert answers.keys() == expected.keys()
    for name, outputs in expected.items():
        assert answers[name].keys() == outputs.keys()
        for key, value in outputs.items():
            answer = answers[name][key]
            assert answer.shape == value.shape, (name, key)
            if value.dtype.kind == "f":
                np.testing.assert_allclose(answer, value, rtol=2e-6, atol=tolerance, err_msg=f"{name} {key}")
            else:
                np.testing.assert_array_equal(answer, value, err_msg=f"{name} {key}")


def assert_fresh_process_agrees(apps, difficult_texts, folder):
    """One process for several models: to start it takes longer than to ask one."""
    requests = [(app.version, batches(app, difficult_texts)) for app in apps]
    for app, (_, asked), found in zip(apps, requests, answers_of_a_fresh_process(requests, folder), strict=True):
        for inputs, answers in zip(asked, found["answers"], strict=True):
            assert answers.keys() == set(found["signatures"]) == app.serving.signatures.keys()
            assert_same_answers(answers, run_signatures(app.serving.signatures, inputs), 1e-6)


@pytest.mark.usefixtures("rewritten_graphs")
@pytest.mark.thorough
def test_a_process_without_this_project_and_keras_gives_the_same_answers_of_sentiment_and_char_lm(
    exported_sentiment, exported_char_lm, difficult_texts, tmp_path
):
    apps = [exported_sentiment, exported_char_lm("character"), exported_char_lm("byte")]
    assert_fresh_process_agrees(apps, difficult_texts, tmp_path)


def run_loader(program, version, requests, folder):
    """What `run_signatures` gives for each request, from C++; or the error it came to, as a string."""
    files = [folder / f"inputs_{number}" for number in range(len(requests))]
    for file, inputs in zip(files, requests, strict=True):
        file.write_bytes(in_bytes(inputs))
    process = subprocess.run([program, version, *files], capture_output=True, timeout=120)
    if process.returncode:
        return process.stderr.decode(errors="replace")

    def array(output):
        values = [bytes.fromhex(item) if isinstance(item, str) else item for item in output["values"]]
        dtype = object if any(isinstance(item, bytes) for item in values) else None
        return np.array(values, dtype).reshape(output["shape"])

    return [
        {name: {key: array(output) for key, output in outputs.items()} for name, outputs in json.loads(line).items()}
        for line in process.stdout.splitlines()
    ]


def assert_loader_agrees(program, version, signatures, requests, folder):
    found = run_loader(program, version, requests, folder)
    assert not isinstance(found, str), found
    for inputs, answers in zip(requests, found, strict=True):
        assert_same_answers(answers, run_signatures(signatures, inputs), 1e-5)


@pytest.mark.usefixtures("rewritten_graphs")
@pytest.mark.parametrize(
    "exported", ["sentiment", pytest.param("character", marks=pytest.mark.thorough), "byte", "int8"], indirect=True
)
def test_the_loader_of_tensorflow_serving_gives_the_same_answers(loader, exported, difficult_texts, tmp_path):
    requests = batches(exported, difficult_texts)
    assert all(inputs.keys() == exported.serving.signatures.keys() for inputs in requests)
    assert_loader_agrees(loader, exported.version, exported.serving.signatures, requests, tmp_path)


def test_the_loader_tells_what_fails_only_when_it_runs(loader, tmp_path):
    signature = [tf.TensorSpec([None], tf.string, name="text")]
    function = tf.function(lambda text: {"n": with_python(text)}, input_signature=signature, autograph=False)
    tf.saved_model.save(tf.Module(), str(tmp_path / "python"), signatures=function.get_concrete_function())
    for name, input_name, complaint in [
        ("serving_default", "text", "EagerPyFunc"),
        ("other", "text", "no signature other"),
        ("serving_default", "prompt", "lacks its input text"),
    ]:
        inputs = {name: {input_name: strings(["a"])}}
        assert complaint in run_loader(loader, tmp_path / "python", [inputs], tmp_path)


# What ships


@functools.cache
def loaded(version):
    """Once: the first call of a signature takes longest."""
    return saved_model.load(version)


def shipped(app):
    return [SHIPPED / app / str(number) for number in saved_model.versions(SHIPPED / app)]


def some_inputs(version, signatures, texts):
    """Inputs for every signature of a version that ships."""
    if version.parent.name == "sentiment":
        # Versions of before have fewer signatures.
        return {name: inputs for name, inputs in sentiment_inputs(texts).items() if name in signatures}
    if version.parent.name == "translation":
        return translation_inputs(texts)
    specs = signatures["step"].structured_input_signature[1]
    state = [name for name in specs if name != "char"]
    return char_lm_inputs(texts, state, specs[state[0]].shape[1])


@pytest.mark.parametrize("version", [version for app in LARGEST for version in shipped(app)])
@pytest.mark.thorough
def test_what_ships_is_small_and_servable(version):
    assert unservable(read_saved_model(version)) == []
    assert sum(path.stat().st_size for path in version.rglob("*") if path.is_file()) <= LARGEST[version.parent.name]
    assert (version.parent / saved_model.MODEL_CARD).stat().st_size > 0
    assert (version / "assets.extra" / saved_model.MODEL_CARD).stat().st_size > 0
    signatures = loaded(version).signatures
    assert replay_warm_up(version, loaded(version)).keys() == signatures.keys()
    texts = [b"", b"The king is dead.", "😀e\u0301".encode(), b"\xff\x00", b"x" * 2**20]
    inputs = some_inputs(version, signatures, texts)
    assert inputs.keys() == signatures.keys()
    for name, answer in run_signatures(signatures, inputs).items():
        for key, value in answer.items():
            assert len(value) == len(texts), (name, key)
            assert value.dtype == object or np.all(np.isfinite(value)), (name, key)


@pytest.mark.usefixtures("rewritten_graphs")
@pytest.mark.parametrize("version", [version for app in LARGEST for version in shipped(app)])
@pytest.mark.thorough
def test_the_loader_of_tensorflow_serving_runs_what_ships(loader, version, tmp_path):
    signatures = loaded(version).signatures
    inputs = some_inputs(version, signatures, [b"", b"The king is dead.", "😀e\u0301".encode(), b"\xff\x00"])
    assert_loader_agrees(loader, version, signatures, [inputs], tmp_path)


@pytest.mark.parametrize("version", shipped("sentiment"))
def test_a_shipped_sentiment_model_knows_praise_from_blame(version, difficult_texts):
    texts = [b"One of the best films of the year.", b"A dull, lifeless mess.", *difficult_texts]
    signatures = loaded(version).signatures
    answers = run_signatures(signatures, some_inputs(version, signatures, texts))
    assert answers["serving_default"]["label"][:2].tolist() == [b"positive", b"negative"]
    assert answers["explain"]["label"][:2].tolist() == [b"positive", b"negative"]
    assert (answers["classify"]["scores"][:2].argmax(axis=1) == [1, 0]).all()
    assert np.all(np.isfinite(answers["serving_default"]["score"]))


LINES = [
    "But soft, what light through yonder window breaks?",
    "My lord, I pray you, give me leave to speak.",
    "The king is dead, and all his men are fled.",
]


@pytest.mark.parametrize("version", shipped("char_lm"))
def test_a_shipped_character_model_knows_english_from_its_letters(version):
    signatures = loaded(version).signatures
    rng = np.random.default_rng(0)
    for line in LINES:
        shuffled = ["".join(rng.permutation(list(line))) for _ in range(3)]
        english, *others = signatures["score"](text=tf.constant([line, *shuffled]))["bits_per_char"].numpy()
        assert english < min(others) - 1.0
    texts = signatures["serving_default"](prompt=tf.constant(["ROMEO:", ""]))["text"].numpy()
    assert texts[0].startswith(b"ROMEO:")
    assert len(texts[0].decode("utf-8")) == len("ROMEO:") + len(texts[1].decode("utf-8")) > 200


@pytest.mark.parametrize("version", shipped("translation"))
def test_a_shipped_translator_knows_words(version):
    signatures = loaded(version).signatures
    words = {"A man is riding a bike.": ("Mann", "Fahrrad"), "Two dogs run on the beach.": ("Zwei", "Hunde", "Strand")}
    answer = signatures["serving_default"](text=tf.constant([*words, ""]))["translation"].numpy()
    for translation, expected in zip(answer.tolist(), [*words.values(), ()], strict=True):
        assert all(word.encode() in translation for word in expected), translation
    assert answer[-1] == b""
