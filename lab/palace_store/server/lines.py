"""What can be told of a line of the pipe without the SDK, also of one that is no valid message.

The SDK gives up a whole line for one character that is no Unicode, or for brackets nested too deep,
and nobody would answer its request. Its id is found here all the same: only the outermost object is
looked at, token by token, to whatever depth it goes on.
"""

from __future__ import annotations

import json
import math
import re

PARSE_ERROR, INVALID_REQUEST, INTERNAL_ERROR = -32700, -32600, -32603
_TOKEN = re.compile(
    rb'"[^"\\]*(?:\\.[^"\\]*)*"'  # a string
    rb"|[{}\[\]:,]|[^\s{}\[\]:,\"]+",
    re.DOTALL,
)
Found = int | float | str


def request_id(line: bytes) -> Found | None:
    """Return the id of a request, None for a notification, an answer, or what is neither."""
    depth, last, key = 0, b"", None
    found: dict[bytes, bytes] = {}
    for each in _TOKEN.finditer(line):
        token = each[0]
        if not depth and token != b"{":
            return None
        if depth == 1 and key is not None:
            found[key] = token  # of an object or a list its bracket
            key = None
        elif depth == 1 and token == b":":
            key = last
        depth += (token in (b"{", b"[")) - (token in (b"}", b"]"))
        last = token
        if not depth:
            break
    if found.keys() & {b'"result"', b'"error"'}:
        return None
    try:
        value = json.loads(found.get(b'"id"', b"null"))
    except ValueError:  # half an id, or no UTF-8
        return None
    if isinstance(value, str):
        return value
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if number and math.isfinite(value) else None


def error_line(request: Found, code: int, sentence: str) -> bytes:
    """Return the line that answers a request with an error, in ASCII whatever its id is."""
    error = {"code": code, "message": " ".join(sentence.split())}
    return json.dumps({"jsonrpc": "2.0", "id": request, "error": error}).encode() + b"\n"
