"""What a quarantine meets where it may not rename: root's privileges given up, or a mount point."""

from __future__ import annotations

import ctypes
import logging
import sys

from palace_store.errors import PalaceError
from palace_store.quarantine import quarantine_stale_hnsw

_VERSION_3 = 0x20080522  # of capset's structures: two sets of three words


def drop_privileges() -> None:
    """Make this process heed permissions, also as root; nobody else is concerned."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    if libc.capset(header, (ctypes.c_uint32 * 6)()) != 0:
        raise OSError(ctypes.get_errno(), "capset")


if __name__ == "__main__":
    logging.basicConfig()
    if "--powerless" in sys.argv:
        drop_privileges()
    if "--wait" in sys.argv:
        print("ready", flush=True)
        sys.stdin.readline()
    try:
        print(quarantine_stale_hnsw(sys.argv[1]))
    except PalaceError as refusal:
        print(type(refusal).__name__, refusal.effect, refusal)
