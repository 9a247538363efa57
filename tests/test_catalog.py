"""Finding scenarios by their place, naming them, and every scenario there is."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest
from real import REAL

from palace_lab.catalog import (
    VARIABLE,
    Listed,
    find_scenarios,
    load_scenario,
    scenario_name,
    scenarios_directory,
    select,
)
from palace_lab.checks.expected import PROBE_FIRST
from palace_lab.checks.signatures import known, members
from palace_lab.errors import UsageError
from palace_lab.plan import Plan, dump_plan, steps
from palace_lab.plan.text import parse_plan
from palace_lab.scenario import SYSTEMS, Size

LINES_MAX = 45
CLONE = Path(__file__).parents[1] / "scenarios"
NAME_BYTES_MAX = 44  # what a history has room for

FILE = '''"""A thing breaks."""
from palace_lab.plan import Plan
from palace_lab.plan.steps import write
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

plan = Plan(steps=(write("w", 1),))
scenario = Scenario(system="s1", plan=plan, off=Fixes.none(), accepts={"*": "locked"})
'''
STEPS = 'steps=(write("w", 1),)'


def put(root: Path, *paths: str, text: str = FILE) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root / paths[0]


# Every scenario there is -------------------------------------------------------------------------


def test_all_of_them_are_found_under_names_of_their_own() -> None:
    files = {path for path in CLONE.rglob("*.py") if not path.name.startswith(("_", "test_"))}
    assert {each.path for each in REAL} == files
    assert len({each.name for each in REAL}) == len(REAL) > 10
    assert [each.name for each in REAL] == sorted(each.name for each in REAL)
    assert {"s0", "s1", "s2"} <= {each.system for each in REAL} <= set(SYSTEMS)


@pytest.mark.parametrize("listed", REAL, ids=lambda each: each.name)
def test_it_is_short_and_says_what_it_is_about(listed: Listed) -> None:
    text = listed.path.read_text()
    assert len(text.splitlines()) <= LINES_MAX
    assert listed.name.startswith(f"{listed.system}/")
    assert listed.sentence.endswith(".")
    assert len(listed.sentence) < 100
    imported = {
        alias.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert all(name and name.startswith(("palace_lab.", "palace_store.")) for name in imported)


@pytest.mark.parametrize("listed", REAL, ids=lambda each: each.name)
def test_what_it_accepts_exists_and_covers_each_of_its_releases(listed: Listed) -> None:
    for release in listed.scenario.releases:
        accepted = listed.scenario.accepted_on(release)
        assert accepted
        assert accepted <= known()
        assert all(members(name) for name in accepted)


@pytest.mark.parametrize("listed", REAL, ids=lambda each: each.name)
@pytest.mark.parametrize("size", [Size(), Size(processes=3, triples=7, drawers=5)])
def test_its_plan_can_be_written_down_run_and_read(listed: Listed, size: Size) -> None:
    scenario = listed.scenario
    for arm in scenario.arms():
        plan = scenario.plan_for(arm, scenario.releases[-1], 7, size, listed.name)
        assert parse_plan(dump_plan(plan), listed.name) == plan
        assert plan.steps
        names = plan.process_names()
        assert names
        unused = {each.name for each in plan.processes} - set(names)
        assert all(name.startswith("never-") for name in unused), unused
        assert all(0 < len(name.encode()) <= NAME_BYTES_MAX for name in names)
        assert all(not name.startswith(("reader-", "survey-", "nemesis")) for name in names)
        for target in (plan.target, *plan.observers, *(each.target for each in plan.processes)):
            assert not target or importlib.util.find_spec(f"palace_lab.targets.{target}")
        assert max(last_drawers(plan), default=0) < PROBE_FIRST
        for step in plan.steps:
            if isinstance(step, steps.Crash):
                assert (step.k is None) != (step.at is None)


def last_drawers(plan: Plan) -> list[int]:
    """Return, for each step that writes drawers, the number after its last one."""
    found = []
    for step in plan.steps:
        if isinstance(step, steps.Alternate):
            found.append(step.first + len(step.processes) * step.rounds * step.batch)
        for call in step.calls if isinstance(step, steps.Together) else (step,):
            if isinstance(call, steps.Do | steps.Begin):
                args = call.args
                found.append(args.get("first", 0) + args.get("count", args.get("drawers", 0)))
    return found


# Finding -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("s1_index_drift/killed_in_pickle.py", "s1/killed-in-pickle"),
        ("s0_stale_server/deep/er/one.py", "s0/deep/er/one"),
        ("hops/up.py", "hops/up"),
    ],
)
def test_a_name_is_a_path(path: str, name: str, tmp_path: Path) -> None:
    assert scenario_name(tmp_path / path, tmp_path) == name


def test_a_file_is_found_by_being_there(tmp_path: Path) -> None:
    put(
        tmp_path, "s1_x/one_two.py", "s1_x/b.py", "s1_x/_shared.py", "s1_x/test_b.py", "conftest.py"
    )
    found = find_scenarios(tmp_path)
    assert [each.name for each in found] == ["s1/b", "s1/one-two"]
    assert {each.sentence for each in found} == {"A thing breaks."}


def test_only_the_first_paragraph_of_a_docstring_is_its_sentence(tmp_path: Path) -> None:
    path = put(tmp_path, "s1/a.py", text=FILE.replace("breaks.", "breaks\nin two.\n\nMore.\n"))
    assert load_scenario(path, tmp_path).sentence == "A thing breaks in two."


def test_a_folder_without_scenarios_is_refused(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").touch()
    with pytest.raises(UsageError, match=f"{tmp_path} has no scenario file that can be read"):
        find_scenarios(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('"""A sentence."""\n', "binds no `scenario`"),
        ('"""A sentence."""\nscenario = 3\n', "binds no `scenario`"),
        (FILE.partition("\n")[2], "has no docstring"),
    ],
)
def test_a_file_that_is_no_scenario_is_named(text: str, words: str, tmp_path: Path) -> None:
    path = put(tmp_path, "s1/odd.py", text=text)
    with pytest.raises(UsageError, match=words) as caught:
        find_scenarios(tmp_path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_folder_is_that_of_the_clone_or_the_one_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    assert scenarios_directory() == CLONE
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    put(tmp_path, "s1/a.py")
    assert scenarios_directory() == tmp_path
    assert [each.name for each in find_scenarios()] == ["s1/a"]
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match=f"no folder of scenarios at .*nowhere.*{VARIABLE}"):
        scenarios_directory()


# Selecting ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        ([], [each.name for each in REAL]),
        (["s1/killed-in-pickle"], ["s1/killed-in-pickle"]),
        (["s0"], [each.name for each in REAL if each.system == "s0"]),
        (["s0", "s0/stale-writer"], [each.name for each in REAL if each.system == "s0"]),
        (["s2/kg-holder", "s0/stale-writer"], ["s2/kg-holder", "s0/stale-writer"]),
    ],
)
def test_scenarios_are_chosen_by_name_or_system(wanted: list[str], chosen: list[str]) -> None:
    assert [each.name for each in select(REAL, wanted)] == chosen


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("s1/killed-in-pickel", "s1/killed-in-pickle"),
        ("s1/killed_in_pickle", "s1/killed-in-pickle"),
        ("killed-in-pickle", "s1/killed-in-pickle"),
        ("pickle", "s1/killed-in-pickle"),
        ("s2/kg-holdr", "s2/kg-holder"),
    ],
)
def test_a_name_that_does_not_exist_is_answered_with_close_ones(wrong: str, meant: str) -> None:
    with pytest.raises(UsageError) as caught:
        select(REAL, [wrong])
    text = str(caught.value)
    assert f"no scenario named {wrong!r}" in text
    assert meant in text.partition("did you mean")[2]
    assert "palace-lab list" in text
    assert "\n" not in text


@pytest.mark.parametrize("wrong", ["", "zzzzzzzz"])
def test_a_name_like_no_other_gets_no_guess(wrong: str) -> None:
    with pytest.raises(UsageError) as caught:
        select(REAL, [wrong])
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize(
    ("was", "becomes", "told"),
    [
        (STEPS, "steps=(Crash('w', 'wrote', '*/x', k=1),)", "no crash point at 'wrote'"),
        (STEPS, "steps=(Crash('w', 'write', '*/x', at=1.7),)", "<= 1.0 - at `$.steps[0].at`"),
        (STEPS, "steps=(Elapse(-1),)", "`$.steps[0].seconds`"),
        ('{"*"', '{">=banana"', "accepts what is no release: Invalid specifier: '>=banana'"),
    ],
)
def test_what_makes_no_sense_is_told_with_its_file(
    was: str, becomes: str, told: str, tmp_path: Path
) -> None:
    head = "from palace_lab.plan.steps import Crash, Elapse\n"
    text = FILE.replace("from palace_lab.plan ", f"{head}from palace_lab.plan ").replace(
        was, becomes
    )
    path = put(tmp_path, "s1_mine/odd.py", text=text)
    with pytest.raises(UsageError) as caught:
        load_scenario(path, tmp_path)
    assert str(path) in str(caught.value)
    assert told in str(caught.value)
