"""A gallery ranks as ``resight evaluate`` does, and training obeys what was decided in one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import resight
from resight.errors import ResightError
from resight.gallery import Gallery


@pytest.mark.parametrize("precision", ["float16", "float32"])
def test_the_scores_of_a_gallery_are_those_of_evaluate(
    run: Path, paint_crops: Callable[..., Path], tmp_path: Path, precision: str
) -> None:
    crops = paint_crops(tmp_path / "crops", identities=14, cameras=3, shots=3, noise=40)
    table = resight.read_crops(crops, train_identities=4)
    table = table.select(table.split != "train")
    model = resight.load(run, "cpu")
    expected = resight.evaluate(model, table, cache=tmp_path / "pixels")
    inside = np.flatnonzero(table.split == "gallery")
    with Gallery.create(tmp_path / "g", run, precision=precision, device="cpu") as gallery:
        assert gallery.add(table.select(inside)).added == len(inside)
        row_of = {str(table.file(row).absolute()): row for row in inside.tolist()}
        average, first = [], []
        for row in np.flatnonzero(table.split == "query").tolist():
            hits = gallery.search(table.file(row), k=len(inside))
            order = np.array([row_of[hit.source] for hit in hits])
            same = table.identity[order] == table.identity[row]
            kept = same[~(same & (table.camera[order] == table.camera[row]))]
            places = np.flatnonzero(kept)
            average.append(np.mean((1 + np.arange(len(places))) / (1 + places)))
            first.append(kept[0])
    # float16 may exchange two crops of almost the same similarity; this model was hardly trained, and has many
    tolerance = 1e-9 if precision == "float32" else 2e-3
    assert np.mean(first) == pytest.approx(expected["rank1"], abs=tolerance)
    assert np.mean(average) == pytest.approx(expected["mAP"], abs=tolerance)


def test_training_obeys_the_decisions(run: Path, painted: Path, tiny: dict[str, object], tmp_path: Path) -> None:
    table = resight.read_crops(painted)
    identity = dict(zip((str(table.file(row).absolute()) for row in range(len(table))), table.identity, strict=True))
    with Gallery.create(tmp_path / "g", run, device="cpu") as gallery:
        gallery.add(painted)
        with pytest.raises(ResightError, match="None of the decisions"):
            _train(painted, tmp_path / "none", tiny, tmp_path / "g")
        rng, said = np.random.default_rng(0), []
        source = {hit.sighting: hit.source for hit in gallery.sightings(range(1, 97))}
        for a, b in rng.integers(1, 97, (60, 2)).tolist():
            same = bool(identity[source[a]] == identity[source[b]])
            if a != b:
                gallery.answer(f"{a}-{b}", "same" if same else "different")
                said.append((Path(source[a]).name, Path(source[b]).name, same))
        by_name = {Path(hit.source).name: hit for hit in gallery.sightings(range(1, 97))}
        some = [hit.sighting for name, hit in by_name.items() if name.startswith("0001_")]
        for one in some[1:]:
            gallery.confirm(some[0], one)
    model = _train(painted, tmp_path / "run", tiny, tmp_path / "g")
    assert model.run is not None
    decided = model.run.read_data()["decisions"]
    assert decided["must"] >= len(some) - 1
    assert decided["cannot"] == sum(not same for *_, same in said)
    place = {path: row for row, path in enumerate(table.paths)}
    for file in sorted((tmp_path / "run" / "labels").glob("*.npz")):
        labels = np.load(file)["labels"]
        for a, b, same in said:
            assert (labels[place[a]] == labels[place[b]] >= 0) == same or (not same and labels[place[a]] < 0)
        assert len({labels[place[name]] for name in by_name if name.startswith("0001_")}) == 1
    plain = _train(painted, tmp_path / "plain", tiny, None)
    assert "decisions" not in plain.run.read_data()  # type: ignore[union-attr]


def _train(crops: Path, out: Path, tiny: dict[str, object], gallery: Path | None) -> resight.Model:
    return resight.train("cluster_contrast", crops, out, settings=tiny | {"epochs": 2}, decisions=gallery, device="cpu")


def test_methods_that_keep_their_labels_take_no_decisions(
    run: Path, painted: Path, tiny: dict[str, object], tmp_path: Path
) -> None:
    with Gallery.create(tmp_path / "g", run, device="cpu") as gallery:
        gallery.add(painted)
        gallery.confirm(1, 2)
    with pytest.raises(ResightError, match=r"supervised does not take decisions.*use one of cluster_contrast, "):
        resight.train(
            "supervised", painted, tmp_path / "run", settings={"encoder.weights": "none"},
            decisions=tmp_path / "g", device="cpu",
        )  # fmt: skip
