"""Training the fast stylizer: what it is shown, that it learns, that it resumes."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch

from facestylist.core.callbacks import Callbacks
from facestylist.core.filters import box_blur
from facestylist.models.media import FIELDS, MEDIA, medium_fields
from facestylist.models.media.cel import DRAWING
from facestylist.procedural import Label, Renderer, parameters_from_z, sample_z
from facestylist.training.kit.randomness import at_step
from facestylist.training.stylizer import randomise
from facestylist.training.stylizer.dataset import at_level, pair_batches, rendered_pair_batches, twin_scene
from facestylist.training.stylizer.rendered_pairs import TWIN_SEED, Layers, load_twins
from facestylist.training.stylizer.settings import MEDIA as WIDGET_MEDIA
from facestylist.training.stylizer.settings import StylizerConfig
from facestylist.training.stylizer.targets import TARGETS
from facestylist.training.stylizer.task import StylizerTask, train_stylizer


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Layers:
    return load_twins(tmp_path_factory.mktemp("twins"), 2, 48, renderer=Renderer(), shard=2)


def negatives(count: int = 3, size: int = 64) -> list[tuple[torch.Tensor, torch.Tensor, float]]:
    generator = torch.Generator().manual_seed(0)
    return [(p := torch.rand(3, size, size, generator=generator) * 2 - 1, -p, 3.0) for _ in range(count)]


def tiny(**settings: object) -> StylizerConfig:
    base = {
        "steps": 30,
        "batch_size": 2,
        "size": 48,
        "width": 0.25,
        "adversarial_weight": 0.0,
        "degrade": 0.0,
        "preview_interval": 0,
        "snapshot_interval": 10,
        "learning_rate": 1e-2,
    }
    return StylizerConfig(**{**base, **settings})  # type: ignore[arg-type]


def test_layers_are_kept(twins: Layers, tmp_path: Path) -> None:
    assert twins["photo"].shape == (2, 3, 48, 48)
    assert twins["label"].max() > 5
    assert twins["tone"].float().std() > 10
    first = load_twins(tmp_path, 1, 48, renderer=Renderer(), shard=2)
    path = next(tmp_path.iterdir())
    written = path.stat().st_mtime_ns
    assert torch.equal(load_twins(tmp_path, 1, 48, shard=2)["photo"], first["photo"])
    assert path.stat().st_mtime_ns == written


@pytest.mark.parametrize("look", TARGETS)
def test_batches_follow_from_seed_and_number(twins: Layers, look: str) -> None:
    medium, target = TARGETS[look]
    source = rendered_pair_batches(twins, [], target, medium, 48, 3, 1.0, 7)
    batch = source(4)
    assert batch.input.shape == batch.target.shape == (3, 3, 48, 48)
    assert batch.fields.shape == (3, FIELDS[medium], 48, 48)
    assert batch.target.abs().max() <= 1.001
    again = source(4)
    assert torch.equal(batch.target, again.target) and torch.equal(batch.input, again.input)
    assert not torch.equal(batch.input, source(5).input)


def test_any_seed_that_a_widget_can_have_makes_its_own_batches() -> None:
    batches = [pair_batches(negatives(), "none", 48, 2, 1.0, 0.5, seed)(1) for seed in (0, 2**32, 2**40 + 1, 2**63 - 1)]
    for batch, other in itertools.combinations(batches, 2):
        assert not torch.equal(batch.input, other.input)
    assert at_step(5, 7).initial_seed() == (5 << 32) + 7, "runs of earlier versions go on with their pictures"


def test_a_sketch_is_dark_where_the_picture_is() -> None:
    medium, sketch = TARGETS["sketch"]
    clean = torch.full((1, 3, 96, 96), 0.9)
    clean[..., 40:56, 40:56] = 0.1
    drawn = sketch(clean, clean * 2 - 1, medium_fields(medium, clean * 2 - 1), None)
    assert drawn[..., 42:54, 42:54].mean() < 0.5
    assert drawn[..., :20, :20].mean() > 0.85


def test_a_cartoon_begins_as_its_mediums_drawing() -> None:
    source = pair_batches(negatives(), "cel", 48, 2, 0.0, 1.0, 0)
    network = StylizerTask(tiny(width=1.0), source, "cel", "cpu").network
    batch = source(1)
    drawing = batch.fields[:, DRAWING]
    for level, share in ((3.0, 1.0), (2.0, 1.0), (1.0, 0.5), (0.5, 0.25)):
        with torch.no_grad():
            prediction = network(batch.input, torch.full((2,), level), batch.fields)
        target = torch.lerp(batch.input, drawing, share)
        assert (prediction - target).abs().mean() < 0.06 * (batch.input - drawing).abs().mean(), level


def test_a_rendered_face_gets_its_features_and_keeps_its_colours(twins: Layers) -> None:
    medium, cartoon = TARGETS["cartoon"]
    face = {name: layer.float() / 255 for name, layer in twins.items() if name != "label"}
    label = twins["label"].float()
    parts = {
        "features": (label == int(Label.EYE)).float(),
        "known": torch.ones_like(label),
        "plain": torch.zeros(1, 1, 1, 1),
    }
    plain, taught = (cartoon(face["photo"], face["photo"] * 2 - 1, label, layers) for layers in (None, face | parts))
    eyes, skin = parts["features"].bool(), (label == int(Label.SKIN))
    nearer = [((picture - face["cartoon"]).abs().mean(1, keepdim=True))[eyes].mean() for picture in (taught, plain)]
    assert nearer[0] < 0.6 * nearer[1]
    assert (taught - plain).abs().mean(1, keepdim=True)[skin].mean() < 0.12


def test_some_faces_are_shown_as_they_were_rendered(twins: Layers) -> None:
    kinds = {True: 0, False: 0}
    for seed in range(40):
        picture, layers = twin_scene(twins, [], 48, torch.Generator().manual_seed(seed))
        studio = bool(layers["studio"])
        kinds[studio] += 1
        assert not studio or bool(layers["plain"]) and float(layers["known"].min()) == 1
        assert picture.shape == (3, 48, 48)
    assert 4 <= kinds[True] <= 16
    random = torch.Generator().manual_seed(0)
    assert all(bool(twin_scene(twins, [], 48, random, 1.0)[1]["studio"]) for _ in range(5))
    everything = {name: twins[name] for name in ("photo", "label", "figure")} | {"cartoon": twins["photo"]}
    for seed in range(5):
        picture, layers = twin_scene(everything, [], 48, torch.Generator().manual_seed(seed), 1.0)
        assert torch.equal(picture, layers["cartoon"][0]), "nothing was changed"


def test_a_sketch_leaves_as_much_paper_as_the_look_does(twins: Layers) -> None:
    medium, sketch = TARGETS["sketch"]
    people = parameters_from_z(sample_z(2, torch.Generator().manual_seed(TWIN_SEED)))
    twin = (Renderer().render(people, 48, "sketch").image + 1) / 2
    face = {name: layer.float() / 255 for name, layer in twins.items() if name != "label"}
    ones = {"known": torch.ones_like(face["figure"]), "plain": torch.ones(1, 1, 1, 1)}
    seen = face["photo"] * 2 - 1
    drawn = sketch(face["photo"], seen, medium_fields(medium, seen), face | ones)
    assert abs(drawn.mean() - twin.mean()) < 0.06
    assert (drawn - twin).abs().mean() < 0.12


def test_levels_lead_from_the_picture_to_the_style() -> None:
    clean, full = torch.rand(1, 3, 16, 16), torch.rand(1, 1, 16, 16).expand(-1, 3, -1, -1)
    assert torch.equal(at_level(clean, full, 0.0), clean)
    assert torch.equal(at_level(clean, full, 3.0), full)
    tinted = at_level(clean, full, 2.0)
    assert (tinted.amax(1) - tinted.amin(1)).mean() > 0.02


def test_a_bad_camera_keeps_the_picture_recognisable() -> None:
    clean = box_blur(torch.rand(1, 3, 64, 64), 3)[0]
    for seed in range(20):
        seen = randomise.degrade(clean, 1.0, torch.Generator().manual_seed(seed))
        assert seen.shape == clean.shape and seen.min() >= 0 and seen.max() <= 1
        assert (seen - clean).abs().mean() < 0.1
    assert torch.equal(randomise.degrade(clean, 0.0, torch.Generator().manual_seed(0)), clean)


def test_compression_is_exact_without_rounding() -> None:
    clean = torch.rand(3, 19, 25)
    # The finest wave is rounded to 15 steps, that of a colour to 30; a pixel is off by half of 8 times both.
    quantum = 1e-6
    assert torch.allclose(randomise.compress(clean, quantum), clean, rtol=0, atol=8 * (15 + 30) * quantum / 2)
    assert (randomise.compress(clean, 0.2) - clean).abs().mean() > 0.02


def test_it_learns_from_pairs() -> None:
    config = tiny(steps=60)
    result = train_stylizer(config, pair_batches(negatives(), "none", 48, 2, 0.0, 1.0, 0))
    first, last = (sum(r["pixel"] for r in rows) / 5 for rows in (result.history[:5], result.history[-5:]))
    assert last < 0.6 * first
    assert not any(p.requires_grad for p in result.stylizer.network.parameters())


def test_it_goes_on_from_another_stylizer(tmp_path: Path) -> None:
    source = pair_batches(negatives(), "none", 48, 2, 0.0, 1.0, 0)
    facts = {"learnt_from": "3 pairs", "licence": "MIT", "file": "a.safetensors"}
    first = train_stylizer(tiny(steps=60), source, provenance=facts).stylizer
    before = {name: value.clone() for name, value in first.network.state_dict().items()}
    more = {"learnt_from": "2 pairs"}
    later = train_stylizer(tiny(steps=3, width=1.0), source, "none", more, start=first, run_dir=tmp_path)
    known = later.stylizer.provenance
    assert (known["learnt_from"], known["licence"], known["steps"]) == ("3 pairs; then 2 pairs", "MIT", "3")
    assert known["started_from"].startswith("style ") and "file" not in known
    assert later.history[0]["pixel"] < 0.6 * train_stylizer(tiny(steps=1), source).history[0]["pixel"]
    assert later.stylizer.network.config == first.network.config, "its width holds"
    assert all(torch.equal(value, before[name]) for name, value in first.network.state_dict().items())
    assert not all(torch.equal(value, before[name]) for name, value in later.stylizer.network.state_dict().items())
    with pytest.raises(ValueError, match="medium 'none', this training with 'pencil'"):
        train_stylizer(tiny(), source, "pencil", start=first)
    again = {"start": first, "run_dir": tmp_path, "resume": True}
    assert len(train_stylizer(tiny(steps=3, width=2.0), source, **again).history) == 3, "width plays no part"
    with pytest.raises(ValueError, match="shares"):
        train_stylizer(tiny(steps=3), source, **again, shown={"shares": 0.5})


def test_a_cancelled_run_continues_exactly(tmp_path: Path) -> None:
    source = pair_batches(negatives(), "none", 48, 2, 1.0, 0.5, 0)
    config = tiny(steps=14, adversarial_weight=0.01, snapshot_interval=5)
    whole = train_stylizer(config, source)

    def stop(step: int, total: int, losses: dict[str, float]) -> None:
        if step == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_stylizer(config, source, callbacks=Callbacks(on_progress=stop), run_dir=tmp_path)
    resumed = train_stylizer(config, source, run_dir=tmp_path, resume=True)
    for a, b in zip(whole.stylizer.network.parameters(), resumed.stylizer.network.parameters(), strict=True):
        assert torch.equal(a, b)
    assert "discriminator" in whole.history[-1]


def test_refusals() -> None:
    with pytest.raises(ValueError, match="no pairs to learn from"):
        pair_batches([], "none", 48, 2, 0.0, 1.0, 0)
    with pytest.raises(ValueError, match="both must be"):
        pair_batches([(torch.zeros(3, 8, 8), torch.zeros(3, 8, 9), 3.0)], "none", 48, 2, 0.0, 1.0, 0)
    with pytest.raises(ValueError, match="multiple of 48"):
        StylizerConfig(size=100)
    with pytest.raises(ValueError, match="Every weight"):
        StylizerConfig(pixel_weight=0.0, gradient_weight=0.0)


def test_the_widget_names_the_media_there_are() -> None:
    assert WIDGET_MEDIA == MEDIA
