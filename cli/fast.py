"""`stylise --stylizer`: whole photos, or their faces, through a feed-forward network instead of a generator."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..pipeline.faces import face_finder
from .console import Console
from .files import load_stylizer, write_pictures
from .photos import Photos

if TYPE_CHECKING:
    from torch import Tensor

    from ..faces.types import FaceCrops


def stylise_with_stylizer(args: argparse.Namespace, console: Console) -> None:
    """Draws each photo and writes it as `<name>_<style>.png`."""
    import torch

    from ..core.pictures import alpha_of, image_to_tensor, read_photo
    from ..faces.align import align_faces
    from ..faces.paste import paste_faces
    from ..models.stylizer import draw

    stylizer = load_stylizer(args.stylizer)
    label = stylizer.style or "stylised"
    asked = (args.detector, args.min_confidence, args.download_if_missing)
    find = face_finder(*asked, keep_unsure=True) if args.faces_only else None
    photos = Photos(args.photos, console)

    def read(photo: str) -> tuple[Tensor, Tensor | None, FaceCrops | None]:
        image = read_photo(photo)
        pictures = image_to_tensor(image)
        names = [photo] * len(pictures)
        faces = align_faces(pictures, find, args.size, args.on_no_face, names=names) if find else None
        return pictures, alpha_of(image), faces

    records: list[dict[str, Any]] = []
    with torch.inference_mode():
        for photo, stem, (pictures, alpha, faces) in photos.each("stylise", read):
            if faces is None:
                result = draw(stylizer.network, pictures, args.strength, args.stroke_size)
            elif len(faces):
                drawn = draw(stylizer.network, faces.crops, args.strength, args.stroke_size)
                result = paste_faces(pictures, faces, drawn, args.feather, args.colour_match, region=args.region)[0]
            else:
                result = pictures
            frames = [""] if len(result) == 1 else [f"_{frame:04}" for frame in range(len(result))]
            files = write_pictures(result, [args.out / f"{stem}_{label}{frame}.png" for frame in frames], alpha)
            for path in files:
                console.line(str(path))
            count = {} if faces is None else {"faces": len(faces)}
            records.append({"photo": photo, **count, "files": [str(path) for path in files]})
    console.result({"style": label, "photos": records, **photos.as_json()})
    photos.check()
