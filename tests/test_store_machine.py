"""The library against a state machine: whatever Hypothesis writes, nothing acknowledged is lost.

Each example is a plan of writes, deletes, reads, facts, kills, reopenings and hops to newer
releases by two processes at a time, played by the lab's own runner and judged by its checks. With
a fix off the same machine finds a plan that fails, and makes it small.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from palace_lab.checks.signatures import members
from palace_lab.commands.prepare import provide
from palace_lab.errors import ExitCode
from palace_lab.plan import dump_plan, load_plan
from palace_lab.processes.supervise import tracing_available
from palace_lab.runner.arena import Arena
from palace_lab.runner.cells import campaign_seed
from palace_lab.runner.trial import run_trial
from palace_store.fixes import Fixes

sys.path.append(str(Path(__file__).parent / "entries"))
from plan_player import Player, ViolatedError

pytestmark = [
    pytest.mark.timeout(3000),
    pytest.mark.slow,
    pytest.mark.s1,
    pytest.mark.skipif(tracing_available() is not None, reason=str(tracing_available())),
]

RELEASES = ("0.6.3", "1.0.21", "1.5.9")
ALL = tuple(Fixes.all().words())
#: What two writers or a death make of an index; the files show it before any reader does.
RUINED = members("index-ruined") | {"files-disagree", "stale-read", "stale-content"}
NIGHTLY = pytest.mark.nightly


@pytest.fixture(scope="module")
def arena() -> Iterator[Arena]:
    ready, refused = provide(RELEASES, lambda _: None)
    assert not refused, refused
    with Arena(ready, scratch_root=None) as made:
        yield made
        assert made.leaks() == []


@pytest.fixture
def player(arena: Arena, tmp_path: Path) -> Player:
    return Player(lambda plan: run_trial(arena, plan), tmp_path)


@pytest.mark.parametrize(
    ("examples", "seeded"),
    [
        pytest.param(16, 1, id="some"),
        pytest.param(200, campaign_seed(None), id="many", marks=NIGHTLY),
    ],
)
def test_no_plan_breaks_a_promise(player: Player, examples: int, seeded: int) -> None:
    player.explore(RELEASES, ALL, examples=examples, seeded=seeded)
    counted = player.counted
    assert counted["plans"] >= examples // 2, counted
    for what in ("killed at a point", "killed between", "hops", "reads"):
        assert counted[what] >= examples // 8, (what, counted)


@dataclass(frozen=True)
class Broken:
    """Fixes that are off, what must come of it, and within how many examples it must be found."""

    what: str
    off: tuple[str, ...]
    signatures: frozenset[str]
    examples: int
    releases: tuple[str, ...] = ("1.5.9",)


BROKEN = [Broken("two writers", ("lease", "generation", "read_back"), RUINED, 20)]


def replayed(path: Path) -> subprocess.CompletedProcess[str]:
    start = "import sys; from palace_lab.cli import main; sys.argv[0] = 'palace-lab'; main()"
    return subprocess.run(
        [sys.executable, "-c", start, "replay", str(path)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.what)
@pytest.mark.nightly
def test_with_a_fix_off_a_small_plan_is_found_that_fails_alone(
    player: Player, broken: Broken
) -> None:
    fixes = Fixes.all().without(*broken.off).words()
    with pytest.raises(ViolatedError) as caught:
        player.explore(broken.releases, fixes, examples=broken.examples, seeded=1)
    found = caught.value
    assert found.trial.signature in broken.signatures, str(found)
    assert f"palace-lab replay {found.path}" in str(found)
    small = load_plan(found.path)
    assert len(small.steps) <= found.steps_found // 2, str(found)

    again = replayed(found.path)
    assert again.returncode == ExitCode.VIOLATED, again.stdout + again.stderr
    assert any(f": {name} in " in again.stdout for name in broken.signatures), again.stdout

    mended = found.path.with_name("mended.json")
    mended.write_bytes(dump_plan(small.changed(fixes=ALL)))
    held = replayed(mended)
    # Without the failure its crash points may not be reached any more, which is no violation.
    assert held.returncode in (ExitCode.PROMISED, ExitCode.VACUOUS), held.stdout + held.stderr
    assert ": held in " in held.stdout
