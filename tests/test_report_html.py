"""report.html: the matrix and the lanes are what was recorded, whatever was recorded."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import chromium
import msgspec
import pytest

from palace_lab.history.merge import write_jsonl
from palace_lab.history.segment import Event, Phase
from palace_lab.judge.results import ArmResult, Row, RunResult, TrialRecord, ViolationRecord
from palace_lab.judge.verdict import Role, Tried, judge
from palace_lab.report import html_page
from palace_lab.report.html_lanes import LAB, lanes_of
from palace_lab.report.html_page import SHOWN_MAX, VIOLATIONS_MAX, shown, trial_id, write_page
from palace_lab.report.table import table

HOSTILE = "</script><img src=x onerror=owned()><script>owned()</script>&\"'"
LOST = "41 of 200 acknowledged drawers are not found"

in_a_browser = pytest.mark.skipif(
    chromium.CHROMIUM is None, reason="no chromium is here: apt-get install chromium"
)


def event(process: str, phase: Phase, op: str, ms: int, call: int = 0, **more: Any) -> Event:
    values = {"first": 0, "count": 0, "revision": 0, "text": "", **more}
    return Event(process, 7, call, phase, op, 10**12 + ms * 10**6, **values)


def history(writer: str = "writer", said: str = LOST) -> list[Event]:
    """A writer is killed in its second call; one who looks finds something, and dies of it."""
    return [
        event("nemesis", "fault", "arm die", 0, text=f"{writer} write */header.bin k=3"),
        event(writer, "invoke", "open", 100, 1),
        event(writer, "ok", "open", 400, 1),
        event(writer, "invoke", "add", 400, 2, first=30, count=10),
        event("nemesis", "fault", "died", 900, text=f"{writer} died by SIGKILL sent by the lab"),
        event("nemesis", "fault", "elapse", 950, text="1 s, scaled by 1.0"),
        event("reader-palace-0", "invoke", "opened", 2000, 1),
        event("reader-palace-0", "fail", "opened", 2500, 1, text=said),
        event("reader-palace-0", "note", "contradiction", 2500, text=f"{said} [index-unreadable]"),
        event("reader-palace-0", "note", "died", 2600, text="died by SIGSEGV"),
    ]


def trial(
    directory: Path,
    role: Role,
    index: int,
    signature: str | None,
    events: Sequence[Event],
    **more: Any,
) -> TrialRecord:
    stem = f"s1+killed--1.5.9--{role}--{index:04}"
    kept = f"histories/{stem}" if events else ""
    if events:
        (directory / "histories").mkdir(exist_ok=True)
        write_jsonl(events, directory / kept)
    record = TrialRecord(
        scenario="s1/killed",
        system="s1",
        release="1.5.9",
        arm=role,
        index=index,
        seed=7,
        plan=f"plans/{stem}.json",
        plan_sha256="0" * 64,
        history=kept,
        signature=signature,
        reached=True,
        goals={"writer killed": True},
        violations=(ViolationRecord("findable", signature, LOST),) if signature else (),
        exits={"writer": "died by SIGKILL sent by the lab"},
        seconds=3.5,
        written_bytes=1000,
    )
    return msgspec.structs.replace(record, **more)


def arm(role: Role, trials: Sequence[TrialRecord]) -> ArmResult:
    tried = [Tried(each.signature, each.reached, each.lab_error) for each in trials]
    verdict = judge(role, tried, accepts=frozenset({"index-unreadable"}), probability=None)
    return ArmResult(role, verdict, tuple(trials))


def row(*arms: ArmResult, **more: Any) -> Row:
    whole = Row("s1/killed", "s1", "1.5.9", "A writer is killed.", False, arms)
    return replace(whole, **more)


def run(*rows: Row) -> RunResult:
    return RunResult(rows, "quick", 42, 5, 5, 12.0)


def usual(directory: Path) -> RunResult:
    """Two rows: one as promised, one refused."""
    off = [
        trial(directory, "off", n, "index-unreadable", history() if n == 0 else ()) for n in (0, 1)
    ]
    fixed = [trial(directory, "fixed", n, None, history()[1:3]) for n in (0, 1)]
    refused = row(scenario="s3/other", system="s3", refused="no environment", sentence="Other.")
    return run(row(arm("off", off), arm("fixed", fixed)), refused)


class Page(HTMLParser):
    """The elements of a page, the text of its matrix, and its data."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        data = r'<script id="data" type="application/json">(.*?)</script>'
        raw = re.search(data, text, re.DOTALL)
        assert raw is not None
        self.data: dict[str, Any] = json.loads(raw[1])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "td" in self._open:
            self.cells[-1] += data

    def named(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == name]


