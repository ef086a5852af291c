"""Voxel attention: its formula by loops, what has parameters, any backbone, and starting from a whole trained run."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from resight.encoders import Encoder, EncoderConfig, map_images
from resight.encoders.attention import VoxelAttention, activation_map
from resight.encoders.weights import EXTENSION
from resight.errors import ResightError


def attended(module: VoxelAttention, image: Tensor) -> tuple[list[list[float]], list[float], Tensor]:
    """S before rescaling, Ch and A ⊗ F of one feature map ``(C, H, W)``, number by number."""
    channels, height, width = image.shape
    values = image.tolist()
    means = [[sum(values[c][y][x] for c in range(channels)) / channels for x in range(width)] for y in range(height)]
    total = sum(math.exp(value) for row in means for value in row)
    spatial = [[math.exp(value) / total for value in row] for row in means]
    pooled = [sum(map(sum, plane)) / (height * width) for plane in values]
    hidden = [
        max(0.0, bias + sum(w * v for w, v in zip(row, pooled, strict=True)))
        for row, bias in zip(module.squeeze.weight.tolist(), module.squeeze.bias.tolist(), strict=True)
    ]
    channel = [
        1 / (1 + math.exp(-bias - sum(w * v for w, v in zip(row, hidden, strict=True))))
        for row, bias in zip(module.excite.weight.tolist(), module.excite.bias.tolist(), strict=True)
    ]
    factor = height * width if module.rescale else 1
    output = torch.empty_like(image)
    for c in range(channels):
        for y in range(height):
            for x in range(width):
                output[c, y, x] = values[c][y][x] * spatial[y][x] * factor * channel[c]
    return spatial, channel, output


@pytest.mark.parametrize("rescale", [False, True])
@pytest.mark.parametrize(("channels", "height", "width"), [(7, 4, 3), (3, 1, 5)])
def test_equals_the_formula_written_out(channels: int, height: int, width: int, rescale: bool) -> None:
    torch.manual_seed(0)
    module = VoxelAttention(channels, hidden=4, rescale=rescale)
    maps = 3 * torch.randn(2, channels, height, width)
    found, spatial, channel = module(maps), module.spatial(maps), module.channel(maps)
    assert spatial.shape == (2, 1, height, width)
    assert channel.shape == (2, channels, 1, 1)
    for i, image in enumerate(maps):
        by_place, by_channel, expected = attended(module, image)
        torch.testing.assert_close(spatial[i, 0], torch.tensor(by_place))
        torch.testing.assert_close(channel[i].flatten(), torch.tensor(by_channel))
        torch.testing.assert_close(found[i], expected)
    torch.testing.assert_close(spatial.sum((2, 3)), torch.ones(2, 1))


def test_the_spatial_part_has_no_parameters_and_the_channel_part_two_layers() -> None:
    module = VoxelAttention(32, hidden=800)
    shapes = {name: tuple(value.shape) for name, value in module.named_parameters()}
    assert shapes == {
        "squeeze.weight": (800, 32), "squeeze.bias": (800,), "excite.weight": (32, 800), "excite.bias": (32,),
    }  # fmt: skip
    before, maps = module.spatial(torch.ones(1, 32, 2, 2).triu()), torch.ones(1, 32, 2, 2).triu()
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    assert torch.equal(module.spatial(maps), before)


def test_a_map_without_preferred_places_keeps_its_scale_by_place() -> None:
    module, maps = VoxelAttention(6, hidden=3), torch.rand(2, 6, 1, 1).expand(2, 6, 4, 2)
    torch.testing.assert_close(module(maps), maps * module.channel(maps))


def test_large_activations_stay_finite() -> None:
    module = VoxelAttention(6, hidden=3)
    maps = torch.zeros(1, 6, 3, 2)
    maps[..., 1, 1] = 1e4
    found = module(maps.bfloat16())
    assert found.dtype == torch.float32
    assert found.isfinite().all()
    torch.testing.assert_close(module.spatial(maps)[0, 0, 1, 1], torch.tensor(1.0))


def test_gradients() -> None:
    torch.manual_seed(0)
    module = VoxelAttention(3, hidden=4).double()
    maps = torch.randn(2, 3, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(module, (maps,))
    parameters = dict(module.named_parameters())

    def of_parameters(*values: Tensor) -> Tensor:
        return torch.func.functional_call(module, dict(zip(parameters, values, strict=True)), (maps.detach(),))

    assert torch.autograd.gradcheck(of_parameters, tuple(parameters.values()))


SMALL = {"weights": "none", "width_multiplier": 0.25, "height": 32, "width": 16}


@pytest.mark.parametrize("backbone", ["efficientnet_lite0", "resnet18", "resnet50_ibn_a"])
def test_any_backbone_pools_the_attended_map(backbone: str) -> None:
    torch.manual_seed(0)
    settings = SMALL | {"backbone": backbone, "attention": "voxel", "voxel_units": 5, "parts": 2, "pooling": "avg"}
    encoder = Encoder(EncoderConfig(**settings)).eval()  # type: ignore[arg-type]
    images = encoder.preprocess(torch.randint(0, 256, (3, 3, 32, 16), dtype=torch.uint8))
    plain = encoder.backbone(images)
    features = encoder(images)
    torch.testing.assert_close(features.map, encoder.attention(plain))
    torch.testing.assert_close(features.pre_norm, encoder.neck(features.map.mean((2, 3))))
    assert features.part_pre_norms is not None
    torch.testing.assert_close(
        features.part_pre_norms[:, 0], encoder.part_necks[0](features.map[:, :, :1].mean((2, 3)))
    )
    assert features.map.is_contiguous(memory_format=torch.channels_last)
    maps = encoder.maps(images)
    assert list(maps) == ["activation", "voxel"]
    torch.testing.assert_close(maps["voxel"], encoder.attention.spatial(plain)[:, 0])  # type: ignore[operator]
    torch.testing.assert_close(maps["activation"], activation_map(features.map))
    with torch.autocast("cpu", torch.bfloat16):
        low = encoder.train()(images)
    assert low.map.dtype == low.pre_norm.dtype == torch.float32
    assert low.parts is not None
    (torch.cat([low.embedding[:, None], low.parts], 1) * torch.randn(3, 3, encoder.dim)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters() if p.requires_grad)


def test_an_encoder_without_is_as_before() -> None:
    torch.manual_seed(0)
    plain = Encoder(EncoderConfig(backbone="resnet18", **SMALL))  # type: ignore[arg-type]
    assert not any("attention" in name for name in plain.state_dict())
    found = map_images(plain, torch.zeros(1, 3, 32, 16, dtype=torch.uint8).numpy())
    assert list(found) == ["activation"]


def trained(file: Path, *, extension: bool = False, **settings: object) -> Encoder:
    """An encoder whose tensors all differ from those of a new one, written as a run writes it."""
    torch.manual_seed(1)
    encoder = Encoder(EncoderConfig(**SMALL | {"backbone": "resnet18"} | settings))  # type: ignore[arg-type]
    with torch.no_grad():
        for value in encoder.state_dict().values():
            value.add_(torch.rand_like(value.float()).to(value.dtype))
    file.parent.mkdir(parents=True, exist_ok=True)
    state = {name: value.contiguous() for name, value in encoder.state_dict().items()}
    save_file(state | ({f"{EXTENSION}agents": torch.rand(3, encoder.dim)} if extension else {}), file)
    return encoder


def start_from(weights: Path, **settings: object) -> Encoder:
    torch.manual_seed(2)
    return Encoder(EncoderConfig(**SMALL | {"backbone": "resnet18", "weights": str(weights)} | settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("settings", [{"attention": "voxel"}, {}, {"attention": "cbam", "pooling": "avg", "parts": 2}])
@pytest.mark.parametrize("extension", [False, True])
def test_a_run_starts_the_whole_encoder(settings: dict[str, object], extension: bool, tmp_path: Path) -> None:
    """Also where the file holds tensors of the run's method."""
    file = tmp_path / "run" / "model.safetensors"
    source = trained(file, embedding_dim=8, extension=extension, **settings)
    own = start_from(file, embedding_dim=8, **settings)
    assert own.state_dict().keys() == source.state_dict().keys()
    for name, value in source.state_dict().items():
        assert torch.equal(own.state_dict()[name], value), name


