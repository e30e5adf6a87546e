"""How the embedded face detector is trained."""
