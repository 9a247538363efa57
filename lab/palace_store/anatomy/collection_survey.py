"""What one collection's rows, index and log hold, and what follows: missing, doubtful, lost.

Rules. The watermark decides: an index is believed up to it, the log above it. An index that two
processes wrote is not believed at all, because it gives vectors of other ids without any sign.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from palace_store.anatomy.findings import Finding
from palace_store.anatomy.hnsw_files import Segment
from palace_store.anatomy.records import Collection, Watermark
from palace_store.anatomy.replay import IN_INDEX, LogReplay, decode_vector


@dataclass(frozen=True)
class Vectors:
    """Ids and their vectors, one float32 row each, in the same order."""

    ids: tuple[str, ...]
    matrix: npt.NDArray[np.float32]


@dataclass(frozen=True)
class CollectionSurvey:
    """One collection: what its rows, its index and its log hold.

    `rows` maps the ids chromadb would list to the sequence number of their last change, with the
    log above the metadata watermark applied. `served` maps the ids the index would answer to
    where their vector is: `IN_INDEX` or a position of the log. `vector_start` is the number above
    which the log is applied to the index, -1 without a watermark. `log_last` is the highest number
    in the whole palace's log, None when it is empty. `salvaged` are the vectors of
    rows that chromadb would not answer, or would from a damaged index, where a file surely holds
    them.
    """

    collection: Collection
    segment: Segment | None
    vector_watermark: Watermark | None
    metadata_watermark: Watermark | None
    dimension: int | None
    vector_start: int
    rows: Mapping[str, int]
    served: Mapping[str, int]
    replayed: LogReplay
    log_last: int | None = None
    findings: tuple[Finding, ...] = field(default=())
    salvaged: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return the collection's name."""
        return self.collection.name

    @property
    def ids(self) -> tuple[str, ...]:
        """Return the ids chromadb would list, in order of insertion."""
        return tuple(self.rows)

    @property
    def index_ids(self) -> frozenset[str]:
        """Return the ids for which the index files hold a live vector."""
        return frozenset(self.segment.located) if self.segment is not None else frozenset()

    @property
    def log_ids(self) -> frozenset[str]:
        """Return the rows for which the log, replayed from nothing, holds a vector."""
        return frozenset(self.replayed.vectors)

    @property
    def missing_from_index(self) -> tuple[str, ...]:
        """Return the rows that neither the index nor the log above its watermark answers."""
        return tuple(name for name in self.rows if name not in self.served)

    @property
    def index_only(self) -> tuple[str, ...]:
        """Return the ids the index answers though they have no row."""
        return tuple(name for name in self.served if name not in self.rows)

    @property
    def log_complete(self) -> bool:
        """Tell whether the log alone can rebuild the vector of every row."""
        return self.replayed.complete

    @property
    def unrecoverable(self) -> tuple[str, ...]:
        """Return the rows whose vector no file holds; see `doubtful` for those hardly better."""
        return tuple(name for name in self.unserved if name not in self.salvaged)

    @property
    def changes_lost(self) -> tuple[str, ...]:
        """Return the rows whose last change the index has not taken up and the log lacks.

        Any vector of theirs may be of before. () without a watermark, for nothing says then which
        changes the log still owes; 0 where an index was written is none.
        """
        written = self.segment is not None and self.segment.index is not None and self.index_ids
        if self.vector_start < 0 or (self.vector_start == 0 and written):
            return ()
        logged = {record.seq_id for record in self.collection.log}
        rows = zip(self.collection.row_ids, self.collection.row_seq_ids)  # noqa: B905 - as one
        return tuple(
            name for name, seq_id in rows if seq_id > self.vector_start and seq_id not in logged
        )

    @property
    def unsure(self) -> tuple[str, ...]:
        """Return the rows whose vector neither the index as chromadb reads it nor the log has.

        The log may have one that was refused, see `LogReplay`.
        """
        return tuple(
            name
            for name in self.rows
            if self.served.get(name) != IN_INDEX and name not in self.replayed.certain
        )

    @property
    def unserved(self) -> tuple[str, ...]:
        """Return the rows for which chromadb has no vector, neither in its index nor in its log."""
        return tuple(name for name in self.missing_from_index if name not in self.replayed.vectors)

    @property
    def overlooked(self) -> tuple[str, ...]:
        """Return the rows below the vector watermark that the pickle has never heard of.

        One process cannot do that: it writes the watermark after the pickle. With two, the last
        one's pickle is joined to the other one's elements (S1). What the log above the watermark
        holds is no such row, whatever its number: numbers of a log that had lost its end go on
        above all watermarks, those of rows stay.
        """
        if self.segment is None or self.segment.index is None:
            return ()
        if self.beyond_all:
            return ()
        known = self.segment.id_to_label
        return tuple(
            name
            for name, seq_id in self.rows.items()
            if seq_id <= self.vector_start
            and name not in known
            and self.served.get(name, IN_INDEX) == IN_INDEX
        )

    @property
    def beyond_all(self) -> bool:
        """Tell whether the vector watermark is impossible: it says nothing about the pickle."""
        below = self.metadata_watermark
        read = below.value if below is not None and below.within(self.log_last) else None
        return self.vector_start > max(
            self.collection.log[-1].seq_id if self.collection.log else -1,
            -1 if read is None else read,
            max(self.rows.values(), default=-1),
        )

    @property
    def index_trusted(self) -> bool:
        """Tell whether the index' vectors belong to the ids the pickle gives them.

        False once two processes wrote it: of 105 to 109 vectors read from such an index, 18 to 36
        were another id's (0.6.3, 1.0.21, 1.5.9; 200 rows, strictly alternating writers).
        """
        segment = self.segment
        unique = segment is None or len(np.unique(segment.labels)) == len(segment.labels)
        return unique and not self.overlooked

    @property
    def doubtful(self) -> tuple[str, ...]:
        """Return the rows whose vector is only in an index that is not to be trusted.

        Looked for where there is damage: a vector that no file surely holds is not `salvaged`. What
        the log has any vector of an index made anew has as well.
        """
        log = {record.id for record in self.collection.log if record.vector_bytes}
        return tuple(
            name for name in self.in_index_alone if name not in log and name not in self.salvaged
        )

    @property
    def in_index_alone(self) -> tuple[str, ...]:
        """Return the rows that a damaged index answers, and the log not surely."""
        if not any(finding.severity == "damage" for finding in self.findings):
            return ()
        sure = self.replayed.certain
        return tuple(
            name for name in self.rows if self.served.get(name) == IN_INDEX and name not in sure
        )

    def vectors(self, ids: Iterable[str] | None = None, *, doubtful: bool = False) -> Vectors:
        """Return the vectors of rows as they were written, by default of all that have one.

        What the log surely holds comes from the log, then what the index would answer, then what
        was `salvaged`, then what the log may hold. In cosine space the index' unit vectors get
        their length back, as chromadb does. Ids without a vector are left out, and so is what comes
        from an index that is not `index_trusted`, unless `doubtful`.
        """
        served = self.served
        if not (doubtful or self.index_trusted):
            served = {name: where for name, where in served.items() if where != IN_INDEX}
        sources = {**self.replayed.vectors, **served}
        sources.update({name: self.replayed.vectors[name] for name in self.replayed.certain})
        return self._gather(sources, self.rows if ids is None else ids, self.salvaged)

    def served_vectors(
        self, ids: Iterable[str] | None = None, *, as_stored: bool = False
    ) -> Vectors:
        """Return exactly what chromadb would answer, for the rows that it would answer at all.

        `as_stored`: what it searches, in cosine space the unit vectors of the index.
        """
        return self._gather(self.served, self.rows if ids is None else ids, {}, as_stored=as_stored)

    def _gather(
        self,
        sources: Mapping[str, int],
        ids: Iterable[str],
        saved: Mapping[str, npt.NDArray[np.float32]],
        *,
        as_stored: bool = False,
    ) -> Vectors:
        picked = [name for name in ids if name in sources or name in saved]
        matrix = np.zeros((len(picked), self.dimension or 0), dtype=np.float32)
        at_index = [i for i, name in enumerate(picked) if sources.get(name) == IN_INDEX]
        if self.segment is not None and at_index:
            cosine = self.collection.settings.space == "cosine"
            matrix[at_index] = self.segment.vectors(
                (picked[i] for i in at_index), lengths_restored=cosine and not as_stored
            )
        for i, name in enumerate(picked):
            if name in saved:
                matrix[i] = saved[name]
            elif sources[name] != IN_INDEX:
                vector = decode_vector(self.collection.log[sources[name]], self.dimension)
                matrix[i] = 0 if vector is None else vector
        return Vectors(tuple(picked), matrix)
