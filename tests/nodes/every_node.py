"""Every node once, on tiny networks, each fed by those before it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from node_bench import RESOLUTION, run_node
from PIL import Image

from facestylist.nodes import NODE_CLASS_MAPPINGS
from facestylist.runtime.folders import Folders

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "training"))
from guide_files import save_all  # noqa: E402

Made = dict[str, Any]
LOOSE = {"min_contrast": 0.0, "max_saturated": 1.0, "duplicate_bits": -1, "max_reconstruction_error": 4.0}
TINY = {"steps": 2, "batch_size": 2, "preview_interval": 1}

CALLS: list[tuple[str, Callable[[Made], Made], tuple[str, ...]]] = [
    # Node, its inputs from what there is, names of what it gives ("" is thrown away).
    ("AlignFaces", lambda m: {"image": m["photo"], "size": 32}, ("faces", "crops", "")),
    ("PasteFaces", lambda m: {"faces": m["faces"], "stylised": m["crops"]}, ("", "")),
    ("RenderFaces", lambda m: {"count": 1, "size": 64}, ("rendered", "", "")),
    ("LoadGenerator", lambda m: {"name": "embedded"}, ("",)),
    ("LoadEncoder", lambda m: {"name": "embedded"}, ("",)),
    ("SampleFaces", lambda m: {"generator": m["source"], "count": 2}, ("image", "latent")),
    ("SaveGenerator", lambda m: {"generator": m["style"], "name": "saved"}, ("",)),
    ("ConvertCheckpoint", lambda m: {"checkpoint": "stylegan/saved.safetensors"}, ("", "")),
    ("BlendGenerators", lambda m: {"source": m["source"], "style": m["style"], "split_resolution": "16"}, ("",)),
    ("InvertWithEncoder", lambda m: {"image": m["image"], "encoder": m["encoder"], "generator": m["source"]}, ("", "")),
    (
        "InvertByOptimisation",
        lambda m: {"image": m["image"], "generator": m["source"], "steps": 2, "noise": "optimised"},
        ("", ""),
    ),
    (
        "PivotalTuning",
        lambda m: {"image": m["image"], "generator": m["source"], "latent": m["latent"], "steps": 2},
        ("tuned", "", "", ""),
    ),
    ("AlignStyle", lambda m: {"style": m["style"], "source": m["source"], "tuned": m["tuned"]}, ("",)),
    ("SaveLatents", lambda m: {"latent": m["latent"]}, ("",)),
    ("LoadLatents", lambda m: {}, ("",)),
    ("MixLatents", lambda m: {"latent_a": m["latent"], "latent_b": m["latent"]}, ("",)),
    ("DecodeLatent", lambda m: {"latent": m["latent"], "generator": m["source"]}, ("",)),
    ("FindLatentDirections", lambda m: {"generator": m["source"], "count": 2}, ("directions", "")),
    ("SaveLatentDirections", lambda m: {"directions": m["directions"]}, ("",)),
    ("LoadLatentDirections", lambda m: {"generator": m["source"]}, ("",)),
    ("MoveAlongDirection", lambda m: {"latent": m["latent"], "directions": m["directions"]}, ("",)),
    ("SmoothFaces", lambda m: {"faces": m["faces"]}, ("", "", "")),
    ("SteadyLatents", lambda m: {"latent": m["latent"], "faces": m["faces"]}, ("",)),
    ("LatentWalk", lambda m: {"frames": 3, "generator": m["source"], "count": 2}, ("",)),
    ("StyliseFaces", lambda m: {"style": m["style"], "latent": m["latent"]}, ("",)),
    ("StyleVariations", lambda m: {"style": m["style"], "latent": m["latent"]}, ("", "", "", "")),
    (
        "EncodeReference",
        lambda m: {"image": m["image"][:1], "style": m["style"], "align": "off", "steps": 2},
        ("reference", "", ""),
    ),
    (
        "ApplyReference",
        lambda m: {"style": m["style"], "latent": m["latent"], "reference": m["reference"]},
        ("", "", ""),
    ),
    ("LpipsGuide", lambda m: {}, ("lpips",)),
    ("IdentityGuide", lambda m: {"guides": m["lpips"]}, ("guides",)),
    ("DinoGuide", lambda m: {}, ("",)),
    ("ParsingGuide", lambda m: {}, ("",)),
    (
        "LoadStyleImages",
        lambda m: {"folder": "styles", "align": False, "size": 64, "validation": 0.2},
        ("images", "", "held"),
    ),
    (
        "FinetuneGenerator",
        lambda m: {
            "source": m["source"],
            "style_images": m["images"],
            "validation_images": m["held"],
            "guides": m["guides"],
            "score_interval": 1,
            "keep_snapshot": "best",
            "path_length_weight": 2.0,
            "path_length_interval": 1,
            "checkpointing": m.get("checkpointing", True),
            "r1_interval": 1,
            **TINY,
        },
        ("", "", "losses"),
    ),
    ("LossPlot", lambda m: {"losses": m["losses"]}, ("",)),
    (
        "StylisationReport",
        lambda m: {"image": m["image"], "source": m["source"], "latent": m["latent"], "style": m["style"]},
        ("", ""),
    ),
    ("Compare", lambda m: {"image_a": m["image"], "image_b": m["image"]}, ("",)),
    (
        "Destylise",
        lambda m: {"source": m["source"], "style": m["style"], "style_images": m["image"], "steps": 2},
        ("", ""),
    ),
    ("MakePairs", lambda m: {"source": m["source"], "target": m["style"], "count": 2, **LOOSE}, ("pairs", "")),
    ("PreviewPairs", lambda m: {"pairs": m["pairs"], "source": m["source"], "target": m["style"], "size": 32}, ("",)),
    ("ExportPairs", lambda m: {"pairs": m["pairs"], "source": m["source"], "target": m["style"]}, ("",)),
    ("SavePairs", lambda m: {"pairs": m["pairs"]}, ("",)),
    ("LoadPairs", lambda m: {}, ("", "")),
    (
        "TrainWithPairs",
        lambda m: {"source": m["source"], "style": m["style"], "pairs": m["pairs"], "discriminator_alone": 1, **TINY},
        ("", "", ""),
    ),
    (
        "TrainFastStylizer",
        lambda m: {
            "before": m["photo"],
            "after": 1 - m["photo"],
            "medium": "pencil",
            "size": 48,
            "width": 0.25,
            **TINY,
            "batch_size": 1,
        },
        ("stylizer", "", ""),
    ),
    (
        "TrainEncoder",
        lambda m: {"generator": m["source"], "images": m["images"], "width": 0.25, **TINY},
        ("read", "", "", ""),
    ),
    ("SaveEncoder", lambda m: {"encoder": m["read"]}, ("",)),
    ("SaveFastStylizer", lambda m: {"stylizer": m["stylizer"], "name": "mine"}, ("",)),
    ("LoadFastStylizer", lambda m: {"name": "mine.safetensors"}, ("",)),
    ("RunFastStylizer", lambda m: {"stylizer": m["stylizer"], "image": m["photo"]}, ("",)),
]
"""In an order in which each finds what it needs. A new node gets a line here."""


def run_every_node(folders: Folders, made: Made, around: Callable[[str], AbstractContextManager[None]]) -> None:
    """Runs all nodes, each inside `around(its name)`.

    made: a generator `source`, its `style`, an `encoder`, and a `photo` in which two faces are found.
    """
    called = {f"FaceStylist{name}" for name, *_ in CALLS}
    assert called == set(NODE_CLASS_MAPPINGS), "every node has a line in CALLS"
    save_all(folders.models / "face_guides")
    (folders.input / "styles").mkdir(parents=True)
    for index in range(5):
        pixels = np.random.default_rng(index).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folders.input / "styles" / f"{index}.png")
    for name, inputs, outputs in CALLS:
        given = inputs(made)
        with around(name):
            results = run_node(name, **given)
        made |= {key: value for key, value in zip(outputs, results, strict=True) if key}
    assert made["images"].shape == (4, 64, 64, 3) and made["image"].shape[1] == RESOLUTION
