"""Training, loading and using a model from Python: what the command line calls, too."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from resight.clustering import PseudoLabels, bottom_up, cluster_crops, clustering_quality
from resight.common.files import write_aside
from resight.crops import GALLERY, QUERY, TRAIN, UNLABELLED, CropTable, read_crops, read_image, reference_crops
from resight.crops.cache import PixelCache, Progress, open_pixel_cache
from resight.encoders import Encoder, embed_images, map_images, read_state
from resight.encoders.weights import EXTENSION
from resight.errors import ResightError
from resight.evaluation import RerankOptions, evaluate_splits
from resight.methods.mar import MarOptions
from resight.proxies import log_multilabels
from resight.training.config import TrainConfig, build_config
from resight.training.loop import fit
from resight.training.reporting import Reporter
from resight.training.run import RunFolder


class Model:
    """A trained encoder, ready for images.

    Args:
        encoder: The encoder.
        config: The settings it was trained with.
        run: The run folder it came from, if any.
        agents: ``(P, D)`` L2-normalised agents of the persons it was trained to liken crops to (method ``mar``).
        persons: What these are called.
    """

    def __init__(
        self,
        encoder: Encoder,
        config: TrainConfig,
        run: RunFolder | None = None,
        *,
        agents: torch.Tensor | None = None,
        persons: Sequence[str] = (),
    ) -> None:
        self.encoder = encoder.eval()
        self.config = config
        self.run = run
        self.agents = agents
        self.persons = tuple(persons)

    @property
    def dim(self) -> int:
        """Length D of an embedding."""
        return self.encoder.dim

    def embed(
        self,
        images: CropTable | np.ndarray | Sequence[str | Path | np.ndarray],
        *,
        cache: str | Path | None = None,
        flip: bool | None = None,
        parts: bool = False,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """Embeds crops.

        Args:
            images: A crop table, a list of image files, a list of uint8 RGB arrays ``(H, W, 3)`` of any sizes, or
                one uint8 array ``(N, 3, H, W)`` of the model's size.
            cache: With a crop table: where decoded crops are kept (``pixels`` beside the run if not given).
            flip: Whether to add each mirror image's embedding; as in training if not given.
            parts: Whether to return the embeddings of the parts as well, of a model trained with ``encoder.parts``.
            progress: Told of crops done.

        Returns:
            ``(N, D)`` float32, L2-normalised: the dot product of two rows is their cosine similarity. With ``parts``,
            ``(N, 1 + P, D)``: the embedding of the crop, then those of its P horizontal stripes from top to bottom.

        Raises:
            ResightError: an image cannot be read, an array is not of these shapes, or the model has no parts.
        """
        if isinstance(images, CropTable):
            pixels = self.open_cache(images, cache, progress=progress, max_unreadable=0.0)
            return self.embed_cached(pixels, flip, progress, parts=parts)
        return self._embed_pixels(self._pixels(images), flip, progress, parts)

    def open_cache(
        self,
        table: CropTable,
        cache: str | Path | None = None,
        *,
        max_unreadable: float | None = None,
        progress: Progress | None = None,
    ) -> PixelCache:
        """The decoded crops of a table, at the model's size (see :func:`resight.crops.cache.open_pixel_cache`)."""
        if cache is None:
            cache = (self.run.path.parent if self.run else Path("runs")) / "pixels"
        return open_pixel_cache(
            table,
            self.config.encoder.height,
            self.config.encoder.width,
            cache,
            max_unreadable=self.config.max_unreadable if max_unreadable is None else max_unreadable,
            progress=progress,
        )

    def embed_cached(
        self,
        pixels: PixelCache,
        flip: bool | None = None,
        progress: Progress | None = None,
        *,
        parts: bool = False,
    ) -> np.ndarray:
        """:meth:`embed` on decoded crops."""
        return self._embed_pixels(pixels.images, flip, progress, parts)

    def _embed_pixels(
        self, pixels: np.ndarray, flip: bool | None, progress: Progress | None, parts: bool
    ) -> np.ndarray:
        return embed_images(
            self.encoder,
            pixels,
            batch=self.config.embed_batch,
            flip=self.config.embed_flip if flip is None else flip,
            parts=parts,
            autocast=self._autocast,
            progress=None if progress is None else partial(progress, "embedding"),
        )

    def multilabels(self, features: np.ndarray) -> np.ndarray:
        """How like crops are to each reference person, by a model of the method ``mar``.

        Args:
            features: ``(N, D)`` embeddings.

        Returns:
            ``(N, P)`` float32: each row sums to 1, its columns are those of ``persons``.

        Raises:
            ResightError: the model has no reference persons.
        """
        blocks = [block.exp().cpu().numpy() for block in self._log_multilabels(features)]
        return np.concatenate(blocks) if blocks else np.empty((0, len(self.persons)), np.float32)

    def describe(self, features: np.ndarray, top: int = 5) -> tuple[np.ndarray, np.ndarray]:
        """The reference persons that crops are most like: a description that people can read.

        Args:
            features: ``(N, D)`` embeddings.
            top: How many of them, or all there are.

        Returns:
            ``(N, top)`` names, the most alike first, and ``(N, top)`` float32, their shares of the multilabel.

        Raises:
            ResightError: the model has no reference persons.
        """
        found = [block.exp().topk(min(top, block.shape[1])) for block in self._log_multilabels(features)]
        if not found:
            return np.empty((0, top), str), np.empty((0, top), np.float32)
        weights, columns = (torch.cat(parts).cpu().numpy() for parts in zip(*found, strict=True))
        return np.array(self.persons)[columns], weights

    def _log_multilabels(self, features: np.ndarray) -> Iterator[torch.Tensor]:
        if self.agents is None or not isinstance(self.config.method, MarOptions):
            raise ResightError("This model has no reference persons to describe crops by: train one with method mar.")
        agents, scale = self.agents.to(self.encoder.mean.device), self.config.method.scale
        for start in range(0, len(features), 1024):
            block = torch.from_numpy(np.ascontiguousarray(features[start : start + 1024], np.float32))
            yield log_multilabels(block.to(agents.device), agents, scale)

    def attention_maps(self, images: np.ndarray | Sequence[str | Path | np.ndarray]) -> dict[str, np.ndarray]:
        """What the model looks at in crops.

        Args:
            images: As for :meth:`embed`, but no table: image files, uint8 RGB arrays ``(H, W, 3)``, or one uint8 array
                ``(N, 3, H, W)`` of the model's size. At least one.

        Returns:
            Maps ``(N, h, w)``, float32 in [0, 1]. ``activation`` is the strength of the last feature map, stretched to
            [0, 1] crop by crop. An encoder with attention also has the spatial attention of each block, from first to
            last and as it is, under names such as ``layer4.2``, or that of voxel attention as ``voxel``, each crop's
            summing to 1. Maps of later stages are coarser.

        Raises:
            ResightError: no images, or as :meth:`embed`.
        """
        pixels = self._pixels(images)
        if not len(pixels):
            raise ResightError("There are no images to make maps of: give at least one.")
        return map_images(self.encoder, pixels, batch=self.config.embed_batch, autocast=self._autocast)

    def _autocast(self) -> AbstractContextManager[object]:
        device = self.encoder.mean.device.type
        return torch.autocast(device, torch.bfloat16, enabled=self.config.precision == "bfloat16")

    def _pixels(self, images: np.ndarray | Sequence[str | Path | np.ndarray]) -> np.ndarray:
        height, width = self.config.encoder.height, self.config.encoder.width
        if isinstance(images, np.ndarray) and images.ndim == 4:
            if images.dtype != np.uint8 or images.shape[1:] != (3, height, width):
                raise ResightError(
                    f"An array of images for this model is uint8 of shape (N, 3, {height}, {width}), not "
                    f"{images.dtype} of shape {images.shape}. Images of other sizes go in as a list of "
                    "(H, W, 3) arrays."
                )
            return images
        if isinstance(images, str | Path | np.ndarray):
            raise ResightError("Images are given several at once: put a single one into a list.")
        return (
            np.stack([_one_image(image, height, width) for image in images])
            if len(images)
            else np.empty((0, 3, height, width), np.uint8)
        )

    def cluster(
        self, features: np.ndarray, table: CropTable, *, clusters: int | None = None, **changes: Any
    ) -> PseudoLabels:
        """Identities for crops, by the run's own clustering, or bottom-up to a known number of them.

        Args:
            features: ``(N, D)``.
            table: The crops, for their cameras where the run centres on cameras.
            clusters: How many identities there are, where that is known (see :func:`resight.clustering.bottom_up`).
            **changes: Settings of the clustering to use instead of the run's: ``eps``, ``k1`` and so on.
        """
        if clusters is not None:
            return bottom_up(features, clusters, device=self.encoder.mean.device)
        settings = self.config.clustering.model_dump() | {k: v for k, v in changes.items() if v is not None}
        return cluster_crops(features, camera=table.camera, device=self.encoder.mean.device, **settings)


