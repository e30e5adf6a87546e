"""Pseudo-pairs in a file: one `.safetensors` that holds all that is needed besides the two generators.

Tensors: the codes, each stored once (`w [C, w_dim]` where all layers are equal, `w_plus [D, num_ws, w_dim]` otherwise)
and, per pair, `code [N]` into the two in a row (and `target_code [N]` where it differs), `level`, `origin`, `picture`,
`flip`, `affine`, `score.<name>`; `photos` and `style_pictures` as bytes. Metadata: kind, format version, and a JSON
object `manifest` with the generators, the blends and the report.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...latents.files import CODE_SIZES, check_ours, our_metadata, save_bytes
from ...models.checkpoints.arrays import read_arrays
from .types import PAIR_LEVELS, PAIR_ORIGINS, GeneratorReference, StylePairs

KIND = "set of pseudo-pairs"
MERGED = ("w_plus", "level", "origin", "flip", "affine", "photos", "style_pictures")
"""What stands one after the other where sets are merged."""


def save_pairs(pairs: StylePairs, path: str | Path) -> Path:
    """Writes pairs whole or not at all.

    Raises:
        ValueError: the name does not end in `.safetensors`, there are no pairs, or the file cannot be written.
    """
    from safetensors.torch import save

    path = Path(path)
    if path.suffix.lower() != ".safetensors":
        raise ValueError(f"{path}: pairs are saved as .safetensors. Change the name.")
    if len(pairs) == 0:
        raise ValueError("There are no pairs to save. Nothing was written.")
    both = pairs.w_plus if pairs.target_w_plus is None else torch.cat([pairs.w_plus, pairs.target_w_plus])
    tensors, index = _pack(both)
    tensors["code"] = index[: len(pairs)]
    if pairs.target_w_plus is not None:
        tensors["target_code"] = index[len(pairs) :]
    for name in ("level", "origin"):
        tensors[name] = getattr(pairs, name).to(torch.uint8)
    tensors |= {name: getattr(pairs, name) for name in ("flip", "affine", "photos", "style_pictures")}
    tensors["picture"] = pairs.picture.to(torch.int32)
    tensors |= {f"score.{name}": values.float() for name, values in pairs.scores.items()}
    manifest = {
        "num_ws": pairs.w_plus.shape[1],
        "source": dataclasses.asdict(pairs.source),
        "target": dataclasses.asdict(pairs.target),
        "blend": {str(level): {str(r): share for r, share in row.items()} for level, row in pairs.blend.items()},
        "whole_palette": pairs.whole_palette,
        "report": dict(pairs.report),
    }
    metadata = our_metadata(KIND, manifest=json.dumps(manifest), w_space=pairs.source.w_space)
    plain = {name: t.detach().cpu().clone(memory_format=torch.contiguous_format) for name, t in tensors.items()}
    return save_bytes(path, save(plain, metadata))


def load_pairs(path: str | Path) -> StylePairs:
    """The pairs in a file, on the CPU. Where only the shards of a run are there, all of them.

    Raises:
        ValueError: the file is missing, damaged, no file of pairs, or of a newer version.
    """
    path = Path(path)
    if not path.exists():
        parts = shards_of(path)
        if parts:
            return merge_pairs([load_pairs(part) for part in parts])
    arrays, metadata = read_arrays(path)
    if metadata.get("format") != "facestylist":
        raise ValueError(f"{path}: it is no file of pseudo-pairs. Choose one that Save Pairs or `pairs` wrote.")
    check_ours(path, metadata, KIND)
    try:
        with torch.inference_mode(False):
            pairs = _read({name: value for name, value in arrays.items() if isinstance(value, Tensor)}, metadata)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{path}: it is incomplete or damaged ({error}). Take another copy of the file.") from error
    return pairs


def merge_pairs(parts: Sequence[StylePairs]) -> StylePairs:
    """Several sets of pairs in a row, made with the same generators and blends.

    Raises:
        ValueError: they were not.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    for part in parts[1:]:
        if (part.source, part.target, part.blend, part.whole_palette) != (
            first.source,
            first.target,
            first.blend,
            first.whole_palette,
        ):
            raise ValueError("These sets of pairs were made with different generators or blends. Merge those of one.")
    offsets = {"photo": 0, "anchor": 0}
    pictures = []
    for part in parts:
        picture = part.picture.clone()
        for kind, store in (("photo", part.photos), ("anchor", part.style_pictures)):
            picture[part.origin == PAIR_ORIGINS.index(kind)] += offsets[kind]
            offsets[kind] += len(store)
        pictures.append(picture)

    recoloured = any(part.target_w_plus is not None for part in parts)
    names = [name for name in first.scores if all(name in part.scores for part in parts)]
    return first.replace(
        **{name: torch.cat([getattr(part, name) for part in parts]) for name in MERGED},
        target_w_plus=torch.cat([p.w_plus if p.target_w_plus is None else p.target_w_plus for p in parts])
        if recoloured
        else None,
        picture=torch.cat(pictures),
        scores={name: torch.cat([part.scores[name] for part in parts]) for name in names},
        report=_merged_report([part.report for part in parts]),
    )


