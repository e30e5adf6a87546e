"""A network that judges styles in benchmarks and takes part in no method.

It is a small U-Net, trained on renders of every look: its decoder reads label maps and landmarks, heads on its encoder
tell the looks apart, and the people in whatever look. The features before the looks' head are what style distances are
measured in.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...core.files import write_atomically
from ...procedural import LOOKS, NUM_LABELS, Renderer, sample_parameters
from ...training.kit.precision import use_bf16

logger = logging.getLogger(__name__)

PEOPLE_SEED = 90_000
"""The people the judges learn from; no other set shows them."""
WIDTHS = (32, 64, 96, 128)
SQUARE = 2
FEATURES = sum(WIDTHS)
LANDMARKS = 68
PERSON, GRID = 64, 4
"""Length of who is in a picture, and the squares along a side of the map it is read off."""
TEMPERATURE = 0.1


class Reading(NamedTuple):
    """What the judge sees in pictures `[N, 3, S, S]`."""

    labels: Tensor
    """Logits `[N, NUM_LABELS, S, S]`."""
    look: Tensor
    """Logits `[N, looks]`."""
    landmarks: Tensor
    """`[N, LANDMARKS, 2]` in parts of the side."""
    person: Tensor
    """`[N, PERSON]` of length 1, near for pictures of one person."""


def _block(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1),
        nn.GroupNorm(8, after),
        nn.SiLU(),
        nn.Conv2d(after, after, 3, padding=1),
        nn.GroupNorm(8, after),
        nn.SiLU(),
    )


class Judge(nn.Module):
    """`[N, 3, S, S]` in -1..1 -> `Reading`; S is a multiple of 64.

    Squares of 2 x 2 pixels are its positions, a quarter as many: training takes minutes, and no pixel is averaged away.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (3 * SQUARE**2, *WIDTHS)
        self.down = nn.ModuleList(_block(a, b) for a, b in zip(widths, widths[1:], strict=False))
        self.up = nn.ModuleList(_block(a + b, b) for a, b in zip(WIDTHS[:0:-1], WIDTHS[-2::-1], strict=True))
        self.labels = nn.Conv2d(WIDTHS[0], NUM_LABELS * SQUARE**2, 1)
        self.look = nn.Linear(FEATURES, len(LOOKS))
        self.points = nn.Conv2d(WIDTHS[0], LANDMARKS, 1)
        self.person = nn.Linear(WIDTHS[-1] * GRID**2, PERSON)

    def forward(self, pictures: Tensor) -> Reading:
        maps = self._encode(pictures)
        x = maps[-1]
        for block, skip in zip(self.up, maps[-2::-1], strict=True):
            x = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            x = block(torch.cat([x, skip], 1))
        heat = self.points(x).float().flatten(2).softmax(2).unflatten(2, x.shape[-2:])
        steps = (torch.arange(x.shape[-1], device=x.device) + 0.5) / x.shape[-1]
        landmarks = torch.stack([heat.sum(2) @ steps, heat.sum(3) @ steps], 2)
        labels = F.pixel_shuffle(self.labels(x), SQUARE)
        return Reading(labels, self.look(self._pool(maps)), landmarks, self._who(maps))

    def identity(self, pictures: Tensor) -> Tensor:
        """Who is in the pictures, `[N, PERSON]` of length 1."""
        return self._who(self._encode(pictures))

    def _who(self, maps: list[Tensor]) -> Tensor:
        return F.normalize(self.person(F.adaptive_avg_pool2d(maps[-1], GRID).flatten(1)).float(), dim=1)

    def features(self, pictures: Tensor) -> Tensor:
        """What style is measured in: mean activations of every level `[N, FEATURES]`, each of unit scale."""
        return self._pool(self._encode(pictures))

    def _encode(self, pictures: Tensor) -> list[Tensor]:
        maps, x = [], F.pixel_unshuffle(pictures, SQUARE)
        for level, block in enumerate(self.down):
            x = block(F.avg_pool2d(x, 2) if level else x)
            maps.append(x)
        return maps

    @staticmethod
    def _pool(maps: list[Tensor]) -> Tensor:
        return torch.cat([m.float().mean((2, 3)) for m in maps], 1)


