"""Run the signatures of a SavedModel; as a script, in a process that has TensorFlow and nothing of this project.

    python saved_model_in_fresh_process.py MODEL BATCHES ANSWERS

`BATCHES` is a pickled list of what `run_signatures` takes as inputs; `ANSWERS` gets, pickled, what it returns for each,
the names of all signatures, and those of all modules that were imported.
"""

import importlib.abc
import importlib.machinery
import pickle
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


if __name__ == "__main__":
    model_path, batches_path, answers_path = sys.argv[1:]
    sys.meta_path.insert(0, Forbid())
    import tensorflow as tf

    model = tf.saved_model.load(model_path)
    batches = pickle.loads(Path(batches_path).read_bytes())
    result = {
        "answers": [run_signatures(model.signatures, inputs) for inputs in batches],
        "signatures": list(model.signatures),
        "modules": sorted(sys.modules),
    }
    Path(answers_path).write_bytes(pickle.dumps(result))
