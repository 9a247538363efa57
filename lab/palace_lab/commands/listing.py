"""`palace-lab list`: every scenario with its first sentence."""

from __future__ import annotations

import click

from palace_lab.catalog import find_scenarios


@click.command("list")
def list_command() -> None:
    """List all scenarios, one line each."""
    found = find_scenarios()
    width = max((len(each.name) for each in found), default=0)
    for each in found:
        kind = "guard" if each.scenario.is_guard else "proof"
        when = " (nightly)" if each.scenario.nightly else ""
        click.echo(f"{each.name:<{width}}  {kind}  {each.sentence}{when}")
