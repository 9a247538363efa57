"""The command `palace-lab`: what it offers, and how errors become sentences and exit codes.

Each command lives in a module of its own under `commands`; this one only puts them together.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import click

from palace_lab import __version__
from palace_lab.commands.ablate import ablate_command
from palace_lab.commands.bench import bench_command
from palace_lab.commands.diagnose import diagnose_command
from palace_lab.commands.hop import hop_command
from palace_lab.commands.listing import list_command
from palace_lab.commands.mend import mend_command
from palace_lab.commands.replay import replay_command
from palace_lab.commands.repro import repro_command
from palace_lab.commands.run import run_command
from palace_lab.commands.soak import soak_command
from palace_lab.commands.sweep import sweep_command
from palace_lab.environments.commands import envs
from palace_lab.errors import ExitCode, LabError, UsageError

#: As a shell calls an end by SIGPIPE: whoever read the output has gone.
_UNREAD = 128 + signal.SIGPIPE
_STDOUT, _STDERR = 1, 2


class _UnreadError(Exception):
    """Nobody reads the output any more."""


@contextlib.contextmanager
def _unread_told() -> Iterator[None]:
    """Raise `_UnreadError` for a broken pipe, of which click, and rich, would make exit code 1."""
    try:
        yield
    except BrokenPipeError as error:
        raise _UnreadError from error
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):
            raise _UnreadError from ended
        raise


class _Commands(click.Group):
    """All commands; what nobody reads is told to `main`."""

    def make_context(self, *words: Any, **settings: Any) -> click.Context:
        with _unread_told():
            return super().make_context(*words, **settings)

    def invoke(self, ctx: click.Context) -> Any:
        with _unread_told():
            return super().invoke(ctx)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="palace-lab")
def palace_lab() -> None:
    """Break local-first memory stores on purpose, and judge what their fixes are worth.

    \b
    Exit codes: 0 all as promised · 1 a fixed arm was violated · 2 usage or bad input ·
    3 unknown · 4 hang · 5 leak · 6 vacuous or not reproduced · 7 environment refused ·
    8 gone · 130 interrupted. Where nobody reads the output any more it is 141.
    """  # noqa: D301  (click wants the character itself)


COMMANDS = (
    run_command,
    list_command,
    replay_command,
    repro_command,
    sweep_command,
    hop_command,
    ablate_command,
    bench_command,
    soak_command,
    diagnose_command,
    mend_command,
    envs,
)
for command in COMMANDS:
    palace_lab.add_command(command)


def main() -> None:
    """Run the command line; every foreseen error is one sentence and an exit code.

    SIGTERM, by which a service or a job of CI is stopped, ends it as Ctrl-C does. Output that
    nobody takes never ends it with 1, which is a verdict.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        _hold_streams()
        code = _ended()
        sys.stdout.flush()  # at its end Python would say itself that this cannot be done
    except OSError as error:
        code = _unsaid(error)
        _give_output_up()
    sys.exit(code)


def _ended() -> int:
    """Do what the words ask for and return the exit code; raise what keeps it from being said."""
    try:
        _refuse_no_folder()
        code = palace_lab.main(standalone_mode=False)
    except LabError as error:
        click.echo(f"palace-lab: {error}", err=True)
        return error.exit_code
    except click.exceptions.Abort:
        return ExitCode.INTERRUPTED
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE
    except KeyboardInterrupt:
        click.echo("palace-lab: interrupted", err=True)
        return ExitCode.INTERRUPTED
    except _UnreadError:
        _give_output_up()
        return _UNREAD
    return code if isinstance(code, int) else ExitCode.PROMISED


def _unsaid(error: OSError) -> int:
    """Return the exit code where the output could not be written, and say why if anybody hears.

    Whoever closed a pipe knows; what else went wrong in the system is a bug and is raised.
    """
    if isinstance(error, BrokenPipeError):
        return _UNREAD
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    if not full and (error.filename is not None or error.errno not in (errno.EBADF, errno.EIO)):
        raise error
    where = error.filename or "where its output goes"
    todo = "make room, then ask again" if full else "give it a file, a pipe or a terminal"
    with contextlib.suppress(OSError):
        click.echo(f"palace-lab: {where}: {error.strerror}; {todo}", err=True)
    return ExitCode.REFUSED


def _hold_streams() -> None:
    """Refuse a closed standard output; no file may get the number of one of the three streams.

    What is printed would go into it, and it may be a palace's. Raises OSError.
    """
    closed = sys.stdout is None
    while (number := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        pass
    os.close(number)
    if sys.stderr is None:
        sys.stderr = os.fdopen(_STDERR, "w", closefd=False)
    if closed:
        raise OSError(errno.EBADF, "it is closed")


def _give_output_up() -> None:
    """Let what is still to be written go nowhere: Python would try again at its end, and say so."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in (_STDOUT, _STDERR):
        os.dup2(nowhere, number)
    os.close(nowhere)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _refuse_no_folder() -> None:
    try:
        os.getcwd()  # noqa: PTH109 - nothing is done with it
    except OSError as error:
        raise UsageError(
            f"the folder this was started in cannot be used ({error.strerror}): change to another"
        ) from None
