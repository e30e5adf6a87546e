"""One style in many appearances, to choose from."""

from __future__ import annotations

from .canvas import GREEN, Canvas
from .opening import inverted_photo

THUMBNAIL = ("Photo", "Faces found", "Every variation", "A picture for each seed")


def build() -> Canvas:
    canvas = Canvas()
    canvas.note(
        "One style, many appearances",
        "**Press Run.** *Style Variations* keeps the codes that hold a face and draws those of colour and texture by "
        "chance: a column for each seed. Nothing is trained.\n\nA seed that you like is the same appearance for every "
        "face: set *seed* to it and *count* to 1. *amount* goes from the style as it is (0) to all of the random "
        "appearance (1); *preserve_colour* keeps the face's own colours.\n\n*by_seed* is a list, so that the nodes "
        "after it run once per seed and one picture for each is saved.",
    )
    with inverted_photo(canvas) as photo:
        faces, _, source, _, latent, _ = photo
    with canvas.group("4. Vary the style", GREEN):
        (style,) = canvas.node("FaceStylistLoadGenerator", "Style", name="embedded:cartoon")
        stylised, grid, _, by_seed = canvas.node(
            "FaceStylistStyleVariations", style=style, latent=latent, source=source, count=6
        )
        canvas.column(760)
        canvas.node("PreviewImage", "The grid", images=grid)
        canvas.node("PreviewImage", "Every variation", images=stylised)
    with canvas.group("5. Put them back", GREEN, 300):
        image, _ = canvas.node("FaceStylistPasteFaces", faces=faces, stylised=by_seed)
        canvas.column(460)
        canvas.node("SaveImage", "A picture for each seed", images=image, filename_prefix="facestylist/variation")
    return canvas
