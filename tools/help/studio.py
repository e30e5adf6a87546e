"""What the pictures of the help pages are made of: a photo, its faces, latents, styles; each made once, when asked for.

Everything runs through the nodes, with their own defaults.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from ...core.pictures import read_picture
from ...nodes import NODE_CLASS_MAPPINGS
from ...runtime.folders import SAMPLE, SAMPLES, Folders, use_folders

STYLE = "cartoon"


class Studio:
    """Results that several pictures share."""

    def node(self, name: str, /, **given: Any) -> Sequence[Any]:
        """What a node of ours puts on its sockets; widgets that are not given keep their default."""
        import torch

        node: Any = NODE_CLASS_MAPPINGS["FaceStylist" + name]
        types = node.INPUT_TYPES()
        values = dict(given)
        for key, (kind, options) in {**types["required"], **types.get("optional", {})}.items():
            if key not in values and (isinstance(kind, list) or "default" in options):
                values[key] = options.get("default", kind[0] if isinstance(kind, list) else None)
        with torch.inference_mode():
            result = getattr(node(), node.FUNCTION)(**values)
        outputs: Sequence[Any] = result["result"] if isinstance(result, dict) else result
        return outputs

    @cached_property
    def photo(self) -> Any:
        """The sample picture, IMAGE `[1, H, W, 3]`."""
        return read_picture(SAMPLES[SAMPLE])[0]

    @cached_property
    def faces(self) -> tuple[Any, Any]:
        """FACE_CROPS and crops of the sample picture."""
        found, crops, _ = self.node("AlignFaces", image=self.photo)
        return found, crops

    @property
    def crop(self) -> Any:
        """The main face, IMAGE of one."""
        return self.faces[1][:1]

    @cached_property
    def source(self) -> Any:
        return self.node("LoadGenerator", name="embedded")[0]

    def style(self, look: str = STYLE) -> Any:
        """A shipped style."""
        if look not in self._styles:
            self._styles[look] = self.node("LoadGenerator", name=f"embedded:{look}")[0]
        return self._styles[look]

    @cached_property
    def _styles(self) -> dict[str, Any]:
        return {}

    @cached_property
    def encoder(self) -> Any:
        return self.node("LoadEncoder", name="embedded")[0]

    @cached_property
    def inverted(self) -> tuple[Any, Any]:
        """The sample's faces as latents, and as the generator draws them."""
        latent, seen = self.node("InvertWithEncoder", image=self.faces[1], encoder=self.encoder, generator=self.source)
        return latent, seen

    @cached_property
    def latent(self) -> Any:
        """The main face's latent."""
        latent = self.inverted[0]
        return latent.replace(w_plus=latent.w_plus[:1], reconstruction_error=None)

    @cached_property
    def people(self) -> tuple[Any, Any]:
        """Pictures and latents of six who do not exist."""
        image, latent = self.node("SampleFaces", generator=self.source, seed=3, count=6)
        return image, latent

    def one(self, index: int) -> Any:
        """The latent of one of them."""
        latent = self.people[1]
        return latent.replace(w_plus=latent.w_plus[index : index + 1])

    def decoded(self, latent: Any, generator: Any = None) -> Any:
        """Latents as pictures."""
        return self.node("DecodeLatent", latent=latent, generator=generator or self.source)[0]

    @cached_property
    def stylised(self) -> Any:
        """The sample's faces in the usual style."""
        return self.node("StyliseFaces", style=self.style(), latent=self.inverted[0], source=self.source)[0]

    def rendered(self, look: str, count: int = 1, size: int = 128, seed: int = 5) -> Sequence[Any]:
        return self.node("RenderFaces", count=count, seed=seed, look=look, size=size)

    @cached_property
    def pairs(self) -> Any:
        return self.node("MakePairs", source=self.source, target=self.style("sketch"), count=24, affine_prob=0.0)[0]

    @cached_property
    def tuned(self) -> Sequence[Any]:
        """A short tuning to the main face: generator, style, latent, reconstruction."""
        return self.node("PivotalTuning", image=self.crop, generator=self.source, latent=self.latent, steps=20)


@contextmanager
def in_scratch() -> Iterator[Path]:
    """Nodes write into a folder that is removed."""
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch)
        with use_folders(Folders(base / "input", base / "output", base / "temp", base / "models")):
            yield base
