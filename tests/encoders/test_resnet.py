"""ResNets: torchvision's names and shapes, and a forward pass equal to one written out from the state dict."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from resight.encoders.resnet import ResNet

REPEATS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


def built_without_memory(depth: int, **options: object) -> ResNet:
    with torch.device("meta"):
        return ResNet(depth, **options)  # type: ignore[arg-type]


def norm_shapes(name: str, channels: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{part}", (channels,)
    yield f"{name}.num_batches_tracked", ()


def torchvision_shapes(depth: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """What ``torchvision.models.resnetXX().state_dict()`` holds, the classifier left out."""
    yield "conv1.weight", (64, 3, 7, 7)
    yield from norm_shapes("bn1", 64)
    inputs = 64
    for stage, repeats in enumerate(REPEATS[depth], start=1):
        width = 32 * 2**stage
        for block in range(repeats):
            name = f"layer{stage}.{block}"
            if depth < 50:
                outputs = width
                kernels = [(width, inputs, 3, 3), (width, width, 3, 3)]
            else:
                outputs = 4 * width
                kernels = [(width, inputs, 1, 1), (width, width, 3, 3), (outputs, width, 1, 1)]
            for number, kernel in enumerate(kernels, start=1):
                yield f"{name}.conv{number}.weight", kernel
                yield from norm_shapes(f"{name}.bn{number}", kernel[0])
            if block == 0 and (stage > 1 or depth >= 50):
                yield f"{name}.downsample.0.weight", (outputs, inputs, 1, 1)
                yield from norm_shapes(f"{name}.downsample.1", outputs)
            inputs = outputs


@pytest.mark.parametrize("depth", [18, 34, 50, 101])
def test_names_and_shapes_are_those_of_torchvision(depth: int) -> None:
    own = {name: tuple(value.shape) for name, value in built_without_memory(depth).state_dict().items()}
    assert own == dict(torchvision_shapes(depth))


@pytest.mark.parametrize(("depth", "count"), [(18, 11_176_512), (34, 21_284_672), (50, 23_508_032), (101, 42_500_160)])
def test_parameter_counts_are_the_published_ones_without_classifier(depth: int, count: int) -> None:
    assert sum(p.numel() for p in built_without_memory(depth).parameters()) == count


@pytest.mark.parametrize("depth", [18, 50])
def test_ibn_replaces_the_first_norm_of_every_block_of_three_stages(depth: int) -> None:
    plain = set(built_without_memory(depth).state_dict())
    ibn = built_without_memory(depth, ibn=True).state_dict()
    firsts = [f"layer{stage}.{block}.bn1" for stage in (1, 2, 3) for block in range(REPEATS[depth][stage - 1])]
    gone = {f"{name}.{part}" for name in firsts for part, _ in _parts(plain, name)}
    parts = ("IN.weight", "IN.bias", *(f"BN.{part}" for part, _ in _parts(plain, "bn1")))
    assert set(ibn) == plain - gone | {f"{name}.{part}" for name in firsts for part in parts}
    assert ibn["layer3.0.bn1.IN.weight"].shape == ibn["layer3.0.bn1.BN.weight"].shape == (128,)


def _parts(names: set[str], prefix: str) -> list[tuple[str, str]]:
    return [(name[len(prefix) + 1 :], name) for name in sorted(names) if name.startswith(prefix + ".")]


@pytest.mark.parametrize(("depth", "channels"), [(18, 512), (50, 2048)])
def test_last_stride_1_doubles_the_map(depth: int, channels: int) -> None:
    images = torch.empty(2, 3, 128, 64, device="meta")
    assert built_without_memory(depth, last_stride=2)(images).shape == (2, channels, 4, 2)
    assert built_without_memory(depth, last_stride=1)(images).shape == (2, channels, 8, 4)


@pytest.mark.parametrize(
    ("multiplier", "widths"), [(0.25, (16, 32, 64, 128)), (0.1, (8, 16, 24, 48)), (2, (128, 1024))]
)
def test_width_multiplier_scales_every_stage_in_steps_of_8(multiplier: float, widths: tuple[int, ...]) -> None:
    state = built_without_memory(50, width_multiplier=multiplier).state_dict()
    assert state["conv1.weight"].shape[0] == widths[0]
    found = tuple(state[f"layer{stage}.0.conv2.weight"].shape[0] for stage in (1, 2, 3, 4))
    assert (found[0], found[-1]) == (widths[0], widths[-1])
    if len(widths) == 4:
        assert found == widths
    assert built_without_memory(50, width_multiplier=multiplier).channels == 4 * widths[-1]


def written_out(state: dict[str, Tensor], depth: int, last_stride: int, images: Tensor) -> Tensor:
    """The network in evaluation mode, from the state dict alone."""

    def norm(name: str, x: Tensor) -> Tensor:
        if f"{name}.IN.weight" in state:
            half = len(state[f"{name}.IN.weight"])
            first, rest = x[:, :half], x[:, half:]
            centred = first - first.mean((2, 3), keepdim=True)
            first = centred / (centred.square().mean((2, 3), keepdim=True) + 1e-5).sqrt()
            first = first * state[f"{name}.IN.weight"].view(-1, 1, 1) + state[f"{name}.IN.bias"].view(-1, 1, 1)
            return torch.cat([first, norm(f"{name}.BN", rest)], 1)
        mean, var, weight, bias = (
            state[f"{name}.{part}"].view(-1, 1, 1) for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    x = norm("bn1", F.conv2d(images, state["conv1.weight"], stride=2, padding=3)).clamp(min=0)
    x = F.max_pool2d(x, 3, stride=2, padding=1)
    for stage, repeats in enumerate(REPEATS[depth], start=1):
        for block in range(repeats):
            stride = (1, 2, 2, last_stride)[stage - 1] if block == 0 else 1
            name = f"layer{stage}.{block}"
            y, strided = x, 1 if depth < 50 else 2  # which convolution carries the stride
            for number in (1, 2) if depth < 50 else (1, 2, 3):
                kernel = state[f"{name}.conv{number}.weight"]
                if number > 1:
                    y = y.clamp(min=0)
                y = F.conv2d(y, kernel, stride=stride if number == strided else 1, padding=kernel.shape[2] // 2)
                y = norm(f"{name}.bn{number}", y)
            if f"{name}.downsample.0.weight" in state:
                x = norm(f"{name}.downsample.1", F.conv2d(x, state[f"{name}.downsample.0.weight"], stride=stride))
            x = (x + y).clamp(min=0)
    return x


@pytest.mark.parametrize("ibn", [False, True])
@pytest.mark.parametrize(("depth", "last_stride"), [(18, 1), (50, 2)])
def test_forward_equals_the_network_written_out(depth: int, last_stride: int, ibn: bool) -> None:
    torch.manual_seed(0)
    net = ResNet(depth, last_stride, width_multiplier=0.25, ibn=ibn).double().eval()
    for name, value in net.state_dict().items():  # norms that do something
        if name.endswith(("running_var", "bn1.weight", "bn2.weight", "bn3.weight")):
            value.uniform_(0.5, 1.5)
        elif name.endswith(("running_mean", "bias")):
            value.normal_(0, 0.1)
    images = torch.randn(2, 3, 64, 32, dtype=torch.float64)
    with torch.no_grad():
        found = net(images)
        expected = written_out(net.state_dict(), depth, last_stride, images)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(found, expected)
