"""The truth of a gallery: a database behind SQLAlchemy, in SQLite or PostgreSQL."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import psutil
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError

from resight.common.checks import shown
from resight.common.files import CannotWrite, make_folder
from resight.common.paths import as_path
from resight.errors import ResightError
from resight.gallery import schema

#: Name of the database in a gallery's folder.
DATABASE = "gallery.db"
#: Seconds that a writer waits for other writers.
_PATIENCE = 120
#: Values in one IN (…) list; databases limit the variables of a statement.
_MANY = 500
#: Seconds after which what a process on another machine left pending counts as left over.
_LEFT_OVER = 3600

Item = TypeVar("Item")


def is_address(place: str | Path) -> bool:
    """Whether a gallery is named by the address of a database, not by a folder."""
    return isinstance(place, str) and "://" in place


class Store:
    """A database with the tables of :mod:`resight.gallery.schema`.

    Args:
        place: A folder, or the address of a database such as ``postgresql://host/name``.
    """

    def __init__(self, place: str | Path) -> None:
        self.place = place
        self.folder: Path | None = None
        if is_address(place):
            address = str(place)
            if address.startswith("postgresql://"):  # SQLAlchemy's default driver is an older one
                address = address.replace("postgresql://", "postgresql+psycopg://", 1)
        else:
            self.folder = as_path("The gallery", place)
            address = f"sqlite:///{self.folder.absolute() / DATABASE}"
        self.engine = _engine(address)
        self.name = str(place) if self.folder is not None else self.engine.url.render_as_string(hide_password=True)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self.writer = f"{socket.gethostname()[:60]}/{os.getpid()}/{psutil.Process().create_time():.2f}"

    def close(self) -> None:
        """Closes all connections."""
        self.engine.dispose()

    def make(self, settings: dict[str, str], model: dict[str, Any]) -> None:
        """Makes the tables.

        Args:
            settings: Rows of ``setting`` beside the version.
            model: The current row of ``model``.

        Raises:
            ResightError: there is a gallery already.
            CannotWrite: the folder or the database cannot be written.
        """
        if self.folder is not None:
            if self.folder.is_dir() and not (self.folder / DATABASE).exists() and any(self.folder.iterdir()):
                raise ResightError(f"{self.folder} is a folder with other files in it: name a new folder.")
            make_folder(self.folder)
        with self.writing(counted=False) as connection:
            if sa.inspect(connection).has_table("setting"):
                raise ResightError(f"{self.name} already holds a gallery: name another place, or use it as it is.")
            schema.TABLES.create_all(connection, checkfirst=False)
            rows = settings | {"version": str(schema.VERSION)}
            connection.execute(sa.insert(schema.SETTING), [{"name": n, "value": v} for n, v in rows.items()])
            connection.execute(sa.insert(schema.COUNTER), [{"name": "sequence", "value": 0}])
            connection.execute(sa.insert(schema.MODEL), [{**model, "current": True, "added": time.time()}])

    def settings(self) -> dict[str, str]:
        """The settings.

        Raises:
            ResightError: there is no gallery, or it is of a newer version.
        """
        if self.folder is not None and not (self.folder / DATABASE).is_file():
            raise ResightError(
                f"{self.folder} is not a gallery: it has no {DATABASE}. 'resight gallery create' makes one."
            )
        with self.reading() as connection:
            if not sa.inspect(connection).has_table("setting"):
                raise ResightError(f"{self.name} holds no gallery yet: 'resight gallery create' makes one.")
            found = {row.name: row.value for row in connection.execute(sa.select(schema.SETTING))}
        version = found.get("version", "")
        if version != str(schema.VERSION):
            raise ResightError(
                f"{self.name} was made by another version of Resight (tables of version {version or 'unknown'}, here "
                f"{schema.VERSION}): install the version that made it, export it there, and import it here."
            )
        return found

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads: one state of the database."""
        with self._sentences(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self, *, counted: bool = True) -> Iterator[Connection]:
        """A transaction that writes; it waits for other writers. An error undoes all of it.

        Args:
            counted: Whether to raise the counter of changes; :func:`sequence` then gives its number.
        """
        with (
            self._sentences(),
            self.engine.connect().execution_options(write=True) as connection,
            connection.begin(),
        ):
            if counted:
                change = schema.COUNTER.c.value
                connection.execute(sa.update(schema.COUNTER).values(value=change + 1))
            yield connection

    def alone(self, statement: str) -> Any:
        """Executes a statement that cannot be within a transaction; returns the first value of its result, if any."""
        with self._sentences():
            connection = self.engine.raw_connection()
            try:
                raw: Any = connection.driver_connection
                if not self.is_sqlite:
                    raw.autocommit = True
                try:
                    cursor = raw.cursor()
                    cursor.execute(statement)
                    row = cursor.fetchone() if cursor.description else None
                    cursor.close()
                    return None if row is None else row[0]
                except self.engine.dialect.loaded_dbapi.Error as error:
                    raise DBAPIError(statement, None, error) from error
                finally:
                    if not self.is_sqlite:
                        raw.autocommit = False
            finally:
                connection.close()

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise self._explain(error) from error

    def _explain(self, error: DBAPIError) -> ResightError:
        said = " ".join(str(error.orig).split())[:300]
        low = said.lower()
        if "disk is full" in low or "no space left" in low:
            return CannotWrite(f"{self.name} could not be written: the disk is full. Free some space on that disk.")
        if "readonly" in low or "read-only" in low or "unable to open" in low or "disk i/o error" in low:
            return CannotWrite(
                f"{self.name} could not be opened or written ({said}): check that you may write there, and the space "
                "on that disk."
            )
        if "locked" in low:
            return ResightError(
                f"{self.name} is being written by another process for more than {_PATIENCE} seconds: wait for it."
            )
        if "not a database" in low or "malformed" in low:
            return ResightError(
                f"{self.name} is damaged ({said}): bring back a copy, or make a new gallery and import an export."
            )
        if isinstance(error, OperationalError) and not self.is_sqlite:
            return ResightError(
                f"The database {self.name} cannot be used ({said}): check that it runs and the address."
            )
        return ResightError(f"The database {self.name} refused a statement ({said}).")


