"""A trained model in use: images in, embeddings, maps and identities out."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import resight
from resight import ResightError
from resight.clustering import bottom_up, cluster_crops
from resight.encoders import Encoder
from resight.identities import BottomUp, Dbscan, TwoStage
from resight.model import Model
from resight.training.config import build_config
from resight.training.run import RunFolder


@pytest.fixture(scope="module")
def model(painted: Path, tiny: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> Model:
    out = tmp_path_factory.mktemp("model") / "run"
    return resight.train("cluster_contrast", painted, out, settings=tiny | {"epochs": 1})


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


def test_unreadable_crops_of_a_table_can_be_left_out_as_the_error_says(
    model: Model, painted: Path, tmp_path: Path
) -> None:
    crops = shutil.copytree(painted, tmp_path / "crops")
    next(crops.iterdir()).write_bytes(b"junk")
    table = resight.read_crops(crops)
    with pytest.raises(ResightError, match=r"or leave them out: model.open_cache\(table, max_unreadable=1\)\.$"):
        model.embed(table, cache=tmp_path / "cache")
    assert len(model.embed_cached(model.open_cache(table, tmp_path / "cache", max_unreadable=1))) == len(table) - 1


def test_stored_images_are_images(model: Model, painted: Path, tmp_path: Path) -> None:
    pixels = model.open_cache(resight.read_crops(painted), tmp_path / "cache").images
    assert np.array_equal(model.embed(pixels), model.embed(pixels[:]))
    assert np.array_equal(model.attention_maps(pixels)["activation"], model.attention_maps(pixels[:])["activation"])


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


def test_parts_of_a_model_without_are_a_sentence(model: Model, painted: Path) -> None:
    with pytest.raises(ResightError, match=r"encoder\.parts=3"):
        model.embed(resight.read_crops(painted), parts=True)


def test_a_loaded_model_is_on_the_device_that_was_resolved(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    assert model.run is not None
    asked: list[object] = []

    def resolve(name: object) -> torch.device:
        asked.append(name)
        return torch.device("meta")

    monkeypatch.setattr("resight.model.resolve_device", resolve)
    assert resight.load(model.run.path).device.type == "meta"
    assert resight.load(model.run.path, "cuda:3").device.type == "meta"
    assert asked == ["auto", "cuda:3"]


def test_a_device_that_is_not_there_is_a_sentence(model: Model) -> None:
    assert model.run is not None
    with pytest.raises(ResightError, match="There is no device 'mps': choose auto, cpu"):
        resight.load(model.run.path, "mps")


def a_model_of(
    method: str, settings: dict[str, object], crops: int | None = None, tmp_path: Path | None = None
) -> Model:
    """An untrained model of a run with these settings, trained on a number of crops as far as its folder says."""
    config = build_config(method, None, settings)
    run = None
    if crops is not None:
        assert tmp_path is not None
        run = RunFolder(tmp_path / "run")
        run.start(config, {"crops": crops})
    return Model(Encoder(config.encoder), config, run)


def test_crops_are_clustered_as_in_the_run(tiny: dict[str, object], tmp_path: Path) -> None:
    run = {"clustering.k1": 9, "clustering.k2": 2, "clustering.eps": 0.45, "clustering.centre_cameras": True}
    shared = {"centre_cameras": True, "search": "auto", "recall": 0.95}
    dbscan = a_model_of("cluster_contrast", tiny | run)
    assert dbscan.clustering() == Dbscan(k1=9, k2=2, eps=0.45, min_samples=4, **shared)
    adtc = {"components": 20, "second_stage": False, "nearest": 9, "contested": "out", "unwanted": "cluster"}
    settings = tiny | run | {f"method.{name}": value for name, value in adtc.items()} | {"method.crops_per_cluster": 7}
    two_stage = a_model_of("adtc", settings)
    assert two_stage.clustering() == TwoStage(k1=9, k2=2, crops_per_cluster=7, **adtc, **shared)
    idl_acl = {"merge_share": 0.2, "size_penalty": 0.5, "squared_distance": True, "merge_cameras": "different"}
    settings = (
        tiny | run | {f"method.{name}": value for name, value in idl_acl.items()} | {"method.crops_per_person": 6}
    )
    merged = a_model_of("idl_acl", settings)
    assert merged.clustering() == BottomUp(crops_per_identity=6, **idl_acl, **shared)
    for method in ("supervised", "mar", "pplr", "dcmip"):
        assert build_config(method).method.identity_settings(100) == {}


@pytest.mark.parametrize("method", ["adtc", "idl_acl"])
def test_the_number_of_clusters_of_a_run_is_taken_as_their_mean_size(
    method: str, tiny: dict[str, object], tmp_path: Path
) -> None:
    model = a_model_of(method, tiny | {"method.clusters": 40}, 1000, tmp_path)
    clustering = model.clustering()
    assert clustering.clusters is None
    size = clustering.crops_per_cluster if isinstance(clustering, TwoStage) else clustering.crops_per_identity
    assert size == 25
    few = a_model_of(method, tiny | {"method.clusters": 40}, 30, tmp_path / "few").clustering()
    assert (few.crops_per_cluster if isinstance(few, TwoStage) else few.crops_per_identity) == 1
    unknown = a_model_of(method, tiny | {"method.clusters": 40}).clustering()
    assert unknown == a_model_of(method, tiny).clustering()


def test_another_algorithm_takes_the_shared_settings_of_the_run(tiny: dict[str, object]) -> None:
    model = a_model_of("adtc", tiny | {"method.nearest": 9, "clustering.recall": 0.7})
    assert model.clustering("dbscan") == Dbscan(k1=8, k2=3, eps=0.6, recall=0.7)
    assert model.clustering("bottom_up", {"crops_per_identity": 4}) == BottomUp(recall=0.7, crops_per_identity=4)
    other = a_model_of("cluster_contrast", tiny)
    assert other.clustering("two_stage") == TwoStage(k1=8, k2=3)  # nothing of ADTC's
    assert other.clustering(None, {"eps": 0.3, "k1": None}) == Dbscan(k1=8, k2=3, eps=0.3)


def test_a_known_number_of_identities_replaces_dbscan_only(tiny: dict[str, object]) -> None:
    assert a_model_of("cluster_contrast", tiny).clustering(None, {"clusters": 5}) == BottomUp(clusters=5)
    two_stage = a_model_of("adtc", tiny).clustering(None, {"clusters": 5})
    assert isinstance(two_stage, TwoStage)
    assert two_stage.clusters == 5
    with pytest.raises(ResightError, match="dbscan has no setting 'clusters'"):
        a_model_of("adtc", tiny).clustering("dbscan", {"clusters": 5})


def test_cluster_returns_what_the_clustering_finds(model: Model, painted: Path) -> None:
    table = resight.read_crops(painted)
    features = model.embed(table)
    clustering = model.config.clustering.arguments()
    assert (model.cluster(features, table).labels == cluster_crops(features, **clustering).labels).all()
    looser = cluster_crops(features, **clustering | {"min_samples": 2, "centre_cameras": True}, camera=table.camera)
    assert (model.cluster(features, table, min_samples=2, centre_cameras=True).labels == looser.labels).all()
    assert (model.cluster(features, table, clusters=7).labels == bottom_up(features, 7).labels).all()
    with pytest.raises(ResightError, match="dbscan has no setting 'epsilon'"):
        model.cluster(features, table, epsilon=3)
