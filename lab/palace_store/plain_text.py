"""Whether a text can be stored in SQLite and read back as it was: one check for every store."""

from __future__ import annotations

from collections.abc import Callable

from palace_store.errors import PalaceInputError


def checked(
    name: str,
    value: object,
    bytes_max: int,
    *,
    error: type[PalaceInputError],
    too_long: Callable[[str], str],
) -> str:
    """Return the value if it is a text that can be stored, else raise `error`; `name` is for it.

    `too_long` words the sentence for a text of a size, which it is given in words.
    """
    if not isinstance(value, str):
        raise error(f"{name} is {type(value).__name__}, not text: pass a str")
    if len(value) > bytes_max:  # before anything that walks through all of it
        raise error(too_long(f"{len(value)} characters"))
    if not value.strip():
        raise error(f"{name} is empty: pass at least one visible character")
    if "\0" in value:
        raise error(f"{name} has a NUL at position {value.index(chr(0))}: remove it")
    try:
        size = len(value.encode())
    except UnicodeEncodeError as trouble:
        raise error(
            f"{name} has a lone surrogate at position {trouble.start}, which is no character: "
            "decode the text again from its source"
        ) from None
    if size > bytes_max:
        raise error(too_long(f"{size} bytes"))
    return value
