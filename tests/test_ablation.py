"""Which fix is needed is told from what failed without it, and from nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from real import REAL as LISTED

from palace_lab.catalog import Listed
from palace_lab.commands.ablate import _tell
from palace_lab.errors import ExitCode
from palace_lab.judge.ablation import CONTROL, KEPT, Ablation, Removal, Spot
from palace_lab.judge.results import RunResult
from palace_lab.plan.model import Plan
from palace_lab.report.ablation import lines, troubles, verdict
from palace_lab.report.console import Console
from palace_lab.report.rundir import RunDirectory
from palace_lab.runner import ablation
from palace_lab.runner.cells import Cell
from palace_lab.scenario import Size
from palace_store.fixes import KNOWN, Fixes

CLONE = Path(__file__).resolve().parents[1]


def spot(removed: Removal, failed: int, *, scenario: str = "s1/a", trouble: str = "") -> Spot:
    names = ("index-ruined",) if failed else ()
    return Spot(scenario, "1.5.9", removed, failed, 3, names, trouble)


def seen(*spots: Spot) -> Ablation:
    return Ablation(spots)


def test_a_fix_is_needed_where_the_library_fails_without_it() -> None:
    found = seen(spot(CONTROL, 0), spot(("lease",), 3), spot(("trim",), 0))
    assert found.idle(["lease", "trim"]) == ["trim"]
    assert verdict(found, "lease") == "needed: s1/a (1.5.9: index-ruined 3/3)"
    assert verdict(found, "trim") == "not shown to be needed (0 of 3 trials)"


def test_once_is_enough() -> None:
    assert seen(spot(CONTROL, 0), spot(("lease",), 1)).idle(["lease"]) == []


@pytest.mark.parametrize("control", [[], [spot(CONTROL, 1)]])
def test_a_failure_where_the_control_does_not_hold_shows_nothing(control: list[Spot]) -> None:
    found = seen(*control, spot(("lease",), 3))
    assert found.idle(["lease"]) == ["lease"]
    assert bool(troubles(found)) == bool(control)


def test_two_that_stand_in_for_each_other_are_shown_as_a_pair() -> None:
    pair = ("foreign_check", "read_back")
    found = seen(spot(CONTROL, 0), *(spot((fix,), 0) for fix in pair), spot(pair, 2))
    for fix, other in (pair, pair[::-1]):
        assert found.pairs(fix) == [pair]
        assert found.needs(fix)
        said = verdict(found, fix)
        assert said.startswith(f"needed where another is off: with {other} s1/a"), said
        assert found.tried(fix) == 6


def test_what_a_report_names_stays() -> None:
    found = seen(spot(CONTROL, 0), spot(("kg_retry",), 0), spot(("lease",), 0))
    assert "it stays" in verdict(found, "kg_retry")
    assert "it stays" not in verdict(found, "lease")
    assert KNOWN.keys() >= KEPT.keys()


def test_trouble_of_the_lab_is_told_and_shows_nothing() -> None:
    found = seen(spot(CONTROL, 0), spot(("lease",), 0, trouble="no ptrace"))
    assert troubles(found) == ["s1/a on 1.5.9 without lease: no ptrace"]
    assert not found.needs("lease")


def test_every_fix_has_a_line_and_an_untried_one_says_so() -> None:
    said = lines(seen(), ablation.all_fixes())
    assert [line.split()[0] for line in said] == list(KNOWN)
    assert all("not tried" in line for line in said)


def test_fixes_of_the_graph_and_of_drawers_are_not_paired() -> None:
    assert ablation.couples(["lease", "kg_retry", "trim", "kg_immediate"]) == [
        ("lease", "trim"),
        ("kg_retry", "kg_immediate"),
    ]


def test_fixes_of_memories_and_of_sync_are_paired_and_tried_where_they_are_used() -> None:
    assert ablation.couples(["local_retry", "lease", "sync_cap"]) == [("local_retry", "sync_cap")]
    plan = Plan(target="memories", steps=())
    assert ablation.concerns("local_retry", plan)
    assert not ablation.concerns("sync_cap", plan)
    assert ablation.concerns("sync_cap", plan.changed(target="agent"))
    assert not ablation.concerns("lease", plan)


def test_fixes_of_the_server_are_paired_and_tried_where_there_is_a_server() -> None:
    fixes = ("stale_check", "refuse_writes", "self_restart")
    assert len(ablation.couples(fixes)) == 3
    assert ablation.couples(["stale_check", "lease"]) == []
    for fix in fixes:
        assert not ablation.concerns(fix, Plan(steps=()))
        served = [each for each in LISTED if each.system == "s0" and concerned(fix, each)]
        assert served


def concerned(fix: str, listed: Listed) -> bool:
    arm = listed.scenario.arms()[0]
    return ablation.concerns(fix, listed.scenario.plan_for(arm, "", 0, Size(), listed.name))


def test_every_scenario_gets_its_control_and_the_removals_that_concern_it() -> None:
    removals = ablation.singles(ablation.all_fixes())
    made = ablation.without(LISTED, removals)
    assert len({each.name for each in made}) == len(made)
    for each in LISTED:
        plan = each.scenario.plan_for(each.scenario.arms()[-1], "1.5.9", 1, Size(), each.name)
        concerned = [
            removed for removed in removals if all(ablation.concerns(f, plan) for f in removed)
        ]
        mine = [one for one in made if one.seeded_as == each.name]
        assert [one.scenario.off for one in mine] == [
            each.scenario.fixed.without(*removed) for removed in concerned
        ]
        assert concerned[0] == CONTROL
        assert len(concerned) > 1, each.name


def test_trials_of_all_removals_have_the_seeds_of_the_scenario_itself() -> None:
    listed = LISTED[0]
    (arm, *_) = listed.scenario.arms()
    cell = Cell(listed, "1.5.9", "1.5.9", arm, 1, 7, Size())
    for other in ablation.without([listed], [CONTROL, ("lease",)]):
        assert replace(cell, listed=other).trial_seed(3) == cell.trial_seed(3)


def test_a_removal_switches_off_nothing_else() -> None:
    (made,) = ablation.without(LISTED[:1], [("lease",)])
    off = made.scenario.off
    assert off is not None
    assert set(Fixes.all().words()) - set(off.words()) == {"lease"}


def ablate(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    code = "import sys; from palace_lab.cli import main; sys.argv[0] = 'palace-lab'; main()"
    return subprocess.run(
        [sys.executable, "-c", code, "ablate", *words],
        cwd=cwd,
        env={**os.environ, "PALACE_LAB_SCENARIOS": str(CLONE / "scenarios")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_an_unknown_fix_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    done = ablate("--fix", "leese", cwd=tmp_path)
    assert done.returncode == ExitCode.USAGE
    assert "there is no fix named 'leese'; the fixes are: version_guard, lease" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.s2
@pytest.mark.parametrize(
    ("fix", "code", "said"),
    [
        ("kg_wal_setup", ExitCode.PROMISED, "needed: s2/kg-first-openers (sqlite: locked 1/1)"),
        pytest.param(
            "kg_log_bound",
            ExitCode.VACUOUS,
            "not shown to be needed (0 of 7 trials)",
            marks=pytest.mark.nightly,
        ),
        pytest.param(
            "kg_busy_timeout",
            ExitCode.PROMISED,
            "0 of 7 trials); it stays: a report names it",
            marks=pytest.mark.nightly,
        ),
        pytest.param(
            "embedding_reset",
            ExitCode.VACUOUS,
            "not tried: no scenario that was run has to do",
            marks=pytest.mark.nightly,
        ),
    ],
)
def test_the_command_line_says_what_is_needed(
    tmp_path: Path, fix: str, code: ExitCode, said: str
) -> None:
    done = ablate("s2/kg-first-openers", "--fix", fix, "--trials", "1", cwd=tmp_path)
    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stdout
    table = (tmp_path / "reports" / "latest" / "ablation.md").read_text()
    assert f"| `{fix}` |" in table


def test_an_interrupted_one_says_nothing_about_what_it_has_not_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = seen(spot(CONTROL, 0), spot(("lease",), 3), spot(("trim",), 0))
    result = RunResult((), "3 trials", 1, 3, 0, 0.0, (), interrupted=True, unfinished=("s1/b",))
    directory = RunDirectory.create(tmp_path)
    code = _tell(Console(), found, ["lease", "trim"], directory, result)
    said = capsys.readouterr().out
    assert code == ExitCode.INTERRUPTED
    assert "needed: s1/a" in said
    assert "trim" not in said
    assert f"--resume {directory.path}" in said


@pytest.mark.slow
@pytest.mark.s2
def test_one_fix_is_paired_with_others_of_its_kind(tmp_path: Path) -> None:
    done = ablate("s2/kg-deferred-upgrade", "--fix", "kg_retry", "--trials", "1", cwd=tmp_path)
    assert done.returncode == ExitCode.PROMISED, done.stdout + done.stderr
    assert "kg_retry  needed where another is off: with kg_immediate" in done.stdout
    assert "\nkg_immediate" not in done.stdout  # nobody asked for it


def test_what_is_for_another_release_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    done = ablate("s2/peer-hidden", "--release", "1.5.9", cwd=tmp_path)
    assert done.returncode == ExitCode.USAGE
    assert "nothing that was chosen runs on 1.5.9" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_control_that_the_lab_broke_held_nothing() -> None:
    found = seen(spot(CONTROL, 0, trouble="the environment broke"), spot(("kg_retry",), 3))
    assert not found.needs("kg_retry")


@pytest.mark.parametrize("fix", ["kg_retry", "trim"])
def test_a_fix_that_only_trouble_kept_from_being_shown_is_unknown(tmp_path: Path, fix: str) -> None:
    found = seen(spot(CONTROL, 0), spot((fix,), 0, trouble="the environment broke"))
    result = RunResult((), "3 trials", 1, 3, 0, 0.0)
    code = _tell(Console(), found, [fix], RunDirectory.create(tmp_path), result, named=[fix])
    assert code == ExitCode.UNKNOWN


@pytest.mark.parametrize(
    ("removed", "code"), [(CONTROL, ExitCode.UNKNOWN), (("kg_retry",), ExitCode.PROMISED)]
)
def test_a_point_that_is_gone_with_its_fix_is_told_and_leaves_the_rest_decided(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], removed: Removal, code: ExitCode
) -> None:
    gone = spot(removed, 0, scenario="s2/b", trouble="writer makes no write call")
    found = seen(spot(CONTROL, 0), spot(("kg_retry",), 3), gone)
    result = RunResult((), "3 trials", 1, 3, 0, 0.0)
    assert _tell(Console(), found, ["kg_retry"], RunDirectory.create(tmp_path), result) == code
    assert "writer makes no write call" in capsys.readouterr().out
