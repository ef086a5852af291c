"""Calls of every command: each option with values of every kind, alone and in pairs."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from torture_case import EITHER, FINE, SENTENCE, Case, Done, command
from torture_stage import TINY, Stage

#: Words that are never a whole number of at least 1.
NO_COUNT = (
    "0",
    "-1",
    "1.5",
    "abc",
    "",
    "nan",
    "inf",
    "-inf",
    "1e3",
    "９x",
    "0x10",
    "[3]",
    "true",
    "--",
    " ",
    "9x",
    "9" * 30,
)
#: Never how many of something to show.
NO_SHOWN = NO_COUNT[:-1]
#: Never a finite number of at least 0.
NO_NUMBER = ("-1", "abc", "", "nan", "inf", "-inf", "1e400", "true", "[0.5]", "0,5", " ")
NO_WORD = ("", "nonsense", "AUTO ", "a\0b", "5", "é", "[bold]", "x" * 300, "None")
NO_SEED = ("-1", "1.5", "abc", "", "nan", "9" * 20, "9" * 5000, "true")


def command_cases(stage: Stage) -> Iterator[Case]:
    """All calls of commands."""
    words = [f"{name}={value}" for name, value in TINY.items()]
    run, data = stage.run, stage.crops
    cache = ("--cache", stage.root / "pixels")
    new = stage.fresh

    def paths(what: str) -> tuple[object, ...]:
        """What cannot be read as crops, as a run or as another thing that is there."""
        there = {"crops": (stage.run, stage.empty), "run": (stage.crops, stage.empty)}[what]
        return (
            "",
            stage.root / "missing",
            stage.text,
            stage.text / "below",
            "a\0b",
            "x" * 300,
            "/dev/null",
            "é\udcff",
            *there,
        )

    def outputs(*endings: str) -> tuple[object, ...]:
        """What cannot be written as a file with one of these endings."""
        named = [stage.root / "missing" / f"a{ending}" for ending in endings]
        folders = [_folder(new(f"a{ending}")) for ending in endings]
        below = [stage.text / f"a{ending}" for ending in endings]
        return ("", new("a"), new("a.xlsx"), new(f"a{endings[0]}.txt"), stage.root, *named, *folders, *below,
                f"/proc/a{endings[0]}", "x" * 300 + endings[0], "a\0b" + endings[0])  # fmt: skip

    shared: dict[str, tuple[object, ...]] = {
        "--format": (*NO_WORD, "csv", "msmt17", "veri776", "Market1501"),
        "--device": (*NO_WORD, "cuda", "cuda:0", "cuda:-1", "cuda:99", "mps", "CPU", "cpu:x", "meta"),
        "--cache": (stage.text, stage.text / "below", "/proc/pixels", "x" * 300, "a\0b", ""),
        "--epoch": (*NO_COUNT, "2"),
    }
    split = {"--train-identities": (*NO_COUNT, "6", "1000000")}
    yield from vary_command(
        stage, "embed", lambda: ["embed", run, "--data", data, "--to", new("a.parquet"), *cache],
        {"RUN": (1, paths("run")), "--data": paths("crops"), "--to": outputs(".parquet", ".npz"), **shared},
        {"--flip": ((),), "--no-flip": ((),), "--quiet": ((),), "--epoch": (("1",),) * 0, "--device": (("cpu",),
        ("auto",)),
         "--format": (("auto",), ("market1501",), ("folder",))},
    )  # fmt: skip
    few = ("k1=6", "k2=2", "min_samples=2")
    yield from vary_command(
        stage, "cluster", lambda: ["cluster", run, *few, "--data", data, "--to", new("a.csv"), *cache],
        {
            "RUN": (1, paths("run")), "--data": paths("crops"), "--to": outputs(".csv", ".parquet"), **shared,
            "--algorithm": (*NO_WORD, "DBSCAN", "kmeans"), "--clusters": (*NO_COUNT, "25", "1000000"),
            "--eps": (*NO_NUMBER, "0", "1", "2"), "--min-samples": NO_COUNT,
            "+": ("k1=0", "k1=-1", "k1=true", "k1=2.5", "k1=abc", "k1=", "k1", "=", "=5", "k1=[1]", "k1={}", "k1=null2",
                  "k1=" + "9" * 30, "k2=7", "k2=1e9", "eps=inf", "eps=.inf", "eps=.nan", "eps=nan", "eps=true", "eps=1",
                  "nonsense=1", "crops_per_cluster=15", "search=quick", "recall=0", "recall=2", "recall=true",
                  "centre_cameras=maybe", "centre_cameras=2", "k1=&a [*a]", "k1=!!python/object:os.system x", "k1={",
                  "k1=2020-13-45", "k1=" + "[" * 5000, "é=1", "clustering.nonsense=1", "k1=" + "9" * 5000),
        },
        {"--eps": (("0.5",), ("0.99",)), "--algorithm": (("dbscan",), ), "+": (("k1=5.0",), ("clustering.k1=5",),
        ("recall=1",)), "--data": ((stage.seen,),), "--no-tracks": ((),)},
    )  # fmt: skip
    yield from vary_command(
        stage, "embed tracks", lambda: ["embed", run, "--tracks", "--data", stage.seen, "--to", new("a.npz"), *cache],
        {"--data": (data, stage.plain, stage.cameras)}, {"--to": ((new("a.parquet"),),)}, pairs=0,
    )  # fmt: skip
    yield from vary_command(
        stage, "journeys", lambda: ["journeys", run, *few, "eps=0.9", "--data", stage.seen, "--to", new("j"), *cache],
        {
            "RUN": (1, (*paths("run"), stage.seen)), "--data": (*paths("crops"), data, stage.plain, stage.cameras),
            "--to": ("", stage.text, stage.text / "below", "/proc/j", "x" * 300, "a\0b"),
            **shared, "--format": NO_WORD,
            "--gap": ("", "soon", "-1", "nan", "0", "1y", "9" * 30), "--impossible": (*NO_NUMBER, "1.5"),
            "--tables": (*NO_WORD, "CSV"), "+": ("k1=0", "nonsense=1", "eps=2", "--boxes", "--video"),
        },
        {"--gap": (("5min",), ("90",)), "--impossible": (("0",), ("0.5",)), "--tables": (("parquet",),),
         "--no-tracks": ((),)}, pairs=20,
    )  # fmt: skip
    for algorithm, wrong in {
        "two_stage": ("nearest=0", "nearest=true", "components=0", "components=1.5", "crops_per_cluster=0",
        "second_stage=2",
                      "crops_per_cluster=inf", "contested=maybe", "unwanted=5", "clusters=1", "clusters=25", "eps=0.5"),
        "bottom_up": ("merge_share=0", "merge_share=2", "merge_share=.nan", "size_penalty=-1", "size_penalty=.inf",
                      "crops_per_identity=0", "crops_per_identity=.inf", "merge_cameras=maybe", "squared_distance=3",
                      "clusters=0", "clusters=25", "clusters=true", "eps=0.5"),
    }.items():  # fmt: skip
        base = ["cluster", run, "--data", data, "--algorithm", algorithm, *cache]
        yield from vary_command(
            stage, f"cluster by {algorithm}", lambda base=base: [*base, "--to", new("a.csv")], {"+": wrong},
            {"--clusters": (("4",),)},
        )  # fmt: skip
    for algorithm in ("dbscan", "two_stage", "bottom_up"):
        for name, crops in (("plain", stage.plain), ("cameras", stage.cameras)):
            call = functools.partial(
                command, "cluster", run, "--data", crops, "--algorithm", algorithm, "--to", new("a.csv"), *cache
            )
            yield Case(f"cluster {name} by {algorithm}", call, EITHER)  # no cluster may be found among 8 crops
    yield from vary_command(
        stage, "describe", lambda: ["describe", run, "--data", data, *cache],
        {"": ((),), "RUN": (1, paths("run")), "--data": paths("crops"), "--to": outputs(".csv"), "--top": NO_COUNT,
         "--crops": NO_COUNT, **shared}, fails=True,
    )  # fmt: skip
    pictures = outputs(".png", ".jpg")
    charts = outputs(".svg", ".png", ".pdf")
    again = {"--train-identities": (("3",),), "--quiet": ((),)}
    for name, ending, own in (
        ("ranks", ".png", {"--queries": NO_SHOWN, "--crops": NO_SHOWN}),
        ("clusters", ".png", {"--clusters": NO_SHOWN, "--crops": NO_SHOWN}),
        ("tsne", ".svg", {"--colour": (*NO_WORD, "colour"), "--groups": NO_SHOWN, "--crops": (*NO_SHOWN, "3")}),
        ("cameras", ".svg", {}),
    ):
        yield from vary_command(
            stage, f"show {name}",
            lambda name=name, ending=ending: ["show", name, run, "--to", new(f"a{ending}"), *cache],
            {"RUN": (2, paths("run")), "--data": paths("crops"), "--to": pictures if ending == ".png" else charts,
             **own, **shared, **split},
            again, pairs=10,
        )  # fmt: skip
    yield from vary_command(
        stage, "show curves", lambda: ["show", "curves", run, run, "--to", new("a.svg"), "--group", "loss"],
        {"RUN": (2, paths("run")), "OTHER": (3, paths("run")), "--to": charts, "--group": (*NO_WORD, "LOSS", "quality2")},
        {"--group": (("clusters",),), "--quiet": ((),)}, pairs=10,
    )  # fmt: skip
    yield from vary_command(
        stage, "report", lambda: ["report", run, "--to", new("a.html"), *cache],
        {"RUN": (1, paths("run")), "+": (str(run),), "--data": paths("crops"), "--to": outputs(".html"),
         "--crops": (*NO_COUNT, "1", "3"),
         **{name: shared[name] for name in ("--format", "--device", "--cache")}, **split},
        {"--crops": (("4",), ("1000",)), "--train-identities": (("3",),)}, pairs=10,
    )  # fmt: skip
    yield from vary_command(
        stage, "watch", lambda: ["watch", run, "--once"],
        {"RUN": (1, paths("run")), "--to": outputs(".html"), "--every": (*NO_NUMBER, "0", "0.1", "4000")},
        {"--every": (("0.5",),)}, pairs=5,
    )  # fmt: skip
    yield from vary_command(
        stage, "study", lambda: ["study", "--list"],
        {"": (("dcmip-table-3",), ("nonsense",)), "RUN": (1, (*NO_WORD, stage.text, stage.root, "a.yaml", "adtc-table2",
         "adtc-table-5", "dcmip-table-3"))}, {}, pairs=0,
    )  # fmt: skip
    mine = ["study", "dcmip-table-3", "--data", data, "--train-identities", 3, "--table", "--out"]
    yield from vary_command(
        stage, "study of crops", lambda: [*mine, new("studies")],
        {"": ((),), "RUN": (1, (*NO_WORD, stage.text, "mar-losses")), "--row": NO_WORD, "--jobs": (*NO_COUNT, "1000"),
         "--seed": NO_SEED, "--data": paths("crops"), "--device": shared["--device"],
         "--out": ("", stage.text, stage.text / "below", "/proc/studies", "x" * 300, "a\0b"),
         "+": ("epochs=0", "epochs", "nonsense=1", "=5", "epochs=abc", "method.nonsense=1")},
        fails=True, pairs=10,
    )  # fmt: skip
    yield from vary_command(
        stage, "show attention", lambda: ["show", "attention", run, "--data", data, "--to", new("a.png"), *cache],
        {"RUN": (2, paths("run")), "--data": paths("crops"), "--to": outputs(".png", ".jpg"), "--crops": NO_SHOWN,
        **shared},
        {"--crops": (("1",), ("1000",))},
    )  # fmt: skip
    yield from vary_command(
        stage, "evaluate", lambda: ["evaluate", run, "--data", data, "--train-identities", 3, *cache],
        {"RUN": (1, paths("run")), "--data": (*paths("crops"), stage.plain, stage.cameras), **shared, **split,
         "--ap": (*NO_WORD, "STANDARD"), "--rerank --k1": NO_COUNT, "--rerank --k2": NO_COUNT,
         "--rerank --lambda": (*NO_NUMBER, "1.1"), "+": ("--tracks",), "--k1": ("0", "-1", "abc", ""), "--lambda": ("-1", "nan", "inf",
         "2")},
        {"--json": ((),), "--rerank": ((),), "--clustering": ((),), "--ap": (("trapezoidal",),),
         "--rerank --k1": (("1000",),), "--rerank --lambda": (("0",), ("1",))},
    )  # fmt: skip
    yield from vary_command(
        stage, "compare",
        lambda: ["compare", run, f"two={run},{run}", "--data", data, "--train-identities", 3, "--draws", 20, *cache],
        {"RUN": (1, (*paths("run"), "=", "a=", f"={run}", "two=", f"two={run}", f"a={run},,")),
         "--data": (*paths("crops"), stage.plain, stage.cameras), **split, "--ap": (*NO_WORD, "STANDARD"),
         "--baseline": NO_WORD, "--draws": NO_COUNT, "--seed": NO_SEED, "--to": outputs(".csv", ".md", ".json"),
         **{name: shared[name] for name in ("--format", "--device", "--cache")}},
        {"--json": ((),), "--rerank": ((),), "--baseline": (("two",),), "--ap": (("trapezoidal",),), "--flip": ((),)},
    )  # fmt: skip
    yield from vary_command(
        stage, "transfer",
        lambda: ["transfer", run, run, "--source-data", data, "--source-identities", 3, "--data", data,
                 "--train-identities", 3, *cache],
        {"RUN": (1, paths("run")), "ADAPTED": (2, paths("run")), "--data": (*paths("crops"), stage.plain),
         "--source-data": (*paths("crops"), stage.plain), "--source-identities": (*NO_COUNT, "6"), **split,
         "--source-format": NO_WORD, **{name: shared[name] for name in ("--format", "--device", "--cache")}},
        {"--json": ((),), "--flip": ((),)},
    )  # fmt: skip
    yield from vary_command(
        stage, "check", lambda: ["check", data],
        {"RUN": (1, paths("crops")), "--format": shared["--format"], "--limit": NO_SHOWN, **split},
        {"--limit": (("1",), ("1000000",)), "--train-identities": (("3",),)},
    )  # fmt: skip
    yield from vary_command(
        stage, "thin", lambda: ["thin", "--data", data, "--to", new("a.csv")],
        {"--data": (*paths("crops"), stage.plain, stage.cameras), "--format": shared["--format"], "--how": NO_WORD,
         "--seed": NO_SEED, "--to": ("", new("a"), new("a.xlsx"), stage.root, stage.text / "a.csv", "/proc/a.csv",
                                     _folder(new("a.csv")), "x" * 300 + ".csv", "a\0b.csv"), **split},
        {"--how": (("balanced",),), "--seed": (("5",),), "--train-identities": (("3",),)},
    )  # fmt: skip
    world = ("--identities", 4, "--cameras", 2, "--crops", 14)
    yield from vary_command(
        stage, "synth", lambda: ["synth", new("world"), *world, "height=32", "width=16"],
        {"RUN": (1, ("", stage.text, stage.text / "below", "/proc/world", "x" * 300, "a\0b", stage.crops)),
         "--identities": (*NO_COUNT, "1"), "--cameras": (*NO_COUNT, "1", "1000"), "--crops": (*NO_COUNT, "3", "11"),
         "--seed": NO_SEED, "--level": (*NO_WORD, "MEDIUM"),
         "+": ("noise=2", "noise=-1", "noise=.nan", "noise=.inf", "noise=true", "noise=abc", "noise=", "noise", "=1",
               "height=1", "height=9999999", "height=true", "width=1.5", "nonsense=1", "seed=-1", "seed=" + "9" * 20,
               "level=none", "crops=&a [*a]", "identities=3.7", "occlusion=[1]", "junk=null")},
        {"--level": (("easy",), ("hard",)), "--seed": (("5",),), "+": (("noise=0",), ("seed=7",))},
    )  # fmt: skip
    for settings in ("--settings", "--help"):
        yield Case(f"synth {settings}", functools.partial(command, "synth", settings), FINE)
    yield from vary_command(
        stage, "recipes", lambda: ["recipes"],
        {"--show": NO_WORD, "+": (*NO_WORD, "--settings", "cluster_contrast extra", "mar --show market1501x",
        "mar --show ../mar/default", "--show default")},
        {"+": (("mar",), ("mar", "--settings"), ("mar", "--show", "ward"), ("pplr", "--show", "cameras",
        "--settings"))},
    )  # fmt: skip
    yield from vary_command(stage, "methods", lambda: ["methods"], {"+": ("extra", "--nonsense", "-x", "é")}, {})
    yield from vary_command(
        stage, "demo", lambda: ["demo", "--out", new("demo")],
        {"": (("epochs=0",),), "--crops": (*NO_COUNT, "399"), "--device": shared["--device"],
         "--out": ("", stage.text, stage.text / "below", "/proc/demo", "a\0b", "x" * 300),
         "+": ("epochs=-1", "epochs=true", "nonsense=1", "epochs", "seed=" + "9" * 20, "epochs=" + "9" * 20)},
        fails=True, pairs=0,
    )  # fmt: skip
    yield from vary_command(
        stage, "train",
        lambda: ["train", "cluster_contrast", "--data", data, "--out", new("run"), *cache, *words],
        {
            "RUN": (1, (*NO_WORD, "Cluster_Contrast", "mar", "supervised_")),
            "--data": paths("crops"), "--format": shared["--format"], "--device": shared["--device"],
            "--cache": shared["--cache"], **split,
            "--recipe": (*NO_WORD, stage.text, stage.root, stage.root / "missing.yaml"),
            "--out": ("", stage.text, stage.text / "below", "/proc/run", "x" * 300, "a\0b", stage.run),
            "--source-identities": (*NO_COUNT, "1", "3"), "--source-format": (),
            "+": ("epochs", "=5", "epochs=0", "epochs=-1", "epochs=true", "epochs=1.5", "epochs=abc", "epochs=",
            "nonsense=1",
                  "epochs=.inf", "epochs=[1]", "epochs=null", "epochs=" + "9" * 20, "seed=" + "9" * 20, "seed=-1",
                  "optimizer.lr=0", "optimizer.lr=-1", "optimizer.lr=.nan", "optimizer.lr=1e300", "--resume=1",
                  "method.temperature=0", "method.temperature=1e-300", "method.temperature=.inf", "encoder.height=1",
                  "encoder.height=9999999", "encoder.weights=/dev/null", "encoder.weights=", "encoder.backbone=vgg",
                  "encoder.weights=missing.pth", "sampling.clusters=0", "sampling.clusters=99999999999", "a.b.c.d=1",
                  "method=5", "encoder=5", "encoder={height: 0}", "epochs=&a [*a]", "encoder=&a {height: *a}",
                  "tracker=x",
                  "sampling.crops=true", "embed_batch=0", "max_unreadable=2", "evaluate_every=-1", "keep_every=1.5"),
        },
        {"--train-identities": (("3",),), "--quiet": ((),), "--recipe": (("scratch",),)},
        pairs=60,
    )  # fmt: skip
    yield Case(
        "train mar without a source",
        functools.partial(command, "train", "mar", "--data", data, "--out", new("run"), *cache, "precision=float32"),
        SENTENCE,
    )
    for options in (
        ("--resume",),
        ("--resume", "--out", new("missing")),
        ("--source", data),
        ("--source", stage.plain),
    ):
        call = functools.partial(command, "train", "mar", "--data", data, *options, *cache, "precision=float32")
        yield Case(f"train mar {' '.join(map(str, options))}"[:60], call, SENTENCE)
    for wrong in (
        ["nothing"], [""], ["cluster_contrast", "--crops", 0], ["cluster_contrast", "--crops", "abc"],
        ["cluster_contrast", "--steps", -1], ["cluster_contrast", "--device", "mps"],
        ["cluster_contrast", "--recipe", "missing"], ["cluster_contrast", "epochs=0"], ["cluster_contrast", "a.b=1"],
        ["pplr", "encoder.parts=0"], ["cluster_contrast", "encoder.weights=none", "method=5"],
    ):  # fmt: skip
        yield Case(f"bench {' '.join(map(str, wrong))}", functools.partial(command, "bench", *wrong), SENTENCE)
    for words_given in ([], ["--help"], ["--version"]):
        yield Case(f"resight {' '.join(words_given)}", functools.partial(command, *words_given), EITHER)
    for name in ("nonsense", "", "-x", "--nonsense", "Train", "é", "[bold]"):
        yield Case(f"resight {name!r}", functools.partial(command, name), SENTENCE)
    for name in (
        "train",
        "demo",
        "bench",
        "evaluate",
        "compare",
        "transfer",
        "embed",
        "cluster",
        "journeys",
        "describe",
        "report",
        "watch",
        "check",
        "thin",
    ):
        yield Case(f"{name} --help", functools.partial(command, name, "--help"), FINE)
        yield Case(f"{name} --nonsense", functools.partial(command, name, "--nonsense"), SENTENCE)
        if name != "demo":
            yield Case(f"{name} without anything", functools.partial(command, name), SENTENCE)
    yield from _galleries(stage, paths, shared)
    yield from _processes(stage)


_GALLERIES: dict[Any, Any] = {}


def _gallery(stage: Stage) -> Any:
    """A gallery of all crops, with identities, that cases only read."""
    if stage.root not in _GALLERIES:
        place = _new_gallery(stage)
        command("identify", place, "k1=6", "k2=2", "min_samples=2", "eps=0.7", "--device", "cpu")
        _GALLERIES[stage.root] = place
    return _GALLERIES[stage.root]


def _new_gallery(stage: Stage, filled: bool = True) -> Any:
    place = stage.fresh("gallery")
    command("gallery", "create", place, "--run", stage.run, "--device", "cpu")
    if filled:
        command("gallery", "add", place, "--data", stage.crops, "--device", "cpu")
    return place


def _galleries(
    stage: Stage, paths: Callable[[str], tuple[object, ...]], shared: dict[str, tuple[object, ...]]
) -> Iterator[Case]:
    """The commands of galleries."""
    new, data = stage.fresh, stage.crops
    image = sorted(stage.crops.iterdir())[0]
    places = ("", stage.root / "missing", stage.text, stage.text / "below", "a\0b", "x" * 300, stage.empty, stage.crops,
              "/dev/null", "mysql://host/x", "postgresql://127.0.0.1:9/x", "nonsense://", "://")  # fmt: skip
    times = ("soon", "", "nan", "inf", "2026-13-45", "1e999", "[1]", "x" * 300)
    drawn = (new("a"), new("a.txt"), "/proc/a.png", stage.root, stage.text / "a.png")
    yield from vary_command(
        stage, "gallery create", lambda: ["gallery", "create", new("g"), "--run", stage.run],
        {"RUN": (2, ("", stage.text, stage.text / "below", "/proc/g", "a\0b", "x" * 300, stage.crops, *places[9:])),
         "--run": paths("run"), "--device": shared["--device"], "--precision": (*NO_WORD, "float64"),
         "--index": (*NO_WORD, "http://127.0.0.1:9"), "--thumbnails": ("nonsense://x",)},
        {"--precision": (("float32",),), "--thumbnails": ((new("thumbnails"),),)},
    )  # fmt: skip
    yield from vary_command(
        stage, "gallery add", lambda: ["gallery", "add", _new_gallery(stage, filled=False), "--data", data],
        {"RUN": (2, places), "--data": paths("crops"), "--format": shared["--format"], "--device": shared["--device"],
         "--run": (*paths("run"),)},
        {"--json": ((),), "--quiet": ((),)}, pairs=15,
    )  # fmt: skip
    yield from vary_command(
        stage, "search", lambda: ["search", _gallery(stage), image],
        {"RUN": (1, places), "-k": NO_COUNT, "--sighting": (*NO_COUNT, "1000"), "--not-sighting": (*NO_COUNT, "1000"),
         "--not-image": (stage.root / "missing.png", stage.text, "", stage.root), "--camera": ("", "9", "é", "a\0b"),
         "--not-camera": ("", "9"), "--from": times, "--to": times, "--identity": (*NO_COUNT, "100000"),
         "--sheet": drawn, "--device": shared["--device"], "--run": paths("run"),
         "+": (stage.root / "missing.png", stage.text, stage.root, "--from=5 --to=4")},
        {"--rerank": ((),), "--json": ((),), "--hidden": ((),), "-k": (("1",), ("1000",)), "--sighting": (("1",),),
         "--not-sighting": (("2",),), "--camera": (("1",),), "--from": (("5",), ("2026-01-01",)),
         "--sheet": ((new("a.png"),),)},
    )  # fmt: skip
    yield from vary_command(
        stage, "identify", lambda: ["identify", _gallery(stage), "k1=6", "k2=2", "min_samples=2", "eps=0.7"],
        {"RUN": (1, places), "--algorithm": NO_WORD, "--device": shared["--device"], "--run": paths("run"),
         "+": ("eps=2", "eps=nan", "nonsense=1", "k1=0", "k1", "=1", "clusters=5")},
        {"--json": ((),), "--again": ((),)}, pairs=15,
    )  # fmt: skip
    no_decision = (*NO_COUNT, "1000")
    for name, words, wrong in (
        ("info", (), {}), ("identities", (), {"--limit": NO_SHOWN}), ("verify", (), {"--limit": NO_SHOWN}),
        ("log", (), {"--limit": NO_SHOWN}), ("review", ("--json",), {"-n": NO_SHOWN, "--sheet": drawn}),
        ("export", ("--to", None), {"--to": ("", stage.text / "x", stage.root, "/proc/x")}),
    ):  # fmt: skip
        yield from vary_command(
            stage, f"gallery {name}",
            lambda name=name, words=words: ["gallery", name, _gallery(stage), *(new("x") if w is None else w for w in words)],
            {"RUN": (2, places), **wrong}, pairs=0,
        )  # fmt: skip
    for name, words in (
        ("merge", ("1", "1000")), ("merge", ("1",)), ("merge", ()), ("split", ("1",)), ("split", ("1", "1000")),
        ("split", ("1000", "1")), ("name", ("1000", "x")), ("name", ("1",)), ("name", ("1", "a\0b")), ("hide", ()),
        ("hide", ("--sighting", "1000")), ("answer", ("1-1", "same")), ("answer", ("1-1000", "same")),
        ("answer", ("1-1000", "skip")), ("answer", ("12", "same")), ("answer", ("1-2", "perhaps")),
        ("answer", ("1-2",)), ("answer", ("9" * 30 + "-1", "same")), ("show", ("1000",)), ("show", ("x",)),
        ("delete", ()), ("delete", ("--yes",)), ("delete", ("--yes", "--sighting", "1000")),
        ("delete", ("--yes", "--camera", "9", "--before", "soon")), ("delete", ("--sighting", "1")),
        ("import", ("--from", stage.empty)), ("import", ("--from", stage.text)), ("import", ()),
        ("migrate", ("--to", stage.empty)), ("migrate", ()), ("nonsense", ()),
        *(("undo", (value,)) for value in no_decision if value != "--"),  # which ends the options
    ):  # fmt: skip
        label = f"gallery {name} {' '.join(map(str, words))}".replace(str(stage.root), "…").encode("unicode_escape")
        call = functools.partial(lambda name, words: command("gallery", name, _gallery(stage), *words), name, words)
        yield Case(label.decode()[:90], call, SENTENCE)


def vary_command(
    stage: Stage,
    name: str,
    base: Callable[[], list[object]],
    bad: dict[str, Any],
    good: dict[str, tuple[tuple[object, ...], ...]] | None = None,
    *,
    fails: bool = False,
    pairs: int = 40,
) -> Iterator[Case]:
    """A command as it should be, and with each value in place.

    Args:
        stage: Where it runs.
        name: What the command is called.
        base: Makes the words of a call that must succeed.
        bad: Per option the values that must be refused. ``RUN`` and the like are ``(place, values)`` of an argument,
            ``+`` are words to add, the empty name is the call as it is.
        good: Per option the words behind it that must be taken.
        fails: Whether the call fails as it is.
        pairs: Calls with two things wrong at once.
    """
    if not fails:
        yield Case(name, lambda: command(*base()), FINE)

    def changed(changes: tuple[tuple[str, Any], ...]) -> Done:
        words = base()
        for option, value in changes:
            if isinstance(option, tuple):
                words[option[1]] = value
            elif option in ("", "+"):
                words += value if isinstance(value, tuple) else [value]
            else:
                *before, last = option.split()
                words = [*before, *words]
                words.insert(1, words.pop(0)) if before else None
                # the last of an option given twice counts
                words += [last, *value] if isinstance(value, tuple) else [f"{last}={value}"]
        return command(*words)

    wrong: list[tuple[Any, Any]] = []
    for option, values in bad.items():
        if isinstance(values[0] if values else None, int):
            wrong += [((option, values[0]), value) for value in values[1]]
        else:
            wrong += [(option, value) for value in values]
    for option, value in wrong:
        label = f"{name} {_label(stage, option, value)}"
        yield Case(label, functools.partial(changed, ((option, value),)), SENTENCE)
    for option, several in (good or {}).items():
        for value in several:
            call = functools.partial(changed, ((option, tuple(map(str, value))),))
            yield Case(f"{name} with {option} {' '.join(map(str, value))}", call, FINE)
    rng = np.random.default_rng(sum(name.encode()))
    seen = set()
    for _ in range(pairs if len(wrong) > 5 else 0):
        one, other = (wrong[number] for number in rng.choice(len(wrong), 2, replace=False).tolist())
        label = f"{name} {_label(stage, *one)} {_label(stage, *other)}"
        if one[0] != other[0] and label not in seen:
            seen.add(label)
            yield Case(label, functools.partial(changed, (one, other)), SENTENCE)


def _label(stage: Stage, option: Any, value: Any) -> str:
    what = "" if option in ("", "+") else f"{option[0] if isinstance(option, tuple) else option}="
    text = str(value).replace(str(stage.root), "…")
    return f"{what}{text if len(text) < 40 else f'{text[:20]}…({len(text)})'}".encode("unicode_escape").decode()


def _folder(path: Any) -> Any:
    path.mkdir()
    return path


def _processes(stage: Stage) -> Iterator[Case]:
    """A few calls in a process of their own, as a person makes them."""

    def start(*words: object) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "resight", *map(str, words)], capture_output=True, text=True, check=False,
            env=os.environ | {"COLUMNS": "200"},
        )  # fmt: skip
        return Done(done.returncode, done.stdout, done.stderr)

    for words, expects in (
        (("methods",), FINE),
        (("check", stage.crops), FINE),
        (("check", stage.root / "missing"), SENTENCE),
        (("embed", stage.run, "--data", stage.crops, "--to", stage.fresh("a.npz")), FINE),
        (("embed", stage.run, "--data", stage.crops, "--to", stage.fresh("a.txt")), SENTENCE),
        (("cluster", stage.run, "--data", stage.crops, "--to", stage.fresh("a.csv"), "--eps", "inf"), SENTENCE),
        (("train", "cluster_contrast", "--data", stage.crops, "epochs=0"), SENTENCE),
        (("nonsense",), SENTENCE),
    ):
        label = " ".join(map(str, words)).replace(str(stage.root), "…")
        yield Case(f"process: {label}", functools.partial(start, *words), expects, limit=120)
