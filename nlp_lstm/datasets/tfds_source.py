"""Opening a set of TensorFlow Datasets, and telling in one line what went wrong on the way."""

import contextlib
import re
import sys
from collections.abc import Iterator
from typing import Any

from nlp_lstm.datasets.compressed import reason
from nlp_lstm.errors import UserError

NAME = re.compile(r"[a-z][a-z0-9_]*(/[\w.-]+)?(:[\d.*]+)?", re.ASCII)
"""A TensorFlow Datasets name: set, configuration, version."""


@contextlib.contextmanager
def opened(name: str, example: str) -> Iterator[Any]:
    """The builder of a set; what is done with it inside is told as that set's if it fails.

    >>> with opened("tiny_shakespeare", example="tiny_shakespeare") as builder:  # doctest: +SKIP
    ...     builder.download_and_prepare()  # to `TFDS_DATA_DIR` or `~/tensorflow_datasets`, on first use

    TensorFlow Datasets prints to standard output; here that goes to standard error.

    Args:
        name: The set, as `set/configuration:version`; the last two may be left out.
        example: A set that would do, for the error that tells of none.

    Raises:
        UserError: No such set, or anything that goes wrong inside.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise UserError(
            f"reading {name!r} needs TensorFlow Datasets ({reason(error)}): pip install tensorflow-datasets"
        ) from error
    with contextlib.redirect_stdout(sys.stderr):
        try:
            builder = tfds.builder(name)
        except tfds.core.DatasetNotFoundError as error:
            raise UserError(
                f"{name!r} is no file or folder here, and TensorFlow Datasets has no set of that name: check the path, "
                f"or take 'sample' or '{example}'"
            ) from error
        except Exception as error:  # an unknown version is an AssertionError, an unknown configuration a ValueError
            raise UserError(f"TensorFlow Datasets cannot open {name!r}: {reason(error)}") from error
        try:
            yield builder
        except UserError:
            raise
        except Exception as error:  # network, checksum, disk, Apache Beam: each comes with exceptions of its own
            # Some sets need modules that TensorFlow Datasets does not install.
            missing = error.name if isinstance(error, ModuleNotFoundError) else None
            mend = f"pip install {missing}" if missing else "check the connection and the disk, or name a local copy"
            raise UserError(
                f"TensorFlow Datasets cannot prepare {name!r}: {type(error).__name__}: {reason(error)}: {mend}"
            ) from error


def features_of(builder: Any) -> dict[str, Any]:
    """The features of a set by name; none where it is not a set of named features."""
    import tensorflow_datasets as tfds

    features = builder.info.features
    return dict(features.items()) if isinstance(features, tfds.features.FeaturesDict) else {}
