"""From what the front end saves to one prompt."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, features
from PIL.PngImagePlugin import PngInfo

from facestylist.headless.prompts import WorkflowError
from facestylist.headless.values import expand_text, format_date, set_input, set_seeds
from facestylist.headless.workflow import Workflow, read_workflow_file, read_workflows, to_workflow

TYPES: dict[str, Any] = {
    "Source": {
        "required": {
            "seed": ("INT", {"default": 0}),
            "size": ("INT", {"default": 8}),
            "mode": (["a", "b"], {}),
        }
    },
    "Change": {
        "required": {"image": ("IMAGE",), "amount": ("FLOAT", {"default": 0.5})},
        "optional": {"mask": ("MASK",), "text": ("STRING", {"default": ""}), "on": ("BOOLEAN", {"default": True})},
    },
    "Show": {"required": {"images": ("IMAGE",)}},
}


def node(key: int, kind: str, **more: Any) -> dict[str, Any]:
    return {"id": key, "type": kind, "mode": 0, "inputs": [], "outputs": [], **more}


def linked(name: str, link: int | None, kind: str = "IMAGE") -> dict[str, Any]:
    return {"name": name, "type": kind, "link": link}


def source(key: int = 1, **more: Any) -> dict[str, Any]:
    values = [7, "randomize", 16, "b"]
    outputs = [{"name": "IMAGE", "type": "IMAGE"}, {"name": "MASK", "type": "MASK"}]
    return node(key, "Source", widgets_values=values, outputs=outputs, **more)


def graph(nodes: list[dict[str, Any]], links: list[Any]) -> dict[str, Any]:
    return {"nodes": nodes, "links": links, "version": 0.4}


def chain(middle: dict[str, Any]) -> dict[str, Any]:
    """Source 1 -> middle 2 -> Show 3."""
    show = node(3, "Show", inputs=[linked("images", 11)])
    return graph([source(), middle, show], [[10, 1, 0, 2, 0, "IMAGE"], [11, 2, 0, 3, 0, "IMAGE"]])


def change(**more: Any) -> dict[str, Any]:
    outputs = [{"name": "IMAGE", "type": "IMAGE"}]
    defaults = {"inputs": [linked("image", 10)], "widgets_values": [0.25, "hi", False], "outputs": outputs}
    return node(2, "Change", **{**defaults, **more})


def test_values_links_and_the_seed_control() -> None:
    prompt = to_workflow(chain(change()), TYPES).prompt
    assert prompt["1"]["inputs"] == {"seed": 7, "size": 16, "mode": "b"}
    assert prompt["2"]["inputs"] == {"image": ["1", 0], "amount": 0.25, "text": "hi", "on": False}
    assert prompt["3"] == {"class_type": "Show", "inputs": {"images": ["2", 0]}}


def test_a_seed_saved_without_its_control() -> None:
    document = graph([node(1, "Source", widgets_values=[7, 16, "b"])], [])
    assert to_workflow(document, TYPES).prompt["1"]["inputs"] == {"seed": 7, "size": 16, "mode": "b"}


def test_widget_values_as_a_mapping_and_links_as_objects() -> None:
    document = chain(change(widgets_values={"text": "yes", "amount": 1.0, "unknown": 3}))
    document["links"] = [
        {"id": 10, "origin_id": 1, "origin_slot": 0, "target_id": 2, "target_slot": 0, "type": "IMAGE"},
        {"id": 11, "origin_id": 2, "origin_slot": 0, "target_id": 3, "target_slot": 0, "type": "IMAGE"},
    ]
    prompt = to_workflow(document, TYPES).prompt
    assert prompt["2"]["inputs"] == {"image": ["1", 0], "amount": 1.0, "text": "yes", "on": True}


def test_a_bypassed_node_hands_on_what_it_was_given() -> None:
    prompt = to_workflow(chain(change(mode=4)), TYPES).prompt
    assert prompt["3"]["inputs"] == {"images": ["1", 0]}
    assert "2" not in prompt


def test_a_bypassed_node_looks_for_the_type_when_the_slot_differs() -> None:
    middle = change(mode=4, inputs=[linked("mask", None, "MASK"), linked("image", 10)])
    assert to_workflow(chain(middle), TYPES).prompt["3"]["inputs"] == {"images": ["1", 0]}


def test_a_muted_node_takes_what_needs_it_along() -> None:
    document = chain(change(mode=2))
    document["nodes"].append(node(4, "Show", inputs=[linked("images", 12)]))
    document["links"].append([12, 1, 0, 4, 0, "IMAGE"])
    workflow = to_workflow(document, TYPES)
    assert sorted(workflow.prompt) == ["1", "4"]
    assert workflow.skipped == ("3 (Show)",)


def test_a_muted_node_on_an_optional_input_is_only_cut_off() -> None:
    middle = change(inputs=[linked("image", 10), linked("mask", 12, "MASK")])
    document = chain(middle)
    document["nodes"].append(source(5, mode=2))
    document["links"].append([12, 5, 1, 2, 1, "MASK"])
    assert "mask" not in to_workflow(document, TYPES).prompt["2"]["inputs"]


def test_reroutes_primitives_and_converted_widgets() -> None:
    amount = {**linked("amount", 21, "FLOAT"), "widget": {"name": "amount"}}
    middle = change(inputs=[linked("image", 20), amount])
    document = chain(middle)
    document["nodes"] += [
        node(8, "Reroute", inputs=[{"name": "", "type": "*", "link": 10}]),
        node(9, "PrimitiveNode", widgets_values=[0.75, "fixed"]),
        node(10, "Note", widgets_values=["a remark"]),
        node(11, "MarkdownNote", widgets_values=["# another"]),
    ]
    document["links"] = [
        [10, 1, 0, 8, 0, "IMAGE"],
        [20, 8, 0, 2, 0, "IMAGE"],
        [21, 9, 0, 2, 1, "FLOAT"],
        [11, 2, 0, 3, 0, "IMAGE"],
    ]
    prompt = to_workflow(document, TYPES).prompt
    assert sorted(prompt) == ["1", "2", "3"]
    assert prompt["2"]["inputs"] == {"image": ["1", 0], "amount": 0.75, "text": "hi", "on": False}


def test_links_that_lead_nowhere() -> None:
    document = chain(change(inputs=[linked("image", 99)]))
    with pytest.raises(WorkflowError, match=r"Input `image` of node 2 \(Change\) is linked by link 99"):
        to_workflow(document, TYPES)
    with pytest.raises(WorkflowError, match="linked to node 5"):
        to_workflow({"3": {"class_type": "Show", "inputs": {"images": ["5", 0]}}}, TYPES)


def test_the_api_format_and_its_titles() -> None:
    document = {"a": {"class_type": "Source", "inputs": {"seed": 1}, "_meta": {"title": "My source"}}}
    workflow = to_workflow(document, TYPES)
    assert workflow.prompt == {"a": {"class_type": "Source", "inputs": {"seed": 1}}}
    assert workflow.titles == {"a": "My source"}


def test_set_by_id_title_and_class() -> None:
    document = chain(change(title="Middle. One"))
    workflow = to_workflow(document, TYPES, {"Source": "A Source"})
    set_input(workflow, TYPES, "1.size=32")
    set_input(workflow, TYPES, "A Source.mode=a")
    set_input(workflow, TYPES, "Middle. One.text=a=b")
    set_input(workflow, TYPES, "Change.on=no")
    assert workflow.prompt["1"]["inputs"] == {"seed": 7, "size": 32, "mode": "a"}
    assert workflow.prompt["2"]["inputs"]["text"] == "a=b"
    assert workflow.prompt["2"]["inputs"]["on"] is False
    set_seeds(workflow, 99)
    assert workflow.prompt["1"]["inputs"]["seed"] == 99


@pytest.mark.parametrize(
    ("assignment", "sentence"),
    [
        ("1.size", "NODE.INPUT=VALUE"),
        ("nobody.size=1", "no node 'nobody'"),
        ("1.colour=1", "no value `colour`"),
        ("2.image=a.png", "no value `image`"),
        ("1.size=1.5", "whole number"),
        ("2.on=perhaps", "true or false"),
        ("Show.images=1", "2 nodes are called"),
    ],
)
def test_set_says_what_is_wrong(assignment: str, sentence: str) -> None:
    document = chain(change())
    document["nodes"].append(node(4, "Show", inputs=[linked("images", 11)]))
    with pytest.raises(WorkflowError, match=sentence):
        set_input(to_workflow(document, TYPES), TYPES, assignment)


def test_dates_and_values_in_file_names() -> None:
    now = datetime(2031, 2, 3, 4, 5, 6)  # noqa: DTZ001
    workflow = Workflow({"1": {"class_type": "Source", "inputs": {"seed": 7, "mode": "a/b"}}}, titles={"1": "Mine"})
    assert format_date("yyyy-MM-dd hh:mm:ss yy M d", now) == "2031-02-03 04:05:06 31 2 3"
    assert expand_text("x/%date:yyMMdd%_%Mine.seed%_%Source.mode%", workflow, now) == "x/310203_7_a_b"
    assert expand_text("%nobody.seed%_100%_%width%", workflow, now) == "%nobody.seed%_100%_%width%"


@pytest.mark.parametrize("ending", ["png", "webp", "jpg", "avif"])
def test_both_workflows_of_a_picture(tmp_path: Path, ending: str) -> None:
    """As SaveImage writes them into a PNG, and as SaveAnimatedWEBP writes them, into Model and Make."""
    if ending == "avif" and not features.check("avif"):
        pytest.skip("this Pillow writes no AVIF")
    canvas, prompt = chain(change()), {"1": {"class_type": "Source", "inputs": {"seed": 1}}}
    picture, path = Image.new("RGB", (4, 4)), tmp_path / f"a.{ending}"
    if ending == "png":
        chunks = PngInfo()
        chunks.add_text("prompt", json.dumps(prompt))
        chunks.add_text("workflow", json.dumps(canvas))
        picture.save(path, pnginfo=chunks)
    else:
        exif = picture.getexif()
        exif[0x0110], exif[0x010F] = f"prompt:{json.dumps(prompt)}", f"workflow:{json.dumps(canvas)}"
        picture.save(path, exif=exif)
    # Its name tells nothing.
    path = path.rename(tmp_path / "picture.json")
    assert read_workflows(path) == [canvas, prompt]


def test_reading_files(tmp_path: Path) -> None:
    document = chain(change())
    (tmp_path / "a.json").write_text(json.dumps(document))
    assert read_workflow_file(tmp_path / "a.json") == document
    chunks = PngInfo()
    chunks.add_text("workflow", json.dumps(document))
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", pnginfo=chunks)
    assert read_workflow_file(tmp_path / "a.png") == document
    Image.new("RGB", (4, 4)).save(tmp_path / "plain.png")
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "other.json").write_text('{"a": 1}')
    # Without a byte order mark UTF-16 is told by its zeros.
    for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"):
        (tmp_path / "b.json").write_bytes(json.dumps(document).encode(encoding))
        assert read_workflow_file(tmp_path / "b.json") == document
    for name, sentence in [
        ("plain.png", "carries no workflow"),
        ("broken.json", "is not JSON"),
        ("other.json", "is not a ComfyUI workflow"),
        ("missing.json", "There is no workflow"),
    ]:
        with pytest.raises(WorkflowError, match=sentence):
            read_workflow_file(tmp_path / name)
