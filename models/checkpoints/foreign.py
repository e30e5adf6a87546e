"""Files that are no checkpoints at all, though often saved under a checkpoint's name: told by their first bytes."""

from __future__ import annotations

import re

from .contents import ACCEPTED, CheckpointError

LFS = b"version https://git-lfs.github.com/spec"
MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF8", "a picture"),
    (b"RIFF", "a picture or a sound"),
    (b"\x1f\x8b", "a gzip archive; unpack it, and choose the file that was in it"),
    (b"BZh", "a bzip2 archive; unpack it, and choose the file that was in it"),
    (b"\xfd7zXZ", "an xz archive; unpack it, and choose the file that was in it"),
    (b"Rar!", "a RAR archive; unpack it, and choose the file that was in it"),
    (b"7z\xbc\xaf", "a 7-Zip archive; unpack it, and choose the file that was in it"),
    (b"\x93NUMPY", "a numpy array (.npy)"),
    (b"\x89HDF", "a Keras or HDF5 file"),
    (b"GGUF", "a GGUF language or diffusion model"),
    (b"%PDF", "a PDF document"),
    (b"\x01\x01", "one of dlib's files, of which only dlib_face_recognition_resnet_model_v1.dat is read"),
    (b"\x08\x03\x12", "an ONNX model"),
    (b"\x08\x07\x12", "an ONNX model"),
    (b"\x08\x08\x12", "an ONNX model"),
)
TEXT_PICKLE = re.compile(rb"[(}\])]?(?:[dl]p\d*\n|q\x00|c[A-Za-z_][\w.]*\n\w+\n)")
"""How a pickle of protocol 0 or 1 begins: a container and its number, or a class."""
WEB = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<error")
DIFFUSION_MARKS = (b"model.diffusion_model.", b"cond_stage_model.", b"first_stage_model.", b"conditioner.embedders")
SEARCHED = 1 << 24
DIFFUSION = f"this is a diffusion model, not a face generator; it belongs in another loader. {ACCEPTED}."


def what(head: bytes, size: int) -> str | None:
    """What a file is that begins with `head` (512 bytes), as the rest of a sentence; None where it is anything."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.lower().startswith(WEB):
        return (
            "this is a web page and not a checkpoint: the link led to a page that asks for something first (a login, a "
            "consent, Google Drive's warning). Open the link in a browser, and save what the page offers."
        )
    if start.startswith(LFS):
        return (
            "this is a git-LFS pointer, a note of 130 bytes in place of the checkpoint. Run `git lfs pull` where it "
            "came from, or download the file itself."
        )
    if TEXT_PICKLE.match(head):
        return (
            "this is a pickle of protocol 0 or 1, which Python 2 wrote and which is not read here. Save it again where "
            "it was made, with `torch.save` or pickle protocol 2 or later."
        )
    if head[257:262] == b"ustar":
        return f"this is a tar archive; unpack it, and choose the file that was in it. {ACCEPTED}."
    if start[:1] in (b"{", b"["):
        return "this is a JSON text and not a checkpoint; it may be a server's error message. Open it to see."
    for magic, name in MAGIC:
        if head.startswith(magic):
            return f"this is {name}, not a checkpoint. {ACCEPTED}."
    if not any(head):
        return "it begins with zeros only, as after an interrupted download. Download it again."
    if size < 4096 and start.isascii() and start.decode("ascii").replace("\n", "").replace("\r", "").isprintable():
        return f"this is a text and not a checkpoint; open it to see what it says. {ACCEPTED}."
    return None


def better_named(error: CheckpointError, data: memoryview) -> CheckpointError:
    """`error`, or a sentence that names the kind of file where its text gives that away.

    Diffusion checkpoints of PyTorch Lightning ask for Python objects and would be refused for those.
    """
    if not any(word in str(error) for word in ("Python object", "whole network")):
        return error
    text = bytes(data[:SEARCHED])
    return CheckpointError(DIFFUSION) if any(mark in text for mark in DIFFUSION_MARKS) else error
