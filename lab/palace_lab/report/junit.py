"""junit.xml: one test case per scenario, release and arm, for CI systems that show such files.

Rules: what is not as promised is never green and never skipped. A refused environment is an error
of type `refused`; every other bad verdict is a failure whose type is the verdict's name. Leaks,
an interrupted run and a run without rows have a test case of their own.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from palace_lab.judge.results import ArmResult, Row, RunResult
from palace_lab.report import facts
from palace_lab.report.words import ARM_NAMES, arm_words, one_line

NAME = "junit.xml"
_CLASS = "palace_lab"


@dataclass(frozen=True)
class Case:
    """One test case; `kind` is "" for a good one, else failure or error."""

    classname: str
    name: str
    seconds: float
    kind: str = ""
    type: str = ""
    message: str = ""
    text: str = ""


def write_junit(result: RunResult, directory: Path) -> Path:
    """Write junit.xml into a run's directory and return its path."""
    path = directory / NAME
    path.write_bytes(junit_bytes(result, directory))
    return path


def junit_bytes(result: RunResult, directory: Path) -> bytes:
    """Return the bytes of junit.xml."""
    cases = list(_cases(result, directory))
    totals = {
        "name": "palace-lab",
        "tests": str(len(cases)),
        "failures": str(sum(case.kind == "failure" for case in cases)),
        "errors": str(sum(case.kind == "error" for case in cases)),
        "skipped": "0",
        "time": f"{result.seconds:.3f}",
    }
    root = ET.Element("testsuites", totals)
    suite = ET.SubElement(root, "testsuite", totals)
    for case in cases:
        element = ET.SubElement(
            suite,
            "testcase",
            classname=_clean(case.classname),
            name=_clean(case.name),
            time=f"{case.seconds:.3f}",
        )
        if case.kind:
            trouble = ET.SubElement(
                element, case.kind, type=_clean(case.type), message=_clean(case.message)
            )
            trouble.text = "\n".join(map(_clean, case.text.splitlines()))
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _cases(result: RunResult, directory: Path) -> Iterator[Case]:
    for row in result.rows:
        yield from (_arm_case(row, arm, directory) for arm in row.arms)
        if row.refused or not row.arms:
            name = f"{row.scenario}[{row.release}]"
            why = row.refused or "no arm of it ran"
            yield _error(f"{_CLASS}.{row.system}", name, "refused" if row.refused else "unrun", why)
    for leak in result.leaks:
        yield Case(f"{_CLASS}.run", "leaks", 0.0, "failure", "leak", leak, leak)
    if result.interrupted:
        rest = "\n".join(result.unfinished)
        yield _error(f"{_CLASS}.run", "interrupted", "interrupted", f"not got to:\n{rest}")
    if not result.rows:
        yield _error(f"{_CLASS}.run", "rows", "vacuous", "the run has no row, so it shows nothing")


def _arm_case(row: Row, arm: ArmResult, directory: Path) -> Case:
    classname = f"{_CLASS}.{row.system}"
    name = f"{row.scenario}[{row.release}-{arm.role}]"
    verdict = arm.verdict
    if verdict.good:
        return Case(classname, name, arm.seconds)
    refused = verdict.name == "REFUSED"
    words = arm_words(arm)
    message = words if arm.role == "wrong" else f"{ARM_NAMES[arm.role]}: {words}"
    if verdict.reason:
        message += f"; {verdict.reason}"
    text = "\n".join([message, *facts.sentences(arm), facts.command(arm, directory)])
    return Case(
        classname,
        name,
        arm.seconds,
        "error" if refused else "failure",
        "refused" if refused else verdict.name,
        message,
        text,
    )


def _error(classname: str, name: str, kind: str, why: str) -> Case:
    return Case(classname, name, 0.0, "error", kind, why, why)


def _clean(text: str) -> str:
    """Return one line without the characters XML has no way to say."""
    return one_line(text)
