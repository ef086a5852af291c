"""Damaged files: tables, images, run folders, weights."""

from __future__ import annotations

import functools
import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file
from torture_case import EITHER, FINE, SENTENCE, Case, command
from torture_stage import Stage

import resight

#: Cells that are no camera and no identity, but what programs write for a value that is missing or no whole number.
NO_NAME = (
    "nan",
    "NaN",
    "None",
    "null",
    "NULL",
    "inf",
    "-inf",
    "Infinity",
    "1.5",
    "-0.5",
    "NA",
    "N/A",
    "<NA>",
    "#N/A",
    "NaT",
    "-nan",
)


def file_cases(stage: Stage) -> Iterator[Case]:
    """All damaged files."""
    yield from _csv(stage)
    yield from _parquet(stage)
    yield from _images(stage)
    yield from _runs(stage)
    yield from _weights(stage)


def _table_case(stage: Stage, name: str, text: str | bytes, expects: str, *, suffix: str = "csv") -> Case:
    file = stage.fresh(f"table.{suffix}")
    file.write_bytes(text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text)
    return Case(f"{suffix}: {name}", functools.partial(resight.read_crops, file), expects)


def _csv(stage: Stage) -> Iterator[Case]:
    def case(name: str, text: str | bytes, expects: str = SENTENCE) -> Case:
        return _table_case(stage, name, text, expects)

    yield case("right", "path,camera,identity\na.jpg,1,1\nb.jpg,2,\n", FINE)
    yield case("names", "path,camera,identity\na.jpg,gate,Ann\nb.jpg,door,Nan Wu\n", FINE)
    yield case("numbers as 3.0", "path,camera\na.jpg,3.0\nb.jpg,4.0\n", FINE)
    yield case("BOM and CRLF", "\ufeffpath,camera\r\na.jpg,1\r\n", FINE)
    yield case("other columns", "path,note\na.jpg,nan\nb.jpg,None\n", FINE)
    yield case("quoted comma", 'path,camera\n"a,b.jpg",1\n', FINE)
    yield case("unicode", "path,camera\nä.jpg,é\n", FINE)
    for column in ("camera", "identity"):
        for cell in NO_NAME:
            yield case(f"{column} {cell}", f"path,{column}\na.jpg,1\nb.jpg,{cell}\n")
            yield case(f"{column} {cell} among names", f"path,{column}\na.jpg,gate\nb.jpg,{cell}\n")
        yield case(f"{column} with NUL", f"path,{column}\na.jpg,1\nb.jpg,a\0b\n")
        yield case(f"all {column} nan", f"path,{column}\na.jpg,nan\nb.jpg,nan\n")
    for column, cells in {
        "time": ("", "abc", "nan", "inf", "-inf", "1e400", "12:30", "true", "1,5", "\0", "None", "2020-01-01"),
        "track": ("", "abc", "nan", "1.5", "1e3", "9" * 30, "true", "\0", "None", "９x"),
        "split": ("", "Train", "val", "nan", "1", "train ,", "\0", "train\0", "None", "query gallery"),
        "camera": ("", " ", "\0"),
        "identity": ("-2", "-5", "\0"),
        "path": ("", " ", "\0", "a\0.jpg", "a.jpg", "./a.jpg", "sub/../a.jpg", "sub/.././a.jpg", "a.jpg ",
        "x/y/../../a.jpg"),
    }.items():  # fmt: skip
        for cell in cells:
            right = {"path": "", "split": "train"}.get(column, "1")
            rows = (
                f"path,{column}\na.jpg,{right}\nb.jpg,{cell}\n"
                if column != "path"
                else f"path,camera\na.jpg,1\n{cell},1\n"
            )
            expects = FINE if cell == "a.jpg " else SENTENCE
            yield case(f"{column} {cell!r}", rows, expects)
    yield case("absolute twice", f"path\n{stage.root}/x/a.jpg\n{stage.root}/x/../x/a.jpg\n")
    huge = "x" * 200_000
    for name, text in {
        "empty": "", "only a header": "path,camera\n", "only newlines": "\n\n\n", "no header": "a.jpg,1\nb.jpg,2\n",
        "no path": "camera,identity\n1,1\n", "path twice": "path,path\na.jpg,b.jpg\n",
        "camera twice": "path,camera,camera\na,1,2\n",
        "wrong case": "Path,Camera\na.jpg,1\n", "alias": "filename,pid\na.jpg,1\n",
        "alias of camera": "path,camid\na.jpg,1\n",
        "too few cells": "path,camera\na.jpg\n", "too many cells": "path,camera\na.jpg,1,2\n",
        "semicolons": "path;camera\na.jpg;1\n",
        "tabs": "path\tcamera\na.jpg\t1\n", "open quote": 'path,camera\n"a.jpg,1\nb.jpg,2\n',
        "huge cell": f"path,camera\n{huge},1\n",
        "huge quoted cell": f'path,camera\n"{huge}",1\n', "NUL in the header": "pa\0th,camera\na.jpg,1\n",
        "NUL at the end": "path\na.jpg\n\0",
        "all NUL": "\0" * 100, "name without number": "path,camera_name\na.jpg,gate\n",
        "two names of a number": "path,camera,camera_name\na,1,x\nb,1,y\n",
        "number of a name": "path,camera,camera_name\na.jpg,gate,x\n", "header is numbers": "1,2\n3,4\n",
        "an empty column name": "path,,\na.jpg,1,2\n3,4\n",
        "path is a folder of another table": "path\n\n,\n",
        "two header lines": "path,camera\npath,camera\npath,camera\n",
    }.items():  # fmt: skip
        yield case(name, text)
    for encoding in ("utf-16", "utf-32", "latin-1", "cp037"):
        yield case(encoding, "path,camera\nä.jpg,1\n".encode(encoding))
    yield case("binary", bytes(range(256)) * 20)
    yield case("a PNG", (stage.crops / stage.table.paths[0]).read_bytes())
    yield case("gzip", b"\x1f\x8b\x08\x00" + bytes(100))
    whole = "path,camera,identity,time,track,split\n" + "".join(
        f"{n}.jpg,{n % 3},{n},{n}.5,{n},train\n" for n in range(20)
    )
    yield case("whole", whole, FINE)
    rng = np.random.default_rng(0)
    for number in range(60):
        damaged = bytearray(whole.encode())
        for place in rng.integers(len(damaged), size=1 + number % 5):
            damaged[place] = rng.integers(256)
        yield case(f"damaged {number}", bytes(damaged), EITHER)
    for number, length in enumerate(rng.integers(1, len(whole), 20).tolist()):
        yield case(f"cut {number}", whole[:length], EITHER)
    for command_name in ("check", "thin --to a.csv --data", "embed"):
        for name, text in {"nan": "path,identity\na.jpg,nan\n", "NUL": "path\na\0.jpg\n", "empty": ""}.items():
            file = stage.fresh("table.csv")
            file.write_text(text, encoding="utf-8")
            words = (
                ["embed", stage.run, "--to", stage.fresh("a.npz"), "--data"]
                if command_name == "embed"
                else command_name.split()
            )
            yield Case(f"{command_name} of a table: {name}", functools.partial(command, *words, file), SENTENCE)


