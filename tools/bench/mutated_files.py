"""The readers of other people's files, a few right files for each, and how `mutations.py` changes them."""

from __future__ import annotations

import io
import json
import pickle
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from ...cli.files import read_images, read_settings
from ...core.pictures import read_picture
from ...core.settings import from_mapping
from ...faces.align import crop_to_photo_from_landmarks
from ...faces.mesh import faces_of_mesh
from ...latents.directions import find_by_samples, load_directions, save_directions
from ...latents.files import load_latents, save_latents
from ...latents.sampling import sample_latent
from ...models import checkpoints
from ...models.checkpoints.export import to_nvidia, to_rosinality
from ...models.discriminator import Discriminator, DiscriminatorConfig
from ...models.generator import Generator, GeneratorConfig
from ...models.types import FaceGenerator
from ...training.data import picture_files
from ...training.data.crop_cache import CropCache, FileHashes
from ...training.finetune.settings import FinetuneConfig
from ...training.kit.kept import CannotResume
from ...training.kit.run_folder import RunFolder
from ...training.pairs.making import make_pairs
from ...training.pairs.manifest import load_pairs, save_pairs
from ...training.pairs.settings import PairsConfig
from .mutate import (
    Change,
    array_header,
    change_bytes,
    change_pickle,
    change_text,
    inside_zip,
    object_pickle,
    safetensors_header,
    safetensors_metadata,
)

OURS = (ValueError, checkpoints.CheckpointError, CannotResume, picture_files.UnusablePicture)
"""Exactly these: a UnicodeDecodeError is a ValueError, too, and no sentence for people."""
LONGEST = 2000
PICTURE_GROWTH = 4 << 30
"""Pillow refuses pictures only beyond 179 million pixels, whose values take this as float32 while they are read."""


@dataclass(frozen=True)
class Parser:
    """One reader, files for it, and how they are changed."""

    seeds: list[bytes]
    read: Callable[[Path], Any]
    changes: tuple[Change, ...]
    growth: int = 256 << 20
    """Bytes by which one file may raise the peak of the process."""


def complaint(error: Exception) -> str | None:
    """What is wrong with an error; None where it is one of ours with a sentence for people."""
    said = str(error)
    # What is wrong with a style picture is told as the end of a sentence.
    whole = said.endswith((".", "?")) or type(error) is picture_files.UnusablePicture
    if type(error) in OURS and whole and len(said) < LONGEST:
        return None if said.isprintable() else f"not printable: {place_of(error)}"
    return place_of(error)


def place_of(error: BaseException) -> str:
    """The error's class and the last line of ours that it came through."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "bench" not in frame.filename]
    mine = [frame for frame in frames if "facestylist" in frame.filename] or frames
    where = f"{Path(mine[-1].filename).name}:{mine[-1].lineno}" if mine else "?"
    return f"{type(error).__name__} at {where}: {str(error)[:160]!r}"


def saved(write: Callable[[Path], Any], suffix: str = "") -> bytes:
    """The bytes that `write` leaves."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"file{suffix}"
        write(path)
        return path.read_bytes()


def small_generator() -> FaceGenerator:
    """8 px, with a discriminator."""
    random = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=()):
        network = Generator(GeneratorConfig(8, (4, 4), 8, 8, 2)).requires_grad_(False).eval()
        critic = Discriminator(DiscriminatorConfig(8, (4, 4))).requires_grad_(False).eval()
    for parameter in (*network.parameters(), *critic.parameters()):
        parameter.normal_(generator=random)
    return FaceGenerator(network, critic)


class _Network:
    """Pickled as NVIDIA's networks are."""

    def __init__(self, meta: dict[str, Any]) -> None:
        self.meta = meta

    def __reduce__(self) -> Any:
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (self.meta,)


def nvidia_pickle(generator: FaceGenerator) -> bytes:
    """A network record as in NVIDIA's files."""
    module = ModuleType("torch_utils.persistence")

    def _reconstruct_persistent_obj(meta: Any) -> None:
        """Only its name is pickled."""

    _reconstruct_persistent_obj.__module__ = module.__name__
    _reconstruct_persistent_obj.__qualname__ = _reconstruct_persistent_obj.__name__
    module._reconstruct_persistent_obj = _reconstruct_persistent_obj  # type: ignore[attr-defined]
    sys.modules |= {"torch_utils": ModuleType("torch_utils"), module.__name__: module}
    try:
        native = to_nvidia(generator)
        state = {"_parameters": native["G_ema"], "_buffers": {}, "_modules": {}, "_init_kwargs": {"z_dim": 8}}
        meta = {"type": "class", "version": 6, "module_src": "x = 1", "class_name": "Generator", "state": state}
        return pickle.dumps({"G_ema": _Network(meta), "D": None})
    finally:
        del sys.modules[module.__name__], sys.modules["torch_utils"]


