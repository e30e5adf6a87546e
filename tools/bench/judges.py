"""Networks that judge styles in benchmarks and take part in no method: a parsing network and a style judge.

Both are one small U-Net, trained on renders of every look: its decoder reads label maps, a head on its encoder tells
the looks apart. The features before that head are what style distances are measured in.
"""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...core.files import write_atomically
from ...procedural import LOOKS, NUM_LABELS, Renderer, sample_parameters
from ...training.kit.precision import use_bf16
from ...training.losses.distances import kernel_discrepancy, sliced_patch_distance

__all__ = ["Judge", "frechet_distance", "kernel_distance", "mean_iou", "parse", "sliced_patch_distance", "train_judge"]

logger = logging.getLogger(__name__)

PEOPLE_SEED = 90_000
"""The people the judges learn from; no other set shows them."""
WIDTHS = (32, 64, 96, 128)
SQUARE = 2
FEATURES = sum(WIDTHS)


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
    """`[N, 3, S, S]` in -1..1 -> label logits `[N, NUM_LABELS, S, S]` and look logits `[N, looks]`; S is even.

    Squares of 2 x 2 pixels are its positions, a quarter as many: training takes minutes, and no pixel is averaged away.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (3 * SQUARE**2, *WIDTHS)
        self.down = nn.ModuleList(_block(a, b) for a, b in zip(widths, widths[1:], strict=False))
        self.up = nn.ModuleList(_block(a + b, b) for a, b in zip(WIDTHS[:0:-1], WIDTHS[-2::-1], strict=True))
        self.labels = nn.Conv2d(WIDTHS[0], NUM_LABELS * SQUARE**2, 1)
        self.look = nn.Linear(FEATURES, len(LOOKS))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        maps = self._encode(pictures)
        x = maps[-1]
        for block, skip in zip(self.up, maps[-2::-1], strict=True):
            x = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            x = block(torch.cat([x, skip], 1))
        return F.pixel_shuffle(self.labels(x), SQUARE), self.look(self._pool(maps))

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
    pictures, labels, looks = _renders(path.with_suffix(""), size, people, compiled)
    random = torch.Generator().manual_seed(1)
    optimiser = torch.optim.AdamW(judge.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    judge.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    # Where the processor has no bfloat16, emulating it takes a hundred times as long.
    native = use_bf16("auto", torch.device("cpu"))
    for step in range(1, steps + 1):
        index = torch.randint(len(pictures), (batch,), generator=random)
        seen = pictures[index].float() / 127.5 - 1
        # Softness, brightness and contrast of a generator's pictures must not decide what is read in them.
        if step % 2:
            seen = F.interpolate(F.avg_pool2d(seen, 2), scale_factor=2, mode="bilinear", align_corners=False)
        gain = torch.rand(batch, 1, 1, 1, generator=random) * 0.6 + 0.7
        seen = seen * gain + (torch.rand(batch, 3, 1, 1, generator=random) - 0.5) * 0.3
        with torch.autocast("cpu", torch.bfloat16, enabled=native):
            maps, kind = judge(seen.contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(maps.float(), labels[index].long()) + 0.2 * F.cross_entropy(kind.float(), looks[index])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 100 == 0:
            logger.info("judge: step %d of %d, loss %.3f", step, steps, loss.item())
    judge = judge.eval().requires_grad_(False)
    write_atomically(path, lambda file: torch.save(judge.state_dict(), file))
    return judge


def _renders(folder: Path, size: int, people: int, compiled: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures uint8, label maps and looks; drawn ones stay in `folder`, because drawing takes longer than reading."""
    renderer = Renderer(compiled=compiled)
    folder.mkdir(parents=True, exist_ok=True)
    pictures, labels, looks = [], [], []
    for number, look in enumerate(LOOKS):
        path = folder / f"{look}-{people}.pt"
        if not path.exists():
            faces = sample_parameters(people, torch.Generator().manual_seed(PEOPLE_SEED + number))
            drawn = renderer.render(faces, size, look, fast=True)
            bytes_ = ((drawn.image + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
            kept = {"pictures": bytes_, "labels": drawn.labels}
            write_atomically(path, lambda file, kept=kept: torch.save(kept, file))  # type: ignore[misc]
            logger.info("judge: %d renders of %s", people, look)
        drawn_before = torch.load(path, weights_only=True)
        pictures.append(drawn_before["pictures"])
        labels.append(drawn_before["labels"])
        looks.append(torch.full((people,), number))
    return torch.cat(pictures), torch.cat(labels), torch.cat(looks)


@torch.no_grad()
def parse(judge: Judge, pictures: Tensor) -> Tensor:
    """Label maps `[N, S, S]` int64 of pictures `[N, 3, S, S]`."""
    return torch.cat([judge(part)[0].argmax(1) for part in pictures.split(16)])


def mean_iou(found: Tensor, truth: Tensor) -> Tensor:
    """Mean intersection over union `[N]` of label maps, over the labels that either of the two maps of a face has."""
    scores = []
    for label in range(NUM_LABELS):
        a, b = (found == label).flatten(1), (truth == label).flatten(1)
        union = (a | b).sum(1).float()
        scores.append(torch.where(union > 0, (a & b).sum(1) / union, torch.nan))
    return torch.stack(scores).nanmean(0)


@torch.no_grad()
def frechet_distance(judge: Judge, made: Tensor, wanted: Tensor) -> float:
    """Frechet distance (Heusel et al., arXiv 1706.08500) of the judge's features taken one by one, mean over features.

    In units of the wanted pictures' variance. Unlike KID's cubic kernel a few outlying pictures do not decide it.
    """
    x, y = (torch.cat([judge.features(part) for part in p.split(32)]) for p in (made, wanted))
    scale = y.std(0) + 1e-3
    x, y = x / scale, y / scale
    return float(((x.mean(0) - y.mean(0)) ** 2 + (x.std(0) - y.std(0)) ** 2).mean())


@torch.no_grad()
def kernel_distance(judge: Judge, made: Tensor, wanted: Tensor) -> float:
    """KID (Binkowski et al., arXiv 1801.01401) in the judge's features."""
    x, y = (torch.cat([judge.features(part) for part in p.split(32)]) for p in (made, wanted))
    return kernel_discrepancy(x, y)
