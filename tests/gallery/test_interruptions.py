"""Processes that are killed while they add, that add at the same time, or that meet a full disk."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from resight.common.files import CannotWrite
from resight.errors import ResightError
from resight.gallery import Gallery, adding
from resight.gallery.store import Store

#: Moments of a kill; with RESIGHT_TEST_KILLS=50 there are more.
MOMENTS = int(os.environ.get("RESIGHT_TEST_KILLS", "4"))


def _add(place: str | Path, crops: Path, told: int | None = None) -> None:
    """Adds all crops, and writes the digests of each batch that is on the disk to a pipe."""
    with Gallery(place, device="cpu") as gallery:
        gallery.add(
            crops,
            acknowledge=lambda digests: None if told is None else os.write(told, "".join(digests).encode()) and None,
        )


def _start(work: object, *arguments: object) -> int:
    """A copy of this process that does some work and ends without cleaning up."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work(*arguments)  # type: ignore[operator]
            status = 0
        finally:
            os._exit(status)
    return pid


def _digests(gallery: Gallery) -> set[str]:
    count = gallery.info()["sightings"]
    hits = gallery.search_many(np.ones((1, gallery.info()["dim"])), max(count, 1))[0][0].tolist()
    return {Path(hit.thumbnail or "").stem for hit in gallery.sightings(hits)}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("moment", range(MOMENTS))
def test_a_kill_loses_nothing_that_was_acknowledged(
    place: tuple[str | Path, dict[str, str]], run: Path, painted: Path, moment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adding, "BATCH", 8)
    Gallery.create(place[0], run, device="cpu", **place[1]).close()
    reader, writer = os.pipe()
    pid = _start(_add, place[0], painted, writer)
    rng = np.random.default_rng(moment)
    head = b""
    if moment % 4:  # most kills while batches are written
        head = os.read(reader, 32)
    time.sleep(float(rng.uniform(0, 0.4)))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(writer)
    said = head
    while part := os.read(reader, 1 << 16):
        said += part
    os.close(reader)
    acknowledged = {said[start : start + 32].decode() for start in range(0, len(said) - 31, 32)}
    with Gallery(place[0], device="cpu") as gallery:
        assert gallery.verify() == []
        there = _digests(gallery)
        assert acknowledged <= there
        assert len(there) == gallery.info()["sightings"]
        done = gallery.add(painted)
        assert (done.added, done.known) == (96 - len(there), len(there))
        assert gallery.verify() == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_two_processes_add_the_same_crops_at_once(
    place: tuple[str | Path, dict[str, str]], run: Path, painted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adding, "BATCH", 4)
    Gallery.create(place[0], run, device="cpu", **place[1]).close()
    pids = [_start(_add, place[0], painted) for _ in range(2)]
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0, 0]
    with Gallery(place[0], device="cpu") as gallery:
        assert gallery.info()["sightings"] == len(_digests(gallery)) == 96
        assert gallery.verify() == []


def _deciding(place: str | Path, start: int) -> None:
    with Gallery(place, device="cpu") as gallery:
        for one in range(start, 40, 4):
            gallery.confirm(one, one + 1)
            gallery.rename(gallery.sightings([one])[0].identity or 0, f"name {one}")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_two_people_decide_at_once(place: tuple[str | Path, dict[str, str]], run: Path) -> None:
    rng = np.random.default_rng(0)
    with Gallery.create(place[0], run, device="cpu", **place[1]) as gallery:
        info = gallery.info()
        gallery.add_embeddings(rng.normal(size=(50, info["dim"])).astype(np.float32), fingerprint=info["model"])
    pids = [_start(_deciding, place[0], start) for start in (1, 3)]
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0, 0]
    with Gallery(place[0], device="cpu") as gallery:
        assert len(gallery.log()) == 40
        for one in range(1, 40, 2):
            first, second = gallery.sightings([one, one + 1])
            assert first.identity == second.identity
            assert first.name == f"name {one}"
        assert len(gallery.identities()) == 20
        assert gallery.verify() == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1.5 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1536k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


