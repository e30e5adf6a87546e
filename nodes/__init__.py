"""What people see in ComfyUI: the pack's nodes by id, and their display names.

Each node is a plain class in ComfyUI's V1 form: the declaration says what it takes and gives, `run` calls the layers
below. A node's id and the names of its sockets and inputs never change once shipped, for workflows refer to them.
"""

from __future__ import annotations

from .compare import CompareFaces
from .directions import FindLatentDirections, LatentWalk, LoadLatentDirections, MoveAlongDirection, SaveLatentDirections
from .encoder_training import SaveEncoder, TrainEncoder
from .faces import AlignFaces, PasteFaces, RenderFaces
from .generators import BlendGenerators, ConvertCheckpoint, LoadGenerator, SampleFaces, SaveGenerator
from .guides import DinoGuide, IdentityGuide, LpipsGuide, ParsingGuide
from .inversion import AlignStyle, InvertByOptimisation, InvertWithEncoder, LoadEncoder, PivotalTuning
from .latents import DecodeLatent, LoadLatents, MixLatents, SaveLatents
from .pair_training import Destylise, TrainWithPairs
from .pairs import ExportPairs, LoadPairs, MakePairs, PreviewPairs, SavePairs
from .plots import LossPlot
from .reference import ApplyReference, EncodeReference
from .report import StylisationReport
from .style_images import LoadStyleImages
from .stylise import StyliseFaces
from .stylizer import LoadFastStylizer, RunFastStylizer, SaveFastStylizer, TrainFastStylizer
from .training import FinetuneGenerator
from .variations import StyleVariations
from .video import SmoothFaces, SteadyLatents

NODE_CLASS_MAPPINGS: dict[str, type] = {
    "FaceStylistAlignFaces": AlignFaces,
    "FaceStylistPasteFaces": PasteFaces,
    "FaceStylistRenderFaces": RenderFaces,
    "FaceStylistSmoothFaces": SmoothFaces,
    "FaceStylistSteadyLatents": SteadyLatents,
    "FaceStylistLoadGenerator": LoadGenerator,
    "FaceStylistSaveGenerator": SaveGenerator,
    "FaceStylistConvertCheckpoint": ConvertCheckpoint,
    "FaceStylistSampleFaces": SampleFaces,
    "FaceStylistBlendGenerators": BlendGenerators,
    "FaceStylistLoadEncoder": LoadEncoder,
    "FaceStylistInvertWithEncoder": InvertWithEncoder,
    "FaceStylistInvertByOptimisation": InvertByOptimisation,
    "FaceStylistPivotalTuning": PivotalTuning,
    "FaceStylistAlignStyle": AlignStyle,
    "FaceStylistSaveLatents": SaveLatents,
    "FaceStylistLoadLatents": LoadLatents,
    "FaceStylistMixLatents": MixLatents,
    "FaceStylistDecodeLatent": DecodeLatent,
    "FaceStylistFindLatentDirections": FindLatentDirections,
    "FaceStylistSaveLatentDirections": SaveLatentDirections,
    "FaceStylistLoadLatentDirections": LoadLatentDirections,
    "FaceStylistMoveAlongDirection": MoveAlongDirection,
    "FaceStylistLatentWalk": LatentWalk,
    "FaceStylistStyliseFaces": StyliseFaces,
    "FaceStylistStyleVariations": StyleVariations,
    "FaceStylistEncodeReference": EncodeReference,
    "FaceStylistApplyReference": ApplyReference,
    "FaceStylistStylisationReport": StylisationReport,
    "FaceStylistCompare": CompareFaces,
    "FaceStylistLoadStyleImages": LoadStyleImages,
    "FaceStylistFinetuneGenerator": FinetuneGenerator,
    "FaceStylistLossPlot": LossPlot,
    "FaceStylistLoadFastStylizer": LoadFastStylizer,
    "FaceStylistSaveFastStylizer": SaveFastStylizer,
    "FaceStylistRunFastStylizer": RunFastStylizer,
    "FaceStylistTrainFastStylizer": TrainFastStylizer,
    "FaceStylistLpipsGuide": LpipsGuide,
    "FaceStylistIdentityGuide": IdentityGuide,
    "FaceStylistDinoGuide": DinoGuide,
    "FaceStylistParsingGuide": ParsingGuide,
    "FaceStylistDestylise": Destylise,
    "FaceStylistMakePairs": MakePairs,
    "FaceStylistPreviewPairs": PreviewPairs,
    "FaceStylistExportPairs": ExportPairs,
    "FaceStylistSavePairs": SavePairs,
    "FaceStylistLoadPairs": LoadPairs,
    "FaceStylistTrainWithPairs": TrainWithPairs,
    "FaceStylistTrainEncoder": TrainEncoder,
    "FaceStylistSaveEncoder": SaveEncoder,
}

