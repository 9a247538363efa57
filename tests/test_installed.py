"""What a long-lived process sees of an installer at work, on packages made for it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from palace_store.installed import Package, Watched, watch

pytestmark = pytest.mark.s0


class Installed:
    """A site directory with one package in it."""

    def __init__(self, site: Path) -> None:
        self.site = site
        self.place = site / "some_store"
        self.install("1.0")

    def install(self, version: str, *, record: str = "sha256=abc") -> None:
        self.place.mkdir(parents=True, exist_ok=True)
        (self.place / "__init__.py").write_text(f'__version__ = "{version}"\n')
        info = self.info(version)
        info.mkdir(exist_ok=True)
        (info / "RECORD").write_text(f"some_store/__init__.py,{record},20\nother/x.py,sha256=1,2\n")

    def info(self, version: str, spelled: str = "some_store") -> Path:
        return self.site / f"{spelled}-{version}.dist-info"

    def watch(self, *, source: bool = False) -> Watched:
        return Watched(Package("some-store", "1.0", self.place, source=source))


@pytest.fixture
def installed(tmp_path: Path) -> Installed:
    return Installed(tmp_path / "site-packages")


def test_nothing_has_happened(installed: Installed) -> None:
    look = installed.watch(source=True).look()
    assert not look.stale
    assert look.words() == "some-store 1.0"


@pytest.mark.parametrize("version", ["2.0", "0.9"])
def test_another_version_is_seen_in_both_directions(installed: Installed, version: str) -> None:
    watched = installed.watch()
    shutil.rmtree(installed.info("1.0"))
    installed.install(version)
    look = watched.look()
    assert look.stale
    assert (look.running, look.installed, look.trouble) == ("1.0", version, "")
    assert look.words() == f"some-store {version}"


def test_while_it_is_missing_nobody_can_say(installed: Installed) -> None:
    watched = installed.watch()
    shutil.rmtree(installed.info("1.0"))
    assert watched.look().trouble == "is missing"
    installed.install("1.0")
    assert not watched.look().stale
    shutil.rmtree(installed.place)
    assert watched.look().trouble == "is missing"
    shutil.rmtree(installed.site)
    assert watched.look().trouble.startswith("cannot be read")


def test_while_it_is_there_twice_nobody_can_say(installed: Installed) -> None:
    watched = installed.watch()
    installed.info("2.0", "Some.Store").mkdir()
    look = watched.look()
    assert look.stale
    assert look.words() == "some-store is installed twice (1.0, 2.0)"


def test_a_neighbour_with_a_longer_name_is_somebody_else(installed: Installed) -> None:
    watched = installed.watch()
    installed.info("7.0", "some_store_extras").mkdir()
    installed.info("7.0", "another_some_store").mkdir()
    assert not watched.look().stale


def test_other_code_under_one_number_is_seen_in_the_record(installed: Installed) -> None:
    watched = installed.watch()
    installed.install("1.0", record="sha256=other")
    look = watched.look()
    assert look.stale
    assert look.changed
    assert look.words() == "some-store 1.0, with other code"


def test_the_same_code_by_another_installer_is_the_same(installed: Installed) -> None:
    watched = installed.watch()
    record = installed.info("1.0") / "RECORD"
    more = (
        "some_store/__pycache__/__init__.cpython-311.pyc,,\nsome_store-1.0.dist-info/INSTALLER,,\n"
    )
    record.write_text(more + record.read_text())
    assert not watched.look().stale


def test_edited_source_is_seen_and_touched_source_is_not(installed: Installed) -> None:
    shutil.rmtree(installed.info("1.0"))  # an editable install: no dist-info beside the code
    part = installed.place / "part"
    part.mkdir()
    module = part / "module.py"
    module.write_text("x = 1\n")
    watched = installed.watch(source=True)
    os.utime(module)
    assert not watched.look().stale
    before = module.stat()
    module.write_text("x = 2\n")
    os.utime(module, ns=(before.st_atime_ns, before.st_mtime_ns))  # as a tool may that keeps times
    assert watched.look().changed
    module.write_text("x = 1\n")
    assert not watched.look().stale
    (part / "new.py").write_text("")
    assert watched.look().changed


def test_a_source_that_says_another_version_is_seen(installed: Installed) -> None:
    shutil.rmtree(installed.info("1.0"))
    watched = installed.watch(source=True)
    (installed.place / "__init__.py").write_text('__version__: str = "1.1"\n')
    assert watched.look().installed == "1.1"


def test_a_server_that_starts_while_an_installer_is_at_work_is_stale(installed: Installed) -> None:
    shutil.rmtree(installed.info("1.0"))
    installed.install("2.0")  # after 1.0 was imported, before anybody looked
    assert installed.watch().look().stale
    shutil.rmtree(installed.site)
    assert installed.watch().look().stale


def test_a_version_that_the_code_does_not_say_is_the_one_it_was_installed_as(
    installed: Installed,
) -> None:
    installed.info("1.0").rename(installed.info("1.0+local1"))
    watched = installed.watch()
    look = watched.look()
    assert not look.stale
    assert (look.running, look.installed) == ("1.0+local1", "1.0+local1")
    for other in ("1.0", "1.0+local2", "2.0"):
        (now,) = installed.site.glob("*.dist-info")
        now.rename(installed.info(other))
        look = watched.look()
        assert look.stale
        assert (look.running, look.installed) == ("1.0+local1", other)


def test_what_is_replaced_while_it_is_imported_is_stale(installed: Installed) -> None:
    watched = Watched(Package("some-store", "", installed.place))  # before it is imported
    watched.imported("1.0")
    assert not watched.look().stale
    installed.info("1.0").rename(installed.info("1.0+local1"))
    assert watched.look().stale


def test_of_what_was_there_twice_before_the_code_says_what_was_imported(
    installed: Installed,
) -> None:
    installed.info("2.0").mkdir()
    watched = Watched(Package("some-store", "", installed.place))
    watched.imported("1.0")
    assert watched.look().words() == "some-store is installed twice (1.0, 2.0)"
    shutil.rmtree(installed.info("1.0"))
    look = watched.look()
    assert look.stale
    assert (look.running, look.installed) == ("1.0", "2.0")


def test_a_package_is_watched_from_where_it_will_be_imported() -> None:
    look = watch("numpy").look()
    assert not look.stale
    assert look.running == __import__("numpy").__version__
    with pytest.raises(ModuleNotFoundError, match="nobody_has_this"):
        watch("nobody_has_this")


@pytest.mark.parametrize("name", ["numpy", "packaging"])
def test_real_packages_are_found_as_they_are(name: str) -> None:
    module = __import__(name)
    place = Path(module.__file__ or "").parent
    look = Watched(Package(name, module.__version__, place)).look()
    assert not look.stale, look
    assert str(place).startswith(sys.prefix)
