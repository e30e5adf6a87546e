"""The workflows people open first: complete, tidy, and runnable without a server."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from small_runs import SMALL_RUNS

from facestylist.core.assets import list_embedded
from facestylist.headless.prompts import declared_inputs, is_widget
from facestylist.headless.runner import Runner, known_classes
from facestylist.runtime.folders import SAMPLE, SAMPLE_CLIP, SAMPLE_GROUP, SAMPLES, Folders, use_folders
from facestylist.tools.workflow_makers import build
from facestylist.tools.workflow_makers.canvas import node_class_of
from facestylist.tools.workflow_makers.pass_through import classes as pass_through

FOLDER = Path(__file__).resolve().parents[2] / "workflows"
FILES = sorted(FOLDER.glob("*.json"))
TITLE = 30
NOTES = ("Note", "MarkdownNote")

Box = tuple[float, float, float, float]


def read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def box(node: dict[str, Any]) -> Box:
    """Left, top, right, bottom of a node with its title bar."""
    (x, y), (width, height) = node["pos"], node["size"]
    return x, y - TITLE, x + width, y + height


def overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def inside(a: Box, b: Box) -> bool:
    return a[0] >= b[0] and a[1] >= b[1] and a[2] <= b[2] and a[3] <= b[3]


def test_the_promised_ones_are_there() -> None:
    names = [path.stem for path in FILES]
    assert names == [
        "diffusion_controlnet",
        "diffusion_inpaint_around_faces",
        "diffusion_redraw_faces",
        "export_pairs_for_lora",
        "fast_stylizer_on_a_photo",
        "finetune_a_style_and_use_it",
        "full_recipe",
        "multimodal_grid",
        "reference_guided",
        "several_faces_in_one_photo",
        "stylise_a_photo",
        "train_a_fast_stylizer",
        "video_frames",
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_thumbnail_shows_what_comes_out(path: Path) -> None:
    with Image.open(path.with_suffix(".jpg")) as picture:
        assert min(picture.size) >= 256
        assert len(picture.convert("L").resize((32, 32)).getcolors() or []) > 20, "the thumbnail is nearly one colour"
    assert path.with_suffix(".jpg").stat().st_size < 300_000


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_file_is_what_its_module_builds(path: Path) -> None:
    built = json.loads(json.dumps(build(path.stem).document()))
    assert read(path) == built, "run python -m facestylist.tools.workflow_makers"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_nodes_agree_with_their_declarations(path: Path) -> None:
    document = read(path)
    assert document["version"] == 0.4
    for node in document["nodes"]:
        if node["type"] in NOTES:
            continue
        node_class: Any = node_class_of(node["type"])
        declared = declared_inputs(node_class.INPUT_TYPES())
        sockets = [slot for slot in node["inputs"] if slot["name"] != "upload"]
        assert sorted(slot["name"] for slot in sockets) == sorted(declared), f"{node['type']} in {path.name}"
        assert [output["type"] for output in node["outputs"]] == list(node_class.RETURN_TYPES)
        count = 0
        for kind, options in declared.values():
            if is_widget(kind, options):
                extra = bool(options.get("control_after_generate")) + bool(options.get("image_upload"))
                extra += bool(options.get("video_upload"))
                count += 1 + extra
        assert len(node["widgets_values"]) == count, f"{node['type']} in {path.name}"
        assert node["properties"]["Node name for S&R"] == node["type"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_links_join_what_they_say(path: Path) -> None:
    document = read(path)
    nodes = {node["id"]: node for node in document["nodes"]}
    assert document["last_node_id"] == max(nodes)
    seen = set()
    for key, origin, output, target, slot, kind in document["links"]:
        assert nodes[origin]["outputs"][output]["type"] == kind
        assert key in nodes[origin]["outputs"][output]["links"]
        assert nodes[target]["inputs"][slot]["type"] in ("*", kind)
        assert nodes[target]["inputs"][slot]["link"] == key
        assert nodes[origin]["order"] < nodes[target]["order"]
        seen.add(key)
    used = {slot["link"] for node in nodes.values() for slot in node["inputs"] if slot["link"] is not None}
    assert used == seen
    assert document["last_link_id"] == max(seen)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_canvas_is_tidy(path: Path) -> None:
    document = read(path)
    for a, b in itertools.combinations(document["nodes"], 2):
        assert not overlap(box(a), box(b)), f"{a['type']} {a['id']} covers {b['type']} {b['id']}"
    groups = {}
    for group in document["groups"]:
        x, y, width, height = group["bounding"]
        groups[group["title"]] = (x, y, x + width, y + height)
    assert len(groups) == len(document["groups"]), "two groups have one title"
    for (a, box_a), (b, box_b) in itertools.combinations(groups.items(), 2):
        assert not overlap(box_a, box_b), f"{a} covers {b}"
    for node in document["nodes"]:
        if node["type"] not in NOTES:
            around = [title for title, group in groups.items() if inside(box(node), group)]
            assert len(around) == 1, f"{node['type']} {node['id']} lies in {around}"
        if node["type"] in ("PreviewImage", "SaveImage"):
            assert node["size"][1] >= 280, "no room for the picture"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_note_explains_and_the_sample_is_loaded(path: Path) -> None:
    document = read(path)
    notes = [node for node in document["nodes"] if node["type"] == "MarkdownNote"]
    assert notes and all(len(node["widgets_values"][0]) > 100 for node in notes)
    loaded = [node["widgets_values"][0] for node in document["nodes"] if node["type"] == "LoadImage"]
    loaded += [node["widgets_values"][0] for node in document["nodes"] if node["type"] == "LoadVideo"]
    assert loaded == [{"video_frames": SAMPLE_CLIP, "several_faces_in_one_photo": SAMPLE_GROUP}.get(path.stem, SAMPLE)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_models_are_ones_that_people_can_get(path: Path) -> None:
    for node in read(path)["nodes"]:
        models = node["properties"].get("models", [])
        assert bool(models) == (node["type"] in ("CheckpointLoaderSimple", "ControlNetLoader"))
        for model in models:
            # The front end offers to fetch nothing else.
            assert model["url"].startswith("https://huggingface.co/") and model["url"].endswith(model["name"])
            assert model["name"].endswith(".safetensors") and model["name"] == node["widgets_values"][0]
            assert model["directory"] in ("checkpoints", "controlnet")


SHOWING = ("SaveImage", "PreviewImage", "SaveWEBM", "FaceStylistStylisationReport")
WHOLE = ("fast_stylizer_on_a_photo",)
"""Those that redraw everything, and not faces alone."""
FILES_SAVED = {"multimodal_grid": 2, "video_frames": 4}
"""Where it is not one for each SaveImage: a picture for each of the two seeds, and for some of the frames."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_runs_to_its_pictures(path: Path, tmp_path: Path) -> None:
    if not list_embedded():
        pytest.skip("the embedded networks are not there: run `make assets`")
    folders = Folders(tmp_path / "input", tmp_path / "output", tmp_path / "temp", tmp_path / "models")
    document = read(path)
    with use_folders(folders):
        # Samplers hand on what they are given: everything but the diffusion runs.
        runner = Runner({**pass_through(), **known_classes()})
        result = runner.run(runner.prepare(document, SMALL_RUNS[path.stem]))
        writers = [str(node["id"]) for node in document["nodes"] if node["type"] in ("SaveImage", "SaveWEBM")]
        saved = [read_rgb(file) for key in writers for file in result.files_of(key)]
    expected = [node for node in document["nodes"] if node["type"] in SHOWING]
    shown = {int(key) for key, ui in result.ui.items() if ui.get("images")}
    assert shown == {node["id"] for node in expected}
    photo = read_rgb(SAMPLES[SAMPLE_GROUP if path.stem == "several_faces_in_one_photo" else SAMPLE])
    assert len(saved) == FILES_SAVED.get(path.stem, len(writers))
    if path.stem in ("video_frames", "diffusion_inpaint_around_faces"):
        # Other frames, and another size.
        assert all(min(picture.shape[:2]) >= 320 for picture in saved), [picture.shape for picture in saved]
        return
    for picture in saved:
        assert picture.shape == photo.shape
        changed = (picture - photo).abs().amax(2) > 0.1
        most = 1.0 if path.stem in WHOLE else 0.8
        assert 0.01 < changed.float().mean() <= most, "faces are changed, and not everything else"


def read_rgb(path: Path) -> torch.Tensor:
    from facestylist.core.pictures import read_picture

    return read_picture(path)[0][0]
