"""The texts of a plan, by number: content and key follow from it, and so does the drawer's id."""

from __future__ import annotations

from palace_lab.workloads.vectors import document
from palace_store.text_input import Content

#: The stand-ins for models that plans use, all of one dimension; the first is the usual one.
MODELS = ("stand-in-a", "stand-in-b", "stand-in-c")
COLLECTION = "texts"


def content(number: int) -> Content:
    """Return text `number`: the same for everybody, as two processes read the same file."""
    return Content(document(number), source_file=f"notes/{number}.md")


def number_of(row: Content) -> int | None:
    """Return the number of a content that was read back, None for one no workload made."""
    digits = row.source_file.removeprefix("notes/").removesuffix(".md")
    if not (digits.isascii() and digits.isdigit()):
        return None
    return int(digits) if content(int(digits)).id == row.id else None
