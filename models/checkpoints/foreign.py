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
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x1f\x8b", "a gzip archive; unpack it, and choose the file that was in it"),
    (b"BZh", "a bzip2 archive; unpack it, and choose the file that was in it"),
    (b"\xfd7zXZ", "an xz archive; unpack it, and choose the file that was in it"),
    (b"Rar!", "a RAR archive; unpack it, and choose the file that was in it"),
    (b"7z\xbc\xaf", "a 7-Zip archive; unpack it, and choose the file that was in it"),
    (b"\x93NUMPY", "a numpy array (.npy)"),
    (b"\x89HDF", "a Keras or HDF5 file"),
    (b"GGUF", "a GGUF language or diffusion model"),
    (b"%PDF", "a PDF document"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive; unpack it, and choose the file that was in it"),
    (b"\x01\x01", "one of dlib's files, of which only dlib_face_recognition_resnet_model_v1.dat is read"),
)
ONNX = re.compile(rb"\x08[\x01-\x1f][\x12\x1a\x22\x3a\x42]")
"""Its version, and then the name of its producer or another field of an ONNX model."""
OLD_TORCH_TAR = (b"storages\0", b"sys_info\0", b"tensors\0", b"pickle\0")
"""The first file in the tar archives that PyTorch wrote before 0.2."""
TEXT_PICKLE = re.compile(rb"[(}\])]?(?:[dl]p\d*\n|q\x00|c[A-Za-z_][\w.]*\n\w+\n)")
"""How a pickle of protocol 0 or 1 begins: a container and its number, or a class."""
WEB = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<error")
DIFFUSION_MARKS = (b"model.diffusion_model.", b"cond_stage_model.", b"first_stage_model.", b"conditioner.embedders")
SEARCHED = 1 << 24
LORA = f"this is a LoRA of a diffusion or language model, not a network; it belongs in another loader. {ACCEPTED}."
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
    if head[257:262] == b"ustar" and head.startswith(OLD_TORCH_TAR):
        return (
            "this is a tar archive of a PyTorch from before 2017, which is not read here. Load it with `torch.load` "
            "where you trust it, save its state dict with `torch.save`, and choose that file."
        )
    if head[257:262] == b"ustar":
        return f"this is a tar archive; unpack it, and choose the file that was in it. {ACCEPTED}."
    if start[:1] in (b"{", b"["):
        return "this is a JSON text and not a checkpoint; it may be a server's error message. Open it to see."
    for magic, name in MAGIC:
        if head.startswith(magic):
            return f"this is {name}{'' if ';' in name else ', not a checkpoint'}. {ACCEPTED}."
    if ONNX.match(head):
        return f"this is an ONNX model, not a checkpoint. {ACCEPTED}."
    if not any(head):
        return "it begins with zeros only, as after an interrupted download. Download it again."
    if size < 4096 and start.isascii() and start.decode("ascii").replace("\n", "").replace("\r", "").isprintable():
        return f"this is a text and not a checkpoint; open it to see what it says. {ACCEPTED}."
    return None


def clarified(error: CheckpointError, data: memoryview) -> CheckpointError:
    """`error`, or a sentence that names the kind of file where its text gives that away.

    Diffusion checkpoints of PyTorch Lightning ask for Python objects and would be refused for those.
    """
    if not any(word in str(error) for word in ("Python object", "whole network")):
        return error
    text = bytes(data[:SEARCHED])
    return CheckpointError(DIFFUSION) if any(mark in text for mark in DIFFUSION_MARKS) else error
