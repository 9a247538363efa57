"""The order of a plan's steps: what each of them needs before it, and what must come after it.

Rules:
- Only what is certain from the steps alone is a mistake. That a process may have died at a crash
  point, or may have come to no pause, is what a trial is for.
- What is waited for must have been begun, and what is stopped must be let go or killed: else a
  wait of the lab's own would be taken for one of the library.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from palace_lab.plan import steps
from palace_lab.plan.mistake import Mistake, of_step
from palace_lab.plan.model import named_by

_LAUNCHING = (*steps.WORK, *steps.TRACED)
_WAITING = (steps.Do, steps.Together, steps.Alternate, steps.Finish, steps.Close)
_BEFALLING = (steps.Kill, steps.Terminate, steps.Stop, steps.Upgrade)


#: What is under way in a process from such a step on.
_OPENS: dict[type[steps.Step], str] = {
    steps.Begin: "call",
    steps.Paused: "pause",
    steps.Stop: "stop",
    steps.Hold: "hold",
    steps.Fail: "trouble",
    steps.Slow: "trouble",
    steps.Crash: "crash",
    steps.Close: "end",
    steps.Kill: "end",
}
#: What such a step puts an end to; `Release` to one `Hold`, others to all there are.
_SHUTS: dict[type[steps.Step], tuple[str, ...]] = {
    steps.Finish: ("call", "pause"),
    steps.Go: ("pause",),
    steps.Continue: ("stop",),
    steps.Release: ("hold",),
    steps.Close: ("call", "pause"),
    steps.Kill: ("call", "pause", "stop", "hold"),
}
#: What keeps a process from answering, whose doing that is, and which step puts an end to it.
_STANDING = (("stop", "stops", "continue"), ("pause", "leaves in its pause", "go"))


@dataclass
class _Life:
    """What the steps so far say of one process; what is under way by the numbers of its steps."""

    launched: bool = False
    may_be_dead: bool = False
    under_way: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def since(self, what: str) -> int | None:
        """Return which step began what is under way, None if nothing is."""
        return next(iter(self.under_way[what]), None)


def mistakes_of_order(made: Sequence[steps.AnyStep]) -> Iterator[Mistake]:
    """Yield the steps that make no sense where they are."""
    lives: dict[str, _Life] = {}
    for number, step in enumerate(made):
        names = list(named_by(step))
        yield from _of_several(number, step, names)
        if isinstance(step, steps.Check):
            living = [name for name, life in lives.items() if not _is_over(life)]
            if living:
                yield _mistake(
                    number,
                    step,
                    f"checks the palace while {', '.join(living)} may still write to it; close "
                    "these processes before",
                )
        for name in dict.fromkeys(names):
            life = lives.setdefault(name, _Life())
            if said := _needed(step, name, life):
                yield _mistake(number, step, said)
            _note(number, step, life)
    for name, life in lives.items():
        for number, word, cure in _left(life):
            said = f"{word} {name!a}, and nothing lets it go on; put a `{cure}` or a `kill` after"
            yield _mistake(number, made[number], said)


def _of_several(number: int, step: steps.AnyStep, names: Sequence[str]) -> Iterator[Mistake]:
    if isinstance(step, steps.Together | steps.Alternate) and not names:
        yield _mistake(number, step, "names no process; name one at least")
    if isinstance(step, steps.Together) and len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        yield _mistake(
            number, step, f"asks {twice!a} for two things at once; give one of them another process"
        )


def _needed(step: steps.AnyStep, name: str, life: _Life) -> str:
    """Return what is wrong with a step, by what came before it; "" if nothing is."""
    if isinstance(step, _LAUNCHING) and (at := life.since("end")) is not None:
        return f"needs {name!a}, which $.steps[{at}] ends; give who comes after it another name"
    if isinstance(step, steps.WORK) and (at := life.since("call")) is not None:
        return (
            f"asks {name!a} for something before what $.steps[{at}] begins is finished; put a "
            "`finish` of it before"
        )
    if isinstance(step, _WAITING):
        for what, word, cure in _STANDING:
            if (at := life.since(what)) is not None:
                return (
                    f"waits for {name!a}, which $.steps[{at}] {word}; put a `{cure}` of it before"
                )
    if isinstance(step, _BEFALLING) and not life.launched:
        return (
            f"befalls {name!a}, which has done nothing by then; put before it what it does, such "
            "as a `do`"
        )
    return _doubled(step, name, life) or _unpaired(step, name, life)


def _doubled(step: steps.AnyStep, name: str, life: _Life) -> str:
    """Return what is wrong with a step of which a process can have one only; "" if nothing is."""
    if isinstance(step, steps.Crash) and (at := life.since("crash")) is not None:
        return (
            f"is the second crash point of {name!a}, after $.steps[{at}], and it can come to one "
            "only; leave one of them out"
        )
    if isinstance(step, steps.Fail | steps.Slow) and (at := life.since("trouble")) is not None:
        return (
            f"is the second that troubles the calls of {name!a}, after $.steps[{at}]; leave one of "
            "them out"
        )
    return ""


def _unpaired(step: steps.AnyStep, name: str, life: _Life) -> str:
    """Return what a step lacks that ends or awaits what another begins."""
    if isinstance(step, steps.Finish | steps.Paused) and life.since("call") is None:
        return f"waits for what nobody has begun; put a `begin` of {name!a} before it"
    if isinstance(step, steps.Go) and life.since("pause") is None:
        return f"lets {name!a} go on, which does not pause; put a `paused` of it before"
    if isinstance(step, steps.Held | steps.Release) and life.since("hold") is None:
        return f"needs {name!a} to be held; put a `hold` of it before"
    if isinstance(step, steps.Continue) and life.since("stop") is None:
        return f"lets {name!a} run again, which is not stopped; put a `stop` of it before"
    return ""


def _note(number: int, step: steps.AnyStep, life: _Life) -> None:
    """Take note of what a step makes of a process."""
    life.launched |= isinstance(step, _LAUNCHING)
    life.may_be_dead |= isinstance(step, steps.Crash | steps.Terminate)
    for what in _SHUTS.get(type(step), ()):
        under_way = life.under_way[what]
        del under_way[: 1 if isinstance(step, steps.Release) else len(under_way)]
    if (what := _OPENS.get(type(step), "")) != "":
        life.under_way[what].append(number)


def _is_over(life: _Life) -> bool:
    return life.since("end") is not None or life.may_be_dead or not life.launched


def _left(life: _Life) -> Iterator[tuple[int, str, str]]:
    """Yield what still stands in a process's way after the last step, and what would end it."""
    for what, word, cure in (*_STANDING, ("hold", "holds", "release")):
        yield from ((number, word, cure) for number in life.under_way[what])


def _mistake(number: int, step: steps.AnyStep, said: str) -> Mistake:
    return Mistake(f"{of_step(number, step)} {said}", number)
