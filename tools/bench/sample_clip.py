"""The sample clip of the video workflow: a hand-held camera over the sample picture of several people.

    python -m facestylist.tools.bench.sample_clip [--out assets/sample.mp4]

The picture is panned, zoomed and rolled, so where every face is in every frame follows from where it is in the picture.
Needs PyAV, which a ComfyUI has (`pip install av`). Takes seconds.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from torch import Tensor

from ...core.pictures import image_to_tensor, read_picture, tensor_to_image, to_pil
from ...faces.warp import resample
from ...runtime.folders import SAMPLE_CLIP, SAMPLE_GROUP, SAMPLES

FRAMES, FRAMES_PER_SECOND = 24, 12
SIZE = (320, 480)
"""Height and width."""


def camera(at: float, photo: tuple[int, int]) -> Tensor:
    """The map [2,3] from a frame to the photo (height, width); `at` goes from 0 to 1."""
    height, width = photo
    wave = 2 * math.pi * at
    scale = (0.80 - 0.12 * math.sin(math.pi * at) ** 2) * height / SIZE[0]
    angle = math.radians(3.5 * math.sin(wave))
    centre = width * (0.5 + 0.035 * math.sin(wave)), height * (0.5 + 0.05 * math.sin(math.pi * at))
    a, b = scale * math.cos(angle), scale * math.sin(angle)
    x = centre[0] - a * SIZE[1] / 2 + b * SIZE[0] / 2
    y = centre[1] - b * SIZE[1] / 2 - a * SIZE[0] / 2
    return torch.tensor([[a, -b, x], [b, a, y]])


def frames() -> list[Tensor]:
    """The frames, [3,H,W] in -1..1 each."""
    photo = image_to_tensor(read_picture(SAMPLES[SAMPLE_GROUP])[0])[0]
    height, width = photo.shape[1:]
    return [resample(photo, camera(index / (FRAMES - 1), (height, width)), SIZE) for index in range(FRAMES)]


def main() -> None:
    """Writes the file."""
    import av

    parser = argparse.ArgumentParser(description="Make the sample clip.")
    parser.add_argument("--out", type=Path, default=SAMPLES[SAMPLE_CLIP])
    with av.open(str(parser.parse_args().out), "w") as container:
        stream = container.add_stream("h264", rate=FRAMES_PER_SECOND)
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "23", "preset": "slow"}
        for frame in frames():
            container.mux(stream.encode(av.VideoFrame.from_image(to_pil(tensor_to_image(frame[None])[0]))))
        container.mux(stream.encode())


if __name__ == "__main__":
    main()
