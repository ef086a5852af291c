"""The device that computes, and in which precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from resight.errors import ResightError

if TYPE_CHECKING:
    import torch


def resolve_device(name: str | torch.device = "auto") -> torch.device:
    """The torch device of a name.

    Args:
        name: ``cpu``, ``cuda`` (the current GPU), ``cuda:N`` (GPU number N), or ``auto``: a GPU if there is one, else
            the CPU. A ``torch.device`` is checked in the same way.

    Raises:
        ResightError: the name is none of these, or this machine or this build of torch has no such GPU.
    """
    import torch

    text = str(name) if isinstance(name, str | torch.device) else ""
    if text == "auto":
        text = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = text.partition(":")
    known = text in ("cpu", "cuda") or (kind == "cuda" and number.isascii() and number.isdecimal())
    if not known:
        raise ResightError(f"There is no device '{name}': choose auto, cpu, cuda, or cuda:N for GPU number N.")
    if kind == "cpu":
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(number or 0) >= count:
        have = f"it sees {count} GPU{'s' if count > 1 else ''}, numbered from 0" if count else "it sees no GPU"
        raise ResightError(
            f"The device '{name}' is not available: torch {torch.__version__} was asked, and {have}. Choose auto or "
            "cpu, or install a build of torch that fits the GPU's driver."
        )
    return torch.device(text)


def fast_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 matrices in hardware. Where it does not, they are far slower than float32.

    GPUs: compute capability 8.0 (Ampere) and newer. CPUs: AVX-512 BF16 or AMX on x86, BF16 on Arm.
    """
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if not hasattr(torch.cpu, "get_capabilities"):  # torch before 2.9
        return False
    found = torch.cpu.get_capabilities()
    return any(found.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


@contextmanager
def full_float32() -> Iterator[None]:
    """Products of float32 matrices in full float32 for a while; TF32 would keep 10 bits of each number."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
