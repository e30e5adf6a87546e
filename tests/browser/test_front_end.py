"""The pack in ComfyUI's own front end: workflows open, say the same as the runner, run, and show what we add."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_runs import SMALL_RUNS

from facestylist.headless.runner import Runner, known_classes
from facestylist.headless.workflow import node_types
from facestylist.runtime.folders import Folders, use_folders
from facestylist.tools.workflow_makers.pass_through import classes as pass_through

pytestmark = [pytest.mark.browser, pytest.mark.slow]

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"
FILES = sorted(WORKFLOWS.glob("*.json"))
OVERLAPS = """() => { const boxes = app.graph.nodes.map((node) => [node.title, ...node.getBounding()]);
    return boxes.flatMap(([a, ax, ay, aw, ah], index) => boxes.slice(index + 1)
        .filter(([, bx, by, bw, bh]) => ax < bx + bw && bx < ax + aw && ay < by + bh && by < ay + ah)
        .map(([b]) => `${a} / ${b}`)); }"""

MISSING = "() => app.graph.nodes.map((node) => node.type).filter((type) => !LiteGraph.registered_node_types[type])"
SHOWN = """(wanted) => wanted.every((id) => { const node = app.graph.nodes.find((node) => String(node.id) === id);
    return node?.imgs?.length && node.imgs.every((picture) => picture.naturalWidth > 0); })"""


def read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def known_to(site: str) -> list[Path]:
    """The bundled workflows that a server has all the nodes for."""
    ours = set(known_classes())
    return [path for path in FILES if site == "comfyui" or set(node_types(read(path)).values()) <= ours]


def same_prompt(document: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What our runner makes of a workflow."""
    with use_folders(Folders(folder, folder, folder, folder)):
        return Runner({**pass_through(), **known_classes()}).open(document).prompt


def test_workflows_open_whole_and_say_the_same(front_end: Any, tmp_path: Path) -> None:
    """Each in turn on one page: a test of its own for each would take longer to start than to run."""
    paths = known_to(front_end.name)
    assert len(paths) >= 6
    for path in paths:
        document = read(path)
        front_end.open(document, path.stem)
        assert front_end.page.evaluate(MISSING) == [], path.stem
        assert front_end.page.evaluate(OVERLAPS) == [], path.stem
        assert front_end.prompt() == same_prompt(document, tmp_path), path.stem
        assert front_end.own_complaints() == [], path.stem


def test_workflows_run_to_their_pictures(front_end: Any) -> None:
    """All of them on the stand-in; a real ComfyUI runs them in tests/comfyui, and one here, for the page's sake."""
    paths = known_to("ui") if front_end.name == "ui" else [WORKFLOWS / "stylise_a_photo.json"]
    for path in paths:
        document = read(path)
        front_end.open(document, path.stem)
        front_end.set_widgets(SMALL_RUNS[path.stem])
        kind, data = front_end.run()
        assert kind == "execution_success", (path.stem, data)
        # What is outside the window is not loaded: the whole graph is brought into it first.
        front_end.show_all()
        shown = [n for n in document["nodes"] if n["type"] in ("SaveImage", "PreviewImage") and not n.get("mode")]
        front_end.page.wait_for_function(SHOWN, arg=[str(node["id"]) for node in shown], timeout=60_000)
        assert front_end.picture(path.stem).stat().st_size > 50_000
        assert front_end.own_complaints() == [], path.stem


def test_help_is_shown_beside_the_graph(front_end: Any) -> None:
    front_end.open(read(WORKFLOWS / "stylise_a_photo.json"), "help")
    front_end.page.evaluate(
        "() => { const node = app.graph.nodes.find((node) => node.type === 'FaceStylistAlignFaces'); "
        "app.canvas.ds.scale = 1; app.canvas.ds.offset = [600 - node.pos[0], 200 - node.pos[1]]; "
        "app.canvas.deselectAll(); app.canvas.setDirty(true, true); }"
    )
    front_end.page.wait_for_timeout(500)
    front_end.page.mouse.click(680, 185)  # its title, as a person would
    front_end.page.locator("[data-testid=info-button]").click(timeout=60_000)
    help_page = front_end.page.locator(".node-help-content")
    help_page.get_by_role("heading", name="Example").wait_for(timeout=60_000)
    assert "FFHQ" in help_page.inner_text()
    pictures = "(list) => list.length > 0 && list.every((img) => img.complete && img.naturalWidth > 0)"
    front_end.page.wait_for_function(
        f"() => ({pictures})([...document.querySelectorAll('.node-help-content img')])", timeout=60_000
    )
    front_end.page.screenshot(path=front_end.pictures / f"{front_end.name}-help.png")
    # The front end asks for a page in the reader's language first, and takes the one there is.
    assert [text for text in front_end.own_complaints() if "404 (Not Found)" not in text] == []
    front_end.complaints.clear()


