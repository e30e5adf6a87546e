"""Pseudo-pairs as a folder of pictures, for trainers of image-editing models (LoRAs, InstructPix2Pix, ControlNets).

    DIR/source/000000.png   before          DIR/metadata.jsonl   a JSON object per pair
    DIR/target/000000.png   after           DIR/target/000000.txt   its prompt, where captions are asked for

It is the image-folder form of Hugging Face's `datasets`: `file_name` names the picture after (column `image`),
`source_file_name` the one before (column `source`), and the other keys become columns. Trainers that take two folders with equal
names, captions beside the targets, read the same folder.
"""  # noqa: E501 - a table

from __future__ import annotations

import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ...core.callbacks import Callbacks, batched
from ...models.types import FaceGenerator
from .renderer import PairRenderer, to_bytes
from .types import PAIR_ORIGINS, StylePairs

PROMPT = "turn the portrait into {style}"
DRAWN_AT_ONCE = 16
DEGREES = ("unchanged", "with a touch of", "half", "fully")
"""What `{degree}` stands for, by level."""


def export_pairs(
    pairs: StylePairs,
    source: FaceGenerator,
    target: FaceGenerator,
    folder: str | Path,
    prompt: str = PROMPT,
    size: int = 0,
    captions: bool = False,
    levels: Sequence[int] | None = None,
    callbacks: Callbacks | None = None,
) -> Path:
    """Writes pairs as pictures; the folder appears when it is complete, or not at all.

    Args:
        pairs, source, target: as for `PairRenderer`.
        folder: it may exist only if it is empty.
        prompt: text of each pair; `{style}`, `{level}` (0-3), `{degree}` (words for it) and `{origin}` are filled in.
        size: side of the pictures in pixels, 0 for the generators' own.
        captions: also write each prompt as a text file beside the target picture.
        levels: those to write; None for all.
        callbacks: `on_progress` counts pairs; what they raise goes through and leaves nothing behind.

    Raises:
        ValueError: the folder holds something, the prompt names something unknown, or there is no such pair.
    """
    folder = Path(folder)
    fill_in(prompt, style="", level="", degree="", origin="")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} exists already and is not empty. Choose another folder; nothing was written.")
    rows = [i for i, level in enumerate(pairs.level.tolist()) if levels is None or level in levels]
    if not rows:
        raise ValueError("There are no pairs of these levels to export. Nothing was written.")
    renderer = PairRenderer(pairs, source, target)
    style = target.style or "the style"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise ValueError(f"{folder} cannot be written ({error.strerror or error}). Choose another folder.") from error
    try:
        _write(renderer, rows, building, prompt, style, size, captions, callbacks or Callbacks())
        # The temporary folder is private; the finished one gets the permissions of a new folder.
        mask = os.umask(0)
        os.umask(mask)
        building.chmod(0o777 & ~mask)
        if folder.exists():
            folder.rmdir()
        os.replace(building, folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return folder


def fill_in(prompt: str, **words: object) -> str:
    """The prompt with `{style}`, `{level}`, `{degree}` and `{origin}` replaced, and nothing else interpreted.

    Raises:
        ValueError: it names something else.
    """

    def word(match: re.Match[str]) -> str:
        if match[1] not in words:
            known = ", ".join(f"{{{name}}}" for name in words)
            raise ValueError(f"The prompt {prompt!r} cannot be filled in: {match[0]} is none of {known}.")
        return str(words[match[1]])

    return re.sub(r"\{([^{}]*)\}", word, prompt)


def _write(
    renderer: PairRenderer,
    rows: Sequence[int],
    folder: Path,
    prompt: str,
    style: str,
    size: int,
    captions: bool,
    callbacks: Callbacks,
) -> None:
    for side in ("source", "target"):
        (folder / side).mkdir()
    pairs, lines = renderer.pairs, []
    for batch in batched(len(rows), DRAWN_AT_ONCE, callbacks):
        part = rows[batch]
        sides = [to_bytes(side).permute(0, 2, 3, 1).numpy() for side in renderer(part)]
        for place, row in enumerate(part):
            name = f"{batch.start + place:06}"
            for side, pictures in zip(("source", "target"), sides, strict=True):
                picture = Image.fromarray(pictures[place])
                if size and size != picture.width:
                    picture = picture.resize((size, size), Image.Resampling.LANCZOS)
                picture.save(folder / side / f"{name}.png", compress_level=4)
            record = _record(pairs, row, name, prompt, style)
            if captions:
                (folder / "target" / f"{name}.txt").write_text(record["text"] + "\n", encoding="utf-8")
            lines.append(json.dumps(record, ensure_ascii=False))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _record(pairs: StylePairs, row: int, name: str, prompt: str, style: str) -> dict[str, Any]:
    """What `metadata.jsonl` says of a pair; every line has the same keys, as one table needs."""
    level, origin = int(pairs.level[row]), PAIR_ORIGINS[int(pairs.origin[row])]
    text = fill_in(prompt, style=style, level=level, degree=DEGREES[level], origin=origin)
    scores = {}
    for key, values in pairs.scores.items():
        if not bool(values.isnan().all()):
            value = float(values[row])
            scores[key] = value if math.isfinite(value) else None
    return {
        "file_name": f"target/{name}.png",
        "source_file_name": f"source/{name}.png",
        "text": text,
        "style": style,
        "level": level,
        "origin": origin,
        **scores,
    }
