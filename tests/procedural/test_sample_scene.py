"""The sample picture: two tilted people of different size, where the scene says they are."""

import torch

from facestylist.faces.align import crop_to_photo_from_landmarks, extract_crops
from facestylist.procedural.sample_scene import sample_scene


def test_two_tilted_faces_of_different_size() -> None:
    scene = sample_scene(width=144, height=96, supersample=1)
    assert scene.image.shape == (3, 96, 144) and scene.image.abs().max() <= 1
    across = scene.landmarks[:, 1] - scene.landmarks[:, 0]
    tilt = torch.atan2(across[:, 1], across[:, 0]).rad2deg()
    assert tilt[0] > 5 and tilt[1] < -5
    assert across[1].norm() > 1.25 * across[0].norm()
    assert (scene.boxes[:, :2] > 0).all() and (scene.boxes[:, 2:] < torch.tensor([144, 96])).all()
    # Where the landmarks put the eyes, the picture varies more from left to right than on the cheeks below.
    crops = extract_crops(scene.image, crop_to_photo_from_landmarks(scene.landmarks, 64), 64)
    eyes, cheeks = (crops[:, :, rows, 20:44].std(3).mean((1, 2)) for rows in (slice(28, 32), slice(34, 38)))
    assert (eyes > 1.3 * cheeks).all()
