"""Latents, directions and pictures in files of any project: read by shape, or refused with what is in the file."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_generator import make_generator

from facestylist.cli.files import read_array, read_images
from facestylist.latents.directions import load_directions
from facestylist.latents.files import load_latents
from facestylist.models.types import FaceGenerator

FACE = torch.randn(8, 16, generator=torch.Generator().manual_seed(1))
OTHER = FACE + 1
W = torch.randn(16, generator=torch.Generator().manual_seed(2))
PICTURE = np.zeros((3, 64, 64), np.float32)


@pytest.fixture(scope="module")
def source() -> FaceGenerator:
    return make_generator()


def npz(**arrays: Any) -> Callable[[Path], None]:
    return lambda path: np.savez(path.open("wb"), **arrays)


def pt(content: Any, **options: Any) -> Callable[[Path], None]:
    return lambda path: torch.save(content, path, **options)


def pkl(content: Any, protocol: int = 4) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(pickle.dumps(content, protocol)) and None


def objects(content: Any) -> Callable[[Path], None]:
    """As `np.save` writes what is no array, ReStyle's dictionary for one."""
    return lambda path: np.save(path.open("wb"), np.array(content, dtype=object), allow_pickle=True)


def on_cuda(path: Path) -> None:
    """The file that `torch.save` writes for a tensor on a graphics card."""
    torch.save(FACE, path)
    data = path.read_bytes()
    assert data.count(b"X\x03\x00\x00\x00cpu") == 1
    # Same length, so that the archive's table stays true; its check sums are not looked at.
    path.write_bytes(data.replace(b"X\x03\x00\x00\x00cpu", b"X\x03\x00\x00\x00cud"))


ONE: dict[str, Callable[[Path], None]] = {
    **{f"npz {name}": npz(**{name: FACE.numpy()}) for name in ("arr_0", "wplus", "w+", "dlatents", "projected_w", "x")},
    **{f"pt {name}": pt({name: FACE[None]}) for name in ("dlatents", "anything", "W_PLUS", "0001.png")},
    "safetensors": lambda path: save_file({"my codes": FACE}, path),
    "npz beside others": npz(codes_of_me=FACE.numpy(), loss=np.zeros(100), image=PICTURE, name=np.array(["me"])),
    "npz beside objects": npz(a=FACE.numpy(), b=np.array([{1, 2}, None], dtype=object)),
    "npz beside its mean": npz(x=FACE.numpy(), latent_avg=np.zeros((8, 16))),
    "by name of two": npz(start=OTHER.numpy(), w=FACE.numpy()),
    "W+ before w": npz(mean=np.zeros(16), found=FACE.numpy()),
    "float64": npz(w=FACE.numpy().astype(np.float64)),
    "big endian": npz(w=FACE.numpy().astype(">f4")),
    "columns first": npz(w=np.asfortranarray(FACE.numpy())),
    "nested": pt({"result": {"latent_code": FACE}}),
    "tuple": pt((FACE[None], "me.jpg")),
    "parameter": pt(torch.nn.Parameter(FACE)),
    "OrderedDict of arrays": pt(OrderedDict(w=FACE.numpy())),
    "legacy": pt({"odd name": FACE}, _use_new_zipfile_serialization=False),
    "on a graphics card": on_cuda,
    "pickle of an array": pkl(FACE.numpy()),
    "pickle of arrays, protocol 2": pkl({"a": FACE.numpy()}, 2),
    "pickle of arrays, protocol 5": pkl({"a": FACE.numpy()}, 5),
    "pickle of a tensor": pkl({"a": FACE}),
    "pickle of lists": pkl(FACE.tolist()),
    "ReStyle": objects({"me.jpg": FACE.numpy()}),
    "ReStyle, each step": objects({"me.jpg": [OTHER.numpy(), OTHER.numpy(), FACE.numpy()]}),
    "objects in an npz": npz(results=np.array({"me.jpg": FACE.numpy()}, dtype=object)),
}
TWO: dict[str, Callable[[Path], None]] = {
    "by picture": pt({"b/me.jpg": FACE[None], "a/you.jpg": OTHER[None]}),
    "by number": pt({0: FACE, 1: OTHER}),
    "unnamed in an npz": lambda path: np.savez(path.open("wb"), FACE.numpy(), OTHER.numpy()),
    "list": pt([FACE[None], OTHER[None]]),
    "list of arrays": pkl([FACE.numpy(), OTHER.numpy()]),
    "named list": pt({"latents": [FACE, OTHER]}),
    "list of dictionaries": pt([{"w": FACE}, {"w": OTHER}]),
    "ReStyle": objects({"me.jpg": FACE.numpy(), "you.jpg": OTHER.numpy()}),
    "array of arrays": objects([{"w": FACE.numpy()}, {"w": OTHER.numpy()}]),
}


@pytest.mark.parametrize("how", ONE)
def test_one_face_under_any_name(how: str, source: FaceGenerator, tmp_path: Path) -> None:
    ONE[how](tmp_path / "file")
    assert torch.equal(load_latents(tmp_path / "file", source).w_plus, FACE[None])
    assert torch.equal(load_latents(tmp_path / "file").w_plus, FACE[None])


