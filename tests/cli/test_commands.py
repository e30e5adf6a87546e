"""Every command on tiny random networks: what it writes, and that it is what the layers below give."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tolerances import assert_close, rounding, roundings
from torch import Tensor

from facestylist.cli.commands import align as align_command
from facestylist.cli.commands import stylise as stylise_command
from facestylist.cli.main import main
from facestylist.faces.types import Detection
from facestylist.models.checkpoints import load_encoder, load_generator, save_encoder, save_generator
from facestylist.models.discriminator import Discriminator, DiscriminatorConfig
from facestylist.models.encoder import Encoder, EncoderConfig
from facestylist.models.generator import Generator, GeneratorConfig
from facestylist.models.types import FaceEncoder, FaceGenerator

SIZE = 64
Shown = Callable[[], dict[str, Any]]


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """source.safetensors, style.safetensors (same W, another synthesis), encoder.safetensors."""
    folder = tmp_path_factory.mktemp("networks")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = GeneratorConfig.make(SIZE, 8 * SIZE, 16, z_dim=16, w_dim=16, mapping_layers=2)
        generator = Generator(config).eval().requires_grad_(False)
        discriminator = Discriminator(DiscriminatorConfig(SIZE, config.channels)).eval().requires_grad_(False)
        encoder = Encoder(EncoderConfig(SIZE, config.num_ws, 16, (8, 8, 8, 8, 8), hidden=8)).eval()
        source = FaceGenerator(generator, discriminator)
        save_generator(source, folder / "source.safetensors", {})
        save_encoder(FaceEncoder(encoder, SIZE, config.num_ws, 16), folder / "encoder.safetensors", {})
        style = source.to("cpu")
        for block in style.generator.synthesis.blocks:
            block.to_rgb.weight.mul_(-1)
        save_generator(style.replace(discriminator=None, style="ink"), folder / "style.safetensors", {})
    return folder


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def record(capsys: pytest.CaptureFixture[str]) -> Shown:
    """The JSON object that the last command printed."""
    return lambda: json.loads(capsys.readouterr().out)


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A photo in which two faces are found, whatever it shows."""
    eyes_nose_mouth = torch.tensor([[0.35, 0.4], [0.65, 0.4], [0.5, 0.6], [0.4, 0.75], [0.6, 0.75]])

    def finder(
        detector: str, min_confidence: float, download_if_missing: bool, keep_unsure: bool = False
    ) -> Callable[[Tensor], list[Detection]]:
        def find(picture: Tensor) -> list[Detection]:
            corners = (torch.tensor([100.0, 20.0]), torch.tensor([10.0, 15.0]))
            return [
                Detection(torch.cat([corner, corner + 40]), corner + 40 * eyes_nose_mouth, 0.9) for corner in corners
            ]

        return find

    for command in (align_command, stylise_command):
        monkeypatch.setattr(command, "face_finder", finder)
    noise = np.random.RandomState(0).randint(0, 256, (80, 160, 3), np.uint8)
    Image.fromarray(noise).resize((160, 80)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_generate_uses_the_reference_seeds(networks: Path, record: Shown, global_rng_untouched: None) -> None:
    file = str(networks / "source.safetensors")
    assert main(["generate", file, "--seeds", "3-4", "--raw", "a.npy", "--json"]) == 0
    assert record() == {"files": ["a.npy"], "shape": [2, 3, SIZE, SIZE]}
    z = np.concatenate([np.random.RandomState(seed).randn(1, 16) for seed in (3, 4)])
    with torch.no_grad():
        wanted = load_generator(file).generator(torch.from_numpy(z).float()).numpy()
    raw = np.load("a.npy")
    assert raw.dtype == np.float32
    depth = roundings(load_generator(file).generator)
    assert_close(raw, wanted, depth)
    assert np.abs(raw).max() > 1, "raw arrays are not clamped"

    np.save("z.npy", z)
    assert main(["generate", file, "--z", "z.npy", "--raw", "b.npy"]) == 0
    assert_close(np.load("b.npy"), raw, depth)


def test_generate_w_plus_truncation_noise_and_pictures(networks: Path, tmp_path: Path) -> None:
    file = str(networks / "source.safetensors")
    w_plus = np.random.RandomState(1).randn(2, 10, 16).astype(np.float32)
    np.save("w.npy", w_plus)
    for psi in ("1", "0"):
        assert main(["generate", file, "--w-plus", "w.npy", "--truncation-psi", psi, "--raw", f"psi{psi}.npy"]) == 0
    depth = roundings(load_generator(file).generator)
    assert_close(*np.load("psi0.npy"), depth, why="psi 0 is the mean for everyone")
    assert not np.allclose(*np.load("psi1.npy"), atol=1e-2)
    for name in ("r1", "r2"):
        arguments = ["generate", file, "--noise", "random", "--seed", "5", "--raw", f"{name}.npy"]
        assert main(arguments) == 0
    assert np.array_equal(np.load("r1.npy"), np.load("r2.npy"))
    assert main(["generate", file, "--seed", "5", "--out", "pictures"]) == 0
    with Image.open(tmp_path / "pictures" / "seed0005.png") as picture:
        assert picture.size == (SIZE, SIZE)


def test_generate_refuses_what_does_not_fit(networks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(networks / "source.safetensors")
    np.save("z.npy", np.zeros((1, 7)))
    assert main(["generate", file, "--z", "z.npy", "--raw", "a.npy"]) == 1
    assert "latents z for this generator, [N, 16], is needed" in capsys.readouterr().err
    assert main(["generate", file, "--class", "1", "--raw", "a.npy"]) == 2
    assert "not conditional" in capsys.readouterr().err


def test_discriminate_and_encode(networks: Path, record: Shown, capsys: pytest.CaptureFixture[str]) -> None:
    images = np.random.RandomState(2).uniform(-1, 1, (4, 3, SIZE, SIZE)).astype(np.float32)
    np.save("x.npy", images)
    file = str(networks / "source.safetensors")
    assert main(["discriminate", file, "--images", "x.npy", "--raw", "logits.npy", "--json"]) == 0
    discriminator = load_generator(file).discriminator
    assert discriminator is not None
    with torch.no_grad():
        wanted = discriminator(torch.from_numpy(images)).numpy()
    assert_close(np.load("logits.npy"), wanted, roundings(discriminator))
    assert np.array_equal(np.float32(record()["logits"]), np.load("logits.npy").flatten())

    encoder_file = str(networks / "encoder.safetensors")
    assert main(["encode", encoder_file, "--images", "x.npy", "--raw", "w.npy"]) == 0
    with torch.no_grad():
        network = load_encoder(encoder_file).network
        wanted = network(torch.from_numpy(images)).numpy()
    assert_close(np.load("w.npy"), wanted, roundings(network))

    capsys.readouterr()
    assert main(["discriminate", str(networks / "style.safetensors"), "--images", "x.npy", "--raw", "l.npy"]) == 1
    assert "no discriminator" in capsys.readouterr().err


def test_invert_by_encoder_and_by_steps(networks: Path, record: Shown, capsys: pytest.CaptureFixture[str]) -> None:
    source, encoder = str(networks / "source.safetensors"), str(networks / "encoder.safetensors")
    assert main(["generate", source, "--seeds", "0-1", "--out", "faces"]) == 0
    capsys.readouterr()
    images = ["faces/seed0000.png", "faces/seed0001.png"]
    base = ["invert", *images, "--generator", source, "--out", "w.npy", "--json"]
    assert main([*base, "--encoder", encoder, "--reconstructions", "again"]) == 0
    first = record()
    assert np.load("w.npy").shape == (2, 10, 16)
    assert sorted(path.name for path in Path("again").iterdir()) == ["seed0000.png", "seed0001.png"]
    assert main([*base, "--encoder", encoder, "--steps", "6"]) == 0
    better = record()
    for before, after in zip(first["images"], better["images"], strict=True):
        assert after["error"] < before["error"]
    Image.new("RGB", (30, 20)).save("wide.png")
    assert main(["invert", "wide.png", "--generator", source, "--encoder", encoder, "--out", "w.npy"]) == 1
    assert "wide.png: The picture is 30x20; aligned faces are square." in capsys.readouterr().err


def test_align(photo: Path, record: Shown) -> None:
    assert main(["align", str(photo), "--out", "crops", "--size", "32", "--json"]) == 0
    faces = record()["faces"]
    assert [Path(face["crop"]).name for face in faces] == ["photo_00.png", "photo_01.png"]
    left, right = faces
    assert left["box"] == [10, 15, 50, 55], "from left to right, each with its own box"
    assert right["box"] == [100, 20, 140, 60]
    assert np.asarray(left["crop_to_photo"]).shape == (2, 3)
    middle = np.asarray(left["crop_to_photo"]) @ [16, 16, 1]
    near = rounding(24, 160)
    assert np.allclose(middle, [30, 32.4], rtol=0, atol=near), "a tenth of the way from the eyes to the mouth"
    with Image.open(left["crop"]) as crop:
        assert crop.size == (32, 32)


def test_stylise_changes_the_faces_only(networks: Path, photo: Path, record: Shown, tmp_path: Path) -> None:
    names = {key: str(networks / f"{key}.safetensors") for key in ("source", "style", "encoder")}
    arguments = [
        "stylise",
        str(photo),
        "--style",
        names["style"],
        "--source",
        names["source"],
        "--encoder",
        names["encoder"],
        "--out",
        "made",
        "--size",
        "64",
        "--crops",
        "--json",
    ]
    assert main(arguments) == 0
    made = record()["photos"][0]
    assert made["faces"] == 2
    assert Path(made["files"][0]) == Path("made/photo_ink.png")
    assert len(made["files"]) == 5
    before, after = (np.asarray(Image.open(path)).astype(int) for path in (photo, made["files"][0]))
    changed = np.abs(before - after).max(axis=-1) > 0
    assert changed[35, 30], "the middle of the left face"
    assert changed[40, 120], "the middle of the right face"
    assert not changed[:, 75].any(), "between them"

    styled = np.asarray(Image.open("made/photo_ink_00.png"))
    assert main([*arguments, "--strength", "0"]) == 0
    assert np.abs(np.asarray(Image.open("made/photo_ink_00.png")).astype(int) - styled).mean() > 10
    record()
    assert main([*arguments, "--pivotal", "4"]) == 0
    tuned = record()["photos"][0]
    assert all(after < before for after, before in zip(tuned["errors"], made["errors"], strict=True))


def test_stylise_in_several_appearances(
    networks: Path, photo: Path, record: Shown, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {key: str(networks / f"{key}.safetensors") for key in ("source", "style", "encoder")}
    base = [
        "stylise",
        str(photo),
        "--style",
        names["style"],
        "--source",
        names["source"],
        "--encoder",
        names["encoder"],
        "--size",
        "64",
        "--json",
    ]
    assert main([*base, "--out", "plain"]) == 0
    capsys.readouterr()
    assert main([*base, "--out", "varied", "--variations", "2", "--seed", "7"]) == 0
    assert [Path(path).name for path in record()["photos"][0]["files"]] == [
        "photo_ink_seed0007.png",
        "photo_ink_seed0008.png",
    ]
    assert main([*base, "--out", "same", "--variations", "1", "--amount", "0"]) == 0
    plain = np.asarray(Image.open("plain/photo_ink.png"))
    assert np.array_equal(plain, np.asarray(Image.open("same/photo_ink_seed0000.png"))), "an amount of 0 is the style"
    assert not np.array_equal(plain, np.asarray(Image.open("varied/photo_ink_seed0007.png")))
    assert main(["generate", names["style"], "--seeds", "3-4", "--out", "looks"]) == 0
    capsys.readouterr()
    looks = ["--reference", "looks/seed0003.png", "--reference", "looks/seed0004.png", "--reference-steps", "2"]
    assert main([*base, "--out", "led", *looks]) == 0
    assert [Path(path).name for path in record()["photos"][0]["files"]] == ["photo_ink.png"]
    assert not np.array_equal(plain, np.asarray(Image.open("led/photo_ink.png")))
    assert main([*base, "--out", "no", "--variations", "2", *looks]) == 2
    assert "exclude each other" in capsys.readouterr().err
    assert main([*base, "--out", "no", "--amount", "0.5"]) == 2
    assert "--amount needs --variations or --reference" in capsys.readouterr().err


def test_stylise_names_the_photo_and_the_style(
    networks: Path, photo: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, encoder = str(networks / "source.safetensors"), str(networks / "encoder.safetensors")
    common = ["stylise", str(photo), "--source", source, "--encoder", encoder, "--out", "made"]
    assert main([*common, "--style", "baroque"]) == 1
    shown = capsys.readouterr().err
    assert "There is no model 'baroque'" in shown
    assert "The embedded styles are:" in shown
    monkeypatch.setattr(stylise_command, "face_finder", lambda *_, **__: lambda picture: [])
    assert main([*common, "--style", source]) == 1
    assert f"{photo}: No face found in frame 1 of 1." in capsys.readouterr().err
    assert main([*common, "--style", source, "--on-no-face", "skip"]) == 0
    made = capsys.readouterr().out.strip()
    assert np.array_equal(np.asarray(Image.open(made)), np.asarray(Image.open(photo)))


def test_inspect_and_convert(networks: Path, record: Shown, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(networks / "source.safetensors")
    assert main(["inspect", file]) == 0
    assert "resolution        64\n" in capsys.readouterr().out
    assert main(["convert", file, "half.safetensors", "--half"]) == 0
    capsys.readouterr()
    assert main(["inspect", "half.safetensors", "--json"]) == 0
    known = record()
    assert (known["family"], known["kind"], known["num_ws"]) == ("facestylist", "generator", 10)
    assert known["has_discriminator"] is True
    assert Path("half.safetensors").stat().st_size < 0.7 * Path(file).stat().st_size
    Path("not.pt").write_text("hello")
    assert main(["inspect", "not.pt"]) == 1
    assert "not.pt" in capsys.readouterr().err


def test_the_models_folder_is_searched(networks: Path, tmp_path: Path, record: Shown) -> None:
    (tmp_path / "my" / "stylegan").mkdir(parents=True)
    (tmp_path / "my" / "stylegan" / "mine.safetensors").write_bytes((networks / "source.safetensors").read_bytes())
    arguments = ["generate", "mine.safetensors", "--models-dir", "my", "--raw", "a.npy", "--json"]
    assert main(arguments) == 0
    assert record()["shape"] == [1, 3, SIZE, SIZE]


def test_render(record: Shown, tmp_path: Path, global_rng_untouched: None) -> None:
    assert main(["render", "--count", "2", "--out", "faces", "--size", "32", "--seed", "4", "--json"]) == 0
    made = record()
    assert made["faces"] == json.loads((tmp_path / "faces" / "landmarks.json").read_text())["faces"]
    points = np.asarray(made["faces"][1]["landmarks"])
    assert points.shape == (68, 2)
    with Image.open(tmp_path / "faces" / made["faces"][1]["labels"]) as labels:
        assert labels.mode == "P"
        assert set(np.unique(np.asarray(labels))) <= set(made["labels"].values())
        assert len(np.unique(np.asarray(labels))) > 4
    with Image.open(tmp_path / "faces" / made["faces"][1]["image"]) as picture:
        assert picture.size == (32, 32)


def test_finetune_settings_and_interrupt(
    networks: Path, tmp_path: Path, record: Shown, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    styles = tmp_path / "styles"
    styles.mkdir()
    random = np.random.RandomState(3)
    for index in range(10):
        coarse = Image.fromarray(random.randint(0, 256, (4, 4, 3), np.uint8))
        coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC).save(styles / f"{index}.png")
    (tmp_path / "settings.toml").write_text("steps = 9\nbatch_size = 2\nlearning_rate = 0.001\n")
    source = str(networks / "source.safetensors")
    arguments = [
        "finetune",
        "--source",
        source,
        "--styles",
        "styles",
        "--no-align",
        "--out",
        "ink.safetensors",
        "--config",
        "settings.toml",
        "--steps",
        "2",
        "--run-dir",
        "run",
        "--json",
    ]
    assert main(arguments) == 0
    made = record()
    settings = made["settings"]
    assert (settings["steps"], settings["batch_size"], settings["learning_rate"]) == (2, 2, 0.001)
    assert settings["style_name"] == "ink"
    assert made["pictures"] == 10
    style = load_generator("ink.safetensors")
    assert style.style == "ink"
    assert style.w_space == load_generator(source).w_space

    (tmp_path / "settings.toml").write_text("stepps = 9\n")
    assert main(arguments) == 1
    assert "Unknown setting stepps" in capsys.readouterr().err
    (tmp_path / "settings.toml").write_text("")
    without = [{source: str(networks / "style.safetensors"), "run": "another"}.get(part, part) for part in arguments]
    assert main(without) == 1
    assert "without its discriminator" in capsys.readouterr().err


def test_train_pairs(networks: Path, tmp_path: Path, record: Shown, capsys: pytest.CaptureFixture[str]) -> None:
    source = load_generator(str(networks / "source.safetensors"))
    save_generator(replace(source, style="ink"), tmp_path / "ink.safetensors")
    loose = ["--min-contrast", "0", "--duplicate-bits", "-1", "--max-saturated", "1"]
    files = ["--source", str(networks / "source.safetensors")]
    made_pairs = ["pairs", *files, "--target", "ink.safetensors", "--out", "p.safetensors", "--count", "2", *loose]
    assert main(made_pairs) == 0
    capsys.readouterr()
    arguments = [
        "train-pairs",
        *files,
        "--style",
        "ink.safetensors",
        "--pairs",
        "p.safetensors",
        "--out",
        "crisp.safetensors",
        "--steps",
        "2",
        "--batch-size",
        "2",
        "--discriminator-alone",
        "1",
        "--run-dir",
        "run",
        "--json",
    ]
    assert main(arguments) == 0
    made = record()
    assert (made["settings"]["steps"], made["settings"]["batch_size"]) == (2, 2)
    assert "pixel" in made["last"]
    style = load_generator("crisp.safetensors")
    assert style.style == "ink" and style.w_space == source.w_space
    assert main([*arguments, "--resume", "nowhere"]) == 2
