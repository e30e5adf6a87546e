"""What ComfyUI reads of a node before it runs: every declaration is complete and every socket fits another."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import Any

import pytest
from every_node import CALLS

from facestylist.core.settings import fields_of
from facestylist.latents.settings import ApplyConfig, VariationConfig
from facestylist.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from facestylist.nodes.declare import content_hash, from_spec, read_settings
from facestylist.training.finetune.settings import FinetuneConfig
from facestylist.training.inversion.settings import InversionConfig, PivotalConfig, ReferenceConfig
from facestylist.training.pairs.settings import PairsConfig
from facestylist.training.pairs.supervision_settings import PairSupervisionConfig

OWN_SOCKETS = {
    "FACE_CROPS",
    "FACE_GENERATOR",
    "FACE_ENCODER",
    "FACE_LATENT",
    "FACE_DIRECTIONS",
    "FACE_GUIDE",
    "FACE_STYLIZER",
    "STYLE_PAIRS",
}
CORE_SOCKETS = {"IMAGE", "MASK", "STRING", "FLOAT", "FACE_LANDMARKS", "LOSS_MAP", "CLIP_VISION"}
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN"}
NODES = sorted(NODE_CLASS_MAPPINGS.items())


def inputs_of(node: Any) -> dict[str, tuple[Any, dict[str, Any]]]:
    types = node.INPUT_TYPES()
    return {**types.get("required", {}), **types.get("optional", {})}


def test_the_ids_are_the_ones_workflows_refer_to() -> None:
    assert set(NODE_CLASS_MAPPINGS) == {f"FaceStylist{name}" for name, *_ in CALLS}
    assert set(NODE_DISPLAY_NAME_MAPPINGS) == set(NODE_CLASS_MAPPINGS)
    assert len(set(NODE_DISPLAY_NAME_MAPPINGS.values())) == len(NODE_CLASS_MAPPINGS)


@pytest.mark.parametrize(("name", "node"), NODES)
def test_everything_a_person_reads_is_there(name: str, node: Any) -> None:
    assert node.CATEGORY.startswith("FaceStylist/")
    assert node.DESCRIPTION.endswith(".")
    assert len(node.SEARCH_ALIASES) == len(set(node.SEARCH_ALIASES)) >= 3
    assert len(node.RETURN_TYPES) == len(node.RETURN_NAMES) == len(node.OUTPUT_TOOLTIPS)
    assert all(tooltip.endswith((".", "?")) for tooltip in node.OUTPUT_TOOLTIPS)
    for given, (_, options) in inputs_of(node).items():
        assert options["tooltip"].strip().endswith((".", "?")), f"{name}.{given}"


@pytest.mark.parametrize(("name", "node"), NODES)
def test_widgets_have_defaults_inside_their_range(name: str, node: Any) -> None:
    for given, (kind, options) in inputs_of(node).items():
        if isinstance(kind, list):
            assert kind and all(isinstance(option, str) for option in kind), f"{name}.{given}"
            assert options.get("default", kind[0]) in kind, f"{name}.{given}"
        elif kind in ("INT", "FLOAT"):
            assert options["min"] <= options["default"] <= options["max"], f"{name}.{given}"
            assert options["step"] > 0, f"{name}.{given}"
        elif kind in WIDGETS:
            assert "default" in options, f"{name}.{given}"
        else:
            assert kind in OWN_SOCKETS | CORE_SOCKETS, f"{name}.{given} has the unknown type {kind}"


@pytest.mark.parametrize(("name", "node"), NODES)
def test_the_function_takes_what_is_declared(name: str, node: Any) -> None:
    run = inspect.signature(getattr(node, node.FUNCTION)).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in run.values())
    types = node.INPUT_TYPES()
    declared = {**inputs_of(node), **types.get("hidden", {})}
    for given in declared:
        assert open_ended or given in run, f"{name}.{given}"
    for given, (_, options) in types.get("optional", {}).items():
        # A wire that is not there is None; a widget added later means its default to workflows saved before.
        assert run[given].default == options.get("default"), f"{name}.{given} is optional and has no default"
    required = {p.name for p in run.values() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD} - {"self"}
    assert required <= set(types["required"])
    if hasattr(node, "IS_CHANGED"):
        changed = set(inspect.signature(node.IS_CHANGED).parameters)
        # ComfyUI hands IS_CHANGED every input that is connected, optional ones too.
        assert changed == set(inputs_of(node))


def test_every_socket_of_ours_has_a_maker_and_a_taker() -> None:
    made = {kind for node in NODE_CLASS_MAPPINGS.values() for kind in node.RETURN_TYPES}
    taken = {str(kind) for node in NODE_CLASS_MAPPINGS.values() for kind, _ in inputs_of(node).values()} & OWN_SOCKETS
    assert made >= OWN_SOCKETS
    assert taken == OWN_SOCKETS
    assert made <= OWN_SOCKETS | CORE_SOCKETS


@pytest.mark.parametrize(
    ("node", "config"),
    [
        ("FaceStylistFinetuneGenerator", FinetuneConfig),
        ("FaceStylistInvertByOptimisation", InversionConfig),
        ("FaceStylistPivotalTuning", PivotalConfig),
        ("FaceStylistStyleVariations", VariationConfig),
        ("FaceStylistEncodeReference", ReferenceConfig),
        ("FaceStylistApplyReference", ApplyConfig),
        ("FaceStylistMakePairs", PairsConfig),
        ("FaceStylistTrainWithPairs", PairSupervisionConfig),
    ],
)
def test_training_widgets_are_the_settings_themselves(node: str, config: type) -> None:
    widgets = inputs_of(NODE_CLASS_MAPPINGS[node])
    shown = [spec for spec in fields_of(config) if spec.place != "text"]
    assert ("settings" in widgets) == (len(shown) < len(fields_of(config)))
    assert not widgets.keys() & {spec.name for spec in fields_of(config) if spec.place == "text"}
    for spec in shown:
        kind, options = widgets[spec.name]
        assert options.get("default") == spec.default
        assert options["tooltip"] == spec.tooltip
        assert options.get("advanced", False) == (spec.place == "advanced")
        plain = {int: "INT", float: "FLOAT", bool: "BOOLEAN", str: "STRING"}[spec.type]
        assert kind == (list(spec.choices) if spec.choices else plain)
    # The widgets' own defaults are settings that work.
    config(**{spec.name: widgets[spec.name][1]["default"] for spec in shown})


def test_other_settings_are_lines_of_a_text() -> None:
    read = read_settings(FinetuneConfig, {"steps": 5}, 'r1_gamma = 10\naugment = "off"')
    assert read == FinetuneConfig(steps=5, r1_gamma=10, augment="off")
    assert read_settings(FinetuneConfig, {"steps": 5}, "steps = 7").steps == 7, "the text decides"
    assert read_settings(FinetuneConfig, {}, "") == read_settings(FinetuneConfig, {}, None) == FinetuneConfig()
    node = NODE_CLASS_MAPPINGS["FaceStylistFinetuneGenerator"]
    assert node.VALIDATE_INPUTS(None) is node.VALIDATE_INPUTS("seed = 3") is True
    assert "not TOML" in node.VALIDATE_INPUTS("r1_gamma: 10") and "Write a line" in node.VALIDATE_INPUTS("x")
    assert "Unknown setting speed" in node.VALIDATE_INPUTS("speed = 3")
    assert "between 1 and 64" in node.VALIDATE_INPUTS("r1_interval = 100")


def test_a_training_seed_is_not_changed_after_each_run() -> None:
    spec = next(spec for spec in fields_of(FinetuneConfig) if spec.name == "seed")
    assert from_spec(spec)[1]["control_after_generate"] is False


def test_content_hash_sees_names_and_contents(tmp_path: Any) -> None:
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    first.write_bytes(b"one")
    second.write_bytes(b"two")
    both = content_hash([second, first])
    assert content_hash([first, second]) == both
    first.write_bytes(b"three")
    changed = content_hash([first, second])
    assert changed != both
    second.rename(tmp_path / "c.png")
    assert content_hash(tmp_path.iterdir()) != changed
    assert content_hash([tmp_path / "missing.png"]) == content_hash([tmp_path / "missing.png"])


def test_importing_the_nodes_loads_neither_torch_nor_comfyui() -> None:
    code = (
        "import sys, facestylist; facestylist.NODE_CLASS_MAPPINGS; "
        "print([m for m in ('torch', 'kornia', 'comfy', 'PIL', 'numpy') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("name", NODE_CLASS_MAPPINGS)
def test_a_typed_whole_number_is_the_one_that_is_sent(name: str) -> None:
    """The front end snaps numbers to min % step + n * step: with min 1 and step 50, 400 steps would become 401."""
    types = NODE_CLASS_MAPPINGS[name].INPUT_TYPES()  # type: ignore[attr-defined]
    for group in ("required", "optional"):
        for given, (kind, *rest) in types.get(group, {}).items():
            if kind == "INT":
                assert rest[0].get("min", 0) % rest[0].get("step", 1) == 0, given
                assert rest[0]["default"] % rest[0].get("step", 1) == 0, given
                # Where 0 means never, 4 must not become 0.
                assert not given.endswith("_interval") or rest[0].get("step", 1) == 1, given
