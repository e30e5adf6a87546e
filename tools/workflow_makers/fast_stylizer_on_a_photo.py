"""A whole photo redrawn in one pass."""

from __future__ import annotations

from ...core.assets import STUDENT_PREFIX, list_embedded
from ...runtime.folders import SAMPLE
from .canvas import GREEN, Canvas

LOOKS = ("sketch", "oil", "cartoon")
SHIPPED = tuple(look for look in LOOKS if f"embedded:{STUDENT_PREFIX}{look}" in list_embedded("stylizer"))
THUMBNAIL = ("Photo", *(f"Save: {look}" for look in SHIPPED))


def build() -> Canvas:
    canvas = Canvas()
    canvas.note(
        "Fast stylizer on a photo",
        "**Press Run**, then drop your own photo on *Photo*: any picture of any size, no face needed. The whole "
        "picture is redrawn in one pass, and people stay who they are.\n\n*strength* fades the style in. *stroke_size* "
        "makes strokes larger: try 2 on a large photo.\n\nTo draw the face alone, put *Detect & Align Faces* before "
        "and *Paste Faces Back* behind. Your own style: the workflow *train_a_fast_stylizer*.",
    )
    with canvas.group("1. Photo", width=380):
        photo, _ = canvas.node("LoadImage", "Photo", image=SAMPLE)
    for row, look in enumerate(SHIPPED):
        with canvas.group(f"2. {look.capitalize()}", GREEN, 320, below=row > 0):
            (stylizer,) = canvas.node(
                "FaceStylistLoadFastStylizer", f"Fast stylizer: {look}", name=f"embedded:{STUDENT_PREFIX}{look}"
            )
            (drawn,) = canvas.node("FaceStylistRunFastStylizer", stylizer=stylizer, image=photo)
            canvas.column(460)
            canvas.node("SaveImage", f"Save: {look}", images=drawn, filename_prefix=f"facestylist/fast_{look}")
    return canvas
