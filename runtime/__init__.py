"""What differs between ComfyUI and a plain process: devices, folders, progress, previews.

The only layer that knows whether ComfyUI is there. It imports neither `nodes/` nor `cli/`.
"""
