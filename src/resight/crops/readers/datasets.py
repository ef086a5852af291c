"""The public data sets: a table of their folders and file names, and one function that reads them all.

Each is read from its official folders, from the one that trains alone, or from any folder of files with its names; in
the latter two cases the split is not known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resight.common.identities import JUNK
from resight.crops.readers.codes import codes_of
from resight.crops.readers.files import list_folders, list_images, require_folder, require_images, stem
from resight.crops.table import GALLERY, QUERY, TRAIN, CropTable
from resight.errors import ResightError

_BOXES = {"bounding_box_train": TRAIN, "query": QUERY, "bounding_box_test": GALLERY}
_VERI = {"image_train": TRAIN, "image_query": QUERY, "image_test": GALLERY}
_PLAIN = {"train": TRAIN, "query": QUERY, "test": GALLERY}


@dataclass(frozen=True)
class Layout:
    """How a data set names its folders and files.

    Attributes:
        title: The data set's name in print.
        rule: The rule of its file names, for messages.
        pattern: The rule as a pattern for the name without suffix, with the groups ``identity``, ``camera`` and, where
            a frame number orders the crops of a camera, ``frame``.
        trees: Sets of folders it is published in, and the split of each folder; the official set first.
        distractors: Whether identity 0 is background. Otherwise 0 is an identity like any other.
        by_name: Whether file names alone identify the data set, for the format ``auto``.
    """

    title: str
    rule: str
    pattern: re.Pattern[str]
    trees: tuple[Mapping[str, str], ...] = ()
    distractors: bool = False
    by_name: bool = True


LAYOUTS: dict[str, Layout] = {
    # Frames count from the start of a sequence (s): they order the crops of a sequence, not of a whole camera.
    "market1501": Layout(
        "Market-1501",
        "PPPP_cCsS_FFFFFF_BB.jpg (identity, camera, sequence, frame, box)",
        re.compile(r"(?P<identity>-1|\d+)_c(?P<camera>\d+)s\d+_(?P<frame>\d+)_\d+"),
        (_BOXES,),
        distractors=True,
    ),
    "dukemtmc": Layout(
        "DukeMTMC-reID",
        "PPPP_cC_fFFFFFFF.jpg (identity, camera, frame)",
        re.compile(r"(?P<identity>-1|\d+)_c(?P<camera>\d+)_f(?P<frame>\d+)"),
        (_BOXES,),
    ),
    # The recording (0303morning) is a day and a part of it; the times of its frames are not published.
    "msmt17": Layout(
        "MSMT17",
        "PPPP_NNN_CC_DDDDpart_FFFF_B.jpg (identity, number, camera, recording, frame, box)",
        re.compile(r"(?P<identity>\d+)_\d+_(?P<camera>\d+)_\d{4}[a-z]+_\d+_\d+(?:_\w+)?"),
    ),
    "veri776": Layout(
        "VeRi-776",
        "PPPP_cCCC_FFFFFFFF_B.jpg (identity, camera, frame, box)",
        re.compile(r"(?P<identity>-1|\d+)_c(?P<camera>\d+)_(?P<frame>\d+)_\d+"),
        (_VERI,),
    ),
    "cuhk03-np": Layout(
        "CUHK03-NP",
        "PPPP_cC_N.png (identity, camera, number)",
        re.compile(r"(?P<identity>-1|\d+)_c(?P<camera>\d+)_\d+"),
        (_BOXES,),
    ),
    # Frames count within the sequence of one identity in one camera: they do not order different identities in time.
    "ward": Layout(
        "WARD",
        "PPPPCCCCFFFF.jpg (identity, camera 0001 to 0003, frame)",
        re.compile(r"(?P<identity>\d{4})(?P<camera>000[1-3])\d{4}"),
    ),
    # Published copies differ in what follows the camera: scene, viewpoint or a number.
    "personx": Layout(
        "PersonX",
        "PPPP_cC_….jpg (identity, camera, then anything)",
        re.compile(r"(?P<identity>-1|\d+)_c(?P<camera>\d+)(?:[_s].*)?"),
        (_BOXES, _PLAIN),
        by_name=False,
    ),
}

_MSMT17_FOLDERS = (("train", "test"), ("mask_train_v2", "mask_test_v2"))
_MSMT17_LISTS = {"list_train.txt": TRAIN, "list_val.txt": TRAIN, "list_query.txt": QUERY, "list_gallery.txt": GALLERY}


def read_layout(path: Path, name: str) -> CropTable:
    """Reads a data set from its official folders or from a folder of its files.

    Where only the training folder is there, its crops are read without a split: they can be divided by identity.

    Args:
        path: The folder.
        name: A name in :data:`LAYOUTS`.

    Raises:
        ResightError: a folder is missing, there are no images, or a file name does not follow the rule.
    """
    require_folder(path)
    layout = LAYOUTS[name]
    tree = max(layout.trees, key=lambda tree: sum((path / folder).is_dir() for folder in tree), default={})
    present = [folder for folder in tree if (path / folder).is_dir()]
    missing = [folder for folder in tree if folder not in present]
    only_train = [tree[folder] for folder in present] == [TRAIN]
    if tree and (not missing or only_train):
        paths = [f"{folder}/{image}" for folder in present for image in list_images(path / folder)]
        paths.sort()
        split = [] if only_train else [tree[image.partition("/")[0]] for image in paths]
    else:
        if len(missing) < len(tree):
            raise ResightError(missing_folder(path, missing, layout.title, tree))
        if inside := tree_inside(path):
            raise ResightError(missing_folder(path, missing, layout.title, tree) + _go_inside(path, inside))
        paths, split = list_images(path), []
    require_images(paths, path)
    identity, camera, time, names = parse_names(paths, layout, path)
    return CropTable(
        root=path,
        paths=tuple(paths),
        camera=camera,
        identity=identity,
        time=time,
        split=np.array(split) if split else None,
        identity_names=names,
        source=name,
    )


def read_msmt17(path: Path) -> CropTable:
    """Reads MSMT17, V1 (``train``, ``test``) or V2 (``mask_train_v2``, ``mask_test_v2``), by its four lists.

    ``list_val.txt`` counts as train, as in published comparisons. Training and test identities are both numbered from 0
    but are different people, so their names are ``train/0000`` and ``test/0000``.

    Raises:
        ResightError: a list, a folder or a listed image is missing, or a line or file name does not follow the rule.
    """
    require_folder(path)
    layout = LAYOUTS["msmt17"]
    lists = [name for name in _MSMT17_LISTS if (path / name).is_file()]
    if not lists:
        if inside := tree_inside(path):
            raise ResightError(f"{path} has no file 'list_train.txt'." + _go_inside(path, inside))
        return read_layout(path, "msmt17")
    if missing_lists := [name for name in _MSMT17_LISTS if name not in lists]:
        raise ResightError(
            f"{path} has no file {_quoted(missing_lists)}; MSMT17 comes with {', '.join(_MSMT17_LISTS)}: "
            "unpack the whole archive."
        )
    folders = next((pair for pair in _MSMT17_FOLDERS if any((path / folder).is_dir() for folder in pair)), None)
    if folders is None or not all((path / folder).is_dir() for folder in folders):
        missing = [folder for folder in folders or _MSMT17_FOLDERS[0] if not (path / folder).is_dir()]
        raise ResightError(
            f"{path} has no folder {_quoted(missing)}; MSMT17 keeps its images in 'train' and 'test' (V1) or "
            "in 'mask_train_v2' and 'mask_test_v2' (V2)."
        )
    rows = []
    for name, split in _MSMT17_LISTS.items():
        side = "train" if split == TRAIN else "test"
        folder = folders[0] if split == TRAIN else folders[1]
        for image, number in _listed(path / name):
            rows.append((f"{folder}/{image}", f"{side}/{number:04d}", split))
    rows.sort()
    paths = [row[0] for row in rows]
    require_images(paths, path)
    absent = [image for image in paths if not (path / image).is_file()]
    if absent:
        raise ResightError(
            f"{len(absent)} of the {len(paths)} images that the lists of {path} name are missing, the first being "
            f"'{absent[0]}': unpack the whole archive."
        )
    _, camera, _, _ = parse_names(paths, layout, path)
    identity, names = codes_of([row[1] for row in rows])
    return CropTable(
        root=path,
        paths=tuple(paths),
        camera=camera,
        identity=identity,
        split=np.array([row[2] for row in rows]),
        identity_names=names,
        source="msmt17",
    )


def parse_names(
    paths: Sequence[str], layout: Layout, folder: Path
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, dict[int, str] | None]:
    """Reads identity, camera and time from file names.

    Identities keep the data set's numbers, with one exception: where 0 is an identity, which would read as a
    distractor, they are renumbered from 1 and the data set's numbers become their names.

    Args:
        paths: N files, relative to ``folder``.
        layout: The data set's rule.
        folder: The folder, for messages.

    Returns:
        ``(N,)`` int64 identities, ``(N,)`` int64 cameras, ``(N,)`` float64 times or ``None``, and the names of
        identities or ``None``.

    Raises:
        ResightError: a file name does not follow the rule.
    """
    matches = [layout.pattern.fullmatch(stem(path)) for path in paths]
    wrong = [path for path, match in zip(paths, matches, strict=True) if match is None]
    if wrong:
        raise ResightError(
            f"{len(wrong)} of the {len(paths)} images in {folder} are not named as {layout.title} names them, "
            f"{layout.rule}; the first is '{wrong[0]}'. Take them out, or read the folder with --format "
            "folder (in Python format='folder')."
        )
    fields = [match.groupdict() for match in matches if match is not None]
    texts = [field["identity"] for field in fields]
    identity = np.array([int(text) for text in texts], dtype=np.int64)
    names = None
    if not layout.distractors and np.any(identity == 0):
        numbered = identity != JUNK
        codes, names = codes_of([text for text in texts if int(text) != JUNK])
        identity[numbered] = codes
    camera = np.array([int(field["camera"]) for field in fields], dtype=np.int64)
    has_frame = "frame" in layout.pattern.groupindex
    time = np.array([float(field["frame"]) for field in fields]) if has_frame else None
    return identity, camera, time, names


def layout_of_names(paths: Sequence[str], *, by_name_only: bool) -> str | None:
    """The first data set whose rule at least half of the file names follow, or ``None``.

    Args:
        paths: Files.
        by_name_only: Whether to try only data sets that file names alone identify (``Layout.by_name``).
    """
    for name, layout in LAYOUTS.items():
        if by_name_only and not layout.by_name:
            continue
        if 2 * sum(layout.pattern.fullmatch(stem(path)) is not None for path in paths) >= max(len(paths), 1):
            return name
    return None


def layout_of_tree(path: Path) -> str | None:
    """The data set whose official folders or lists are in a folder, or ``None``.

    Raises:
        ResightError: the folders are those of a data set, but the files in them follow no data set's rule.
    """
    if any((path / name).is_file() for name in _MSMT17_LISTS):
        return "msmt17"
    folders = set(list_folders(path))
    if folders & {"image_train", "image_query", "image_test"}:
        return "veri776"
    if here := sorted(folders & {"bounding_box_train", "bounding_box_test"}):
        images = [image for folder in here for image in list_images(path / folder)]
        name = layout_of_names(images, by_name_only=False) if images else "market1501"
        if name is None:
            raise ResightError(
                f"{path} has the folders of Market-1501, but its file names, such as '{images[0]}', follow the rule "
                "of no known data set: list the crops in a CSV file instead."
            )
        return name
    if folders >= set(_PLAIN):
        images = list_images(path / "train")
        if images and layout_of_names(images, by_name_only=False) == "personx":
            return "personx"
    return None


def tree_inside(path: Path) -> list[str]:
    """Folders directly in a folder that contain a data set's official folders or lists."""
    telling = {"bounding_box_train", "bounding_box_test", "image_train", "image_test"}
    return [
        folder
        for folder in list_folders(path)
        if telling & set(list_folders(path / folder)) or (path / folder / "list_train.txt").is_file()
    ]


