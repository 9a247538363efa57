"""One thing that is wrong with a plan, in a sentence."""

from __future__ import annotations

from dataclasses import dataclass

from palace_lab.plan.steps import Step

#: What a name may be.
NAMED = (
    "write 1 to 44 letters, digits, '.', '_' and '-' of ASCII, the first a letter or a digit, "
    "such as 'writer-1'"
)


@dataclass(frozen=True)
class Mistake:
    """What is wrong, where, and what to write instead; `step` is the number of the step at fault.

    Steps are counted from 0, as in `$.steps[0]`.
    """

    sentence: str
    step: int | None = None


def of_step(number: int, step: Step) -> str:
    """Return how a sentence names a step: by its place, and by what it is."""
    name = getattr(step, "process", None)
    kind = step.__struct_config__.tag
    return f"$.steps[{number}] ({kind}{'' if name is None else f' {name!a:.80}'})"
