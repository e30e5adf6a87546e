"""Pickles read as data, by the standard library's own unpickler with everything taken out that could do more.

`pickle.Unpickler` in C leaves only names to its subclasses, and there are files that keep it busy for ever. Its twin in
Python lets every instruction be replaced. Those that look up a name ask a table of ours (`allowed_names.py`) and import
nothing; those that call take only what that table marks as callable; those that hash take plain names only; those that
announce a length are checked against the file, and long payloads stay where they are in the mapping. Every instruction
is counted, because a pickle of a few kilobytes can describe a structure that takes for ever to walk through.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any

from .errors import CheckpointError, CorruptFile, TruncatedFile

OPERATIONS = 300_000
"""Instructions in one file; the largest public checkpoint (three networks of 1024 px) takes some 100,000."""
CONTAINER = 3
"""What a new list, tuple or dictionary counts for: Python's collector looks at each of them again and again."""
KEY_LENGTH = 1000
INLINE = 1 << 12
"""Byte strings up to this length are copied; longer ones stay views of the file."""
INTEGER_BYTES = 32
CONTAINERS = "tuple tuple1 tuple2 tuple3 list dict frozenset empty_list empty_dictionary empty_set"
SINGLE = """proto frame mark stop pop pop_mark dup none true false empty_tuple binint binint1 binint2 long1 binfloat
    short_binunicode binunicode binunicode8 short_binstring binstring short_binbytes binbytes binbytes8 bytearray8
    append appends setitem setitems additems global stack_global reduce newobj build binpersid
    binput long_binput memoize binget long_binget"""
COSTS = {name: CONTAINER for name in CONTAINERS.split()} | {name: 1 for name in SINGLE.split()}
"""The instructions of protocols 2 to 5 that data is written with, and what each counts for."""
NO_SENSE = (LookupError, TypeError, AttributeError, struct.error, pickle.UnpicklingError)
"""What the standard library raises at instructions without their operands."""

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


