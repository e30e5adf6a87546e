"""Canvases as they come: subgraphs as the front end opens them, virtual wires, older files, and what is left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from graph_corpus import (
    CHANGED,
    CORPUS,
    OUT,
    PICTURE,
    SEED,
    TIMES,
    around,
    changing,
    nested,
    proxies,
    through,
    with_primitive,
)
from graph_files import CLASSES, INPUTS, TYPES, Sketch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from facestylist.cli.main import main
from facestylist.headless import builtin_nodes, graphs
from facestylist.headless.prompts import WorkflowError
from facestylist.headless.runner import Runner
from facestylist.headless.values import set_input, set_seeds
from facestylist.headless.workflow import Workflow, node_types, to_workflow

ALL = {**{name: node.INPUT_TYPES() for name, node in builtin_nodes.NODE_CLASS_MAPPINGS.items()}, **TYPES}
RECORDED = json.loads((Path(__file__).parent / "front_end_prompts.json").read_text())


def opened(sketch: Sketch) -> Workflow:
    return to_workflow(sketch.document(), ALL)


def inputs(sketch: Sketch, key: str) -> dict[str, Any]:
    return opened(sketch).prompt[key]["inputs"]


@pytest.fixture
def runner() -> Runner:
    return Runner({**builtin_nodes.NODE_CLASS_MAPPINGS, **CLASSES}, {})


@pytest.mark.parametrize("name", CORPUS)
def test_the_prompt_is_the_front_ends(name: str) -> None:
    """But for nodes that cannot run for want of a muted one: the server would refuse these."""
    workflow = opened(CORPUS[name]())
    lost = set(RECORDED[name]) - set(workflow.prompt)
    assert workflow.prompt == {key: node for key, node in RECORDED[name].items() if key not in lost}
    assert {text.split()[0] for text in workflow.skipped} == lost
    assert set(node_types(CORPUS[name]().document())) == set(RECORDED[name])


def test_what_the_front_end_loses_is_kept() -> None:
    # It throws an error at an output that is linked to an input.
    assert inputs(through(reroute=False), "3") == {"images": ["1", 0]}
    # It drops a primitive's value at a subgraph and at a reroute, null stays null, and mappings go unread.
    assert inputs(with_primitive(changing("Times", TIMES), values=[9]), "5:20")["times"] == 33
    assert inputs(with_primitive("Change", reroute=True), "5")["times"] == 33
    assert inputs(around(changing(), [None, "out"]), "5:20") == {
        "image": ["1", 0],
        "amount": 0.25,
        "text": "out",
        "on": False,
        "times": 3,
    }
    assert inputs(around("Change", {"text": "mine", "of": "a later version"}), "5") == {
        "image": ["1", 0],
        "amount": 0.5,
        "text": "mine",
        "on": True,
        "times": 1,
    }
    # It gives the first value to the first input, which is not the one it was saved for.
    kind = changing("Both", [PICTURE, ("amount", "FLOAT")])
    beside = around(kind, ["t"], properties={"proxyWidgets": [["20", "text"]]})
    assert inputs(beside, "5:20")["amount"] == 0.25
    assert inputs(beside, "5:20")["text"] == "t"


def test_values_of_a_subgraph_by_name() -> None:
    named = around(changing(), [0.1, "by place"], widgets_values_named={"text": "by name"})
    assert inputs(named, "5:20")["text"] == "by name"
    assert inputs(named, "5:20")["amount"] == 0.25
    kept = [{"originalEntry": ["-1", "amount"], "hostValue": 0.6, "reason": "missingSourceNode"}]
    assert inputs(around(changing(), [0.1], properties={"proxyWidgetErrorQuarantine": kept}), "5:20")["amount"] == 0.6


def test_values_are_set_inside_and_outside_of_a_subgraph() -> None:
    workflow = opened(around(nested(), [0.9], title="My face"))
    for assignment in ("5:30:20.times=7", "5:31.text=a=b"):
        set_input(workflow, TYPES, assignment)
    assert workflow.prompt["5:30:20"]["inputs"]["times"] == 7
    assert workflow.prompt["5:31"]["inputs"]["text"] == "a=b"
    # The value on the outside is that of the widget inside.
    set_input(workflow, TYPES, "My face.strength=0.4")
    set_input(workflow, TYPES, "5:30.text=deep")
    assert workflow.prompt["5:30:20"]["inputs"]["amount"] == 0.4
    assert workflow.prompt["5:30:20"]["inputs"]["text"] == "deep"
    with pytest.raises(WorkflowError, match=r"Node 5 \(My face\) has no value `seed` to set. It has: `strength`"):
        set_input(workflow, TYPES, "5.seed=1")
    older = opened(proxies([0.75, "out"], [["20", "amount"], ["20", "text"]]))
    set_input(older, TYPES, "5.text=new")
    assert [older.prompt[key]["inputs"]["text"] for key in ("5:20", "6:20")] == ["new", "six"]


def test_titles_inside_a_subgraph() -> None:
    kind = Sketch("Titled", [], OUT).node(20, "Source", SEED, title="Inner source").out(0, 20, 0)
    sketch = Sketch().node(5, kind).node(3, "Show", None, {"images": (5, 0)})
    workflow = opened(sketch)
    set_input(workflow, TYPES, "Inner source.size=5")
    set_seeds(workflow, 77)
    assert workflow.prompt["5:20"]["inputs"] == {"seed": 77, "size": 5, "mode": "b"}
    twice = opened(sketch.node(6, kind).node(4, "Show", None, {"images": (6, 0)}))
    with pytest.raises(WorkflowError, match="2 nodes are called 'Inner source': 5:20, 6:20"):
        set_input(twice, TYPES, "Inner source.size=5")


def test_a_subgraph_cannot_hold_itself_nor_be_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    document = around(changing()).document()
    kind = document["definitions"]["subgraphs"][0]
    kind["nodes"].append({"id": 40, "type": kind["id"]})
    with pytest.raises(WorkflowError, match="'Changer' holds itself: node 5:40"):
        to_workflow(document, ALL)
    # Each level holds ten of the next.
    monkeypatch.setattr(graphs, "MAX_NODES", 1000)
    sketch = changing("Level 0", [PICTURE])
    for level in range(1, 4):
        sketch_below, sketch = sketch, Sketch(f"Level {level}", [PICTURE], OUT)
        for key in range(10):
            sketch.node(key, sketch_below, None, {"image": (INPUTS, 0)})
        sketch.out(0, 0, 0)
    with pytest.raises(WorkflowError, match="more than 1,000 nodes"):
        opened(around(sketch))
    deep = changing("Deep 0", [PICTURE])
    for level in range(1, 120):
        deep = Sketch(f"Deep {level}", [PICTURE], OUT).node(1, deep, None, {"image": (INPUTS, 0)}).out(0, 1, 0)
    with pytest.raises(WorkflowError, match="a subgraph in more than 100 others"):
        opened(around(deep))


@pytest.mark.parametrize("wire", ["Reroute", "Reroute (rgthree)", "SetNode"])
def test_virtual_wires(wire: str) -> None:
    sketch = Sketch().node(1, "Source", SEED)
    sketch.node(8, wire, ["picture"], {"IMAGE" if wire == "SetNode" else "": (1, 0)})
    if wire == "SetNode":
        sketch.node(9, "GetNode", ["picture"])
    sketch.node(3, "Show", None, {"images": (9 if wire == "SetNode" else 8, 0)})
    assert opened(sketch).prompt == {
        "1": {"class_type": "Source", "inputs": {"seed": 7, "size": 16, "mode": "b"}},
        "3": {"class_type": "Show", "inputs": {"images": ["1", 0]}},
    }


def test_what_is_set_outside_is_got_inside() -> None:
    kind = Sketch("Getter", [], OUT).node(20, "GetNode", ["picture"]).node(21, "Change", CHANGED, {"image": (20, 0)})
    sketch = Sketch().node(1, "Source", SEED).node(8, "SetNode", ["picture"], {"IMAGE": (1, 0)})
    sketch.node(5, kind.out(0, 21, 0)).node(3, "Show", None, {"images": (5, 0)})
    assert inputs(sketch, "5:21")["image"] == ["1", 0]
    sketch.nodes[1]["widgets_values"] = ["another"]
    with pytest.raises(WorkflowError, match=r"Input `image` of node 5:21 \(Change\) gets 'picture' .* no Set node"):
        opened(sketch)


def test_wires_in_a_circle() -> None:
    document = around("Change", CHANGED).document()
    reroutes = [{"id": key, "type": "Reroute", "inputs": [{"name": "", "type": "*", "link": key}]} for key in (90, 91)]
    document["nodes"] += reroutes
    document["links"] += [[90, 91, 0, 90, 0, "*"], [91, 90, 0, 91, 0, "*"]]
    document["nodes"][1]["inputs"][0]["link"] = 91
    with pytest.raises(WorkflowError, match=r"Input `image` of node 5 \(Change\) is linked in a circle"):
        to_workflow(document, ALL)


@pytest.mark.parametrize("kind", ["Note", "Label (rgthree)", "Fast Groups Muter (rgthree)", "Some Pack's Remark"])
def test_what_nothing_is_linked_to_is_left_out(runner: Runner, kind: str) -> None:
    document = around("Change", CHANGED).document()
    plain = runner.prepare(document).prompt
    document["nodes"].append({"id": 60, "type": kind, "widgets_values": ["text", 3]})
    workflow = runner.prepare(document)
    assert workflow.prompt == plain
    told = "Left out, because it is not known here and nothing is linked to it: node 60 (Some Pack's Remark)"
    assert workflow.notes == ((told,) if kind == "Some Pack's Remark" else ())


def test_an_unknown_node_that_is_needed_is_refused_by_name(runner: Runner) -> None:
    document = around("Change", CHANGED).document()
    document["nodes"][0]["type"] = "KSampler"
    with pytest.raises(WorkflowError, match=r"only ComfyUI has: KSampler \(node 1\)"):
        runner.prepare(document)
    # Something may be lost with one that only takes.
    document = around("Change", CHANGED).document()
    document["nodes"][2]["type"] = "SaveVideo"
    with pytest.raises(WorkflowError, match=r"only ComfyUI has: SaveVideo \(node 3\)"):
        runner.prepare(document)


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("PrimitiveInt", [12, "fixed"], ["8", 0]),
        ("INTConstant", [12], 12),
        ("easy int", [12, "randomize"], 12),
        ("Primitive integer [Crystools]", {"value": 12}, 12),
        ("Random Number", [12, "fixed"], None),
        ("easy int", [12, 13], None),
    ],
)
def test_nodes_that_hold_a_value(runner: Runner, kind: str, values: Any, expected: Any) -> None:
    document = with_primitive("Change").document()
    document["nodes"][1] = {"id": 8, "type": kind, "widgets_values": values, "outputs": [{"name": "", "type": "INT"}]}
    if expected is None:
        with pytest.raises(WorkflowError, match=rf"only ComfyUI has: {kind} \(node 8\)"):
            runner.prepare(document)
        return
    workflow = runner.prepare(document)
    assert workflow.prompt["5"]["inputs"]["times"] == expected
    assert runner.run(workflow).ui["3"]["shown"][0][1]["times"] == 12
    flat = {key: workflow.prompt[key] for key in ("1", "5", "3")}
    flat["8"] = {"class_type": kind, "inputs": {"value": 12}}
    flat["5"]["inputs"]["times"] = ["8", 0]
    assert runner.prepare(flat).prompt["5"]["inputs"]["times"] == expected


def test_primitives_of_every_kind(runner: Runner) -> None:
    for kind, name, value in [
        ("PrimitiveFloat", "amount", 0.125),
        ("PrimitiveString", "text", "wired"),
        ("PrimitiveStringMultiline", "text", "two\nlines"),
        ("PrimitiveBoolean", "on", False),
    ]:
        document = around("Change", {"on": True}).document()
        output = builtin_nodes.NODE_CLASS_MAPPINGS[kind].RETURN_TYPES[0]  # type: ignore[attr-defined]
        document["nodes"].append({"id": 8, "type": kind, "widgets_values": [value], "outputs": [{"type": output}]})
        document["nodes"][1]["inputs"].append({"name": name, "type": output, "link": 999, "widget": {"name": name}})
        document["links"].append([999, 8, 0, 5, 4, output])
        assert runner.run(runner.prepare(document)).ui["3"]["shown"][0][1][name] == value


def test_older_files_by_name_where_names_are_known() -> None:
    def change(values: Any, *names: str, **more: Any) -> dict[str, Any]:
        sketch = around("Change", values, **more)
        slots = [{"name": name, "type": "*", "link": None, "widget": {"name": name}} for name in names]
        sketch.nodes[1]["inputs"] += slots
        got = inputs(sketch, "5")
        return {name: got[name] for name in ("amount", "text", "on", "times")}

    older = {"amount": 0.25, "text": "x", "on": False, "times": 1}
    # A file from before `text`, between two older widgets, existed.
    assert change([0.25, False], "amount", "on") == older
    assert change([0.25, False, "gone"], "amount", "on", "once") == older
    assert change(["wrong"], widgets_values_named={"amount": 0.25, "on": False}) == older
    assert change(None) == change([]) == {"amount": 0.5, "text": "x", "on": True, "times": 1}
    # Widgets that were converted to inputs are in the list, and no others are named.
    assert change([0.25, "a", False, 2], "text") == {"amount": 0.25, "text": "a", "on": False, "times": 2}


def test_lists_and_inputs_without_a_widget_of_older_files() -> None:
    types = {
        "Odd": {
            "required": {
                "seed": ("INT", {"default": 1}),
                "late": ("INT", {"forceInput": True}),
                "points": ("STRING", {}),
                "kind": ("COMBO", {"options": ["p", "q"]}),
                "free": ("INT", {"min": 4}),
            }
        }
    }
    expected = {"seed": 9, "points": {"__value__": [3, 0]}, "kind": "q", "free": 4}
    for values in ([9, "fixed", [3, 0], "q"], [9, "randomize", 0, [3, 0], "q", 4]):
        document = {"nodes": [{"id": 1, "type": "Odd", "widgets_values": values}]}
        assert to_workflow(document, types).prompt["1"]["inputs"] == expected
    empty = to_workflow({"nodes": [{"id": 1, "type": "Odd"}]}, types).prompt["1"]["inputs"]
    assert empty == {"seed": 1, "points": "", "kind": "p", "free": 4}


def test_a_bypassed_node_chooses_among_its_inputs() -> None:
    """Its class's sockets come before its widgets, and an exact type before one that would do."""
    wide = {"a": ("INT", {}), "late": ("INT", {"forceInput": True}), "any": ("*",), "image": ("IMAGE",)}
    types = {**ALL, "Wide": {"required": wide}}
    for slot, output, expected in (("late", 0, ["1", 2]), ("image", 3, ["1", 0])):
        kind = "IMAGE" if slot == "image" else "INT"
        taken = "times" if kind == "INT" else "image"
        document = {
            "nodes": [
                {"id": 1, "type": "Source", "widgets_values": SEED},
                {
                    "id": 2,
                    "type": "Wide",
                    "mode": 4,
                    "outputs": [{"type": made} for made in ("INT", "MASK", "MASK", "IMAGE")],
                    "inputs": [{"name": "a", "type": "INT", "link": None}, {"name": slot, "type": kind, "link": 1}],
                },
                {"id": 3, "type": "Change", "inputs": [{"name": taken, "type": kind, "link": 2}]},
            ],
            "links": [[1, 1, expected[1], 2, 0, kind], [2, 2, output, 3, 0, kind]],
        }
        assert to_workflow(document, types).prompt["3"]["inputs"][taken] == expected


