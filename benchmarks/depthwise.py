"""A training step of EfficientNet-Lite0 on the CPU: our depthwise backward pass against PyTorch's own.

Both run in one process, turn by turn, on the same weights and images; the gradients are compared first.

    python benchmarks/depthwise.py --batch 128 --repeats 3
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
import torch.nn.functional as F
from torch import Tensor

from resight.encoders import Encoder, EncoderConfig
from resight.encoders.depthwise import DepthwiseConv2d


def plain_forward(self: DepthwiseConv2d, images: Tensor) -> Tensor:
    """The same convolution through PyTorch's autograd."""
    size, stride = self.kernel_size[0], self.stride[0]
    before, after = (size - stride) // 2, (size - stride + 1) // 2
    padded = F.pad(images, (before, after, before, after))
    return F.conv2d(padded, self.weight, stride=stride, groups=self.groups)


def step(encoder: Encoder, images: Tensor, bfloat16: bool) -> tuple[float, Tensor]:
    """Seconds of a forward and backward pass, and the gradient of the first depthwise kernel."""
    encoder.zero_grad()
    start = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        features = encoder(images)
    features.neck.square().mean().backward()
    took = time.perf_counter() - start
    return took, next(m for m in encoder.modules() if isinstance(m, DepthwiseConv2d)).weight.grad.clone()


def main() -> None:
    """Prints seconds of both and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    ours = DepthwiseConv2d.forward
    encoder = Encoder(EncoderConfig(weights="none"))
    images = encoder.preprocess(torch.randint(0, 256, (arguments.batch, 3, 128, 64), dtype=torch.uint8))
    print(f"EfficientNet-Lite0, 128×64, batch {arguments.batch}, {torch.get_num_threads()} threads")
    for bfloat16 in (False, True):
        seconds: dict[str, list[float]] = {"ours": [], "PyTorch": []}
        gradients = {}
        for repeat in range(arguments.repeats + 1):
            for name, forward in (("ours", ours), ("PyTorch", plain_forward)):
                DepthwiseConv2d.forward = forward  # type: ignore[method-assign]
                took, gradients[name] = step(encoder, images, bfloat16)
                if repeat:
                    seconds[name].append(took)
        DepthwiseConv2d.forward = ours  # type: ignore[method-assign]
        off = (gradients["ours"] - gradients["PyTorch"]).norm() / gradients["PyTorch"].norm()
        fast, slow = (statistics.median(seconds[name]) for name in ("ours", "PyTorch"))
        spread = ", ".join(f"{name} {min(values):.2f}–{max(values):.2f} s" for name, values in seconds.items())
        print(
            f"{'bfloat16' if bfloat16 else 'float32'}: ours {fast:.2f} s, PyTorch {slow:.2f} s, "
            f"ratio {slow / fast:.2f} ({spread}; gradients differ by {off:.1e})"
        )


if __name__ == "__main__":
    main()
