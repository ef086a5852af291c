"""Finds boxes in frames: by a detector in an ONNX file, or weakly by motion and OpenCV's people detector."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from resight.common.checks import as_path
from resight.common.packages import package
from resight.errors import ResightError
from resight.ingest.boxes import NO_TRACK, Boxes, iou, overlaps

#: The 80 classes of COCO in the order of most detectors.
COCO = [
    "person",
    "bicycle",
    "car",
    "motorcycle",
    "airplane",
    "bus",
    "train",
    "truck",
    "boat",
    "traffic light",
    "fire hydrant",
    "stop sign",
    "parking meter",
    "bench",
    "bird",
    "cat",
    "dog",
    "horse",
    "sheep",
    "cow",
    "elephant",
    "bear",
    "zebra",
    "giraffe",
    "backpack",
    "umbrella",
    "handbag",
    "tie",
    "suitcase",
    "frisbee",
    "skis",
    "snowboard",
    "sports ball",
    "kite",
    "baseball bat",
    "baseball glove",
    "skateboard",
    "surfboard",
    "tennis racket",
    "bottle",
    "wine glass",
    "cup",
    "fork",
    "knife",
    "spoon",
    "bowl",
    "banana",
    "apple",
    "sandwich",
    "orange",
    "broccoli",
    "carrot",
    "hot dog",
    "pizza",
    "donut",
    "cake",
    "chair",
    "couch",
    "potted plant",
    "bed",
    "dining table",
    "toilet",
    "tv",
    "laptop",
    "mouse",
    "remote",
    "keyboard",
    "cell phone",
    "microwave",
    "oven",
    "toaster",
    "sink",
    "refrigerator",
    "book",
    "clock",
    "vase",
    "scissors",
    "teddy bear",
    "hair drier",
    "toothbrush",
]
#: Numbers that COCO's own numbering of 1 to 90 leaves out; DETR keeps that numbering.
_UNUSED = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
_COCO_NUMBERS = [number for number in range(1, 91) if number not in _UNUSED]
#: Mean and deviation of ImageNet's pixels, which DETR was trained with.
_MEAN, _DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
_LEAST_SCORE, _NMS = 0.1, 0.65


class Detector(Protocol):
    """Finds boxes in frames, which come in their order."""

    about: str

    def __call__(self, image: np.ndarray) -> Boxes:
        """The boxes in an ``(H, W, 3)`` uint8 RGB image."""


class OnnxDetector:
    """A detector in an ONNX file, run by onnxruntime on the CPU.

    The family is told by the shapes of the outputs, C being the number of classes:

    - YOLOv8, YOLO11: one output ``(1, 4 + C, N)``, boxes by their centre in pixels.
    - YOLOv5: one output ``(1, N, 5 + C)``, the fifth being whether there is an object.
    - YOLOX: the same shape with N cells of strides 8, 16 and 32, offsets and logarithms before decoding.
    - Detectors that end with their own choice, such as YOLOv10: one output ``(1, N, 6)``: corners, score, class.
    - RT-DETR by ultralytics: one output ``(1, N, 4 + C)``, boxes as shares of the image.
    - RT-DETR by its authors: three outputs ``labels``, ``boxes`` in pixels and ``scores``, and the image's size as a
      second input.
    - DETR, and RT-DETR and RF-DETR by their names: two outputs, ``(1, N, 4)`` boxes as shares of the image and
      ``(1, N, C)`` logits; with one class more than COCO has, the last is "no object" and a softmax is taken.

    Args:
        path: The file.
        classes: Names or numbers of the classes to find.
        threads: Threads of onnxruntime.

    Attributes:
        about: What it is, in words.

    Raises:
        ResightError: the file is no ONNX model, its outputs are of no known family, or it does not have the classes.
    """

    def __init__(self, path: str | Path, classes: Sequence[str] = ("person",), threads: int | None = None) -> None:
        runtime = package("onnxruntime")
        self.path = as_path("The detector", path)
        if not self.path.is_file():
            raise ResightError(f"There is no file {self.path}: give a detector in ONNX format.")
        options = runtime.SessionOptions()
        options.log_severity_level = 4
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self._session = runtime.InferenceSession(str(self.path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has its own kinds of errors
            text = str(error).splitlines()[0][:200]
            raise ResightError(f"{self.path} cannot be loaded as an ONNX model: {text}") from error
        inputs = self._session.get_inputs()
        picture = [one for one in inputs if len(one.shape) == 4]
        if len(picture) != 1:
            raise ResightError(f"{self.path} takes no image of shape (1, 3, height, width): it is no detector.")
        self._input, self._size_input = picture[0], next((one.name for one in inputs if len(one.shape) == 2), None)
        sides = [side if isinstance(side, int) and side > 0 else 640 for side in self._input.shape[2:]]
        self._height, self._width = sides
        if self._input.shape[1] not in (3, None) and isinstance(self._input.shape[1], int):
            raise ResightError(f"{self.path} takes images with {self._input.shape[1]} channels, not 3.")
        self._wanted = [str(name) for name in classes]
        self._names = self._model_names()
        self._family = ""
        self._family = self._recognise(self._run(np.full((64, 64, 3), 114, np.uint8), "probe")[0])
        self.about = f"{self._family} in {self.path.name}, {self._width}×{self._height}"

    def _model_names(self) -> dict[int, str] | None:
        """The class names that ultralytics writes into its files."""
        given = self._session.get_modelmeta().custom_metadata_map.get("names")
        try:
            names = ast.literal_eval(given) if given else None
        except (ValueError, SyntaxError):
            return None
        if isinstance(names, list):
            names = dict(enumerate(names))
        return {int(number): str(name) for number, name in names.items()} if isinstance(names, dict) else None

    def _recognise(self, found: dict[str, np.ndarray]) -> str:
        shapes = {name: values.shape for name, values in found.items()}
        if {"labels", "boxes", "scores"} <= found.keys():
            self._classes(80)
            return "RT-DETR (labels, boxes, scores)"
        threes = [shape for shape in shapes.values() if len(shape) == 3 and shape[0] == 1]
        if len(threes) == 2 and threes[0][1] == threes[1][1] and 4 in (threes[0][2], threes[1][2]):
            _, logits = self._pair(found)
            soft = logits.shape[2] in (92, len(self._names or ()) + 1)
            self._classes(logits.shape[2] - soft)
            return "DETR" if soft else ("RF-DETR" if "dets" in found else "RT-DETR (logits)")
        if len(threes) == 1:
            _, rows, columns = threes[0]
            if columns == 6 and rows != 6:
                self._classes(len(self._names) if self._names else 80)
                return "end-to-end YOLO"
            cells = sum((self._height // stride) * (self._width // stride) for stride in (8, 16, 32))
            likely = {1, 80, len(self._names or ())}  # at 64×64, YOLOv8 has as many rows as YOLOX has cells
            if (rows == cells and columns - 5 in likely) or rows == cells > columns > 5:
                self._classes(columns - 5)
                return "YOLOX"
            if columns > 5 and rows == 3 * cells:
                self._classes(columns - 5)
                return "YOLOv5"
            if rows < columns and rows > 4:
                self._classes(rows - 4)
                return "YOLOv8"
            if columns > 4:
                self._classes(columns - 4)
                return "RT-DETR"
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ResightError(
            f"The outputs of {self.path} are of no detector that is known ({listed}): export a YOLOv5, YOLOv8, YOLO11, "
            "YOLOX, RT-DETR or DETR with one image per batch, without adding non-maximum suppression."
        )

    def _classes(self, count: int) -> None:
        """Finds out the numbers of the wanted classes among ``count``."""
        names = self._names
        if names is None:
            if count == 80:
                names = dict(enumerate(COCO))
            elif count in (90, 91):
                names = dict(zip(_COCO_NUMBERS, COCO, strict=True))
            else:
                names = {0: "person"} if count == 1 else {}
        of_name = {name: number for number, name in names.items()}
        numbers = []
        for wanted in self._wanted:
            number = int(wanted) if wanted.isdecimal() else of_name.get(wanted)
            if number is None or number >= count:
                known = ", ".join(list(of_name)[:10]) + (" …" if len(of_name) > 10 else "") if of_name else "no names"
                raise ResightError(
                    f"{self.path} has {count} classes ({known}) and none called '{wanted}': give --classes NAME, or a "
                    "number from 0."
                )
            numbers.append(number)
        self._numbers = np.array(numbers)

    def _run(self, image: np.ndarray, family: str) -> tuple[dict[str, np.ndarray], float, float, float, float]:
        """Runs the model. Returns its outputs, and how its coordinates become pixels: factors, then offsets."""
        cv2 = package("cv2")
        rows, columns = image.shape[:2]
        height, width = self._height, self._width
        if "DETR" in family:  # stretched to the model's size
            across, down, left, top = width / columns, height / rows, 0.0, 0.0
            picture = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        else:  # letterboxed: grey bars around it, or below and to its right for YOLOX
            across = down = min(width / columns, height / rows)
            size = max(1, round(columns * across)), max(1, round(rows * down))
            corner = family == "YOLOX"
            left, top = (0, 0) if corner else (round((width - size[0]) / 2 - 0.1), round((height - size[1]) / 2 - 0.1))
            picture = np.full((height, width, 3), 114, np.uint8)
            small = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
            picture[top : top + size[1], left : left + size[0]] = small
        values = picture.astype(np.float32)
        # YOLOX takes blue first, from 0 to 255
        values = values[:, :, ::-1] if family == "YOLOX" else values / 255
        if family in ("DETR", "RF-DETR"):
            values = ((values - _MEAN) / _DEVIATION).astype(np.float32)
        kind = np.float16 if "float16" in self._input.type else np.uint8 if "uint8" in self._input.type else np.float32
        feed = {self._input.name: np.ascontiguousarray(values.transpose(2, 0, 1)[None]).astype(kind)}
        if self._size_input:
            feed[self._size_input] = np.array([[width, height]], np.int64)
        names = [output.name for output in self._session.get_outputs()]
        try:
            outputs = self._session.run(names, feed)
        except Exception as error:
            text = str(error).splitlines()[0][:200]
            raise ResightError(f"{self.path} cannot be run on an image of {width}×{height}: {text}") from error
        return dict(zip(names, outputs, strict=True)), across, down, left, top

    @staticmethod
    def _pair(found: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Boxes and logits of two outputs."""
        one, other = (values for values in found.values() if values.ndim == 3)
        named = [name for name in found if "box" in name or name == "dets"]
        if named:
            boxes = found[named[0]]
            return boxes, other if boxes is one else one
        return (one, other) if one.shape[2] == 4 else (other, one)

    def __call__(self, image: np.ndarray) -> Boxes:
        """The boxes in an ``(H, W, 3)`` uint8 RGB image."""
        found, across, down, left, top = self._run(image, self._family)
        corners, score, kind = self._decoded(found)
        keep = (score >= _LEAST_SCORE) & np.isfinite(corners).all(axis=1)
        corners, score, kind = corners[keep], score[keep], kind[keep]
        corners = (corners - np.array([left, top, left, top])) / np.array([across, down, across, down])
        limit = np.array([image.shape[1], image.shape[0]] * 2, np.float64)
        corners = np.clip(corners, 0, limit)
        whole = (corners[:, 2] - corners[:, 0] >= 1) & (corners[:, 3] - corners[:, 1] >= 1)
        corners, score, kind = corners[whole], score[whole], kind[whole]
        if "DETR" not in self._family and len(corners):
            rows = _suppressed(corners, score, kind)
            corners, score = corners[rows], score[rows]
        return Boxes(corners, score, np.full(len(corners), NO_TRACK, np.int64))

    def _decoded(self, found: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Corners in pixels of the model's image, scores and classes, of the wanted classes."""
        size = np.array([self._width, self._height] * 2, np.float64)
        if {"labels", "boxes", "scores"} <= found.keys():
            corners = found["boxes"][0].astype(np.float64)
            score, kind = found["scores"][0].astype(np.float64), found["labels"][0]
            chosen = np.isin(kind, self._numbers)
            return corners[chosen], score[chosen], kind[chosen]
        if self._family in ("DETR", "RF-DETR", "RT-DETR (logits)"):
            boxes, logits = self._pair(found)
            values = logits[0].astype(np.float64)
            if self._family == "DETR":
                exp = np.exp(values - values.max(axis=1, keepdims=True))
                chances = exp / exp.sum(axis=1, keepdims=True)
            else:
                chances = 1 / (1 + np.exp(-values))
            return _best(_corners(boxes[0].astype(np.float64)) * size, chances, self._numbers)
        values = next(one for one in found.values() if one.ndim == 3)[0].astype(np.float64)
        if self._family == "end-to-end YOLO":
            chosen = np.isin(values[:, 5].astype(int), self._numbers)
            return values[chosen, :4], values[chosen, 4], values[chosen, 5].astype(int)
        if self._family == "YOLOv8":
            values = values.T
            return _best(_corners(values[:, :4]), values[:, 4:], self._numbers)
        if self._family == "RT-DETR":
            return _best(_corners(values[:, :4]) * size, values[:, 4:], self._numbers)
        if self._family == "YOLOX" and (values[:, 2:4].min() < 0 or values[:, 2:4].max() < 10):
            values = values.copy()
            values[:, :4] = _from_grid(values[:, :4], self._height, self._width)
        return _best(_corners(values[:, :4]), values[:, 4:5] * values[:, 5:], self._numbers)


def _corners(boxes: np.ndarray) -> np.ndarray:
    """Corners of boxes that are given by centre, width and height."""
    return np.hstack([boxes[:, :2] - boxes[:, 2:4] / 2, boxes[:, :2] + boxes[:, 2:4] / 2])


def _best(corners: np.ndarray, chances: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The best of the wanted classes for each box, where no other class is better."""
    wanted = chances[:, numbers]
    best = np.argmax(wanted, axis=1)
    score = wanted[np.arange(len(wanted)), best]
    first = score >= chances.max(axis=1) if chances.shape[1] else np.zeros(len(score), bool)
    return corners[first], score[first], numbers[best][first]


def _from_grid(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Boxes of YOLOX before decoding: offsets from cells and logarithms of sizes, in units of the cells' strides."""
    cells, strides = [], []
    for stride in (8, 16, 32):
        y, x = np.mgrid[: height // stride, : width // stride]
        cells.append(np.stack([x.ravel(), y.ravel()], axis=1))
        strides.append(np.full(x.size, stride))
    cell, size = np.concatenate(cells), np.concatenate(strides)[:, None]
    return np.hstack([(values[:, :2] + cell) * size, np.exp(np.minimum(values[:, 2:4], 20)) * size])


def _suppressed(corners: np.ndarray, score: np.ndarray, kind: np.ndarray) -> np.ndarray:
    """Rows that non-maximum suppression keeps, each class for itself."""
    cv2 = package("cv2")
    boxes = np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]])
    kept = cv2.dnn.NMSBoxesBatched(boxes.tolist(), score.tolist(), kind.astype(int).tolist(), _LEAST_SCORE, _NMS)
    return np.asarray(kept, np.int64).reshape(-1)


