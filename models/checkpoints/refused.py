"""Files that people try and that cannot work here: each is told apart and refused by name."""

from __future__ import annotations

from collections.abc import Mapping

from .container import ACCEPTED
from .contents import Contents

DIFFUSION_PREFIXES = ("model.diffusion_model.", "first_stage_model.", "lora_", "double_blocks.")


def reason(contents: Contents) -> str:
    """Why a file that no format recognised is refused, as the rest of a sentence."""
    data = contents.data
    names = {str(name) for name in data} if isinstance(data, Mapping) else set()
    gan = data.get("GAN") if isinstance(data, Mapping) else None
    if isinstance(gan, Mapping) and any(str(name).startswith(("G.", "GE.", "S.net.")) for name in gan):
        return f"this is a checkpoint of lucidrains' stylegan2-pytorch, whose networks are others. {ACCEPTED}."
    if any(name.startswith(("synthesis.L0_", "synthesis.input.")) for name in names):
        return f"this is a StyleGAN3 checkpoint; only StyleGAN2 networks work here. {ACCEPTED}."
    if any(name.startswith(DIFFUSION_PREFIXES) for name in names):
        return f"this is a diffusion model, not a face generator; it belongs in another loader. {ACCEPTED}."
    example = ", ".join(sorted(names)[:3])
    return f"this is not a checkpoint of a known kind{f' (it holds {example}, ...)' if example else ''}. {ACCEPTED}."
