"""Running prompts: order, memory, lists, checks, and the three stand-ins, on small nodes of our own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from facestylist.headless import builtin_nodes
from facestylist.headless.prompts import WorkflowError
from facestylist.headless.runner import NodeError, Runner
from facestylist.runtime.folders import Folders, use_folders


class Number:
    calls: ClassVar[list[int]] = []
    changed: ClassVar[Any] = "same"
    RETURN_TYPES = ("NUMBER",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"value": ("INT", {"default": 1, "min": 0, "max": 9})}}

    @classmethod
    def IS_CHANGED(cls, value: int) -> Any:
        return cls.changed

    def run(self, value: int) -> tuple[int]:
        self.calls.append(value)
        return (value,)


class Add:
    calls: ClassVar[int] = 0
    RETURN_TYPES = ("NUMBER", "TEXT")
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {"a": ("NUMBER",), "how": (["plus", "minus"],)},
            "optional": {"b": ("NUMBER",)},
            "hidden": {"key": "UNIQUE_ID", "prompt": "PROMPT", "info": "EXTRA_PNGINFO"},
        }

    def run(self, a: int, how: str, key: str, prompt: Any, info: Any, b: int = 0) -> tuple[int, str]:
        Add.calls += 1
        assert torch.is_inference_mode_enabled(), "ComfyUI runs nodes in inference mode"
        assert prompt[key]["class_type"] == "Add"
        return a + b if how == "plus" else a - b, f"{key} {info is not None}"


class Spread:
    RETURN_TYPES = ("NUMBER",)
    OUTPUT_IS_LIST = (True,)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"count": ("INT", {"default": 3})}}

    def run(self, count: int) -> tuple[list[int]]:
        return (list(range(count)),)


class Gather:
    RETURN_TYPES = ("NUMBER",)
    INPUT_IS_LIST = True
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"a": ("NUMBER",), "scale": ("INT", {"default": 1})}}

    def run(self, a: list[int], scale: list[int]) -> tuple[int]:
        return (sum(a) * scale[0],)


class Show:
    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"a": ("NUMBER,TEXT",)}}

    def run(self, a: Any) -> dict[str, Any]:
        return {"ui": {"text": [a]}}


class Fail:
    RETURN_TYPES = ("NUMBER",)
    FUNCTION = "run"
    error: ClassVar[BaseException] = ValueError("No face found. Lower `min_confidence`.")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"name": ("STRING", {"default": ""})}}

    @classmethod
    def VALIDATE_INPUTS(cls, name: str) -> bool | str:
        return True if name != "bad" else "`name` is bad. Choose a good one."

    def run(self, name: str) -> tuple[int]:
        raise self.error


CLASSES = {cls.__name__: cls for cls in (Number, Add, Spread, Gather, Show, Fail)}


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    Number.calls.clear()
    Number.changed = "same"
    Add.calls = 0
    places = Folders(tmp_path / "input", tmp_path / "output", tmp_path / "temp", tmp_path / "models")
    places.input.mkdir()
    with use_folders(places):
        yield Runner({**builtin_nodes.NODE_CLASS_MAPPINGS, **CLASSES}, {"Number": "A Number"})


def prompt(**nodes: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    return {key.lstrip("n"): {"class_type": kind, "inputs": inputs} for key, (kind, inputs) in nodes.items()}


SUM = prompt(
    n4=("Show", {"a": ["3", 0]}),
    n3=("Add", {"a": ["1", 0], "b": ["2", 0], "how": "plus"}),
    n1=("Number", {"value": 4}),
    n2=("Number", {"value": 5}),
)


def test_runs_in_order_and_only_what_is_needed(runner: Runner) -> None:
    unused = prompt(n9=("Number", {"value": 8}))
    result = runner.run(runner.prepare({**SUM, **unused}))
    assert result.ui == {"4": {"text": [9]}}
    assert result.executed == ("1", "2", "3", "4")
    assert Number.calls == [4, 5]


def test_a_second_run_repeats_only_what_changed(runner: Runner) -> None:
    runner.run(runner.prepare(SUM))
    assert runner.run(runner.prepare(SUM)).executed == ()
    result = runner.run(runner.prepare(SUM, ["2.value=1"]))
    assert result.executed == ("2", "3", "4")
    assert result.ui["4"]["text"] == [5]


def test_is_changed_decides(runner: Runner) -> None:
    runner.run(runner.prepare(SUM))
    Number.changed = "new content"
    assert runner.run(runner.prepare(SUM)).executed == ("1", "2", "3", "4")
    Number.changed = float("nan")
    runner.run(runner.prepare(SUM))
    assert runner.run(runner.prepare(SUM)).executed == ("1", "2", "3", "4")


def test_hidden_inputs(runner: Runner) -> None:
    document = {**SUM, **prompt(n4=("Show", {"a": ["3", 1]}))}
    assert runner.run(runner.prepare(document)).ui["4"]["text"] == ["3 False"]


def test_lists_fan_out_and_gather(runner: Runner) -> None:
    document = prompt(
        n1=("Spread", {"count": 4}),
        n2=("Number", {"value": 2}),
        n3=("Add", {"a": ["1", 0], "b": ["2", 0], "how": "plus"}),
        n4=("Gather", {"a": ["3", 0], "scale": 10}),
        n5=("Show", {"a": ["4", 0]}),
        n6=("Show", {"a": ["3", 0]}),
    )
    result = runner.run(runner.prepare(document))
    assert result.ui["5"]["text"] == [(2 + 3 + 4 + 5) * 10]
    assert result.ui["6"]["text"] == [2, 3, 4, 5]
    assert Add.calls == 4


def test_the_front_ends_format_runs_the_same(runner: Runner) -> None:
    document = {
        "nodes": [
            {"id": 1, "type": "Number", "widgets_values": [4], "inputs": [], "title": "Four"},
            {"id": 2, "type": "Show", "inputs": [{"name": "a", "type": "NUMBER", "link": 1}]},
            {"id": 3, "type": "Note", "widgets_values": ["x"]},
        ],
        "links": [[1, 1, 0, 2, 0, "NUMBER"]],
    }
    assert runner.run(runner.prepare(document, ["Four.value=3"])).ui == {"2": {"text": [3]}}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"n1": ("Number", {"value": 12})}, r"Node 1 \(A Number\): Value 12 bigger than max of 9: value"),
        ({"n1": ("Number", {"value": -1})}, "Value -1 smaller than min of 0: value"),
        ({"n1": ("Number", {"value": "many"})}, "Failed to convert an input value to a INT value: value, 'many'"),
        ({"n1": ("Number", {})}, "Required input is missing: value"),
        ({"n1": ("Number", {"value": float("nan")})}, "Input `value` of node 1 .Number. is nan"),
        ({"n1": ("Number", {"value": "inf"})}, "Failed to convert an input value to a INT value: value, 'inf'"),
        ({"n1": ("Number", {"value": [1, 2, 3]})}, "Bad linked input: value, .1, 2, 3., is not .node id, output slot"),
        ({"n3": ("Add", {"a": 4, "how": "plus"})}, "Bad linked input: a takes a link to a NUMBER, not the value 4"),
        ({"n3": ("Add", {"a": ["1", 0], "how": "times"})}, "Value not in list: how: 'times' not in"),
        ({"n3": ("Add", {"a": ["3", 1], "how": "plus"})}, "circle"),
        (
            {"n2": ("Add", {"a": ["1", 0], "how": "plus"}), "n3": ("Add", {"a": ["2", 1], "how": "plus"})},
            "Return type mismatch between linked nodes: a, received TEXT, wants NUMBER",
        ),
        ({"n3": ("Add", {"a": ["1", 3], "how": "plus"})}, "asks for output 3 of node 1, which has 1"),
        ({"n3": ("Fail", {"name": "bad"})}, "`name` is bad. Choose a good one."),
        ({"n4": ("Add", {"a": ["1", 0], "how": "plus"})}, "no output node"),
        ({"n3": ("KSampler", {"a": ["1", 0]}), "n1": ("VAEDecode", {})}, r"KSampler \(node 3\), VAEDecode \(node 1\)"),
    ],
)
def test_everything_is_checked_before_anything_runs(runner: Runner, change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(WorkflowError, match=sentence):
        runner.prepare({**SUM, **prompt(**change)})
    assert Number.calls == []


def test_what_nothing_needs_is_not_checked(runner: Runner) -> None:
    runner.prepare({**SUM, **prompt(n9=("Number", {"value": 99}))})


def test_an_input_that_a_node_does_not_have_is_ignored(runner: Runner) -> None:
    change = prompt(n1=("Number", {"value": 1, "colour": ["9", 0]}), n9=("Number", {"value": 2}))
    workflow = runner.prepare({**SUM, **change})
    assert workflow.prompt["1"]["inputs"] == {"value": 1}
    assert workflow.notes == ("Ignored, because it has no such input: `colour` of node 1 (Number)",)
    assert runner.run(workflow).executed == ("1", "2", "3", "4")


@pytest.mark.parametrize("name", [r"sub\a.png", r"C:\ComfyUI\input\sub\a.png"])
def test_pictures_and_choices_of_windows(runner: Runner, tmp_path: Path, name: str) -> None:
    (tmp_path / "input" / "sub").mkdir()
    picture(tmp_path, "sub/a.png")
    document = prompt(n1=("LoadImage", {"image": name}), n2=("PreviewImage", {"images": ["1", 0]}))
    assert runner.run(runner.prepare(document)).outputs["1"][0][0].shape == (1, 6, 8, 3)
    add = ("Add", {"a": ["1", 0], "how": name})
    with pytest.raises(WorkflowError, match="Value not in list: how"):
        runner.prepare({**SUM, **prompt(n3=add)})
    with pytest.MonkeyPatch.context() as patch:
        types = {"required": {"a": ("NUMBER",), "how": (["plus", "sub/a.png"],)}}
        patch.setattr(Add, "INPUT_TYPES", lambda: types)
        assert runner.prepare({**SUM, **prompt(n3=add)}).prompt["3"]["inputs"]["how"] == "sub/a.png"


def test_a_prefix_may_be_empty(runner: Runner, tmp_path: Path) -> None:
    picture(tmp_path)
    for prefix in ("", "."):
        inputs = {"images": ["1", 0], "filename_prefix": prefix}
        document = prompt(n1=("LoadImage", {"image": "a.png"}), n2=("SaveImage", inputs))
        files = runner.run(runner.prepare(document)).files
    assert files == [tmp_path / "output" / "_00002_.png"]


def test_numbers_take_their_declared_type(runner: Runner) -> None:
    workflow = runner.prepare({**SUM, **prompt(n1=("Number", {"value": "7"}))})
    assert workflow.prompt["1"]["inputs"]["value"] == 7


def test_a_failing_node_is_named_and_interrupts_pass(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    document = {**SUM, **prompt(n3=("Fail", {"name": "ok"}))}
    with pytest.raises(NodeError, match=r"Node 3 \(Fail\): No face found"):
        runner.run(runner.prepare(document))
    monkeypatch.setattr(Fail, "error", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        runner.run(runner.prepare(document))


def test_on_node_reports(runner: Runner) -> None:
    seen: list[tuple[int, int, str, str]] = []
    runner.on_node = lambda *report: seen.append(report)
    runner.run(runner.prepare(SUM))
    assert seen[0] == (1, 4, "1", "A Number")
    assert [key for _, _, key, _ in seen] == ["1", "2", "3", "4"]


def test_a_long_chain_does_not_recurse(runner: Runner) -> None:
    nodes: dict[str, Any] = {"n0": ("Number", {"value": 1})}
    for index in range(1, 1500):
        nodes[f"n{index}"] = ("Add", {"a": [str(index - 1), 0], "how": "plus"})
    nodes["n2000"] = ("Show", {"a": ["1499", 0]})
    assert runner.run(runner.prepare(prompt(**nodes))).ui["2000"]["text"] == [1]


def picture(tmp_path: Path, name: str = "a.png", mode: str = "RGB") -> None:
    colours = np.random.RandomState(0).randint(0, 256, (6, 8, len(Image.new(mode, (1, 1)).getbands())), np.uint8)
    Image.fromarray(colours.squeeze(), mode).save(tmp_path / "input" / name)


def test_load_and_save_with_metadata_and_counters(runner: Runner, tmp_path: Path) -> None:
    picture(tmp_path)
    document = {
        "nodes": [
            {"id": 1, "type": "LoadImage", "widgets_values": ["a.png", "image"]},
            {
                "id": 2,
                "type": "SaveImage",
                "inputs": [{"name": "images", "type": "IMAGE", "link": 1}],
                "widgets_values": ["sub/%LoadImage.image%_%width%x%height%"],
            },
        ],
        "links": [[1, 1, 0, 2, 0, "IMAGE"]],
    }
    first = runner.run(runner.prepare(document))
    assert first.files == [tmp_path / "output" / "sub" / "a.png_8x6_00001_.png"]
    with Image.open(first.files[0]) as saved, Image.open(tmp_path / "input" / "a.png") as original:
        assert np.array_equal(np.asarray(saved), np.asarray(original))
        assert json.loads(saved.info["workflow"]) == document
        assert json.loads(saved.info["prompt"])["1"]["inputs"] == {"image": "a.png"}
    again = Runner(runner.classes, {})
    assert again.run(again.prepare(document)).files[0].name == "a.png_8x6_00002_.png"


def test_load_image_mask_and_content_change(runner: Runner, tmp_path: Path) -> None:
    picture(tmp_path, mode="RGBA")
    load = ("LoadImage", {"image": "a.png", "upload": "image"})
    document = prompt(n1=load, n2=("PreviewImage", {"images": ["1", 0]}))
    result = runner.run(runner.prepare(document))
    image, mask = (slot[0] for slot in result.outputs["1"])
    alpha = np.asarray(Image.open(tmp_path / "input" / "a.png"))[..., 3]
    assert image.shape == (1, 6, 8, 3)
    assert torch.allclose(mask[0], 1 - torch.from_numpy(alpha / 255).float())
    assert result.files[0].parent == tmp_path / "temp"
    assert runner.run(runner.prepare(document)).executed == ()
    Image.new("RGB", (5, 5)).save(tmp_path / "input" / "a.png")
    assert runner.run(runner.prepare(document)).executed == ("1", "2")


@pytest.mark.parametrize(
    ("kind", "inputs", "sentence"),
    [
        ("LoadImage", {"image": "missing.png"}, "There is no picture"),
        ("LoadImage", {"image": "../../secret.png"}, "lies outside"),
    ],
)
def test_pictures_that_are_not_there(runner: Runner, kind: str, inputs: dict[str, Any], sentence: str) -> None:
    with pytest.raises(WorkflowError, match=sentence):
        runner.prepare(prompt(n1=(kind, inputs), n2=("PreviewImage", {"images": ["1", 0]})))


def test_a_prefix_cannot_leave_the_output_folder(runner: Runner, tmp_path: Path) -> None:
    picture(tmp_path)
    inputs = {"images": ["1", 0], "filename_prefix": "../../x"}
    document = prompt(n1=("LoadImage", {"image": "a.png"}), n2=("SaveImage", inputs))
    with pytest.raises(NodeError, match="leads outside"):
        runner.run(runner.prepare(document))


def test_no_global_random_numbers(runner: Runner, tmp_path: Path, global_rng_untouched: None) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "input" / "a.png")
    document = prompt(n1=("LoadImage", {"image": "a.png"}), n2=("PreviewImage", {"images": ["1", 0]}))
    runner.run(runner.prepare(document))
