"""Values that calls are made with, each with a name: what is nonsense as a number, as features, as labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

Named = dict[str, Any]

#: Never a whole number.
NO_WHOLE: Named = {
    "2.5": 2.5,
    "nan": float("nan"),
    "inf": float("inf"),
    "-inf": float("-inf"),
    "'3'": "3",
    "''": "",
    "'３'": "３",
    "b'3'": b"3",
    "True": True,
    "np.True_": np.True_,
    "[3]": [3],
    "()": (),
    "{}": {},
    "1j": 1j,
    "object()": object(),
    "np.array([3, 4])": np.array([3, 4]),
    "np.float64(2.5)": np.float64(2.5),
    "len": len,
}
#: Never a number.
NO_NUMBER: Named = {
    name: NO_WHOLE[name]
    for name in (
        "nan", "inf", "-inf", "'3'", "''", "b'3'", "True", "np.True_", "[3]", "{}", "1j", "object()",
        "np.array([3, 4])", "len",
    )
} | {"'0.5'": "0.5", "10**400": 10**400}  # fmt: skip
#: Never a word out of a list of words.
NO_CHOICE: Named = {
    "''": "", "'nonsense'": "nonsense", "5": 5, "True": True, "[]": [], "{}": {}, "b'exact'": b"exact",
    "nan": float("nan"), "'EXACT '": "EXACT ", "np.array(['exact', 'auto'])": np.array(["exact", "auto"]),
    "object()": object(), "'a\\0'": "a\0", "'x' * 300": "x" * 300,
}  # fmt: skip
#: Never true or false.
NO_FLAG: Named = {"'yes'": "yes", "2": 2, "[]": [], "nan": float("nan"), "'false'": "false", "object()": object()}
#: Never a device of a machine without a GPU.
NO_DEVICE: Named = {
    "'cuda'": "cuda", "'cuda:7'": "cuda:7", "'cuda:-1'": "cuda:-1", "'cuda:x'": "cuda:x", "'mps'": "mps",
    "'nonsense'": "nonsense", "''": "", "5": 5, "[]": [], "torch.device('meta')": torch.device("meta"),
    "'cuda:' + '9' * 30": "cuda:" + "9" * 30,
}  # fmt: skip
#: Never a path.
NO_PATH: Named = {
    "''": "", "5": 5, "1.5": 1.5, "True": True, "[]": [], "{}": {}, "b'x'": b"x", "'a\\0b'": "a\0b",
    "object()": object(), "'x' * 300": "x" * 300,
}  # fmt: skip


def plain_features(rows: int = 12, dim: int = 8) -> np.ndarray:
    """``(rows, dim)`` float32 features, whole numbers so that every type holds the same."""
    rng = np.random.default_rng(0)
    centres = rng.integers(5, 100, (3, dim))
    return (centres[np.arange(rows) % 3] + rng.integers(-4, 5, (rows, dim))).clip(1, 120).astype(np.float32)


def good_features(rows: int = 12, dim: int = 8) -> Named:
    """The same features in every type and layout that must work."""
    plain = plain_features(rows, dim)
    wide = np.zeros((2 * rows, 3 * dim), np.float32)
    wide[::2, ::3] = plain
    frozen = plain.copy()
    frozen.flags.writeable = False
    return {
        "float32": plain,
        **{name: plain.astype(name) for name in ("float16", "float64", "int8", "uint8", "int64", "uint64",
        "longdouble")},
        "big-endian": plain.astype(">f4"),
        "Fortran order": np.asfortranarray(plain),
        "every second row and third column": wide[::2, ::3],
        "reversed twice": plain[::-1].copy()[::-1],
        "read-only": frozen,
        "list of lists": plain.tolist(),
        "tensor": torch.from_numpy(plain.copy()),
    }  # fmt: skip


def bad_features(rows: int = 12, dim: int = 8) -> Named:
    """What cannot be features."""
    plain = plain_features(rows, dim)

    def with_value(value: float, kind: str = "float32") -> np.ndarray:
        changed = plain.astype(kind)
        changed[rows // 2, dim // 2] = value
        return changed

    zero = plain.copy()
    zero[rows // 2] = 0
    return {
        "None": None,
        "5": 5,
        "'abc'": "abc",
        "[]": [],
        "[[]]": [[]],
        "0×0": np.empty((0, 0), np.float32),
        "0×D": np.empty((0, dim), np.float32),
        "N×0": np.empty((rows, 0), np.float32),
        "empty": np.empty(0, np.float32),
        "one row as a vector": plain[0],
        "three dimensions": plain[None],
        "0-dimensional": np.array(5.0),
        "NaN": with_value(np.nan),
        "inf": with_value(np.inf),
        "-inf": with_value(-np.inf),
        "float64 NaN": with_value(np.nan, "float64"),
        "float16 inf": with_value(np.inf, "float16"),
        "all NaN": np.full((rows, dim), np.nan, np.float32),
        "row of zeros": zero,
        "all zeros": np.zeros((rows, dim), np.float32),
        "objects": plain.astype(object),
        "objects None": np.full((rows, dim), None),
        "texts": plain.astype(str),
        "bytes": plain.astype("S"),
        "bool": plain > 5,
        "complex": plain.astype(complex),
        "dates": plain.astype("datetime64[s]"),
        "ragged": [[1.0, 2.0], [3.0]] * (rows // 2),
        "dict": {"a": plain},
        "set": {1, 2},
        "generator": (row for row in plain),
        "structured": np.zeros(rows, [("a", "f4"), ("b", "f4")]),
        "list of None": [None] * rows,
    }


def bad_integers(rows: int, least: int | None = None) -> Named:
    """What cannot be one whole number per crop."""
    plain = np.arange(rows)
    changed: Named = {
        "5": 5,
        "'abc'": "abc",
        "[]": [],
        "too short": plain[:-1],
        "too long": np.arange(rows + 1),
        "N×1": plain[:, None],
        "1×N": plain[None],
        "1.5": plain + 0.5,
        "NaN": np.where(plain == 2, np.nan, plain),
        "float": plain.astype(float),
        "objects": plain.astype(object),
        "complex": plain.astype(complex),
        "bool": plain > 2,
        "dates": plain.astype("datetime64[s]"),
        "2**63": plain.astype(np.uint64) + np.uint64(2**63),
        "dict": dict(enumerate(plain)),
        "list with None": [None, *plain[1:]],
        "generator": (number for number in plain),
    }
    if least is not None:
        changed[f"below {least}"] = np.where(plain == 2, least - 1, plain)
    return changed


def good_integers(values: np.ndarray) -> Named:
    """The same whole numbers in every type and layout that must work."""
    return {
        "int64": values.astype(np.int64),
        **{name: values.astype(name) for name in ("int8", "int32", ">i8", "<i2")},
        "list": values.tolist(),
        "tuple": tuple(values.tolist()),
        "every second": np.repeat(values, 2)[::2],
        "tensor": torch.from_numpy(values.astype(np.int64)),
    }
