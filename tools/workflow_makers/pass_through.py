"""ComfyUI's own nodes without a diffusion model: samplers hand on what they get, the rest does what its name says.

With them everything of a workflow but the diffusion runs where there is neither ComfyUI nor a checkpoint: for tests,
and for thumbnails. What comes out is what ComfyUI makes at a denoise of 0.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ...core.pictures import read_picture
from ...headless.builtin_nodes import SaveImage
from ...runtime.folders import SAMPLE, SAMPLES
from .core import FILE_LISTS, core_class, recorded

if TYPE_CHECKING:
    from torch import Tensor

FRAMES = 10
"""Of the video that stands in for every video."""
FRAMES_PER_SECOND = 12.0


def classes() -> dict[str, type]:
    """A class that runs for each of ComfyUI's nodes in the record."""
    return {name: _class(name) for name in recorded()}


def _class(name: str) -> type:
    """ComfyUI's declaration with something to do; a file may be any that is named, for none is opened."""
    declared: Any = core_class(name)
    inputs = {
        group: {slot: ("STRING", {}) if (name, slot) in FILE_LISTS else spec for slot, spec in slots.items()}
        for group, slots in declared.INPUT_TYPES().items()
    }
    # Models and prompts: what a sampler that samples nothing needs.
    nothing = ("nothing",) * len(declared.RETURN_TYPES)
    run = getattr(_Doing, name, lambda **_: nothing)
    body = {"FUNCTION": "run", "CATEGORY": "", "run": staticmethod(run), "INPUT_TYPES": classmethod(lambda cls: inputs)}
    return type(name, (declared,), body)


class _Doing:
    """What each node does, by its name and with its inputs' names."""

    @staticmethod
    def ControlNetApplyAdvanced(positive: Any, negative: Any, **_: Any) -> tuple[Any, Any]:
        return positive, negative

    @staticmethod
    def VAEEncode(pixels: Tensor, vae: Any) -> tuple[dict[str, Any]]:
        height, width = (8 * (side // 8) for side in pixels.shape[1:3])
        return ({"samples": pixels[:, :height, :width]},)

    @staticmethod
    def VAEDecode(samples: dict[str, Any], vae: Any) -> tuple[Tensor]:
        return (samples["samples"],)

    @staticmethod
    def SetLatentNoiseMask(samples: dict[str, Any], mask: Tensor) -> tuple[dict[str, Any]]:
        return ({**samples, "noise_mask": mask},)

    @staticmethod
    def KSampler(latent_image: dict[str, Any], **_: Any) -> tuple[dict[str, Any]]:
        return (latent_image,)

    @staticmethod
    def ImageScale(image: Tensor, width: int, height: int, **_: Any) -> tuple[Tensor]:
        return (_scaled(image, height, width),)

    @staticmethod
    def ImageScaleToTotalPixels(image: Tensor, megapixels: float, resolution_steps: int = 1, **_: Any) -> tuple[Tensor]:
        height, width = image.shape[1:3]
        scale = math.sqrt(megapixels * 1024**2 / (height * width))
        size = (round(side * scale / resolution_steps) * resolution_steps for side in (height, width))
        return (_scaled(image, *size),)

    @staticmethod
    def Canny(image: Tensor, low_threshold: float, high_threshold: float) -> tuple[Tensor]:
        from kornia.filters import canny

        _, edges = canny(image.permute(0, 3, 1, 2), low_threshold, high_threshold)
        return (edges.permute(0, 2, 3, 1).repeat(1, 1, 1, 3),)

    @staticmethod
    def InvertMask(mask: Tensor) -> tuple[Tensor]:
        return (1 - mask,)

    @staticmethod
    def MaskToImage(mask: Tensor) -> tuple[Tensor]:
        return (mask[..., None].repeat(1, 1, 1, 3),)

    @staticmethod
    def ImageCompositeMasked(destination: Tensor, source: Tensor, mask: Tensor, **_: Any) -> tuple[Tensor]:
        height, width = destination.shape[1:3]
        source, mask = source[:, :height, :width], mask[:, :height, :width, None]
        return (destination * (1 - mask) + source * mask,)

    @staticmethod
    def GetVideoComponents(video: Any) -> tuple[Any, ...]:
        """A look around in the sample picture."""
        import torch

        picture = read_picture(SAMPLES[SAMPLE])[0]
        height, width = (side * 7 // 8 for side in picture.shape[1:3])
        frames = []
        for index in range(FRAMES):
            top, left = (
                round((full - part) * index / (FRAMES - 1))
                for full, part in zip(picture.shape[1:3], (height, width), strict=True)
            )
            frames.append(picture[:, top : top + height, left : left + width])
        return torch.cat(frames), None, FRAMES_PER_SECOND, 8, "auto"

    @staticmethod
    def SaveWEBM(images: Tensor, filename_prefix: str, **_: Any) -> dict[str, Any]:
        saved = SaveImage().save_images(images[:: max(1, len(images) // 3)], filename_prefix)
        return {**saved, "result": (images,)}


def _scaled(image: Tensor, height: int, width: int) -> Tensor:
    import torch.nn.functional as F

    channels = image.permute(0, 3, 1, 2)
    return F.interpolate(channels, (height, width), mode="bicubic", antialias=True).clamp(0, 1).permute(0, 2, 3, 1)
