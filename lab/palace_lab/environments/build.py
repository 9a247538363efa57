"""Building an environment: once, in place, under a lock, and never touched again.

Rules. The directory's name carries a key over everything that decides its content: the bytes of
the lock, the full Python version, the processor, and what a library beside the lab asks for. A
virtual environment cannot be moved, so it is built where it will stay (`buildonce`). Nothing is
compiled and nothing that is not in the lock is installed, but for such a library (`beside`).
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from palace_lab.called import called
from palace_lab.environments import catalog
from palace_lab.environments.beside import Beside, digest_of, installed_beside
from palace_lab.environments.interpreters import Interpreter, find_interpreter, find_uv
from palace_lab.errors import RefusedError
from palace_lab.provision import buildonce
from palace_lab.provision.uvtool import Progress, refuse_os_error, silent

#: A first install over a slow line on a small machine; a second one takes seconds.
INSTALL_SECONDS_MAX = 1800.0
VENV_SECONDS_MAX = 120.0
VERIFY_SECONDS_MAX = 180.0

_KEY_LENGTH = 12
_COMPLAINT_CHARACTERS_MAX = 300
_BLOCK_BYTES = 512  # the unit of st_blocks

#: Environments this process uses, by the descriptor that holds their shared lock.
_held: dict[Path, int | None] = {}


@dataclass(frozen=True)
class Environment:
    """A finished environment. `name` is that of its directory, `python` its interpreter."""

    name: str
    release: str
    python: Path
    python_version: str
    directory: Path
    key: str
    beside: Beside | None = None


def environments_home(home: Path | None = None) -> Path:
    """Return the directory environments are in, below `home`, PALACE_LAB_HOME or the cache."""
    return catalog.lab_home(home) / "environments"


def ensure(
    release: str,
    *,
    home: Path | None = None,
    progress: Progress = silent,
    offline: bool = False,
) -> Environment:
    """Return the environment of a release, building it first where it is not there yet.

    `progress` is given plain sentences, at least every 30 s while something takes long. Until
    this process ends, or `release_hold` is called, `prune` leaves the environment alone. Raises
    `UsageError` for an unknown release and `RefusedError` when this machine cannot provide it.
    """
    release = catalog.resolve_release(release)
    interpreter = find_interpreter(
        catalog.python_bound(release),
        wanted_by=f"chromadb {release}",
        progress=progress,
        offline=offline,
    )
    environment = _describe(release, interpreter, environments_home(home))
    directory = environment.directory
    if directory in _held and buildonce.is_complete(directory) and has_python(directory):
        return environment
    release_hold(environment)
    try:
        _held[directory] = buildonce.provide(
            directory,
            lambda lock: _build(environment, interpreter, lock, progress, offline=offline),
            is_sound=has_python,
            waiting=progress,
        )
    except OSError as error:
        raise refuse_os_error(error, directory) from error
    return environment


def release_hold(environment: Environment) -> None:
    """Tell that this process no longer uses the environment, so that `prune` may remove it."""
    descriptor = _held.pop(environment.directory, None)
    if descriptor is not None:
        os.close(descriptor)


def environment_key(lock: bytes, python_version: str, machine: str, beside: str = "") -> str:
    """Return the key over everything that decides what an environment contains.

    `beside` is the digest of what is installed for a library beside the lab, "" for nothing.
    """
    parts = (lock, python_version.encode(), machine.encode(), *filter(None, [beside.encode()]))
    text = b"\0".join(parts)
    return hashlib.sha256(text).hexdigest()[:_KEY_LENGTH]


def has_python(directory: Path) -> bool:
    """Tell whether the interpreter an environment was made from is still installed."""
    return (directory / "bin" / "python").exists()


def disk_bytes(directory: Path, *, unshared_only: bool = False) -> int:
    """Return the space of a tree on disk; uv's cache shares most files, by hard links."""
    total = 0
    for parent, _, names in os.walk(directory):
        for name in names:
            status = Path(parent, name).lstat()
            if not unshared_only or status.st_nlink == 1:
                total += status.st_blocks * _BLOCK_BYTES
    return total


