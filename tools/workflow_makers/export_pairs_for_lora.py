"""Pairs of faces before and after a style, written out for training an image-editing LoRA."""

from __future__ import annotations

from ...runtime.folders import SAMPLE
from .canvas import GREEN, PURPLE, Canvas

THUMBNAIL = ("Photo", "Style pictures", "Photos as they were inverted", "Pairs to judge")


def build() -> Canvas:
    canvas = Canvas()
    canvas.note(
        "Export pairs for a LoRA",
        "**Press Run.** Faces before and after a style are made, filtered, shown and written to "
        "`output/pairs/my_pairs`: `source/`, `target/` and `metadata.jsonl`, as trainers of image-editing models "
        '(Kontext, Qwen-Image-Edit, InstructPix2Pix LoRAs) and `datasets.load_dataset("imagefolder")` read them.'
        "\n\n**Your own style:** choose it in *Style*. **Your own photos and style pictures** make better pairs than "
        "synthetic faces alone: replace the sample photo and the rendered pictures.\n\nRaise *count* to 500 or more "
        "for a real training, and look at *Pairs to judge* with *worst structure first* before you train on them. "
        "Level 3 is the whole style; *levels* of *Export Pairs* says which are written.",
    )
    with canvas.group("1. Photos", width=380):
        photo, _ = canvas.node("LoadImage", "Photo", image=SAMPLE)
        _, crops, _ = canvas.node("FaceStylistAlignFaces", image=photo)
    with canvas.group("2. Style pictures", width=340):
        styles, _, _ = canvas.node(
            "FaceStylistRenderFaces", "Style pictures: rendered", count=6, seed=7, look="cartoon", size=128
        )
        canvas.node("PreviewImage", "Style pictures", images=styles)
    with canvas.group("3. Their latents", width=340):
        (source,) = canvas.node("FaceStylistLoadGenerator", "Source generator")
        (style,) = canvas.node("FaceStylistLoadGenerator", "Style", name="embedded:cartoon")
        (encoder,) = canvas.node("FaceStylistLoadEncoder")
        people, seen = canvas.node(
            "FaceStylistInvertWithEncoder", "Invert the photos", image=crops, encoder=encoder, generator=source
        )
        anchors, _ = canvas.node("FaceStylistDestylise", source=source, style_images=styles, encoder=encoder)
        canvas.node("PreviewImage", "Photos as they were inverted", images=seen)
    with canvas.group("4. Make pairs", PURPLE, width=360):
        pairs, _ = canvas.node(
            "FaceStylistMakePairs",
            source=source,
            target=style,
            photos=crops,
            photo_latent=people,
            style_images=styles,
            style_latent=anchors,
            count=40,
        )
    with canvas.group("5. Judge them", GREEN, width=340):
        (sheet,) = canvas.node("FaceStylistPreviewPairs", pairs=pairs, source=source, target=style)
        canvas.column(760)
        canvas.node("PreviewImage", "Pairs to judge", images=sheet)
    with canvas.group("6. Keep them", width=380):
        canvas.node("FaceStylistExportPairs", pairs=pairs, source=source, target=style, captions=True)
        canvas.node("FaceStylistSavePairs", pairs=pairs)
    return canvas
