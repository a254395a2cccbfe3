"""The C++ program around the loader that TensorFlow Serving uses: how it is built, and what it reads."""

import shutil
import struct
import subprocess
from pathlib import Path

import tensorflow as tf

SOURCE = Path(__file__).with_name("saved_model_loader.cc")


def build(folder):
    """Build it into a folder with g++; the TensorFlow wheel carries what it needs."""
    program, library = folder / "saved_model_loader", tf.sysconfig.get_lib()
    command = [
        *("g++", "-O0", "-w", "-std=c++17", *tf.sysconfig.get_compile_flags()),
        *(str(SOURCE), "-o", str(program)),
        *("-Wl,--no-as-needed", f"-L{library}", "-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2"),
        *(f"-Wl,-rpath,{library}", "-pthread"),
        *(["-fuse-ld=gold"] if shutil.which("ld.gold") else []),  # links in a third of the time
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-5000:]
    return program


def in_bytes(inputs):
    """The inputs of signatures, `{signature: {input: array}}`, as the program reads them."""
    number = struct.Struct("<I").pack
    counted = lambda text: number(len(text)) + text  # noqa: E731
    written = b""
    for signature, arrays in inputs.items():
        for name, array in arrays.items():
            dtype = tf.string if array.dtype == object else tf.as_dtype(array.dtype)
            written += counted(signature.encode()) + counted(name.encode())
            written += number(dtype.as_datatype_enum) + number(array.ndim) + b"".join(map(number, array.shape))
            written += b"".join(map(counted, array)) if dtype == tf.string else array.tobytes()
    return written
