"""Memories of one machine: words kept in one SQLite file that server, threads and sync share (S4).

    store = LocalStore(palace)
    memory = store.store("the key is under the mat", namespace="home")
    store.recall("key mat")  # -> [memory]
    store.delete(memory.id)  # -> True
    store.count()  # -> 0

`palace_store.sync` keeps such a store and a remote one alike.
"""

from palace_store.local.memory import BadMemoryError, Memory
from palace_store.local.schema import MemoryFileError
from palace_store.local.store import LocalStore

__all__ = ["BadMemoryError", "LocalStore", "Memory", "MemoryFileError"]
