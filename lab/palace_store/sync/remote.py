"""The remote, over HTTP: every call has a time-out, and every failure a class that says its effect.

The interface, as the lab's own server has it (JSON; a key goes as a bearer token, no key as none):

    GET    /auth                                    204
    POST   /memories     Idempotency-Key: ...       201 or 200 {"id": 7}; 409 {"id": 7}: deleted
    GET    /memories/7                              204; 404 if there is none
    DELETE /memories/7                              204; 404 if there is none
    GET    /changes?after=0&limit=100               {"rows": [...], "next": 12, "more": false}
    GET    /recall?query=...&namespace=&limit=10    {"rows": [...]}
    GET    /count                                   {"count": 3}

A key that was used before gives the same answer again and stores nothing. A row is
`{"id", "namespace", "content", "metadata", "created"}`, or `{"id", "deleted": true}`. Anything else
than a status of 2xx with JSON or nothing in it is no answer of a remote: a redirect, or the page of
a network that wants a login, does nothing.

The answers to `/changes` and to a store may also have `"history": "b7"`, a short name of the
remote's choice. It chooses another one when its numbers come to mean other memories: after it was
emptied or restored from a backup. What is asked of a number has `If-Match: "b7"` then, and 412 says
that this is its history no more. Of a remote that does not say so, only numbers that stand for
other words are noticed (`known`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from palace_store.local.memory import Memory
from palace_store.sync.address import address_of
from palace_store.sync.answers import heard, json_of
from palace_store.sync.bounded_wire import BoundedTransport, TooLongError
from palace_store.sync.failures import (
    RemoteBusyError,
    RemoteDeniedError,
    RemoteError,
    RemoteExchangedError,
    RemoteFailedError,
    RemoteRefusedError,
    RemoteSilentError,
    RemoteStrangeError,
    RemoteTooLongError,
    RemoteUnreachableError,
)
from palace_store.sync.rows import (
    NUMBER_MAX,
    Page,
    Row,
    Stored,
    history_of,
    is_number,
    rows_of,
)

__all__ = [
    "Remote",
    "RemoteBusyError",
    "RemoteDeniedError",
    "RemoteError",
    "RemoteExchangedError",
    "RemoteFailedError",
    "RemoteRefusedError",
    "RemoteSilentError",
    "RemoteStrangeError",
    "RemoteUnreachableError",
]

TIMEOUT_S = 30.0  # our choice: for one answer, see `bounded_wire`
CONNECT_S = 5.0
PAGE_ROWS = 200


class Remote:
    """A client of one remote. Thread-safe."""

    def __init__(self, url: str, *, time_scale: float = 1.0) -> None:
        self.url = address_of(url)
        self._client = httpx.Client(
            base_url=self.url,
            timeout=httpx.Timeout(TIMEOUT_S * time_scale, connect=max(1.0, CONNECT_S * time_scale)),
            transport=BoundedTransport(tls=not self.url.startswith("http:")),
            trust_env=False,
            headers={"Accept-Encoding": "identity"},  # so that no answer grows where it is read
        )

    def check_auth(self, key: str) -> None:
        """Raise `RemoteDeniedError` if the remote refuses the key."""
        try:
            heard(self.url, self._send("GET", "/auth", key))
        except RemoteRefusedError as error:
            raise RemoteStrangeError(
                f"{error}; that is no answer of a remote, which knows /auth: look at its address"
            ) from error

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
        if answer.status_code == httpx.codes.NOT_FOUND:
            self.check_auth(key)  # who knows neither is no remote, and refuses nothing
        gone = answer.status_code == httpx.codes.CONFLICT
        told = json_of(self.url, answer) if gone else heard(self.url, answer)
        told = told if isinstance(told, dict) else {}
        number = told.get("id")
        if not is_number(number):
            raise RemoteFailedError(f"{self.url} stored a memory and gave no number for it")
        return Stored(number, gone, history_of(told.get("history")))

    def has(self, number: int, key: str, *, history: str = "") -> bool:
        """Tell whether the remote still has the memory of that number."""
        return self._found(self._one("GET", number, key, history), key)

    def delete(self, number: int, key: str, *, history: str = "") -> None:
        """Delete a memory; one that is not there is deleted."""
        self._found(self._one("DELETE", number, key, history), key)

    def changes(self, after: int, key: str) -> Page:
        """Return what changed after a number, in the order in which it did."""
        answer = self._changes(after, key, PAGE_ROWS)
        raws, following = answer.get("rows"), answer.get("next")
        if not isinstance(raws, list) or type(following) is not int:
            raise RemoteFailedError(f"{self.url} answered /changes with something else")
        more = bool(answer.get("more"))
        if not after + more <= following <= NUMBER_MAX:
            raise RemoteFailedError(
                f"{self.url} answered /changes after {after} with {str(following)[:20]} as the "
                "next number: its list leads nowhere"
            )
        rows, malformed, unread = rows_of(raws)
        told = tuple(f"a row of {self.url} {each}" for each in malformed)
        history = history_of(answer.get("history"))
        return Page(tuple(rows), told, following, more, history, tuple(unread))

    def recall(
        self, query: str, namespace: str | None, limit: int, key: str, *, patient: bool = False
    ) -> list[Row]:
        """Return what the remote finds; a row that is malformed, or elsewhere, is passed over.

        With `patient` it waits for the answer for as long as that takes.
        """
        params = {"query": query, "namespace": namespace or "", "limit": limit}
        how: dict[str, Any] = {"timeout": None} if patient else {}
        raws = self._ask("GET", "/recall", key, params=params, **how).get("rows")
        if not isinstance(raws, list):
            raise RemoteFailedError(f"{self.url} answered /recall with something else")
        rows, *_ = rows_of(raws)
        return [row for row in rows if row.memory and namespace in (None, row.memory.namespace)]

    def count(self, key: str) -> int:
        """Return how many memories the remote has."""
        number = self._ask("GET", "/count", key).get("count")
        if type(number) is not int or number < 0:
            raise RemoteFailedError(f"{self.url} answered /count with something else")
        return number

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _changes(self, after: int, key: str, limit: int) -> Mapping[str, Any]:
        try:
            return self._ask("GET", "/changes", key, params={"after": after, "limit": limit})
        except RemoteTooLongError:
            if limit == 1:
                raise
            return self._changes(after, key, max(1, limit // 16))

    def _one(self, method: str, number: int, key: str, history: str) -> httpx.Response:
        headers = {"If-Match": f'"{history}"'} if history else {}
        answer = self._send(method, f"/memories/{number}", key, headers=headers)
        if history and answer.status_code == httpx.codes.PRECONDITION_FAILED:
            raise RemoteExchangedError(f"{self.url} has another history than {history}")
        return answer

    def _ask(self, method: str, path: str, key: str, **rest: Any) -> Mapping[str, Any]:
        told = heard(self.url, self._send(method, path, key, **rest))
        if not isinstance(told, dict):
            raise RemoteFailedError(f"{self.url} answered {path} with something else")
        return told

    def _send(self, method: str, path: str, key: str, **rest: Any) -> httpx.Response:
        if self._client.is_closed:
            raise RemoteUnreachableError(f"{self.url} is asked no more: the engine was stopped")
        bearer = {"Authorization": f"Bearer {key}"} if key else {}
        headers = {**bearer, **rest.pop("headers", {})}
        try:
            return self._client.request(method, path, headers=headers, **rest)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise RemoteUnreachableError(f"{self.url} cannot be reached ({error})") from error
        except (httpx.LocalProtocolError, UnicodeEncodeError):  # they quote what they refuse
            raise RemoteDeniedError(
                f"the key for {self.url} cannot be sent: a key is one line of printable ASCII, "
                "correct it where it is kept"
            ) from None
        except TooLongError as error:
            raise RemoteTooLongError(f"{self.url} answered {method} {path}: {error}") from error
        except httpx.HTTPError as error:
            raise RemoteSilentError(
                f"{self.url} gave no whole answer to {method} {path} ({error or type(error)})"
            ) from error

    def _found(self, answer: httpx.Response, key: str) -> bool:
        """Tell whether the remote has what it was asked for, if it is the remote that answers."""
        if answer.status_code != httpx.codes.NOT_FOUND:
            heard(self.url, answer)
            return True
        self.check_auth(key)
        return False
