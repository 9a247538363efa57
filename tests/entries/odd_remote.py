"""A remote over real HTTP that answers some requests in a way of the test's own."""

from __future__ import annotations

import json
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from palace_lab.targets.remote_app import Misbehaviour, RemoteStore, _sent

#: A request that is answered as told; anything but True leaves it to the remote.
Odd = Callable[["Request"], bool | None]
SANE = Misbehaviour()


@dataclass
class Request:
    """What was asked; `answer` and `raw` say what comes of it."""

    method: str
    path: str
    query: dict[str, str]
    body: dict[str, Any]
    handler: BaseHTTPRequestHandler

    def answer(self, status: int, body: object = b"", **headers: str) -> bool:
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.handler.send_response(status)
        for name, value in headers.items():
            self.handler.send_header(name.replace("_", "-"), value)
        if status != 204:
            self.handler.send_header("Content-Length", str(len(sent)))
        self.handler.end_headers()
        self.handler.wfile.write(sent)
        return True

    def raw(self, data: bytes) -> None:
        self.handler.wfile.write(data)
        self.handler.wfile.flush()
        self.handler.close_connection = True


@dataclass
class OddRemote:
    """The remote, where it is, what it was asked, and how it is odd at the moment."""

    store: RemoteStore
    url: str = ""
    odd: Odd | None = None
    asked: list[str] = field(default_factory=list)

    def there(self) -> list[str]:
        return sorted(row[3] for row in self.store.rows("NOT deleted", ()))

    def put(self, content: str, created: str = "2025-01-01T00:00:00+00:00") -> int:
        """Store as another program does, which has no keys."""
        memory = {"namespace": "default", "content": content, "metadata": {}, "created": created}
        return self.store.store(memory, "")[0]

    def page(self, *rows: str) -> Odd:
        """Return an oddness: these rows, as they are written, are all that ever changed."""
        body = f'{{"rows": [{", ".join(rows)}], "next": {len(rows)}, "more": false}}'.encode()

        def odd(request: Request) -> bool | None:
            return request.path == "/changes" and request.answer(200, body)

        return odd

    def serve(self, request: Request) -> bool:
        first = request.path.split("/")[1]
        return {
            "auth": lambda: request.answer(204),
            "count": lambda: request.answer(200, {"count": len(self.there())}),
            "memories": lambda: self._memories(request),
            "changes": lambda: self._changes(request),
            "recall": lambda: request.answer(200, self.recalled(request)),
        }.get(first, lambda: request.answer(404))()

    def _memories(self, request: Request) -> bool:
        if request.method == "POST":
            key = request.handler.headers.get("Idempotency-Key", "")
            number, new, deleted = self.store.store(request.body, key)
            return request.answer(409 if deleted else 201 if new else 200, {"id": number})
        number = int(request.path.rpartition("/")[2])
        if request.method == "DELETE":
            return request.answer(204 if self.store.delete(number) else 404)
        return request.answer(204 if self.store.rows("id = ? AND NOT deleted", (number,)) else 404)

    def _changes(self, request: Request) -> bool:
        after, limit = int(request.query["after"]), int(request.query["limit"])
        rows = self.store.rows("seq > ? ORDER BY seq LIMIT ?", (after, limit + 1))
        page = rows[:limit]
        told = [_sent(row, SANE) for row in page]
        following = page[-1][1] if page else after
        return request.answer(200, {"rows": told, "next": following, "more": len(rows) > limit})

    def recalled(self, request: Request) -> dict[str, Any]:
        """Return what a recall is answered as things stand."""
        words = request.query["query"].casefold().split()
        rows = self.store.rows("NOT deleted", ())
        found = [row for row in rows if any(word in row[3].casefold() for word in words)]
        return {"rows": [_sent(row, SANE) for row in found[: int(request.query["limit"])]]}


def _handler_of(remote: OddRemote) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

        def do_any(self) -> None:
            asked = urllib.parse.urlsplit(self.path)
            query = dict(urllib.parse.parse_qsl(asked.query, keep_blank_values=True))
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
            request = Request(self.command, asked.path, query, body, self)
            remote.asked.append(f"{self.command} {asked.path}")
            try:
                if remote.odd is None or not remote.odd(request):
                    remote.serve(request)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # whoever asked has gone

    for method in ("GET", "POST", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.do_any)
    return Handler


@contextmanager
def odd_remote(directory: Path) -> Iterator[OddRemote]:
    remote = OddRemote(RemoteStore(directory / "memories.sqlite3"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(remote))
    server.daemon_threads = True
    server.block_on_close = False
    remote.url = f"http://127.0.0.1:{server.server_address[1]}"
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    serving.start()
    try:
        yield remote
    finally:
        server.shutdown()
        server.server_close()
        serving.join(30)
