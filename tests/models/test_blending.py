"""Mixing two generators block by block."""

from __future__ import annotations

import pytest
import torch
from tolerances import assert_close

from facestylist.latents.sampling import sample_latent, synthesise
from facestylist.models.blending import blend_generators, strength_weights, swap_weights, with_strength
from facestylist.models.generator import Generator, GeneratorConfig
from facestylist.models.types import FaceGenerator

RESOLUTIONS = (4, 8, 16, 32)


def build(seed: int, resolution: int = 32, channel_max: int = 8) -> FaceGenerator:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Generator(GeneratorConfig.make(resolution, 256, channel_max, z_dim=8, w_dim=8, mapping_layers=2))
    return FaceGenerator(network.requires_grad_(False), None, style=f"style {seed}")


@pytest.fixture(scope="module")
def source() -> FaceGenerator:
    return build(1)


@pytest.fixture(scope="module")
def style(source: FaceGenerator) -> FaceGenerator:
    """Shares the source's mapping network, as a fine-tuned style does."""
    other = build(2)
    other.generator.mapping.load_state_dict(source.generator.mapping.state_dict())
    return other


def picture(generator: FaceGenerator) -> torch.Tensor:
    return synthesise(generator, sample_latent(generator, [3]))


def test_the_ends_are_the_two_generators_to_the_bit(source: FaceGenerator, style: FaceGenerator) -> None:
    assert blend_generators(source, style, swap_weights(RESOLUTIONS, 16, 0.0, 0.0, 1.0)) is source
    assert blend_generators(source, style, swap_weights(RESOLUTIONS, 16, 1.0, 1.0, 1.0)) is style
    assert with_strength(source, style, 0.0) is source
    assert with_strength(source, style, 1.0) is style
    assert with_strength(None, style, 1.0) is style


def test_each_block_takes_its_share(source: FaceGenerator, style: FaceGenerator) -> None:
    before = {name: tensor.clone() for name, tensor in source.generator.state_dict().items()}
    weights = {4: 0.0, 8: 0.25, 16: 1.0, 32: 0.5}
    blended = blend_generators(source, style, weights)
    state = blended.generator.state_dict()
    for name, tensor in source.generator.state_dict().items():
        share = weights[4 * 2 ** int(name.split(".")[2])] if name.startswith("synthesis.blocks.") else 0.0
        expected = torch.lerp(tensor, style.generator.state_dict()[name], share)
        assert_close(state[name], expected, 3, why=name)
        assert torch.equal(tensor, before[name]), f"the source's {name} was changed"
    assert blended.w_space == source.w_space
    assert blended.discriminator is None
    assert not torch.allclose(picture(blended), picture(source), atol=1e-3)
    assert not torch.allclose(picture(blended), picture(style), atol=1e-3)


def test_a_hard_edge_swaps_layers(source: FaceGenerator, style: FaceGenerator) -> None:
    weights = swap_weights(RESOLUTIONS, 16, structure=0.0, appearance=1.0, smoothness=0.0)
    assert weights == {4: 0.0, 8: 0.0, 16: 1.0, 32: 1.0}
    state = blend_generators(source, style, weights).generator.state_dict()
    assert torch.equal(state["synthesis.blocks.1.conv1.weight"], source.generator.synthesis.blocks[1].conv1.weight)
    assert torch.equal(state["synthesis.blocks.2.conv1.weight"], style.generator.synthesis.blocks[2].conv1.weight)


def test_a_soft_edge_rises_with_resolution() -> None:
    weights = list(swap_weights(RESOLUTIONS, 16, 0.0, 1.0, smoothness=1.0).values())
    assert weights == sorted(weights)
    assert 0 < weights[0] < 0.1 < weights[1] < 0.5 < weights[2] < 0.9 < weights[3] < 1


@pytest.mark.parametrize("strength", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_strength_brings_in_fine_blocks_first(strength: float) -> None:
    weights = strength_weights(RESOLUTIONS, strength)
    shares = [weights[r] for r in RESOLUTIONS]
    assert shares == sorted(shares)
    assert 0 < sum(shares) < len(shares)
    more = strength_weights(RESOLUTIONS, strength + 0.1)
    assert all(more[r] >= weights[r] for r in RESOLUTIONS)
    assert sum(more.values()) > sum(shares)


def test_strength_is_exact_at_its_ends() -> None:
    for resolutions in (RESOLUTIONS, [2**k for k in range(2, 11)]):
        assert set(strength_weights(resolutions, 0.0).values()) == {0.0}
        assert set(strength_weights(resolutions, 1.0).values()) == {1.0}


def test_a_blend_made_in_inference_mode_can_be_differentiated(source: FaceGenerator, style: FaceGenerator) -> None:
    with torch.inference_mode():
        blended = with_strength(source, style, 0.5)
    w = torch.zeros(1, blended.num_ws, blended.w_dim, requires_grad=True)
    blended.generator.synthesis(w).square().mean().backward()
    assert w.grad is not None
    assert torch.count_nonzero(w.grad) > 0


def test_generators_that_do_not_belong_together_are_refused(source: FaceGenerator, style: FaceGenerator) -> None:
    half = dict.fromkeys(RESOLUTIONS, 0.5)
    with pytest.raises(ValueError, match="mapping networks differ"):
        blend_generators(source, build(5), half)
    with pytest.raises(ValueError, match="32 px pictures and the other 16 px"):
        blend_generators(source, build(1, resolution=16), half)
    with pytest.raises(ValueError, match="different widths"):
        blend_generators(source, build(1, channel_max=4), half)
    with pytest.raises(ValueError, match="between 0 and 1"):
        blend_generators(source, style, {**half, 8: 1.5})
    with pytest.raises(ValueError, match="Connect the generator"):
        with_strength(None, style, 0.5)
    with pytest.raises(ValueError, match="`strength` is 1.2"):
        with_strength(source, style, 1.2)
