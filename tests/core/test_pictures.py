"""Picture files of every kind, and the two conventions for tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tolerances import assert_close

from facestylist.core.pictures import (
    alpha_of,
    image_to_tensor,
    photos_of,
    read_picture,
    tensor_to_bytes,
    tensor_to_image,
    to_floats,
    to_pil,
    write_picture,
)


def test_there_and_back() -> None:
    image = torch.rand(2, 5, 4, 3, generator=torch.Generator().manual_seed(0))
    tensor = image_to_tensor(image)
    assert tensor.shape == (2, 3, 5, 4)
    assert torch.allclose(tensor[1, 2], image[1, :, :, 2] * 2 - 1)
    assert_close(tensor_to_image(tensor), image, 3)
    assert tensor_to_image(torch.full((1, 3, 2, 2), 3.0)).max() == 1.0
    assert image_to_tensor(image[..., :1]).shape == (2, 3, 5, 4)
    assert torch.equal(image_to_tensor(torch.cat([image, torch.ones_like(image[..., :1])], -1)), tensor)
    with pytest.raises(ValueError, match=r"\[pictures, height, width, 3 channels\]"):
        image_to_tensor(image[0])


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_bytes_are_the_floats_they_stand_for(channels: int) -> None:
    numbers = torch.arange(300 * 7 * channels).remainder(256).reshape(1, 300, 7, channels)
    stored, image = numbers.to(torch.uint8), numbers.float() / 255
    tensor = image_to_tensor(stored)
    assert torch.equal(tensor, image_to_tensor(image))
    assert torch.equal(to_floats(photos_of(stored)), tensor) and photos_of(stored).is_floating_point() == (
        channels != 3
    )
    assert np.array_equal(to_pil(stored[0]), to_pil(image[0]))
    again = tensor_to_bytes(tensor)
    assert torch.equal(again, (tensor_to_image(tensor) * 255).round().to(torch.uint8))
    assert channels == 4 or torch.equal(again, stored.expand_as(again)), "there and back"
    alpha = alpha_of(stored)
    assert alpha is None if channels < 4 else torch.equal(alpha, image[..., 3])


def test_grey_palette_and_alpha(tmp_path: Path) -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    Image.fromarray(grey).save(tmp_path / "grey.png")
    image, mask = read_picture(tmp_path / "grey.png")
    assert torch.allclose(image[0, :, :, 1] * 255, torch.from_numpy(grey).float())
    assert mask.shape == (1, 64, 64)
    assert mask.sum() == 0

    alpha = np.dstack([grey, grey, grey, 255 - grey])
    Image.fromarray(alpha, "RGBA").save(tmp_path / "alpha.png")
    image, mask = read_picture(tmp_path / "alpha.png")
    assert image.shape == (1, 3, 4, 3)
    assert_close(mask[0] * 255, torch.from_numpy(grey).float(), 3, 255)

    palette = Image.fromarray(grey).convert("P")
    palette.save(tmp_path / "p.png", transparency=0)
    _, mask = read_picture(tmp_path / "p.png")
    assert mask.shape == (1, 3, 4)
    assert mask[0, 0, 0] == 1


def test_sixteen_bits(tmp_path: Path) -> None:
    values = np.array([[0, 257, 32896], [65535, 514, 1]], np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    image, _ = read_picture(tmp_path / "deep.png")
    assert_close(image[0, :, :, 0], values / 65535, 2)


def test_exif_rotation(tmp_path: Path) -> None:
    picture = Image.new("RGB", (8, 4), (255, 0, 0))
    exif = picture.getexif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter turn clockwise
    picture.save(tmp_path / "turned.jpg", exif=exif)
    assert read_picture(tmp_path / "turned.jpg")[0].shape == (1, 8, 4, 3)


def test_animations_are_batches(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 3), (value, 0, 0)) for value in (0, 128, 255)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    image, _ = read_picture(tmp_path / "a.webp")
    assert image.shape == (3, 3, 4, 3)
    assert_close(image[:, 0, 0, 0] * 255, [0.0, 128.0, 255.0], 3)


def test_what_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello")
    Image.new("RGB", (50, 50)).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:60])
    for name, sentence in [
        ("text.png", "cannot be read as a picture"),
        ("cut.png", "cannot be read as a picture"),
        ("none.png", "There is no picture"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            read_picture(tmp_path / name)


def test_writing(tmp_path: Path) -> None:
    image = torch.rand(3, 4, 3, generator=torch.Generator().manual_seed(1))
    path = write_picture(image, tmp_path / "deep" / "x.png", {"prompt": "{}"})
    with Image.open(path) as saved:
        assert saved.info["prompt"] == "{}"
        assert np.array_equal(np.asarray(saved), (image * 255).round().numpy().astype(np.uint8))


@pytest.mark.parametrize(
    "content",
    [
        b"P6 4\xb0 4 255\n" + bytes(64),  # a number that is none: ValueError
        b"II*\0\x08\0\0\0\x01\0\x00\x01\x03\0\x01\0\0\0\x04\0\0\0\0\0\0\0",  # a TIFF without a height: TypeError
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        b"GIF89a\xff\xff\xff\xff",
    ],
)
def test_what_decoders_raise_of_their_own_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "p.png").write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read as a picture") as raised:
        read_picture(tmp_path / "p.png")
    assert type(raised.value) is ValueError and "\n" not in str(raised.value)
