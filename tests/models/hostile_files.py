"""Files that attack whoever reads them: each entry is a name and the bytes of a file.

`python hostile_files.py FOLDER` reads every file in a folder as a checkpoint and prints, as JSON, what happened: the
sentence, the processor's seconds, how much memory the process had grown by, and the modules that were imported.
"""

from __future__ import annotations

import argparse
import io
import json
import pickle
import struct
import sys
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any

MARK, STOP, NONE, REDUCE, BUILD, POP = b"(", b".", b"N", b"R", b"b", b"0"
CANARY = "canary-was-here"
COMMAND = f"import pathlib; pathlib.Path({CANARY!r}).touch()"


# -- pickles, instruction by instruction


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def name(module: str, attribute: str) -> bytes:
    return text(module) + text(attribute) + b"\x93"


def old_name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def group(*items: bytes) -> bytes:
    return MARK + b"".join(items) + b"t"


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + group(*arguments) + REDUCE


def number(value: int) -> bytes:
    data = value.to_bytes(16, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def dictionary(*pairs: tuple[bytes, bytes]) -> bytes:
    return b"}" + MARK + b"".join(key + value for key, value in pairs) + b"u"


def stored(body: bytes, protocol: int = 4) -> bytes:
    return b"\x80" + bytes([protocol]) + body + STOP


def under(body: bytes) -> bytes:
    """A pickle of {"G_ema": body}."""
    return stored(dictionary((text("G_ema"), body)))


def module(state: bytes, source: str = COMMAND, class_name: str = "Generator") -> bytes:
    meta = dictionary(
        (text("type"), text("class")),
        (text("version"), number(6)),
        (text("module_src"), text(source)),
        (text("class_name"), text(class_name)),
        (text("state"), state),
    )
    return call(name("torch_utils.persistence", "_reconstruct_persistent_obj"), meta)


def doubling(depth: int, ending: bytes) -> bytes:
    """A structure that holds the one before twice, `depth` times."""
    body = text("x")
    for _ in range(depth):
        body += b"q\x00" + POP + MARK + b"h\x00h\x00" + ending
    return body


def raw_bytes(data: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(data)) + data


# -- PyTorch's archives


def archive(pickled: bytes, root: str = "file", compress: bool = False, **members: bytes) -> bytes:
    """With the `version` that PyTorch asks for before it reads the pickle: these attack it, too."""
    buffer = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", method) as file:
        file.writestr(f"{root}/data.pkl", pickled)
        file.writestr(f"{root}/version", b"3\n")
        for member, data in members.items():
            file.writestr(f"{root}/{member.replace('__', '/')}", data)
    return buffer.getvalue()


def tensor(key: str, values: int, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    storage = group(text("storage"), name("torch", "FloatStorage"), text(key), text("cpu"), number(values)) + b"Q"
    sides = group(*(number(side) for side in size)), group(*(number(step) for step in stride))
    hooks = call(name("collections", "OrderedDict"))
    return call(name("torch._utils", "_rebuild_tensor_v2"), storage, number(offset), *sides, b"\x89", hooks)


MARKED = "conv1.conv.modulation.weight"


def weights(*pairs: tuple[str, bytes]) -> bytes:
    return stored(dictionary(*((text(key), value) for key, value in pairs)), 2)


def legacy(body: bytes, keys: bytes = b"]", values: bytes = b"") -> bytes:
    head = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}]
    return b"".join(pickle.dumps(part, 2) for part in head) + stored(body, 2) + stored(keys, 2) + values


# -- safetensors


def safetensors(header: Any, body: bytes = b"", length: int | None = None) -> bytes:
    data = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(data) if length is None else length) + data + body


