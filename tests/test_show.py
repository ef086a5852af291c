"""One picture of a run at a time, and the crops that it is looked at with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import resight
from resight import ResightError, show
from resight.crops import CropTable, write_table
from resight.training.run import RunFolder
from resight.view import RunView, crops_of_run


@pytest.fixture(scope="module")
def run(painted: Path, tiny: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("show") / "run"
    table = resight.read_crops(painted, train_identities=7)
    resight.train("cluster_contrast", table, out, settings=tiny | {"epochs": 2})
    return out


def test_the_crops_of_a_run_are_read_and_divided_again(run: Path, painted: Path, tmp_path: Path) -> None:
    table = crops_of_run(RunFolder(run))
    expected = resight.read_crops(painted, train_identities=7)
    assert table.paths == expected.paths
    assert table.split is not None
    assert expected.split is not None
    assert table.split.tolist() == expected.split.tolist()
    seen = RunView(run)
    assert seen.is_trained_on
    assert seen.label_epochs == [1, 2]
    assert seen.labels.tolist() == RunFolder(run).read_array("labels", 2).tolist()
    write_table(resight.identity_split(resight.read_crops(painted), 7), tmp_path / "crops.csv")
    listed = RunView(run, tmp_path / "crops.csv")  # another table of the same files
    assert listed.table.source == "csv"
    assert listed.is_trained_on
    other = RunView(run, resight.read_crops(painted, train_identities=5))
    assert not other.is_trained_on
    assert other.label_epochs == []
    assert len(other.labels) == len(other.trained)


def test_figures_are_those_of_the_evaluation(run: Path, painted: Path) -> None:
    scores = resight.evaluate(resight.load(run, "cpu"), resight.read_crops(painted, train_identities=7))
    assert RunView(run).ranking.mAP == scores["mAP"]


def test_of_many_crops_whole_clusters_are_drawn(run: Path) -> None:
    seen = RunView(run, crops=30)
    labels = seen.labels_of(2)
    assert 4 <= len(seen.rows) <= 45
    for cluster in np.unique(seen.labels[seen.labels >= 0]):
        assert (seen.labels == cluster).sum() == (labels == cluster).sum()
    assert seen.images.shape[0] == len(seen.features) == len(seen.trained) == len(seen.labels)


def test_every_picture(run: Path) -> None:
    seen = RunView(run)
    for sheet in (show.ranks(seen, queries=2), show.clusters(run, clusters=2), show.attention(seen, crops=3)):
        assert min(sheet.size) > 60
    for colour in show.COLOURS:
        chart = show.tsne(seen, colour=colour, groups=4)
        points = sum(len(found.get_offsets()) for found in chart.axes[0].collections)
        assert points == len(show.plane_of(seen, by="cluster" if colour == "cluster" else "identity", groups=4).table)
    assert [line.get_label() for line in show.curves([seen]).axes[0].get_lines()] == ["mAP", "rank-1"]
    assert show.curves(run, group="loss").axes[0].get_lines()[0].get_xdata().tolist() == [1, 2]
    shares = show.cameras(seen).axes[0].images[0].get_array()
    assert np.allclose(np.asarray(shares).sum(axis=1), 1)


def test_what_cannot_be_shown(run: Path, painted: Path, tiny: dict[str, object], tmp_path: Path) -> None:
    plain = resight.read_crops(painted).without_labels()
    seen = RunView(run, plain)
    with pytest.raises(ResightError, match="no labels to score against"):
        show.ranks(seen)
    with pytest.raises(ResightError, match="no identities to colour by"):
        show.tsne(seen)
    with pytest.raises(ResightError, match="colour must be"):
        show.tsne(seen, colour="red")
    with pytest.raises(ResightError, match="group must be"):
        show.curves(seen, group="all")
    with pytest.raises(ResightError, match="not a run folder"):
        show.clusters(tmp_path)
    nameless = CropTable(root=plain.root, paths=plain.paths)
    with pytest.raises(ResightError, match="needs the column 'camera'"):
        show.cameras(RunView(run, nameless))


def test_crops_that_are_gone_or_in_a_table_are_asked_for(
    run: Path, painted: Path, tiny: dict[str, object], tmp_path: Path
) -> None:
    write_table(resight.read_crops(painted), tmp_path / "crops.csv")
    resight.train("cluster_contrast", tmp_path / "crops.csv", tmp_path / "run", settings=tiny | {"epochs": 1})
    with pytest.raises(ResightError, match="--data FILE"):
        _ = RunView(tmp_path / "run").table
    assert len(RunView(tmp_path / "run", tmp_path / "crops.csv").table) == 96
    data = RunFolder(tmp_path / "run").data_file
    data.write_text(data.read_text().replace('"csv"', '"folder"').replace(str(tmp_path), str(tmp_path / "gone")))
    with pytest.raises(ResightError, match=r"are no longer in .* --data PATH"):
        _ = RunView(tmp_path / "run").table
