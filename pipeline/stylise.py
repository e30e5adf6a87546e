"""From photo to picture: faces are found, read as latents, drawn in a style and pasted back.

Each step is a function of its own for the nodes; `stylise` is the two in the middle in a row for the commands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ..core.callbacks import Callbacks, batched
from ..core.pictures import alpha_of, photos_of, tensor_to_bytes, tensor_to_image, with_alpha
from ..latents.encoding import face_distances, invert_with_encoder, unlike
from ..latents.sampling import synthesise
from ..models.blending import with_strength
from ..runtime.progress import ProgressReporter
from ..training.inversion.pivotal import PivotalResult, align_style, tune_to_faces
from ..training.inversion.search import invert_by_optimisation
from ..training.inversion.settings import InversionConfig, PivotalConfig
from .networks import placed

if TYPE_CHECKING:
    from torch import Tensor

    from ..faces.types import FaceCrops
    from ..models.types import FaceEncoder, FaceGenerator, FaceLatent

DRAWN_AT_ONCE = 8


def find_faces(image: Tensor, detect: Any, size: int, **framing: Any) -> FaceCrops:
    """The aligned faces of IMAGE `[F, H, W, C]`, which keep its alpha; the arguments are those of `align_faces`."""
    from ..faces.align import align_faces

    return align_faces(photos_of(image), detect, size, **framing).replace(alpha=alpha_of(image))


def find_latents(
    pictures: Tensor,
    generator: FaceGenerator,
    encoder: FaceEncoder | None,
    config: InversionConfig | None = None,
    encoder_steps: int | None = None,
    start: FaceLatent | None = None,
    keep: Callable[[FaceLatent], Any] | None = None,
) -> FaceLatent:
    """The encoder's latents where there is one, else `start`, then what a search of `config` makes of them. Without any
    of the three a search of the usual length begins at the average face.

    keep: given the best so far when the search is interrupted.
    """
    latent = invert_with_encoder(pictures, encoder, generator, encoder_steps) if encoder else start
    if config is None and latent is not None:
        return latent
    config = config or InversionConfig()
    with ProgressReporter(config.steps, "invert") as progress:
        return invert_by_optimisation(pictures, generator, latent, config, progress.callbacks(), keep, encoder)


def tune(
    pictures: Tensor,
    generator: FaceGenerator,
    latent: FaceLatent,
    config: PivotalConfig,
    encoder: FaceEncoder | None = None,
    keep: Callable[[PivotalResult], Any] | None = None,
) -> tuple[FaceGenerator, Tensor]:
    """The generator tuned to the faces, and the error that is left of each, `[N]`.

    keep: given the best so far when the tuning is interrupted.
    """
    with ProgressReporter(config.steps, "tune") as progress:
        result = tune_to_faces(pictures, generator, latent, config, progress.callbacks(), keep, encoder)
    return result.generator, result.error_after.cpu()


def compare(
    latent: FaceLatent, encoder: FaceEncoder | None, pictures: Tensor, prediction: Tensor, way_out: str
) -> tuple[FaceLatent, str]:
    """The latents with each face's distance from what is drawn of it, and a sentence about those that are not alike."""
    latent = latent.replace(identity_distance=face_distances(encoder, pictures, prediction))
    return latent, unlike(latent.identity_distance, way_out)


def draw(generator: FaceGenerator, latent: FaceLatent, callbacks: Callbacks | None = None) -> Tensor:
    """IMAGE of each latent. Each part leaves the device at once: a thousand frames at 1024 px do not fit on it."""
    with placed(generator):
        parts = [
            tensor_to_image(synthesise(generator, latent.select(rows)))
            for rows in batched(len(latent), DRAWN_AT_ONCE, callbacks)
        ]
        return torch.cat(parts) if parts else tensor_to_image(synthesise(generator, latent))


def paste(
    faces: FaceCrops, drawn: Tensor, feather: float, colour_match: float, region: str, **masking: Tensor | None
) -> tuple[Tensor, Tensor]:
    """IMAGE of the photos with the drawn faces `[N, 3, S, S]` in place, and MASK; the arguments are `paste_faces`'s.

    Of photos of 8 bits (`FaceCrops.photos`) it is uint8, too.
    """
    from ..faces.paste import paste_parts

    floats = faces.photos.is_floating_point()
    image = tensor_to_image(faces.photos) if floats else faces.photos.permute(0, 2, 3, 1).clone()
    masks = torch.zeros(image.shape[:3])
    for place, part, mask in paste_parts(faces.photos, faces, drawn, feather, colour_match, region, **masking):
        image[place] = (tensor_to_image if floats else tensor_to_bytes)(part[None])[0]
        masks[place] = mask
    return with_alpha(image, faces.alpha), masks


@dataclass(frozen=True)
class Stylist:
    """What draws faces, and how their latents are found."""

    style: FaceGenerator
    source: FaceGenerator
    encoder: FaceEncoder | None
    strength: float = 1.0
    search: InversionConfig | None = None
    pivotal: PivotalConfig | None = None
    """Tunes source and style to the faces first."""


def stylise(
    faces: FaceCrops, by: Stylist, appearances: Callable[[FaceGenerator, FaceLatent], Mapping[str, FaceLatent]]
) -> tuple[dict[str, Tensor], FaceLatent]:
    """The faces in each appearance, `[N, 3, R, R]` on the CPU by its name, and their latents in the source.

    appearances: what the latents become for the generator that draws them, by name.
    """
    source, style = by.source, by.style
    latent = find_latents(faces.crops, source, by.encoder, by.search)
    if by.pivotal is not None:
        source, left = tune(faces.crops, source, latent, by.pivotal, by.encoder)
        latent = latent.replace(reconstruction_error=left)
        style = align_style(style, by.source, source)
    drawer = with_strength(source, style, by.strength)
    drawn = {name: synthesise(drawer, codes).cpu() for name, codes in appearances(drawer, latent).items()}
    distances = face_distances(by.encoder, faces.crops, synthesise(source, latent))
    return drawn, latent.replace(identity_distance=distances)
