"""Variations, reference-guided stylisation and the report, as nodes on tiny networks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from node_bench import RESOLUTION, run_node
from PIL import Image
from tolerances import assert_close, rounding, roundings
from torch import Tensor

from facestylist.models.types import FaceEncoder, FaceGenerator, FaceLatent
from facestylist.runtime.folders import Folders

pytestmark = pytest.mark.usefixtures("global_rng_untouched")


@pytest.fixture
def faces(source: FaceGenerator) -> tuple[Tensor, FaceLatent]:
    return run_node("SampleFaces", generator=source, seed=3, count=2)


def test_variations_and_their_grid(
    source: FaceGenerator, style: FaceGenerator, faces: tuple[Tensor, FaceLatent]
) -> None:
    _, latent = faces
    stylised, grid, varied, by_seed = run_node("StyleVariations", style=style, latent=latent, seed=5, count=3)
    assert stylised.shape == (6, RESOLUTION, RESOLUTION, 3) and len(varied) == 6
    assert len(by_seed) == 3 and torch.equal(by_seed[1], stylised[[1, 4]]), "one batch per seed, all faces in it"
    assert (stylised[0] - stylised[1]).abs().max() > 0.01
    _, _, one, _ = run_node("StyleVariations", style=style, latent=latent, seed=6, count=1)
    why = "a seed is the same appearance wherever it stands"
    assert_close(one.w_plus, varied.w_plus[[1, 4]], roundings(source.generator.mapping), why=why)
    assert grid.shape[0] == 1 and grid.shape[2] > 4 * 160 and grid.shape[1] > 2 * 160
    (plain,) = run_node("StyliseFaces", style=style, latent=latent)
    same = run_node("StyleVariations", style=style, latent=latent, amount=0.0, count=1)
    assert torch.equal(same[0], plain) and torch.equal(same[2].w_plus, latent.w_plus)
    with pytest.raises(ValueError, match="Connect the generator"):
        run_node("StyleVariations", style=style, latent=latent, coarse=0.5)
    mixed = run_node("StyleVariations", style=style, latent=latent, coarse=0.5, source=source, amount=0.0, count=1)
    assert not torch.allclose(mixed[0], plain)


def test_a_reference_is_read_and_applied(
    source: FaceGenerator, style: FaceGenerator, encoder: FaceEncoder, faces: tuple[Tensor, FaceLatent]
) -> None:
    _, latent = faces
    _, other = run_node("SampleFaces", generator=source, seed=30, count=1)
    (picture,) = run_node("StyliseFaces", style=style, latent=other)
    given = {"style": style, "source": source, "align": "off"}
    reference, seen, aligned = run_node("EncodeReference", image=picture, steps=15, encoder=encoder, **given)
    start, first, _ = run_node("EncodeReference", image=picture, steps=0, encoder=encoder, **given)
    assert_close(aligned, picture, 3)
    assert len(reference) == 1
    assert (seen - picture).square().mean() < 0.8 * (first - picture).square().mean()
    stylised, led, by_reference = run_node("ApplyReference", style=style, latent=latent, reference=reference)
    assert stylised.shape[0] == 2 and len(by_reference) == 1 and torch.equal(by_reference[0], stylised)
    assert torch.equal(led.w_plus[:, :3], latent.w_plus[:, :3])
    (plain,) = run_node("StyliseFaces", style=style, latent=latent)
    none = run_node("ApplyReference", style=style, latent=latent, reference=reference, amount=0.0)
    assert torch.equal(none[0], plain)
    both, _, _ = run_node("EncodeReference", image=picture.repeat(2, 1, 1, 1), steps=2, several="batch", **given)
    stylised, _, by_reference = run_node("ApplyReference", style=style, latent=latent, reference=both)
    assert stylised.shape[0] == 4 and torch.equal(by_reference[1], stylised[[1, 3]])


def test_anchors_come_with_their_pictures(
    source: FaceGenerator, style: FaceGenerator, faces: tuple[Tensor, FaceLatent]
) -> None:
    _, latent = faces
    (pictures,) = run_node("StyliseFaces", style=style, latent=latent)
    given = {"style": style, "source": source, "align": "off", "steps": 0}
    reference, _, _ = run_node(
        "EncodeReference", image=pictures[1:], anchor_latent=latent, anchor_image=pictures, **given
    )
    assert torch.equal(reference.w_plus, latent.w_plus[1:])
    with pytest.raises(ValueError, match="Connect both, or neither"):
        run_node("EncodeReference", image=pictures, anchor_latent=latent, **given)


def test_an_unaligned_reference_is_cut_out(
    source: FaceGenerator, style: FaceGenerator, two_faces: None, photo: Tensor
) -> None:
    given = {"style": style, "source": source, "steps": 1}
    _, _, aligned = run_node("EncodeReference", image=photo, align="on", **given)
    assert aligned.shape == (1, RESOLUTION, RESOLUTION, 3), "the largest face alone"
    black = torch.zeros_like(photo)
    for align in ("on", "auto"):
        with pytest.raises(ValueError, match=r"\(90 x 80\) shows no face"):
            run_node("EncodeReference", image=black, align=align, **given)
    with pytest.raises(ValueError, match="is not square"):
        run_node("EncodeReference", image=photo, align="off", **given)
    _, _, square = run_node("EncodeReference", image=black[:, :, :80], align="auto", **given)
    assert float(square.abs().max()) < rounding(3), "a square picture without a face is taken as it is"


def test_the_report_is_saved_as_picture_and_numbers(
    source: FaceGenerator, style: FaceGenerator, faces: tuple[Tensor, FaceLatent], folders: Folders
) -> None:
    image, latent = faces
    given = {"image": image, "source": source, "latent": latent, "style": style}
    (stylised,) = run_node("StyliseFaces", style=style, latent=latent)
    losses = {"G": [1.0, 0.5, float("nan")], "D": [2.0], "same": [3.0, 3.0], "none": []}
    picture, numbers = run_node(
        "StylisationReport",
        **given,
        style_2=style,
        stylised=stylised,
        style_images=image.repeat(4, 1, 1, 1),
        losses=losses,
    )
    record = json.loads(numbers)
    names = [row["name"] for row in record["styles"]]
    assert names == ["test style", "test style (2)", "pictures"]
    assert record["styles"][0]["structure_distance"] > 0 and record["styles"][0]["d_kid"] is not None
    assert record["last_losses"] == {"G": None, "D": 2.0, "same": 3.0}
    folder = folders.output / "facestylist"
    with Image.open(folder / "report.png") as saved:
        assert (saved.height, saved.width) == tuple(picture.shape[1:3])
    assert json.loads((folder / "report.json").read_text()) == record
    run_node("StylisationReport", **given)
    assert (folder / "report-2.png").is_file(), "nothing is overwritten"
    with pytest.raises(ValueError, match="lies outside"):
        run_node("StylisationReport", **given, name="../../elsewhere")
    assert sorted(Path(folder).iterdir()) == sorted(
        folder / name for name in ("report.png", "report.json", "report-2.png", "report-2.json")
    )


def test_nobody_passes_through(source: FaceGenerator, style: FaceGenerator) -> None:
    _, latent = run_node("SampleFaces", generator=source, count=1)
    empty = latent.replace(w_plus=latent.w_plus[:0])
    stylised, grid, varied, by_seed = run_node("StyleVariations", style=style, latent=empty)
    assert len(stylised) == len(varied) == 0 and len(grid) == 1 and len(by_seed[0]) == 0
    stylised, _, by_reference = run_node("ApplyReference", style=style, latent=empty, reference=latent)
    assert len(stylised) == len(by_reference[0]) == 0
