"""Rows of `bench speed` that are one pass, or one training step, of one network."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from ...core.assets import ASSETS
from ...core.pictures import image_to_tensor, read_picture
from ...detection.detectors import detect_faces, load_detector
from ...faces.align import align_faces
from ...latents.encoding import invert_with_encoder
from ...latents.sampling import sample_latent, synthesise
from ...models.checkpoints import load_encoder, load_generator
from ...models.discriminator import Discriminator, DiscriminatorConfig
from ...models.encoder import Encoder
from ...models.generator import Generator, GeneratorConfig
from ...models.psp import PspConfig, PspEncoder
from ...models.types import FaceEncoder, FaceGenerator
from ...training.finetune.settings import FinetuneConfig
from ...training.finetune.task import FinetuneTask
from ...training.inversion.pivotal import PivotalTask
from ...training.inversion.search import LatentSearch, SearchContext
from ...training.inversion.settings import InversionConfig, PivotalConfig
from ...training.kit.step import Step
from ...training.pairs.renderer import level_blends, to_bytes
from ...training.pairs.settings import PairsConfig
from ...training.pairs.supervise import PairSupervisionTask
from ...training.pairs.supervision_settings import PairSupervisionConfig
from ...training.pairs.types import PAIR_ORIGINS, GeneratorReference, StylePairs
from ...training.stylizer.dataset import pair_batches
from ...training.stylizer.settings import StylizerConfig
from ...training.stylizer.task import PatchDiscriminator, StylizerTask, new_network, seeded_network
from .flops import (
    TRAINED,
    counted_flops,
    discriminator_flops,
    generator_flops,
    r1_flops,
    search_flops,
    stage_1_flops,
    stage_2_flops,
    tuning_flops,
)
from .peaks import DTYPES
from .speed import Case, Run, timed

SIZES = (64, 128, 256, 512, 1024)
JUDGED_SIZES = (128, 256, 1024)
BATCHES = (1, 4, 8)
COPIES = {False: 6, True: 12}
"""How many of its widest maps' size a generator takes about: to draw, and to be trained."""
PSP_LEVELS = (0,) * 3 + (1,) * 4 + (2,) * 7
"""Style heads of pSp for a generator of 256 px: coarse, medium, fine."""
R1_AT, PLAIN_FROM = 16, 21
"""Numbers of steps: one with the R1 penalty; the first of those without it, after the discriminator's own."""


def generator_cases(sizes: tuple[int, ...] = SIZES, backward: bool = False) -> Iterator[Case]:
    """Drawing faces, or that and the gradient of every weight."""
    for size in sizes:
        for shipped in (False, True) if size == 128 else (False,):
            config = load_generator("embedded").generator.config if shipped else GeneratorConfig.make(size)
            for precision in DTYPES:
                for batch in BATCHES:
                    name = f"generator {size}{' shipped' if shipped else ''} {precision} batch {batch}"
                    yield Case(
                        name + " forward and backward" * backward,
                        timed(functools.partial(generator_pass, config, precision, batch, backward)),
                        batch * generator_flops(config) * (TRAINED if backward else 1),
                        precision,
                        batch * _map_bytes(config.channels, config.resolutions, precision) * COPIES[backward],
                    )


def discriminator_cases() -> Iterator[Case]:
    """Judging faces, and that and the gradient of every weight."""
    for size in JUDGED_SIZES:
        shipped = load_generator("embedded").discriminator if size == 128 else None
        for known in (False, True) if shipped is not None else (False,):
            config = shipped.config if known and shipped is not None else DiscriminatorConfig.make(size)
            for precision in DTYPES:
                for backward in (False, True):
                    name = f"discriminator {size}{' shipped' if known else ''} {precision} batch 4"
                    yield Case(
                        name + " forward and backward" * backward,
                        timed(functools.partial(_discriminator, config, precision, 4, backward)),
                        4 * discriminator_flops(config) * (TRAINED if backward else 1),
                        precision,
                    )


