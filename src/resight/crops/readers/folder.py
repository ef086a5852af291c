"""Crops of one's own: a folder of images, or a folder with one sub-folder a camera."""

from __future__ import annotations

from pathlib import Path

from resight.crops.readers.codes import codes_of
from resight.crops.readers.files import list_images, require_folder, require_images
from resight.crops.table import CropTable
from resight.errors import ResightError


def read_folder(path: Path) -> CropTable:
    """Read images without labels.

    Images directly in the folder: nothing is known but the images. Images in sub-folders: each sub-folder of the
    first level is a camera, numbered from 1 in text order and called as the folder is; deeper folders, say one a
    day, belong to the camera above them.

    Raises:
        ResightError: there is no image, or images lie both in the folder and in sub-folders.
    """
    require_folder(path)
    paths = list_images(path)
    require_images(paths, path)
    loose = [image for image in paths if "/" not in image]
    if len(loose) == len(paths):
        return CropTable(root=path, paths=tuple(paths), source="folder")
    if loose:
        raise ResightError(
            f"{path} holds {len(loose)} images, such as '{loose[0]}', beside sub-folders with images: put every "
            "image into the sub-folder of its camera, or all of them into one folder."
        )
    camera, names = codes_of([image.partition("/")[0] for image in paths])
    return CropTable(root=path, paths=tuple(paths), camera=camera, camera_names=names, source="folder")
