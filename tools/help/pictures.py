"""A picture for every help page: each node shown at work on the sample picture.

    python -m facestylist.tools.help.pictures [NodeId ...]

writes web/docs/pictures/<NodeId>.jpg. Some minutes of one core for all.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from ...runtime.folders import list_embedded_styles
from .pages import PICTURES
from .strips import ARROW, Tile, card, curve, grid, strip
from .studio import Studio, in_scratch
from .training_pictures import (
    Maker,
    destylise,
    export_pairs,
    finetune,
    guide,
    load_pairs,
    load_student,
    loss_plot,
    make_pairs,
    parts_guide,
    preview_pairs,
    run_student,
    save_pairs,
    save_student,
    style_images,
    train_pairs,
    train_student,
)

QUALITY = 84
BEFORE, AFTER = (200, 120, 90), (40, 110, 170)


def align(s: Studio) -> Sequence[Tile]:
    return [("image", s.photo[0]), ARROW, *(("crops", crop) for crop in s.faces[1])]


def paste(s: Studio) -> Sequence[Tile]:
    image, mask = s.node("PasteFaces", faces=s.faces[0], stylised=s.stylised)
    return [("stylised", s.stylised[0]), ARROW, ("image", image[0]), ("mask", _grey(mask[0]))]


def render(s: Studio) -> Sequence[Tile]:
    image, _, labels = s.rendered("photo")
    looks = [(look, s.rendered(look)[0][0]) for look in ("cartoon", "sketch", "impasto")]
    return [("photo", image[0]), *looks, ("labels", labels[0])]


def smooth(s: Studio) -> Sequence[Tile]:
    import torch

    time = torch.arange(40).double()
    path = torch.stack([time, 9 * (time / 7).sin()], 1)
    noisy = path + 1.6 * torch.randn(path.shape, generator=torch.Generator().manual_seed(2), dtype=torch.double)
    from ...faces.temporal import smooth_series

    found, calm = noisy[:, 1].tolist(), smooth_series(noisy, time.long(), 4.0)[:, 1].tolist()
    return [
        (
            "where a face was found, frame by frame, and where its crop is cut",
            curve([("found", found, BEFORE), ("smoothed", calm, AFTER)], 560),
        )
    ]


def steady_latents(s: Studio) -> Sequence[Tile]:
    import torch

    from ...latents.smoothing import steady_latents as hold

    count = 12
    generator = torch.Generator().manual_seed(1)
    w_plus = s.latent.w_plus.expand(count, -1, -1)
    trembling = s.latent.replace(w_plus=w_plus + 0.5 * torch.randn(w_plus.shape, generator=generator))
    held = hold(trembling, torch.arange(count), torch.zeros(count, dtype=torch.long))
    before, after = (s.decoded(latent, s.style())[4:7] for latent in (trembling, held))
    return [("three frames as they were inverted", grid(list(before), 3)), ARROW, ("held", grid(list(after), 3))]


def load_generator(s: Studio) -> Sequence[Tile]:
    drawn = [("embedded", s.decoded(s.one(1))[0])]
    return drawn + [(look, s.decoded(s.one(1), s.style(look))[0]) for look in list_embedded_styles()]


def save_generator(s: Studio) -> Sequence[Tile]:
    shown = grid(list(s.decoded(s.people[1], s.style("caricature"))[:4]), 2)
    return [
        ("a generator", shown),
        ARROW,
        ("in models/stylegan", card("my_style", ".safetensors", "weights, name,", "origin")),
    ]


def convert(s: Studio) -> Sequence[Tile]:
    return [
        ("of another project", card("ffhq-256.pkl", "pickle, code inside")),
        ARROW,
        ("ours", card("ffhq-256.safetensors", "weights alone")),
        ("and what it is", card("report", "StyleGAN2, 256 px", "14 codes", "non-commercial")),
    ]


def sample(s: Studio) -> Sequence[Tile]:
    return [("seeds 3 to 7", grid(list(s.people[0][:5]), 5))]


def blend(s: Studio) -> Sequence[Tile]:
    style = s.style("caricature")
    drawn = []
    for structure, appearance in ((0.0, 1.0), (1.0, 0.0)):
        (mixed,) = s.node("BlendGenerators", source=s.source, style=style, structure=structure, appearance=appearance)
        drawn.append((f"the style's {'colours' if appearance else 'shapes'}", s.decoded(s.one(1), mixed)[0]))
    return [("source", s.decoded(s.one(1))[0]), ("style", s.decoded(s.one(1), style)[0]), ARROW, *drawn]


def load_encoder(s: Studio) -> Sequence[Tile]:
    return [
        ("a face", s.crop[0]),
        ARROW,
        ("encoder", card("one pass", "12 codes")),
        ARROW,
        ("drawn from them", s.inverted[1][0]),
    ]


def train_encoder(s: Studio) -> Sequence[Tile]:
    """The shipped encoder stands for the trained one."""
    seen = s.node("InvertWithEncoder", image=s.people[0], encoder=s.encoder, generator=s.source)[1]
    return [
        ("faces that the generator made up", grid(list(s.people[0][:3]), 3)),
        ARROW,
        ("as its encoder reads them", grid(list(seen[:3]), 3)),
    ]


def save_encoder(s: Studio) -> Sequence[Tile]:
    return [
        ("an encoder", card("one pass", "12 codes")),
        ARROW,
        ("in models/face_encoders", card("my_encoder", ".safetensors")),
    ]


def invert_encoder(s: Studio) -> Sequence[Tile]:
    return [("image", s.crop[0]), ARROW, ("reconstruction", s.inverted[1][0])]


def invert_optimise(s: Studio) -> Sequence[Tile]:
    tiles: list[Tile] = [("image", s.crop[0]), ARROW]
    for steps in (10, 60):
        _, seen = s.node("InvertByOptimisation", image=s.crop, generator=s.source, start=s.latent, steps=steps)
        tiles.append((f"after {steps} steps", seen[0]))
    return tiles


def tune(s: Studio) -> Sequence[Tile]:
    return [("image", s.crop[0]), ("before", s.inverted[1][0]), ARROW, ("after 20 steps", s.tuned[3][0])]


def align_style(s: Studio) -> Sequence[Tile]:
    (style,) = s.node("AlignStyle", style=s.style(), source=s.source, tuned=s.tuned[0])
    return [
        ("the face", s.crop[0]),
        ("style", s.stylised[0]),
        ARROW,
        ("with what tuning learned", s.decoded(s.latent, style)[0]),
    ]


def save_latents(s: Studio) -> Sequence[Tile]:
    return [("latent", s.inverted[1][0]), ARROW, ("in output/latents", card("anna.safetensors", "a few kilobytes"))]


def load_latents(s: Studio) -> Sequence[Tile]:
    return [
        ("a file", card("anna.safetensors", "or .npy, .npz, .pt")),
        ARROW,
        ("drawn by the source", s.inverted[1][0]),
        ("and by a style", s.stylised[0]),
    ]


def mix(s: Studio) -> Sequence[Tile]:
    a, b = s.one(1), s.one(4)
    even, fine = (
        s.node("MixLatents", latent_a=a, latent_b=b, generator=s.source, **options)[0]
        for options in ({"amount": 0.5}, {"mode": "layers", "layers": "fine"})
    )
    return [
        ("latent_a", s.decoded(a)[0]),
        ("latent_b", s.decoded(b)[0]),
        ARROW,
        ("amount 0.5", s.decoded(even)[0]),
        ("layers: fine", s.decoded(fine)[0]),
    ]


def decode(s: Studio) -> Sequence[Tile]:
    return [
        ("latent", card("12 codes")),
        ARROW,
        ("source", s.decoded(s.latent)[0]),
        *((look, s.decoded(s.latent, s.style(look))[0]) for look in ("cartoon", "sketch")),
    ]


def _moved(s: Studio, index: int = 0) -> list[Any]:
    (directions, _) = s.node("FindLatentDirections", generator=s.source, count=4)
    pictures = []
    for strength in (-2.0, 0.0, 2.0):
        (latent,) = s.node("MoveAlongDirection", latent=s.one(1), directions=directions, index=index, strength=strength)
        pictures.append(s.decoded(latent)[0])
    return pictures


def directions(s: Studio) -> Sequence[Tile]:
    return [("direction 0", grid(_moved(s, 0), 3)), ("direction 2", grid(_moved(s, 2), 3))]


def save_directions(s: Studio) -> Sequence[Tile]:
    return [("directions", grid(_moved(s, 2), 3)), ARROW, ("in output/latents", card("my_directions", ".safetensors"))]


def load_directions(s: Studio) -> Sequence[Tile]:
    return [("a file", card("my_directions.safetensors", "or .npy, .pt")), ARROW, ("directions", grid(_moved(s, 2), 3))]


def move(s: Studio) -> Sequence[Tile]:
    return [(f"strength {k:+d}" if k else "strength 0", p) for k, p in zip((-2, 0, 2), _moved(s, 1), strict=True)]


def walk(s: Studio) -> Sequence[Tile]:
    (latent,) = s.node("LatentWalk", generator=s.source, seed=2, count=2, frames=6, loop=False)
    return [("frames from face to face", grid(list(s.decoded(latent)), 6))]


def stylise(s: Studio) -> Sequence[Tile]:
    tiles: list[Tile] = [("latent", s.inverted[1][0]), ARROW]
    for strength in (0.3, 0.6, 1.0):
        (drawn,) = s.node("StyliseFaces", style=s.style(), latent=s.latent, source=s.source, strength=strength)
        tiles.append((f"strength {strength:g}", drawn[0]))
    return tiles


def variations(s: Studio) -> Sequence[Tile]:
    drawn = s.node("StyleVariations", style=s.style(), latent=s.latent, source=s.source, count=5)[0]
    return [("latent", s.inverted[1][0]), ARROW, ("five seeds", grid(list(drawn), 5))]


def _reference(s: Studio) -> tuple[Any, Sequence[Any]]:
    picture = s.rendered("cartoon", seed=12)[0]
    return picture, s.node(
        "EncodeReference", image=picture, style=s.style(), source=s.source, encoder=s.encoder, steps=60, align="off"
    )


def encode_reference(s: Studio) -> Sequence[Tile]:
    picture, (_, seen, _) = _reference(s)
    return [("a picture in the style", picture[0]), ARROW, ("as the style draws it", seen[0])]


def apply_reference(s: Studio) -> Sequence[Tile]:
    picture, (reference, _, _) = _reference(s)
    drawn = s.node("ApplyReference", style=s.style(), latent=s.latent, reference=reference, source=s.source)[0]
    return [
        ("latent", s.inverted[1][0]),
        ("the style alone", s.stylised[0]),
        ("reference", picture[0]),
        ARROW,
        ("in its look", drawn[0]),
    ]


def report(s: Studio) -> Sequence[Tile]:
    sheet = s.node("StylisationReport", image=s.faces[1], source=s.source, latent=s.inverted[0], style=s.style())[0]
    return [("faces", grid(list(s.faces[1]), 1)), ARROW, ("report", sheet[0])]


def compare(s: Studio) -> Sequence[Tile]:
    import torch

    a, b = _same_size(s.crop[0], s.stylised[0])
    middle = a.shape[1] // 2
    split = torch.cat([a[:, :middle], torch.ones(a.shape[0], 2, 3), b[:, middle:]], 1)
    return [("image_a", a), ("image_b", b), ARROW, ("the edge follows the pointer", split)]


MAKERS: dict[str, Maker] = {
    "AlignFaces": align,
    "PasteFaces": paste,
    "RenderFaces": render,
    "SmoothFaces": smooth,
    "SteadyLatents": steady_latents,
    "LoadGenerator": load_generator,
    "SaveGenerator": save_generator,
    "ConvertCheckpoint": convert,
    "SampleFaces": sample,
    "BlendGenerators": blend,
    "LoadEncoder": load_encoder,
    "TrainEncoder": train_encoder,
    "SaveEncoder": save_encoder,
    "InvertWithEncoder": invert_encoder,
    "InvertByOptimisation": invert_optimise,
    "PivotalTuning": tune,
    "AlignStyle": align_style,
    "SaveLatents": save_latents,
    "LoadLatents": load_latents,
    "MixLatents": mix,
    "DecodeLatent": decode,
    "FindLatentDirections": directions,
    "SaveLatentDirections": save_directions,
    "LoadLatentDirections": load_directions,
    "MoveAlongDirection": move,
    "LatentWalk": walk,
    "StyliseFaces": stylise,
    "StyleVariations": variations,
    "EncodeReference": encode_reference,
    "ApplyReference": apply_reference,
    "StylisationReport": report,
    "Compare": compare,
    "LoadStyleImages": style_images,
    "FinetuneGenerator": finetune,
    "LossPlot": loss_plot,
    "LoadFastStylizer": load_student,
    "SaveFastStylizer": save_student,
    "RunFastStylizer": run_student,
    "TrainFastStylizer": train_student,
    "LpipsGuide": guide("LPIPS|alike to the eye|of a network"),
    "IdentityGuide": guide("ArcFace|the same person"),
    "DinoGuide": guide("DINOv2|the same structure"),
    "ParsingGuide": parts_guide,
    "Destylise": destylise,
    "MakePairs": make_pairs,
    "PreviewPairs": preview_pairs,
    "ExportPairs": export_pairs,
    "SavePairs": save_pairs,
    "LoadPairs": load_pairs,
    "TrainWithPairs": train_pairs,
}


def _grey(mask: Any) -> Any:
    return mask[..., None].expand(*mask.shape, 3)


def _same_size(a: Any, b: Any) -> tuple[Any, Any]:
    """Two IMAGE `[H, W, 3]` at the size of the first."""
    import torch.nn.functional as F

    scaled = F.interpolate(b.permute(2, 0, 1)[None], a.shape[:2], mode="bilinear", antialias=True, align_corners=False)
    return a, scaled[0].permute(1, 2, 0)


def main() -> None:
    """Makes and writes them."""
    parser = argparse.ArgumentParser(description="Make the pictures of the help pages.")
    parser.add_argument("nodes", nargs="*", metavar="NodeId", help="only these")
    names = [name.removeprefix("FaceStylist") for name in parser.parse_args().nodes] or list(MAKERS)
    PICTURES.mkdir(parents=True, exist_ok=True)
    studio = Studio()
    with in_scratch():
        for name in names:
            path = PICTURES / f"FaceStylist{name}.jpg"
            strip(MAKERS[name](studio)).save(path, quality=QUALITY, optimize=True)


if __name__ == "__main__":
    main()