def encoder_cases() -> Iterator[Case]:
    """Ours as it ships and for 256 px, and pSp's."""
    ours = _shipped_encoder().config
    wider = dataclasses.replace(ours, resolution=256, num_ws=14, w_dim=512)
    known: tuple[tuple[str, Callable[[Any], torch.nn.Module], Any], ...] = (
        ("encoder 128 shipped", Encoder, ours),
        ("encoder 256", Encoder, wider),
        ("pSp encoder 256", PspEncoder, PspConfig(14, levels=PSP_LEVELS)),
    )
    for name, make, config in known:
        flops = _forward_flops(make, config)
        for precision in DTYPES:
            for batch in (1, 4):
                yield Case(
                    f"{name} {precision} batch {batch}",
                    timed(functools.partial(_encoder, make, config, precision, batch)),
                    batch * flops,
                    precision,
                )


def step_cases() -> Iterator[Case]:
    """One step of each search and training, at the shipped size, as it is by default."""
    known = load_generator("embedded")
    assert known.discriminator is not None  # noqa: S101 - it ships with one
    both = known.generator.config, known.discriminator.config
    encoder = _shipped_encoder()
    with torch.no_grad():
        judges = discriminator_flops(both[1]) + counted_flops(lambda: encoder.describe(_noise(1, both[0].resolution)))
    yield Case("search step fp32, 1 face", timed(_search), search_flops(both[0], judges))
    yield Case("pivotal tuning step fp32, 1 face", timed(_tuning), tuning_flops(both[0], judges), note="with locality")
    stage_1, stage_2 = 4 * stage_1_flops(*both), stage_2_flops(*both, fresh=2, synthetic=2)
    for precision in DTYPES:
        for name, number, more in (("", PLAIN_FROM, 0), (" with R1", R1_AT, 4 * r1_flops(both[1]))):
            note = "every 16th" if more else ""
            first = functools.partial(_stage_1, precision, number)
            yield Case(f"stage-1 step {precision} batch 4{name}", timed(first), stage_1 + more, precision, note=note)
        second = functools.partial(_stage_2, precision)
        yield Case(f"stage-2 step {precision} batch 4 + 2", timed(second), stage_2, precision)
    yield Case("student step fp32 batch 4, 144 px", timed(_student), _student_flops(), note="with its pictures")


def _map_bytes(channels: tuple[int, ...], sides: tuple[int, ...], precision: str) -> float:
    """Of a map at every resolution, for a face."""
    return sum(c * side**2 for c, side in zip(channels, sides, strict=True)) * DTYPES[precision].itemsize


@functools.lru_cache(maxsize=1)
def _made(make: Callable[[Any], torch.nn.Module], config: Any) -> torch.nn.Module:
    """A network with random weights, the last one kept."""
    with torch.random.fork_rng(devices=()):
        return make(config)


def _autocast(precision: str) -> torch.autocast:
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16")


def _pass(network: torch.nn.Module, given: Tensor, precision: str, backward: bool) -> Run:
    """One forward pass, or that and the gradient of every weight."""
    network.train(backward)
    parameters = list(network.parameters())

    def forward() -> None:
        with torch.inference_mode(), _autocast(precision):
            network(given)

    def both() -> None:
        with _autocast(precision):
            out = network(given)
        torch.autograd.grad(out, parameters, torch.ones_like(out), allow_unused=True)

    return both if backward else forward


def generator_pass(config: GeneratorConfig, precision: str, batch: int, backward: bool) -> Run:
    """A pass of a generator with random weights, see `_pass`."""
    z = torch.randn(batch, config.z_dim, generator=torch.Generator().manual_seed(0))
    return _pass(_made(Generator, config), z, precision, backward)


def _discriminator(config: DiscriminatorConfig, precision: str, batch: int, backward: bool) -> Run:
    return _pass(_made(Discriminator, config), _noise(batch, config.resolution), precision, backward)


def _encoder(make: Callable[[Any], torch.nn.Module], config: Any, precision: str, batch: int) -> Run:
    return _pass(_made(make, config).eval(), _noise(batch, config.resolution), precision, False)


def _forward_flops(make: Callable[[Any], torch.nn.Module], config: Any) -> int:
    network = _made(make, config).eval()
    with torch.no_grad():
        return counted_flops(lambda: network(_noise(1, config.resolution)))


def _noise(batch: int, side: int) -> Tensor:
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)


