"""A video: steady crops, one offset per shot, pasted back frame by frame."""

from __future__ import annotations

from ...runtime.folders import SAMPLE_CLIP
from .canvas import GREEN, Canvas

THUMBNAIL = ("Steadied faces", "Stylised faces", "Stylised video")


def build() -> Canvas:
    canvas = Canvas()
    canvas.note(
        "A video, frame by frame, without flicker",
        "**Press Run.** The sample clip comes out with stylised faces.\n\n*Smooth Faces over Frames* knows who is who "
        "from frame to frame, steadies the crops by as much as they tremble, and fills frames in which a face was "
        "missed. *Steady Latents* holds each person to one offset per shot. *report* says what was done.\n\nAll frames "
        "are in memory at once: cut long videos into shots first. For sound connect *Create Video* and *Save Video* in "
        "place of *SaveWEBM*.",
        width=520,
    )
    with canvas.group("1. Video", width=380):
        (video,) = canvas.node("LoadVideo", "Video", file=SAMPLE_CLIP)
        frames, _, fps, *_ = canvas.node("GetVideoComponents", video=video)
    with canvas.group("2. Find the faces, and hold them still"):
        found, _, _ = canvas.node("FaceStylistAlignFaces", image=frames, on_no_face="skip")
        faces, crops, report = canvas.node("FaceStylistSmoothFaces", faces=found)
        canvas.column()
        canvas.node("PreviewImage", "Steadied faces", images=crops)
        canvas.node("PreviewAny", "Report", source=report, height=200)
    with canvas.group("3. Find their latents, one offset per shot"):
        (source,) = canvas.node("FaceStylistLoadGenerator", "Source generator")
        (encoder,) = canvas.node("FaceStylistLoadEncoder")
        latent, _ = canvas.node("FaceStylistInvertWithEncoder", image=crops, encoder=encoder, generator=source)
        (latent,) = canvas.node("FaceStylistSteadyLatents", latent=latent, faces=faces)
    with canvas.group("4. Stylise and put back", GREEN):
        (style,) = canvas.node("FaceStylistLoadGenerator", "Style", name="embedded:cartoon")
        (stylised,) = canvas.node("FaceStylistStyliseFaces", style=style, latent=latent, source=source)
        image, _ = canvas.node("FaceStylistPasteFaces", faces=faces, stylised=stylised)
        canvas.node("PreviewImage", "Stylised faces", images=stylised)
    with canvas.group("5. Save", GREEN, 460):
        canvas.node("SaveWEBM", "Stylised video", images=image, fps=fps, filename_prefix="facestylist/video")
    return canvas
