"""A line that is no message: its request is answered all the same, over every pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parent / "entries"))
from raw_pipe import GREETING, RawPipe, call
from server_bench import Server, Site

from palace_store.server.lines import PARSE_ERROR, error_line, request_id

pytestmark = pytest.mark.s0

IDS = st.integers() | st.text()
VALUES = st.recursive(
    st.none() | st.booleans() | IDS | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.text() | st.sampled_from(["id", "method", "params", "result", "error"])


@given(st.dictionaries(NAMES, VALUES, max_size=6), st.booleans())
def test_the_id_of_a_request_is_the_one_that_json_says(row: dict[str, Any], ascii_: bool) -> None:
    found = request_id(json.dumps(row, ensure_ascii=ascii_).encode())
    said = row.get("id")
    if "result" in row or "error" in row or isinstance(said, bool | None | list | dict):
        assert found is None
    else:
        assert found == said
        assert json.loads(error_line(said, PARSE_ERROR, "no"))["id"] == said


@given(st.binary(max_size=200))
def test_any_bytes_have_an_id_or_none(line: bytes) -> None:
    request_id(line)
    request_id(b'{"id":' + line)
    request_id(b'{"a":"' + line + b'","id":1}')


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"id":8,"a":"\\ud83d"}}', 7),
        (b'{"params":{"a":' + b"[" * 5000 + b"]" * 5000 + b'},"id":"x"}', "x"),
        (b'{"params":{"a":"\xff"},"id":"x"}', "x"),
        (b'{"id":7,"method":"tools/ca', 7),
        (b'{"id":"\\ud83d"}', "\ud83d"),
        (b'{"id":1,"id":2}', 2),
        (b'{"params":{"id":7}}', None),
        (b'{"id":"half', None),
        (b'{"id":NaN}', None),
        (b'{"id":1e999}', None),
        (b'[{"id":7}]', None),
        (b"7", None),
        (b"", None),
    ],
    ids=lambda value: None if isinstance(value, bytes) else repr(value),
)
def test_of_a_line_that_nobody_can_read_the_id_is_found(line: bytes, expected: object) -> None:
    assert request_id(line) == expected


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


@pytest.fixture(params=["plain", "restartable"])
def pipe(request: pytest.FixtureRequest, site: Site, tmp_path: Path) -> Iterator[RawPipe]:
    words = ("--restart",) if request.param == "restartable" else ()
    pipe = RawPipe(Server("1.5.9", site, tmp_path / "palace", *words))
    try:
        pipe.send(GREETING)
        assert pipe.receive()["id"] == 0
        pipe.send({"method": "notifications/initialized"})
        yield pipe
    finally:
        pipe.process.kill()
        pipe.process.communicate()


def stored(number: object, content: bytes, metadata: bytes = b"null") -> bytes:
    return (
        b'{"jsonrpc":"2.0","id":' + json.dumps(number).encode() + b',"method":"tools/call",'
        b'"params":{"name":"memory_store","arguments":{"content":"' + content + b'","metadata":'
        b"" + metadata + b"}}}\n"
    )


@pytest.mark.slow
def test_what_cannot_be_read_is_answered_and_what_is_no_request_is_not(pipe: RawPipe) -> None:
    bad = [
        (stored(1, b"hi \\ud83d"), -32700),
        (stored("two", b"hi \\ud83d"), -32700),
        (stored(3, b"deep", b'{"a":' * 900 + b"1" + b"}" * 900), -32700),
        (stored(4, b"caf\xe9"), -32700),
        (b'{"jsonrpc":"2.0","id":5,"method":"tools/call"\n', -32700),
        (b'{"jsonrpc":"2.0","id":6,"params":{}}\n', -32600),
        (b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":[]}\n', -32600),
    ]
    for line, code in bad:
        pipe.send(more=line)
        answer = pipe.receive()
        assert answer["id"] == json.loads(json.dumps(request_id(line)))
        assert answer["error"]["code"] == code
        told = answer["error"]["message"]
        assert "nothing was changed" in told
        assert "\n" not in told
    silent = b'garbage\n\n[]\n{"jsonrpc":"2.0","method":"\\ud83d"}\n'
    silent += b'{"jsonrpc":"2.0","id":8,"result":"\\ud83d"}\n'
    pipe.send(call(9, "memory_count"), more=silent)
    pipe.send(call(10, "memory_store", content="x" * 5_000_000))
    answers = {each["id"]: each["result"] for each in (pipe.receive(), pipe.receive())}
    assert answers[9]["structuredContent"]["local"] == 0
    assert "at most 1048576" in answers[10]["structuredContent"]["sentence"]
    pipe.send(more=b'{"jsonrpc":"2.0","id":11,"method":"tools/ca')
    (last,) = pipe.close().splitlines()
    assert (json.loads(last)["id"], pipe.process.returncode) == (11, 0)
