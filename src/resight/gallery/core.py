"""A gallery of sightings: add crops, search them, propose identities, decide, forget."""

from __future__ import annotations

import getpass
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from resight.common.checks import as_array, as_path, flag, number, one_of, shown, whole
from resight.crops import CropTable, read_crops
from resight.crops.digests import FileDigests
from resight.crops.images import bytes_digest, is_unicode
from resight.errors import ResightError
from resight.gallery import acts, adding, asking, decisions, erasure, exchange, identify, migrate, searching
from resight.gallery.asking import Question
from resight.gallery.decisions import Decision
from resight.gallery.index import EmbeddedIndex, SearchIndex
from resight.gallery.mirror import Filters, Mirror
from resight.gallery.models import fingerprint_of, load_same
from resight.gallery.schema import DECISION, IDENTITY, MODEL, SETTING, SIGHTING
from resight.gallery.searching import Hit
from resight.gallery.store import Store, is_address, select_in
from resight.gallery.thumbnails import Thumbnails
from resight.model import Model, load

#: Called with a step's name, the sightings done and the sightings in all.
Progress = Callable[[str, int, int], None]
#: Sightings given to :meth:`Gallery.add_embeddings` that are stored at once.
_BATCH = 4096
_LARGEST_ID = 2**63 - 1
_LONGEST_DIGEST = 64


def _who() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"


