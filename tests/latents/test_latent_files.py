"""Latents survive their own file bit for bit, other projects' files are understood, and none of them runs anything."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_generator import make_generator, make_style

from facestylist.latents.files import load_latents, save_latents
from facestylist.latents.layers import describe_layers, parse_layers
from facestylist.latents.sampling import sample_latent
from facestylist.models.checkpoints import CheckpointError, arrays, load_generator
from facestylist.models.types import FaceGenerator, FaceLatent


@pytest.fixture(scope="module")
def source() -> FaceGenerator:
    return make_generator()


def codes(*shape: int) -> np.ndarray:
    return np.random.RandomState(0).randn(*shape).astype(np.float32)


def test_our_file_keeps_everything_to_the_bit(source: FaceGenerator, tmp_path: Path) -> None:
    shared = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    random = torch.Generator().manual_seed(2)
    noise = [torch.randn(2, *shape[1:], generator=random) for shape in source.generator.noise_shapes]
    latent = sample_latent(source, [1, 2]).replace(
        noise=(*noise[:2], shared, *noise[3:]),
        reconstruction_error=torch.tensor([0.1, 0.2]),
        generator="base",
        identity_distance=torch.tensor([0.3, 0.7]),
    )
    path = save_latents(latent, tmp_path / "deep" / "faces.safetensors")
    again = load_latents(path, source)
    assert torch.equal(again.w_plus, latent.w_plus)
    assert torch.equal(again.reconstruction_error, torch.tensor([0.1, 0.2]))
    assert torch.equal(again.identity_distance, torch.tensor([0.3, 0.7]))
    assert again.noise is not None and latent.noise is not None
    assert all(torch.equal(x, y) for x, y in zip(again.noise, latent.noise, strict=True))
    assert (again.w_space, again.generator) == (source.w_space, "base")
    bare = load_latents(save_latents(latent.replace(noise=None, reconstruction_error=None), path))
    assert bare.noise is None and bare.reconstruction_error is None
    array = save_latents(latent, tmp_path / "faces.npy")
    assert np.array_equal(np.load(array, allow_pickle=False), latent.w_plus.numpy())
    assert [p.name for p in tmp_path.glob("**/*") if p.is_file()] == ["faces.npy", "faces.safetensors"]
    if os.name == "posix":
        mask = os.umask(0)
        os.umask(mask)
        assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_what_cannot_be_saved(source: FaceGenerator, tmp_path: Path) -> None:
    latent = sample_latent(source, [1])
    with pytest.raises(ValueError, match="saved as .safetensors"):
        save_latents(latent, tmp_path / "faces.pt")
    with pytest.raises(ValueError, match="no face was found"):
        save_latents(sample_latent(source, []), tmp_path / "faces.npy")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be written"):
        save_latents(latent, tmp_path / "file" / "faces.npy")


def test_a_failed_save_leaves_the_old_file(
    source: FaceGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    latent = sample_latent(source, [1])
    path = save_latents(latent, tmp_path / "faces.npy")

    def full_disk(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(ValueError, match="No space left"):
        save_latents(sample_latent(source, [2]), path)
    assert torch.equal(load_latents(path).w_plus, latent.w_plus)
    assert [p.name for p in tmp_path.iterdir()] == ["faces.npy"], "no temporary file stays"


@pytest.mark.parametrize(
    ("shape", "faces"),
    [
        ((8, 16), 1),
        ((1, 8, 16), 1),
        ((3, 8, 16), 3),
        ((16,), 1),
        ((1, 16), 1),
        ((5, 1, 16), 5),
        ((1, 1, 8, 16), 1),
        ((3, 1, 8, 16), 3),
        ((3, 16), 3),
        ((40, 16), 40),
    ],
)
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pt", ".safetensors"])
def test_every_shape_in_every_container(
    source: FaceGenerator, tmp_path: Path, shape: tuple[int, ...], faces: int, suffix: str
) -> None:
    from safetensors.numpy import save_file

    array = codes(*shape)
    path = tmp_path / f"w{suffix}"
    if suffix == ".npy":
        np.save(path, array)
    elif suffix == ".npz":
        np.savez(path, w=array)  # as NVIDIA's projector does
    elif suffix == ".pt":
        torch.save(torch.from_numpy(array), path)  # as e4e and PTI do
    else:
        save_file({"latents": array}, path)
    latent = load_latents(path, source)
    assert latent.w_plus.shape == (faces, 8, 16) and latent.w_space == source.w_space
    wanted = np.broadcast_to(array.reshape(faces, -1, 16), (faces, 8, 16))
    assert np.array_equal(latent.w_plus.numpy(), wanted)


def test_files_of_other_projects(source: FaceGenerator, tmp_path: Path) -> None:
    face = torch.from_numpy(codes(8, 16))
    torch.save({"latent": face}, tmp_path / "jojogan.pt")
    torch.save({"latent": face}, tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save(torch.nn.Parameter(face[None]), tmp_path / "pti.pt")
    picture = {"img": torch.zeros(3, 4, 4), "noise": [torch.zeros(1)]}
    projected = {f"{k}.png": {**picture, "latent": face + k} for k in (0, 1)}
    torch.save(projected, tmp_path / "projector.pt")
    torch.save([face, face + 1], tmp_path / "list.pt")
    torch.save({"latent": face.half()}, tmp_path / "half.pt")
    for name in ("jojogan", "legacy", "pti"):
        assert torch.equal(load_latents(tmp_path / f"{name}.pt", source).w_plus, face[None]), name
    for name in ("projector", "list"):
        assert torch.equal(load_latents(tmp_path / f"{name}.pt", source).w_plus, torch.stack([face, face + 1])), name
    assert load_latents(tmp_path / "half.pt").w_plus.dtype == torch.float32
    assert not load_latents(tmp_path / "pti.pt").w_plus.requires_grad


class Payload:
    """A pickle that would make a folder."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.canary),)


