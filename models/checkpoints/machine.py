"""Reads the pickle format as data. There is no unpickler here: a pickle is a list of instructions for a small stack
machine, and this is such a machine whose every instruction makes plain data and whose every name is on a list.

What Python's unpickler does with a name (import it) and with a call (call whatever was imported) does not happen: a
name is looked up in a table of functions of this project that make inert records. Long payloads stay where they are in
the mapped file. How much work and memory a file may ask for is bounded by constants and by the file's own size, because
a pickle of a few kilobytes can otherwise describe a structure that takes for ever to walk through.

Source of the format: the Python documentation of `pickle` and `pickletools`; protocols 2 to 5.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from typing import Any

from .contents import CheckpointError

OPERATIONS = 300_000
"""Instructions in one file; the largest public checkpoint (three networks of 1024 px) takes some 100,000."""
CONTAINER = 3
"""What a new list, tuple or dictionary counts for: Python's collector looks at each of them again and again."""
KEY_LENGTH = 1000
INLINE = 1 << 12
"""Byte strings up to this length are copied; longer ones stay views of the file."""
INTEGER_BYTES = 32

Find = Callable[[str, str], Any]


class Budget:
    """What one file may still ask for; shared by the pickles inside it."""

    def __init__(self, file_size: int) -> None:
        self.operations = OPERATIONS
        self.copied = file_size + (1 << 24)
        self.tensors = 2 * file_size + (1 << 26)

    def spend_operation(self, count: int = 1) -> None:
        self.operations -= count
        if self.operations < 0:
            raise CheckpointError(
                f"its pickle has more than {OPERATIONS} instructions, which no checkpoint of this kind needs, so it "
                "was not loaded. Take another copy from a source you trust."
            )

    def spend_copy(self, size: int) -> None:
        """Bytes that are made from bytes of the file."""
        self.copied -= size
        if self.copied < 0:
            raise _oversized()

    def spend_tensor(self, size: int) -> None:
        """Bytes of one tensor, however much of its storage it shares with others."""
        self.tensors -= size
        if self.tensors < 0:
            raise _oversized()


def _oversized() -> CheckpointError:
    return CheckpointError(
        "it describes far more data than it holds, as a decompression bomb does, so it was not loaded. "
        "Take another copy from a source you trust."
    )


class CorruptFile(ValueError):
    """The instructions do not make sense; the text says where."""


class TruncatedFile(CorruptFile):
    """The data ends before what it announces."""


class Builder:
    """An object that a pickle may fill with `BUILD`: it says itself what it does with the state."""

    def build(self, state: Any) -> None:
        """Takes over what is wanted of `state`."""
        raise NotImplementedError


class Record(dict[Any, Any], Builder):
    """A dictionary that a pickle made through a class (OrderedDict, EasyDict); attributes beside its items are left."""

    def build(self, state: Any) -> None:
        pass


def plain_key(key: Any) -> Hashable:
    """`key`, if it is text, a number, short bytes or None; hashing anything nested could take for ever."""
    if isinstance(key, (str, bytes)) and len(key) > KEY_LENGTH:
        raise CorruptFile(f"a name of {len(key)} characters")
    if key is None or isinstance(key, (str, bytes, int, float)):
        return key
    raise CorruptFile(f"a {type(key).__name__} as a name")


class _Mark:
    pass


_MARK = _Mark()