class Task:
    """What a run's state is restored into."""

    def __init__(self) -> None:
        self.network = torch.nn.Linear(2, 2)
        self.optimiser = torch.optim.Adam(self.network.parameters())

    def state_dict(self) -> dict[str, Any]:
        return {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])


def _run_file(name: str) -> bytes:
    def write(path: Path) -> None:
        task: Any = Task()
        run = RunFolder(path.parent / "run", ("loss",))
        run.open(task, {"steps": 3, "name": "x"}, False)
        run.append({"step": 1, "loss": 0.5})
        run.append({"step": 2, "loss": 0.25})
        run.save(task, 2, 0)
        run.close()
        path.write_bytes((path.parent / "run" / name).read_bytes())

    return saved(write)


def _resume(name: str, path: Path) -> None:
    folder = path.parent / "run"
    task: Any = Task()
    for other in ("state/step-00000002.pt", "settings.json", "losses.csv"):
        (folder / other).parent.mkdir(parents=True, exist_ok=True)
        (folder / other).write_bytes(path.read_bytes() if other == name else RUN_FILES[other])
    run = RunFolder(folder, ("loss",))
    try:
        run.open(task, {"steps": 3, "name": "x"}, True)
    finally:
        run.close()


RUN_FILES: dict[str, bytes] = {}


def _landmarks(path: Path) -> None:
    try:
        given = json.loads(path.read_bytes())
    except ValueError:
        # ComfyUI hands over an object, no text.
        return
    faces = faces_of_mesh(given, 64, 64)
    found = [face.landmarks for frame in faces for face in frame]
    if found and not torch.isfinite(crop_to_photo_from_landmarks(torch.stack(found), 32)).all():
        raise RuntimeError("a matrix that is not finite")


def _each(reads: tuple[Callable[[Path], Any], ...], path: Path) -> None:
    """Reads a file in several ways."""
    for read in reads:
        try:
            read(path)
        except OURS as error:
            if complaint(error):
                raise


