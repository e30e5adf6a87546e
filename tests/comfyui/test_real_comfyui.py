"""The pack in a real ComfyUI: it loads without a word, declares everything, and runs its workflows."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from facestylist.cli.server_client import ServerClient
from facestylist.cli.workflow import to_workflow
from facestylist.models.embedded import list_embedded
from facestylist.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

pytestmark = [pytest.mark.comfyui, pytest.mark.slow]

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"


def get(server: Any, path: str) -> Any:
    with urllib.request.urlopen(f"{server.url}{path}", timeout=60) as answer:  # noqa: S310 - loopback
        return json.load(answer)


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


def test_the_workflows_are_offered_as_templates(comfyui: Any) -> None:
    offered = get(comfyui, "/workflow_templates")
    assert sorted(offered["ComfyUI-FaceStylist"]) == sorted(path.stem for path in WORKFLOWS.glob("*.json"))


def test_a_workflow_runs_to_its_pictures(comfyui: Any) -> None:
    if not list_embedded():
        pytest.skip("the embedded networks are not there: run `make assets`")
    document = json.loads((WORKFLOWS / "stylise_a_photo.json").read_text(encoding="utf-8"))
    client = ServerClient(comfyui.url)
    input_types, names = client.node_types(document)
    folder = comfyui.base / "output" / "facestylist"
    before = set(folder.glob("*.png"))
    outputs = client.run(to_workflow(document, input_types, names), lambda _: None)
    expected = {str(node["id"]) for node in document["nodes"] if node["type"] in ("SaveImage", "PreviewImage")}
    assert expected <= {key for key, ui in outputs.items() if ui.get("images")}
    assert len(set(folder.glob("*.png")) - before) == 3
    assert "Traceback" not in comfyui.read_log()
