"""The table of a run: a scenario on a release a row, an arm a column, laid out for any width.

Rules: no cell is ever cut. A table that is too wide folds its cells, between words first and inside
names after a hyphen or slash; one that is wide enough has one line a row, so that it can be
searched with grep. k/n stays with its verdict, and a bound or count in one piece.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest

from palace_lab.judge.results import Row
from palace_lab.judge.verdict import Role
from palace_lab.report.words import Tone, arm_words, duration, label, one_line, tone

_GAP = "  "
_COLUMNS: tuple[tuple[str, tuple[Role, ...]], ...] = (
    ("off", ("off", "wrong")),
    ("as reported", ("as-reported",)),
    ("fixed", ("fixed",)),
    ("played alone", ("played",)),
)
#: Where text is folded: at a blank that is not inside a short bracket, before k/n or a count.
_BLANKS = re.compile(r"(?<= )(?!\d+(?:/\d|,|$))(?![^()]{0,16}\))")
#: Where what is left in one piece is torn if it is too long for a line.
_JOINTS = re.compile(r"(?<=[a-z0-9][-/])(?=[A-Za-z])")
#: Later lines of a name are set in, so that they are not taken for the next name.
_HANG = 2
#: With more lines a row than this, an empty line between scenarios helps the eye.
_SPREAD_ABOVE = 1.5


@dataclass(frozen=True)
class Cell:
    """One cell: its text, how it is coloured, and which arm it is about."""

    text: str
    tone: Tone = "quiet"
    role: Role | None = None


@dataclass(frozen=True)
class Line:
    """One line to print: a piece of each cell, padded to the columns' widths."""

    cells: tuple[Cell, ...] = ()

    @property
    def text(self) -> str:
        """Return the line as plain text."""
        return _GAP.join(cell.text for cell in self.cells).rstrip()


def header(rows: Sequence[Row]) -> list[str]:
    """Return the names of the columns."""
    return ["scenario", "release", *(name for name, _ in _arm_columns(rows)), "time"]


def table(rows: Sequence[Row]) -> list[list[Cell]]:
    """Return the cells of every row, under `header`."""
    columns = _arm_columns(rows)
    return [_cells(row, columns) for row in rows]


def layout(rows: Sequence[Row], width: int) -> list[Line]:
    """Return the table as lines of at most `width` characters, header and a rule first."""
    head = [Cell(name) for name in header(rows)]
    body = table(rows)
    widths = _widths([head, *body], width)
    lines = [*_lines(head, widths), Line(tuple(Cell("─" * each) for each in widths))]
    blocks = [list(_lines(cells, widths)) for cells in body]
    spread = sum(map(len, blocks)) > len(blocks) * _SPREAD_ABOVE
    for number, block in enumerate(blocks):
        if spread and number and body[number][0] != body[number - 1][0]:
            lines.append(Line())
        lines.extend(block)
    return lines


@lru_cache(maxsize=4096)
def fold(text: str, width: int, hang: int = 0) -> tuple[str, ...]:
    """Fold text into lines of at most `width`, later ones set in; only a long word is wider."""
    lines: list[str] = []
    current = ""
    for words in _BLANKS.split(text):
        fits = len(words.rstrip()) <= width - hang
        for piece in [words] if fits else _JOINTS.split(words):
            if current.strip() and len((current + piece).rstrip()) > width:
                lines.append(current.rstrip())
                current = " " * hang
            current += piece
    return (*lines, current.rstrip())


def unbroken(text: str) -> str:
    """Return text with no-break spaces wherever this table would not fold it."""
    return " ".join(
        words.rstrip().replace(" ", "\N{NO-BREAK SPACE}") for words in _BLANKS.split(text)
    )


def _arm_columns(rows: Sequence[Row]) -> list[tuple[str, tuple[Role, ...]]]:
    """Return the columns some row has an arm for; the first one, too, to say REFUSED in."""
    present = {arm.role for row in rows for arm in row.arms}
    if present != {"played"}:
        present.add("off")
    return [column for column in _COLUMNS if present.intersection(column[1])]


def _cells(row: Row, columns: Sequence[tuple[str, tuple[Role, ...]]]) -> list[Cell]:
    missing = "REFUSED" if row.refused else "" if row.arms else "did not run"
    arms: list[Cell] = []
    for _, roles in columns:
        arm = next((found for role in roles if (found := row.arm(role)) is not None), None)
        if arm is not None:
            arms.append(Cell(arm_words(arm), tone(arm), arm.role))
        else:
            arms.append(Cell(missing, "bad") if missing else Cell("-"))
            missing = ""
    if missing:
        arms[-1] = Cell(f"{missing} {arms[-1].text}", "bad")
    time = Cell(duration(row.seconds) if row.arms else "-")
    return [Cell(label(row)), Cell(one_line(row.release)), *arms, time]


def _lines(cells: Sequence[Cell], widths: Sequence[int]) -> Iterator[Line]:
    folded = [fold(cell.text, widths[i], _hang(i)) for i, cell in enumerate(cells)]
    for pieces in zip_longest(*folded, fillvalue=""):
        yield Line(
            tuple(
                Cell(piece.rjust(size) if i == len(widths) - 1 else piece.ljust(size), cell.tone)
                for i, (piece, size, cell) in enumerate(zip(pieces, widths, cells, strict=True))
            )
        )


def _widths(rows: Sequence[Sequence[Cell]], width: int) -> list[int]:
    """Return the columns' widths, narrowed step by step where that costs least per character."""
    columns = [[row[i].text for row in rows] for i in range(len(rows[0]))]
    widths = [max(map(len, column)) for column in columns]
    room = width - len(_GAP) * (len(widths) - 1)
    while sum(widths) > room:
        now = _cost(columns, widths)
        steps: list[tuple[float, int, list[int]]] = []
        for i, column in enumerate(columns[:-1]):  # a time stays in one piece
            narrower = _narrower(column, widths[i], _hang(i))
            if narrower < widths[i]:
                changed = [*widths[:i], narrower, *widths[i + 1 :]]
                cost = (_cost(columns, changed) - now) / (widths[i] - narrower)
                steps.append((cost, -widths[i], changed))
        if not steps:
            break
        widths = min(steps)[2]
    return widths


def _narrower(column: Sequence[str], width: int, hang: int) -> int:
    """Return the next width below `width` at which the column can be folded."""
    return max(len(line) for text in column for line in fold(text, width - 1, hang))


def _cost(columns: Sequence[Sequence[str]], widths: Sequence[int]) -> int:
    """Return how hard a table is to read: its lines, and how often an arm's words are torn."""
    folded = [
        [len(fold(text, widths[i], _hang(i))) for text in column]
        for i, column in enumerate(columns)
    ]
    torn = sum(
        any(len(words.rstrip()) > size for words in _BLANKS.split(text))
        for column, size in zip(columns[1:], widths[1:], strict=True)
        for text in column
    )
    heights: list[int] = [max(row) for row in zip(*folded, strict=True)]
    return sum(heights) + torn


def _hang(column: int) -> int:
    return _HANG if column == 0 else 0
