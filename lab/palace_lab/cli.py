"""The command `palace-lab`: what it offers, and how errors become sentences and exit codes.

Each command lives in a module of its own under `commands`; this one only puts them together.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from types import FrameType

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


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="palace-lab")
def palace_lab() -> None:
    """Break local-first memory stores on purpose, and judge what their fixes are worth.

    \b
    Exit codes: 0 all as promised · 1 a fixed arm was violated · 2 usage or bad input ·
    3 unknown · 4 hang · 5 leak · 6 vacuous or not reproduced · 7 environment refused ·
    8 gone · 130 interrupted.
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

    SIGTERM, by which a service or a job of CI is stopped, ends it as Ctrl-C does.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        _refuse_no_folder()
        code = palace_lab.main(standalone_mode=False)
    except LabError as error:
        click.echo(f"palace-lab: {error}", err=True)
        sys.exit(error.exit_code)
    except click.exceptions.Abort:
        sys.exit(ExitCode.INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(ExitCode.USAGE)
    except KeyboardInterrupt:
        click.echo("palace-lab: interrupted", err=True)
        sys.exit(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone; there is nobody left to tell
        sys.exit(ExitCode.INTERRUPTED)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = error.filename or "where its output goes"
        click.echo(f"palace-lab: {where}: {error.strerror}; make room, then ask again", err=True)
        _give_output_up()
        sys.exit(ExitCode.REFUSED)
    sys.exit(code if isinstance(code, int) else 0)


def _give_output_up() -> None:
    """Let what is still to be written go nowhere: Python would try again at its end, and say so."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
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
