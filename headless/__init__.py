"""Runs workflows where there is no ComfyUI, and serves its front end."""