def shards_of(path: Path) -> list[Path]:
    """The shards that stand in place of `path`: `name-00000-of-00004.safetensors` and so on.

    Raises:
        ValueError: some are missing.
    """
    pattern = re.compile(re.escape(path.stem) + r"-(\d{5})-of-(\d{5})" + re.escape(path.suffix))
    found = {}
    for file in path.parent.glob("*") if path.parent.is_dir() else ():
        match = pattern.fullmatch(file.name)
        if match:
            found[int(match[1]), int(match[2])] = file
    totals = {total for _, total in found}
    if not found:
        return []
    wanted = {(rank, total) for total in totals for rank in range(total)}
    if len(totals) > 1 or set(found) != wanted:
        raise ValueError(
            f"{path} was made in parts, and not all of one run are there: {len(found)} files say they are of "
            f"{', '.join(str(total) for total in sorted(totals))}. Wait for all of them, or remove older ones."
        )
    return [found[key] for key in sorted(found)]


def _pack(codes: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """The distinct codes, and for each of `codes [N, num_ws, w_dim]` where it is among them, `[N]` int32."""
    equal = (codes == codes[:, :1]).all(2).all(1)
    w, w_place = torch.unique(codes[equal][:, 0], dim=0, return_inverse=True)
    w_plus, w_plus_place = torch.unique(codes[~equal], dim=0, return_inverse=True)
    index = torch.zeros(len(codes), dtype=torch.int32)
    index[equal] = w_place.to(torch.int32)
    index[~equal] = (w_plus_place + len(w)).to(torch.int32)
    return {"w": w, "w_plus": w_plus}, index


def _read(arrays: Mapping[str, Tensor], metadata: Mapping[str, str]) -> StylePairs:
    """Pairs of the tensors of a file; whatever does not fit raises."""
    manifest = json.loads(metadata["manifest"])
    num_ws = int(manifest["num_ws"])
    w, w_plus = arrays["w"].float(), arrays["w_plus"].float()
    _need(CODE_SIZES[0] <= num_ws <= CODE_SIZES[1] and w.ndim == 2 and w_plus.ndim == 3, "its codes have a wrong shape")
    _need(w_plus.shape[1:] == (num_ws, w.shape[1]), "its codes have a wrong shape")
    _need(bool(torch.isfinite(w).all() and torch.isfinite(w_plus).all()), "its codes are not finite numbers")
    known = torch.cat([w[:, None].expand(-1, num_ws, -1), w_plus])
    count = len(arrays["code"])

    def column(name: str, *shape: int) -> Tensor:
        values = arrays[name]
        _need(tuple(values.shape) == (count, *shape), f"`{name}` has a wrong shape")
        return values.clone()

    def whole(name: str, low: int, high: int) -> Tensor:
        values = column(name).long()
        _need(bool(((values >= low) & (values < high)).all()), f"`{name}` holds values out of range")
        return values

    source, target = (GeneratorReference(**manifest[role]) for role in ("source", "target"))
    level, origin = whole("level", 0, len(PAIR_LEVELS)), whole("origin", 0, len(PAIR_ORIGINS))
    stores = {}
    for name in ("photos", "style_pictures"):
        stores[name] = arrays[name].clone()
        fits = stores[name].dtype == torch.uint8 and stores[name].shape[1:] == (3, source.resolution, source.resolution)
        _need(fits, f"`{name}` are no pictures of {source.resolution} px")
    picture = whole("picture", -1, max(len(stores["photos"]), len(stores["style_pictures"]), 0))
    for kind, store in (("synthetic", None), ("photo", stores["photos"]), ("anchor", stores["style_pictures"])):
        mine = picture[origin == PAIR_ORIGINS.index(kind)]
        there = (mine == -1) if store is None else (mine >= 0) & (mine < len(store))
        _need(bool(there.all()), "a pair refers to a picture that is not there")
    affine = column("affine", 4).float()
    _need(bool(torch.isfinite(affine).all() and (affine[:, 1] > 0).all()), "`affine` holds impossible values")
    return StylePairs(
        w_plus=known[whole("code", 0, len(known))],
        target_w_plus=known[whole("target_code", 0, len(known))] if "target_code" in arrays else None,
        level=level,
        origin=origin,
        picture=picture,
        flip=column("flip").bool(),
        affine=affine,
        scores={
            name.removeprefix("score."): column(name).float() for name in sorted(arrays) if name.startswith("score.")
        },
        photos=stores["photos"],
        style_pictures=stores["style_pictures"],
        source=source,
        target=target,
        blend={int(key): {int(r): float(share) for r, share in row.items()} for key, row in manifest["blend"].items()},
        whole_palette=bool(manifest["whole_palette"]),
        report=manifest["report"],
    )


def _need(condition: bool, reason: str) -> None:
    if not condition:
        raise ValueError(reason)


def _merged_report(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The counts of several reports added up."""
    rows: dict[tuple[Any, Any], dict[str, Any]] = {}
    notes: list[str] = []
    for report in reports:
        for row in report.get("rows", []):
            total = rows.setdefault((row["level"], row["origin"]), {})
            for name, value in row.items():
                same = name in ("level", "origin")
                total[name] = value if same else total.get(name, 0) + value
        notes += [note for note in report.get("notes", []) if note not in notes]
    return {"settings": reports[0].get("settings", {}), "rows": list(rows.values()), "notes": notes}
