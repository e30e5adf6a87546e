"""Pictures at the edge: ComfyUI's IMAGE on one side, our tensors on the other, and files on disk.

An IMAGE is `[B, H, W, 3]` float32 in 0..1; one channel (grey) and four (with alpha) are taken as well, and so are
uint8 in 0..255, as which a photo file is read: a photo of 100 megapixels is 300 MB like this, and 1.2 GB as floats.
Below the nodes a picture is `[B, 3, H, W]` float32 in -1..1.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)


def image_to_tensor(image: Tensor, repair: bool = True) -> Tensor:
    """IMAGE `[B, H, W, C]` to `[B, 3, H, W]` float32 in -1..1.

    One channel is repeated to three, and four (the last is alpha) are laid over white, so that what nobody sees
    disturbs no network; `with_alpha` makes the results transparent again.

    Args:
        repair: fill pixels that are no numbers (NaN or infinite) from their neighbours, with a warning that names the
            picture; else they stay, with a warning all the same.

    Raises:
        ValueError: the tensor is not four-dimensional, has two or more than four channels, or a picture in it has no
            number at all.
    """
    import torch

    if image.ndim != 4 or image.shape[-1] not in (1, 3, 4):
        raise ValueError(
            f"A picture batch of shape {list(image.shape)} was given; IMAGE is [pictures, height, width, 3 channels]."
        )
    pictures = torch.empty(len(image), 3, *image.shape[1:3], device=image.device)
    for rows in _parts(image):
        channels = _in_unit(image[:, rows])
        if image.shape[-1] == 4:
            alpha = channels[..., 3:].nan_to_num(1.0).clamp(0, 1)
            # Not a plain product: infinity times an alpha of 0 is no number.
            channels = (channels[..., :3] * alpha + (1 - alpha)).where(alpha > 0, 1.0)
        pictures[:, :, rows] = channels.expand(*channels.shape[:-1], 3).permute(0, 3, 1, 2)
    return _checked(pictures.mul_(2).sub_(1), repair)


def photos_of(image: Tensor) -> Tensor:
    """The same, but that uint8 without alpha stays uint8 in 0..255: a view `[B, 3, H, W]`, for `to_floats`."""
    whole = image.is_floating_point() or image.shape[-1] != 3
    return image_to_tensor(image) if whole else image.permute(0, 3, 1, 2)


def _parts(image: Tensor) -> Iterator[slice]:
    """Rows of `[B, H, W, C]`, some at a time, so that what is computed on the way is small."""
    return (slice(top, top + 256) for top in range(0, image.shape[1], 256))


def _in_unit(image: Tensor) -> Tensor:
    """IMAGE as floats in 0..1."""
    return image.float() if image.is_floating_point() else image.float().div_(255)


def _checked(pictures: Tensor, repair: bool) -> Tensor:
    """The pictures with pixels that are no numbers told of, and filled where asked."""
    if all_numbers(pictures):
        return pictures
    good = are_numbers(pictures)
    for number, bad in enumerate((~good).flatten(1).sum(1).tolist(), 1):
        which = f"Picture {number} of {len(pictures)}"
        if bad == good[0].numel():
            raise ValueError(f"{which} holds no numbers (NaN or infinity). Look at what made it.")
        if bad:
            done = "they are filled from their neighbours" if repair else "nothing is drawn there"
            log.warning("%s has %d pixels that are no numbers (NaN or infinite); %s.", which, bad, done)
    return fill(pictures, good) if repair else pictures


def alpha_of(image: Tensor) -> Tensor | None:
    """The alpha `[B, H, W]` in 0..1 of an IMAGE with four channels; None of others."""
    return _in_unit(image[..., 3]).nan_to_num(1.0).clamp(0, 1) if image.shape[-1] == 4 else None


def with_alpha(image: Tensor, alpha: Tensor | None) -> Tensor:
    """IMAGE `[B, H, W, 3]`, drawn of pictures over white, as `[B, H, W, 4]` with their alpha `[B, H, W]`.

    The white is taken out of half-transparent pixels again, so that no light fringe stays around the person. Without
    alpha the image comes back as it is.
    """
    if alpha is None:
        return image
    both = image.new_empty(*image.shape[:3], 4)
    both[..., 3] = alpha
    for rows in _parts(image):
        part, share = image[:, rows], both[:, rows, :, 3:]
        both[:, rows, :, :3] = ((part - (1 - share)) / share.clamp(min=1e-6)).clamp(0, 1).where(share > 0, part)
    return both


def tensor_to_image(tensor: Tensor) -> Tensor:
    """`[B, 3, H, W]` in -1..1 to IMAGE `[B, H, W, 3]` float32 in 0..1 on the CPU; values outside are clamped."""
    import torch

    pictures = tensor.detach().float().permute(0, 2, 3, 1)
    # Written at once where it belongs: a photograph of 100 megapixels is 1.2 GB.
    image = torch.empty(pictures.shape, device=pictures.device)
    return torch.mul(pictures, 0.5, out=image).add_(0.5).clamp_(0, 1).cpu()


def tensor_to_bytes(tensor: Tensor) -> Tensor:
    """The same as uint8 `[B, H, W, 3]` in 0..255, as it is written to a file."""
    import torch

    image = torch.empty(len(tensor), *tensor.shape[2:], 3, dtype=torch.uint8)
    for rows in _parts(image):
        image[:, rows] = _to_bytes(tensor_to_image(tensor[:, :, rows]))
    return image


def _to_bytes(image: Tensor) -> Tensor:
    """IMAGE as uint8 in 0..255; what is no number is black."""
    import torch

    if not image.is_floating_point():
        return image
    return image.detach().float().nan_to_num().clamp_(0, 1).mul_(255).round_().to(torch.uint8)


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
    """One picture `[H, W, C]` of an IMAGE to a Pillow image of 8 bits per channel: grey, RGB or RGBA."""
    import torch
    from PIL import Image

    picture = torch.empty(image.shape, dtype=torch.uint8)
    for rows in _parts(image[None]):
        picture[rows] = _to_bytes(image[rows])
    array = picture.numpy()
    return Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)


def pil_to_image(picture: Any) -> Tensor:
    """A Pillow picture as IMAGE `[1, H, W, 3]` float32 in 0..1."""
    import numpy as np
    import torch

    return torch.from_numpy(np.array(picture.convert("RGB"), np.float32) / 255.0)[None]


def read_photo(path: str | Path) -> Tensor:
    """A picture file of any format, mode and depth as IMAGE `[F, H, W, 3]`, or `[F, H, W, 4]` with its alpha: uint8 in
    0..255, or float32 in 0..1 where the file has more bits. See `picture_files.read_frames`.

    Raises:
        ValueError: it cannot be read; the sentence begins with the path.
    """
    import torch

    from .picture_files import PictureError, read_frames

    if not Path(path).exists():
        raise ValueError(f"There is no picture {path}. Check the path.")
    try:
        colours, alpha = read_frames(Path(path))
    except PictureError as error:
        raise ValueError(f"{path} {error}.") from error
    image = torch.from_numpy(colours)
    return image if alpha is None else torch.cat([image, torch.from_numpy(alpha)[..., None]], -1)


def read_picture(path: str | Path) -> tuple[Tensor, Tensor]:
    """The same as LoadImage gives it: IMAGE `[F, H, W, 3]`, the colours under transparent pixels as they are, and MASK
    `[F, H, W]` = 1 - alpha; without alpha the mask is zeros `[1, 64, 64]`.

    Raises:
        ValueError: it cannot be read; the sentence begins with the path.
    """
    import torch

    image = read_photo(path)
    alpha = alpha_of(image)
    return _in_unit(image[..., :3]).contiguous(), torch.zeros(1, 64, 64) if alpha is None else 1 - alpha


def write_picture(
    image: Tensor, path: str | Path, text: Mapping[str, str] | None = None, compress_level: int = 4
) -> Path:
    """Writes one picture `[H, W, C]` of an IMAGE; for PNG, `text` goes into its text chunks. Makes the folder.

    Four channels are written with their alpha; a format that has none gets them over white, and a warning says so.
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    from .files import write_atomically

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
    if image.shape[-1] == 4 and options["format"] not in ("PNG", "WEBP", "TIFF", "AVIF", "GIF", "TGA", "JPEG2000"):
        log.warning("%s: %s has no transparency; the picture is laid over white.", path, options["format"])
        image = (image_to_tensor(image[None])[0].permute(1, 2, 0) + 1) / 2
    picture = to_pil(image)
    return write_atomically(path, lambda file: picture.save(file, **options))


