"""The embedded face detector: box, five landmarks and score, in under a megabyte, for photographs and drawings alike.

The body follows YuNet (Wu, Peng and Yu, "YuNet: A Tiny Millisecond-level Face Detector", 2023): depthwise-separable
convolutions, a feature pyramid, and anchor-free heads at strides 8, 16 and 32. Two things are our own: the picture is
looked at in two sizes, so that a face that fills the frame is found as well as a small one, and every face found is
measured once more by a second network in an upright close-up, which makes its landmarks several times more exact.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..faces.types import Detection
from .search import FaceSearch, fuse_overlapping

ASSET = Path(__file__).resolve().parent.parent / "assets" / "detector.safetensors"
STRIDES = (8, 16, 32)


@dataclass(frozen=True)
class DetectorConfig:
    """Widths of the network."""

    stem: int = 16
    """Channels at half size; a quarter has twice as many."""
    widths: tuple[int, int, int] = (64, 96, 128)
    """Channels at strides 8, 16 and 32."""
    neck: int = 64
    """Channels of the feature pyramid and the heads."""

    @classmethod
    def from_json(cls, text: str) -> DetectorConfig:
        """Reads what the weights file says."""
        values = json.loads(text)
        return cls(stem=values["stem"], widths=tuple(values["widths"]), neck=values["neck"])


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """A plain 3x3 convolution with batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


