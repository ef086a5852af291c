"""A trained model: loading it, embedding crops, grouping them into identities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from resight.analysis import Doubt, doubt
from resight.clustering import NoClusters, PseudoLabels, Tracks, respect_tracks, track_conflicts
from resight.clustering.config import CAMERA_SETTINGS
from resight.common.checks import as_array, as_path, flag, instance, number, shown, whole
from resight.common.devices import fast_bfloat16, resolve_device
from resight.crops import CropTable, read_image
from resight.crops.cache import PixelCache, Progress, open_pixel_cache
from resight.crops.pixels import Images, StoredImages
from resight.encoders import Encoder, embed_images, map_images, read_state
from resight.encoders.weights import describe_mismatch, split_extension
from resight.errors import ResightError
from resight.identities import ALGORITHMS, BottomUp, Dbscan, TwoStage, build_clustering
from resight.methods import METHODS
from resight.training.config import TrainConfig
from resight.training.run import RunFolder

#: Crops up to which halves are drawn three times, to say how sure a clustering is; of more, once.
_OFTEN = 100_000


class Model:
    """A trained encoder, ready for images.

    Args:
        encoder: The encoder. It stays on its device, and computations are done there.
        config: The settings it was trained with.
        run: The run folder it came from, if any.
        extension: What the method of the run needs beside the encoder, if anything, such as the reference identities
            of MAR. It has the methods that the method's documentation names.
        precision: ``float32`` or ``bfloat16``. If not given: as in training, but float32 where the device has no
            bfloat16 in hardware.
    """

    def __init__(
        self,
        encoder: Encoder,
        config: TrainConfig,
        run: RunFolder | None = None,
        *,
        extension: nn.Module | None = None,
        precision: str | None = None,
    ) -> None:
        self.encoder = encoder.eval()
        self.config = config
        self.run = run
        self.extension = extension
        if precision is None:
            precision = config.precision if fast_bfloat16(self.device) else "float32"
        self.precision = precision

    @property
    def dim(self) -> int:
        """Length D of an embedding."""
        return self.encoder.dim

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.encoder.mean.device

    def embed(
        self,
        images: CropTable | np.ndarray | StoredImages | Sequence[str | Path | np.ndarray],
        *,
        cache: str | Path | None = None,
        flip: bool | None = None,
        parts: bool = False,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """Embeds crops.

        Args:
            images: A crop table, a list of image files, a list of uint8 RGB arrays ``(H, W, 3)`` of any sizes, or
                one uint8 array ``(N, 3, H, W)`` of the model's size, such as the images of :meth:`open_cache`.
            cache: With a crop table: folder for its decoded crops; ``pixels`` beside the run if not given.
            flip: Whether to add the embedding of each crop's mirror image; as in training if not given.
            parts: Whether to return the embeddings of the parts, too; the model needs ``encoder.parts``.
            progress: Called with the step's name, the crops done and the crops in all.

        Returns:
            ``(N, D)`` float32, L2-normalised: the dot product of two rows is their cosine similarity. With ``parts``,
            ``(N, 1 + P, D)``: the embedding of the crop, then those of its P horizontal stripes from top to bottom.

        Raises:
            ResightError: an image cannot be read, an array has another shape or type, or the model has no parts.
        """
        flag("parts", parts)
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
        """Decodes the crops of a table at the model's size, or finds them decoded by an earlier call.

        Args:
            table: The crops.
            cache: Folder for the decoded crops; ``pixels`` beside the run if not given.
            max_unreadable: Share of the crops that may be unreadable; as in training if not given.
            progress: Called with the step's name, the crops done and the crops in all.

        Returns:
            The crops that could be read, with the names of the others.

        Raises:
            ResightError: there are no crops, or more of them are unreadable.
        """
        instance("table", table, CropTable, "read_crops makes one")
        if max_unreadable is not None:
            max_unreadable = number("max_unreadable", max_unreadable, least=0, most=1)
        if cache is None:
            cache = (self.run.path.parent if self.run else Path("runs")) / "pixels"
        return open_pixel_cache(
            table,
            self.config.encoder.height,
            self.config.encoder.width,
            as_path("The folder of decoded crops", cache),
            max_unreadable=self.config.max_unreadable if max_unreadable is None else max_unreadable,
            remedy="" if max_unreadable is None else "leave them out: model.open_cache(table, max_unreadable=1)",
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
        """Embeds decoded crops; arguments and result as :meth:`embed`."""
        images = instance("pixels", pixels, PixelCache, "open_cache makes it").images
        return self._embed_pixels(images, flip, progress, flag("parts", parts))

    def _embed_pixels(self, pixels: Images, flip: bool | None, progress: Progress | None, parts: bool) -> np.ndarray:
        embeddings = embed_images(
            self.encoder,
            pixels,
            batch=self.config.embed_batch,
            flip=self.config.embed_flip if flip is None else flag("flip", flip),
            parts=parts,
            autocast=self._autocast,
            progress=None if progress is None else partial(progress, "embedding"),
        )
        return self._finite(embeddings, "embedding")

    def _finite(self, values: np.ndarray, what: str) -> np.ndarray:
        """The values, where all are numbers; else a sentence that names the model."""
        if not np.isfinite(values).all():
            raise ResightError(
                f"The model{f' of {self.run.path}' if self.run else ''} gives a crop an {what} that is no number: its "
                "weights are damaged, or training diverged. Use an earlier epoch, or train again with a lower "
                "optimizer.lr."
            )
        return values

    def attention_maps(
        self, images: np.ndarray | StoredImages | Sequence[str | Path | np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Shows what the model looks at in crops.

        Args:
            images: A list of image files, a list of uint8 RGB arrays ``(H, W, 3)`` of any sizes, or one uint8 array
                ``(N, 3, H, W)`` of the model's size. At least one.

        Returns:
            Maps ``(N, h, w)``, float32 in [0, 1], by name. ``activation`` is the strength of the last feature map,
            stretched to [0, 1] for each crop. An encoder with attention also has the spatial attention of each block,
            from first to last, under names such as ``layer4.2``; one with voxel attention has ``voxel``, which sums to
            1 for each crop. Maps of later stages are coarser.

        Raises:
            ResightError: there are no images, one cannot be read, or an array has another shape or type.
        """
        pixels = self._pixels(images)
        if not len(pixels):
            raise ResightError("There are no images to make maps of: give at least one.")
        maps = map_images(self.encoder, pixels, batch=self.config.embed_batch, autocast=self._autocast)
        return {name: self._finite(values, "attention map") for name, values in maps.items()}

    def _autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16")

    def _pixels(self, images: np.ndarray | StoredImages | Sequence[str | Path | np.ndarray]) -> Images:
        height, width = self.config.encoder.height, self.config.encoder.width
        if isinstance(images, np.ndarray | StoredImages) and images.ndim == 4:
            if images.dtype != np.uint8 or images.shape[1:] != (3, height, width):
                raise ResightError(
                    f"An array of images for this model is uint8 of shape (N, 3, {height}, {width}), not "
                    f"{images.dtype} of shape {images.shape}. Images of other sizes go in as a list of "
                    "(H, W, 3) arrays."
                )
            return images
        if isinstance(images, str | Path | np.ndarray):
            raise ResightError("Images are given several at once: put a single one into a list.")
        if not isinstance(images, list | tuple):
            raise ResightError(f"Images are a crop table, a list or one array, not {shown(images)}.")
        return (
            np.stack([_one_image(image, height, width) for image in images])
            if len(images)
            else np.empty((0, 3, height, width), np.uint8)
        )

    def cluster(
        self,
        features: np.ndarray,
        table: CropTable,
        *,
        algorithm: str | None = None,
        clusters: int | None = None,
        tracks: bool = True,
        **changes: Any,
    ) -> PseudoLabels:
        """Groups crops into identities.

        Args:
            features: ``(N, D)`` embeddings of the crops.
            table: The N crops, for their cameras where these are used.
            algorithm: ``dbscan``, ``two_stage`` or ``bottom_up`` (see :mod:`resight.identities`). If not given, that of
                the run's method, except that ``bottom_up`` replaces ``dbscan`` where ``clusters`` is given.
            clusters: Number of identities among the crops, where it is known.
            tracks: Whether, in a table with tracks, each track gets one identity, and tracks of one camera that overlap
                in time get different ones (:func:`resight.clustering.respect_tracks`).
            **changes: Settings of the algorithm, such as ``eps`` or ``k1``, to use instead of the run's; ``None``
                changes nothing.

        Returns:
            A cluster number for each crop, -1 for a crop that belongs to none. Its ``facts`` have the figures of
            :func:`resight.clustering.track_conflicts` where tracks were used.

            Settings come from the run: those of its ``clustering``, and those of its ``method`` if the algorithm is the
            method's own. The run's own number of clusters was meant for its training crops: it is not used as it is,
            but other crops get clusters of the same mean size.

        Raises:
            NoClusters: every crop is an outlier.
            ResightError: there is no such algorithm or setting, or cameras are needed and missing.
        """
        clustering = self.clustering(algorithm, {"clusters": clusters, **changes})
        instance("table", table, CropTable, "read_crops makes one")
        features = as_array("The features", features)
        if features.ndim != 2 or len(features) != len(table):
            raise ResightError(
                f"The features have shape {features.shape}, but the table has {len(table)} crops: give a row per crop."
            )
        return self._grouped(clustering, features, table, flag("tracks", tracks))

    def _grouped(
        self, clustering: Dbscan | TwoStage | BottomUp, features: np.ndarray, table: CropTable, tracks: bool
    ) -> PseudoLabels:
        found = clustering(features, table.camera, self.device)
        return with_tracks(found, features, table) if tracks and table.track is not None else found

    def embed_tracks(
        self, table: CropTable, features: np.ndarray | None = None, **options: Any
    ) -> tuple[Tracks, np.ndarray]:
        """Embeds tracks: the mean of the embeddings of each track's crops, weighted by the table's ``quality``.

        Args:
            table: N crops with tracks. Without a column ``quality`` all crops weigh the same.
            features: ``(N, D)`` embeddings of the crops, where they are known.
            **options: As for :meth:`embed`.

        Returns:
            The tracks, and ``(T, D)`` float32, L2-normalised.

        Raises:
            ResightError: the table has no tracks, or a crop cannot be read.
        """
        tracks = tracks_of(instance("table", table, CropTable, "read_crops makes one"), "Embeddings of tracks")
        features = self.embed(table, **options) if features is None else as_array("The features", features)
        return tracks, tracks.means(features, table.quality)

    def doubt(
        self,
        features: np.ndarray,
        table: CropTable,
        found: PseudoLabels | None = None,
        clustering: Dbscan | TwoStage | BottomUp | None = None,
        *,
        tracks: bool = True,
        draws: int | None = None,
    ) -> Doubt:
        """How sure a clustering is, by clustering halves of the crops (:func:`resight.analysis.doubt`).

        Args:
            features: ``(N, D)`` embeddings of the crops.
            table: The crops, of which the cameras are used if they are known.
            found: Their clusters; found here if not given.
            clustering: What found them; the run's own if not given.
            tracks: Whether the clusters obey the tracks of the table, as in :meth:`cluster`.
            draws: Draws of halves; by default 3, and 1 for more than 100,000 crops.
        """
        clustering = self.clustering() if clustering is None else clustering
        if found is None:
            try:
                found = self._grouped(clustering, features, table, tracks)
            except NoClusters:
                found = PseudoLabels(np.full(len(table), -1))
        half = clustering.for_half(found)

        def cluster(rows: np.ndarray) -> np.ndarray:
            return self._grouped(half, features[rows], table.select(rows), tracks).labels

        return doubt(found, cluster, camera=table.camera, draws=draws or (3 if len(table) <= _OFTEN else 1))

    def clustering(
        self, algorithm: str | None = None, changes: Mapping[str, Any] | None = None
    ) -> Dbscan | TwoStage | BottomUp:
        """What :meth:`cluster` applies to features and cameras: checked before there are any.

        Args:
            algorithm: As for :meth:`cluster`.
            changes: Settings of the algorithm, ``clusters`` among them, to use instead of the run's; ``None`` changes
                nothing.

        Raises:
            ResightError: there is no such algorithm or setting, or a value is not possible.
        """
        if changes is not None and not isinstance(changes, Mapping):
            raise ResightError(f"Changes are a mapping of settings to values, not {shown(changes)}.")
        changed = {name: value for name, value in (changes or {}).items() if value is not None}
        own = METHODS[self.config.method.name].clustering_algorithm
        if algorithm is None:
            takes_number = "clusters" in ALGORITHMS[own].model_fields
            algorithm = "bottom_up" if "clusters" in changed and not takes_number else own
        settings = self.config.clustering.arguments()
        if self.config.pseudo_cameras is not None:  # they were groups of the training crops
            settings |= dict.fromkeys(CAMERA_SETTINGS, False)
        if isinstance(algorithm, str) and algorithm == own:
            trained_on = self.run.read_data("crops")["crops"] if self.run else None
            settings |= self.config.method.identity_settings(trained_on)
        return build_clustering(algorithm, settings, changed)