def test_what_a_bypassed_or_muted_node_leaves_behind() -> None:
    assert opened(CORPUS["bypass with nothing to hand on"]()).skipped == ("7 (Change)", "3 (Show)")
    # A required widget whose link ends at a muted node has its own value.
    sketch = Sketch().node(1, "Source", SEED, mode=2).node(2, "Source", SEED, {"size": (1, 2)})
    workflow = opened(sketch.node(3, "Show", None, {"images": (2, 0)}))
    assert workflow.prompt["2"]["inputs"] == {"seed": 7, "size": 16, "mode": "b"}
    assert workflow.skipped == ()


def test_promoted_values_in_odd_places() -> None:
    # No value of its own.
    assert inputs(proxies([None, "out"], [["20", "amount"], ["20", "text"]]), "5:20")["amount"] == 0.25
    assert inputs(around("Change", [None, "t"]), "5")["amount"] == 0.5
    # Two widgets of one name in the subgraph inside, told apart by the third entry.
    inner = Sketch("Pair", [PICTURE, ("amount", "FLOAT"), ("amount_1", "FLOAT")], OUT)
    inner.node(20, "Change", CHANGED, {"image": (INPUTS, 0), "amount": (INPUTS, 1)})
    inner.node(21, "Change", CHANGED, {"image": (20, 0), "amount": (INPUTS, 2)}).out(0, 21, 0)
    outer = Sketch("Around", [PICTURE], OUT).node(30, inner, [0.1, 0.2], {"image": (INPUTS, 0)}).out(0, 30, 0)
    sketch = around(outer, [0.9], properties={"proxyWidgets": [["30", "amount", "21"]]})
    prompt = opened(sketch).prompt
    assert [prompt[f"5:30:{key}"]["inputs"]["amount"] for key in (20, 21)] == [0.1, 0.9]
    # The first link of an input, in the input's own order, says what its value is where the outside has none.
    document = CORPUS["one input for two widgets, the inside counts"]().document()
    document["definitions"]["subgraphs"][0]["inputs"][1]["linkIds"].reverse()
    prompt = to_workflow(document, ALL).prompt
    assert [prompt[key]["inputs"]["amount"] for key in ("5:20", "5:21")] == [0.5, 0.5]


