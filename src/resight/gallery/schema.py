"""The tables of a gallery, in one place, with a version number.

``setting`` holds the version with which a gallery was made. A gallery of a newer version is refused.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
)

#: Raised by one whenever a table changes.
VERSION = 1

TABLES = MetaData()
_ID = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts only INTEGER columns up by itself
_NEVER_AGAIN: dict[str, Any] = {"sqlite_autoincrement": True}  # an id of a deleted row is not given again

#: Facts about the gallery: ``version``, ``gallery`` (a random name), ``thumbnails`` (an address, or empty for the
#: folder), ``index`` (``embedded`` or the address of Milvus), ``precision`` (of stored embeddings), ``line`` (the
#: similarity at which two sightings are as likely one identity as two).
SETTING = Table("setting", TABLES, Column("name", String(64), primary_key=True), Column("value", Text, nullable=False))

#: ``sequence``: the number of the last change. It is raised first in every writing transaction, which also makes
#: writers wait for each other.
COUNTER = Table(
    "counter", TABLES, Column("name", String(64), primary_key=True), Column("value", BigInteger, nullable=False)
)

#: The model that embeds the sightings: a hash of its weights and architecture, and its run folder. One row is current.
MODEL = Table(
    "model",
    TABLES,
    Column("id", _ID, primary_key=True),
    Column("fingerprint", String(64), nullable=False, unique=True),
    Column("run", Text, nullable=False),
    Column("dim", Integer, nullable=False),
    Column("current", Boolean, nullable=False),
    Column("added", Double, nullable=False),
    **_NEVER_AGAIN,
)

#: An identity. Its id never changes and is never given again; name and note are attributes.
IDENTITY = Table(
    "identity",
    TABLES,
    Column("id", _ID, primary_key=True),
    Column("name", Text),
    Column("note", Text),
    Column("hidden", Boolean, nullable=False),
    Column("created", Double, nullable=False),
    **_NEVER_AGAIN,
)

#: A sighting: one crop. ``digest`` is a hash of the image file, so the same image is stored once.
#: ``sequence`` is the change that last wrote the embedding, ``moved`` the one that last changed identity or hidden.
SIGHTING = Table(
    "sighting",
    TABLES,
    Column("id", _ID, primary_key=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column("embedding", LargeBinary, nullable=False),
    Column("model", ForeignKey("model.id"), nullable=False),
    Column("camera", Text),
    Column("time", Double),
    Column("track", Text),
    Column("box", Text),
    Column("source", Text, nullable=False),
    Column("thumbnail", Text),
    Column("quality", Double),
    Column("identity", ForeignKey("identity.id")),
    Column("hidden", Boolean, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("moved", BigInteger, nullable=False),
    Column("added", Double, nullable=False),
    **_NEVER_AGAIN,
)
Index("sighting_sequence", SIGHTING.c.sequence)
Index("sighting_moved", SIGHTING.c.moved)
Index("sighting_identity", SIGHTING.c.identity)

#: What was decided, by whom and when; rows are only added. ``kind`` is confirm, reject, merge, split, name, hide, skip,
#: identify or undo; ``value`` is JSON (names before and after, identities); ``undoes`` is the decision that is undone.
DECISION = Table(
    "decision",
    TABLES,
    Column("id", _ID, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("by", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("value", Text, nullable=False),
    Column("undoes", ForeignKey("decision.id")),
    **_NEVER_AGAIN,
)

#: The sightings that a decision is about, by content: a decision stays true when a sighting is added again.
#: ``side`` is 0 or 1: a rejection says that no sighting of side 0 is the identity of one of side 1.
LINK = Table(
    "link",
    TABLES,
    Column("decision", ForeignKey("decision.id"), primary_key=True),
    Column("side", SmallInteger, primary_key=True),
    Column("digest", String(64), primary_key=True),
)
Index("link_digest", LINK.c.digest)

#: Which sightings a decision moved from which identity to which, so that it can be undone for ever.
MOVE = Table(
    "move",
    TABLES,
    Column("decision", ForeignKey("decision.id"), primary_key=True),
    Column("sighting", BigInteger, primary_key=True),
    Column("before", BigInteger),
    Column("after", BigInteger),
)

#: Sightings that were deleted: only the number, so that an index that still has them forgets them.
GONE = Table(
    "gone",
    TABLES,
    Column("sighting", BigInteger, primary_key=True, autoincrement=False),
    Column("sequence", BigInteger, nullable=False),
)
Index("gone_sequence", GONE.c.sequence)

#: Thumbnails that are being written, and thumbnails that are being deleted, with the process that does it. What a
#: process that was killed leaves here is cleaned up when the gallery is opened next.
PENDING = Table(
    "pending",
    TABLES,
    Column("thumbnail", String(128), primary_key=True),
    Column("writer", String(128), primary_key=True),
    Column("at", Double, nullable=False),
)
