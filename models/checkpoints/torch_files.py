"""PyTorch's files: the zip archive that torch.save writes since 1.6, and the older stream of pickles.

Both keep the values of tensors as plain bytes beside one pickle that says what they are. The pickle goes through
`unpickler.py`, and the bytes are mapped, so nothing but the structure is copied.

Source of the layouts: `torch/serialization.py`; of the archive: the .ZIP File Format Specification (APPNOTE.TXT).
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from typing import Any

import torch

from .allowed_names import allowed_names
from .errors import CheckpointError, CorruptFile, TruncatedFile
from .tensors import Storage, StorageType
from .unpickler import Budget, RestrictedUnpickler, SafeCall

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
TABLE_LIMIT = 1 << 21
"""Bytes of an archive's table of contents: some twenty thousand tensors. A longer one can keep `zipfile` busy."""
LOCAL_HEADER, LOCAL_MAGIC = 30, b"PK\x03\x04"
PROGRAM = ("constants.pkl", "archive_format", "serialized_exported_program.json")
CUT_OFF = "it is cut off: its end is missing, as after an interrupted download. Download it again."


def read_archive(data: memoryview, budget: Budget) -> Any:
    """The object in a zip archive that torch.save wrote.

    Raises:
        CheckpointError: it is cut off, compressed, no PyTorch file, or asks for what is not allowed.
        CorruptFile: its parts do not fit.
    """
    members = _members(data)
    names = {name.partition("/")[2]: content for name, content in members.items()}
    if "data.pkl" not in names:
        if any(name.endswith(".npy") for name in members):
            raise CheckpointError("this is a numpy archive (.npz), not a network. Choose a checkpoint file.")
        raise CheckpointError(
            "this is an ordinary zip archive. Unpack it, and choose the checkpoint file that was in it."
        )
    if len({name.partition("/")[0] for name in members}) != 1:
        raise CorruptFile("an archive with several roots")
    if bytes(names.get("byteorder", b"little")[:8]) != b"little":
        raise CheckpointError("it was written on a big-endian machine. Save it again as .safetensors there.")

    storages: dict[str, Storage] = {}

    def persistent(pid: Any) -> Storage:
        dtype, key, count = _described(pid)
        content = names.get(f"data/{key}")
        if content is None:
            raise CorruptFile(f"the values {key[:40]!r} are missing")
        if key not in storages:
            if count * dtype.itemsize != len(content):
                raise CorruptFile(f"{count} values are announced where {len(content)} bytes are")
            storages[key] = Storage(dtype, content)
        if storages[key].dtype != dtype:
            return Storage(dtype, storages[key].data)
        return storages[key]

    value, _ = RestrictedUnpickler(names["data.pkl"], allowed_names(budget), budget, persistent, text=True).run()
    return value


def _members(data: memoryview) -> dict[str, memoryview]:
    """The files of an archive by their names, as views; the table is read by `zipfile`, and each entry checked."""
    file: Any = _File(data)
    try:
        if not zipfile.is_zipfile(file):
            raise CheckpointError(CUT_OFF)
        with zipfile.ZipFile(file) as archive:
            entries = sorted(archive.infolist(), key=lambda entry: entry.header_offset)
            table = archive.start_dir
    except (zipfile.BadZipFile, NotImplementedError, OSError, struct.error) as error:
        raise CorruptFile("the archive's table of contents is no such table") from error
    members: dict[str, memoryview] = {}
    ends = [entry.header_offset for entry in entries[1:]] + [table]
    for entry, end in zip(entries, ends, strict=True):
        _check(entry)
        if entry.orig_filename in members:
            raise CorruptFile("two parts of the same name")
        members[entry.orig_filename] = _content(data, entry, end)
    return members


def _check(entry: zipfile.ZipInfo) -> None:
    name = entry.orig_filename
    inner = name.partition("/")[2]
    if inner in PROGRAM or inner.startswith("code/"):
        raise CheckpointError(
            "this is a program of torch.jit (TorchScript) or torch.export, not weights; loading it would run code, so "
            "it was not loaded. Choose the original checkpoint."
        )
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 or entry.compress_size != entry.file_size:
        raise CheckpointError(
            "it is a compressed or encrypted archive, which PyTorch does not write, so it was not loaded (it could be "
            "a decompression bomb). If a checkpoint lies in it, unpack it and choose that."
        )
    parts = name.replace("\\", "/").split("/")
    if ".." in parts or name.startswith(("/", "\\")) or ":" in name or not name.isprintable():
        raise CheckpointError(
            "it is an archive with a path in it that leads out of it, as an attack does, so it was not loaded. "
            "Take another copy from a source you trust."
        )


def _content(data: memoryview, entry: zipfile.ZipInfo, end: int) -> memoryview:
    """Its bytes, which follow its own header and end before the next part begins."""
    begin = entry.header_offset
    head = bytes(data[begin : begin + LOCAL_HEADER]) if begin >= 0 else b""
    if len(head) < LOCAL_HEADER or not head.startswith(LOCAL_MAGIC):
        raise CorruptFile("a part of the archive is not where its table says")
    begin += LOCAL_HEADER + sum(struct.unpack_from("<HH", head, 26))
    if begin + entry.file_size > end:
        raise CheckpointError(
            "its parts overlap, as in a decompression bomb, so it was not loaded. "
            "Take another copy from a source you trust."
        )
    return data[begin : begin + entry.file_size]