def page_of(result: RunResult, directory: Path) -> tuple[Path, Page]:
    path = write_page(result, directory)
    return path, Page(path.read_text("utf-8"))


# The file ----------------------------------------------------------------------------------------


def test_the_matrix_says_what_the_table_says_without_a_script(tmp_path: Path) -> None:
    result = usual(tmp_path)
    _, page = page_of(result, tmp_path)
    said = [cell.replace("\N{NO-BREAK SPACE}", " ").strip() for cell in page.cells]
    expected = [cell.text for cells in table(result.rows) for cell in cells[1:]]
    assert [re.sub(r"^[✓✗!·] ", "", each) for each in said] == expected
    assert [each for each in said if each.startswith("✗")] == ["✗ REFUSED"]
    assert len([each for each in said if each.startswith("✓")]) == 2


def test_every_link_leads_to_a_trial_that_is_there(tmp_path: Path) -> None:
    _, page = page_of(usual(tmp_path), tmp_path)
    links = [str(each["href"]) for each in page.named("a") if each["href"] != "#"]
    assert links == [f"#{quote(f's1+killed--1.5.9--{role}--0000')}" for role in ("off", "fixed")]
    assert {f"#{quote(name)}" for name in page.data["trials"]} >= set(links)
    for shown_row in page.data["rows"]:
        for each in shown_row["arms"]:
            assert set(each["trials"]) <= set(page.data["trials"])


def test_the_page_asks_nobody_for_anything_and_allows_only_its_own_script(tmp_path: Path) -> None:
    path, page = page_of(usual(tmp_path), tmp_path)
    text = path.read_text("utf-8")
    assert not re.search(r"\bsrc=|@import|url\(", text)
    assert set(re.findall(r"https?:(//[^\s\"'`)]+)", text)) == {"//www.w3.org/2000/svg"}
    assert [each["href"] for each in page.named("link")] == ["data:,"]
    (policy,) = [str(each["content"]) for each in page.named("meta") if "http-equiv" in each]
    script = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in script]
    assert [f"'sha256-{digest}'" for digest in digests] == re.findall(r"'sha256-[^']+'", policy)
    assert policy.startswith("default-src 'none';")


def hostile_run(directory: Path) -> RunResult:
    text = HOSTILE
    off = trial(
        directory,
        "off",
        0,
        "index-unreadable",
        history(writer=text, said=text),
        scenario=text,
        release=text,
        goals={text: False},
        exits={text: text},
        violations=(ViolationRecord(text, text, text),),
    )
    broken = trial(
        directory, "fixed", 0, "index-unreadable", (), lab_error=text, plan=f"{text}.json"
    )
    bad = row(
        arm("off", [off]),
        arm("fixed", [broken]),
        scenario=text,
        system=text,
        release=text,
        sentence=text,
    )
    return replace(run(bad, row(refused=text, system=text)), leaks=(text,))


def test_no_text_becomes_an_element(tmp_path: Path) -> None:
    _, hostile = page_of(hostile_run(tmp_path), tmp_path)
    names = [tag for tag, _ in hostile.elements]
    assert names.count("script") == 2
    assert "img" not in names
    assert hostile.data["rows"][0]["sentence"] == HOSTILE
    assert HOSTILE in [each["trouble"] for each in hostile.data["trials"].values()]
    assert not [name for _, each in hostile.elements for name in each if name.startswith("on")]


def test_no_half_letter_stops_the_page(tmp_path: Path) -> None:
    result = usual(tmp_path)
    rows = (replace(result.rows[0], sentence="half \ud800 a letter"),)
    _, page = page_of(replace(result, rows=rows), tmp_path)
    assert page.data["rows"][0]["sentence"] == "half \\ud800 a letter"


# What is on it -----------------------------------------------------------------------------------


def test_an_arm_shows_its_first_trial_and_one_of_each_outcome(tmp_path: Path) -> None:
    outcomes = [None, None, "locked", "phantom", "locked", "hang", "duplicate", "bloated"]
    trials = [
        trial(tmp_path, "fixed", n, each, history() if n in (3, 4) else ())
        for n, each in enumerate(outcomes)
    ]
    chosen = [each.index for each in shown(arm("fixed", trials))]
    assert len(chosen) == SHOWN_MAX
    assert chosen[:2] == [0, 2]  # the first, and the one whose replay shows what is wrong
    assert 3 in chosen
    assert 1 not in chosen
    held = [trial(tmp_path, "fixed", n, None, ()) for n in range(5)]
    assert [each.index for each in shown(arm("fixed", held))] == [0]