def _parquet(stage: Stage) -> Iterator[Case]:
    def written(columns: dict[str, Any]) -> bytes:
        stream = io.BytesIO()
        pq.write_table(pa.table(columns), stream)
        return stream.getvalue()

    def case(name: str, columns: dict[str, Any], expects: str = SENTENCE) -> Case:
        return _table_case(stage, name, written(columns), expects, suffix="parquet")

    path = ["a.jpg", "b.jpg"]
    yield case("right", {"path": path, "camera": [1, 2]}, FINE)
    yield case("floats of whole numbers", {"path": path, "camera": [1.0, 2.0]}, FINE)
    yield case("empty identity", {"path": path, "identity": [1, None]}, FINE)
    yield case("NaN identity", {"path": path, "identity": [1.0, float("nan")]}, FINE)  # how pandas writes an empty cell
    yield case("dictionary", {"path": pa.array(path).dictionary_encode(), "camera": [1, 2]}, FINE)
    for column in ("camera", "identity"):
        for cell in NO_NAME:
            yield case(f"{column} {cell}", {"path": path, column: ["1", cell]})
        for name, cells in {
            "1.5": [1.0, 1.5], "inf": [1.0, float("inf")], "bool": [True, False], "lists": [[1], [2]], "bytes": [b"a",
            b"b"],
            "dates": pa.array([1, 2], pa.timestamp("s")), "structs": [{"a": 1}, {"a": 2}], "NUL": ["a\0", "b"],
            "below the codes": [1, -7], "decimals": pa.array([1, 2], pa.decimal128(5, 2)).cast(pa.decimal128(6, 3)),
        }.items():  # fmt: skip
            if (column, name) not in (("camera", "below the codes"),):
                yield case(
                    f"{column} of {name}", {"path": path, column: cells}, EITHER if name == "decimals" else SENTENCE
                )
    yield case("null camera", {"path": path, "camera": [1, None]})
    yield case("all cameras null", {"path": path, "camera": pa.nulls(2)})
    for name, cells in {
        "numbers": [1, 2], "null": ["a.jpg", None], "bytes": [b"a", b"b"], "lists": [["a"], ["b"]], "twice": ["a.jpg",
        "a.jpg"],
        "the same by ..": ["a.jpg", "x/../a.jpg"], "NUL": ["a\0.jpg", "b.jpg"], "empty": ["", "b.jpg"],
    }.items():  # fmt: skip
        yield case(f"path {name}", {"path": cells})
    for name, cells in {
        "texts": ["a", "b"],
        "NaN": [1.0, float("nan")],
        "inf": [1.0, float("inf")],
        "lists": [[1], [2]],
        "bool": [True, False],
    }.items():
        yield case(f"time {name}", {"path": path, "time": cells})
        yield case(f"track {name}", {"path": path, "track": cells})
        yield case(f"split {name}", {"path": path, "split": cells})
    yield case("no rows", {"path": pa.array([], pa.string())})
    yield case("no columns", {})
    yield case("no path", {"camera": [1, 2]})
    whole = written(
        {"path": [f"{n}.jpg" for n in range(50)], "camera": list(range(50)), "identity": list(range(1, 51))}
    )
    rng = np.random.default_rng(0)
    for number in range(100):
        damaged = bytearray(whole)
        for place in rng.integers(len(whole), size=1 + number % 5):
            damaged[place] = rng.integers(256)
        yield _table_case(stage, f"damaged {number}", bytes(damaged), EITHER, suffix="parquet")
    for number, length in enumerate(rng.integers(0, len(whole), 30).tolist()):
        yield _table_case(stage, f"cut {number}", whole[:length], SENTENCE, suffix="parquet")
    for name, data in {
        "empty": b"",
        "CSV": b"path\na.jpg\n",
        "NULs": bytes(1000),
        "only the mark": b"PAR1PAR1",
    }.items():
        yield _table_case(stage, name, data, SENTENCE, suffix="parquet")


