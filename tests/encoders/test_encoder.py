"""The encoder: what its head does, which norms move, and embedding many images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from resight import ResightError
from resight.encoders import Encoder, EncoderConfig, channel_statistics, embed_images


def small(**options: object) -> EncoderConfig:
    settings = {"backbone": "resnet18", "weights": "none", "height": 32, "width": 16, "width_multiplier": 0.25}
    return EncoderConfig(**settings | options)  # type: ignore[arg-type]


def encoder_of(**options: object) -> Encoder:
    torch.manual_seed(0)
    return Encoder(small(**options))


def some_images(count: int = 5) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 3, 32, 16), dtype=np.uint8)


@pytest.mark.parametrize("backbone", ["resnet18", "resnet18_ibn_a", "efficientnet_lite0"])
@pytest.mark.parametrize("pooling", ["avg", "max", "gem"])
def test_embeddings_have_unit_norm(backbone: str, pooling: str) -> None:
    encoder = encoder_of(backbone=backbone, pooling=pooling)
    features = encoder(encoder.preprocess(torch.from_numpy(some_images())))
    assert features.embedding.shape == (5, encoder.dim)
    torch.testing.assert_close(features.embedding.norm(dim=1), torch.ones(5))
    torch.testing.assert_close(features.embedding, features.pre_norm / features.pre_norm.norm(dim=1, keepdim=True))
    assert features.map.shape[1] == encoder.backbone.channels
    assert features.parts is None


def test_preprocessing_is_imagenets() -> None:
    encoder = encoder_of()
    images = some_images(2)
    found = encoder.preprocess(torch.from_numpy(images)).numpy()
    for channel, (mean, std) in enumerate([(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)]):
        assert found[:, channel] == pytest.approx((images[:, channel] / 255 - mean) / std, abs=1e-5)


def test_channel_statistics_are_those_of_all_pixels() -> None:
    images = some_images(7)
    images[:, 2] //= 3
    values = images.astype(np.float64) / 255
    for batch in (3, 100):
        mean, std = channel_statistics(images, batch)
        assert mean.flatten().numpy() == pytest.approx(values.mean((0, 2, 3)), abs=1e-6)
        assert std.flatten().numpy() == pytest.approx(values.std((0, 2, 3)), abs=1e-6)
    found = encoder_of().preprocess(torch.from_numpy(images), (mean, std))
    assert found.mean((0, 2, 3)).numpy() == pytest.approx([0] * 3, abs=1e-5)
    assert found.std((0, 2, 3), correction=0).numpy() == pytest.approx([1] * 3, abs=1e-5)
    assert channel_statistics(np.full((2, 3, 4, 4), 51, np.uint8))[1].flatten().tolist() == [1, 1, 1]


def test_statistics_of_crops_are_part_of_the_model_and_imagenets_are_not() -> None:
    assert "mean" not in encoder_of().state_dict()
    encoder, other = encoder_of(standardise="crops"), encoder_of(standardise="crops")
    encoder.standardise_by(channel_statistics(some_images()))
    other.load_state_dict(encoder.state_dict())
    crops = torch.from_numpy(some_images(2))
    assert torch.equal(other.preprocess(crops), encoder.preprocess(crops))
    assert not torch.equal(other.preprocess(crops), encoder_of().preprocess(crops))
    with_given = embed_images(encoder_of(), some_images(), statistics=(encoder.mean, encoder.std))
    assert np.array_equal(with_given, embed_images(encoder, some_images()))


def test_neck_is_a_batch_norm_with_its_bias_frozen_at_zero() -> None:
    encoder = encoder_of()
    assert isinstance(encoder.neck, nn.BatchNorm1d)
    optimizer = torch.optim.SGD([p for p in encoder.parameters() if p.requires_grad], lr=0.1)
    before = encoder.neck.weight.clone()
    torch.manual_seed(1)
    embedding = encoder(encoder.preprocess(torch.from_numpy(some_images()))).embedding
    (embedding * torch.randn_like(embedding)).sum().backward()
    optimizer.step()
    assert not encoder.neck.bias.requires_grad
    assert (encoder.neck.bias == 0).all()
    assert not torch.equal(encoder.neck.weight, before)


def test_without_neck_the_pooled_vector_is_normalised() -> None:
    encoder = encoder_of(neck=False).eval()
    features = encoder(encoder.preprocess(torch.from_numpy(some_images())))
    assert not any(name.startswith("neck") for name in encoder.state_dict())
    torch.testing.assert_close(features.pre_norm, encoder.pooling(features.map))


def test_embedding_dim_adds_a_linear_layer() -> None:
    encoder = encoder_of(embedding_dim=24, neck=False).eval()
    assert encoder.dim == 24
    features = encoder(encoder.preprocess(torch.from_numpy(some_images())))
    assert features.embedding.shape == (5, 24)
    linear = encoder.projection
    torch.testing.assert_close(features.pre_norm, encoder.pooling(features.map) @ linear.weight.T + linear.bias)
    assert torch.equal(features.pooled, encoder.pooling(features.map))
    assert encoder_of().dim == encoder_of().backbone.channels == 128


def running_statistics(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items() if "running" in name}


@pytest.mark.parametrize("freeze", [False, True])
@pytest.mark.parametrize("call_train", [False, True])
def test_freeze_norms_keeps_the_backbones_statistics_and_not_the_necks(freeze: bool, call_train: bool) -> None:
    encoder = encoder_of(freeze_norms=freeze)
    if call_train:
        encoder.eval().train()
    before, neck = running_statistics(encoder.backbone), running_statistics(encoder.neck)
    encoder(encoder.preprocess(torch.from_numpy(some_images())))
    after = running_statistics(encoder.backbone)
    assert before
    assert [torch.equal(before[name], after[name]) for name in before] == [freeze] * len(before)
    assert not any(torch.equal(value, encoder.neck.state_dict()[name]) for name, value in neck.items())


def test_embed_images_equals_each_image_alone() -> None:
    encoder = encoder_of().eval()
    images = some_images(7)
    found = embed_images(encoder, images, batch=3)
    assert found.dtype == np.float32
    for image, row in zip(images, found, strict=True):
        with torch.no_grad():
            alone = encoder(encoder.preprocess(torch.from_numpy(image[None]))).embedding[0]
        assert row == pytest.approx(alone.numpy(), abs=1e-5)


def test_embed_images_with_flip_adds_the_mirror_image() -> None:
    encoder = encoder_of().eval()
    images = some_images(4)
    both = embed_images(encoder, images) + embed_images(encoder, images[:, :, :, ::-1])
    both /= np.linalg.norm(both, axis=1, keepdims=True)
    assert embed_images(encoder, images, flip=True) == pytest.approx(both, abs=1e-5)
    assert embed_images(encoder, images) != pytest.approx(both, abs=1e-3)


@pytest.mark.parametrize("training", [False, True])
def test_embed_images_leaves_the_encoder_as_it_was(training: bool) -> None:
    encoder = encoder_of().train(training)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    embed_images(encoder, some_images())
    assert encoder.training is training
    assert encoder.neck.training is training
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_embed_images_tells_of_progress_and_takes_read_only_images() -> None:
    images = some_images(5)
    images.flags.writeable = False
    told: list[tuple[int, int]] = []
    embed_images(encoder_of(), images, batch=2, progress=lambda done, total: told.append((done, total)))
    assert told == [(2, 5), (4, 5), (5, 5)]


def test_embed_images_of_none() -> None:
    assert embed_images(encoder_of(), some_images(0)).shape == (0, 128)


def test_head_stays_in_float32_under_autocast() -> None:
    encoder = encoder_of(embedding_dim=16)
    with torch.autocast("cpu", torch.bfloat16):
        features = encoder(encoder.preprocess(torch.from_numpy(some_images())))
    assert features.map.dtype == torch.bfloat16
    assert features.embedding.dtype == features.pre_norm.dtype == torch.float32


def test_trained_state_loads_into_an_encoder_built_without_weights() -> None:
    encoder = encoder_of(embedding_dim=16).eval()
    other = Encoder(small(embedding_dim=16, weights="/nowhere/at/all.pth"), weights="none").eval()
    other.load_state_dict(encoder.state_dict())
    assert np.array_equal(embed_images(other, some_images()), embed_images(encoder, some_images()))


@pytest.mark.parametrize("wrong", [{"poolling": "avg"}, {"pooling": "median"}, {"last_stride": 3}, {"height": 8}])
def test_unknown_keys_and_values_are_rejected(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        EncoderConfig(**wrong)  # type: ignore[arg-type]


def test_dropout_is_of_the_embedding_and_in_training_alone() -> None:
    config = EncoderConfig(backbone="resnet18", weights="none", width_multiplier=0.25, dropout=0.5)
    encoder = Encoder(config)
    images = torch.randn(4, 3, 64, 32)
    features = encoder(images)
    dropped = features.embedding == 0
    assert 0.3 < dropped.float().mean() < 0.7
    unit = torch.nn.functional.normalize(features.pre_norm)
    assert torch.allclose(features.embedding[~dropped], 2 * unit[~dropped])
    assert not (encoder.eval()(images).embedding == 0).any()


@pytest.mark.parametrize("backbone", ["resnet18", "efficientnet_lite0"])
@pytest.mark.parametrize("pooling", ["avg", "gem"])
@pytest.mark.parametrize("options", [{}, {"embedding_dim": 24}, {"neck": False}])
def test_parts_are_stripes_of_the_map_through_the_same_head(
    backbone: str, pooling: str, options: dict[str, object]
) -> None:
    encoder = encoder_of(backbone=backbone, pooling=pooling, parts=3, height=112, **options)
    pixels = encoder.preprocess(torch.randint(0, 256, (4, 3, 112, 16), dtype=torch.uint8))
    encoder(pixels)  # moves the necks' statistics apart
    encoder.eval()
    features = encoder(pixels)
    assert features.map.shape[2] == 7
    assert features.parts.shape == features.part_pre_norms.shape == (4, 3, encoder.dim)
    for n, (first, last) in enumerate([(0, 3), (2, 5), (4, 7)]):  # 7 rows: neighbours share one
        pre_norm = encoder.part_necks[n](encoder.projection(encoder.pooling(features.map[:, :, first:last])))
        torch.testing.assert_close(features.part_pre_norms[:, n], pre_norm)
        torch.testing.assert_close(features.parts[:, n], pre_norm / pre_norm.norm(dim=1, keepdim=True))
    if not options.get("neck", True):
        return
    for neck in encoder.part_necks:
        assert neck.weight.requires_grad
        assert not neck.bias.requires_grad
        assert not torch.equal(neck.running_mean, encoder.neck.running_mean)


def test_the_embedding_is_the_same_with_parts_and_without() -> None:
    plain, parted = encoder_of(), encoder_of(parts=2)
    extra = set(parted.state_dict()) - set(plain.state_dict())
    assert all(name.startswith("part_necks.") for name in extra)
    assert all(torch.equal(value, parted.state_dict()[name]) for name, value in plain.state_dict().items())
    pixels = plain.preprocess(torch.from_numpy(some_images()))
    ours, theirs = parted(pixels), plain(pixels)
    assert torch.equal(ours.embedding, theirs.embedding)
    assert theirs.parts is theirs.part_pre_norms is None


@pytest.mark.parametrize("backbone", ["resnet18", "efficientnet_lite0"])
@pytest.mark.parametrize("last_stride", [1, 2])
@pytest.mark.parametrize("height", [33, 64, 100, 127, 144])
def test_more_parts_than_rows_is_a_sentence(backbone: str, last_stride: int, height: int) -> None:
    settings = {"backbone": backbone, "last_stride": last_stride, "height": height}
    rows = encoder_of(**settings).eval().backbone(torch.zeros(1, 3, height, 32)).shape[2]
    assert small(parts=rows, **settings).parts == rows
    with pytest.raises(ResightError, match=rf"encoder\.parts={rows + 1} .* {rows} rows .*encoder\.height={height}"):
        small(parts=rows + 1, **settings)


@pytest.mark.parametrize("flip", [False, True])
def test_parts_come_in_the_pass_of_the_embedding(flip: bool) -> None:
    encoder, images = encoder_of(parts=2).eval(), some_images(7)
    found = embed_images(encoder, images, batch=3, flip=flip, parts=True)
    assert found.shape == (7, 3, encoder.dim)
    assert all(found[:, n].flags.c_contiguous for n in range(3))
    assert np.array_equal(found[:, 0], embed_images(encoder, images, batch=3, flip=flip))
    with torch.no_grad():
        parts = encoder(encoder.preprocess(torch.from_numpy(images))).parts
        if flip:
            mirrored = torch.from_numpy(images[:, :, :, ::-1].copy())
            parts = nn.functional.normalize(parts + encoder(encoder.preprocess(mirrored)).parts, dim=2)
    assert found[:, 1:] == pytest.approx(parts.numpy(), abs=1e-5)
    with pytest.raises(ResightError, match=r"no parts to embed"):
        embed_images(encoder_of(), images, parts=True)


@pytest.mark.parametrize(
    ("backbone", "ceiling"),
    [("resnet18", None), ("resnet50", None), ("resnet50_ibn_a", None), ("efficientnet_lite0", 6)],
)
def test_without_the_last_relu_the_map_is_what_went_into_it(backbone: str, ceiling: float | None) -> None:
    common = {"backbone": backbone, "weights": "none", "width_multiplier": 0.25, "pooling": "avg", "neck": False}
    with_relu = Encoder(EncoderConfig(**common)).eval()  # type: ignore[arg-type]
    without = Encoder(EncoderConfig(**common, last_relu=False)).eval()  # type: ignore[arg-type]
    without.load_state_dict(with_relu.state_dict())
    images = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        signed, plain = without(images), with_relu(images)
    assert (signed.map < 0).any()
    assert (signed.embedding < 0).any()
    assert (plain.map >= 0).all()
    assert torch.equal(signed.map.clamp(0, ceiling), plain.map)


def test_gem_pooling_would_undo_it() -> None:
    with pytest.raises(ResightError, match=r"encoder\.last_relu=false .*set encoder\.pooling=avg"):
        EncoderConfig(last_relu=False, pooling="gem")


@pytest.mark.parametrize("parts", [0, 2])
def test_features_split_into_groups_of_images(parts: int) -> None:
    """In evaluation mode, where images do not influence each other, a group's features are those of its own pass."""
    encoder = Encoder(EncoderConfig(backbone="resnet18", weights="none", width_multiplier=0.125, parts=parts)).eval()
    images = torch.randn(5, 3, 64, 32)
    with torch.no_grad():
        whole = encoder(images)
        alone = [encoder(part) for part in images.split([2, 3])]
    groups = whole.split([2, 3])
    assert len(groups) == 2
    for name, value in vars(whole).items():
        assert (value is None) == (not parts and name.startswith("part"))
        for group, own in zip(groups, alone, strict=True):
            found = getattr(group, name)
            assert found is None if value is None else torch.allclose(found, getattr(own, name), atol=1e-5)
        assert value is None or torch.equal(torch.cat([getattr(group, name) for group in groups]), value)
    (same,) = whole.split([5])
    assert same.embedding is whole.embedding