def entry(shape: list[Any], begin: Any, end: Any, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def ours(**changes: Any) -> bytes:
    config = {"resolution": 8, "channels": [4, 4], "z_dim": 8, "w_dim": 8, "mapping_layers": 2, **changes}
    metadata = {"format": "facestylist", "format_version": "1", "kind": "generator"}
    metadata["config"] = json.dumps({"generator": config})
    return safetensors({"__metadata__": metadata, "generator.mean_latent": entry([8], 0, 32)}, bytes(32))


def dangerous_names() -> dict[str, bytes]:
    """A call of everything that runs code, spelled in both ways."""
    run = text(COMMAND)
    shell = text(f"touch {CANARY}")
    calls = {
        "os.system": (("os", "system"), shell),
        "posix.system": (("posix", "system"), shell),
        "subprocess.Popen": (("subprocess", "Popen"), shell),
        "builtins.eval": (("builtins", "eval"), run),
        "builtins.exec": (("builtins", "exec"), run),
        "builtins.exec, Python 2": (("__builtin__", "exec"), run),
        "builtins.getattr": (("builtins", "getattr"), name("os", "system"), text("__call__")),
        "builtins.__import__": (("builtins", "__import__"), text("antigravity")),
        "importlib": (("importlib", "import_module"), text("antigravity")),
        "operator.attrgetter": (("operator", "attrgetter"), text("__class__")),
        "functools.partial": (("functools", "partial"), name("builtins", "exec"), run),
        "copyreg._reconstructor": (("copyreg", "_reconstructor"), name("builtins", "object")),
        "types.FunctionType": (("types", "FunctionType"), NONE),
        "a dotted name": (("collections", "OrderedDict.__init__.__globals__"),),
        "a dotted name of torch": (("torch.storage", "_load_from_bytes.__globals__"),),
        "torch.load": (("torch", "load"), text("x")),
        "torch.serialization.load": (("torch.serialization", "load"), text("x")),
        "torch.hub.load": (("torch.hub", "load"), text("x")),
        "torch.jit.load": (("torch.jit", "load"), text("x")),
        "torch._utils._rebuild_qtensor": (("torch._utils", "_rebuild_qtensor"),),
        "numpy.load": (("numpy", "load"), text("x")),
        "numpy reconstruct": (("numpy.core.multiarray", "_reconstruct"), NONE),
        "dnnlib.util.open_url": (("dnnlib.util", "open_url"), text("http://localhost")),
        "persistent_class": (("torch_utils.persistence", "persistent_class"), NONE),
        "pathlib": (("pathlib", "Path.touch"), text(CANARY)),
        "pickle.loads": (("pickle", "loads"), raw_bytes(pickle.dumps(1))),
        "bytearray": (("builtins", "bytearray"), number(10**11)),
        "range": (("builtins", "list"), call(name("builtins", "range"), number(10**10))),
        "webbrowser": (("webbrowser", "open"), text("http://localhost")),
    }
    files = {}
    for title, (function, *arguments) in calls.items():
        body = call(name(*function), *arguments)
        files[f"pickle: {title}"] = under(body)
        files[f"archive: {title}"] = archive(under(body))
    for title in ("os.system", "builtins.eval"):
        function, *arguments = calls[title]
        files[f"old pickle: {title}"] = stored(call(old_name(*function), *arguments), 2)
        files[f"legacy: {title}"] = legacy(call(old_name(*function), *arguments))
        inner = raw_bytes(legacy(call(old_name(*function), *arguments)))
        files[f"side door: {title}"] = under(call(name("torch.storage", "_load_from_bytes"), inner))
        inner = raw_bytes(archive(stored(call(old_name(*function), *arguments), 2)))
        files[f"side door, archive: {title}"] = under(call(name("torch.storage", "_load_from_bytes"), inner))
    return files


def tricks() -> dict[str, bytes]:
    """Pickles that use allowed names and odd instructions in ways nobody should."""
    inner = call(name("collections", "OrderedDict"))
    encode = name("_codecs", "encode")
    cycle = b"}q\x00" + text("_modules") + b"}" + text("a") + module(b"h\x00") + b"ss"
    return {
        "call of a result": under(inner + group(text(COMMAND)) + REDUCE),
        "call of a text": under(text("os.system") + group(text(CANARY)) + REDUCE),
        "poisoned source": under(module(dictionary((text("_parameters"), dictionary())))),
        "attributes for a function": under(encode + dictionary((text("__code__"), text(COMMAND))) + BUILD),
        "slots": under(inner + group(NONE, dictionary((text("__class__"), text("os")))) + BUILD + b"K\x01\x85R"),
        "namespace class": archive(
            stored(call(name("argparse", "Namespace")) + dictionary((text("__class__"), text("x"))) + BUILD)
        ),
        "persistent id": under(text("x") + b"Q"),
        "persistent id as a line": under(b"Pos\n"),
        "persistent module": legacy(group(text("module"), NONE, text("x.py"), text(COMMAND)) + b"Q"),
        "persistent rubbish": archive(stored(group(text("storage"), NONE, NONE, NONE, NONE) + b"Q")),
        "instance": stored(MARK + text(f"touch {CANARY}") + b"ios\nsystem\n", 2),
        "object": stored(MARK + name("os", "system") + text(CANARY) + b"o", 2),
        "extension": stored(b"\x82\x01", 2),
        "new object with keywords": under(name("collections", "OrderedDict") + b")}\x92"),
        "out-of-band buffer": under(b"\x97"),
        "protocol 9": b"\x80\x09N.",
        "protocol 0 in disguise": b"\x80\x02cos\nsystem\n(S'touch canary-was-here'\ntR.",
        "announced bytes": stored(b"\x8e" + struct.pack("<Q", 1 << 60)),
        "announced bytes, short": stored(b"B" + struct.pack("<I", 0xFFFFFFFF)),
        "announced bytearray": stored(b"\x96" + struct.pack("<Q", 1 << 62), 5),
        "announced text": stored(b"\x8d" + struct.pack("<Q", 1 << 61)),
        "announced number": stored(b"\x8b" + struct.pack("<I", 0x7FFFFFFF)),
        "announced frame": b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + NONE,
        "long number": stored(b"\x8b" + struct.pack("<I", 1 << 20) + b"\x7f" * (1 << 20)),
        "doubled lists": under(doubling(60, b"l")),
        "doubled lists in attributes": under(
            module(dictionary((text("z_dim"), doubling(40, b"l")), (text("_parameters"), dictionary())))
        ),
        "doubled arguments": archive(stored(dictionary((text("args"), doubling(60, b"l")), (text("x"), NONE)))),
        "doubled tuple as a name": under(dictionary((doubling(60, b"t"), NONE))),
        "doubled tuple in a set": under(call(name("builtins", "set"), b"]" + doubling(60, b"t") + b"a")),
        "depth": under(b"N" + b"\x85" * 50_000),
        "depth without end": under(b"N" + b"\x85" * 2_000_000),
        "cycle": under(b"]q\x00h\x00a"),
        "cycle of modules": under(module(cycle)),
        "doubled modules": under(
            text("x")
            + b"".join(
                b"q\x00"
                + POP
                + module(dictionary((text("_modules"), dictionary((text("a"), b"h\x00"), (text("b"), b"h\x00")))))
                for _ in range(40)
            )
        ),
        "many instructions": stored(b"N0" * 400_000 + NONE),
        "many marks": stored(MARK * 450_000 + NONE),
        "encoded again and again": stored(
            text("y" * 1_000_000) + b"q\x00" + b"".join(call(encode, b"h\x00", text("latin1")) for _ in range(4000))
        ),
        "one command line again and again": archive(
            stored(
                MARK
                + dictionary(*((text(f"n{i}"), NONE) for i in range(20_000)))
                + b"q\x00"
                + (call(name("argparse", "Namespace")) + b"h\x00" + BUILD) * 2000
                + b"l"
            )
        ),
        "one list again and again": under(
            MARK
            + (MARK + NONE * 20_000 + b"lq\x00")
            + call(name("_codecs", "encode"), text("x")) * 10
            + call(name("builtins", "set"), b"h\x00") * 2000
            + b"l"
        ),
        "one state again and again": under(
            MARK
            + dictionary(*((text(f"n{i}"), NONE) for i in range(20_000)))
            + b"q\x00"
            + module(b"h\x00") * 2000
            + b"l"
        ),
        "encoded by another codec": under(call(encode, text("aaaa"), text("zlib_codec"))),
        "numpy objects": under(call(name("numpy", "dtype"), text("O8"), b"\x89", b"\x88")),
        "numpy object number": under(
            call(name("numpy.core.multiarray", "scalar"), call(name("numpy", "dtype"), text("f8")), text("x"))
        ),
        "stack underflow": stored(REDUCE),
        "no such memory": stored(b"h\x07"),
        "items for a number": stored(b"K\x01" + NONE + b"a"),
        "long name": under(dictionary((text("n" * 100_000), NONE))),
        "long module name": under(name("m" * 5000, "x")),
        "unprintable module name": under(name("a\n\x1b[31m", "x")),
        "lone surrogate": stored(b"\x8c\x03\xff\xfe\xfd"),
    }


def arrays() -> dict[str, bytes]:
    """PyTorch archives with what only they may hold: arrays, default dictionaries, attributes, whole networks."""
    kind, objects = (call(name("numpy", "dtype"), text(code), b"\x89", b"\x88") for code in ("f4", "O8"))
    empty = call(name("numpy._core.multiarray", "_reconstruct"), name("numpy", "ndarray"), group(number(0)), text("b"))

    def filled(shape: bytes, data: bytes, kind: bytes = kind, more: bytes = b"") -> bytes:
        return empty + group(number(1), shape, kind, b"\x89", data, *([more] if more else [])) + BUILD

    def mean(value: bytes) -> bytes:
        return archive(stored(dictionary((text("latent_avg"), value), (text("x"), NONE))))

    attributes = name("torch._tensor", "_rebuild_from_type_v2")
    inner = name("collections", "OrderedDict") + group() + REDUCE
    again = b"".join(empty + group(number(1), b"h\x00", kind, b"\x89", b"h\x01") + BUILD for _ in range(2000))
    wide = dictionary(*((text(f"n{i}"), NONE) for i in range(400)))
    return {
        "array larger than its bytes": mean(filled(group(number(1 << 40)), raw_bytes(bytes(4)))),
        "array of negative size": mean(filled(group(number(-1)), raw_bytes(bytes(4)))),
        "array of many sides": mean(filled(group(*(number(1) for _ in range(60))), raw_bytes(bytes(4)))),
        "array of objects": mean(filled(group(number(1)), raw_bytes(bytes(8)), objects)),
        "array of a list": mean(filled(group(number(1)), b"]" + NONE + b"a")),
        "array with more": mean(filled(group(number(1)), raw_bytes(bytes(4)), more=text(COMMAND))),
        "array of another class": mean(
            call(name("numpy._core.multiarray", "_reconstruct"), name("os", "system"), group(number(0)), text("b"))
        ),
        "array out of a buffer": mean(
            call(name("numpy._core.numeric", "_frombuffer"), text(CANARY), kind, group(number(1)), text("C"))
        ),
        "one buffer again and again": mean(
            group(number(1 << 18)) + b"q\x00" + POP + raw_bytes(bytes(1 << 20)) + b"q\x01" + POP + MARK + again + b"l"
        ),
        "default dictionary that runs": mean(call(name("collections", "defaultdict"), name("os", "system"))),
        "default dictionary of code": mean(call(name("collections", "defaultdict"), name("builtins", "exec"))),
        "attributes by a command": mean(
            call(attributes, name("os", "system"), name("torch", "Tensor"), group(text(f"touch {CANARY}")), NONE)
        ),
        "attributes by a text": mean(call(attributes, text("os.system"), name("torch", "Tensor"), group(), NONE)),
        "attributes within attributes": mean(
            call(attributes, attributes, name("torch", "Tensor"), group(attributes, NONE, group()), NONE)
        ),
        "poisoned source in an archive": archive(
            under(module(dictionary((text("_parameters"), dictionary((text("w"), tensor("0", 1, 0, (1,), (1,)))))))),
            data__0=bytes(4),
        ),
        "reduced result of a reduced result": mean(inner + group(inner + group(inner) + REDUCE) + REDUCE),
        "reduced fifty thousand times": mean(inner + (b"0" + inner) * 50_000),
        "one mapping again and again": archive(
            stored(wide + b"q\x00" + POP + dictionary(*((text(f"m{i}"), b"h\x00") for i in range(500))))
        ),
    }


def archives() -> dict[str, bytes]:
    """PyTorch archives whose tables or tensors lie."""
    one = bytes(4)
    plain = weights((MARKED, tensor("0", 1, 0, (1,), (1,))))
    good = archive(plain, data__0=one)
    end = good.rfind(b"PK\x05\x06")
    central = good.find(b"PK\x01\x02")

    def patched(position: int, form: str, *values: int) -> bytes:
        size = struct.calcsize(form)
        return good[:position] + struct.pack(form, *values) + good[position + size :]

    shared = [(f"layer{i}.weight", tensor("0", 1 << 20, 0, (1 << 20,), (1,))) for i in range(2000)]
    named = [(f"to_rgbs.{i}.bias", tensor("0", 1, 0, (1,), (1,))) for i in range(60)]
    wide = [
        (MARKED, tensor("0", 1, 0, (1,), (1,))),
        ("conv1.conv.weight", tensor("0", 1, 0, (1, 1 << 20, 1, 1, 1), (0, 0, 0, 0, 0))),
        ("style.1.weight", tensor("0", 1, 0, (1 << 10, 1 << 10), (0, 0))),
    ]
    return {
        "zip bomb": archive(plain, compress=True, data__0=bytes(1 << 26)),
        "zip bomb, pickle": archive(stored(b"N0" * (1 << 22) + NONE), compress=True),
        "path out of the archive": archive(plain, root="../../evil", data__0=one),
        "absolute path": archive(plain, root="/evil", data__0=one),
        "path with backslashes": archive(plain, root="..\\evil", data__0=one),
        "path with a drive": archive(plain, root="C:", data__0=one),
        "two roots": good[:central] + good[central:end].replace(b"file/data/0", b"elif/data/0") + good[end:],
        "overlap": overlapping(plain),
        "many entries": patched(end + 8, "<HH", 0xFFFE, 0xFFFE),
        "many entries, wide": patched(end + 8, "<HHII", 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF),
        "table beyond the file": patched(end + 16, "<I", 0x7FFFFFFF),
        "entry beyond the file": patched(central + 42, "<I", 0x7FFFFFFF),
        "size beyond the file": patched(central + 20, "<II", 0x7FFFFFF0, 0x7FFFFFF0),
        "encrypted": patched(central + 8, "<H", 1),
        "name with a zero": good[:central] + good[central:end].replace(b"file/data/0", b"file/data\0x") + good[end:],
        "two parts of a name": good[:central]
        + good[central:end].replace(b"file/version", b"file/data.pkl"[:12])
        + good[end:],
        "table of many entries": with_table(good, [b"file/data/%07d" % i for i in range(50_000)]),
        "entries of many extras": with_table(good, [b"file/data/%d" % i for i in range(200)], bytes(65_532)),
        "doubled tuple as a name": archive(stored(dictionary((doubling(60, b"t"), NONE)), 2)),
        "doubled tuple in a set": archive(stored(b"\x8f" + MARK + doubling(60, b"t") + b"\x90")),
        "doubled tuple in a frozen set": archive(stored(MARK + doubling(60, b"t") + b"\x91")),
        "doubled tuple as an old name": archive(stored(MARK + doubling(60, b"t") + NONE + b"d", 2)),
        "torchscript": archive(plain, constants__pkl=b"x", **{"constants.pkl": stored(b")"), "data__0": one}),
        "big endian": archive(plain, byteorder=b"big", data__0=one),
        "no values": archive(plain),
        "shorter values": archive(weights((MARKED, tensor("0", 100, 0, (100,), (1,)))), data__0=one),
        "tensor beyond its values": archive(weights((MARKED, tensor("0", 1, 5, (1,), (1,)))), data__0=one),
        "strides beyond the values": archive(weights((MARKED, tensor("0", 1, 0, (2, 2), (9, 9)))), data__0=one),
        "negative size": archive(weights((MARKED, tensor("0", 1, 0, (-1,), (1,)))), data__0=one),
        "negative stride": archive(weights((MARKED, tensor("0", 1, 0, (1,), (-1,)))), data__0=one),
        "expanded tensor": archive(weights((MARKED, tensor("0", 1, 0, (1 << 20, 1 << 20), (0, 0)))), data__0=one),
        "gigantic tensor": archive(weights((MARKED, tensor("0", 1, 0, (1 << 62, 1 << 62), (0, 0)))), data__0=one),
        "many sides": archive(weights((MARKED, tensor("0", 1, 0, (1,) * 60, (1,) * 60))), data__0=one),
        "one storage for everything": archive(weights(*shared), data__0=bytes(4 << 20)),
        "gigantic resolution": archive(
            weights((MARKED, tensor("0", 1, 0, (1,), (1,))), *named, *wide[1:]), data__0=one
        ),
        "gigantic width": archive(weights(*wide), data__0=one),
        "legacy values that lie": legacy(
            dictionary((text(MARKED), tensor("0", 1 << 40, 0, (1 << 40,), (1,)))), b"]" + text("0") + b"a", bytes(64)
        ),
        "legacy values of another length": legacy(
            dictionary((text(MARKED), tensor("0", 4, 0, (4,), (1,)))), b"]" + text("0") + b"a", bytes(64)
        ),
        "legacy keys that do not fit": legacy(dictionary((text(MARKED), tensor("0", 1, 0, (1,), (1,)))), b"]", one),
    }


def with_table(good: bytes, titles: list[bytes], extra: bytes = b"") -> bytes:
    """An archive whose table has an entry for each of `titles`, all of its first part."""
    start = good.find(b"PK\x01\x02")
    table = b"".join(
        b"PK\x01\x02"
        + struct.pack("<HHHHHHIIIHHHHHII", 20, 20, *[0] * 7, len(title), len(extra), *[0] * 5)
        + title
        + extra
        for title in titles
    )
    count = min(len(titles), 0xFFFE)
    return good[:start] + table + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, count, count, len(table), start, 0)


