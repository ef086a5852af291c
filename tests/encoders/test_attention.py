"""Attention in the blocks of a ResNet: the equations by loops, groups, parameter counts, refusals."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from pydantic import BaseModel
from torch import Tensor, nn

from resight.encoders import Encoder, EncoderConfig, build_backbone, map_images
from resight.encoders.attention import ChannelAttention, ChannelSpatialAttention, SpatialAttention, activation_map
from resight.encoders.resnet import BasicBlock, Bottleneck, ResNet, matching_width, stage_widths
from resight.encoders.weights import load_backbone_weights
from resight.errors import ResightError


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def attended(module: ChannelSpatialAttention, image: Tensor) -> tuple[list[float], list[list[float]], Tensor]:
    """A_c, A_s and A_s ⊗ (A_c ⊗ F) of one feature map ``(C, H, W)``, number by number."""
    channels, height, width = image.shape
    first, second = module.channel.squeeze.weight.tolist(), module.channel.excite.weight.tolist()

    def network(pooled: list[float]) -> list[float]:
        hidden = [max(0.0, sum(w * v for w, v in zip(row, pooled, strict=True))) for row in first]
        return [sum(w * v for w, v in zip(row, hidden, strict=True)) for row in second]

    means = [sum(plane.flatten().tolist()) / (height * width) for plane in image]
    maxima = [max(plane.flatten().tolist()) for plane in image]
    by_channel = [sigmoid(a + b) for a, b in zip(network(means), network(maxima), strict=True)]
    weighted = [[[by_channel[c] * image[c, y, x].item() for x in range(width)] for y in range(height)]
                for c in range(channels)]  # fmt: skip
    kernel = module.spatial.conv.weight[0].tolist()
    by_place = [[0.0] * width for _ in range(height)]
    output = torch.empty_like(image)
    for y in range(height):
        for x in range(width):
            total = 0.0
            for dy in range(-3, 4):
                for dx in range(-3, 4):
                    if 0 <= y + dy < height and 0 <= x + dx < width:
                        column = [weighted[c][y + dy][x + dx] for c in range(channels)]
                        total += kernel[0][dy + 3][dx + 3] * sum(column) / channels
                        total += kernel[1][dy + 3][dx + 3] * max(column)
            by_place[y][x] = sigmoid(total)
            for c in range(channels):
                output[c, y, x] = by_place[y][x] * weighted[c][y][x]
    return by_channel, by_place, output


@pytest.mark.parametrize(("channels", "height", "width"), [(32, 5, 3), (5, 2, 9)])
def test_attention_equals_the_equations_written_out(channels: int, height: int, width: int) -> None:
    torch.manual_seed(0)
    module = ChannelSpatialAttention(channels).double()
    maps = torch.randn(3, channels, height, width, dtype=torch.float64)
    found = module(maps)
    by_channel = module.channel(maps)
    by_place = module.spatial(by_channel * maps)
    assert by_channel.shape == (3, channels, 1, 1)
    assert by_place.shape == (3, 1, height, width)
    for i, image in enumerate(maps):
        expected_c, expected_s, expected = attended(module, image)
        assert by_channel[i].flatten().tolist() == pytest.approx(expected_c)
        assert by_place[i, 0].tolist() == [pytest.approx(row) for row in expected_s]
        torch.testing.assert_close(found[i], expected)


@pytest.mark.parametrize("module", [ChannelAttention(4), SpatialAttention(), ChannelSpatialAttention(4)])
def test_gradients(module: nn.Module) -> None:
    torch.manual_seed(0)
    module = module.double()
    maps = torch.randn(2, 4, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(module, (maps,))
    parameters = dict(module.named_parameters())

    def of_parameters(*values: Tensor) -> Tensor:
        return torch.func.functional_call(module, dict(zip(parameters, values, strict=True)), (maps.detach(),))

    assert torch.autograd.gradcheck(of_parameters, tuple(parameters.values()))


def test_few_channels_keep_one_hidden() -> None:
    assert ChannelAttention(8).squeeze.weight.shape == (1, 8)
    assert ChannelAttention(256).squeeze.weight.shape == (16, 256)


@pytest.mark.parametrize("block_type", [BasicBlock, Bottleneck])
@pytest.mark.parametrize("ibn", [False, True])
def test_block_attends_before_the_shortcut_is_added(block_type: type[BasicBlock | Bottleneck], ibn: bool) -> None:
    torch.manual_seed(0)
    block = block_type(8 * block_type.expansion, 8, 1, ibn, 2, True).eval()
    x = torch.randn(2, 8 * block_type.expansion, 6, 4)
    seen: list[Tensor] = []
    last = block.bn2 if isinstance(block, BasicBlock) else block.bn3
    last.register_forward_hook(lambda *call: seen.append(call[2].clone()))
    found = block(x)
    torch.testing.assert_close(found, (block.attention(seen[0]) + x).clamp(min=0))


@pytest.mark.parametrize("block_type", [BasicBlock, Bottleneck])
def test_groups_do_not_mix_inside_a_block(block_type: type[BasicBlock | Bottleneck]) -> None:
    torch.manual_seed(0)
    block = block_type(16, 16, 1, False, 4, False)
    for name, conv in block.named_children():
        if not isinstance(conv, nn.Conv2d):
            continue
        inputs, outputs = conv.in_channels // 4, conv.out_channels // 4
        x = torch.randn(1, conv.in_channels, 4, 3)
        changed = x.clone()
        changed[:, :inputs] += 1
        differs = (conv(x) != conv(changed)).flatten(2).any(2)[0]
        assert differs[:outputs].all(), name
        assert not differs[outputs:].any(), name


@pytest.mark.parametrize("depth", [18, 50])
def test_stem_and_shortcuts_are_never_grouped(depth: int) -> None:
    net = ResNet(depth, 1, 0.25, groups=4, attention=True)
    assert net.groups == 4
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            inside = name.startswith("layer") and ".conv" in name and ".attention." not in name
            assert module.groups == (4 if inside else 1), name


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("groups", [1, 2, 4, 8])
@pytest.mark.parametrize(("depth", "ibn"), [(18, True), (34, False), (50, True), (101, False)])
def test_every_network_runs_both_ways(depth: int, ibn: bool, groups: int, attention: bool) -> None:
    torch.manual_seed(0)
    net = ResNet(depth, 1, 0.125, ibn, groups=groups, attention=attention)
    net(torch.randn(2, 3, 32, 16)).square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("depth", [18, 50])
def test_attention_adds_its_names_and_no_others(depth: int) -> None:
    plain, attentive = (ResNet(depth, 2, 0.25, attention=wanted).state_dict() for wanted in (False, True))
    blocks = {name.rsplit(".", 2)[0] for name in plain if name.endswith(".conv1.weight")}
    added = {
        f"{block}.attention.{part}.weight"
        for block in blocks
        for part in ("channel.squeeze", "channel.excite", "spatial.conv")
    }
    assert attentive.keys() - plain.keys() == added
    assert plain.keys() <= attentive.keys()


def test_attention_starts_as_torch_starts_its_layers() -> None:
    torch.manual_seed(0)
    starts = [
        module.conv.weight.detach().abs().max().item()
        for module in ResNet(101, 2, 0.125, attention=True).modules()
        if isinstance(module, SpatialAttention)
    ]
    # Uniform within 1/√(inputs of a filter); kaiming's normal of fan-out 49 passes that bound.
    assert max(starts) <= 1 / math.sqrt(2 * 49)
    assert max(starts) > 0.9 / math.sqrt(2 * 49)


def parameters_of(**settings: object) -> int:
    with torch.device("meta"):
        net = build_backbone(EncoderConfig(**{"backbone": "resnet50", "weights": "none"} | settings))  # type: ignore[arg-type]
    return sum(parameter.numel() for parameter in net.parameters())


def test_parameter_counts_are_the_papers() -> None:
    plain, cbam, gam = (
        parameters_of(),
        parameters_of(attention="cbam"),
        parameters_of(attention="cbam", groups=4),
    )
    assert (plain, cbam, gam) == (23_508_032, 26_024_544, 10_517_088)
    assert (round(cbam / 1e6, 2), round(gam / 1e6, 2)) == (26.02, 10.52)
    assert round(100 * (1 - gam / cbam), 1) == 59.6


@pytest.mark.parametrize(
    ("backbone", "width", "groups", "widths", "count", "aim"),
    [
        ("resnet50", 1, 4, [40, 80, 160, 328], 10_482_152, 10_517_088),
        ("resnet50", 0.5, 4, [20, 40, 80, 164], 2_631_572, 2_646_080),
        ("resnet18", 1, 4, [32, 64, 136, 264], 3_028_176, 3_025_232),
        ("resnet18", 0.5, 4, [16, 32, 68, 132], 760_048, 761_648),
        ("resnet50", 1, 16, [32, 64, 128, 260], 6_642_752, 6_640_224),
        ("resnet18_ibn_a", 0.25, 4, [8, 16, 32, 68], 194_512, 193_376),
    ],
)
def test_matched_networks_have_as_many_parameters_without_groups(
    backbone: str, width: float, groups: int, widths: list[int], count: int, aim: int
) -> None:
    settings = {"backbone": backbone, "width_multiplier": width, "attention": "cbam"}
    depth = int(backbone.removeprefix("resnet").split("_")[0])
    assert stage_widths(*matching_width(depth, 1, width, True, groups)) == widths
    assert parameters_of(**settings, match_groups=groups) == count
    assert parameters_of(**settings, groups=groups) == aim
    assert abs(count / aim - 1) < 0.01
    with torch.device("meta"):
        net = build_backbone(EncoderConfig(match_groups=groups, weights="none", **settings))  # type: ignore[arg-type]
    assert {module.groups for module in net.modules() if isinstance(module, nn.Conv2d)} == {1}


def test_no_other_width_of_that_rounding_is_nearer() -> None:
    factor, step = matching_width(18, 1, 0.5, True, 4)

    def distance(factor: float) -> float:
        with torch.device("meta"):
            net = ResNet(18, 1, factor, attention=True, width_step=step)
        return abs(sum(parameter.numel() for parameter in net.parameters()) - 761_648)

    assert distance(factor) == min(
        distance(other / 200) for other in range(round(200 * factor) - 9, round(200 * factor) + 10)
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"attention": "cbam"}, r"encoder\.attention=cbam needs a ResNet.*efficientnet_lite0"),
        ({"groups": 4}, r"encoder\.groups=4 needs a ResNet"),
        ({"match_groups": 4}, r"encoder\.match_groups=4 needs a ResNet"),
        ({"backbone": "resnet18", "groups": 2, "match_groups": 4}, r"match_groups=4 .* encoder\.groups=2 .* leave one"),
        (
            {"backbone": "resnet18", "groups": 16, "width_multiplier": 0.1},
            r"encoder\.groups=16 does not divide the widths 8, 16, 24, 48 .* width_multiplier=0\.1",
        ),
        ({"backbone": "resnet18", "match_groups": 16, "width_multiplier": 0.1}, r"encoder\.match_groups=16 does not"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ResightError, match=said):
        EncoderConfig(**settings)  # type: ignore[arg-type]

    class Run(BaseModel):
        encoder: EncoderConfig

    with pytest.raises(ResightError, match=said):  # the sentence survives inside other settings
        Run.model_validate({"encoder": settings})


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("backbone", ["resnet18", "resnet50_ibn_a"])
def test_runs_under_autocast_in_channels_last(backbone: str, groups: int) -> None:
    torch.manual_seed(0)
    settings = {"backbone": backbone, "width_multiplier": 0.25, "attention": "cbam", "groups": groups}
    encoder = Encoder(EncoderConfig(weights="none", height=32, width=16, **settings))  # type: ignore[arg-type]
    kinds: set[torch.dtype] = set()
    for module in encoder.modules():
        if isinstance(module, ChannelSpatialAttention | ChannelAttention | SpatialAttention):
            module.register_forward_hook(lambda *call: kinds.add(call[2].dtype))
    images = encoder.preprocess(torch.randint(0, 256, (4, 3, 32, 16), dtype=torch.uint8))
    with torch.autocast("cpu", torch.bfloat16):
        features = encoder(images)
    assert kinds == {torch.bfloat16}
    assert features.map.is_contiguous(memory_format=torch.channels_last)
    features.embedding.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters() if p.requires_grad)
    encoder.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        low = encoder(images).embedding
    with torch.no_grad():
        assert (low * encoder(images).embedding).sum(1).min() > 0.98


def small(**options: object) -> ResNet:
    return ResNet(18, width_multiplier=0.125, **options)  # type: ignore[arg-type]


def written(module: nn.Module, file: Path, without: str = "nothing") -> str:
    torch.save({name: value for name, value in module.state_dict().items() if without not in name}, file)
    return str(file)


def test_published_weights_start_all_but_the_attention(tmp_path: Path) -> None:
    torch.manual_seed(0)
    published, net = small(), small(attention=True)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    load_backbone_weights(net, "resnet18", written(published, tmp_path / "w.pth"))
    for name, value in net.state_dict().items():
        expected = before[name] if ".attention." in name else published.state_dict()[name]
        assert torch.equal(value, expected), name


@pytest.mark.parametrize("lost", ["layer2.1.attention.spatial", "layer3.0.bn1.weight"])
def test_other_lost_tensors_are_an_error(tmp_path: Path, lost: str) -> None:
    file = written(small(attention=True), tmp_path / "w.pth", without=lost)
    with pytest.raises(ResightError, match=f"has no '{lost}"):
        load_backbone_weights(small(attention=True), "resnet18", file)


def test_a_published_file_that_lost_a_norm_is_an_error(tmp_path: Path) -> None:
    file = written(small(), tmp_path / "w.pth", without="layer3.0.bn1.weight")
    with pytest.raises(ResightError, match=r"has no 'layer3\.0\.bn1\.weight' .*\(1 tensors missing"):
        load_backbone_weights(small(attention=True), "resnet18", file)


def test_groups_cannot_start_from_weights_without(tmp_path: Path) -> None:
    said = r"grouped convolutions need weights pretrained with 4 groups \(a file\), or weights=none"
    with pytest.raises(ResightError, match="ImageNet weights of resnet18 are published without groups: " + said):
        load_backbone_weights(small(groups=4), "resnet18", "imagenet")
    for other in (small(), small(groups=2)):
        with pytest.raises(ResightError, match="do not fit resnet18 with groups=4: " + said):
            load_backbone_weights(small(groups=4), "resnet18", written(other, tmp_path / "w.pth"))
    wide = written(ResNet(18, width_multiplier=0.25, groups=4), tmp_path / "wide.pth")
    with pytest.raises(ResightError, match=r"another shape.*width_multiplier"):
        load_backbone_weights(small(groups=4), "resnet18", wide)


@pytest.mark.parametrize("groups", [1, 4])
def test_a_whole_trained_encoder_starts_another_with_its_attention(tmp_path: Path, groups: int) -> None:
    settings = {"backbone": "resnet18", "width_multiplier": 0.125, "attention": "cbam", "groups": groups}
    torch.manual_seed(0)
    trained = Encoder(EncoderConfig(weights="none", **settings))  # type: ignore[arg-type]
    file = written(trained, tmp_path / "encoder.pth")
    encoder = Encoder(EncoderConfig(weights=file, **settings))  # type: ignore[arg-type]
    own = trained.backbone.state_dict()
    assert any(".attention." in name for name in own)
    assert all(torch.equal(value, own[name]) for name, value in encoder.backbone.state_dict().items())


def test_activation_is_the_stretched_norm_over_channels() -> None:
    torch.manual_seed(0)
    maps = torch.randn(3, 5, 4, 2)
    maps[2] = 1.0
    found = activation_map(maps.bfloat16())
    assert found.dtype == torch.float32
    for image, crop in zip(maps.bfloat16().float()[:2], found[:2], strict=True):
        norms = [[math.sqrt(sum(v * v for v in image[:, y, x].tolist())) for x in range(2)] for y in range(4)]
        low, high = min(map(min, norms)), max(map(max, norms))
        assert crop.tolist() == [[pytest.approx((v - low) / (high - low), abs=1e-5) for v in row] for row in norms]
    assert (found[2] == 0).all()


@pytest.mark.parametrize("training", [False, True])
def test_attention_maps_are_those_of_the_forward_pass(training: bool) -> None:
    torch.manual_seed(0)
    encoder = Encoder(
        EncoderConfig(backbone="resnet18", weights="none", width_multiplier=0.25, attention="cbam", groups=2)
    ).train(training)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    images = torch.randn(2, 3, 64, 32)
    maps = encoder.maps(images)
    blocks = [f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)]
    assert list(maps) == ["activation", *blocks]
    found = [maps[name] for name in blocks]
    assert [tuple(values.shape) for values in found] == 2 * [(2, 16, 8)] + 2 * [(2, 8, 4)] + 4 * [(2, 4, 2)]
    assert all(values.min() > 0 and values.max() < 1 for values in found)
    assert encoder.training is training
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert not any(module._forward_hooks for module in encoder.modules())
    encoder.eval()
    inputs: list[Tensor] = []
    last = encoder.backbone.get_submodule("layer4.1.attention.spatial")
    handle = last.register_forward_hook(lambda *call: inputs.append(call[1][0]))
    features = encoder(images)
    handle.remove()
    torch.testing.assert_close(found[-1], last(inputs[0])[:, 0])
    torch.testing.assert_close(maps["activation"], activation_map(features.map))


@pytest.mark.parametrize("backbone", ["efficientnet_lite0", "resnet18"])
def test_an_encoder_without_attention_has_its_activation(backbone: str) -> None:
    torch.manual_seed(0)
    encoder = Encoder(EncoderConfig(backbone=backbone, weights="none", width_multiplier=0.25, height=32, width=16))  # type: ignore[arg-type]
    images = torch.randint(0, 256, (5, 3, 32, 16), dtype=torch.uint8)
    found = map_images(encoder, images.numpy(), batch=2)
    assert list(found) == ["activation"]
    assert found["activation"].shape == (5, 2, 1)
    expected = encoder.maps(encoder.preprocess(images))["activation"].numpy()
    assert found["activation"] == pytest.approx(expected, abs=1e-4)
