"""kornia's YuNet (Wu, Peng and Yu, "YuNet: A Tiny Millisecond-level Face Detector", 2023), a detector for photographs.

It knows upright faces; `FaceSearch` turns the photo for it, and looks closely at what it proposes.

Its weights are the user's to bring, or to have fetched: `yunet_final.pth`, the file that `kornia.contrib.FaceDetector`
downloads by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from kornia.models.yunet import YuNet
from kornia.models.yunet.processors import PriorBox, decode
from torch import Tensor, nn

from ..faces.types import Detection
from .download import download
from .embedded import ASSET, load_network
from .search import FaceSearch, fuse_overlapping
from .settings import YUNET_WEIGHTS

WEIGHTS_URLS = (
    "https://huggingface.co/kornia/yunet/resolve/main/yunet_final.pth",
    "https://github.com/kornia/data/raw/main/yunet_final.pth",
)
"""Where kornia takes it from (`kornia.models.yunet.model`)."""
WEIGHTS_SHA256 = "ee0a3035c5cbfc9484a31332223c9fd9c0ddcdb7c46b6a19e558ed393b6f2c67"
WEIGHTS_LARGEST = 1_000_000
"""Bytes; the file has 405,729."""

_STEPS = [8, 16, 32, 64]
_MIN_SIZES = [[10, 16, 24], [32, 48], [64, 96], [128, 192, 256]]
_VARIANCE = [0.1, 0.2]


def download_yunet_weights(folder: Path, urls: Sequence[str] = WEIGHTS_URLS) -> Path:
    """Fetches YuNet's weights (0.4 MB, MIT licence) into `folder`; their SHA-256 is checked.

    Raises:
        DownloadError: there is no connection, or no address gives this very file.
    """
    return download(urls, folder / YUNET_WEIGHTS, WEIGHTS_SHA256, WEIGHTS_LARGEST)


class YuNetDetector:
    """Faces in photographs by YuNet."""

    def __init__(self, network: YuNet, measurer: nn.Module, long_side: int = 640, padding: float = 0.25) -> None:
        """Wraps a network.

        Args:
            network: YuNet with its weights.
            measurer: looks at what it proposes (see `FaceSearch`).
            long_side: what photos are shrunk to.
            padding: the border of the second look, in long sides.
        """
        self.network = network.eval()
        self.search = FaceSearch(self.propose, measurer, long_side)
        self.long_side = long_side
        self.padding = padding

    @classmethod
    def load(cls, path: str | Path) -> YuNetDetector:
        """Reads the weights file, executing nothing in it."""
        network = YuNet("test", pretrained=False)
        try:
            network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        except (RuntimeError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} does not hold the weights of YuNet; use kornia's {YUNET_WEIGHTS}.") from error
        return cls(network, load_network(ASSET).measurer)

    def find(self, photo: Tensor, min_confidence: float) -> list[Detection]:
        """See `FaceDetector.find`."""
        return self.search.find(photo, min_confidence)

    @torch.no_grad()
    def propose(self, photo: Tensor, floor: float) -> tuple[Tensor, Tensor]:
        """See `search.Propose`. The second look, smaller and with a border, finds faces that fill the frame."""
        longest = max(photo.shape[-2:])
        looks = [
            self._look(photo, min(1.0, self.long_side / longest), 0, floor),
            self._look(photo, self.long_side / 2 / longest, self.padding, floor),
        ]
        boxes, points, scores = (torch.cat(parts) for parts in zip(*looks, strict=True))
        return fuse_overlapping(boxes, points, scores, 0.3)[1:]

    def _look(
        self, photo: Tensor, scale: float, padding: float, min_confidence: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes [K,4], landmarks [K,5,2] and scores [K] in photo pixels, found at one scale."""
        height, width = photo.shape[-2:]
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        small = F.interpolate(photo[None], size=size, mode="bilinear", align_corners=False, antialias=True)
        border = round(padding * max(size))
        # YuNet halves its input six times, rounding down; a multiple of 64 keeps its cells where they should be.
        right, bottom = (border + -(side + 2 * border) % 64 for side in (size[1], size[0]))
        padded = F.pad(small, (border, right, border, bottom), value=-1.0)
        device = next(self.network.parameters()).device
        # YuNet reads BGR in 0..255.
        output = self.network((padded.flip(1) + 1).to(device) * 127.5)
        extent = padded.shape[-2:]
        priors = PriorBox(_MIN_SIZES, _STEPS, False, image_size=(extent[0], extent[1]))()
        located = decode(output["loc"][0].cpu(), priors, _VARIANCE).to(photo.device)
        unit = located.new_tensor([extent[1], extent[0]])
        places = located.unflatten(1, (7, 2)) * unit - border
        places = places * places.new_tensor([width / size[1], height / size[0]])
        score = (output["conf"][0, :, 1] * output["iou"][0, :, 0].clamp(0, 1)).sqrt().to(photo.device)
        kept = score >= min_confidence
        places, score = places[kept], score[kept]
        best = score.argsort(descending=True)[:1000]
        return places[best, :2].flatten(1), places[best, 2:], score[best]
