"""How near the shipped styles come to true twins: held-out people, drawn by each style and rendered in its look.

    facestylist bench quality [--faces 32] [--judge] [--json] [--quick]

Renders of the look are the truth: the same people from the same parameters. Distances are of pixels, patches and, with
`--judge`, of a network that is trained on other people for the purpose. Beside each stands what the true twins
themselves have, and what a face without the style has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...latents.sampling import synthesise
from ...models.types import FaceEncoder, FaceGenerator
from ...training.inversion.search import invert_with_encoder
from ...training.losses.distances import measure, sliced_patch_distance
from .judges import Judge, kernel_distance, mean_iou, parse
from .renders import Renders


@dataclass(frozen=True)
class Quality:
    """One style. Distances are smaller where it is better; mIoU is larger."""

    style: str
    faces: int
    l1: float
    """Mean absolute difference from the true twin, 0..1."""
    l1_unstyled: float
    """The same of the face as its source draws it."""
    face_l1: float
    """Of the part that the face fills."""
    gradient_energy: float
    """Squared differences of neighbouring pixels of the face, relative to the twin's: below 1 is softer."""
    patches: float
    """Sliced Wasserstein distance of patches from pictures of other people in the look."""
    patches_twins: float
    """The same of the true twins: what a perfect style would have."""
    patches_unstyled: float
    miou: float | None = None
    """Of the judge's reading of the drawn picture with the twin's label map."""
    miou_twins: float | None = None
    """Of its reading of the true twins: its own limit."""
    kid: float | None = None
    """Kernel distance in the judge's features from pictures of other people in the look."""


@torch.no_grad()
def measure_quality(
    source: FaceGenerator,
    encoder: FaceEncoder,
    styles: Sequence[FaceGenerator],
    pictures_of: Callable[[str], Renders],
    judge: Judge | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> list[Quality]:
    """A row for each style.

    Args:
        source: the generator that the styles share their W with.
        encoder: its encoder, which sees the people as photos.
        styles: each named after the look it learned.
        pictures_of: the renders of a look, the same people in all of them; of "photo" too.
        judge: None leaves out what it would measure.
        say: told each row as it comes.
    """
    photos = pictures_of("photo").held
    codes = invert_with_encoder(photos, encoder, source)
    plain = synthesise(source, codes).clamp(-1, 1).cpu()
    rows = []
    for style in styles:
        look = pictures_of(style.style)
        made = synthesise(style, codes).clamp(-1, 1).cpu()
        rows.append(_row(style.style, made, plain, look, judge))
        say(f"{style.style}: L1 {rows[-1].l1:.4f}, patches {rows[-1].patches:.4f}")
    return rows


def _row(name: str, made: Tensor, plain: Tensor, look: Renders, judge: Judge | None) -> Quality:
    told, unstyled = measure(made, look.held), measure(plain, look.held)
    judged: dict[str, float] = {}
    if judge is not None:
        judged = {
            "miou": float(mean_iou(parse(judge, made), look.labels).mean()),
            "miou_twins": float(mean_iou(parse(judge, look.held), look.labels).mean()),
            "kid": kernel_distance(judge, made, look.others),
        }
    return Quality(
        style=name,
        faces=len(made),
        l1=told["l1"],
        l1_unstyled=unstyled["l1"],
        face_l1=told["face_l1"],
        gradient_energy=told["gradient_energy"],
        patches=sliced_patch_distance(made, look.others),
        patches_twins=sliced_patch_distance(look.held, look.others),
        patches_unstyled=sliced_patch_distance(plain, look.others),
        **judged,
    )


def quality_table(rows: Sequence[Quality]) -> list[str]:
    """Lines of the table; the judge's columns where it judged."""
    judged = any(row.kid is not None for row in rows)
    titles = ["style", "L1", "unstyled", "face L1", "gradient energy", "patches", "twins", "unstyled"]
    titles += ["mIoU", "twins", "KID"] if judged else []
    lines = [f"| {' | '.join(titles)} |", "|---|" + "---:|" * (len(titles) - 1)]
    for row in rows:
        cells = [f"{row.l1:.4f}", f"{row.l1_unstyled:.4f}", f"{row.face_l1:.4f}", f"{row.gradient_energy:.2f}"]
        cells += [f"{row.patches:.4f}", f"{row.patches_twins:.4f}", f"{row.patches_unstyled:.4f}"]
        if judged:
            cells += ["-" if value is None else f"{value:.3f}" for value in (row.miou, row.miou_twins, row.kid)]
        lines.append(f"| {row.style} | {' | '.join(cells)} |")
    return lines
