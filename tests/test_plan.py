"""A plan as text: what is written can be read, the same bytes each time, and mistakes are told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palace_lab.errors import UsageError
from palace_lab.plan import Plan, dump_plan, load_plan, steps
from palace_lab.plan.model import VERSION, Process, Shape
from palace_lab.plan.text import parse_plan
from palace_lab.processes.points import FAMILIES

# What is plain data in a plan: whatever JSON carries without loss.
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
WHOLE = st.integers(-(2**63), 2**63 - 1)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
SECONDS = NUMBERS | st.integers(-(2**31), 2**31)  # `seconds=7200` is what one writes
DATA = st.recursive(
    st.none() | st.booleans() | WHOLE | NUMBERS | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=5,
)
ORDINALS = st.integers(1, 2**31)
SHARES = st.floats(0, 1, exclude_min=True)
COUNTS = st.integers(0, 2**31)
PAUSES = st.floats(0, allow_infinity=False) | COUNTS
CALLS = (NAMES, st.sampled_from(sorted(FAMILIES)), NAMES.map("*/{}".format))
ARGS = st.dictionaries(NAMES, DATA, max_size=3)
DO = st.builds(steps.Do, NAMES, NAMES, ARGS)

ANY_STEP: dict[type[steps.Step], st.SearchStrategy[Any]] = {
    steps.Do: DO,
    steps.Begin: st.builds(steps.Begin, NAMES, NAMES, ARGS),
    steps.Paused: st.builds(steps.Paused, NAMES, NAMES),
    steps.Go: st.builds(steps.Go, NAMES),
    steps.Finish: st.builds(steps.Finish, NAMES),
    steps.Together: st.builds(steps.Together, st.lists(DO, max_size=3).map(tuple)),
    steps.Alternate: st.builds(
        steps.Alternate, st.lists(NAMES, max_size=3).map(tuple), ORDINALS, ORDINALS, COUNTS
    ),
    steps.Crash: st.builds(steps.Crash, *CALLS, k=st.none() | ORDINALS, at=st.none() | SHARES),
    steps.Hold: st.builds(steps.Hold, *CALLS, k=ORDINALS),
    steps.Fail: st.builds(steps.Fail, *CALLS, NAMES, ORDINALS),
    steps.Slow: st.builds(steps.Slow, *CALLS, PAUSES, ORDINALS),
    steps.Held: st.builds(steps.Held, NAMES),
    steps.Release: st.builds(steps.Release, NAMES),
    steps.Kill: st.builds(steps.Kill, NAMES),
    steps.Terminate: st.builds(steps.Terminate, NAMES),
    steps.Stop: st.builds(steps.Stop, NAMES),
    steps.Continue: st.builds(steps.Continue, NAMES),
    steps.Close: st.builds(steps.Close, NAMES),
    steps.Check: st.builds(steps.Check, NAMES, st.lists(NAMES, max_size=3).map(tuple)),
    steps.Elapse: st.builds(steps.Elapse, PAUSES),
    steps.Backdate: st.builds(steps.Backdate, NAMES, SECONDS),
    steps.Upgrade: st.builds(
        steps.Upgrade, NAMES, NAMES, NAMES, st.sampled_from(["uv", "pip", "pipx"])
    ),
}
WORDS = st.lists(NAMES, max_size=3).map(tuple)
SHAPES = st.builds(
    Shape,
    dimension=WHOLE,
    sync_threshold=WHOLE,
    batch_size=WHOLE,
    space=NAMES,
    embedded=st.booleans(),
)
PROCESSES = st.builds(Process, NAMES, NAMES, NAMES, st.none() | WORDS, st.booleans(), ARGS)
PLANS = st.builds(
    Plan,
    name=NAMES,
    arm=NAMES,
    release=NAMES,
    seed=WHOLE,
    fixes=WORDS,
    target=NAMES,
    shape=SHAPES,
    time_scale=SECONDS,
    processes=st.lists(PROCESSES, max_size=3).map(tuple),
    steps=st.lists(st.one_of(*ANY_STEP.values()), max_size=4).map(tuple),
    observers=WORDS,
    reach=st.sampled_from(("all", "any")),
)
PLAN = Plan(name="s1/example", seed=7, steps=(steps.write("writer", 300), steps.Close("writer")))


TURNS = {"step": "alternate", "processes": ["a", "b"], "rounds": 1, "batch": 1}
CRASH = {"step": "crash", "process": "w", "syscall": "write", "pattern": "*"}


# What is written can be read ---------------------------------------------------------------------


@given(PLANS)
def test_a_plan_comes_back_as_it_was_and_gives_the_same_bytes(plan: Plan) -> None:
    raw = dump_plan(plan)
    again = parse_plan(raw, "the plan")
    assert again == plan
    assert dump_plan(again) == dump_plan(plan) == raw


@pytest.mark.parametrize("kind", sorted(get_args(steps.AnyStep), key=str), ids=str)
def test_every_step_there_is_comes_back(kind: type[steps.Step]) -> None:
    @given(ANY_STEP[kind])
    def comes_back(step: steps.AnyStep) -> None:
        plan = Plan(steps=(step,))
        (again,) = parse_plan(dump_plan(plan), "the plan").steps
        assert again == step
        assert type(again) is kind

    comes_back()


def test_a_plan_is_text_for_people_with_one_value_a_line(tmp_path: Path) -> None:
    lines = dump_plan(PLAN).decode().splitlines()
    assert '  "name": "s1/example",' in lines
    assert '        "count": 300,' in lines
    path = tmp_path / "plan.json"
    path.write_bytes(dump_plan(PLAN))
    assert load_plan(path) == PLAN


def test_the_order_of_arguments_does_not_matter() -> None:
    one = Plan(steps=(steps.Do("w", "write", {"first": 0, "count": 3}),))
    other = Plan(steps=(steps.Do("w", "write", {"count": 3, "first": 0}),))
    assert dump_plan(one) == dump_plan(other)


def test_another_seed_or_arm_is_another_text() -> None:
    texts = {dump_plan(PLAN.changed(seed=seed, arm=arm)) for seed in (1, 2) for arm in ("", "off")}
    assert len(texts) == 4


FRESH = """
import sys
from palace_lab.plan import Plan, dump_plan, steps
from palace_lab.plan.model import Process
from palace_store.fixes import Fixes
options = {name: len(name) for name in {"alpha", "beta", "gamma", "delta", "epsilon"}}
plan = Plan(
    name="p", seed=11, fixes=tuple(Fixes.all().words()),
    processes=(Process("w", options=options),),
    steps=(steps.Do("w", "write", dict(reversed(options.items()))), steps.Elapse(3)),
)
sys.stdout.buffer.write(dump_plan(plan))
"""


def test_two_fresh_interpreters_write_the_same_bytes() -> None:
    written = [
        subprocess.run(
            [sys.executable, "-c", FRESH],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    ]
    assert written[0] == written[1]
    assert parse_plan(written[0], "the plan").seed == 11


# What cannot be read is told in one sentence -----------------------------------------------------


def edited(**values: Any) -> bytes:
    return msgspec.json.encode({**msgspec.json.decode(dump_plan(PLAN)), **values})


def one_sentence(caught: pytest.ExceptionInfo[UsageError], *words: str) -> None:
    text = str(caught.value)
    assert "\n" not in text
    assert all(word in text for word in words), text


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", ["is not a plan"]),
        (b"\x00\xff\xfe garbage", ["is not a plan"]),
        (b'{"version": 1, "name": "\xff"}', ["is not a plan"]),
        (b"[]", ["is not a plan", "object"]),
        (b"3", ["is not a plan"]),
        (b"[" * 200_000, ["is not a plan"]),
        (b'{"a":' * 200_000, ["is not a plan"]),
        (b"{}", ["version None", f"reads {VERSION}"]),
        (edited(version=VERSION + 1), [f"version {VERSION + 1}", f"reads {VERSION}"]),
        (edited(version="one"), ["version one"]),
        (edited(surprise=1), ["is not a plan", "surprise"]),
        (edited(seed="seven"), ["is not a plan", "$.seed"]),
        (edited(reach="some"), ["is not a plan", "$.reach"]),
        (edited(steps=[{"step": "explode"}]), ["is not a plan", "explode", "$.steps[0]"]),
        (edited(steps=[{"process": "writer"}]), ["is not a plan", "step", "$.steps[0]"]),
        (edited(steps=[{"step": "kill"}]), ["is not a plan", "process", "$.steps[0]"]),
        (edited(steps=[{"step": "kill", "process": "w", "hard": 1}]), ["hard", "$.steps[0]"]),
        (edited(steps=[{**CRASH, "at": 2.0}]), ["$.steps[0].at"]),
        (edited(steps=[{**CRASH, "at": 0}]), ["$.steps[0].at"]),
        (edited(steps=[{**CRASH, "k": 0}]), ["$.steps[0].k"]),
        (edited(steps=[{**CRASH, "syscall": "wrote"}]), ["no crash point at 'wrote'", "fsync"]),
        (edited(steps=[{**CRASH, "pattern": "x.bin"}]), ["write '*/x.bin'", "$.steps[0]"]),
        (edited(steps=[{**TURNS, "rounds": -4}]), ["$.steps[0].rounds"]),
        (edited(steps=[{**TURNS, "batch": 0}]), ["$.steps[0].batch"]),
        (edited(steps=[{"step": "elapse", "seconds": -1}]), ["$.steps[0].seconds"]),
        (edited(processes=[{"name": "w", "options": 3}]), ["$.processes[0].options"]),
        (edited(shape={"dimensions": 3}), ["dimensions", "$.shape"]),
        (dump_plan(PLAN)[:-20], ["is not a plan"]),
    ],
)
def test_what_is_no_plan(raw: bytes, words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "odd.json"
    path.write_bytes(raw)
    with pytest.raises(UsageError) as caught:
        load_plan(path)
    one_sentence(caught, str(path), *words)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_plan_or_a_mistake_that_is_told(raw: bytes) -> None:
    with pytest.raises(UsageError) as caught:
        parse_plan(raw, "the file")
    one_sentence(caught, "the file")


def test_a_file_that_is_not_there_or_is_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.json", tmp_path):
        with pytest.raises(UsageError) as caught:
            load_plan(path)
        one_sentence(caught, f"cannot read the plan {path}", "reports/<run>/plans")


def test_a_file_that_is_far_too_long_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "huge.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse; more than any memory
    with pytest.raises(UsageError) as caught:
        load_plan(path)
    one_sentence(caught, str(path), "no plan of this lab")


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for odd in (pipe, Path("/dev/zero")):
        with pytest.raises(UsageError) as caught:
            load_plan(odd)
        one_sentence(caught, f"cannot read the plan {odd}: It is not a file")


def test_a_plan_may_come_on_standard_input() -> None:
    plan = b'{"version": 1, "release": "1.5.9", "steps": [{"step": "elapse", "seconds": 1}]}'
    code = (
        "from pathlib import Path\nfrom palace_lab.plan import load_plan\n"
        "load_plan(Path('/dev/stdin'))"
    )
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, input=plan, capture_output=True, check=False, timeout=60)
    assert b"/dev/stdin makes no sense: none of its steps lets a process" in done.stderr


@pytest.mark.parametrize(
    ("key", "once", "twice"),
    [
        ("steps", b'"seed"', b'"steps": [], "seed"'),
        ("op", b'"op"', b'"op": "write", "op"'),
        ("count", b'"count"', b'"count": 1, "count"'),
    ],
)
def test_a_key_twice_is_told_and_not_left_out(
    key: str, once: bytes, twice: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "twice.json"
    path.write_bytes(dump_plan(PLAN).replace(once, twice, 1))
    with pytest.raises(UsageError) as caught:
        load_plan(path)
    one_sentence(caught, str(path), f"the key '{key}' twice", "leave one of the two away")


@pytest.mark.parametrize(
    "plan",
    [
        Plan(steps=(steps.Elapse(float("nan")),)),
        Plan(steps=(steps.Elapse(float("inf")),)),
        Plan(steps=(steps.Kill(3),)),  # type: ignore[arg-type]  # the mistake under test
        Plan(name="odd", version=VERSION + 1, steps=()),
    ],
)
def test_a_plan_that_could_not_be_read_back_is_not_written(plan: Plan) -> None:
    with pytest.raises(UsageError) as caught:
        dump_plan(plan)
    one_sentence(caught, "what is to be written as")


# What a plan says about itself -------------------------------------------------------------------


def test_processes_are_named_in_the_order_in_which_they_appear() -> None:
    plan = Plan(
        release="1.5.9",
        processes=(Process("old", release="0.6.3", may_refuse=True), Process("never")),
        steps=(
            steps.Together((steps.Do("b", "x"), steps.Do("a", "x"))),
            steps.Alternate(("a", "c"), rounds=1, batch=1),
            steps.Elapse(1),
            steps.Backdate("*", 1),
            steps.Kill("old"),
            steps.Kill("b"),
        ),
    )
    assert plan.process_names() == ["b", "a", "c", "old"]
    assert plan.releases() == {"1.5.9", "0.6.3"}
    assert plan.process("old").may_refuse
    assert plan.process("b") == Process("b")


def test_write_is_short_for_a_step() -> None:
    step = steps.write("w", 12, first=3, batch=4, how="upsert", revision=1)
    args = {"first": 3, "count": 12, "batch": 4, "how": "upsert", "revision": 1}
    assert step == steps.Do("w", "write", args)


EIGHT_AT_ONCE = """
import sys, threading
from pathlib import Path
from palace_lab.plan.text import parse_plan
from palace_lab.processes.points import FAMILIES

sys.setswitchinterval(1e-6)
raw = Path(sys.argv[1]).read_bytes()
together = threading.Barrier(8)
read = []

def work():
    together.wait()
    read.append(parse_plan(raw, "here"))

threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(read))
"""


def test_threads_that_read_the_first_plans_of_a_run_at_once_live(tmp_path: Path) -> None:
    """A decoder made by the first to need it ended more than every second such interpreter."""
    path = tmp_path / "plan.json"
    path.write_bytes(
        dump_plan(Plan(name="s1/x", steps=(steps.write("one", 3), steps.Close("one"))))
    )
    for _ in range(20):
        done = subprocess.run(
            [sys.executable, "-c", EIGHT_AT_ONCE, str(path)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "8\n", "")
