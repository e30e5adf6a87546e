"""Nodes that keep the faces of a video's frames together. FACE_CROPS is described in `faces.py`, FACE_LATENT in
`generators.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..faces.policies import CHOICES, LONGEST_GAP, MISSING, SMOOTHING
from .declare import Node, choice, integer, number, socket

if TYPE_CHECKING:
    from torch import Tensor

    from ..faces.types import FaceCrops
    from ..models.types import FaceLatent

CATEGORY = "FaceStylist/Video"
SMOOTHING_TOOLTIP = (
    "Largest number of frames to smooth over, before and after alike, so that nothing lags. How much is used depends "
    "on the measured noise of each person's crops: steady ones stay as they are. 0: no smoothing."
)


class SmoothFaces(Node):
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Follows each person through the frames of a video, steadies their crops over time, fills "
        "frames in which a face was missed, and keeps the people you choose. Place it between "
        "Detect & Align Faces and the inversion, and give its faces to Paste Faces Back."
    )
    SEARCH_ALIASES = ["video", "face tracking", "stabilise", "stabilize", "temporal smoothing", "jitter", "frames"]
    RETURN_TYPES = ("FACE_CROPS", "IMAGE", "STRING")
    RETURN_NAMES = ("faces", "crops", "report")
    OUTPUT_TOOLTIPS = (
        ("The steadied faces, frame by frame, always in the same order within a frame, for Paste Faces Back."),
        "Their crops, cut anew: invert these.",
        "Who was found in which frames, what was filled, and how much the crops trembled before and after.",
    )

    REQUIRED = {
        "faces": socket(
            "FACE_CROPS", "The faces of a video's frames, from Detect & Align Faces with on_no_face = skip."
        ),
        "smoothing": number(SMOOTHING, SMOOTHING_TOOLTIP, high=100.0, step=0.1),
        "missing": choice(
            MISSING,
            "What to do in frames between a person's first and last in which the face was not found. "
            "interpolate: estimate its place from the frames around. hold: use the place where it was "
            "last seen. skip: leave the frame as it is. error: stop and name the frames.",
        ),
        "choice": choice(
            CHOICES,
            "Whose faces to keep. all: everybody. largest: in each shot the person who fills most of "
            "the picture for longest. left_to_right: in each shot the person at place index.",
        ),
        "index": integer(0, "With left_to_right: 0 is the leftmost person, 1 the next. Ignored otherwise.", high=1000),
        "longest_gap": integer(
            LONGEST_GAP,
            ("How many frames a person may be missing and still count as the same. A cut ends every track."),
            high=10000,
            advanced=True,
        ),
    }

    def run(
        self,
        faces: FaceCrops,
        smoothing: float,
        missing: str,
        choice: str,
        index: int,
        longest_gap: int,
        node_id: str | None = None,
    ) -> tuple[FaceCrops, Tensor, str]:
        from ..core.pictures import tensor_to_image
        from ..faces.smoothing import report_text, smooth_faces
        from ..runtime.progress import ProgressReporter

        with ProgressReporter(len(faces), "smooth", node_id=node_id) as progress:
            smooth, reports = smooth_faces(
                faces, smoothing, missing, choice, index, longest_gap, on_progress=progress.update
            )
        return smooth, tensor_to_image(smooth.crops), report_text(reports, len(faces.photos))


class SteadyLatents(Node):
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Holds the latents of each person in a video to one mean per shot and smooths the rest over time, so that the "
        "stylised faces flicker less. Place it between the inversion and Stylise Faces."
    )
    SEARCH_ALIASES = ["video", "flicker", "deflicker", "temporal consistency", "latent smoothing", "frames"]
    RETURN_TYPES = ("FACE_LATENT",)
    RETURN_NAMES = ("latent",)
    OUTPUT_TOOLTIPS = ("As many latents in the same order.",)

    REQUIRED = {
        "latent": socket("FACE_LATENT", "One latent per face, from an inversion of the crops."),
        "faces": socket("FACE_CROPS", "The same faces: they say which frame and person each latent belongs to."),
        "smoothing": number(SMOOTHING, SMOOTHING_TOOLTIP, high=100.0, step=0.1),
        "structure": number(
            1.0,
            "How much expression, pose and shape may differ from the shot's mean. 1: everything that "
            "smoothing leaves. 0: the face does not move.",
        ),
        "appearance": number(
            0.1, "The same for colours and textures, which flicker most. Raise it if the light changes within a shot."
        ),
        "layer_cut": integer(
            0,
            "The first code that counts as appearance. 0: the usual one, 7 from 128 px up, 5 at 64 px.",
            high=17,
            advanced=True,
        ),
    }

    def run(
        self,
        latent: FaceLatent,
        faces: FaceCrops,
        smoothing: float,
        structure: float,
        appearance: float,
        layer_cut: int,
    ) -> tuple[FaceLatent]:
        from ..faces.tracks import tracks_of
        from ..latents.smoothing import steady_latents

        return (
            steady_latents(latent, faces.frame_index, tracks_of(faces), smoothing, structure, appearance, layer_cut),
        )
