"""Directions in W along which faces change: found without any labels, or read from a file; and the step along one.

Found in the weights (SeFa: Shen & Zhou, CVPR 2021, arXiv 2007.06600) or in samples (principal components of W, as in
GANSpace: Harkonen et al., arXiv 2004.02546). A style that shares its source's W shares its directions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.checkpoints.arrays import find_arrays, read_arrays
from ..models.types import FaceDirections, FaceGenerator, FaceLatent, device_of, name_of
from .files import check_ours, our_metadata, save_bytes
from .layers import describe_layers, parse_layers
from .sampling import map_z, synthesise

SAMPLES = 10_000
BATCH = 1000
KIND = "set of directions"
VECTOR_NAMES = ("vectors", "directions", "direction", "boundary", "comp", "lat_comp", "components", "w_plus")
SCALE_NAMES = ("scale", "std", "lat_stdev", "stdev")
EIGENVECTORS = "eigvec"
"""rosinality's closed_form_factorization.py keeps SeFa's directions under this name, in columns."""


@torch.no_grad()
def find_by_weights(
    generator: FaceGenerator, layers: Iterable[int] | None = None, count: int = 10, seed: int = 0
) -> FaceDirections:
    """SeFa: the unit directions n in which `|A n|` is largest, A being the style weights of `layers` one below another.

    They are the eigenvectors of `A^T A` with the largest eigenvalues, in that order, orthonormal. A strength of 1 is a
    standard deviation of w along the direction, measured on seeded samples.

    layers: codes of W+; each drives one convolution, and the last one the picture's colours. None for all.

    Raises:
        ValueError: no layer, or no direction, is asked for.
    """
    chosen = _checked(generator, layers, count)
    weights = [weight.cpu().double() for index, weight in enumerate(style_weights(generator)) if index in chosen]
    stacked = torch.cat(weights)
    _, vectors = torch.linalg.eigh(stacked.T @ stacked)
    found = _same_sign(vectors.flip(1).T[:count])
    spread = (_samples(generator, seed) @ found.T).std(0)
    return _directions(generator, found, spread, chosen, f"SeFa, layers {describe_layers(chosen)}")


@torch.no_grad()
def find_by_samples(
    generator: FaceGenerator, layers: Iterable[int] | None = None, count: int = 10, seed: int = 0
) -> FaceDirections:
    """Principal components of w over `SAMPLES` seeded faces, orthonormal, the widest first.

    A strength of 1 is a standard deviation of w along the direction. `layers` is only remembered as where to move.

    Raises:
        ValueError: no layer, or no direction, is asked for.
    """
    chosen = _checked(generator, layers, count)
    w = _samples(generator, seed)
    variances, vectors = torch.linalg.eigh(torch.cov(w.T))
    spread = variances.flip(0)[:count].clamp(min=0).sqrt()
    found = _same_sign(vectors.flip(1).T[:count])
    return _directions(generator, found, spread, chosen, f"principal components of {SAMPLES} faces")


def style_weights(generator: FaceGenerator) -> list[Tensor]:
    """`[C, w_dim]` for each code of W+: the affine layer of the convolution it drives (the last: of to_rgb).

    The other to_rgb layers share their codes with convolutions and are left out, as in SeFa.
    """
    synthesis = generator.generator.synthesis
    affines = [convolution.affine for convolution in synthesis.convolutions()]
    affines.append(synthesis.each_block()[-1].to_rgb.affine)
    return [affine.weight.detach() * affine.weight_gain for affine in affines]


def move_along(
    latent: FaceLatent,
    directions: FaceDirections,
    index: int,
    strength: float,
    layers: Iterable[int] | None = None,
) -> FaceLatent:
    """The faces moved `strength` along direction `index`; a strength of 0 changes nothing, to the bit.

    layers: codes that move; None for those the directions were found for. Noise stays, for it belongs to the face.

    Raises:
        ValueError: there is no such direction, or latents and directions belong to different generators.
    """
    if not 0 <= index < len(directions):
        raise ValueError(f"There is no direction {index}: there are {len(directions)}, counted from 0.")
    num_ws, w_dim = latent.w_plus.shape[1:]
    if directions.vectors.shape[2] != w_dim or directions.vectors.shape[1] not in (1, num_ws):
        raise ValueError(
            f"The directions have {directions.vectors.shape[1]} codes of length {directions.vectors.shape[2]}, the "
            f"latents {num_ws} of length {w_dim}: they belong to different generators."
        )
    if latent.w_space and directions.w_space and latent.w_space != directions.w_space:
        raise ValueError(
            "Latents and directions belong to different generators. Find the directions in the generator the faces "
            "were found with, or in a style of it."
        )
    if strength == 0.0:
        return latent
    acting = [layer for layer in (directions.layers if layers is None else layers) if layer < num_ws]
    step = (directions.vectors[index] * (strength * directions.scale[index])).expand(num_ws, -1)
    w_plus = latent.w_plus.clone()
    w_plus[:, acting] += step[acting].to(w_plus.device, w_plus.dtype)
    return latent.replace(w_plus=w_plus, reconstruction_error=None, identity_distance=None)


@torch.no_grad()
def direction_sheet(
    generator: FaceGenerator, directions: FaceDirections, strength: float = 3.0, rows: int = 10, side: int = 128
) -> Tensor:
    """One picture `[1, 3, k * side, 3 * side]` in -1..1: the average face at -strength, 0 and strength along the first
    k <= `rows` directions, a row for each."""
    mean = generator.generator.broadcast(generator.mean_latent.to(device_of(generator))[None])
    face = FaceLatent(mean.clone(), w_space=generator.w_space)
    lines = []
    for index in range(min(rows, len(directions))):
        moved = [move_along(face, directions, index, amount).w_plus for amount in (-strength, 0.0, strength)]
        drawn = synthesise(generator, face.replace(w_plus=torch.cat(moved))).clamp(-1, 1)
        small = F.interpolate(drawn, size=(side, side), mode="bilinear", antialias=True, align_corners=False)
        lines.append(torch.cat(list(small), dim=2))
    return torch.cat(lines, dim=1)[None]


def save_directions(directions: FaceDirections, path: str | Path) -> Path:
    """Writes directions as `.safetensors`, whole or not at all.

    Raises:
        ValueError: the name has another ending, or the file cannot be written.
    """
    from safetensors.torch import save

    path = Path(path)
    if path.suffix.lower() != ".safetensors":
        raise ValueError(f"{path}: directions are saved as .safetensors. Give a name that ends so.")
    tensors = {"vectors": directions.vectors.cpu().contiguous(), "scale": directions.scale.cpu().contiguous()}
    entries = {"layers": describe_layers(directions.layers), "w_space": directions.w_space, "origin": directions.origin}
    return save_bytes(path, save(tensors, our_metadata(KIND, **entries)))


def load_directions(path: str | Path, generator: FaceGenerator) -> FaceDirections:
    """The directions in a file, for this generator; nothing in the file is executed.

    Read are ours, arrays (`.npy`, `.npz`, `.pt`) of `[w_dim]` or `[K, w_dim]`, `[num_ws, w_dim]` (one direction with a
    code for each layer) or `[K, num_ws, w_dim]` under any name, rosinality's SeFa (`eigvec`) and GANSpace's components
    (`comp` and `std`). A strength of 1 adds the vector as it is in the file, times its standard deviation where the
    file has one.

    Raises:
        ValueError: the file cannot be read, or does not fit the generator.
    """
    path = Path(path)
    arrays, metadata = read_arrays(path)
    named = {name.lower(): value for name, value in arrays.items() if isinstance(value, Tensor)}
    if metadata.get("format") == "facestylist":
        return _ours(path, named, metadata, generator)
    num_ws, w_dim = generator.num_ws, generator.w_dim
    if EIGENVECTORS in named:
        found = [named[EIGENVECTORS].T]
    else:
        found = find_arrays(
            path,
            arrays,
            VECTOR_NAMES,
            [lambda array: _rows(array.shape, num_ws, w_dim) is not None],
            f"an array of directions for the generator {name_of(generator)}, [K, {w_dim}] or [K, {num_ws}, {w_dim}],",
        )
    vectors = torch.cat([_layered(path, vectors.detach().float(), generator) for vectors in found])
    scale = next((named[name].float().flatten() for name in SCALE_NAMES if name in named), None)
    if scale is None or len(scale) != len(vectors):
        scale = torch.ones(len(vectors))
    everywhere = tuple(range(generator.num_ws))
    return FaceDirections(vectors.contiguous(), scale, everywhere, generator.w_space, path.name)


def _ours(
    path: Path, named: Mapping[str, Tensor], metadata: Mapping[str, Any], generator: FaceGenerator
) -> FaceDirections:
    check_ours(path, metadata, KIND)
    if "vectors" not in named or "scale" not in named:
        raise ValueError(f"{path}: it is incomplete: its vectors are missing. Take another copy of the file.")
    w_space = metadata.get("w_space", "")
    if w_space and w_space != generator.w_space:
        raise ValueError(
            f"{path}: its directions were found in another generator than {name_of(generator)}, where they mean "
            "something else. Load that generator, or a style of it."
        )
    vectors = _layered(path, named["vectors"], generator)
    layers = parse_layers(metadata.get("layers", ""), generator.num_ws)
    return FaceDirections(vectors, named["scale"], layers, generator.w_space, metadata.get("origin", ""))


def _rows(shape: Sequence[int], num_ws: int, w_dim: int) -> tuple[int, ...] | None:
    """`[K, 1 or num_ws, w_dim]` for any of the shapes in `load_directions`, None for another."""
    sides = tuple(shape)
    if len(sides) == 1:
        sides = (1, 1, *sides)
    elif len(sides) == 2:
        # A W+ direction is what such a file of exactly so many rows holds in practice.
        sides = (1, *sides) if sides[0] == num_ws else (sides[0], 1, sides[1])
    return sides if len(sides) == 3 and sides[0] and sides[1] in (1, num_ws) and sides[2] == w_dim else None


def _layered(path: Path, vectors: Tensor, generator: FaceGenerator) -> Tensor:
    """`[K, 1 or num_ws, w_dim]` of any of the shapes in `load_directions`."""
    sides = _rows(vectors.shape, generator.num_ws, generator.w_dim)
    if sides is None:
        raise ValueError(
            f"{path}: its directions have shape {list(vectors.shape)}; the generator {name_of(generator)} takes "
            f"vectors of length {generator.w_dim}, the same for its {generator.num_ws} layers or one for each."
        )
    if not torch.isfinite(vectors).all():
        raise ValueError(f"{path}: its directions hold values that are not finite numbers. Take another copy.")
    return vectors.reshape(sides)


def _checked(generator: FaceGenerator, layers: Iterable[int] | None, count: int) -> tuple[int, ...]:
    chosen = tuple(range(generator.num_ws)) if layers is None else tuple(sorted(set(layers)))
    if not chosen or chosen[0] < 0 or chosen[-1] >= generator.num_ws:
        raise ValueError(f"The layers have to be some of 0 to {generator.num_ws - 1}, and are {list(chosen)}.")
    if not 1 <= count <= generator.w_dim:
        raise ValueError(f"{count} directions were asked for; there are 1 to {generator.w_dim} (the length of w).")
    return chosen


def _samples(generator: FaceGenerator, seed: int) -> Tensor:
    """w of seeded faces, `[SAMPLES, w_dim]` float64 on the CPU."""
    network, device = generator.generator, device_of(generator)
    z = torch.randn(SAMPLES, network.config.z_dim, generator=torch.Generator().manual_seed(seed))
    return torch.cat([map_z(network, part.to(device)).cpu().double() for part in z.split(BATCH)])


def _same_sign(vectors: Tensor) -> Tensor:
    """Eigenvectors have no sign of their own: the largest component is made positive, on every machine."""
    largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
    return vectors * largest.sign()


def _directions(
    generator: FaceGenerator, vectors: Tensor, spread: Tensor, layers: tuple[int, ...], origin: str
) -> FaceDirections:
    return FaceDirections(
        vectors=vectors.float()[:, None].cpu(),
        scale=spread.float().cpu(),
        layers=layers,
        w_space=generator.w_space,
        origin=f"{origin}, of the generator {name_of(generator)}",
    )
