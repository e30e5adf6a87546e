"""Files the pages ask for and send: pictures in the three folders, and the user's own settings and workflows.

Every name comes from a page, so none of them may lead out of its folder.
"""

from __future__ import annotations

import io
import mimetypes
from pathlib import Path
from typing import Any

from aiohttp import web

from ...core.files import write_atomically
from ...runtime import folders

SHOWN_IN_PLACE = ("image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp", "image/tiff", "video/mp4")
"""What may be shown by the browser; anything else is handed over as a download, for a page could hide in it."""

ASKED_AT_START = {"user.css": ("text/css", b""), "comfy.templates.json": ("application/json", b"[]")}
"""What every page asks for, its type, and what it gets while the user has none: an error would look like a fault."""


def inside(folder: Path, name: str) -> Path | None:
    """`folder / name` with links followed, or None where that lies outside."""
    if "\0" in name:
        return None
    try:
        path = (folder / name).resolve()
    except (OSError, RuntimeError):
        return None
    return path if path.is_relative_to(folder.resolve()) else None


def folder_of(kind: str) -> Path | None:
    """The folder that a page calls `input`, `output` or `temp`."""
    known = {"input": folders.input_dir, "output": folders.output_dir, "temp": folders.temp_dir}
    return known[kind]() if kind in known else None


async def view(request: web.Request) -> web.StreamResponse:
    """`/view?filename&subfolder&type[&preview=webp;90][&channel=rgb|a]`: a picture, whole, smaller, or one channel."""
    query = request.query
    name, kind = query.get("filename", ""), query.get("type", "output")
    for ending in ("input", "output", "temp"):
        if name.endswith(f"[{ending}]"):
            name, kind = name.removesuffix(f"[{ending}]").rstrip(), ending
    folder = folder_of(kind)
    if not name or folder is None:
        raise web.HTTPBadRequest(text="A `filename`, and a `type` of input, output or temp, are needed.")
    base = inside(folder, query.get("subfolder", ""))
    path = inside(base, name) if base is not None else None
    if path is None:
        raise web.HTTPForbidden(text=f"{name!r} lies outside the {kind} folder.")
    if not path.is_file() and name in folders.SAMPLES and path.parent == folder.resolve():
        path = folders.SAMPLES[name]
    if not path.is_file():
        raise web.HTTPNotFound(text=f"There is no {name!r} in the {kind} folder.")
    if "preview" in query or query.get("channel") in ("rgb", "a"):
        return _converted(path, query.get("preview"), query.get("channel"))
    return send(path)


def send(path: Path) -> web.FileResponse:
    """A file as it is; what is not a picture, as a download."""
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    shown = kind in SHOWN_IN_PLACE
    quoted = path.name.replace("\\", "\\\\").replace('"', '\\"')
    headers = {
        "Content-Type": kind if shown else "application/octet-stream",
        "Content-Disposition": f'{"inline" if shown else "attachment"}; filename="{quoted}"',
    }
    return web.FileResponse(path, headers=headers)


def _converted(path: Path, preview: str | None, channel: str | None) -> web.Response:
    """A picture in another form: a light one for a list, or without, or as nothing but, its alpha channel."""
    from ...core.picture_files import PictureError, open_picture

    try:
        with open_picture(path) as picture:
            picture.load()
    except PictureError as error:
        raise web.HTTPUnsupportedMediaType(text=f"{path.name} {error}.") from error
    if channel == "a":
        picture = picture.convert("RGBA").getchannel("A")
    elif channel == "rgb" or preview is None:
        picture = picture.convert("RGB")
    wanted, _, quality = (preview or "png").partition(";")
    form = wanted if wanted in ("webp", "jpeg", "png") else "webp"
    if form == "jpeg" or picture.mode not in ("L", "RGB", "RGBA"):
        picture = picture.convert("RGB")
    buffer = io.BytesIO()
    picture.save(buffer, form, quality=min(int(quality), 95) if quality.isdigit() else 90)
    return web.Response(body=buffer.getvalue(), content_type=f"image/{form}")


