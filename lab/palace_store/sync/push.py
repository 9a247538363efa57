"""Telling the remote what was stored and deleted here, one operation after the other.

* Each operation has `ATTEMPTS_MAX` attempts, then it is parked: kept, listed with its reason, and
  tried again when somebody asks for that. One that fails keeps back nobody else.
* Only what is said of the operation itself counts as an attempt: a refusal, a failure, or silence
  from a remote that answers everything else. An outage or a wrong key counts for nothing. What
  looks like one and is the operation's own is told apart in `blame`.
* A store carries a key that is the same however often it is sent (`Operation.key`), so that a reply
  that was lost makes no second copy.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from palace_store.errors import PalaceError
from palace_store.fixes import Fixes
from palace_store.local.connection import LocalConnection
from palace_store.sync import intake, ledger, notes
from palace_store.sync.blame import PASSED_MAX, Turns
from palace_store.sync.known import ExchangedError, Known, forget, meet
from palace_store.sync.ledger import Operation
from palace_store.sync.remote import (
    Remote,
    RemoteBusyError,
    RemoteDeniedError,
    RemoteError,
    RemoteExchangedError,
    RemoteSilentError,
    RemoteUnreachableError,
)
from palace_store.sync.report import Round

ATTEMPTS_MAX = 5  # S4's fix
#: How often the remote may say of the same words that they were deleted, in one round. The next
#: round goes on from there.
_INCARNATIONS_MAX = 200


@dataclass
class _Push:
    """One push under way; `wrote` says that the remote took a change in it."""

    known: Known
    key: str
    wrote: bool = False


@dataclass(frozen=True)
class Pusher:
    """Pushes from one memory file to one remote."""

    connection: LocalConnection
    remote: Remote
    fixes: Fixes
    turns: Turns

    def push(self, key: str) -> Round:
        """Tell the remote whatever is due, as far as it listens."""
        push = _Push(meet(self.connection, self.remote.url), key)
        try:
            return self._push(push)
        except (ExchangedError, RemoteExchangedError):
            forget(push.known)
            said = f"{self.remote.url} is not the remote it was: everything is compared next"
            return Round(problems=(said,))

    def _push(self, push: _Push) -> Round:
        done = Round()
        due = ledger.due(push.known, fair=self.fixes.has("sync_cap"))
        passed: list[tuple[Operation, RemoteError]] = []
        in_a_row = 0
        for memory_id in self.turns.order(due):
            operation = ledger.begin(push.known, memory_id)
            if operation is None:
                continue
            try:
                self._tell(push, operation)
            except RemoteExchangedError:
                raise
            except RemoteError as error:
                if self._may_be_its_own(error, push.key):
                    self.turns.passed(memory_id)
                    passed.append((operation, error))
                    in_a_row += 1
                    if in_a_row == PASSED_MAX:
                        break
                    continue
                failed = self._failed(push, operation, error)
                done += failed
                if self._is_blameless(failed) or not self.fixes.has("sync_cap"):
                    break
            else:
                done += Round(pushed=1)
            in_a_row = 0
        for over, why in passed:
            done += self._judged(push, over, why)
        return done

    def _tell(self, push: _Push, operation: Operation) -> None:
        for _ in range(_INCARNATIONS_MAX):
            try:
                if self._told(push, operation):
                    return
            except RemoteError as error:
                if error.effect == "none":
                    ledger.refused(push.known, operation)
                raise
            following = ledger.begin(push.known, operation.memory.id)
            if following is None:
                return
            operation = following
        raise RemoteError(
            f"{self.remote.url} says of {operation.memory.id} again and again that it was deleted: "
            "look at that memory there"
        )

    def _told(self, push: _Push, operation: Operation) -> bool:
        """Tell the remote; False if the words are to be told anew, as the next incarnation."""
        if operation.kind == "delete" or operation.anew:
            told = self._remove(push, operation)
            ledger.deleted(push.known, operation, told=told)
            return operation.kind == "delete"
        number = operation.remote_id
        if number is not None:
            gone = not self.remote.has(number, push.key, history=self._history())
        else:
            number, gone = self._store(push, operation)
        if gone:
            ledger.was_deleted(push.known, operation)
        else:
            ledger.stored(push.known, operation, number)
        return not gone

    def _remove(self, push: _Push, operation: Operation) -> bool:
        """Delete whatever the remote has of these words; tell whether it ever heard of them."""
        number = operation.remote_id
        if number is None and operation.sent:  # its number is in the reply that was lost
            number, gone = self._store(push, operation)
            if gone:
                return True
            ledger.stored(push.known, operation, number)
        if number is None:
            return False
        for each in (number, *operation.copies):
            self.remote.delete(each, push.key, history=self._history())
            push.wrote = True
        return True

    def _store(self, push: _Push, operation: Operation) -> tuple[int, bool]:
        answer = self.remote.store(operation.memory, push.key, idempotency_key=self._key(operation))
        intake.recognise(push.known, answer.history, strict=True)
        push.wrote = True
        return answer.number, answer.gone

    def _history(self) -> str:
        return notes.told(self.connection, "history") or ""

    def _key(self, operation: Operation) -> str:
        return operation.key if self.fixes.has("sync_idempotency") else secrets.token_hex(16)

    def _failed(self, push: _Push, operation: Operation, error: RemoteError) -> Round:
        denied = isinstance(error, RemoteDeniedError)
        away = isinstance(error, RemoteUnreachableError)
        if isinstance(error, RemoteSilentError):
            away = not self._answers(push.key)
        failed = Round(problems=(str(error),), denied=denied, away=away)
        return (
            failed if self._is_blameless(failed) else failed + self._count(push, operation, error)
        )

    def _count(self, push: _Push, operation: Operation, error: RemoteError) -> Round:
        most = ATTEMPTS_MAX if self.fixes.has("sync_cap") else None
        memory_id = operation.memory.id
        if not ledger.failed(push.known, memory_id, str(error), attempts_max=most):
            return Round()
        said = f"to {operation.kind} {memory_id} is parked after {most} attempts"
        return Round(problems=(said,))

    def _may_be_its_own(self, error: RemoteError, key: str) -> bool:
        """Tell whether what looks like an outage or a wrong key is not what the remote has."""
        denied = isinstance(error, RemoteDeniedError) and self.fixes.has("sync_auth")
        away = isinstance(error, RemoteUnreachableError) and not isinstance(error, RemoteBusyError)
        if not (denied or away) or self.fixes.variant("sync_cap") != "on":
            return False
        try:
            self.remote.check_auth(key)
        except PalaceError:
            return False
        return True

    def _judged(self, push: _Push, operation: Operation, error: RemoteError) -> Round:
        """Return what comes of an operation that was passed over."""
        if push.wrote:
            return Round(problems=(str(error),)) + self._count(push, operation, error)
        return Round(problems=(str(error),), away=isinstance(error, RemoteUnreachableError))

    def _is_blameless(self, failed: Round) -> bool:
        """Tell whether a failure says nothing of the operation, and would meet the next as well."""
        if failed.denied:
            return self.fixes.has("sync_auth")
        return failed.away and not self.fixes.is_reported("sync_cap")

    def _answers(self, key: str) -> bool:
        """Tell whether the remote answers anything at all."""
        try:
            self.remote.check_auth(key)
        except (RemoteUnreachableError, RemoteSilentError):
            return False
        except PalaceError:
            return True
        return True