def test_a_page_leaves_out_lanes_before_it_grows_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [event("w", "invoke", "add", n, n) for n in range(400)]
    good = row(arm("fixed", [trial(tmp_path, "fixed", 0, None, many)]))
    bad = trial(tmp_path, "fixed", 1, "locked", many)
    result = run(good, row(arm("fixed", [bad]), scenario="s1/bad"))
    _, whole = page_of(result, tmp_path)
    assert all(each["lanes"] for each in whole.data["trials"].values())
    room = len(json.dumps(whole.data["trials"][trial_id(bad)]["lanes"]))
    monkeypatch.setattr(html_page, "LANES_BYTES_MAX", room)
    path, page = page_of(result, tmp_path)
    kept = {name: bool(each["lanes"]) for name, each in page.data["trials"].items()}
    assert kept == {trial_id(bad): True, "s1+killed--1.5.9--fixed--0000": False}
    assert "to keep the page small" in page.data["trials"]["s1+killed--1.5.9--fixed--0000"]["why"]
    assert path.stat().st_size < 3 * room + 60_000


def test_a_trial_with_many_contradictions_says_how_many_more(tmp_path: Path) -> None:
    many = tuple(ViolationRecord("c", "locked", f"number {n}") for n in range(VIOLATIONS_MAX + 5))
    bad = trial(tmp_path, "fixed", 0, "locked", (), violations=many)
    _, page = page_of(run(row(arm("fixed", [bad]))), tmp_path)
    (told,) = page.data["trials"].values()
    assert len(told["violations"]) == VIOLATIONS_MAX
    assert told["more"] == 5


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.unlink(), "cannot be read"),
        (lambda path: path.write_bytes(b"\0\xff\n{"), "is no history of this lab"),
        (lambda path: path.write_text('{"process": "w"}\n'), "is no history of this lab"),
    ],
)
def test_a_history_that_is_not_one_costs_its_lanes_only(
    tmp_path: Path, spoil: Callable[[Path], object], said: str
) -> None:
    bad = trial(tmp_path, "fixed", 0, "locked", history())
    spoil(tmp_path / bad.history)
    _, page = page_of(run(row(arm("fixed", [bad]))), tmp_path)
    (told,) = page.data["trials"].values()
    assert told["lanes"] is None
    assert said in told["why"]
    assert told["violations"]


def test_a_history_elsewhere_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    write_jsonl(history(), tmp_path / "elsewhere")
    bad = trial(tmp_path / "run", "fixed", 0, "locked", (), history="../elsewhere")
    _, page = page_of(run(row(arm("fixed", [bad]))), tmp_path / "run")
    (told,) = page.data["trials"].values()
    assert told["lanes"] is None
    assert "not in this run's directory" in told["why"]


def test_an_empty_run_has_a_page(tmp_path: Path) -> None:
    _, page = page_of(run(), tmp_path)
    assert page.data == {"rows": [], "trials": {}}
    assert not page.named("table")


# Lanes -------------------------------------------------------------------------------------------


def test_every_process_has_a_lane_with_what_befell_it() -> None:
    lanes = lanes_of(history(), {"writer"})
    writer, lab, reader = lanes.lanes
    assert [(each.name, each.by) for each in lanes.lanes] == [
        ("writer", "plan"),
        (LAB, "lab"),
        ("reader-palace-0", "looker"),
    ]
    assert lanes.ops == ["open", "add", "opened"]
    # The call it was killed in is unknown, and lasts until its death.
    assert writer.calls == [
        [100_000, 300_000, 0, 0, 0, 0, 0, ""][:4],
        [400_000, 500_000, 1, 2, 30, 10, 0, "its process ended inside the call"],
    ]
    assert [(when, kind) for when, kind, _ in writer.marks] == [(0, "fault"), (900_000, "killed")]
    assert [text for _, _, text in lab.marks] == ["elapse: 1 s, scaled by 1.0"]
    assert [(when, kind) for when, kind, _ in reader.marks] == [
        (2_500_000, "contradiction"),
        (2_600_000, "died"),
    ]
    assert reader.calls == [[2_000_000, 500_000, 2, 1, 0, 0, 0, LOST]]
    assert lanes.end == 2_600_000