async def upload(request: web.Request) -> web.Response:
    """`POST /upload/image`: a file for the input folder. Beside another of that name it gets a number."""
    form = await request.post()
    sent = form.get("image")
    if not isinstance(sent, web.FileField) or not sent.filename:
        raise web.HTTPBadRequest(text="An `image` file with a name is needed.")
    kind, subfolder = str(form.get("type") or "input"), str(form.get("subfolder") or "")
    folder = folder_of(kind)
    if folder is None:
        raise web.HTTPBadRequest(text=f"{kind!r} is not one of input, output and temp.")
    # A browser sends a bare name; some programs send a path.
    name = sent.filename.replace("\\", "/").rpartition("/")[2]
    target = inside(folder, f"{subfolder}/{name}" if subfolder else name)
    if target is None or name in ("", ".", ".."):
        raise web.HTTPForbidden(text=f"{subfolder}/{name} lies outside the {kind} folder.")
    content = sent.file.read()
    target.parent.mkdir(parents=True, exist_ok=True)
    if str(form.get("overwrite", "")).lower() not in ("true", "1"):
        target = _free(target, content)
    if not target.exists() or target.read_bytes() != content:
        write_atomically(target, lambda file: file.write(content))
    return web.json_response({"name": target.name, "subfolder": subfolder, "type": kind})


def _free(path: Path, content: bytes) -> Path:
    """The path, or one with a number behind its name, at which nothing lies but perhaps the same content."""
    candidate, number = path, 0
    while candidate.exists() and candidate.read_bytes() != content:
        number += 1
        candidate = path.with_name(f"{path.stem} ({number}){path.suffix}")
    return candidate


class UserData:
    """The user's settings and saved workflows, in a folder laid out as ComfyUI's `user/default`.

    Args:
        folder: where they are; made when something is first saved.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def listing(self, request: web.Request) -> web.Response:
        """`/userdata?dir&recurse&split&full_info`."""
        name = request.query.get("dir", "")
        root = self._path(name)
        if not root.is_dir():
            # Nothing has been saved in it yet.
            return web.json_response([])
        deep, full, split = (request.query.get(key, "").lower() == "true" for key in ("recurse", "full_info", "split"))
        found = sorted(path for path in (root.rglob("*") if deep else root.glob("*")) if path.is_file())
        entries: list[Any] = []
        for path in found:
            relative = path.relative_to(root).as_posix()
            entries.append(
                file_entry(path, relative) if full else [relative, *relative.split("/")] if split else relative
            )
        return web.json_response(entries)

    async def get(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["file"]
        path = self._path(name)
        if name in ASKED_AT_START:
            content = path.read_bytes() if path.is_file() else ASKED_AT_START[name][1]
            return web.Response(body=content, content_type=ASKED_AT_START[name][0])
        if not path.is_file():
            raise web.HTTPNotFound(text=f"There is no {path.name!r}.")
        return send(path)

    async def style(self, request: web.Request) -> web.StreamResponse:
        """`/user.css`: the user's own style sheet."""
        path = self._path("user.css")
        return web.Response(body=path.read_bytes() if path.is_file() else b"", content_type="text/css")

    async def put(self, request: web.Request) -> web.Response:
        """`POST /userdata/<file>?overwrite&full_info`, the content as the body."""
        path = self._path(request.match_info["file"])
        if request.query.get("overwrite") == "false" and path.exists():
            raise web.HTTPConflict(text=f"There is a {path.name!r} already.")
        content = await request.read()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda file: file.write(content))
        return self._answer(request, path)

    async def delete(self, request: web.Request) -> web.Response:
        path = self._path(request.match_info["file"])
        if not path.is_file():
            raise web.HTTPNotFound(text=f"There is no {path.name!r}.")
        path.unlink()
        return web.Response(status=204)

    async def move(self, request: web.Request) -> web.Response:
        """`POST /userdata/<file>/move/<dest>?overwrite&full_info`."""
        source, target = self._path(request.match_info["file"]), self._path(request.match_info["dest"])
        if not source.is_file():
            raise web.HTTPNotFound(text=f"There is no {source.name!r}.")
        if request.query.get("overwrite") == "false" and target.exists():
            raise web.HTTPConflict(text=f"There is a {target.name!r} already.")
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)
        return self._answer(request, target)

    def _path(self, name: str) -> Path:
        path = inside(self.folder, name) if name else None
        if path is None or path == self.folder.resolve():
            raise web.HTTPForbidden(text=f"{name!r} is no place inside the user's folder.")
        return path

    def _answer(self, request: web.Request, path: Path) -> web.Response:
        relative = path.relative_to(self.folder.resolve()).as_posix()
        full = request.query.get("full_info", "").lower() == "true"
        return web.json_response(file_entry(path, relative) if full else relative)


def file_entry(path: Path, name: str) -> dict[str, Any]:
    status = path.stat()
    times = {"modified": int(status.st_mtime * 1000), "created": int(status.st_ctime * 1000)}
    return {"path": name, "size": status.st_size, **times}
