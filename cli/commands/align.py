"""Find the faces in photos and cut them out upright, as face generators expect them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.files import check_writable
from ...pipeline.networks import face_finder
from ..console import Console
from ..options import add_detection
from ..photos import Photos, write_pictures

if TYPE_CHECKING:
    from torch import Tensor

    from ...faces.types import Detection, FaceCrops

HELP = "cut the faces out of photos"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photos", nargs="+", metavar="PHOTO", help="pictures, and folders of them")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the crops go")
    add_detection(parser)


def run(args: argparse.Namespace, console: Console) -> None:
    from ...core.pictures import read_photo
    from ...pipeline.stylise import find_faces

    check_writable(args.out, folder=True)
    find = face_finder(args.detector, args.min_confidence, args.download_if_missing, keep_unsure=True)
    photos = Photos(args.photos, console)

    def read(photo: str) -> tuple[FaceCrops, list[Detection]]:
        """The faces, and the detections they came from: the crops do not carry the boxes."""
        found: list[Detection] = []

        def detect(picture: Tensor) -> list[Detection]:
            detections = find(picture)
            found.extend(detections)
            return detections

        image = read_photo(photo)
        return find_faces(image, detect, args.size, on_no_face=args.on_no_face, names=[photo] * len(image)), found

    records: list[dict[str, Any]] = []
    for photo, stem, (faces, found) in photos.each("align", read):
        paths = [args.out / f"{stem}_{number:02}.png" for number in range(len(faces))]
        write_pictures(faces.crops, paths)
        for number, path in enumerate(paths):
            landmarks = faces.landmarks[number]
            records.append(
                {
                    "photo": photo,
                    "frame": int(faces.frame_index[number]),
                    "crop": str(path),
                    "crop_to_photo": faces.crop_to_photo[number].tolist(),
                    "landmarks": landmarks.tolist(),
                    "score": float(faces.score[number]),
                    "box": _box_of(landmarks, found),
                }
            )
            console.line(str(path))
    console.result({"size": args.size, "faces": records, **photos.as_json()})
    photos.check()


def _box_of(landmarks: Tensor, found: list[Detection]) -> list[float]:
    """The box `[left, top, right, bottom]` of the detection that these landmarks came from."""
    distances = [float((face.landmarks - landmarks).abs().sum()) for face in found]
    return found[distances.index(min(distances))].box.tolist()
