"""Run the lab on a machine that has only Python and pip: `python3 lab/bootstrap.py run`.

What it does, once: pip puts uv into `.palace-lab/tools` of this checkout (`--target`, which an
externally managed Python allows as well), uv makes a virtual environment from the committed lock
and installs this checkout into it, and `.palace-lab/venv` points there. Every later call only
compares a key over lock, project file and Python, and starts the lab in place of itself, so that
exit code and signals are the lab's own. Nothing outside the checkout is changed but caches.

Rules. Standard library only, and only modules of the lab that keep to it as well. Two calls at
once install once. News go to standard error.
"""

import hashlib
import os
import platform
import re
import shlex
import shutil
import sys
import time
from pathlib import Path

# This file says so itself because the rest of it cannot even be read by an older Python.
if sys.version_info < (3, 10):  # noqa: UP036 - told to whoever runs it with an older one
    sys.stderr.write(
        f"palace-lab: this is Python {platform.python_version()} ({sys.executable}); the lab "
        "needs 3.10 or later, so call lab/bootstrap.py with a newer one\n"
    )
    sys.exit(7)

LAB = Path(__file__).resolve().parent
CLONE = LAB.parent
if str(LAB) not in sys.path:
    sys.path.insert(0, str(LAB))

from palace_lab.called import VARIABLE  # noqa: E402 - see the check above
from palace_lab.errors import ExitCode, LabError, RefusedError  # noqa: E402 - see the check above
from palace_lab.provision import buildonce, indexes, uvtool  # noqa: E402 - see the check above

PRIVATE = CLONE / ".palace-lab"
LOCK = LAB / "palace_lab" / "environments" / "locks" / "lab.txt"
PROJECT = CLONE / "pyproject.toml"

LOOK_SECONDS_MAX = 60.0
INSTALL_SECONDS_MAX = 1800.0
PYTHON_END = (3, 14)

#: One more than there are processors: tests wait a fifth of their time. What is given wins.
TEST_WORDS = (*f"-n {(os.cpu_count() or 1) + 1} --dist worksteal --palace-trials 1".split(),)
RELEASE_WORDS = ("--palace-release", "0.6.3", "--palace-release", "1.5.9")  # where nothing is given

USAGE = """\
usage: python3 lab/bootstrap.py test [PYTEST ARGUMENT]...   the lab's tests, by pytest
       python3 lab/bootstrap.py WORD [ARGUMENT]...          palace-lab WORD, for example:
           run             the scenarios, on the releases a pull request is judged by
           envs list       the releases under test and what is built of them
           --version, or WORD --help for any other

The first call installs what the lab needs into .palace-lab of this checkout; that takes a
minute or so. Later calls start at once."""


def main(words: list[str]) -> int:
    """Install what is missing and become the lab; return an exit code only when that failed."""
    if not words or words[0] in {"-h", "--help"}:
        print(USAGE)
        return ExitCode.PROMISED
    try:
        command = prepare(words)
        if words[0] == "test":
            os.chdir(CLONE)
        else:
            os.environ[VARIABLE] = as_typed()
        sys.stdout.flush()
        os.execv(command[0], command)  # noqa: S606 - a program and its words, no shell meant
    except KeyboardInterrupt:
        say("interrupted")
        return ExitCode.INTERRUPTED
    except LabError as error:
        say(str(error))
        return error.exit_code
    except OSError as error:
        say(str(uvtool.refuse_os_error(error, PRIVATE)))
        return ExitCode.REFUSED


def prepare(words: list[str]) -> list[str]:
    """Return the command that runs the words inside the lab's environment, which it makes."""
    if sys.version_info[:2] >= PYTHON_END:
        raise RefusedError(
            f"this is Python {platform.python_version()} ({sys.executable}); the lab needs one "
            "from 3.10 to 3.13, so call lab/bootstrap.py with such a one"
        )
    environment = PRIVATE / "venvs" / environment_key()
    held = buildonce.provide(
        environment,
        lambda lock: install_lab(environment, lock),
        is_sound=has_python,
        waiting=say,
    )
    if held is not None:
        # The lab inherits it through exec: nobody removes the environment while it runs.
        os.set_inheritable(held, True)
    point_to(environment)
    if words[0] == "test":
        given = words[1:] or RELEASE_WORDS
        return [str(environment / "bin" / "python"), "-m", "pytest", *TEST_WORDS, *given]
    return [str(environment / "bin" / "palace-lab"), *words]


def as_typed() -> str:
    """Return what to type to call the lab again the way this was called."""
    found = shutil.which("python3")
    usual = found is not None and Path(found).samefile(sys.executable)
    return shlex.join(["python3" if usual else sys.executable, sys.argv[0]])