def _shipped_encoder() -> Encoder:
    network = load_encoder("embedded").network
    assert isinstance(network, Encoder)  # noqa: S101 - and not pSp's
    return network


@functools.cache
def _shipped() -> tuple[FaceGenerator, FaceEncoder, Tensor]:
    """(generator, encoder, the face `[1, 3, R, R]` of the shipped photo)."""
    generator = load_generator("embedded")
    photo = image_to_tensor(read_picture(ASSETS / "sample.png")[0])
    find = functools.partial(detect_faces, load_detector("embedded"))
    return generator, load_encoder("embedded"), align_faces(photo, find, generator.resolution).crops[:1]


def _drawn(count: int) -> Tensor:
    """Pictures `[count, 3, R, R]` to train on."""
    generator = _shipped()[0]
    return synthesise(generator, sample_latent(generator, range(count))).clamp(-1, 1)


def _search() -> Run:
    generator, encoder, face = _shipped()
    latent = invert_with_encoder(face, encoder, generator)
    search = LatentSearch(face, SearchContext(generator, InversionConfig(), encoder), latent)
    return _stepped(lambda number: search.step(number), 1)


def _tuning() -> Run:
    generator, encoder, face = _shipped()
    latent = invert_with_encoder(face, encoder, generator)
    task = PivotalTask(face, generator, latent, PivotalConfig(), encoder)
    return _stepped(lambda number: task.step(Step(number, 200)), 1)


def _stage_1(precision: str, number: int) -> Run:
    task = FinetuneTask(_shipped()[0], _drawn(16), FinetuneConfig(precision=precision, score_interval=0))
    return lambda: task.step(Step(number, 1000))


def _stage_2(precision: str) -> Run:
    generator = _shipped()[0]
    task = PairSupervisionTask(generator, generator, _pairs(16), PairSupervisionConfig(precision=precision))
    return lambda: task.step(Step(PLAIN_FROM, 400))


def _pairs(count: int) -> StylePairs:
    """Half of them from codes, half from pictures of a style."""
    generator = _shipped()[0]
    codes, half = sample_latent(generator, range(count)).w_plus, count // 2
    names = ["synthetic"] * half + ["anchor"] * half
    return StylePairs(
        w_plus=codes,
        target_w_plus=None,
        level=torch.full((count,), 3),
        origin=torch.tensor([PAIR_ORIGINS.index(name) for name in names]),
        picture=torch.tensor([-1] * half + list(range(half))),
        flip=torch.zeros(count, dtype=torch.bool),
        affine=torch.tensor([[0.0, 1.0, 0.0, 0.0]]).expand(count, -1).clone(),
        scores={},
        photos=torch.empty(0, 3, generator.resolution, generator.resolution, dtype=torch.uint8),
        style_pictures=to_bytes(_drawn(half)),
        source=GeneratorReference.of(generator),
        target=GeneratorReference.of(generator),
        blend=level_blends(PairsConfig(), generator.generator.config.resolutions),
        whole_palette=False,
    )


def _student_flops() -> int:
    """The student trained; its discriminator shown a fake and a real, trained on both, and shown the fake again."""
    config = StylizerConfig()
    shown, level = _noise(config.batch_size, config.size), torch.zeros(config.batch_size)
    student, judge = new_network(config, "none"), seeded_network(PatchDiscriminator, 1)
    with torch.no_grad():
        drawn, judged = (counted_flops(run) for run in (lambda: student(shown, level), lambda: judge(shown)))
    return TRAINED * drawn + (2 * TRAINED + 2) * judged


def _student() -> Run:
    config = StylizerConfig()
    faces = _drawn(8)
    batches = pair_batches(
        [(face, -face, 3.0) for face in faces],
        "none",
        config.size,
        config.batch_size,
        config.degrade,
        config.pair_share,
        config.seed,
    )
    task = StylizerTask(config, batches, "none", "cpu")
    return _stepped(lambda number: task.step(Step(number, config.steps)), config.steps // 2)


def _stepped(step: Callable[[int], object], first: int) -> Run:
    """Each call is the next step."""
    numbers = iter(range(first, 1_000_000))
    return lambda: step(next(numbers))
