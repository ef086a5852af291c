"""Training and embedding beside a plain step in the manner of public re-identification code.

Both sides train the same network on the same crops in one process, turn by turn. The plain side reads crops in a
``DataLoader`` whose workers decode and augment them one by one, computes in float32 with PyTorch's own layers, and
moves its memories crop by crop in Python loops. Before that, its losses and memories are compared with ours on the same
features.

    python benchmarks/training.py
    python benchmarks/training.py --method pplr --backbone resnet18 --steps 5
"""

from __future__ import annotations

import argparse
import copy
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from measure import spread
from PIL import Image
from step import OURS, PLAIN, use
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from resight.common.devices import resolve_device
from resight.crops import CropTable
from resight.encoders import Encoder, Features, embed_images
from resight.methods import Batch, EpochData
from resight.training.config import TrainConfig, build_config
from resight.training.data import TrainingData
from resight.training.epoch import train_epoch
from resight.training.learner import Learner
from resight.training.loop import run_precision
from resight.training.reporting import Reporter

METHODS = ("cluster_contrast", "pplr", "dcmip")
BACKBONES = ("resnet18", "efficientnet_lite0")
_IDENTITIES, _SHOTS = 48, 12


def paint(folder: Path) -> CropTable:
    """Writes 576 crops as JPEG files of 128×64 pixels: figures of two colours, and noise."""
    rng, paths, identity = np.random.default_rng(0), [], []
    folder.mkdir(parents=True)
    for person in range(_IDENTITIES):
        colours = rng.uniform(40, 215, (2, 3))
        for shot in range(_SHOTS):
            image = np.full((128, 64, 3), 128.0)
            image[10:64, 10:-10], image[64:-10, 10:-10] = colours
            image = (image + rng.normal(0, 20, image.shape)).clip(0, 255).astype(np.uint8)
            paths.append(f"{person + 1:04d}_c{shot % 3 + 1}s1_{shot:06d}_01.jpg")
            Image.fromarray(image).save(folder / paths[-1], quality=95)
            identity.append(person + 1)
    camera = np.arange(len(paths)) % 3
    return CropTable(root=folder, paths=tuple(paths), identity=np.array(identity), camera=camera, source="market1501")


class PlainCrops(Dataset[tuple[Tensor, int]]):
    """Crops that are decoded and augmented one by one, as torchvision's transforms do."""

    def __init__(self, files: list[str], config: TrainConfig, mean: Tensor, std: Tensor, training: bool) -> None:
        self.files, self.config, self.mean, self.std, self.training = files, config, mean, std, training

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        encoder, settings = self.config.encoder, self.config.augmentation
        image = Image.open(self.files[row]).convert("RGB")
        image = image.resize((encoder.width, encoder.height), Image.Resampling.BICUBIC)
        if self.training:
            if random.random() < settings.flip:
                image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            above, beside = settings.padding(encoder.height, encoder.width)
            padded = Image.new("RGB", (encoder.width + 2 * beside, encoder.height + 2 * above))
            padded.paste(image, (beside, above))
            left, top = random.randint(0, 2 * beside), random.randint(0, 2 * above)
            image = padded.crop((left, top, left + encoder.width, top + encoder.height))
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float().div(255)
        pixels = (pixels - self.mean) / self.std
        if self.training and random.random() < settings.erase:
            self._erase(pixels)
        return pixels, row

    def _erase(self, pixels: Tensor) -> None:
        settings = self.config.augmentation
        _, height, width = pixels.shape
        for _ in range(10):
            area = random.uniform(*settings.erase_area) * height * width
            aspect = random.uniform(*settings.erase_aspect)
            tall, wide = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
            if tall < height and wide < width:
                top, left = random.randint(0, height - tall), random.randint(0, width - wide)
                pixels[:, top : top + tall, left : left + wide] = 0
                return


