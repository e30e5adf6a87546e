"""What a run remembers: a change of anything that its losses depend on is noticed, and named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_networks import make_styles
from two_processes import style_and_pairs

from facestylist.models.types import FaceGenerator, FaceStylizer
from facestylist.training.encoder import task as encoder
from facestylist.training.encoder.settings import EncoderTrainingConfig
from facestylist.training.finetune import run as finetune
from facestylist.training.finetune.settings import FinetuneConfig
from facestylist.training.kit.fingerprint import fingerprint
from facestylist.training.kit.kept import CannotResume
from facestylist.training.pairs import supervise
from facestylist.training.pairs.supervision_settings import PairSupervisionConfig
from facestylist.training.pairs.types import StylePairs
from facestylist.training.stylizer import task
from facestylist.training.stylizer.dataset import shown_pairs, shown_pictures, shown_twins
from facestylist.training.stylizer.settings import StylizerConfig

Made = tuple[FaceGenerator, FaceGenerator, StylePairs]


@pytest.fixture(scope="module")
def made() -> Made:
    return style_and_pairs()


def changed(generator: FaceGenerator, part: str) -> FaceGenerator:
    """A copy with one weight moved by its last bit."""
    copy = generator.to("cpu")
    if part == "mean_latent":
        copy.generator.mean_latent.add_(1e-3)
        return copy
    network = copy.discriminator if part == "discriminator" else getattr(copy.generator, part)
    with torch.no_grad():
        weight = next(p for p in network.parameters() if p.numel() > 1 and p.abs().min() > 0).view(-1)
        weight[0] = torch.nextafter(weight[0], torch.tensor(9.0))
    return copy


def test_pairs_in_full(made: Made) -> None:
    source, style, pairs = made
    known = supervise.run_identity(PairSupervisionConfig(), source, style, pairs)
    assert supervise.run_identity(PairSupervisionConfig(preview_interval=7), source, style, pairs) == known
    changes: dict[str, Any] = {
        "w_plus": pairs.w_plus + 1e-6,
        "target_w_plus": pairs.w_plus + 1e-6,
        "level": pairs.level.flip(0),
        "flip": ~pairs.flip,
        "affine": pairs.affine + 1e-6,
        "whole_palette": not pairs.whole_palette,
        "style_pictures": 255 - pairs.style_pictures,
        "blend": {1: {4: 0.5}, 2: {4: 0.5}},
    }
    for name, value in changes.items():
        other = supervise.run_identity(PairSupervisionConfig(), source, style, pairs.replace(**{name: value}))
        assert [key for key in known if known[key] != other[key]] == ["pairs"], name
    scores = {name: values + 1 for name, values in pairs.scores.items()}
    measured = pairs.replace(scores=scores, report={})
    assert supervise.run_identity(PairSupervisionConfig(), source, style, measured) == known, "nothing learns from them"


@pytest.mark.parametrize("part", ["synthesis", "mapping", "mean_latent", "discriminator"])
def test_generators_to_the_bit(made: Made, part: str) -> None:
    source, style, pairs = made
    settings = PairSupervisionConfig()
    known = supervise.run_identity(settings, source, style, pairs)
    assert supervise.run_identity(settings, source, changed(style, part), pairs) != known
    assert (supervise.run_identity(settings, changed(source, part), style, pairs) == known) == (part == "discriminator")
    tuning, reading = FinetuneConfig(), EncoderTrainingConfig()
    pictures = make_styles(3)
    assert finetune.run_identity(tuning, changed(source, part), pictures) != finetune.run_identity(
        tuning, source, pictures
    )
    assert encoder.run_identity(reading, changed(source, part), None) != encoder.run_identity(reading, source, None)


def test_pictures_and_starts(made: Made) -> None:
    source, style, pairs = made
    pictures, config = make_styles(3), FinetuneConfig()
    known = finetune.run_identity(config, source, pictures)
    assert finetune.run_identity(config, source, pictures.flip(3)) != known
    assert finetune.run_identity(config, source, pictures, validation_images=pictures) != known
    reading = EncoderTrainingConfig()
    assert encoder.run_identity(reading, source, pictures) != encoder.run_identity(reading, source, pictures.flip(0))

    triple = (pictures[0], pictures[1], 3.0)
    assert shown_pictures([triple]) != shown_pictures([(*triple[:2], 2.0)]), "the level"
    assert shown_pictures([triple]) != shown_pictures([(pictures[1], pictures[0], 3.0)])
    assert shown_pairs(pairs, source, style) != shown_pairs(pairs.replace(flip=~pairs.flip), source, style)
    assert shown_pairs(pairs, source, style) != shown_pairs(pairs, source, changed(style, "synthesis"))
    assert shown_twins("sketch", {}, [triple[0]]) != shown_twins("sketch", {}, [triple[1]])
    assert shown_twins("sketch", {}, [triple[0]]) != shown_twins("cartoon", {}, [triple[0]])
    start = FaceStylizer(task.new_network(StylizerConfig(width=0.25), "none"))
    fast = StylizerConfig()
    begun = [task.run_identity(fast, "none", begin, {}) for begin in (None, start)]
    with torch.no_grad():
        next(start.network.parameters()).add_(1.0)
    assert begun[0] != begun[1] != task.run_identity(fast, "none", start, {})


def test_a_fingerprint_knows_shapes_kinds_and_where_things_end() -> None:
    a = torch.arange(4.0)
    assert fingerprint(a) == fingerprint(a.clone()) != fingerprint(a.view(2, 2))
    assert fingerprint(a) != fingerprint(a.double()) and fingerprint([a, a]) != fingerprint([a], [a])
    assert fingerprint(torch.zeros(0, 3)) != fingerprint(None) and len(fingerprint(True)) == 16
    spread = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert fingerprint(spread) == fingerprint(spread.to(memory_format=torch.channels_last)), "values, not their place"


def test_resuming_pairs_with_others_is_refused(made: Made, tmp_path: Path) -> None:
    source, style, pairs = made
    config = PairSupervisionConfig(steps=2, batch_size=1, free_batch_size=1, discriminator_alone=1, preview_interval=0)
    supervise.supervise(source, style, pairs, config, run_dir=tmp_path)
    for other in (pairs.replace(flip=~pairs.flip), pairs.replace(affine=pairs.affine + 0.01)):
        with pytest.raises(CannotResume, match=r"other settings \(pairs\)"):
            supervise.supervise(source, style, other, config, run_dir=tmp_path, resume=True)
    with pytest.raises(CannotResume, match=r"other settings \(style\)"):
        other = changed(style, "discriminator")
        supervise.supervise(source, other, pairs, config, run_dir=tmp_path, resume=True)
