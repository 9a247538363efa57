"""A worker that keeps drawers as it is told, in an environment with a real chromadb."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import chromadb
import numpy as np
from powerless import drop_privileges

from palace_lab.processes.wire import Channel
from palace_store import adoption, linking, quarantine, readback, recovery, trimming
from palace_store import client as client_module
from palace_store.anatomy import AnatomyError
from palace_store.drawers import DrawerStore
from palace_store.fixes import Fixes
from palace_store.incomplete import IncompleteIndexWarning
from palace_store.replacements import replaced_in_log
from palace_store.state import EVERYTHING, State, read_state, write_state

DIMENSION = 8


def vector(number: int, revision: int = 0) -> list[float]:
    """Return a vector of length 1 that no other number and revision comes near to."""
    state = (number * 1_000_003 + revision * 7_919 + 12_345) & 0xFFFFFFFF
    found = []
    for _ in range(DIMENSION):
        state = (state * 1_664_525 + 1_013_904_223) & 0xFFFFFFFF
        found.append(state / 0xFFFFFFFF - 0.5)
    size = sum(x * x for x in found) ** 0.5
    return [x / size for x in found]


def name(number: int) -> str:
    return f"drawer-{number:04d}"


class Worker:
    """The operations; each takes and returns plain data."""

    def __init__(self, channel: Channel, config: dict[str, Any]) -> None:
        self.channel = channel
        self.palace = Path(config["palace"])
        self.options = {
            "sync_threshold": 5,
            "batch_size": 3,
            "lease_timeout_s": 20.0,
            **config.get("options", {}),
        }
        words = config.get("fixes")
        self.fixes = Fixes.all() if words is None else Fixes.parse(words)
        self.store = self.make()
        self.raw: Any = None
        self.counted = 0
        self.stack = contextlib.ExitStack()

    def make(self, **options: Any) -> DrawerStore:
        return DrawerStore(self.palace, fixes=self.fixes, **{**self.options, **options})

    # -- plain operations ------------------------------------------------------------------

    def put(
        self, numbers: list[int], revision: int = 0, how: str = "upsert", at: str = "drawers"
    ) -> None:
        getattr(self.store, how)(
            [name(number) for number in numbers],
            [vector(number, revision) for number in numbers],
            documents=[f"{number} at {revision}" for number in numbers],
            metadatas=[{"revision": revision} for _ in numbers],
            collection=at,
        )

    def delete(self, numbers: list[int], at: str = "drawers") -> None:
        self.store.delete([name(number) for number in numbers], collection=at)

    def listed(self, at: str = "drawers") -> dict[str, Any]:
        return {found.id: found.document for found in self.store.get(collection=at)}

    def find(self, number: int, revision: int = 0, n: int = 1, at: str = "drawers") -> list[str]:
        return [
            found.id
            for found in self.store.search([vector(number, revision)], n=n, collection=at)[0]
        ]

    def found_widely(self, number: int, n: int) -> dict[str, Any]:
        """Search for `n` drawers, and return them, and what was warned of meanwhile."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", IncompleteIndexWarning)
            found = self.find(number, n=n)
        said = [str(each.message) for each in caught]
        return {"found": found, "said": [each for each in said if "refused to search" in each]}

    def warned(self, number: int, at: str = "drawers") -> list[dict[str, Any]]:
        """Search, and return what was warned of meanwhile."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", IncompleteIndexWarning)
            self.find(number, at=at)
        said = [each.message for each in caught]
        return [
            {"text": str(one), "collection": one.collection, "missing": one.missing,
             "ids": list(one.ids), "rows": one.rows}
            for one in said if isinstance(one, IncompleteIndexWarning)
        ]  # fmt: skip

    def look(self, at: str = "drawers") -> dict[str, Any]:
        """Return what is listed, how many are counted, and what its own vector does not find."""
        documents = self.listed(at)
        count = self.store.count(collection=at)
        wanted = [
            (found, int(text.partition(" at ")[0]), int(text.partition(" at ")[2]))
            for found, text in documents.items()
        ]
        lost = []
        if wanted:
            answers = self.store.search([vector(n, r) for _, n, r in wanted], n=3, collection=at)
            lost = [
                row[0]
                for row, answer in zip(wanted, answers, strict=True)
                if row[0] not in [found.id for found in answer]
            ]
        return {"documents": documents, "count": count, "lost": lost}

    def open(self) -> None:
        self.store.open()

    def close(self) -> None:
        self.store.close()

    def reopened(self) -> int:
        return self.store.session.reopened

    def collections(self) -> list[str]:
        return self.store.collections()

    def hold(self, term_s: float) -> None:
        self.stack.enter_context(self.store.hold(term_s))

    def release(self) -> None:
        self.stack.close()

    def state(self) -> dict[str, Any]:
        found = read_state(self.palace)
        return {
            "generation": found.generation,
            "open_flush": list(found.open_flush),
            "retained": found.retained,
            "trim_at": found.trim_at,
            "chromadb": found.chromadb,
            "held": found.hold is not None,
            "is_read_back": found.read_back == readback.fingerprint(self.palace),
        }

    def neighbours(self, number: int, n: int) -> list[str]:
        """Return the drawers nearest to where this one is, without itself."""
        found = self.find(number, n=n + 1)
        return [each for each in found if each != name(number)][:n]

    def put_equal(self, numbers: list[int], as_number: int) -> None:
        """Give several drawers one and the same vector."""
        self.store.upsert(
            [name(number) for number in numbers],
            [vector(as_number)] * len(numbers),
            documents=[f"{as_number} at 0"] * len(numbers),
        )

    def count_looks(self) -> None:
        """Count from now on how often drawers are looked for by their own vectors."""
        self.counted = 0
        look = linking._look

        def counted(*args: Any) -> Any:
            self.counted += 1
            return look(*args)

        linking._look = counted

    def looks(self) -> int:
        return self.counted

    def replaced_in_log(self) -> dict[str, list[str]]:
        """Return whom the log may cut off."""
        self.store.close()
        found = replaced_in_log(self.palace)
        return {collection: sorted(ids) for collection, ids in found.items()}

    # -- special situations ----------------------------------------------------------------

    def pretend(self, version: str) -> None:
        """Be the process of another release, as far as the guard can tell."""
        chromadb.__version__ = version

    def badly(self, case: str) -> None:
        """Hand the store something that it must refuse."""
        BAD[case](self.store)

    def stop_inside(self) -> None:
        """Stop this process in the middle of a read that shares the palace."""
        with self.store.session.reading("drawers"):
            self.channel.send({"inside": True})
            os.kill(os.getpid(), signal.SIGSTOP)

    def wait_inside(self) -> None:
        """Stay inside a shared read until told to go on."""
        with self.store.session.reading("drawers"):
            self.channel.send({"inside": True})
            self.channel.receive(30)

    def threads(self, count: int, each: int) -> list[str]:
        """Write from several threads through one store and through one of each thread's own."""
        errors: list[str] = []

        def work(index: int) -> None:
            store = self.store if index % 2 else self.make()
            try:
                for number in range(index * each, (index + 1) * each):
                    store.add([name(number)], [vector(number)], documents=[f"{number} at 0"])
                    if not store.search([vector(number)], n=1)[0]:
                        errors.append(f"{number} not found by its own writer")
            except BaseException as error:  # noqa: BLE001 - handed to the test
                errors.append(repr(error))

        workers = [threading.Thread(target=work, args=(index,)) for index in range(count)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
        return errors

    def second_store(self, numbers: list[int]) -> dict[str, Any]:
        """Use two stores by turns; then ask one for the palace while the other holds it."""
        other = self.make(lease_timeout_s=0.3)
        for number in numbers:
            store = self.store if number % 2 else other
            store.add([name(number)], [vector(number)], documents=[f"{number} at 0"])
        counts = [self.store.count(), other.count()]
        other.close()
        counts.append(self.store.count())
        waited: dict[str, Any] = {}
        with self.store.hold(30):
            asking = threading.Thread(target=lambda: waited.update(_outcome(other.count)))
            asking.start()
            asking.join(20)
        return {"counts": counts, "waited": waited, "after": other.count()}

    def fork(self) -> dict[str, Any]:
        """Use the store in a forked child; returns what the child was told."""
        self.store.count()
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            outcome = _outcome(self.make().count)
            os.write(writing, str(outcome.get("error")).encode())
            os._exit(0)
        os.waitpid(child, 0)
        return {"child": os.read(reading, 1000).decode(), "parent": self.store.count()}

    def busy(self, seconds: float, first: int) -> dict[str, Any]:
        """Write one drawer after the other; returns how many and the longest wait for one."""
        longest, done, until = 0.0, 0, time.monotonic() + seconds
        while time.monotonic() < until:
            began = time.monotonic()
            self.put([first + done], how="add")
            longest = max(longest, time.monotonic() - began)
            done += 1
        return {"done": done, "longest_s": longest}

    def forget_index(self) -> None:
        """Leave a palace whose whole log is still to be read into the index, with no mark set."""
        recovery.rebuild(self.palace, (EVERYTHING,), retained=True)

    def trim_always(self, *, vacuum: bool = False) -> None:
        """Trim before each operation from now on, whatever the size of the database."""
        trimming.due = lambda *_: True
        if vacuum:
            trimming.SLACK_BYTES = -(1 << 40)

    def trim_from(self, slack_bytes: int) -> None:
        """Let a database grow by so much before it is looked at."""
        trimming.SLACK_BYTES = slack_bytes

    def trim_too_much(self) -> None:
        """Be the wrong variant: what the index has taken up goes, as in chromadb's own purge."""
        trimming.superseded = lambda log, _: {each.seq_id for each in log}

    def blind(self) -> None:
        """Meet files that cannot be read at each reading back from now on."""

        def unreadable(palace: Path) -> None:
            raise AnatomyError(f"{palace}/chroma.sqlite3-journal does not exist")

        readback.survey = unreadable  # type: ignore[assignment]  (stands in for a stranger)

    def adopt(self) -> dict[str, Any]:
        found = adoption.adopt(self.palace, salvage=self.fixes.has("salvage"))
        lost = {name: list(ids) for name, ids in found.lost.items()}
        return {"retained": found.retained, "lost": lost}

    def unfindable(self, at: str = "drawers") -> list[str]:
        return self.store.unfindable(collection=at)

    def note_everything(self) -> None:
        """Leave the note that a change was cut off, whoever made it."""
        (self.palace / ".palace").mkdir(exist_ok=True)
        write_state(self.palace, State(open_flush=(EVERYTHING,)), durable=False)

    def note_change(self) -> None:
        """Leave the note of a writer that died in mid-change, on top of what is there."""
        noted = read_state(self.palace).changed(open_flush=("drawers",))
        write_state(self.palace, noted, durable=False)

    def count_only(self) -> int:
        return self.store.count()

    def nearest(self, vectors: list[list[float]], at: str, n: int = 1) -> list[list[str]]:
        answers = self.store.search(vectors, n=n, collection=at)
        return [[found.id for found in answer] for answer in answers]

    def many(self, count: int) -> dict[str, list[int]]:
        """Add so many drawers with metadata; return how many are answered, asked for how many."""
        vectors = np.random.default_rng(count).normal(size=(count, 2)).astype(np.float32)
        with self.store.hold():
            for start in range(0, count, 5000):
                part = vectors[start : start + 5000]
                ids = [name(start + i) for i in range(len(part))]
                rows = [{"wing": "w"}] * len(part)
                self.store.add(ids, part, documents=ids, metadatas=rows)
        answers = {}
        for n in (3, 20_000, count, 10**400):
            found = self.store.search(vectors[:2], n=n)
            assert all(each.document == each.id for answer in found for each in answer)
            assert all(answer[0].distance <= one.distance for answer in found for one in answer)
            answers[str(n)] = [len({each.id for each in answer}) for answer in found]
        listed = self.store.get()
        assert all(each.document == each.id and each.metadata for each in listed)
        return {**answers, "all": [len({each.id for each in listed})]}

    def raw_put(
        self, numbers: list[int], purge_at: int = 5, revision: int = 0, at: str = "drawers"
    ) -> None:
        """Write with chromadb alone, as somebody does who does not know this library."""
        if self.raw is None:
            self.raw = client_module.open_client(self.palace)
        collection = self.raw.get_or_create_collection(
            at,
            metadata={
                "hnsw:space": "cosine", "hnsw:sync_threshold": purge_at, "hnsw:batch_size": 3,
            },
            embedding_function=None,
        )  # fmt: skip
        for number in numbers:
            (collection.upsert if revision else collection.add)(
                ids=[name(number)],
                embeddings=[vector(number, revision)],
                documents=[f"{number} at {revision}"],
            )

    def raw_open(self) -> None:
        """Open with chromadb alone, which brings the tables to this release's form."""
        self.raw = client_module.open_client(self.palace)

    def raw_update(self, numbers: list[int], revision: int) -> None:
        """Replace vectors by updates, which our store never makes."""
        self.raw = client_module.open_client(self.palace)
        collection = self.raw.get_collection("drawers", embedding_function=None)
        collection.update(
            ids=[name(number) for number in numbers],
            embeddings=[vector(number, revision) for number in numbers],
            documents=[f"{number} at {revision}" for number in numbers],
        )

    def raw_note(self, numbers: list[int], revision: int) -> None:
        """Change metadata alone, which leaves the vector where it is in the log."""
        self.raw = client_module.open_client(self.palace)
        collection = self.raw.get_collection("drawers", embedding_function=None)
        collection.update(
            ids=[name(number) for number in numbers],
            metadatas=[{"revision": revision} for _ in numbers],
        )

    def stock(self, count: int, revision: int, *, raw: bool) -> None:
        """Upsert drawers of 384 dimensions, a thousand a call, at chromadb's own thresholds."""
        if raw and self.raw is None:
            self.raw = client_module.open_client(self.palace)
            self.raw.create_collection(
                "drawers", metadata={"hnsw:space": "cosine"}, embedding_function=None
            )
        dice = np.random.default_rng(revision)
        for first in range(0, count, 1000):
            numbers = range(first, min(first + 1000, count))
            ids = [f"d{number:07d}" for number in numbers]
            vectors = dice.standard_normal((len(ids), 384), dtype=np.float32)
            texts = [f"drawer {number} revision {revision}" for number in numbers]
            if raw:
                collection = self.raw.get_collection("drawers", embedding_function=None)
                collection.upsert(ids=ids, embeddings=vectors, documents=texts)
            else:
                self.store.upsert(ids, vectors, documents=texts)

    def raw_close(self) -> None:
        client_module.close_client(self.raw)
        self.raw = None

    def powerless(self) -> None:
        """Heed permissions from now on, also where the tests run as root."""
        drop_privileges()

    def quarantine(self, stale_seconds: float, environ: str = "") -> list[str]:
        os.environ[quarantine.OPT_OUT] = environ
        return quarantine.quarantine_stale_hnsw(self.palace, stale_seconds)

    def watch_opens(self) -> None:
        """From now on note each time we open the database while a client of ours has it open."""
        database = self.palace / "chroma.sqlite3"
        self.met: list[str] = []
        self.opens = 0

        def hook(event: str, args: tuple[Any, ...]) -> None:
            if event not in ("open", "sqlite3.connect") or not args:
                return
            if not str(args[0]).partition("?")[0].endswith("chroma.sqlite3"):  # a path or a URI
                return
            frames = list(_callers())
            if any("/chromadb/" in frame for frame in frames):
                return  # 0.x is written in Python: its own connections
            self.opens += 1
            if client_module.holds_open(database):
                self.met.append(f"{event} from {frames[:6]}")

        sys.addaudithook(hook)

    def watched(self) -> dict[str, Any]:
        return {"met": self.met, "opens": self.opens}


BAD: dict[str, Callable[[DrawerStore], Any]] = {
    "wrong dimension": lambda store: store.add(["x"], [[1.0, 2.0]]),
    "wrong dimension in search": lambda store: store.search([[1.0, 2.0]]),
    "no direction": lambda store: store.add(["x"], [[0.0] * DIMENSION]),
    "too many": lambda store: store.add(
        [str(n) for n in range(50_000)], [[1.0] * DIMENSION] * 50_000
    ),
    "too many deleted": lambda store: store.delete([str(n) for n in range(50_000)]),
    "half a surrogate": lambda store: store.add(["x"], [vector(1)], documents=["\ud800"]),
    "NaN": lambda store: store.add(["x"], [[float("nan")] * DIMENSION]),
    "long id": lambda store: store.add(["x" * 10_000_000], [vector(1)]),
    "name": lambda store: store.add(["x"], [vector(1)], collection="a..b"),
}


def _callers() -> Iterator[str]:
    frame = sys._getframe(2)  # the only way to see who opened a file
    while frame is not None:
        yield f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]  # ends with None


def _outcome(call: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"ok": call()}
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - a Rust panic is no Exception; it is data here
        return {
            "error": type(error).__name__,
            "text": str(error)[:2000],
            "effect": getattr(error, "effect", None),
            "holder": getattr(error, "holder", None),
            "versions": [getattr(error, "running", None), getattr(error, "palace", None)],
        }


def serve(channel: Channel, config: dict[str, Any]) -> None:
    """Do what each message says, until there is none."""
    obey(channel, Worker(channel, config))


def obey(channel: Channel, worker: Any, *, wait_s: float = 300) -> None:
    """Let a worker do what each message says, until there is none."""
    while True:
        try:
            message = channel.receive(wait_s)
        except EOFError:
            return
        op, args = message["do"], message["args"]
        channel.send(_outcome(lambda op=op, args=args: getattr(worker, op)(**args)))  # type: ignore[misc]  # bound at once