class SafeCall:
    """A name on the list that may be called: the wrapped function, and nothing else of it."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call


class Builder:
    """An object that a pickle may fill with `BUILD`: it says itself what it does with the state."""

    def build(self, state: Any) -> None:
        """Takes over what is wanted of `state`."""
        raise NotImplementedError


class Record(dict[Any, Any], Builder):
    """A dictionary that a pickle made through a class (OrderedDict, EasyDict); attributes beside its items are left."""

    def build(self, state: Any) -> None:
        pass


class _Stream:
    """The file that the unpickler reads: nothing is taken that is not there, and only what is short is copied."""

    def __init__(self, data: memoryview, position: int) -> None:
        self.data, self.position = data, position

    def read(self, count: int) -> bytes | memoryview:
        start, self.position = self.position, self.position + count
        if self.position > len(self.data):
            raise TruncatedFile(f"{count} bytes are announced where {max(len(self.data) - start, 0)} are left")
        view = self.data[start : self.position]
        return bytes(view) if count <= INLINE else view

    def readline(self) -> bytes:
        line, end, _ = bytes(self.data[self.position : self.position + KEY_LENGTH]).partition(b"\n")
        if not end:
            raise CorruptFile("a line without its end")
        self.position += len(line) + 1
        return line + end


_Unpickler: Any = pickle._Unpickler  # undocumented, and the same in every Python 3


class RestrictedUnpickler(_Unpickler):
    """Reads one pickle.

    Args:
        data: the bytes the pickle lies in.
        find: (module, name) -> what stands for it: a SafeCall, or any inert value. It raises CheckpointError for every
            name that is not on its list.
        budget: what the file may ask for.
        persistent: what a persistent id stands for; None refuses them.
        text: whether Python 2's strings are text where they can be, as PyTorch takes them; else they are bytes.
        start: where the pickle begins.
    """

    def __init__(
        self,
        data: memoryview,
        find: Find,
        budget: Budget,
        persistent: Callable[[Any], Any] | None = None,
        text: bool = False,
        start: int = 0,
    ) -> None:
        self.stream = _Stream(data, start)
        super().__init__(self.stream)
        self.find, self.budget, self.persistent, self.text = find, budget, persistent, text

    def run(self) -> tuple[Any, int]:
        """The pickled object, and the position after it.

        Raises:
            CorruptFile: the data ends early, or makes no sense.
            CheckpointError: it asks for what is not allowed.
        """
        try:
            return self.load(), self.stream.position
        except NO_SENSE as error:
            raise CorruptFile(f"its pickle makes no sense at byte {self.stream.position}") from error

    def find_class(self, module: str, name: str) -> Any:
        if len(module) + len(name) > KEY_LENGTH:
            raise CorruptFile("a name of more than a thousand characters")
        return self.find(module, name)

    def persistent_load(self, pid: Any) -> Any:
        if self.persistent is None:
            raise CheckpointError("it refers to data outside the file, which is not supported. Take another copy.")
        return self.persistent(pid)

    def pop_mark(self) -> list[Any]:
        items: list[Any] = super().pop_mark()
        self.budget.spend_operation(len(items) >> 3)
        return items

    def _decode_string(self, value: bytes | memoryview) -> Any:
        if self.text and isinstance(value, bytes):
            with suppress(UnicodeDecodeError):
                return value.decode("utf-8")
        return value

    # -- instructions, by the names that the standard library gives them

    def load_frame(self) -> None:
        self.read(8)  # a hint for those who read from afar

    def load_long1(self) -> None:
        size = self.read(1)[0]
        if size > INTEGER_BYTES:
            raise CorruptFile(f"a number of {size} bytes")
        self.append(int.from_bytes(self.read(size), "little", signed=True))

    load_bytearray8 = _Unpickler.load_binbytes8

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key, value])

    def load_setitems(self) -> None:
        self._set_items(self.pop_mark())

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._set_items(items)

    def _set_items(self, items: list[Any]) -> None:
        target = as_mapping(self.stack[-1])
        if len(items) % 2:
            raise CorruptFile("a name without its value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[plain_key(key)] = value

    def load_additems(self) -> None:
        items, target = self.pop_mark(), self.stack[-1]
        if type(target) is not set:
            raise CorruptFile(f"members for a {type(target).__name__}")
        target.update(plain_key(item) for item in items)

    def load_frozenset(self) -> None:
        self.append(frozenset(plain_key(item) for item in self.pop_mark()))

    def load_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        # The table holds only functions of this project, inert classes and inert values; data never gets here.
        if not isinstance(function, SafeCall) or type(arguments) is not tuple:
            raise CorruptFile("a call of something that is no function")
        self.append(function.call(*arguments))

    def load_newobj(self) -> None:
        if type(self.stack[-1]) is not tuple or self.stack[-1]:
            raise CorruptFile("a new object of something that is no class")
        self.load_reduce()

    def load_build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if not isinstance(target, Builder):
            raise CorruptFile(f"attributes for a {type(target).__name__}")
        target.build(state)


def _counted(name: str) -> Callable[[RestrictedUnpickler], None]:
    instruction = getattr(RestrictedUnpickler, f"load_{name}")

    def run(unpickler: RestrictedUnpickler) -> None:
        unpickler.budget.spend_operation(COSTS[name])
        instruction(unpickler)

    return run


RestrictedUnpickler.dispatch = {
    code: _counted(name)
    for code, function in _Unpickler.dispatch.items()
    if (name := function.__name__.removeprefix("load_")) in COSTS
}


def plain_key(key: Any) -> Hashable:
    """`key`, if it is text, a number, short bytes or None; hashing anything nested could take for ever."""
    if isinstance(key, (str, bytes)) and len(key) > KEY_LENGTH:
        raise CorruptFile(f"a name of {len(key)} characters")
    if key is None or isinstance(key, (str, bytes, int, float)):
        return key
    raise CorruptFile(f"a {type(key).__name__} as a name")


def as_mapping(value: Any) -> dict[Any, Any]:
    """`value` where a pickle has to give a dictionary.

    Raises:
        CorruptFile: it is something else.
    """
    if not isinstance(value, dict):
        raise CorruptFile(f"a {type(value).__name__} where attributes belong")
    return value
