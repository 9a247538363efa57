"""summary.md: the same table and the same facts as on the terminal, for GitHub and for later.

Every word comes from the functions that feed the terminal; here they only become Markdown. Text of
the library under test is escaped: it may hold anything.
"""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from palace_lab import __version__
from palace_lab.environments.beside import installed_beside
from palace_lab.judge.results import RunResult
from palace_lab.report import facts
from palace_lab.report.table import Cell, header, table

NAME = "summary.md"
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~])")


def write_summary(result: RunResult, directory: Path) -> Path:
    """Write summary.md into a run's directory and return its path."""
    path = directory / NAME
    path.touch()  # so that the counts line names the file it stands in
    text = summary_text(result, directory)
    path.write_text(text, encoding="utf-8", errors="backslashreplace")  # a path may be no UTF-8
    return path


def summary_text(result: RunResult, directory: Path) -> str:
    """Return the text of summary.md."""
    ending = facts.ending(result)
    parts = [
        "# Palace Lab",
        f"**{escape(facts.counts(result, directory))}**",
        f"**{escape(ending)}**" if ending else "",
        escape(facts.rests_on(result)),
        _table(result),
        *(_block(block) for block in facts.blocks(result, directory)),
        escape(facts.slowest(result)),
        escape(facts.files(directory)),
        escape(machine()),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def machine() -> str:
    """Return what the run ran on; figures in seconds mean nothing without it."""
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"palace-lab {__version__} on {platform.platform()}, Python {platform.python_version()}, "
        f"{os.cpu_count()} processors, load average {load}{_beside()}"
    )


def _beside() -> str:
    beside = installed_beside()
    return f"; installed beside chromadb: {', '.join(beside.lines)}" if beside else ""


def escape(text: str) -> str:
    """Return text that Markdown shows as it is."""
    return _SPECIAL.sub(r"\\\1", text)


def _table(result: RunResult) -> str:
    if not result.rows:
        return ""
    names = header(result.rows)
    lines = [_cells(names), _cells(["---"] * (len(names) - 1) + ["---:"])]
    lines += [_cells([_marked(cell) for cell in cells]) for cells in table(result.rows)]
    return "\n".join(lines)


def _marked(cell: Cell) -> str:
    return f"**{escape(cell.text)}**" if cell.tone == "bad" else escape(cell.text)


def _cells(texts: list[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _block(block: facts.Block) -> str:
    lines = [f"### {escape(block.title)}", ""]
    lines += [
        f"  - {escape(line[2:])}" if line.startswith("- ") else f"- {escape(line)}"
        for line in block.lines
    ]
    if block.command:
        lines += ["", "```sh", block.command, "```"]
    return "\n".join(lines)