class PlainStep:
    """A training step as public code has it."""

    def __init__(self, config: TrainConfig, encoder: Encoder, device: torch.device) -> None:
        self.config, self.device = config, device
        self.encoder = encoder.to(device=device, memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self.method: Any = config.method
        self.parameters = [p for p in encoder.parameters() if p.requires_grad]
        if config.method.name == "dcmip":
            self.teacher = copy.deepcopy(encoder).eval()

    def start(self, features: Tensor, labels: Tensor, agreement: Tensor | None) -> None:
        """Prepares an epoch's memories, or classifiers."""
        clusters = int(labels.max()) + 1
        spaces = features if features.ndim == 3 else features[:, None]
        means = torch.stack([torch.stack([s[labels == c].mean(0) for c in range(clusters)]) for s in spaces.unbind(1)])
        means = F.normalize(means, dim=2)
        self.labels, self.agreement = labels, agreement
        if self.config.method.name == "pplr":
            self.classifiers = nn.Parameter(means.clone())
            self.parameters = [*self.parameters, self.classifiers]
        self.memory, self.second = means[0].clone(), means[0].clone()
        self.oldest = [0] * clusters
        self.optimizer = torch.optim.Adam(
            self.parameters, lr=1e-6, weight_decay=self.config.optimizer.weight_decay, foreach=False
        )

    def loss(self, features: Features, rows: Tensor) -> Tensor:
        """The loss of a batch."""
        labels = self.labels[rows]
        return getattr(self, f"_{self.config.method.name}")(features, labels, rows)  # type: ignore[no-any-return]

    def _cluster_contrast(self, features: Features, labels: Tensor, rows: Tensor) -> Tensor:
        return F.cross_entropy(features.embedding @ self.memory.T / self.method.temperature, labels)

    def _dcmip(self, features: Features, labels: Tensor, rows: Tensor) -> Tensor:
        method, total, instance = self.method, [], []
        mean, hard = features.embedding @ self.memory.T, features.embedding @ self.second.T
        for n, label in enumerate(labels.tolist()):
            scores = torch.maximum(mean[n], hard[n])
            own = torch.arange(len(scores)) == label
            scores = torch.where(own, torch.minimum(mean[n], hard[n]), scores)
            total.append(F.cross_entropy(scores[None] / method.temperature, labels[n : n + 1]))
            similar = features.embedding[n] @ self.instances.flatten(0, 1).T
            similar = similar.view(len(self.memory), -1)
            others = torch.cat([similar[:label], similar[label + 1 :]]).flatten()
            hardest = others.topk(min(method.negatives, len(others))).values
            logits = torch.cat([similar[label].min()[None], hardest]) / method.temperature
            instance.append(F.cross_entropy(logits[None], torch.zeros(1, dtype=torch.int64)))
        weight = method.cluster_weight
        return weight * torch.stack(total).mean() + (1 - weight) * torch.stack(instance).mean()

    def _pplr(self, features: Features, labels: Tensor, rows: Tensor) -> Tensor:
        method = self.method
        assert features.part_pre_norms is not None
        assert self.agreement is not None
        agreement = self.agreement[rows]
        whole = features.pre_norm @ self.classifiers[0].T
        parts = [features.part_pre_norms[:, n] @ self.classifiers[n + 1].T for n in range(agreement.shape[1])]
        predicted = torch.zeros_like(whole)
        weights = agreement.softmax(1)
        for n, logits in enumerate(parts):
            predicted += weights[:, n : n + 1] * logits.detach().softmax(1)
        one_hot = F.one_hot(labels, whole.shape[1]).float()
        targets = method.beta * one_hot + (1 - method.beta) * predicted
        loss = -(targets * whole.log_softmax(1)).sum(1).mean()
        smooth = []
        for n, logits in enumerate(parts):
            logs = logits.log_softmax(1)
            uniform = F.kl_div(logs, torch.full_like(logs, 1 / logs.shape[1]), reduction="none").sum(1)
            smooth.append(agreement[:, n] * -logs.gather(1, labels[:, None])[:, 0] + (1 - agreement[:, n]) * uniform)
        loss = loss + torch.stack(smooth).mean()
        found, triplets = features.pre_norm, []
        distance = torch.cdist(found, found)
        for n in range(len(labels)):
            same = labels == labels[n]
            same[n] = False
            other = labels != labels[n]
            if same.any() and other.any():
                triplets.append(F.softplus(distance[n][same].max() - distance[n][other].min()))
        return loss + torch.stack(triplets).mean()

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor, teacher: Tensor | None) -> None:
        """Moves the memories crop by crop."""
        momentum = getattr(self.method, "momentum", 0.0)
        if self.config.method.name == "cluster_contrast":
            for feature, label in zip(features, labels.tolist(), strict=True):
                self.memory[label] = momentum * self.memory[label] + (1 - momentum) * feature
                self.memory[label] /= self.memory[label].norm()
        if self.config.method.name == "dcmip":
            for label in labels.unique().tolist():
                own = features[labels == label]
                hardest = own[(own @ self.second[label]).argmin()]
                for memory, target in ((self.memory, own.mean(0)), (self.second, hardest)):
                    memory[label] = momentum * memory[label] + (1 - momentum) * target
                    memory[label] /= memory[label].norm()
            assert teacher is not None
            for feature, label in zip(teacher, labels.tolist(), strict=True):
                self.instances[label, self.oldest[label]] = feature
                self.oldest[label] = (self.oldest[label] + 1) % self.instances.shape[1]

    def step(self, images: Tensor, rows: Tensor) -> None:
        """One step of the optimiser, and what follows it."""
        images = images.to(self.device)
        features = self.encoder(images)
        loss = self.loss(features, rows)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        loss.item()
        teacher = None
        if self.config.method.name == "dcmip":
            with torch.no_grad():
                for own, other in zip(self.teacher.parameters(), self.encoder.parameters(), strict=True):
                    own.mul_(0.999).add_(other, alpha=0.001)
                teacher = self.teacher(images).embedding
        self.update(features.embedding.detach(), self.labels[rows], teacher)


