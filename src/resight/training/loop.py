"""The training loop, for every method."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from resight.analysis import camera_mixture
from resight.clustering import PseudoLabels, clustering_quality, leave_out_one_camera, pseudo_cameras, respect_links
from resight.clustering.tracks import respect_tracks
from resight.common.devices import fast_bfloat16, resolve_device
from resight.common.memory import explained_memory
from resight.common.processes import Processes, alone, current, joined, launched_rank, own_device
from resight.common.version import __version__
from resight.crops import CropTable
from resight.crops.pixels import Images
from resight.encoders import Encoder, channel_statistics, early_statistics, embed_images
from resight.errors import ResightError
from resight.methods import EpochData
from resight.training.config import TrainConfig, unread_settings
from resight.training.data import Decisions, TrainingData, camera_settings
from resight.training.epoch import train_epoch
from resight.training.learner import Learner
from resight.training.reporting import Reporter
from resight.training.run import RunFolder, first_weights, runs_behind
from resight.training.seeds import Stream, epoch_seed
from resight.training.tracking import Tracker
from resight.training.watch import Watch

#: Called after an epoch with the encoder to use. What it returns is added to the epoch's metrics under ``test_``.
Evaluate = Callable[[Encoder], dict[str, Any]]
#: Draws an epoch's clusters for a tracker, from images, table, features and labels, as a Pillow image.
Draw = Callable[[Images, CropTable, np.ndarray, np.ndarray], Any]


def fit(
    config: TrainConfig,
    table: CropTable,
    out: str | Path,
    *,
    source: CropTable | None = None,
    source_identities: int | None = None,
    decisions: Decisions | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: str | torch.device = "auto",
    cache: str | Path | None = None,
    reporter: Reporter | None = None,
    evaluate: Evaluate | None = None,
    draw: Draw | None = None,
) -> RunFolder:
    """Trains a method on the ``train`` rows of a table.

    Each epoch embeds all crops, labels them, takes steps on batches of them, scores and saves. All random numbers of an
    epoch are drawn from the run's seed and the epoch, so an epoch that is begun again after a crash gives the same
    result.

    Where a launcher such as ``torchrun`` started several processes, each calls this with the same arguments. They share
    the work and get the same result as one process, up to rounding; the first one writes the run folder, which all must
    see.

    Args:
        config: The settings.
        table: The crops. Only a method that needs identities sees them; otherwise they serve the metrics alone.
        out: The run folder.
        source: Labelled crops of other identities, for a method that needs them.
        source_identities: Use only this many identities of the source; all if not given.
        decisions: What people decided of pairs of crops: the pseudo-labels of every epoch obey it.
        resume: Go on after the last whole epoch found in ``out``, or start if there is none. Settings that may change
            within a run (:data:`resight.training.run.CHANGEABLE`) may differ from before; what changes is written down.
        overwrite: Replace the run in ``out``. A run of which no epoch was finished is replaced without.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        cache: Folder of pixel caches; ``pixels`` beside the run folder if not given.
        reporter: Gets progress and metrics.
        evaluate: Called before the first epoch, every ``evaluate_every`` epochs (if that is not 0), and after the last;
            in every process.
        draw: Called with each epoch's clusters that a tracker gets a picture of: as often as ``evaluate``.

    Returns:
        The run folder.

    Raises:
        ResightError: the crops or the source lack what the method needs, crops cannot be read, nothing clusters, the
            folder holds another run or is in use, a file cannot be written, there is not enough memory, or the loss is
            no longer finite; another process ended.
    """
    reporter = (reporter or Reporter()) if launched_rank() == 0 else Reporter()
    device = own_device(resolve_device(device))
    config = config.model_copy(update={"precision": run_precision(config, device)})
    with joined(device) as processes:
        run = RunFolder(processes.first_says(str(out)))
        tracker = Tracker(config, run)
        with run.lock() if processes.first else nullcontext():
            if processes.first:
                run.check_free(resume, overwrite)
            processes.wait()
            open_data = partial(
                TrainingData.open,
                config,
                table,
                cache=cache or run.path.parent / "pixels",
                device=device,
                source=source,
                source_identities=source_identities,
                decisions=decisions,
                reporter=reporter,
            )
            data = processes.in_turn(open_data)
            _check_agreement(processes, config, data)
            learner, data, first_epoch = _begin(config, data, run, resume, reporter)
            with run.saying_where_it_stands(config.epochs):
                if processes.first:
                    tracker.start()
                _train(learner, data, run, first_epoch, tracker, reporter, evaluate, draw)
                tracker.end()
                processes.wait()
    return run


def _check_agreement(processes: Processes, config: TrainConfig, data: TrainingData) -> None:
    """Raises a sentence if the processes have other settings, crops or versions than the first one."""
    source = None if data.source is None else data.source.fingerprint
    own = {
        "versions of Resight or PyTorch": (__version__, torch.__version__),
        "settings": config.model_dump_json(),
        "crops": (data.fingerprint, len(data.pixels)),
        "source crops": source,
        "decisions": None if data.links is None else [data.links.must.tolist(), data.links.cannot.tolist()],
        "kinds of device": data.device.type,
    }
    for rank, said in enumerate(processes.all_say(own)):
        differing = [name for name, value in own.items() if said[name] != value]
        if differing:
            raise ResightError(
                f"Processes {processes.rank} and {rank} have different {' and '.join(differing)}: start all with the "
                "same command, and give every machine the same files."
            )


def _begin(
    config: TrainConfig, data: TrainingData, run: RunFolder, resume: bool, reporter: Reporter
) -> tuple[Learner, TrainingData, int]:
    """Starts the run folder or goes on with it.

    Returns:
        The learner, the data with its pseudo-cameras, if there are any, and the number of epochs that are trained.
    """
    learner, data, state, changes = _open_learner(config, data, run, resume, reporter)
    if data.links is not None:
        reporter.say(
            f"Decisions of {data.decisions}: {len(data.links.must)} pairs of one identity and {len(data.links.cannot)} "
            "of different ones among the crops to train on."
        )
    if data.pseudo_cameras is not None and not camera_settings(config, data.needs):
        reporter.say(
            f"The setting pseudo_cameras={config.pseudo_cameras} has no effect on training, since no setting uses "
            "cameras: clustering.centre_cameras=true is one that does."
        )
    for sentence in (*unread_settings(config), *run.describe_unreadable(data.unreadable), *changes):
        reporter.say(sentence)
    if not state:
        return learner, data, 0
    reporter.say(f"Resumed after epoch {state['epoch']} of {config.epochs}.")
    return learner, data, int(state["epoch"])


def _open_learner(
    config: TrainConfig, data: TrainingData, run: RunFolder, resume: bool, reporter: Reporter
) -> tuple[Learner, TrainingData, dict[str, Any] | None, list[str]]:
    """Learner, data, the state to go on from, and a sentence for each changed setting. The first process writes."""
    state = run.resume(config, data.describe()) if resume else None
    if config.pseudo_cameras is not None:
        data = replace(data, pseudo_cameras=_pseudo_cameras(config, data, state, reporter))
    torch.manual_seed(config.seed)
    with explained_memory("the encoder and its optimiser", "Choose a smaller encoder.backbone."):
        learner = Learner(config, data.method_data, weights="none" if state else first_weights(config.encoder.weights))
    changes: list[str] = []
    if state:
        learner.load_state(state, run.checkpoint_file)
    elif config.encoder.standardise == "crops":
        learner.standardise_by(channel_statistics(data.pixels.images))
    learner.send()
    learner.processes.wait()  # the others have read what the first one is about to change
    if not learner.processes.first:
        return learner, data, state, changes
    if state:
        changes = run.go_on(config, state)
    else:
        if run.holds_epochs:
            reporter.say(f"The run in {run.path} is replaced.")
        elif run.config_file.exists():
            reporter.say(f"No epoch of the run in {run.path} was finished: it starts again.")
        run.start(config, data.describe() | {"started_from": runs_behind(config.encoder.weights)})
    return learner, data, state, changes


def _pseudo_cameras(
    config: TrainConfig, data: TrainingData, state: dict[str, Any] | None, reporter: Reporter
) -> np.ndarray:
    """``(N,)`` int64 groups that take the place of cameras: those of the run, or found with its first weights."""
    if state:
        return np.asarray(state["pseudo_cameras"].numpy())
    assert config.pseudo_cameras is not None
    groups = np.zeros(len(data.pixels), np.int64)
    if (processes := current()).first:
        with explained_memory("looking for pseudo-cameras", smaller_embedding(config)):
            torch.manual_seed(config.seed)  # random weights are the run's own first weights
            encoder = Encoder(config.encoder, weights=first_weights(config.encoder.weights)).to(data.device)
            if config.encoder.standardise == "crops":
                encoder.standardise_by(channel_statistics(data.pixels.images))
            progress = partial(reporter.progress, "looking for pseudo-cameras")
            figures = early_statistics(encoder, data.pixels.images, batch=config.embed_batch, progress=progress)
        groups = pseudo_cameras(figures, config.pseudo_cameras, seed=config.seed)
    if processes.count > 1:
        processes.fill(groups, [slice(0, len(groups)), *[slice(0, 0)] * (processes.count - 1)])
    return groups


def _train(
    learner: Learner,
    data: TrainingData,
    run: RunFolder,
    first_epoch: int,
    tracker: Tracker,
    reporter: Reporter,
    evaluate: Evaluate | None,
    draw: Draw | None,
) -> None:
    """Trains the epochs that are left."""
    config, processes = learner.config, learner.processes
    fixed = {"settings": config.model_dump(mode="json"), "fingerprint": data.fingerprint}
    if data.pseudo_cameras is not None:
        fixed["pseudo_cameras"] = torch.from_numpy(data.pseudo_cameras)
    if not first_epoch and evaluate is not None and config.evaluate_every:
        record = {"epoch": 0} | _scores(evaluate, learner)
        if processes.first:
            run.append(run.metrics_file, record)
        reporter.epoch(record, config.epochs)

    quality, watch = _Quality(data), Watch(config, data.pixels.table.camera)
    for epoch in range(first_epoch, config.epochs):
        plan = learner.method.plan(epoch)
        if plan.finished:
            reporter.say(f"The labels have settled: ended after epoch {epoch} of {config.epochs}.")
            break
        clock = _Clock()
        torch.manual_seed(epoch_seed(config.seed, epoch, Stream.MODEL))
        learner.begin_epoch()
        with clock("embed"), explained_memory("embedding crops", smaller_embedding(config)):
            now = data.epoch_data(epoch, *_embed(learner, data, plan.embed, reporter))
        with clock("label"), explained_memory("labelling", "Train on fewer crops, or close other programs."):
            reporter.progress("clustering", 0, 1)
            found = _label(learner, data, now)
            reporter.progress("clustering", 1, 1)
        with clock("train"), explained_memory("a training step", _smaller_steps(config)):
            losses = train_epoch(learner, data, now, plan, found.labels, reporter)
        record = {"epoch": epoch + 1, "lr": learner.rate(plan, epoch), **losses}
        if data.needs.groups:
            record |= {"clusters": found.num_clusters, "outliers": found.num_outliers}
        record |= found.facts
        with clock("metrics"):
            record |= quality.of(found)
            every = config.evaluate_every or config.epochs
            last = epoch + 1 == config.epochs or learner.method.plan(epoch + 1).finished
            if evaluate is not None and (last or (epoch + 1) % every == 0):
                record |= _scores(evaluate, learner)
        if processes.first:
            run.save_epoch(record, clock.seconds, found, grouped=data.needs.groups)
            run.save_weights(learner.best, learner.method.extension())
            if config.keep_every and (epoch + 1) % config.keep_every == 0:
                run.keep_weights(epoch + 1)
            run.save_checkpoint({"epoch": epoch + 1, **fixed, **learner.state()})
        if processes.first and tracker.follows:
            with alone():
                tracker.log(record | _mixture(data, found.labels))
                if draw is not None and data.needs.groups and (last or (epoch + 1) % every == 0):
                    _send_clusters(tracker, draw, data, now.features, found.labels, epoch + 1)
        reporter.epoch(record, config.epochs, found.sentences)
        for sentence in watch.look(found.labels) if data.needs.groups and not data.needs.identities else ():
            reporter.say(sentence)


def _mixture(data: TrainingData, labels: np.ndarray) -> dict[str, float]:
    """How the clusters mix cameras, for trackers; empty where cameras are not known."""
    camera = data.pixels.table.camera
    if camera is None or not data.needs.groups:
        return {}
    return {f"cameras_{name}": value for name, value in camera_mixture(labels, camera).items()}


def _send_clusters(
    tracker: Tracker, draw: Draw, data: TrainingData, features: np.ndarray, labels: np.ndarray, epoch: int
) -> None:
    """Sends a picture of an epoch's clusters, if crops were embedded and some clustered."""
    if len(features) == len(labels) and (labels >= 0).any():
        whole = features[:, 0] if features.ndim == 3 else features
        tracker.picture("clusters", draw(data.pixels.images, data.pixels.table, whole, labels), epoch)