def _images(stage: Stage) -> Iterator[Case]:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 16, 3), np.uint8))
    files = {}
    for kind in ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF"):
        stream = io.BytesIO()
        picture.save(stream, kind)
        files[kind.lower()] = stream.getvalue()
    rng = np.random.default_rng(0)

    def look(data: bytes, name: str) -> Callable[[], Any]:
        file = stage.fresh(name)
        file.write_bytes(data)
        return functools.partial(stage.model.embed, [file])

    for kind, whole in files.items():
        yield Case(f"image: {kind}", look(whole, f"a.{kind}"), FINE)
        for number in range(14):
            damaged = bytearray(whole)
            for place in rng.integers(len(whole), size=1 + number % 5):
                damaged[place] = rng.integers(256)
            yield Case(f"image: damaged {kind} {number}", look(bytes(damaged), f"a.{kind}"), EITHER)
        for number, share in enumerate((0.0, 0.02, 0.1, 0.3, 0.6, 0.9)):
            data = whole[: int(share * len(whole))]
            yield Case(f"image: cut {kind} {number}", look(data, f"a.{kind}"), SENTENCE if share < 0.3 else EITHER)
    for name, data in {
        "text": b"This is text.", "NULs": bytes(1000), "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n", "PDF": b"%PDF-1.4\n",
        "HTML": b"<html></html>",
    }.items():  # fmt: skip
        yield Case(f"image: {name}", look(data, "a.jpg"), SENTENCE)

    def special(name: str, make: Callable[[Path], object]) -> Case:
        file = stage.fresh("a.jpg")
        make(file)
        return Case(f"image: {name}", functools.partial(stage.model.embed, [file]), SENTENCE, limit=5)

    yield special("a FIFO", os.mkfifo)
    yield special("a link to /dev/zero", lambda file: file.symlink_to("/dev/zero"))
    yield special("a link to itself", lambda file: file.symlink_to(file))
    yield special("a link to nothing", lambda file: file.symlink_to("nothing"))
    yield special("a folder", Path.mkdir)
    for name in (
        "img[front].png",
        "[bold]x.png",
        "ä.png",
        "a b.png",
        "'.png",
        "%s.png",
        "{x}.png",
        "-x.png",
        "~.png",
        "a\nb.png",
    ):
        folder = stage.fresh("names")
        folder.mkdir()
        picture.save(folder / name)
        picture.save(folder / "b.png")
        yield Case(f"check of {name!r}", functools.partial(command, "check", folder), FINE)


