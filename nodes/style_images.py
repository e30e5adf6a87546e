"""The node that reads a folder of style pictures: what is there to train on, and what is not usable of it?

Style pictures travel as ordinary IMAGE batches, so that any node can make or change them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..pipeline.networks import face_finder
from .declare import Node, integer, number, switch, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from ..training.data.style_images import StyleFolder

CATEGORY = "FaceStylist/Training"
CACHE = "style_crops"
"""Folder within `runtime.folders.cache_dir()`."""
SHARE_OF_MEMORY = 0.6
"""A batch that would fill more of the machine's memory than this is refused before it is made."""


class LoadStyleImages(Node):
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Loads a folder of style pictures to train on, finds and aligns the face in each, and reports what it left out "
        "and why. 100 to 300 pictures of one style are plenty, 10 are a start. Crops are kept, so a second run is "
        "quick."
    )
    SEARCH_ALIASES = ["load folder", "image folder", "training images", "data set", "dataset", "style pictures"]
    RETURN_TYPES = ("IMAGE", "STRING", "IMAGE")
    RETURN_NAMES = ("style_images", "report", "validation_images")
    OUTPUT_TOOLTIPS = (
        "The style pictures as one batch.",
        "How many pictures were taken, and each one that was not, with its reason, folder by folder.",
        "The pictures held out by `validation`, to measure with; an empty batch if that is 0.",
    )

    REQUIRED = {
        "folder": text("my_style", "A folder of pictures: inside ComfyUI's input folder, or a full path."),
        "align": switch(
            True,
            "Find the face and cut it out as the generator expects. Turn off for pictures that are aligned "
            "already, or for drawings in which no face is found; they are then only cut square and resized.",
        ),
        "size": integer(
            256, "Side of the pictures in pixels; training resizes them to its generator.", low=64, high=1024, step=8
        ),
    }
    OPTIONAL = {
        "subfolders": switch(False, "Take the pictures of the folder's subfolders, too.", advanced=True),
        "max_pictures": integer(
            0,
            "No more than this many files, spread evenly over the folder. 0 takes all.",
            high=1_000_000,
            advanced=True,
        ),
        "validation": number(
            0.0,
            "Share of the pictures to hold out for measuring; at least one if above 0. Which ones "
            "depends on the pictures alone.",
            high=0.5,
            step=0.05,
            advanced=True,
        ),
    }

    @classmethod
    def VALIDATE_INPUTS(cls, folder: str | None) -> bool | str:
        """Says before anything runs that a folder is missing; one that comes over a wire is None here."""
        from ..runtime.folders import find_input

        if folder is None:
            return True
        try:
            path = find_input(folder)
        except ValueError as error:
            return str(error)
        return path.is_dir() or f"There is no folder {path}. Give the folder that holds the style pictures."

    @classmethod
    def IS_CHANGED(
        cls,
        folder: str,
        align: bool,
        size: int,
        subfolders: bool = False,
        max_pictures: int = 0,
        validation: float = 0.0,
    ) -> str:
        from ..runtime.folders import cache_dir, find_input
        from ..training.data.style_images import folder_content

        return folder_content(find_input(folder), subfolders, cache_dir() / CACHE)

    def run(
        self,
        folder: str,
        align: bool,
        size: int,
        subfolders: bool = False,
        max_pictures: int = 0,
        validation: float = 0.0,
        node_id: str | None = None,
    ) -> tuple[Tensor, str, Tensor]:
        from ..runtime.folders import cache_dir, find_input
        from ..runtime.progress import ProgressReporter
        from ..training.data.style_images import FaceAligner, FolderSettings, scan_style_folder

        settings = FolderSettings(size, subfolders=subfolders, most=max_pictures)
        aligner = FaceAligner(size, face_finder()) if align else False
        with ProgressReporter(1, "style pictures", node_id=node_id) as progress:
            styles = scan_style_folder(
                find_input(folder), settings, aligner, cache_dir() / CACHE, on_progress=progress.update
            )
            report = styles.report()
            progress.text(report)
        training, held_out = styles.split(validation)
        return _image(styles, training), report, _image(styles, held_out)


def _image(styles: StyleFolder, indices: Sequence[int]) -> Tensor:
    """These pictures as IMAGE, filled one by one: a large folder fits once into memory, but not twice.

    Raises:
        ValueError: it would not fit.
    """
    import torch

    needed = len(indices) * styles.size**2 * 3 * 4
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if needed > SHARE_OF_MEMORY * there:
            raise ValueError(
                f"{len(indices)} pictures of {styles.size} px take {needed / 2**30:.0f} GiB as one batch, of "
                f"{there / 2**30:.0f} GiB. Lower `size` to the generator's, or set `max_pictures`."
            )
    images = torch.empty(len(indices), styles.size, styles.size, 3)
    for place, index in enumerate(indices):
        images[place] = torch.from_numpy(styles.crop(index).copy()).float() / 255
    return images
