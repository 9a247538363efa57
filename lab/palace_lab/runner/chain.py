"""A chain of hops: one palace handed on from environment to environment, each in its own process.

Every link is a directory `<chain>/<release>`: `palace`, as a writer killed in a flush left it;
`ledger.jsonl`, what all writers so far were told; `link.json`, written last, with the hashes of
both and of the link before.

Rules: a link that was taken over is copied, never written to, so that a stop can be repeated. What
is missing, changed, or of another chain is refused. A stop that did not hold leaves no link.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
from pathlib import Path
from typing import TypeVar, final

import msgspec

from palace_lab.errors import UsageError
from palace_lab.history.merge import write_jsonl
from palace_lab.history.segment import Event
from palace_lab.plan import steps
from palace_lab.plan.hops import killed_in_flush
from palace_lab.plan.model import Plan
from palace_lab.runner.arena import Arena
from palace_lab.runner.baseline import Baselines
from palace_lab.runner.trial import Given, Trial, run_trial, with_points

_T = TypeVar("_T")
_CHAIN, _LINK, _LEDGER, _PALACE = "chain.json", "link.json", "ledger.jsonl", "palace"


class _Head(msgspec.Struct, frozen=True):
    """What makes a directory a chain."""

    chain: str
    seed: int


class Link(msgspec.Struct, frozen=True):
    """What one stop says about what it hands on."""

    chain: str
    release: str
    number: int  # of the stop, from 1
    before: str  # the release before, "" for the first
    before_sha256: str  # of its link.json
    drawers: int  # numbered from 0, that writers have tried to write so far
    palace_sha256: dict[str, str]  # by file
    ledger_sha256: str


@final
class Chain:
    """The chain in a directory. Not for two processes at once."""

    def __init__(self, directory: Path, head: _Head) -> None:
        self.directory = directory
        self.seed = head.seed
        self._head = head

    @classmethod
    def begin(cls, directory: Path, seed: int) -> Chain:
        """Begin a new chain; an old one there is removed, anything else refused."""
        head = _Head(secrets.token_hex(8), seed)
        if directory.is_symlink():
            raise UsageError(
                f"{directory} is a symbolic link; name a new or an empty directory with --chain"
            )
        try:
            if directory.exists():
                if not (directory / _CHAIN).is_file() and any(directory.iterdir()):
                    raise UsageError(
                        f"{directory} holds something that is no chain of hops; name a new or an "
                        "empty directory with --chain"
                    )
                shutil.rmtree(directory)
            directory.mkdir(parents=True)
            (directory / _CHAIN).write_bytes(msgspec.json.encode(head))
        except OSError as error:
            raise UsageError(
                f"no chain of hops can begin in {directory} ({error.strerror or error}); name a "
                "new or an empty directory with --chain"
            ) from None
        return cls(directory, head)

    @classmethod
    def open(cls, directory: Path, before: str) -> Chain:
        """Open a chain that a stop has been made in already."""
        path = directory / _CHAIN
        if not path.is_file():
            raise UsageError(
                f"there is no chain of hops in {directory}, so nothing was handed on by chromadb "
                f"{before}; begin with the first stop"
            )
        return cls(directory, _read(path, _Head))

    def taken_over(self, release: str) -> tuple[Link, Given]:
        """Return what a stop handed on; raises `UsageError` if it, or one before, is not that."""
        link = self._link(release)
        place = self.directory / release
        if (found := _hashes(place / _PALACE)) != link.palace_sha256:
            names = {*found.items()} ^ {*link.palace_sha256.items()}
            raise UsageError(
                f"{place / _PALACE} is not the palace that chromadb {release} handed on: "
                f"{min(names)[0]} differs; begin the chain anew"
            )
        raw = (place / _LEDGER).read_bytes() if (place / _LEDGER).is_file() else b""
        if _sha256(raw) != link.ledger_sha256:
            raise UsageError(
                f"{place / _LEDGER} is not the ledger that chromadb {release} handed on; begin "
                "the chain anew"
            )
        self._route(link)
        decoder = msgspec.json.Decoder(Event)
        return link, Given(place / _PALACE, tuple(map(decoder.decode, raw.splitlines())))

    def _route(self, link: Link) -> list[str]:
        """Return the releases a palace has come through, the last first; checks every link."""
        releases, checked = [link.release], link
        while checked.before:
            earlier = self._link(checked.before)
            if _sha256((self.directory / checked.before / _LINK).read_bytes()) != (
                checked.before_sha256
            ):
                raise UsageError(
                    f"chromadb {checked.release} went on from another palace than the one that "
                    f"chromadb {checked.before} has handed on since; go on from there again"
                )
            checked = earlier
            releases.append(checked.release)
        return releases

    def stop(self, arena: Arena, release: str, before: str, fixes: tuple[str, ...]) -> Trial:
        """Make one stop: look at what was handed on, write, die in a flush, be looked at.

        Leaves a link only if everything held and the writer was killed where it was meant to be.
        What cannot be made is refused with `UsageError`, and every link stays.
        """
        place = self.directory / release
        link, given = self.taken_over(before) if before else (None, None)
        if link is not None and release in self._route(link):
            raise UsageError(
                f"chromadb {release} cannot be the stop after chromadb {before}: it is one the "
                "palace has come through; name another release, or begin the chain anew"
            )
        shutil.rmtree(place, ignore_errors=True)
        first = 0 if link is None else link.drawers
        writer = killed_in_flush(f"writer-{release}", first=first)
        plan = Plan(
            name="hop",
            arm="fixed" if fixes else "off",
            release=release,
            seed=self.seed,
            fixes=fixes,
            steps=((steps.Check(),) if before else ()) + tuple(writer),
        )
        fresh = self.directory / f".{release}-{secrets.token_hex(4)}"
        fresh.mkdir()
        try:
            plan = with_points(arena, plan)
            trial = run_trial(
                arena,
                plan,
                baselines=Baselines(arena),
                given=given,
                leave=fresh / _PALACE,
            )
            if trial.signature is None and trial.reached:
                self._hand_on(fresh, release, link, trial)
                fresh.replace(place)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        return trial

    def _hand_on(self, fresh: Path, release: str, before: Link | None, trial: Trial) -> None:
        write_jsonl(trial.events, fresh / _LEDGER)
        known = trial.evidence.expected.known if trial.evidence else frozenset()
        path = self.directory / (before.release if before else "") / _LINK
        link = Link(
            chain=self._head.chain,
            release=release,
            number=1 if before is None else before.number + 1,
            before="" if before is None else before.release,
            before_sha256="" if before is None else _sha256(path.read_bytes()),
            drawers=max(known) + 1,
            palace_sha256=_hashes(fresh / _PALACE),
            ledger_sha256=_sha256((fresh / _LEDGER).read_bytes()),
        )
        (fresh / _LINK).write_bytes(msgspec.json.format(msgspec.json.encode(link)) + b"\n")

    def _link(self, release: str) -> Link:
        path = self.directory / release / _LINK
        if not path.is_file():
            raise UsageError(
                f"chromadb {release} has handed nothing on in {self.directory}: it has not been "
                "run in this chain, or it did not hold; make that stop first"
            )
        link = _read(path, Link)
        if (link.chain, link.release) != (self._head.chain, release):
            raise UsageError(f"{path} belongs to another chain or stop; begin the chain anew")
        return link


def _read(path: Path, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read ({error}); begin the chain anew") from None


def _hashes(folder: Path) -> dict[str, str]:
    return {
        file.relative_to(folder).as_posix(): _sha256(file.read_bytes())
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def _sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()