def tracks_of(table: CropTable, purpose: str = "A track") -> Tracks:
    """The tracks of a table, which last from ``track_from`` to ``track_to``, or from their first crop to their last.

    Args:
        table: The crops.
        purpose: What needs tracks, for the sentence.

    Raises:
        ResightError: the table has no tracks.
    """
    track = table.require("track", purpose)
    if table.track_from is None or table.track_to is None:
        return Tracks.of(track, table.camera, table.time)
    return Tracks.of(track, table.camera, table.track_from, table.track_to)


def with_tracks(found: PseudoLabels, features: np.ndarray, table: CropTable) -> PseudoLabels:
    """Clusters changed so that they agree with the table's tracks; what was changed is among the ``facts``."""
    own = tracks_of(table)
    labels = respect_tracks(found.labels, features, own)
    return replace(found, labels=labels, facts={**found.facts, **track_conflicts(found.labels, own)})


def times_of(table: CropTable) -> tuple[np.ndarray, np.ndarray]:
    """``(N,)`` when each crop's track began and ended; when the crop was taken, twice, where that is not known.

    Raises:
        ResightError: there are no times.
    """
    if table.track_from is None or table.track_to is None:
        time = table.require("time", "A journey")
        return time, time
    return table.track_from, table.track_to


def _one_image(image: str | Path | np.ndarray, height: int, width: int) -> np.ndarray:
    if not isinstance(image, np.ndarray):
        return read_image(as_path("An image", image), height, width)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ResightError(
            f"An image array is uint8 of shape (H, W, 3), red first; got {image.dtype} of shape {image.shape}."
        )
    from PIL import Image

    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized).transpose(2, 0, 1)


