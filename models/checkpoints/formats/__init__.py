"""One module per format, each with `detect(contents) -> bool` and `read(contents) -> Weights`."""

from . import arcface, dlib, dualstylegan, facestylist, jojogan, nvidia, psp, rosinality, stylegan_nada

FORMATS = (facestylist, dlib, psp, arcface, dualstylegan, jojogan, stylegan_nada, rosinality, nvidia)
"""The first that recognises a file reads it, so those with more to recognise come first."""
