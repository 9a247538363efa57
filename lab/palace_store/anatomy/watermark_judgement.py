"""Turns the watermarks of a collection into findings: what no release goes on from.

Rules. A watermark may be behind the rows or the log: chromadb reads on. It may not be of another
type, beyond every number, or, as 0.x keeps them, 0 or missing where an index was written: 0.5.23
and 0.6.3 take 0 for none and pass over the next change, and open no index without (AttributeError).
"""

from __future__ import annotations

from collections.abc import Iterator

from palace_store.anatomy.collection_survey import CollectionSurvey
from palace_store.anatomy.findings import Finding, Severity, found
from palace_store.anatomy.records import SEQ_ID_LIMIT, Tables, Watermark


def watermarks(tables: Tables, each: CollectionSurvey) -> Iterator[Finding]:
    """Yield what is wrong with the two watermarks of a collection."""
    top = max([*each.collection.row_seq_ids, -1 if tables.log_last is None else tables.log_last])
    below = each.metadata_watermark
    yield from _watermark("metadata", below, top, tables, judged=tables.log_last is not None)
    if below is not None and below.within(tables.log_last):
        top = max(top, below.value or 0)
    yield from _watermark("vector", each.vector_watermark, top, tables, judged=True)
    # 1.x goes on without: it reads the log that is there once more.
    severity: Severity = "damage" if tables.era == "blob" else "note"
    if below is None and each.collection.row_ids:
        text = f"{len(each.collection.row_ids)} rows were written, and no watermark says so"
        yield from found("watermark-missing", "note", text)
    index = each.segment.index if each.segment is not None else None
    if index is None:
        return
    mark = each.vector_watermark
    if mark is not None:
        if mark.value == 0 and tables.era == "integer" and index.id_to_label:
            text = f"an index of {len(index.id_to_label)} vectors was written, the watermark is 0"
            yield from found("watermark-missing", severity, text)
        return
    if index.max_seq_id is None and index.id_to_label:  # up to 0.5 it is there
        text = f"an index of {len(index.id_to_label)} vectors was written, and no watermark says so"
        yield from found("watermark-missing", severity, text)


def _watermark(
    scope: str, watermark: Watermark | None, top: int, tables: Tables, *, judged: bool
) -> Iterator[Finding]:
    if watermark is None:
        return
    value = watermark.value
    if watermark.storage == "blob" and tables.era == "integer":
        text = f"the {scope} watermark is a BLOB ({value}) where this schema has integers"
        yield from found("watermark-blob", "damage", text)
    if value is None or watermark.storage not in ("blob", "integer"):
        text = f"the {scope} watermark is stored as {watermark.storage}, which no release writes"
        yield from found("watermark-type", "damage", text)
    elif value == 0 and tables.era == "blob":
        text = f"the {scope} watermark is 0, with which 0.x passes over the next change"
        yield from found("watermark-impossible", "damage", text)
    elif value < 0 or value >= SEQ_ID_LIMIT or (judged and value > top):
        text = f"the {scope} watermark is {value}, the highest sequence number is {top}"
        yield from found("watermark-impossible", "damage", text)
