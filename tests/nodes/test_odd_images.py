"""Every input that takes an IMAGE: pixels that are no numbers never spread, grey and alpha are taken as well."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from node_bench import run_node
from tolerances import GREY_LEVEL, assert_close, rounding
from torch import Tensor

from facestylist.models.stylizer import FastStylizer, FastStylizerConfig
from facestylist.models.types import FaceEncoder, FaceGenerator, FaceStylizer
from facestylist.nodes import NODE_CLASS_MAPPINGS

BAD = (float("nan"), float("inf"), float("-inf"))
HOLE = (slice(30, 34), slice(40, 44))
NODES_WITH_IMAGES = {
    "AlignFaces",
    "PasteFaces",
    "RunFastStylizer",
    "Compare",
    "InvertWithEncoder",
    "InvertByOptimisation",
    "PivotalTuning",
    "EncodeReference",
    "StylisationReport",
    "FinetuneGenerator",
    "MakePairs",
    "Destylise",
    "TrainFastStylizer",
    "TrainEncoder",
}
"""What is asked below, and those that only learn from pictures, which they read by `image_to_tensor` alone."""


def broken(image: Tensor, value: float) -> Tensor:
    image = image.clone()
    image[(0, *HOLE, 1)] = value
    return image


def smooth(count: int, height: int, width: int) -> Tensor:
    """Pictures with no detail that resampling could lose, whose darkest and lightest pixels lie at the border."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return torch.stack([y * 0.6 + 0.2, x * 0.6 + 0.2, (x + y) * 0.3 + 0.2], -1).expand(count, -1, -1, -1).contiguous()


def stylizer() -> FaceStylizer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return FaceStylizer(FastStylizer(FastStylizerConfig("none", (4, 8, 8, 8), 8, 4)).eval(), "test")


@pytest.mark.usefixtures("two_faces")
@pytest.mark.parametrize("value", BAD)
def test_holes_in_a_photo_stay_where_they_are(value: float) -> None:
    photo = smooth(1, 80, 90)
    faces, clean, _ = run_node("AlignFaces", image=photo, size=64)
    hurt, crops, _ = run_node("AlignFaces", image=broken(photo, value), size=64)
    assert bool(crops.isfinite().all()) and torch.equal(hurt.landmarks, faces.landmarks)
    far = faces.replace(photos=torch.zeros_like(faces.photos))
    far.photos[(0, slice(None), *HOLE)] = 1.0
    # What the hole can reach in each crop, told by cutting a picture of it alone.
    from facestylist.faces.align import extract_crops

    reached = extract_crops(far.photos, faces.crop_to_photo, 64, faces.frame_index)
    reached = torch.nn.functional.max_pool2d(reached.abs().amax(1, keepdim=True), 9, 1, 4)[:, 0] > 0
    # Sums over rows and columns of 64 pixels at most.
    assert_close(crops[~reached], clean[~reached], 2 * 64)
    image, _ = run_node("PasteFaces", faces=hurt, stylised=crops)
    assert bool(image.isfinite().all())


@pytest.mark.usefixtures("two_faces")
@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("colour_match", [0.0, 1.0])
def test_holes_in_a_stylised_face_show_the_photo(value: float, colour_match: float) -> None:
    photo = smooth(1, 80, 90)
    faces, crops, _ = run_node("AlignFaces", image=photo, size=64, max_faces=1)
    new = crops.flip(-1)
    whole, mask = run_node("PasteFaces", faces=faces, stylised=new, region="crop", colour_match=colour_match)
    pasted, left = run_node(
        "PasteFaces", faces=faces, stylised=broken(new, value), region="crop", colour_match=colour_match
    )
    assert bool(pasted.isfinite().all())
    least = 1e-3
    lost = (left < mask - least)[0]
    assert 0 < lost.sum() < 200, "16 pixels of the crop and their neighbours"
    if not colour_match:
        # The mask may be smaller by less than was taken for lost.
        assert torch.allclose(pasted[0][~lost], whole[0][~lost], rtol=0, atol=least)
    bare = (left == 0)[0]
    assert_close(pasted[0][bare], photo[0][bare], 3)  # to -1..1 and back


@pytest.mark.usefixtures("two_faces")
def test_the_photo_shows_through_a_transparent_face() -> None:
    photo = smooth(1, 80, 90)
    faces, crops, _ = run_node("AlignFaces", image=photo, size=64, max_faces=1)
    alpha = torch.ones(1, 64, 64, 1)
    alpha[:, :, :32] = 0.0
    new = torch.cat([crops * 0, alpha], -1)
    new[:, :, :32, :3] = 1.0
    pasted, mask = run_node("PasteFaces", faces=faces, stylised=new, region="crop")
    whole, wide = run_node("PasteFaces", faces=faces, stylised=crops * 0, region="crop")
    assert 0.4 < float(mask.sum() / wide.sum()) < 0.55
    assert bool((pasted <= photo + rounding(8)).all()), "no colour of what is transparent"
    assert_close(pasted[mask == wide], whole[mask == wide], 8)


