"""Pictures at the edge: ComfyUI's IMAGE on one side, our tensors on the other, and files on disk.

An IMAGE is `[B, H, W, 3]` float32 in 0..1. Below the nodes a picture is `[B, 3, H, W]` float32 in -1..1.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def image_to_tensor(image: Tensor) -> Tensor:
    """IMAGE `[B, H, W, C]` in 0..1 to `[B, 3, H, W]` float32 in -1..1.

    One channel is repeated to three, and a fourth (alpha) is dropped.

    Raises:
        ValueError: the tensor is not four-dimensional or has two, or more than four, channels.
    """
    if image.ndim != 4 or image.shape[-1] not in (1, 3, 4):
        raise ValueError(
            f"A picture batch of shape {list(image.shape)} was given; IMAGE is [pictures, height, width, 3 channels]."
        )
    channels = image.expand(*image.shape[:-1], 3) if image.shape[-1] == 1 else image[..., :3]
    return channels.float().permute(0, 3, 1, 2).contiguous() * 2 - 1


def tensor_to_image(tensor: Tensor) -> Tensor:
    """`[B, 3, H, W]` in -1..1 to IMAGE `[B, H, W, 3]` float32 in 0..1 on the CPU; values outside are clamped."""
    return (tensor.detach().float() * 0.5 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).contiguous().cpu()


def side_by_side(left: Tensor, right: Tensor) -> Tensor:
    """Pairs of two IMAGE batches next to each other, IMAGE `[B, H, W_left + W_right, 3]`, at the left ones' height.

    Raises:
        ValueError: the batches differ in length and neither is a single picture.
    """
    import torch
    import torch.nn.functional as F

    count = max(len(left), len(right))
    if {len(left), len(right)} - {1, count}:
        raise ValueError(
            f"{len(left)} and {len(right)} pictures cannot be paired. Give equally many, or a single one on one side."
        )
    a = image_to_tensor(left)
    b = image_to_tensor(right)
    height = a.shape[2]
    if b.shape[2] != height:
        size = (height, max(1, round(b.shape[3] * height / b.shape[2])))
        b = F.interpolate(b, size, mode="bilinear", antialias=True, align_corners=False)
    pairs = torch.cat([a.expand(count, -1, -1, -1), b.expand(count, -1, -1, -1)], dim=3)
    return tensor_to_image(pairs)


def to_pil(image: Tensor) -> Any:
    """One picture `[H, W, 3]` in 0..1 to a Pillow image of 8 bits per channel."""
    import numpy as np
    from PIL import Image

    array = (image.detach().float().clamp(0, 1) * 255).round().cpu().numpy().astype(np.uint8)
    return Image.fromarray(array)


def pil_to_image(picture: Any) -> Tensor:
    """A Pillow picture as IMAGE `[1, H, W, 3]` float32 in 0..1."""
    import numpy as np
    import torch

    return torch.from_numpy(np.array(picture.convert("RGB"), np.float32) / 255.0)[None]


def read_picture(path: str | Path) -> tuple[Tensor, Tensor]:
    """Reads a picture file of any mode and depth as the LoadImage node does.

    EXIF rotation is applied, grey becomes RGB, 16 bits are scaled to 0..1, and the frames of an animation make a batch
    (those that differ in size from the first are left out).

    Returns:
        IMAGE `[F, H, W, 3]` in 0..1, and MASK `[F, H, W]` = 1 - alpha; without alpha the mask is zeros `[1, 64, 64]`.

    Raises:
        ValueError: the file is missing or is not a picture.
    """
    import torch
    from PIL import Image, ImageOps, ImageSequence

    from ..training.picture_files import NOT_READ

    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder. Give the pictures in it.")
    if not path.is_file():
        raise ValueError(f"There is no picture {path}. Check the path.")
    images: list[Tensor] = []
    masks: list[Tensor] = []
    try:
        with Image.open(path) as file:
            # A camera's MPO file holds a second, smaller picture that nobody means to load.
            frames = [file] if file.format == "MPO" else ImageSequence.Iterator(file)
            for frame in frames:
                picture = ImageOps.exif_transpose(frame)
                image, mask = _split_alpha(picture)
                if images and image.shape != images[0].shape:
                    continue
                images.append(image)
                if mask is not None:
                    masks.append(mask)
    except (*NOT_READ, Image.DecompressionBombError) as error:
        said = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
        raise ValueError(
            f"{path} cannot be read as a picture ({said}). Accepted are PNG, JPEG, WebP, TIFF, BMP and GIF files."
        ) from error
    return torch.cat(images), torch.cat(masks) if len(masks) == len(images) else torch.zeros(1, 64, 64)


def _split_alpha(picture: Any) -> tuple[Tensor, Tensor | None]:
    """A Pillow picture of any mode as `[1, H, W, 3]` in 0..1, and 1 - alpha as `[1, H, W]` where it has alpha."""
    import numpy as np
    import torch

    if picture.mode in ("I", "F") or picture.mode.startswith("I;"):
        # Pillow clips these to 0..255 when it converts them. They hold 16-bit pictures; floats are already 0..1.
        values = np.asarray(picture, dtype=np.float32)
        scale = 1.0 if picture.mode == "F" and values.max(initial=0) <= 1 else 65535.0
        grey = torch.from_numpy(np.clip(values / scale, 0, 1))
        return grey[None, :, :, None].expand(-1, -1, -1, 3).contiguous(), None
    rgb = torch.from_numpy(np.asarray(picture.convert("RGB"), dtype=np.float32) / 255)[None]
    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return rgb, None
    alpha = np.asarray(picture.convert("RGBA").getchannel("A"), dtype=np.float32) / 255
    return rgb, 1 - torch.from_numpy(alpha)[None]


def write_picture(
    image: Tensor, path: str | Path, text: Mapping[str, str] | None = None, compress_level: int = 4
) -> Path:
    """Writes one picture `[H, W, 3]` in 0..1; for PNG, `text` goes into its text chunks. Makes the folder."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    from ..models.files import write_atomically

    path = Path(path)
    Image.init()
    if path.suffix.lower() not in Image.EXTENSION:
        raise ValueError(f"{path}: no picture format ends in {path.suffix!r}. Give a name that ends in .png or .jpg.")
    options: dict[str, Any] = {"format": Image.EXTENSION[path.suffix.lower()]}
    if path.suffix.lower() == ".png":
        chunks = PngInfo()
        for key, value in (text or {}).items():
            chunks.add_text(key, value)
        options |= {"pnginfo": chunks, "compress_level": compress_level}
    picture = to_pil(image)
    return write_atomically(path, lambda file: picture.save(file, **options))
