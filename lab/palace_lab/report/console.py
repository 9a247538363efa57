"""The terminal: one place that knows its width, its colours and whether it is one at all.

Rules:
- What is not a terminal gets plain text: no control characters, no bar, lines of its own width.
- NO_COLOR (any value but an empty one) switches every colour and weight off.
- Colour never says anything that the words do not.
- A command to paste stands on a line of its own and is never folded by us.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TextIO

from rich.console import Console as RichConsole
from rich.text import Text

from palace_lab.judge.results import RunResult
from palace_lab.report import facts
from palace_lab.report.table import fold, layout
from palace_lab.report.words import Tone

#: Width of what is not a terminal, in characters: one line a row even for a race of a long name.
PLAIN_WIDTH = 200
#: Sentences are not spread wider than this, however wide the terminal is.
_TEXT_WIDTH_MAX = 110

STYLES: dict[Tone, str] = {"good": "green", "told": "yellow", "bad": "bold red", "quiet": ""}
#: For a stream that cannot say them.
_ASCII = str.maketrans({"·": "|", "≤": "<=", "─": "-", "…": "...", "—": "-"})


class Console:
    """A terminal, or what stands in for one: a pipe, a file, a CI log."""

    def __init__(
        self,
        file: TextIO | None = None,
        *,
        width: int | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        stream = sys.stdout if file is None else file
        variables = os.environ if environ is None else environ
        self.is_terminal = stream.isatty() and variables.get("TERM") != "dumb"
        plain = bool(variables.get("NO_COLOR")) or not self.is_terminal
        self.rich = RichConsole(
            file=file,
            width=width if self.is_terminal or width else PLAIN_WIDTH,
            color_system=None if plain else "auto",
            force_terminal=self.is_terminal,
            markup=False,
            highlight=False,
            emoji=False,
            _environ=variables,
        )

    @property
    def width(self) -> int:
        """Return how many characters a line has room for."""
        return self.rich.width

    def say(self, text: str = "", style: str = "", *, hang: int = 0) -> None:
        """Print a sentence, folded to the width if this is a terminal."""
        width = min(self.width, _TEXT_WIDTH_MAX) if self.is_terminal else len(text)
        self.write(Text("\n".join(fold(text, width, hang)), style=style))

    def write(self, text: Text) -> None:
        """Print text as it is; the terminal itself breaks what is too long for it."""
        encoding = self.rich.encoding
        if not encoding.lower().startswith("utf"):
            said = text.plain.translate(_ASCII)
            text = Text(said.encode(encoding, "backslashreplace").decode(encoding))
        self.rich.print(text, soft_wrap=True)

    def result(self, result: RunResult, directory: Path) -> None:
        """Print the table of a run and everything under it."""
        self.say()
        self.say(facts.rests_on(result), "dim", hang=2)
        if result.rows:
            self.say()
            self._table(result)
        self.show_blocks(facts.blocks(result, directory))
        self.say()
        for line in (facts.slowest(result), facts.files(directory)):
            if line:
                self.say(line, "dim", hang=2)
        ending = facts.ending(result)
        self.say(facts.counts(result, directory), "bold", hang=2)
        if ending:
            self.say(ending, STYLES["bad"])

    def show_blocks(self, blocks: Iterable[facts.Block]) -> None:
        """Print what went wrong, each with the line that shows it again."""
        for block in blocks:
            self.say()
            self.say(block.title, "bold", hang=2)
            for line in block.lines:
                self.say(f"  {line}", hang=4)
            if block.command:
                self.say("  see it again, alone:", "dim")
                self.write(Text(f"    {block.command}", "cyan"))

    def _table(self, result: RunResult) -> None:
        lines = layout(result.rows, self.width)
        for number, line in enumerate(lines):
            text = Text()
            for position, cell in enumerate(line.cells):
                text.append("  " if position else "")
                text.append(cell.text, "bold" if number == 0 else STYLES[cell.tone])
            text.rstrip()
            self.write(text)
