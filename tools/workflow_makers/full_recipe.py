"""A style from beginning to end: style pictures, stage 1, pairs, stage 2, a file, a photo in it."""

from __future__ import annotations

from ...runtime.folders import SAMPLE
from .canvas import GREEN, MUTED, PURPLE, Canvas

THUMBNAIL = ("What it learns from", "Pairs of stage 2", "Photo", "The photo in the style")


def build() -> Canvas:
    canvas = Canvas()
    canvas.note(
        "The full recipe",
        "The way the shipped styles were made. **Stage 1**, *Fine-tune Generator*, finds the style and holds the "
        "faces. *Destylise Style Images* finds the person behind every style picture, *Make Pseudo-Pairs* pairs them. "
        "**Stage 2**, *Train with Pseudo-Pairs*, learns how the style draws these people: lines and eyes become crisp. "
        "*Identity Guide* holds who it is in both; raise its weight for a closer likeness, lower it for caricature."
        "\n\n**Press Run** for a cartoon from rendered pictures. **Your own style:** put 10 to 300 portraits into a "
        "folder inside `input`, unmute *Load Style Images* (Ctrl+M), write the folder's name, and connect its output "
        "in place of the rendered pictures, to all three nodes that take style pictures.\n\nOn two CPU cores this "
        "takes most of an hour, on a graphics card minutes. Cancelling keeps both runs: press Run again and they go "
        "on where they were. *Before, stage 1, stage 2* shows what each stage did.",
    )
    with canvas.group("1. Style pictures", width=380):
        styles, _, _ = canvas.node(
            "FaceStylistRenderFaces", "Style pictures: rendered", count=100, seed=7, look="cartoon", size=128
        )
        canvas.node("FaceStylistLoadStyleImages", "Style pictures: your folder", mode=MUTED)
        canvas.node("PreviewImage", "What it learns from", images=styles)
    with canvas.group("2. Stage 1: the style", PURPLE, width=340):
        (source,) = canvas.node("FaceStylistLoadGenerator", "Source generator")
        (guides,) = canvas.node("FaceStylistIdentityGuide", "Who it is", weight=0.35)
        first, _, _ = canvas.node(
            "FaceStylistFinetuneGenerator",
            "Stage 1",
            source=source,
            style_images=styles,
            guides=guides,
            style_name="my style",
            steps=100,
        )
    with canvas.group("3. Pairs", PURPLE, width=340):
        (encoder,) = canvas.node("FaceStylistLoadEncoder")
        people, _ = canvas.node("FaceStylistDestylise", source=source, style_images=styles, encoder=encoder)
        pairs, _ = canvas.node(
            "FaceStylistMakePairs",
            source=source,
            target=first,
            style_images=styles,
            style_latent=people,
            count=60,
            levels="1,2,3",
            flip_prob=0.0,
            settings="affine_prob = 0.0",
        )
        canvas.column(560)
        (sheet,) = canvas.node("FaceStylistPreviewPairs", pairs=pairs, source=source, target=first)
        canvas.node("PreviewImage", "Pairs of stage 2", images=sheet)
    with canvas.group("4. Stage 2: the style of these people", PURPLE, width=340):
        style, rows, more = canvas.node(
            "FaceStylistTrainWithPairs", "Stage 2", source=source, style=first, pairs=pairs, guides=guides, steps=300
        )
        canvas.column(560)
        canvas.node("PreviewImage", "Before, stage 1, stage 2", images=rows)
        canvas.node("FaceStylistSaveGenerator", generator=style, name="my_style")
    with canvas.group("5. A photo", width=340):
        photo, _ = canvas.node("LoadImage", "Photo", image=SAMPLE)
        faces, crops, _ = canvas.node("FaceStylistAlignFaces", image=photo)
        latent, _ = canvas.node("FaceStylistInvertWithEncoder", image=crops, encoder=encoder, generator=source)
    with canvas.group("6. The photo in the new style", GREEN):
        (stylised,) = canvas.node("FaceStylistStyliseFaces", style=style, latent=latent, source=source)
        image, _ = canvas.node("FaceStylistPasteFaces", faces=faces, stylised=stylised)
        canvas.column(480)
        canvas.node("SaveImage", "The photo in the style", images=image, filename_prefix="facestylist/my_style")
    with canvas.group("7. Report", width=460):
        canvas.node(
            "FaceStylistStylisationReport",
            "Stylisation Report",
            height=560,
            image=crops,
            source=source,
            latent=latent,
            style=first,
            style_2=style,
            style_images=styles,
            losses=more,
            name="full_recipe",
        )
    return canvas
