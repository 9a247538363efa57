"""The remote, over HTTP: every call has a time-out, and every failure a class that says its effect.

The interface, as the lab's own server has it (JSON; the key goes as a bearer token):

    GET    /auth                                    204
    POST   /memories     Idempotency-Key: ...       201 or 200 {"id": 7}; 409 {"id": 7}: deleted
    GET    /memories/7                              204; 404 if there is none
    DELETE /memories/7                              204; 404 if there is none
    GET    /changes?after=0&limit=100               {"rows": [...], "next": 12, "more": false}
    GET    /recall?query=...&namespace=&limit=10    {"rows": [...]}
    GET    /count                                   {"count": 3}

A key that was used before gives the same answer again and stores nothing. A row is
`{"id", "namespace", "content", "metadata", "created"}`, or `{"id", "deleted": true}`.

The answers to `/changes` and to a store may also have `"history": "b7"`, a short name of the
remote's choice. It chooses another one when its numbers come to mean other memories: after it was
emptied or restored from a backup. What is asked of a number has `If-Match: "b7"` then, and 412 says
that this is its history no more. Of a remote that does not say so, only numbers that stand for
other words are noticed (`known`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx

from palace_store.errors import PalaceError, PalaceInputError
from palace_store.local.memory import BadMemoryError, Memory
from palace_store.sync.rows import Page, Stored, history_of, row_of

TIMEOUT_S = 30.0  # our choice: for one answer
CONNECT_S = 5.0
PAGE_ROWS = 200
#: Statuses that say "not now" of the remote as a whole, and nothing of what it was asked.
_NOT_NOW = frozenset({408, 425, 429, 502, 503, 504})
_SAID_CHARACTERS = 200


class RemoteError(PalaceError):
    """The remote did not do what it was asked; the sentence says why."""


class RemoteUnreachableError(RemoteError):
    """There was no connection, or one to a remote that does nothing for anybody now (503)."""


class RemoteBusyError(RemoteUnreachableError):
    """The remote asks to be asked less (429)."""


class RemoteSilentError(RemoteError):
    """It was sent, and no whole answer came: whether it was done is unknown."""


class RemoteDeniedError(RemoteError):
    """The remote refuses this key (401, 403)."""

    effect = "none"


class RemoteRefusedError(RemoteError):
    """The remote refuses this very request (another 4xx)."""

    effect = "none"


class RemoteFailedError(RemoteError):
    """The remote says that it failed (5xx), or answers what makes no sense."""


class RemoteExchangedError(RemoteError):
    """The numbers of the remote mean other memories than those it was asked for."""

    effect = "none"


class Remote:
    """A client of one remote. Thread-safe."""

    def __init__(self, url: str, *, time_scale: float = 1.0) -> None:
        self.url = _address(url)
        self._client = httpx.Client(
            base_url=self.url,
            timeout=httpx.Timeout(TIMEOUT_S * time_scale, connect=max(1.0, CONNECT_S * time_scale)),
            trust_env=False,
            verify=not self.url.startswith("http:"),  # reading all certificates takes 20 ms
        )

    def check_auth(self, key: str) -> None:
        """Raise `RemoteDeniedError` if the remote refuses the key."""
        self._ask("GET", "/auth", key)

    def store(self, memory: Memory, key: str, *, idempotency_key: str) -> Stored:
        """Store a memory."""
        answer = self._send(
            "POST",
            "/memories",
            key,
            headers={"Idempotency-Key": idempotency_key},
            json={
                "namespace": memory.namespace,
                "content": memory.content,
                "metadata": dict(memory.metadata),
                "created": memory.created,
            },
        )
        gone = answer.status_code == httpx.codes.CONFLICT
        if not gone:
            self._judge(answer)
        told = _json(answer)
        number = told.get("id")
        if type(number) is not int:
            raise RemoteFailedError(f"{self.url} stored a memory and gave no number for it")
        return Stored(number, gone, history_of(told.get("history")))

    def has(self, number: int, key: str, *, history: str = "") -> bool:
        """Tell whether the remote still has the memory of that number."""
        answer = self._one("GET", number, key, history)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return False
        self._judge(answer)
        return True

    def delete(self, number: int, key: str, *, history: str = "") -> None:
        """Delete a memory; one that is not there is deleted."""
        answer = self._one("DELETE", number, key, history)
        if answer.status_code != httpx.codes.NOT_FOUND:
            self._judge(answer)

    def changes(self, after: int, key: str) -> Page:
        """Return what changed after a number, in the order in which it did."""
        params = {"after": after, "limit": PAGE_ROWS}
        answer = self._ask("GET", "/changes", key, params=params)
        rows, following = answer.get("rows"), answer.get("next")
        if not isinstance(rows, list) or type(following) is not int or following < after:
            raise RemoteFailedError(f"{self.url} answered /changes with something else")
        good, malformed = [], []
        for raw in rows:
            try:
                good.append(row_of(raw))
            except (BadMemoryError, KeyError, TypeError, ValueError) as error:
                said = json.dumps(raw)[:_SAID_CHARACTERS]
                malformed.append(f"a row of {self.url} is malformed ({error!r}): {said}")
        return Page(
            tuple(good),
            tuple(malformed),
            following,
            bool(answer.get("more")),
            history_of(answer.get("history")),
        )

    def recall(
        self, query: str, namespace: str | None, limit: int, key: str, *, patient: bool = False
    ) -> list[Memory]:
        """Return what the remote finds; a malformed row is passed over.

        With `patient` it waits for the answer for as long as that takes.
        """
        params = {"query": query, "namespace": namespace or "", "limit": limit}
        how: dict[str, Any] = {"timeout": None} if patient else {}
        rows = self._ask("GET", "/recall", key, params=params, **how).get("rows")
        found = []
        for raw in rows if isinstance(rows, list) else ():
            try:
                found.append(row_of(raw).memory)
            except (BadMemoryError, KeyError, TypeError, ValueError):
                continue  # `changes` reports it
        return [memory for memory in found if memory is not None]

    def count(self, key: str) -> int:
        """Return how many memories the remote has."""
        number = self._ask("GET", "/count", key).get("count")
        if type(number) is not int:
            raise RemoteFailedError(f"{self.url} answered /count with something else")
        return number

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _one(self, method: str, number: int, key: str, history: str) -> httpx.Response:
        headers = {"If-Match": f'"{history}"'} if history else {}
        answer = self._send(method, f"/memories/{number}", key, headers=headers)
        if history and answer.status_code == httpx.codes.PRECONDITION_FAILED:
            raise RemoteExchangedError(f"{self.url} has another history than {history}")
        return answer

    def _ask(self, method: str, path: str, key: str, **rest: Any) -> Mapping[str, Any]:
        answer = self._send(method, path, key, **rest)
        self._judge(answer)
        return {} if answer.status_code == httpx.codes.NO_CONTENT else _json(answer)

    def _send(self, method: str, path: str, key: str, **rest: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key}", **rest.pop("headers", {})}
        try:
            return self._client.request(method, path, headers=headers, **rest)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise RemoteUnreachableError(f"{self.url} cannot be reached ({error})") from error
        except (httpx.LocalProtocolError, UnicodeError) as error:
            raise RemoteDeniedError(f"the key for {self.url} cannot be sent ({error})") from error
        except httpx.HTTPError as error:
            raise RemoteSilentError(
                f"{self.url} gave no whole answer to {method} {path} ({error or type(error)})"
            ) from error

    def _judge(self, answer: httpx.Response) -> None:
        status = answer.status_code
        if status < httpx.codes.BAD_REQUEST:
            return
        said = f"{self.url} answered {status}: {' '.join(answer.text.split())[:_SAID_CHARACTERS]}"
        if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise RemoteDeniedError(said)
        if status in _NOT_NOW:
            busy = status == httpx.codes.TOO_MANY_REQUESTS
            raise (RemoteBusyError if busy else RemoteUnreachableError)(said)
        if status < httpx.codes.INTERNAL_SERVER_ERROR:
            raise RemoteRefusedError(said)
        raise RemoteFailedError(said)


def _address(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL()
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise PalaceInputError(
            f"{url!r} is no address of a remote: write one such as http://localhost:8000"
        )
    return url.rstrip("/")


def _json(answer: httpx.Response) -> Mapping[str, Any]:
    try:
        value = answer.json()
    except ValueError as error:
        raise RemoteFailedError(f"{answer.url} answered with no JSON ({error})") from error
    if not isinstance(value, dict):
        raise RemoteFailedError(f"{answer.url} answered with JSON that is no object")
    return value