class MotionDetector:
    """OpenCV's background subtraction (MOG2) and its HOG people detector (Dalal & Triggs, CVPR 2005).

    What moves and has the shape of an upright person is a box; the people detector raises its score. The background is
    learned in the first two seconds, and afterwards so slowly that somebody who stands still for half a minute is
    not taken for background. The camera must not move. This is much weaker than any trained detector.

    Args:
        rate: Frames per second.
    """

    about = "motion and OpenCV's people detector, which are weak: name a detector with --detector FILE.onnx"
    _WIDTH = 480  # pixels of the copy that is looked at

    def __init__(self, rate: float) -> None:
        cv2 = package("cv2")
        self._background = cv2.createBackgroundSubtractorMOG2(detectShadows=True, varThreshold=25)
        self._people = None
        if hasattr(cv2, "HOGDescriptor"):  # OpenCV 5 moved it to another package
            self._people = cv2.HOGDescriptor()
            self._people.setSVMDetector(cv2.HOGDescriptor_getDefaultPeopleDetector())
        self._first, self._slow = max(2, round(2 * rate)), 1 / (300 * rate)
        self._seen, self._rate = 0, rate

    def __call__(self, image: np.ndarray) -> Boxes:
        """The boxes in an ``(H, W, 3)`` uint8 RGB image."""
        cv2 = package("cv2")
        factor = min(1.0, self._WIDTH / image.shape[1])
        small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        self._seen += 1
        learning = self._seen <= self._first
        if not learning:  # the exposure follows whoever is in front: most of the picture keeps its brightness
            plain = self._background.getBackgroundImage().astype(np.float32) + 8
            gain = np.median((plain / (small.astype(np.float32) + 8)).reshape(-1, 3), axis=0)
            small = np.clip(small * np.clip(gain, 0.5, 2) + 0.5, 0, 255).astype(np.uint8)
        rate = 1 / self._seen if learning else self._slow
        mask = (self._background.apply(small, learningRate=rate) == 255).astype(np.uint8)
        if learning or mask.mean() > 0.7:  # the light changed
            return Boxes()
        mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((31, 11), np.uint8))
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask)
        blobs = stats[1:][stats[1:, 4] > 0.01 * mask.size]
        if not len(blobs):
            return Boxes()
        corners = np.hstack([blobs[:, :2], blobs[:, :2] + blobs[:, 2:4]]).astype(np.float64)
        shape = blobs[:, 3] / np.maximum(blobs[:, 2], 1)
        score = np.where((shape >= 1.2) & (shape <= 5), 0.6, 0.3)
        people = self._found_people(cv2, small)
        if len(people):
            # the detector's windows have a wide margin
            score = np.where(iou(corners, people).max(axis=1) > 0.3, 0.9, score)
        return Boxes(corners / factor, score, np.full(len(corners), NO_TRACK, np.int64))

    def _found_people(self, cv2: Any, small: np.ndarray) -> np.ndarray:
        if self._people is None or small.shape[0] < 128 or small.shape[1] < 64:
            return np.empty((0, 4))
        found, weight = self._people.detectMultiScale(small, winStride=(8, 8), scale=1.1)
        if not len(found):
            return np.empty((0, 4))
        found = np.asarray(found, np.float64)[np.asarray(weight).reshape(-1) > 0.3]
        return np.hstack([found[:, :2], found[:, :2] + found[:, 2:]])


def covered(corners: np.ndarray) -> np.ndarray:
    """``(n,)`` largest share of each box that another box covers, given ``(n, 4)`` corners."""
    if len(corners) < 2:
        return np.zeros(len(corners))
    shared = overlaps(corners, corners)
    own = np.maximum(np.diag(shared).copy(), 1e-9)
    np.fill_diagonal(shared, 0)
    return np.asarray(shared.max(axis=1) / own)
