"""Charts: what they draw, how they are written, and that they need no colour to be read."""

from __future__ import annotations

import builtins
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from resight import ResightError, charts

PLACES, NAN = np.random.default_rng(0).normal(size=(9, 2)), float("nan")
MADE = {
    "lines": lambda: charts.line_chart({"a": ([1, 2], [0.5, 0.7]), "b": ([1, 2], [0.1, NAN])}, title="T", y="y"),
    "bars": lambda: charts.bar_chart(
        ["x", "y"], {"mAP": [1, 2], "rank-1": [3, NAN]}, spread={"mAP": ([0, 1], [2, 3])}
    ),
    "histogram": lambda: charts.histogram({"a": np.arange(30), "b": np.arange(9)}, whole=True),
    "normal": lambda: charts.histogram({"a": PLACES[:, 0]}, normal=True),
    "points": lambda: charts.scatter(PLACES, np.arange(9) % 3, {0: "a", 1: "b", 2: "c"}, title="T"),
    "marks": lambda: charts.scatter(np.eye(2), np.arange(2), {0: "a", 1: "b"}, marks=True, labels=False),
    "heat": lambda: charts.heat_chart(np.array([[0.2, np.nan], [0.9, 0.1]]), ["1", "a long name"]),
    "differences": lambda: charts.difference_chart({"a": {"difference": 0.02, "low": 0.01, "high": 0.03}}),
    "journeys": lambda: charts.journey_chart({"1": ((3, 0.0, 1.0, 2), (4, 2.0, 2.0, 1))}, {3: "gate", 4: "hall"}),
    "cameras by time": lambda: charts.journey_chart(
        {"1": ((3, 1.7e9, 1.7e9 + 9, 2), (4, 1.7e9 + 90, 1.7e9 + 95, 1))}, {3: "gate", 4: "hall"}, by="camera"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MADE)
def test_a_chart_in_a_page(name: str) -> None:
    svg = charts.chart_svg(MADE[name](), 'what it shows: "a" & <b>')
    root = ElementTree.fromstring(svg)
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == 'what it shows: "a" & <b>'
    assert "width" not in root.attrib
    assert "var(--ink)" in svg
    assert "http" not in re.sub(r'xmlns(:xlink)?="[^"]*"', "", svg)
    names = re.findall(r'\bid="([^"]+)"', svg)
    assert len(names) == len(set(names))
    assert set(re.findall(r'(?:url\(#|xlink:href="#)([^)"]+)', svg)) <= set(names)


def test_points_of_a_group_are_found_by_its_name() -> None:
    svg = charts.chart_svg(MADE["points"](), "points")
    for place in range(3):
        (group,) = re.findall(rf'<g id="c[0-9a-f]+-group-{place}">(.*?)\n   </g>', svg, re.DOTALL)
        assert group.count("<use ") == 3


def test_charts_are_written_the_same_each_time(tmp_path: Path) -> None:
    for ending in charts.ENDINGS:
        for name in ("a", "b"):
            charts.save_chart(tmp_path / f"{name}{ending}", MADE["lines"]())
        assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()
    with pytest.raises(ResightError, match=r"ending in \.svg or \.png or \.pdf"):
        charts.save_chart(tmp_path / "a.txt", MADE["lines"]())


def test_lines_differ_by_more_than_colour() -> None:
    figure = charts.line_chart({str(k): ([1, 2], [k, k]) for k in range(6)})
    lines = figure.axes[0].get_lines()
    assert len({(line.get_marker(), str(line.get_linestyle())) for line in lines}) == 6


def test_without_matplotlib_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = builtins.__import__

    def refuse(name: str, *args: Any, **options: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return honest(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ResightError, match=r"pip install 'resight\[report\]'"):
        charts.line_chart({"a": ([1], [1])})


def test_a_single_epoch_has_one_mark_on_its_axis() -> None:
    figure = charts.line_chart({"mAP": ([6], [0.4])})
    figure.canvas.draw()
    low, high = figure.axes[0].get_xlim()
    assert [tick for tick in figure.axes[0].get_xticks() if low <= tick <= high] == [6]
