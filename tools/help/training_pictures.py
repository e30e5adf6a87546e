"""The help pictures of the nodes that train, and of what they train: styles, guides, pairs, fast stylizers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .strips import ARROW, Tile, card, grid
from .studio import Studio

Maker = Callable[[Studio], Sequence[Tile]]


def style_images(s: Studio) -> Sequence[Tile]:
    drawn = s.rendered("impasto", 6)[0]
    return [
        ("a folder", card("my_pictures/", "any size, any format")),
        ARROW,
        ("aligned, alike, checked", grid(list(drawn), 3)),
    ]


def finetune(s: Studio) -> Sequence[Tile]:
    """The shipped style stands for the trained one."""
    before, after = (grid(list(s.decoded(s.people[1], g)[1:4]), 3) for g in (s.source, s.style("oil")))
    return [("style_images", grid(list(s.rendered("impasto", 4)[0]), 2)), ("source", before), ARROW, ("style", after)]


def loss_plot(s: Studio) -> Sequence[Tile]:
    """An example's curves, with the trembling that training has."""
    import torch

    step = torch.arange(400) / 400
    noise = torch.randn(2, 400, generator=torch.Generator().manual_seed(4))
    falling = {
        "semantic": (0.9 * torch.exp(-4 * step) + 0.25 + 0.05 * noise[0]).tolist(),
        "generator": (1.2 - 0.3 * step + 0.12 * noise[1]).tolist(),
    }
    return [("losses", s.node("LossPlot", losses=falling, width=700, height=300)[0][0])]


def load_student(s: Studio) -> Sequence[Tile]:
    return [(name, _student(s, name)) for name in ("sketch", "oil")]


def _student(s: Studio, name: str, strength: float = 1.0) -> Any:
    (student,) = s.node("LoadFastStylizer", name=f"embedded:student-{name}")
    return s.node("RunFastStylizer", stylizer=student, image=s.photo, strength=strength)[0][0]


def save_student(s: Studio) -> Sequence[Tile]:
    return [
        ("a student", _student(s, "sketch")),
        ARROW,
        ("in models/face_stylizers", card("my_student", ".safetensors", "2 MB")),
    ]


def run_student(s: Studio) -> Sequence[Tile]:
    return [("image", s.photo[0]), ARROW, ("strength 1", _student(s, "oil"))]


def train_student(s: Studio) -> Sequence[Tile]:
    before, after = (s.rendered(look, 2)[0] for look in ("photo", "sketch"))
    return [
        ("before", grid(list(before), 2)),
        ("after", grid(list(after), 2)),
        ARROW,
        ("what it learns to do", _student(s, "sketch")),
    ]


def guide(said: str) -> Maker:
    """Source and style, and what the guide says of the two."""

    def tiles(s: Studio) -> Sequence[Tile]:
        return [
            ("source", s.decoded(s.one(1))[0]),
            ("style", s.decoded(s.one(1), s.style())[0]),
            ARROW,
            ("another pull on the training", card(*said.split("|"))),
        ]

    return tiles


def parts_guide(s: Studio) -> Sequence[Tile]:
    photo, _, labels = s.rendered("photo")
    return [
        ("source", photo[0]),
        ("style", s.rendered("cartoon")[0][0]),
        ARROW,
        ("its parts, to stay in place", labels[0]),
    ]


def destylise(s: Studio) -> Sequence[Tile]:
    drawn = s.rendered("cartoon", 2)[0]
    faces = s.node("Destylise", source=s.source, style_images=drawn, encoder=s.encoder, style=s.style())[1]
    return [("style_images", grid(list(drawn), 2)), ARROW, ("the people behind them", grid(list(faces), 2))]


def make_pairs(s: Studio) -> Sequence[Tile]:
    tiles: list[Tile] = [("source", s.decoded(s.one(1))[0]), ARROW]
    style = s.style("sketch")
    for level, strength in ((1, 0.35), (2, 0.65), (3, 1.0)):
        (drawn,) = s.node("StyliseFaces", style=style, latent=s.one(1), source=s.source, strength=strength)
        tiles.append((f"level {level}", drawn[0]))
    return tiles


def preview_pairs(s: Studio) -> Sequence[Tile]:
    sheet = s.node("PreviewPairs", pairs=s.pairs, source=s.source, target=s.style("sketch"), per_row=6, size=96)[0][0]
    return [("", sheet[: round(sheet.shape[1] * 0.34)])]


def export_pairs(s: Studio) -> Sequence[Tile]:
    source, target = s.decoded(s.one(2))[0], s.decoded(s.one(2), s.style("sketch"))[0]
    return [
        ("pairs", grid([source, target], 2)),
        ARROW,
        ("source/", source),
        ("target/", target),
        ("prompts", card("metadata.jsonl")),
    ]


def save_pairs(s: Studio) -> Sequence[Tile]:
    return [("pairs", _pair(s)), ARROW, ("latents, no pictures", card("my_pairs.safetensors"))]


def load_pairs(s: Studio) -> Sequence[Tile]:
    return [("a small file", card("my_pairs.safetensors")), ARROW, ("drawn again when asked for", _pair(s))]


def _pair(s: Studio) -> Any:
    return grid([s.decoded(s.one(2))[0], s.decoded(s.one(2), s.style("sketch"))[0]], 2)


def train_pairs(s: Studio) -> Sequence[Tile]:
    return [
        ("before", grid([s.rendered("photo")[0][0]], 1)),
        ("after", grid([s.rendered("cartoon")[0][0]], 1)),
        ARROW,
        ("a style taught by pairs", grid(list(s.decoded(s.people[1], s.style())[1:4]), 3)),
    ]
