"""How much do crops and stylised faces tremble in a video, before and after smoothing?

    python -m facestylist.tools.bench.video [--frames 24] [--look cartoon] [--seed 7] [--noise 1] [--grain 4]
        [--missing 5,10] [--smoothing 4] [--picture SHEET]

One rendered face is moved, turned and enlarged over the frames by warping its picture, so that every frame's true crop
is known and nothing in the face changes: whatever flickers in the result was made by the method. Two ways to find it:

- *noisy*: the true landmarks with Gaussian noise, of `--noise` percent of the crop's side;
- *detected*: by the embedded detector.

Detections of the frames in `--missing` are dropped. The frames have camera noise of `--grain` levels.
Measures, over all frames:

- *jitter*: mean length of the second differences of the crops' corners, in percent of the crop's side;
- *off*: mean distance of the corners from the true ones, in percent;
- *crops*: mean absolute second difference over time of the crops, in levels of 255;
- *stylised*: the same of the stylised faces after they were pasted into the frames, cut out along the true crops. Three
  frames in a row that have a crop count. The last column holds latents together over the shot.

Takes a minute of one core, most of it for rendering.
"""

from __future__ import annotations

import argparse
import logging
import math
from pathlib import Path

import torch
from torch import Tensor

from ...core.pictures import tensor_to_image
from ...core.sheets import labelled_grid
from ...detection.detectors import detect_faces, load_detector
from ...faces.align import align_faces, crop_to_photo_from_landmarks, extract_crops
from ...faces.paste import paste_faces
from ...faces.smoothing import jitter, smooth_faces
from ...faces.tracks import tracks_of
from ...faces.types import Detection, FaceCrops
from ...faces.warp import invert_affine, resample, transform_points
from ...latents.encoding import invert_with_encoder
from ...latents.sampling import synthesise
from ...latents.smoothing import steady_latents
from ...models import checkpoints
from ...models.types import FaceEncoder, FaceGenerator, FaceLatent
from ...procedural import five_points, render, sample_parameters

logger = logging.getLogger(__name__)

FRAME, RENDERED = (240, 320), 256
SIZE = 128
"""Side of the crops: that of the embedded networks."""


def with_camera_noise(photos: Tensor, deviation: float, seed: int) -> Tensor:
    """The frames with grain of their own each, of `deviation` levels of 255."""
    generator = torch.Generator().manual_seed(seed)
    return (photos + deviation / 127.5 * torch.randn(photos.shape, generator=generator)).clamp(-1, 1)


def movement(frames: int, size: int) -> Tensor:
    """The similarities [F,2,3] from a picture of `size` to the frames: a slow walk, nodding and coming nearer."""
    matrices = []
    for t in range(frames):
        u = t / max(frames - 1, 1)
        scale = 0.62 + 0.08 * u
        angle = 0.12 * math.sin(2 * math.pi * u)
        centre = 130 + 60 * u, 118 + 8 * math.sin(3 * math.pi * u)
        a, b = scale * math.cos(angle), scale * math.sin(angle)
        middle = size / 2
        x, y = centre[0] - (a - b) * middle, centre[1] - (b + a) * middle
        matrices.append([[a, -b, x], [b, a, y]])
    return torch.tensor(matrices)


def video_of(picture: Tensor, landmarks: Tensor, frames: int) -> tuple[Tensor, Tensor]:
    """Frames [F,3,H,W] in which a picture [3,S,S] moves, continued beyond its border, and the landmarks [F,5,2]."""
    moves = movement(frames, picture.shape[-1])
    photos = torch.stack([resample(picture, back, FRAME) for back in invert_affine(moves)])
    return photos, transform_points(moves, landmarks.expand(frames, -1, -1))


def noisy_faces(photos: Tensor, landmarks: Tensor, noise: float, missing: set[int], seed: int) -> FaceCrops:
    """The faces as a detector would find them whose points are off by `noise` crop sides."""
    generator = torch.Generator().manual_seed(seed)
    side = SIZE * crop_to_photo_from_landmarks(landmarks, SIZE)[:, :, 0].norm(dim=1)
    noisy = landmarks + noise * side[:, None, None] * torch.randn(landmarks.shape, generator=generator)
    found = [
        [] if frame in missing else [Detection(torch.cat([points.amin(0), points.amax(0)]), points, 1.0)]
        for frame, points in enumerate(noisy)
    ]
    return align_faces(photos, found, SIZE, on_no_face="skip")


def flicker(pictures: Tensor, frames: Tensor) -> float:
    """Mean absolute second difference of [T,3,S,S] in -1..1, in levels of 255, over frames [T] that are consecutive."""
    row = (frames.diff()[1:] == 1) & (frames.diff()[:-1] == 1)
    return float(pictures.diff(n=2, dim=0)[row].abs().mean()) * 127.5 if bool(row.any()) else math.nan