def test_a_full_disk_is_told_and_nothing_is_lost(
    small_disk: Path, run: Path, painted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adding, "BATCH", 8)
    with Gallery.create(small_disk / "g", run, device="cpu") as gallery:
        filler = small_disk / "filler"
        filler.write_bytes(b"x" * 700_000)
        acknowledged: list[str] = []

        def add_until_it_is_full() -> None:
            for _ in range(40):
                gallery.add(painted, acknowledge=acknowledged.extend)
                with filler.open("ab") as stream:
                    stream.write(b"x" * 60_000)
                gallery.delete(sightings=gallery.search_many(np.ones((1, 128)), 96)[0][0].tolist())
                acknowledged.clear()

        with pytest.raises(OSError, match=r"(disk is full|No space left)"):
            add_until_it_is_full()
    filler.unlink(missing_ok=True)
    with Gallery(small_disk / "g", device="cpu") as gallery:
        assert gallery.verify() == []
        assert set(acknowledged) <= _digests(gallery)
        gallery.add(painted)
        assert gallery.info()["sightings"] == 96
        assert gallery.verify() == []


@pytest.fixture
def small_server() -> Iterator[tuple[str, Path]]:
    """A PostgreSQL server on a disk of 72 MB, and the folder of that disk. It needs root and PostgreSQL's programs."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not os.environ.get("RESIGHT_TEST_POSTGRESQL") or not programs or os.geteuid():
        pytest.skip("RESIGHT_TEST_POSTGRESQL is not set, or a server cannot be started here")
    folder = Path(tempfile.mkdtemp(prefix="resight-postgresql-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=72m", "tmpfs", str(folder)], check=True)
    data = folder / "data"
    control = f"{programs[-1].parent}/pg_ctl -D {data} -l {folder}/log -o '-k {folder} -c listen_addresses='"
    shutil.chown(folder, "postgres")
    for command in (
        f"{programs[-1]} -D {data} -A trust --wal-segsize=1",
        f"printf 'max_wal_size=6MB\\nmin_wal_size=2MB\\n' >> {data}/postgresql.conf",
        f"{control} -w start",
    ):
        subprocess.run(["su", "postgres", "-c", command], check=True, stdout=subprocess.DEVNULL)
    try:
        yield f"postgresql://postgres@/postgres?host={folder}", folder
    finally:
        subprocess.run(["su", "postgres", "-c", f"{control} -m immediate stop"], check=False)
        subprocess.run(["umount", "-l", str(folder)], check=False)
        folder.rmdir()


def test_a_full_disk_of_the_server_is_told_and_nothing_is_lost(
    small_server: tuple[str, Path], run: Path, tmp_path: Path
) -> None:
    address, folder = small_server
    rng = np.random.default_rng(0)
    acknowledged = 0
    with Gallery.create(address, run, device="cpu", thumbnails=str(tmp_path / "thumbnails")) as gallery:
        info = gallery.info()

        def add_until_it_is_full() -> None:
            nonlocal acknowledged
            while acknowledged < 1_000_000:
                gallery.add_embeddings(
                    rng.normal(size=(2_000, info["dim"])).astype(np.float32),
                    fingerprint=info["model"],
                    digests=[f"{place:032d}" for place in range(acknowledged, acknowledged + 2_000)],
                )
                acknowledged += 2_000

        with pytest.raises(ResightError, match=r"(the disk is full|cannot be used)"):
            add_until_it_is_full()
    assert acknowledged
    subprocess.run(["mount", "-o", "remount,size=300m", str(folder)], check=True)
    for _ in range(50):  # a server that ended restores itself
        try:
            gallery = Gallery(address, device="cpu")
            break
        except ResightError:
            time.sleep(0.5)
    with gallery:
        assert gallery.verify() == []
        there = gallery.info()["sightings"]
        assert acknowledged <= there <= acknowledged + 2_000
        gallery.add_embeddings(np.eye(info["dim"], dtype=np.float32), fingerprint=info["model"])
        assert gallery.info()["sightings"] == there + info["dim"]


def test_a_database_that_cannot_grow_is_told(run: Path, tmp_path: Path) -> None:
    Gallery.create(tmp_path / "g", run, device="cpu").close()
    store = Store(tmp_path / "g")

    def grow() -> None:
        with store.writing() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
            connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
            connection.exec_driver_sql("CREATE TABLE filler AS SELECT randomblob(100000)")

    with pytest.raises(CannotWrite, match="the disk is full"):
        grow()
    store.close()
    with Gallery(tmp_path / "g", device="cpu") as gallery:
        assert gallery.verify() == []


def test_a_reader_waits_for_no_writer(run: Path, tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "g", run, device="cpu") as gallery:
        info = gallery.info()
        gallery.add_embeddings(np.eye(info["dim"], dtype=np.float32)[:5], fingerprint=info["model"])
        with gallery._store.writing():
            begin = time.monotonic()
            assert len(gallery.search(sightings=[1], k=9)) == 4
            assert time.monotonic() - begin < 2
        with pytest.raises(ResightError, match="There is no sighting 9"):
            gallery.search(sightings=[9])
