"""What a widget, a flag and a function have in common."""

MIN_CONFIDENCE = 0.6
"""Score 0..1 below which a face does not count."""