class Gallery:
    """A gallery.

    Args:
        place: Its folder, or the address of a PostgreSQL database that holds one, such as ``postgresql://host/name``.
        run: The run folder of its model, if that was moved.
        device: Where the model computes: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        by: Who decides, for the log of decisions; the user's name if not given.

    Raises:
        ResightError: there is no gallery, or it cannot be read.

    Example:
        >>> gallery = Gallery("people")                                  # doctest: +SKIP
        >>> gallery.add("cameras/")                                      # doctest: +SKIP
        >>> [hit.sighting for hit in gallery.search("somebody.jpg")]     # doctest: +SKIP
    """

    def __init__(
        self, place: str | Path, *, run: str | Path | None = None, device: str = "auto", by: str | None = None
    ) -> None:
        self._store = Store(place)
        settings = self._store.settings()
        self.by = by or _who()
        self._device = device
        self._precision = settings["precision"]
        self._files = Thumbnails(settings["thumbnails"] or self._folder / "thumbnails")
        self._model: Model | None = None
        self._mirrored: Mirror | None = None
        self._index_address = settings["index"]
        self._name = settings["gallery"]
        self._index: SearchIndex | None = None
        adding.sweep(self._store, self._files)
        if run is not None:
            self._move_run(as_path("The run folder", run))

    @classmethod
    def create(
        cls,
        place: str | Path,
        run: str | Path,
        *,
        thumbnails: str | Path | None = None,
        index: str = "embedded",
        precision: str = "float16",
        device: str = "auto",
    ) -> Gallery:
        """Makes a gallery.

        Args:
            place: The folder to make, or the address of an empty PostgreSQL database.
            run: The run folder of the model that embeds the sightings.
            thumbnails: Where thumbnails are kept: a folder, or an address that fsspec knows, such as
                ``s3://bucket/people``. In the gallery's folder if not given; a database by address needs it.
            index: ``embedded``: searched exactly, in each process that asks; or the address of Milvus, such as
                ``http://host:19530``.
            precision: How embeddings are stored: ``float16``, which ranks almost always as the model's own float32
                does, or ``float32``, which takes twice the room.
            device: Where the model computes.

        Raises:
            ResightError: there is a gallery already, or an argument is not possible.
        """
        one_of("precision", precision, ("float16", "float32"))
        if is_address(place) and thumbnails is None:
            raise ResightError(
                "A gallery in a database needs a place for its thumbnails: give a folder or an address such as "
                "s3://bucket/people with --thumbnails (thumbnails= in Python)."
            )
        if not isinstance(index, str):
            raise ResightError(f"The index is 'embedded' or the address of Milvus, not {shown(index)}.")
        if thumbnails is not None and not isinstance(thumbnails, str | Path):
            raise ResightError(f"The place of the thumbnails is a folder or an address, not {shown(thumbnails)}.")
        if thumbnails is not None and "://" not in str(thumbnails):
            thumbnails = str(as_path("The folder of the thumbnails", thumbnails).absolute())
        if thumbnails:
            Thumbnails(thumbnails)
        if index != "embedded":
            from resight.gallery.milvus import check_address

            check_address(index)
        store = Store(place)
        model = load(run, device)
        about = {"fingerprint": fingerprint_of(model), "run": str(Path(run).absolute()), "dim": model.dim}
        settings = {"gallery": secrets.token_hex(8), "thumbnails": str(thumbnails or ""), "index": index}
        store.make(settings | {"precision": precision}, about)
        store.close()
        gallery = cls(place, device=device)
        gallery._model = model
        return gallery

    # ── what it is ──

    @property
    def _folder(self) -> Path:
        if self._store.folder is None:
            raise ResightError(f"{self._store.name} does not say where its thumbnails are: it is damaged.")
        return self._store.folder

    @property
    def name(self) -> str:
        """Its folder or address, without a password."""
        return self._store.name

    def close(self) -> None:
        """Closes the connections to the database."""
        self._store.close()

    def __enter__(self) -> Gallery:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def model(self) -> Model:
        """The model that embeds sightings and queries; loaded on first use.

        Raises:
            ResightError: its run is not there, or has other weights than those that embedded the sightings.
        """
        current = self._current()
        if self._model is None or fingerprint_of(self._model) != current.fingerprint:
            self._model = load_same(current.run, current.fingerprint, self._device, self.name)
        return self._model

    def _current(self) -> Any:
        with self._store.reading() as connection:
            return connection.execute(sa.select(MODEL).where(MODEL.c.current)).one()

    def _move_run(self, run: Path) -> None:
        current = self._current()
        self._model = load_same(str(run.absolute()), current.fingerprint, self._device, self.name)
        if current.run != str(run.absolute()):
            with self._store.writing(counted=False) as connection:
                connection.execute(sa.update(MODEL).where(MODEL.c.id == current.id).values(run=str(run.absolute())))

    @property
    def _mirror(self) -> Mirror:
        current = self._current()
        if self._mirrored is None or self._mirrored.vectors.dim != current.dim:
            self._mirrored, self._index = Mirror(self._store, current.dim, self._precision), None
        self._mirrored.refresh()
        return self._mirrored

    @property
    def index(self) -> SearchIndex:
        """What ranks sightings."""
        if self._index is None or self._index_address == "embedded":
            if self._index_address == "embedded":
                mirror = self._mirror
                if self._index is None:
                    self._index = EmbeddedIndex(mirror)
            else:
                from resight.gallery.milvus import MilvusIndex

                self._index = MilvusIndex(self._store, self._index_address, self._name)
        return self._index

    def info(self) -> dict[str, Any]:
        """Plain facts: numbers of sightings, identities and decisions, cameras, the time span, model and places."""
        with self._store.reading() as connection:
            count = sa.func.count()

            def number_of(*conditions: Any) -> int:
                return int(connection.scalar(sa.select(count).select_from(SIGHTING).where(*conditions)) or 0)

            cameras = connection.execute(
                sa.select(SIGHTING.c.camera, count).group_by(SIGHTING.c.camera).order_by(SIGHTING.c.camera)
            )
            span = connection.execute(sa.select(sa.func.min(SIGHTING.c.time), sa.func.max(SIGHTING.c.time))).one()
            used = sa.select(sa.func.count(sa.distinct(SIGHTING.c.identity)))
            facts = {
                "gallery": self.name,
                "sightings": number_of(),
                "with_identity": number_of(SIGHTING.c.identity.is_not(None)),
                "hidden": number_of(SIGHTING.c.hidden),
                "identities": int(connection.scalar(used) or 0),
                "named_identities": int(
                    connection.scalar(sa.select(count).select_from(IDENTITY).where(IDENTITY.c.name.is_not(None))) or 0
                ),
                "decisions": int(connection.scalar(sa.select(count).select_from(DECISION)) or 0),
                "cameras": {("unknown" if name is None else name): size for name, size in cameras},
                "first_time": span[0],
                "last_time": span[1],
            }
        current = self._current()
        return facts | {
            "run": current.run,
            "model": current.fingerprint,
            "dim": current.dim,
            "precision": self._precision,
            "index": self._index_address,
            "thumbnails": self._files.address,
        }

    # ── adding ──

    def add(
        self,
        data: CropTable | str | Path,
        *,
        progress: Progress | None = None,
        acknowledge: Callable[[Sequence[str]], None] | None = None,
    ) -> adding.Added:
        """Adds crops that are not in the gallery yet, by the contents of their files.

        Args:
            data: A crop table, or a path that :func:`resight.read_crops` understands. Cameras, times and tracks are
                kept where they are known; identities and splits are not used.
            progress: Called with the step's name, the crops done and the crops in all.
            acknowledge: Called with the contents' hashes of each batch when it is on the disk.

        Returns:
            How many were added, how many were known, and which could not be read.
        """
        table = data if isinstance(data, CropTable) else read_crops(data)
        return adding.add_crops(
            self._store,
            self._files,
            self.model,
            table,
            number=self._current().id,
            kind=self._precision,
            progress=progress,
            acknowledge=acknowledge,
        )

    def add_embeddings(
        self,
        embeddings: np.ndarray,
        *,
        fingerprint: str,
        digests: Sequence[str] | None = None,
        camera: Sequence[str | None] | None = None,
        time: Sequence[float | None] | None = None,
        track: Sequence[str | None] | None = None,
        source: Sequence[str] | None = None,
    ) -> int:
        """Adds sightings that the gallery's model embedded elsewhere. They have no thumbnails.

        Args:
            embeddings: ``(N, D)`` float32; L2-normalised here.
            fingerprint: The fingerprint of the model that made them, as :meth:`info` gives it under ``model``.
            digests: A text per sighting that says what its content is, such as a hash of its image; by default a hash
                of its embedding. A sighting whose content is in the gallery is passed over.
            camera: The camera of each.
            time: The time of each.
            track: The track of each.
            source: Where each came from.

        Returns:
            How many were new.

        Raises:
            ResightError: they are of another model, have another size, or are not finite.
        """
        current = self._current()
        if not isinstance(fingerprint, str) or fingerprint != current.fingerprint:
            raise ResightError(
                f"These embeddings are of the model {shown(fingerprint)}, and {self.name} holds those of "
                f"{current.fingerprint}: embeddings of two models cannot be compared. Embed the crops by the gallery's "
                f"model, or migrate the gallery with 'resight gallery migrate'."
            )
        rows = as_array("The embeddings", embeddings)
        if rows.ndim != 2 or rows.shape[1] != current.dim or rows.dtype.kind != "f":
            raise ResightError(
                f"The embeddings have shape {rows.shape} of {rows.dtype}: give rows of {current.dim} floating-point "
                "numbers."
            )
        digests, camera, track, source = (
            _column(name, values, len(rows), none=name in ("camera", "track"))
            for name, values in (("digests", digests), ("camera", camera), ("track", track), ("source", source))
        )
        if any(not 0 < len(one) <= _LONGEST_DIGEST for one in digests or ()):
            raise ResightError(f"A digest has 1 to {_LONGEST_DIGEST} characters.")
        times = _column("time", time, len(rows), none=True, numbers=True)
        added = 0
        for start in range(0, len(rows), _BATCH):
            part = rows[start : start + _BATCH].astype(np.float32)
            length = np.linalg.norm(part, axis=1, keepdims=True)
            if not (np.isfinite(length) & (length > 0)).all():
                raise ResightError("An embedding is all zeros or holds a value that is no finite number.")
            part = part / length
            batch = []
            for place, row in enumerate(part):
                at = start + place
                batch.append(
                    adding.Row(
                        bytes_digest(row.tobytes()) if digests is None else digests[at],
                        row,
                        "" if source is None else source[at],
                        camera=None if camera is None else camera[at],
                        time=None if times is None else times[at],
                        track=None if track is None else track[at],
                    )
                )
            added += adding.insert_rows(self._store, self._files, batch, model=current.id, kind=self._precision)
        return added

    # ── searching ──

    def search(
        self,
        images: str | Path | np.ndarray | Sequence[str | Path | np.ndarray] = (),
        *,
        sightings: Sequence[int] = (),
        not_images: Sequence[str | Path | np.ndarray] = (),
        not_sightings: Sequence[int] = (),
        k: int = 20,
        cameras: Sequence[str] = (),
        not_cameras: Sequence[str] = (),
        start: float | None = None,
        stop: float | None = None,
        identities: Sequence[int] = (),
        hidden: bool = False,
        rerank: bool = False,
    ) -> list[Hit]:
        """Where else one identity was seen.

        Args:
            images: One image or several of the same identity: files, or uint8 RGB arrays ``(H, W, 3)``.
            sightings: Ids of sightings of the same identity, which join the query and are not among the results.
            not_images: Images of others: results like these come later.
            not_sightings: Sightings of others, which are not among the results.
            k: Results; fewer if fewer pass the filters.
            cameras: Only these cameras.
            not_cameras: None of these cameras.
            start: Only at this time or later.
            stop: Only at this time or before.
            identities: Only these identities.
            hidden: Whether hidden sightings are found, too.
            rerank: Whether to re-rank the most similar results (1,000, or 5 k if that is more) by their k-reciprocal
                neighbours among themselves.

        Returns:
            The hits, the most similar first.

        Raises:
            ResightError: there is no query, an image cannot be read, a sighting is not there, or a filter is not
                possible.
        """
        k = whole("k", k, most=1_000_000)
        filters = self._filters(cameras, not_cameras, start, stop, identities, hidden)
        images, away = _images("images", images), _images("not_images", not_images)
        own = self._ids("sightings", sightings)
        others = self._ids("not_sightings", not_sightings)
        if not images and not own:
            raise ResightError("There is nothing to search for: give images, or ids of sightings.")
        like = np.concatenate([self._embed(images), self._vectors(own)])
        unlike = np.concatenate([self._embed(away), self._vectors(others)])
        query = searching.query_vector(like, unlike)
        without = np.array([*own, *others], np.int64)
        wanted = searching.pool_size(k) if flag("rerank", rerank) else k
        ids, similarity = self.index.search(query[None], wanted, filters, without)[0]
        distance = None
        if rerank and len(ids) > 1:
            distance = searching.rerank(query, self._vectors(ids.tolist()))
            order = np.argsort(distance, kind="stable")[:k]
            ids, similarity, distance = ids[order], similarity[order], distance[order]
        with self._store.reading() as connection:
            return searching.describe(
                connection, ids.tolist(), similarity.tolist(), None if distance is None else distance.tolist()
            )

    def search_many(self, embeddings: np.ndarray, k: int = 20, **filters: Any) -> list[tuple[np.ndarray, np.ndarray]]:
        """The k most similar sightings of each of many queries, for programs.

        Args:
            embeddings: ``(Q, D)`` float32 embeddings by the gallery's model.
            k: Sightings per query.
            **filters: ``cameras``, ``not_cameras``, ``start``, ``stop``, ``identities`` and ``hidden``, as for
                :meth:`search`.

        Returns:
            For each query the ids of sightings and their cosine similarities, the most similar first.
        """
        rows = as_array("The embeddings", embeddings)
        dim = self._current().dim
        if rows.ndim != 2 or rows.shape[1] != dim or rows.dtype.kind not in "fiu" or not np.isfinite(rows).all():
            raise ResightError(
                f"The queries have shape {rows.shape} of {rows.dtype}: give rows of {dim} finite numbers."
            )
        if rows.size and not (np.linalg.norm(rows, axis=1) > 0).all():
            raise ResightError("A query is all zeros, so it has no direction to compare.")
        names: dict[str, Any] = {
            "cameras": (),
            "not_cameras": (),
            "start": None,
            "stop": None,
            "identities": (),
            "hidden": False,
        }
        if unknown := filters.keys() - names:
            raise ResightError(f"There is no filter '{min(unknown)}': use {', '.join(names)}.")
        chosen = self._filters(**(names | filters))
        return self.index.search(rows.astype(np.float32), whole("k", k), chosen, np.empty(0, np.int64))

    def _filters(
        self,
        cameras: Sequence[str],
        not_cameras: Sequence[str],
        start: float | None,
        stop: float | None,
        identities: Sequence[int],
        hidden: bool,
    ) -> Filters:
        start = None if start is None else number("start", start)
        stop = None if stop is None else number("stop", stop)
        if start is not None and stop is not None and start > stop:
            raise ResightError(f"The time span ends at {stop:g}, before it starts at {start:g}.")
        wanted = self._ids("identities", identities)
        given = [_texts("cameras", cameras), _texts("not_cameras", not_cameras)]
        with self._store.reading() as connection:
            if any(given):
                known = {name for name in connection.scalars(sa.select(SIGHTING.c.camera).distinct()) if name}
                for name in (*given[0], *given[1]):
                    if name not in known:
                        near = f"there are {', '.join(sorted(known)[:20])}" if known else "no camera is known"
                        raise ResightError(f"There is no sighting of a camera {shown(name)} in {self.name}: {near}.")
            self._check_identities(connection, wanted)
        return Filters(given[0], given[1], start, stop, tuple(wanted), flag("hidden", hidden))

    def _check_identities(self, connection: Connection, identities: Sequence[int]) -> dict[int, Any]:
        there = {row.id: row for row in select_in(connection, [IDENTITY], IDENTITY.c.id, identities)}
        for one in identities:
            if one not in there:
                raise ResightError(f"There is no identity {one} in {self.name}.")
        return there

    def _ids(self, name: str, values: Sequence[int]) -> list[int]:
        if isinstance(values, int | np.integer) and not isinstance(values, bool):
            values = [int(values)]
        if isinstance(values, str | bytes) or not isinstance(values, Sequence | np.ndarray):
            raise ResightError(f"{name} must be a list of ids, got {shown(values)}.")
        return list(dict.fromkeys(whole(f"An id of {name}", value, most=_LARGEST_ID) for value in values))

    def _embed(self, images: list[str | Path | np.ndarray]) -> np.ndarray:
        if not images:
            return np.empty((0, self._current().dim), np.float32)
        return self.model.embed(images)

    def _vectors(self, sightings: Sequence[int]) -> np.ndarray:
        """``(n, D)`` float32 embeddings of sightings, of length 1."""
        with self._store.reading() as connection:
            rows = select_in(connection, [SIGHTING.c.id, SIGHTING.c.embedding], SIGHTING.c.id, sightings)
        found = {row.id: row.embedding for row in rows}
        for one in sightings:
            if one not in found:
                raise ResightError(f"There is no sighting {one} in {self.name}.")
        joined = np.frombuffer(b"".join(found[one] for one in sightings), self._precision).astype(np.float32)
        joined = joined.reshape(len(sightings), self._current().dim)
        return joined / np.linalg.norm(joined, axis=1, keepdims=True)

    def sightings(self, ids: Sequence[int]) -> list[Hit]:
        """What is known of sightings, by id; their similarity is 1."""
        wanted = self._ids("ids", ids)
        with self._store.reading() as connection:
            found = searching.describe(connection, wanted, [1.0] * len(wanted))
        if len(found) < len(wanted):
            missing = sorted(set(wanted) - {hit.sighting for hit in found})
            raise ResightError(f"There is no sighting {missing[0]} in {self.name}.")
        return found

    def embeddings(self, sightings: Sequence[int], *, without_cameras: bool = False) -> np.ndarray:
        """``(n, D)`` float32 embeddings of sightings, of length 1.

        Args:
            sightings: Their ids.
            without_cameras: Whether to subtract the mean of each one's camera and normalise again.
        """
        ids = self._ids("sightings", sightings)
        found = self._vectors(ids)
        if not flag("without_cameras", without_cameras):
            return found
        mirror = self._mirror
        return mirror.comparable(mirror.places(ids))

    def stored(self, sighting: int) -> bytes:
        """The bytes of a sighting's embedding as they are stored: float16 or float32."""
        (one,) = self._ids("sighting", [sighting])
        with self._store.reading() as connection:
            found = connection.scalar(sa.select(SIGHTING.c.embedding).where(SIGHTING.c.id == one))
        if found is None:
            raise ResightError(f"There is no sighting {one} in {self.name}.")
        return bytes(found)

    def thumbnail(self, sighting: int) -> bytes | None:
        """The JPEG file of a sighting's thumbnail; ``None`` if it has none."""
        key = self.sightings([sighting])[0].thumbnail
        return None if key is None else self._files.read(key)

    def pictures(self, hits: Sequence[Hit]) -> list[np.ndarray | None]:
        """The thumbnails of hits, ``(H, W, 3)`` uint8 each; ``None`` for one without."""
        return self._files.images([hit.thumbnail for hit in hits])

    # ── identities ──

    def identify(
        self,
        *,
        again: bool = False,
        algorithm: str | None = None,
        settings: dict[str, Any] | None = None,
        progress: Progress | None = None,
    ) -> dict[str, Any]:
        """Proposes an identity for each sighting, and gives sightings their identities.

        Sightings that have an identity keep it; the others join one or form new ones. Decisions are respected: a
        rejected pair never shares an identity, a confirmed pair always does, and so do the sightings of a track unless
        decisions divide them. An id never changes and is never given again. The call is a decision of the log: undoing
        it brings back what was before.

        Args:
            again: Whether to cluster all sightings anew. A cluster is then the identity that most of its sightings had.
            algorithm: A clustering, as for :meth:`resight.Model.cluster`.
            settings: Settings of the clustering that differ from the run's.
            progress: Called with the step's name, the steps done and the steps in all.

        Returns:
            What changed: ``clustered``, ``new_identities``, ``joined`` and ``left`` (sightings by identity), ``moved``,
            ``without_identity``, ``note`` and ``decision``.
        """
        cluster = self.model.clustering(algorithm, settings)
        device = self.model.device
        mirror = self._mirror
        if progress is not None:
            progress("identifying", 0, 1)
        with self._store.reading() as connection:
            pairs = decisions.pairs(connection)
        found = identify.propose(
            mirror, pairs, lambda rows, camera: cluster(rows, camera, device).labels, again=flag("again", again)
        )
        with self._store.writing() as connection:
            numbers = decisions.new_identities(connection, found.new)
            changed = identify.describe(found, numbers)
            moves = [(s, b or None, (a if a >= 0 else numbers[-a - 1]) or None) for s, b, a in found.moves]
            there = self._now(connection, [move[0] for move in moves])
            moves = [move for move in moves if move[0] in there and there[move[0]] == move[1]]
            changed["decision"] = decisions.record(connection, "identify", self.by, moves=moves) if moves else None
        return changed

    @staticmethod
    def _now(connection: Connection, sightings: Sequence[int]) -> dict[int, int | None]:
        rows = select_in(connection, [SIGHTING.c.id, SIGHTING.c.identity], SIGHTING.c.id, sightings)
        return {row.id: row.identity for row in rows}

    def identities(self) -> list[dict[str, Any]]:
        """Every identity with a sighting: id, name, note, hidden, sightings, cameras, first and last time."""
        count, column = sa.func.count(), SIGHTING.c
        with self._store.reading() as connection:
            rows = connection.execute(
                sa.select(
                    IDENTITY, count.label("sightings"), sa.func.count(sa.distinct(column.camera)).label("cameras"),
                    sa.func.min(column.time).label("first_time"), sa.func.max(column.time).label("last_time"),
                )
                .join(SIGHTING, column.identity == IDENTITY.c.id)
                .group_by(IDENTITY.c.id)
                .order_by(count.desc(), IDENTITY.c.id)
            ).all()  # fmt: skip
        names = ("id", "name", "note", "hidden", "sightings", "cameras", "first_time", "last_time")
        return [{name: getattr(row, name) for name in names} for row in rows]

    def members(self, identity: int) -> list[Hit]:
        """The sightings of an identity, the most typical first; similarity is that to their mean."""
        (identity,) = self._ids("identity", [identity])
        with self._store.reading() as connection:
            self._check_identities(connection, [identity])
            ids = list(connection.scalars(sa.select(SIGHTING.c.id).where(SIGHTING.c.identity == identity)))
        order, similarity = self._typical(ids)
        with self._store.reading() as connection:
            return searching.describe(connection, order, similarity)

    def similar(self, identity: int, count: int = 10) -> list[dict[str, Any]]:
        """The identities that are most similar to one, and that it could be merged with.

        Those that are hidden, and those that a decision says are different, are left out. Similarity is the mean over
        all pairs of their sightings; where cameras are known, each camera's mean is subtracted from the embeddings
        first.

        Args:
            identity: The identity.
            count: Identities to return at most.

        Returns:
            What :meth:`identities` says of each, with ``similarity``; the most similar first.
        """
        (identity,) = self._ids("identity", [identity])
        count = whole("The number of identities", count)
        with self._store.reading() as connection:
            self._check_identities(connection, [identity])
        mirror, pairs = self._mirror, self.pairs()
        found = identify.most_similar(mirror, pairs, identity, count)
        facts = {row["id"]: row for row in self.identities()}
        return [facts[one] | {"similarity": round(value, 4)} for one, value in found if one in facts]

    def _typical(self, ids: list[int]) -> tuple[list[int], list[float]]:
        """Sightings in descending order of their similarity to the mean of all of them."""
        if not ids:
            return [], []
        vectors = self._vectors(sorted(ids))
        centre = vectors.mean(axis=0)
        similarity = vectors @ (centre / max(float(np.linalg.norm(centre)), 1e-12))
        order = np.argsort(-similarity, kind="stable")
        return [sorted(ids)[place] for place in order], similarity[order].tolist()

    # ── decisions ──

    def confirm(self, sighting: int, other: int) -> dict[str, Any]:
        """Says that two sightings are one identity. If they are of two identities, these become one.

        Returns:
            ``decision`` (its number), ``identity`` and ``moved``.

        Raises:
            ResightError: a decision says that they are different.
        """
        pair = self._ids("sightings", [sighting, other])
        if len(pair) < 2:
            raise ResightError("A confirmation is about two sightings: give two.")
        with self._store.writing() as connection:
            return acts.join(connection, self.by, pair, (), self._first_typical, "confirm")

    def reject(self, sighting: int, other: int) -> dict[str, Any]:
        """Says that two sightings are different. If they share an identity, it is divided.

        The part of it that is most like one of the two leaves, and is a new identity. If that is the proposal of a
        question, the parts are those of the question.

        Returns:
            ``decision``, ``moved`` and ``new_identities``.

        Raises:
            ResightError: decisions say that they are one identity.
        """
        pair = self._ids("sightings", [sighting, other])
        if len(pair) < 2:
            raise ResightError("A rejection is about two sightings: give two.")
        mirror = self._mirror
        with self._store.writing() as connection:
            return acts.part(connection, self.by, pair[0], pair[1], mirror)

    def merge(self, identities: Sequence[int]) -> dict[str, Any]:
        """Makes several identities one: the named one, else the one with most sightings, keeps its number.

        Returns:
            ``decision``, ``identity`` and ``moved``.

        Raises:
            ResightError: an identity is not there, or a decision says that sightings of two of them are different.
        """
        chosen = self._ids("identities", identities)
        if len(chosen) < 2:
            raise ResightError("A merge needs at least two identities.")
        with self._store.writing() as connection:
            self._check_identities(connection, chosen)
            return acts.join(connection, self.by, (), chosen, self._first_typical, "merge")

    def split(self, identity: int, sightings: Sequence[int]) -> dict[str, Any]:
        """Makes some sightings of an identity another one.

        Returns:
            ``decision``, ``identity`` (the new one) and ``moved``.
        """
        (one,) = self._ids("identity", [identity])
        with self._store.writing() as connection:
            self._check_identities(connection, [one])
            chosen = self._ids("sightings", sightings)
            return acts.split_off(connection, self.by, one, chosen, self._first_typical)

    def assign(self, identity: int | None, sightings: Sequence[int]) -> dict[str, Any]:
        """Says that sightings are of an identity, whatever they are of now; ``None`` makes a new one.

        Other sightings of their identities stay where they are.

        Returns:
            ``decision``, ``identity`` and ``moved``.

        Raises:
            ResightError: a decision says otherwise of one of them.
        """
        into = None if identity is None else self._ids("identity", [identity])[0]
        chosen = self._ids("sightings", sightings)
        if not chosen:
            raise ResightError("Name the sightings that are of this identity.")
        with self._store.writing() as connection:
            if into is not None:
                self._check_identities(connection, [into])
            return acts.assign(connection, self.by, into, chosen, self._first_typical)

    def rename(self, identity: int, name: str | None = None, note: str | None = None) -> dict[str, Any]:
        """Gives an identity a name, a note, or both; an empty text takes it away.

        Returns:
            ``decision`` and ``identity``.
        """
        (one,) = self._ids("identity", [identity])
        for what, text in (("name", name), ("note", note)):
            if text is not None and (not isinstance(text, str) or "\0" in text):
                raise ResightError(f"The {what} of an identity must be a text, got {shown(text)}.")
        if name is None and note is None:
            raise ResightError("Give a name or a note; an empty text takes it away.")
        with self._store.writing() as connection:
            self._check_identities(connection, [one])
            return acts.name(connection, self.by, one, name, note)

    def hide(
        self, *, sightings: Sequence[int] = (), identities: Sequence[int] = (), hidden: bool = True
    ) -> dict[str, Any]:
        """Hides sightings or identities from searches, proposals and questions; ``hidden=False`` shows them again.

        Returns:
            ``decision`` and ``changed``.
        """
        chosen = self._ids("sightings", sightings), self._ids("identities", identities)
        if not any(chosen):
            raise ResightError("Say what to hide: sightings or identities.")
        with self._store.writing() as connection:
            return acts.hide(connection, self.by, *chosen, flag("hidden", hidden))

    def _first_typical(self, ids: list[int]) -> list[int]:
        return self._typical(ids)[0]

    def questions(self, count: int = 10) -> list[Question]:
        """The questions that are most worth an answer, at most ``count``.

        They are ordered by the number of pairs of sightings that an answer is expected to put right
        (:mod:`resight.gallery.review`). What was answered is not asked again.
        """
        count = whole("The number of questions", count)
        return asking.questions(self._mirror, self.pairs(), count, None)

    def review(self, *, order: str = "gain", seed: int = 0) -> asking.Session:
        """A sitting of questions and answers: cheaper than :meth:`questions` again and again.

        Args:
            order: ``gain``, or for comparison ``size`` (the largest group first) or ``random``.
            seed: Seed of the random order.
        """
        one_of("order", order, ("gain", "size", "random"))
        return asking.Session(self, self._mirror, self.pairs(), None, order, whole("seed", seed, least=0))

    def answer(self, question: str, answer: str) -> dict[str, Any]:
        """Takes in the answer to a question.

        Args:
            question: The question's ``id``: two sightings, as ``12-345``.
            answer: ``same``, ``different``, or ``skip``: it is left open and not asked again.

        Returns:
            What the decision changed, as :meth:`confirm` and :meth:`reject` say.
        """
        one_of("The answer", answer, ("same", "different", "skip"))
        a, b = asking.parse_question(question)
        if answer == "same":
            return self.confirm(a, b)
        if answer == "different":
            return self.reject(a, b)
        self.sightings([a, b])
        with self._store.writing() as connection:
            return {"decision": decisions.record(connection, "skip", self.by, sides=([a], [b]))}

    def pairs(self) -> decisions.Pairs:
        """Pairs of sightings that the decisions which count make one identity or different ones."""
        with self._store.reading() as connection:
            return decisions.pairs(connection)

    def log(self) -> list[Decision]:
        """All decisions, the oldest first."""
        with self._store.reading() as connection:
            return decisions.log(connection)

    def undo(self, decision: int | None = None) -> dict[str, Any]:
        """Undoes a decision, however old; the last one if not given. An undo can be undone.

        Returns:
            ``undone`` (number and kind), ``moved_back``, and ``moved_on``: sightings that a later decision had moved.
        """
        chosen = None if decision is None else whole("The number of a decision", decision, most=_LARGEST_ID)
        with self._store.writing() as connection:
            target, back, on = decisions.undo(connection, chosen, self.by)
        return {"undone": target.id, "kind": target.kind, "moved_back": back, "moved_on": on}

    def delete(
        self,
        *,
        sightings: Sequence[int] = (),
        identities: Sequence[int] = (),
        cameras: Sequence[str] = (),
        before: float | None = None,
    ) -> erasure.Deleted:
        """Deletes sightings so that nothing of them is left in any file of the gallery.

        Rows, embeddings, thumbnails, names of identities that are empty then, and the traces in the log of decisions
        are gone; the entries of the log stay without them. It cannot be undone.

        Args:
            sightings: These sightings.
            identities: All sightings of these identities.
            cameras: All sightings of these cameras.
            before: All sightings before this time. Those without a time stay.

        Raises:
            ResightError: nothing was named, or something is not there; then nothing is deleted.
        """
        deleted = erasure.delete(
            self._store,
            self._files,
            sightings=self._ids("sightings", sightings),
            identities=self._ids("identities", identities),
            cameras=_texts("cameras", cameras),
            before=None if before is None else number("before", before),
        )
        if self._mirrored is not None:
            self._mirrored.refresh()
        if self._index_address != "embedded":
            self.index.describe()  # deletes them there, too
        return deleted

    def verify(self) -> list[str]:
        """Checks database, embeddings, thumbnails and index; each finding is a sentence. Empty if all is well."""
        current = self._current()
        found = erasure.verify(self._store, self._files, dim=current.dim, kind=self._precision)
        try:
            held = self.index.describe()["sightings"]
        except ResightError as error:
            return [*found, str(error)]
        if held != (there := self.info()["sightings"]):
            found.append(f"The index has {held} sightings, and the database {there}: start again, and it is made anew.")
        return found

    # ── elsewhere ──

    def decided(
        self, table: CropTable, cache: str | Path
    ) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
        """What the decisions say of pairs of crops of a table, which are recognised by the contents of their files.

        Args:
            table: The crops.
            cache: Folder where digests of files are kept, as for :meth:`resight.Model.open_cache`.

        Returns:
            Pairs of paths of one identity, and pairs of paths of different ones.
        """
        digests = FileDigests(table.root, Path(cache))
        path_of: dict[str, str] = {}
        for path, digest in zip(table.paths, digests.of(table), strict=True):
            path_of.setdefault(digest.hex(), path)
        digests.keep()
        pairs = self.pairs()
        wanted = {one for pair in (*pairs.must, *pairs.cannot) for one in pair}
        with self._store.reading() as connection:
            rows = select_in(connection, [SIGHTING.c.id, SIGHTING.c.digest], SIGHTING.c.id, sorted(wanted))
        name = {row.id: path_of[row.digest] for row in rows if row.digest in path_of}
        must, cannot = (
            tuple((name[a], name[b]) for a, b in given if a in name and b in name)
            for given in (pairs.must, pairs.cannot)
        )
        return must, cannot

    def export(self, to: str | Path) -> int:
        """Writes the gallery to a new folder, as Parquet and image files; returns the number of sightings."""
        current = self._current()
        about = {
            "fingerprint": current.fingerprint,
            "run": current.run,
            "dim": current.dim,
            "precision": self._precision,
        }
        return exchange.export(self._store, self._files, about, Path(to) if isinstance(to, str) and to else to)  # type: ignore[arg-type]

    def import_from(self, folder: str | Path, *, progress: Progress | None = None) -> tuple[int, int]:
        """Adds an export of a gallery of the same model; a second call adds nothing.

        Returns:
            Sightings that are new, and decisions that are new.

        Raises:
            ResightError: the folder is no export, is damaged, or holds embeddings of another model.
        """
        folder = as_path("The export", folder)
        about, current = exchange.read_about(folder), self._current()
        if about["fingerprint"] != current.fingerprint:
            raise ResightError(
                f"The embeddings in {folder} are of another model, that of the run {about['run']}, and cannot be "
                f"compared with those of {self.name}: import them into a gallery made with that run, or migrate "
                "one of the two."
            )
        return exchange.import_folder(
            self._store, self._files, folder, model=current.id, kind=self._precision, progress=progress
        )

    def migrate(self, run: str | Path, *, progress: Progress | None = None) -> tuple[int, int]:
        """Embeds all sightings anew by another model. Identities and decisions stay.

        Returns:
            Sightings embedded anew, and how many of these from their thumbnails, because their source is not there.
        """
        folder = as_path("The run folder", run)
        model = load(folder, self._device)
        done = migrate.migrate(
            self._store, self._files, model, str(folder.absolute()), kind=self._precision, progress=progress
        )
        with self._store.writing() as connection:
            connection.execute(sa.delete(SETTING).where(SETTING.c.name == "line"))
        self._model, self._mirrored, self._index = model, None, None
        return done