def overlapping(plain: bytes) -> bytes:
    """An archive whose table names the same bytes many times, each time as another file."""
    body = bytes(1 << 20)
    local = b"PK\x03\x04" + struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 0, zlib.crc32(body), len(body), len(body), 0, 0)
    first = b"PK\x03\x04" + struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 0, 0, len(plain), len(plain), 0, 0) + plain
    table = b""
    for i in range(1000):
        title = b"file/data.pkl" if i == 0 else f"file/data/{i}".encode()
        size, start = (len(plain), 0) if i == 0 else (len(body), len(first))
        table += b"PK\x01\x02" + struct.pack(
            "<HHHHHHIIIHHHHHII", 20, 20, 0, 0, 0, 0, 0, size, size, len(title), 0, 0, 0, 0, 0, start
        )
        table += title
    start = len(first) + len(local) + len(body)
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1000, 1000, len(table), start, 0)
    return first + local + body + table + end


def lying_headers() -> dict[str, bytes]:
    """Safetensors files whose header says what is not there."""
    return {
        "header beyond the file": safetensors({}, length=10_000),
        "header of 2^55 bytes": safetensors({}, length=(1 << 55) + 1),
        "header of 60 MB": safetensors({}, length=60_000_000),
        "header is no JSON": safetensors(b"{" + b"\xff" * 20),
        "header is a list": safetensors(b'{"a": [1, 2'),
        "header without end": safetensors(b'{"a":' * 100_000),
        "header of brackets": safetensors(b'{"a":' + b"[" * 200_000),
        "offsets outside": safetensors({"a": entry([1], 0, 4)}),
        "offsets far outside": safetensors({"a": entry([1], 0, 1 << 70)}),
        "offsets overlap": safetensors({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, bytes(12)),
        "the same bytes often": safetensors({f"t{i}": entry([1000], 0, 4000) for i in range(500)}, bytes(4000)),
        "a gap": safetensors({"a": entry([1], 0, 4), "b": entry([1], 8, 12)}, bytes(12)),
        "bytes left over": safetensors({"a": entry([1], 0, 4)}, bytes(12)),
        "offsets backwards": safetensors({"a": entry([1], 4, 0)}, bytes(4)),
        "negative offsets": safetensors({"a": entry([1], -4, 0)}, bytes(4)),
        "offsets are text": safetensors({"a": entry([1], "0", "4")}, bytes(4)),
        "offsets are floats": safetensors({"a": entry([1], 0.0, 4.0)}, bytes(4)),
        "shape and size differ": safetensors({"a": entry([1 << 20, 1 << 20], 0, 4)}, bytes(4)),
        "gigantic shape": safetensors({"a": entry([1 << 62] * 4, 0, 4)}, bytes(4)),
        "shape of nothing, gigantic": safetensors({"a": entry([1 << 62, 0], 0, 0)}),
        "negative shape": safetensors({"a": entry([-1, -1], 0, 4)}, bytes(4)),
        "many sides": safetensors({"a": entry([1] * 100, 0, 4)}, bytes(4)),
        "unknown type": safetensors({"a": entry([1], 0, 4, "PICKLE")}, bytes(4)),
        "type is a list": safetensors({"a": entry([1], 0, 4, ["F32"])}, bytes(4)),
        "metadata is no text": safetensors({"__metadata__": {"format": {"a": 1}}}),
        "entry is no description": safetensors({"a": 5}),
        "ours, gigantic resolution": ours(resolution=1 << 40, channels=[4] * 39),
        "ours, a number of 400 digits": ours(resolution=10**400),
        "ours, gigantic width": ours(channels=[1 << 40, 1 << 40]),
        "ours, wide": ours(channels=[60_000, 60_000]),
        "ours, endless mapping": ours(mapping_layers=10**9),
        "ours, gigantic latents": ours(z_dim=1 << 50),
        "ours, not a number": ours(conv_clamp=float("nan")),
        "ours, nested numbers": ours(channels=[[4], [4]]),
        "ours, text for numbers": ours(resolution="8"),
        "ours, text for a rate": ours(mapping_lr_multiplier="0.01"),
        "ours, another argument": ours(__class__="x"),
        "ours, an argument with a control sign": ours(**{"arch\x7f\x1b[31m": "x"}),
        "ours, deep configuration": safetensors(
            {"__metadata__": {"format": "facestylist", "config": "[" * 100_000}, "a": entry([1], 0, 4)}, bytes(4)
        ),
    }


def corpus() -> dict[str, bytes]:
    """Every hostile file by its name."""
    files = {**dangerous_names(), **tricks()}
    files |= {f"archive: {title}": data for title, data in (archives() | arrays()).items()}
    files |= {f"safetensors: {title}": data for title, data in lying_headers().items()}
    return files


def write(folder: Path) -> None:
    """Writes the corpus as 0000.pt, 0001.pt, ... in its order."""
    for i, data in enumerate(corpus().values()):
        (folder / f"{i:04}.pt").write_bytes(data)


def _peak() -> int:
    """The most memory that this process has had at once, in bytes."""
    import resource

    # Kilobytes on Linux, bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main(folder: Path) -> None:
    from facestylist.models import checkpoints

    # The reader's own modules are there before anything hostile is.
    _peak()
    checkpoints.inspect("embedded")
    results = []
    for path in sorted(folder.glob("*.pt")):
        known, start, peak = set(sys.modules), time.process_time(), _peak()
        outcomes = []
        for read in (checkpoints.inspect, checkpoints.load_generator, checkpoints.load_encoder):
            try:
                read(path)
                outcomes.append("read")
            except checkpoints.CheckpointError as error:
                outcomes.append(str(error))
            except BaseException as error:
                outcomes.append(f"!{type(error).__name__}: {error}"[:300])
        results.append(
            {
                "outcomes": outcomes,
                "seconds": (time.process_time() - start) / 3,
                "grown": _peak() - peak,
                "size": path.stat().st_size,
                "modules": sorted(set(sys.modules) - known),
            }
        )
    sys.stdout.write(json.dumps(results))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    main(parser.parse_args().folder)
