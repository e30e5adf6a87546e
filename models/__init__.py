"""What is learned: networks, operators, detectors and checkpoint formats, in plain torch.

Nothing here imports ComfyUI or the layers above. Start at `generator.py`; `types.py` holds what travels between nodes.
"""