def off_by(faces: FaceCrops, true: Tensor) -> float:
    """Mean distance of the crops' corners from the true ones, in percent of the side."""
    corners = torch.tensor([[0.0, 0], [SIZE, 0], [0, SIZE], [SIZE, SIZE]]).expand(len(faces), 4, 2)
    wanted = true[faces.frame_index]
    distance = (transform_points(faces.crop_to_photo, corners) - transform_points(wanted, corners)).norm(dim=-1)
    return 100 * float((distance.mean(1) / (SIZE * wanted[:, :, 0].norm(dim=1))).mean())


def stylised_along(true: Tensor, faces: FaceCrops, style: FaceGenerator, latent: FaceLatent) -> Tensor:
    """Stylised faces, pasted into their frames, as the true crops [N,3,S,S] show them."""
    pasted, _ = paste_faces(faces.photos, faces, synthesise(style, latent))
    return extract_crops(pasted, true[faces.frame_index], SIZE, faces.frame_index)


def measure(
    faces: FaceCrops, true: Tensor, encoder: FaceEncoder, source: FaceGenerator, style: FaceGenerator, smoothing: float
) -> tuple[list[float], Tensor]:
    """jitter, off, crops, stylised, stylised with steady latents; and the last one's pictures."""
    latent = invert_with_encoder(faces.crops, encoder, source)
    steady = steady_latents(latent, faces.frame_index, tracks_of(faces), smoothing)
    along, held = (stylised_along(true, faces, style, codes) for codes in (latent, steady))
    numbers = [
        jitter(faces.crop_to_photo, faces.frame_index, SIZE),
        off_by(faces, true),
        flicker(faces.crops, faces.frame_index),
        flicker(along, faces.frame_index),
        flicker(held, faces.frame_index),
    ]
    return numbers, torch.stack([along, held])


def table(rows: list[tuple[str, int, list[float]]]) -> str:
    """The result as Markdown."""
    lines = [
        "| faces | crops made | jitter, % | off, % | crops, levels | stylised, levels | with *Steady Latents* |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, count, values in rows:
        lines.append(f"| {name} | {count} | " + " | ".join(f"{v:.2f}" for v in values) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measures and logs the table."""
    parser = argparse.ArgumentParser(description="Measure trembling and flicker over frames.")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--look", default="cartoon")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--noise", type=float, default=1.0, help="percent of the crop's side")
    parser.add_argument("--grain", type=float, default=4.0, help="camera noise in levels of 255")
    parser.add_argument("--missing", default="5,10", help="frames without a detection, counted from 0")
    parser.add_argument("--smoothing", type=float, default=4.0, help="at most, in frames")
    parser.add_argument("--picture", type=Path, help="where to write a sheet of frames, before and after")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    drawn = render(sample_parameters(1, torch.Generator().manual_seed(options.seed)), RENDERED)
    photos, landmarks = video_of(drawn.image[0], five_points(drawn.landmarks[0]), options.frames)
    photos = with_camera_noise(photos, options.grain, options.seed)
    true = crop_to_photo_from_landmarks(landmarks, SIZE)
    missing = {int(f) for f in options.missing.split(",") if f}
    detector = load_detector("embedded", [])
    found = [[] if f in missing else detect_faces(detector, photo) for f, photo in enumerate(photos)]
    ways = {
        "noisy": noisy_faces(photos, landmarks, options.noise / 100, missing, options.seed),
        "detected": align_faces(photos, found, SIZE, on_no_face="skip", order="largest", max_faces=1),
    }
    source, encoder = checkpoints.load_generator("rendered"), checkpoints.load_encoder("rendered")
    style = checkpoints.load_generator(f"rendered:{options.look}")
    rows, shown = [], []
    exact = noisy_faces(photos, landmarks, 0.0, set(), 0)
    for name, faces in {"the true crops": exact, **ways}.items():
        for smoothing in (0.0, options.smoothing):
            smooth, _ = smooth_faces(faces, smoothing) if smoothing else (faces, [])
            numbers, pictures = measure(smooth, true, encoder, source, style, options.smoothing)
            rows.append((f"{name}, smoothed" if smoothing else name, len(smooth), numbers))
            if name == "noisy":
                shown.append(pictures[int(smoothing > 0), :6])
    logger.info("%s", table(rows))
    if options.picture is not None:
        grid = labelled_grid([list(tensor_to_image(p)) for p in shown], [], ["as found", "smoothed"])
        grid.save(options.picture)


if __name__ == "__main__":
    main()
