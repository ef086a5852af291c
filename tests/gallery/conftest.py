"""A tiny trained model, galleries of its embeddings, and the databases that they are tried in."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import resight
from resight.gallery import Gallery


@pytest.fixture(scope="session")
def run(painted: Path, tiny: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch."""
    out = tmp_path_factory.mktemp("gallery") / "run"
    resight.train("cluster_contrast", painted, out, settings=tiny | {"epochs": 1}, device="cpu")
    return out


@pytest.fixture(scope="session")
def other_run(painted: Path, tiny: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another run, whose embeddings are longer."""
    out = tmp_path_factory.mktemp("gallery") / "other"
    settings = tiny | {"epochs": 1, "seed": 5, "encoder.width_multiplier": 0.5}
    resight.train("cluster_contrast", painted, out, settings=settings, device="cpu")
    return out


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str | Path, dict[str, str]]]:
    """Where to make a gallery, and the arguments that this place needs: a folder, then a PostgreSQL schema.

    The server is the one that the variable RESIGHT_TEST_POSTGRESQL names.
    """
    if request.param == "sqlite":
        yield tmp_path / "gallery", {}
        return
    server = os.environ.get("RESIGHT_TEST_POSTGRESQL")
    if not server:
        pytest.skip("RESIGHT_TEST_POSTGRESQL names no server, such as postgresql://postgres@localhost/postgres")
    import psycopg

    schema = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
        yield f"{server}?options=-csearch_path%3D{schema}", {"thumbnails": str(tmp_path / "thumbnails")}
        connection.execute(f"DROP SCHEMA {schema} CASCADE")


@pytest.fixture
def gallery(place: tuple[str | Path, dict[str, str]], run: Path) -> Iterator[Gallery]:
    """An empty gallery."""
    with Gallery.create(place[0], run, device="cpu", **place[1]) as made:
        made.by = "tester"
        yield made


def made_up(
    seed: int, identities: int = 12, each: int = 6, spread: float = 0.35, dim: int = 128
) -> dict[str, np.ndarray]:
    """Embeddings of made-up identities in three cameras, with times."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(identities, dim))
    identity = np.repeat(np.arange(identities), each)
    embeddings = centres[identity] / np.sqrt(dim) + spread * rng.normal(size=(len(identity), dim)) / np.sqrt(dim)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    order = rng.permutation(len(identity))
    return {
        "embeddings": embeddings[order].astype(np.float32),
        "identity": identity[order],
        "camera": rng.integers(0, 3, len(identity)),
        "time": rng.integers(0, 1000, len(identity)).astype(float),
    }


@pytest.fixture
def fill() -> Callable[..., dict[str, np.ndarray]]:
    """Fills a gallery with made-up embeddings; returns them, with the ids of the sightings."""

    def work(gallery: Gallery, seed: int = 0, **options: object) -> dict[str, np.ndarray]:
        info = gallery.info()
        made = made_up(seed, dim=info["dim"], **options)  # type: ignore[arg-type]
        gallery.add_embeddings(
            made["embeddings"],
            fingerprint=info["model"],
            digests=[f"{seed}-{place:05d}" for place in range(len(made["identity"]))],
            camera=[f"c{one}" for one in made["camera"]],
            time=made["time"].tolist(),
        )
        everything = gallery.search_many(made["embeddings"][:1], 1_000, hidden=True)[0][0]
        return made | {"ids": np.sort(everything)[-len(made["identity"]) :]}

    return work
