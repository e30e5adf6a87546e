"""Nodes that change faces along directions of W, and walk between faces.

Custom socket:
  FACE_DIRECTIONS: `models.types.FaceDirections`. Directions in W or W+, how far a strength of 1 goes along each, the
    layers they act on, and the W they belong to. They fit the source and every style that shares its W. FACE_LATENT and
    FACE_GENERATOR are described in `generators.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .declare import FileReader, Node, SavingNode, choice, integer, number, seed, socket, switch, text
from .latents import CATEGORY, FILE_TOOLTIP, FOLDER, LAYERS_TOOLTIP

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.types import FaceDirections, FaceGenerator, FaceLatent

PREVIEW_STRENGTH = 3.0


class FindLatentDirections(Node):
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Finds directions in which faces change (pose, expression, age, light, colours) without labels or training, in "
        "the generator's weights or in its samples. The preview shows what each one does."
    )
    SEARCH_ALIASES = ["sefa", "ganspace", "pca", "edit direction", "semantic direction", "latent edit", "closed form"]
    RETURN_TYPES = ("FACE_DIRECTIONS", "IMAGE")
    RETURN_NAMES = ("directions", "preview")
    OUTPUT_TOOLTIPS = (
        "The directions, the one with the largest effect first. For Move Along Direction.",
        "The average face moved by -3, 0 and 3 along each direction, a row for each from the first.",
    )

    REQUIRED = {
        "generator": socket("FACE_GENERATOR", "The generator, or a style of it: they share their directions."),
        "method": choice(
            ("sefa", "pca"),
            "sefa: what changes the named layers most, computed from their weights. pca: along what "
            "the generator's own faces differ most; layers do not matter for the search.",
        ),
        "layers": text("", f"Layers the directions are for; empty for all. {LAYERS_TOOLTIP}"),
        "count": integer(10, "How many directions.", low=1, high=512),
        "seed": seed("Seed of the faces that pca analyses and that step sizes are measured on."),
    }

    def run(
        self, generator: FaceGenerator, method: str, layers: str, count: int, seed: int
    ) -> tuple[FaceDirections, Tensor]:
        from ..core.pictures import tensor_to_image
        from ..latents.directions import direction_sheet, find_by_samples, find_by_weights
        from ..latents.layers import parse_layers
        from ..pipeline.networks import placed

        chosen = parse_layers(layers, generator.num_ws)
        find = find_by_weights if method == "sefa" else find_by_samples
        with placed(generator):
            directions = find(generator, chosen, min(count, generator.w_dim), seed)
            return directions, tensor_to_image(direction_sheet(generator, directions, PREVIEW_STRENGTH))


class SaveLatentDirections(SavingNode):
    CATEGORY = CATEGORY
    DESCRIPTION = "Saves directions as one .safetensors file. Nothing is overwritten: names are numbered."
    SEARCH_ALIASES = ["save direction", "export direction", "save edit"]
    OUTPUT_TOOLTIPS = ("Where the file is; Load Latent Directions takes it.",)

    REQUIRED = {
        "directions": socket("FACE_DIRECTIONS", "What to save."),
        "name": text("my_directions", "File name, in the folder latents inside ComfyUI's output folder."),
    }

    def run(self, directions: FaceDirections, name: str, node_id: str | None = None) -> tuple[str]:
        from ..latents.directions import save_directions
        from ..pipeline.networks import new_output_file

        path = save_directions(directions, new_output_file(FOLDER, name or "latents", ".safetensors"))
        return self.saved(path, node_id)


class LoadLatentDirections(FileReader):
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Loads directions: saved ones of ours, InterFaceGAN boundaries and other arrays (.npy, .pt), GANSpace "
        "components and rosinality's closed-form factorisation. Nothing in a file is ever executed."
    )
    SEARCH_ALIASES = ["load direction", "interfacegan", "boundary", "ganspace", "smile direction", "age direction"]
    RETURN_TYPES = ("FACE_DIRECTIONS",)
    RETURN_NAMES = ("directions",)
    OUTPUT_TOOLTIPS = ("The directions, for Move Along Direction.",)

    REQUIRED = {
        "generator": socket("FACE_GENERATOR", "The generator they were found for, or a style of it."),
        "file": text(f"{FOLDER}/my_directions.safetensors [output]", f"The file. {FILE_TOOLTIP}"),
    }

    def run(self, generator: FaceGenerator, file: str) -> tuple[FaceDirections]:
        from ..latents.directions import load_directions
        from ..runtime.folders import find_input

        return (load_directions(find_input(file), generator),)


class MoveAlongDirection(Node):
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Changes faces along a direction: older, turned, smiling, whatever the direction means. Several of them "
        "in a row add up."
    )
    SEARCH_ALIASES = ["edit latent", "latent edit", "change age", "change pose", "semantic edit", "interfacegan"]
    RETURN_TYPES = ("FACE_LATENT",)
    RETURN_NAMES = ("latent",)
    OUTPUT_TOOLTIPS = ("The changed faces, for Decode Latent and Stylise Faces.",)

    REQUIRED = {
        "latent": socket("FACE_LATENT", "The faces to change."),
        "directions": socket("FACE_DIRECTIONS", "From Find Latent Directions or Load Latent Directions."),
        "index": integer(0, "Which of the directions, counted from 0.", low=0, high=4095),
        "strength": number(
            2.0,
            "How far to move. For directions found here, 1 is a standard deviation of faces along them; for "
            "directions from a file, the vector as it is. Below 0 goes the other way; 0 changes nothing.",
            low=-100.0,
            high=100.0,
            step=0.25,
        ),
        "layers": text("", f"Layers that move; empty for those the direction was found for. {LAYERS_TOOLTIP}"),
    }

    def run(
        self, latent: FaceLatent, directions: FaceDirections, index: int, strength: float, layers: str
    ) -> tuple[FaceLatent]:
        from ..latents.directions import move_along
        from ..latents.layers import parse_layers

        chosen = parse_layers(layers, latent.w_plus.shape[1]) if layers.strip() else None
        return (move_along(latent, directions, index, strength, chosen),)


class LatentWalk(Node):
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Frames of a walk from face to face: through given latents, or through sampled faces by their seeds. Closed, "
        "it loops without a jump. Decode Latent draws the frames in the source or in any of its styles."
    )
    SEARCH_ALIASES = ["interpolation video", "latent animation", "morph", "slerp", "loop", "seed travel"]
    RETURN_TYPES = ("FACE_LATENT",)
    RETURN_NAMES = ("latent",)
    OUTPUT_TOOLTIPS = ("One latent per frame.",)

    REQUIRED = {
        "frames": integer(60, "Frames in all.", low=2, high=100_000),
        "loop": switch(True, "Walk back to the first face; the last frame is the one just before it."),
        "easing": choice(
            ("none", "smooth"), "none: an even pace. smooth: slow down at every face and start softly again."
        ),
        "seed": seed("Seed of the first sampled face, if no latents are connected; the next ones use the next seeds."),
        "count": integer(4, "How many sampled faces.", low=2, high=1024),
        "truncation_psi": number(
            0.7, "How far sampled faces may lie from the average one.", low=-1.0, high=2.0, step=0.05
        ),
        "space": choice(
            ("z", "w"),
            "How sampled faces are connected. z: on arcs, so that every frame is as likely a face. w: "
            "on straight lines, the shortest change.",
            advanced=True,
        ),
    }
    OPTIONAL = {
        "latent": socket(
            "FACE_LATENT", "Faces to walk through, at least two, on straight lines. Seeds are then ignored."
        ),
        "generator": socket("FACE_GENERATOR", "The generator of sampled faces; not needed with latents."),
    }

    def run(
        self,
        frames: int,
        loop: bool,
        easing: str,
        seed: int,
        count: int,
        truncation_psi: float,
        space: str,
        latent: FaceLatent | None = None,
        generator: FaceGenerator | None = None,
    ) -> tuple[FaceLatent]:
        from ..latents.mixing import walk_between_latents, walk_between_seeds
        from ..pipeline.networks import placed

        pace: Any = easing
        if latent is not None:
            return (walk_between_latents(latent, frames, loop, pace),)
        if generator is None:
            raise ValueError(
                "There is nothing to walk between. Connect latents of at least two faces, or a generator to sample "
                "faces from."
            )
        drawn_in: Any = space
        with placed(generator):
            seeds = range(seed, seed + count)
            return (walk_between_seeds(generator, seeds, frames, loop, pace, truncation_psi, drawn_in),)