@pytest.mark.parametrize("how", TWO)
def test_a_face_for_each_picture(how: str, source: FaceGenerator, tmp_path: Path) -> None:
    TWO[how](tmp_path / "file")
    assert torch.equal(load_latents(tmp_path / "file", source).w_plus, torch.stack([FACE, OTHER]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(dtype: torch.dtype, source: FaceGenerator, tmp_path: Path) -> None:
    torch.save({"found": FACE.to(dtype)}, tmp_path / "w.pt")
    assert torch.equal(load_latents(tmp_path / "w.pt", source).w_plus[0], FACE.to(dtype).float())


class Custom:
    """A class of somebody's own."""


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "several": (npz(first=FACE.numpy(), best=OTHER.numpy()), r"`first` \[8, 16\], `best` \[8, 16\].*file of its own"),
    "layers": (npz(x=np.zeros((1, 14, 16))), "holds 14 codes of length 16 per face, but the generator .* takes 8"),
    "none": (npz(x=np.zeros((3, 5)), y=PICTURE), r"\[N, 8, 16\].*holds `x` \[3, 5\], `y` \[3, 64, 64\]"),
    "texts": (npz(x=np.array(["a"])), "no arrays of numbers"),
    "truth values": (pt({"x": torch.ones(8, 16, dtype=torch.bool)}), "no arrays of numbers"),
    "a network": (pt({"g_ema": {"style.1.weight": torch.zeros(16, 16)}}), "a network's weights"),
    "an object": (pt({"w": FACE, "by": Custom()}), "Python object .*Custom"),
    "an array of objects": (objects({"me.jpg": Custom()}), "Python object .*Custom"),
    "empty": (npz(w=np.zeros((0, 8, 16))), r"holds `w` \[0, 8, 16\]"),
    "an archive of nothing": (npz(), "an empty zip archive"),
}


@pytest.mark.parametrize("how", REFUSED)
def test_refused_with_the_true_reason(how: str, source: FaceGenerator, tmp_path: Path) -> None:
    write, sentence = REFUSED[how]
    write(tmp_path / "file")
    with pytest.raises(ValueError, match=sentence) as raised:
        load_latents(tmp_path / "file", source)
    assert str(tmp_path / "file") in str(raised.value)


def test_directions_under_any_name(source: FaceGenerator, tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", older=W.numpy()[None], note=np.array("age"))
    assert torch.equal(load_directions(tmp_path / "one.npz", source).vectors, W[None, None])
    torch.save({"1.pt": W, "2.pt": W + 1}, tmp_path / "two.pt")
    assert torch.equal(load_directions(tmp_path / "two.pt", source).vectors[:, 0], torch.stack([W, W + 1]))
    np.save(tmp_path / "plus.npy", FACE.numpy()[None])
    assert torch.equal(load_directions(tmp_path / "plus.npy", source).vectors, FACE[None])
    np.savez(tmp_path / "several.npz", older=W.numpy(), smile=W.numpy())
    with pytest.raises(ValueError, match=r"several.*`older` \[16\], `smile` \[16\]"):
        load_directions(tmp_path / "several.npz", source)


def test_z_and_pictures(tmp_path: Path) -> None:
    np.savez(tmp_path / "z.npz", seeds=np.arange(3), drawn=np.ones((3, 16)))
    assert read_array(str(tmp_path / "z.npz"), (None, 16), "z").shape == (3, 16)
    torch.save(W, tmp_path / "z.pt")
    assert torch.equal(read_array(str(tmp_path / "z.pt"), (None, 16), "z"), W[None])
    with pytest.raises(ValueError, match=r"an array of z, \[N, 8\], is needed, and the file holds an array \[16\]"):
        read_array(str(tmp_path / "z.pt"), (None, 8), "z")

    file = tmp_path / "x.npy"
    colours = np.random.RandomState(0).randint(0, 256, (2, 8, 8, 3)).astype(np.uint8)
    wanted = torch.from_numpy(colours).permute(0, 3, 1, 2).float() / 127.5 - 1
    for array in (colours, colours.transpose(0, 3, 1, 2), wanted.numpy(), wanted.permute(0, 2, 3, 1).numpy()):
        np.save(file, array)
        assert torch.equal(read_images(str(file), 8), wanted)
    np.save(file, colours[0])
    assert torch.equal(read_images(str(file), 8), wanted[:1])
    np.save(file, colours.astype(np.float32))
    with pytest.raises(ValueError, match=r"values go from 0 to 255.*x / 127.5 - 1"):
        read_images(str(file), 8)
    np.save(file, np.full((1, 3, 8, 8), np.nan))
    with pytest.raises(ValueError, match="not finite"):
        read_images(str(file), 8)
    with pytest.raises(ValueError, match=r"\[N, 3, 16, 16\] in -1..1 is needed, and the file holds"):
        read_images(str(file), 16)
