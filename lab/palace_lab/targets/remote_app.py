"""The remote that memories are synced with: an HTTP server with a SQLite file of its own (S4).

It does what `palace_store.sync.remote` expects of one, and what it is told to do wrong: deny a key,
refuse or fail at memories of some words, send malformed rows. What goes wrong on the wire is
`wire`'s. It tells two stores of the same words apart unless they carry the same key.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

_SCHEMA = """
CREATE TABLE IF NOT EXISTS memories (id INTEGER PRIMARY KEY AUTOINCREMENT, seq INTEGER NOT NULL,
    namespace TEXT, content TEXT, metadata TEXT, created TEXT, deleted INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS memories_seq ON memories (seq);
CREATE TABLE IF NOT EXISTS keys (key TEXT PRIMARY KEY, id INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS history (name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS refusals (content TEXT NOT NULL, status INTEGER NOT NULL);
"""
_NEXT = "(SELECT coalesce(max(seq), 0) + 1 FROM memories)"


@dataclass
class Misbehaviour:
    """What the server is told to do wrong."""

    key: str = "right"  # the one it takes
    denial: int = 401
    statuses: dict[str, int] = field(default_factory=dict)  # content: what storing it is answered
    malformed: set[str] = field(default_factory=set)  # content of rows that are sent malformed


class RemoteStore:
    """The server's file, for the threads that answer requests and those of the plan's own."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.executescript(_SCHEMA)
        if self.history() == "":
            self.begin_history()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold one transaction, and keep other threads out."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    def store(self, memory: dict[str, Any], key: str) -> tuple[int, bool, bool]:
        """Store a memory unless the key is known; returns number, whether new, whether deleted."""
        with self.transaction() as db:
            known = db.execute(
                "SELECT id, deleted FROM keys JOIN memories USING (id) WHERE key = ?", (key,)
            ).fetchone()
            if known is not None:
                return known[0], False, bool(known[1])
            number = db.execute(
                "INSERT INTO memories (seq, namespace, content, metadata, created)"  # noqa: S608
                f" VALUES ({_NEXT}, :namespace, :content, :metadata, :created)",
                {**memory, "metadata": json.dumps(memory["metadata"])},
            ).lastrowid
            if key:
                db.execute("INSERT INTO keys VALUES (?, ?)", (key, number))
        return int(number or 0), True, False

    def delete(self, number: int) -> bool:
        """Delete a memory; tell whether there was one."""
        with self.transaction() as db:
            return bool(
                db.execute(
                    f"UPDATE memories SET deleted = 1, seq = {_NEXT} WHERE id = ? AND NOT deleted",  # noqa: S608
                    (number,),
                ).rowcount
            )

    def history(self) -> str:
        """Return the name of this history, "" for a new file."""
        with self._lock:
            return str((self._db.execute("SELECT name FROM history").fetchone() or ("",))[0])

    def begin_history(self) -> None:
        """Say from now on that numbers mean other memories than before."""
        with self.transaction() as db:
            db.execute("DELETE FROM history")
            db.execute("INSERT INTO history VALUES (?)", (uuid.uuid4().hex,))

    def refuse(self, content: str, status: int) -> None:
        """Take note of a refusal, so that whoever gives that memory up is believed."""
        with self.transaction() as db:
            db.execute("INSERT INTO refusals VALUES (?, ?)", (content, status))

    def rows(self, where: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Return rows of memories."""
        query = "SELECT id, seq, namespace, content, metadata, created, deleted FROM memories"
        with self._lock:
            return self._db.execute(f"{query} WHERE {where}", values).fetchall()

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def make_app(store: RemoteStore, wrong: Misbehaviour) -> Starlette:
    """Return the server's application."""

    async def auth(_: Request) -> Response:
        return Response(status_code=204)

    async def add(request: Request) -> Response:
        memory = await request.json()
        status = wrong.statuses.get(memory["content"])
        if status is not None:
            store.refuse(memory["content"], status)
            return JSONResponse({"error": "this memory is refused"}, status_code=status)
        number, new, deleted = store.store(memory, request.headers.get("Idempotency-Key", ""))
        answer = {"id": number, "history": store.history()}
        return JSONResponse(answer, status_code=409 if deleted else 201 if new else 200)

    async def one(request: Request) -> Response:
        number = int(request.path_params["number"])
        if request.headers.get("If-Match", wanted := f'"{store.history()}"') != wanted:
            return Response(status_code=412)
        if request.method == "DELETE":
            found = store.delete(number)
        else:
            found = bool(store.rows("id = ? AND NOT deleted", (number,)))
        return Response(status_code=204 if found else 404)

    async def changes(request: Request) -> Response:
        after, limit = int(request.query_params["after"]), int(request.query_params["limit"])
        rows = store.rows("seq > ? ORDER BY seq LIMIT ?", (after, limit + 1))
        page = rows[:limit]
        return JSONResponse(
            {
                "rows": [_sent(row, wrong) for row in page],
                "next": page[-1][1] if page else after,
                "more": len(rows) > limit,
                "history": store.history(),
            }
        )

    async def recall(request: Request) -> Response:
        asked = request.query_params
        words = asked["query"].casefold().split()
        rows = store.rows("NOT deleted AND (? IN ('', namespace))", (asked["namespace"],))
        found = [row for row in rows if any(word in row[3].casefold() for word in words)]
        return JSONResponse({"rows": [_sent(row, wrong) for row in found[: int(asked["limit"])]]})

    async def count(_: Request) -> Response:
        return JSONResponse({"count": len(store.rows("NOT deleted", ()))})

    routes = [
        Route("/auth", auth),
        Route("/memories", add, methods=["POST"]),
        Route("/memories/{number:int}", one, methods=["GET", "DELETE"]),
        Route("/changes", changes),
        Route("/recall", recall),
        Route("/count", count),
    ]
    app = Starlette(routes=routes)
    app.add_middleware(_KeyCheck, wrong=wrong)
    return app


class _KeyCheck:
    """Lets nobody through who does not bring the key."""

    def __init__(self, app: Any, wrong: Misbehaviour) -> None:
        self._app = app
        self._wrong = wrong

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope["headers"])
        if headers.get(b"authorization") == f"Bearer {self._wrong.key}".encode():
            await self._app(scope, receive, send)
            return
        denied = JSONResponse({"error": "this key is refused"}, status_code=self._wrong.denial)
        await denied(scope, receive, send)


def _sent(row: tuple[Any, ...], wrong: Misbehaviour) -> dict[str, Any]:
    number, _, namespace, content, metadata, created, deleted = row
    if deleted:
        return {"id": number, "deleted": True}
    if content in wrong.malformed:
        return {"id": number, "content": None}
    return {
        "id": number,
        "namespace": namespace,
        "content": content,
        "metadata": json.loads(metadata),
        "created": created,
    }
