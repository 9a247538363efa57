"""The vectors of a collection are of one model, and its rows say so (S3).

Read from the files, text by text, and compared with what each model makes of it: ids, counts and
searches look the same with vectors of two models, and so do the dimensions.
"""

from __future__ import annotations

from typing import Any

from palace_lab.checks.evidence import Evidence, Violation
from palace_lab.checks.words import some
from palace_lab.plan.model import Plan
from palace_store.fixes import Fixes


def check(evidence: Evidence) -> list[Violation]:
    """Report vectors of several models, of none, and rows that say otherwise."""
    violations = []
    promised = _promised(evidence.plan)
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
            for signature, sentence, numbers in _contradictions(found, promised=promised)
        ]
    return violations


def _promised(plan: Plan) -> bool:
    """Tell whether all that write are to say of each vector, and of the collection, whose it is."""
    own = [plan.fixes, *(each.fixes for each in plan.processes if each.fixes is not None)]
    return all(Fixes.parse(words).variant("embedding_identity") == "on" for words in own)


def _contradictions(found: dict[str, Any], *, promised: bool) -> list[tuple[str, str, list[int]]]:
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
    if promised and (silent := found["unlabelled"]):
        sentence = f"{len(silent)} rows do not name the model of their vector: {some(silent)}"
        said.append(("mixed-models", sentence, silent))
    if promised and by_model and not found["recorded"]:
        some_of = next(iter(by_model.values()))
        said.append(("mixed-models", "the collection does not name the model of its rows", some_of))
    if lost := found["without_vector"]:
        sentence = f"{len(lost)} texts have a row, and no file holds their vector: {some(lost)}"
        said.append(("silent-vector-loss", sentence, lost))
    return said
