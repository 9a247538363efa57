"""The lab's own errors and exit codes: each error is one clear sentence and one exit code.

A sentence says what is wrong, where, and what to do next. The command line prints it without a
traceback; anything that is not a `LabError` is a bug of the lab and keeps its traceback.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every command."""

    PROMISED = 0
    VIOLATED = 1
    USAGE = 2
    UNKNOWN = 3
    HANG = 4
    LEAK = 5
    VACUOUS = 6
    REFUSED = 7
    GONE = 8
    INTERRUPTED = 130


class LabError(Exception):
    """Something the user can act on."""

    exit_code: ExitCode = ExitCode.UNKNOWN


class UsageError(LabError):
    """The request makes no sense as it stands: a wrong name, number, path or plan."""

    exit_code = ExitCode.USAGE


class RefusedError(LabError):
    """This machine or environment cannot do what was asked; the reason is in the message."""

    exit_code = ExitCode.REFUSED


class WorkerDiedError(LabError):
    """A worker ended while an answer was awaited. Its death is data, not a failure of the lab."""


class DeadlineError(LabError):
    """A bounded wait ran out; the message carries the stack of the process where one was had."""

    exit_code = ExitCode.HANG
