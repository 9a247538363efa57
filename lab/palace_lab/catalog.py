"""Finding scenarios: every file under `scenarios/` that binds `scenario`, found by being there.

A scenario's name is its path: `s1_index_drift/killed_in_pickle.py` is `s1/killed-in-pickle`.
"""

from __future__ import annotations

import difflib
import importlib.util
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from traceback import extract_tb

from palace_lab.called import called
from palace_lab.errors import UsageError
from palace_lab.plan import dump_plan
from palace_lab.plan.drawn import Drawn
from palace_lab.scenario import SQLITE, Scenario, Size, covers

#: Environment variable that names another folder of scenarios.
VARIABLE = "PALACE_LAB_SCENARIOS"


@dataclass(frozen=True)
class Listed:
    """A scenario with what its file says about it."""

    name: str
    sentence: str
    path: Path
    scenario: Scenario
    seeded_as: str = ""  # the scenario whose trials have the same seeds, if it is another

    @property
    def system(self) -> str:
        """Return the system it belongs to."""
        return self.scenario.system


def scenarios_directory() -> Path:
    """Return where scenarios are looked for: the variable, the clone's own, or the current one."""
    named = os.environ.get(VARIABLE)
    candidates = [Path(named)] if named else [_clone() / "scenarios", Path.cwd() / "scenarios"]
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    raise UsageError(
        f"there is no folder of scenarios at {candidates[-1]}; run this in a clone of the lab, or "
        f"set {VARIABLE} to a folder of scenario files"
    )


def find_scenarios(directory: Path | None = None) -> list[Listed]:
    """Return every scenario, by name."""
    root = scenarios_directory() if directory is None else directory
    found = [load_scenario(path, root) for path in sorted(root.rglob("*.py")) if _is_one(path)]
    if not found:
        raise UsageError(
            f"{root} has no scenario file that can be read: a scenario lies in a folder of its "
            f"system ({root / 's1_mine' / 'a_name.py'}); see CONTRIBUTING.md, 'Add a scenario'"
        )
    by_name: dict[str, Listed] = {}
    for each in found:
        if each.name in by_name:
            raise UsageError(
                f"{by_name[each.name].path} and {each.path} are both named {each.name!r}; "
                "rename one of them"
            )
        by_name[each.name] = each
    return sorted(found, key=lambda item: item.name)


def load_scenario(path: Path, root: Path) -> Listed:
    """Load one scenario file."""
    name = scenario_name(path, root)
    spec = importlib.util.spec_from_file_location(f"palace_scenario_{name}", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} cannot be loaded as a scenario file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        lines = [at.lineno for at in extract_tb(error.__traceback__) if at.filename == str(path)]
        where = f"{path}, line {lines[-1]}," if lines else str(path)
        kind = "" if isinstance(error, UsageError) else f"{type(error).__name__}: "
        raise UsageError(f"the scenario file {where} cannot be loaded: {kind}{error}") from error
    scenario = getattr(module, "scenario", None)
    if not isinstance(scenario, Scenario):
        raise UsageError(f"{path} binds no `scenario`; see CONTRIBUTING.md, 'Add a scenario'")
    sentence = (module.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")
    if not sentence:
        raise UsageError(f"{path} has no docstring; its first sentence is what the table is about")
    _check(scenario, path, name)
    return Listed(name, sentence, path, scenario)


def _check(scenario: Scenario, path: Path, name: str) -> None:
    """Raise `UsageError` for numbers and releases that make no sense, which Python lets pass."""
    try:
        for specifier in scenario.accepts:
            covers(specifier, scenario.releases[0])
    except ValueError as error:
        raise UsageError(f"the scenario file {path} accepts what is no release: {error}") from None
    try:
        if not isinstance(scenario.plan, Drawn):
            plan = scenario.plan(Size()) if callable(scenario.plan) else scenario.plan
            dump_plan(plan.changed(name=name))  # so its values are of the types they are to be
        for arm in scenario.arms():
            scenario.plan_for(arm, _drawn_for(scenario), 0, Size(), name)
    except UsageError as error:
        raise UsageError(f"the scenario file {path} has no plan: {error}") from None


def _drawn_for(scenario: Scenario) -> str:
    """Return a release that a plan can be drawn for: "" is one that no palace is too old for."""
    return "" if scenario.releases[0] == SQLITE else scenario.releases[0]


def scenario_name(path: Path, root: Path) -> str:
    """Return the name that belongs to a scenario file."""
    parts = path.relative_to(root).with_suffix("").parts
    system = parts[0].split("_")[0]
    return "/".join([system, *parts[1:]]).replace("_", "-")


def select(scenarios: Iterable[Listed], names: Iterable[str]) -> list[Listed]:
    """Return the scenarios with these names, or of these systems; all if none is named."""
    every = list(scenarios)
    wanted = list(names)
    if not wanted:
        return every
    chosen: list[Listed] = []
    for name in wanted:
        matching = [each for each in every if name in (each.name, each.system)]
        if not matching:
            raise UsageError(unknown("scenario", name, [each.name for each in every]))
        chosen.extend(each for each in matching if each not in chosen)
    return chosen


def unknown(what: str, name: str, known: list[str]) -> str:
    """Return the sentence that refuses a name, with the known ones that are close to it."""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    close += [each for each in known if name and name in each and each not in close]
    hint = f"; did you mean {', '.join(close[:3])}?" if close else ""
    return f"there is no {what} named {name!r}{hint} (`{called()} list` shows all {len(known)})"


def _is_one(path: Path) -> bool:
    return not path.name.startswith(("_", "test_", "conftest"))


def _clone() -> Path:
    return Path(__file__).resolve().parents[2]
