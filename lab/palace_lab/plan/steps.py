"""The steps a plan is made of: what processes do, in which order, and what harm befalls them.

Rules:
- Order comes from here alone. Steps run one after the other; `Begin` and `Together` are the only
  ones after which two processes work at once.
- A process is launched when it is first named; `Close` ends it in good order, `Kill` does not.
- A fault says what it is in its own words (`Crash`, `Kill`, `Backdate`); the runner records each.
- Times are in seconds before the plan's `time_scale`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from palace_lab.processes.points import CrashPoint

#: Number of a call, counted from 1.
Ordinal = Annotated[int, msgspec.Meta(ge=1)]
#: How far into something: above 0, up to 1.
Share = Annotated[float, msgspec.Meta(gt=0, le=1)]
#: How many, counted from nothing.
Count = Annotated[int, msgspec.Meta(ge=0)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]


class Step(msgspec.Struct, frozen=True, tag_field="step", forbid_unknown_fields=True):
    """Base of all steps."""


class AtCall(Step, frozen=True):
    """Base of those that befall a process at a system call; refuses a call that there is not."""

    process: str
    syscall: str
    pattern: str

    def __post_init__(self) -> None:
        CrashPoint(self.syscall, self.pattern)


class Do(Step, frozen=True, tag="do"):
    """Tell a process to do one operation of its target, and wait until it has answered or died."""

    process: str
    op: str
    args: dict[str, Any] = {}


class Begin(Step, frozen=True, tag="begin"):
    """Tell a process to do one operation, and go on at once; `Finish` waits for its answer."""

    process: str
    op: str
    args: dict[str, Any] = {}


class Paused(Step, frozen=True, tag="paused"):
    """Wait until a process has come to a place its target pauses at, and leave it there.

    A process that answers or dies before it gets there has not paused, and the plan goes on.
    """

    process: str
    where: str


class Go(Step, frozen=True, tag="go"):
    """Let a paused process go on."""

    process: str


class Finish(Step, frozen=True, tag="finish"):
    """Wait for the answer to what `Begin` began."""

    process: str


class Together(Step, frozen=True, tag="together"):
    """Several processes do one operation each, all told at the same moment; waits for all."""

    calls: tuple[Do, ...]


class Alternate(Step, frozen=True, tag="alternate"):
    """Processes write drawers in strict turns, `batch` new ones each turn, `rounds` times round."""

    processes: tuple[str, ...]
    rounds: Ordinal
    batch: Ordinal
    first: Count = 0


class Crash(AtCall, frozen=True, tag="crash"):
    """Kill a process at entry of its k-th matching system call from now on.

    Either `k` says which, or `at` (above 0, up to 1) says how far into the calls that an
    undisturbed run of the same plan makes: the runner records those first and puts `k` in. At most
    one for each process.
    """

    k: Ordinal | None = None
    at: Share | None = None


class Hold(AtCall, frozen=True, tag="hold"):
    """Stop a process at entry of its k-th matching system call from now on, until `Release`."""

    k: Ordinal = 1


class Fail(AtCall, frozen=True, tag="fail"):
    """From its k-th matching system call on, let each of a process fail, as on a full disk.

    The calls are not executed and return `errno`. At most one for each process.
    """

    errno: str = "ENOSPC"
    k: Ordinal = 1


class Slow(AtCall, frozen=True, tag="slow"):
    """From its k-th matching system call on, each of a process takes longer, as on a slow disk.

    `seconds` longer, before it has any effect. At most one `Fail` or `Slow` for each process.
    """

    seconds: Seconds
    k: Ordinal = 1


class Held(Step, frozen=True, tag="held"):
    """Wait until a process has come to the call that `Hold` stops it at, and leave it there.

    A process that answers or dies before it gets there is not held, and the plan goes on.
    """

    process: str


class Release(Step, frozen=True, tag="release"):
    """Let a process that was stopped by `Hold` go on."""

    process: str


class Kill(Step, frozen=True, tag="kill"):
    """Kill a process (SIGKILL) wherever it is; what `Begin` began must not be over by then."""

    process: str


class Terminate(Step, frozen=True, tag="terminate"):
    """Ask a process to end (SIGTERM); `Finish` waits until it has, if it was in an operation."""

    process: str


class Stop(Step, frozen=True, tag="stop"):
    """Stop a process (SIGSTOP) until `Continue`."""

    process: str


class Continue(Step, frozen=True, tag="continue"):
    """Let a stopped process run again (SIGCONT)."""

    process: str


class Close(Step, frozen=True, tag="close"):
    """End a process in good order."""

    process: str


class Check(Step, frozen=True, tag="check"):
    """Fresh processes of a release look at a copy of the palace now, as others do after the plan.

    `release` "" is the release under test, `observers` () are the plan's. They look at a copy, so
    that looking changes nothing for what comes next. No process of the plan may be alive.
    """

    release: str = ""
    observers: tuple[str, ...] = ()


class Elapse(Step, frozen=True, tag="elapse"):
    """Let time pass: the fault itself is a duration. Decides no order between processes."""

    seconds: Seconds


class Backdate(Step, frozen=True, tag="backdate"):
    """Set the time of the palace's matching files back, as if they had been written earlier."""

    pattern: str
    seconds: float


class Upgrade(Step, frozen=True, tag="upgrade"):
    """Replace what is installed in the environment of a server that goes on running.

    `chromadb` is the release and `library` the version of palace_store that are there afterwards,
    by default the release under test and what is there. A lower number is a downgrade. The process
    has the target `mcp`.
    """

    process: str
    chromadb: str = ""
    library: str = ""
    by: Literal["uv", "pip", "pipx"] = "uv"


AnyStep = (
    Do
    | Begin
    | Paused
    | Go
    | Finish
    | Together
    | Alternate
    | Crash
    | Hold
    | Fail
    | Slow
    | Held
    | Release
    | Kill
    | Terminate
    | Stop
    | Continue
    | Close
    | Check
    | Elapse
    | Backdate
    | Upgrade
)

#: Steps in which processes do something.
WORK = (Do, Begin, Together, Alternate)
#: Steps for which a process is traced.
TRACED = (Crash, Hold, Fail, Slow)


def write(process: str, count: int, *, first: int = 0, batch: int = 10, **args: Any) -> Do:
    """Return the step in which a process writes `count` drawers from number `first` on."""
    return Do(process, "write", {"first": first, "count": count, "batch": batch, **args})