class _File:
    """What `zipfile` needs of a file, over bytes that stay where they are."""

    def __init__(self, data: memoryview) -> None:
        self.data, self.place = data, 0

    def seek(self, offset: int, whence: int = 0) -> int:
        self.place = offset + (0, self.place, len(self.data))[whence]
        if self.place < 0:
            raise OSError("before the beginning")
        return self.place

    def tell(self) -> int:
        return self.place

    def read(self, size: int = -1) -> bytes:
        found = self.data[self.place :] if size < 0 else self.data[self.place : self.place + size]
        if len(found) > TABLE_LIMIT:
            raise CheckpointError(
                "it is an archive of more files than any checkpoint has, so it was not loaded. Take another copy."
            )
        self.place += len(found)
        return bytes(found)


def read_stream(data: memoryview, budget: Budget) -> Any:
    """The object in a file of the older layout: magic number, version, system, object, keys, then the values.

    The pickle refers to values that come after it, so it is run twice: once to find its end, once to build tensors.

    Raises:
        CheckpointError: it asks for what is not allowed.
        CorruptFile: it ends early or its parts do not fit.
    """
    find = allowed_names(budget)
    position = 0
    head = []
    for _ in range(3):
        value, position = RestrictedUnpickler(data, find, budget, text=True, start=position).run()
        head.append(value)
    if head[0] != LEGACY_MAGIC or head[1] != 1001:
        raise CorruptFile("another version of the older layout")
    if isinstance(head[2], dict) and head[2].get("little_endian") is False:
        raise CheckpointError("it was written on a big-endian machine. Save it again as .safetensors there.")
    wanted: dict[str, tuple[torch.dtype, int]] = {}

    def note(pid: Any) -> Storage:
        dtype, key, count = _described(pid)
        if wanted.setdefault(key, (dtype, count)) != (dtype, count):
            raise CorruptFile("values described in two ways")
        if count * dtype.itemsize > len(data):
            raise CorruptFile(f"{count} values are announced, which is more than the file holds")
        return Storage(dtype, memoryview(b""))

    _, end = RestrictedUnpickler(data, _without_tensors(find), budget, note, text=True, start=position).run()
    keys, start = RestrictedUnpickler(data, find, budget, text=True, start=end).run()
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or set(keys) != set(wanted):
        raise CorruptFile("its list of values does not fit")
    storages: dict[str, Storage] = {}
    for key in keys:
        dtype, count = wanted[key]
        if bytes(data[start : start + 8]) != count.to_bytes(8, "little"):
            raise TruncatedFile("the data ends early, or its values do not have the announced length")
        start += 8
        content = data[start : start + count * dtype.itemsize]
        if len(content) != count * dtype.itemsize:
            raise TruncatedFile("the data ends before the tensors do")
        storages[key] = Storage(dtype, content)
        start += len(content)

    def persistent(pid: Any) -> Storage:
        storage = storages[_described(pid)[1]]
        view = pid[5] if len(pid) > 5 else None
        return storage if view is None else _view(storage, view)

    value, _ = RestrictedUnpickler(data, find, budget, persistent, text=True, start=position).run()
    return value


def read_pickle(data: memoryview, budget: Budget) -> Any:
    """The object in a plain pickle, where tensors are files of PyTorch's within it; NVIDIA's networks become records.

    The official loader executes the source text that these files carry. Here the text stays text.

    Raises:
        CheckpointError: the pickle asks for a name that is not on the list, or for too much.
        CorruptFile: it ends early or makes no sense.
    """

    def load_storage(payload: Any = None) -> Storage:
        # What torch.save wrote for one storage, as bytes within the pickle; it is read by the same rules.
        if isinstance(payload, bytes):
            budget.spend_copy(len(payload))
            payload = memoryview(bytearray(payload))
        if not isinstance(payload, memoryview):
            raise CorruptFile("a tensor without its bytes")
        read = read_archive if bytes(payload[:4]) == b"PK\x03\x04" else read_stream
        storage = read(payload, budget)
        if not isinstance(storage, Storage):
            raise CheckpointError("a tensor in it is no tensor. Take another copy from a source you trust.")
        return storage

    value, _ = RestrictedUnpickler(data, allowed_names(budget, load_storage), budget).run()
    return value


def _without_tensors(find: Callable[[str, str], Any]) -> Callable[[str, str], Any]:
    """The same names, but a tensor is nothing: its values are not known in the first run."""

    def found(module: str, name: str) -> Any:
        value = find(module, name)
        return SafeCall(lambda *_: None) if module == "torch._utils" else value

    return found


def _view(storage: Storage, view: Any) -> Storage:
    """Very old files: a storage that is a part of another one, (key, first value, number of values)."""
    if not isinstance(view, tuple) or len(view) != 3 or type(view[1]) is not int or type(view[2]) is not int:
        raise CorruptFile("a view of values without its bounds")
    first, last = view[1], view[1] + view[2]
    if not 0 <= first <= last <= storage.count:
        raise CorruptFile("a view that reaches beyond its values")
    width = storage.dtype.itemsize
    return Storage(storage.dtype, storage.data[first * width : last * width])


def _described(pid: Any) -> tuple[torch.dtype, str, int]:
    """(dtype, key, number of values) of ("storage", type, key, device, number of values, ...)."""
    if isinstance(pid, tuple) and pid and pid[0] == "module":
        raise CheckpointError(
            "it holds a whole network with the source text of its class, and not its weights; loading that could run "
            'code, so it was not loaded. Save the weights alone (`torch.save({"g_ema": network.state_dict()}, ...)`).'
        )
    if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage" or not isinstance(pid[1], StorageType):
        raise CorruptFile("a reference to values that is none")
    key, count = pid[2], pid[4]
    if not isinstance(key, (str, int)) or type(count) is not int or count < 0 or len(str(key)) > 200:
        raise CorruptFile("a reference to values without a name or number")
    return pid[1].dtype, str(key), count