def load(run: str | Path, device: str | torch.device = "auto", *, epoch: int | None = None) -> Model:
    """Loads the model of a run folder.

    Args:
        run: The folder.
        device: Where the model computes: ``cpu``, ``cuda``, ``cuda:N`` (GPU number N), or ``auto``: a GPU if there is
            one, else the CPU. Apple's MPS is not supported, because clustering needs float64.
        epoch: An earlier epoch whose weights the run kept (``keep_every``); the last if not given.

    Raises:
        ResightError: it is not a run folder, no epoch of it is finished, that epoch's weights were not kept, or there
            is no such device.
    """
    device = resolve_device(device)
    folder = RunFolder.existing(as_path("The run folder", run))
    if epoch is not None:
        epoch = whole("epoch", epoch)
    if not folder.weights_file.is_file():
        raise ResightError(f"{run} has no weights yet: no epoch was finished. Go on with it by --resume.")
    weights = folder.weights_file if epoch is None else folder.kept_weights(epoch)
    if not weights.is_file():
        raise ResightError(f"{run} has no weights of epoch {epoch}: {folder.describe_kept_weights()}.")
    config = folder.read_config()
    encoder = Encoder(config.encoder, weights="none")
    state, beside = split_extension(read_state(weights))
    if what := describe_mismatch(encoder.state_dict(), state):
        raise ResightError(
            f"{weights} does not fit the encoder in {folder.config_file}: the file {what}. Bring back the file that "
            "was changed from a copy, or train again in another folder."
        )
    encoder.load_state_dict(state)
    data = folder.read_data()
    try:
        extension = METHODS[config.method.name].load_extension(config.method, beside, data)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ResightError(
            f"What {config.method.name} keeps beside the encoder in {weights} does not fit {folder.data_file}: "
            "bring back the file that was changed from a copy, or train again in another folder."
        ) from error
    return Model(
        encoder.to(device), config, folder, extension=None if extension is None else extension.to(device).eval()
    )
