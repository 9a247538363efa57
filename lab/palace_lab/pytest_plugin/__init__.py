"""The pytest plugin: every scenario on a release on an arm is one test.

Rules:
- pytest loads this module for everyone who has the lab installed. So it imports nothing but pytest,
  and a run that collects no scenario makes no directory, starts no process and loads nothing more:
  the rest of the plugin is loaded with the first scenario file.
- A scenario file lies in the lab's own folder of scenarios, in the one PALACE_LAB_SCENARIOS names,
  or in any folder named `scenarios`; there only if it speaks of palace_lab, for others use that
  name as well.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest

#: The part of the plugin that is loaded with the first scenario file.
REST = "palace_lab.pytest_plugin.scenarios"
#: Name of a folder of scenarios, and the variable that names another one.
FOLDER = "scenarios"
VARIABLE = "PALACE_LAB_SCENARIOS"
TRIALS = 5

_MARKERS = {
    "s0": "stale server",
    "s1": "index drift and quarantine",
    "s2": "concurrency",
    "s3": "embedding race",
    "s4": "one serialized writer, and sync",
    "hops": "a palace taken from release to release",
    "nightly": "longer than a pull request may take; run with -m nightly",
    "slow": "needs environments with chromadb; part of the pull-request run",
}
_NUMBERS = {
    "trials": f"trials of each arm (default: {TRIALS}; a race that is undecided gets more)",
    "seed": "seed of all plans (default: $PALACE_LAB_SEED, else 1)",
    "processes": "processes of scenarios that scale",
    "triples": "triples for each process of scenarios that scale",
    "drawers": "drawers for each process of scenarios that scale",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the lab."""
    group = parser.getgroup("palace-lab", "scenarios of the palace lab")
    for name, what in _NUMBERS.items():
        group.addoption(f"--palace-{name}", type=int, metavar="N", help=what)
    group.addoption(
        "--palace-release",
        action="append",
        metavar="R",
        help="only this chromadb; may be repeated (default: one for each format on disk)",
    )
    group.addoption(
        "--palace-report-dir", metavar="DIR", help="where reports go (default: ./reports)"
    )
    group.addoption(
        "--palace-nightly", action="store_true", help="also the scenarios that take longer"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the marks of scenarios known where a project does not; check options that are given."""
    known = {line.partition(":")[0].strip() for line in config.getini("markers")}
    for name, what in _MARKERS.items():
        if name not in known:
            config.addinivalue_line("markers", f"{name}: {what}")
    given = (value for name, value in vars(config.option).items() if name.startswith("palace_"))
    if any(value is not None and value is not False for value in given):
        _rest(config).check_settings(config)


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(
    file_path: Path, parent: pytest.Collector
) -> Generator[None, list[pytest.Collector], list[pytest.Collector]]:
    """Collect a scenario file as that and as nothing else, also where it is named explicitly."""
    others = yield
    root = scenario_root(file_path)
    if root is None:
        return others
    return [_rest(parent.config).collect_scenario(parent, file_path, root)]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: Sequence[str]) -> None:
    """Prepare what the tests need, in the controller, before xdist hands out the first of them."""
    config = node.config
    roots = {each: scenario_root(config.rootpath / each.partition("::")[0]) for each in ids}
    ours = {each: root for each, root in roots.items() if root is not None}
    if ours:
        _rest(config).prepare_for_workers(config, ours, node.workerinput["testrunuid"])


def scenario_root(path: Path) -> Path | None:
    """Return the folder of scenarios a scenario file belongs to; None if it is no such file."""
    if path.suffix != ".py" or path.name.startswith(("_", "test_", "conftest")):
        return None
    named = os.environ.get(VARIABLE)
    if named and (root := Path(named).absolute()) in path.parents:
        return root
    nearest = next((each for each in path.parents if each.name == FOLDER), None)
    own = Path(__file__).resolve().parents[3] / FOLDER
    return nearest if nearest is not None and (nearest == own or _speaks_of_us(path)) else None


def _rest(config: pytest.Config) -> Any:
    """Return the rest of the plugin, loaded and registered."""
    config.pluginmanager.import_plugin(REST)
    return config.pluginmanager.get_plugin(REST)


def _speaks_of_us(path: Path) -> bool:
    try:
        return b"palace_lab" in path.read_bytes()
    except OSError:
        return False