def test_a_mark_belongs_to_the_whole_name_its_words_begin_with() -> None:
    events = [
        event("w", "invoke", "add", 0, 1),
        event("w 2", "invoke", "add", 0, 1),
        event("nemesis", "fault", "kill", 1, text="w 2"),
        event("nemesis", "fault", "kill", 2, text="writer"),
    ]
    marks = {lane.name: len(lane.marks) for lane in lanes_of(events, {"w", "w 2"}).lanes}
    assert marks == {"w": 0, "w 2": 1, LAB: 1}


def test_an_end_in_good_order_is_no_mark() -> None:
    ended = event("nemesis", "fault", "died", 5, text="w ended with exit code 0")
    begun = [event("w", "invoke", "add", 0, 1), event("w", "ok", "add", 3, 1)]
    assert [lane.marks for lane in lanes_of([*begun, ended], {"w"}).lanes] == [[]]
    crashed = replace(ended, text="w ended with exit code 70: E: words")
    (lane,) = lanes_of([*begun, crashed], {"w"}).lanes
    assert [kind for _, kind, _ in lane.marks] == ["died"]


# In a browser ------------------------------------------------------------------------------------

OFF = f"#{quote('s1+killed--1.5.9--off--0000')}"


@in_a_browser
def test_the_address_shows_a_trial_with_its_lanes_and_its_first_contradiction(
    tmp_path: Path,
) -> None:
    path, _ = page_of(usual(tmp_path), tmp_path)
    seen = chromium.dumped(path, OFF)
    assert "s1/killed on 1.5.9, off, trial 0</h2>" in seen
    assert re.search(r'<section id="matrix"[^>]* hidden', seen)
    assert not re.search(r'<section id="trial"[^>]* hidden', seen)
    assert len(re.findall(r'<g class="call [^"]*" role="img"', seen)) == 3
    for kind, times in {"fault": 2, "killed": 1, "died": 1, "contradiction": 1}.items():
        assert len(re.findall(rf'<g class="{kind}" role="img"', seen)) == times, kind
    assert "first contradiction · 2.500 s" in seen
    assert f"First contradiction, at 2.500 s in reader-palace-0: </b>{LOST}" in seen
    assert "writer at 0.400 s, for 500 ms: add drawers 30 to 39, unknown" in seen
    assert f"palace-lab replay {tmp_path}/plans/s1+killed--1.5.9--off--0000.json" in seen


@in_a_browser
@pytest.mark.parametrize("fragment", ["", "#no-such-trial", "#%E0%A4%A", "#__proto__"])
def test_any_other_address_shows_the_matrix(tmp_path: Path, fragment: str) -> None:
    path, _ = page_of(usual(tmp_path), tmp_path)
    seen = chromium.dumped(path, fragment)
    assert not re.search(r'<section id="matrix"[^>]* hidden', seen)
    assert re.search(r'<section id="trial"[^>]* hidden', seen)
    assert "2 rows" in seen


OWNED = "document.body.dataset.owned = 'yes'"


@in_a_browser
@pytest.mark.parametrize("number", [None, 0, 1])
def test_nothing_that_was_recorded_is_executed(tmp_path: Path, number: int | None) -> None:
    path, page = page_of(hostile_run(tmp_path), tmp_path)
    text = path.read_text("utf-8").replace(
        "<body>", f"<body><script>function owned() {{ {OWNED} }}</script>"
    )
    path.write_text(text, "utf-8")
    fragment = "" if number is None else "#" + quote(sorted(page.data["trials"])[number], safe="")
    seen = chromium.dumped(path, fragment, script="0")  # without the policy of the page
    assert "data-owned" not in seen
    assert "<img" not in seen
    assert "onerror=owned" in seen
    if number is not None:
        assert re.search(r'<section id="matrix"[^>]* hidden', seen)


@in_a_browser
def test_what_is_not_escaped_would_be_executed_and_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "control.html"
    path.write_text(
        f"<body><script>function owned() {{ {OWNED} }}</script>{HOSTILE}</body>", "utf-8"
    )
    assert 'data-owned="yes"' in chromium.dumped(path)


@in_a_browser
def test_the_policy_of_the_page_stops_a_script_that_is_not_its_own(tmp_path: Path) -> None:
    path, _ = page_of(usual(tmp_path), tmp_path)
    text = path.read_text("utf-8").replace("</body>", f"<script>{OWNED}</script></body>")
    path.write_text(text, "utf-8")
    seen = chromium.dumped(path)
    assert "data-owned=" not in seen
    assert "2 rows" in seen


