"""A palace that a newer chromadb has written meets an older one: raw, and through our library.

docs/hops.md says what every older release does, as measured here; this is where it is measured.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from palace_lab.checks.evidence import Look
from palace_lab.checks.expected import Expectation
from palace_lab.environments import ensure, known_releases
from palace_lab.errors import WorkerDiedError
from palace_lab.plan import Plan, steps
from palace_lab.plan.model import Process
from palace_lab.runner.arena import Arena
from palace_lab.runner.deadline import Deadline
from palace_lab.runner.launch import launch
from palace_lab.runner.observe import observe
from palace_lab.runner.trial import run_trial
from palace_store.fixes import Fixes

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[1] / "docs" / "hops.md"
#: One pair for each two formats on disk; all others are nightly.
QUICK = {("1.0.21", "0.6.3"), ("1.5.9", "0.6.3"), ("1.5.9", "1.0.21")}
RELEASES = known_releases()
PAIRS = [(newer, older) for older, newer in itertools.combinations(RELEASES, 2)]
ALL = tuple(Fixes.all().words())
DRAWERS = 64
NEXT, MORE = 500, 24  # what the older release tries to write
DEADLINE_S = 120.0
#: What a process is asked: a name for the table, the operation, its arguments.
QUESTIONS = (
    ("open", "open", {}),
    ("read", "listed", {}),
    ("search", "found", {"wanted": [[number, 0] for number in range(DRAWERS)]}),
    ("write", "write", {"first": NEXT, "count": MORE, "batch": 8}),
)


def each_pair() -> Iterator[Any]:
    for pair in PAIRS:
        marks = [] if pair in QUICK else [pytest.mark.nightly]
        yield pytest.param(*pair, marks=marks, id="-to-".join(pair))


@pytest.fixture(scope="module")
def arena(request: pytest.FixtureRequest) -> Iterator[Arena]:
    """One host for each release that a chosen test of this module names."""
    chosen = [item for item in request.session.items if item.path == Path(__file__)]
    given = [item.callspec.params for item in chosen]  # type: ignore[attr-defined]  # all have it
    named = {pair[which] for pair in given for which in ("newer", "older")}
    releases = sorted(named, key=RELEASES.index)
    with Arena([ensure(release) for release in releases], scratch_root=None) as arena:
        yield arena


def palace(arena: Arena, place: Path, *releases: str, **values: Any) -> Plan:
    """Let processes of these releases write 32 drawers each, or one of them all, and end well."""
    share = DRAWERS // len(releases)
    doing = []
    for number, release in enumerate(releases):
        doing += [steps.write(release, share, first=number * share), steps.Close(release)]
    plan = Plan(
        release=releases[-1],
        processes=tuple(Process(release, release=release) for release in releases),
        steps=tuple(doing),
        observers=(),
        **values,
    )
    trial = run_trial(arena, plan, keep=place)
    assert not trial.lab_error
    assert trial.violations == []
    return plan


def ask(arena: Arena, plan: Plan, place: Path, release: str) -> dict[str, dict[str, Any]]:
    """Return what a fresh process of that release answers; of one that died, how it did."""
    answers: dict[str, dict[str, Any]] = {}
    worker = launch(
        arena,
        plan,
        place,
        f"asked-{release}",
        target=plan.target,
        release=release,
        fixes=plan.fixes,
        options={},
    )
    try:
        for name, op, args in QUESTIONS:
            worker.send({"do": op, "args": args})
            answers[name] = worker.receive(DEADLINE_S)
        worker.send({"exit": True})
        worker.wait_exit(DEADLINE_S)
    except WorkerDiedError:
        ended = worker.wait_exit(DEADLINE_S)
        answers[QUESTIONS[len(answers)][0]] = {"done": "died", "error": ended.describe()}
    finally:
        worker.close()
    return answers


def contents(folder: Path) -> dict[str, str]:
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


# Through our library -----------------------------------------------------------------------------


@pytest.mark.parametrize(("newer", "older"), list(each_pair()))
def test_the_older_one_is_refused_with_both_versions_and_changes_nothing(
    arena: Arena, newer: str, older: str, tmp_path: Path
) -> None:
    plan = palace(arena, tmp_path, newer, fixes=ALL)
    before = contents(tmp_path / "palace")
    assert len(before) > 5
    for name, answer in ask(arena, plan, tmp_path, older).items():
        if name == "search":  # goes on after an error, and counts them
            assert len(answer["value"]["missing"]) == DRAWERS
        else:
            assert answer["done"] == "fail", name
        text = answer.get("error") or " ".join(answer["value"]["errors"])
        assert text.count("StaleLibraryError: ") == 1, name
        for said in (f"runs chromadb {older},", f"by chromadb {newer};", "nothing was changed"):
            assert said in text, name
    assert contents(tmp_path / "palace") == before
    wanted = expected(range(DRAWERS))
    seen = observe(arena, plan, tmp_path, "palace", wanted, deadline=Deadline())
    assert [look.phase for look in seen.looks] == ["ok"] * 5
    assert seen.value("found")["missing"] == []


#: Releases by the migrations they know, counted by table: 4 metadb and 9 sysdb, then 5 and 9, ...
FORMS = (("0.5.23", "0.6.3"), ("1.0.21",), ("1.3.7",), ("1.5.5", "1.5.7", "1.5.9"))


def form(release: str) -> int:
    return next(number for number, releases in enumerate(FORMS) if release in releases)


@pytest.mark.parametrize("upgraded", [False, True], ids=["made", "upgraded"])
@pytest.mark.parametrize(("newer", "older"), list(each_pair()))
def test_what_a_newer_one_did_without_our_library_is_seen_by_its_migrations(
    arena: Arena, newer: str, older: str, tmp_path: Path, *, upgraded: bool
) -> None:
    """`upgraded`: our library on the older release made the palace, raw chromadb opened it then."""
    if upgraded:
        palace(arena, tmp_path, older, fixes=ALL)
        raw = Plan(release=newer, target="chroma", steps=())
        for answer in ask(arena, raw, tmp_path, newer).values():
            assert answer["done"] == "ok"
    else:
        palace(arena, tmp_path, newer, target="chroma")
    before = theirs(tmp_path / "palace")
    plan = Plan(release=older, fixes=ALL, steps=())
    opened = ask(arena, plan, tmp_path, older)["open"]
    if form(older) == form(newer):
        assert opened["done"] == "ok"
        return
    assert opened["done"] == "fail"
    assert opened["error"].startswith("StaleLibraryError: ")
    for said in (f"runs chromadb {older},", "a newer one has opened", "nothing was changed"):
        assert said in opened["error"]
    assert theirs(tmp_path / "palace") == before


def theirs(folder: Path) -> dict[str, str]:
    """Return the contents of all that is chromadb's in a palace."""
    return {name: text for name, text in contents(folder).items() if ".palace/" not in name}


