"""Keeping the memories of a machine and a remote alike, while both are used (S4).

    engine = SyncEngine(store, "http://remote.example", key="...")
    engine.start()  # a thread: everything now, then what is new
    answer = engine.recall("key mat")  # within RECALL_TIMEOUT_S; answer.complete, answer.note
    engine.delete(answer.memories[0].id)  # also one that only the remote has
    engine.status()  # state, counts, what was parked and why
    engine.stop()

What the remote has to answer is in `remote`.
"""

from palace_store.sync.engine import INTERVAL_S, SyncEngine
from palace_store.sync.recall import RECALL_TIMEOUT_S, Recall
from palace_store.sync.remote import RemoteError
from palace_store.sync.report import Parked, Round, Status

__all__ = [
    "INTERVAL_S",
    "RECALL_TIMEOUT_S",
    "Parked",
    "Recall",
    "RemoteError",
    "Round",
    "Status",
    "SyncEngine",
]