def _separable(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """A 1x1 and then a depthwise 3x3 convolution with batch norm and ReLU, as in YuNet."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.Conv2d(outputs, outputs, 3, stride, 1, groups=outputs, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class FeaturePyramid(nn.Module):
    """Features at three sizes, each half the one before, the coarser ones merged into the finer."""

    def __init__(self, stem: nn.Module, stem_channels: int, widths: tuple[int, int, int], neck: int) -> None:
        """`stem` sees the picture first; the stages then shrink by 2, 4 and 8."""
        super().__init__()
        self.stem = stem
        stages = []
        channels = stem_channels
        for width in widths:
            stages.append(
                nn.Sequential(_separable(channels, width, 2), _separable(width, width), _separable(width, width))
            )
            channels = width
        self.stages = nn.ModuleList(stages)
        self.laterals = nn.ModuleList([nn.Conv2d(width, neck, 1) for width in widths])
        self.smooth = nn.ModuleList([_separable(neck, neck) for _ in widths])

    def forward(self, pictures: Tensor) -> tuple[list[Tensor], Tensor]:
        """Merged features [B,neck,...] from fine to coarse, and the last stage's own."""
        features = []
        x = self.stem(pictures)
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        merged: list[Tensor] = []
        for lateral, smooth, feature in reversed(list(zip(self.laterals, self.smooth, features, strict=True))):
            level = lateral(feature)
            if merged:
                level = level + F.interpolate(merged[0], scale_factor=2.0, mode="nearest")
            merged.insert(0, smooth(level))
        return merged, x


class FaceFinder(nn.Module):
    """Picture -> one prediction per cell of three grids."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        stem, neck = config.stem, config.neck
        first_look = nn.Sequential(_convolution(3, stem, 2), _convolution(stem, 2 * stem, 2))
        self.pyramid = FeaturePyramid(first_look, 2 * stem, config.widths, neck)
        self.shared = _separable(neck, neck)
        logit = nn.Conv2d(neck, 1, 1)
        # Few cells hold a face: starting at 1 % spares the first steps an avalanche of negatives (RetinaNet).
        nn.init.constant_(logit.get_parameter("bias"), -math.log(99))
        self.score = nn.Sequential(_separable(neck, neck), logit)
        self.place = nn.Sequential(_separable(neck, neck), nn.Conv2d(neck, 14, 1))

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Raw predictions.

        Args:
            pictures: [B,3,H,W], -1..1, sides multiples of 32.

        Returns:
            For each stride [B,15,H/stride,W/stride]: the score's logit, the box's centre (2) and log size (2) and the
            five landmarks (10), places in strides from the cell's centre.
        """
        levels = [self.shared(level) for level in self.pyramid(pictures)[0]]
        return [torch.cat([self.score(level), self.place(level)], dim=1) for level in levels]


class FaceMeasurer(nn.Module):
    """Upright close-up of one face -> its five landmarks, and whether it is a face at all."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        stem, neck = config.stem, config.neck
        first_look = nn.Sequential(_convolution(3, stem, 2), _convolution(stem, 2 * stem))
        self.pyramid = FeaturePyramid(first_look, 2 * stem, config.widths, neck)
        self.heat = nn.Sequential(_separable(neck, neck), nn.Conv2d(neck, 5, 1))
        self.score = nn.Linear(config.widths[-1], 1)

    def forward(self, closeups: Tensor) -> tuple[Tensor, Tensor]:
        """Raw predictions.

        Args:
            closeups: [B,3,S,S], -1..1, S a multiple of 16.

        Returns:
            For each landmark the logarithm (up to a constant) of where it may be, [B,5,S/4,S/4], and the score's
            logit [B].
        """
        levels, last = self.pyramid(closeups)
        return self.heat(levels[0]), self.score(last.mean((2, 3)))[:, 0]


class DetectorNetwork(nn.Module):
    """The two networks of the detector: one finds faces in a picture, the other measures each of them closely."""

    def __init__(self, config: DetectorConfig | None = None) -> None:
        super().__init__()
        self.config = config or DetectorConfig()
        self.finder = FaceFinder(self.config)
        self.measurer = FaceMeasurer(self.config)


def cell_centres(height: int, width: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Centres [K,2] (x, y) in pixels and strides [K] of all cells for a picture of the given size, in output order."""
    centres, strides = [], []
    for stride in STRIDES:
        rows, columns = height // stride, width // stride
        y, x = torch.meshgrid(
            torch.arange(rows, device=device) + 0.5, torch.arange(columns, device=device) + 0.5, indexing="ij"
        )
        centres.append(torch.stack([x, y], dim=-1).reshape(-1, 2) * stride)
        strides.append(torch.full((rows * columns,), float(stride), device=device))
    return torch.cat(centres), torch.cat(strides)


def decode(outputs: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Predictions in pixels: score logits [B,K], boxes [B,K,4] and landmarks [B,K,5,2], K cells of all strides."""
    height, width = (side * STRIDES[0] for side in outputs[0].shape[-2:])
    flat = torch.cat([level.flatten(2) for level in outputs], dim=2).transpose(1, 2).float()
    centres, strides = cell_centres(height, width, flat.device)
    middle = centres + flat[..., 1:3] * strides[:, None]
    half = flat[..., 3:5].clamp(-6, 6).exp() * strides[:, None] / 2
    landmarks = centres[:, None] + flat[..., 5:].unflatten(-1, (5, 2)) * strides[:, None, None]
    return flat[..., 0], torch.cat([middle - half, middle + half], dim=-1), landmarks


class EmbeddedDetector:
    """Finds faces of any look and size with a `DetectorNetwork`."""

    def __init__(
        self,
        network: DetectorNetwork,
        long_side: int = 640,
        overview_side: int = 192,
    ) -> None:
        """Wraps a network.

        Args:
            network: the trained network.
            long_side: larger photos are shrunk to this for the first look.
            overview_side: size of the second look, which has a border and finds faces that fill the frame.
        """
        self.network = network.eval()
        self.long_side = long_side
        self.overview_side = overview_side
        self.search = FaceSearch(self.propose, self.network.measurer, long_side)

    @classmethod
    def load(cls, path: str | Path | None = None) -> EmbeddedDetector:
        """The detector in a file, the shipped one when no path is given."""
        return cls(load_network(path or ASSET))

    def find(self, photo: Tensor, min_confidence: float) -> list[Detection]:
        """See `FaceDetector.find`."""
        return self.search.find(photo, min_confidence)

    def propose(self, photo: Tensor, floor: float) -> tuple[Tensor, Tensor]:
        """See `search.Propose`: an overview with a border, and a look at all there is."""
        longest = max(photo.shape[-2:])
        looks = [self._look(photo, self.overview_side / longest, self.overview_side // 4, floor)]
        if longest > self.overview_side:
            looks.append(self._look(photo, min(1.0, self.long_side / longest), 16, floor))
        boxes, landmarks, scores = (torch.cat(parts) for parts in zip(*looks, strict=True))
        return fuse_overlapping(boxes, landmarks, scores)[1:]

    def _look(self, photo: Tensor, scale: float, border: int, floor: float) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes [K,4], landmarks [K,5,2] and scores [K] in photo pixels, seen at one scale with a border."""
        height, width = photo.shape[-2:]
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        small = F.interpolate(photo[None], size=size, mode="bilinear", align_corners=False, antialias=True)
        right, bottom = (border + -(side + 2 * border) % 32 for side in (size[1], size[0]))
        padded = F.pad(small, (border, right, border, bottom), value=0.0)
        parameter = next(self.network.parameters())
        decoded = decode(self.network.finder(padded.to(parameter)))
        scores, boxes, landmarks = (part[0].to(photo.device) for part in decoded)
        scores = scores.sigmoid()
        kept = (scores >= floor).nonzero().flatten()
        kept = kept[scores[kept].argsort(descending=True)[:500]]
        back = photo.new_tensor([width / size[1], height / size[0]])
        boxes = (boxes[kept].unflatten(1, (2, 2)) - border) * back
        return boxes.flatten(1), (landmarks[kept] - border) * back, scores[kept]


def save_network(network: DetectorNetwork, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Writes the weights at half precision with their config, whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: value.detach().cpu().half().contiguous() if value.is_floating_point() else value.cpu()
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    about = {"format": "facestylist", "format_version": "1", "kind": "detector", **(metadata or {})}
    about["config"] = json.dumps(asdict(network.config))
    part = path.with_suffix(".part")
    save_file(tensors, part, metadata=about)
    part.replace(path)


def load_network(path: str | Path) -> DetectorNetwork:
    """Reads what `save_network` wrote, as float32 in evaluation mode.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a face detector of ours.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no detector at {path}; restore the assets folder or run `make assets`.")
    with safe_open(str(path), framework="pt") as file:
        metadata = file.metadata() or {}
        if metadata.get("kind") != "detector" or "config" not in metadata:
            raise ValueError(f"{path} is not a face detector of this project (its kind is {metadata.get('kind')!r}).")
        # Building a network draws initial weights from the global generator, which is not ours to move.
        with torch.random.fork_rng(devices=[]):
            network = DetectorNetwork(DetectorConfig.from_json(metadata["config"]))
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - safe_open is no dictionary
    counters = {name: value for name, value in network.state_dict().items() if name.endswith("num_batches_tracked")}
    network.load_state_dict({**{name: value.float() for name, value in state.items()}, **counters})
    return network.eval()
