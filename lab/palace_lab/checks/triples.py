"""Every acknowledged triple is there, every other one was at least attempted, the file is sound.

Triples of one call are written together: what is there of a call that was cut off is all or none.
The same goes for what was ended: what was is ended, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from palace_lab.checks.evidence import Evidence, Violation, shown_by
from palace_lab.checks.facts import Key, facts_of
from palace_lab.history.merge import Call

_SHOWN = 3
#: A knowledge graph that nobody got round to making is no damage; a lost triple is said above.
_SOUND = ("ok", "missing")


def check(evidence: Evidence) -> list[Violation]:
    """Compare the triples read back with what writers were told."""
    violations: list[Violation] = []
    for seen in evidence.observations:
        listed = seen.value("listed")
        if listed is not None and "triples" in listed:
            violations += shown_by(seen, "listed", _contradictions(evidence, listed))
    return violations


def _contradictions(evidence: Evidence, listed: dict[str, Any]) -> Iterator[Violation]:
    facts = facts_of(evidence.calls, evidence.plan)
    present = {(row[0], row[2]) for row in listed["triples"]}
    lost = [key for key, fact in facts.items() if fact.certain and _row(key) not in present]
    possible = {_row(key) for key, fact in facts.items() if fact.possible}
    extra = sorted(present - possible)
    if lost:
        names = ", ".join(f"{name}/{number}" for name, number in lost[:_SHOWN])
        sentence = f"{len(lost)} acknowledged triples are not there: {names}"
        yield Violation("triples", "silent-row-loss", sentence)
    if extra:
        sentence = f"{len(extra)} triples are there that nobody wrote: {extra[:_SHOWN]}"
        yield Violation("triples", "phantom", sentence)
    for call in evidence.calls:
        of_call = {_row((call.begin.process, number)) for number in _numbers(call)}
        there = len(of_call & present)
        if call.phase == "info" and 0 < there < len(of_call):
            sentence = (
                f"of {len(of_call)} triples that {call.begin.process} wrote in one call "
                f"{there} are there: {call.text}"
            )
            yield Violation("triples", "half-written", sentence)
    ended = {(row[0], row[2]) for row in listed["ended"]}
    undone = {_row(key) for key, fact in facts.items() if fact.ended} & present - ended
    unasked = sorted(ended - {_row(key) for key, fact in facts.items() if fact.days})
    if undone:
        sentence = f"{len(undone)} ended triples hold again: {sorted(undone)[:_SHOWN]}"
        yield Violation("triples", "silent-row-loss", sentence)
    if unasked:
        sentence = f"{len(unasked)} triples are ended that nobody ended: {unasked[:_SHOWN]}"
        yield Violation("triples", "phantom", sentence)
    if listed["integrity"] not in _SOUND:
        sentence = f"SQLite says of the knowledge graph: {listed['integrity']}"
        yield Violation("triples", "sqlite-malformed", sentence)


def _numbers(call: Call) -> range:
    """Return the numbers of the triples a call is about."""
    count = call.begin.count if call.begin.op == "triple" else 0
    return range(call.begin.first, call.begin.first + count)


def _row(key: Key) -> tuple[str, str]:
    name, number = key
    return f"{name}-s{number}", f"o{number}"
