"""Surveys a palace: joins rows, log, watermarks and index files, and says what is where.

Rules. A healthy palace of any release gives no finding, whatever the moment at which its writer
stopped between two calls. What a survey says about ids and vectors is what chromadb would answer.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from palace_store.anatomy.collection_survey import CollectionSurvey
from palace_store.anatomy.findings import AnatomyError, Finding, some
from palace_store.anatomy.headless import without_unwritten
from palace_store.anatomy.hnsw_files import read_segment
from palace_store.anatomy.judgement import judge, lost
from palace_store.anatomy.records import Collection, Tables, Watermark, is_segment_id
from palace_store.anatomy.replay import apply_to_index, apply_to_rows, replay_log
from palace_store.anatomy.salvage import Salvage
from palace_store.anatomy.sqlite_tables import read_tables

_SET_ASIDE = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\..+")


@dataclass(frozen=True)
class Survey:
    """A whole palace. `set_aside` are segment directories renamed by a quarantine.

    `strays` are segment directories that no segment row names.
    """

    path: Path
    tables: Tables
    collections: tuple[CollectionSurvey, ...]
    set_aside: tuple[Path, ...]
    strays: tuple[Path, ...]
    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Tell whether there is nothing to report but notes."""
        return all(finding.severity == "note" for finding in self.findings)

    def collection(self, name: str) -> CollectionSurvey:
        """Return the collection of that name; KeyError if there is none."""
        for each in self.collections:
            if each.name == name:
                return each
        raise KeyError(name)

    def kinds(self) -> frozenset[str]:
        """Return the kinds of all findings."""
        return frozenset(finding.kind for finding in self.findings)


def survey(
    palace: str | os.PathLike[str],
    *,
    copy: bool = False,
    database: str | os.PathLike[str] | None = None,
    deep: bool = True,
) -> Survey:
    """Survey a palace without writing to it.

    `copy` reads a private copy of the database, `database` one the caller has already made.
    `deep` also walks the index' links, which reads the index files whole. Raises `AnatomyError`
    where `read_tables` does; every other damage is in the findings.
    """
    path = Path(palace)
    tables = read_tables(path, copy=copy, database=database)
    collections = tuple(_survey(path, tables, each, deep=deep) for each in tables.collections)
    set_aside, strays = _directories(path, tables)
    findings = [*tables.findings]
    for each in collections:
        findings.extend(each.findings)
    if set_aside:
        names = tuple(each.name for each in set_aside)
        sentence = f"segment directories set aside by renaming, {len(names)}: {some(names)}."
        findings.append(Finding("quarantined-directories", "note", sentence, None, names))
    return Survey(path, tables, collections, set_aside, strays, tuple(findings))


def _survey(palace: Path, tables: Tables, each: Collection, *, deep: bool) -> CollectionSurvey:
    segment = None
    if each.vector_segment is not None and is_segment_id(each.vector_segment):
        segment = without_unwritten(read_segment(palace / each.vector_segment, deep=deep))
    above = tables.watermarks.get(each.vector_segment or "")
    below = tables.watermarks.get(each.metadata_segment or "")
    header = segment.header if segment is not None else None
    dimension = each.dimension or (header.dimension if header is not None else None)
    usable = header is not None and header.dimension == dimension
    located = segment.located if segment is not None and usable else {}
    rows = apply_to_rows(
        dict(zip(each.row_ids, each.row_seq_ids)),  # noqa: B905 - made together
        each.log,
        _number(below, None),
    )
    legacy = segment.index.max_seq_id if segment is not None and segment.index else None
    start = _number(above, legacy)
    result = CollectionSurvey(
        collection=each,
        segment=segment,
        vector_watermark=above,
        metadata_watermark=below,
        dimension=dimension,
        vector_start=start,
        rows=rows,
        served=apply_to_index(located, each.log, start, dimension),
        replayed=replay_log(
            rows,
            each.log,
            dimension,
            # chromadb purges after every write once the index has been written.
            purged=tables.automatically_purge and above is not None,
        ),
        log_last=tables.log_last,
    )
    if not each.listed or each.doubled:
        return result  # what its rows or its vectors are is not known, so nothing contradicts them
    result = replace(result, findings=tuple(judge(tables, result, deep=deep)))
    wanted = (*result.unsure, *result.in_index_alone)
    if not wanted:
        return result
    result = replace(result, salvaged=Salvage.of(palace, result).vectors(wanted))
    return replace(result, findings=(*result.findings, *lost(result)))


def _number(watermark: Watermark | None, otherwise: int | None) -> int:
    """Return where a segment's replay starts; without a watermark, from the beginning."""
    if watermark is not None and watermark.value is not None:
        return watermark.value
    return -1 if otherwise is None else otherwise


def _directories(path: Path, tables: Tables) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    try:
        entries = sorted(entry for entry in path.iterdir() if entry.is_dir())
    except OSError as error:
        raise AnatomyError(f"{path} cannot be listed: {error.strerror}") from None
    aside = tuple(entry for entry in entries if _SET_ASIDE.fullmatch(entry.name))
    strays = tuple(
        entry
        for entry in entries
        if is_segment_id(entry.name) and entry.name not in tables.segments
    )
    return aside, strays
