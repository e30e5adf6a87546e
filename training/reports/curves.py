"""The loss table of a training as curves: for a wire, and as a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

DPI = 100
COLUMNS = 3
SMOOTHING = 0.05
"""Of the run: how far the bold curve is averaged."""


def loss_map(history: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """`{name: numbers}` from rows of a loss table, ComfyUI's LOSS_MAP; steps that did not report a name are left out.

    `loss`, where ComfyUI's own loss graph looks, is the generator's.
    """
    curves: dict[str, list[float]] = {"loss": [row["generator"] for row in history if "generator" in row]}
    for row in history:
        for name, value in row.items():
            if name != "step":
                curves.setdefault(name, []).append(value)
    return curves if curves["loss"] else {name: values for name, values in curves.items() if values}


def plot_losses(losses: Mapping[str, Sequence[float]], width: int = 900, height: int = 600) -> Tensor:
    """A panel for each curve, thin as reported and bold averaged: `[3, height, width]` in 0..1.

    Values are drawn against their number, 1, 2, ...; see `plot_history` for steps. One value, equal values, values that
    are not finite and no values at all are drawn, or named, too. `loss` is left out where it repeats `generator`.
    Raises RuntimeError with a sentence when matplotlib is not installed.
    """
    curves = {str(name): list(enumerate(map(float, values), start=1)) for name, values in losses.items()}
    if "generator" in curves:
        curves.pop("loss", None)
    return _plot(curves, width, height)


def plot_history(history: Sequence[Mapping[str, float]], width: int = 900, height: int = 600) -> Tensor:
    """The same of the rows of a loss table, each value at its step."""
    names = dict.fromkeys(name for row in history for name in row if name != "step")
    points = {name: [(row["step"], row[name]) for row in history if name in row] for name in names}
    return _plot(points, width, height)


def _plot(curves: Mapping[str, Sequence[tuple[float, float]]], width: int, height: int) -> Tensor:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RuntimeError(
            "The loss plot is drawn by matplotlib, which is not installed: pip install matplotlib. "
            "The numbers themselves are in losses.csv in the run's folder."
        ) from error
    # A figure of its own: pyplot keeps global state that other packs use.
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    columns = min(max(len(curves), 1), COLUMNS)
    rows = -(-max(len(curves), 1) // columns)
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis in axes[len(curves) :]:
        axis.axis("off")
    for axis, (name, points) in zip(axes, curves.items(), strict=False):
        _draw(axis, name, points)
    canvas.draw()
    pixels = torch.frombuffer(bytearray(canvas.buffer_rgba()), dtype=torch.uint8)
    across, down = canvas.get_width_height()
    return pixels.view(down, across, 4)[:, :, :3].permute(2, 0, 1).float() / 255.0


def _draw(axis: Any, name: str, points: Sequence[tuple[float, float]]) -> None:
    finite = [(step, value) for step, value in points if math.isfinite(value)]
    axis.set_title(name, fontsize=9)
    axis.tick_params(labelsize=7)
    if not finite:
        axis.text(0.5, 0.5, "no finite numbers", ha="center", va="center", transform=axis.transAxes, fontsize=8)
        return
    steps, numbers = zip(*finite, strict=True)
    if len(finite) == 1:
        axis.plot(steps, numbers, "o", markersize=4)
        return
    axis.plot(steps, numbers, linewidth=0.6, alpha=0.4)
    axis.plot(steps, _smoothed(numbers, max(1, round(SMOOTHING * len(numbers)))), linewidth=1.6)


def _smoothed(values: Sequence[float], reach: int) -> list[float]:
    """The mean over `reach` values to either side, fewer at the ends."""
    windows = (values[max(0, i - reach) : i + reach + 1] for i in range(len(values)))
    return [sum(window) / len(window) for window in windows]
