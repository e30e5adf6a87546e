"""What a rendered face is made of: named parameters, drawn from a standard normal `z`.

Every picture is a deterministic function of these parameters, so the same `z` gives the same person in every look.
Lengths are in head units (the skull is about 1.4 wide and 2 high; x right, y up, z towards the camera), colours are
linear RGB 0..1, angles are radians.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

Z_DIM = 100

FaceParameters = dict[str, Tensor]
"""Name -> `[B, k]` float32."""

_SKIN_TONES = (
    (255, 224, 200),
    (246, 205, 172),
    (232, 184, 142),
    (206, 148, 104),
    (166, 110, 74),
    (122, 79, 55),
    (84, 54, 40),
)
_HAIR_TONES = ((20, 17, 17), (40, 27, 21), (72, 46, 30), (112, 74, 44), (176, 126, 72), (226, 196, 138), (160, 74, 34))
_IRIS_TONES = ((62, 38, 22), (92, 58, 32), (112, 98, 48), (70, 112, 78), (70, 115, 165), (112, 134, 146))

COLOUR_PARAMETERS = ("skin", "hair", "iris", "lip", "glasses_colour", "background", "background_2", "cloth")


def to_linear(srgb: Tensor) -> Tensor:
    """sRGB 0..1 -> linear light (gamma 2.2)."""
    return srgb.clamp(0, 1) ** 2.2


def to_srgb(linear: Tensor) -> Tensor:
    """Linear light -> sRGB 0..1 (gamma 2.2)."""
    return linear.clamp(1e-5, 1) ** (1 / 2.2)


def _tones(table: tuple[tuple[int, int, int], ...], like: Tensor) -> Tensor:
    return torch.tensor(table, dtype=like.dtype, device=like.device) / 255


def _along(table: Tensor, position: Tensor) -> Tensor:
    """Colour at `position` 0..1 `[B, 1]` along a table of colours `[K, 3]`, linearly interpolated."""
    x = (position * (len(table) - 1)).clamp(0, len(table) - 1 - 1e-4)
    low = x.floor().long()[:, 0]
    t = x - x.floor()
    return table[low] * (1 - t) + table[low + 1] * t


class _Columns:
    """Hands out the columns of z one after the other, as clipped normals or as uniforms."""

    def __init__(self, z: Tensor) -> None:
        self.z = z
        self.used = 0

    def _take(self, count: int) -> Tensor:
        self.used += count
        if self.used > self.z.shape[1]:
            raise ValueError(f"z has {self.z.shape[1]} columns, face parameters need at least {self.used}.")
        return self.z[:, self.used - count : self.used]

    def normal(self, deviation: float, count: int = 1) -> Tensor:
        return self._take(count).clamp(-2.2, 2.2) * deviation

    def uniform(self, low: float = 0.0, high: float = 1.0, count: int = 1) -> Tensor:
        return low + (high - low) * 0.5 * (1 + torch.erf(self._take(count) / math.sqrt(2)))

    def chance(self, probability: float) -> Tensor:
        """0 or 1 per face."""
        return (self.uniform() > 1 - probability).float()


def _ramp(x: Tensor, low: float, high: float) -> Tensor:
    return ((x - low) / (high - low)).clamp(0, 1)


# Hair styles, chosen by one uniform per face: upper ends of the intervals, masculine and feminine faces.
#            bald  buzz  short  side  swept curly  afro  long  wavy  bob   bun
_MASCULINE = (0.06, 0.15, 0.36, 0.56, 0.72, 0.81, 0.87, 0.90, 0.93, 0.94)
_FEMININE = (0.008, 0.02, 0.07, 0.12, 0.15, 0.22, 0.31, 0.54, 0.72, 0.87)
BALD, BUZZ, SHORT, SIDE_PART, SWEPT, CURLY, AFRO, LONG, WAVY, BOB, BUN = range(11)


def parameters_from_z(z: Tensor) -> FaceParameters:
    """The person that `z` stands for.

    Args:
        z: `[B, Z_DIM]`, standard normal.

    Returns:
        Parameters by name, each `[B, k]` float32.

    Raises:
        ValueError: `z` has too few columns.
    """
    columns = _Columns(z.float())
    normal, uniform, chance = columns.normal, columns.uniform, columns.chance
    p: FaceParameters = {}

    # Who: sex and age shift everything below.
    feminine = p["feminine"] = 0.5 * (1 + torch.erf(columns._take(1) * 2.2))
    age = p["age"] = uniform() ** 1.3
    is_feminine = (feminine > 0.5).float()

    # Pose and bones.
    p["yaw"] = normal(0.18)
    p["pitch"] = normal(0.06)
    p["face_width"] = 1.0 + normal(0.045) - 0.02 * feminine
    p["jaw_width"] = 0.5 + normal(0.25) - 0.35 * feminine
    p["chin_length"] = normal(0.04) - 0.025 * feminine
    p["cheeks"] = 0.9 + normal(0.13)
    p["fullness"] = normal(0.5)

    # Eyes.
    p["eye_spacing"] = 0.285 + normal(0.010)
    p["eye_width"] = 0.150 + normal(0.007) + 0.006 * feminine
    p["eye_opening"] = 0.070 + normal(0.010) + 0.008 * feminine - 0.010 * age
    p["eye_tilt"] = normal(0.07) + 0.06 * feminine
    p["gaze_x"] = normal(0.014)
    p["gaze_y"] = normal(0.005)
    p["iris_radius"] = 0.0680 + normal(0.002)
    p["brow_height"] = 0.225 + normal(0.014)
    p["brow_thickness"] = 0.036 + normal(0.007) - 0.010 * feminine
    p["brow_arch"] = 0.028 + normal(0.013) + 0.012 * feminine
    p["brow_angle"] = normal(0.11)

    # Nose and mouth.
    p["nose_width"] = 1.0 + normal(0.13) - 0.10 * feminine
    p["nose_length"] = 1.06 + normal(0.08) - 0.05 * feminine
    p["nose_projection"] = 1.0 + normal(0.15) - 0.10 * feminine
    p["mouth_width"] = 0.225 + normal(0.018)
    p["lip_fullness"] = 1.0 + normal(0.18) + 0.16 * feminine - 0.12 * age
    p["smile"] = uniform(-0.2, 1.1)
    p["mouth_open"] = (uniform(-0.09, 0.12).clamp(min=0)) * _ramp(p["smile"], 0.1, 0.3)
    p["mouth_y"] = -0.535 + normal(0.014)

    # Skin, lips, freckles.
    tones = _tones(_SKIN_TONES, z)
    depth = uniform() ** 1.1  # 0 lightest .. 1 darkest skin
    p["skin"] = to_linear(_along(tones, depth)) * (1 + normal(0.03, 3))
    iris = uniform() * (1 - 0.7 * depth)
    p["iris"] = to_linear(_along(_tones(_IRIS_TONES, z), iris) * uniform(0.85, 1.15))
    lipstick = p["makeup"] = _ramp(uniform(), 0.55, 0.80) * feminine
    natural = p["skin"] * torch.tensor([0.80, 0.47, 0.46], device=z.device)
    painted = torch.tensor([0.55, 0.10, 0.12], device=z.device) * uniform(0.55, 1.15) + 0.04 * uniform(count=3)
    p["lip"] = natural * (1 - lipstick) + painted * lipstick
    p["freckles"] = 0.7 * _ramp(uniform(), 0.84, 0.94) * _ramp(p["skin"].mean(1, keepdim=True), 0.15, 0.35)
    p["blush"] = uniform(0.15, 0.6) + 0.3 * lipstick

    # Hair: colour along black .. blond and red, greying with age; now and then a dyed one.
    dyed = chance(0.06)
    natural_hair = _along(_tones(_HAIR_TONES, z), uniform() * (1 - 0.6 * depth))
    grey = _ramp(age, 0.62, 0.85) * _ramp(uniform(), 0.15, 0.5)
    silver = torch.tensor([200, 199, 198], device=z.device) / 255 * uniform(0.7, 1.1)
    natural_hair = natural_hair * (1 - grey) + silver * grey
    hue = uniform(0, 2 * math.pi)
    phases = torch.tensor([0.0, 2 * math.pi / 3, 4 * math.pi / 3], device=z.device)
    dye = 0.47 + 0.38 * torch.cos(hue - phases)
    p["hair"] = to_linear(natural_hair * (1 - dyed) + dye * dyed)
    p["hair_shine"] = uniform(0.6, 1.3)

    choice = uniform()[:, 0].contiguous()
    masculine = torch.bucketize(choice, torch.tensor(_MASCULINE, device=z.device))
    feminine_style = torch.bucketize(choice, torch.tensor(_FEMININE, device=z.device))
    style = torch.where(is_feminine[:, 0] > 0, feminine_style, masculine)

    def among(*styles: int) -> Tensor:
        return torch.stack([(style == s).float() for s in styles]).sum(0)[:, None]

    p["bald"], p["buzz"] = among(BALD), among(BUZZ)
    p["curl"] = among(CURLY, AFRO)
    p["afro"] = among(AFRO)
    p["bun"] = among(BUN)
    p["swept"] = among(SWEPT)
    p["long"] = among(LONG, WAVY, BOB)
    p["hair_volume"] = (
        uniform(0.05, 0.13) * among(SHORT, SIDE_PART)
        + uniform(0.13, 0.24) * among(SWEPT)
        + uniform(0.10, 0.18) * among(CURLY)
        + uniform(0.26, 0.44) * among(AFRO)
        + uniform(0.07, 0.15) * among(LONG, WAVY, BOB)
        + 0.05 * among(BUN)
    )
    p["hair_length"] = uniform(1.1, 1.7) * among(LONG, WAVY) + uniform(0.5, 0.85) * among(BOB) + 0.2 * (1 - p["long"])
    wants_fringe = chance(0.32) * among(SHORT, SIDE_PART, LONG, WAVY, BOB)
    fringe = p["fringe"] = wants_fringe * (is_feminine + (1 - is_feminine) * among(SHORT))
    side = torch.where(uniform() > 0.5, 1.0, -1.0)
    p["part"] = (normal(0.08) + side * (0.24 * among(SIDE_PART) + uniform(0, 0.25) * among(LONG, WAVY, BOB))) * (
        1 - 0.5 * fringe
    )
    p["parting_slope"] = (
        uniform(0.35, 0.9) * among(LONG, WAVY, BOB)
        + uniform(0.2, 0.5) * among(SIDE_PART)
        + uniform(0, 0.15) * among(SHORT, BUN)
    ) * (1 - fringe)
    receding = (1 - feminine) * age * uniform(0, 0.12)
    p["hairline"] = (0.70 + normal(0.035) + receding) * (1 - fringe) + (0.44 + normal(0.035)) * fringe
    p["hairline_curve"] = uniform(0.2, 0.8) * (1 - fringe) + uniform(0, 0.35) * fringe
    p["temples"] = receding * 3 * (1 - fringe)
    p["wave"] = uniform(0.6, 1.1) * among(WAVY) + uniform(0, 0.3) * among(LONG, BOB, SHORT, SIDE_PART, SWEPT)
    p["hair_width"] = uniform(0.78, 0.92)

    # Beard and moustache, coverage 0..1; glasses.
    p["beard"] = _ramp(uniform(), 0.60, 0.85) * (1 - is_feminine)
    p["moustache"] = torch.maximum(_ramp(uniform(), 0.65, 0.9) * (1 - is_feminine), 0.8 * p["beard"])
    glasses = p["glasses"] = chance(0.16)
    p["glasses_radius"] = uniform(0.185, 0.225)
    p["glasses_squareness"] = uniform(0.05, 0.15)
    glasses_colour = uniform(count=3) ** 1.6 * 0.75
    p["glasses_colour"] = to_linear(glasses_colour) * glasses + 0.2 * (1 - glasses)

    # Light and surroundings.
    p["light_x"] = normal(0.5)
    p["light_y"] = uniform(0.40, 0.95)
    p["ambient"] = uniform(0.36, 0.54)
    p["key"] = uniform(0.80, 1.05)
    p["warmth"] = normal(1.0)
    tint, saturation = uniform(count=3), uniform(0.1, 0.75)
    tint = tint * saturation + tint.mean(1, keepdim=True) * (1 - saturation)
    p["background"] = to_linear(tint * 0.75 + 0.12)
    tint_2 = (tint + normal(0.22, 3)).clamp(0, 1) * uniform(0.6, 1.0)
    p["background_2"] = to_linear(tint_2 * 0.75 + 0.10)
    p["background_x"], p["background_y"] = normal(0.6), normal(0.6)
    p["cloth"] = to_linear(uniform(count=3) * 0.8 + 0.06)
    p["collar"] = uniform(-0.05, 0.12)
    return p


def normalise_z(z: Tensor) -> Tensor:
    """`z` `[B, Z_DIM]` scaled to root mean square 1 per row, as a StyleGAN2 mapping network sees it."""
    return z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()


def sample_z(count: int, generator: torch.Generator) -> Tensor:
    """`[count, Z_DIM]` standard normal rows of root mean square 1, drawn from `generator`."""
    return normalise_z(torch.randn(count, Z_DIM, generator=generator))


def sample_parameters(count: int, generator: torch.Generator) -> FaceParameters:
    """Parameters of `count` random faces. The same generator state gives the same faces."""
    return parameters_from_z(sample_z(count, generator))


def features(parameters: FaceParameters) -> Tensor:
    """Parameters as one row of numbers per face `[B, K]`; colours in sRGB, not standardised."""
    rows = [to_srgb(v) if name in COLOUR_PARAMETERS else v for name, v in parameters.items()]
    return torch.cat(rows, 1)


def select(parameters: FaceParameters, index: Tensor | slice | list[int]) -> FaceParameters:
    """The parameters of the faces at `index`."""
    return {name: v[index] for name, v in parameters.items()}


def concatenate(parts: list[FaceParameters]) -> FaceParameters:
    """Several batches of faces as one."""
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
