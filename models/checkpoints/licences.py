"""What is known of the terms under which files of each family are published: shown to people, never interpreted."""

from __future__ import annotations

FFHQ = "Weights trained on FFHQ (or converted from such) are for non-commercial use, as the data set's terms are."

NOTES: dict[str, str] = {
    "nvidia": f"NVIDIA's own weights: NVIDIA Source Code License, non-commercial research or evaluation. {FFHQ}",
    "rosinality": f"The code's licence is MIT; weights keep the terms of what they were trained on. {FFHQ}",
    "jojogan": f"The code's licence is MIT. {FFHQ}",
    "stylegan_nada": f"The code's licence is MIT. {FFHQ}",
    "dualstylegan": f"S-Lab License 1.0: non-commercial use. {FFHQ}",
    "psp": f"The code's licence is MIT. {FFHQ}",
    "e4e": f"The code's licence is MIT. {FFHQ}",
    "restyle": f"The code's licence is MIT. {FFHQ}",
    "dlib": "Weights by Davis King, CC0: free for any use. Its faces came from FaceScrub, VGG Face and the internet.",
    "arcface": "The code's licence is MIT; the faces it was trained on (MS-Celeb-1M) were collected for research only.",
}


def note(family: str, metadata: dict[str, str]) -> str:
    """A sentence or two about the terms: the file's own, where it states any."""
    own = metadata.get("licence") or metadata.get("license")
    return own or NOTES.get(family, "")
