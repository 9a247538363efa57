"""Programs that die while they write to a palace, for a child of a test."""

#: Leaves a rollback journal beside the database it is given.
HOT_JOURNAL = """
import os, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA cache_size = 1")
db.execute("BEGIN IMMEDIATE")
db.execute("DELETE FROM embeddings")
db.execute("CREATE TABLE ballast (a)")
db.executemany("INSERT INTO ballast VALUES (?)", [(bytes(4000),)] * 200)
os._exit(0)
"""
