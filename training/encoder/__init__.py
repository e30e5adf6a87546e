"""The training of a face encoder from a generator's own samples."""
