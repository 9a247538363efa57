"""What an answer of the remote says: its JSON, or the failure that it is."""

from __future__ import annotations

from typing import Any

import httpx

from palace_store.sync.failures import (
    RemoteBusyError,
    RemoteDeniedError,
    RemoteFailedError,
    RemoteRefusedError,
    RemoteStrangeError,
    RemoteUnreachableError,
)
from palace_store.sync.rows import loaded

#: Statuses that say "not now" of the remote as a whole, and nothing of what it was asked.
_NOT_NOW = frozenset({408, 425, 429, 502, 503, 504, 511})
_SAID_BYTES = 200


def heard(url: str, answer: httpx.Response) -> Any:
    """Return what the remote says, None where it says nothing but success; raises the rest."""
    status = answer.status_code
    if httpx.codes.is_success(status):
        return json_of(url, answer) if answer.content else None
    said = f"{url} answered {status}: {_said(answer)}"
    if status < httpx.codes.BAD_REQUEST:
        raise RemoteStrangeError(f"{said}; that is no answer of a remote: look at its address")
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise RemoteDeniedError(said)
    if status in _NOT_NOW:
        busy = status == httpx.codes.TOO_MANY_REQUESTS
        raise (RemoteBusyError if busy else RemoteUnreachableError)(said)
    if status < httpx.codes.INTERNAL_SERVER_ERROR:
        raise RemoteRefusedError(said)
    raise RemoteFailedError(said)


def json_of(url: str, answer: httpx.Response) -> Any:
    """Return the JSON of an answer; raises `RemoteStrangeError` if it is none."""
    try:
        return loaded(answer.content)
    except (ValueError, RecursionError) as error:
        raise RemoteStrangeError(
            f"{url} answered {answer.status_code} with no JSON ({error}): {_said(answer)}"
        ) from error


def _said(answer: httpx.Response) -> str:
    """Return how an answer begins, whatever it says it is, but for the key it was asked with."""
    text = answer.content.decode(errors="replace")
    key = answer.request.headers.get("Authorization", "").removeprefix("Bearer ")
    hidden = text.replace(key, "...") if key else text
    return " ".join(hidden[:_SAID_BYTES].split())
