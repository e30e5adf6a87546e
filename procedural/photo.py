"""The photo look: soft key light from a window, sky light, skin that scatters, a lens before a studio background."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.filters import smoothstep
from .camera import Scene
from .geometry import bell, mix
from .labels import Label
from .paint import GBuffer, colour, glasses_mask, lens_reflection
from .parameters import to_srgb


def light_direction(s: Scene) -> tuple[Tensor, Tensor, Tensor]:
    """Unit vector towards the key light, camera coordinates."""
    x, y, z = s["light_x"], s["light_y"], 0.95
    inverse = (x * x + y * y + z * z).rsqrt()
    return x * inverse, y * inverse, z * inverse


def background(s: Scene, g: GBuffer) -> Tensor:
    """Two tones blending across the picture, darker towards the corners; linear RGB `[B, 3, H, W]`."""
    u = (g["world"][:, :1] - s["centre_x"]) / s["half_size"]
    v = (g["world"][:, 1:] - s["centre_y"]) / s["half_size"]
    t = smoothstep(-1.2, 1.2, s["background_x"] * 1.4 * u + s["background_y"] * 1.4 * v)
    return mix(s["background"], s["background_2"], t) * (1 - 0.22 * smoothstep(0.5, 1.9, u * u + v * v))


def add_glasses(s: Scene, g: GBuffer, picture: Tensor, footprint: float) -> tuple[Tensor, Tensor]:
    """The picture (linear) with glasses, and the label map with them."""
    frame, lens = glasses_mask(s, g, footprint)
    picture = mix(picture * (1 - 0.06 * lens) + 0.12 * lens_reflection(s, g, lens), s["glasses_colour"] + 0.01, frame)
    return picture, torch.where(frame > 0.5, int(Label.GLASSES), g["label"])


def shade_photo(s: Scene, g: GBuffer, footprint: float) -> tuple[Tensor, Tensor]:
    """sRGB picture `[B, 3, H, W]` 0..1 and label map `[B, 1, H, W]`."""
    nx, ny, nz = g["normal"].split(1, 1)
    label, albedo, occlusion = g["label"], g["albedo"], g["occlusion"]
    on_hair, on_neck = label == int(Label.HAIR), label == int(Label.NECK)
    on_face = (label != int(Label.BACKGROUND)) & ~on_hair & ~on_neck & (label != int(Label.CLOTH))
    on_skin = on_face | on_neck
    luminance = s["skin"].mean(1, keepdim=True)

    lx, ly, lz = light_direction(s)
    facing = nx * lx + ny * ly + nz * lz
    diffuse = torch.where(on_skin, (facing + 0.28) / 1.28, (facing + 0.12) / 1.12).clamp(min=0)
    hz = lz + 1
    half = (lx * lx + ly * ly + hz * hz).rsqrt()
    towards_half = ((nx * lx + ny * ly + nz * hz) * half).clamp(1e-4, 1)
    # Hair shines in a band across the strands, darker skin shows its highlights more.
    band = bell((ny - 0.62 + 0.05 * torch.sin(g["hair_flow"] * 26)) / 0.16) * 0.16 * s["hair_shine"]
    band = band * (s["hair"].mean(1, keepdim=True).sqrt() * 0.9 + 0.12) * (1 - 0.7 * s["curl"])
    skin_shine = (0.16 * towards_half**22 + 0.05 * towards_half**6) * (
        1 + 0.9 * on_skin * ((0.35 - luminance) / 0.35).clamp(0, 1)
    )
    specular = torch.where(on_hair, band, skin_shine * g["gloss"])
    sky = 0.55 + 0.45 * (ny * 0.5 + 0.5)
    open_sky = 0.42 + 0.58 * occlusion
    rim = (1 - nz.clamp(0, 1)) ** 3 * 0.12
    scatter = bell((facing - 0.02) / 0.22) * 0.10 * on_skin
    tint = torch.cat([1 + scatter * 1.4, 1 - scatter * 0.4, 1 - scatter * 0.8], 1)
    # Shadows: the chin on the neck, the hair on the forehead.
    shadow = torch.where(on_neck, 0.42 + 0.58 * smoothstep(-0.95, -1.35, g["world"][:, 1:]), 1.0)
    shadow = shadow * torch.where(on_face, 0.66 + 0.34 * smoothstep(0.0, 0.13, g["hair_distance"]), 1.0)
    warm = colour(1.0, 0.95, 0.88, nx) * (1 + 0.05 * s["warmth"] * colour(1.0, 0.0, -1.0, nx))
    # Exposure follows the sitter a little, so that very dark skin keeps its features.
    exposed = on_skin & (label != int(Label.EYE)) & (label != int(Label.MOUTH))
    lift = torch.where(exposed, (0.36 / (luminance + 0.02)).clamp(1, 2.2) ** 0.38, 1.0)
    lit = albedo * (s["ambient"] * sky * open_sky + s["key"] * diffuse * (0.5 + 0.5 * occlusion) * shadow * warm)
    picture = lit * tint * lift + (specular * s["key"] * shadow + rim * 0.3) * warm
    picture = torch.where(g["hit"] > 0, picture, background(s, g))
    picture, label = add_glasses(s, g, picture, footprint)
    picture = picture * 1.15
    return to_srgb(picture / (1 + 0.22 * picture) * 1.12), label
