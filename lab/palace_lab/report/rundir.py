"""The directory of one run, `reports/<run-id>/`, and where everything in it goes.

Rules: whether it can be written is found out before the first trial. A name that has to be changed
to be a file name gets a hash of what it was, so that two trials never share a file. `latest` points
to the newest run and is relative, so that the folder can be moved; something else of that name is
left alone.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from palace_lab.called import called
from palace_lab.errors import LabError, UsageError
from palace_store.anatomy.findings import AnatomyError, read_bounded

RESULTS = "results.jsonl"
ASKED = "asked.json"
LATEST = "latest"
_ASKED_BYTES_MAX = 16 * 1024 * 1024
_PART_CHARACTERS_MAX = 80
#: Names that need no change but "/" to "+", and cannot be taken for a changed one ("_").
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9./-]*")


class RunDirectory:
    """An existing directory of a run. Use `create` or `open_existing`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run_id = path.name
        self.results_path = path / RESULTS
        self.plans = path / "plans"
        self.histories = path / "histories"

    @classmethod
    def create(cls, reports: Path) -> RunDirectory:
        """Make a new directory below `reports` and point `latest` to it."""
        now = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        run = cls(reports / f"{now}-{secrets.token_hex(3)}")
        try:
            run.path.mkdir(parents=True)
            run.plans.mkdir()
            run.histories.mkdir()
            run.results_path.touch()
            _point(reports / LATEST, run.run_id)
        except OSError as error:
            raise UsageError(_cannot_write(reports, error)) from None
        return run

    @classmethod
    def open_existing(cls, path: Path) -> RunDirectory:
        """Open the directory of an earlier run to go on with it; `latest` may be named too."""
        run = cls(path.resolve())
        if not run.results_path.is_file():
            raise UsageError(
                f"{path} is no directory of a run: it has no {RESULTS}; name one below reports/"
            )
        try:
            run.plans.mkdir(exist_ok=True)
            run.histories.mkdir(exist_ok=True)
            probe = run.path / f".probe-{secrets.token_hex(3)}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise UsageError(_cannot_write(path, error)) from None
        return run

    def note_asked(self, asked: Mapping[str, Any]) -> None:
        """Write down what the run was asked for, so that going on asks for the same."""
        text = json.dumps(asked, sort_keys=True, ensure_ascii=False)
        try:
            (self.path / ASKED).write_text(text, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise UsageError(_cannot_write(self.path, error)) from None

    def plan_path(self, scenario: str, release: str, arm: str, index: int) -> Path:
        """Return where the plan of a trial goes."""
        return self.plans / f"{plan_stem(scenario, release, arm, f'{index:04}')}.json"

    def history_path(self, scenario: str, release: str, arm: str, index: int) -> Path:
        """Return where what is kept of a trial goes: a directory, not made yet."""
        return self.histories / plan_stem(scenario, release, arm, f"{index:04}")

    def broke_off(self, error: OSError, *, command: str = "run", again: str = "") -> LabError:
        """Return the error that ends a run which the system let write, or read, no more.

        `again` is the command that goes on with it: by default `command --resume` and the path.
        Raises a broken pipe as it is: nobody reads the output, which is no trouble of the run.
        """
        if isinstance(error, BrokenPipeError):
            raise error
        where = error.filename or self.path
        remedy = "make room, or put back what was removed"
        if error.errno in (errno.EMFILE, errno.ENFILE):
            remedy = "allow more open files (ulimit -n)"
        return LabError(
            f"the run broke off: {where}: {error.strerror}; what was decided is in {self.path}: "
            f"{remedy}, then: {called()} {again or f'{command} --resume {self.path}'}"
        )

    def relative(self, path: Path) -> str:
        """Return a path below the directory as records hold it."""
        return path.relative_to(self.path).as_posix()

    def absolute(self, relative: str) -> Path:
        """Return the path a record means; raises `UsageError` if it leads out of the directory."""
        path = self.path / relative
        if not path.resolve().is_relative_to(self.path.resolve()):
            raise UsageError(f"{self.results_path} names {relative!r}, which is not in its run")
        return path


def asked_in(path: Path) -> dict[str, Any]:
    """Return what the run in a directory was asked for; {} where it does not say."""
    try:
        asked = json.loads(read_bounded(path / ASKED, _ASKED_BYTES_MAX))
    except AnatomyError as error:
        if error.kind == "missing":
            return {}
        raise UsageError(f"{error}; start a new run") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path / ASKED} cannot be read ({error}); start a new run") from None
    if not isinstance(asked, dict):
        raise UsageError(f"{path / ASKED} does not say what the run was asked for; start a new run")
    return asked


def plan_stem(scenario: str, release: str, arm: str, last: str) -> str:
    """Return the file name, without its ending, of what belongs to these four."""
    return "--".join(map(_part, (scenario, release, arm, last)))


def _part(name: str) -> str:
    """Return a name as part of a file name: "s1/killed-in-pickle" gives "s1+killed-in-pickle"."""
    plain = _PLAIN.fullmatch(name) is not None and "--" not in name
    if plain and len(name) <= _PART_CHARACTERS_MAX:
        return name.replace("/", "+")
    changed = re.sub(r"[^A-Za-z0-9]+", "-", name)[:_PART_CHARACTERS_MAX].strip("-")
    digest = hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()[:8]
    return f"{changed}_{digest}"


def _point(link: Path, target: str) -> None:
    """Replace the link in one step, where the file system has links and nothing else is there."""
    if link.exists() and not link.is_symlink():
        return
    fresh = link.with_name(f".{LATEST}-{secrets.token_hex(3)}")
    with contextlib.suppress(OSError):  # FAT, as on many memory cards: reports, but no `latest`
        fresh.symlink_to(target)
        fresh.replace(link)


def _cannot_write(path: Path, error: OSError) -> str:
    return f"cannot write reports to {path}: {error.strerror}; choose another with --report-dir"
