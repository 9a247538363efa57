"""Reads a chromadb palace without chromadb: SQLite tables, HNSW files, pickle, watermarks.

Rules. It never writes into a palace, never executes anything a file holds, and bounds what it
reads. Every damaged input gives a `Finding` or an `AnatomyError`, each one sentence.
"""

from palace_store.anatomy.collection_survey import CollectionSurvey, Vectors
from palace_store.anatomy.database_file import assert_no_client
from palace_store.anatomy.findings import KINDS, AnatomyError, Finding, Severity
from palace_store.anatomy.hnsw_files import Segment, read_segment
from palace_store.anatomy.hnsw_header import Header
from palace_store.anatomy.palace import Survey, survey
from palace_store.anatomy.records import Collection, LogRecord, Tables, Watermark, decode_seq_id
from palace_store.anatomy.safe_pickle import PickledIndex, parse_index_pickle, read_index_pickle
from palace_store.anatomy.sqlite_tables import read_tables

__all__ = [
    "KINDS",
    "AnatomyError",
    "Collection",
    "CollectionSurvey",
    "Finding",
    "Header",
    "LogRecord",
    "PickledIndex",
    "Segment",
    "Severity",
    "Survey",
    "Tables",
    "Vectors",
    "Watermark",
    "assert_no_client",
    "decode_seq_id",
    "parse_index_pickle",
    "read_index_pickle",
    "read_segment",
    "read_tables",
    "survey",
]
