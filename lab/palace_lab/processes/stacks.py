"""What a stuck process is doing, seen from outside.

Rules: looking never stops or changes the process (it may be traced, or stopped by the nemesis), and
is bounded in time; what cannot be had is said in the text.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

#: py-spy reads the symbols of the interpreter first, which takes a second or two when cold.
_PY_SPY_S = 20.0
_THREADS_SHOWN = 40


def stack_of(pid: int) -> str:
    """Return the Python stacks of every thread and the kernel's view of them."""
    return f"{_python_stacks(pid)}\n{_kernel_view(pid)}"


def _python_stacks(pid: int) -> str:
    beside = Path(sys.executable).with_name("py-spy")
    program = str(beside) if beside.exists() else shutil.which("py-spy")
    if program is None:
        return "(no Python stack: py-spy is not installed beside the lab)"
    try:
        done = subprocess.run(
            [program, "dump", "--nonblocking", "--pid", str(pid)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PY_SPY_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"(no Python stack: {error})"
    if done.returncode:
        return f"(no Python stack: py-spy said: {done.stderr.strip() or done.stdout.strip()})"
    return done.stdout.strip()


def _kernel_view(pid: int) -> str:
    lines = []
    try:
        tasks = sorted(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return f"(process {pid} has ended)"
    for task in tasks[:_THREADS_SHOWN]:
        try:
            name = (task / "comm").read_text().strip()
            state = (task / "stat").read_text().rpartition(")")[2].split()[0]
            place = (task / "wchan").read_text().strip()
        except OSError:
            continue  # that thread has ended
        lines.append(f"thread {task.name} {name}: state {state}, in kernel at {place or '-'}")
    if len(tasks) > _THREADS_SHOWN:
        lines.append(f"and {len(tasks) - _THREADS_SHOWN} more threads")
    return "\n".join(lines)
