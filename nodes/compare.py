"""The node that puts two pictures on top of each other, with a slider between them in the front end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .declare import Node, socket

if TYPE_CHECKING:
    from torch import Tensor

CATEGORY = "FaceStylist/Report"
NAME_LENGTH = 8


class CompareFaces(Node):
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Shows two pictures on top of each other with an edge that follows the pointer: the photo and its stylised "
        "version, say. Also gives the two side by side as one picture. With batches, pair by pair."
    )
    SEARCH_ALIASES = ["image compare", "before after", "slider", "side by side", "compare faces", "difference"]
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("side_by_side",)
    OUTPUT_TOOLTIPS = ("Each pair as one picture, the first on the left.",)
    OUTPUT_NODE = True

    REQUIRED = {
        "image_a": socket("IMAGE", "The pictures seen left of the edge."),
        "image_b": socket(
            "IMAGE", ("The pictures seen right of it: as many, or one for all. They are resized to the same height.")
        ),
    }

    def run(self, image_a: Tensor, image_b: Tensor) -> dict[str, Any]:
        from ..core.pictures import side_by_side

        pairs = side_by_side(image_a, image_b)
        shown = {"a_images": _previews(image_a), "b_images": _previews(image_b)}
        return {"ui": shown, "result": (pairs,)}


def _previews(images: Tensor) -> list[dict[str, str]]:
    """Pictures in the temporary folder, in the form in which the front end asks for them."""
    import secrets

    from ..core.pictures import write_picture
    from ..runtime.folders import temp_dir

    prefix = f"facestylist_compare_{secrets.token_hex(NAME_LENGTH)}"
    entries = []
    for index, image in enumerate(images):
        name = f"{prefix}_{index:05}.png"
        write_picture(image, temp_dir() / name, compress_level=1)
        entries.append({"filename": name, "subfolder": "", "type": "temp"})
    return entries
