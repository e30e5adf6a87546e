"""Outputs of the public implementations, reproduced to 1e-4 of their largest value."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from reference_files import EXACTNESS, assert_close, outputs
from tolerances import rounding

from facestylist.models import checkpoints, ops
from facestylist.models.generator import Generator

ReferenceFile = Callable[[str], Path]


def _gradient(generator: Generator, w_plus: torch.Tensor) -> torch.Tensor:
    w_plus = w_plus.clone().requires_grad_()
    image = generator.synthesis(w_plus)
    probe = torch.from_numpy(np.random.RandomState(99).randn(*image.shape).astype("float32"))
    return torch.autograd.grad((image * probe).mean(), w_plus)[0]


class _Kinks:
    """Leaky ReLUs of one pass: the inputs they saw, and which of those are to be taken for the other sign.

    A few of a million inputs lie within rounding of zero, and the order in which a processor sums decides which slope
    their gradient gets. Both are right; the reference's processor chose one.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.inputs: list[torch.Tensor] = []
        self.flipped: list[tuple[int, tuple[int, ...]]] = []
        monkeypatch.setattr(
            ops,
            "bias_noise_leaky_relu",
            lambda x, bias, noise: self.leaky_relu((x if bias is None else x + bias[:, None, None]) + noise),
        )

    def leaky_relu(self, x: torch.Tensor) -> torch.Tensor:
        slope = torch.where(x > 0, 1.0, ops.LEAKY_SLOPE)
        for layer, where in self.flipped:
            if layer == len(self.inputs):
                slope[where] = 1.0 + ops.LEAKY_SLOPE - slope[where]
        self.inputs.append(x.detach())
        return x * slope

    def gradient(self, generator: Generator, w_plus: torch.Tensor) -> torch.Tensor:
        self.inputs = []
        return _gradient(generator, w_plus)

    def near_zero(self, layer: int, sample: int) -> list[tuple[int, ...]]:
        """Where that layer's input is zero but for rounding: nearer than eight roundings of its largest value."""
        x = self.inputs[layer]
        found = (x[sample].abs() < rounding(8, float(x.abs().max()))).nonzero().tolist()
        return [(sample, *where) for where in found]


def _assert_gradient_but_for_kinks(generator: Generator, w_plus: torch.Tensor, reference: torch.Tensor) -> None:
    """The gradient is the reference's, if need be with another slope at no more than three inputs that are zero
    but for rounding."""
    ours = _gradient(generator, w_plus)
    tolerance = EXACTNESS * reference.abs().max()
    with pytest.MonkeyPatch.context() as patch:
        kinks = _Kinks(patch)
        while (ours - reference).abs().max() > tolerance:
            assert len(kinks.flipped) < 3, "more than rounding sets the gradients apart"
            off = (ours - reference).abs().amax(dim=2) > tolerance
            sample = int(off.any(dim=1).nonzero()[0])
            # A layer's slope reaches its own code and those before it; after the last layer off there is none.
            layer = int(off[sample].nonzero().max())
            kinks.gradient(generator, w_plus)
            before, known = (ours - reference).abs().max(), list(kinks.flipped)
            for where in kinks.near_zero(layer, sample):
                kinks.flipped = [*known, (layer, where)]
                candidate = kinks.gradient(generator, w_plus)
                if (candidate - reference)[sample, layer].abs().max() <= tolerance:
                    ours = candidate
                    break
            assert (ours - reference).abs().max() < before, f"nothing within rounding explains layer {layer}"


@pytest.mark.parametrize("case", ["ros_g64_narrow", "ros_g64_cm1"])
def test_rosinality_generator(case: str, reference_file: ReferenceFile) -> None:
    expected, generator = outputs(case), checkpoints.load_generator(reference_file(f"{case}.pt")).generator
    with torch.no_grad():
        assert_close(generator.mapping(expected["z"]), expected["w"])
        assert_close(generator.mean_latent, expected["latent_avg"])
        assert_close(generator(expected["z"]), expected["img_const"])
        assert_close(generator(expected["z"], truncation_psi=0.7), expected["img_psi07"])
        assert_close(generator.truncate(expected["w"], 0.7), expected["latent_psi07"])
        assert_close(generator.synthesis(expected["wplus"]), expected["img_wplus"])
    _assert_gradient_but_for_kinks(generator, expected["wplus"], expected["grad_wplus"])


def _assert_discriminates(
    network: torch.nn.Module, images: torch.Tensor, logits: torch.Tensor, r1: torch.Tensor
) -> None:
    pictures = (images / 127.5 - 1).requires_grad_()
    ours = network(pictures)
    assert_close(ours, logits)
    (gradient,) = torch.autograd.grad(ours.sum(), pictures)
    assert_close(gradient.square().sum(dim=(1, 2, 3)), r1)


def test_rosinality_discriminator(reference_file: ReferenceFile) -> None:
    expected = outputs("ros_d64_narrow")
    network = checkpoints.load_discriminator(reference_file("ros_d64_narrow.pt"))
    _assert_discriminates(network, expected["in_u8"], expected["logits"], expected["r1"])


def test_nvidia_generator_and_discriminator(reference_file: ReferenceFile) -> None:
    expected = outputs("nv_g64_narrow")
    loaded = checkpoints.load_generator(reference_file("nv_g64_narrow.pkl"))
    generator = loaded.generator
    with torch.no_grad():
        w = generator.mapping(expected["z"])
        assert_close(generator.broadcast(w), expected["ws"])
        assert_close(generator.truncate(w, 0.7), expected["ws_psi07"])
        assert_close(generator.truncate(w, 0.5, 4), expected["ws_psi05_cut4"])
        assert_close(generator(expected["z"]), expected["img_const"])
        assert_close(generator(expected["z"], truncation_psi=0.7, noise="none"), expected["img_psi07_nonoise"])
        assert_close(generator.synthesis(expected["wplus"]), expected["img_wplus"])
    _assert_gradient_but_for_kinks(generator, expected["wplus"], expected["grad_wplus"])
    assert loaded.discriminator is not None
    _assert_discriminates(loaded.discriminator, expected["d_in_u8"], expected["d_logits"], expected["d_r1"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["nv_g64_narrow.pkl", "ros_g64_narrow.pt"])
def test_half_precision_stays_within_a_fiftieth(name: str, dtype: torch.dtype, reference_file: ReferenceFile) -> None:
    expected = outputs(Path(name).stem)
    loaded = checkpoints.load_generator(reference_file(name))
    with torch.no_grad(), torch.autocast("cpu", dtype):
        # Codes are worth their full precision: an error in them is an error in who it is.
        w = loaded.generator.mapping(expected["z"])
        assert w.dtype == torch.float32
        assert_close(w, expected["w"] if "w" in expected else expected["ws"][:, 0])
        drawn = {
            "img_const": loaded.generator(expected["z"]),
            "img_psi07": loaded.generator(expected["z"], truncation_psi=0.7),
            "img_psi07_nonoise": loaded.generator(expected["z"], truncation_psi=0.7, noise="none"),
            "img_wplus": loaded.generator.synthesis(expected["wplus"]),
        }
        if loaded.discriminator is not None:
            drawn["d_logits"] = loaded.discriminator(expected["d_in_u8"] / 127.5 - 1)
    compared = [name for name in drawn if name in expected]
    assert len(compared) >= 3
    for name in compared:
        off = (drawn[name] - expected[name]).abs().max() / expected[name].abs().max()
        assert drawn[name].dtype == torch.float32 and 1e-5 < off <= 2e-2, f"{name}: {off:.1e}"
