"""Numbers of a report: 0 where nothing changed, larger where more did, and left out where they cannot be measured."""

from __future__ import annotations

import json
import math

import pytest
import torch
from tiny_networks import make_styles
from tolerances import rounding

from facestylist.latents.sampling import sample_latent, synthesise
from facestylist.models.types import FaceGenerator
from facestylist.training.losses.distances import (
    appearance_distance,
    d_kid,
    kernel_discrepancy,
    sliced_patch_distance,
    structure_distance,
)
from facestylist.training.reports.report import make_report

pytestmark = pytest.mark.usefixtures("global_rng_untouched")


def test_kernel_discrepancy_is_the_unbiased_estimate() -> None:
    random = torch.Generator().manual_seed(0)
    x, y, z = (torch.randn(200, 6, generator=random) for _ in range(3))
    assert abs(kernel_discrepancy(x, y)) < 0.1
    assert kernel_discrepancy(z + 1.0, y) > 1.0
    a, b = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [3.0], [5.0]])
    scaled = [(t - 3.0) / (2.0 + 1e-3) for t in (a, b)]
    k = [[(p @ q.t() + 1) ** 3 for q in scaled] for p in scaled]
    by_hand = k[0][0][0, 1] + (k[1][1].sum() - k[1][1].trace()) / 6 - 2 * k[0][1].mean()
    near = rounding(16, max(float(m.abs().max()) for row in k for m in row))
    assert kernel_discrepancy(a, b) == pytest.approx(float(by_hand), abs=near)
    assert math.isnan(kernel_discrepancy(a[:1], b))


def test_distances_are_0_for_the_same_and_grow(source: FaceGenerator) -> None:
    critic = source.discriminator
    assert critic is not None
    pictures = make_styles(10)
    other = make_styles(10, seed=9)
    assert sliced_patch_distance(pictures, pictures) < sliced_patch_distance(pictures, -pictures)
    lighter = pictures + 0.2
    lines, colours = (sliced_patch_distance(lighter, pictures, part=part) for part in ("details", "colours"))
    assert lines < 0.2 * colours
    assert structure_distance(critic, pictures, pictures).abs().max() == 0
    moved = structure_distance(critic, pictures[:3], other[:3])
    assert moved.shape == (3,) and (moved > structure_distance(critic, pictures[:3], pictures[:3] * 0.9)).all()
    assert d_kid(critic, pictures[:5], pictures[5:]) < d_kid(critic, -pictures[:5], pictures[5:])
    maps = [torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))]
    assert appearance_distance(maps, maps) == 0 < appearance_distance([maps[0] + 1], maps)
    assert appearance_distance([maps[0].flip(3)], maps) < 5 * 5 * rounding(8 * 8) ** 2, "what is where does not count"


def test_a_report_of_the_source_itself_says_that_nothing_moved(source: FaceGenerator) -> None:
    latent = sample_latent(source, [1, 2])
    pictures = synthesise(source, latent).clamp(-1, 1)
    styles = make_styles(12)
    report = make_report(pictures, source, latent, {"same": source}, {"red": styles[:4]}, styles)
    same, red = report.styles
    assert report.reconstruction_error == (0.0, 0.0) and report.faces == 2 and report.style_pictures == 12
    assert same.semantic_feature == same.semantic_self == 0
    assert same.structure_distance is not None and red.structure_distance is not None
    assert abs(same.structure_distance) < 0.001 * red.structure_distance
    assert red.semantic_feature is None and red.d_kid is None, "four pictures are too few for a distance of sets"
    assert same.d_kid is not None and same.patch_distance is not None
    assert json.loads(json.dumps(report.as_json()))["styles"][0]["name"] == "same"


def test_what_cannot_be_measured_is_said(source: FaceGenerator) -> None:
    latent = sample_latent(source, [1])
    pictures = synthesise(source, latent).clamp(-1, 1)
    bare = source.replace(discriminator=None)
    report = make_report(pictures, bare, latent, {"s": bare})
    assert report.styles[0].structure_distance is None and report.styles[0].patch_distance is None
    assert len(report.notes) == 2 and "discriminator" in report.notes[0]
    with pytest.raises(ValueError, match="the latent of each face"):
        make_report(pictures.repeat(2, 1, 1, 1), source, latent, {})
    with pytest.raises(ValueError, match="do not belong to 2 faces"):
        make_report(pictures.repeat(2, 1, 1, 1), source, sample_latent(source, [1, 1]), {}, {"x": make_styles(3)})