def environment_key() -> str:
    """Return the key over all that decides what the environment contains, its place included."""
    digest = hashlib.sha256()
    for part in (
        read(LOCK),
        read(PROJECT),
        platform.python_version().encode(),
        os.fsencode(os.path.realpath(sys.executable)),
        os.fsencode(CLONE),
    ):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:12]


def install_lab(environment: Path, lock: int) -> str:
    """Make the environment from the lock and put this checkout into it."""
    begun = time.monotonic()
    say(f"first run with this Python and lock: installing the lab into {environment}")
    uv = install_uv()
    python = str(environment / "bin" / "python")
    wheels = ["pip", "install", "--python", python, "--no-deps", "--only-binary", ":all:"]
    # The build tools are in the lock too, so the build needs neither isolation nor network.
    checkout = ["pip", "install", "--python", python, "--no-deps", "--no-build-isolation"]
    for doing, arguments in (
        (
            "creating the lab's environment",
            ["venv", "--no-project", "--python", sys.executable, str(environment)],
        ),
        ("installing the lab's packages", [*wheels, "-r", str(LOCK)]),
        ("installing this checkout", [*checkout, "--editable", str(CLONE)]),
    ):
        uv.run(
            arguments,
            doing=doing,
            into=environment,
            seconds_max=INSTALL_SECONDS_MAX,
            progress=say,
            keep_open=(lock,),
        )
    for other in environment.parent.iterdir():
        if other.is_dir() and other != environment:
            buildonce.discard(other, unless=lambda: False)
    say(f"installed after {time.monotonic() - begun:.1f} s")
    return "the lab's environment\n"


def install_uv() -> uvtool.Uv:
    """Return uv in the version of the lock, which pip installs beside this checkout once."""
    pinned = re.search(r"^uv==([\w.]+)", read(LOCK).decode(), re.MULTILINE)
    if pinned is None:
        raise RefusedError(f"{LOCK} does not pin uv; restore it with git")
    version = pinned.group(1)
    directory = PRIVATE / "tools" / f"uv-{version}-{platform.machine()}"
    held = buildonce.provide(
        directory,
        lambda lock: install_uv_by_pip(version, directory, lock),
        is_sound=lambda path: (path / "bin" / "uv").exists(),
        waiting=say,
    )
    if held is not None:
        os.close(held)
    environment = {**indexes.uv_environment(os.environ), "UV_PYTHON_DOWNLOADS": "never"}
    return uvtool.Uv(directory / "bin" / "uv", environment)


def install_uv_by_pip(version: str, directory: Path, lock: int) -> str:
    """Let this Python's pip put uv into a directory of its own."""
    # What a user set for installs into a Python would clash with one into a directory.
    clashing = {"PIP_REQUIRE_VIRTUALENV": "0", "PIP_USER": "0", "PIP_ROOT_USER_ACTION": "ignore"}
    environment = {**os.environ, **clashing}
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    try:
        uvtool.run_installer(
            [*pip, "--version"],
            environment=environment,
            doing="looking for pip",
            into=directory,
            seconds_max=LOOK_SECONDS_MAX,
            progress=say,
        )
    except RefusedError as error:
        raise RefusedError(
            f"this Python ({sys.executable}) has no pip that works; on Debian `apt install "
            f"python3-pip` adds it, elsewhere `{sys.executable} -m ensurepip`; then try again"
        ) from error
    uvtool.run_installer(
        [
            *(*pip, "install", "--quiet", "--no-deps", "--only-binary", ":all:"),
            *("--target", str(directory), f"uv=={version}"),
        ],
        environment=environment,
        doing=f"installing uv {version}",
        into=directory,
        seconds_max=INSTALL_SECONDS_MAX,
        progress=say,
        keep_open=(lock,),
    )
    return "uv\n"


def point_to(environment: Path) -> None:
    """Let `.palace-lab/venv` name the environment of the latest call."""
    link = PRIVATE / "venv"
    target = os.path.relpath(environment, link.parent)
    if link.is_symlink() and str(link.readlink()) == target:
        return
    fresh = PRIVATE / f"venv.{os.getpid()}"
    fresh.symlink_to(target)
    fresh.replace(link)


def has_python(environment: Path) -> bool:
    """Tell whether the Python an environment was made from is still installed."""
    return (environment / "bin" / "python").exists()


def read(path: Path) -> bytes:
    """Read a file of the checkout. Raises `RefusedError` when it is not there."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise RefusedError(
            f"{path} is missing; run lab/bootstrap.py from a full checkout, or restore the file"
        ) from error


def say(sentence: str) -> None:
    """Tell the user something on standard error."""
    print(f"palace-lab: {sentence}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
