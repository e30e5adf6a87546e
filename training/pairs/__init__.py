"""Multi-level pseudo-pairs: made, judged, kept in files, drawn, and written out for other trainers.

`make_pairs` (making.py) gives a `StylePairs`, `PairRenderer` (renderer.py) its pictures, `save_pairs` and `load_pairs`
(manifest.py) its file, `export_pairs` (export.py) a folder of pictures.
"""
