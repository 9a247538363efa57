"""S1: the log of a palace keeps every vector, so that a ruined index can be rebuilt from it.

chromadb purges its log after each flush; from then on the vectors live only in index files that
are rewritten in place without any fsync. With `automatically_purge` off the log stays whole.
Everything here uses Python's SQLite and therefore runs only while this process has no client:
closing a connection would drop the POSIX locks of chromadb's own.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from palace_store.client import close_client, holds_open, open_client
from palace_store.errors import PalaceError, UnusablePalaceError
from palace_store.state import DIRECTORY

_DATABASE = "chroma.sqlite3"
_BUSY_TIMEOUT_S = 30.0
#: chromadb's tenants and databases each have collections of the same names, in the same tables.
#: Those of its defaults are called what they are called, others by `palace_store.anatomy`'s rule.
_NAMED = """
    CREATE TEMP VIEW named AS
    SELECT c.id, c.dimension, CASE
        WHEN d.id IS NULL OR (d.name = 'default_database' AND d.tenant_id = 'default_tenant')
        THEN c.name ELSE d.tenant_id || '/' || d.name || '/' || c.name END AS name
    FROM collections c LEFT JOIN databases d ON d.id = c.database_id
"""
_RELEASE_S = 10.0
_CONFIG_TYPE = "EmbeddingsQueueConfigurationInternal"


@contextmanager
def connected(palace: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection to `chroma.sqlite3`, without any transaction. The file must be there."""
    path = palace / _DATABASE
    if not _released(path):
        raise PalaceError(
            f"this process has {path} open through another chromadb client, so it cannot be mended "
            "from here: close that client, or use DrawerStore for all of it"
        )
    connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def database(palace: Path) -> Iterator[sqlite3.Connection]:
    """Yield one transaction on `chroma.sqlite3`, committed at the end, rolled back on an error.

    Beginning rolls back what a dead writer left half done in SQLite. A view `named` has id, name
    and dimension of every collection, no two of one name.
    """
    with connected(palace) as connection:
        try:
            _begin(connection, palace / _DATABASE)
            connection.execute(_NAMED)
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _begin(connection: sqlite3.Connection, path: Path) -> None:
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.DatabaseError as error:
        if "not a database" not in str(error):
            raise
        raise UnusablePalaceError(
            f"{path} is none of chromadb's ({error}); it was left as it is: put back a copy of it, "
            "or move it aside to begin an empty palace"
        ) from error


def _released(path: Path) -> bool:
    """Wait, bounded, until no client of this process has the file open any more.

    chromadb 1.x closes its connections in a thread of its own, some time after a client is closed.
    """
    deadline = time.monotonic() + _RELEASE_S
    while holds_open(path):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True


def make_database(palace: Path) -> bool:
    """Make the database where there is none, all at once; returns whether there was none.

    chromadb makes its tables one by one, and 0.6.3 cannot go on where it was killed doing so
    ("table segments already exists", at every later open). So it does it aside, and a rename
    brings the whole.
    """
    if (palace / _DATABASE).exists():
        return False
    with made_aside(palace) as nursery:
        (nursery / _DATABASE).replace(palace / _DATABASE)
    return True


@contextmanager
def made_aside(palace: Path) -> Iterator[Path]:
    """Yield an empty palace that the chromadb of this process has just made; removed at the end."""
    nursery = palace / DIRECTORY / "new"
    shutil.rmtree(nursery, ignore_errors=True)  # of one who died here
    nursery.mkdir(parents=True)
    close_client(open_client(nursery))
    if not _released(nursery / _DATABASE):
        raise PalaceError(f"chromadb does not close {nursery / _DATABASE}; try again")
    try:
        yield nursery
    finally:
        shutil.rmtree(nursery, ignore_errors=True)


def finish_database(palace: Path) -> None:
    """Let chromadb bring a database of an older release to the tables that are used here."""
    with database(palace) as connection:
        made = connection.execute(
            "SELECT count(*) FROM sqlite_master WHERE name IN "
            "('embeddings', 'embeddings_queue', 'embeddings_queue_config', 'max_seq_id')"
        ).fetchone()[0]
    if made < 4:  # noqa: PLR2004  (the tables named just above)
        close_client(open_client(palace))


def stop_purging(connection: sqlite3.Connection) -> None:
    """Switch the purge of the log off."""
    row = connection.execute("SELECT config_json_str FROM embeddings_queue_config").fetchone()
    try:
        config = dict(json.loads(row[0]))
    except (TypeError, ValueError):  # no row, or none that chromadb could read either
        config = {"_type": _CONFIG_TYPE}
    config["automatically_purge"] = False
    connection.execute(
        "INSERT OR REPLACE INTO embeddings_queue_config (id, config_json_str) VALUES (1, ?)",
        (json.dumps(config),),
    )
