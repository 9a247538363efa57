"""`palace-lab bench`: what the fixes cost and how fast the lab is, beside the peer, in one run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import click

from palace_lab.benchmarks import faults, histories, machine, server, store
from palace_lab.benchmarks.model import Case, Outcome, measure
from palace_lab.benchmarks.palaces import Palaces
from palace_lab.commands.options import PLACE
from palace_lab.commands.prepare import default_reports, provide, resolve_all
from palace_lab.errors import ExitCode, RefusedError, UsageError
from palace_lab.report.rundir import RunDirectory
from palace_lab.runner.arena import Arena
from palace_lab.scenario import RELEASES

KNOWN: Mapping[str, Callable[[Palaces, float], Iterator[Case]]] = {
    "writers": store.writers,
    "opening": store.opening,
    "recovery": store.recovery,
    "searching": store.searching,
    "checking": server.checking,
    "starting": faults.starting,
    "killing": faults.killing,
    "pointing": faults.pointing,
    "recording": histories.recording,
    "judging": histories.judging,
}
_SMALL = 0.02


@click.command("bench")
@click.argument("names", nargs=-1, metavar="[BENCHMARK]...")
@click.option("--release", default=RELEASES[-1], show_default=True)
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True)
@click.option("--small", is_flag=True, help="A fiftieth of the drawers; no promise is judged.")
@click.option("--report-dir", type=PLACE, help="Default: ./reports.")
def bench_command(
    names: tuple[str, ...], release: str, rounds: int, small: bool, report_dir: Path | None
) -> int:
    """Measure the library beside raw chromadb, and the lab beside a plain one.

    Exits with 1 if a promised ratio is not kept. Of the library: writers, opening, recovery,
    searching, checking (docs/cost.md). Of the lab: starting, killing, pointing, recording, judging
    (docs/speed.md).
    """
    for name in names:
        if name not in KNOWN:
            raise UsageError(f"there is no benchmark {name!r}; there are: {', '.join(KNOWN)}")
    (resolved,) = resolve_all([release])
    directory = RunDirectory.create(report_dir or default_reports())
    environments, refused = provide([resolved], _say)
    if refused:
        raise RefusedError(refused[resolved])
    broken = 0
    with Arena(environments, scratch_root=None) as arena:
        about = machine.describe(arena.scratch)
        click.echo(f"chromadb {resolved} · {rounds} rounds · {about}")
        palaces = Palaces(arena, resolved)
        for name in names or KNOWN:
            for case in KNOWN[name](palaces, _SMALL if small else 1.0):
                outcome = measure(case, rounds, _say)
                load = machine.describe(arena.scratch)
                broken += _show(outcome, judged=not small)
                _keep(outcome, directory.path / "bench.jsonl", resolved, load)
    click.echo(f"written: {directory.path / 'bench.jsonl'}")
    if small:
        click.echo("small: no promise was judged")
        return int(ExitCode.PROMISED)
    click.echo(f"{broken} promised ratios were not kept" if broken else "every ratio as promised")
    return int(ExitCode.VIOLATED if broken else ExitCode.PROMISED)


def _say(sentence: str) -> None:
    click.echo(sentence, err=True)


def _show(outcome: Outcome, *, judged: bool) -> int:
    case = outcome.case
    click.echo(f"\n{case.name}")
    for each in case.contestants:
        figure = outcome.figure(each.name)
        rest = "".join(f" · {what} {_number(v)}" for what, v in outcome.seen(each.name).items())
        click.echo(f"  {each.name:<14} {_number(figure):>9} {case.unit}{rest}")
    broken = outcome.broken() if judged else []
    for bound in case.bounds:
        verdict = "" if not judged else " MISSED" if bound in broken else " kept"
        ratio = outcome.ratio(bound)
        click.echo(
            f"  {bound.contestant} against {bound.peer}: {ratio:.2f}×, "
            f"promised {bound.words()}{verdict}"
        )
    return len(broken)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"  # noqa: PLR2004


def _keep(outcome: Outcome, path: Path, release: str, about: str) -> None:
    record = {
        "benchmark": outcome.case.name,
        "unit": outcome.case.unit,
        "chromadb": release,
        "machine": about,
        "samples": {
            name: [{"figure": each.figure, **each.seen} for each in samples]
            for name, samples in outcome.samples.items()
        },
        "ratios": [
            {
                "contestant": bound.contestant,
                "peer": bound.peer,
                "ratio": outcome.ratio(bound),
                "promised": bound.words(),
                "kept": bound.holds(outcome.ratio(bound)),
            }
            for bound in outcome.case.bounds
        ],
    }
    with path.open("a", encoding="utf-8") as out:
        out.write(json.dumps(record, ensure_ascii=False) + "\n")
