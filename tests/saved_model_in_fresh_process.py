"""Run the signatures of SavedModels; as a script, in a process that has TensorFlow and nothing of this project.

    python saved_model_in_fresh_process.py REQUESTS ANSWERS

`REQUESTS` is a pickled list of pairs: the path of a model, and a list of what `run_signatures` takes as inputs.
`ANSWERS` gets for each model, pickled, what it returns for each of these, and the names of all signatures; and then the
names of all modules that were imported.
"""

import importlib.abc
import importlib.machinery
import os
import pickle
import subprocess
import sys
from pathlib import Path

FORBIDDEN = ("nlp_lstm", "keras", "tf_keras", "tensorflow_serving", "tensorflow_text")


class Forbid(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """An importer, asked before all others, that finds what a served model must do without and fails to load it."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in FORBIDDEN:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def exec_module(self, module):
        raise ModuleNotFoundError(f"a served model must do without {module.__name__}", name=module.__name__)


def run_signatures(signatures, inputs):
    """`{signature: {output: array}}` of `{signature: {input: array}}`; strings are arrays of bytes objects."""
    import tensorflow as tf

    answers = {}
    for name, arrays in inputs.items():
        function = signatures[name]
        tensors = {
            key: tf.constant(value, tf.string if value.dtype == object else value.dtype)
            for key, value in arrays.items()
        }
        if hasattr(function, "get_concrete_function"):  # not loaded: it may know its arguments by place alone
            specs = tf.nest.flatten(function.get_concrete_function().structured_input_signature)
            outputs = function(*(tensors.pop(spec.name) for spec in specs))
            assert not tensors, f"{name} takes no {list(tensors)}"
        else:
            outputs = function(**tensors)
        answers[name] = {key: value.numpy() for key, value in outputs.items()}
    return answers


def answers_of_a_fresh_process(requests, folder):
    """Of each model and its inputs the answers and the names of its signatures."""
    (folder / "requests").write_bytes(pickle.dumps([(str(path), batches) for path, batches in requests]))
    process = subprocess.run(
        # The folder of the script is no place to import from.
        [sys.executable, "-P", __file__, folder / "requests", folder / "answers"],
        cwd=folder,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        capture_output=True,
        timeout=600,
    )
    assert process.returncode == 0, process.stderr.decode()
    answered, modules = pickle.loads((folder / "answers").read_bytes())
    assert "tensorflow" in modules
    assert [name for name in modules if name.split(".")[0] in FORBIDDEN] == []
    return answered


if __name__ == "__main__":
    requests_path, answers_path = sys.argv[1:]
    sys.meta_path.insert(0, Forbid())
    import tensorflow as tf

    answered = []
    for path, batches in pickle.loads(Path(requests_path).read_bytes()):
        model = tf.saved_model.load(path)
        answers = [run_signatures(model.signatures, inputs) for inputs in batches]
        answered.append({"answers": answers, "signatures": list(model.signatures)})
    Path(answers_path).write_bytes(pickle.dumps((answered, sorted(sys.modules))))