def _one_image(image: str | Path | np.ndarray, height: int, width: int) -> np.ndarray:
    if not isinstance(image, np.ndarray):
        return read_image(image, height, width)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ResightError(
            f"An image array is uint8 of shape (H, W, 3), red first; got {image.dtype} of shape {image.shape}."
        )
    from PIL import Image

    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized).transpose(2, 0, 1)


def load(run: str | Path, device: str | torch.device = "cpu", *, epoch: int | None = None) -> Model:
    """Loads the model of a run folder.

    Args:
        run: The folder.
        device: Where the model goes.
        epoch: An earlier epoch whose weights the run kept (``keep_every``); the last if not given.

    Raises:
        ResightError: it is not a run folder, no epoch of it is finished, or that epoch's weights were not kept.
    """
    folder = RunFolder.existing(run)
    if not folder.weights_file.is_file():
        raise ResightError(f"{run} has no weights yet: no epoch was finished. Go on with it by --resume.")
    weights = folder.weights_file if epoch is None else folder.kept_weights(epoch)
    if not weights.is_file():
        raise ResightError(f"{run} has no weights of epoch {epoch}: {folder.describe_kept_weights()}.")
    config = folder.read_config()
    encoder = Encoder(config.encoder, weights="none")
    state = read_state(weights)
    beside = {name.removeprefix(EXTENSION): state.pop(name) for name in list(state) if name.startswith(EXTENSION)}
    try:
        encoder.load_state_dict(state)
    except RuntimeError as error:
        raise ResightError(f"{weights} does not fit the encoder in {folder.config_file}: {error}") from error
    source = folder.read_data().get("source") if beside else None
    persons = source["people"] if source else ()
    return Model(encoder.to(device), config, folder, agents=beside.get("agents"), persons=persons)