def driven(path: Path, fragment: str, script: str, *, width: int = 1280) -> str:
    """Return what a driver says it saw: the value of its expression, as JSON."""
    said = f"document.body.dataset.seen = JSON.stringify((() => {{ {script} }})())"
    seen = chromium.dumped(path, fragment, width=width, script=said)
    found = re.search(r'<body[^>]* data-seen="([^"]*)"', seen)
    assert found is not None, seen[-2000:]
    return found[1].replace("&quot;", '"')


@in_a_browser
def test_the_matrix_is_filtered_by_system_verdict_and_name(tmp_path: Path) -> None:
    path, _ = page_of(usual(tmp_path), tmp_path)
    script = """
      const seen = [];
      const set = (id, value) => {
        const field = document.getElementById(id);
        field.value = value;
        field.dispatchEvent(new Event("input", { bubbles: true }));
        const rows = [...document.querySelectorAll("table.matrix tbody tr")];
        seen.push(rows.map((row) => !row.hidden));
      };
      set("by-system", "s3"); set("by-system", ""); set("by-verdict", "HELD");
      set("by-verdict", "!"); set("by-verdict", "");
      set("by-name", "KILLED"); set("by-name", "none");
      return seen;
    """
    both, first, second, none = [True, True], [True, False], [False, True], [False, False]
    expected = [second, both, first, second, both, first, none]
    assert json.loads(driven(path, "", script)) == expected


@in_a_browser
def test_the_arrow_keys_go_through_the_events_in_the_order_of_time(tmp_path: Path) -> None:
    path, _ = page_of(usual(tmp_path), tmp_path)
    script = """
      const seen = [];
      const note = () => seen.push(document.querySelector(".detail").textContent);
      const press = (key) => document.activeElement.dispatchEvent(
        new KeyboardEvent("keydown", { key, bubbles: true }));
      document.querySelector('.chart [tabindex="0"]').focus(); note();
      for (const key of ["ArrowRight", "End", "ArrowLeft", "Home"]) { press(key); note(); }
      seen.push(document.querySelectorAll('.chart [tabindex="0"]').length);
      return seen;
    """
    start, call, end, before_end, again, stops = json.loads(driven(path, OFF, script))
    assert start.startswith("writer at 0.000 s: done by the lab, arm die")
    assert call.startswith("writer at 0.100 s, for 300 ms: open, ok")
    assert end.startswith("reader-palace-0 at 2.600 s: died, died by SIGSEGV")
    assert "contradiction" in before_end
    assert again == start
    assert stops == 1


@in_a_browser
@pytest.mark.parametrize("fragment", ["", OFF])
def test_a_phone_has_room_for_everything(tmp_path: Path, fragment: str) -> None:
    path, _ = page_of(usual(tmp_path), tmp_path)
    script = "return [document.documentElement.scrollWidth, innerWidth];"
    wide, room = json.loads(driven(path, fragment, script, width=390))
    assert wide <= room <= 500


@in_a_browser
def test_both_scales_keep_the_order_and_stay_inside(tmp_path: Path) -> None:
    path, _ = page_of(usual(tmp_path), tmp_path)
    script = """
      const places = () => [...document.querySelectorAll(".chart .call rect")]
        .map((rect) => [+rect.getAttribute("x"), +rect.getAttribute("width")]);
      const short = places();
      document.querySelectorAll(".scales button")[1].click();
      return [short, places(), document.querySelector(".chart").clientWidth];
    """
    short, true, width = json.loads(driven(path, OFF, script))
    for bars in (short, true):
        assert [x for x, _ in bars] == sorted(x for x, _ in bars)
        assert all(x >= 0 and x + wide <= width for x, wide in bars)
    # 300 ms beside 500 ms: true to scale that is their ratio, else it is closer to 1.
    assert true[0][1] / true[1][1] == pytest.approx(0.6, abs=0.02)
    assert short[0][1] / short[1][1] > 0.7


@in_a_browser
def test_the_events_are_a_table_for_those_who_read(tmp_path: Path) -> None:
    path, page = page_of(usual(tmp_path), tmp_path)
    script = """
      document.querySelector("details.events").dispatchEvent(new Event("toggle"));
      const rows = [...document.querySelectorAll(".events tbody tr")];
      return rows.map((row) => row.cells[1].textContent);
    """
    processes = json.loads(driven(path, OFF, script))
    lanes = page.data["trials"]["s1+killed--1.5.9--off--0000"]["lanes"]["lanes"]
    assert len(processes) == sum(len(lane["calls"]) + len(lane["marks"]) for lane in lanes)
    assert set(processes) == {"writer", LAB, "reader-palace-0"}
