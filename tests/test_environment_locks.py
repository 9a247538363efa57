"""Locks: names of releases, what a lock may say, and that it needs no compiler."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from palace_lab.environments import catalog, interpreters, locking
from palace_lab.errors import RefusedError, UsageError
from palace_lab.provision.uvtool import Uv

LOCK_FILES = sorted(catalog.LOCKS.glob("*.txt"))
ROOT = Path(__file__).parents[1]


# Names of releases


@pytest.mark.parametrize("text", ["1.5.9", "v1.5.9", "chroma-1.5.9", "chromadb==1.5.9", " 1.5.9 "])
def test_a_release_is_read_as_people_write_it(text: str) -> None:
    assert catalog.resolve_release(text) == "1.5.9"


def test_an_unknown_release_names_the_nearest_known() -> None:
    with pytest.raises(UsageError) as raised:
        catalog.resolve_release("1.5.3")
    assert str(raised.value) == (
        "there is no chromadb 1.5.3 here; nearest releases with a lock: 1.5.5, 1.5.7; "
        "`palace-lab envs list` shows all"
    )


@given(st.text(max_size=12))
def test_any_text_is_a_known_release_or_a_usage_error(text: str) -> None:
    try:
        answer = catalog.resolve_release(text)
    except UsageError as error:
        answer = str(error)
    assert answer in catalog.known_releases() or "`palace-lab envs list` shows all" in answer


@given(st.tuples(st.integers(0, 3), st.integers(0, 30), st.integers(0, 30)))
def test_nearest_releases_are_the_nearest(numbers: tuple[int, int, int]) -> None:
    wanted = Version(".".join(map(str, numbers)))
    known = catalog.known_releases()
    chosen = catalog.nearest(wanted, known)
    assert len(chosen) == 2
    farthest_chosen = max(abs(catalog._rank(Version(r)) - catalog._rank(wanted)) for r in chosen)
    for release in set(known) - set(chosen):
        assert abs(catalog._rank(Version(release)) - catalog._rank(wanted)) >= farthest_chosen


def test_the_quick_releases_are_known() -> None:
    assert set(catalog.QUICK_RELEASES) <= set(catalog.known_releases())


@pytest.mark.parametrize(
    ("release", "bound"),
    [("0.4.24", ">=3.10,<3.12"), ("0.6.3", ">=3.10,<3.13"), ("1.0.0", ">=3.10,<3.14")],
)
def test_python_bounds(release: str, bound: str) -> None:
    assert catalog.python_bound(release) == bound


# Locks


def pins(lock: Path) -> list[Requirement]:
    lines = lock.read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if not line.startswith("#")]


def pins_on(lock: Path, python: str, machine: str = "x86_64") -> list[Requirement]:
    marks = {
        "python_full_version": python + ".0",
        "python_version": python,
        "platform_machine": machine,
        "sys_platform": "linux",
        "os_name": "posix",
        "platform_system": "Linux",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
    }
    return [pin for pin in pins(lock) if pin.marker is None or pin.marker.evaluate(marks)]


@pytest.mark.parametrize("lock", LOCK_FILES, ids=lambda lock: lock.stem)
def test_a_lock_pins_every_package_once_and_names_no_place(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert not re.search(r"://|@|--hash|file:|/tmp|/home|/root", text)
    assert "palace-lab envs lock" in text
    for python in locking.minors(locking.LAB_BOUND):
        for machine in ("x86_64", "aarch64"):
            chosen = pins_on(lock, python, machine)
            assert not [name for name, n in Counter(pin.name for pin in chosen).items() if n > 1]
            assert all(re.fullmatch(r"==[\w.+!]+", str(pin.specifier)) for pin in chosen)


@pytest.mark.parametrize("release", catalog.known_releases())
def test_a_lock_holds_its_release_and_what_workers_need(release: str) -> None:
    chosen = {pin.name: str(pin.specifier) for pin in pins(catalog.lock_path(release))}
    assert chosen["chromadb"] == f"=={release}"
    for requirement in map(Requirement, catalog.requirements(release)):
        assert requirement.name in chosen
    # Workers of one release are served by the fork server of the lab's own multiprocess.
    of_the_lab = {pin.name: str(pin.specifier) for pin in pins(catalog.LOCKS / "lab.txt")}
    assert chosen["multiprocess"] == of_the_lab["multiprocess"]
    assert chosen["dill"] == of_the_lab["dill"]


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_the_lock_of_the_lab_covers_the_project(python: str) -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    blocks = re.findall(
        r"^(?:dependencies|dev|requires) = \[(.*?)\]$", text, re.MULTILINE | re.DOTALL
    )
    wanted = [Requirement(line) for block in blocks for line in re.findall(r'"([^"]+)"', block)]
    assert len(wanted) > 15
    chosen = {pin.name: pin for pin in pins_on(catalog.LOCKS / "lab.txt", python)}
    for requirement in wanted:
        if requirement.name != "palace-lab":
            version = str(chosen[requirement.name].specifier).removeprefix("==")
            assert requirement.specifier.contains(version), requirement


def test_a_header_gives_inputs_and_command() -> None:
    head = catalog.lock_path("0.6.3").read_text(encoding="utf-8").split("\naio")[0]
    assert "palace-lab envs lock 0.6.3" in head
    assert "uv pip compile --universal --python-version 3.10" in head
    assert "chromadb==0.6.3 multiprocess dill" in head


@pytest.mark.slow
@pytest.mark.parametrize("release", catalog.QUICK_RELEASES)
def test_a_lock_needs_no_compiler_on_a_raspberry_pi(release: str) -> None:
    newest = interpreters.newest_minor(catalog.python_bound(release))
    locking.check_wheels(
        catalog.lock_path(release),
        f"=={newest}.*",
        title=release,
        platforms=("aarch64-manylinux_2_28",),
    )


@pytest.mark.slow
def test_a_missing_wheel_is_refused_by_name() -> None:
    with pytest.raises(RefusedError, match=r"chroma-hnswlib==0\.7\.6 has no wheel"):
        locking.check_wheels(catalog.lock_path("0.6.3"), "==3.13.*", title="chromadb 0.6.3")


def test_the_bound_of_the_lab_is_that_of_the_project() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'requires-python = "{locking.LAB_BOUND}"' in text
    assert list(locking.minors(locking.LAB_BOUND)) == ["3.10", "3.11", "3.12", "3.13"]
    assert SpecifierSet(locking.LAB_BOUND).contains("3.13.9")


def test_a_lock_is_made_again_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed = catalog.lock_path("1.5.9").read_bytes()
    target = tmp_path / "chroma-1.5.9.txt"
    target.write_bytes(committed)
    # uv keeps the pins of the file it is to write, so one that does nothing stands for it.
    monkeypatch.setattr(locking, "find_uv", lambda: Uv(Path("/bin/true"), {}))
    assert locking.make_lock("1.5.9", locks=tmp_path) == target
    assert target.read_bytes() == committed
