"""Each check speaks where it must, and only there; blinded, it is missed.

Evidence is made by hand, of the shape the runner makes: an expectation is derived from calls, an
answer is what a target's operation returns. In each case exactly one check speaks, so a check that
falls silent cannot hide behind another.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import pytest

from palace_lab import checks
from palace_lab.checks import run
from palace_lab.checks.evidence import Baseline, Evidence, Look, LookPhase, Observation
from palace_lab.checks.expected import PROBE_FIRST, expect
from palace_lab.checks.signatures import NEVER_ACCEPTED, known, leading
from palace_lab.history.merge import Call
from palace_lab.history.segment import Event, Phase
from palace_lab.plan.model import Plan, Process
from palace_lab.processes.exits import CRASH_CODE, Exit
from palace_store.fixes import Fixes

CLEAN = Exit(0, None, by_lab=False)
KILLED = Exit(None, signal.SIGKILL, by_lab=True)
SEGFAULT = Exit(None, signal.SIGSEGV, by_lab=False)
CPU_LIMIT = Exit(None, signal.SIGXCPU, by_lab=True, note="used up its processor time limit")
DRAWERS = range(10)
PROBES = range(PROBE_FIRST, PROBE_FIRST + 12)
HEALTHY_S = 1.0
BASELINE = Baseline({"palace": HEALTHY_S, "chroma": HEALTHY_S}, allocated_bytes=1_000_000)
EOF_IN_PICKLE = (
    "InternalError: Error executing plan: Error sending backfill request to compactor: "
    "Error constructing hnsw segment reader: Error creating hnsw segment reader: "
    "Error deserializing pickle file: eval error at offset 0: EOF while parsing"
)


def crashed(last_line: str) -> Exit:
    crash = f'Traceback (most recent call last):\n  File "pickle.py", line 1\n{last_line}\n'
    return Exit(CRASH_CODE, None, by_lab=False, crash=crash)


# Evidence by hand --------------------------------------------------------------------------------


def call(
    op: str,
    first: int,
    phase: Phase | None = "ok",
    *,
    count: int = 1,
    revision: int = 0,
    at: int = 1,
    text: str = "",
    process: str = "writer",
) -> Call:
    """One call from `at` to `at + 1`; phase None: its process died inside it."""
    begin = Event(process, 1, at, "invoke", op, at, first, count, revision, "")
    end = phase and Event(process, 1, at, phase, op, at + 1, first, count, revision, text)
    return Call(begin, end or None)


WROTE = call("add", DRAWERS[0], count=len(DRAWERS))
#: What 0.x says where its graph cannot reach all it has.
NOT_REACHED = {"RuntimeError: Cannot return the results in a contigious 2D array.": 2}


def observed(
    observer: str = "palace",
    *,
    listed: Iterable[int] = DRAWERS,
    foreign: Iterable[str] = (),
    missing: Iterable[int] = (),
    missing_again: Iterable[int] | None = None,
    missing_new: Iterable[int] = (),
    second_look: Iterable[int] = (),
    errors: dict[str, int] | None = None,
    errors_again: dict[str, int] | None = None,
    seconds: float = HEALTHY_S,
    revisions: Iterable[tuple[int, int]] = (),
) -> Observation:
    """A fresh process that answered everything."""
    answers: dict[str, Any] = {
        "opened": {"count": 10, "seconds": 0.1},
        "listed": texts(listed, revisions, foreign=foreign),
        "found": {
            "looked_up": 10,
            "second_look": list(second_look),
            "missing": list(missing),
            "errors": errors or {},
        },
        "write": {"written": 12},
        "found-new": {
            "looked_up": 12,
            "second_look": [],
            "missing": list(missing_new),
            "errors": {},
        },
    }
    if missing_again is not None:
        found = {
            "looked_up": 1,
            "missing": list(missing_again),
            "second_look": [],
            "errors": errors_again or {},
        }
        answers |= {"opened-again": {"count": 10, "seconds": 0.1}, "found-again": found}
    looks = [Look(stage, "ok", value, "", seconds / 5) for stage, value in answers.items()]
    return Observation(observer, tuple(looks), CLEAN)


def texts(
    listed: Iterable[int],
    revisions: Iterable[tuple[int, int]] = (),
    *,
    foreign: Iterable[str] = (),
) -> dict[str, Any]:
    """What a process lists, all at revision 0 but for those given."""
    numbers = list(listed)
    read = dict.fromkeys(numbers, 0) | dict(revisions)
    return {
        "numbers": numbers,
        "foreign": list(foreign),
        "revisions": [[number, revision] for number, revision in read.items()],
    }


def stopped(
    phase: LookPhase, *, error: str = "", ended: Exit = CLEAN, seconds: float = 0.1
) -> Observation:
    """A fresh process that opened the palace and did not get past the next question."""
    opened = Look("opened", "ok", {"count": 10, "seconds": 0.1}, "", 0.1)
    return Observation("chroma", (opened, Look("listed", phase, None, error, seconds)), ended)


def graph(*rows: str, integrity: str = "ok", ended: Iterable[str] = ()) -> Observation:
    """What the observer of the knowledge graph reads; a row is "process/number"."""

    def stored(row: str) -> list[str]:
        process, n = row.split("/")
        return [f"{process}-s{n}", "p", f"o{n}"]

    value = {
        "triples": [stored(row) for row in rows],
        "ended": [stored(row) for row in ended],
        "integrity": integrity,
        "wal_bytes": None,
    }
    return Observation("triples", (Look("listed", "ok", value, "", 0.1),), CLEAN)


def machine(
    *memories: int,
    foreign: Iterable[str] = (),
    pending: Iterable[int] = (),
    parked: Iterable[tuple[int, str]] = (),
    integrity: str = "ok",
) -> dict[str, Any]:
    """What the observer reads in the file of one machine."""
    return {
        "memories": list(memories),
        "foreign": list(foreign),
        "pending": [[n, ""] for n in pending],
        "parked": [list(each) for each in parked],
        "integrity": integrity,
        "version": 3,
    }


def remembered(remote: Iterable[int] | None = None, *refused: int, **machines: Any) -> Observation:
    """What the observer of memories reads."""
    there = None
    if remote is not None:
        numbers = list(remote)
        there = {"memories": numbers, "foreign": [], "refused": list(refused), "integrity": "ok"}
    value = {"machines": machines, "remote": there}
    return Observation("memories", (Look("listed", "ok", value, "", 0.1),), CLEAN)


def survey(
    *findings: tuple[str, str], missing: Iterable[int] = (), weight: int = 1_100_000
) -> dict[str, Any]:
    """What anatomy says; a finding is its kind and severity."""
    return {
        "findings": [
            {"kind": kind, "severity": severity, "sentence": f"there is {kind}"}
            for kind, severity in findings
        ],
        "collections": {
            "drawers": {
                "rows": list(DRAWERS),
                "missing_from_index": list(missing),
                "unrecoverable": [],
                "index_only": [],
                "in_index_file": 10,
                "log_complete": True,
            }
        },
        "set_aside": 0,
        "apparent_bytes": weight,
        "allocated_bytes": weight,
    }


def evidence(
    *observations: Observation,
    calls: Iterable[Call] = (WROTE,),
    exits: dict[str, Exit] | None = None,
    after: dict[str, Any] | None = None,
    may_refuse: bool = False,
    **values: Any,
) -> Evidence:
    """Evidence of a trial in which all went well, but for what is given."""
    made = tuple(calls)
    return replace(
        Evidence(
            plan=Plan(processes=(Process("writer", may_refuse=may_refuse),), steps=()),
            calls=made,
            expected=expect(made),
            observations=observations
            or (observed(), observed("chroma", listed=[*DRAWERS, *PROBES])),
            surveys={"before": survey(), "after": survey() if after is None else after},
            exits={"writer": CLEAN} if exits is None else exits,
            hangs=(),
            baseline=BASELINE,
        ),
        **values,
    )


def reading(op: str, value: Any, *calls: Call, at: int = 5, **values: Any) -> Evidence:
    """Evidence of a living process that was given an answer at `at`, and of nothing else wrong."""
    asked = replace(call(op, 0, count=0, at=at, process="reader"))
    fresh = values.pop("fresh", observed())
    return evidence(
        fresh, calls=[*calls, asked], answers=(("reader", "open", None), ("reader", op, value)),
        **values,
    )  # fmt: skip


def after_a_list(found: Any, *calls: Call) -> Evidence:
    """Evidence of a living process that listed a drawer whose writer died, and then searched."""
    asked = [
        replace(call(op, 0, count=0, at=at, process="reader"))
        for op, at in (("listed", 6), ("found", 8))
    ]
    return evidence(
        observed(), exits={"writer": KILLED},
        calls=[WROTE, call("add", 20, None, at=3), *calls, *asked],
        answers=(("reader", "listed", texts([*DRAWERS, 20])), ("reader", "found", found)),
    )  # fmt: skip


def searched(*missing: int, errors: dict[str, int] | None = None) -> dict[str, Any]:
    """What a search by the vectors of all ten drawers comes to."""
    return {"looked_up": 10, "second_look": [], "missing": list(missing), "errors": errors or {}}


def told(*held: int, day: int) -> dict[str, Any]:
    """What a process is told of triples 1 and 2 on a day."""
    return {"asked": [1, 2], "day": day, "held": list(held)}


def of_models(
    *,
    unknown: Iterable[int] = (),
    lost: Iterable[int] = (),
    mislabelled: Iterable[int] = (),
    unlabelled: Iterable[int] = (),
    recorded: str = "stand-in-a",
    fixes: Fixes | None = None,
    **models: Iterable[int],
) -> Evidence:
    """Evidence of texts whose vectors were read from the files; `a` is stand-in-a, and so on."""
    value = {
        "models": {f"stand-in-{name}": list(numbers) for name, numbers in models.items()},
        "unknown": list(unknown),
        "without_vector": list(lost),
        "mislabelled": list(mislabelled),
        "unlabelled": list(unlabelled),
        "recorded": recorded,
    }
    read = Observation("vectors", (Look("models", "ok", value, "", 0.1),), CLEAN)
    plan = Plan(steps=(), processes=(Process("writer"),), fixes=fixes.words() if fixes else ())
    return evidence(observed(), read, plan=plan)


def near(*, astray: Iterable[int] = (), foreign: Iterable[int] = ()) -> Evidence:
    """Evidence of a living process that searched by ten texts."""
    value = {"asked": 10, "astray": list(astray), "foreign": list(foreign)}
    return evidence(observed(), answers=(("reader", "neighbours", value),))


def beside_drawers(*listed: int, **values: Any) -> Evidence:
    """Evidence of five texts beside ten drawers, in one palace and under the same numbers."""
    told = call("add", 0, count=5, process="reader")
    seen = observed("texts", listed=[*listed, *PROBES])
    plan = Plan(processes=(Process("reader", target="texts"),), steps=())
    return evidence(
        observed(), seen, calls=[WROTE, told], plan=plan, texts=expect([told]), **values
    )


def claimed(*claims: Iterable[int], calls: Iterable[Call] = (WROTE,)) -> Evidence:
    """Evidence of processes that were told which texts they had stored."""
    answers = tuple(
        (f"p{number}", "write", {"written": 10, "new": list(new)})
        for number, new in enumerate(claims)
    )
    return evidence(observed(), calls=calls, answers=answers)


# What a check must say ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """Evidence on which one check must speak, under one name."""

    what: str
    check: str
    signature: str
    evidence: Evidence


REFUSED = "StaleLibraryError: this process runs chromadb 0.6.3, the palace was opened by 1.5.9"
LOCKED = "PalaceLockedError: database is locked: a peer has held it for 60.0 s"
PEERS = call("triple", 1, process="peer")
UPSERTED = call("upsert", 9, revision=1, at=3)
ENDED = call("end", 1, revision=5, at=3)  # on day 5
UNKNOWN_END = call("end", 1, None, revision=5, at=3)

FOUND = [
    # durable, phantom, duplicate: what is listed
    Case("an acknowledged drawer is not listed", "durable", "silent-row-loss",
         evidence(observed(listed=range(9)))),
    Case("only the second reader does not list it", "durable", "silent-row-loss",
         evidence(observed(), observed("chroma", listed=[*range(1, 10), *PROBES]))),
    Case("a second revision is lost with its drawer", "durable", "silent-row-loss",
         evidence(observed(listed=range(9)),
                  calls=[WROTE, call("upsert", 9, revision=1, at=3)])),
    Case("an acknowledged text is not listed, a drawer of its number is", "durable",
         "silent-row-loss", beside_drawers(0, 1, 2, 3)),
    Case("a text nobody wrote is listed, a drawer of its number was written", "phantom", "phantom",
         beside_drawers(0, 1, 2, 3, 4, 5)),
    Case("a drawer nobody wrote is listed", "phantom", "phantom",
         evidence(observed(listed=range(11)))),
    Case("a drawer with a foreign id is listed", "phantom", "phantom",
         evidence(observed(foreign=["wing-7"]))),
    Case("a refused drawer is listed", "phantom", "phantom",
         evidence(observed(listed=range(11)), may_refuse=True,
                  calls=[WROTE, call("add", 10, "fail", at=3, text=REFUSED)])),
    Case("a deleted drawer is listed", "phantom", "phantom",
         evidence(observed(), calls=[WROTE, call("delete", 4, at=3)])),
    Case("a drawer is listed twice", "duplicate", "duplicate",
         evidence(observed(listed=[*DRAWERS, 4]))),
    Case("a probe is listed twice", "duplicate", "duplicate",
         evidence(observed(listed=[*DRAWERS, *PROBES, PROBES[0]]))),
    Case("a triple is held twice", "duplicate", "duplicate",
         evidence(graph("writer/1", "writer/1"), calls=[call("triple", 1)])),
    # findable: what searches find
    Case("a listed drawer is not found by its vector", "findable", "silent-vector-loss",
         evidence(observed(missing=[3]))),
    Case("neither of two raw processes finds a drawer", "findable", "silent-vector-loss",
         evidence(observed("chroma", missing=[3, 4], missing_again=[4]))),
    Case("two raw processes are refused a search", "readable", "search-refused",
         evidence(observed("chroma", missing=[3], errors=NOT_REACHED,
                           missing_again=[3], errors_again=NOT_REACHED))),
    Case("one raw process is refused a search, the other meets an error", "readable", "finding-id",
         evidence(observed("chroma", missing=[3], errors=NOT_REACHED,
                           missing_again=[3],
                           errors_again={"InternalError: Error finding id": 1}))),
    Case("a raw process meets an error that is no matter of its graph", "readable", "finding-id",
         evidence(observed("chroma", missing=[3], missing_again=[],
                           errors={"InternalError: Error finding id": 1}))),
    Case("a process of the library is refused a search", "readable", "search-refused",
         evidence(observed(missing=[3], errors=NOT_REACHED))),
    Case("no drawer is found, and there was nothing to survey", "findable", "silent-vector-loss",
         evidence(observed(missing=range(10)),
                  surveys={})),
    Case("what the reader wrote itself is not found", "findable", "silent-vector-loss",
         evidence(observed(missing_new=[PROBES[5]]))),
    Case("a second revision is not found", "findable", "silent-vector-loss",
         evidence(observed(missing=[9], revisions=[(9, 1)]),
                  calls=[WROTE, call("upsert", 9, revision=1, at=3)])),
    # readable: what becomes of readers
    Case("a reader dies by a signal of its own", "readable", "reader-signal",
         evidence(stopped("died", ended=SEGFAULT))),
    Case("a reader dies of an exception", "readable", "index-unreadable",
         evidence(stopped("died", error=crashed(EOF_IN_PICKLE).crash or "",
                          ended=crashed(EOF_IN_PICKLE)))),
    Case("a reader dies of an exception in a file about pickles", "readable", "unexplained-error",
         evidence(stopped("died", error=crashed("KeyError: 3").crash or "",
                          ended=crashed("KeyError: 3")))),
    Case("a reader is told an error", "readable", "index-unreadable",
         evidence(stopped("info", error=EOF_IN_PICKLE))),
    Case("a reader is refused", "readable", "refused-damaged-index",
         evidence(stopped("fail", error="IndexDamagedError: the HNSW index of 'drawers'"))),
    Case("searches fail loudly", "readable", "finding-id",
         evidence(observed(missing=range(10),
                           errors={"InternalError: Error executing plan: Error finding id": 11}))),
    Case("a reader gives no answer", "readable", "reader-stuck",
         evidence(stopped("hung", ended=KILLED, seconds=60.0))),
    Case("a reader gives no answer and nobody knows what is usual", "readable", "hang",
         evidence(stopped("hung", ended=KILLED, seconds=60.0), baseline=None)),
    Case("a reader uses up its processor time", "readable", "reader-stuck",
         evidence(stopped("died", ended=CPU_LIMIT, seconds=60.0))),
    # agreement: what files say
    Case("a watermark is a BLOB", "agreement", "watermark-blob",
         evidence(after=survey(("watermark-blob", "damage")))),
    Case("an index file is torn", "agreement", "files-disagree",
         evidence(after=survey(("index-torn", "damage")))),
    Case("a row has no vector in any file", "agreement", "silent-vector-loss",
         evidence(after=survey(missing=[4]))),
    # answers: what living writers are told
    Case("a writer is told that it is locked", "answers", "locked",
         evidence(calls=[WROTE, call("add", 10, "info", at=3, text=LOCKED)])),
    Case("a writer that may be refused is told an error", "answers", "index-unreadable",
         evidence(calls=[WROTE, call("add", 10, "info", at=3, text=EOF_IN_PICKLE)],
                  may_refuse=True)),
    Case("a writer that may not be refused is", "answers", "refused-stale-library",
         evidence(calls=[WROTE, call("add", 10, "fail", at=3, text=REFUSED)])),
    Case("a call that writes nothing ends in an error", "answers", "locked",
         evidence(calls=[WROTE, call("open", 0, "info", at=3, text=LOCKED)])),
    # exits: what becomes of writers
    Case("a writer dies by a signal nobody sent", "exits", "writer-signal",
         evidence(exits={"writer": SEGFAULT})),
    Case("a writer is killed, but not by the lab", "exits", "writer-signal",
         evidence(exits={"writer": replace(KILLED, by_lab=False)})),
    Case("a writer dies of an exception", "exits", "index-unreadable",
         evidence(exits={"writer": crashed("EOFError: Ran out of input")})),
    Case("a writer dies without a word", "exits", "unexplained-error",
         evidence(exits={"writer": Exit(3, None, by_lab=False)})),
    Case("a writer cannot import its library", "exits", "import-error",
         evidence(exits={"writer": crashed("ModuleNotFoundError: No module named 'chromadb'")})),
    Case("a writer hangs and is killed for it", "exits", "writer-stuck",
         evidence(exits={"writer": KILLED}, hangs=(("writer", "write", 28.0),))),
    Case("a writer hangs and nobody knows what is usual", "exits", "hang",
         evidence(exits={"writer": KILLED}, hangs=(("writer", "write", 60.0),), baseline=None)),
    Case("a writer uses up its processor time", "exits", "writer-stuck",
         evidence(exits={"writer": CPU_LIMIT})),
    # bounded: how long and how large
    Case("a reader takes half a minute", "bounded", "slow-open",
         evidence(observed(seconds=30.0))),
    Case("a palace of ten drawers takes a gigabyte", "bounded", "bloated",
         evidence(after=survey(weight=1 << 30))),
    # triples
    Case("an acknowledged triple is not there", "triples", "silent-row-loss",
         evidence(graph("writer/1"), calls=[call("triple", 1), call("triple", 2)])),
    Case("the last triple of an acknowledged call is lost", "triples", "silent-row-loss",
         evidence(graph("writer/1"), calls=[call("triple", 1, count=2)])),
    Case("half of a call that was cut off is there", "triples", "half-written",
         evidence(graph("writer/1"), calls=[call("triple", 1, None, count=2)],
                  exits={"writer": KILLED})),
    Case("the same triple of another process does not count", "triples", "silent-row-loss",
         evidence(graph("writer/1"), calls=[call("triple", 1), PEERS])),
    Case("a triple nobody wrote is there", "triples", "phantom",
         evidence(graph("writer/1", "peer/1"), calls=[call("triple", 1)])),
    Case("a refused triple is there", "triples", "phantom",
         evidence(graph("writer/1"), calls=[call("triple", 1, "fail")], may_refuse=True)),
    Case("the knowledge graph is malformed", "triples", "sqlite-malformed",
         evidence(graph("writer/1", integrity="row 3 missing from index"),
                  calls=[call("triple", 1)])),
    Case("the knowledge graph is gone", "triples", "silent-row-loss",
         evidence(graph(integrity="missing"), calls=[call("triple", 1)])),
    Case("an ended triple holds again", "triples", "silent-row-loss",
         evidence(graph("writer/1"), calls=[call("triple", 1), ENDED])),
    Case("a triple is ended that nobody ended", "triples", "phantom",
         evidence(graph("writer/1", ended=["writer/1"]), calls=[call("triple", 1)])),
    # memories: what machines and their remote hold
    Case("an acknowledged memory is not on its machine", "memories", "silent-row-loss",
         evidence(remembered(writer=machine(1)), calls=[call("memory", 1), call("memory", 2)])),
    Case("an acknowledged memory is nowhere", "memories", "silent-row-loss",
         evidence(remembered([1], writer=machine(1)), calls=[call("memory", 1, count=2)])),
    Case("a deleted memory is there", "memories", "phantom",
         evidence(remembered(writer=machine(1)),
                  calls=[call("memory", 1), call("forget", 1, at=3)])),
    Case("a deleted memory of another machine is there", "memories", "phantom",
         evidence(remembered([1], writer=machine(1), peer=machine(1)),
                  calls=[call("memory", 1), call("forget", 1, at=3, process="peer")])),
    Case("words nobody wrote are there", "memories", "phantom",
         evidence(remembered(writer=machine(foreign=["x"])), calls=[call("open", 0)])),
    Case("a refused memory is there", "memories", "phantom",
         evidence(remembered(writer=machine(1)), may_refuse=True,
                  calls=[call("memory", 1, "fail")])),
    Case("a memory is at the remote twice", "memories", "duplicate",
         evidence(remembered([1, 1], writer=machine(1)), calls=[call("memory", 1)])),
    Case("half of a call about memories is there", "memories", "half-written",
         evidence(remembered(writer=machine(1)), calls=[call("memory", 1, None, count=2)],
                  exits={"writer": KILLED})),
    Case("the file of a machine is malformed", "memories", "sqlite-malformed",
         evidence(remembered(writer=machine(1, integrity="row 1 missing")),
                  calls=[call("memory", 1)])),
    Case("the remote lacks a memory", "memories", "not-converged",
         evidence(remembered([], writer=machine(1)), calls=[call("memory", 1)])),
    Case("a machine lacks a memory of the remote", "memories", "not-converged",
         evidence(remembered([1], writer=machine(1), peer=machine()),
                  calls=[call("memory", 1)])),
    Case("a machine has still something to tell", "memories", "not-converged",
         evidence(remembered([1], writer=machine(1, pending=[1])), calls=[call("memory", 1)])),
    Case("a memory is given up that nobody refused", "memories", "parked-wrongly",
         evidence(remembered([], writer=machine(1, parked=[(1, "unreachable")])),
                  calls=[call("memory", 1)])),
    Case("a memory is given up without a reason", "memories", "parked-wrongly",
         evidence(remembered([], 1, writer=machine(1, parked=[(1, "")])),
                  calls=[call("memory", 1)])),
    # content: what drawers say
    Case("a drawer has an older text than it was given", "content", "stale-content",
         evidence(observed(), calls=[WROTE, UPSERTED])),
    Case("a drawer has a text nobody gave it", "content", "stale-content",
         evidence(observed(revisions=[(3, -1)]))),
    Case("an unknown write left a text of neither kind", "content", "stale-content",
         evidence(observed(revisions=[(9, 2)]), exits={"writer": KILLED},
                  calls=[WROTE, call("upsert", 9, None, revision=1, at=3)])),
    # reads: what living processes are told
    Case("a living process is not given a drawer", "reads", "stale-read",
         reading("listed", texts(range(9)), WROTE)),
    Case("a living process is given a deleted drawer", "reads", "stale-read",
         reading("listed", texts(DRAWERS), WROTE, call("delete", 4, at=3),
                 fresh=observed(listed=[n for n in DRAWERS if n != 4]))),
    Case("a living process is given a drawer twice", "reads", "stale-read",
         reading("listed", texts([*DRAWERS, 4]), WROTE)),
    Case("a living process is given an old text", "reads", "stale-read",
         reading("listed", texts(DRAWERS), WROTE, UPSERTED, fresh=observed(revisions=[(9, 1)]))),
    Case("a living process does not find a drawer", "reads", "stale-read",
         reading("found", searched(7), WROTE)),
    Case("a living process does not find what it was given in a list", "reads", "stale-read",
         after_a_list(searched(20))),
    Case("a living process counts too few", "reads", "stale-read", reading("count", 9, WROTE)),
    Case("a living process counts too many", "reads", "stale-read", reading("count", 11, WROTE)),
    Case("the searches of a living process fail loudly", "reads", "finding-id",
         reading("found", searched(3, errors={"InternalError: Error finding id": 2}), WROTE)),
    Case("a living process is not told a fact", "reads", "stale-read",
         reading("held", told(day=5), WROTE, call("triple", 1))),
    Case("a living process is told a fact before anybody else", "reads", "stale-read",
         reading("held", told(1, 2, day=5), WROTE, call("triple", 1))),
    Case("a fact holds after the day of its end", "reads", "stale-read",
         reading("held", told(1, day=5), WROTE, call("triple", 1), ENDED)),
    Case("a fact ended before the day of its end", "reads", "stale-read",
         reading("held", told(day=4), WROTE, call("triple", 1), ENDED)),
    # models: whose vectors texts have
    Case("vectors of two models", "models", "mixed-models", of_models(a=range(9), b=[9])),
    Case("vectors of three models", "models", "mixed-models", of_models(a=range(8), b=[8], c=[9])),
    Case("a vector of no model", "models", "mixed-models", of_models(a=range(9), unknown=[9])),
    Case("all vectors of no model", "models", "mixed-models", of_models(unknown=DRAWERS)),
    Case("a collection that names another model", "models", "mixed-models", of_models(b=DRAWERS)),
    Case("a row that names another model", "models", "mixed-models",
         of_models(a=DRAWERS, mislabelled=[4])),
    Case("rows that name no model", "models", "mixed-models",
         of_models(a=DRAWERS, unlabelled=[4, 5], fixes=Fixes.all())),
    Case("a collection that names no model", "models", "mixed-models",
         of_models(a=DRAWERS, recorded="", fixes=Fixes.all())),
    Case("a text without a vector", "models", "silent-vector-loss",
         of_models(a=range(9), lost=[9])),
    # neighbours: what living processes are given
    Case("a text does not find itself", "neighbours", "mixed-models", near(astray=[3])),
    Case("a distance that the model does not give", "neighbours", "mixed-models",
         near(foreign=[3])),
    # claims: who was told that it stored a text
    Case("two are told that they stored a text", "claims", "told-twice",
         claimed(range(6), range(5, 10))),
    Case("nobody is told that it stored a text", "claims", "told-by-none",
         evidence(observed(), answers=(("writer", "write", {"written": 10, "new": [0, 1]}),))),
    Case("one is told so twice", "claims", "told-twice",
         evidence(observed(), answers=2 * (("p", "write", {"new": [1]}),))),
]  # fmt: skip


@pytest.mark.parametrize("case", FOUND, ids=lambda case: case.what)
def test_exactly_this_check_speaks(case: Case) -> None:
    said = run.run_checks(case.evidence)
    assert {(each.check, each.signature) for each in said} == {(case.check, case.signature)}
    assert leading({each.signature for each in said}) == case.signature
    for each in said:
        assert each.sentence
        assert "\n" not in each.sentence


@pytest.mark.parametrize("name", sorted(run.all_checks()))
def test_a_blinded_check_is_missed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    blinded = {**run.all_checks(), name: lambda _: []}
    monkeypatch.setattr(run, "all_checks", lambda: blinded)
    lost = {
        case.what
        for case in FOUND
        if case.signature not in {each.signature for each in run.run_checks(case.evidence)}
    }
    assert lost == {case.what for case in FOUND if case.check == name}
    assert lost


def test_every_file_with_a_check_is_a_check() -> None:
    folder = Path(checks.__file__).parent
    files = {path.stem for path in folder.glob("*.py") if "\ndef check(" in path.read_text()}
    assert set(run.all_checks()) == files


def test_whatever_a_check_says_can_be_listed_or_never_counts() -> None:
    assert {case.signature for case in FOUND} <= known() | NEVER_ACCEPTED


# What looks like it and is not -------------------------------------------------------------------

DIED = call("add", 10, None, count=5, at=3)
DELETING = call("delete", 4, None, at=3)

HEALTHY = {
    "all went well": evidence(),
    "who did not come to its answer may have stored them": evidence(
        answers=(("writer", "write", {"written": 8, "new": []}),)
    ),
    "a call that was refused stored nothing, so nobody was told": evidence(
        calls=[WROTE, call("add", 10, "fail", count=5, at=3, text=REFUSED)],
        may_refuse=True,
        answers=(("writer", "write", {"written": 10, "new": list(DRAWERS)}),),
    ),
    "a call that was cut off may have stored what others found": evidence(
        calls=[WROTE, call("add", 0, None, count=10, process="killed")],
        exits={"writer": CLEAN, "killed": KILLED},
        answers=(("writer", "write", {"written": 10, "new": []}),),
    ),
    "texts were there before": evidence(
        answers=(("writer", "write", {"written": 10, "new": list(DRAWERS)}),)
    ),
    "without identities rows name no model": of_models(
        a=DRAWERS, unlabelled=DRAWERS, recorded="", fixes=Fixes.reported("embedding")
    ),
    "no texts, so nothing to name": of_models(recorded="", fixes=Fixes.all()),
    "nothing was asked or done": evidence(calls=(), surveys={}, observations=(), exits={}),
    # unknown is unknown
    "a writer was killed by the lab; nothing of its call is there": evidence(
        calls=[WROTE, DIED], exits={"writer": KILLED}
    ),
    "… all of its call is there": evidence(
        observed(listed=range(15)), calls=[WROTE, DIED], exits={"writer": KILLED}
    ),
    "… part of its call is there": evidence(
        observed(listed=[*DRAWERS, 12, 13]), calls=[WROTE, DIED], exits={"writer": KILLED}
    ),
    "a delete was cut short; the drawer is there": evidence(
        calls=[WROTE, DELETING], exits={"writer": KILLED}
    ),
    "a delete was cut short; the drawer is gone": evidence(
        observed(listed=[n for n in DRAWERS if n != 4]),
        calls=[WROTE, DELETING],
        exits={"writer": KILLED},
    ),
    # allowed refusals, deletions, revisions, probes
    "a process that may be refused was": evidence(
        calls=[WROTE, call("add", 10, "fail", at=3, text=REFUSED)], may_refuse=True
    ),
    "a deleted drawer is gone": evidence(
        observed(listed=[n for n in DRAWERS if n != 4]), calls=[WROTE, call("delete", 4, at=3)]
    ),
    "a second revision took the place of the first": evidence(
        observed(revisions=[(9, 1)]), calls=[WROTE, UPSERTED]
    ),
    "an unknown write may have left its text": evidence(
        observed(revisions=[(9, 1)]),
        calls=[WROTE, call("upsert", 9, None, revision=1, at=3)],
        exits={"writer": KILLED},
    ),
    "an unknown write may have left the text as it was": evidence(
        calls=[WROTE, call("upsert", 9, None, revision=1, at=3)], exits={"writer": KILLED}
    ),
    "a library that cannot say its texts": evidence(
        Observation(
            "other",
            (Look("listed", "ok", {"numbers": list(DRAWERS), "foreign": []}, "", 0.1),),
            CLEAN,
        )
    ),
    "a raw process misses by chance what another one finds": evidence(
        observed("chroma", missing=[3, 4], missing_again=[])
    ),
    "a raw process is refused what another one is not": evidence(
        observed("chroma", missing=[3], errors=NOT_REACHED, missing_again=[])
    ),
    "texts are numbered apart from drawers": beside_drawers(0, 1, 2, 3, 4),
    # what living processes read
    "… and counted apart from them": reading(
        "count",
        10,
        WROTE,
        call("add", 100, count=5, process="other"),
        plan=Plan(processes=(Process("other", target="texts"),), steps=()),
        expected=expect([WROTE]),
    ),
    "a living process was told all there was": reading("listed", texts(DRAWERS), WROTE),
    "… counted it": reading("count", 10, WROTE),
    "… found it": reading("found", searched(), WROTE),
    "… did not find what a list had and then was deleted": after_a_list(
        searched(20), call("delete", 20, at=7)
    ),
    "… found what a list had and nobody was promised": after_a_list(searched()),
    "… asked before it was written": reading("listed", texts([]), call("add", 0, count=10, at=9)),
    "… asked while it was written": reading("count", 3, call("add", 0, count=10, at=5)),
    "… asked while it was deleted": reading(
        "listed",
        texts(DRAWERS),
        WROTE,
        call("delete", 4, at=5),
        fresh=observed(listed=[n for n in DRAWERS if n != 4]),
    ),
    "a fact held until the day of its end": reading(
        "held", told(1, day=4), WROTE, call("triple", 1), ENDED
    ),
    "a fact no longer held on the day of its end": reading(
        "held", told(day=5), WROTE, call("triple", 1), ENDED
    ),
    "an unknown end may have happened": reading(
        "held", told(day=5), WROTE, call("triple", 1), UNKNOWN_END, exits={"writer": KILLED}
    ),
    "an unknown end may not have happened": reading(
        "held", told(1, day=5), WROTE, call("triple", 1), UNKNOWN_END, exits={"writer": KILLED}
    ),
    "readers list what readers before them wrote": evidence(
        observed(listed=[*DRAWERS, *PROBES]), observed("chroma", listed=[*DRAWERS, *PROBES])
    ),
    "a drawer is not its own nearest, but near": evidence(observed(second_look=[3])),
    # the files
    "anatomy has something to remark": evidence(
        after=survey(("quarantined-directories", "note"), ("index-only", "warning"))
    ),
    "damage was there before the first reader mended it": evidence(
        surveys={"before": survey(("index-torn", "damage"), missing=[3]), "after": survey()}
    ),
    "there was nothing to survey": evidence(surveys={}),
    # time and space
    "a reader was slow, but not that slow": evidence(observed(seconds=22.0)),
    "a palace was heavy, but not that heavy": evidence(after=survey(weight=50 << 20)),
    "slow and heavy, and nobody knows what is usual": evidence(
        observed(seconds=500.0), after=survey(weight=1 << 40), baseline=None
    ),
    "an observer without a measure of its own was slow": evidence(
        replace(observed(seconds=500.0), observer="other")
    ),
    # triples
    "all triples are there": evidence(
        graph("writer/1", "peer/1"), calls=[call("triple", 1), PEERS]
    ),
    "an unknown triple is there": evidence(
        graph("writer/1"), calls=[call("triple", 1, None)], exits={"writer": KILLED}
    ),
    "an unknown triple is not there": evidence(
        graph(), calls=[call("triple", 1, None)], exits={"writer": KILLED}
    ),
    "all of a call that was cut off is there": evidence(
        graph("writer/1", "writer/2"),
        calls=[call("triple", 1, None, count=2)],
        exits={"writer": KILLED},
    ),
    "a triple was refused, then taken": evidence(
        graph("writer/1"),
        calls=[call("triple", 1, "fail"), call("triple", 1, at=3)],
        may_refuse=True,
    ),
    "a triple was perhaps taken, then refused": evidence(
        graph("writer/1"),
        calls=[call("triple", 1, None), call("triple", 1, "fail", at=3)],
        may_refuse=True,
    ),
    "an ended triple is ended": evidence(
        graph("writer/1", ended=["writer/1"]), calls=[call("triple", 1), ENDED]
    ),
    "an unknown end of a triple is there": evidence(
        graph("writer/1", ended=["writer/1"]),
        calls=[call("triple", 1), UNKNOWN_END],
        exits={"writer": KILLED},
    ),
    "a triple was ended before it was perhaps told": evidence(
        graph("writer/1"),
        calls=[call("triple", 1, None), ENDED],
        exits={"writer": KILLED},
    ),
    "a machine alone answers for itself": evidence(
        remembered(writer=machine(1), peer=machine(2)),
        calls=[call("memory", 1), call("memory", 2, process="peer")],
    ),
    "machines and remote hold the same": evidence(
        remembered([1, 2], writer=machine(1, 2), peer=machine(1, 2)),
        calls=[call("memory", 1), call("memory", 2, process="peer")],
    ),
    "a refused memory is given up with its reason": evidence(
        remembered([], 1, writer=machine(1, parked=[(1, "answered 422")]), peer=machine()),
        calls=[call("memory", 1)],
    ),
    "a memory that one machine stored while another deleted it is there": evidence(
        remembered([1], writer=machine(1), peer=machine(1)),
        calls=[call("memory", 1, at=3), call("forget", 1, at=3, process="peer")],
    ),
    "or it is not": evidence(
        remembered([], writer=machine(), peer=machine()),
        calls=[call("memory", 1, at=3), call("forget", 1, at=3, process="peer")],
    ),
    "a memory that was deleted is gone everywhere": evidence(
        remembered([], writer=machine(), peer=machine()),
        calls=[call("memory", 1), call("forget", 1, at=3, process="peer")],
    ),
    "all vectors are of the model that the collection names": of_models(a=DRAWERS),
    "… of one model, and nobody says which": of_models(b=DRAWERS, recorded=""),
    "nothing was stored, and nothing is there": of_models(),
    "a living process was given neighbours of its model": near(),
    "each text was claimed by one": claimed(range(6), range(6, 10)),
    "a text was stored, deleted, and stored again": claimed(
        DRAWERS, [4], calls=[WROTE, call("delete", 4, at=3), call("add", 4, at=5)]
    ),
    "nobody got round to making the knowledge graph": evidence(
        graph(integrity="missing"), calls=[call("triple", 1, None)], exits={"writer": KILLED}
    ),
}


@pytest.mark.parametrize("what", HEALTHY)
def test_no_check_speaks(what: str) -> None:
    assert run.run_checks(HEALTHY[what]) == []


# What sentences name -----------------------------------------------------------------------------


def sentence(case_evidence: Evidence) -> str:
    (said,) = run.run_checks(case_evidence)
    return said.sentence


def test_a_sentence_names_who_and_which() -> None:
    lost = sentence(evidence(observed(listed=range(2, 10))))
    assert "2 acknowledged drawers" in lost
    assert "palace" in lost
    assert lost.endswith("0, 1")
    six = sentence(evidence(observed(listed=range(6, 10))))
    assert six.endswith("0, 1, 2, 3, 4, 5")
    made_up = sentence(evidence(observed(listed=range(12), foreign=["wing-7"])))
    assert "3 drawers" in made_up
    assert made_up.endswith("10, 11")
    foreign = sentence(evidence(observed(foreign=["a", "b", "c", "d"])))
    assert "4 drawers" in foreign
    assert foreign.endswith("a, b, c")
    unfound = sentence(evidence(observed(missing=range(10))))
    assert "10 of 10 acknowledged drawers" in unfound
    assert "10 of them are listed all the same" in unfound
    assert "0, 1, 2, 3, 4, 5 and 4 more" in unfound
    assert "hold no vector for 0 of them" in unfound
    assert "SIGSEGV" in sentence(evidence(stopped("died", ended=SEGFAULT)))
    assert "'listed'" in sentence(evidence(stopped("died", ended=SEGFAULT)))
    hung = sentence(evidence(exits={"writer": KILLED}, hangs=(("writer", "write", 28.0),)))
    assert hung == "process writer gave no answer to 'write' in 28.0 s"


def test_a_process_that_says_the_same_a_thousand_times_is_reported_once() -> None:
    told = [call("add", 10 + n, "info", at=3 + n, text=LOCKED) for n in range(1000)]
    assert len(run.run_checks(evidence(calls=[WROTE, *told]))) == 1
    peers = [call("add", 10, "info", text=LOCKED, process=name) for name in ("a", "b")]
    assert len(run.run_checks(evidence(calls=[WROTE, *peers]))) == 2


def test_a_loss_among_loud_failures_is_not_taken_for_one_of_them() -> None:
    loud = {"InternalError: Error executing plan: Error finding id": 3}
    for missing, names in ((3, {"finding-id"}), (4, {"finding-id", "silent-vector-loss"})):
        said = run.run_checks(evidence(observed(missing=range(missing), errors=loud)))
        assert {each.signature for each in said} == names


def test_every_way_a_question_can_end_but_an_answer_is_reported() -> None:
    for phase in get_args(LookPhase):
        said = run.run_checks(evidence(stopped(phase, error="ValueError: x")))
        assert bool(said) == (phase != "ok"), phase