def _pictures() -> dict[str, bytes]:
    from PIL import Image

    made = {}
    noise = np.random.RandomState(0).randint(0, 256, (40, 48, 4)).astype(np.uint8)
    for name, mode in (
        ("png", "RGBA"),
        ("png", "P"),
        ("png", "I;16"),
        ("jpeg", "RGB"),
        ("jpeg", "CMYK"),
        ("webp", "RGBA"),
        ("tiff", "RGB"),
        ("tiff", "F"),
        ("bmp", "RGB"),
        ("gif", "P"),
        ("ppm", "RGB"),
        ("tga", "RGB"),
        ("ico", "RGBA"),
        ("jpeg2000", "RGB"),
        ("avif", "RGB"),
        ("mpo", "RGB"),
        ("png", "1"),
        ("tiff", "I;16"),
    ):
        image = Image.fromarray(noise)
        image = Image.fromarray(noise[..., 0].astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
        buffer = io.BytesIO()
        exif = Image.Exif()
        exif[274] = 6
        with suppress(OSError, KeyError, ValueError):
            image.save(buffer, format=name, **({"exif": exif} if name in ("jpeg", "webp", "tiff") else {}))
            made[f"{name} {mode}"] = buffer.getvalue()
    frames = [Image.fromarray(np.roll(noise, i)).convert("P") for i in range(3)]
    buffer = io.BytesIO()
    frames[0].save(buffer, format="gif", save_all=True, append_images=frames[1:])
    return {**made, "gif animated": buffer.getvalue()}


def _hashes(path: Path) -> None:
    folder = path.parent / "cache"
    folder.mkdir(exist_ok=True)
    (folder / "hashes.json").write_bytes(path.read_bytes())
    known = FileHashes(folder)
    known.of(path)
    cache = CropCache(folder, "settings")
    place: Any = cache._path("content")
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(path.read_bytes())
    cache.get("content")


def parsers() -> dict[str, Parser]:
    """Every reader of files that others may have written."""
    generator = small_generator()
    ros, nv = to_rosinality(generator), to_nvidia(generator)
    torch_files = [
        saved(partial(torch.save, content))
        for content in (
            ros,
            nv,
            {"g_ema": {name: tensor.numpy() for name, tensor in ros["g_ema"].items()}},
        )
    ]
    old_files = [saved(lambda path: torch.save(ros, path, _use_new_zipfile_serialization=False))]
    pickles = [nvidia_pickle(generator), *(pickle.dumps(ros, protocol) for protocol in (2, 4))]
    ours = saved(partial(checkpoints.save_generator, generator), ".safetensors")

    latent = sample_latent(generator, [0, 1])
    codes = latent.w_plus.numpy()
    directions = find_by_samples(generator, count=2)
    npz = [saved(partial(np.savez, w=codes, name=np.array(["a"])), ".npz")]
    objects = [saved(lambda path: np.save(path, np.array({"a.png": codes[0]}, dtype=object)), ".npy")]
    our_latents = [
        saved(lambda path: save_latents(latent, path), ".safetensors"),
        saved(lambda path: save_directions(directions, path), ".safetensors"),
    ]
    pairs = make_pairs(generator, generator, PairsConfig(count=2, duplicate_bits=-1, min_contrast=0.0))
    pair_file = saved(lambda path: save_pairs(pairs, path), ".safetensors")
    for name in ("state/step-00000002.pt", "settings.json", "losses.csv"):
        RUN_FILES[name] = _run_file(name)
    mesh = {
        "frames": [
            [
                {
                    "landmarks_xy": np.random.RandomState(0).rand(468, 2).round(2).tolist(),
                    "bbox_xyxy": [1, 2, 30, 40],
                    "score": 0.9,
                }
            ]
        ],
        "image_size": [64, 64],
    }
    pictures = list(_pictures().values())
    toml = 'style_name = "ink"\nsteps = 10\nlearning_rate = 2e-4\nflip_styles = true\naugment = "ada"\nseed = 3\n'

    networks = partial(
        _each,
        (checkpoints.inspect, checkpoints.load_generator, checkpoints.load_encoder, checkpoints.load_discriminator),
    )
    arrays = partial(
        _each,
        (
            lambda path: load_latents(path, generator),
            lambda path: load_directions(path, generator),
            lambda path: read_images(str(path), 8),
            load_latents,
        ),
    )
    return {
        "torch zip": Parser(torch_files, networks, (change_bytes, inside_zip(change_pickle), inside_zip(change_bytes))),
        "torch legacy": Parser(old_files, networks, (change_bytes, change_pickle)),
        "pickle": Parser(pickles, networks, (change_bytes, change_pickle, change_pickle)),
        "safetensors": Parser([ours], networks, (change_bytes, safetensors_header, safetensors_metadata)),
        "npy": Parser([saved(partial(np.save, arr=codes), ".npy")], arrays, (change_bytes, array_header)),
        "npy of objects": Parser(objects, arrays, (change_bytes, array_header, object_pickle)),
        "npz": Parser(npz, arrays, (change_bytes, inside_zip(array_header), inside_zip(change_bytes))),
        "our latents": Parser(our_latents, arrays, (change_bytes, safetensors_header, safetensors_metadata)),
        "pairs": Parser([pair_file], load_pairs, (change_bytes, safetensors_header, safetensors_metadata)),
        "picture": Parser(pictures, read_picture, (change_bytes,), PICTURE_GROWTH),
        "style picture": Parser(pictures, picture_files.read_picture, (change_bytes,), PICTURE_GROWTH),
        "settings": Parser(
            [toml.encode()], lambda path: from_mapping(FinetuneConfig, read_settings(path)), (change_bytes, change_text)
        ),
        "run state": Parser(
            [RUN_FILES["state/step-00000002.pt"]],
            partial(_resume, "state/step-00000002.pt"),
            (change_bytes, inside_zip(change_pickle), inside_zip(change_bytes)),
        ),
        "run settings": Parser(
            [RUN_FILES["settings.json"]], partial(_resume, "settings.json"), (change_bytes, change_text)
        ),
        "run losses": Parser([RUN_FILES["losses.csv"]], partial(_resume, "losses.csv"), (change_bytes, change_text)),
        "landmarks": Parser([json.dumps(mesh).encode()], _landmarks, (change_text,)),
        "crop cache": Parser([b'{"a": [1, 2, 3, 4, "x"], "reason": "none"}'], _hashes, (change_bytes, change_text)),
    }
