"""What this machine's processor can multiply, where a setting pays on some processors and costs on others."""

from pathlib import Path

from nlp_lstm.notices import tell

_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}  # Intel's and AMD's names of it, and Arm's
_LISTS = ("flags", "Features")  # x86 and Arm


def has_bfloat16_products(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool | None:
    """Whether the processor multiplies in bfloat16 itself; None where the system does not tell, as only Linux does.

    >>> has_bfloat16_products(Path("no/such/file")) is None
    True

    Args:
        cpuinfo: where Linux lists what its processors can do.
    """
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    listed = [line.partition(":") for line in lines]
    found = [names.split() for title, _, names in listed if title.strip() in _LISTS]
    return any(_BFLOAT16.intersection(names) for names in found) if found else None


def has_gpu() -> bool:
    """Whether TensorFlow's products are a GPU's."""
    import tensorflow as tf  # here, since few ask

    return bool(tf.config.list_physical_devices("GPU"))


def tell_if_slower(precision: str) -> None:
    """Say on standard error that training in bfloat16 takes longer here than in float32, where it does.

    Args:
        precision: of a run's settings.
    """
    if precision == "mixed_bfloat16" and has_bfloat16_products() is False and not has_gpu():
        # On an Intel processor with AVX-512 and without AVX512-BF16 a step of the layer took 2.0 to 2.5 times as long.
        tell(
            "this processor has no bfloat16 products, which are put together from others: --precision float32 trains "
            "in about half the time"
        )
