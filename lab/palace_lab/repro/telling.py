"""A diagnosis for a person: sections of short lines, and each finding with what to do about it.

Rules. Names come from the palace and may hold anything, so each goes through `one_line`. What is
shown is bounded; the JSON object has all of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from rich.text import Text

from palace_lab.report.console import STYLES, Console
from palace_lab.report.words import Tone, one_line, size
from palace_lab.repro.advice import Advice
from palace_lab.repro.diagnosis import Diagnosis, Finding
from palace_lab.repro.facts import Database, Drawers, Mark

_COLLECTIONS_MAX = 40
_FINDINGS_MAX = 40
_HOLDERS_MAX = 10
_DIRECTORIES_MAX = 8
_NAME_MAX = 120
_TONES: dict[str, Tone] = {"damage": "bad", "warning": "told", "note": "quiet"}
_VERDICTS: dict[str, Tone] = {"damaged": "bad", "in motion": "told", "healthy": "good"}


def show(diagnosis: Diagnosis, console: Console) -> None:
    """Print everything there is to say."""
    console.say(f"{_name(str(diagnosis.palace))}: {verdict(diagnosis)}", verdict_style(diagnosis))
    console.say()
    for line in _facts(diagnosis):
        console.say(line, hang=2)
    shown = diagnosis.findings[:_FINDINGS_MAX]
    for advice, findings in groupby(shown, key=attrgetter("advice")):
        console.say()
        for finding in findings:
            _show_claim(finding, console)
        _show_advice(advice, diagnosis.palace, console)
    rest = len(diagnosis.findings) - len(shown)
    if rest > 0:
        console.say(f"and {rest} findings more: add --json to see all")


def verdict_style(diagnosis: Diagnosis) -> str:
    """Return how it is shown."""
    return STYLES[_VERDICTS[diagnosis.verdict]]


def verdict(diagnosis: Diagnosis) -> str:
    """Return the verdict in words, with the number of what stands."""
    times = "read once" if diagnosis.readings == 1 else f"read {diagnosis.readings} times"
    serious = [each for each in diagnosis.findings if each.claim.severity != "note"]
    if diagnosis.verdict == "healthy":
        return f"healthy, nothing contradicts anything ({times})"
    if diagnosis.verdict == "in motion":
        return (
            f"in motion, {len(serious)} contradictions that may be a moment's ({times}): stop who "
            "uses it and ask again"
        )
    stand = sum(each.stands for each in serious)
    moving = f", {len(serious) - stand} more in motion" if stand < len(serious) else ""
    return f"damaged, {_n(stand, 'finding')}{moving} ({times})"


def _facts(diagnosis: Diagnosis) -> Iterator[str]:
    reading = diagnosis.reading
    if reading.opened is not None:
        rows = f"; rows last written by {reading.rows_by}" if reading.rows_by else ""
        yield f"newest chromadb that opened it: {reading.opened.words}{rows}"
    if reading.store is not None:
        kept = (
            "keeps every vector in its log" if reading.store.retained else "does not keep its log"
        )
        yield f"used by palace_store with chromadb {_name(reading.store.chromadb) or '-'}; {kept}"
    yield f"in use by: {_holders(diagnosis)}"
    weight = reading.weight
    if weight:
        yield f"size: {size(weight['apparent_bytes'])}, {size(weight['allocated_bytes'])} on disk"
    for database in reading.databases:
        yield _database(database)
    shown = reading.collections[:_COLLECTIONS_MAX]
    gone = {each.claim.collection for each in diagnosis.findings if _gone(each)}
    for each in shown:
        yield from _drawers(each, gone=each.name in gone)
    rest = len(reading.collections) - len(shown)
    if rest > 0:
        yield f"and {rest} collections more: add --json to see all"
    for what, names in (("set aside", reading.set_aside), ("of no collection", reading.strays)):
        if names:
            shown_names = ", ".join(_name(name) for name in names[:_DIRECTORIES_MAX])
            more = f" and {rest} more" if (rest := len(names) - _DIRECTORIES_MAX) > 0 else ""
            yield f"directories {what}: {len(names)}, {shown_names}{more}"


def _holders(diagnosis: Diagnosis) -> str:
    holders = diagnosis.holders
    said = [
        f"{_name(each.program)} (pid {each.pid}{', stopped' if each.stopped else ''})"
        for each in holders.processes[:_HOLDERS_MAX]
    ]
    rest = len(holders.processes) - len(said)
    text = ", ".join(said) or "nobody found"
    text += f" and {rest} more" if rest > 0 else ""
    if holders.not_looked_at:
        text += f"; not permitted to look at: processes of other users ({holders.not_looked_at})"
    return text


def _database(each: Database) -> str:
    rows = "" if each.rows is None else f"{each.rows} rows, "
    log = f", log {size(each.log_bytes)}" if each.log_bytes else ""
    free = f", {size(each.free_bytes)} free" if each.free_bytes else ""
    check = _name(each.integrity)
    return f"{each.file}: {rows}{size(each.size_bytes)}{log}{free}; SQLite's check: {check}"


def _gone(each: Finding) -> bool:
    return each.claim.kind == "segment-missing"


def _drawers(each: Drawers, *, gone: bool) -> Iterator[str]:
    written = "index not written yet" if each.vector_watermark is None else "index not readable"
    if gone:
        written = "index missing"
    if each.index_by:
        written = f"index written by {each.index_by}"
    found = "a vector for each of them" if each.rows else "nothing to find"
    if each.unfindable:
        found = f"{each.unfindable} rows are not findable, {each.lost} of them lost"
    if each.doubtful:
        found += f"; {each.doubtful} vectors are doubtful"
    dimension = "no vector yet" if each.dimension is None else f"{each.dimension} dimensions"
    yield f"collection {_name(each.name)}: {each.rows} rows, {found}"
    yield (
        f"  {dimension}, {each.space}; {written}, {_n(each.in_index, 'vector')}; "
        f"{_n(each.log_records, 'log record')}; index up to {_mark(each.vector_watermark)}, rows "
        f"up to {_mark(each.metadata_watermark)}"
    )


def _n(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _mark(mark: Mark | None) -> str:
    if mark is None:
        return "nothing yet"
    usual = mark.storage in ("integer", "blob") and mark.value is not None
    return f"{mark.value}" if usual else f"{mark.value} ({_name(mark.storage)})"


def _show_claim(finding: Finding, console: Console) -> None:
    claim = finding.claim
    moving = "" if finding.stands else ", in motion"
    console.say(f"{claim.severity}{moving}: {claim.kind}", STYLES[_TONES[claim.severity]])
    console.say(f"  {one_line(claim.sentence)}", hang=2)


def _show_advice(advice: Advice, palace: Path, console: Console) -> None:
    console.say(f"  likely cause: {advice.cause}", hang=4)
    console.say(f"  what to do: {advice.remedy}", hang=4)
    if mending := advice.mending(palace):
        console.write(Text(f"    {mending}", "cyan"))
    console.say(
        "  see it happen:" if advice.scenario else "  no scenario shows it; in full:", "dim"
    )
    console.write(Text(f"    {advice.command(palace)}", "cyan"))


def _name(text: str) -> str:
    return one_line(text, characters_max=_NAME_MAX)
