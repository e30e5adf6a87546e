"""Stand-ins for the core nodes that every picture workflow needs, for where there is no ComfyUI.

They keep the names, inputs, outputs and files of ComfyUI's own LoadImage, SaveImage, PreviewImage and Primitives.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import string
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..core.picture_files import EXTENSIONS
from ..core.pictures import read_picture, write_picture
from ..runtime import folders

if TYPE_CHECKING:
    from torch import Tensor


class LoadImage:
    """A picture file as IMAGE `[F, H, W, 3]` in 0..1 and MASK = 1 - alpha, with EXIF rotation applied."""

    CATEGORY = "image"
    RETURN_TYPES = ("IMAGE", "MASK")
    FUNCTION = "load_image"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        folder = folders.input_dir()
        names = sorted(path.name for path in folder.glob("*") if path.suffix.lower() in EXTENSIONS)
        return {"required": {"image": (names, {"image_upload": True})}}

    @classmethod
    def VALIDATE_INPUTS(cls, image: str) -> bool | str:
        if not isinstance(image, str):
            return f"A picture's name is a text, not {image!r}."
        path = folders.find_input(image)
        return path.is_file() or f"There is no picture {path}. Put it there, or name another one."

    @classmethod
    def IS_CHANGED(cls, image: str) -> str:
        return hashlib.sha256(folders.find_input(image).read_bytes()).hexdigest()

    def load_image(self, image: str) -> tuple[Tensor, Tensor]:
        return read_picture(folders.find_input(image))


class SaveImage:
    """Writes pictures as `<prefix>_00001_.png` into the output folder, with the workflow inside them."""

    CATEGORY = "image"
    RETURN_TYPES = ()
    FUNCTION = "save_images"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {"images": ("IMAGE",), "filename_prefix": ("STRING", {"default": "ComfyUI"})},
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }

    def save_images(
        self,
        images: Tensor,
        filename_prefix: str = "ComfyUI",
        prompt: Mapping[str, Any] | None = None,
        extra_pnginfo: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        return _save(images, folders.output_dir(), "output", filename_prefix, prompt, extra_pnginfo, compress_level=4)


class PreviewImage:
    """The same into the temporary folder, under a name of its own."""

    CATEGORY = "image"
    RETURN_TYPES = ()
    FUNCTION = "preview_images"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"images": ("IMAGE",)}, "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"}}

    def preview_images(
        self, images: Tensor, prompt: Mapping[str, Any] | None = None, extra_pnginfo: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        prefix = "ComfyUI_temp_" + "".join(secrets.choice(string.ascii_lowercase) for _ in range(5))
        return _save(images, folders.temp_dir(), "temp", prefix, prompt, extra_pnginfo, compress_level=1)


class _Primitive:
    """A value of its own that other nodes take over a link."""

    CATEGORY = "utilities/primitive"
    FUNCTION = "execute"
    RETURN_TYPES: tuple[str, ...] = ()
    OPTIONS: ClassVar[dict[str, Any]] = {}

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"value": (cls.RETURN_TYPES[0], cls.OPTIONS)}}

    def execute(self, value: Any) -> tuple[Any]:
        return (value,)


class PrimitiveInt(_Primitive):
    RETURN_TYPES = ("INT",)
    OPTIONS: ClassVar[dict[str, Any]] = {"min": -sys.maxsize, "max": sys.maxsize, "control_after_generate": "fixed"}


class PrimitiveFloat(_Primitive):
    RETURN_TYPES = ("FLOAT",)
    OPTIONS: ClassVar[dict[str, Any]] = {"min": -sys.maxsize, "max": sys.maxsize, "step": 0.1}


class PrimitiveString(_Primitive):
    RETURN_TYPES = ("STRING",)


class PrimitiveStringMultiline(_Primitive):
    RETURN_TYPES = ("STRING",)
    OPTIONS: ClassVar[dict[str, Any]] = {"multiline": True}


class PrimitiveBoolean(_Primitive):
    RETURN_TYPES = ("BOOLEAN",)


NODE_CLASS_MAPPINGS: dict[str, type] = {
    "LoadImage": LoadImage,
    "SaveImage": SaveImage,
    "PreviewImage": PreviewImage,
    "PrimitiveInt": PrimitiveInt,
    "PrimitiveFloat": PrimitiveFloat,
    "PrimitiveString": PrimitiveString,
    "PrimitiveStringMultiline": PrimitiveStringMultiline,
    "PrimitiveBoolean": PrimitiveBoolean,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "LoadImage": "Load Image",
    "SaveImage": "Save Image",
    "PreviewImage": "Preview Image",
    "PrimitiveInt": "Int",
    "PrimitiveFloat": "Float",
    "PrimitiveString": "Text",
    "PrimitiveStringMultiline": "Text (Multiline)",
    "PrimitiveBoolean": "Boolean",
}


def _save(
    images: Tensor,
    folder: Path,
    kind: str,
    prefix: str,
    prompt: Mapping[str, Any] | None,
    extra_pnginfo: Mapping[str, Any] | None,
    compress_level: int,
) -> dict[str, Any]:
    text = {} if prompt is None else {"prompt": json.dumps(prompt)}
    text |= {key: json.dumps(value) for key, value in (extra_pnginfo or {}).items()}
    directory, name, counter = place(folder, prefix, width=images.shape[2], height=images.shape[1])
    saved = []
    for index, image in enumerate(images):
        file_name = f"{name.replace('%batch_num%', str(index))}_{counter + index:05}_.png"
        write_picture(image, directory / file_name, text, compress_level)
        subfolder = directory.relative_to(folder.resolve()).as_posix()
        saved.append({"filename": file_name, "subfolder": "" if subfolder == "." else subfolder, "type": kind})
    return {"ui": {"images": saved}}


def place(folder: Path, prefix: str, width: int, height: int) -> tuple[Path, str, int]:
    """Where a prefix such as `%year%/face` leads: the directory, the name in it, and the first number that is free.

    Raises:
        ValueError: the prefix leaves `folder`.
    """
    now = datetime.now()
    values = {
        "width": str(width),
        "height": str(height),
        "year": str(now.year),
        "month": f"{now.month:02}",
        "day": f"{now.day:02}",
        "hour": f"{now.hour:02}",
        "minute": f"{now.minute:02}",
        "second": f"{now.second:02}",
    }
    for key, value in values.items():
        prefix = prefix.replace(f"%{key}%", value)
    target = (folder / prefix).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise ValueError(f"`filename_prefix` {prefix!r} leads outside {folder}. Use a name inside that folder.")
    directory, name = (target, "") if target == folder.resolve() else (target.parent, target.name)
    numbered = re.compile(re.escape(name).replace("%batch_num%", r"\d+") + r"_(\d+)_?\.", re.IGNORECASE)
    taken = [int(match.group(1)) for path in directory.glob("*") if (match := numbered.match(path.name))]
    return directory, name, max(taken, default=0) + 1
