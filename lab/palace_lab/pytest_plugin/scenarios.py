"""The hooks of a run that has scenarios: what is left out, prepared, and told to the controller.

Loaded with the first scenario file, in the process that collects it and in xdist's controller. The
controller is whoever shows the run to its user: it provides environments, once, before any test
runs, and makes the run's directory; where xdist has workers, they find both through a file.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from pathlib import Path

import pytest

from palace_lab.catalog import load_scenario
from palace_lab.errors import LabError
from palace_lab.pytest_plugin.controller import TOLD, Controller
from palace_lab.pytest_plugin.lab import Case, Lab, hand_over, provide_for
from palace_lab.pytest_plugin.nodes import ScenarioFile, ScenarioItem, keep, settings_of
from palace_lab.report.rundir import RunDirectory
from palace_lab.report.words import one_line

_ARM = re.compile(r"\[([^\[\]]*?)-(off|wrong|as-reported|fixed)\]$")


def collect_scenario(parent: pytest.Collector, path: Path, root: Path) -> ScenarioFile:
    """Return the collector of a scenario file."""
    file: ScenarioFile = ScenarioFile.from_parent(parent, path=path)
    file.root = root
    return file


def check_settings(config: pytest.Config) -> None:
    """Check the options before anything is collected, for one that is wrong is the run's error."""
    try:
        settings_of(config)
    except LabError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes longer, unless it was asked for."""
    asked = re.search(r"\bnightly\b", config.getoption("markexpr", ""))
    if asked or config.getoption("palace_nightly"):
        return
    left_out = [
        item
        for item in items
        if isinstance(item, ScenarioItem) and item.case.listed.scenario.nightly
    ]
    if left_out:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Prepare what the tests need, where they are run by this process and nobody told it."""
    option = session.config.option
    stopped = session.testsfailed and not option.continue_on_collection_errors
    if option.collectonly or stopped or hasattr(session.config, "workerinput"):
        return
    cases = {item.nodeid: item.case for item in session.items if isinstance(item, ScenarioItem)}
    if cases:
        controller = _prepare(session.config, cases)
        settings = settings_of(session.config)
        keep(session.config, Lab(settings, controller.provided, controller.directory))


def prepare_for_workers(config: pytest.Config, roots: Mapping[str, Path], run: str) -> None:
    """Prepare, in xdist's controller, the scenario tests that its workers have collected."""
    if config.pluginmanager.has_plugin(Controller.NAME):
        return
    cases: dict[str, Case] = {}
    for nodeid, root in roots.items():
        if (found := _ARM.search(nodeid)) is None:
            continue
        listed = load_scenario(config.rootpath / nodeid.partition("::")[0], root)
        (arm,) = (each for each in listed.scenario.arms() if each.role == found[2])
        cases[nodeid] = Case(listed, found[1], arm)
    controller = _prepare(config, cases)
    handover = hand_over(controller.provided, controller.directory, run)
    config.add_cleanup(lambda: handover.unlink(missing_ok=True))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let the report carry what the test has to tell the controller, once."""
    report = yield
    if isinstance(item, ScenarioItem) and call.when != "teardown":
        told = item.tell(call.excinfo)
        if told is not None:
            report.__dict__[TOLD] = told.encoded()
    return report


def _prepare(config: pytest.Config, cases: Mapping[str, Case]) -> Controller:
    settings = settings_of(config)
    try:
        directory = RunDirectory.create(settings.reports)
        provided = provide_for(cases.values(), settings, lambda text: _tell(config, text))
    except LabError as error:
        # The option has another name here than on the command line of the lab.
        said = str(error).replace(" --report-dir", " --palace-report-dir")
        raise pytest.UsageError(said) from None
    controller = Controller(settings, provided, directory, cases)
    config.pluginmanager.register(controller, Controller.NAME)
    return controller


def _tell(config: pytest.Config, text: str) -> None:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.ensure_newline()
        reporter.write_line(f"palace-lab: {one_line(text)}")
