"""Reads the plain-data part of the pickle language without executing anything.

Rules. This is a reader, not an unpickler: it has no instruction that imports or calls. The one
class name 0.x writes is recognised as text and becomes a plain record; every other name is
refused. Size, containers and memo are bounded, dict keys are text or 32-bit integers, so neither
memory nor time can be made to explode: work is linear in the bytes.
"""

from __future__ import annotations

from collections.abc import Callable

#: Releases write four dicts, one object and its state.
CONTAINERS_MAX = 64

#: Sequence numbers have 192 bits at most.
INTEGER_BYTES_MAX = 32

#: Labels are 32-bit in every release; longer keys could be chosen to collide.
KEY_LIMIT = 1 << 32

#: The class 0.x pickles; the only name a pickle may mention.
RECORD_NAME = ("chromadb.segment.impl.vector.local_persistent_hnsw", "PersistentData")

_MARK = object()


class _Name(tuple[str, str]):
    """A class name on the stack; never resolved."""

    __slots__ = ()


class Record(dict[object, object]):
    """What becomes of an object of the one allowed class: its attributes."""

    __slots__ = ()


class TornError(Exception):
    """The bytes end, or do not follow the language; the text says how."""


class RefusedError(Exception):
    """The bytes ask for something that plain index data does not contain."""


class _Reader:
    """One pass over the bytes with an explicit stack."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.stack: list[object] = []
        self.memo: dict[int, object] = {}
        self.containers = 0
        self.pushed = 0

    def take(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self.data):
            raise TornError(f"it ends at byte {len(self.data)}, {end - len(self.data)} too early")
        chunk = self.data[self.at : end]
        self.at = end
        return chunk

    def number(self, count: int, *, signed: bool = False) -> int:
        return int.from_bytes(self.take(count), "little", signed=signed)

    def line(self) -> str:
        end = self.data.find(b"\n", self.at, self.at + 512)
        if end < 0:
            raise TornError("a line has no end")
        text = self.data[self.at : end]
        self.at = end + 1
        return text.decode("utf-8", "replace")

    def push(self, value: object) -> None:
        self.pushed += 1
        self.stack.append(value)

    def text(self, length: int) -> None:
        try:
            self.push(self.take(length).decode("utf-8", "surrogatepass"))
        except UnicodeDecodeError:
            raise TornError(f"the text before byte {self.at} is not UTF-8") from None

    def count_container(self) -> None:
        self.containers += 1
        if self.containers > CONTAINERS_MAX:
            raise RefusedError(f"more than {CONTAINERS_MAX} containers")

    def container(self, value: object) -> None:
        self.count_container()
        self.push(value)

    def pop(self) -> object:
        if not self.stack or self.stack[-1] is _MARK:
            raise TornError(f"nothing is on the stack at byte {self.at}")
        return self.stack.pop()

    def name(self, module: object, name: object) -> None:
        if (module, name) != RECORD_NAME:
            raise RefusedError(f"the name {ascii(f'{module}.{name}')[:120]}")
        self.push(_Name(RECORD_NAME))

    def long(self, width: int) -> None:
        size = self.number(width)
        if size > INTEGER_BYTES_MAX:
            raise RefusedError(f"an integer of {size} bytes")
        self.push(self.number(size, signed=True))

    def memoize(self, key: int) -> None:
        if len(self.memo) > self.pushed:
            raise RefusedError("a memo larger than its content")
        if not self.stack or self.stack[-1] is _MARK:
            raise TornError(f"nothing to remember at byte {self.at}")
        self.memo[key] = self.stack[-1]

    def recall(self, key: int) -> None:
        if key not in self.memo:
            raise TornError(f"entry {key} was never remembered")
        self.push(self.memo[key])

    def setitems(self, items: list[object]) -> None:
        target = self.stack[-1] if self.stack else None
        if not isinstance(target, dict) or isinstance(target, Record) or len(items) % 2:
            raise TornError(f"pairs without a dict before byte {self.at}")
        for position in range(0, len(items), 2):
            key = items[position]
            if type(key) is not str and (type(key) is not int or not 0 <= key < KEY_LIMIT):
                raise RefusedError(f"the dict key {ascii(key)[:60]}")
            target[key] = items[position + 1]

    def since_mark(self) -> list[object]:
        for position in range(len(self.stack) - 1, -1, -1):
            if self.stack[position] is _MARK:
                items = self.stack[position + 1 :]
                del self.stack[position:]
                return items
        raise TornError(f"no mark before byte {self.at}")

    def newobj(self) -> None:
        args, cls = self.pop(), self.pop()
        if args != () or not isinstance(cls, _Name):
            raise RefusedError("an object that is not the index record")
        self.container(Record())

    def build(self) -> None:
        state = self.pop()
        target = self.stack[-1] if self.stack else None
        if not isinstance(target, Record) or type(state) is not dict:
            raise RefusedError("a state for something that is not the index record")
        self.count_container()  # a state applied again and again would cost quadratic time
        target.update(state)

    def run(self) -> object:
        """Return the one value the pickle describes."""
        while True:
            code = self.take(1)
            if code == b".":
                value = self.pop()
                if self.stack:
                    raise TornError(f"{len(self.stack)} values are left over")
                return value
            action = _ACTIONS.get(code)
            if action is None:
                raise RefusedError(f"instruction {code!r} at byte {self.at - 1}")
            action(self)


def _setitem(reader: _Reader) -> None:
    value, key = reader.pop(), reader.pop()
    reader.setitems([key, value])


def _stack_global(reader: _Reader) -> None:
    name, module = reader.pop(), reader.pop()
    reader.name(module, name)


_ACTIONS: dict[bytes, Callable[[_Reader], object]] = {
    b"\x80": lambda r: r.take(1),  # PROTO
    b"\x95": lambda r: r.take(8),  # FRAME
    b"X": lambda r: r.text(r.number(4)),
    b"\x8c": lambda r: r.text(r.number(1)),
    b"\x8d": lambda r: r.text(r.number(8)),
    b"J": lambda r: r.push(r.number(4, signed=True)),
    b"K": lambda r: r.push(r.number(1)),
    b"M": lambda r: r.push(r.number(2)),
    b"\x8a": lambda r: r.long(1),
    b"\x8b": lambda r: r.long(4),
    b"N": lambda r: r.push(None),
    b"\x88": lambda r: r.push(True),
    b"\x89": lambda r: r.push(False),
    b"}": lambda r: r.container({}),
    b")": lambda r: r.push(()),
    b"(": lambda r: r.stack.append(_MARK),
    b"u": lambda r: r.setitems(r.since_mark()),
    b"s": _setitem,
    b"q": lambda r: r.memoize(r.number(1)),
    b"r": lambda r: r.memoize(r.number(4)),
    b"\x94": lambda r: r.memoize(len(r.memo)),
    b"h": lambda r: r.recall(r.number(1)),
    b"j": lambda r: r.recall(r.number(4)),
    b"c": lambda r: r.name(r.line(), r.line()),
    b"\x93": _stack_global,
    b"\x81": lambda r: r.newobj(),
    b"b": lambda r: r.build(),
}


def read_plain(data: bytes) -> tuple[object, int]:
    """Return the value that `data` describes and how many bytes follow its end.

    Raises `TornError` for bytes that end early or make no sense, `RefusedError` for bytes that
    hold anything but plain data and the one record.
    """
    reader = _Reader(data)
    if not data:
        raise TornError("it is empty")
    value = reader.run()
    return value, len(data) - reader.at
