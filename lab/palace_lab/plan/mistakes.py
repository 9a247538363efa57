"""What makes a plan senseless, found before anything of it is played.

A plan may come from somebody else. What is wrong with it must not be taken for what the library
under test did, must not go unseen, and must not reach outside the directory of its trial.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from palace_lab.environments.beside import targets_folder
from palace_lab.errors import UsageError
from palace_lab.plan import numbers, steps
from palace_lab.plan.mistake import NAMED, Mistake, of_step
from palace_lab.plan.model import Plan, named_by
from palace_lab.plan.order import mistakes_of_order
from palace_store.fixes import Fixes

_TARGETS = "palace_lab.targets"
_FACTORY = re.compile(r"^(def target\(|target *[:=]|from .+ import .*\btarget\b)", re.MULTILINE)
#: How a target asks for what a plan may say of its processes.
_OPTION = re.compile(r"""\boptions(?:\.get\(|\[)\s*["'](\w+)["']""")
#: A process is a file of the trial's history, of its logs, and more: a history has room for this.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,43}")
#: Beginnings of the names of the lab's own processes.
RESERVED = ("reader-", "survey-", "check-", "nemesis")
#: Options that name a file or folder of the trial.
_NAMING = ("machine", "graph", "serves")
#: What a plan may say to a server: neither where its palace is, nor whom it is to reach.
_ARGUMENTS = (
    "--restart",
    "--model",
    "--dimension",
    "--sync-threshold",
    "--batch-size",
    "--recall-timeout",
    "--sync-interval",
)
#: What is shown of a plan on a terminal is one line.
_TITLE_MAX = 200
#: Versions become file names and source text.
_VERSION = re.compile(r"[0-9A-Za-z_.+]{1,64}")
#: Operations whose answers are judged.
_ASKING = frozenset({"count", "found", "held", "listed", "neighbours"})
#: Targets whose processes have a server, which an `upgrade` is for.
SERVED = frozenset({"mcp", "mcp_cut"})


def check_plan(plan: Plan, where: str) -> Plan:
    """Return a plan that makes sense; raises `UsageError` with the first of its mistakes."""
    for mistake in mistakes(plan):
        raise UsageError(f"{where} makes no sense: {mistake.sentence}")
    return plan


def mistakes(plan: Plan) -> Iterator[Mistake]:
    """Yield everything that is wrong with a plan, the plainest first."""
    yield from _of_names(plan)
    yield from _of_judging(plan)
    yield from _of_fixes(plan)
    yield from _of_targets(plan)
    yield from numbers.mistakes_of_numbers(plan)
    yield from _of_steps(plan)
    yield from mistakes_of_order(plan.steps)


def _of_names(plan: Plan) -> Iterator[Mistake]:
    for field, value in (("name", plan.name), ("arm", plan.arm)):
        if not value.isprintable() or len(value) > _TITLE_MAX:
            yield Mistake(
                f"$.{field} is {_shown(value)}; write one line of up to {_TITLE_MAX} characters"
            )
    for number, process in enumerate(plan.processes):
        at = f"$.processes[{number}]"
        if any(process.name == other.name for other in plan.processes[:number]):
            yield Mistake(
                f"{at} describes {process.name!a} a second time; put all that is said of a process "
                "into one entry"
            )
        yield from _of_name(process.name, at)
        yield from _of_options(process.options, f"{at}.options")
    for number, step in enumerate(plan.steps):
        for name in dict.fromkeys(named_by(step)):
            yield from _of_name(name, of_step(number, step), number)


def _of_name(name: str, where: str, step: int | None = None) -> Iterator[Mistake]:
    if not _NAME.fullmatch(name):
        yield Mistake(f"{where} names a process {name!a:.80}; {NAMED}", step)
    elif name.startswith(RESERVED):
        yield Mistake(
            f"{where} names a process {name!a}, but names that begin with "
            f"{', '.join(RESERVED)} are the lab's own; choose another",
            step,
        )


def _of_options(options: Mapping[str, Any], at: str) -> Iterator[Mistake]:
    for option in sorted(options.keys() - _known_options()):
        yield Mistake(
            f"{at} has {option!a:.80}, which no target asks for; write one of "
            f"{', '.join(sorted(_known_options()))}"
        )
    for option in _NAMING:
        named = options.get(option, "usual")
        if not (isinstance(named, str) and _NAME.fullmatch(named)):
            yield Mistake(f"{at}.{option} is {_shown(named)}; {NAMED}")
    library = options.get("library", "0")
    if not (isinstance(library, str) and _VERSION.fullmatch(library)):
        yield Mistake(f"{at}.library is {_shown(library)}; write a version such as 0.2.0")
    words = options.get("arguments", [])
    if not isinstance(words, list | tuple):
        yield Mistake(f"{at}.arguments is {_shown(words)}; write a list of words")
        return
    for word in words:
        if not isinstance(word, str) or (
            word.startswith("-") and word.partition("=")[0] not in _ARGUMENTS
        ):
            yield Mistake(
                f"{at}.arguments has {_shown(word)}; a plan may give a server "
                f"{', '.join(_ARGUMENTS)}, and what belongs to them"
            )


@cache
def _known_options() -> frozenset[str]:
    """Return the options that any module of the lab's folder of targets asks for."""
    spec = find_spec(_TARGETS)
    folders = [] if spec is None else spec.submodule_search_locations or []
    files = (file for folder in folders for file in Path(folder).glob("*.py"))
    return frozenset(w for file in files for w in _OPTION.findall(file.read_text(encoding="utf-8")))


def _shown(value: object) -> str:
    return f"{value!a:.80}"


def _of_judging(plan: Plan) -> Iterator[Mistake]:
    if not any(isinstance(step, steps.WORK) for step in plan.steps):
        yield Mistake(
            "none of its steps lets a process do anything, so there is nothing to judge; write a "
            "step such as `do`"
        )
    if not plan.observers and not any(map(_looks, plan.steps)):
        yield Mistake(
            "$.observers is empty and none of its steps asks what is there, so nothing would be "
            "judged; name one observer at least, such as 'palace'"
        )


def _looks(step: steps.AnyStep) -> bool:
    """Tell whether a step asks what is there, so that its answer can be judged."""
    if isinstance(step, steps.Check):
        return bool(step.observers)
    calls = step.calls if isinstance(step, steps.Together) else (step,)
    return any(isinstance(c, steps.Do | steps.Begin) and c.op in _ASKING for c in calls)


def _of_fixes(plan: Plan) -> Iterator[Mistake]:
    named = [("$.fixes", plan.fixes)]
    named += [(f"$.processes[{n}].fixes", e.fixes or ()) for n, e in enumerate(plan.processes)]
    for where, words in named:
        try:
            Fixes.parse(words)
        except ValueError as error:
            yield Mistake(f"{where}: {error}")


def _of_targets(plan: Plan) -> Iterator[Mistake]:
    for name in dict.fromkeys([*plan.process_names(), *(each.name for each in plan.processes)]):
        target = plan.target_of(name)
        if why := why_no_target(target):
            yield Mistake(f"process {name!a:.80} is of target {target!a:.80}, but {why}")
    yield from _of_observers(plan.observers, "$.observers")
    for number, step in enumerate(plan.steps):
        if isinstance(step, steps.Check):
            yield from _of_observers(step.observers, of_step(number, step), number)


def _of_observers(
    observers: Iterable[str], where: str, step: int | None = None
) -> Iterator[Mistake]:
    for observer in observers:
        if why := why_no_target(observer):
            yield Mistake(f"{where} names the observer {observer!a:.80}, but {why}", step)


@cache
def why_no_target(name: str) -> str:
    """Return why a name is not that of a target; "" if it is."""
    folder = "the lab's folder of targets, lab/palace_lab/targets"
    if yours := targets_folder():
        folder += f", or in yours, {yours}"
    spec = find_spec(f"{_TARGETS}.{name}") if name.isidentifier() else None
    if spec is None or spec.origin is None:
        return f"there is no {name:.80}.py in {folder}: name one of those, or add it"
    if not _FACTORY.search(Path(spec.origin).read_text(encoding="utf-8")):
        return f"{name}.py has no function `target`: name a file in {folder}, that has one"
    return ""


def _of_steps(plan: Plan) -> Iterator[Mistake]:
    for number, step in enumerate(plan.steps):
        at = of_step(number, step)
        if isinstance(step, steps.Backdate) and not _lies_below(step.pattern):
            yield Mistake(
                f"{at} has the pattern {step.pattern!a:.80}, which is none of files in the palace; "
                "write it relative to the palace and without '..', such as '*/data_level0.bin'",
                number,
            )
        if isinstance(step, steps.Crash) and (step.k is None) == (step.at is None):
            yield Mistake(
                f"{at} says {'both' if step.k else 'neither'} `k` {'and' if step.k else 'nor'} "
                "`at`; say one of them: which call, or how far into them",
                number,
            )
        if isinstance(step, steps.Upgrade):
            if plan.target_of(step.process) not in SERVED:
                yield Mistake(
                    f"{at} upgrades the environment of {step.process!a}, which has none of its "
                    "own; give it the target 'mcp'",
                    number,
                )
            for version in (step.chromadb, step.library):
                if version and not _VERSION.fullmatch(version):
                    yield Mistake(
                        f"{at} names the version {version!a:.80}; write one such as 1.5.9", number
                    )


def _lies_below(pattern: str) -> bool:
    """Tell whether a pattern can be looked for in a folder, and finds nothing outside of it."""
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    odd = any(part == ".." or ("**" in part and part != "**") for part in parts)
    return bool(parts) and not pattern.startswith("/") and "\0" not in pattern and not odd
