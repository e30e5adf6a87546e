"""Nodes that find faces, put them back, and draw faces that never existed.

Custom socket:
  FACE_CROPS: `models.types.FaceCrops`. The aligned faces of one or several photos with, for each face, the matrix that
    maps its crop into its photo, its photo's index, five landmarks and the detector's score; and the photos themselves,
    so that Paste Faces Back needs no second wire. It may hold no face at all.
  FACE_LANDMARKS is ComfyUI's own (MediaPipe Face Landmarker): see `faces.mesh`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..detection.settings import MIN_CONFIDENCE
from ..pipeline.networks import face_finder
from .declare import Node, choice, integer, number, seed, socket, switch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from ..faces.types import Detection, FaceCrops

CATEGORY = "FaceStylist/Faces"
FACES_AT_A_TIME = 8


class AlignFaces(Node):
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Finds every face and cuts it out upright, framed as face generators expect (the FFHQ "
        "rule), and remembers where it came from, so that Paste Faces Back can return it. Takes a "
        "batch: several photos or the frames of a video."
    )
    SEARCH_ALIASES = ["face detection", "face crop", "detect faces", "align face", "ffhq", "yunet", "portrait"]
    RETURN_TYPES = ("FACE_CROPS", "IMAGE", "MASK")
    RETURN_NAMES = ("faces", "crops", "crop_mask")
    OUTPUT_TOOLTIPS = (
        "The faces and where they came from, for Paste Faces Back.",
        "The upright crops as pictures: preview them, invert them, or hand them to any other node. One per face, in "
        "the order chosen; an empty batch, which ComfyUI's own preview cannot show, when every picture was skipped.",
        "Per crop, the soft-edged area that Paste Faces Back would change with its default feather: an inpainting "
        "mask.",
    )

    REQUIRED = {
        "image": socket("IMAGE", "The photo, or a batch of photos or video frames."),
        "size": integer(
            256,
            "Side of the square crops in pixels. Inversion resizes them to what its encoder needs, so this "
            "only limits detail: 256 suits generators up to 256 px, 1024 the public 1024 px ones.",
            low=64,
            high=2048,
            step=8,
        ),
        "on_no_face": choice(
            ("error", "skip"),
            "What to do when a picture shows no face. error: stop and name the picture. skip: go on without "
            "it; Paste Faces Back then returns that picture unchanged.",
        ),
        "order": choice(
            ("left_to_right", "largest"),
            "Order of the faces within one picture. left_to_right stays put from run to run; largest puts the "
            "main person first.",
        ),
        "max_faces": integer(0, "At most this many faces per picture, the largest ones. 0: all of them.", high=1000),
        "detector": choice(
            ("auto", "yunet", "embedded"),
            "auto: YuNet when its weights are in models/face_detection, else the embedded detector. yunet: "
            "real photographs, needs those weights; finds more of the faces that are small or cut off. embedded: ships "
            "with the pack, knows faces in photographs, drawings and renders.",
            advanced=True,
        ),
        "min_confidence": number(
            MIN_CONFIDENCE,
            "Faces with a lower detection score are ignored. Lower it when a face is missed; raise it "
            "when something else is taken for a face.",
            low=0.05,
            high=0.99,
            advanced=True,
        ),
        "margin": number(
            1.0,
            "Framing of the crops. Keep 1: generators and encoders were trained on exactly that framing. "
            "Larger shows more around the face, for crops meant for other nodes.",
            low=0.5,
            high=3.0,
            advanced=True,
        ),
    }
    OPTIONAL = {
        "landmarks": socket(
            "FACE_LANDMARKS",
            "Faces found by MediaPipe Face Landmarker in the same pictures. If connected, nothing is "
            "detected here and detector is ignored.",
        ),
        "download_if_missing": switch(
            False,
            "Downloads YuNet's weights (0.4 MB, from kornia's repository, checksum verified) into "
            "models/face_detection if detector is auto or yunet and they are not there yet. Off: "
            "nothing is ever downloaded.",
            advanced=True,
        ),
    }

    def run(
        self,
        image: Tensor,
        size: int,
        on_no_face: str,
        order: str,
        max_faces: int,
        detector: str,
        min_confidence: float,
        margin: float,
        landmarks: Any = None,
        download_if_missing: bool = False,
        node_id: str | None = None,
    ) -> tuple[FaceCrops, Tensor, Tensor]:
        from ..core.pictures import tensor_to_image
        from ..faces.align import landmarks_in_crop
        from ..faces.masks import face_masks
        from ..faces.mesh import faces_of_mesh
        from ..pipeline.stylise import find_faces
        from ..runtime.progress import ProgressReporter

        faces_in: Callable[[Tensor], Sequence[Detection]] | Sequence[Sequence[Detection]]
        if landmarks is None:
            faces_in = face_finder(detector, min_confidence, download_if_missing, keep_unsure=True)
        else:
            faces_in = faces_of_mesh(landmarks, image.shape[1], image.shape[2], min_confidence)
        with ProgressReporter(len(image), "align", node_id=node_id) as progress:
            framing = {"on_no_face": on_no_face, "order": order, "max_faces": max_faces, "margin": margin}
            faces = find_faces(image, faces_in, size, **framing, on_progress=progress.update)
        return faces, tensor_to_image(faces.crops), face_masks(landmarks_in_crop(faces), size)


class PasteFaces(Node):
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Puts stylised faces back where Detect & Align Faces took them from, with a soft edge that follows the face. A "
        "photo without faces comes out untouched."
    )
    SEARCH_ALIASES = ["paste face", "composite face", "face back", "uncrop", "stitch"]
    RETURN_TYPES = ("IMAGE", "MASK")
    RETURN_NAMES = ("image", "mask")
    OUTPUT_TOOLTIPS = (
        "The photos with the stylised faces in place, at their own size.",
        "What was changed, per photo: 1 where the new face covers the old one, soft at the edge. Use it to inpaint the "
        "transition or to restrict a diffusion pass.",
    )

    REQUIRED = {
        "faces": socket("FACE_CROPS", "Where the faces came from: the output of Detect & Align Faces."),
        "stylised": socket(
            "IMAGE", "The new faces, one per face of the other input and in the same order, square, of any size."
        ),
        "region": choice(
            ("head", "face", "crop"),
            "What is replaced. head: face and hair. face: brows to chin, the photo's own hair stays. crop: "
            "the whole square with its background.",
        ),
        "feather": number(
            0.1,
            "Width of the soft edge as a share of the crop. 0: a hard edge. More hides the seam better and "
            "keeps less of the stylised outline.",
            high=0.5,
        ),
        "colour_match": number(
            0.0,
            "How far the new face takes over the photo's brightness and colours, so that skin and lighting "
            "fit. 0 keeps the style's own colours, 1 the photo's.",
        ),
    }
    OPTIONAL = {
        "crop_mask": socket(
            "MASK", ("Your own mask per face, in the crop's frame, instead of region: 1 where the new face shows.")
        )
    }

    def run(
        self,
        faces: FaceCrops,
        stylised: Tensor,
        region: str,
        feather: float,
        colour_match: float,
        crop_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        from ..core.pictures import alpha_of, image_to_tensor
        from ..pipeline.stylise import paste

        new, opacity = image_to_tensor(stylised[..., :3], repair=False), alpha_of(stylised)
        return paste(faces, new, feather, colour_match, region, masks=crop_mask, opacity=opacity)


class RenderFaces(Node):
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Draws faces of people who do not exist, as a photo-like rendering or in a stylised look, with exact masks. "
        "One seed draws the same people in every look: sample material, style pictures to train on, and known answers "
        "to test with."
    )
    SEARCH_ALIASES = ["procedural face", "synthetic face", "sample faces", "test picture", "style pictures"]
    RETURN_TYPES = ("IMAGE", "MASK", "IMAGE")
    RETURN_NAMES = ("image", "mask", "labels")
    OUTPUT_TOOLTIPS = (
        "The faces, framed like aligned crops.",
        "1 on the person (face, hair, clothes), 0 on the background.",
        "The same faces as flat colours, one for each part: skin, eyes, brows, lips, hair, glasses and so on.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        from ..procedural import LOOKS

        return {
            "required": {
                "count": integer(4, "How many different people.", low=1, high=1024),
                "seed": seed("Which people. The same seed draws the same people in every look and size."),
                "look": choice(
                    list(LOOKS),
                    "How they are drawn. photo is the look that the embedded generator knows; the others are styles.",
                ),
                "size": integer(256, "Side of the square pictures in pixels.", low=32, high=1024, step=8),
            },
            "hidden": {"node_id": "UNIQUE_ID"},
        }

    def run(
        self, count: int, seed: int, look: str, size: int, node_id: str | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        import torch

        from ..core.callbacks import batched
        from ..core.pictures import tensor_to_image
        from ..procedural import LABEL_COLOURS, render, sample_parameters, select
        from ..runtime.progress import ProgressReporter

        people = sample_parameters(count, torch.Generator().manual_seed(seed))
        images, labels = [], []
        with ProgressReporter(count, "render", node_id=node_id) as progress:
            for rows in batched(count, FACES_AT_A_TIME, progress.callbacks()):
                drawn = render(select(people, rows), size, look=look)
                images.append(tensor_to_image(drawn.image))
                labels.append(drawn.labels.long())
        label = torch.cat(labels)
        return torch.cat(images), (label != 0).float(), (torch.tensor(LABEL_COLOURS) / 255)[label]
