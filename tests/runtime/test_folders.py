"""Folders out of ComfyUI, and in it (with a stand-in for its `folder_paths`)."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from facestylist.runtime import folders
from facestylist.runtime.devices import in_comfyui
from facestylist.runtime.folders import Folders, use_folders


@pytest.fixture
def places(tmp_path: Path) -> Folders:
    return Folders(*(tmp_path / name for name in ("input", "output", "temp", "models")))


@pytest.fixture
def comfyui(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """A ComfyUI whose user keeps StyleGAN files on another disk as well."""
    fake = ModuleType("folder_paths")
    fake.models_dir = str(tmp_path / "comfy" / "models")
    fake.folder_names_and_paths = {"stylegan": ([str(tmp_path / "disk")], set()), "loras": ([], set())}
    fake.get_input_directory = lambda: str(tmp_path / "comfy" / "input")
    fake.get_output_directory = lambda: str(tmp_path / "comfy" / "output")
    fake.get_temp_directory = lambda: str(tmp_path / "comfy" / "temp")
    fake.get_folder_paths = lambda kind: fake.folder_names_and_paths[kind][0]
    fake.get_filename_list = lambda kind: ["sub/mine.pt"]
    monkeypatch.setitem(sys.modules, "folder_paths", fake)
    monkeypatch.setitem(sys.modules, "comfy.model_management", ModuleType("comfy.model_management"))
    return fake


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def test_the_working_directory_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, places: Folders) -> None:
    monkeypatch.chdir(tmp_path)
    assert not in_comfyui()
    assert folders.input_dir() == tmp_path / "input"
    assert folders.output_dir() == tmp_path / "output"
    with use_folders(places):
        assert folders.temp_dir() == tmp_path / "temp"
    assert folders.temp_dir() == tmp_path / "output" / "temp"


def test_listing_and_finding(places: Folders, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(folders.embedded, "ASSETS", tmp_path / "assets")
    touch(tmp_path / "assets" / "style-sketch.safetensors")
    touch(tmp_path / "assets" / "style-cartoon.safetensors")
    touch(tmp_path / "assets" / "generator.safetensors")
    touch(tmp_path / "assets" / "rendered" / "style-chibi.safetensors")
    mine = touch(places.models / "stylegan" / "sub" / "mine.pkl")
    touch(places.models / "stylegan" / "readme.txt")
    with use_folders(places):
        listed = folders.list_models("stylegan")
        assert listed == ["embedded", "embedded:cartoon", "embedded:sketch", "sub/mine.pkl", "rendered:chibi"]
        assert folders.list_models("face_encoders") == ["embedded", "rendered"]
        assert folders.find_model("stylegan", "sub/mine.pkl") == str(mine)
        assert folders.find_model("stylegan", str(mine)) == str(mine)
        assert folders.find_model("stylegan", "embedded:cartoon") == "embedded:cartoon"
        with pytest.raises(ValueError, match="Put the file into .*stylegan, or choose embedded"):
            folders.find_model("stylegan", "other.pt")


def test_new_files_stay_inside(places: Folders) -> None:
    with use_folders(places):
        assert folders.new_model_path("stylegan", "my") == places.models / "stylegan" / "my.safetensors"
        assert folders.new_model_path("stylegan", "a/my.safetensors").parent == places.models / "stylegan" / "a"
        for name in ("../../my", "/etc/my"):
            with pytest.raises(ValueError, match="lies outside"):
                folders.new_model_path("stylegan", name)


def test_inputs(places: Folders, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sample = touch(tmp_path / "assets" / "sample.png")
    monkeypatch.setitem(folders.SAMPLES, folders.SAMPLE, sample)
    with use_folders(places):
        assert folders.find_input("a.png") == places.input / "a.png"
        assert folders.find_input("sub/a.png [output]") == places.output / "sub" / "a.png"
        assert folders.find_input(str(sample)) == sample
        assert folders.find_input(folders.SAMPLE) == sample
        own = touch(places.input / folders.SAMPLE)
        assert folders.find_input(folders.SAMPLE) == own
        with pytest.raises(ValueError, match="lies outside"):
            folders.find_input("../secret.png")


def test_the_sample_is_offered_once(comfyui: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sample = touch(tmp_path / "assets" / "sample.png")
    sample.write_text("picture")
    for name in (folders.SAMPLE_GROUP, folders.SAMPLE_CLIP):
        monkeypatch.setitem(folders.SAMPLES, name, touch(tmp_path / "assets" / name))
    monkeypatch.setitem(folders.SAMPLES, folders.SAMPLE, sample)
    comfyui.get_input_directory = lambda: str(tmp_path / "input")  # type: ignore[attr-defined]
    folders.copy_samples_once()
    placed = tmp_path / "input" / folders.SAMPLE
    assert placed.read_text() == "picture"
    assert (tmp_path / "input" / folders.SAMPLE_CLIP).is_file()
    placed.write_text("the user's own")
    folders.copy_samples_once()
    assert placed.read_text() == "the user's own"
    placed.unlink()
    folders.copy_samples_once()
    assert not placed.exists(), "it was deleted"
    sample.write_text("a newer picture")
    folders.copy_samples_once()
    assert placed.read_text() == "a newer picture"


def test_registration_keeps_the_users_paths(comfyui: ModuleType, tmp_path: Path) -> None:
    folders.register_model_folders()
    folders.register_model_folders()
    paths, extensions = comfyui.folder_names_and_paths["stylegan"]
    assert paths == [str(tmp_path / "disk"), str(tmp_path / "comfy" / "models" / "stylegan")]
    assert ".pkl" in extensions
    ours = {"stylegan", "face_encoders", "face_detection", "face_guides", "face_stylizers"}
    assert set(comfyui.folder_names_and_paths) == {*ours, "loras"}


def test_inside_comfyui_its_folders_are_used(comfyui: ModuleType, tmp_path: Path) -> None:
    assert in_comfyui()
    folders.register_model_folders()
    assert folders.input_dir() == tmp_path / "comfy" / "input"
    assert folders.model_dirs("face_encoders") == [tmp_path / "comfy" / "models" / "face_encoders"]
    assert folders.list_model_files("stylegan") == ["sub/mine.pt"]
    found = touch(tmp_path / "disk" / "sub" / "mine.pt")
    assert folders.find_model("stylegan", "sub/mine.pt") == str(found)


def test_names_from_windows(places: Folders, tmp_path: Path) -> None:
    mine = touch(places.models / "stylegan" / "sub" / "my.pt")
    picture = touch(places.input / "sub" / "a.png")
    kept = touch(places.output / "sub" / "b.png")
    with use_folders(places):
        assert folders.find_model("stylegan", r"sub\my.pt") == str(mine)
        assert folders.find_model("stylegan", r"C:\ComfyUI\models\stylegan\sub\my.pt") == str(mine)
        for name in (r"sub\a.png", r"C:\Users\me\input\sub\a.png", "C:/input/sub/a.png", r"\\nas\faces\sub\a.png"):
            assert folders.find_input(name) == picture
        assert folders.find_input(r"sub\b.png [output]") == kept
        # The end of a path counts only where a drive or a share begins it, and it never leads out.
        assert not folders.find_input(r"else\sub\a.png").exists()
        outside = touch(tmp_path / "secret.png")
        assert folders.find_input(r"C:\..\secret.png") != outside
        with pytest.raises(ValueError, match="no model"):
            folders.find_model("stylegan", r"..\secret.png")
        # A file that is really called so is found first.
        if folders.os.sep == "/":
            odd = touch(places.input / r"sub\a.png")
            assert folders.find_input(r"sub\a.png") == odd