def _engine(address: str) -> Engine:
    try:
        url = sa.make_url(address)
        if url.get_backend_name() not in ("sqlite", "postgresql"):
            raise ResightError(
                f"A gallery is kept in a folder (SQLite) or in PostgreSQL, not in {url.get_backend_name()}: give a "
                "folder, or an address such as postgresql://host/name."
            )
        kind: dict[str, Any] = {"connect_args": {"timeout": _PATIENCE}} if url.get_backend_name() == "sqlite" else {}
        engine = sa.create_engine(url, **kind)
    except (ArgumentError, ValueError) as error:
        raise ResightError(
            f"{shown(address)} is not the address of a database: postgresql://host/name is one."
        ) from error
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise ResightError(
            "PostgreSQL needs the package psycopg: pip install --constraint constraints.txt '.[postgresql]'."
        ) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # transactions are begun below, not by the driver
    # WAL: readers do not wait for a writer. FULL: a commit is on the disk. What is deleted is overwritten with zeros.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("write") else "BEGIN")


def sequence(connection: Connection) -> int:
    """The number of the last change; within a writing transaction that of this one."""
    return int(connection.scalar(sa.select(schema.COUNTER.c.value).where(schema.COUNTER.c.name == "sequence")) or 0)


def in_parts(items: Iterable[Item], size: int = _MANY) -> Iterator[list[Item]]:
    """Consecutive lists of at most ``size`` items."""
    part: list[Item] = []
    for item in items:
        part.append(item)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part


def select_in(
    connection: Connection, columns: Sequence[Any], column: Any, values: Iterable[Any], *more: Any
) -> list[Any]:
    """Rows whose ``column`` has one of any number of values."""
    rows: list[Any] = []
    for part in in_parts(values):
        rows += connection.execute(sa.select(*columns).where(column.in_(part), *more)).all()
    return rows


def is_left_over(writer: str, at: float) -> bool:
    """Whether the process that left something pending at a time is no longer there."""
    host, pid, since = [*writer.split("/"), "", ""][:3]
    if host != socket.gethostname()[:60]:
        return time.time() - at > _LEFT_OVER
    try:
        return abs(psutil.Process(int(pid)).create_time() - float(since)) > 1
    except (psutil.Error, ValueError):
        return True
