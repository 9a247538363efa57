"""S3: which model is configured, in a file that may change while a process lives.

In the report a server had read its configuration once and kept its model for days; the file named
another by then, and the next process used that. The file is JSON with the fields of `Identity`.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

from palace_store.anatomy.findings import AnatomyError, read_bounded
from palace_store.embedding import HashEmbedder, Identity, told_apart
from palace_store.errors import OtherModelError, PalaceInputError
from palace_store.shell import DIMENSION, MODEL

_BYTES_MAX = 64 * 1024


def read_configuration(path: Path | str) -> Identity:
    """Return the model a file configures; raises `PalaceInputError` where it configures none."""
    try:
        text = read_bounded(Path(path), _BYTES_MAX).decode()
    except (AnatomyError, UnicodeDecodeError) as error:
        raise PalaceInputError(f"the configuration {path} cannot be read: {error}") from None
    try:
        return Identity.parse(text)
    except PalaceInputError as error:
        raise PalaceInputError(
            f"{path} configures no embedding model ({error}): it is a JSON object with provider, "
            "model, dimension, normalised and revision"
        ) from None


def chosen(
    model: str | None, dimension: int | None, path: Path | str | None = None
) -> HashEmbedder:
    """Return the stand-in that words of a command choose, or the file in their place.

    Raises `PalaceInputError` where the two contradict each other, or the file names no stand-in.
    """
    if path is None:
        return HashEmbedder(
            MODEL if model is None else model, DIMENSION if dimension is None else dimension
        )
    configured = read_configuration(path)
    for word, given, there in (
        ("model", model, configured.model),
        ("dimension", dimension, configured.dimension),
    ):
        if given not in (None, there):
            raise PalaceInputError(
                f"{path} configures {configured}, but --{word} says {given}: leave one of them away"
            )
    made = HashEmbedder(configured.model, configured.dimension)
    if made.identity != configured:
        raise PalaceInputError(
            f"{path} configures {configured}, but this server has stand-ins only: configure "
            f"{made.identity}, for one"
        )
    return made


def write_configuration(path: Path | str, identity: Identity) -> None:
    """Replace the configuration in one step."""
    temporary = Path(f"{path}.{os.getpid()}.new")
    temporary.write_text(json.dumps(asdict(identity), indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)


class Configuration:
    """The configuration as one process uses it.

    The file is read each time: `cp -p` and installers set its times as they like.
    """

    def __init__(self, path: Path | str, ours: Identity) -> None:
        self._path = Path(path)
        self._ours = ours

    def refuse_changed(self) -> None:
        """Raise `OtherModelError`, naming both, if another model is configured by now."""
        configured = read_configuration(self._path)
        if configured != self._ours:
            theirs, ours = told_apart(configured, self._ours)
            raise OtherModelError(
                f"{self._path} configures {theirs} by now, but this process was started with "
                f"{ours}; nothing was changed: restart this process",
                ours=str(self._ours),
                recorded=str(configured),
            )
