"""A base from a folder of portraits: what its parts promise, and a tiny training from photos to files."""

from __future__ import annotations

import copy
import csv
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
import torch
from PIL import Image
from torch import Tensor

from facestylist.core.callbacks import Callbacks
from facestylist.faces.types import Detection
from facestylist.models.checkpoints import CheckpointError, load_encoder, load_generator, load_identity, save_encoder
from facestylist.models.discriminator import Discriminator
from facestylist.models.dlib import DlibConfig, DlibFace
from facestylist.models.encoder import Encoder, EncoderConfig
from facestylist.models.generator import Generator
from facestylist.models.ops import upsample
from facestylist.models.types import FaceEncoder, FaceGenerator
from facestylist.training.base.autoencoder import AutoencoderTask, draw, grown, schedule
from facestylist.training.base.card import write_card
from facestylist.training.base.losses import LossNetworks
from facestylist.training.base.mapping import SPREAD, fill_mapping, whiten
from facestylist.training.base.people import read_people
from facestylist.training.base.portraits import Portraits, bent, draw_bends, draw_lights, relit
from facestylist.training.base.run import BaseTraining, save_base
from facestylist.training.base.settings import BaseTrainingConfig
from facestylist.training.kit.kept import CannotResume
from facestylist.training.kit.step import Step
from tests.tolerances import rounding

TINY = BaseTrainingConfig(minutes=0.01, resolution="64", width=0.0625, batch_size=4, held_out=2, precision="fp32")


