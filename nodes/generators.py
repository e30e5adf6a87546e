"""Nodes that load, save, convert, sample and mix face generators.

Custom sockets:
  FACE_GENERATOR: `models.types.FaceGenerator`. A StyleGAN2 generator with its mean latent, resolution, style name and
    provenance, and its discriminator when that is known (only Fine-tune Generator needs one). It is never changed in
    place: every node that alters a generator puts out a new one.
  FACE_LATENT: `models.types.FaceLatent`. One W+ code per face, the noise it was found with, the W it belongs to, and
    after an inversion each face's reconstruction error. It fits every generator that shares that W: the source and all
    styles fine-tuned from it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .declare import NetworkLoader, Node, SavingNode, choice, content_hash, integer, number, seed, socket, switch, text

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.types import FaceGenerator, FaceLatent

CATEGORY = "FaceStylist/Generator"
MODEL_FOLDER = "stylegan"
ENCODER_FOLDER = "face_encoders"
GUIDE_FOLDER = "face_guides"


class LoadGenerator(NetworkLoader):
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Loads a StyleGAN2 face generator: one that ships with the pack, or a file from models/stylegan (our "
        "safetensors; rosinality, JoJoGAN, StyleGAN-nada, DualStyleGAN .pt; NVIDIA .pkl; the decoder of pSp, e4e or "
        "ReStyle). Nothing in a file is ever executed."
    )
    SEARCH_ALIASES = ["stylegan", "stylegan2", "load stylegan", "face generator", "load style", "checkpoint", "ffhq"]
    RETURN_TYPES = ("FACE_GENERATOR",)
    RETURN_NAMES = ("generator",)
    OUTPUT_TOOLTIPS = ("The generator, and its discriminator where the file holds one.",)

    KIND = "generator"
    NAME_TOOLTIP = (
        "embedded draws photographed people and ships with the pack; embedded:cartoon and the like are its styles. "
        "Then come the files in models/stylegan, and the rendered cast for trials."
    )


class SaveGenerator(SavingNode):
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Saves a generator as one .safetensors file that Load Face Generator lists and that can be shared together "
        "with a workflow. A file that exists is never overwritten: names are numbered."
    )
    SEARCH_ALIASES = ["save stylegan", "export style", "save style", "safetensors"]
    OUTPUT_TOOLTIPS = ("Where the file is.",)

    REQUIRED = {
        "generator": socket("FACE_GENERATOR", "What to save, with its discriminator when it has one."),
        "name": text(
            "my_style",
            "File name inside models/stylegan, where Load Face Generator finds it. When that name is taken, a "
            "number is added; nothing is overwritten.",
        ),
        "half_precision": switch(
            True,
            "Store 16-bit numbers: half the size, no visible difference. Turn off if training is to "
            "continue from the file.",
            advanced=True,
        ),
    }

    def run(self, generator: FaceGenerator, name: str, half_precision: bool, node_id: str | None = None) -> tuple[str]:
        from ..models.checkpoints import save_generator
        from ..pipeline.networks import new_model_file

        path = new_model_file("generator", name)
        save_generator(generator, path, dict(generator.provenance), half=half_precision)
        return self.saved(path, node_id)


class ConvertCheckpoint(Node):
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Turns a checkpoint of another project (NVIDIA .pkl, rosinality .pt, pSp, e4e or ReStyle encoders, ArcFace, "
        "dlib's face recognition, JoJoGAN, StyleGAN-nada, DualStyleGAN) into one .safetensors of ours, which loads "
        "faster and can hold no code. A file that exists is never overwritten: names are numbered."
    )
    SEARCH_ALIASES = ["convert stylegan", "pkl to safetensors", "pt to safetensors", "import checkpoint", "inspect"]
    RETURN_TYPES = ("STRING", "STRING")
    RETURN_NAMES = ("path", "report")
    OUTPUT_TOOLTIPS = (
        "Where the new file is.",
        ("What the checkpoint is: family, resolution, codes, parameters, what is missing, licence terms."),
    )
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        from ..runtime.folders import list_model_files

        folders = (MODEL_FOLDER, ENCODER_FOLDER, GUIDE_FOLDER)
        files = [f"{folder}/{name}" for folder in folders for name in list_model_files(folder)]
        return {
            "required": {
                "checkpoint": choice(
                    [*files, f"{MODEL_FOLDER}/embedded"],
                    "A file in models/stylegan, face_encoders or face_guides (dlib's, ArcFace). Nothing in it is ever "
                    "executed.",
                ),
                "name": text(
                    "",
                    "Name of the new file in the same folder; empty for the name of the checkpoint. When that is "
                    "taken, a number is added.",
                ),
                "half_precision": switch(
                    False,
                    "Store 16-bit numbers: half the size, no visible difference, but no longer the same bits.",
                    advanced=True,
                ),
            },
            "hidden": {"node_id": "UNIQUE_ID"},
        }

    @classmethod
    def IS_CHANGED(cls, checkpoint: str, name: str, half_precision: bool) -> str:
        from ..runtime.folders import find_model

        folder, _, file = checkpoint.partition("/")
        return content_hash([Path(find_model(folder, file))])

    def run(self, checkpoint: str, name: str, half_precision: bool, node_id: str | None = None) -> tuple[str, str]:
        from ..models.checkpoints.convert import convert, report
        from ..pipeline.networks import new_model_file
        from ..runtime.folders import find_model
        from ..runtime.progress import ProgressReporter

        folder, _, file = checkpoint.partition("/")
        path = new_model_file(folder, name.strip() or Path(file.replace(":", "-")).stem)
        info = convert(find_model(folder, file), path, half=half_precision)
        ProgressReporter(1, node_id=node_id).text(f"Saved {path}")
        return str(path), report(info)


class SampleFaces(Node):
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Samples faces: what does this generator know? Every style fine-tuned from the same "
        "source can draw their latents, too."
    )
    SEARCH_ALIASES = ["generate faces", "random face", "stylegan generate", "truncation", "sample latent"]
    RETURN_TYPES = ("IMAGE", "FACE_LATENT")
    RETURN_NAMES = ("image", "latent")
    OUTPUT_TOOLTIPS = ("The faces.", "Their latents, for Stylise Faces.")

    REQUIRED = {
        "generator": socket("FACE_GENERATOR", "The generator to sample."),
        "seed": seed(
            "Seed of the first face; the next ones use the next seeds. Seeds mean the same as in the "
            "reference implementations."
        ),
        "count": integer(4, "How many faces.", low=1, high=1024),
        "truncation_psi": number(
            0.7,
            "How far a face may lie from the average one. 0 is the average face, 0.7 typical and clean, 1 the "
            "whole range with its failures.",
            low=-1.0,
            high=2.0,
            step=0.05,
        ),
    }

    def run(self, generator: FaceGenerator, seed: int, count: int, truncation_psi: float) -> tuple[Tensor, FaceLatent]:
        from ..latents.sampling import sample_latent
        from ..pipeline.networks import placed
        from ..pipeline.stylise import draw

        with placed(generator):
            latent = sample_latent(generator, range(seed, seed + count), truncation_psi)
        return draw(generator, latent), latent


class BlendGenerators(Node):
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Mixes a source generator with a style fine-tuned from it, separately for shape (coarse layers) and for colour "
        "and texture (fine layers): the layer swap known from Toonify, with a soft edge."
    )
    SEARCH_ALIASES = ["layer swap", "toonify", "merge generators", "style strength", "stylegan blend"]
    RETURN_TYPES = ("FACE_GENERATOR",)
    RETURN_NAMES = ("generator",)
    OUTPUT_TOOLTIPS = (
        "The mixed generator. With both amounts 0 it is exactly the source, with both 1 exactly the style; in between "
        "it has no discriminator and cannot be fine-tuned further.",
    )

    REQUIRED = {
        "source": socket("FACE_GENERATOR", "The generator the style was fine-tuned from."),
        "style": socket("FACE_GENERATOR", "The style. It must share the source's latents and sizes."),
        "structure": number(
            0.0, "How much of the style's shapes: face outline, size and place of eyes, nose and mouth."
        ),
        "appearance": number(1.0, "How much of the style's colours, lines and texture."),
        "split_resolution": choice(
            ("8", "16", "32", "64", "128", "256", "512", "1024"),
            "Layers coarser than this count as structure, this one and finer ones as appearance.",
            default="32",
        ),
        "smoothness": number(
            1.0,
            "Width of the transition between the two, in doublings of resolution. 0: a hard edge.",
            high=4.0,
            step=0.1,
            advanced=True,
        ),
    }

    def run(
        self,
        source: FaceGenerator,
        style: FaceGenerator,
        structure: float,
        appearance: float,
        split_resolution: str,
        smoothness: float,
    ) -> tuple[FaceGenerator]:
        from ..models.blending import blend_generators, swap_weights

        weights = swap_weights(
            source.generator.config.resolutions, int(split_resolution), structure, appearance, smoothness
        )
        return (blend_generators(source, style, weights),)