def train(
    method: str,
    data: CropTable | str | Path,
    out: str | Path,
    *,
    recipe: str | Path | None = None,
    settings: dict[str, Any] | Sequence[str] = (),
    source: CropTable | str | Path | None = None,
    source_identities: int | None = None,
    resume: bool = False,
    cache: str | Path | None = None,
    reporter: Reporter | None = None,
) -> Model:
    """Trains a model without labels.

    Args:
        method: Name of a method, such as ``cluster_contrast``.
        data: A crop table, or a path that :func:`resight.read_crops` understands. Its ``train`` rows are trained
            on; where its ``query`` and ``gallery`` rows have identities, the model is scored on them.
        out: The run folder to make.
        recipe: Name of one of the method's recipes, or a YAML file.
        settings: What differs from the recipe: ``{"epochs": 20, "optimizer.lr": 1e-4}`` or ``["epochs=20"]``.
        source: Labelled crops of other people, a table or a path, for a method that learns from them as well (``mar``).
        source_identities: How many of these people, the first in the order of their codes; all if not given.
        resume: Go on with the run in ``out``, with its own settings if neither recipe nor settings are given.
        cache: Folder of decoded crops; ``pixels`` beside ``out`` if not given.
        reporter: How progress is told; silent if not given.

    Returns:
        The trained model; its ``run`` has the metrics.

    Raises:
        ResightError: bad data or settings, see :func:`resight.training.loop.fit`.
    """
    table = data if isinstance(data, CropTable) else read_crops(data)
    if source is not None:
        source = reference_crops(source if isinstance(source, CropTable) else read_crops(source), source_identities)
    elif source_identities is not None:
        raise ResightError("A number of source identities was given, but no source: name it with --source PATH.")
    out = Path(out)
    config = resolve_config(method, recipe, settings, resume=out if resume else None)
    cache = out.parent / "pixels" if cache is None else cache
    reporter = reporter or Reporter()
    scored = can_be_scored(table)
    scores: dict[str, Any] = {}
    pixels: PixelCache | None = None  # opened once: opening reads every file to hash it

    def score(encoder: Encoder) -> dict[str, Any]:
        nonlocal pixels
        model = Model(encoder, config)
        if pixels is None:
            pixels = model.open_cache(labelled_test_crops(table), cache, progress=reporter.progress)
        scores.update(evaluate_cached(model, pixels, progress=reporter.progress))
        return {name: scores[name] for name in ("mAP", "rank1", "rank5", "rank10", "mINP")}

    run = fit(
        config,
        table,
        out,
        source=source,
        resume=resume,
        cache=cache,
        reporter=reporter,
        evaluate=score if scored else None,
    )
    model = load(run.path)
    if scored:
        if not scores:  # a finished run, resumed
            score(model.encoder)
        save_evaluation(run, scores)
    return model


def resolve_config(
    method: str,
    recipe: str | Path | None,
    settings: dict[str, Any] | Sequence[str],
    *,
    resume: Path | None = None,
) -> TrainConfig:
    """The settings of a run: the recipe's with changes, or those of the run that is resumed without any named."""
    if resume is not None and RunFolder(resume).config_file.exists() and recipe is None and not settings:
        config = RunFolder(resume).read_config()
        if config.method.name != method:
            raise ResightError(f"{resume} is a run of {config.method.name}, not of {method}.")
        return config
    return build_config(method, recipe, settings)


def can_be_scored(table: CropTable) -> bool:
    """Whether a table has labelled queries and a gallery."""
    return (
        table.identity is not None
        and table.split is not None
        and bool((table.split == QUERY).any() and (table.split == GALLERY).any())
        and bool((table.identity[table.split != TRAIN] != UNLABELLED).all())
    )


