"""Pictures of what a model finds: retrieved crops, clusters and attention, as contact sheets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from resight.clustering import unit_rows
from resight.common.checks import as_array, instance, integers, whole
from resight.common.checks import shown as written
from resight.crops import GALLERY, JUNK, QUERY, CropTable
from resight.crops.pixels import Images
from resight.crops.sheets import contact_sheet
from resight.errors import ResightError

if TYPE_CHECKING:
    from PIL import Image

#: Colours for values from 0 to 1, evenly spaced, from dark to bright: dark blue, violet, red, orange, pale yellow.
_HEAT = np.array([(10, 10, 46), (92, 22, 118), (190, 44, 74), (246, 138, 22), (253, 253, 170)], np.float64)


#: Clusters on a sheet of clusters, unless another number is asked for.
SHEET_ROWS = 8


def retrieval_sheet(
    images: Images, table: CropTable, features: np.ndarray, *, queries: int = 8, shown: int = 10
) -> Image.Image:
    """Draws queries and the crops ranked first for them, framed green where right and red where wrong.

    Crops that evaluation ignores are left out: the query's identity in the query's camera, and junk.

    Args:
        images: ``(N, 3, H, W)`` uint8 crops.
        table: The N crops, with identities and a split.
        features: ``(N, D)`` L2-normalised embeddings.
        queries: Number of rows, each a query. They show different identities, and do not depend on the features.
        shown: Ranked crops per row.

    Raises:
        ResightError: there are no labelled queries, or no labelled gallery.
    """
    features = _checked(images, table, features)
    queries, shown = whole("queries", queries), whole("shown", shown)
    if table.identity is None or table.split is None:
        raise ResightError("A sheet of retrieved crops needs identities, queries and a gallery, as evaluation does.")
    gallery = np.flatnonzero((table.split == GALLERY) & (table.identity != JUNK))
    asked = _one_per_identity(np.flatnonzero((table.split == QUERY) & table.is_person), table.identity, queries)
    if not len(gallery) or not len(asked):
        raise ResightError("There are no labelled queries and gallery to make a sheet of.")
    rows, frames, captions, titles = [], [], [], []
    for query in asked:
        right = table.identity[gallery] == table.identity[query]
        counted = np.ones(len(gallery), bool)
        if table.camera is not None:
            counted = ~(right & (table.camera[gallery] == table.camera[query]))
        order = np.argsort(-(features[gallery] @ features[query]), kind="stable")
        best = order[counted[order]][:shown]
        rows.append([_picture(images, row) for row in (query, *gallery[best])])
        frames.append(["query", *("right" if right[place] else "wrong" for place in best)])
        captions.append([_camera(table, row) for row in (query, *gallery[best])])
        titles.append(f"identity {table.identity[query]}")
    return contact_sheet(rows, titles=titles, captions=captions, frames=frames, scale=96 / images.shape[2])


def cluster_sheet(
    images: Images,
    table: CropTable,
    features: np.ndarray,
    labels: np.ndarray,
    *,
    clusters: int = SHEET_ROWS,
    shown: int = 12,
) -> Image.Image:
    """Draws clusters of all sizes and their crops, the most typical crop first.

    Where identities are known, crops of a cluster's most frequent identity are framed green, those of other identities
    red, and those without an identity grey.

    Args:
        images: ``(N, 3, H, W)`` uint8 crops.
        table: The N crops.
        features: ``(N, D)`` L2-normalised embeddings.
        labels: ``(N,)`` cluster numbers, -1 for outliers.
        clusters: Number of rows, each a cluster; spread evenly from the largest cluster to the smallest.
        shown: Crops per row, spread evenly from the nearest to the cluster's mean to the furthest.

    Raises:
        ResightError: there is no cluster.
    """
    features, labels = _checked(images, table, features), integers("Labels", labels, len(table))
    clusters, shown = whole("clusters", clusters), whole("shown", shown)
    if len(labels) and labels.min() < -1:
        raise ResightError(f"Labels are cluster numbers from 0, or -1 for none, not {labels.min()}.")
    sizes = np.bincount(labels[labels >= 0])
    if not len(sizes):
        raise ResightError("There is no cluster to make a sheet of.")
    chosen = spread_over(np.argsort(-sizes, kind="stable"), clusters)
    rows, frames, captions, titles = [], [], [], []
    for cluster in chosen:
        inside = np.flatnonzero(labels == cluster)
        order = np.argsort(-(features[inside] @ features[inside].mean(axis=0)), kind="stable")
        picked = spread_over(inside[order], shown)
        rows.append([_picture(images, row) for row in picked])
        captions.append([_camera(table, row) for row in picked])
        title = f"cluster {cluster}\n{len(inside)} crops"
        if table.identity is not None:
            known, counts = np.unique(table.identity[inside[table.is_person[inside]]], return_counts=True)
            frequent = known[counts.argmax()] if len(known) else None
            kinds = {True: "right", False: "wrong"}
            frames.append(
                [kinds[table.identity[row] == frequent] if table.is_person[row] else "junk" for row in picked]
            )
            share = counts.max(initial=0) / len(inside)
            title += f"\n{100 * share:.0f} % one identity" if len(known) else "\nno identity known"
        titles.append(title)
    return contact_sheet(
        rows, titles=titles, captions=captions, frames=frames if table.identity is not None else None,
        scale=96 / images.shape[2],
    )  # fmt: skip


def attention_sheet(images: Images, maps: dict[str, np.ndarray], table: CropTable | None = None) -> Image.Image:
    """Draws crops and what the model looks at in them, one row per crop, as in Nikhal and Riggan 2021, figure 5.

    A row has the crop, the strength of its last feature map, that map laid over the crop, and, where the encoder has
    attention, the spatial attention of the last block of each stage, or that behind the backbone. Colours go from dark
    blue (smallest value of a map) over red to yellow (largest); the caption of a spatial attention has both values.

    Args:
        images: ``(N, 3, H, W)`` uint8 crops.
        maps: Maps of the N crops, ``(N, h, w)`` each, from :meth:`resight.model.Model.attention_maps`.
        table: The N crops, for the names of their files.

    Raises:
        ResightError: there are no crops, or not as many maps as crops.
    """
    if not len(images):
        raise ResightError("There are no crops to make a sheet of.")
    for name, values in maps.items():
        if len(values) != len(images):
            raise ResightError(f"There are {len(images)} crops, but {len(values)} maps '{name}': give one per crop.")
    last = {name.split(".")[0]: values for name, values in maps.items() if name != "activation"}
    rows, captions = [], []
    for row in range(len(images)):
        crop = _picture(images, row)
        strength = heat_map(maps["activation"][row], crop.shape)
        cells = [crop, strength, ((crop.astype(np.uint16) + strength) // 2).astype(np.uint8)]
        words = ["crop", "activation", "laid over"]
        for stage, values in last.items():
            low, high = values[row].min(), values[row].max()
            cells.append(heat_map((values[row] - low) / max(high - low, 1e-12), crop.shape))
            words.append(f"{stage}: {100 * low:.0f}–{100 * high:.0f} %")
        rows.append(cells)
        captions.append(words)
    titles = None if table is None else [_short(name.replace("\\", "/").rsplit("/", 1)[-1]) for name in table.paths]
    return contact_sheet(rows, titles=titles, captions=captions, scale=192 / images.shape[2])


def heat_map(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A map ``(h, w)`` in [0, 1] in colours, ``(H, W, 3)`` uint8, smoothly enlarged."""
    from PIL import Image

    fine = Image.fromarray(values.astype(np.float32)).resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
    places = np.linspace(0, 1, len(_HEAT))
    # Bicubic values go a little beyond 0 and 1; interp clips them.
    colours = [np.interp(np.asarray(fine), places, _HEAT[:, channel]) for channel in range(3)]
    return np.stack(colours, axis=2).round().astype(np.uint8)


