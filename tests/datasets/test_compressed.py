"""Packed files: what they unpack to is read whole, and a decompression bomb is refused with its size."""

import bz2
import gzip
import io
import lzma
import tarfile
import tracemalloc

import numpy as np
import pytest

from nlp_lstm.datasets import compressed
from nlp_lstm.datasets.compressed import open_decompressed
from nlp_lstm.datasets.corpus import load_corpus
from nlp_lstm.datasets.pairs import load_pairs
from nlp_lstm.datasets.reviews import load_reviews
from nlp_lstm.errors import UserError

PACK = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


def read_in_pieces(stream, rng):
    """By every way of reading that readers use."""
    pieces = []
    while True:
        size = int(rng.integers(1, 5000))
        way = rng.integers(3)
        if way == 0:
            piece = stream.read(size)
        elif way == 1:
            piece = stream.readline()
        else:
            buffer = bytearray(size)
            piece = bytes(buffer[: stream.readinto(buffer)])
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)


@pytest.mark.parametrize("suffix", ["", *PACK])
def test_all_of_a_file_is_given(tmp_path, suffix):
    rng = np.random.default_rng(0)
    content = rng.bytes(200_000) + b"\n" + b"a line\n" * 20_000
    path = tmp_path / f"text{suffix}"
    path.write_bytes(PACK.get(suffix, bytes)(content))
    with open_decompressed(path) as stream:
        assert stream.read() == content
        assert stream.read() == b""
    with open_decompressed(path) as stream:
        assert read_in_pieces(stream, rng) == content
    with open_decompressed(path) as stream:
        assert list(stream) == list(io.BytesIO(content))
    assert stream.closed


@pytest.mark.parametrize("suffix", PACK)
def test_a_bomb_is_refused_with_its_size_before_it_fills_the_memory(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(compressed, "UNSUSPECTED_SIZE", 100_000)
    path = tmp_path / f"bomb{suffix}"
    path.write_bytes(PACK[suffix](bytes(20_000_000)))
    size = path.stat().st_size
    limit = max(100_000, 100 * size)
    assert limit < 10_000_000
    tracemalloc.start()
    with open_decompressed(path) as stream, pytest.raises(UserError) as error:
        stream.read()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert f"its {size:,} bytes unpack to more than {limit:,}" in str(error.value) and str(path) in str(error.value)
    assert peak < 15_000_000  # of which xz takes 8 for its dictionary


@pytest.mark.parametrize("suffix", PACK)
def test_what_is_in_proportion_is_no_bomb(tmp_path, monkeypatch, suffix):
    """Beyond the size that is never suspected; and below it, whatever the proportion."""
    content = " ".join(np.random.default_rng(0).choice(["a", "film", "of", "dull", "the"], 50_000)).encode()
    path = tmp_path / f"text{suffix}"
    path.write_bytes(PACK[suffix](content))
    assert compressed.UNSUSPECTED_SIZE > 1_000_000
    monkeypatch.setattr(compressed, "UNSUSPECTED_SIZE", 1_000)
    with open_decompressed(path) as stream:
        assert stream.read() == content
    monkeypatch.setattr(compressed, "UNSUSPECTED_SIZE", 1_000_000)
    path.write_bytes(PACK[suffix](bytes(1_000_000)))
    with open_decompressed(path) as stream:
        assert stream.read() == bytes(1_000_000)


def tar_of(content):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo("aclImdb/train/pos/0_9.txt")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "load"),
    [
        ("input.txt.gz", b"a\n" * 500_000, lambda path: load_corpus(path, ["train"])),
        ("train.csv.xz", b"text,label\n" + b"a,1\n" * 500_000, lambda path: load_reviews(path, ["train"])),
        ("train.jsonl.bz2", b'{"text": "a", "label": 1}\n' * 50_000, lambda path: load_reviews(path, ["train"])),
        ("pairs.tsv.gz", b"a\tb\n" * 500_000, lambda path: load_pairs(path, ["train"])),
        ("pairs.csv.xz", b"en,de\n" + b"a,b\n" * 500_000, lambda path: load_pairs(path, ["train"])),
        ("pairs.jsonl.xz", b'{"en": "a", "de": "b"}\n' * 50_000, lambda path: load_pairs(path, ["train"])),
        (
            "pairs.tmx.gz",
            b'<tmx version="1.4"><header srclang="en"/><body>' + b" " * 1_000_000,
            lambda path: load_pairs(path, ["train"]),
        ),
        ("set.tar.xz", tar_of(b"a" * 1_000_000), lambda path: load_reviews(path, ["train"])),
        ("set.tar.bz2", tar_of(b"a") + bytes(1_000_000), lambda path: load_reviews(path, ["train"])),
    ],
)
def test_every_reader_refuses_bombs(tmp_path, monkeypatch, name, content, load):
    path = tmp_path / name
    path.write_bytes(PACK[path.suffix](content))
    monkeypatch.setattr(compressed, "UNSUSPECTED_SIZE", 10_000)
    monkeypatch.setattr(compressed, "MOST_TIMES_PACKED", 2)
    with pytest.raises(UserError, match="decompression bomb") as error:
        load(str(path))
    assert len(str(error.value).splitlines()) == 1
    assert f"{path.stat().st_size:,} bytes" in str(error.value)
