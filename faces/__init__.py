"""Geometry of faces in pictures, with nothing learned: align, warp, mask, paste back.

Coordinates everywhere: continuous pixels with the origin at the top-left corner of the picture, so that the centre of
the first pixel is (0.5, 0.5); x to the right, y down. Resizing a picture by k multiplies its coordinates by k.
"""