def run_precision(config: TrainConfig, device: torch.device) -> Literal["float32", "bfloat16"]:
    """The arithmetic of a run: ``auto`` is bfloat16 where the device has it in hardware."""
    if config.precision != "auto":
        return config.precision
    return "bfloat16" if fast_bfloat16(device) else "float32"


def smaller_embedding(config: TrainConfig) -> str:
    """What to do where crops cannot be embedded for lack of memory."""
    return f"Lower embed_batch (now {config.embed_batch})."


def _smaller_steps(config: TrainConfig) -> str:
    batch, size = config.sampling, config.encoder
    return (
        f"Lower sampling.clusters (now {batch.clusters}) or sampling.crops (now {batch.crops}), or, in a new run, "
        f"encoder.height (now {size.height}) and encoder.width (now {size.width})."
    )


def _label(learner: Learner, data: TrainingData, now: EpochData) -> PseudoLabels:
    """The method's labels, changed as tracks and then decisions ask.

    Every process computes them; the first one's are used.
    """
    found = learner.method.label(now)
    whole = now.features if now.features.ndim == 2 else now.features[:, 0]
    if data.tracks is not None and "clustering.tracks" in data.track_use:
        found = replace(found, labels=respect_tracks(found.labels, whole, data.tracks))
    if data.links is not None:
        found = replace(found, labels=respect_links(found.labels, whole, data.links))
    if "clustering.one_camera" in camera_settings(learner.config, data.needs):
        found = _without_one_camera(found, learner.config, data, now.epoch)
    learner.send_method()
    if learner.processes.count == 1:
        return found
    labels = found.labels.copy()
    learner.processes.fill(labels, [slice(0, len(labels)), *[slice(0, 0)] * (learner.processes.count - 1)])
    return replace(found, labels=labels)


