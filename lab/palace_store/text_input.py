"""What a text drawer is made of, and the key that makes it one and the same (S3).

* The key is the report's: (namespace, source file, content hash, start line), and the content hash
  is SHA-256 over the content in Unicode's form NFC. The id of a drawer is a hash of its key, so
  whoever stores the same content from the same place means the same drawer.
* The key says nothing of the model; who may write is decided elsewhere (`embedding_gate`).
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from palace_store.errors import PalaceInputError
from palace_store.validation import check_documents, check_metadatas

#: Keys of a row's metadata that are ours.
NAMESPACE = "namespace"
SOURCE_FILE = "source_file"
CONTENT_HASH = "content_hash"
START_LINE = "start_line"
EMBEDDING = "embedding"
RESERVED = frozenset({NAMESPACE, SOURCE_FILE, CONTENT_HASH, START_LINE, EMBEDDING})
_NAME_MAX = 4096


@dataclass(frozen=True)
class Content:
    """One text to be stored: where it comes from, and what else is to be kept with it."""

    text: str
    namespace: str = "default"
    source_file: str = ""
    start_line: int = 0
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def content_hash(self) -> str:
        """Return the report's hash of the text: the same for every Unicode form of it."""
        return hashlib.sha256(unicodedata.normalize("NFC", self.text).encode()).hexdigest()

    @property
    def id(self) -> str:
        """Return the id of the drawer, 64 hexadecimal digits: a hash of its key."""
        key = [self.namespace, self.source_file, self.content_hash, self.start_line]
        return hashlib.sha256(json.dumps(key).encode()).hexdigest()

    @classmethod
    def of_row(cls, text: str, row: Mapping[str, Any]) -> Content:
        """Return the content a drawer was made of, from what is stored of it.

        A start line that another program wrote as something else than a whole number is 0.
        """
        return cls(
            text,
            str(row.get(NAMESPACE, "default")),
            str(row.get(SOURCE_FILE, "")),
            line if type(line := row.get(START_LINE, 0)) is int else 0,
            {name: value for name, value in row.items() if name not in RESERVED},
        )

    def row(self) -> dict[str, Any]:
        """Return the metadata of the drawer's row, without the identity of a model."""
        return {
            **self.metadata,
            NAMESPACE: self.namespace,
            SOURCE_FILE: self.source_file,
            CONTENT_HASH: self.content_hash,
            START_LINE: self.start_line,
        }


def check_contents(contents: Sequence[str | Content]) -> list[Content]:
    """Return the contents, or say in one sentence what is wrong with one of them."""
    if isinstance(contents, str | bytes) or not isinstance(contents, Sequence) or not contents:
        raise PalaceInputError(
            "contents must be a list with at least one text or Content; nothing was written"
        )
    checked = [_checked(content, number) for number, content in enumerate(contents)]
    check_documents([each.text for each in checked], len(checked))
    for each in checked:
        check_metadatas([each.row()], 1)
    return checked


def _checked(content: str | Content, number: int) -> Content:
    found = Content(content) if isinstance(content, str) else content
    if not isinstance(found, Content):
        raise PalaceInputError(
            f"content {number} is {type(content).__name__}, neither text nor Content; "
            "nothing was written"
        )
    check_text(found.text, f"content {number}")
    for what, value in ((NAMESPACE, found.namespace), (SOURCE_FILE, found.source_file)):
        if not isinstance(value, str) or len(value) > _NAME_MAX or "\0" in value:
            raise PalaceInputError(
                f"{what} of content {number} is a text of up to {_NAME_MAX} characters without "
                "NUL; nothing was written"
            )
    if type(found.start_line) is not int or not 0 <= found.start_line < 2**63:
        raise PalaceInputError(
            f"start_line of content {number} is {found.start_line!r:.80}, not a whole number from "
            "0 on; nothing was written"
        )
    if not isinstance(found.metadata, Mapping):
        raise PalaceInputError(f"metadata of content {number} is no dict; nothing was written")
    if taken := RESERVED & set(found.metadata):
        raise PalaceInputError(
            f"metadata of content {number} has {sorted(taken)}, which this library writes itself: "
            "choose other keys; nothing was written"
        )
    return found


def check_text(text: object, what: str) -> str:
    """Return a text that a model can embed: something in it, and nothing that no file can hold."""
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise PalaceInputError(
            f"{what} is no text, empty, or holds NUL, so there is nothing to embed; nothing was "
            "written"
        )
    check_documents([text], 1)
    return text
