"""What a figure in seconds was taken on: processor, memory, system, load, file system."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it is published without type information

from palace_lab.processes.burden import file_system


def describe(directory: Path) -> str:
    """Return one line on the machine, its load just now, and where `directory` lies."""
    memory_gib = psutil.virtual_memory().total / 2**30
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{_processor()}, {os.cpu_count()} cores, {memory_gib:.0f} GiB, "
        f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}, "
        f"{file_system(directory) or 'unknown file system'}, load {load}"
    )


def _processor() -> str:
    """Return the processor's name; boards such as a Raspberry Pi's name only themselves."""
    model = Path("/proc/device-tree/model")
    if model.is_file():
        return model.read_text(encoding="utf-8", errors="replace").strip("\0 \n")
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return " ".join(value.split())
    return platform.processor() or "unknown processor"