def _without_one_camera(found: PseudoLabels, config: TrainConfig, data: TrainingData, epoch: int) -> PseudoLabels:
    """The labels without the clusters of one camera that the epoch leaves out."""
    settings = config.clustering
    left = leave_out_one_camera(
        found, data.table.camera, share=settings.one_camera_share(epoch), least=settings.one_camera_least
    )
    share = left.crops / max(1, len(left.labels))
    said = f"left out: {left.clusters} clusters of one camera, {100 * share:.0f} % of the crops"
    facts = {**found.facts, "one_camera_clusters": float(left.clusters), "one_camera_crops": share}
    return replace(found, labels=left.labels, facts=facts, sentences=(*found.sentences, said))


def _embed(learner: Learner, data: TrainingData, wanted: bool, reporter: Reporter) -> tuple[np.ndarray, np.ndarray]:
    """Features of all crops and of all source crops; arrays without rows if none are wanted."""
    config, nothing = learner.config, np.empty((0, learner.encoder.dim), np.float32)

    def embed(images: Images, statistics: tuple[torch.Tensor, torch.Tensor] | None = None) -> np.ndarray:
        reporter.progress("embedding", 0, len(images))
        return embed_images(
            learner.labeller,
            images,
            batch=config.embed_batch,
            flip=config.embed_flip,
            parts=data.needs.parts,
            statistics=statistics,
            autocast=learner.autocast,
            progress=partial(reporter.progress, "embedding"),
        )

    features = embed(data.pixels.images) if wanted else nothing
    if not wanted or data.source is None:
        return features, nothing
    return features, embed(data.source.pixels.images, data.source.statistics)


def _scores(evaluate: Evaluate, learner: Learner) -> dict[str, Any]:
    with explained_memory("scoring", smaller_embedding(learner.config)):
        return {f"test_{name}": value for name, value in evaluate(learner.best).items()}


class _Quality:
    """How well pseudo-labels match identities, where these are known and not trained on."""

    def __init__(self, data: TrainingData) -> None:
        table = data.pixels.table
        hidden = data.needs.groups and not data.needs.identities
        self.identity = table.identity if hidden and table.identity is not None and table.is_person.any() else None
        self.labels: np.ndarray | None = None
        self.figures: dict[str, Any] = {}

    def of(self, found: PseudoLabels) -> dict[str, Any]:
        """The figures of an epoch's labels; computed only if the labels changed."""
        if self.identity is not None and (self.labels is None or not np.array_equal(found.labels, self.labels)):
            self.figures, self.labels = clustering_quality(found.labels, self.identity), found.labels
        return self.figures


class _Clock:
    """Seconds spent in each named stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - start, 3)
