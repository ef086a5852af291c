"""Reports: one file, nothing from outside, every picture present, and only what is known."""

from __future__ import annotations

import html.parser
import json
import re
from pathlib import Path

import numpy as np
import pytest

import resight
from resight import ResightError
from resight.crops import CropTable
from resight.report import write_report
from resight.report.blocks import Pictures
from resight.report.sections import SECTIONS, distinct
from resight.training.config import build_config, setting_origins
from resight.view import RunView


@pytest.fixture(scope="module")
def runs(painted: Path, tiny: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("report")
    table = resight.read_crops(painted, train_identities=7)
    for name, method in (("one", "cluster_contrast"), ("two", "pplr")):
        more = {"encoder.parts": 2} if method == "pplr" else {}
        resight.train(method, table, folder / name, settings=tiny | {"epochs": 2} | more)
    return [folder / "one", folder / "two"]


class Page(html.parser.HTMLParser):
    """What a test asks of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        found = re.search(r'id="pictures">(.*?)</script>', text, re.DOTALL)
        assert found
        self.pictures: list[str] = json.loads(found[1])

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def titles(self) -> list[str]:
        return re.findall(r"<h3>(.*?)</h3>", self.text)


def test_a_page_of_one_run(runs: list[Path], tmp_path: Path) -> None:
    said: list[str] = []
    write_report(tmp_path / "r.html", [runs[0]], progress=lambda what, done, total: said.append(what))
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert len(page.titles) == len(SECTIONS) - 1  # no times, so no journeys
    assert "Journeys" not in page.titles
    assert any("t-SNE" in text for text in said)
    for tag, attributes in page.tags:  # nothing is fetched
        for name in ("src", "href", "srcset", "data"):
            link = attributes.get(name) or ""
            assert link.startswith(("#", "data:")) or not link, (tag, link)
    assert "@import" not in page.text
    assert "fetch(" not in page.text
    images = [image for image in page.all("img") if "data-p" in image]
    assert len(images) > 50
    assert all(image["alt"] for image in images)
    assert {int(image["data-p"] or -1) for image in images} <= set(range(len(page.pictures)))
    assert all(url.startswith("data:image/webp;base64,") for url in page.pictures)
    charts = [svg for svg in page.all("svg") if "chart" in (svg.get("class") or "")]
    assert len(charts) >= 8
    assert all(svg["aria-label"] for svg in charts)
    names = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(names) == len(set(names))
    links = [link["href"] for link in page.all("a")]
    assert {(link or "")[1:] for link in links} <= set(names)
    for plot in (figure for figure in page.all("figure") if "data-points" in figure):
        points = json.loads(plot["data-points"] or "")
        assert sum(map(len, points)) == 40  # all test crops
        assert all(0 <= picture < len(page.pictures) for group in points for picture, _ in group)


def test_figures_of_the_page_are_those_of_the_evaluation(runs: list[Path], tmp_path: Path) -> None:
    write_report(tmp_path / "r.html", [runs[0]], only=["scores", "settings"])
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    saved = json.loads((runs[0] / "evaluation.json").read_text())
    assert f">{100 * saved['mAP']:.1f}<" in text
    assert ">encoder.width_multiplier<" in text
    assert ">given<" in text


def test_several_runs_are_compared(runs: list[Path], tmp_path: Path) -> None:
    write_report(tmp_path / "r.html", runs, only=["scores", "confidence"])
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "paired bootstrap over" in text
    table = resight.read_crops(RunView(runs[0]).table.root, train_identities=7)
    found = resight.compare(runs, table)["groups"][1]["mAP_difference"]
    assert f"{100 * found['difference']:+.1f} ({100 * found['low']:+.1f} to {100 * found['high']:+.1f})" in text
    assert "part 2 of 2 from the top, lowest agreement" in text


def test_without_labels_what_can_be_known_is_shown(runs: list[Path], painted: Path, tmp_path: Path) -> None:
    table = resight.read_crops(painted)
    rng = np.random.default_rng(0)
    timed = CropTable(root=table.root, paths=table.paths, camera=table.camera, time=rng.random(len(table)))
    write_report(tmp_path / "r.html", [RunView(runs[0], timed)])
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "Ranked lists" not in page.titles
    assert "Journeys" in page.titles
    assert {"Cameras", "Embeddings in the plane", "Lowest and highest confidence"} <= set(page.titles)
    assert "There are no labelled query and gallery crops" in page.text
    assert 'class="cell right"' not in page.text
    bare = CropTable(root=table.root, paths=table.paths)
    write_report(tmp_path / "bare.html", [RunView(runs[0], bare)])
    page = Page((tmp_path / "bare.html").read_text(encoding="utf-8"))
    assert "Cameras" not in page.titles


def test_of_all_training_crops_some_are_enough(runs: list[Path], tmp_path: Path) -> None:
    write_report(tmp_path / "r.html", [RunView(runs[0], crops=20)])
    assert "Clusters by distance" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_a_run_that_trains_shows_its_curves(runs: list[Path], tmp_path: Path) -> None:
    write_report(tmp_path / "r.html", [runs[0]], only=["progress"], refresh=5)
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert '<meta http-equiv="refresh" content="5">' in text
    assert "Epoch 2 of 2; the run is finished." in text


def test_what_cannot_be_reported(runs: list[Path], tmp_path: Path) -> None:
    for file, given, said in (
        (tmp_path / "r.txt", runs, r"ending in \.html"),
        (tmp_path / "no" / "r.html", runs, "there is no folder"),
        (tmp_path / "r.html", [], "a list of run folders"),
        (tmp_path / "r.html", [tmp_path], "not a run folder"),
        (tmp_path / "r.html", 5, "a list of run folders"),
    ):
        with pytest.raises(ResightError, match=said):
            write_report(file, given)  # type: ignore[arg-type]
    with pytest.raises(ResightError, match="no section 'nothing'"):
        write_report(tmp_path / "r.html", runs, only=["nothing"])
    assert not list(tmp_path.iterdir())


def test_where_settings_come_from() -> None:
    config = build_config("cluster_contrast", "default", {"epochs": 7, "optimizer.lr": 1e-3})
    recipe, found = setting_origins(config)
    origins = {one.name: one for one in found}
    assert recipe == "default"
    assert (origins["epochs"].origin, origins["epochs"].value) == ("given", "7")
    assert origins["epochs"].note == "20 in the recipe"
    assert origins["clustering.k2"].origin == "recipe"
    assert "Zhong" in origins["clustering.k2"].note
    assert origins["seed"].origin == "default"
    recipe, found = setting_origins(config.model_copy(update={"description": "another"}))
    assert recipe is None
    assert {one.name: one.origin for one in found}["optimizer.lr"] == "given"


def test_pictures_are_kept_once_and_made_small() -> None:
    pictures = Pictures(height=20)
    image = np.zeros((3, 40, 10), np.uint8)
    assert [pictures.add(image), pictures.add(image.transpose(1, 2, 0)), pictures.add(image + 200)] == [0, 0, 1]
    assert pictures.sizes == [(5, 20), (5, 20)]


def test_nearly_equal_crops_are_shown_once() -> None:
    features = np.array([[1, 0], [0.999, 0.0447], [0, 1], [-1, 0]], float)
    assert distinct(np.arange(4), features, 3).tolist() == [0, 2, 3]
    assert distinct(np.arange(4), features, 2).tolist() == [0, 2]