def save(path: Path, canvas: Any, prompt: Any) -> None:
    chunks = PngInfo()
    chunks.add_text("workflow", json.dumps(canvas))
    chunks.add_text("prompt", json.dumps(prompt))
    Image.new("RGB", (4, 4)).save(path, pnginfo=chunks)


def test_the_prompt_of_a_picture_whose_canvas_cannot_be_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input").mkdir()
    Image.new("RGB", (6, 5)).save(tmp_path / "input" / "a.png")
    wire = {"id": 7, "type": "Anything Everywhere", "inputs": [{"name": "anything", "type": "IMAGE", "link": 1}]}
    canvas = {
        "nodes": [
            {"id": 1, "type": "LoadImage", "widgets_values": ["a.png", "image"]},
            wire,
            {"id": 2, "type": "SaveImage", "inputs": [{"name": "images", "type": "IMAGE", "link": None}]},
        ],
        "links": [[1, 1, 0, 7, 0, "IMAGE"]],
    }
    prompt = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
    save(tmp_path / "w.png", canvas, prompt)
    assert main(["run", "w.png", "--set", "2.filename_prefix=flat"]) == 0
    out, err = capsys.readouterr()
    assert out == f"{tmp_path / 'output' / 'flat_00001_.png'}\n"
    assert "canvas cannot be run" in err
    assert "Anything Everywhere (node 7)" in err
    with Image.open(out.strip()) as saved:
        assert json.loads(saved.info["workflow"]) == canvas
    # Where neither can be run, the canvas is what a person knows.
    save(tmp_path / "w.png", canvas, {"1": {"class_type": "Nothing", "inputs": {}}})
    assert main(["run", "w.png"]) == 1
    assert "Anything Everywhere (node 7)" in capsys.readouterr().err


def test_what_hangs_on_something_muted_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input").mkdir()
    Image.new("RGB", (6, 5)).save(tmp_path / "input" / "a.png")
    nodes = [
        {"id": key, "type": "LoadImage", "widgets_values": ["a.png"], "mode": mode} for key, mode in ((1, 0), (2, 2))
    ] + [
        {"id": key, "type": "SaveImage", "inputs": [{"name": "images", "type": "IMAGE", "link": key}], "title": title}
        for key, title in ((3, "Kept"), (4, "Lost"))
    ]
    links = [[3, 1, 0, 3, 0, "IMAGE"], [4, 2, 0, 4, 0, "IMAGE"]]
    (tmp_path / "w.json").write_text(json.dumps({"nodes": nodes, "links": links}))
    assert main(["run", "w.json"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [str(tmp_path / "output" / "ComfyUI_00001_.png")]
    assert "Left out, because what it needs is muted or bypassed: node 4 (Lost)" in err
