"""The hook at the end of a night: a command that is told the one line.

Rules: no shell. The line is the command's standard input, and stands for each word that is `{}` and
nothing more: inside a word that a shell reads it could be taken for a command. What the command
does changes no verdict; its failure is said. It has `SECONDS_MAX`, then it is ended with all it has
started.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess

from palace_lab.errors import UsageError
from palace_lab.report.words import one_line

SECONDS_MAX = 60.0
_COMPLAINT_CHARACTERS_MAX = 200


def words_of(command: str) -> list[str]:
    """Return the words of a command line; raises `UsageError` if nothing of it can be started."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"--notify {command[:80]!r} is no command line: {error}") from None
    if not words or "\0" in command or shutil.which(words[0]) is None:
        raise UsageError(
            f"--notify {command[:80]!r} names no program that can be started: give its full path"
        )
    return words


def tell(words: list[str], line: str, *, seconds_max: float = SECONDS_MAX) -> str:
    """Run the command; returns what went wrong in a sentence, "" if nothing did."""
    said = [line if word == "{}" else word for word in words]
    try:
        process = subprocess.Popen(
            said,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        return f"the notify command cannot be started: {error.strerror}"
    try:
        _, complaint = process.communicate(f"{line}\n".encode(), timeout=seconds_max)
    except subprocess.TimeoutExpired:
        return f"the notify command was not done after {seconds_max:.0f} s and was ended"
    finally:
        # Whatever it has started and left is in its session; no other process has that number.
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
    if process.returncode == 0:
        return ""
    text = one_line(complaint.decode(errors="replace"), characters_max=_COMPLAINT_CHARACTERS_MAX)
    return f"the notify command ended with {process.returncode}" + (f": {text}" if text else "")