def seeded(count: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


def portraits(count: int, size: int = 64, seed: int = 0) -> Portraits:
    """Smooth colours, each picture its own."""
    small = seeded(count, 3, 4, 4, seed=seed)
    images = torch.nn.functional.interpolate(small, (size, size), mode="bicubic").clamp(-1, 1)
    return Portraits(((images + 1) * 127.5).round().to(torch.uint8), torch.ones(count))


@pytest.fixture
def identity() -> DlibFace:
    """A small network of dlib's kind."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(0)
        return DlibFace(DlibConfig((8, 8), (1, 1), 16)).eval().requires_grad_(False)


def networks(face_branch: bool = False) -> tuple[Encoder, Generator]:
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(1)
        encoder = Encoder(TINY.encoder(face_branch)).eval()
        torch.nn.init.normal_(encoder.out.weight, std=0.3)
        torch.nn.init.normal_(encoder.out.bias)
        return encoder, Generator(TINY.generator(64)).eval()


def test_one_code_is_every_layers(tmp_path: Path) -> None:
    encoder, _ = networks(face_branch=True)
    w_plus = encoder(seeded(2, 3, 128, 128).clamp(-1, 1))
    assert w_plus.shape == (2, TINY.generator(64).num_ws, 32) and torch.equal(w_plus, w_plus[:, :1].expand_as(w_plus))
    assert not torch.equal(w_plus[0], w_plus[1])
    config = encoder.config
    save_encoder(FaceEncoder(encoder, config.resolution, config.num_ws, config.w_dim), tmp_path / "e.safetensors")
    again = load_encoder(tmp_path / "e.safetensors").network
    assert torch.equal(again(torch.zeros(1, 3, 128, 128)), encoder(torch.zeros(1, 3, 128, 128)))


def test_the_second_branch_is_looked_at_and_can_be_left_out() -> None:
    encoder, _ = networks(face_branch=True)
    picture, everything = seeded(1, 3, 128, 128).clamp(-1, 1), torch.ones(1, encoder.fc.in_features)
    assert torch.equal(encoder(picture, everything), encoder(picture))
    without = everything.clone()
    without[:, -encoder.face_norm.normalized_shape[0] :] = 0
    assert not torch.allclose(encoder(picture, without), encoder(picture), atol=1e-2)


def test_the_second_branch_is_an_identity_network(tmp_path: Path) -> None:
    for branch in (True, False):
        encoder, generator = networks(face_branch=branch)
        reader = FaceEncoder(encoder, 128, generator.num_ws, generator.config.w_dim)
        save_encoder(reader, tmp_path / f"{branch}.safetensors", half=False)
    found = load_identity(tmp_path / "True.safetensors")
    assert isinstance(found, DlibFace) and not any(p.requires_grad for p in found.parameters())
    with_branch, _ = networks(face_branch=True)
    faces = seeded(2, 3, 128, 128).clamp(-1, 1)
    assert torch.equal(found.describe(faces), with_branch.describe(faces))
    with pytest.raises(CheckpointError, match="no face recognition network"):
        load_identity(tmp_path / "False.safetensors")


def test_a_grown_generator_draws_the_enlarged_picture() -> None:
    config = replace(TINY, resolution="128")
    _, small = networks()
    large = grown(small, config, 128)
    w = seeded(2, 32)
    with torch.no_grad():
        expected = upsample(draw(small, w, "none"))
    size = float(expected.abs().max())
    torch.testing.assert_close(draw(large, w, "none"), expected, atol=rounding(9 * 8 * 10, size), rtol=0)


def test_whitening_turns_w_and_leaves_the_pictures() -> None:
    encoder, generator = networks()
    pictures = seeded(40, 3, 128, 128).clamp(-1, 1)
    with torch.no_grad():
        codes = encoder(pictures)[:, 0]
        before = draw(generator, codes, "none")
        found = whiten(encoder, generator, codes)
        again = encoder(pictures)[:, 0]
        after = draw(generator, again, "none")
    # The rounding of a code, over a sum of `hidden` terms, is stretched as far as its narrowest direction.
    narrowest = float(torch.linalg.svdvals(codes - codes.mean(0))[-1]) / 39**0.5
    blurred = rounding(encoder.config.hidden + 32, float(codes.abs().max())) * 32**0.5 / narrowest
    torch.testing.assert_close(again, found, atol=blurred, rtol=0)
    # Drawn from, it is narrow again: what is left is rounding along the network's sums.
    torch.testing.assert_close(after, before, atol=rounding(9 * 16 * 10, float(before.abs().max())), rtol=0)
    covariance = found.T @ found / 39
    assert float(found.mean(0).abs().max()) < blurred
    assert float((covariance - torch.eye(32)).abs().max()) < 40 * blurred, "40 codes' products in each sum"


def test_the_mapping_gives_z_as_the_first_numbers_of_w() -> None:
    _, generator = networks()
    fill_mapping(generator.mapping)
    z = seeded(64, generator.config.z_dim)
    with torch.no_grad():
        w = generator.mapping(z)
    expected = SPREAD * z / z.square().mean(1, keepdim=True).sqrt()
    torch.testing.assert_close(w[:, : z.shape[1]], expected, atol=rounding(200, 10.0), rtol=0)
    assert torch.equal(w[:, z.shape[1] :], torch.zeros_like(w[:, z.shape[1] :]))


def test_bends_are_small_and_smooth_and_light_changes_little() -> None:
    y, x = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij")
    places = torch.stack([x, y, x * y])[None].expand(16, -1, -1, -1)
    moved = bent(places, *draw_bends(16, torch.Generator().manual_seed(0), 1.0))[:, :2, 8:-8, 8:-8]
    off = (moved - places[:, :2, 8:-8, 8:-8]).square().sum(1).sqrt()
    assert 0.02 < float(off.mean()) < 0.12
    step = 2 / 63
    assert float((moved.diff(dim=3)[:, 0] - step).abs().max()) < 0.5 * step, "neighbours stay neighbours"
    grey = torch.zeros(32, 3, 8, 8)
    lit = relit(grey, *draw_lights(32, torch.Generator().manual_seed(0), 1.0))
    assert float(lit.abs().mean()) > 0.02 and float(lit.abs().max()) < 0.36


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [schedule(step, 1000) for step in range(1, 1001)]
    assert rates[0] == pytest.approx(0.01) and rates[99] == rates[699] == 1 and rates[-1] == pytest.approx(0.05)
    assert all(a >= b for a, b in zip(rates[700:], rates[701:], strict=False))


def test_weights_and_who_is_held_out(tmp_path: Path) -> None:
    colours = portraits(13, 256).images
    names = ["file", "person", "held_out", "native_px"]
    with (tmp_path / "faces.csv").open("w", newline="") as file:
        rows = csv.DictWriter(file, names)
        rows.writeheader()
        for index, image in enumerate(colours):
            picture = Image.fromarray(image.permute(1, 2, 0).numpy())
            picture.convert("L" if index == 0 else "RGB").save(tmp_path / f"{index}.png")
            # Three portraits of person 9, who is held out, one of them not marked so; number 1 is a small face.
            person, out = (9, int(index != 12)) if index in (9, 10, 12) else (index, int(index == 11))
            rows.writerow(dict(zip(names, [f"{index}.png", person, out, 100 if index == 1 else 400], strict=True)))
    kept = tmp_path / "kept.safetensors"
    learned, held_out = read_people(tmp_path, 256, 5, lambda _: [], kept=kept)
    assert torch.equal(learned.images[1:], colours[1:9]) and torch.equal(held_out.images, colours[[9, 11]])
    assert learned.weights.tolist() == [0.25, 0.25, 1, 1, 1, 1, 1, 1, 1]
    times = kept.stat().st_mtime_ns
    with mock.patch("facestylist.training.base.people.read_picture", side_effect=AssertionError):
        again, _ = read_people(tmp_path, 256, 5, lambda _: [], kept=kept)
    assert torch.equal(again.images, learned.images) and kept.stat().st_mtime_ns >= times, "they are read once"
    (tmp_path / "13.png").write_bytes((tmp_path / "1.png").read_bytes())
    with pytest.raises(ValueError, match="holds a run with other photos"):
        read_people(tmp_path, 256, 5, lambda _: [], kept=kept)


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("file;held_out\n0.png;0\n", "columns file and held_out"),
        ("file,held_out\n", "columns file and held_out"),
        ("file,held_out\n0.png,0\nnone.png,1\n", "none.png"),
        ("file,held_out\nwide.png,1\n", "not square"),
        ("\ufefffile,held_out\n" + "".join(f"{n}.png,1\n" for n in range(9)), "0 are left to learn from and 9"),
    ],
)
def test_lists_that_cannot_be_used(table: str, sentence: str, tmp_path: Path) -> None:
    for index, image in enumerate(portraits(9).images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"{index}.png")
    Image.new("RGB", (70, 64)).save(tmp_path / "wide.png")
    (tmp_path / "faces.csv").write_text(table, encoding="utf-8")
    with pytest.raises(ValueError, match=sentence):
        read_people(tmp_path, 256, 5, lambda _: [])


def test_faces_are_cut_out_of_photos(tmp_path: Path, identity: DlibFace) -> None:
    for index, image in enumerate(portraits(10, 256).images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"{index}.png")
    (tmp_path / "no.jpg").write_bytes(b"none")
    points = torch.tensor([[96.0, 121], [160, 121], [128, 158], [101, 186], [155, 186]])
    face = Detection(torch.tensor([60.0, 60, 200, 220]), points, 0.9)
    learned, held_out = read_people(tmp_path, 256, 3, lambda _: [face], seed=1)
    assert (len(learned), len(held_out)) == (8, 2), "a fifth of them at most"
    assert learned.size == 256 and learned.weights.tolist() == [1.0] * 8
    # To a network that tells nobody apart everyone is the person who is held out.
    with pytest.raises(ValueError, match="0 are left to learn from and 1 to measure on"):
        read_people(tmp_path, 256, 3, lambda _: [face], identity=identity, seed=1)
    with pytest.raises(ValueError, match="0 faces were found"):
        read_people(tmp_path, 256, 3, lambda _: [])


def test_the_descriptors_distance_is_learned_from(identity: DlibFace) -> None:
    encoder, generator = networks()
    loss_networks = LossNetworks(identity, lambda pictures: [pictures, torch.nn.functional.avg_pool2d(pictures, 4)])
    task = AutoencoderTask(
        encoder, generator, portraits(8), portraits(3, seed=1), loss_networks, TINY, torch.device("cpu")
    )
    first = task.step(Step(1, 40))
    assert set(first) == {"pixel", "chroma", "edges", "perceptual", "identity"}
    losses = [task.step(Step(step, 40)) for step in range(2, 16)]
    assert losses[-1]["pixel"] < 0.9 * first["pixel"]
    assert set(task.measure()) == {"psnr", "gradient_energy", "own", "others", "top1", "same"}
    assert task.preview().shape == (3, 128, 192)


def test_a_training_is_resumed_to_the_same_bits_and_becomes_files(tmp_path: Path, identity: DlibFace) -> None:
    learned, held_out = portraits(8, 128), portraits(3, 128, seed=1)

    def training(folder: str, callbacks: Callbacks | None = None, config: BaseTrainingConfig = TINY) -> BaseTraining:
        return BaseTraining(learned, held_out, config, tmp_path / folder, LossNetworks(identity), callbacks=callbacks)

    for folder in ("whole", "parts"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "plan.json").write_text('{"64px": 5, "polish": 6}')
    whole = training("whole").run()
    moments = {("64px", 3), ("polish", 1), ("polish", 4)}

    def stop() -> bool:
        name = "polish" if (tmp_path / "parts" / "64px.pt").exists() else "64px"
        table = tmp_path / "parts" / name / "losses.csv"
        moment = (name, len(table.read_text().splitlines()) - 1 if table.exists() else 0)
        if moment in moments:
            moments.discard(moment)
            return True
        return False

    for attempt in range(3):
        # Another process has another state of the global generator.
        with torch.random.fork_rng(devices=[]), pytest.raises(KeyboardInterrupt):
            torch.random.default_generator.manual_seed(attempt + 7)
            training("parts", Callbacks(should_stop=stop)).run()
    with pytest.raises(CannotResume, match="seed"):
        training("parts", config=replace(TINY, seed=1))
    parts = training("parts").run()
    for a, b in zip(whole.generator.generator.parameters(), parts.generator.generator.parameters(), strict=True):
        assert torch.equal(a, b)
    files = save_base(parts, tmp_path / "out", TINY, half=False)
    generator, encoder = load_generator(files[0]), load_encoder(files[1])
    assert generator.discriminator is not None and torch.equal(generator.mean_latent, torch.zeros(32))
    for saved, made in ((generator.generator, whole.generator.generator), (encoder.network, whole.encoder.network)):
        assert all(torch.equal(value, made.state_dict()[name]) for name, value in saved.state_dict().items())
    assert whole.figures["polish"]["steps"] == 6 and {"psnr", "own", "top1"} <= set(whole.figures["64px"])
    card = files[2].read_text()
    assert "| polish | 6 |" in card and "Made-up faces lie" in card


def test_a_base_goes_on_from_another(tmp_path: Path, identity: DlibFace) -> None:
    learned, held_out = portraits(8, 128), portraits(3, 128, seed=1)
    encoder, generator = networks()
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(0)
        critic = Discriminator(TINY.discriminator()).requires_grad_(False)
    reader = FaceEncoder(encoder, 128, generator.num_ws, generator.config.w_dim)
    start = FaceGenerator(generator.requires_grad_(False), critic), reader
    before = copy.deepcopy(generator.state_dict())
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "plan.json").write_text('{"polish": 3}')
    config = replace(TINY, resolution="256")
    result = BaseTraining(learned, held_out, config, tmp_path / "run", LossNetworks(identity), start=start).run()
    assert set(result.figures) == {"polish", "samples"} and result.figures["polish"]["steps"] == 3
    assert result.generator.resolution == 64, "the start decides sizes"
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())
    table = (tmp_path / "run" / "polish" / "losses.csv").read_text().splitlines()
    assert "" not in table[1].split(",")[:4], "no step is the discriminator's alone"
    for wrong in (
        (start[0].replace(discriminator=None), reader),
        (start[0], FaceEncoder(encoder, 128, 2, 32)),
        (start[0], FaceEncoder(torch.nn.Identity(), 128, generator.num_ws, 32)),
    ):
        with pytest.raises(ValueError, match="to go on from"):
            BaseTraining(learned, held_out, config, tmp_path / "wrong", start=wrong)


def test_the_card_leaves_out_what_was_not_measured(tmp_path: Path) -> None:
    card = write_card({"64px": {"steps": 20.0, "minutes": 0.5, "psnr": 18.123}}, tmp_path / "card.md").read_text()
    assert "| stage | steps | minutes | PSNR, dB |" in card and "| 64px | 20 | 0.5 | 18.1 |" in card
    assert "Made-up" not in card


def test_widths_follow_the_setting() -> None:
    assert BaseTrainingConfig().generator(256).channels == (256, 256, 192, 112, 64, 40, 20)
    half = replace(BaseTrainingConfig(), width=0.5, resolution="128")
    assert half.generator(128).channels == (128, 128, 96, 56, 32, 20) and half.generator(128).w_dim == 256
    assert half.sizes == (64, 128)
    assert sum(half.stage_minutes(size) for size in half.sizes) == pytest.approx(180 * 0.75)
    assert isinstance(half.encoder(True), EncoderConfig) and half.encoder(True).hidden == 320
