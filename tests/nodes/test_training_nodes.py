"""Fine-tuning as a node, on a tiny generator."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from node_bench import RESOLUTION, run_node
from torch import Tensor

from facestylist.models.types import FaceGenerator
from facestylist.runtime.folders import Folders

pytestmark = pytest.mark.usefixtures("global_rng_untouched")

SHORT: dict[str, Any] = {"steps": 3, "batch_size": 2, "style_name": "red", "precision": "fp32", "preview_interval": 2}


@pytest.fixture
def style_images() -> Tensor:
    """Reddish pictures that differ."""
    noise = torch.rand(6, RESOLUTION, RESOLUTION, 3, generator=torch.Generator().manual_seed(1))
    return noise * 0.3 + torch.tensor([0.7, 0.1, 0.1])


def test_fine_tuning_makes_a_style_of_the_source(
    source: FaceGenerator, style_images: Tensor, folders: Folders, caplog: pytest.LogCaptureFixture
) -> None:
    before = {name: tensor.clone() for name, tensor in source.generator.state_dict().items()}
    style, preview, losses = run_node("FinetuneGenerator", source=source, style_images=style_images, **SHORT)
    assert style.style == "red"
    assert "Only 6 different style pictures" in caplog.text
    assert style.w_space == source.w_space
    assert style.discriminator is not None
    assert len(losses["loss"]) == len(losses["discriminator"]) == 3
    assert preview.shape == (1, 2 * RESOLUTION, 6 * RESOLUTION, 3)
    assert not torch.equal(preview[0, :RESOLUTION], preview[0, RESOLUTION:])
    for name, tensor in source.generator.state_dict().items():
        assert torch.equal(tensor, before[name]), f"the source's {name} was changed"
    (run,) = (folders.output / "facestylist_runs").iterdir()
    assert run.name.startswith("red-")
    assert (run / "losses.csv").is_file()
    assert not (run / "state").exists(), "a finished run leaves no state behind"
    again, _, _ = run_node("FinetuneGenerator", source=source, style_images=style_images, **SHORT)
    for name, tensor in style.generator.state_dict().items():
        assert torch.equal(tensor, again.generator.state_dict()[name]), f"{name} differs in a second run"


class Cancelled(Exception):
    """Stands for ComfyUI's interrupt."""


def test_a_cancelled_run_is_resumed(
    source: FaceGenerator, style_images: Tensor, folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    from facestylist.runtime.progress import ProgressReporter

    given = {"source": source, "style_images": style_images, **SHORT}
    whole, _, _ = run_node("FinetuneGenerator", **given, resume=False)

    steps: list[int] = []

    def update(_: ProgressReporter, step: int, total: int | None = None, losses: Any = None) -> None:
        steps.append(step)
        if step == 2 and steps.count(2) == 1:
            raise Cancelled

    monkeypatch.setattr(ProgressReporter, "update", update)
    with pytest.raises(Cancelled):
        run_node("FinetuneGenerator", **given)
    (run,) = (folders.output / "facestylist_runs").iterdir()
    assert (run / "state").is_dir()
    resumed, _, _ = run_node("FinetuneGenerator", **given)
    assert steps == [1, 2, 3], "the resumed run starts after the last step"
    for name, tensor in whole.generator.state_dict().items():
        assert torch.equal(tensor, resumed.generator.state_dict()[name]), f"{name} differs after resuming"


def test_a_generator_without_discriminator_is_refused(source: FaceGenerator, style_images: Tensor) -> None:
    with pytest.raises(ValueError, match="without its discriminator"):
        run_node("FinetuneGenerator", source=source.replace(discriminator=None), style_images=style_images, **SHORT)


def test_cancelling_can_give_what_there_is(
    source: FaceGenerator, style_images: Tensor, folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    from facestylist.runtime import progress

    given = {"source": source, "style_images": style_images, **SHORT}
    steps: list[int] = []

    def update(_: progress.ProgressReporter, step: int, total: int | None = None, losses: Any = None) -> None:
        steps.append(step)
        if step == 2 and len(steps) == 2:
            raise progress.Interrupted

    monkeypatch.setattr(progress.ProgressReporter, "update", update)
    style, _, losses = run_node("FinetuneGenerator", **given, if_cancelled="use it so far")
    assert steps == [1, 2] and len(losses["loss"]) == 2
    moved = style.generator.synthesis.blocks[0].const, source.generator.synthesis.blocks[0].const
    assert not torch.equal(*moved)
    (run,) = (folders.output / "facestylist_runs").iterdir()
    assert list((run / "state").iterdir()), "the run can still be finished"
    run_node("FinetuneGenerator", **given)
    assert steps == [1, 2, 3]


@pytest.mark.parametrize("losses", [{"loss": [1.0]}, {"a": [2.0, 2.0], "b": [float("nan")]}, {}, [3.0, 1.0, 2.0]])
def test_any_loss_map_can_be_plotted(losses: Any) -> None:
    pytest.importorskip("matplotlib", reason="the loss plot is drawn by matplotlib: pip install matplotlib")
    (plot,) = run_node("LossPlot", losses=losses, width=300, height=200)
    assert plot.shape == (1, 200, 300, 3) and plot.min() >= 0 and plot.max() <= 1
    assert plot.std() > 0.01 or not losses


def test_without_matplotlib_the_plot_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(RuntimeError, match="pip install matplotlib"):
        run_node("LossPlot", losses={"loss": [1.0]})
