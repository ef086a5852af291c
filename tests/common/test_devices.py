"""Names of devices: which are known, which are there, and what is said of the others. GPUs are simulated."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
import torch

from resight.common.devices import full_float32, resolve_device
from resight.errors import ResightError


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes torch see a number of GPUs."""

    def see(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return see


def test_auto_is_a_gpu_where_there_is_one(gpus: Callable[[int], None]) -> None:
    gpus(0)
    assert resolve_device() == torch.device("cpu")
    gpus(2)
    assert resolve_device() == torch.device("cuda")
    assert resolve_device("auto") == torch.device("cuda")


@pytest.mark.parametrize("name", ["cpu", "cuda", "cuda:0", "cuda:1"])
def test_a_device_that_is_there(name: str, gpus: Callable[[int], None]) -> None:
    gpus(2)
    assert resolve_device(name) == torch.device(name)
    assert resolve_device(torch.device(name)) == torch.device(name)


def test_the_cpu_needs_no_gpu(gpus: Callable[[int], None]) -> None:
    gpus(0)
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["mps", "gpu", "cuda:", "cuda:x", "cuda:-1", "CPU", "", "cpu:1", "cuda:0:1"])
def test_a_name_that_is_none_lists_those_that_are(name: str, gpus: Callable[[int], None]) -> None:
    gpus(1)
    with pytest.raises(ResightError, match=f"^There is no device '{name}': choose auto, cpu, cuda, or cuda:N"):
        resolve_device(name)


def test_a_torch_device_of_another_kind(gpus: Callable[[int], None]) -> None:
    gpus(1)
    with pytest.raises(ResightError, match="There is no device 'mps'"):
        resolve_device(torch.device("mps"))


@pytest.mark.parametrize(
    ("count", "name", "seen"),
    [
        (0, "cuda", "it sees no GPU"),
        (0, "cuda:0", "it sees no GPU"),
        (1, "cuda:1", "it sees 1 GPU, numbered from 0"),
        (2, "cuda:7", "it sees 2 GPUs, numbered from 0"),
    ],
)
def test_a_gpu_that_is_not_there(count: int, name: str, seen: str, gpus: Callable[[int], None]) -> None:
    gpus(count)
    with pytest.raises(ResightError) as error:
        resolve_device(name)
    assert str(error.value).startswith(f"The device '{name}' is not available: torch {torch.__version__} was asked")
    assert seen in str(error.value)
    assert "Choose auto or cpu" in str(error.value)


def test_gpus_of_a_build_without_cuda_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)  # as with a driver that is too old
    assert resolve_device("auto") == torch.device("cpu")
    with pytest.raises(ResightError, match="it sees no GPU"):
        resolve_device("cuda")


def test_full_float32_ends_with_its_block() -> None:
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with full_float32():
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "medium"
        with contextlib.suppress(KeyError), full_float32():
            raise KeyError
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
