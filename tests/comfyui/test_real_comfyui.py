"""The pack in a real ComfyUI: it loads without a word, declares everything, and runs its workflows."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from small_runs import SMALL_RUNS

from facestylist.core.assets import list_embedded
from facestylist.headless.prompts import is_link
from facestylist.headless.server_client import ServerClient
from facestylist.headless.values import set_input
from facestylist.headless.workflow import Workflow
from facestylist.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from facestylist.tools.workflow_makers.core import definition, recorded

pytestmark = [pytest.mark.comfyui, pytest.mark.slow]

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"
FILES = sorted(WORKFLOWS.glob("*.json"))
SHOWS = ("SaveImage", "PreviewImage", "SaveWEBM")
LOADERS = ("CheckpointLoaderSimple", "ControlNetLoader")


def read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def get(server: Any, path: str) -> Any:
    with urllib.request.urlopen(f"{server.url}{path}", timeout=60) as answer:  # noqa: S310 - loopback
        return json.load(answer)


def post(server: Any, path: str, body: Any) -> Any:
    """The answer's JSON, also of a refusal."""
    request = urllib.request.Request(  # noqa: S310 - loopback
        f"{server.url}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            text = answer.read()
    except urllib.error.HTTPError as error:
        text = error.read()
    return json.loads(text) if text else None


def opened(client: ServerClient, path: Path) -> Workflow:
    """A bundled workflow with small settings."""
    workflow = client.prepare(read(path))
    for assignment in SMALL_RUNS[path.stem]:
        set_input(workflow, client.input_types, assignment)
    return workflow


def without_diffusion(workflow: Workflow) -> Workflow:
    """The same with what no machine of ours has left out: samplers hand on what they get, the VAE is no network."""
    prompt = {key: {**node, "inputs": dict(node["inputs"])} for key, node in workflow.prompt.items()}
    samplers = [key for key, node in prompt.items() if node["class_type"] == "KSampler"]
    handed_on = {key: prompt[key]["inputs"]["latent_image"] for key in samplers}
    if not handed_on:
        return workflow
    prompt["vae"] = {"class_type": "VAELoader", "inputs": {"vae_name": "pixel_space"}}
    for node in prompt.values():
        for name, value in node["inputs"].items():
            if is_link(value) and value[0] in handed_on:
                node["inputs"][name] = handed_on[value[0]]
        if "vae" in node["inputs"]:
            node["inputs"]["vae"] = ["vae", 0]
    gone = {*LOADERS, "CLIPTextEncode", "ControlNetApplyAdvanced", "DifferentialDiffusion", "KSampler"}
    kept = {key: node for key, node in prompt.items() if node["class_type"] not in gone}
    return Workflow(kept, None, (), workflow.titles)


def test_the_pack_loads_without_a_warning(comfyui: Any) -> None:
    log = comfyui.read_log()
    assert re.search(r"seconds: .*ComfyUI-FaceStylist", log), log[-2000:]
    assert "IMPORT FAILED" not in log
    assert not [line for line in log.splitlines() if "facestylist" in line.lower() and "WARN" in line]


def test_every_node_is_declared_as_here(comfyui: Any) -> None:
    info = get(comfyui, "/object_info")
    for name, node in NODE_CLASS_MAPPINGS.items():
        there, here = info[name], json.loads(json.dumps(node.INPUT_TYPES()))  # type: ignore[attr-defined]
        assert there["display_name"] == NODE_DISPLAY_NAME_MAPPINGS[name]
        assert there["category"].startswith("FaceStylist/")
        assert there["description"] and there["search_aliases"]
        assert len(there["output_tooltips"]) == len(there["output"]) == len(there["output_name"])
        assert there["output_node"] == getattr(node, "OUTPUT_NODE", False)
        for group in ("required", "optional"):
            assert list(there["input"].get(group, {})) == list(here.get(group, {})), name
            for given, (_, options) in here.get(group, {}).items():
                assert there["input"][group][given][1] == options, f"{name}.{given}"
    for name, record in recorded().items():
        assert definition(name, info[name]) == record, (
            f"{name} is declared otherwise: run tools/workflow_makers/record.py"
        )


def test_the_workflows_are_offered_as_templates(comfyui: Any) -> None:
    offered = get(comfyui, "/workflow_templates")
    assert sorted(offered["ComfyUI-FaceStylist"]) == [path.stem for path in FILES]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_workflow_runs_to_its_pictures(comfyui: Any, path: Path) -> None:
    if not list_embedded():
        pytest.skip("the embedded networks are not there: run `make assets`")
    client = ServerClient(comfyui.url)
    workflow = without_diffusion(opened(client, path))
    outputs = client.run(workflow, lambda _: None)
    expected = {key for key, node in workflow.prompt.items() if node["class_type"] in SHOWS}
    assert expected and expected <= {key for key, ui in outputs.items() if ui.get("images")}
    for key in expected:
        for entry in outputs[key]["images"]:
            assert (comfyui.base / entry["type"] / entry["subfolder"] / entry["filename"]).stat().st_size > 2000
    assert "Traceback" not in comfyui.read_log()


@pytest.mark.parametrize("path", [path for path in FILES if path.stem.startswith("diffusion")], ids=lambda p: p.stem)
def test_a_workflow_with_diffusion_lacks_nothing_but_its_models(comfyui: Any, path: Path) -> None:
    workflow = opened(ServerClient(comfyui.url), path)
    answer = post(comfyui, "/prompt", {"prompt": workflow.prompt})
    assert {workflow.prompt[key]["class_type"] for key in answer["node_errors"]} <= set(LOADERS)
    faults = [fault for node in answer["node_errors"].values() for fault in node["errors"]]
    assert faults and {fault["type"] for fault in faults} == {"value_not_in_list"}
    prompt_id = answer.get("prompt_id")
    if prompt_id:
        # The part that needs no model may have been queued.
        post(comfyui, "/queue", {"delete": [prompt_id]})
        post(comfyui, "/interrupt", {"prompt_id": prompt_id})


def test_networks_are_offloaded_with_everyone_elses_and_freed(comfyui: Any) -> None:
    client = ServerClient(comfyui.url)
    client.run(opened(client, WORKFLOWS / "stylise_a_photo.json"), lambda _: None)
    held = get(comfyui, "/probe/networks")
    assert "Generator" in held["loaded"], "our networks go through ComfyUI's ModelPatcher"
    assert held["generators"] >= 4
    post(comfyui, "/free", {"unload_models": True, "free_memory": True})
    deadline = time.monotonic() + 120
    while (left := get(comfyui, "/probe/networks")) != {"loaded": [], "generators": 0}:
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.2)
