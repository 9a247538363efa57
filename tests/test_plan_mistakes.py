"""A plan that makes no sense is told where it is read, by the step at fault and what to write."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from real import REAL

from palace_lab import targets
from palace_lab.catalog import Listed
from palace_lab.errors import ExitCode, UsageError
from palace_lab.plan import Plan, check_plan, dump_plan, load_plan, steps
from palace_lab.plan.drawn import STOPS, by_lot
from palace_lab.plan.mistakes import SERVED, mistakes
from palace_lab.plan.model import named_by
from palace_lab.runner.servers import TARGETS
from palace_lab.scenario import Scenario, Size
from palace_store.fixes import Fixes

CLONE = Path(__file__).parents[1] / "scenarios"
SIZES = (Size(), Size(processes=3, triples=7, drawers=5), Size(processes=24, drawers=4000))

Step = dict[str, Any]


def step(kind: str, process: str = "w", **values: Any) -> Step:
    return {"step": kind, "process": process, **values}


def asked(kind: str = "do", process: str = "w", op: str = "write", **args: Any) -> Step:
    return step(kind, process, op=op, args={"first": 0, "count": 5, "batch": 5, **args})


def at_call(kind: str, **values: Any) -> Step:
    return step(kind, syscall="write", pattern="*", **values)


W, BEGIN, FINISH = asked(), asked("begin"), step("finish")
HOLD = at_call("hold")


def read(folder: Path, *made: Step, **plan: Any) -> Plan:
    path = folder / "mine.json"
    path.write_text(json.dumps({"version": 1, "release": "1.5.9", "steps": made, **plan}))
    return load_plan(path)


def told(folder: Path, *made: Step, **plan: Any) -> str:
    with pytest.raises(UsageError) as caught:
        read(folder, *made, **plan)
    assert caught.value.exit_code == ExitCode.USAGE
    sentence = str(caught.value)
    assert sentence.startswith(f"{folder / 'mine.json'} makes no sense: ")
    assert sentence.isprintable()
    return sentence


# The order of steps ------------------------------------------------------------------------------

ORDER: dict[str, tuple[list[Step], str]] = {
    "finish without begin": (
        [W, FINISH],
        "$.steps[1] (finish 'w') waits for what nobody has begun",
    ),
    "finish twice": ([BEGIN, FINISH, FINISH], "put a `begin` of 'w' before it"),
    "finish of another": ([BEGIN, step("finish", "v")], "$.steps[1] (finish 'v')"),
    "paused without begin": ([W, step("paused", where="x")], "$.steps[1] (paused 'w') waits for"),
    "go without paused": ([W, step("go")], "$.steps[1] (go 'w') lets 'w' go on, which does not"),
    "go twice": (
        [BEGIN, step("paused", where="x"), step("go"), step("go")],
        "$.steps[3] (go 'w')",
    ),
    "pause without end": ([BEGIN, step("paused", where="x")], "put a `go` or a `kill` after"),
    "finish in a pause": (
        [BEGIN, step("paused", where="x"), FINISH],
        "$.steps[2] (finish 'w') waits for 'w', which $.steps[1] leaves in its pause; put a `go`",
    ),
    "held without hold": ([BEGIN, step("held")], "put a `hold` of it before"),
    "release without hold": ([W, step("release")], "$.steps[1] (release 'w') needs 'w' to be held"),
    "released twice": ([HOLD, BEGIN, step("release"), step("release")], "$.steps[3] (release 'w')"),
    "hold never released": ([HOLD, BEGIN], "$.steps[0] (hold 'w') holds 'w', and nothing lets it"),
    "continue without stop": (
        [W, step("continue")],
        "$.steps[1] (continue 'w') lets 'w' run again",
    ),
    "stop never continued": ([W, step("stop")], "put a `continue` or a `kill` after"),
    "waits for who is stopped": (
        [W, step("stop"), asked(first=9), step("continue")],
        "$.steps[2] (do 'w') waits for 'w', which $.steps[1] stops",
    ),
    "kill of who did nothing": ([step("kill"), W], "$.steps[0] (kill 'w') befalls 'w', which has"),
    "kill of nobody": ([W, step("kill", "v")], "$.steps[1] (kill 'v') befalls 'v'"),
    "terminate of nobody": ([W, step("terminate", "v")], "such as a `do`"),
    "work of the dead": (
        [W, step("kill"), asked(first=9)],
        "$.steps[2] (do 'w') needs 'w', which $.steps[1] ends; give who comes after it another",
    ),
    "two things at once": ([BEGIN, W], "before what $.steps[0] begins is finished; put a `finish`"),
    "together with itself": (
        [
            {
                "step": "together",
                "calls": [
                    {"step": "do", "process": "w", "op": "count"},
                    {"step": "do", "process": "w", "op": "count"},
                ],
            }
        ],
        "$.steps[0] (together) asks 'w' for two things at once",
    ),
    "together with nobody": (
        [W, {"step": "together", "calls": []}],
        "$.steps[1] (together) names no",
    ),
    "turns of nobody": (
        [{"step": "alternate", "processes": [], "rounds": 1, "batch": 1}],
        "$.steps[0] (alternate) names no process",
    ),
    "check beside the living": (
        [W, {"step": "check"}],
        "$.steps[1] (check) checks the palace while w may still write to it; close these",
    ),
    "trouble twice": (
        [at_call("fail"), at_call("slow", seconds=1), W],
        "$.steps[1] (slow 'w') is the second that troubles the calls of 'w', after $.steps[0]",
    ),
    "two crash points": (
        [at_call("crash", k=1), W, at_call("crash", at=0.5)],
        "$.steps[2] (crash 'w') is the second crash point of 'w', after $.steps[0]",
    ),
}


@pytest.mark.parametrize("case", ORDER)
def test_a_step_that_makes_no_sense_where_it_is(case: str, tmp_path: Path) -> None:
    made, words = ORDER[case]
    assert words in told(tmp_path, *made)


SENSIBLE: dict[str, list[Step]] = {
    "a pause that may not come": [BEGIN, step("paused", where="x"), step("go"), FINISH],
    "killed in its pause": [BEGIN, step("paused", where="x"), step("kill")],
    "held, stopped, released, run again": [
        HOLD,
        BEGIN,
        step("held"),
        step("stop"),
        step("release"),
        step("continue"),
        FINISH,
    ],
    "killed while held": [HOLD, BEGIN, step("held"), step("kill")],
    "killed while stopped": [W, step("stop"), step("kill")],
    "held twice": [HOLD, at_call("hold", k=5), BEGIN, step("release"), step("release"), FINISH],
    "who dies may be looked after": [at_call("crash", k=1), W, {"step": "check"}],
    "closed twice": [W, step("close"), step("close")],
    "who does nothing may leave": [W, step("close", "v")],
    "ended while it works": [BEGIN, step("terminate"), FINISH],
}


@pytest.mark.parametrize("case", SENSIBLE)
def test_what_only_may_happen_is_no_mistake(case: str, tmp_path: Path) -> None:
    read(tmp_path, *SENSIBLE[case])


# Names, numbers, words ---------------------------------------------------------------------------

BAD_NAMES = ("../../../evil", "..", ".", "", "a/b", "a\0b", "a b", "-x", "ä", "p" * 45, "w\n")


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_process_has_a_name_that_is_a_file_name(name: str, tmp_path: Path) -> None:
    for made in (
        [asked(process=name)],
        [W, step("kill", name)],
        [{"step": "together", "calls": [asked(process=name)]}],
        [{"step": "alternate", "processes": [name], "rounds": 1, "batch": 1}],
    ):
        sentence = told(tmp_path, *made)
        assert f"({made[-1]['step']}" in sentence
        assert "write 1 to 44 letters, digits, '.', '_' and '-'" in sentence
    assert "$.processes[0] names a process" in told(tmp_path, W, processes=[{"name": name}])


@pytest.mark.parametrize("name", ["nemesis", "reader-palace-0", "survey-after", "check-3"])
def test_the_names_of_the_labs_own_processes_are_taken(name: str, tmp_path: Path) -> None:
    assert "are the lab's own; choose another" in told(tmp_path, asked(process=name))


@pytest.mark.parametrize("name", ["w", "writer-0.6.3", "never_1", "p" * 44, "a..b"])
def test_usual_names(name: str, tmp_path: Path) -> None:
    assert read(tmp_path, asked(process=name)).process_names() == [name]


ODD: dict[str, tuple[list[Step], dict[str, Any], str]] = {
    "no steps": ([], {}, "nothing to judge; write a step such as `do`"),
    "only time": ([{"step": "elapse", "seconds": 1}], {}, "nothing to judge"),
    "no observers": ([W], {"observers": []}, "$.observers is empty and none of its steps asks"),
    "one process twice": (
        [W],
        {"processes": [{"name": "w"}, {"name": "w", "release": "0.6.3"}]},
        "$.processes[1] describes 'w' a second time",
    ),
    "machine outside": (
        [W],
        {"processes": [{"name": "w", "options": {"machine": "../../.."}}]},
        "$.processes[0].options.machine is '../../..'",
    ),
    "server outside": (
        [W],
        {"processes": [{"name": "w", "options": {"serves": "a/b"}}]},
        "$.processes[0].options.serves is 'a/b'; write 1 to 44 letters",
    ),
    "palace of somebody": (
        [W],
        {"processes": [{"name": "w", "options": {"arguments": ["--palace", "/mine"]}}]},
        "$.processes[0].options.arguments has '--palace'; a plan may give a server --restart, ",
    ),
    "shortened": (
        [W],
        {"processes": [{"name": "w", "options": {"arguments": ["--pal=/mine"]}}]},
        "$.processes[0].options.arguments has '--pal=/mine'",
    ),
    "words that are none": (
        [W],
        {"processes": [{"name": "w", "options": {"arguments": "--restart"}}]},
        "$.processes[0].options.arguments is '--restart'; write a list of words",
    ),
    "name that clears the screen": (
        [W],
        {"name": "\x1b[2J"},
        "$.name is '\\x1b[2J'; write one line",
    ),
    "arm of many lines": ([W], {"arm": "off\nheld"}, "$.arm is 'off\\nheld'; write one line"),
    "name without end": ([W], {"name": "n" * 201}, "write one line of up to 200 characters"),
    "option of nobody": (
        [W],
        {"processes": [{"name": "w", "options": {"lease_timeout": 1}}]},
        "$.processes[0].options has 'lease_timeout', which no target asks for; write one of",
    ),
    "version that is source text": (
        [W],
        {"processes": [{"name": "w", "options": {"library": '1"; import os; "'}}]},
        "write a version such as 0.2.0",
    ),
    "no such fix": ([W], {"fixes": ["nonsense"]}, "$.fixes: there is no fix named 'nonsense'"),
    "no such fix of a process": (
        [W],
        {"processes": [{"name": "w", "fixes": ["lease=half"]}]},
        "$.processes[0].fixes: fix 'lease' has no variant 'half'",
    ),
    "time that runs back": ([W], {"time_scale": -1}, "$.time_scale is -1; write a number above 0"),
    "no time": ([W], {"time_scale": 0}, "$.time_scale is 0;"),
    "no dimension": (
        [W],
        {"shape": {"dimension": 0}},
        "$.shape.dimension is 0; write a number from",
    ),
    "no such space": ([W], {"shape": {"space": "manhattan"}}, "space 'manhattan' is none of"),
    "sync of one": ([W], {"shape": {"sync_threshold": 1}}, "sync_threshold is a number of drawers"),
    "batch beyond all": ([W], {"shape": {"batch_size": 2**31}}, "$.shape.batch_size is 2147483648"),
    "no such target": (
        [W],
        {"target": "palaec"},
        "is of target 'palaec', but there is no palaec.py",
    ),
    "target with a path": ([W], {"target": "../x"}, "is of target '../x'"),
    "module that is no target": ([W], {"target": "wire"}, "wire.py has no function `target`"),
    "no such observer": ([W], {"observers": ["no"]}, "$.observers names the observer 'no', but"),
    "observer of a check": (
        [W, step("close"), {"step": "check", "observers": ["no"]}],
        {},
        "$.steps[2] (check) names the observer 'no'",
    ),
    "batch of none": ([asked(batch=0)], {}, "batch of operation 'write' is 0: give a whole number"),
    "first beyond all": ([asked(first=10**30)], {}, "$.steps[0] (do 'w'): first of operation"),
    "drawers of observers": ([asked(first=8_999_999)], {}, "those from 9000000 on are written by"),
    "more than there are": (
        [asked(count=10**12)],
        {},
        "count of operation 'write' is 1000000000000",
    ),
    "numbers of a call beside others": (
        [{"step": "together", "calls": [W, asked(process="v", batch=-1)]}],
        {},
        "$.steps[0] (together): batch of operation 'write' is -1",
    ),
    "turns beyond all": (
        [{"step": "alternate", "processes": ["w"], "rounds": 10**9, "batch": 9}],
        {},
        "begin lower, or write fewer",
    ),
    "triple beyond all": ([step("do", op="add", args={"n": 10**30})], {}, "'n' of operation 'add'"),
    "wait that runs back": (
        [step("do", op="release", args={"after_s": -1})],
        {},
        "after_s of operation 'release' is -1: give seconds",
    ),
    "errno of nobody": ([at_call("fail", errno="EBOGUS"), W], {}, "'EBOGUS' is not the name of an"),
    "slow by nothing": ([at_call("slow", seconds=0), W], {}, "write a number above 0"),
    "a week": ([W, {"step": "elapse", "seconds": 7 * 86400}], {}, "write what comes to 86400"),
    "crash nowhere": ([at_call("crash"), W], {}, "says neither `k` nor `at`"),
    "crash in two places": ([at_call("crash", k=1, at=0.5), W], {}, "says both `k` and `at`"),
    "upgrade of who has nothing": ([W, step("upgrade")], {}, "give it the target 'mcp'"),
    "upgrade to source text": (
        [W, step("upgrade", library='1"; import os; "')],
        {"target": "mcp"},
        "names the version",
    ),
    "backdated by ages": (
        [W, {"step": "backdate", "pattern": "*", "seconds": 1e300}],
        {},
        "$.steps[1] (backdate): seconds is 1e+300; write a number up to 1e+09",
    ),
}


@pytest.mark.parametrize("case", ODD)
def test_what_nobody_could_mean(case: str, tmp_path: Path) -> None:
    made, plan, words = ODD[case]
    assert words in told(tmp_path, *made, **plan)


@pytest.mark.parametrize(
    "pattern",
    ["../victim", "a/../../victim", "..", "/etc/*", "", ".", "a\0b", "**x/y", "*/..", "./../v"],
)
def test_only_files_of_the_palace_are_backdated(pattern: str, tmp_path: Path) -> None:
    sentence = told(tmp_path, W, {"step": "backdate", "pattern": pattern, "seconds": 9})
    assert "$.steps[1] (backdate) has the pattern" in sentence
    assert "write it relative to the palace and without '..'" in sentence


@pytest.mark.parametrize(
    "text",
    [
        "def target(context):\n    return None\n",
        "class Mine: pass\ntarget = Mine\n",
        "from palace_lab.targets.chroma import target as target\n",
    ],
)
def test_a_target_of_ones_own_is_known(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"mine_{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setattr(targets, "__path__", [*targets.__path__, str(tmp_path)])
    assert read(tmp_path, W, target=name, observers=[name]).target == name


def test_who_asks_is_judged_without_an_observer(tmp_path: Path) -> None:
    asking = step("do", op="found", args={"wanted": [[0, 0]]})
    assert read(tmp_path, W, asking, observers=[]).observers == ()


def test_who_has_a_server_is_known_here_as_the_runner_knows_it() -> None:
    assert SERVED == TARGETS


# What there is makes sense -----------------------------------------------------------------------


@pytest.mark.parametrize("listed", REAL, ids=lambda each: each.name)
def test_every_scenario_makes_sense_on_each_arm_and_release(listed: Listed) -> None:
    scenario = listed.scenario
    for size in SIZES:
        for arm in scenario.arms():
            for release in scenario.releases:
                plan = scenario.plan_for(arm, release, 7, size, listed.name)
                assert [each.sentence for each in mistakes(plan)] == []


@given(st.integers(0, 2**63), st.sampled_from(["", *STOPS]))
def test_every_plan_that_is_drawn_makes_sense(seed: int, release: str) -> None:
    plan = by_lot(random.Random(seed), release)  # noqa: S311 (a lot, no secret)
    assert [each.sentence for each in mistakes(plan)] == []


def test_a_kill_of_who_had_no_fact_to_tell_is_not_drawn() -> None:
    plan = by_lot(random.Random(2128), "1.5.9")  # noqa: S311 (a lot, no secret)
    (leaves,) = [step for step in plan.steps if "worker-16" in named_by(step)]
    assert leaves == steps.Close("worker-16")


def test_a_scenario_whose_plan_makes_no_sense_is_told_by_name() -> None:
    made = Scenario(
        system="s1",
        plan=Plan(steps=(steps.write("w", 5), steps.Finish("w"))),
        off=Fixes.none(),
        accepts={"*": "locked"},
    )
    with pytest.raises(
        UsageError, match=r"the plan of s1/mine, arm off, makes no sense: \$\.steps"
    ):
        made.plan_for(made.arms()[0], "1.5.9", 1, Size(), "s1/mine")


def test_a_plan_that_makes_sense_is_given_back() -> None:
    plan = Plan(steps=(steps.write("w", 5),))
    assert check_plan(plan, "here") is plan
    assert dump_plan(plan)