def labelled_test_crops(table: CropTable) -> CropTable:
    """The ``query`` and ``gallery`` rows of a labelled table.

    Raises:
        ResightError: there are no labels to score against, or no split.
    """
    if table.identity is None:
        raise ResightError(
            f"There are no labels to score against: the crops in {table.root} (read as '{table.source}') have no "
            "identities. 'resight cluster' groups them, 'resight embed' writes their embeddings."
        )
    if table.split is None:
        raise ResightError(
            f"The crops in {table.root} are not divided into query and gallery: give --train-identities N to hold out "
            "the other identities, or a 'split' column."
        )
    return table.select(table.split != TRAIN)


def evaluate(
    model: Model,
    table: CropTable,
    *,
    ap: str = "standard",
    rerank: RerankOptions | None = None,
    flip: bool | None = None,
    clustering: bool = False,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Scores a model on the ``query`` and ``gallery`` rows of a table.

    Args:
        model: The model.
        table: A labelled table with those splits.
        ap: ``standard`` or ``trapezoidal``.
        rerank: k-reciprocal re-ranking, if wanted.
        flip: Whether mirror images are added; as in training if not given.
        clustering: Whether to cluster the test crops as well and compare with their identities.
        cache: Folder of decoded crops.
        progress: Told of crops done.

    Returns:
        Plain figures (rates as fractions of 1): those of :class:`resight.evaluation.RankingMetrics`, and under
        ``clustering`` those of :func:`resight.clustering.clustering_quality`.

    Raises:
        ResightError: there are no labels to score against, or no query or gallery.
    """
    pixels = model.open_cache(labelled_test_crops(table), cache, progress=progress)
    return evaluate_cached(model, pixels, ap=ap, rerank=rerank, flip=flip, clustering=clustering, progress=progress)


def evaluate_cached(
    model: Model,
    pixels: PixelCache,
    *,
    ap: str = "standard",
    rerank: RerankOptions | None = None,
    flip: bool | None = None,
    clustering: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """:func:`evaluate` on test crops that are decoded already."""
    tested = pixels.table
    features = model.embed_cached(pixels, flip, progress)
    metrics = evaluate_splits(
        features,
        tested.identity,
        tested.camera,
        tested.split,
        ap=ap,
        rerank=rerank,
        device=str(model.encoder.mean.device),
    )
    scores = metrics.to_dict() | {
        "flip": model.config.embed_flip if flip is None else flip,
        "unreadable": len(pixels.unreadable),
    }
    if clustering and tested.identity is not None:
        labels = model.cluster(features, tested).labels
        scores["clustering"] = clustering_quality(labels, tested.identity)
    return scores


def transfer_report(
    source: Model,
    source_table: CropTable,
    target_table: CropTable,
    adapted: Sequence[Model] = (),
    *,
    flip: bool | None = None,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """What a model of a labelled source is worth on a target that it never saw, and what adaptation adds.

    The form of table 5 of Ji et al. 2020 (supplement): the source model on its own test crops and on the target's, and
    below these any adapted models on the target's.

    Args:
        source: The model trained on the source.
        source_table: The source, labelled, with query and gallery.
        target_table: The target, likewise.
        adapted: Models that were trained on the target.
        flip: Whether mirror images are added; as in each model's training if not given.
        cache: Folder of decoded crops.
        progress: Told of crops done.

    Returns:
        A record for each row: ``model`` (the run folder), ``data`` (``source`` or ``target``), ``adapted``, and the
        figures of :func:`evaluate`.

    Raises:
        ResightError: there are no labels to score against, or no query or gallery.
    """
    pairs = [(source, "source", source_table)]
    pairs += [(model, "target", target_table) for model in (source, *adapted)]
    return [
        {"model": str(model.run.path) if model.run else "", "data": data, "adapted": model is not source}
        | evaluate(model, table, flip=flip, cache=cache, progress=progress)
        for model, data, table in pairs
    ]


def save_evaluation(run: RunFolder, scores: dict[str, Any]) -> dict[str, Any]:
    """Writes ``evaluation.json``: the last epoch's figures, the best epoch's beside them, and camera use."""
    scored = [record for record in run.read_metrics() if "test_mAP" in record]
    best = max(scored, key=lambda record: record["test_mAP"], default=None)
    result = scores | {
        **run.facts(),
        # Picked by the test figures themselves: for comparison with papers that do so, never the headline.
        "best_epoch": None
        if best is None or len(scored) < 2
        else {"epoch": best["epoch"], "mAP": best["test_mAP"], "rank1": best["test_rank1"]},
    }
    write_aside(run.evaluation_file, lambda file: file.write_text(json.dumps(result, indent=1), encoding="utf-8"))
    return result