NODE_DISPLAY_NAME_MAPPINGS = {
    "FaceStylistAlignFaces": "Detect & Align Faces",
    "FaceStylistPasteFaces": "Paste Faces Back",
    "FaceStylistRenderFaces": "Render Procedural Faces",
    "FaceStylistSmoothFaces": "Smooth Faces over Frames",
    "FaceStylistSteadyLatents": "Steady Latents",
    "FaceStylistLoadGenerator": "Load Face Generator",
    "FaceStylistSaveGenerator": "Save Face Generator",
    "FaceStylistConvertCheckpoint": "Convert Checkpoint",
    "FaceStylistSampleFaces": "Sample Faces",
    "FaceStylistBlendGenerators": "Blend Generators",
    "FaceStylistLoadEncoder": "Load Face Encoder",
    "FaceStylistInvertWithEncoder": "Invert with Encoder",
    "FaceStylistInvertByOptimisation": "Invert by Optimisation",
    "FaceStylistPivotalTuning": "Tune Generator to Faces (PTI)",
    "FaceStylistAlignStyle": "Align Style with Tuned Generator",
    "FaceStylistSaveLatents": "Save Latents",
    "FaceStylistLoadLatents": "Load Latents",
    "FaceStylistMixLatents": "Mix Latents",
    "FaceStylistDecodeLatent": "Decode Latent",
    "FaceStylistFindLatentDirections": "Find Latent Directions",
    "FaceStylistSaveLatentDirections": "Save Latent Directions",
    "FaceStylistLoadLatentDirections": "Load Latent Directions",
    "FaceStylistMoveAlongDirection": "Move Along Direction",
    "FaceStylistLatentWalk": "Latent Walk",
    "FaceStylistStyliseFaces": "Stylise Faces",
    "FaceStylistStyleVariations": "Style Variations",
    "FaceStylistEncodeReference": "Encode Reference Style",
    "FaceStylistApplyReference": "Apply Reference Style",
    "FaceStylistStylisationReport": "Stylisation Report",
    "FaceStylistCompare": "Compare Faces",
    "FaceStylistLoadStyleImages": "Load Style Images",
    "FaceStylistFinetuneGenerator": "Fine-tune Generator",
    "FaceStylistLossPlot": "Loss Plot",
    "FaceStylistLoadFastStylizer": "Load Fast Stylizer",
    "FaceStylistSaveFastStylizer": "Save Fast Stylizer",
    "FaceStylistRunFastStylizer": "Run Fast Stylizer",
    "FaceStylistTrainFastStylizer": "Train Fast Stylizer",
    "FaceStylistLpipsGuide": "LPIPS Guide",
    "FaceStylistIdentityGuide": "Identity Guide",
    "FaceStylistDinoGuide": "Structure Guide (DINOv2)",
    "FaceStylistParsingGuide": "Face Parts Guide (BiSeNet)",
    "FaceStylistDestylise": "Destylise Style Images",
    "FaceStylistMakePairs": "Make Pseudo-Pairs",
    "FaceStylistPreviewPairs": "Preview Pairs",
    "FaceStylistExportPairs": "Export Pairs",
    "FaceStylistSavePairs": "Save Pairs",
    "FaceStylistLoadPairs": "Load Pairs",
    "FaceStylistTrainWithPairs": "Train with Pseudo-Pairs",
    "FaceStylistTrainEncoder": "Train Face Encoder",
    "FaceStylistSaveEncoder": "Save Face Encoder",
}
