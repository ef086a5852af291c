"""What a run says before it starts, and of pseudo-labels that stay odd."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from resight.crops import CropTable, read_crops
from resight.methods import METHODS
from resight.training.config import build_config
from resight.training.watch import Watch, advise, describe_run, has_camera_recipe, uses_cameras

ROOT = Path(__file__).parents[2]


def rows(
    table: CropTable, method: str = "cluster_contrast", recipe: str = "default", **settings: object
) -> dict[str, str]:
    config = build_config(method, recipe, settings)
    title, found = describe_run(
        config, table, recipe=recipe, precision="float32", device=torch.device("cpu"), out=Path("runs/a")
    )
    assert title == f"Training {method}, recipe {recipe}, into runs/a:"
    return dict(found)


def test_a_header_says_what_is_known_and_what_is_used(painted: Path) -> None:
    table = read_crops(painted, train_identities=8)
    said = rows(table)
    assert said["crops"] == (
        f"64 to train on, from {painted} (market1501); 8 queries and 24 gallery crops to score with; identities are "
        "known, and used for figures only"
    )
    assert said["cameras"].startswith("2, not used. --recipe cameras uses them: on Market-1501 it reached 64.1 % mAP")
    assert said["epochs"].startswith("20 of 40 steps, 128 crops per step")
    assert said["encoder"] == "efficientnet_lite0 at 128×64 pixels, weights imagenet"
    assert said["device"].startswith(f"cpu, {torch.get_num_threads()} thread")
    never_learnt = rows(table, **{"encoder.weights": "none", "encoder.freeze_norms": True})["encoder"]
    assert never_learnt.endswith("statistics that were never learnt: set encoder.freeze_norms=false")
    assert "never" not in rows(table, **{"encoder.weights": "none", "encoder.freeze_norms": False})["encoder"]
    config = build_config("cluster_contrast", "cameras")
    assert rows(table, recipe="cameras")["cameras"] == f"2, used ({', '.join(uses_cameras(config))})"
    assert "method.camera_weight" in uses_cameras(config)
    assert rows(table, "supervised")["crops"].endswith("identities are learnt from")
    assert rows(table, "supervised")["cameras"] == "2, not used."  # it has no recipe for cameras
    assert (
        rows(table, "pplr")["cameras"] == "2, not used. --recipe cameras uses them."
    )  # what they gain is not measured
    assert rows(table, **{"sampling.iterations": 0})["epochs"].startswith("20 of as many steps as show each crop")


def test_a_header_of_a_flat_folder_says_what_is_not_known(painted: Path) -> None:
    crops = read_crops(painted)
    flat = CropTable(root=crops.root, paths=crops.paths, source="folder")
    said = rows(flat)
    assert said["crops"] == f"96 to train on, from {painted} (folder); identities are not known"
    assert said["cameras"].startswith(
        "not known. --recipe cameras would use them: on Market-1501 it reached 64.1 % mAP"
    )
    assert rows(flat, "adtc")["cameras"] == "not known."


@pytest.mark.parametrize(("fast", "precision", "said"), [
    (False, "auto", "float32 (it has no bfloat16 in hardware)"),
    (False, "float32", "float32"),
    (False, "bfloat16", "bfloat16, which it does not have in hardware: precision=float32 is many times faster"),
    (True, "auto", "bfloat16"),
])  # fmt: skip
def test_the_precision_is_resolved(
    fast: bool, precision: str, said: str, painted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resight.training import watch

    monkeypatch.setattr(watch, "fast_bfloat16", lambda device: fast)
    resolved = precision if precision != "auto" else ("bfloat16" if fast else "float32")
    config = build_config("cluster_contrast", None, {"precision": precision})
    _, found = describe_run(
        config, read_crops(painted), recipe="default", precision=resolved, device=torch.device("cpu"), out=Path("a")
    )
    assert re.sub(r"^cpu, \d+ threads?, ", "", dict(found)["device"]) == said


def test_what_cameras_are_worth_is_what_was_measured() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "make_studies.py"))
    tables = script["load_studies"]()["cluster-contrast"]["tables"]
    measured = {row["run"]: row for table in tables if table["name"] == "Market-1501 split" for row in table["rows"]}
    with_cameras = measured["EfficientNet-Lite0, ImageNet, recipe cameras"]
    without = measured["EfficientNet-Lite0, ImageNet, recipe default"]
    assert METHODS["cluster_contrast"].cameras_worth == (
        f"on Market-1501 it reached {with_cameras['mAP']} % mAP in {with_cameras['epochs']} epochs, the recipe default "
        f"{without['mAP']} % in {without['epochs']} (docs/results.md)"
    )
    assert all(has_camera_recipe(name) for name, method in METHODS.items() if method.cameras_worth)


def odd(number: int) -> np.ndarray:
    """96 crops of which four are in a cluster, other ones for each number."""
    labels = np.full(96, -1)
    labels[4 * number : 4 * number + 4] = 0
    return labels


def test_a_watch_speaks_once_of_what_stays() -> None:
    watch = Watch(build_config("cluster_contrast", None, {"clustering.eps": 0.5}), None)
    said = [watch.look(odd(number)) for number in range(5)]
    assert said == [
        [], [], [
            "Note: for 3 epochs now: 92 of 96 crops are in no cluster, so only the other 4 count. If this stays, "
            "train with clustering.eps=0.6 (now 0.5)."
        ], [], [],
    ]  # fmt: skip


def test_a_watch_waits_for_new_labels_and_forgets_what_mended_itself() -> None:
    watch, fine = Watch(build_config("cluster_contrast"), None), np.arange(96) // 8
    for labels in (odd(0), odd(0), odd(0), odd(1), fine, odd(2), odd(3)):
        assert watch.look(labels) == []
    assert watch.look(odd(4))


def test_merging_may_begin_with_single_crops() -> None:
    watch = Watch(build_config("idl_acl"), None)
    assert not any(watch.look(np.roll(np.arange(96), turn)) for turn in range(5))


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("kind", ["outliers", "giant", "tiny", "cameras"])
def test_advice_is_a_setting_of_the_run(method: str, kind: str) -> None:
    config = build_config(method)
    if advice := advise(kind, config):  # type: ignore[arg-type]
        changed = build_config(method, None, [str(advice)]).model_dump()
        group, name = advice.name.split(".")
        assert changed[group][name] == advice.value != advice.now
    assert method != "cluster_contrast" or advice
