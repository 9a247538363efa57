"""The directories of nights and the ledger: nothing is lost, nothing of anybody else's removed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from palace_lab.commands.session import Asked, begin
from palace_lab.errors import UsageError
from palace_lab.judge.results import TrialRecord
from palace_lab.report.console import Console
from palace_lab.report.durable import replace_file
from palace_lab.report.night_ledger import Ledger
from palace_lab.report.nights import (
    MARKER,
    UNFINISHED,
    Keep,
    Night,
    nights,
    retire,
    unfinished,
    working_in,
)
from palace_lab.report.records import encode_record

PLENTY = Keep(nights=99, disk_bytes=10**12)
ASKED = Asked(("s4",), ("1.5.9",), seed=1)


def record(
    signature: str | None,
    *,
    arm: str = "off",
    seconds: float = 1.0,
    seed: int = 7,
    scenario: str = "s1/a",
    plan: str = "",
    lab_error: str = "",
) -> TrialRecord:
    return TrialRecord(
        scenario=scenario,
        system="s1",
        release="1.5.9",
        arm=arm,
        index=seed,
        seed=seed,
        plan=plan,
        plan_sha256="",
        history="",
        signature=signature,
        reached=True,
        goals={},
        violations=(),
        exits={},
        seconds=seconds,
        written_bytes=0,
        lab_error=lab_error,
    )


def test_a_night_that_was_cut_off_is_found_again_and_one_that_ended_is_not(tmp_path: Path) -> None:
    assert unfinished(tmp_path) is None
    night = Night.begin(tmp_path)
    night.note(12.5, 345)
    found = unfinished(tmp_path)
    assert found is not None
    assert (found.path, found.state.worked_s, found.state.written_bytes) == (night.path, 12.5, 345)
    assert (tmp_path / UNFINISHED).read_text() == f"{night.name}\n"
    night.note(13, 346, ended="its time is over")
    assert unfinished(tmp_path) is None
    assert not (tmp_path / UNFINISHED).exists()


def test_a_night_of_days_ago_is_not_gone_on_with(tmp_path: Path) -> None:
    night = Night.begin(tmp_path)
    old = tmp_path / "20200101T220000Z-abcdef"
    night.path.rename(old)
    (old / MARKER).write_text(old.name)
    assert nights(tmp_path) == [old]
    assert unfinished(tmp_path) is None


def test_a_night_without_results_keeps_no_other_from_beginning(tmp_path: Path) -> None:
    night = Night.begin(tmp_path)
    night.directory.results_path.unlink()
    assert unfinished(tmp_path) is None
    begun = begin(Console(), tmp_path, Ledger(tmp_path), ASKED, PLENTY, resume=True)
    assert begun.night.name != night.name


def night_of(folder: Path, name: str, *records: TrialRecord) -> Path:
    """Make a night of that name that was cut off after these trials."""
    begun = Night.begin(folder).path
    (begun / "results.jsonl").write_bytes(b"".join(map(encode_record, records)) + b'{"torn')
    path = folder / name
    begun.rename(path)
    (path / MARKER).write_text(name)
    return path


@pytest.mark.parametrize("resume", [False, True])
def test_what_a_night_found_is_in_the_ledger_however_long_ago_it_was_cut_off(
    tmp_path: Path, *, resume: bool
) -> None:
    old = night_of(tmp_path, "20200101T220000Z-abcdef", record("locked"), record("locked", seed=8))
    later = night_of(tmp_path, "20200109T220000Z-abcdef", record("phantom", arm="fixed"))
    gone = night_of(tmp_path, "20200109T230000Z-abcdef")
    (gone / "results.jsonl").unlink()
    for _ in range(2):  # and once only
        begun = begin(Console(), tmp_path, Ledger(tmp_path), ASKED, PLENTY, resume=resume)
        begun.night.note(0.0, 0, ended="its time is over")
        entries = {each.signature: each for each in Ledger(tmp_path).entries}
        assert {name: each.count for name, each in entries.items()} == {"locked": 2, "phantom": 1}
        assert entries["locked"].last_seen == old.name
        assert entries["phantom"].last_seen == later.name
    assert len(nights(tmp_path)) == 5


def test_only_of_a_night_of_today_it_is_said_that_it_could_have_been_gone_on_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    night_of(tmp_path, "20200101T220000Z-abcdef")
    today = Night.begin(tmp_path)
    begin(Console(), tmp_path, Ledger(tmp_path), ASKED, PLENTY, resume=False)
    told = capsys.readouterr()
    said = " ".join((told.out + told.err).split())
    assert "20200101T220000Z-abcdef was cut off and is left" in said
    assert said.count("--resume") == 1
    assert f"{today.name} was cut off and is left; --resume would have gone on with it" in said


@pytest.mark.parametrize("torn", [b"", b"{", b"\xff", b'{"worked_s": -5}', b"[" * 100_000])
def test_a_torn_state_is_a_night_that_has_not_worked(tmp_path: Path, torn: bytes) -> None:
    night = Night.begin(tmp_path)
    (night.path / "state.json").write_bytes(torn)
    found = unfinished(tmp_path)
    assert found is not None
    assert found.state.worked_s == 0


def test_the_oldest_nights_go_and_only_nights(tmp_path: Path) -> None:
    made = [Night.begin(tmp_path).path for _ in range(4)]
    made.sort()
    named = tmp_path / "20200101T000000Z-000000"  # like a night, but without a marker
    copied = tmp_path / "20200101T000000Z-111111"  # a copy: its marker names another
    impossible = tmp_path / "20209999T000000Z-222222"
    linked = tmp_path / "20200101T000000Z-333333"
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    for path in (named, copied, impossible, outside):
        path.mkdir()
    (copied / MARKER).write_text(made[0].name)
    (impossible / MARKER).write_text(impossible.name)
    (outside / MARKER).write_text(linked.name)
    linked.symlink_to(outside)
    Ledger(tmp_path).save()
    assert retire(tmp_path, Keep(2, 10**12), current=made[3]) == made[:2]
    assert nights(tmp_path) == made[2:]
    for path in (named, copied, impossible, linked, outside / MARKER, tmp_path / "ledger.json"):
        assert path.exists()


def test_nights_go_by_their_size_and_the_current_one_never(tmp_path: Path) -> None:
    made = sorted(Night.begin(tmp_path).path for _ in range(3))
    for path in made:
        (path / "results.jsonl").write_bytes(os.urandom(1_000_000))
    assert retire(tmp_path, Keep(99, 2_500_000), current=made[2]) == [made[0]]
    assert retire(tmp_path, Keep(1, 1), current=made[2]) == [made[1]]
    assert nights(tmp_path) == [made[2]]


def test_one_soak_at_a_time(tmp_path: Path) -> None:
    with (
        working_in(tmp_path / "new"),
        pytest.raises(UsageError, match=rf"process {os.getpid()} is"),
    ):
        working_in(tmp_path / "new").__enter__()
    with working_in(tmp_path / "new"):
        pass


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="--soak-dir"), working_in(tmp_path / "file" / "below"):
        pass


def test_the_ledger_keeps_the_fastest_and_its_plan(tmp_path: Path) -> None:
    plans = tmp_path / "night" / "plans"
    plans.mkdir(parents=True)
    (plans / "slow.json").write_text("slow")
    (plans / "fast.json").write_text("fast")
    ledger = Ledger(tmp_path)
    slow = record("locked", seconds=2.0, seed=1, plan="plans/slow.json")
    fast = record("locked", seconds=0.5, seed=2, plan="plans/fast.json")
    ledger.take_in("n1", [slow, fast, record(None)], tmp_path / "night")
    ledger.save()
    (entry,) = Ledger(tmp_path).entries
    assert (entry.seed, entry.fastest_s, entry.median_s, entry.count) == (2, 0.5, 1.25, 2)
    assert (tmp_path / entry.plan).read_text() == "fast"
    assert Ledger(tmp_path).costs == {"s1/a 1.5.9 off": 1.0}


def test_the_ledger_keeps_the_command_that_shows_a_failure(tmp_path: Path) -> None:
    night = tmp_path / "night"
    (night / "plans").mkdir(parents=True)
    (night / "plans" / "one.json").write_text("one")
    (night / "plans" / "two.json").write_text("two")
    ledger = Ledger(tmp_path)
    found = [record("locked", seconds=9.0, seed=1)]

    def entry() -> tuple[int, float, str]:
        ledger.take_in("n1", found, night)
        (only,) = ledger.entries
        return only.seed, only.fastest_s, (tmp_path / only.plan).read_text() if only.plan else ""

    assert entry() == (1, 9.0, "")
    found.append(record("locked", seconds=8.0, seed=2))
    assert entry() == (2, 8.0, "")
    found.append(record("locked", seconds=8.5, seed=3, plan="plans/one.json"))
    assert entry() == (3, 8.5, "one")  # one that can be played is worth more than a faster one
    found.append(record("locked", seconds=2.0, seed=4))
    found.append(record("locked", seconds=1.0, seed=5, plan="plans/lost.json"))
    assert entry() == (3, 8.5, "one")
    found.append(record("locked", seconds=3.0, seed=6, plan="plans/two.json"))
    assert entry() == entry() == (6, 3.0, "two")


def test_taking_a_night_in_again_changes_nothing(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.take_in("n1", [record("locked")] * 3, tmp_path)
    for n in (1, 2, 2):
        ledger.take_in("n2", [record("locked")] * n, tmp_path)
        ledger.save()
        ledger = Ledger(tmp_path)
    (entry,) = ledger.entries
    assert (entry.count_before, entry.count_last, entry.count) == (3, 2, 5)
    assert (entry.first_seen, entry.last_seen) == ("n1", "n2")


def test_the_news_is_what_was_not_known_and_what_came_no_more(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.take_in("n1", [record("locked"), record("hang", scenario="s1/b")], tmp_path)
    first = ledger.news([])
    assert first.first_night
    assert len(first.new) == 2
    tonight = [
        record(None),
        record("x", lab_error="the lab's own"),
        record("phantom", arm="fixed", seed=9),
    ]
    ledger.take_in("n2", tonight, tmp_path)
    news = ledger.news(tonight)
    assert [each.key for each in news.new] == [("s1/a", "1.5.9", "fixed", "phantom")]
    # s1/b was not tried tonight: that says nothing about it.
    assert news.gone == (("s1/a", "1.5.9", "off", 1),)
    ledger.take_in("n3", [record(None)], tmp_path)
    assert ledger.news([record(None)]).gone == ()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff\xfe", b'{"schema": 99}', b'{"entries": [{}]}', b"[" * 100_000],
)
def test_what_is_no_ledger_is_put_aside_and_nothing_of_it_lost(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "ledger.json").write_bytes(content)
    ledger = Ledger(tmp_path)
    assert "is no ledger" in ledger.trouble
    assert ledger.entries == []
    (aside,) = tmp_path.glob("ledger.json.unread-*")
    assert aside.read_bytes() == content
    ledger.save()
    assert Ledger(tmp_path).trouble == ""


def test_a_ledger_that_cannot_be_read_stays_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "ledger.json").symlink_to(tmp_path / "ledger.json")
    with pytest.raises(UsageError, match="cannot be read"):
        Ledger(tmp_path)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "state.json"
    replace_file(target, b"one")
    target_directory = tmp_path / "taken"
    target_directory.mkdir()
    (target_directory / "inside").touch()
    with pytest.raises(OSError, match="taken"):
        replace_file(target_directory, b"two")
    assert json.dumps(sorted(path.name for path in tmp_path.iterdir())) == '["state.json", "taken"]'
