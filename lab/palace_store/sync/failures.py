"""How the remote can fail: one class for each thing that is to be done about it."""

from __future__ import annotations

from palace_store.errors import PalaceError


class RemoteError(PalaceError):
    """The remote did not do what it was asked; the sentence says why."""


class RemoteUnreachableError(RemoteError):
    """There was no connection, or one to a remote that does nothing for anybody now (503)."""


class RemoteBusyError(RemoteUnreachableError):
    """The remote asks to be asked less (429)."""


class RemoteSilentError(RemoteError):
    """It was sent, and no whole answer came: whether it was done is unknown."""


class RemoteStrangeError(RemoteSilentError):
    """Something answered that does not speak as a remote does: a redirect, or a page to log in.

    Whether the remote heard of it is unknown, as with silence.
    """


class RemoteDeniedError(RemoteError):
    """The remote refuses this key (401, 403)."""

    effect = "none"


class RemoteRefusedError(RemoteError):
    """The remote refuses this very request (another 4xx)."""

    effect = "none"


class RemoteFailedError(RemoteError):
    """The remote says that it failed (5xx), or answers what makes no sense."""


class RemoteTooLongError(RemoteFailedError):
    """The remote answers with more than anybody here would hear out."""


class RemoteExchangedError(RemoteError):
    """The numbers of the remote mean other memories than those it was asked for."""

    effect = "none"