def to_floats(pictures: Tensor) -> Tensor:
    """uint8 in 0..255 as float32 in -1..1, contiguous; others stay as they are."""
    import torch

    if pictures.dtype != torch.uint8:
        return pictures
    return pictures.to(torch.float32, memory_format=torch.contiguous_format).div_(255).mul_(2).sub_(1)


def all_numbers(pictures: Tensor) -> bool:
    """Whether all values are finite."""
    # A sum is, unless one of them is not or it overflows, and needs no memory.
    return bool(pictures.sum().isfinite()) or bool(are_numbers(pictures).all())


def are_numbers(pictures: Tensor) -> Tensor:
    """`[..., C, H, W]` to `[..., 1, H, W]`: whether every channel of a pixel is finite."""
    return pictures.isfinite().all(-3, keepdim=True)


def finite(pictures: Tensor) -> Tensor:
    """Pictures `[N, C, H, W]` or one `[C, H, W]`, any pixels that are no numbers filled.

    Without this a single one reaches every pixel of what is filtered, or clamped to the range of the picture.
    """
    if all_numbers(pictures):
        return pictures
    good = are_numbers(pictures)
    if pictures.ndim == 3:
        return fill(pictures[None], good[None])[0]
    return fill(pictures, good)


def fill(pictures: Tensor, good: Tensor) -> Tensor:
    """Pictures `[N, C, H, W]` whose pixels outside `good` `[N, 1, H, W]` take the mean of the nearest good ones.

    Nearest on a pyramid of halvings; a picture without any gets 0.
    """
    import torch.nn.functional as F

    known = pictures.where(good, 0.0)
    if bool(good.all()) or max(pictures.shape[-2:]) <= 1:
        return known
    share = F.avg_pool2d(good.to(known), 2, ceil_mode=True)
    colours = F.avg_pool2d(known, 2, ceil_mode=True) / share.clamp(min=1e-6)
    coarse = fill(colours, share > 0)
    return known.where(good, F.interpolate(coarse, pictures.shape[-2:], mode="nearest"))
