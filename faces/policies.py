"""The choices that steadying a video leaves to people, in one place that loads nothing heavy."""

MISSING = ("interpolate", "hold", "skip", "error")
"""What is done in frames between a face's first and last in which it was not found."""

CHOICES = ("all", "largest", "left_to_right")
"""Whose faces are kept."""

LONGEST_GAP = 12
"""Frames that a person may be missing and still be the same one: half a second of film."""

SMOOTHING = 4.0
"""The most smoothing, in frames: what may be used where the noise calls for it."""
