"""Frames through the nodes: detected, steadied, inverted, held together and pasted back where they belong."""

from __future__ import annotations

import pytest
import torch
from node_bench import run_node
from tolerances import assert_close, rounding, roundings
from torch import Tensor

from facestylist.models.types import FaceEncoder, FaceGenerator

pytestmark = pytest.mark.usefixtures("global_rng_untouched")


@pytest.fixture
def frames(photo: Tensor) -> Tensor:
    """Five frames; the detector of the tests finds nothing in the third, which is black but for a mark."""
    batch = photo.repeat(5, 1, 1, 1) * 0.3
    batch[2] = 0
    return batch


@pytest.mark.usefixtures("two_faces")
def test_a_missed_frame_is_filled_and_all_return_to_their_frames(frames: Tensor) -> None:
    found, _, _ = run_node("AlignFaces", image=frames, on_no_face="skip", size=64)
    assert found.frame_index.tolist() == [0, 0, 1, 1, 3, 3, 4, 4]
    faces, crops, report = run_node("SmoothFaces", faces=found)
    assert faces.frame_index.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert crops.shape == (10, 64, 64, 3) and 0 <= crops.min() <= crops.max() <= 1
    assert "Face 1: frames 1 to 5; filled frame 3;" in report
    shades = torch.tensor([0.4, 0.8] * 5)[:, None, None, None].expand_as(crops).contiguous()
    image, mask = run_node("PasteFaces", faces=faces, stylised=shades)
    for x, shade in ((25, 0.4), (60, 0.8)):
        # The photo shows where the mask is not 1.
        assert ((image[:, 40, x] - shade).abs() <= rounding(8) + 1 - mask[:, 40, x, None]).all()
        assert mask[:, 40, x].min() > 0.9
    kept, one, _ = run_node("SmoothFaces", faces=found, choice="left_to_right", index=1, missing="skip")
    assert one.shape[0] == 4 and kept.frame_index.tolist() == [0, 1, 3, 4]
    with pytest.raises(ValueError, match="missing in frame 3 of 5"):
        run_node("SmoothFaces", faces=found, missing="error")


@pytest.mark.usefixtures("two_faces")
def test_latents_are_held_together_per_person(
    frames: Tensor, encoder: FaceEncoder, source: FaceGenerator, style: FaceGenerator
) -> None:
    frames = frames * torch.linspace(0.8, 1.2, 5)[:, None, None, None]
    found, raw, _ = run_node("AlignFaces", image=frames, on_no_face="skip", size=64)
    latent, _ = run_node("InvertWithEncoder", image=raw, encoder=encoder, generator=source)
    (steady,) = run_node("SteadyLatents", latent=latent, faces=found, structure=0.0, appearance=0.0)
    assert_close(steady.w_plus[0::2], latent.w_plus[0::2].mean(0).expand(4, -1, -1), 3 * 4)
    assert not torch.allclose(steady.w_plus[0], steady.w_plus[1])
    (stylised,) = run_node("StyliseFaces", style=style, latent=steady, source=source)
    assert_close(stylised[0], stylised[6], roundings(style.generator), why="nothing flickers")
    with pytest.raises(ValueError, match="8 latents were given for 10 faces"):
        run_node("SteadyLatents", latent=latent, faces=run_node("SmoothFaces", faces=found)[0])


@pytest.mark.usefixtures("two_faces")
def test_no_face_in_any_frame(frames: Tensor) -> None:
    found, _, _ = run_node("AlignFaces", image=frames[2:3], on_no_face="skip", size=64)
    faces, crops, report = run_node("SmoothFaces", faces=found)
    assert len(faces) == 0 and crops.shape == (0, 64, 64, 3) and report == "No face in 1 frames."