def _short(name: str, length: int = 28) -> str:
    """A file name cut at its beginning, where names in one folder differ least."""
    return name if len(name) <= length else "…" + name[1 - length :]


def _checked(images: Any, table: CropTable, features: Any) -> np.ndarray:
    """The features as an array; a sentence unless there are an image and features of each crop of the table."""
    size = len(instance("table", table, CropTable, "read_crops makes one"))
    shape = getattr(images, "shape", ())
    if len(shape) != 4 or shape[:2] != (size, 3) or images.dtype != np.uint8:
        raise ResightError(
            f"A sheet of {size} crops needs uint8 images of shape ({size}, 3, H, W), not {written(images)}."
        )
    features = as_array("The features", features)
    if len(unit_rows(features)) != size:
        raise ResightError(
            f"There are features of {len(features)} crops, but the table has {size}: give a row per crop."
        )
    return features


def _one_per_identity(crops: np.ndarray, identity: np.ndarray, count: int) -> np.ndarray:
    """Crops of different identities, spread over all of them: the first of one, the second of the next, and so on."""
    chosen = spread_over(np.unique(identity[crops]), count)
    choices = [crops[identity[crops] == one] for one in chosen]
    return np.array([choice[turn % len(choice)] for turn, choice in enumerate(choices)], np.int64)


def spread_over(values: np.ndarray, count: int) -> np.ndarray:
    """At most ``count`` of the values, evenly spaced, the first and the last among them."""
    if len(values) <= count:
        return values
    return values[np.linspace(0, len(values) - 1, count).round().astype(int)]


def _picture(images: Images, row: int) -> np.ndarray:
    return np.ascontiguousarray(images[row].transpose(1, 2, 0))


def _camera(table: CropTable, row: int) -> str | None:
    if table.camera is None:
        return None
    number = int(table.camera[row])
    name = (table.camera_names or {}).get(number, str(number))
    return f"camera {name}" if name.isdecimal() else name
