"""The loop every worker runs: told what to do step by step, it does it, records it and answers.

Messages in: `{"do": op, "args": {...}}`, `{"go": true}` (ends a pause), `{"exit": true}`.
Messages out: `{"paused": where}`, `{"done": phase, "value": ...}` where phase is ok, fail or info,
with `"error"` in words for the last two. An operation that the target does not have, or not with
these arguments, is `senseless`: nothing was called.
"""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

from palace_lab.history.segment import Recorder
from palace_lab.processes.wire import Channel
from palace_lab.targets.base import Context, Target, describe, phase_of

#: How long a paused worker waits to be told to go on, in seconds: longer than any deadline of main.
_PAUSE_S_MAX = 900.0
_IDLE_S_MAX = 3600.0
#: What JSON may give for a parameter that is annotated so; others are the operation's own affair.
_PLAIN: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
    "str": (str,),
}


def main(channel: Channel, config: dict[str, Any]) -> None:
    """Serve until told to exit, or until the lab is gone."""

    def pause(where: str) -> None:
        channel.send({"paused": where})
        channel.receive(_PAUSE_S_MAX)

    context = Context(
        palace=Path(config["palace"]),
        process=config["process"],
        recorder=Recorder(Path(config["history"]), config["process"]),
        pause=pause,
        seed=config["seed"],
        fixes=tuple(config["fixes"]),
        time_scale=config["time_scale"],
        options=config["options"],
    )
    module = importlib.import_module(f"palace_lab.targets.{config['target']}")
    target: Target = module.target(context)
    while True:
        message = channel.receive(_IDLE_S_MAX)
        if "exit" in message:
            target.close()
            channel.send({"done": "ok", "value": None})
            return
        channel.send(_perform(target, message["do"], message.get("args", {})))


def _perform(target: Target, op: str, args: dict[str, Any]) -> dict[str, Any]:
    if sentence := _senseless(target, op, args):
        return {"done": "senseless", "error": sentence}
    try:
        if op in target.RECORDS_ITSELF:
            value = getattr(target, op)(**args)
        else:
            with target.call(op):
                value = getattr(target, op)(**args)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001  (a Rust panic is no Exception; it is data here)
        if target.recorded_error is not error:  # raised between the calls it records itself
            recorder = target.context.recorder
            recorder.write(phase_of(error), op, recorder.invoke(op), text=describe(error))
        return {"done": phase_of(error), "error": describe(error)}
    return {"done": "ok", "value": value}


def _senseless(target: Target, op: str, args: dict[str, Any]) -> str:
    """Return what is wrong with an operation as the plan asks for it, or nothing."""
    called = f"operation {op!r} of {type(target).__name__}"
    known = [name for name in dir(type(target)) if name[0] != "_" and name not in dir(Target)]
    method = getattr(target, op, None) if op in (*known, "close") else None
    if not callable(method):
        return f"there is no {called}; there are: {', '.join(known)}"
    parameters = inspect.signature(method)
    signature = f"{op}{parameters}".replace("'", "")
    try:
        parameters.bind(**args)
    except TypeError as error:
        return f"{called} cannot be asked with {_shown(args)}: {error}; it is {signature}"
    for name, value in args.items():
        parameter = parameters.parameters.get(name)
        kinds = _PLAIN.get(str(parameter.annotation)) if parameter is not None else None
        if kinds is not None and type(value) not in kinds:
            return f"{called} was asked with {_shown({name: value})}; it is {signature}"
    return ""


def _shown(args: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r:.60}" for name, value in args.items()) or "nothing"