@pytest.mark.parametrize("value", BAD)
def test_holes_do_not_spread_through_a_network(
    value: float, source: FaceGenerator, style: FaceGenerator, encoder: FaceEncoder
) -> None:
    images = smooth(1, 64, 64)
    hurt = broken(images, value)
    one = stylizer()
    clean, drawn = (run_node("RunFastStylizer", stylizer=one, image=image)[0] for image in (images, hurt))
    assert bool(drawn.isfinite().all()) and float((drawn - clean).abs().mean()) < 0.01
    latent = run_node("InvertWithEncoder", image=hurt, encoder=encoder, generator=source)[0]
    same = run_node("InvertWithEncoder", image=images, encoder=encoder, generator=source)[0]
    # Only the hole's filling differs: 16 of 4096 pixels of -1..1.
    assert torch.allclose(latent.w_plus, same.w_plus, rtol=0, atol=2 * 16 / 4096)
    found, shown = run_node("InvertByOptimisation", image=hurt, generator=source, steps=2)[:2]
    assert bool(found.w_plus.isfinite().all()) and bool(shown.isfinite().all())
    looks = run_node("EncodeReference", image=hurt, style=style, align="off", steps=1)
    assert all(bool(part.isfinite().all()) for part in (looks[0].w_plus, looks[1], looks[2]))
    pair = run_node("Compare", image_a=hurt, image_b=images)[0]
    assert_close(pair[:, :, 64:], images, 3)
    assert bool(pair.isfinite().all())
    sheet, _ = run_node(
        "StylisationReport", image=hurt, source=source, latent=latent, style=style, stylised=hurt, name="odd"
    )
    assert bool(sheet.isfinite().all())


@pytest.mark.usefixtures("two_faces")
@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_alpha_are_taken(
    channels: int, source: FaceGenerator, style: FaceGenerator, encoder: FaceEncoder
) -> None:
    picture = smooth(1, 80, 80)
    photo = picture[..., :1] if channels == 1 else torch.cat([picture, torch.ones(1, 80, 80, 1)], -1)
    plain = photo.expand(-1, -1, -1, 3) if channels == 1 else photo[..., :3]
    given: list[tuple[str, dict[str, Any], str]] = [
        ("AlignFaces", {"size": 64}, "image"),
        ("RunFastStylizer", {"stylizer": stylizer()}, "image"),
        ("InvertWithEncoder", {"encoder": encoder, "generator": source}, "image"),
        ("EncodeReference", {"style": style, "align": "off", "steps": 1}, "image"),
        ("Compare", {"image_b": photo}, "image_a"),
    ]
    for name, others, key in given:
        a, b = run_node(name, **others, **{key: photo}), run_node(name, **others, **{key: plain})
        for one, other in zip(a, b, strict=True):
            if isinstance(one, Tensor):
                assert torch.allclose(one[..., :3], other[..., :3], rtol=0, atol=GREY_LEVEL / 2), name
    faces, crops, _ = run_node("AlignFaces", image=plain, size=64)
    shaped = crops[..., :1] if channels == 1 else torch.cat([crops, torch.ones_like(crops[..., :1])], -1)
    assert run_node("PasteFaces", faces=faces, stylised=shaped)[0].shape == (1, 80, 80, 3)


@pytest.mark.usefixtures("two_faces")
def test_alpha_goes_through_to_the_pasted_photo() -> None:
    alpha = torch.ones(1, 80, 90, 1)
    alpha[:, :, :6], alpha[:, :, 6:9] = 0.0, 0.4
    photo = torch.cat([smooth(1, 80, 90), alpha], -1)
    photo[:, :, :6, :3] = float("nan")
    faces, crops, _ = run_node("AlignFaces", image=photo, size=64)
    smooth_faces = run_node("SmoothFaces", faces=faces)[0]
    for kept in (faces, smooth_faces):
        image, mask = run_node("PasteFaces", faces=kept, stylised=crops)
        assert torch.equal(image[..., 3:], alpha) and bool(image.isfinite().all())
        edge = (mask == 0)[0, :, 6:9]
        assert bool(edge.any())
        # No white fringe; the division by an alpha of 0.4 enlarges the rounding.
        assert_close(image[0, :, 6:9, :3][edge], photo[0, :, 6:9, :3][edge], 6, 1 / 0.4)
    drawn = run_node("RunFastStylizer", stylizer=stylizer(), image=photo)[0]
    assert torch.equal(drawn[..., 3:], alpha) and bool(drawn.isfinite().all())


def test_no_node_with_an_image_is_forgotten() -> None:
    found = set()
    for name, node in NODE_CLASS_MAPPINGS.items():
        inputs = node.INPUT_TYPES()  # type: ignore[attr-defined]
        kinds = [kind for part in ("required", "optional") for kind, _ in inputs.get(part, {}).values()]
        if "IMAGE" in kinds:
            found.add(name.removeprefix("FaceStylist"))
    assert found == NODES_WITH_IMAGES
