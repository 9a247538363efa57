"""Reads index_metadata.pickle: which id has which label in the HNSW files.

Rules. Nothing in the file is executed (see plain_pickle). Whatever the bytes, the result is a
`PickledIndex` or an `AnatomyError`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from palace_store.anatomy.findings import AnatomyError, read_bounded
from palace_store.anatomy.plain_pickle import (
    KEY_LIMIT,
    Record,
    RefusedError,
    TornError,
    read_plain,
)

#: About 1.3 million ids of 40 characters as 1.x writes them. A Python object costs up to 15 times
#: its pickled bytes, so this also bounds memory.
PICKLE_BYTES_MAX = 128 * 1024 * 1024
#: The pickle has each id twice, and so has the database at least: the rows and their unique index.
PICKLE_DATABASES_MAX = 2


@dataclass(frozen=True)
class PickledIndex:
    """The plain content of index_metadata.pickle.

    `max_seq_id` is the watermark of releases that kept it here; from 0.5.6 on it is in SQLite and
    None here. `form` is ``class`` for 0.x and ``dict`` for 1.x. `trailing_bytes` counts what
    follows the pickle's end in the file; a healthy file has none.
    """

    form: str
    dimensionality: int | None
    total_elements_added: int
    max_seq_id: int | None
    id_to_label: dict[str, int]
    label_to_id: dict[int, str]
    trailing_bytes: int


def _natural(value: object) -> int:
    if type(value) is not int or not 0 <= value < KEY_LIMIT:
        raise TornError(f"{ascii(value)[:40]} stands where a label or a count belongs")
    return value


def _labels(content: dict[object, object]) -> tuple[dict[str, int], dict[int, str]]:
    forward, backward = content.get("id_to_label"), content.get("label_to_id")
    if type(forward) is not dict or type(backward) is not dict:
        raise TornError("id_to_label or label_to_id is not in it")
    for name, label in forward.items():
        if type(name) is not str:
            raise TornError("an id is not text")
        _natural(label)
    for label, name in backward.items():
        _natural(label)
        if type(name) is not str:
            raise TornError("an id is not text")
    return forward, backward


def _index(content: object, trailing: int) -> PickledIndex:
    if not isinstance(content, dict):
        raise TornError("it does not hold an index record")
    forward, backward = _labels(content)
    dimension, seq_id = content.get("dimensionality"), content.get("max_seq_id")
    return PickledIndex(
        form="class" if isinstance(content, Record) else "dict",
        dimensionality=None if dimension is None else _natural(dimension),
        total_elements_added=_natural(content.get("total_elements_added")),
        max_seq_id=seq_id if type(seq_id) is int else None,
        id_to_label=forward,
        label_to_id=backward,
        trailing_bytes=trailing,
    )


def parse_index_pickle(data: bytes) -> PickledIndex:
    """Return what the bytes of an index_metadata.pickle say.

    Raises `AnatomyError`: kind ``pickle-torn`` for bytes that end early or make no sense,
    ``pickle-refused`` for bytes that hold anything but plain index data.
    """
    try:
        return _index(*read_plain(data))
    except TornError as torn:
        raise AnatomyError(f"the index pickle is torn: {torn}", kind="pickle-torn") from None
    except RefusedError as refused:
        message = f"the index pickle is refused: plain index data does not contain {refused}"
        raise AnatomyError(message, kind="pickle-refused") from None


def read_index_pickle(path: Path, *, limit_bytes: int = PICKLE_BYTES_MAX) -> PickledIndex:
    """Read one index_metadata.pickle.

    Errors as `parse_index_pickle`, or ``missing``, or ``too-large`` for one that was not read.
    """
    data = read_bounded(path, limit_bytes)
    try:
        return parse_index_pickle(data)
    except AnatomyError as error:
        raise AnatomyError(f"{path}: {error}", kind=error.kind) from None
