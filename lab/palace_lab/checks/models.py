"""The vectors of a collection are of one model, and its rows say so (S3).

Read from the files, text by text, and compared with what each model makes of it: ids, counts and
searches look the same with vectors of two models, and so do the dimensions.
"""

from __future__ import annotations

from typing import Any

from palace_lab.checks.evidence import Evidence, Violation
from palace_lab.checks.words import some


def check(evidence: Evidence) -> list[Violation]:
    """Report vectors of several models, of none, and rows that say otherwise."""
    violations = []
    for seen in evidence.observations:
        found = seen.value("models")
        if found is None:
            continue
        violations += [
            Violation(
                "models",
                signature,
                sentence,
                tuple(numbers),
                seen.process,
                seen.when("models"),
            )
            for signature, sentence, numbers in _contradictions(found)
        ]
    return violations


def _contradictions(found: dict[str, Any]) -> list[tuple[str, str, list[int]]]:
    by_model: dict[str, list[int]] = {
        **found["models"],
        **({"no known model": found["unknown"]} if found["unknown"] else {}),
    }
    said: list[tuple[str, str, list[int]]] = []
    if len(by_model) > 1 or found["unknown"]:
        most_first = sorted(by_model.items(), key=lambda item: (-len(item[1]), item[0]))
        counts = ", ".join(f"{len(numbers)} of {model}" for model, numbers in most_first)
        fewest = min(by_model.values(), key=len)
        said.append(
            ("mixed-models", f"one collection has vectors of {counts}: {some(fewest)}", fewest)
        )
    elif found["recorded"] and by_model and found["recorded"] not in by_model:
        (model, numbers), *_ = by_model.items()
        sentence = f"the collection names {found['recorded']}, and its vectors are of {model}"
        said.append(("mixed-models", sentence, numbers))
    elif wrong := found["mislabelled"]:
        sentence = f"{len(wrong)} rows name another model than that of their vector: {some(wrong)}"
        said.append(("mixed-models", sentence, wrong))
    if lost := found["without_vector"]:
        sentence = f"{len(lost)} texts have a row, and no file holds their vector: {some(lost)}"
        said.append(("silent-vector-loss", sentence, lost))
    return said
