"""Telling the remote what was stored and deleted here, one operation after the other.

* Each operation has `ATTEMPTS_MAX` attempts, then it is parked: kept, listed with its reason, and
  tried again when somebody asks for that. One that fails keeps back nobody else.
* Only what is said of the operation itself counts as an attempt: a refusal, a failure, or silence
  from a remote that answers everything else. An outage or a wrong key counts for nothing.
* A store carries a key that is the same however often it is sent (`Operation.key`), so that a reply
  that was lost makes no second copy.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from palace_store.errors import PalaceError
from palace_store.fixes import Fixes
from palace_store.local.connection import LocalConnection
from palace_store.sync import ledger
from palace_store.sync.known import Known, meet
from palace_store.sync.ledger import Operation
from palace_store.sync.remote import (
    Remote,
    RemoteDeniedError,
    RemoteError,
    RemoteSilentError,
    RemoteUnreachableError,
)
from palace_store.sync.report import Round

ATTEMPTS_MAX = 5  # S4's fix
#: How often the remote may say of the same words that they were deleted, in one round. The next
#: round goes on from there.
_INCARNATIONS_MAX = 200


@dataclass(frozen=True)
class Pusher:
    """Pushes from one memory file to one remote."""

    connection: LocalConnection
    remote: Remote
    fixes: Fixes

    def push(self, key: str) -> Round:
        """Tell the remote whatever is due, as far as it listens."""
        done = Round()
        known = meet(self.connection, self.remote.url)
        for memory_id in ledger.due(known, fair=self.fixes.has("sync_cap")):
            operation = ledger.begin(known, memory_id)
            if operation is None:
                continue
            try:
                self._tell(known, operation, key)
            except RemoteError as error:
                if error.effect == "none":
                    ledger.refused(known, operation)
                failed = self._failed(known, operation, error, key)
                done += failed
                if self._is_blameless(failed) or not self.fixes.has("sync_cap"):
                    break
            else:
                done += Round(pushed=1)
        return done

    def _tell(self, known: Known, operation: Operation, key: str) -> None:
        for _ in range(_INCARNATIONS_MAX):
            if self._told(known, operation, key):
                return
            following = ledger.begin(known, operation.memory.id)
            if following is None:
                return
            operation = following
        raise RemoteError(
            f"{self.remote.url} says of {operation.memory.id} again and again that it was deleted: "
            "look at that memory there"
        )

    def _told(self, known: Known, operation: Operation, key: str) -> bool:
        """Tell the remote; False if the words are to be told anew, as the next incarnation."""
        if operation.kind == "delete" or operation.anew:
            told = self._remove(known, operation, key)
            ledger.deleted(known, operation, told=told)
            return operation.kind == "delete"
        number = operation.remote_id
        if number is not None:
            gone = not self.remote.has(number, key)
        else:
            number, gone = self._store(operation, key)
        if gone:
            ledger.was_deleted(known, operation)
        else:
            ledger.stored(known, operation, number)
        return not gone

    def _remove(self, known: Known, operation: Operation, key: str) -> bool:
        """Delete whatever the remote has of these words; tell whether it ever heard of them."""
        number = operation.remote_id
        if number is None and operation.sent:  # its number is in the reply that was lost
            number, gone = self._store(operation, key)
            if gone:
                return True
            ledger.stored(known, operation, number)
        if number is None:
            return False
        for each in (number, *operation.copies):
            self.remote.delete(each, key)
        return True

    def _store(self, operation: Operation, key: str) -> tuple[int, bool]:
        return self.remote.store(operation.memory, key, idempotency_key=self._key(operation))

    def _key(self, operation: Operation) -> str:
        return operation.key if self.fixes.has("sync_idempotency") else secrets.token_hex(16)

    def _failed(self, known: Known, operation: Operation, error: RemoteError, key: str) -> Round:
        denied = isinstance(error, RemoteDeniedError)
        away = isinstance(error, RemoteUnreachableError)
        if isinstance(error, RemoteSilentError):
            away = not self._answers(key)
        failed = Round(problems=(str(error),), denied=denied, away=away)
        if not self._is_blameless(failed):
            most = ATTEMPTS_MAX if self.fixes.has("sync_cap") else None
            memory_id = operation.memory.id
            if ledger.failed(known, memory_id, str(error), attempts_max=most):
                said = f"to {operation.kind} {memory_id} is parked after {most} attempts"
                failed += Round(problems=(said,))
        return failed

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
