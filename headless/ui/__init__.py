"""`facestylist ui`: ComfyUI's own front end on loopback, backed by the runner.

A bounded stand-in for a machine with no ComfyUI: it answers what the front end asks in order to load, edit, upload,
queue, watch, interrupt and view, with our nodes and the core nodes the runner knows. It is no ComfyUI, takes no
other pack, and listens to this machine only.
"""
