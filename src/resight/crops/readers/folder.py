"""The user's own crops: a folder of images, or a folder with one sub-folder per camera."""

from __future__ import annotations

from pathlib import Path

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
    require_folder(path)
    paths = list_images(path)
    require_images(paths, path)
    loose = [image for image in paths if "/" not in image]
    if len(loose) == len(paths):
        return CropTable(root=path, paths=tuple(paths), source="folder")
    if loose:
        raise ResightError(
            f"{path} has {len(loose)} images, such as '{loose[0]}', and also sub-folders with images: put every "
            "image into the sub-folder of its camera, or all of them into one folder."
        )
    camera, names = codes_of([image.partition("/")[0] for image in paths])
    return CropTable(root=path, paths=tuple(paths), camera=camera, camera_names=names, source="folder")