def test_losses_are_drawn_and_two_pictures_compared(front_end: Any) -> None:
    settings = {"steps": 4, "batch_size": 2, "settings": "preview_interval = 2"}
    prompt = {
        "1": {"class_type": "FaceStylistLoadGenerator", "inputs": {"name": "embedded"}},
        "2": {"class_type": "FaceStylistRenderFaces", "inputs": {"count": 4, "size": 64, "look": "sketch"}},
        "3": {
            "class_type": "FaceStylistFinetuneGenerator",
            "inputs": {"source": ["1", 0], "style_images": ["2", 0], "resume": False, **settings},
        },
        "4": {"class_type": "FaceStylistCompare", "inputs": {"image_a": ["2", 0], "image_b": ["3", 1]}},
        "5": {"class_type": "PreviewImage", "inputs": {"images": ["3", 1]}},
    }
    front_end.page.evaluate("(prompt) => app.loadApiJson(prompt, 'training')", prompt)
    front_end.page.evaluate("() => app.graph.arrange(60)")
    assert set(front_end.prompt()["4"]["inputs"]) == {"image_a", "image_b"}, "the slider is no input"
    saved_widgets = "() => app.graph.serialize().nodes.find((node) => node.id === 3).widgets_values"
    without_curve = len(front_end.page.evaluate(saved_widgets))
    kind, data = front_end.run()
    assert kind == "execution_success", data
    steps = front_end.page.evaluate("() => app.graph.getNodeById(3).facestylistCurve.rows.map((row) => row.step)")
    assert steps == [1, 2, 3, 4]
    curve = "app.graph.getNodeById(3).facestylistCurve"
    label = front_end.page.evaluate(f"() => {curve}.element.getAttribute('aria-label')")
    assert label.startswith("Step 4 of 4: style distance 0."), "scores come first"
    assert "self-similarity loss " in label and "discriminator loss " in label
    assert len(front_end.page.evaluate(saved_widgets)) == without_curve, "the curve is not saved"

    front_end.page.evaluate(
        "() => { const node = app.graph.getNodeById(4); node.setSize([400, 320]); node.pos = [0, 0]; "
        "app.canvas.ds.scale = 1; app.canvas.ds.offset = [300, 300]; app.canvas.setDirty(true, true); }"
    )
    slider = front_end.page.locator(".facestylist-compare")
    slider.locator("img").first.wait_for(timeout=60_000)
    front_end.page.wait_for_function(
        "() => { const found = [...document.querySelectorAll('.facestylist-compare img')];"
        " return found.length >= 2 && found.every((img) => img.naturalWidth > 0); }",
        timeout=60_000,
    )
    box = slider.bounding_box()
    front_end.page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + box["height"] / 2)
    clip = slider.locator("img").nth(1).evaluate("(img) => img.style.clipPath")
    assert clip.startswith("inset(0") and 70 < float(clip.split()[1].rstrip("%")) < 80
    slider.locator("button").click(force=True)
    assert slider.locator("button").inner_text() == "2 / 4"
    front_end.page.screenshot(path=front_end.pictures / f"{front_end.name}-compare.png")
    assert front_end.own_complaints() == []


DROP = """async ([bytes, name, x, y]) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([new Uint8Array(bytes)], name));
    const target = document.elementFromPoint(x, y);
    target.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true,
                                                clientX: x, clientY: y }));
}"""


def test_a_dropped_latent_file_becomes_a_node(front_end: Any) -> None:
    import torch
    from safetensors.torch import save

    from facestylist.latents.files import KIND, our_metadata

    front_end.page.evaluate("() => app.graph.clear()")
    content = list(save({"w_plus": torch.zeros(1, 10, 8)}, our_metadata(KIND)))
    front_end.page.evaluate(DROP, [content, "anna.safetensors", 800, 500])
    front_end.page.wait_for_function("() => app.graph.nodes.length === 1")
    front_end.page.wait_for_function("() => app.graph.nodes[0].widgets[0].value.endsWith('anna.safetensors')")
    assert front_end.page.evaluate("() => app.graph.nodes[0].type") == "FaceStylistLoadLatents"
    assert front_end.page.evaluate("() => app.graph.nodes[0].widgets[0].value").startswith("facestylist/anna")

    foreign = list(save({"w": torch.zeros(2)}, {"format": "pt"}))
    front_end.page.evaluate(DROP, [foreign, "model.safetensors", 800, 500])
    front_end.page.wait_for_timeout(700)
    assert front_end.page.evaluate("() => app.graph.nodes.length") == 1, "another file goes its old way"


def test_an_error_is_shown_on_its_node(front_end: Any) -> None:
    prompt = {
        "1": {"class_type": "FaceStylistLoadLatents", "inputs": {"file": "facestylist/nobody.safetensors"}},
        "2": {"class_type": "FaceStylistLoadGenerator", "inputs": {"name": "embedded"}},
        "3": {"class_type": "FaceStylistDecodeLatent", "inputs": {"latent": ["1", 0], "generator": ["2", 0]}},
        "4": {"class_type": "PreviewImage", "inputs": {"images": ["3", 0]}},
    }
    front_end.page.evaluate("(prompt) => app.loadApiJson(prompt, 'wrong')", prompt)
    answer = front_end.page.evaluate(
        "async () => { try { return await app.api.queuePrompt(0, await app.graphToPrompt()); } "
        "catch (error) { return error.response; } }"
    )
    assert list(answer["node_errors"]) == ["1"]
    (fault,) = answer["node_errors"]["1"]["errors"]
    assert "nobody.safetensors" in json.dumps(fault)
