"""Sampling, mixing, inverting and stylising as nodes, on tiny networks."""

from __future__ import annotations

import json
import math

import pytest
import torch
from node_bench import RESOLUTION, run_node
from tolerances import assert_close, roundings
from torch import Tensor

from facestylist.latents import encoding
from facestylist.models.encoder import Encoder, EncoderConfig
from facestylist.models.types import FaceEncoder, FaceGenerator

pytestmark = pytest.mark.usefixtures("global_rng_untouched")


def test_a_seed_names_a_face(source: FaceGenerator) -> None:
    image, latent = run_node("SampleFaces", generator=source, seed=3, count=3)
    assert image.shape == (3, RESOLUTION, RESOLUTION, 3)
    assert latent.w_plus.shape == (3, source.num_ws, source.w_dim)
    assert latent.w_space == source.w_space
    later, _ = run_node("SampleFaces", generator=source, seed=4, count=1)
    why = "the second face of seed 3 is the first of seed 4"
    assert_close(image[1], later[0], roundings(source.generator), why=why)


def test_one_latent_is_drawn_by_source_and_style(source: FaceGenerator, style: FaceGenerator) -> None:
    image, latent = run_node("SampleFaces", generator=source, seed=3, count=2)
    (stylised,) = run_node("StyliseFaces", style=style, latent=latent)
    assert stylised.shape == image.shape
    (none,) = run_node("StyliseFaces", style=style, latent=latent, source=source, strength=0.0)
    assert torch.equal(none, image), "strength 0 is the source's picture"
    (whole,) = run_node("StyliseFaces", style=style, latent=latent, source=source, strength=1.0)
    assert torch.equal(whole, stylised)
    (half,) = run_node("StyliseFaces", style=style, latent=latent, source=source, strength=0.5)
    assert (half - image).abs().mean() > 1e-3
    assert (half - stylised).abs().mean() > 1e-3


def test_blend_ends_and_refusal(source: FaceGenerator, style: FaceGenerator) -> None:
    (same,) = run_node("BlendGenerators", source=source, style=style, structure=0.0, appearance=0.0)
    assert same is source
    (full,) = run_node("BlendGenerators", source=source, style=style, structure=1.0, appearance=1.0)
    assert full is style
    (mixed,) = run_node("BlendGenerators", source=source, style=style, split_resolution="16")
    assert mixed.discriminator is None
    _, latent = run_node("SampleFaces", generator=mixed, count=1)
    with pytest.raises(ValueError, match="Connect the generator"):
        run_node("StyliseFaces", style=style, latent=latent, strength=0.5)
    other = source.to("cpu")
    other.generator.mean_latent.add_(1)
    with pytest.raises(ValueError, match="another generator"):
        run_node("StyliseFaces", style=other, latent=latent)


def test_encoder_then_optimisation(source: FaceGenerator, encoder: FaceEncoder) -> None:
    target, _ = run_node("SampleFaces", generator=source, seed=8, count=2)
    latent, picture = run_node("InvertWithEncoder", image=target, encoder=encoder, generator=source)
    assert picture.shape == target.shape
    assert latent.w_plus.shape == (2, source.num_ws, source.w_dim)
    assert not latent.w_plus.requires_grad
    better, refined = run_node("InvertByOptimisation", image=target, generator=source, start=latent, steps=25)
    assert (refined - target).square().mean() < 0.8 * (picture - target).square().mean()
    assert bool((better.reconstruction_error <= latent.reconstruction_error).all())


def test_a_face_that_cannot_be_drawn_is_told_of(
    source: FaceGenerator, style: FaceGenerator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(0)
        config = EncoderConfig(64, source.num_ws, source.w_dim, (8, 8, 8, 8, 8), face_branch=True)
        encoder = FaceEncoder(Encoder(config).eval().requires_grad_(False), 64, source.num_ws, source.w_dim)
    target, _ = run_node("SampleFaces", generator=source, seed=8, count=2)
    for alike, told in ((math.inf, False), (1e-9, True)):
        monkeypatch.setattr(encoding, "SAME_PERSON", alike)
        latent, drawn = run_node("InvertWithEncoder", image=target, encoder=encoder, generator=source)
        searched, _ = run_node("InvertByOptimisation", image=target, generator=source, encoder=encoder, steps=1)
        _, _, tuned, _ = run_node(
            "PivotalTuning", image=target, generator=source, latent=latent, encoder=encoder, steps=1
        )
        for found in (latent, searched, tuned):
            assert found.identity_distance.shape == (2,) and (found.identity_distance > 0).all()
        assert caplog.text.count("Faces 1, 2 of 2 do not look like the photo") == (3 if told else 0)
    assert "use a fast stylizer" in caplog.text
    (numbers,) = run_node("StylisationReport", image=target, source=source, latent=latent, style=style)[1:]
    assert json.loads(numbers)["identity_distance"] == latent.identity_distance.tolist()
    (moved,) = run_node("MixLatents", latent_a=latent, latent_b=latent.replace(w_plus=latent.w_plus + 1), amount=0.5)
    assert moved.identity_distance is None, "nobody compared this face"


def test_optimisation_needs_no_encoder(source: FaceGenerator) -> None:
    target, _ = run_node("SampleFaces", generator=source, seed=8, count=1)
    mean, _ = run_node("SampleFaces", generator=source, truncation_psi=0.0, count=1)
    _, picture = run_node("InvertByOptimisation", image=target, generator=source, steps=40)
    assert (picture - target).square().mean() < 0.7 * (mean - target).square().mean()


@pytest.mark.usefixtures("two_faces")
def test_no_face_passes_through_the_whole_graph(
    source: FaceGenerator, style: FaceGenerator, encoder: FaceEncoder, photo: Tensor
) -> None:
    black = torch.zeros_like(photo)
    faces, crops, _ = run_node("AlignFaces", image=black, on_no_face="skip")
    latent, picture = run_node("InvertWithEncoder", image=crops, encoder=encoder, generator=source)
    assert picture.shape == (0, RESOLUTION, RESOLUTION, 3)
    latent, _ = run_node("InvertByOptimisation", image=crops, generator=source, start=latent, steps=1)
    (stylised,) = run_node("StyliseFaces", style=style, latent=latent, source=source, strength=0.5)
    assert stylised.shape == (0, RESOLUTION, RESOLUTION, 3)
    image, _ = run_node("PasteFaces", faces=faces, stylised=stylised)
    assert torch.equal(image, black)


@pytest.mark.usefixtures("two_faces")
def test_a_photo_becomes_a_stylised_photo(
    source: FaceGenerator, style: FaceGenerator, encoder: FaceEncoder, photo: Tensor
) -> None:
    faces, crops, _ = run_node("AlignFaces", image=photo, size=64)
    latent, _ = run_node("InvertWithEncoder", image=crops, encoder=encoder, generator=source)
    (stylised,) = run_node("StyliseFaces", style=style, latent=latent)
    image, mask = run_node("PasteFaces", faces=faces, stylised=stylised)
    assert image.shape == photo.shape
    assert (image - photo).abs()[mask > 0.9].mean() > 0.05