@pytest.mark.parametrize(("newer", "older"), [("1.5.9", "1.0.21")])
def test_without_the_guard_nobody_is_refused(
    arena: Arena, newer: str, older: str, tmp_path: Path
) -> None:
    without = tuple(Fixes.all().without("version_guard").words())
    plan = palace(arena, tmp_path, newer, fixes=without)
    answers = ask(arena, plan, tmp_path, older)
    assert answers["open"]["done"] == "info"
    assert not any("StaleLibraryError" in each.get("error", "") for each in answers.values())


# Raw ---------------------------------------------------------------------------------------------


def table(heading: str) -> dict[tuple[str, str], str]:
    """Return a table of the page: (written by, then opened by) and what comes of it."""
    _, _, rest = PAGE.read_text(encoding="utf-8").partition(f"**{heading}**")
    lines = re.findall(r"^\|(.*)\|$", rest.partition("\n\n**")[0], re.MULTILINE)
    head, _, *rows = [[cell.strip() for cell in line.split("|")] for line in lines]
    return {
        (row[0], older): cell
        for row in rows
        for older, cell in zip(head[1:], row[1:], strict=True)
        if cell != "-"
    }


def words(answers: dict[str, dict[str, Any]], back: list[Look]) -> str:
    """Return a cell of the table: what went wrong, and for whom."""
    said = []
    for name, answer in answers.items():
        value = answer.get("value")
        errors = list(value["errors"]) if isinstance(value, dict) and "errors" in value else []
        if answer["done"] != "ok" or errors:
            text = answer.get("error") or errors[0]
            said.append(f"{name}: {text.partition(':')[0]}")
            if name == "open":
                break  # nothing was opened that could be read or written
        elif errors == [] and isinstance(value, dict) and value.get("missing"):
            said.append(f"{name}: {len(value['missing'])} missing")
    for look in back:
        missing = look.value.get("missing") if isinstance(look.value, dict) else []
        if look.phase != "ok" or missing:
            said.append(f"then {look.stage}: {look.error or missing}")
    return "; ".join(said) or "works"


def measured(arena: Arena, newer: str, older: str, place: Path, *writers: str) -> str:
    """Return what an older release makes of a palace, and the newer one of it afterwards."""
    plan = palace(arena, place, *writers, target="chroma")
    assert plan.release == newer
    answers = ask(arena, plan, place, older)
    told = answers.get("write", {}).get("done") == "ok"
    wanted = (*range(DRAWERS), *(range(NEXT, NEXT + MORE) if told else ()))
    seen = observe(arena, plan, place, "chroma", expected(wanted), deadline=Deadline())
    return words(answers, list(seen.looks))


def expected(numbers: Iterable[int]) -> Expectation:
    return Expectation(dict.fromkeys(numbers, (0,)), {}, frozenset())


@pytest.mark.parametrize(("newer", "older"), list(each_pair()))
def test_a_palace_made_by_the_newer_one(
    arena: Arena, newer: str, older: str, tmp_path: Path
) -> None:
    found = measured(arena, newer, older, tmp_path, newer)
    assert table("Made by the newer release")[newer, older] == found


@pytest.mark.parametrize(("newer", "older"), list(each_pair()))
def test_a_palace_made_by_the_older_one_and_upgraded(
    arena: Arena, newer: str, older: str, tmp_path: Path
) -> None:
    found = measured(arena, newer, older, tmp_path, older, newer)
    assert table("Made by the older release, then written by the newer")[newer, older] == found
