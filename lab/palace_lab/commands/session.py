"""One sitting of a soak: which night it works on, what it plays, and what it says at the end."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from palace_lab.called import called
from palace_lab.commands.prepare import chosen, needed, provide, resolve_all, why_no_tracing
from palace_lab.errors import ExitCode, RefusedError, UsageError
from palace_lab.judge.night import NightResult
from palace_lab.processes.burden import step_back
from palace_lab.report import night_words
from palace_lab.report.console import STYLES, Console
from palace_lab.report.durable import replace_file
from palace_lab.report.night_ledger import Ledger
from palace_lab.report.nights import Keep, Night, cut_off, retire, unfinished
from palace_lab.report.records import read_records
from palace_lab.report.rundir import ASKED, asked_in
from palace_lab.report.terminal import RunProgress
from palace_lab.report.words import duration, one_line, shown_path, size
from palace_lab.runner.arena import Arena
from palace_lab.runner.field import SoakOrder
from palace_lab.runner.guards import Guards, Limits
from palace_lab.runner.offline import Offline
from palace_lab.runner.soak import Soak

SUMMARY = "night.txt"
LEDGER_PAGE = "ledger.md"
#: Seconds between two progress lines of a log: a night has thousands of trials.
_QUIET_S = 60.0


@dataclass(frozen=True)
class Asked:
    """What a night draws from. It is noted when the night begins and stays the same."""

    names: tuple[str, ...]
    releases: tuple[str, ...]
    seed: int
    costs: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Begun:
    """A night to work on, new or gone on with."""

    night: Night
    asked: Asked


def begin(
    console: Console, folder: Path, ledger: Ledger, asked: Asked, keep: Keep, *, resume: bool
) -> Begun:
    """Return the night to work on: the one that was cut off, or a new one.

    A new one first takes into the ledger what each night that was cut off had found, and ends it.
    """
    last = unfinished(folder)
    if resume and last is not None:
        console.say(
            f"going on with {last.name}: it has worked {duration(last.state.worked_s)}, "
            f"{size(last.state.written_bytes)} written",
            hang=2,
        )
        return Begun(last, _noted(last.path))
    chosen(asked.names, nightly=True)  # a wrong name makes no night
    resolve_all(asked.releases)
    for night in cut_off(folder):
        _close(console, night, ledger)
        could = last is not None and night.name == last.name
        hint = "; --resume would have gone on with it" if could else ""
        console.say(f"{night.name} was cut off and is left{hint}", hang=2)
    for path in retire(folder, replace(keep, nights=max(1, keep.nights - 1))):
        console.say(f"removed the old night {path.name}", "dim")
    night = Night.begin(folder)
    asked = replace(asked, costs=ledger.costs)
    night.directory.note_asked(
        {
            "names": asked.names,
            "releases": asked.releases,
            "seed": asked.seed,
            "costs": dict(asked.costs),
        }
    )
    return Begun(night, asked)


class Session:
    """Plays a night, or the rest of it, and tells what came of it."""

    def __init__(
        self,
        console: Console,
        folder: Path,
        ledger: Ledger,
        begun: Begun,
        limits: Limits,
        jobs: int,
    ) -> None:
        self._console, self._folder, self._ledger = console, folder, ledger
        self._night, self._asked = begun.night, begun.asked
        self._limits, self._jobs = limits, jobs

    def play(self, *, offline: bool) -> tuple[str, ExitCode]:
        """Work until a limit is reached; returns the one line and the exit code."""
        night, asked, console = self._night, self._asked, self._console
        scenarios = chosen(asked.names, nightly=True)
        releases = resolve_all(asked.releases)
        previous = read_records(night.directory.results_path)
        rank = step_back()
        with ExitStack() as stack:
            progress = stack.enter_context(RunProgress(console, quiet_s=_QUIET_S))
            environments, refused = provide(
                needed(scenarios, releases), progress.environment, offline=offline
            )
            if not environments:
                raise RefusedError(next(iter(refused.values())))
            arena = stack.enter_context(Arena(environments, scratch_root=None))
            order = SoakOrder(
                scenarios=scenarios,
                releases=[each.release for each in environments],
                asked=releases,
                refused=refused,
                seed=asked.seed,
                no_tracing=why_no_tracing(),
                lenient=offline and not asked.releases,
                costs=asked.costs,
                seconds=self._limits.seconds,
                named=asked.names,
            )
            if offline:
                order = replace(order, why_not=Offline(arena, environments[-1].python).why_not)
            guards = Guards(
                self._limits,
                jobs=self._jobs,
                scratch=arena.scratch,
                home=self._folder,
                worked_s=night.state.worked_s,
                written_bytes=night.state.written_bytes,
            )
            try:
                soak = Soak(arena, order, night, guards, self._ledger, progress)
                self._say_what(soak, guards, rank)
                progress.start(len(previous), already=len(previous))
                result = soak.run(previous)
                line = self._keep(soak, result)
            except OSError as error:
                again = f"soak --resume --soak-dir {shown_path(self._folder)}"
                raise night.directory.broke_off(error, again=again) from error
        self._tell(result, line)
        return line, result.exit_code

    def _say_what(self, soak: Soak, guards: Guards, rank: str) -> None:
        limits = self._limits
        self._console.say(
            f"night {self._night.name}, seed {self._asked.seed}: for {duration(limits.seconds)}, "
            f"at most {size(limits.written_bytes)} written and {size(limits.memory_bytes)} of "
            f"memory, {self._jobs} at once, {rank}; {guards.sensors_said()}",
            hang=2,
        )
        by_reason: dict[str, list[str]] = {}
        for (scenario, release), reason in soak.field.left_out.items():
            by_reason.setdefault(one_line(reason), []).append(f"{scenario} on {release}")
        for reason, names in by_reason.items():
            self._console.say(f"left out: {', '.join(names)}: {reason}", "dim", hang=2)

    def _keep(self, soak: Soak, result: NightResult) -> str:
        """Write down what came of it; returns the one line. Raises OSError."""
        line = night_words.headline(result, self._ledger.news(soak.records))
        if not result.interrupted:
            text = "\n".join([line, night_words.unseen(result), ""])
            replace_file(self._night.path / SUMMARY, text.encode("utf-8", "backslashreplace"))
        page = night_words.ledger_page(self._ledger.entries, self._folder)
        replace_file(self._folder / LEDGER_PAGE, page.encode("utf-8", "backslashreplace"))
        return line

    def _tell(self, result: NightResult, line: str) -> None:
        console = self._console
        console.show_blocks(night_words.red_blocks(result, self._night.path))
        console.say()
        if unseen := night_words.unseen(result):
            console.say(unseen, hang=2)
        console.say(
            f"{result.ended or 'interrupted'} · {shown_path(self._folder / LEDGER_PAGE)}",
            "dim",
            hang=2,
        )
        if result.interrupted:
            again = f"{called()} soak --resume --soak-dir {shown_path(self._folder)}"
            console.say(f"interrupted; go on: {again}", STYLES["bad"])
        console.say(line, "bold" if result.exit_code is ExitCode.PROMISED else STYLES["bad"])


def _close(console: Console, night: Night, ledger: Ledger) -> None:
    """Take what a night has found into the ledger, and end it where it stands."""
    try:
        try:
            found = read_records(night.directory.results_path)
        except UsageError as error:
            console.say(f"not in the ledger: {error}", STYLES["told"], hang=2)
        else:
            ledger.take_in(night.name, found, night.path)
            ledger.save()
        night.note(night.state.worked_s, night.state.written_bytes, ended="it was cut off")
    except OSError as error:
        raise night.directory.broke_off(error, again="soak") from error


def _noted(path: Path) -> Asked:
    """Return what a night was asked for; raises `UsageError` where that makes no sense."""
    found: dict[str, Any] = asked_in(path)
    try:
        asked = Asked(
            tuple(_text(name) for name in found["names"]),
            tuple(_text(name) for name in found["releases"]),
            int(found["seed"]),
            {_text(cell): float(cost_s) for cell, cost_s in dict(found["costs"]).items()},
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UsageError(
            f"{path / ASKED} does not say what the night was asked for ({error!r}): begin a new "
            "night without --resume"
        ) from None
    return asked


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
