"""The run folder: what may be resumed, changed or replaced, and what is said of damaged files."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import resight
from resight.clustering import NoClusters
from resight.crops import CropTable
from resight.encoders import Encoder
from resight.errors import ResightError
from resight.training.config import build_config
from resight.training.reporting import Reporter
from resight.training.run import CHANGEABLE, RunFolder

METHOD = "cluster_contrast"
#: Without figures of epoch 0, and with a learning rate that does not depend on the number of epochs.
PLAIN: dict[str, object] = {"evaluate_every": 0, "optimizer.schedule": "constant"}


class Listener(Reporter):
    """Keeps what a run says."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture(scope="module")
def table(painted: Path) -> CropTable:
    return resight.read_crops(painted, train_identities=8)


@pytest.fixture(scope="module")
def trained(table: CropTable, tiny: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of two epochs, not to be changed."""
    model = resight.train(
        METHOD,
        table,
        tmp_path_factory.mktemp("trained") / "run",
        settings=tiny | PLAIN | {"epochs": 2, "keep_every": 1},
    )
    assert model.run is not None
    return model.run


@pytest.fixture
def run(trained: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy of the run, with its pixel cache."""
    shutil.copytree(trained.path.parent, tmp_path / "copy")
    return RunFolder(tmp_path / "copy" / "run")


def contents(run: RunFolder) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in sorted(run.path.rglob("*")) if file.is_file()}


def edit(file: Path, change: Callable[[str], str]) -> None:
    file.write_text(change(file.read_text()))


def edit_checkpoint(run: RunFolder, change: Callable[[dict[str, object]], object]) -> None:
    state = torch.load(run.checkpoint_file, weights_only=True)
    torch.save(change(state), run.checkpoint_file)


def other_network(run: RunFolder) -> None:
    """Replaces the checkpoint by one of a wider encoder, as a version that kept no settings in it would write it."""

    def change(state: dict[str, object]) -> dict[str, object]:
        config = run.read_config().encoder.model_copy(update={"width_multiplier": 0.5})
        trained = {f"encoder.{name}": value for name, value in Encoder(config).state_dict().items()}
        return {name: value for name, value in state.items() if name != "settings"} | {"trained": trained}

    edit_checkpoint(run, change)


def sgd(state: dict[str, object]) -> dict[str, object]:
    groups = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1).state_dict()
    return {name: value for name, value in state.items() if name != "settings"} | {"optimizer": groups}