def missing_folder(path: Path, missing: Sequence[str], title: str, tree: Mapping[str, str]) -> str:
    """The sentence about missing folders of a data set.

    Args:
        path: Where they are missing.
        missing: Names of the missing folders.
        title: The data set's name in print.
        tree: The folders it should have, with their splits; empty if it has none.
    """
    if not tree:
        return f"{path} does not contain the images of {title} directly."
    return (
        f"{path} has no folder {_quoted(missing)}; {title} keeps its crops in {_quoted(list(tree))}: "
        "give the folder that holds these, or one folder of images alone."
    )


def refuse_tree_inside(path: Path) -> None:
    """Raises a sentence if a folder contains a data set one level deeper."""
    if inside := tree_inside(path):
        raise ResightError(f"{path} is not a data set itself." + _go_inside(path, inside))


def _go_inside(path: Path, inside: Sequence[str]) -> str:
    if len(inside) == 1:
        return f" There is a data set one level deeper: read {path / inside[0]}."
    return f" There are data sets one level deeper, {_quoted(inside)}: read one of them, such as {path / inside[0]}."


def _listed(file: Path) -> list[tuple[str, int]]:
    rows = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        image, _, identity = line.strip().rpartition(" ")
        if not image or not identity.isdecimal():
            raise ResightError(
                f"Line {number} of {file} is '{line.strip()}': a line of MSMT17's lists has an image and its "
                "identity, as in '0000/0000_000_01_0303morning_0008_0.jpg 0'."
            )
        rows.append((image.strip(), int(identity)))
    return rows


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
