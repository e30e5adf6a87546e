"""Nodes that keep, mix and draw latents. FACE_LATENT and FACE_GENERATOR are described in `generators.py`.

A latent is as good as a face: it can be saved, mixed with another, moved (`directions.py`) and drawn by its generator
and by every style fine-tuned from that one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .declare import FileReader, Node, SavingNode, choice, number, socket, text

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.types import FaceGenerator, FaceLatent

CATEGORY = "FaceStylist/Latent"
FOLDER = "latents"
"""Where latents and directions go, inside the output folder."""
LAYERS_TOOLTIP = "Numbers and ranges such as 0-7 or 0-3,8; or coarse (shape), middle (features), fine (colours)."
FILE_TOOLTIP = "Inside ComfyUI's input folder, or its output folder with [output] behind the name, or a full path."


class SaveLatents(SavingNode):
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Saves the latents of faces with their noise, their errors and the identity of their generator, so that "
        "inversion is needed only once. Nothing is overwritten: names are numbered."
    )
    SEARCH_ALIASES = ["save latent", "export w+", "save w plus", "write latent", "save face"]
    OUTPUT_TOOLTIPS = ("Where the file is; Load Latents takes it.",)

    REQUIRED = {
        "latent": socket("FACE_LATENT", "The latents of one or several faces."),
        "name": text("my_faces", "File name, in the folder latents inside ComfyUI's output folder."),
        "format": choice(
            ("safetensors", "npy"),
            "safetensors keeps everything. npy holds the codes alone, [faces, layers, length], for other programs.",
        ),
    }

    def run(self, latent: FaceLatent, name: str, format: str, node_id: str | None = None) -> tuple[str]:
        from ..latents.files import save_latents
        from ..pipeline.networks import new_output_file

        path = save_latents(latent, new_output_file(FOLDER, name or "latents", f".{format}"))
        return self.saved(path, node_id)


class LoadLatents(FileReader):
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Loads latents: saved ones of ours, W+ arrays (.npy, .npz, .pt) of pSp, e4e, PTI and NVIDIA's projector, and "
        "JoJoGAN's files. Nothing in a file is ever executed."
    )
    SEARCH_ALIASES = ["load latent", "w plus", "w+", "npy", "load face", "projected_w", "jojogan", "pti", "e4e"]
    RETURN_TYPES = ("FACE_LATENT",)
    RETURN_NAMES = ("latent",)
    OUTPUT_TOOLTIPS = ("The latents, for every node that takes them.",)

    REQUIRED = {"file": text(f"{FOLDER}/my_faces.safetensors [output]", f"The file. {FILE_TOOLTIP}")}
    OPTIONAL = {
        "generator": socket(
            "FACE_GENERATOR",
            "The generator the latents are for. They are checked against it; files that do not name "
            "their generator become its own, and a single w is repeated for all layers.",
        )
    }

    def run(self, file: str, generator: FaceGenerator | None = None) -> tuple[FaceLatent]:
        from ..latents.files import load_latents
        from ..runtime.folders import find_input

        return (load_latents(find_input(file), generator),)


class MixLatents(Node):
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Mixes two faces: evenly, on an arc, or layer by layer (one's shape with the other's colours: style mixing). "
        "Face by face, or one face with all of the others."
    )
    SEARCH_ALIASES = ["style mixing", "blend faces", "interpolate latent", "morph", "slerp", "merge latent"]
    RETURN_TYPES = ("FACE_LATENT",)
    RETURN_NAMES = ("latent",)
    OUTPUT_TOOLTIPS = ("The mixed faces; amount 0 gives exactly latent_a, amount 1 exactly latent_b.",)

    REQUIRED = {
        "latent_a": socket("FACE_LATENT", "The faces to start from; layers that are not named stay theirs."),
        "latent_b": socket("FACE_LATENT", "The faces to mix in: as many, or one for all."),
        "mode": choice(
            ("linear", "slerp", "layers"),
            "linear: the straight line between the two. slerp: the arc, which keeps faces as distinct "
            "as they are. layers: the named layers come from latent_b entirely, whatever the amount.",
        ),
        "amount": number(
            0.5, "0 is latent_a, 1 is latent_b. Values beyond exaggerate the difference.", low=-1.0, high=2.0, step=0.05
        ),
        "layers": text("", f"Layers that are mixed; empty for all. {LAYERS_TOOLTIP}"),
    }
    OPTIONAL = {
        "generator": socket(
            "FACE_GENERATOR",
            ("For slerp: the arc turns about this generator's average face. Not connected: about the origin of W."),
        )
    }

    def run(
        self,
        latent_a: FaceLatent,
        latent_b: FaceLatent,
        mode: str,
        amount: float,
        layers: str,
        generator: FaceGenerator | None = None,
    ) -> tuple[FaceLatent]:
        from ..latents.layers import parse_layers
        from ..latents.mixing import mix_latents

        chosen = parse_layers(layers, latent_a.w_plus.shape[1])
        centre = None if generator is None else generator.mean_latent
        share = 1.0 if mode == "layers" else amount
        return (mix_latents(latent_a, latent_b, share, "slerp" if mode == "slerp" else "linear", chosen, centre),)


class DecodeLatent(Node):
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Draws latents with a generator: the one they were found with, a style fine-tuned from it, or a blend of the "
        "two. The frames of a Latent Walk become a batch of pictures."
    )
    SEARCH_ALIASES = ["latent to image", "generate", "synthesise", "synthesize", "stylegan decode", "draw latent"]
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("image",)
    OUTPUT_TOOLTIPS = ("One picture per latent, in the same order.",)

    REQUIRED = {
        "latent": socket("FACE_LATENT", "What to draw. Noise that was found with it is used."),
        "generator": socket("FACE_GENERATOR", "What draws: any generator with the same W."),
    }

    def run(self, latent: FaceLatent, generator: FaceGenerator, node_id: str | None = None) -> tuple[Tensor]:
        from ..pipeline.stylise import draw
        from ..runtime.progress import ProgressReporter

        with ProgressReporter(len(latent), "decode", node_id=node_id) as progress:
            return (draw(generator, latent, progress.callbacks()),)
