"""The user's own crops: a folder of images, or a folder with one sub-folder per camera or per identity."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from resight.crops.readers.codes import codes_of
from resight.crops.readers.files import list_images, require_folder, require_images
from resight.crops.table import CropTable
from resight.errors import ResightError


def read_folder(path: Path) -> CropTable:
    """Reads images without labels.

    If the images are directly in the folder, nothing else is known. If they are in sub-folders, each sub-folder of the
    first level is a camera; cameras are numbered from 1 in text order and named after their folders. Deeper folders,
    such as one per day, belong to the camera above them.

    Raises:
        ResightError: there is no image, or there are images both in the folder and in sub-folders.
    """
    paths = _images(path)
    camera, names = _first_folders(paths, path, "camera")
    return CropTable(root=path, paths=paths, camera=camera, camera_names=names, source="folder")


def read_identities(path: Path) -> CropTable:
    """Reads labelled images: each sub-folder of the first level is an identity.

    Identities are numbered from 1 in text order and named after their folders. Deeper folders belong to the identity
    above them. Cameras are not known.

    Raises:
        ResightError: there is no image, or an image is not in a sub-folder.
    """
    paths = _images(path)
    identity, names = _first_folders(paths, path, "identity")
    if identity is None:
        raise ResightError(
            f"{path} has no sub-folders with images, but this format has one for each identity: put each identity's "
            "images into a folder of their own, or list them in a CSV file with a column 'identity'."
        )
    return CropTable(root=path, paths=paths, identity=identity, identity_names=names, source="identities")


def _images(path: Path) -> tuple[str, ...]:
    require_folder(path)
    paths = list_images(path)
    require_images(paths, path)
    return tuple(paths)


def _first_folders(paths: tuple[str, ...], path: Path, what: str) -> tuple[np.ndarray | None, dict[int, str] | None]:
    """Numbers and names of the first folders in paths; nothing if no path has a folder."""
    loose = [image for image in paths if "/" not in image]
    if len(loose) == len(paths):
        return None, None
    if loose:
        raise ResightError(
            f"{path} has {len(loose)} images, such as '{loose[0]}', and also sub-folders with images: put every "
            f"image into the sub-folder of its {what}, or all of them into one folder."
        )
    return codes_of([image.partition("/")[0] for image in paths])