@pytest.mark.parametrize(("before", "now"), [("none", "voxel"), ("voxel", "none"), ("voxel", "voxel")])
def test_the_backbone_alone_goes_with_any_attention(before: str, now: str, tmp_path: Path) -> None:
    source = trained(tmp_path / "run" / "model.safetensors", attention=before)
    torch.manual_seed(2)
    fresh = Encoder(EncoderConfig(**SMALL | {"backbone": "resnet18", "attention": now}))  # type: ignore[arg-type]
    own = start_from(tmp_path / "run" / "model.safetensors", attention=now, init_from="backbone").state_dict()
    for name, value in fresh.state_dict().items():
        kept = source.state_dict()[name] if name.startswith("backbone.") else value
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(own[name], kept), name


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ({}, {"attention": "voxel"}, r"it has no 'attention\.excite\.bias' \(4 tensors missing, 0 without a place"),
        ({"attention": "voxel"}, {}, r"it also has 'attention\.excite\.bias' \(0 tensors missing, 4 without a place"),
        ({"attention": "voxel", "voxel_units": 9}, {"attention": "voxel"}, r"another shape for 'attention\.excite\.we"),
        ({"pooling": "avg"}, {}, r"it has no 'pooling\.p'"),
        ({}, {"backbone": "resnet34"}, r"it has no 'backbone\.layer"),
    ],
)
def test_an_encoder_made_otherwise_is_refused_with_the_way_out(
    before: dict[str, object], now: dict[str, object], said: str, tmp_path: Path
) -> None:
    trained(tmp_path / "model.safetensors", **before)
    with pytest.raises(ResightError, match=said + r".*set encoder\.init_from=backbone"):
        start_from(tmp_path / "model.safetensors", **now)


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ResightError, match=r"no weight file .* or of a run folder with a finished epoch"):
        start_from(tmp_path / "model.safetensors")
