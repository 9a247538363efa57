"""What a triple is, and what is refused before anything is written.

* A text is 1 to 65,536 bytes of UTF-8 that are not all white space, without NUL and without lone
  surrogates; nothing is trimmed or normalised, so what was told is what is found again.
* A moment is an ISO date or date-time. A date is its midnight, a time without a zone is UTC, and
  every moment is kept as UTC without a zone, a midnight as its date alone: written so, the order
  of the texts is the order of the moments.
* A triple holds from `valid_from` on and no longer at `ended`: half-open, so that one fact can
  end at the very moment at which the next begins.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import NamedTuple

from palace_store.errors import PalaceInputError
from palace_store.plain_text import checked

#: Longest subject, predicate, object, source or key, in bytes of UTF-8. Our choice.
TEXT_BYTES_MAX = 64 * 1024

_MOMENT = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2})(:\d{2})?(?:\.(\d{1,6}))?(Z|[+-]\d{2}:\d{2})?)?",
    re.ASCII,
)


class BadTripleError(PalaceInputError):
    """What was asked cannot be stored; the sentence says why. Nothing was written."""


class BadDateError(BadTripleError):
    """A moment is not a date, or an end lies before its beginning. Nothing was written."""


@dataclass(frozen=True)
class Triple:
    """One fact as it is stored; `valid_from` None is "since ever", `ended` None is "still"."""

    id: int
    subject: str
    predicate: str
    object: str
    valid_from: str | None
    ended: str | None
    source: str | None


class NewTriple(NamedTuple):
    """One fact to be added; a plain (subject, predicate, object) does as well."""

    subject: str
    predicate: str
    object_: str
    valid_from: str | None = None
    source: str | None = None
    key: str | None = None

    @classmethod
    def of(cls, value: object) -> NewTriple:
        """Return the fact a list or tuple spells, checked, or raise `BadTripleError`."""
        least, most = 3, len(cls._fields)
        if not isinstance(value, list | tuple) or not least <= len(value) <= most:
            raise BadTripleError(
                f"{value!r:.80} is no triple: pass (subject, predicate, object) or a NewTriple"
            )
        return cls(*value).checked()

    def checked(self) -> NewTriple:
        """Return the fact as it will be stored, or raise `BadTripleError`."""
        return NewTriple(
            text("subject", self.subject),
            text("predicate", self.predicate),
            text("object", self.object_),
            None if self.valid_from is None else moment("valid_from", self.valid_from),
            None if self.source is None else text("source", self.source),
            None if self.key is None else text("key", self.key),
        )


def text(name: str, value: object) -> str:
    """Return the value if it is a text that can be stored; `name` is for the error."""
    return checked(
        name,
        value,
        TEXT_BYTES_MAX,
        error=BadTripleError,
        too_long=lambda size: (
            f"{name} is too long ({size}, at most {TEXT_BYTES_MAX} bytes): keep it in a drawer"
        ),
    )


def moment(name: str, value: object) -> str:
    """Return the moment as it is stored and compared; `name` is for the error."""
    if not isinstance(value, str):
        raise BadDateError(f"{name} is {type(value).__name__}: pass an ISO date as text")
    found = _MOMENT.fullmatch(value)
    if found is None:
        raise BadDateError(
            f"{name}: {value[:40]!r} is not a date: write YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS, "
            "with a zone such as Z or +02:00 if it is not UTC"
        )
    day, minute, second, fraction, zone = found.groups()
    if fraction is not None and second is None:
        raise BadDateError(f"{name}: {value!r} is not a date: it has a fraction but no seconds")
    iso = (
        f"{day}T{minute or '00:00'}{second or ':00'}.{(fraction or '').ljust(6, '0')}"
        f"{'+00:00' if zone in (None, 'Z') else zone}"
    )
    try:
        when = datetime.fromisoformat(iso).astimezone(timezone.utc)
    except (ValueError, OverflowError) as error:
        raise BadDateError(f"{name}: {value} is not a date: {error}") from None
    return stored(when)


def stored(when: datetime) -> str:
    """Return a moment with a zone in the form in which it is stored and compared."""
    plain = when.astimezone(timezone.utc).replace(tzinfo=None).isoformat()
    return plain.removesuffix("T00:00:00")
