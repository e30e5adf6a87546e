"""The run card: what a style was made from and how, in one small JSON file, one picture, and the style's own metadata.

`card.json` and `card.png` lie in the run's folder; the same JSON travels inside the saved style, where
`facestylist inspect` reads it. It holds no time and no path, so that the same run makes the same card.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...core.files import write_atomically
from ...core.pictures import to_pil
from ...core.settings import fields_of
from .curves import plot_history
from .scoring import Score

CURVE_POINTS = 40
"""A curve in the JSON has at most so many points, each the mean of its share of the run."""
SHORTEST_CURVE = 10
"""Curves of fewer steps say nothing and are not drawn."""
SCORE_NAMES = ("style_distance", "structure_distance")
TITLE_SIZE, TEXT_SIZE, LINE, GAP = 26, 15, 21, 20
PAPER, INK = (250, 249, 246), (40, 40, 44)
PLOT = (900, 620)


@dataclass(frozen=True)
class RunCard:
    """A run in plain values."""

    style: str
    pictures: int
    """Style pictures trained on."""
    held_out: int
    """Style pictures kept for measuring."""
    source: str
    """The source's style name or file."""
    resolution: int
    steps: int
    """Steps done."""
    chosen_step: int
    """The step whose weights were kept."""
    settings: dict[str, Any]
    scores: list[dict[str, Any]]
    """`step`, `style_distance` and `structure_distance` of every measurement."""
    curves: dict[str, list[list[float]]]
    """`[step, value]` of every term, averaged over shares of the run."""
    torch: str

    def to_json(self) -> str:
        """On one line."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> RunCard:
        """What `to_json` wrote; ValueError for anything else. Entries of later versions are left out."""
        try:
            values = json.loads(text)
            return cls(**{field.name: values[field.name] for field in fields(cls)})
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"This is no run card ({error}).") from error

    def lines(self, config_class: type | None = None) -> list[str]:
        """The card as sentences for a person; with the settings' class, settings at their default are left out."""
        held = f", {self.held_out} held back" if self.held_out else ""
        told = [f"{self.pictures} style pictures{held}; {self.steps} steps at {self.resolution} px"]
        if self.source:
            told[0] += f", from {self.source}"
        if self.chosen_step != self.steps:
            told.append(f"kept as it was after step {self.chosen_step}")
        score = next((score for score in self.scores if score["step"] == self.chosen_step), None)
        if score is not None:
            told.append(", ".join(f"{name.replace('_', ' ')} {score[name]:.3g}" for name in SCORE_NAMES))
        defaults = {} if config_class is None else {spec.name: spec.default for spec in fields_of(config_class)}
        changed = [
            f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in self.settings.items()
            if value != defaults.get(name) and name not in ("style_name", "steps")
        ]
        told.append("settings: " + (", ".join(changed) or "the defaults"))
        return told


def make_card(
    style: str,
    settings: Mapping[str, Any],
    history: Sequence[Mapping[str, float]],
    scores: Sequence[Score],
    **known: Any,
) -> RunCard:
    """The card of a run from its loss table and its measurements; `known` are the other fields of `RunCard`."""
    names = list(dict.fromkeys(name for row in history for name in row if name not in ("step", *SCORE_NAMES)))
    curves = {name: _reduced([(row["step"], row[name]) for row in history if name in row]) for name in names}
    return RunCard(
        style=style,
        settings=dict(settings),
        scores=[asdict(score) for score in scores],
        curves=curves,
        torch=str(torch.__version__),
        **known,
    )


def save_card(
    folder: Path, card: RunCard, samples: Tensor, history: Sequence[Mapping[str, float]], config_class: type
) -> None:
    """Writes `card.json` and `card.png`, each whole or not at all. `samples [3, H, W]` in 0..1."""
    text = json.dumps(asdict(card), indent=2, sort_keys=True)
    write_atomically(folder / "card.json", lambda file: file.write(text.encode()))
    picture = draw_card(card, samples, history, config_class)
    write_atomically(folder / "card.png", lambda file: picture.save(file, format="PNG"))


def draw_card(card: RunCard, samples: Tensor, history: Sequence[Mapping[str, float]], config_class: type) -> Any:
    """The card as a Pillow image: what was done, the samples, the curves (where matplotlib is installed)."""
    from PIL import Image, ImageDraw, ImageFont

    pictures = [to_pil(samples.permute(1, 2, 0))]
    if len(history) >= SHORTEST_CURVE:
        # Without matplotlib the numbers are in card.json and losses.csv.
        with contextlib.suppress(RuntimeError):
            pictures.append(to_pil(plot_history(history, *PLOT).permute(1, 2, 0)))
    width = max(picture.width for picture in pictures) + 2 * GAP
    text, title = ImageFont.load_default(TEXT_SIZE), ImageFont.load_default(TITLE_SIZE)
    lines = [part for line in card.lines(config_class) for part in _wrapped(line, text, width - 2 * GAP)]
    head = GAP + TITLE_SIZE + GAP // 2 + LINE * len(lines) + GAP
    sheet = Image.new("RGB", (width, head + sum(picture.height + GAP for picture in pictures)), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, GAP), card.style, INK, font=title)
    for index, line in enumerate(lines):
        draw.text((GAP, GAP + TITLE_SIZE + GAP // 2 + LINE * index), line, INK, font=text)
    y = head
    for picture in pictures:
        sheet.paste(picture, (GAP, y))
        y += picture.height + GAP
    return sheet


def _wrapped(line: str, font: Any, width: int) -> list[str]:
    """A line broken at spaces so that each part fits."""
    parts = [""]
    for word in line.split():
        longer = f"{parts[-1]} {word}".strip()
        if parts[-1] and font.getlength(longer) > width:
            parts.append(word)
        else:
            parts[-1] = longer
    return parts


def _reduced(points: Sequence[tuple[float, float]]) -> list[list[float]]:
    """At most `CURVE_POINTS` points with four digits; values that are not finite do not count."""
    finite = [(step, value) for step, value in points if math.isfinite(value)]
    count = min(len(finite), CURVE_POINTS)
    found = []
    for index in range(count):
        part = finite[index * len(finite) // count : (index + 1) * len(finite) // count]
        value = sum(value for _, value in part) / len(part)
        found.append([int(part[-1][0]), float(f"{value:.4g}")])
    return found
