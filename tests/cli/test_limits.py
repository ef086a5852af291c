"""A full disk leaves the result of the call before; a lack of memory is a sentence."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import pytest

#: Each command that writes a result: its words, with the file to write, whose content is larger than a kilobyte.
WRITING = {
    "embeddings.parquet": ("embed", "RUN", "--data", "CROPS", "--to"),
    "embeddings.npz": ("embed", "RUN", "--data", "CROPS", "--to"),
    "identities.csv": ("cluster", "RUN", "--data", "CROPS", "--to"),
    "identities.parquet": ("cluster", "RUN", "--data", "CROPS", "--to"),
    "maps.png": ("show", "attention", "RUN", "--data", "CROPS", "--to"),
    "maps.jpg": ("show", "attention", "RUN", "--data", "CROPS", "--to"),
    "thin.csv": ("thin", "--data", "CROPS", "--to"),
    "thin.parquet": ("thin", "--data", "CROPS", "--to"),
    "world/world.json": ("synth", "--crops", "40", "--identities", "10"),
}


@pytest.mark.parametrize("name", WRITING)
def test_a_result_that_cannot_be_written_leaves_the_one_before(
    name: str, run: Path, painted: Path, tmp_path: Path, resight: Callable[..., tuple[int, str, str]]
) -> None:
    places = {"RUN": str(run), "CROPS": str(painted)}
    words = [places.get(word, word) for word in WRITING[name]]
    file = tmp_path / name
    words.append(str(file.parent if words[0] == "synth" else file))
    if words[0] != "synth":
        status, _, err = resight(*words)
        assert status == 0, err
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (700, hard))  # the system refuses, as on a full disk
    try:
        status, out, err = resight(*words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (status, out) == (2, "")
    assert " could not be written: File too large. Raise the limit on the size of files (ulimit -f)." in err
    assert str(file if before else file.parent) in err
    assert "Traceback" not in err
    assert not list(tmp_path.rglob("*.part*"))
    assert all(path.read_bytes() == content for path, content in before.items())
    if not before:  # a world goes on
        assert resight(*words)[0] == 0


@pytest.mark.parametrize(
    ("error", "device"),
    [(MemoryError(), False), (RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB."), True)],
)
def test_a_lack_of_memory_is_a_sentence(
    error: Exception,
    device: bool,
    run: Path,
    painted: Path,
    tmp_path: Path,
    resight: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr("resight.model.embed_images", fail)
    status, _, err = resight("embed", run, "--data", painted, "--to", tmp_path / "e.npz")
    assert status == 2
    option = ", or choose --device cpu" if device else ""
    assert err == f"resight: There is not enough memory: close other programs, give fewer crops{option}.\n"


def test_a_fault_of_the_program_is_not_taken_for_a_lack_of_memory(
    run: Path,
    painted: Path,
    tmp_path: Path,
    resight: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr("resight.model.embed_images", fail)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        resight("embed", run, "--data", painted, "--to", tmp_path / "e.npz")
