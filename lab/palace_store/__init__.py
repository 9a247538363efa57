"""The thin fixed memory store: drawers in chromadb, triples in SQLite, every fix switchable."""

__version__ = "0.1.0"
