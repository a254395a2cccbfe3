"""Which processors multiply in bfloat16, by what Linux says of them, and who is told that one does not."""

from pathlib import Path

import pytest

from nlp_lstm import processor
from nlp_lstm.processor import has_bfloat16_products, tell_if_slower

FLAGS = {
    "flags\t\t: fpu avx512f avx512_bf16 amx_tile\n": True,
    "flags\t\t: fpu amx_bf16\n": True,
    "processor\t: 0\nflags\t\t: fpu avx512f avx512_vnni\n\nprocessor\t: 1\nflags\t\t: fpu avx512f\n": False,
    "vmx flags\t: avx512_bf16\nflags\t\t: fpu\n": False,  # another list, which says nothing of products
    "Features\t: fp asimd bf16 i8mm\n": True,
    "Features\t: fp asimd\n": False,
    "cpu\t: POWER9\n": None,
}


@pytest.mark.parametrize(("text", "expected"), FLAGS.items())
def test_what_linux_tells(tmp_path, text, expected):
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    assert has_bfloat16_products(path) is expected


@pytest.mark.parametrize(
    ("precision", "found", "has_gpu", "told"),
    [
        ("mixed_bfloat16", False, False, True),
        ("mixed_bfloat16", False, True, False),
        ("mixed_bfloat16", True, False, False),
        ("mixed_bfloat16", None, False, False),
        ("float32", False, False, False),
    ],
)
def test_who_is_told(monkeypatch, capsys, precision, found, has_gpu, told):
    monkeypatch.setattr(processor, "has_bfloat16_products", lambda: found)
    monkeypatch.setattr(processor, "has_gpu", lambda: has_gpu)
    tell_if_slower(precision)
    assert ("--precision float32 trains in about half the time" in capsys.readouterr().err) is told


def test_this_machine_is_asked_as_it_is():
    listed = Path("/proc/cpuinfo")
    assert (has_bfloat16_products() is None) is (
        not listed.exists() or not any(name in listed.read_text() for name in ("flags\t", "Features\t"))
    )
