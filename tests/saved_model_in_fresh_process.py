"""Run every signature of a SavedModel; as a script, in a process that has TensorFlow and nothing of this project.

    python saved_model_in_fresh_process.py MODEL BATCHES ANSWERS

`BATCHES` is a pickled list of batches, each a list of texts as bytes; `ANSWERS` gets, pickled, for each batch what
`run_signatures` returns and the names of all modules that were imported.
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


def serialized_example(text=None):
    """A serialized `tf.Example` with the feature `text`, or with none."""
    import tensorflow as tf

    feature = {}
    if text is not None:
        feature["text"] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[text]))
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def run_signatures(signatures, texts):
    """`{signature: {output: array}}` for a batch of texts; `classify` gets them as `tf.Example`s."""
    import tensorflow as tf

    answers = {}
    for name, function in signatures.items():
        if name == "classify":
            inputs = {"inputs": tf.constant([serialized_example(text) for text in texts], tf.string)}
        else:
            inputs = {"text": tf.constant(texts, tf.string)}
        answers[name] = {key: value.numpy() for key, value in function(**inputs).items()}
    return answers


if __name__ == "__main__":
    model_path, batches_path, answers_path = sys.argv[1:]
    sys.meta_path.insert(0, Forbid())
    import tensorflow as tf

    model = tf.saved_model.load(model_path)
    batches = pickle.loads(Path(batches_path).read_bytes())
    answers = [run_signatures(model.signatures, texts) for texts in batches]
    Path(answers_path).write_bytes(pickle.dumps({"answers": answers, "modules": sorted(sys.modules)}))
