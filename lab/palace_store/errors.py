"""Errors of the library: each says what is wrong, where, and what to do next."""

from __future__ import annotations


class PalaceError(Exception):
    """Base of everything the library raises on purpose.

    `effect` is "none" where the operation is known to have changed nothing, else "unknown".
    """

    effect = "unknown"


class PalaceInputError(PalaceError, ValueError):
    """The caller's data was refused before anything was written."""

    effect = "none"


class UnusablePalaceError(PalaceError):
    """There is no palace at that path, and none can be made there. Raised before any effect."""

    effect = "none"


class LeaseTimeoutError(PalaceError):
    """Another process kept the palace for longer than the wait allowed; `holder` is its pid.

    Raised before any effect.
    """

    effect = "none"

    def __init__(self, message: str, *, holder: int | None) -> None:
        super().__init__(message)
        self.holder = holder


class LeaseLostError(PalaceError):
    """This process held the palace, was stopped for too long, and a peer has taken over.

    Raised before any effect: the operation that meets it has changed nothing (a fence).
    """

    effect = "none"


class ForkedStoreError(PalaceError):
    """This process is a fork of one that had the palace open; a client does not survive that.

    Raised before any effect.
    """

    effect = "none"


class StaleLibraryError(PalaceError):
    """This process runs an older chromadb than one that has opened the palace (S0).

    Raised before any effect, with both versions in the message and as attributes.
    """

    effect = "none"

    def __init__(self, message: str, *, running: str, palace: str) -> None:
        super().__init__(message)
        self.running = running
        self.palace = palace


class StaleServerError(PalaceError):
    """The library of this server was replaced while it ran (S0).

    Raised before any effect. `running` and `installed` are versions by package; where an installer
    is at work, `installed` says in words what it found.
    """

    effect = "none"

    def __init__(self, message: str, *, running: dict[str, str], installed: dict[str, str]) -> None:
        super().__init__(message)
        self.running = running
        self.installed = installed


class IndexDamagedError(PalaceError):
    """The vector index cannot be trusted and cannot be rebuilt here without losing vectors.

    Raised before any effect.
    """

    effect = "none"


class SetAsideError(PalaceError):
    """The system refused to rename a vector segment; it is where it was.

    Raised while a palace is opened, before any effect of the operation that opened it.
    """

    effect = "none"


class OtherModelError(PalaceError):
    """A collection and its caller do not agree on the embedding model (S3).

    Raised before any effect, with both identities in the message and as attributes; `recorded` is
    "" where nobody recorded one.
    """

    effect = "none"

    def __init__(self, message: str, *, ours: str, recorded: str) -> None:
        super().__init__(message)
        self.ours = ours
        self.recorded = recorded


class SingleWriterError(PalaceError):
    """Another process is the one that may write, or that resets a collection (S3).

    Raised before any effect.
    """

    effect = "none"