def _runs(stage: Stage) -> Iterator[Case]:
    rng = np.random.default_rng(0)

    def use(name: str, damage: Callable[[Path], object], expects: str = SENTENCE) -> Iterator[Case]:
        def damaged() -> Path:
            run = stage.copy_of_run()
            damage(run)
            return run

        options = ("--data", stage.crops, "--train-identities", 3, "--cache", stage.root / "pixels")
        # load needs neither the metrics nor the data
        yield Case(f"load a run: {name}", lambda: resight.load(damaged(), "cpu"), EITHER)
        yield Case(f"evaluate a run: {name}", lambda: command("evaluate", damaged(), *options), expects)

    def replaced(file: str, data: bytes) -> Callable[[Path], object]:
        return lambda run: (run / file).write_bytes(data)

    def folder(file: str) -> Callable[[Path], object]:
        def damage(run: Path) -> None:
            (run / file).unlink()
            (run / file).mkdir()

        return damage

    for file in ("config.yaml", "data.json", "metrics.jsonl", "model.safetensors"):
        whole = (stage.run / file).read_bytes()
        missing = EITHER if file == "metrics.jsonl" else SENTENCE
        yield from use(f"no {file}", lambda run, file=file: (run / file).unlink(), missing)
        yield from use(f"{file} is a folder", folder(file), missing)
        for name, data in {"empty": b"", "NULs": bytes(500), "text": b"This is text.", "half": whole[: len(whole) // 2],
                           "a number": b"5", "a list": b"[1, 2]", "{}": b"{}", "null": b"null",
                           "not UTF-8": b"\xff\xfe\xfa"}.items():  # fmt: skip
            yield from use(f"{file} is {name}", replaced(file, data), missing if file == "metrics.jsonl" else SENTENCE)
        for number in range(8):
            damaged = bytearray(whole)
            for place in rng.integers(len(whole), size=1 + number % 4):
                damaged[place] = rng.integers(256)
            yield from use(f"{file} damaged {number}", replaced(file, bytes(damaged)), EITHER)
    config = yaml.safe_load((stage.run / "config.yaml").read_text(encoding="utf-8"))
    for name, change in {
        "another backbone": {"encoder": config["encoder"] | {"backbone": "resnet34"}},
        "another width": {"encoder": config["encoder"] | {"width_multiplier": 0.25}},
        "an unknown setting": {"nonsense": 5},
        "an unknown method": {"method": {"name": "nonsense"}},
        "no method": {"method": None}, "method as a text": {"method": "mar"}, "no encoder": {"encoder": None},
        "a NaN": {"max_unreadable": float("nan")},
        "a huge image": {"encoder": config["encoder"] | {"height": 10**9}}, "no name": {"method": {}},
    }.items():  # fmt: skip
        yield from use(f"config with {name}", replaced("config.yaml", yaml.safe_dump(config | change).encode()))
    yield from use("config refers to itself", replaced("config.yaml", b"encoder: &a {height: *a}\n"))
    data = json.loads((stage.run / "data.json").read_text(encoding="utf-8"))
    for name in data:
        changed = {key: value for key, value in data.items() if key != name}
        yield from use(f"data without {name}", replaced("data.json", json.dumps(changed).encode()), EITHER)


def _weights(stage: Stage) -> Iterator[Case]:
    state = load_file(stage.run / "model.safetensors")
    first = next(name for name, value in state.items() if value.ndim == 4)

    def changed(change: Callable[[dict[str, torch.Tensor]], object]) -> Path:
        run = stage.copy_of_run()
        tensors = {name: value.clone() for name, value in state.items()}
        change(tensors)
        save_file(tensors, run / "model.safetensors")
        return run

    for name, change in {
        "one NaN": lambda s: s[first].view(-1)[0].fill_(float("nan")),
        "all NaN": lambda s: s[first].fill_(float("nan")),
        "one inf": lambda s: s[first].view(-1)[0].fill_(float("inf")),
        "NaN statistics": lambda s: next(v for k, v in s.items() if "running_var" in k).fill_(float("nan")),
        "negative variance": lambda s: next(v for k, v in s.items() if "running_var" in k).fill_(-5.0),
        "a missing tensor": lambda s: s.pop(first), "an extra tensor": lambda s: s.update(nonsense=torch.zeros(3)),
        "another shape": lambda s: s.update({first: torch.zeros(1, 2, 3)}), "no tensor": lambda s: s.clear(),
        "complex": lambda s: s.update({first: torch.zeros(s[first].shape, dtype=torch.complex64)}),
    }.items():  # fmt: skip
        run = functools.cache(functools.partial(changed, change))
        for called, call in {
            "load and embed": lambda run=run: resight.load(run(), "cpu").embed([stage.crops / stage.table.paths[0]]),
            "embed": lambda run=run: command("embed", run(), "--data", stage.crops, "--to", stage.fresh("a.npz")),
            "cluster": lambda run=run: command("cluster", run(), "--data", stage.crops, "--to", stage.fresh("a.csv")),
            "attention": lambda run=run: command("show", "attention", run(), "--data", stage.crops, "--to",
            stage.fresh("a.png")),
            "evaluate": lambda run=run: command("evaluate", run(), "--data", stage.crops, "--train-identities", 3),
        }.items():  # fmt: skip
            yield Case(f"{called} weights: {name}", call, SENTENCE)
    half = functools.cache(lambda: changed(lambda s: s.update({first: s[first].half()})))
    yield Case(
        "embed weights: a tensor in float16",
        lambda: resight.load(half(), "cpu").embed([stage.crops / stage.table.paths[0]]),
        FINE,
    )