class RestrictedUnpickler:
    """Runs one pickle.

    Args:
        data: the bytes the pickle lies in.
        find: (module, name) -> what stands for it: a function for `REDUCE`, a class of `Record` or the like for
            `NEWOBJ`, or any inert value. It raises CheckpointError for every name that is not on its list.
        persistent: what a persistent id stands for; None refuses them.
        budget: what the file may ask for.
        text: whether Python 2's strings are text where they can be, as PyTorch takes them; else they are bytes.
    """

    def __init__(
        self,
        data: memoryview,
        find: Find,
        budget: Budget,
        persistent: Callable[[Any], Any] | None = None,
        text: bool = False,
    ) -> None:
        self.data, self.find, self.persistent, self.budget, self.text = data, find, persistent, budget, text
        self.position = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, start: int = 0) -> tuple[Any, int]:
        """The object pickled at `start`, and the position after it.

        Raises:
            Damaged: the data ends early, or makes no sense.
            CheckpointError: it asks for what is not allowed.
        """
        self.position, self.stack, self.memo = start, [], {}
        end, data = len(self.data), self.data
        while True:
            if self.position >= end:
                raise TruncatedFile("the data ends before the pickle does")
            code = data[self.position]
            self.position += 1
            self.budget.spend_operation()
            if code == 0x2E:  # STOP
                return self._pop(), self.position
            operation = _OPERATIONS.get(code)
            if operation is None:
                raise CorruptFile(f"unknown instruction {code:#04x} at byte {self.position - 1}")
            operation(self)

    # -- the stack

    def _pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise CorruptFile("an instruction without its operand")
        return self.stack.pop()

    def _top(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise CorruptFile("an instruction without its operand")
        return self.stack[-1]

    def _pop_to_mark(self) -> list[Any]:
        stack = self.stack
        for i in range(len(stack) - 1, -1, -1):
            if stack[i] is _MARK:
                items = stack[i + 1 :]
                del stack[i:]
                self.budget.spend_operation(len(items) >> 3)
                return items
        raise CorruptFile("a group without its beginning")

    # -- reading

    def _take(self, count: int) -> memoryview:
        start, self.position = self.position, self.position + count
        if self.position > len(self.data):
            raise TruncatedFile(f"{count} bytes are announced where {max(len(self.data) - start, 0)} are left")
        return self.data[start : self.position]

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _line(self) -> str:
        limit = min(self.position + KEY_LENGTH, len(self.data))
        text = bytes(self.data[self.position : limit])
        length = text.find(b"\n")
        if length < 0:
            raise CorruptFile("a line without its end")
        self.position += length + 1
        return text[:length].decode("utf-8")

    def _text(self, count: int) -> None:
        # "surrogatepass" is what Python's own pickles are written with.
        self.stack.append(str(self._take(count), "utf-8", "surrogatepass"))

    def _bytes(self, count: int) -> None:
        view = self._take(count)
        self.stack.append(bytes(view) if count <= INLINE else view)

    def _old_string(self, count: int) -> None:
        self._bytes(count)
        if self.text and isinstance(self.stack[-1], bytes):
            with suppress(UnicodeDecodeError):
                self.stack[-1] = self.stack[-1].decode("utf-8")

    def _integer(self, count: int) -> None:
        if count > INTEGER_BYTES:
            raise CorruptFile(f"a number of {count} bytes")
        self.stack.append(int.from_bytes(self._take(count), "little", signed=True))

    # -- building

    def _append(self, items: list[Any]) -> None:
        target = self._top()
        if type(target) is not list:
            raise CorruptFile(f"items for a {type(target).__name__}")
        target.extend(items)

    def _set_items(self, items: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, dict) or len(items) % 2:
            raise CorruptFile(f"named items for a {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[plain_key(key)] = value

    def _add_items(self) -> None:
        items, target = self._pop_to_mark(), self._top()
        if type(target) is not set:
            raise CorruptFile(f"members for a {type(target).__name__}")
        target.update(plain_key(item) for item in items)

    def _new(self, container: Any) -> None:
        self.budget.spend_operation(CONTAINER - 1)
        self.stack.append(container)

    def _group(self, make: Callable[[list[Any]], Any]) -> None:
        self._new(make(self._pop_to_mark()))

    def _tuple(self, count: int) -> None:
        items = [self._pop() for _ in range(count)]
        self._new(tuple(items[::-1]))

    def _dictionary(self) -> None:
        items = self._pop_to_mark()
        self.stack.append({})
        self._set_items(items)

    def _stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        if not isinstance(name, str) or not isinstance(module, str) or len(name) + len(module) > KEY_LENGTH:
            raise CorruptFile("a name that is no text")
        self.stack.append(self.find(module, name))

    def _global(self) -> None:
        module = self._line()
        self.stack.append(self.find(module, self._line()))

    def _reduce(self) -> None:
        arguments, function = self._pop(), self._pop()
        # The table holds only functions of this project, inert classes and inert values; data never gets here.
        if not isinstance(function, SafeCall) or type(arguments) is not tuple:
            raise CorruptFile("a call of something that is no function")
        self.stack.append(function.call(*arguments))

    def _new_object(self) -> None:
        arguments, function = self._pop(), self._pop()
        if not isinstance(function, SafeCall) or type(arguments) is not tuple or arguments:
            raise CorruptFile("a new object of something that is no class")
        self.stack.append(function.call())

    def _build(self) -> None:
        state, target = self._pop(), self._top()
        if not isinstance(target, Builder):
            raise CorruptFile(f"attributes for a {type(target).__name__}")
        target.build(state)

    def _put(self, index: int) -> None:
        self.memo[index] = self._top()

    def _get(self, index: int) -> None:
        if index not in self.memo:
            raise CorruptFile(f"a reference to what was never there ({index})")
        self.stack.append(self.memo[index])

    def _persistent(self) -> None:
        if self.persistent is None:
            raise CheckpointError("it refers to data outside the file, which is not supported. Take another copy.")
        self.stack.append(self.persistent(self._pop()))


class SafeCall:
    """A name on the list that may be called: the wrapped function, and nothing else of it."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call


_OPERATIONS: Mapping[int, Callable[[RestrictedUnpickler], Any]] = {
    0x80: lambda m: _protocol(m._number("<B")),  # PROTO
    0x95: lambda m: m._number("<Q"),  # FRAME: a hint for readers of streams
    ord("("): lambda m: m.stack.append(_MARK),
    ord("0"): lambda m: m._pop(),  # POP
    ord("1"): lambda m: m._pop_to_mark(),  # POP_MARK
    ord("2"): lambda m: m.stack.append(m._top()),  # DUP
    ord("N"): lambda m: m.stack.append(None),
    0x88: lambda m: m.stack.append(True),
    0x89: lambda m: m.stack.append(False),
    ord("J"): lambda m: m.stack.append(m._number("<i")),
    ord("K"): lambda m: m.stack.append(m._number("<B")),
    ord("M"): lambda m: m.stack.append(m._number("<H")),
    0x8A: lambda m: m._integer(m._number("<B")),  # LONG1
    0x8B: lambda m: m._integer(m._number("<I")),  # LONG4
    ord("G"): lambda m: m.stack.append(m._number(">d")),
    0x8C: lambda m: m._text(m._number("<B")),
    ord("X"): lambda m: m._text(m._number("<I")),
    0x8D: lambda m: m._text(m._number("<Q")),
    ord("U"): lambda m: m._old_string(m._number("<B")),  # SHORT_BINSTRING
    ord("T"): lambda m: m._old_string(m._number("<I")),  # BINSTRING
    ord("C"): lambda m: m._bytes(m._number("<B")),
    ord("B"): lambda m: m._bytes(m._number("<I")),
    0x8E: lambda m: m._bytes(m._number("<Q")),
    0x96: lambda m: m._bytes(m._number("<Q")),  # BYTEARRAY8
    ord("]"): lambda m: m._new([]),
    ord("}"): lambda m: m._new({}),
    ord(")"): lambda m: m.stack.append(()),
    0x8F: lambda m: m._new(set()),
    ord("a"): lambda m: m._append([m._pop()]),
    ord("e"): lambda m: m._append(m._pop_to_mark()),
    ord("s"): lambda m: m._set_items([m._pop(), m._pop()][::-1]),
    ord("u"): lambda m: m._set_items(m._pop_to_mark()),
    0x90: lambda m: m._add_items(),
    ord("l"): lambda m: m._group(list),
    ord("t"): lambda m: m._group(tuple),
    ord("d"): lambda m: m._dictionary(),
    0x91: lambda m: m._group(lambda items: frozenset(plain_key(item) for item in items)),
    0x85: lambda m: m._tuple(1),
    0x86: lambda m: m._tuple(2),
    0x87: lambda m: m._tuple(3),
    ord("c"): lambda m: m._global(),
    0x93: lambda m: m._stack_global(),
    ord("R"): lambda m: m._reduce(),
    0x81: lambda m: m._new_object(),
    ord("b"): lambda m: m._build(),
    ord("q"): lambda m: m._put(m._number("<B")),
    ord("r"): lambda m: m._put(m._number("<I")),
    0x94: lambda m: m._put(len(m.memo)),  # MEMOIZE
    ord("h"): lambda m: m._get(m._number("<B")),
    ord("j"): lambda m: m._get(m._number("<I")),
    ord("Q"): lambda m: m._persistent(),  # BINPERSID
}


def _protocol(version: int) -> None:
    if not 2 <= version <= 5:
        raise CorruptFile(f"pickle protocol {version}")


def as_mapping(value: Any) -> dict[Any, Any]:
    """`value` where a pickle has to give a dictionary.

    Raises:
        Damaged: it is something else.
    """
    if not isinstance(value, dict):
        raise CorruptFile(f"a {type(value).__name__} where attributes belong")
    return value