def train_judge(
    path: Path, size: int = 128, people: int = 300, steps: int = 900, batch: int = 12, compiled: bool = True
) -> Judge:
    """The judge of `size` px pictures from its file `path`, or trained now and saved there."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # initial weights
        judge = Judge()
    if path.exists():
        judge.load_state_dict(torch.load(path, weights_only=True))
        return judge.eval().requires_grad_(False)
    pictures, labels, looks, landmarks = _renders(path.with_suffix(""), size, people, compiled)
    random = torch.Generator().manual_seed(1)
    optimiser = torch.optim.AdamW(judge.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    judge.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    # Where the processor has no bfloat16, emulating it takes a hundred times as long.
    native = use_bf16("auto", torch.device("cpu"))
    for step in range(1, steps + 1):
        # People in two looks each: what tells them apart in both is who they are.
        index = _twice(torch.randint(len(pictures), (batch // 2,), generator=random), people)
        seen = pictures[index].float() / 127.5 - 1
        # Softness, brightness and contrast of a generator's pictures must not decide what is read in them.
        if step % 2:
            seen = F.interpolate(F.avg_pool2d(seen, 2), scale_factor=2, mode="bilinear", align_corners=False)
        gain = torch.rand(batch, 1, 1, 1, generator=random) * 0.6 + 0.7
        seen = seen * gain + (torch.rand(batch, 3, 1, 1, generator=random) - 0.5) * 0.3
        with torch.autocast("cpu", torch.bfloat16, enabled=native):
            read = judge(seen.contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(read.labels.float(), labels[index].long())
        loss = loss + 0.2 * F.cross_entropy(read.look.float(), looks[index])
        loss = loss + 2.0 * (read.landmarks - landmarks[index]).abs().mean()
        alike = read.person[: batch // 2] @ read.person[batch // 2 :].t() / TEMPERATURE
        who = torch.arange(len(alike))
        loss = loss + 0.1 * (F.cross_entropy(alike, who) + F.cross_entropy(alike.t(), who))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 100 == 0:
            logger.info("judge: step %d of %d, loss %.3f", step, steps, loss.item())
    judge = judge.eval().requires_grad_(False)
    write_atomically(path, lambda file: torch.save(judge.state_dict(), file))
    return judge


def _twice(index: Tensor, people: int) -> Tensor:
    """Places `[N]` of pictures in `_renders`, then those of the same people in another look."""
    half = people // 2
    look, place = index // people, index % people
    other = torch.where(place < half, look - 1, look + 1) % len(LOOKS)
    return torch.cat([index, other * people + (place + half) % (2 * half)])


def _renders(folder: Path, size: int, people: int, compiled: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pictures uint8, label maps, looks and landmarks; drawn ones stay in `folder`, because drawing takes longer than
    reading. The second half of a look's people are the first half of the next one's."""
    renderer = Renderer(compiled=compiled)
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for number, look in enumerate(LOOKS):
        path = folder / f"{look}-{people}.pt"
        if not path.exists():
            halves = [PEOPLE_SEED + number, PEOPLE_SEED + (number + 1) % len(LOOKS)]
            faces = [sample_parameters(people // 2, torch.Generator().manual_seed(seed)) for seed in halves]
            both = {name: torch.cat([half[name] for half in faces]) for name in faces[0]}
            drawn = renderer.render(both, size, look, fast=True)
            bytes_ = ((drawn.image + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
            kept = {"pictures": bytes_, "labels": drawn.labels, "landmarks": drawn.landmarks / size}
            write_atomically(path, lambda file, kept=kept: torch.save(kept, file))  # type: ignore[misc]
            logger.info("judge: %d renders of %s", people, look)
        known = torch.load(path, weights_only=True)
        looks = torch.full((people,), number)
        parts.append((known["pictures"], known["labels"], looks, known["landmarks"]))
    pictures, labels, looks, landmarks = (torch.cat(column) for column in zip(*parts, strict=True))
    return pictures, labels, looks, landmarks


@torch.no_grad()
def parse(judge: Judge, pictures: Tensor) -> Tensor:
    """Label maps `[N, S, S]` int64 of pictures `[N, 3, S, S]`."""
    return torch.cat([judge(part).labels.argmax(1) for part in pictures.split(16)])


def mean_iou(found: Tensor, truth: Tensor) -> Tensor:
    """Mean intersection over union `[N]` of label maps, over the labels that either of the two maps of a face has."""
    scores = []
    for label in range(NUM_LABELS):
        a, b = (found == label).flatten(1), (truth == label).flatten(1)
        union = (a | b).sum(1).float()
        scores.append(torch.where(union > 0, (a & b).sum(1) / union, torch.nan))
    return torch.stack(scores).nanmean(0)


def frechet_distance(made: Tensor, wanted: Tensor) -> float:
    """Frechet distance (Heusel et al., arXiv 1706.08500) of features `[N, F]`, `[M, F]` taken one by one, mean.

    In units of the wanted pictures' variance. Unlike KID's cubic kernel a few outlying pictures do not decide it.
    """
    scale = wanted.std(0) + 1e-3
    x, y = made / scale, wanted / scale
    return float(((x.mean(0) - y.mean(0)) ** 2 + (x.std(0) - y.std(0)) ** 2).mean())