#: What is damaged, and what is said of it when the run is resumed.
DAMAGES: dict[str, tuple[Callable[[RunFolder], object], str]] = {
    "metrics shortened": (lambda run: edit(run.metrics_file, lambda text: text[:100]), "metrics.jsonl is shorter than"),
    "metrics gone": (lambda run: run.metrics_file.unlink(), "metrics.jsonl is shorter than"),
    "metrics of NULs": (
        lambda run: edit(run.metrics_file, lambda text: text[:100] + "\0" * (len(text) - 101) + "\n"),
        "metrics.jsonl is damaged in line 1",
    ),
    "metrics of another run": (
        lambda run: edit(run.metrics_file, lambda text: text.replace('"epoch": 2', '"epoch": 7')),
        "metrics.jsonl is shorter than it was after epoch 2, or another run's",
    ),
    "metrics without epochs": (
        lambda run: edit(run.metrics_file, lambda text: "[]" + " " * (len(text) - 3) + "\n"),
        "metrics.jsonl is damaged",
    ),
    "timings gone": (lambda run: run.timings_file.unlink(), "timings.jsonl is shorter than"),
    "data gone": (lambda run: run.data_file.unlink(), "data.json does not say what the run was trained on"),
    "data cut": (lambda run: edit(run.data_file, lambda text: text[:50]), "data.json does not say"),
    "data of another form": (lambda run: run.data_file.write_text("[1, 2]"), "data.json does not say"),
    "data without a fingerprint": (lambda run: run.data_file.write_text('{"crops": 3}'), "no 'fingerprint'"),
    "data of noise": (lambda run: run.data_file.write_bytes(b"\xff\xfe\x00"), "data.json does not say"),
    "config gone": (lambda run: run.config_file.unlink(), "holds a run without its settings"),
    "config of another program": (
        lambda run: run.config_file.write_text("services: [a, b]\n"),
        "config.yaml does not hold the settings of a run",
    ),
    "config of one word": (lambda run: run.config_file.write_text("hello"), "does not hold the settings of a run"),
    "config empty": (lambda run: run.config_file.write_bytes(b""), "does not hold the settings of a run"),
    "config of noise": (
        lambda run: run.config_file.write_bytes(b"\xff\xfe\x00"),
        "does not hold the settings of a run",
    ),
    "config that is no YAML": (lambda run: run.config_file.write_text("a: [b\n"), "does not hold the settings"),
    "config that holds itself": (lambda run: run.config_file.write_text("&a [*a]"), "does not hold the settings"),
    "config with a wrong value": (
        lambda run: edit(run.config_file, lambda text: re.sub("epochs: 2", "epochs: many", text, count=1)),
        r"does not hold the settings of a run \(epochs: ",
    ),
    "architecture edited": (
        lambda run: edit(run.config_file, lambda text: text.replace("width_multiplier: 0.25", "width_multiplier: 0.5")),
        r"config.yaml was edited, .*encoder.width_multiplier=0.25 there, 0.5 here",
    ),
    "seed edited": (
        lambda run: edit(run.config_file, lambda text: text.replace("seed: 0", "seed: 5")),
        r"config.yaml was edited, .*seed=0 there, 5 here",
    ),
    "checkpoint cut": (
        lambda run: run.checkpoint_file.write_bytes(run.checkpoint_file.read_bytes()[:5000]),
        "checkpoint.pt is damaged or of another version",
    ),
    "checkpoint empty": (lambda run: run.checkpoint_file.write_bytes(b""), "checkpoint.pt is damaged"),
    "checkpoint gone": (lambda run: run.checkpoint_file.unlink(), "checkpoint.pt is missing"),
    "checkpoint of another form": (lambda run: edit_checkpoint(run, lambda state: [1, 2]), "checkpoint.pt is damaged"),
    "checkpoint without its optimiser": (
        lambda run: edit_checkpoint(run, lambda state: state | {"optimizer": None}),
        "checkpoint.pt does not fit the settings of this run",
    ),
    "checkpoint of another version": (
        lambda run: edit_checkpoint(run, lambda state: {k: v for k, v in state.items() if k != "average"}),
        "of another version",
    ),
    "checkpoint of another network": (other_network, "does not fit the settings of this run: it has no"),
    "checkpoint of another optimiser": (lambda run: edit_checkpoint(run, sgd), "another optimiser"),
    "checkpoint of other crops": (
        lambda run: edit_checkpoint(run, lambda state: state | {"fingerprint": "0"}),
        "checkpoint.pt is of a run on other crops",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_is_a_sentence_and_nothing_is_overwritten(damage: str, run: RunFolder, table: CropTable) -> None:
    do, said = DAMAGES[damage]
    do(run)
    before = contents(run)
    with pytest.raises(ResightError, match=said) as caught:
        resight.train(METHOD, table, run.path, resume=True)
    assert contents(run) == before
    assert len(str(caught.value).replace(str(run.path), "RUN")) < 450
    assert "\n" not in str(caught.value)
    with pytest.raises(ResightError, match="already holds a run"):
        resight.train(METHOD, table, run.path)
    assert contents(run) == before


@pytest.mark.parametrize("damage", [name for name, (_, said) in DAMAGES.items() if "seed" not in name])
def test_a_damaged_run_can_be_overwritten(
    damage: str, run: RunFolder, trained: RunFolder, table: CropTable, tiny: dict[str, object]
) -> None:
    DAMAGES[damage][0](run)
    settings = tiny | PLAIN | {"epochs": 1, "sampling.iterations": 1}
    resight.train(METHOD, table, run.path, settings=settings, overwrite=True)
    assert [record["epoch"] for record in run.read_metrics()] == [1]


def test_a_damaged_evaluation_is_written_again(run: RunFolder, table: CropTable) -> None:
    before = run.evaluation_file.read_bytes()
    run.evaluation_file.write_text('{"mAP": ')
    resight.train(METHOD, table, run.path, resume=True)
    assert run.evaluation_file.read_bytes() == before


def test_a_line_that_a_kill_left_unfinished_hinders_nobody(run: RunFolder, table: CropTable) -> None:
    before = run.metrics_file.read_bytes()
    run.metrics_file.write_bytes(before + b'{"epoch": 3, "lo')
    assert [record["epoch"] for record in run.read_metrics()] == [1, 2]
    resight.train(METHOD, table, run.path, resume=True)
    assert run.metrics_file.read_bytes() == before


def test_weights_that_do_not_fit_are_a_short_sentence(run: RunFolder) -> None:
    config = run.read_config().encoder.model_copy(update={"backbone": "resnet34"})
    save_file({name: value.contiguous() for name, value in Encoder(config).state_dict().items()}, run.weights_file)
    with pytest.raises(ResightError, match=r"does not fit the encoder in .*config.yaml: the file also has '") as caught:
        resight.load(run.path)
    assert len(str(caught.value).replace(str(run.path), "RUN")) < 350


def test_weights_that_are_not_finite_are_refused(run: RunFolder, tmp_path: Path) -> None:
    state = load_file(run.weights_file)
    state["backbone.conv1.weight"][0, 0, 0, 0] = torch.nan
    save_file(state, run.weights_file)
    with pytest.raises(ResightError, match=r"'backbone.conv1.weight' in it holds numbers that are not finite"):
        resight.load(run.path)


def test_a_longer_run_is_the_same_as_one_that_was_long_from_the_start(
    run: RunFolder, table: CropTable, tiny: dict[str, object], tmp_path: Path
) -> None:
    listener = Listener()
    resight.train(METHOD, table, run.path, settings=["epochs=3"], resume=True, reporter=listener)
    assert "From epoch 3 on epochs=3, not 2." in listener.said
    whole = resight.train(METHOD, table, tmp_path / "whole", settings=tiny | PLAIN | {"keep_every": 1}).run
    assert whole is not None
    assert run.weights_file.read_bytes() == whole.weights_file.read_bytes()
    assert run.read_config() == whole.read_config()
    lines = [json.loads(line) for line in run.changes_file.read_text().splitlines()]
    assert lines == [{"after_epoch": 2, "changed": {"epochs": [2, 3]}}]
    ours, theirs = run.read_metrics(), whole.read_metrics()
    assert ours[2] == theirs[2]
    assert ours[1].pop("test_mAP") > 0  # scored, since it was the last


def test_settings_that_may_change_are_written_down_once(run: RunFolder, table: CropTable) -> None:
    changes = {"epochs": 3, "optimizer.lr": 1e-4, "clustering.eps": 0.55, "sampling.crops": 2, "embed_batch": 8}
    changes |= {"augmentation.pad": 1, "optimizer.schedule": "step", "max_unreadable": 0.5, "evaluate_every": 1}
    for _ in range(2):
        model = resight.train(METHOD, table, run.path, settings=changes, resume=True)
    assert model.config == run.read_config() == build_config(METHOD, build_config(METHOD, model.config), changes)
    assert model.config.sampling.crops == 2
    (line,) = run.changes_file.read_text().splitlines()
    assert json.loads(line)["changed"].keys() == changes.keys()
    assert yaml.safe_load(run.config_file.read_text())["optimizer"]["lr"] == 1e-4
    assert run.read_metrics()[-1]["lr"] == 1e-4


def test_a_run_of_a_version_with_fewer_settings_goes_on(run: RunFolder, table: CropTable) -> None:
    """As an earlier version left it: some settings are neither in config.yaml nor in the checkpoint."""

    def earlier(settings: dict[str, Any]) -> dict[str, Any]:
        method = {name: value for name, value in settings["method"].items() if name != "offline_weight"}
        return {name: value for name, value in settings.items() if name != "pseudo_cameras"} | {"method": method}

    edit(run.config_file, lambda text: yaml.safe_dump(earlier(yaml.safe_load(text))))
    edit_checkpoint(run, lambda state: state | {"settings": earlier(state["settings"])})  # type: ignore[arg-type]
    resight.train(METHOD, table, run.path, settings={"epochs": 3}, resume=True)
    (line,) = run.changes_file.read_text().splitlines()
    assert json.loads(line)["changed"].keys() == {"epochs"}


@pytest.mark.parametrize(
    "setting",
    [
        "seed=1",
        "encoder.height=64",
        "ema.decay=0.9",
        "optimizer.weight_decay=0.1",
        "clustering.centre_cameras=true",
        "sampling.cameras=spread",
        "method.temperature=0.1",
        "embed_flip=true",
    ],
)
def test_other_settings_are_refused_by_name(setting: str, run: RunFolder, table: CropTable) -> None:
    before, name = contents(run), setting.partition("=")[0]
    with pytest.raises(ResightError, match=rf"was trained with other settings \({name}=.* there, .* here\)"):
        resight.train(METHOD, table, run.path, settings=[setting, "epochs=3"], resume=True)
    assert contents(run) == before


def test_what_may_change_are_settings(tiny: dict[str, object]) -> None:
    settings = build_config(METHOD).model_dump()
    for name in CHANGEABLE:
        group, _, last = name.partition(".")
        assert (last in settings[group]) if last else (name in settings)


def test_a_run_cannot_have_fewer_epochs_than_it_has_trained(run: RunFolder, table: CropTable) -> None:
    before = contents(run)
    with pytest.raises(ResightError, match="has trained 2 epochs, more than epochs=1"):
        resight.train(METHOD, table, run.path, settings={"epochs": 1}, resume=True)
    assert contents(run) == before


def test_a_run_is_replaced_where_that_is_asked_for(run: RunFolder, table: CropTable, tiny: dict[str, object]) -> None:
    (run.path / "notes.txt").write_text("mine")
    settings = tiny | PLAIN | {"epochs": 1, "seed": 3}
    said = r"already holds a run: go on with it by --resume, replace it with --overwrite .* another folder"
    with pytest.raises(ResightError, match=said):
        resight.train(METHOD, table, run.path, settings=settings)
    with pytest.raises(ResightError, match="choose one of them"):
        resight.train(METHOD, table, run.path, settings=settings, resume=True, overwrite=True)
    listener = Listener()
    resight.train(METHOD, table, run.path, settings=settings, overwrite=True, reporter=listener)
    assert f"The run in {run.path} is replaced." in listener.said
    assert (run.read_config().seed, [record["epoch"] for record in run.read_metrics()]) == (3, [1])
    assert sorted(str(file.relative_to(run.path)) for file in run.path.rglob("*") if file.is_file()) == [
        ".lock", "checkpoint.pt", "config.yaml", "data.json", "doubt.json", "evaluation.json", "labels/0001.npz",
        "metrics.jsonl", "model.safetensors", "notes.txt", "timings.jsonl",
    ]  # fmt: skip


@pytest.mark.parametrize("resume", [False, True])
def test_the_advice_of_a_run_that_never_finished_an_epoch_can_be_followed(
    resume: bool, table: CropTable, tiny: dict[str, object], tmp_path: Path
) -> None:
    run = RunFolder(tmp_path / "run")
    settings = tiny | PLAIN | {"epochs": 1, "clustering.eps": 0.001, "clustering.min_samples": 9}
    with pytest.raises(NoClusters) as caught:
        resight.train(METHOD, table, run.path, settings=settings)
    (eps,) = re.findall(r"Try clustering\.eps=(\d\.\d+)", str(caught.value))
    listener = Listener()
    changes = {"clustering.eps": float(eps), "seed": 1}
    settings = changes if resume else settings | changes  # a resumed run has its own settings
    resight.train(METHOD, table, run.path, settings=settings, resume=resume, reporter=listener)
    assert f"No epoch of the run in {run.path} was finished: it starts again." in listener.said
    assert run.read_config().clustering.min_samples == 9
    assert [record["epoch"] for record in run.read_metrics()] == [1]


def test_a_model_without_its_checkpoint_is_kept(run: RunFolder, table: CropTable) -> None:
    run.checkpoint_file.unlink()
    run.evaluation_file.unlink()
    before = contents(run)
    with pytest.raises(ResightError, match="already holds a run"):
        resight.train(METHOD, table, run.path)
    with pytest.raises(ResightError, match=r"checkpoint.pt is missing.*encoder.weights="):
        resight.train(METHOD, table, run.path, resume=True)
    assert contents(run) == before
    assert resight.load(run.path).run is not None


@pytest.mark.parametrize("overwrite", [False, True])
def test_files_of_another_program_are_kept(
    overwrite: bool, table: CropTable, tiny: dict[str, object], tmp_path: Path
) -> None:
    run = RunFolder(tmp_path / "project")
    run.path.mkdir()
    run.config_file.write_text("services: {web: {image: nginx}}\n")
    with pytest.raises(ResightError, match="does not hold the settings of a run"):
        resight.train(METHOD, table, run.path, settings=tiny, overwrite=overwrite)
    assert run.config_file.read_text() == "services: {web: {image: nginx}}\n"


def test_a_folder_that_training_did_not_begin_in_is_removed(
    table: CropTable, tiny: dict[str, object], tmp_path: Path
) -> None:
    for kept in (False, True):
        if kept:
            (tmp_path / "run").mkdir()
            (tmp_path / "run" / "mine.txt").write_text("mine")
        blind = CropTable(table.root, table.paths)
        with pytest.raises(ResightError, match="needs the column 'camera'"):
            resight.train(METHOD, blind, tmp_path / "run", settings=tiny | PLAIN | {"method.camera_weight": 0.5})
        assert (tmp_path / "run").exists() == kept
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ResightError, match=r"file could not be written: File exists"):
        resight.train(METHOD, table, tmp_path / "file", settings=tiny)


def test_what_a_killed_process_was_writing_is_removed(run: RunFolder, table: CropTable) -> None:
    parts = [run.path / ".checkpoint.part.pt", run.path / "labels" / ".0003.part.npz"]
    for part in parts:
        part.write_bytes(b"half")
    resight.train(METHOD, table, run.path, resume=True)
    assert not any(part.exists() for part in parts)


def test_what_is_known_without_labels_is_read_or_said_to_be_damaged(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert run.read_doubt() is None
    for text in ("", "[]", '{"clusters": 3}', "{"):
        run.doubt_file.write_text(text)
        with pytest.raises(ResightError, match=r"doubt\.json is damaged .*: remove it"):
            run.read_doubt()
