"""What the workers of test_processes.py and test_tracer.py do; reached by path, as lab code is."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import multiprocess
import numpy as np

import palace_lab
from palace_lab.processes import inside
from palace_lab.processes.wire import Channel

Config = dict[str, Any]


def echo(channel: Channel, config: Config) -> None:
    channel.send({"config": config, "pid": os.getpid()})
    while True:
        message = channel.receive()
        if "stop" in message:
            return
        channel.send({"echo": message})


def end(channel: Channel, config: Config) -> None:
    channel.send({"before": "the end"})
    _ENDS[config["how"]]()


def _segfault() -> None:
    ctypes.string_at(0)


def _raise() -> None:
    raise RuntimeError("the shelf is empty")


def _allocate() -> None:
    _KEPT.extend(bytearray(16 * 1024 * 1024) for _ in range(1000))


def _spin() -> None:
    while True:
        pass


_KEPT: list[bytearray] = []
_ENDS: dict[str, Callable[[], object]] = {
    "return": lambda: None,
    "exit 3": lambda: sys.exit(3),
    "exit text": lambda: sys.exit("no shelf"),
    "raise": _raise,
    "SIGSEGV": _segfault,
    "SIGABRT": os.abort,
    "SIGINT": lambda: os.kill(os.getpid(), signal.SIGINT),
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "allocate": _allocate,
    "spin": _spin,
}


def stuck_in_the_cellar(channel: Channel, _config: Config) -> None:
    channel.send({"ready": True})
    channel.receive()


def surroundings(channel: Channel, _config: Config) -> None:
    print("to the log")
    channel.send(
        {
            "prefix": sys.prefix,
            "hash": hash("shelf"),
            "path": sys.path,
            "numpy": np.__file__,
            "multiprocess": multiprocess.__file__,
            "palace_lab": palace_lab.__file__,
            "inside": inside.__file__,
            "environ": dict(os.environ),
            "cwd": str(Path.cwd()),
            "faulthandler": faulthandler.is_enabled(),
            "stdin": os.read(0, 1).decode(),
            "session_leader": os.getsid(0) == os.getpid(),
            "core": resource.getrlimit(resource.RLIMIT_CORE),
            "sockets": sorted(
                place.name for place in Path("/proc/self/fd").iterdir() if _is_socket(place)
            ),
            "channel": str(channel.fileno()),
            "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        }
    )


def _is_socket(place: Path) -> bool:
    try:
        return str(place.readlink()).startswith("socket:")
    except OSError:
        return False


def large_file(channel: Channel, config: Config) -> None:
    with Path(config["path"]).open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1000))
        except OSError as error:
            channel.send({"errno": error.errno})


def leave_daemons(channel: Channel, config: Config) -> None:
    """Leave a child, and a grandchild in a session of its own whose parent has ended."""
    command = [sys.executable, "-I", "-c", "import time; time.sleep(600)"]
    child = subprocess.Popen(command)
    daemonize = (
        "import subprocess, sys;"
        "print(subprocess.Popen(sys.argv[1:], start_new_session=True, env={},"
        " stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", daemonize, *command],
        check=True,
        capture_output=True,
        text=True,
    )
    channel.send({"pids": [child.pid, int(done.stdout)]})
    if config.get("stay"):
        channel.receive()


def append(channel: Channel, config: Config) -> None:
    """Append single bytes to one file from several threads, and children if asked."""

    def work() -> None:
        for _ in range(config["each"]):
            os.write(fd, b"x")

    fd = os.open(config["path"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    child = os.fork() if config.get("child") else None
    threads = [threading.Thread(target=work) for _ in range(config["threads"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if child == 0:
        os._exit(0)
    if child is not None:
        os.waitpid(child, 0)
    channel.send({"done": True})


def append_on_demand(channel: Channel, config: Config) -> None:
    """Append one byte for each message, in a thread of its own; say how that went."""
    fd = os.open(config["path"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def work(number: int) -> None:
        try:
            os.write(fd, b"x")
        except OSError as error:
            channel.send({"number": number, "errno": error.errno})
        else:
            channel.send({"number": number, "errno": 0})

    while "number" in (message := channel.receive()):
        threading.Thread(target=work, args=(message["number"],)).start()


def every_call(channel: Channel, config: Config) -> None:
    """Make each supported system call once on files of a directory, then some that do not count."""
    os.chdir(config["path"])
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open("a", os.O_RDWR | os.O_CREAT)  # openat
    os.write(fd, b"12345")
    os.writev(fd, [b"123", b"4567"])
    os.pwrite(fd, b"12", 0)
    os.pwritev(fd, [b"1", b"23"], 0)
    os.ftruncate(fd, 4)
    os.truncate("a", 3)
    os.fsync(fd)
    os.fdatasync(fd)
    os.close(fd)
    directory = os.open(".", os.O_RDONLY)
    Path("a").rename("b")
    os.rename("b", "c", src_dir_fd=directory, dst_dir_fd=directory)
    libc.renameat2(directory, b"c", directory, b"sub/../d", 0)
    Path("d").unlink()
    os.close(os.open("e", os.O_RDWR | os.O_CREAT, dir_fd=directory))
    os.unlink("e", dir_fd=directory)
    read, write = os.pipe()
    os.write(write, b"x")
    one, other = socket.socketpair()
    one.send(b"x")
    other.close()
    os.close(read)
    gone = os.open("gone", os.O_RDWR | os.O_CREAT)
    Path("gone").unlink()
    os.write(gone, b"xyz")
    channel.send({"done": True})


def run_program(channel: Channel, config: Config) -> None:
    """Write from a program started as a child, then become a program that writes."""
    code = "import os, sys; os.write(os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND), b'x')"
    Path(config["path"]).touch()
    command = [sys.executable, "-I", "-S", "-c", code, config["path"]]
    done = subprocess.run(command, check=False)
    channel.send({"child": done.returncode})
    if config.get("thread"):
        thread = threading.Thread(target=os.execv, args=(sys.executable, command))
        thread.start()
        thread.join()
    os.execv(sys.executable, command)  # noqa: S606 - becoming another program is the case


def count_signals(channel: Channel, config: Config) -> None:
    """Count SIGUSR1 while writing; say the count for each message, once it is what is expected.

    Python runs a handler when it next comes to it, which may be after it has read a message that
    was sent later than the signal (traced or not: 1 in 50 on a busy machine, 3.11).
    """
    seen = []
    signal.signal(signal.SIGUSR1, lambda number, _frame: seen.append(number))
    fd = os.open(config["path"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    channel.send({"ready": True})
    while True:
        expected = channel.receive()["count"]
        os.write(fd, b"x")
        deadline = time.monotonic() + 5
        while len(seen) < expected and time.monotonic() < deadline:
            time.sleep(0.001)
        channel.send({"seen": len(seen)})
