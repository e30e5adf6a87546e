"""Directions: SeFa's are the eigenvectors, samples give back what was planted, and a step is what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_generator import make_generator, make_style
from tolerances import assert_close

from facestylist.latents.directions import (
    SAMPLES,
    find_by_samples,
    find_by_weights,
    load_directions,
    move_along,
    save_directions,
    style_weights,
)
from facestylist.latents.sampling import sample_latent, seeded_z, synthesise
from facestylist.models.generator import Generator
from facestylist.models.types import FaceGenerator

pytestmark = pytest.mark.usefixtures("global_rng_untouched")


@pytest.fixture(scope="module")
def source() -> FaceGenerator:
    return make_generator()


def test_sefa_gives_the_eigenvectors_of_the_style_weights(source: FaceGenerator) -> None:
    blocks = source.generator.synthesis.each_block()
    # Code 2 drives the second convolution of the 8 px block, 3 and 4 those of the 16 px block.
    affines = [blocks[1].conv1.affine, blocks[2].conv0.affine, blocks[2].conv1.affine]  # type: ignore[union-attr]
    stacked = torch.cat([affine.weight * affine.weight_gain for affine in affines]).double()
    found = find_by_weights(source, (2, 3, 4), count=6)
    vectors = found.vectors[:, 0].double()
    # Found in float64, kept in float32.
    assert_close((vectors @ vectors.T).float(), torch.eye(6), 16)
    values = torch.linalg.svdvals(stacked).square()[:6]
    product = vectors @ stacked.T @ stacked
    assert_close(product.float(), values[:, None] * vectors, 16, float(values[0]))
    assert_close((stacked @ vectors.T).norm(dim=0).square().float(), values, 16, why="the widest first")
    assert found.layers == (2, 3, 4) and found.w_space == source.w_space
    assert torch.equal(find_by_weights(source, (2, 3, 4), count=6).vectors, found.vectors)
    assert not torch.allclose(find_by_weights(source, (5, 6), count=6).vectors, found.vectors, atol=0.1)


def test_every_code_drives_what_its_weights_say(source: FaceGenerator) -> None:
    """A style input changes with its own code and no other: the order of `style_weights` is the order of W+."""
    seen: list[torch.Tensor] = []
    weights = style_weights(source)
    assert len(weights) == source.num_ws
    w_plus = sample_latent(source, [1]).w_plus
    synthesis = source.generator.synthesis
    affines = [c.affine for c in synthesis.convolutions()] + [synthesis.each_block()[-1].to_rgb.affine]
    hooks = [affine.register_forward_hook(lambda *parts: seen.append(parts[2])) for affine in affines]
    with torch.no_grad():
        synthesis(w_plus)
        before, seen = seen, []
        for hook in hooks:
            hook.remove()
        hooks = [affine.register_forward_hook(lambda *parts: seen.append(parts[2])) for affine in affines]
        shifted = w_plus.clone()
        shifted[:, 3] += 1
        synthesis(shifted)
    for hook in hooks:
        hook.remove()
    changed = [index for index, (x, y) in enumerate(zip(before, seen, strict=True)) if not torch.equal(x, y)]
    assert changed == [3]
    assert_close(seen[3] - before[3], weights[3].sum(1)[None], 3 * 16, float(seen[3].abs().max()))


def test_samples_give_back_planted_directions() -> None:
    source = make_generator()
    planted = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(5)))[0].T
    spreads = torch.tensor([8.0, 4.0, 2.0] + [0.1] * 13)

    class Planted(torch.nn.Module):
        def forward(self, z: torch.Tensor, c: torch.Tensor | None = None) -> torch.Tensor:
            return (z * spreads) @ planted + 3

    network = Generator.__new__(Generator)
    torch.nn.Module.__init__(network)
    network.config, network.mapping, network.synthesis = source.generator.config, Planted(), source.generator.synthesis
    network.register_buffer("mean_latent", torch.zeros(16))
    found = find_by_samples(source.replace(generator=network), count=3)
    cosines = (found.vectors[:, 0] * planted[:3]).sum(1).abs()
    assert (cosines > 0.999).all(), cosines
    # Four standard errors of a standard deviation.
    assert torch.allclose(found.scale, spreads[:3], rtol=4 / (2 * SAMPLES) ** 0.5)


def test_the_scale_is_a_standard_deviation_of_w(source: FaceGenerator) -> None:
    w = source.generator.mapping(seeded_z(range(2000), 16))
    for found in (find_by_weights(source, count=4), find_by_samples(source, count=4)):
        # Four standard errors of both standard deviations.
        near = 4 * (1 / (2 * 2000) + 1 / (2 * SAMPLES)) ** 0.5
        assert torch.allclose((w @ found.vectors[:, 0].T).std(0), found.scale, rtol=near)
    components = find_by_samples(source, count=4)
    assert_close(components.vectors[:, 0] @ components.vectors[:, 0].T, torch.eye(4), 2 * 16)
    assert (components.scale.diff() <= 0).all()


def test_a_step_goes_as_far_as_it_says_on_its_layers(source: FaceGenerator) -> None:
    latent, directions = sample_latent(source, [1, 2]), find_by_weights(source, (2, 3), count=3)
    assert move_along(latent, directions, 1, 0.0) is latent
    moved = move_along(latent, directions, 1, 2.0)
    step = 2 * directions.scale[1] * directions.vectors[1, 0]
    walked = moved.w_plus[:, 2:4] - latent.w_plus[:, 2:4]
    assert_close(walked, step.expand(2, 2, -1), 4, float(moved.w_plus.abs().max()))
    rest = [0, 1, 4, 5, 6, 7]
    assert torch.equal(moved.w_plus[:, rest], latent.w_plus[:, rest])
    back = move_along(moved, directions, 1, -2.0)
    assert_close(back.w_plus, latent.w_plus, 4, float(moved.w_plus.abs().max()))
    elsewhere = move_along(latent, directions, 1, 2.0, layers=(7,)).w_plus
    assert torch.equal(elsewhere[:, :7], latent.w_plus[:, :7]) and not torch.equal(elsewhere[:, 7], latent.w_plus[:, 7])
    assert not torch.equal(synthesise(make_style(source), moved), synthesise(make_style(source), latent))


def test_our_file_keeps_everything_to_the_bit(source: FaceGenerator, tmp_path: Path) -> None:
    directions = find_by_weights(source, (2, 3, 5), count=3)
    path = save_directions(directions, tmp_path / "d.safetensors")
    again = load_directions(path, make_style(source))
    assert torch.equal(again.vectors, directions.vectors) and torch.equal(again.scale, directions.scale)
    assert (again.layers, again.w_space, again.origin) == ((2, 3, 5), source.w_space, directions.origin)
    with pytest.raises(ValueError, match="found in another generator"):
        load_directions(path, make_generator(seed=3))
    with pytest.raises(ValueError, match="saved as .safetensors"):
        save_directions(directions, tmp_path / "d.npy")


def test_files_of_other_projects(source: FaceGenerator, tmp_path: Path) -> None:
    array = np.random.RandomState(0).randn(16, 16).astype(np.float32)
    rows = torch.from_numpy(array)
    np.save(tmp_path / "one.npy", array[0])
    np.save(tmp_path / "boundary.npy", array[:1])
    np.save(tmp_path / "rows.npy", array[:5])
    np.save(tmp_path / "layers.npy", array[:8])
    torch.save({"ckpt": "x.pt", "eigvec": rows}, tmp_path / "closed_form.pt")
    torch.save({"comp": rows, "mean": rows[:1], "std": torch.arange(16.0)}, tmp_path / "ganspace.pt")
    torch.save(rows[:1], tmp_path / "age.pt")
    for name, shape, first in (
        ("one.npy", (1, 1, 16), rows[0]),
        ("boundary.npy", (1, 1, 16), rows[0]),
        ("rows.npy", (5, 1, 16), rows[0]),
        ("layers.npy", (1, 8, 16), rows[0]),
        ("closed_form.pt", (16, 1, 16), rows[:, 0]),
        ("ganspace.pt", (16, 1, 16), rows[0]),
        ("age.pt", (1, 1, 16), rows[0]),
    ):
        found = load_directions(tmp_path / name, source)
        assert tuple(found.vectors.shape) == shape, name
        assert torch.equal(found.vectors[0, 0], first), name
        assert found.layers == tuple(range(8))
    assert torch.equal(load_directions(tmp_path / "ganspace.pt", source).scale, torch.arange(16.0))
    layered = load_directions(tmp_path / "layers.npy", source)
    latent = sample_latent(source, [1])
    moved = move_along(latent, layered, 0, 1.0)
    assert_close((moved.w_plus - latent.w_plus)[0], rows[:8], 4, float(moved.w_plus.abs().max()))


def test_refusals(source: FaceGenerator, tmp_path: Path) -> None:
    latent, directions = sample_latent(source, [1]), find_by_samples(source, count=2)
    with pytest.raises(ValueError, match="no direction 2: there are 2"):
        move_along(latent, directions, 2, 1.0)
    with pytest.raises(ValueError, match="belong to different generators"):
        move_along(sample_latent(make_generator(seed=3), [1]), directions, 0, 1.0)
    with pytest.raises(ValueError, match="belong to different generators"):
        move_along(latent, directions.replace(vectors=torch.zeros(2, 1, 512)), 0, 1.0)
    with pytest.raises(ValueError, match="17 directions were asked for"):
        find_by_weights(source, count=17)
    with pytest.raises(ValueError, match="have to be some of 0 to 7"):
        find_by_samples(source, layers=())
    np.save(tmp_path / "long.npy", np.zeros((2, 512), np.float32))
    with pytest.raises(ValueError, match=r"\[K, 16\] or \[K, 8, 16\], is needed.*an array \[2, 512\]"):
        load_directions(tmp_path / "long.npy", source)
    torch.save({"a": "text"}, tmp_path / "none.pt")
    with pytest.raises(ValueError, match="no arrays of numbers are in it, where an array of directions"):
        load_directions(tmp_path / "none.pt", source)
