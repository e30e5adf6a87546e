"""The embedded face detector: box, five landmarks and score, in under a megabyte, for photographs and drawings alike.

The body follows YuNet (Wu, Peng and Yu, "YuNet: A Tiny Millisecond-level Face Detector", 2023): depthwise-separable
convolutions, a feature pyramid, and anchor-free heads at strides 8, 16 and 32. Two things are our own: the picture is
looked at in two sizes, so that a face that fills the frame is found as well as a small one, and every face found is
looked at once more, upright and at the network's favourite size, which makes its landmarks several times more exact.
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

from ..faces.warp import resample, transform_points
from .detection import Detection, fuse_overlapping

ASSET = Path(__file__).resolve().parent.parent / "assets" / "detector.safetensors"
STRIDES = (8, 16, 32)

_MOST = 100
"""The most faces in one photo."""
_CANONICAL = torch.tensor([[-0.5, 0.0], [0.5, 0.0], [0.0, 0.55], [-0.4, 1.1], [0.4, 1.1]])
"""Five landmarks of an average upright face, in eye distances from the middle of the eyes."""


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


class DetectorNetwork(nn.Module):
    """Picture -> one prediction per cell of three grids."""

    def __init__(self, config: DetectorConfig | None = None) -> None:
        super().__init__()
        self.config = config or DetectorConfig()
        stem, widths, neck = self.config.stem, self.config.widths, self.config.neck
        self.stem = nn.Sequential(_convolution(3, stem, 2), _convolution(stem, 2 * stem, 2))
        stages = []
        channels = 2 * stem
        for width in widths:
            stages.append(
                nn.Sequential(_separable(channels, width, 2), _separable(width, width), _separable(width, width))
            )
            channels = width
        self.stages = nn.ModuleList(stages)
        self.laterals = nn.ModuleList([nn.Conv2d(width, neck, 1) for width in widths])
        self.smooth = nn.ModuleList([_separable(neck, neck) for _ in widths])
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
        features = []
        x = self.stem(pictures)
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        merged: Tensor | None = None
        outputs = []
        for lateral, smooth, feature in reversed(list(zip(self.laterals, self.smooth, features, strict=True))):
            level = lateral(feature)
            if merged is not None:
                level = level + F.interpolate(merged, scale_factor=2.0, mode="nearest")
            merged = smooth(level)
            shared = self.shared(merged)
            outputs.append(torch.cat([self.score(shared), self.place(shared)], dim=1))
        return outputs[::-1]


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
        closeup_side: int = 128,
        refinements: int = 2,
    ) -> None:
        """Wraps a network.

        Args:
            network: the trained network.
            long_side: larger photos are shrunk to this for the first look.
            overview_side: size of the second look, which has a border and finds faces that fill the frame.
            closeup_side: size of the upright close-up each face is measured in again.
            refinements: how many close-ups in turn; 0 trusts the first look.
        """
        self.network = network.eval()
        self.long_side = long_side
        self.overview_side = overview_side
        self.closeup_side = closeup_side
        self.refinements = refinements

    @classmethod
    def load(cls, path: str | Path | None = None) -> EmbeddedDetector:
        """The detector in a file, the shipped one when no path is given."""
        return cls(load_network(path or ASSET))

    @torch.no_grad()
    def find(self, photo: Tensor, min_confidence: float) -> list[Detection]:
        """See `FaceDetector.find`."""
        height, width = photo.shape[-2:]
        longest = max(height, width)
        # Candidates a little under the bar may pass it when they are looked at closely.
        floor = min_confidence * 0.5
        looks = [self._look(photo, self.overview_side / longest, self.overview_side // 4, floor)]
        if longest > self.overview_side:
            looks.append(self._look(photo, min(1.0, self.long_side / longest), 16, floor))
        boxes, landmarks, scores = (torch.cat(parts) for parts in zip(*looks, strict=True))
        boxes, landmarks, scores = (part[:_MOST] for part in fuse_overlapping(boxes, landmarks, scores))
        for _ in range(self.refinements):
            boxes, landmarks, scores = self._refine(photo, boxes, landmarks, scores)
        boxes, landmarks, scores = fuse_overlapping(boxes, landmarks, scores)
        return [
            Detection(box, points, float(score))
            for box, points, score in zip(boxes, landmarks, scores, strict=True)
            if score >= min_confidence
        ]

    def _predict(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores [B,K] in 0..1, boxes [B,K,4] and landmarks [B,K,5,2] in pixels, on the pictures' device."""
        parameter = next(self.network.parameters())
        logits, boxes, landmarks = decode(self.network(pictures.to(parameter)))
        return logits.sigmoid().to(pictures.device), boxes.to(pictures.device), landmarks.to(pictures.device)

    def _look(self, photo: Tensor, scale: float, border: int, floor: float) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes [K,4], landmarks [K,5,2] and scores [K] in photo pixels, seen at one scale with a border."""
        height, width = photo.shape[-2:]
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        small = F.interpolate(photo[None], size=size, mode="bilinear", align_corners=False, antialias=True)
        right, bottom = (border + -(side + 2 * border) % 32 for side in (size[1], size[0]))
        padded = F.pad(small, (border, right, border, bottom), value=0.0)
        scores, boxes, landmarks = (part[0] for part in self._predict(padded))
        kept = (scores >= floor).nonzero().flatten()
        kept = kept[scores[kept].argsort(descending=True)[:500]]
        back = photo.new_tensor([width / size[1], height / size[0]])
        boxes = (boxes[kept].unflatten(1, (2, 2)) - border) * back
        return boxes.flatten(1), (landmarks[kept] - border) * back, scores[kept]

    def _refine(
        self, photo: Tensor, boxes: Tensor, landmarks: Tensor, scores: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The same faces, measured in upright close-ups; a face that is none when seen closely loses its score."""
        if len(boxes) == 0:
            return boxes, landmarks, scores
        size = self.closeup_side
        matrices = closeup_to_photo(landmarks, size)
        closeups = torch.stack([resample(photo, matrix, (size, size)) for matrix in matrices])
        new_scores, new_boxes, new_landmarks = self._predict(closeups)
        centre = torch.tensor([0.5 * size, 0.5 * size], device=photo.device)
        result = []
        for i, matrix in enumerate(matrices):
            # Only what sits where the face should be counts: a neighbour in the close-up is another face.
            middle = (new_boxes[i, :, :2] + new_boxes[i, :, 2:]) / 2
            ours = (middle - centre).norm(dim=1) < 0.2 * size
            weight = torch.where(ours, new_scores[i], torch.zeros_like(new_scores[i]))
            best = weight.max()
            if best < 0.05:
                result.append((boxes[i], landmarks[i], scores[i] * best))
                continue
            close = ours & (new_scores[i] > 0.5 * best)
            share = torch.where(close, new_scores[i].square(), torch.zeros_like(weight))
            share = share / share.sum()
            points = transform_points(matrix[None], (new_landmarks[i] * share[:, None, None]).sum(0)[None])[0]
            box = (new_boxes[i] * share[:, None]).sum(0)
            corners = box[[0, 1, 2, 1, 0, 3, 2, 3]].reshape(1, 4, 2)
            outline = transform_points(matrix[None], corners)[0]
            # The upright box of a turned box is too large; its middle is right, and its size is the turned one's.
            middle = (outline.amin(0) + outline.amax(0)) / 2
            half = (box[2:] - box[:2]) / 2 * matrix[:, :2].det().abs().sqrt()
            result.append((torch.cat([middle - half, middle + half]), points, (scores[i] * best).sqrt()))
        return (
            torch.stack([r[0] for r in result]),
            torch.stack([r[1] for r in result]),
            torch.stack([r[2] for r in result]),
        )


