"""Embedding many images."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
import torch.nn.functional as F

from resight.common.processes import current
from resight.crops.pixels import Images
from resight.encoders.encoder import Encoder
from resight.errors import ResightError


@torch.no_grad()
def embed_images(
    encoder: Encoder,
    images: Images,
    *,
    batch: int = 256,
    flip: bool = False,
    parts: bool = False,
    statistics: tuple[torch.Tensor, torch.Tensor] | None = None,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Embeds uint8 images in evaluation mode.

    Args:
        encoder: The encoder; its training mode is restored afterwards.
        images: ``(N, 3, H, W)`` uint8 RGB of the encoder's size, in memory or in a file.
        batch: Images at once.
        flip: Whether to add the embedding of each mirror image and normalise again.
        parts: Whether to return the embeddings of the parts as well; both come from one pass.
        statistics: As for :meth:`Encoder.preprocess`.
        autocast: Makes the context of the arithmetic's precision.
        progress: Called with (images done, images in all).

    Returns:
        ``(N, D)`` float32, L2-normalised; with ``parts``, ``(N, 1 + P, D)``, the embedding of the whole crop first.
        Each of these 1 + P spaces is contiguous, since they are searched one by one. Processes that train together
        embed a share each and all get the whole.

    Raises:
        ResightError: Parts are asked of an encoder without.
    """
    if parts and not encoder.config.parts:
        raise ResightError("This encoder has no parts to embed: train it with encoder.parts=3, say.")

    def look(pixels: torch.Tensor) -> torch.Tensor:
        features = encoder(pixels)
        if not parts:
            return features.embedding
        return torch.cat([features.embedding[:, None], features.parts], dim=1)

    was_training = encoder.training
    encoder.eval()
    device = encoder.mean.device
    if parts:
        output = np.empty((1 + encoder.config.parts, len(images), encoder.dim), dtype=np.float32).transpose(1, 0, 2)
    else:
        output = np.empty((len(images), encoder.dim), dtype=np.float32)
    processes = current()
    blocks = range(0, len(images), batch)  # whole blocks are shared: so each is that of a process alone
    for start in blocks[processes.share(len(blocks))]:
        # a copy: torch warns of an array that is read-only
        pixels = torch.from_numpy(np.array(images[start : start + batch])).to(device)
        pixels = encoder.preprocess(pixels, statistics)
        with autocast():
            embedding = look(pixels)
            if flip:
                embedding = F.normalize(embedding + look(pixels.flip(3)), dim=-1)
        output[start : start + len(pixels)] = embedding.float().cpu().numpy()
        if progress is not None:
            done = min(start + batch, len(images))
            progress(min(done * processes.count, len(images)), len(images))
    if processes.count > 1:
        bounds = [blocks[share] for share in processes.shares(len(blocks))]
        shares = [slice(part[0], min(part[-1] + batch, len(images))) if part else slice(0, 0) for part in bounds]
        for space in output.transpose(1, 0, 2) if parts else [output]:
            processes.fill(space, shares)
    encoder.train(was_training)
    return output


@torch.no_grad()
def early_statistics(
    encoder: Encoder,
    images: Images,
    *,
    batch: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Mean and standard deviation of each channel of an early feature map, for each uint8 image.

    They describe light, colour, sharpness and background more than what is shown, so crops of one camera have similar
    ones. The arithmetic is float32, whatever the precision of training.

    Args:
        encoder: The encoder, whose backbone's ``early`` gives the map of C channels; its training mode is restored.
        images: ``(N, 3, H, W)`` uint8 RGB of the encoder's size.
        batch: Images at once.
        progress: Called with (images done, images in all).

    Returns:
        ``(N, 2C)`` float32: the means, then the deviations.
    """
    was_training = encoder.training
    encoder.eval()
    device, blocks = encoder.mean.device, []
    for start in range(0, len(images), batch):
        pixels = torch.from_numpy(np.array(images[start : start + batch])).to(device)
        early = encoder.backbone.early(encoder.preprocess(pixels)).flatten(2)
        blocks.append(torch.cat([early.mean(2), early.std(2, correction=0)], dim=1).cpu().numpy())
        if progress is not None:
            progress(min(start + batch, len(images)), len(images))
    encoder.train(was_training)
    return np.concatenate(blocks)


def channel_statistics(images: Images, batch: int = 1024) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of each colour channel over all pixels of all images.

    Args:
        images: ``(N, 3, H, W)`` uint8 RGB, an array or a memory map, at least one image.
        batch: Images at once.

    Returns:
        Two ``(1, 3, 1, 1)`` float32 tensors, for values in [0, 1]. A deviation of 0 is returned as 1.
    """
    counts = np.zeros((3, 256), np.int64)
    for start in range(0, len(images), batch):
        block = np.asarray(images[start : start + batch])
        for channel in range(3):
            counts[channel] += np.bincount(block[:, channel].ravel(), minlength=256)
    share, level = counts / counts.sum(axis=1, keepdims=True), np.arange(256) / 255
    mean = share @ level
    std = np.sqrt((share * (level - mean[:, None]) ** 2).sum(axis=1))
    std[std == 0] = 1
    first, second = (torch.from_numpy(values).float().view(1, 3, 1, 1) for values in (mean, std))
    return first, second


def map_images(
    encoder: Encoder,
    images: Images,
    *,
    batch: int = 256,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> dict[str, np.ndarray]:
    """What an encoder looks at in uint8 images, in evaluation mode.

    Args:
        encoder: The encoder; its training mode is restored afterwards.
        images: ``(N, 3, H, W)`` uint8 RGB of the encoder's size, at least one.
        batch: Images at once.
        autocast: Makes the context of the arithmetic's precision.

    Returns:
        The maps of :meth:`Encoder.maps`, each ``(N, h, w)`` float32.
    """
    device = encoder.mean.device
    found: list[dict[str, torch.Tensor]] = []
    for start in range(0, len(images), batch):
        pixels = encoder.preprocess(torch.from_numpy(np.array(images[start : start + batch])).to(device))
        with autocast():
            found.append(encoder.maps(pixels))
    return {name: torch.cat([maps[name] for maps in found]).cpu().numpy() for name in found[0]}