def _describe(release: str, interpreter: Interpreter, parent: Path) -> Environment:
    lock = catalog.lock_path(release).read_bytes()
    beside = installed_beside()
    key = environment_key(lock, interpreter.version, interpreter.machine, digest_of(beside))
    name = f"chroma-{release}-py{interpreter.minor}-{key}"
    return Environment(
        name=name,
        release=release,
        python=parent / name / "bin" / "python",
        python_version=interpreter.version,
        directory=parent / name,
        key=key,
        beside=beside,
    )


def _build(
    environment: Environment,
    interpreter: Interpreter,
    lock: int,
    progress: Progress,
    *,
    offline: bool,
) -> str:
    """Build the environment in its directory and return what its mark tells about it."""
    begun = time.monotonic()
    uv = find_uv()
    title = f"chromadb {environment.release}"
    common = ["--offline"] if offline else []
    progress(f"{title}: building an environment with Python {environment.python_version}")
    uv.run(
        [
            *("venv", "--no-project", "--no-python-downloads", *common),
            *("--python", str(interpreter.path), "--prompt", environment.name),
            str(environment.directory),
        ],
        doing=f"{title}: creating the environment",
        into=environment.directory,
        seconds_max=VENV_SECONDS_MAX,
        progress=progress,
        keep_open=(lock,),
    )

    def install(requirements: Path, *how: str, doing: str) -> None:
        uv.run(
            [
                *("pip", "install", *how, *common),
                *("--python", str(environment.python), "-r", str(requirements)),
            ],
            doing=doing,
            into=environment.directory,
            seconds_max=INSTALL_SECONDS_MAX,
            progress=progress,
            # Should we be killed, uv goes on for a while: the lock must hold until it ends too.
            keep_open=(lock,),
        )

    pinned = catalog.lock_path(environment.release)
    only_wheels = ("--no-deps", "--only-binary", ":all:")
    install(pinned, *only_wheels, doing=f"{title}: installing its packages")
    if beside := environment.beside:
        said = f"{title}: installing what {beside.path} asks for"
        at = ("--directory", str(beside.path.parent))  # what paths of projects are relative to
        install(beside.path, *at, "--constraint", str(pinned), doing=said)
    progress(f"{title}: checking that it can be imported")
    _verify(environment)
    progress(f"{title}: ready after {time.monotonic() - begun:.1f} s")
    facts = {
        "release": environment.release,
        "python_version": environment.python_version,
        "machine": interpreter.machine,
        "key": environment.key,
        "beside": digest_of(environment.beside),
        "disk_bytes": disk_bytes(environment.directory),
    }
    return json.dumps(facts, indent=1)


def _verify(environment: Environment) -> None:
    # The rest of the workers' imports are there so that their bytecode is compiled now, once.
    program = "import chromadb, dill, multiprocess, numpy; print(chromadb.__version__)"
    try:
        # onnxruntime leaves a file in the directory for temporary files.
        with tempfile.TemporaryDirectory(prefix="palace-lab-") as scratch:
            result = subprocess.run(
                [str(environment.python), "-I", "-c", program],
                env={**os.environ, "TMPDIR": scratch},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=VERIFY_SECONDS_MAX,
                cwd=environment.directory,
            )
    except subprocess.TimeoutExpired:
        cause = f"no answer within {VERIFY_SECONDS_MAX:.0f} s"
    else:
        if result.returncode == 0 and result.stdout.split()[-1:] == [environment.release]:
            return
        lines = [line for line in (result.stdout + result.stderr).splitlines() if line.strip()]
        last = lines[-1].strip() if lines else "nothing"
        cause = f"exit {result.returncode}, {last[:_COMPLAINT_CHARACTERS_MAX]}"
    raise RefusedError(
        f"chromadb {environment.release} was installed but does not answer with its version on "
        f"Python {environment.python_version} ({cause}); the environment was removed: make its "
        f"lock again with `{called()} envs lock {environment.release}`"
    )
