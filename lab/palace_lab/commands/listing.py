"""`palace-lab list`: every scenario with its first sentence, and every report."""

from __future__ import annotations

import click

from palace_lab.called import called
from palace_lab.catalog import find_scenarios, scenarios_directory
from palace_lab.reported import find_reports, scenarios_of


@click.command("list")
def list_command() -> None:
    """List all scenarios, and under them all public reports, one line each."""
    found = find_scenarios()
    reports = find_reports(found, scenarios_directory())
    width = max((len(each.name) for each in found), default=0)
    for each in found:
        kind = "guard" if each.scenario.is_guard else "proof"
        when = " (nightly)" if each.scenario.nightly else ""
        click.echo(f"{each.name:<{width}}  {kind}  {each.sentence}{when}")
    if not reports:
        return
    click.echo(f"\nreports, for `{called()} repro NAME`; in brackets: scenarios of each, for --all")
    width = max(len(each.name) for each in reports)
    for report in reports:
        count = len(scenarios_of(report, found))
        click.echo(f"{report.name:<{width}}  {report.system}  {report.title} ({count})")
