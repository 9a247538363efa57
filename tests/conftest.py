"""What all tests share.

Tests marked `nightly` run when they are asked for (`-m nightly`), and are else deselected. No
example of Hypothesis fails for taking long: how long anything takes is the machine's doing.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings

from palace_lab.environments.beside import VARIABLE
from palace_lab.processes.roots import make_import_root
from palace_lab.processes.supervise import Host

sys.path.append(str(Path(__file__).parent / "entries"))
from store_bench import IN_PULL_REQUESTS, Bench, host_of

settings.register_profile("lab", settings(), deadline=None)
settings.load_profile("lab")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    asked = re.search(r"\bnightly\b", config.getoption("markexpr", ""))
    if asked or config.getoption("palace_nightly", default=False):
        return
    left_out = [item for item in items if item.get_closest_marker("nightly")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


@pytest.fixture(autouse=True, scope="session")
def as_nobody_asked() -> Iterator[None]:
    """Let nothing that a test runs go by what this shell says to runs.

    That its annotations are read, or that a library of somebody's own is to be tested.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in ("GITHUB_ACTIONS", "GITHUB_WORKSPACE", VARIABLE):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Host]]:
    """Return what gives the host of a release: importing chromadb takes longer than most tests."""
    started: dict[str, Host] = {}
    with ExitStack() as stack:

        def host_for(release: str) -> Host:
            if release not in started:
                scratch = tmp_path_factory.mktemp("host")
                started[release] = stack.enter_context(host_of(release, scratch))
            return started[release]

        yield host_for


@pytest.fixture(scope="module", params=IN_PULL_REQUESTS)
def bench(
    request: pytest.FixtureRequest,
    hosts: Callable[[str], Host],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Bench]:
    """Return a release's host and a directory, for tests of the store."""
    host = hosts(request.param)
    yield Bench(request.param, host, tmp_path_factory.mktemp("bench"))
    assert host.leaks() == ()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Return a host of this interpreter that has imported what triples need."""
    scratch = tmp_path_factory.mktemp("host")
    preload = ("palace_store.triples", "palace_lab.targets.triples", "palace_lab.targets.worker")
    root = make_import_root(scratch / "root")
    with Host(Path(sys.executable), root, scratch, name="t", preload=preload) as host:
        yield host
        assert host.leaks() == ()
