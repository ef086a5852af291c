from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import resight
from resight import ResightError
from resight.model import Model


@pytest.fixture(scope="module")
def model(painted: Path, tiny: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> Model:
    out = tmp_path_factory.mktemp("model") / "run"
    return resight.train("cluster_contrast", painted, out, settings=tiny | {"epochs": 1})


def test_a_loaded_model_embeds_as_the_trained_one(model: Model, painted: Path) -> None:
    assert model.run is not None
    table = resight.read_crops(painted)
    again = resight.load(model.run.path)
    assert (again.embed(table) == model.embed(table)).all()


def test_files_arrays_and_tables_give_the_same_embeddings(model: Model, painted: Path) -> None:
    table = resight.read_crops(painted).select(np.arange(5))
    files = [table.file(row) for row in range(5)]
    arrays = [np.asarray(Image.open(file)) for file in files]
    batch = np.stack([array.transpose(2, 0, 1) for array in arrays])
    expected = model.embed(table)
    assert expected.shape == (5, model.dim)
    for images in (files, arrays, batch):
        assert np.allclose(model.embed(images), expected, atol=1e-6)
    assert model.embed([]).shape == (0, model.dim)


def test_flip_makes_an_embedding_blind_to_mirroring(model: Model, painted: Path) -> None:
    image = np.asarray(Image.open(sorted(painted.iterdir())[0]))
    mirrored = np.ascontiguousarray(image[:, ::-1])
    assert np.allclose(*model.embed([image, mirrored], flip=True), atol=1e-5)
    assert not np.allclose(*model.embed([image, mirrored], flip=False), atol=1e-5)


def test_maps_of_files_arrays_and_batches_are_the_same(model: Model, painted: Path) -> None:
    table = resight.read_crops(painted).select(np.arange(3))
    files = [table.file(row) for row in range(3)]
    arrays = [np.asarray(Image.open(file)) for file in files]
    expected = model.attention_maps(files)
    assert list(expected) == ["activation"]  # this encoder has no attention
    assert expected["activation"].shape == (3, 2, 1)
    assert expected["activation"].dtype == np.float32
    assert expected["activation"].min() == 0
    assert expected["activation"].max() == 1
    for images in (arrays, np.stack([array.transpose(2, 0, 1) for array in arrays])):
        assert np.array_equal(model.attention_maps(images)["activation"], expected["activation"])
    with pytest.raises(ResightError, match="at least one"):
        model.attention_maps([])
    with pytest.raises(ResightError, match="put a single one into a list"):
        model.attention_maps("a.jpg")


def test_wrong_images_are_sentences(model: Model, tmp_path: Path) -> None:
    with pytest.raises(ResightError, match="put a single one into a list"):
        model.embed("a.jpg")
    with pytest.raises(ResightError, match=r"uint8 of shape \(N, 3, 32, 16\)"):
        model.embed(np.zeros((2, 3, 64, 32), np.uint8))
    with pytest.raises(ResightError, match=r"uint8 of shape \(H, W, 3\)"):
        model.embed([np.zeros((64, 32, 3), np.float32)])
    with pytest.raises(ResightError, match=r"missing\.jpg"):
        model.embed([tmp_path / "missing.jpg"])


def test_load_says_what_a_folder_lacks(tmp_path: Path, model: Model) -> None:
    with pytest.raises(ResightError, match="not a run folder"):
        resight.load(tmp_path)
    assert model.run is not None
    (tmp_path / "config.yaml").write_text(model.run.config_file.read_text())
    with pytest.raises(ResightError, match="no epoch was finished"):
        resight.load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(ResightError, match="not a readable safetensors file"):
        resight.load(tmp_path)
    (tmp_path / "config.yaml").write_text("epochs: [")
    with pytest.raises(ResightError, match="does not hold the settings of a run"):
        resight.load(tmp_path)


def test_evaluation_needs_a_split(model: Model, painted: Path) -> None:
    with pytest.raises(ResightError, match="--train-identities"):
        resight.evaluate(model, resight.read_crops(painted))


def test_evaluation_with_clustering_and_reranking(model: Model, painted: Path) -> None:
    from resight.evaluation import RerankOptions

    table = resight.read_crops(painted, train_identities=4)
    plain = resight.evaluate(model, table, clustering=True)
    assert plain["scored_queries"] == 16
    assert 0 < plain["mAP"] <= 1
    assert plain["clustering"]["clusters"] > 0
    assert resight.evaluate(model, table, rerank=RerankOptions(k1=4, k2=2))["rerank"]["k1"] == 4


def test_parts_of_a_model_without_are_a_sentence(model: Model, painted: Path) -> None:
    with pytest.raises(ResightError, match=r"encoder\.parts=3"):
        model.embed(resight.read_crops(painted), parts=True)
