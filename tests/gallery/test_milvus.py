"""Milvus finds what the embedded index finds; tried on Milvus Lite."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from resight.errors import ResightError
from resight.gallery import Gallery

pytest.importorskip("pymilvus", reason="pymilvus is not installed")
pytest.importorskip("milvus_lite", reason="Milvus Lite is not installed; it exists for Linux and macOS")


def test_the_same_as_embedded(run: Path, tmp_path: Path, fill: Callable[..., dict[str, np.ndarray]]) -> None:
    with (
        Gallery.create(tmp_path / "one", run, device="cpu") as one,
        Gallery.create(tmp_path / "two", run, index=str(tmp_path / "milvus.db"), device="cpu") as two,
    ):
        for gallery in (one, two):
            made = fill(gallery, spread=0.8)
            gallery.merge([gallery.confirm(1, 2)["identity"], gallery.confirm(3, 4)["identity"]])
            gallery.hide(sightings=[7])
        identity = one.sightings([1])[0].identity or 0

        def same(**options: object) -> list[int]:
            found = [gallery.search(k=30, **options) for gallery in (one, two)]  # type: ignore[arg-type]
            assert [hit.sighting for hit in found[0]] == [hit.sighting for hit in found[1]], options
            values = [[hit.similarity for hit in hits] for hits in found]
            assert np.allclose(*values, atol=1e-5)
            return [hit.sighting for hit in found[0]]

        assert len(same(sightings=[5])) == 30
        assert 7 not in same(sightings=[6], cameras=["c1", "c2"])
        same(sightings=[5, 8], not_cameras=["c0"], start=100, stop=800.5)
        assert set(same(sightings=[5], identities=[identity])) == {1, 2, 3, 4}
        assert 7 in same(sightings=[6], hidden=True) or len(made["ids"]) > 30
        same(sightings=[5], not_sightings=[9])
        for gallery in (one, two):
            gallery.delete(sightings=[10, 11, 12], cameras=["c2"])
            fill(gallery, seed=1)
        left = [hit.sighting for hit in one.search(sightings=[100], k=3)]
        same(sightings=left[:1])
        assert two.verify() == one.verify() == []
        two.index._client.drop_collection(two.index._name)  # type: ignore[attr-defined]
        same(sightings=left[:1])
        two.index._client.delete(two.index._name, ids=left[1:2])  # type: ignore[attr-defined]
        same(sightings=left[2:])
        with pytest.raises(ResightError, match="at most 16384"):
            two.search(sightings=left[:1], k=20_000)


def test_addresses_that_are_not_milvus(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ResightError, match="or the address of Milvus"):
        Gallery.create(tmp_path / "g", run, index="nonsense", device="cpu")
    with pytest.raises(ResightError, match="cannot be used"):
        Gallery.create(tmp_path / "g", run, index="http://127.0.0.1:9", device="cpu")
    assert not (tmp_path / "g").exists()
