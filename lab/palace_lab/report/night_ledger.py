"""The ledger of all nights: every failure ever seen, with the seed that shows it fastest.

Rules:
- One entry for each scenario, release, arm and signature. Taking the same night in again, after a
  loss of power, changes nothing: the count of the newest night is replaced, not added to.
- The file is replaced whole. One that is torn, or not ours, is put aside under another name and
  said; nothing in it is lost, and a new one begins.
- The plan of the fastest trial is kept beside the ledger, for its night will be removed one day.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import msgspec

from palace_lab.errors import UsageError
from palace_lab.judge.results import TrialRecord
from palace_lab.report.durable import replace_file
from palace_lab.report.rundir import plan_stem

SCHEMA = 1
NAME = "ledger.json"
PLANS = "plans"
_BYTES_MAX = 256 * 1024 * 1024
Key = tuple[str, str, str, str]


class Entry(msgspec.Struct, kw_only=True):
    """One failure. `count_before`: on earlier nights; `count_last`: on the last that saw it."""

    scenario: str
    release: str
    arm: str
    signature: str
    first_seen: str  # the night
    last_seen: str
    count_before: int
    count_last: int
    seed: int  # of the trial that showed it fastest, of those whose plan could be kept if any was
    fastest_s: float
    median_s: float  # of the trials that showed it on that last night
    plan: str  # of that trial, relative to the ledger; "" if none could be kept

    @property
    def key(self) -> Key:
        """Return what tells it from the others."""
        return (self.scenario, self.release, self.arm, self.signature)

    @property
    def count(self) -> int:
        """Return how often it was seen in all."""
        return self.count_before + self.count_last


class Pages(msgspec.Struct, kw_only=True):
    """What is in the file. `costs`: seconds of a trial, by scenario, release and arm."""

    schema: int = SCHEMA
    last_night: str = ""
    night_before: str = ""
    entries: list[Entry] = []
    costs: dict[str, float] = {}


@dataclass(frozen=True)
class News:
    """What a night has changed."""

    new: tuple[Entry, ...]  # never seen before tonight
    gone: tuple[tuple[str, str, str, int], ...]  # failed last night, now 0 of so many
    first_night: bool


class Ledger:
    """The ledger in a directory of nights."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / NAME
        self._plans = directory / PLANS
        self.trouble = ""  # what had to be put aside, as a sentence
        self._pages = self._read()
        self._entries = {each.key: each for each in self._pages.entries}

    @property
    def entries(self) -> list[Entry]:
        """Return every entry, by name."""
        return [self._entries[key] for key in sorted(self._entries)]

    @property
    def costs(self) -> dict[str, float]:
        """Return the seconds a trial took on earlier nights, by `cell_name`."""
        return dict(self._pages.costs)

    def take_in(self, night: str, records: Iterable[TrialRecord], home: Path) -> None:
        """Take in a night's trials, all of them; `home` is its directory. Raises OSError."""
        shown: dict[Key, list[TrialRecord]] = defaultdict(list)
        seconds: dict[str, list[float]] = defaultdict(list)
        for record in records:
            if record.lab_error:
                continue
            seconds[cell_name(record.scenario, record.release, record.arm)].append(record.seconds)
            if record.signature is not None:
                key = (record.scenario, record.release, record.arm, record.signature)
                shown[key].append(record)
        for key, found in shown.items():
            self._note(night, key, found, home)
        for cell, took in seconds.items():
            self._pages.costs[cell] = round(median(took), 3)
        if self._pages.last_night != night:
            self._pages.night_before, self._pages.last_night = self._pages.last_night, night

    def save(self) -> None:
        """Write it down, on the disk when this returns; raises OSError."""
        self._pages.entries = self.entries
        replace_file(self.path, msgspec.json.format(msgspec.json.encode(self._pages), indent=1))

    def news(self, records: Iterable[TrialRecord]) -> News:
        """Return what the night taken in last has changed; `records` are its trials."""
        tried: Counter[tuple[str, str, str]] = Counter()
        failed = set()
        for record in records:
            cell = (record.scenario, record.release, record.arm)
            tried[cell] += not record.lab_error
            if record.signature is not None and not record.lab_error:
                failed.add(cell)
        before = {
            each.key[:3]
            for each in self.entries
            if each.last_seen == self._pages.night_before and each.arm != "canary"
        }
        gone = sorted(cell for cell in before if tried[cell] and cell not in failed)
        return News(
            new=tuple(each for each in self.entries if each.first_seen == self._pages.last_night),
            gone=tuple((*cell, tried[cell]) for cell in gone),
            first_night=not self._pages.night_before,
        )

    def _note(self, night: str, key: Key, found: list[TrialRecord], home: Path) -> None:
        by_time = sorted(found, key=lambda record: record.seconds)
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = Entry(
                scenario=key[0],
                release=key[1],
                arm=key[2],
                signature=key[3],
                first_seen=night,
                last_seen=night,
                count_before=0,
                count_last=0,
                seed=by_time[0].seed,
                fastest_s=float("inf"),
                median_s=0.0,
                plan="",
            )
        if entry.last_seen != night:
            entry.count_before += entry.count_last
            entry.last_seen = night
        entry.count_last = len(found)
        entry.median_s = round(median(record.seconds for record in found), 4)
        for record in by_time:
            if entry.plan and record.seconds >= entry.fastest_s:
                return
            if record.plan and (plan := self._keep_plan(home / record.plan, key)):
                entry.seed, entry.fastest_s, entry.plan = record.seed, record.seconds, plan
                return
        if not entry.plan and by_time[0].seconds < entry.fastest_s:
            entry.seed, entry.fastest_s = by_time[0].seed, by_time[0].seconds

    def _keep_plan(self, source: Path, key: Key) -> str:
        target = self._plans / f"{plan_stem(*key)}.json"
        try:
            content = source.read_bytes()
        except OSError:
            return ""  # its night has lost it; the seed still says which trial it was
        self._plans.mkdir(exist_ok=True)
        replace_file(target, content)
        return target.relative_to(self.path.parent).as_posix()

    def _read(self) -> Pages:
        try:
            with self.path.open("rb") as file:
                content = file.read(_BYTES_MAX + 1)
        except FileNotFoundError:
            return Pages()
        except OSError as error:
            raise UsageError(
                f"the ledger {self.path} cannot be read ({error.strerror}): put it right, or move "
                "it away to begin a new one"
            ) from None
        said = f"longer than {_BYTES_MAX} bytes"
        if len(content) <= _BYTES_MAX:
            try:
                pages = msgspec.json.decode(content, type=Pages)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                said = str(error)
            else:
                if pages.schema == SCHEMA:
                    return pages
                said = f"schema {pages.schema}, this lab reads {SCHEMA}"
        aside = self.path.with_name(f"{NAME}.unread-{time.time_ns()}")
        try:
            self.path.rename(aside)
        except OSError as error:
            raise UsageError(
                f"{self.path} is no ledger ({said}) and cannot be put aside ({error.strerror})"
            ) from None
        self.trouble = f"{self.path} is no ledger ({said}): kept as {aside.name}, a new one begins"
        return Pages()


def cell_name(scenario: str, release: str, arm: str) -> str:
    """Return a cell as one word of the ledger."""
    return f"{scenario} {release} {arm}"