def closeup_to_photo(landmarks: Tensor, size: int, eye_distance: float = 0.25) -> Tensor:
    """Maps [N,2,3] from upright square close-ups to the photo: the least-squares similarity from an average face.

    Args:
        landmarks: [N,5,2] in photo pixels.
        size: side of the close-up in pixels.
        eye_distance: of the average face, in sides of the close-up.
    """
    model = _CANONICAL.to(landmarks) * (eye_distance * size)
    model_centre = model.mean(0)
    centre = landmarks.mean(1, keepdim=True)
    x, y = (model - model_centre).unbind(1)
    u, v = (landmarks - centre).unbind(2)
    power = (x * x + y * y).sum()
    a = (u * x + v * y).sum(1) / power
    b = (v * x - u * y).sum(1) / power
    # Landmarks that fell together would ask for an infinitely small close-up.
    tiny = (a * a + b * b).sqrt() < 1e-3
    a = torch.where(tiny, torch.full_like(a, 1e-3), a)
    linear = torch.stack([torch.stack([a, -b], 1), torch.stack([b, a], 1)], 1)
    # The eyes a little above the middle: the box from forehead to chin is then centred.
    anchor = model_centre + landmarks.new_tensor([0.5, 0.4]) * size
    return torch.cat([linear, (centre[:, 0] - (linear @ anchor[:, None])[:, :, 0])[:, :, None]], dim=2)


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
        network = DetectorNetwork(DetectorConfig.from_json(metadata["config"]))
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - safe_open is no dictionary
    counters = {name: value for name, value in network.state_dict().items() if name.endswith("num_batches_tracked")}
    network.load_state_dict({**{name: value.float() for name, value in state.items()}, **counters})
    return network.eval()