class Watch(Reporter):
    """Notes when steps end."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def progress(self, what: str, done: int, total: int) -> None:
        if what.startswith("epoch"):
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.ends.append(time.perf_counter())


def seeded_features(labels: np.ndarray, encoder: Encoder, parts: bool) -> np.ndarray:
    """``(N, D)`` or ``(N, 1 + P, D)`` features around one centre per label."""
    rng, spaces = np.random.default_rng(0), 1 + encoder.config.parts if parts else 1
    centres = rng.normal(size=(labels.max() + 1, spaces, encoder.dim))
    features = (centres[labels] + rng.normal(size=(len(labels), spaces, encoder.dim))).astype(np.float32)
    features /= np.linalg.norm(features, axis=2, keepdims=True)
    return features if parts else features[:, 0]


def compare(plain: PlainStep, learner: Learner, now: EpochData, labels: Tensor) -> float:
    """The largest relative difference of the two sides' losses, and of their proxies after an update."""
    generator = torch.Generator().manual_seed(1)
    rows = torch.cat([(labels == c).nonzero()[:8, 0] for c in range(16)]).to("cpu")
    spaces = 1 + learner.config.encoder.parts
    pre_norm = torch.randn(len(rows), spaces, learner.encoder.dim, generator=generator).to(learner.device)
    unit = F.normalize(pre_norm, dim=2)
    features = Features(unit[:, 0], pre_norm[:, 0], None, unit[:, 1:], pre_norm[:, 1:], pre_norm[:, 0])
    own = rows.to(learner.device)
    batch = Batch(own, labels[own], None, now.epoch, views=(features,), teacher=features)
    method: Any = learner.method
    if learner.config.method.name == "dcmip":
        plain.instances = method.instances.proxies.clone()
    expected = torch.stack(list(method.loss(batch).values())).sum()
    found = plain.loss(features, own)
    worst = float(((found - expected).abs() / expected.abs()).detach())
    method.after_step(batch)
    plain.update(unit[:, 0], labels[own], unit[:, 0])
    pairs = {
        "cluster_contrast": lambda: [(plain.memory, method.memory.centroids)],
        "dcmip": lambda: [
            (plain.memory, method.mean.centroids),
            (plain.second, method.discrepant.centroids),
            (plain.instances, method.instances.proxies),
        ],
        "pplr": lambda: [(plain.classifiers, method.classifiers)],
    }
    return max(worst, *(float((a - b).abs().max()) for a, b in pairs[learner.config.method.name]()))


