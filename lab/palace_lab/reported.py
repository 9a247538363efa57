"""Public reports: under which name each is known, and which of its scenarios stands for it.

Rules:
- A scenario says which reports it is about (`Scenario.reports`); `reports.json` beside the
  scenarios adds a title and names the leading one, which is what a maintainer is shown first.
- A report that only a scenario names is led by the first that does, so that adding a scenario
  edits nothing else.
- `mempalace#899`, `MemPalace/899`, an address that ends in `mempalace/issues/899`, `#899` and `s0`
  are one report, as long as no other answers to it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from palace_lab.catalog import Listed, unknown
from palace_lab.errors import UsageError

#: The table of titles and leading scenarios, in the folder of the scenarios.
TABLE = "reports.json"
_ADDRESS = re.compile(r"/(?:issues|pull)/")
_NUMBERED = re.compile(r"(?:.*/)?([^/#]+)[/#](\d+)/?")


class Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One public report."""

    name: str
    system: str
    title: str
    leading: str  # name of a scenario


# Made here, before any thread: see palace_lab.plan.text.
_TABLES = msgspec.json.Decoder(list[Report])


def find_reports(scenarios: Sequence[Listed], directory: Path) -> list[Report]:
    """Return every report that a scenario names, those of the table in `directory` first."""
    reports = _read(directory / TABLE)
    for report in reports:
        if report.leading not in (each.name for each in scenarios_of(report, scenarios)):
            raise UsageError(
                f"{directory / TABLE} lets {report.leading!r} lead {report.name!r}, but no "
                f"scenario of that name names {report.name!r} in its `reports`"
            )
    for each in scenarios:
        for name in each.scenario.reports:
            if name not in (report.name for report in reports):
                reports.append(Report(name, each.system, each.sentence, each.name))
    return reports


def scenarios_of(report: Report, scenarios: Sequence[Listed]) -> list[Listed]:
    """Return the scenarios that name a report, the leading one first."""
    found = [each for each in scenarios if report.name in each.scenario.reports]
    return sorted(found, key=lambda each: (each.name != report.leading, each.name))


def find_report(name: str, reports: Sequence[Report]) -> Report:
    """Return the report a user means; raises `UsageError` if there is none, or more than one."""
    asked = _normal(name)
    matching = [each for each in reports if asked == _normal(each.name)]
    matching = matching or [each for each in reports if asked in _other_names(each)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        named = ", ".join(each.name for each in matching)
        raise UsageError(f"{name!r} is more than one report: {named}; name one of them")
    raise UsageError(unknown("report", name, [each.name for each in reports]))


def _other_names(report: Report) -> tuple[str, ...]:
    number = report.name.rpartition("#")[2]
    return (f"#{number}", number, report.system)


def _normal(name: str) -> str:
    text = _ADDRESS.sub("#", name.strip().lower())
    numbered = _NUMBERED.fullmatch(text)
    return f"{numbered[1]}#{numbered[2]}" if numbered else text


def _read(table: Path) -> list[Report]:
    try:
        return _TABLES.decode(table.read_bytes())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(f"cannot read {table}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{table} is no table of reports: {error}") from None
