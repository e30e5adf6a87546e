"""From style pictures to a style, and a photo in it."""

from __future__ import annotations

from ...runtime.folders import SAMPLE
from .canvas import GREEN, MUTED, PURPLE, Canvas

THUMBNAIL = ("What it learns from", "Before and after", "Photo", "The photo in the style")


def build() -> Canvas:
    canvas = Canvas()
    canvas.note(
        "Fine-tune a style and use it",
        "**Press Run** and watch *Fine-tune Generator*: it learns a drawn look from 48 pictures, and then a photo is "
        "stylised with it. On a graphics card this takes moments, on two CPU cores some minutes.\n\n**Your own "
        "style:** put 10 to 300 portraits into a folder inside `input`, unmute *Load Style Images* (Ctrl+M), write "
        "the folder's name and connect it to *style_images* in place of the rendered pictures.\n\nCancelling keeps "
        "the run: press Run again and it goes on where it was.",
    )
    with canvas.group("1. Style pictures", width=380):
        styles, _, _ = canvas.node(
            "FaceStylistRenderFaces", "Style pictures: rendered", count=48, seed=7, look="sketch", size=128
        )
        canvas.node("FaceStylistLoadStyleImages", "Style pictures: your folder", mode=MUTED)
        canvas.node("PreviewImage", "What it learns from", images=styles)
    with canvas.group("2. Learn the style", PURPLE, width=340):
        (source,) = canvas.node("FaceStylistLoadGenerator", "Source generator")
        style, before_after, _ = canvas.node(
            "FaceStylistFinetuneGenerator",
            source=source,
            style_images=styles,
            style_name="my style",
            steps=400,
            match_palette=True,
        )
        canvas.column(560)
        canvas.node("PreviewImage", "Before and after", images=before_after)
        canvas.node("FaceStylistSaveGenerator", generator=style, name="my_style")
    with canvas.group("3. A photo", width=340):
        photo, _ = canvas.node("LoadImage", "Photo", image=SAMPLE)
        faces, crops, _ = canvas.node("FaceStylistAlignFaces", image=photo)
    with canvas.group("4. The photo in the new style", GREEN):
        (encoder,) = canvas.node("FaceStylistLoadEncoder")
        latent, _ = canvas.node("FaceStylistInvertWithEncoder", image=crops, encoder=encoder, generator=source)
        (stylised,) = canvas.node("FaceStylistStyliseFaces", style=style, latent=latent, source=source)
        image, _ = canvas.node("FaceStylistPasteFaces", faces=faces, stylised=stylised)
        canvas.column(480)
        canvas.node("SaveImage", "The photo in the style", images=image, filename_prefix="facestylist/my_style")
    return canvas