def measure(method: str, backbone: str, table: CropTable, options: argparse.Namespace, folder: Path) -> None:
    """One row of the table: a step and embedding, on both sides."""
    device = resolve_device()
    words = [f"encoder.backbone={backbone}", "encoder.weights=none", *options.settings]
    config = build_config(method, "default", words)
    config = config.model_copy(update={"precision": run_precision(config, device)})
    torch.manual_seed(0)
    data = TrainingData.open(config, table, cache=folder / "pixels", device=device)
    learner = Learner(config, data.method_data, weights="none")
    plain = PlainStep(config, copy.deepcopy(learner.encoder), device)
    assert table.identity is not None
    labels = table.identity - 1
    epoch = config.epochs - 1
    now = data.epoch_data(epoch, seeded_features(labels, learner.encoder, data.needs.parts), np.empty((0, 1)))
    on_device = now.on_device(labels)
    agreement = None
    if method == "pplr":
        agreement = torch.rand(len(labels), config.encoder.parts, generator=torch.Generator().manual_seed(2)).to(device)
        learner.method.agreement = agreement
    learner.start_epoch(now, on_device)
    plain.start(now.on_device(now.features), on_device, agreement)
    apart = compare(plain, learner, now, on_device)
    assert apart < 1e-3, f"the two sides differ by {apart}"

    plan, usual = learner.method.plan(epoch), learner.config
    shape = config.sampling
    files = [str(table.file(row)) for row in range(len(table))]
    mean, std = (value.cpu()[0] for value in (learner.encoder.mean, learner.encoder.std))

    def ours(steps: int) -> list[float]:
        sampling = shape.model_copy(update={"iterations": steps + 1})
        learner.config = usual.model_copy(update={"sampling": sampling})
        watch = Watch()
        train_epoch(learner, data, now, plan, labels, watch)
        learner.config = usual
        return list(np.diff(watch.ends)[1:])

    def batches(steps: int) -> list[list[int]]:
        rng = np.random.default_rng(0)
        return [
            [int(row) for c in rng.permutation(_IDENTITIES)[: shape.clusters]
             for row in rng.permutation(np.flatnonzero(labels == c))[: shape.crops]]
            for _ in range(steps)
        ]  # fmt: skip

    def loader(training: bool, **more: Any) -> DataLoader[tuple[Tensor, int]]:
        crops = PlainCrops(files, config, mean, std, training)
        return DataLoader(crops, num_workers=options.workers, pin_memory=device.type == "cuda", **more)

    def theirs(steps: int) -> list[float]:
        plain.encoder.train()
        use(PLAIN)
        ends = []
        for images, rows in loader(True, batch_sampler=batches(steps + 2)):
            plain.step(images, rows.to(device))
            if device.type == "cuda":
                torch.cuda.synchronize()
            ends.append(time.perf_counter())
        use(OURS)
        return list(np.diff(ends)[1:])

    def embed_ours() -> float:
        start = time.perf_counter()
        embed_images(
            learner.encoder,
            data.pixels.images,
            batch=config.embed_batch,
            flip=config.embed_flip,
            parts=data.needs.parts,
            autocast=learner.autocast,
        )
        return time.perf_counter() - start

    @torch.no_grad()
    def embed_theirs() -> float:
        plain.encoder.eval()
        use(PLAIN)
        start = time.perf_counter()
        for images, _ in loader(False, batch_size=config.embed_batch):
            found = plain.encoder(images.to(device)).embedding
            if config.embed_flip:
                found = F.normalize(found + plain.encoder(images.flip(3).to(device)).embedding)
            found.cpu()
        use(OURS)
        return time.perf_counter() - start

    sides: dict[str, dict[str, list[float]]] = {"step": {"ours": [], "plain": []}, "embed": {"ours": [], "plain": []}}
    stages: tuple[tuple[str, Callable[[], list[float]], Callable[[], list[float]]], ...] = (
        ("step", lambda: ours(options.steps), lambda: theirs(options.steps)),
        ("embed", lambda: [embed_ours()], lambda: [embed_theirs()]),
    )
    for _ in range(options.repeats):
        for name, first, second in stages:
            sides[name]["ours"] += first()
            sides[name]["plain"] += second()
    batch = shape.clusters * shape.crops
    for name, count in (("step", batch), ("embed", len(labels))):
        own, other = sides[name]["ours"], sides[name]["plain"]
        ratio = statistics.median(other) / statistics.median(own)
        rate = count / statistics.median(own)
        print(f"{method:18}{backbone:20}{name:7}{spread(own):>28} s{spread(other):>28} s{rate:9.0f}/s{ratio:8.2f}")


def rows(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """What is measured."""
    for method in [options.method] if options.method else METHODS:
        for backbone in [options.backbone] if options.backbone else BACKBONES:
            yield method, backbone


def main() -> None:
    """Measures what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", default=[], metavar="KEY=VALUE", help="settings of both sides")
    parser.add_argument("--method", choices=METHODS)
    parser.add_argument("--backbone")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2, help="of the plain side's DataLoader")
    options = parser.parse_args()
    print(f"{resolve_device()}, {torch.get_num_threads()} threads; seconds: median (smallest to largest)")
    print(f"{'method':18}{'backbone':20}{'what':7}{'ours':>30}{'plain':>30}{'ours':>11}{'ratio':>8}")
    with tempfile.TemporaryDirectory() as place:
        table = paint(Path(place) / "crops")
        for method, backbone in rows(options):
            measure(method, backbone, table, options, Path(place))


if __name__ == "__main__":
    main()
