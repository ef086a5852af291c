"""A training step of EfficientNet-Lite0 on the CPU: our layers against PyTorch's own.

Both run in one process, turn by turn, on the same weights and images. The losses are compared first. Our layers are the
backward pass of depthwise and 1×1 convolutions, and batch norm with ReLU6 in one.

    python benchmarks/step.py --batch 128 --repeats 5
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resight.encoders import Encoder, EncoderConfig, efficientnet
from resight.encoders.depthwise import DepthwiseConv2d
from resight.encoders.pointwise import PointwiseConv2d


def plain_depthwise(self: DepthwiseConv2d, images: Tensor) -> Tensor:
    """The same convolution through PyTorch's autograd."""
    size, stride = self.kernel_size[0], self.stride[0]
    before, after = (size - stride) // 2, (size - stride + 1) // 2
    padded = F.pad(images, (before, after, before, after))
    return F.conv2d(padded, self.weight, stride=stride, groups=self.groups)


def plain_norm_relu6(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """Two layers of PyTorch."""
    return F.relu6(norm(x), inplace=True)


OURS = (DepthwiseConv2d.forward, PointwiseConv2d.forward, efficientnet.norm_relu6)
PLAIN = (plain_depthwise, nn.Conv2d.forward, plain_norm_relu6)


def use(layers: tuple) -> None:
    """Puts layers into the network."""
    DepthwiseConv2d.forward, PointwiseConv2d.forward, efficientnet.norm_relu6 = layers  # type: ignore[method-assign]


def step(encoder: Encoder, images: Tensor, bfloat16: bool) -> tuple[float, float, float]:
    """Seconds and processor seconds of a forward and a backward pass, and the loss."""
    encoder.zero_grad()
    start, worked = time.perf_counter(), time.process_time()
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        features = encoder(images)
    loss = F.normalize(features.embedding).std(0).mean()
    loss.backward()
    return time.perf_counter() - start, time.process_time() - worked, loss.item()


def main() -> None:
    """Prints seconds of both and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--frozen", action="store_true", help="batch norms keep the statistics that were loaded")
    parser.add_argument("--bfloat16", action="store_true", help="measure bfloat16, too (slow without AMX or AVX-512)")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    encoder = Encoder(EncoderConfig(weights="none", freeze_norms=arguments.frozen)).train()
    images = encoder.preprocess(torch.randint(0, 256, (arguments.batch, 3, 128, 64), dtype=torch.uint8))
    print(f"EfficientNet-Lite0, 128×64, batch {arguments.batch}, {torch.get_num_threads()} threads")
    for bfloat16 in (False, True) if arguments.bfloat16 else (False,):
        seconds: dict[str, list[tuple[float, float]]] = {"ours": [], "PyTorch": []}
        losses = {}
        for repeat in range(arguments.repeats + 1):
            for name, layers in (("ours", OURS), ("PyTorch", PLAIN)):
                use(layers)
                *took, losses[name] = step(encoder, images, bfloat16)
                if repeat:
                    seconds[name].append((took[0], took[1]))
        use(OURS)
        kind = "bfloat16" if bfloat16 else "float32"
        for place, what in enumerate(("wall", "processor")):
            values = {name: [taken[place] for taken in list_] for name, list_ in seconds.items()}
            fast, slow = (statistics.median(values[name]) for name in ("ours", "PyTorch"))
            spread = ", ".join(f"{name} {min(list_):.2f}–{max(list_):.2f} s" for name, list_ in values.items())
            print(f"{kind}, {what} time: ours {fast:.2f} s, PyTorch {slow:.2f} s, ratio {slow / fast:.2f} ({spread})")
        print(f"{kind}, losses: ours {losses['ours']:.7f}, PyTorch {losses['PyTorch']:.7f}")


if __name__ == "__main__":
    main()
