"""The address of a remote, looked at before anything is sent there."""

from __future__ import annotations

import httpx

from palace_store.errors import PalaceInputError

_PORT_MAX = 65535


def address_of(url: str) -> str:
    """Return the address without a slash at its end; raises for one no request can go to."""
    try:
        parsed = httpx.URL(url)
        parsed.host.encode("idna")  # what a resolver is asked for
    except (httpx.InvalidURL, UnicodeError):
        parsed = httpx.URL()
    port = parsed.port if parsed.port is not None else 1
    if parsed.scheme not in ("http", "https") or not parsed.host or not 0 < port <= _PORT_MAX:
        raise PalaceInputError(
            f"{url!r} is no address of a remote: write one such as http://localhost:8000"
        )
    if parsed.userinfo:  # errors name the address, and the memory file keeps it
        raise PalaceInputError(
            f"the address of the remote at {parsed.host} names a user or a password: leave them "
            "out, the key is read from its own file"
        )
    if "?" in url or "#" in url:  # what is asked for is put behind it
        raise PalaceInputError(
            f"the address of the remote at {parsed.host} has a query or a fragment: leave out what "
            "begins with ? or #, such an address ends with a host or a path"
        )
    return url.rstrip("/")
