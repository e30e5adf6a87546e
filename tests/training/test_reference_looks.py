"""Reading a reference's look: it comes closer from wherever it begins, and is applied as the formula says."""

from __future__ import annotations

import pytest
import torch
from tiny_networks import make_source
from tolerances import assert_close, assert_same_errors
from torch import Tensor, nn

from facestylist.core.callbacks import Callbacks
from facestylist.latents.sampling import sample_latent, synthesise
from facestylist.latents.settings import ApplyConfig
from facestylist.models.types import FaceEncoder, FaceGenerator, FaceLatent
from facestylist.training.inversion.reference import Anchors, apply_reference, encode_reference, nearest_anchor
from facestylist.training.inversion.settings import ReferenceConfig

pytestmark = [pytest.mark.numeric, pytest.mark.usefixtures("global_rng_untouched")]

BATCH = ReferenceConfig(steps=40, several="batch")


class FixedEncoder(nn.Module):
    """Answers with the same latent whatever it sees."""

    def __init__(self, w_plus: Tensor) -> None:
        super().__init__()
        self.w_plus = nn.Parameter(w_plus)

    def forward(self, images: Tensor) -> Tensor:
        return self.w_plus.expand(len(images), -1, -1)


@pytest.fixture(scope="module")
def known(source: FaceGenerator) -> tuple[FaceLatent, Tensor]:
    """Three latents and their pictures."""
    latent = sample_latent(source, [21, 22, 23])
    return latent, synthesise(source, latent).clamp(-1, 1)


def test_the_search_comes_closer(source: FaceGenerator, known: tuple[FaceLatent, Tensor]) -> None:
    target = known[1][:2]
    mean = synthesise(source, sample_latent(source, [0, 0], 0.0))
    with torch.inference_mode():
        found = encode_reference(target, source, BATCH)
    assert len(found) == 2 and found.w_space == source.w_space and found.reconstruction_error is not None
    before = (mean.clamp(-1, 1) - target).square().mean((1, 2, 3))
    assert (found.reconstruction_error < 0.4 * before).all()
    error = (synthesise(source, found).clamp(-1, 1) - target).square().mean((1, 2, 3))
    assert_same_errors(error, found.reconstruction_error, source.generator)
    alone = encode_reference(target[:1], source, BATCH)
    # Adam turns rounding of a gradient that is nearly nothing into a step; the other reference is 1 away from this one.
    influence = (alone.w_plus - found.w_plus[:1]).norm() / (found.w_plus[1:] - found.w_plus[:1]).norm()
    assert influence < 0.02, "references do not influence each other"


def test_several_references_become_one_look(source: FaceGenerator, known: tuple[FaceLatent, Tensor]) -> None:
    target = known[1][:2]
    each = encode_reference(target, source, ReferenceConfig(steps=3, several="batch"))
    one = encode_reference(target, source, ReferenceConfig(steps=3))
    assert_close(one.w_plus, each.w_plus.mean(0, keepdim=True), 4)
    assert len(one) == 1 and one.reconstruction_error is None


def test_it_begins_at_the_encoder_or_the_nearest_anchor(
    source: FaceGenerator, known: tuple[FaceLatent, Tensor]
) -> None:
    latent, pictures = known
    encoder = FaceEncoder(FixedEncoder(latent.w_plus[2:]), 32, source.num_ws, source.w_dim)
    config = ReferenceConfig(steps=0, several="batch")
    assert torch.equal(encode_reference(pictures[:1], source, config, encoder=encoder).w_plus, latent.w_plus[2:])
    anchors = Anchors(latent, pictures)
    nearly = (pictures[[1, 0]] + 0.02).clamp(-1, 1)
    assert torch.equal(encode_reference(nearly, source, config, anchors=anchors).w_plus, latent.w_plus[[1, 0]])
    assert nearest_anchor(nearly, anchors, None).tolist() == [1, 0], "pixels alone can tell too"
    with pytest.raises(ValueError, match="nothing to read the reference with"):
        encode_reference(pictures, source, config)
    with pytest.raises(ValueError, match="another generator"):
        encode_reference(pictures, source, config, anchors=Anchors(latent.replace(w_space="x"), pictures))
    with pytest.raises(ValueError, match="each latent needs its picture"):
        Anchors(latent, pictures[:2])


def test_the_sources_discriminator_serves_a_style_without_one(
    source: FaceGenerator, known: tuple[FaceLatent, Tensor]
) -> None:
    style = source.replace(discriminator=None)
    seen: list[dict[str, float]] = []
    callbacks = Callbacks(on_progress=lambda step, total, losses: seen.append(losses))
    encode_reference(known[1][:1], style, ReferenceConfig(steps=1), source, callbacks=callbacks)
    encode_reference(known[1][:1], style, ReferenceConfig(steps=1), callbacks=callbacks)
    assert set(seen[0]) == {"pixel", "feature", "mean"} and set(seen[1]) == {"pixel", "mean"}
    with pytest.raises(ValueError, match="nothing is compared"):
        encode_reference(known[1][:1], style, ReferenceConfig(steps=1, pixel_weight=0.0))


def test_the_mean_penalty_keeps_near_the_mean(source: FaceGenerator, known: tuple[FaceLatent, Tensor]) -> None:
    def distance(penalty: float) -> float:
        found = encode_reference(known[1][:1], source, ReferenceConfig(steps=25, mean_penalty=penalty))
        return float((found.w_plus - source.mean_latent).square().mean())

    assert distance(5.0) < 0.5 * distance(0.0)


def test_progress_previews_and_a_stop(source: FaceGenerator, known: tuple[FaceLatent, Tensor]) -> None:
    steps: list[tuple[int, int]] = []
    shown: list[Tensor] = []
    callbacks = Callbacks(
        on_progress=lambda step, total, losses: steps.append((step, total)),
        on_preview=lambda step, picture: shown.append(picture),
        should_stop=lambda: len(steps) >= 4,
    )
    config = ReferenceConfig(steps=10, several="batch", preview_interval=2, batch_size=2)
    found = encode_reference(known[1][:2], source, config, callbacks=callbacks)
    assert len(found) == 2 and steps == [(1, 10), (2, 10), (3, 10), (4, 10)]
    assert len(shown) == 2 and shown[0].shape == (3, 64, 64)


def test_applying_is_the_formula(source: FaceGenerator, known: tuple[FaceLatent, Tensor]) -> None:
    faces = sample_latent(source, [1, 2])
    reference = known[0]
    led = apply_reference(source, faces, reference, ApplyConfig(amount=0.8, layer_cut=5, structure=0.3))
    face, look = faces.w_plus[1], reference.w_plus[2]
    assert len(led) == 6
    assert torch.equal(led.w_plus[5, :4], face[:4])
    size = float((face.abs() + look.abs()).max())
    assert_close(led.w_plus[5, 4], 0.7 * face[4] + 0.3 * look[4], 4, size)
    assert_close(led.w_plus[5, 5:], 0.2 * face[5:] + 0.8 * look[5:], 4, size)
    same = apply_reference(source, faces, reference, ApplyConfig(amount=0.0))
    assert torch.equal(same.w_plus[::3], faces.w_plus), "an amount of 0 is the identity to the bit"


def test_other_generators_are_refused() -> None:
    one, other = make_source(seed=0), make_source(seed=1)
    with pytest.raises(ValueError, match="different generators"):
        apply_reference(one, sample_latent(one, [0]), sample_latent(other, [0]))
