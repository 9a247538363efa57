"""Which memories are an answer to a query, and which come first: one rule for here and for there.

A word matches anywhere in the content, in any case of its ASCII letters. Most words come first,
then the newest. `LocalStore.recall` has SQLite do the same.
"""

from __future__ import annotations

import string
from collections.abc import Iterable

from palace_store.local.memory import Memory, words

QUERY_WORDS_MAX = 32
QUERY_BYTES_MAX = 4096
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def words_of(query: object) -> list[str]:
    """Return the words of a query that count, each once."""
    return list(dict.fromkeys(words("query", query, QUERY_BYTES_MAX).split()))[:QUERY_WORDS_MAX]


def ranked(found: Iterable[Memory], query: str) -> list[Memory]:
    """Return memories as they come in an answer; those with no word last, in the order they had."""
    wanted = [word.translate(_LOWER) for word in words_of(query)]
    matching, others = list[tuple[int, Memory]](), list[Memory]()
    for memory in found:
        content = memory.content.translate(_LOWER)
        score = sum(word in content for word in wanted)
        if score:
            matching.append((score, memory))
        else:
            others.append(memory)
    matching.sort(key=lambda each: each[1].id)
    matching.sort(key=lambda each: (each[0], each[1].created), reverse=True)
    return [memory for _, memory in matching] + others
