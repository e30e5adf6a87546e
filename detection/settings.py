"""What a widget, a flag and a function have in common."""

DETECTORS = ("auto", "yunet", "embedded")
MIN_CONFIDENCE = 0.6
"""Score 0..1 below which a face does not count."""
YUNET_WEIGHTS = "yunet_final.pth"