def test_nothing_is_executed(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    np.save(tmp_path / "object.npy", np.array([Payload(canary)], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "object.npz", w=np.array([Payload(canary)], dtype=object))
    torch.save({"latent": Payload(canary)}, tmp_path / "zip.pt")
    torch.save({"latent": Payload(canary)}, tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Payload(canary)))
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(ValueError, match=path.name):
            load_latents(path)
    assert not canary.exists()


def test_files_that_lie_about_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "UNPACKED_LIMIT", 2**20)
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 18, 512), }".ljust(117) + b"\n"
    lying = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\0" * 64
    (tmp_path / "lying.npy").write_bytes(lying)
    with zipfile.ZipFile(tmp_path / "lying.npz", "w") as archive:
        archive.writestr("w.npy", lying)
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w.npy", bytes(2**21))
    for name in ("lying.npy", "lying.npz", "bomb.npz"):
        with pytest.raises(ValueError, match=name):
            load_latents(tmp_path / name)
    with pytest.raises(ValueError, match="unpacked it would take more than 1 MB"):
        load_latents(tmp_path / "bomb.npz")


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (codes(2, 18, 16), "holds 18 codes of length 16 per face, but the generator .* takes 8 of length 16"),
        (codes(6, 16), "holds 6 codes of length 16 per face.*save them as \\[N, 1, length\\]"),
        (codes(2, 18, 512), r"\[N, 8, 16\] of W\+ codes .* is needed, and the file holds an array \[2, 18, 512\]"),
        (codes(2, 3, 8, 16), "holds an array \\[2, 3, 8, 16\\]"),
        (np.full((8, 16), np.nan), "not finite"),
        (np.array(["a"]), "not numbers"),
        (codes(0, 8, 16), "holds an array \\[0, 8, 16\\]"),
    ],
)
def test_shapes_that_do_not_fit(source: FaceGenerator, tmp_path: Path, array: np.ndarray, sentence: str) -> None:
    np.save(tmp_path / "w.npy", array)
    with pytest.raises(ValueError, match=sentence):
        load_latents(tmp_path / "w.npy", source)


def test_latents_without_a_generator_and_of_another_one(source: FaceGenerator, tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", codes(16))
    with pytest.raises(ValueError, match="Connect the generator"):
        load_latents(tmp_path / "w.npy")
    np.save(tmp_path / "plus.npy", codes(18, 512))
    found = load_latents(tmp_path / "plus.npy")
    assert found.w_plus.shape == (1, 18, 512) and found.w_space == ""
    path = save_latents(sample_latent(source, [1]), tmp_path / "ours.safetensors")
    assert load_latents(path, make_style(source)).w_space == source.w_space, "a style shares its source's W"
    with pytest.raises(ValueError, match="belong to another generator"):
        load_latents(path, make_generator(seed=3))
    with pytest.raises(ValueError, match="no arrays of numbers are in it"):
        torch.save({"style": "none"}, tmp_path / "none.pt")
        load_latents(tmp_path / "none.pt")
    with pytest.raises(ValueError, match="There is no file"):
        load_latents(tmp_path / "missing.npy")
    with pytest.raises(CheckpointError, match="holds a set of latents"):
        load_generator(path)


def test_noise_of_another_size_is_refused(source: FaceGenerator, tmp_path: Path) -> None:
    latent = FaceLatent(sample_latent(source, [1]).w_plus, noise=(torch.zeros(1, 1, 4, 4),))
    with pytest.raises(ValueError, match="noise does not fit"):
        load_latents(save_latents(latent, tmp_path / "w.safetensors"), source)


def test_layers_as_people_write_them() -> None:
    assert parse_layers("", 8) == parse_layers("all", 8) == tuple(range(8))
    assert parse_layers("0-2, 5", 8) == (0, 1, 2, 5) and parse_layers("5,5,1", 8) == (1, 5)
    assert parse_layers("coarse", 14) == (0, 1, 2, 3) and parse_layers("fine", 14) == tuple(range(8, 14))
    assert parse_layers("8-17", 14) == tuple(range(8, 14)), "a range made for a larger generator"
    for text in ("x", "3-1", "9", "-1", "1-", "1--2", "8-9"):
        with pytest.raises(ValueError, match="layers"):
            parse_layers(text, 8)
    for layers in ((0, 1, 2, 5), (3,), tuple(range(8)), (0, 2, 4)):
        assert parse_layers(describe_layers(layers), 8) == layers
