"""Main's side of the store's tests: one host a release, and workers that are told what to do."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from palace_lab.environments import ensure
from palace_lab.processes.roots import make_import_root
from palace_lab.processes.supervise import (
    DEFAULT_PRELOAD,
    CrashPoint,
    Hit,
    Host,
    Limits,
    Worker,
)
from palace_store.anatomy import CollectionSurvey

RELEASES = ("0.6.3", "1.0.21", "1.5.9")


def by_day(values: Iterable[str], chosen: Collection[str]) -> list[Any]:
    """Return parameters of a test: the chosen ones run in a pull request, all others at night."""
    return [
        pytest.param(each, marks=[] if each in chosen else [pytest.mark.nightly]) for each in values
    ]


#: The oldest and the newest of them; the one between follows at night (its scenarios run by day).
IN_PULL_REQUESTS = by_day(RELEASES, ("0.6.3", "1.5.9"))
#: The same for tests of ten seconds and more.
NEWEST_IN_PULL_REQUESTS = by_day(RELEASES, ("1.5.9",))
NEWEST = pytest.mark.parametrize("bench", NEWEST_IN_PULL_REQUESTS, indirect=True)
ANSWER_S = 60.0
#: What a torn index may make a reader write: bounded, so that a bug fills no disk.
LIMITS = Limits(file_size_bytes=256 * 1024 * 1024)


class ToldError(Exception):
    """What the worker's operation raised, by name."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(f"{answer['error']}: {answer['text']}")
        self.name = answer["error"]
        self.text = answer["text"]
        self.effect = answer["effect"]
        self.holder = answer["holder"]
        self.versions = answer["versions"]


class Told:
    """One worker with one store."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.last_effect: str | None = None  # of the last error: what it says of its effect

    def begin(self, op: str, **args: Any) -> None:
        self.worker.send({"do": op, "args": args})

    def answer(self, timeout_s: float = ANSWER_S) -> Any:
        message = self.worker.receive(timeout_s)
        if "error" in message:
            self.last_effect = message["effect"]
            raise ToldError(message)
        return message["ok"]

    def do(self, op: str, **args: Any) -> Any:
        self.begin(op, **args)
        return self.answer()

    def refused(self, op: str, **args: Any) -> ToldError:
        with pytest.raises(ToldError) as caught:
            self.do(op, **args)
        return caught.value


class Bench:
    """One release and a directory of one test."""

    def __init__(self, release: str, host: Host, directory: Path) -> None:
        self.release = release
        self.host = host
        self.directory = directory
        self.palace = directory / "palace"
        self._logs = directory / "logs"  # a host serves several benches
        self._logs.mkdir(exist_ok=True)
        self._made = 0

    @contextmanager
    def worker(
        self,
        palace: Path | None = None,
        *,
        fixes: Sequence[str] | None = None,
        points: Sequence[CrashPoint] = (),
        traceable: Sequence[str] = (),
        entry: str = "store_entries:serve",
        **options: Any,
    ) -> Iterator[Told]:
        self._made += 1
        name = f"w{self._made}"
        worker = self.host.launch(
            name,
            entry=entry,
            config={
                "palace": str(palace or self.palace),
                "fixes": None if fixes is None else list(fixes),
                "options": options,
            },
            points=points,
            traceable=traceable,
            limits=LIMITS,
            log=self._logs / f"{name}.log",
            root=self.directory,
            cwd=self.directory,
        )
        with worker:
            yield Told(worker)

    def copied(self, source: Path, name: str = "copy") -> Path:
        """Return a fresh copy of a palace; the one before it under that name is removed."""
        target = self.directory / name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
        return target


def set_aside(palace: Path) -> list[str]:
    """Return the names of index directories that somebody has renamed, the library included."""
    return sorted(path.name for path in palace.glob("*-*.*"))


def wrong_at_rest(each: CollectionSurvey, lost: Sequence[str]) -> set[str]:
    """Return the kinds of damage left in a collection, but for what `lost` vectors and logs show.

    What is in no file stays lost, and a log that was cut stays cut.
    """
    shown = {"log-gap"} | ({"vectors-missing", "unrecoverable", "index-drift"} if lost else set())
    return {found.kind for found in each.findings if found.severity == "damage"} - shown


#: What writes into a palace, in families of system calls that a crash point knows as one.
FAMILIES = ("write", "rename", "fsync", "truncate", "unlink")
_FAMILY = {"fdatasync": "fsync", "ftruncate": "truncate", "unlinkat": "unlink"}


def numbered(records: Sequence[Hit]) -> list[tuple[str, Hit, int]]:
    """Return each recorded call with its family and its number in that."""
    counted = dict.fromkeys(FAMILIES, 0)
    found = []
    for record in records:
        family = _FAMILY.get(
            record.syscall, "write" if "write" in record.syscall else record.syscall
        )
        counted[family] += 1
        found.append((family, record, counted[family]))
    return found


@contextmanager
def host_of(release: str, scratch: Path) -> Iterator[Host]:
    """Start the host of one release; nothing of it is left at the end."""
    root = make_import_root(scratch / "root")
    entries = Path(__file__).parent
    python = ensure(release).python
    preload = (*DEFAULT_PRELOAD, "palace_store.drawers", "palace_lab.targets.worker")
    with Host(python, root, scratch, name=release, extra_roots=[entries], preload=preload) as host:
        yield host
        assert host.leaks() == ()
