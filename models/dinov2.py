"""DINO and DINOv2: vision transformers whose keys tell what in a picture belongs together, whatever its style.

Oquab et al., "DINOv2" (arXiv 2304.07193); Caron et al., "Emerging Properties" (arXiv 2104.14294) for DINO. The keys of
the last block as a picture's structure: Tumanyan et al., "Splicing ViT Features" (arXiv 2201.00424).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Of ImageNet, for pictures in 0..1."""
HEAD_WIDTH = 64
"""Width of an attention head in every published size."""
EPS = 1e-6


@dataclass(frozen=True)
class VitConfig:
    """Architecture of a DINO or DINOv2 transformer."""

    width: int
    depth: int
    patch: int
    """Side of a patch in pixels: 14 for DINOv2, 8 or 16 for DINO."""
    grid: int
    """Side, in patches, of the grid the position embedding was learned for."""
    hidden: int
    """Width between the two layers of an MLP."""
    registers: int = 0
    """Register tokens (Darcet et al., arXiv 2309.16588)."""
    gated: bool = False
    """Whether the MLPs are SwiGLU, as in the giant size."""

    @property
    def heads(self) -> int:
        """Attention heads."""
        return max(self.width // HEAD_WIDTH, 1)


class Block(nn.Module):
    """`tokens [N, T, width] -> [N, T, width]`."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        width, self.heads, self.gated = config.width, config.heads, config.gated
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.scale1 = nn.Parameter(torch.ones(width))
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.fc1 = nn.Linear(width, 2 * config.hidden if config.gated else config.hidden)
        self.fc2 = nn.Linear(config.hidden, width)
        self.scale2 = nn.Parameter(torch.ones(width))

    def keys(self, tokens: Tensor) -> Tensor:
        """The keys of all heads side by side, `[N, T, width]`."""
        width = tokens.shape[2]
        return F.linear(self.norm1(tokens), self.qkv.weight[width : 2 * width], self.qkv.bias[width : 2 * width])

    def forward(self, tokens: Tensor) -> Tensor:
        projected = self.qkv(self.norm1(tokens))
        query, key, value = rearrange(projected, "n t (qkv heads c) -> qkv n heads t c", qkv=3, heads=self.heads)
        attended = F.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.scale1 * self.proj(rearrange(attended, "n heads t c -> n t (heads c)"))
        hidden = self.fc1(self.norm2(tokens))
        if self.gated:
            gate, hidden = hidden.chunk(2, dim=2)
            hidden = F.silu(gate) * hidden
        else:
            hidden = F.gelu(hidden)
        return tokens + self.scale2 * self.fc2(hidden)


class Vit(nn.Module):
    """`pictures [N, 3, H, W]` in -1..1, sides multiples of the patch -> last tokens `[N, 1 + registers + T, width]`."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.patch_embed = nn.Conv2d(3, width, config.patch, config.patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.registers = nn.Parameter(torch.zeros(1, config.registers, width)) if config.registers else None
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + config.grid**2, width))
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.depth)])
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.register_buffer("mean", torch.tensor(MEAN).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).reshape(1, 3, 1, 1), persistent=False)

    def forward(self, pictures: Tensor) -> Tensor:
        tokens = self._embed(pictures)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)

    def last_keys(self, pictures: Tensor) -> Tensor:
        """Keys of the last block for the class token and the patches, `[N, 1 + T, width]`; registers are left out."""
        tokens = self._embed(pictures)
        for block in list(self.blocks)[:-1]:
            tokens = block(tokens)
        last = self.blocks[-1]
        assert isinstance(last, Block)  # noqa: S101 - for the type checker
        keys = last.keys(tokens)
        return torch.cat([keys[:, :1], keys[:, 1 + self.config.registers :]], dim=1)

    def _embed(self, pictures: Tensor) -> Tensor:
        patch = self.config.patch
        if pictures.ndim != 4 or pictures.shape[1] != 3 or pictures.shape[2] % patch or pictures.shape[3] % patch:
            raise ValueError(
                f"The transformer takes pictures [N, 3, H, W] with sides that are multiples of {patch}, not "
                f"{list(pictures.shape)}."
            )
        patches = self.patch_embed((pictures * 0.5 + 0.5 - self.mean) / self.std)
        tokens = patches.flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)
        tokens = tokens + self._positions(patches.shape[2], patches.shape[3])
        if self.registers is not None:
            tokens = torch.cat([tokens[:, :1], self.registers.expand(len(tokens), -1, -1), tokens[:, 1:]], dim=1)
        return tokens

    def _positions(self, rows: int, columns: int) -> Tensor:
        """The position embedding, resized to another grid where the picture has one."""
        grid = self.config.grid
        if (rows, columns) == (grid, grid):
            return self.pos_embed
        cells = rearrange(self.pos_embed[:, 1:], "n (h w) c -> n c h w", h=grid)
        cells = F.interpolate(cells, size=(rows, columns), mode="bicubic", align_corners=False)
        return torch.cat([self.pos_embed[:, :1], cells.flatten(2).transpose(1, 2)], dim=1)


def vit_config(state: dict[str, Tensor]) -> VitConfig:
    """The architecture, from the shapes in a state dict with the names of `Vit`."""
    width, _, patch, _ = state["patch_embed.weight"].shape
    depth = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks."))
    hidden = state["blocks.0.fc2.weight"].shape[1]
    registers = state["registers"].shape[1] if "registers" in state else 0
    return VitConfig(
        width=width,
        depth=depth,
        patch=patch,
        grid=math.isqrt(state["pos_embed"].shape[1] - 1),
        hidden=hidden,
        registers=registers,
        gated=state["blocks.0.fc1.weight"].shape[0] == 2 * hidden,
    )
