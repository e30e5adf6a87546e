"""Latents saved, mixed, moved, walked between and drawn; generators tuned to faces: as nodes, on tiny networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from node_bench import RESOLUTION, run_node
from tolerances import assert_close, roundings
from torch import Tensor

from facestylist.models.checkpoints import load_generator
from facestylist.models.types import FaceEncoder, FaceGenerator, FaceLatent
from facestylist.nodes import NODE_CLASS_MAPPINGS
from facestylist.runtime.folders import Folders

pytestmark = pytest.mark.usefixtures("global_rng_untouched")


@pytest.fixture
def faces(source: FaceGenerator) -> tuple[Tensor, FaceLatent]:
    return run_node("SampleFaces", generator=source, seed=3, count=2)


def test_saved_latents_come_back_and_names_are_numbered(
    source: FaceGenerator, style: FaceGenerator, faces: tuple[Tensor, FaceLatent], folders: Folders
) -> None:
    image, latent = faces
    paths = [run_node("SaveLatents", latent=latent, name="me")[0] for _ in range(2)]
    assert [Path(path).relative_to(folders.output).as_posix() for path in paths] == [
        "latents/me.safetensors",
        "latents/me-2.safetensors",
    ]
    (again,) = run_node("LoadLatents", file="latents/me.safetensors [output]", generator=source)
    assert torch.equal(again.w_plus, latent.w_plus)
    (drawn,) = run_node("DecodeLatent", latent=again, generator=source)
    assert_close(drawn, image, roundings(source.generator))
    (array,) = run_node("SaveLatents", latent=latent, name="me", format="npy")
    assert np.array_equal(np.load(array), latent.w_plus.numpy())
    (bare,) = run_node("LoadLatents", file=array)
    assert bare.w_space == "" and torch.equal(bare.w_plus, latent.w_plus)
    with pytest.raises(ValueError, match="lies outside"):
        run_node("SaveLatents", latent=latent, name="../../elsewhere")


def test_a_missing_file_is_told_before_anything_runs(folders: Folders) -> None:
    for name in ("LoadLatents", "LoadLatentDirections"):
        node: Any = NODE_CLASS_MAPPINGS["FaceStylist" + name]
        assert "There is no file" in node.VALIDATE_INPUTS(file="none.npy")
        assert "lies outside" in node.VALIDATE_INPUTS(file="../none.npy")
        assert node.VALIDATE_INPUTS(file=None) is True
        folders.input.mkdir(exist_ok=True)
        np.save(folders.input / "there.npy", np.zeros(3))
        assert node.VALIDATE_INPUTS(file="there.npy") is True
        before = node.IS_CHANGED(file="there.npy")
        np.save(folders.input / "there.npy", np.ones(4))
        assert node.IS_CHANGED(file="there.npy") != before


def test_mixing(source: FaceGenerator, faces: tuple[Tensor, FaceLatent]) -> None:
    _, a = faces
    _, b = run_node("SampleFaces", generator=source, seed=30, count=1)
    (half,) = run_node("MixLatents", latent_a=a, latent_b=b)
    assert_close(half.w_plus, (a.w_plus + b.w_plus) / 2, 4, float((a.w_plus.abs() + b.w_plus.abs()).max()))
    (swapped,) = run_node("MixLatents", latent_a=a, latent_b=b, mode="layers", layers="4-7", amount=0.1)
    assert torch.equal(swapped.w_plus[:, :4], a.w_plus[:, :4])
    assert torch.equal(swapped.w_plus[:, 4:], b.w_plus[:, 4:].expand(2, -1, -1))
    (arc,) = run_node("MixLatents", latent_a=a, latent_b=b, mode="slerp", generator=source)
    assert not torch.allclose(arc.w_plus, half.w_plus)
    with pytest.raises(ValueError, match="does not say which layers"):
        run_node("MixLatents", latent_a=a, latent_b=b, layers="top")


@pytest.mark.parametrize("method", ["sefa", "pca"])
def test_directions_are_found_kept_and_followed(
    source: FaceGenerator, style: FaceGenerator, faces: tuple[Tensor, FaceLatent], method: str
) -> None:
    _, latent = faces
    directions, sheet = run_node("FindLatentDirections", generator=source, method=method, layers="coarse", count=3)
    assert len(directions) == 3 and directions.layers == (0, 1, 2, 3)
    assert sheet.shape == (1, 3 * 128, 3 * 128, 3)
    assert (sheet[:, :128, :128] - sheet[:, :128, 256:]).abs().mean() > 1e-4, "the two ends of a row differ"
    (path,) = run_node("SaveLatentDirections", directions=directions)
    (again,) = run_node("LoadLatentDirections", generator=style, file=path)
    (moved,) = run_node("MoveAlongDirection", latent=latent, directions=again, index=1, strength=3.0)
    (same,) = run_node("MoveAlongDirection", latent=latent, directions=directions, index=1, strength=3.0)
    assert torch.equal(moved.w_plus, same.w_plus) and torch.equal(moved.w_plus[:, 4:], latent.w_plus[:, 4:])
    (all_layers,) = run_node("MoveAlongDirection", latent=latent, directions=again, index=1, strength=3.0, layers="all")
    assert not torch.equal(all_layers.w_plus[:, 4:], latent.w_plus[:, 4:])
    (image,) = run_node("DecodeLatent", latent=moved, generator=style)
    assert image.shape == (2, RESOLUTION, RESOLUTION, 3)


def test_a_walk_is_drawn_frame_by_frame(
    source: FaceGenerator, style: FaceGenerator, faces: tuple[Tensor, FaceLatent]
) -> None:
    image, latent = faces
    (walk,) = run_node("LatentWalk", frames=20, latent=latent)
    (frames,) = run_node("DecodeLatent", latent=walk, generator=source)
    assert frames.shape[0] == 20
    assert_close(frames[[0, 10]], image, roundings(source.generator))
    (seeds,) = run_node("LatentWalk", frames=6, generator=source, seed=3, count=2)
    assert_close(seeds.w_plus[[0, 3]], latent.w_plus, roundings(source.generator.mapping))
    (styled,) = run_node("DecodeLatent", latent=seeds, generator=style)
    assert styled.shape[0] == 6
    with pytest.raises(ValueError, match="nothing to walk between"):
        run_node("LatentWalk")


def test_tuning_comes_closer_and_takes_the_style_along(
    source: FaceGenerator, style: FaceGenerator, faces: tuple[Tensor, FaceLatent]
) -> None:
    image, latent = faces
    wanted = (0.7 * image + 0.3 * torch.tensor([0.9, 0.2, 0.1])).clamp(0, 1)
    given = {"image": wanted, "generator": source, "latent": latent, "steps": 8, "learning_rate": 0.01}
    tuned, moved, same, picture = run_node("PivotalTuning", **given, style=style)
    assert (picture - wanted).square().mean() < 0.8 * (image - wanted).square().mean()
    assert torch.equal(same.w_plus, latent.w_plus) and same.reconstruction_error is not None
    assert moved.style == "test style" and tuned.w_space == moved.w_space == source.w_space
    (stylised,) = run_node("StyliseFaces", style=moved, latent=latent, source=tuned, strength=0.5)
    assert stylised.shape == image.shape
    (again,) = run_node("AlignStyle", style=style, source=source, tuned=tuned)
    states = [g.generator.state_dict() for g in (moved, again, style)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert not all(torch.equal(value, states[2][name]) for name, value in states[0].items())
    alone = run_node("PivotalTuning", **{**given, "steps": 1})
    assert alone[1] is alone[0]


def test_nobody_passes_through(source: FaceGenerator, style: FaceGenerator) -> None:
    nobody = torch.zeros(0, 32, 32, 3)
    _, latent = run_node("SampleFaces", generator=source, count=1)
    generator, moved, empty, picture = run_node(
        "PivotalTuning", image=nobody, generator=source, latent=latent, style=style
    )
    assert generator is source and moved is style and len(empty) == len(picture) == 0
    (image,) = run_node("DecodeLatent", latent=empty, generator=source)
    assert image.shape == (0, RESOLUTION, RESOLUTION, 3)


def test_an_interrupt_leaves_the_best_behind(
    source: FaceGenerator, faces: tuple[Tensor, FaceLatent], folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    from facestylist.runtime.progress import ProgressReporter

    image, latent = faces

    def cancel(self: ProgressReporter, step: int, *_: object, **__: object) -> None:
        if step == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(ProgressReporter, "update", cancel)
    with pytest.raises(KeyboardInterrupt):
        run_node("InvertByOptimisation", image=image, generator=source, steps=20)
    (kept,) = run_node("LoadLatents", file="latents/unfinished_inversion.safetensors [output]", generator=source)
    assert len(kept) == 2 and torch.isfinite(kept.reconstruction_error).all()
    with pytest.raises(KeyboardInterrupt):
        run_node("PivotalTuning", image=image.flip(2), generator=source, latent=latent, steps=20)
    assert load_generator(folders.models / "stylegan" / "unfinished_tuning.safetensors").w_space == source.w_space


def test_the_encoder_looks_as_often_as_it_was_made_for(source: FaceGenerator, encoder: FaceEncoder) -> None:
    image = torch.rand(1, 32, 32, 3, generator=torch.Generator().manual_seed(0))
    by_itself, _ = run_node("InvertWithEncoder", image=image, encoder=encoder, generator=source)
    once, _ = run_node("InvertWithEncoder", image=image, encoder=encoder, generator=source, steps=1)
    assert torch.equal(by_itself.w_plus, once.w_plus)