def _column(name: str, values: Any, size: int, *, none: bool = False, numbers: bool = False) -> list[Any] | None:
    """A column with a value per sighting: texts, or finite numbers, and ``None`` where that is allowed."""
    if values is None:
        return None
    if isinstance(values, str | bytes) or not isinstance(values, Sequence | np.ndarray):
        raise ResightError(f"{name} must be a list, got {shown(values)}.")
    if len(values) != size:
        raise ResightError(f"There are {size} embeddings, but {len(values)} of {name}: give one for each.")
    found: list[Any] = []
    for value in values:
        if value is None and none:
            found.append(None)
        elif numbers:
            found.append(number(f"A value of {name}", value))
        elif isinstance(value, str) and "\0" not in value and is_unicode(value):
            found.append(str(value))
        else:
            raise ResightError(f"The values of {name} must be texts{' or None' if none else ''}, got {shown(value)}.")
    return found


def _images(name: str, values: Any) -> list[Any]:
    """One image or a list of images as a list."""
    if isinstance(values, str | Path | np.ndarray):
        return [values]
    if isinstance(values, bytes) or not isinstance(values, Sequence):
        raise ResightError(f"{name} must be a list of files or arrays, got {shown(values)}.")
    return list(values)


def _texts(name: str, values: Sequence[str]) -> tuple[str, ...]:
    values = [values] if isinstance(values, str) else values
    if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values):
        raise ResightError(f"{name} must be a list of texts, got {shown(values)}.")
    return tuple(values)
