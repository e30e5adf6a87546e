"""Checkpoint files: what they are (`inspect`), their networks (`load_*`), and this project's own format (`save_*`).

One module per format, each with `detect(contents) -> bool` and `read(contents) -> Weights`; FORMATS is their registry,
tried in order. Nothing in a file is ever executed. Wherever a path is accepted, so are the names of the shipped
networks: `embedded`, `embedded:cartoon`, ...
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from .. import embedded
from ..discriminator import Discriminator, DiscriminatorConfig
from ..encoder import Encoder, EncoderConfig
from ..generator import Generator, GeneratorConfig
from ..irse import ArcFace, ArcFaceConfig
from ..psp import PspConfig, PspEncoder
from ..types import FaceEncoder, FaceGenerator
from . import arcface, facestylist, nvidia, psp, refused, rosinality
from .container import read_contents
from .contents import CheckpointError, CheckpointInfo, State, Weights

__all__ = [
    "CheckpointError",
    "CheckpointInfo",
    "inspect",
    "load_arcface",
    "load_discriminator",
    "load_encoder",
    "load_generator",
    "save_arcface",
    "save_encoder",
    "save_generator",
]

FORMATS = (facestylist, psp, arcface, rosinality, nvidia)
MEAN_LATENT_SAMPLES = 10_000
Network = TypeVar("Network", bound=nn.Module)


def inspect(path: str | Path) -> CheckpointInfo:
    """What the file is, told from its names and shapes; no network is built.

    Raises:
        CheckpointError: it is missing, damaged, of no known kind, or would have to run code.
    """
    _, weights = _read(path, "generator")
    config: GeneratorConfig | EncoderConfig | PspConfig | DiscriminatorConfig | ArcFaceConfig
    kind, (config, state) = next(
        (kind, network)
        for kind, network in (
            # Published encoders come with the generator they belong to; asked what it is, such a file is an encoder.
            ("encoder", weights.encoder),
            ("generator", weights.generator),
            ("embedding", weights.embedding),
            ("discriminator", weights.discriminator),
        )
        if network is not None
    )
    widths = config.channels if isinstance(config, (GeneratorConfig, DiscriminatorConfig)) else ()
    return CheckpointInfo(
        family=weights.family,
        kind=kind,
        resolution=config.resolution,
        num_ws=None if isinstance(config, DiscriminatorConfig) else config.num_ws,
        z_dim=config.z_dim if isinstance(config, GeneratorConfig) else None,
        w_dim=None if isinstance(config, DiscriminatorConfig) else config.w_dim,
        channels={4 * 2**i: width for i, width in enumerate(widths)},
        has_discriminator=weights.discriminator is not None,
        has_mean_latent=weights.mean_latent is not None or "mean_latent" in state,
        parameters=_parameter_count(state),
        metadata=weights.metadata,
    )


def load_generator(path: str | Path) -> FaceGenerator:
    """The generator of a file, with its discriminator where the file has one; on the CPU, float32, in eval mode.

    Where the file stores no mean latent, it is estimated from 10,000 seeded samples.

    Raises:
        CheckpointError: the file cannot be used, or holds no generator.
    """
    file, weights = _read(path, "generator")
    if weights.generator is None:
        what = _contents_in_words(weights)
        raise CheckpointError(f"{file}: it holds {what} and no generator. Choose a generator's checkpoint.")
    with _plain_tensors():
        config, state = weights.generator
        generator = _build(Generator(config), state, file)
        mean = weights.mean_latent
        mean = generator.estimate_mean_latent(MEAN_LATENT_SAMPLES) if mean is None else mean.float().clone()
        if mean.shape != generator.mean_latent.shape:
            raise CheckpointError(f"{file}: its mean latent has shape {list(mean.shape)}, not [{config.w_dim}].")
        generator.mean_latent.copy_(mean)
        discriminator = None
        if weights.discriminator is not None:
            discriminator = _build(Discriminator(weights.discriminator[0]), weights.discriminator[1], file)
    provenance = {**weights.metadata, "file": Path(file).name, "family": weights.family}
    for name in facestylist.RESERVED:
        provenance.pop(name, None)
    if weights.mean_latent is None:
        provenance["mean_latent"] = f"estimated from {MEAN_LATENT_SAMPLES} samples"
    return FaceGenerator(generator, discriminator, generator.mean_latent.clone(), weights.style, provenance)


def load_discriminator(path: str | Path) -> Discriminator:
    """The discriminator of a file, on the CPU, float32, in eval mode.

    Raises:
        CheckpointError: the file cannot be used, or holds no discriminator.
    """
    file, weights = _read(path, "generator")
    if weights.discriminator is None:
        raise CheckpointError(
            f"{file}: it holds no discriminator. Choose a training checkpoint, which holds the generator and it."
        )
    with _plain_tensors():
        return _build(Discriminator(weights.discriminator[0]), weights.discriminator[1], file)


def load_encoder(path: str | Path) -> FaceEncoder:
    """The encoder of a file, on the CPU, float32, in eval mode.

    Raises:
        CheckpointError: the file cannot be used, or holds no encoder.
    """
    file, weights = _read(path, "encoder")
    if weights.encoder is None:
        raise CheckpointError(f"{file}: it holds no encoder. Choose a face encoder's checkpoint.")
    config, state = weights.encoder
    with _plain_tensors():
        network: Encoder | PspEncoder
        if isinstance(config, PspConfig):
            with torch.device("meta"):
                network = PspEncoder(config)
            network = _fill(network, state, file)
        else:
            network = _build(Encoder(config), state, file)
    provenance = {**weights.metadata, "file": Path(file).name, "family": weights.family}
    for name in facestylist.RESERVED:
        provenance.pop(name, None)
    return FaceEncoder(network, config.resolution, config.num_ws, config.w_dim, provenance)


def load_arcface(path: str | Path) -> ArcFace:
    """The face embedding network of a file (`model_ir_se50.pth`), on the CPU, float32, in eval mode, not trainable.

    Raises:
        CheckpointError: the file cannot be used, or holds no embedding network.
    """
    file, weights = _read(path, "encoder")
    if weights.embedding is None:
        raise CheckpointError(
            f"{file}: it holds {_contents_in_words(weights)} and no face embedding network. "
            "Choose `model_ir_se50.pth`, which pSp and e4e use."
        )
    config, state = weights.embedding
    with _plain_tensors():
        with torch.device("meta"):
            network = ArcFace(config)
        return _fill(network, state, file).requires_grad_(False)


def save_generator(
    generator: FaceGenerator, path: str | Path, metadata: Mapping[str, Any] | None = None, half: bool = False
) -> None:
    """Saves a generator, its discriminator where it has one, mean latent, style name and metadata as `.safetensors`.

    Args:
        metadata: further entries (provenance, training settings, licence note); what is not text becomes JSON.
        half: float16 tensors: half the size.

    Raises:
        CheckpointError: the name does not end in .safetensors, or the file cannot be written.
    """
    networks: dict[str, nn.Module] = {"generator": generator.generator}
    if generator.discriminator is not None:
        networks["discriminator"] = generator.discriminator
    entries = {**(metadata or {}), "style": generator.style, "w_space": generator.w_space}
    facestylist.write(Path(path), "generator", networks, entries, half)


def save_encoder(
    encoder: FaceEncoder,
    path: str | Path,
    metadata: Mapping[str, Any] | None = None,
    half: bool = False,
    generator: FaceGenerator | None = None,
) -> None:
    """Saves an encoder, the generator it belongs to where given, and metadata as `.safetensors`.

    Both `load_encoder` and `load_generator` then read the file, as they do pSp's and e4e's. Other arguments and errors
    are those of `save_generator`.
    """
    networks: dict[str, nn.Module] = {"encoder": encoder.network}
    entries = dict(metadata or {})
    if generator is not None:
        networks["generator"] = generator.generator
        entries |= {"style": generator.style, "w_space": generator.w_space}
    facestylist.write(Path(path), "encoder", networks, entries, half)


def save_arcface(network: ArcFace, path: str | Path, metadata: Mapping[str, Any] | None = None) -> None:
    """Saves a face embedding network and metadata as `.safetensors`; errors as in `save_generator`."""
    facestylist.write(Path(path), "embedding", {"embedding": network}, metadata or {}, False)


def _read(path: str | Path, kind: str) -> tuple[Path, Weights]:
    """The file that `path` names, and its networks; every error names the file."""
    try:
        file = embedded.resolve(str(path), kind) if embedded.is_embedded(str(path)) else Path(path)
    except FileNotFoundError as error:
        raise CheckpointError(str(error)) from error
    try:
        with torch.inference_mode(False):
            contents = read_contents(file)
            for fmt in FORMATS:
                if fmt.detect(contents):
                    return file, _understood(fmt.read, contents)
        raise CheckpointError(refused.reason(contents))
    except CheckpointError as error:
        raise CheckpointError(f"{file}: {error}") from error


def _understood(read: Any, contents: Any) -> Weights:
    try:
        weights: Weights = read(contents)
    except CheckpointError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"it is incomplete or damaged ({type(error).__name__}: {error}).") from error
    if not any((weights.generator, weights.discriminator, weights.encoder, weights.embedding)):
        raise CheckpointError("it holds no network.")
    return weights


@contextmanager
def _plain_tensors() -> Iterator[None]:
    """Builds networks as if nothing surrounded it.

    Tensors made in ComfyUI's inference mode could not be trained or differentiated through later, and the random
    initial weights, which are overwritten, must not move the caller's random numbers on.
    """
    with torch.inference_mode(False), torch.no_grad(), torch.random.fork_rng(devices=()):
        yield


def _build(network: Network, state: State, file: Path) -> Network:
    """`network` filled with `state`, each tensor reshaped to its place.

    Raises:
        CheckpointError: a tensor is missing or of another size.
    """
    for name, place in network.state_dict().items():
        tensor = state.get(name)
        if tensor is None and name.endswith("noise_const"):
            # Some public files leave the buffers out. They are arbitrary, but must not differ from load to load.
            seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")
            tensor = torch.randn(place.shape, generator=torch.Generator().manual_seed(seed))
        elif tensor is None and name == "mean_latent":
            continue
        if tensor is None:
            raise CheckpointError(f"{file}: it is incomplete: `{name}` is missing. Take another copy of the file.")
        if tensor.numel() != place.numel():
            raise CheckpointError(
                f"{file}: `{name}` has shape {list(tensor.shape)}, where {list(place.shape)} belongs. "
                "The architecture differs from StyleGAN2's."
            )
        place.copy_(tensor.reshape(place.shape))
    return network.eval()


def _fill(network: Network, state: State, file: Path) -> Network:
    """A `network` made on the meta device, its tensors being those of `state` and no copies of them.

    The public encoders have a gigabyte: random first weights and a copy would cost seconds and that much memory again.

    Raises:
        CheckpointError: a tensor is missing or of another size.
    """
    filled = {}
    for name, place in network.state_dict().items():
        tensor = state.get(name)
        if tensor is None and name.endswith(("num_batches_tracked", "mean_latent")):
            tensor = torch.zeros(place.shape)
        if tensor is None:
            raise CheckpointError(f"{file}: it is incomplete: `{name}` is missing. Take another copy of the file.")
        if tensor.numel() != place.numel():
            raise CheckpointError(
                f"{file}: `{name}` has shape {list(tensor.shape)}, where {list(place.shape)} belongs. "
                "Take another copy of the file."
            )
        filled[name] = tensor.detach().reshape(place.shape).to(place.dtype).contiguous()
    network.load_state_dict(filled, assign=True)
    return network.eval()


def _contents_in_words(weights: Weights) -> str:
    kinds = {
        "an encoder": weights.encoder,
        "a generator": weights.generator,
        "a face embedding network": weights.embedding,
        "a discriminator": weights.discriminator,
    }
    return next(kind for kind, network in kinds.items() if network is not None)


def _parameter_count(state: State) -> int:
    buffers = (
        "noise_const", "mean_latent", "latent_std", "running_mean", "running_var", "num_batches_tracked",
    )  # fmt: skip
    return sum(tensor.numel() for name, tensor in state.items() if not name.endswith(buffers))
