"""Changes of files at random: of bytes, and of what a container says about itself."""

from __future__ import annotations

import io
import json
import pickletools
import random
import re
import struct
import zipfile
from collections.abc import Callable

NUMBERS = (
    "0",
    "-1",
    "1e999",
    "NaN",
    "Infinity",
    "-0.0",
    "9223372036854775808",
    "1" + "0" * 400,
    "null",
    "true",
    '"x"',
    "[]",
    "{}",
    '""',
    "[1]",
    "4294967296",
    "0.5",
    "1e-320",
)
INTERESTING = (0, 1, 127, 128, 255, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)

Change = Callable[[bytes, random.Random], bytes]


def change_bytes(data: bytes, rng: random.Random) -> bytes:
    """A few bytes, numbers or stretches."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 8))):
        if not out:
            return bytes(out)
        # Headers decide more than values do.
        limit = len(out) if rng.random() < 0.5 else min(len(out), 400)
        at = rng.randrange(limit) if rng.random() < 0.8 else len(out) - 1 - rng.randrange(min(len(out), 200))
        length = rng.choice((1, 2, 4, 8, 16, 64, 256))
        match rng.randrange(8):
            case 0:
                out[at] ^= 1 << rng.randrange(8)
            case 1:
                out[at] = rng.randrange(256)
            case 2:
                width, order = rng.choice((1, 2, 4, 8)), rng.choice(("little", "big"))
                value = rng.choice(INTERESTING) & ((1 << 8 * width) - 1)
                out[at : at + width] = value.to_bytes(width, order)  # type: ignore[arg-type]
            case 3:
                del out[at : at + length]
            case 4:
                out[at:at] = out[at : at + length]
            case 5:
                out[at:at] = rng.randbytes(length)
            case 6:
                other = rng.randrange(len(out))
                out[at : at + length], out[other : other + length] = out[other : other + length], out[at : at + length]
            case _:
                if rng.random() < 0.2:
                    del out[at:]
    return bytes(out)


def change_text(data: bytes, rng: random.Random) -> bytes:
    """A number, word or mark of a text (JSON, TOML, the header of an array) becomes another."""
    text = data.decode("utf-8", "replace")
    for _ in range(rng.choice((1, 1, 2, 3))):
        tokens = list(re.finditer(r'-?\d[\d.eE+-]*|"(?:[^"\\]|\\.)*"|\w+|[^\s\w]', text))
        if not tokens:
            return data
        token = rng.choice(tokens)
        other = rng.choice(tokens).group() if rng.random() < 0.3 else rng.choice(NUMBERS)
        if rng.random() < 0.15:
            other = ""
        text = text[: token.start()] + other + text[token.end() :]
    return text.encode("utf-8", "surrogatepass")


def change_pickle(data: bytes, rng: random.Random) -> bytes:
    """Instructions of a pickle are left out, doubled, swapped, or get other arguments."""
    parts: list[bytes] = []
    try:
        places = [place for _, _, place in pickletools.genops(data) if place is not None]
        parts = [data[a:b] for a, b in zip(places, [*places[1:], len(data)], strict=True)]
    except (ValueError, IndexError, KeyError, UnicodeDecodeError, struct.error):
        pass
    if len(parts) < 3:
        return change_bytes(data, rng)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at, other = rng.randrange(len(parts)), rng.randrange(len(parts))
        match rng.randrange(5):
            case 0:
                parts[at] = b""
            case 1:
                parts[at] *= 2
            case 2:
                parts[at], parts[other] = parts[other], parts[at]
            case 3:
                parts[at] = parts[other]
            case _:
                parts[at] = change_bytes(parts[at], rng)
    return b"".join(parts)


def inside_zip(change: Change) -> Change:
    """One member of an archive changed, its check sums right."""

    def changed(data: bytes, rng: random.Random) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(data)) as given, zipfile.ZipFile(buffer, "w") as made:
            members = [(info.filename, given.read(info)) for info in given.infolist()]
            # The pickle says what the rest is.
            chosen = next((i for i, (name, _) in enumerate(members) if name.endswith("data.pkl")), 0)
            if rng.random() < 0.3:
                chosen = rng.randrange(len(members))
            for i, (name, body) in enumerate(members):
                if i == chosen:
                    body = change(body, rng)
                    name = name if rng.random() < 0.95 else change_text(name.encode(), rng).decode()
                if i != chosen or rng.random() < 0.97:
                    made.writestr(name, body)
        return buffer.getvalue()

    return changed


def safetensors_header(data: bytes, rng: random.Random) -> bytes:
    """The header of a safetensors file, its length right."""
    length = int.from_bytes(data[:8], "little")
    header = change_text(data[8 : 8 + length], rng)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def safetensors_metadata(data: bytes, rng: random.Random) -> bytes:
    """A text in its metadata, which is often JSON again."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    texts = header.get("__metadata__")
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()) or not texts:
        return safetensors_header(data, rng)
    name = rng.choice(sorted(texts))
    texts[name] = change_text(texts[name].encode(), rng).decode("utf-8", "replace")
    made = json.dumps(header).encode()
    return len(made).to_bytes(8, "little") + made + data[8 + length :]


def array_header(data: bytes, rng: random.Random) -> bytes:
    """The header of a `.npy` array, its length right."""
    length = int.from_bytes(data[8:10], "little")
    header = change_text(data[10 : 10 + length], rng)
    return data[:8] + min(len(header), 65535).to_bytes(2, "little") + header[:65535] + data[10 + length :]


def object_pickle(data: bytes, rng: random.Random) -> bytes:
    """The pickle behind the header of an array of objects."""
    start = 10 + int.from_bytes(data[8:10], "little")
    return data[:start] + change_pickle(data[start:], rng)
