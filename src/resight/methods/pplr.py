"""Part-based pseudo label refinement, PPLR (Cho et al., CVPR 2022, https://arxiv.org/abs/2203.14675).

The whole crop gives the pseudo-labels. Each of its horizontal parts has a feature and a classifier. Two ways of
refining the labels trust a part as far as its nearest neighbours are those of the whole crop (cross agreement).
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from resight.clustering import PseudoLabels, cluster_crops, cross_agreement, find_neighbours, longest_list
from resight.clustering.config import ClusteringConfig, TrainingClusteringConfig
from resight.encoders import Encoder
from resight.errors import ResightError
from resight.losses import (
    CameraForm,
    agreement_aware_smoothing,
    batch_hard_triplet,
    camera_contrast,
    part_guided_refinement,
)
from resight.methods.base import Batch, EpochData, Method, MethodOptions, Needs
from resight.proxies import CameraProxies, cluster_means
from resight.proxies.state import register_state


class PplrOptions(MethodOptions):
    """Constants of the losses, of the refinement, and of the inter-camera term that may be added."""

    name: Literal["pplr"] = "pplr"
    refine: Literal["none", "pglr", "aals", "both"] = Field(
        "both",
        description="pglr: the parts refine the labels of whole crops; aals: labels of parts are smoothed by their "
        "agreement",
    )
    beta: float = Field(0.5, ge=0, le=1, description="β: share of the pseudo-label in a label refined by the parts")
    agreement_k: int = Field(20, ge=1, description="neighbours compared for the agreement, without the crop itself")
    warmup_epochs: int = Field(5, ge=0, description="first epochs, in which plain label smoothing replaces aals")
    warmup_smoothing: float = Field(0.1, ge=0, lt=1, description="ε of the label smoothing in these epochs")
    global_weight: float = Field(1.0, ge=0, description="weight of the whole crop's cross-entropy; 0 leaves it out")
    part_weight: float = Field(1.0, ge=0, description="weight of the parts' mean cross-entropy; 0 leaves it out")
    triplet_weight: float = Field(1.0, ge=0, description="weight of the batch-hard triplet loss; 0 leaves it out")
    margin: float | None = Field(None, gt=0, description="margin of the triplet loss; null: the soft margin")
    triplet_feature: Literal["pooled", "pre_norm", "embedding"] = Field(
        "pre_norm",
        description="feature that the triplet loss compares: before the BN neck (pooled), behind it (pre_norm) or "
        "L2-normalised (embedding); public code: pre_norm",
    )
    logit_scale: float = Field(
        1.0,
        gt=0,
        description="factor on the classifiers' logits, which grow with the square root of the embedding's size: with "
        "few dimensions the parts' predictions are nearly uniform (public code: 1, at 2048 dimensions)",
    )
    classifier_rows: int | None = Field(
        None,
        ge=1,
        description="fixed number of classifier rows, which keep their optimiser state from epoch to epoch (public "
        "code: 3000); null: one row per cluster, new each epoch",
    )
    camera_weight: float = Field(
        0.0, ge=0, description="weight of the inter-camera contrastive loss of whole crop and parts (uses cameras)"
    )
    camera_temperature: float = Field(0.07, gt=0, description="temperature τ of the inter-camera loss")
    camera_negatives: int = Field(
        50, ge=1, description="negatives in the inter-camera loss: the nearest proxies of other clusters"
    )
    camera_form: CameraForm = Field(
        "separate",
        description="softmax of the inter-camera loss: over all positives and the negatives (joint, as published), or "
        "over each positive and the negatives (separate)",
    )


class Pplr(Method[PplrOptions]):
    """Cluster the crops, measure how far their parts agree, refine the labels, classify, repeat.

    The whole crop and its P parts are 1 + P feature spaces of D dimensions. Wherever an axis has length 1 + P, the
    whole crop comes first.
    """

    name = "pplr"
    summary = "pseudo-labels refined by how far parts of a crop agree with the whole (Cho et al. 2022)"
    Options = PplrOptions
    classifiers: nn.Parameter
    agreement: Tensor

    def __init__(self, options: PplrOptions, clustering: ClusteringConfig, encoder: Encoder) -> None:
        super().__init__(options, clustering, encoder)
        if encoder.config.parts == 0:
            raise ResightError("PPLR compares a crop with its parts, and encoder.parts is 0: set encoder.parts=3, say.")
        if isinstance(clustering, TrainingClusteringConfig) and clustering.unit == "tracks":
            raise ResightError("PPLR compares the neighbours of crops, not of tracks: set clustering.unit=crops.")
        if not (options.global_weight or options.part_weight or options.triplet_weight):
            raise ResightError(
                "All losses are left out: set method.global_weight, method.part_weight or method.triplet_weight above "
                "0."
            )
        spaces = 1 + encoder.config.parts
        rows = torch.zeros(spaces, options.classifier_rows or 0, encoder.dim)
        register_state(self, "classifiers", nn.Parameter(rows))
        self.clusters = 0
        # computed again in each epoch, so not part of a checkpoint
        self.camera_proxies = [CameraProxies() for _ in range(spaces)]
        self.register_buffer("agreement", torch.empty(0, encoder.config.parts), persistent=False)

    @classmethod
    def needs(cls, options: PplrOptions) -> Needs:
        return Needs(parts=True, cameras=("method.camera_weight",) if options.camera_weight else ())

    def label(self, data: EpochData) -> PseudoLabels:
        """Labels from the features of whole crops; if they are refined, also the agreement of the parts."""
        features = data.features
        settings, k = self.clustering.arguments(), self.options.agreement_k + 1
        search = {name: settings[name] for name in ("centre_cameras", "scale_cameras", "search", "recall")}
        where: dict[str, Any] = {"camera": data.table.camera, "device": data.device}
        search |= where
        refines = self.options.refine != "none"
        whole = find_neighbours(features[:, 0], max(longest_list(self.clustering.k1), k if refines else 0), **search)
        found = cluster_crops(whole, **(where if settings["camera_jaccard"] else {}), **settings)
        if not refines:
            return found
        parts = [find_neighbours(features[:, n], k, **search).indices for n in range(1, features.shape[1])]
        agreement = cross_agreement(whole.indices, parts, self.options.agreement_k)
        self.agreement = data.on_device(agreement)
        means = {f"agreement_{n}": float(mean) for n, mean in enumerate(agreement.mean(axis=0, dtype=np.float64), 1)}
        sentence = "agreement " + " ".join(f"{mean:.2f}" for mean in means.values())
        return PseudoLabels(
            found.labels, {**found.facts, **means}, {"agreement": agreement}, (*found.sentences, sentence)
        )

    def start_epoch(self, data: EpochData, labels: Tensor) -> None:
        """Each classifier row becomes the normalised mean feature of its cluster, in the classifier's space."""
        features, camera = data.on_device(data.features), data.camera
        rows, self.clusters = self.options.classifier_rows, int(labels.max()) + 1
        centroids = F.normalize(
            torch.stack([cluster_means(space.float(), labels, self.clusters) for space in features.unbind(1)]), dim=2
        )
        if rows is None:
            self.classifiers = nn.Parameter(centroids)
        elif self.clusters > rows:
            raise ResightError(
                f"There are {self.clusters} clusters, but classifiers of method.classifier_rows={rows} rows: raise it, "
                "or leave it null for as many rows as clusters."
            )
        else:
            self.classifiers.data[:, : self.clusters] = centroids
        if self.options.camera_weight and camera is not None:
            for proxies, space in zip(self.camera_proxies, features.unbind(1), strict=True):
                proxies.reset(space, labels, camera)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        options, features, terms = self.options, batch.features, {}
        assert features.parts is not None
        assert features.part_pre_norms is not None
        pre_norms = torch.cat([features.pre_norm[:, None], features.part_pre_norms], dim=1)
        logits = options.logit_scale * torch.einsum("bsd,scd->bsc", pre_norms, self.classifiers[:, : self.clusters])
        whole, parts = logits[:, 0], logits[:, 1:]
        if options.global_weight:
            if options.refine in ("pglr", "both"):
                agreement = self.agreement[batch.indices]
                term = part_guided_refinement(whole, parts, batch.labels, agreement, options.beta)
            else:
                term = F.cross_entropy(whole, batch.labels, reduction="none").mean()
            terms["global"] = options.global_weight * term
        if options.part_weight:
            smooths = options.refine in ("aals", "both")
            if smooths and batch.epoch >= options.warmup_epochs:
                term = agreement_aware_smoothing(parts, batch.labels, self.agreement[batch.indices])
            else:
                every = batch.labels.repeat_interleave(parts.shape[1])
                # reduced like the refined losses, so that the two are equal to the bit where nothing is refined
                term = F.cross_entropy(
                    parts.flatten(0, 1),
                    every,
                    label_smoothing=options.warmup_smoothing if smooths else 0.0,
                    reduction="none",
                ).mean()
            terms["parts"] = options.part_weight * term
        if options.triplet_weight:
            terms["triplet"] = options.triplet_weight * batch_hard_triplet(
                features.feature(options.triplet_feature), batch.labels, options.margin
            )
        if options.camera_weight and batch.camera is not None:
            first, *others = (
                camera_contrast(
                    space,
                    batch.labels,
                    batch.camera,
                    proxies.proxies,
                    proxies.cluster,
                    proxies.camera,
                    temperature=options.camera_temperature,
                    negatives=options.camera_negatives,
                    form=options.camera_form,
                )
                for space, proxies in zip(
                    [features.embedding, *features.parts.unbind(1)], self.camera_proxies, strict=True
                )
            )
            # the public code: the whole crop's loss plus the mean of the parts' losses
            terms["camera"] = options.camera_weight * (first + torch.stack(others).mean())
        return terms
