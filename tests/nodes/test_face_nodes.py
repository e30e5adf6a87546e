"""Align, paste and render as nodes: pictures in, pictures out, at ComfyUI's edge."""

from __future__ import annotations

import pytest
import torch
from node_bench import run_node
from tolerances import assert_close, rounding
from torch import Tensor

pytestmark = pytest.mark.usefixtures("global_rng_untouched")


@pytest.mark.usefixtures("two_faces")
def test_align_gives_crops_and_their_masks(photo: Tensor) -> None:
    faces, crops, mask = run_node("AlignFaces", image=photo, size=64)
    assert crops.shape == (2, 64, 64, 3)
    assert 0 <= crops.min() < crops.max() <= 1
    assert faces.landmarks[0, 0, 0] < faces.landmarks[1, 0, 0], "left to right is the default"
    assert mask.shape == (2, 64, 64)
    assert mask[:, 32, 32].min() == 1
    assert mask[:, 0].max() == 0
    largest, _, _ = run_node("AlignFaces", image=photo, size=64, order="largest", max_faces=1)
    assert len(largest) == 1


@pytest.mark.usefixtures("two_faces")
def test_what_was_cut_out_goes_back_where_it_was(photo: Tensor) -> None:
    faces, crops, _ = run_node("AlignFaces", image=photo, size=256)
    image, mask = run_node("PasteFaces", faces=faces, stylised=crops, feather=0.1)
    assert image.shape == photo.shape
    assert mask.shape == (1, 80, 90)
    assert mask[0, 40, 25] > 0.9
    assert mask[0, 40, 60] > 0.9
    # Resampling to the crop and back blurs noise a little; where nothing was pasted nothing changes.
    assert (image - photo).abs().mean() < 0.03
    assert_close(image[0][mask[0] == 0], photo[0][mask[0] == 0], 3)  # to -1..1 and back
    black, _ = run_node("PasteFaces", faces=faces, stylised=torch.zeros_like(crops))
    assert black[0, 40, 25].max() < 0.05


@pytest.mark.usefixtures("two_faces")
def test_an_own_mask_replaces_the_region(photo: Tensor) -> None:
    faces, crops, _ = run_node("AlignFaces", image=photo, size=64)
    nothing = torch.zeros(2, 64, 64)
    image, mask = run_node("PasteFaces", faces=faces, stylised=torch.zeros_like(crops), crop_mask=nothing)
    assert mask.max() == 0
    assert_close(image, photo, 3)


@pytest.mark.usefixtures("two_faces")
def test_a_photo_without_faces_is_refused_or_passed_through(photo: Tensor) -> None:
    black = torch.zeros_like(photo)
    with pytest.raises(ValueError, match="No face found in frame 2 of 2.*on_no_face"):
        run_node("AlignFaces", image=torch.cat([photo, black]))
    faces, crops, mask = run_node("AlignFaces", image=black, on_no_face="skip")
    assert crops.shape == (0, 256, 256, 3)
    assert mask.shape == (0, 256, 256)
    image, changed = run_node("PasteFaces", faces=faces, stylised=crops)
    assert torch.equal(image, black)
    assert changed.max() == 0


@pytest.mark.usefixtures("two_faces")
def test_each_face_returns_to_its_own_frame(photo: Tensor) -> None:
    batch = torch.cat([photo, torch.zeros_like(photo), photo.flip(1)])
    faces, crops, _ = run_node("AlignFaces", image=batch, on_no_face="skip", size=64)
    assert faces.frame_index.tolist() == [0, 0, 2, 2]
    colours = torch.tensor([0.0, 0.3, 0.6, 1.0])[:, None, None, None].expand_as(crops)
    image, mask = run_node("PasteFaces", faces=faces, stylised=colours.contiguous())
    for frame, x, colour in ((0, 25, 0.0), (0, 60, 0.3), (2, 25, 0.6), (2, 60, 1.0)):
        # The photo shows where the mask is not 1.
        near = rounding(8) + float(1 - mask[frame, 40, x])
        assert image[frame, 40, x].tolist() == pytest.approx([colour] * 3, abs=near)
    assert torch.equal(image[1], batch[1])


@pytest.mark.usefixtures("two_faces")
def test_a_wrong_number_of_faces_is_a_sentence(photo: Tensor) -> None:
    faces, crops, _ = run_node("AlignFaces", image=photo, size=64)
    with pytest.raises(ValueError, match="1 stylised pictures were given for 2 faces"):
        run_node("PasteFaces", faces=faces, stylised=crops[:1])


def test_rendering_is_the_same_people_every_time() -> None:
    image, mask, labels = run_node("RenderFaces", count=2, seed=5, size=64)
    assert image.shape == labels.shape == (2, 64, 64, 3)
    assert mask.shape == (2, 64, 64)
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert 0 <= image.min() < image.max() <= 1
    again, _, _ = run_node("RenderFaces", count=2, seed=5, size=64)
    assert torch.equal(image, again)
    other, _, _ = run_node("RenderFaces", count=2, seed=6, size=64)
    assert (image - other).abs().mean() > 0.02


def test_landmarks_of_comfyui_take_the_detectors_place(photo: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    import facestylist.detection.detectors as detection

    monkeypatch.setattr(detection, "load_detector", lambda *_: pytest.fail("a detector was loaded"))
    mesh = torch.full((478, 2), 40.0)
    for indices, place in (((33, 160, 158, 133, 153, 144), (35, 36)), ((362, 385, 387, 263, 373, 380), (45, 36))):
        mesh[list(indices)] = torch.tensor(place, dtype=torch.float32)
    mesh[61], mesh[291] = torch.tensor([36.0, 46.0]), torch.tensor([44.0, 46.0])
    face = {"landmarks_xy": mesh.numpy(), "bbox_xyxy": [30, 28, 50, 52], "score": 0.8}
    found = {"frames": [[face]], "image_size": (80, 90)}
    faces, crops, _ = run_node("AlignFaces", image=photo, size=64, landmarks=found)
    assert crops.shape == (1, 64, 64, 3) and float(faces.score) == pytest.approx(0.8)
    assert faces.landmarks[0].tolist() == [[35, 36], [45, 36], [40, 40], [36, 46], [44, 46]]


def test_downloading_is_off_unless_turned_on(photo: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    import facestylist.detection.detectors as detection
    from facestylist.runtime.folders import model_dirs

    asked = []

    def load_detector(*given: object) -> None:
        asked.append(given)
        raise RuntimeError

    monkeypatch.setattr(detection, "load_detector", load_detector)
    for given in ({}, {"download_if_missing": True}):
        with pytest.raises(RuntimeError):
            run_node("AlignFaces", image=photo, **given)
    folders = model_dirs("face_detection")
    assert asked == [("auto", folders, False), ("auto", folders, True)]
