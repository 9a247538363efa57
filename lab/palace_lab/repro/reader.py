"""Starts the process that reads a palace once, watches it, and takes over what it says.

Rules. The reader has a time limit and dies with its parent; its copies lie in a directory that is
removed however either of them ends. A reader that died is told by its signal: one SIGBUS is a file
that was cut short while it was read, or a disk that cannot be read.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

import msgspec

from palace_lab.errors import DeadlineError, LabError, RefusedError
from palace_lab.processes.janitor import RUN_VARIABLE
from palace_lab.processes.kernel import die_with_parent
from palace_lab.processes.scratch import ScratchDirectory
from palace_lab.repro.facts import Reading
from palace_lab.repro.reading import read_palace
from palace_store.anatomy import AnatomyError

DEADLINE_S = 900.0
_LOOK_EVERY_S = 0.5
_BOOTSTRAP = (
    "import os, sys; sys.path[:] = sys.argv[1].split(os.pathsep); "
    "from palace_lab.repro.reader import main; main(sys.argv[2:])"
)


class ReaderDiedError(LabError):
    """The reader ended by a signal; the message says by which."""


def read_once(
    palace: Path, *, copy: bool, tell: Callable[[str], None], deadline_s: float = DEADLINE_S
) -> Reading:
    """Read the palace in a process of its own; `tell` hears what it does, at least twice a second.

    Raises `ReaderDiedError`, `DeadlineError`, `RefusedError` where there is no room for a copy, and
    `LabError` where a writer overtakes every copy.
    """
    with scratch_directory() as scratch:
        paths = os.pathsep.join(os.path.abspath(each) for each in sys.path)  # noqa: PTH100 - "" is here
        words = [str(palace), "copy" if copy else "", str(os.getpid())]
        process = subprocess.Popen(
            [sys.executable, "-c", _BOOTSTRAP, paths, *words],
            env={**os.environ, RUN_VARIABLE: scratch.run_id, "TMPDIR": str(scratch.path)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        try:
            answer = watch(process, tell, deadline_s)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
    return _taken(palace, answer, process.returncode)


@contextmanager
def scratch_directory() -> Iterator[ScratchDirectory]:
    """Make a directory for temporary files, gone in the end; `RefusedError` where there is none."""
    with ExitStack() as stack:
        try:
            scratch = stack.enter_context(ScratchDirectory())
        except OSError as error:
            raise RefusedError(
                f"there is no place for what has to be copied ({error.strerror or error}): set "
                "TMPDIR to a folder with room"
            ) from None
        yield scratch


def watch(
    process: subprocess.Popen[bytes],
    tell: Callable[[str], None],
    deadline_s: float,
    doing: str = "starting",
) -> bytes:
    """Return the answer, a line of JSON; the lines before it say what is being done.

    Raises `DeadlineError`; what becomes of the process is for the caller.
    """
    until = time.monotonic() + deadline_s
    answer = b""
    with selectors.DefaultSelector() as selector, process.stdout as said:  # type: ignore[union-attr]  # it is a pipe
        selector.register(said, selectors.EVENT_READ)
        while True:
            if selector.select(_LOOK_EVERY_S):
                line = said.readline()
                if not line:
                    break
                if line.startswith(b"{"):
                    answer = line
                else:
                    doing = line.decode(errors="replace").strip()
            tell(doing)
            if time.monotonic() > until:
                raise DeadlineError(
                    f"{doing} took longer than {deadline_s:.0f} s and was given up, the palace is "
                    "as it was: look at its disk, or copy it to a faster one"
                )
    process.wait()
    return answer


#: By the kind of what keeps a palace from being read, and says nothing of it.
_REFUSALS: Mapping[str, tuple[type[LabError], str]] = {
    "no-room": (RefusedError, "; free some space, or set TMPDIR to a folder that has it"),
    "too-long": (
        DeadlineError,
        "; the palace is as it was: look at its disk, or copy it to a faster one",
    ),
    "too-large": (RefusedError, "; nothing is said of it, and nothing was changed"),
}


def _taken(palace: Path, answer: bytes, code: int) -> Reading:
    if code < 0:
        raise ReaderDiedError(
            f"the process that read {palace} ended by {signal.Signals(-code).name}: a file was cut "
            "short while it was read, or its disk cannot be read; stop whoever writes and try "
            "again, then look at the kernel's log (dmesg)"
        )
    if code or not answer:
        raise LabError(f"the process that read {palace} ended with code {code}; see above")
    said = json.loads(answer)
    if "refused" in said:
        error, advice = _REFUSALS.get(said["kind"], (LabError, ""))
        raise error(said["refused"] + advice)
    return msgspec.convert(said, Reading)


def main(words: list[str]) -> None:
    """Read as `read_once` asks."""
    palace, copy, parent = words
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it, and ends this one
    die_with_parent(int(parent))
    try:
        reading = read_palace(
            Path(palace), copy=bool(copy), tell=lambda text: print(text, flush=True)
        )
        said = asdict(reading)
    except AnatomyError as error:
        said = {"refused": str(error), "kind": error.kind}
    print(json.dumps(said), flush=True)
