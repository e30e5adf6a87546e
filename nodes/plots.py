"""Pictures of how a training went. LOSS_MAP is ComfyUI's own: a mapping from a curve's name to its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .declare import Node, integer, socket

if TYPE_CHECKING:
    from torch import Tensor


class LossPlot(Node):
    CATEGORY = "FaceStylist/Training"
    DESCRIPTION = (
        "Draws the loss curves of a training, a panel for each term. Needs matplotlib. The numbers are also in "
        "losses.csv in the run's folder."
    )
    SEARCH_ALIASES = ["loss graph", "loss curve", "training curve", "plot loss"]
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("plot",)
    OUTPUT_TOOLTIPS = ("The curves as one picture.",)

    REQUIRED = {
        "losses": socket("LOSS_MAP", "From Fine-tune Generator, or from one of ComfyUI's training nodes."),
        "width": integer(900, "Width of the plot in pixels.", low=200, high=4096, step=50),
        "height": integer(600, "Height of the plot in pixels.", low=200, high=4096, step=50),
    }

    def run(self, losses: Any, width: int, height: int) -> tuple[Tensor]:
        from ..training.reports.curves import plot_losses

        # Some training nodes give the numbers alone.
        curves = losses if hasattr(losses, "items") else {"loss": losses}
        return (plot_losses(curves, width, height).permute(1, 2, 0)[None].contiguous(),)
