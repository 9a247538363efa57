"""What trials install while they run, fetched ahead, so that a night needs no network afterwards.

An environment of chromadb brings most of it into uv's cache. What it does not bring: what builds a
wheel of the library under test, which a server's own environment gets, and mcp-proxy. Both are made
once, and thrown away: uv keeps what it fetched. What pip installs it asks an index for every time.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import palace_store
from palace_lab.environments.private import build_library
from palace_lab.environments.proxy import provide_proxy
from palace_lab.provision.uvtool import Progress


def fetch_supplies(base: Path, progress: Progress) -> None:
    """Let uv fetch what trials install beside chromadb; `base` is the interpreter it is made with.

    Raises `RefusedError` if that cannot be had.
    """
    progress("fetching what trials install beside chromadb")
    with tempfile.TemporaryDirectory(prefix="palace-lab-supplies-") as scratch:
        build_library(palace_store.__version__, Path(scratch))
        provide_proxy(base, Path(scratch) / "proxy")
