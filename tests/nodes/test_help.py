"""Help pages and translations: every node has them, they are complete, and they are what the generator makes."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from facestylist.nodes import NODE_CLASS_MAPPINGS
from facestylist.tools.help.declarations import FILE_LISTS, Node, all_nodes
from facestylist.tools.help.defaults import PAGE
from facestylist.tools.help.files import HERE, generated
from facestylist.tools.help.locales import Translation, read_texts, translated
from facestylist.tools.help.pages import page, written_parts
from facestylist.tools.help.pictures import MAKERS
from facestylist.tools.help.strips import WIDEST

NODES = all_nodes()
COMMAND = "run python -m facestylist.tools.help"


def definitions(root: Path, language: str) -> dict[str, Any]:
    return json.loads((root / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))


def test_the_files_are_those_that_the_generator_makes(root: Path) -> None:
    files = generated()
    stale = [name for name, text in files.items() if not _same(root / name, text)]
    assert not stale, COMMAND
    kept = [*(root / "web" / "docs").glob("*.md"), *(root / "locales").rglob("*.json")]
    assert {path.relative_to(root).as_posix() for path in kept} == set(files) - {"docs/nodes.md", PAGE}, COMMAND


def _same(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.id)
def test_a_page_lists_every_input_and_output(root: Path, node: Node) -> None:
    declared = NODE_CLASS_MAPPINGS[node.id]
    types = declared.INPUT_TYPES()
    text = (root / "web" / "docs" / f"{node.id}.md").read_text(encoding="utf-8")
    before, _, outputs = text.partition("\n## Outputs\n")
    for name in (*types.get("required", {}), *types.get("optional", {})):
        assert f"\n| `{name}`" in before
    for name in declared.RETURN_NAMES:
        assert f"\n| `{name}` |" in outputs
    assert text.startswith(f"# {node.display_name}\n") and "\n## Example\n" in before


@pytest.mark.parametrize("name", MAKERS)
def test_a_page_shows_its_node_at_work(root: Path, name: str) -> None:
    text = (root / "web" / "docs" / f"FaceStylist{name}.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
    with Image.open(root / "web" / "docs" / shown) as picture:
        assert picture.format == "JPEG" and 200 < picture.width <= WIDEST
        assert len(picture.convert("L").resize((48, 12)).getcolors() or []) > 12, "it shows nothing"


def test_the_pictures_are_those_of_the_nodes_and_small(root: Path) -> None:
    pictures = list((root / "web" / "docs" / "pictures").iterdir())
    assert {path.stem for path in pictures} == {f"FaceStylist{name}" for name in MAKERS} <= set(NODE_CLASS_MAPPINGS)
    assert sum(path.stat().st_size for path in pictures) < 1_500_000


def test_the_written_part_is_an_introduction_and_an_example() -> None:
    for node_id, text in written_parts(HERE).items():
        introduction, _, example = text.partition("\n## Example\n")
        assert len(introduction.split()) >= 12 and len(example.split()) >= 8, node_id


def test_a_row_has_type_default_and_range() -> None:
    align = next(node for node in NODES if node.id == "FaceStylistAlignFaces")
    text = page(align, {align.id: "What it does."})
    assert "| `size` | whole number | 256 | 64 to 2048 |" in text
    assert "| `order` | choice | `left_to_right` | `left_to_right`, `largest` |" in text
    assert "| `landmarks` (optional) | FACE_LANDMARKS | - | - |" in text
    assert "| `download_if_missing` (optional) | switch | off | - |" in text.partition("## Advanced inputs")[2]


def test_files_on_this_machine_are_on_no_page() -> None:
    slots = {(node.id, slot.name): slot for node in NODES for slot in node.inputs}
    assert all(slots[key].kind == "file" and not slots[key].options for key in FILE_LISTS)
    with_folders = {"FaceStylistLoadGenerator", "FaceStylistLoadEncoder", "FaceStylistLoadFastStylizer"}
    assert with_folders <= {node_id for node_id, _ in FILE_LISTS}


def test_a_node_without_a_text_is_named() -> None:
    with pytest.raises(ValueError, match="FaceStylistAlignFaces has no introduction"):
        page(next(node for node in NODES if node.id == "FaceStylistAlignFaces"), {})


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_language_covers_every_node_input_and_output(root: Path, language: str) -> None:
    entries = definitions(root, language)
    assert list(entries) == list(NODE_CLASS_MAPPINGS)
    for node in NODES:
        entry = entries[node.id]
        assert list(entry["inputs"]) == [slot.name for slot in node.inputs]
        assert list(entry["outputs"]) == [str(index) for index in range(len(node.outputs))]
        slots = [*entry["inputs"].values(), *entry["outputs"].values()]
        assert entry["display_name"] and entry["description"]
        assert all(slot["name"] and slot["tooltip"] for slot in slots)
        # The front end reads these through vue-i18n, where such signs are syntax; tooltips it reads as they are.
        compiled = [entry["display_name"], entry["description"], *(slot["name"] for slot in slots)]
        assert not [text for text in compiled if set("{}@|") & set(text)]


def test_chinese_is_chinese(root: Path) -> None:
    english, chinese = definitions(root, "en"), definitions(root, "zh")
    for node_id, entry in chinese.items():
        ours = english[node_id]
        assert entry["display_name"] != ours["display_name"] and _chinese(entry["description"])
        for kind in ("inputs", "outputs"):
            assert all(_chinese(slot["tooltip"]) and slot != ours[kind][key] for key, slot in entry[kind].items())
    names = [entry["display_name"] for entry in chinese.values()]
    assert len(set(names)) == len(names)


def _chinese(text: str) -> bool:
    return any("\u4e00" <= sign <= "\u9fff" for sign in text)


def test_nodes_are_called_by_their_chinese_names(root: Path) -> None:
    """A tooltip that points to a node says the name that its reader sees; marks “ ” are for such names alone."""
    entries = definitions(root, "zh")
    known = {"加载 CLIP 视觉"} | {entry["display_name"] for entry in entries.values()}
    known |= {slot["name"] for entry in entries.values() for slot in entry["inputs"].values()}
    quoted = set(re.findall("“([^”]+)”", json.dumps(entries, ensure_ascii=False)))
    assert len(quoted) > 20 and not quoted - known


@pytest.mark.parametrize("language", ["en", "zh"])
def test_menus_and_sockets_have_names(root: Path, language: str) -> None:
    names = json.loads((root / "locales" / language / "main.json").read_text(encoding="utf-8"))
    assert {part for node in NODES for part in node.category.split("/")} == set(names["nodeCategories"])
    sockets = {slot.kind for node in NODES for slot in (*node.inputs, *node.outputs) if slot.kind.startswith("FACE_")}
    assert (sockets | {"STYLE_PAIRS"}) - {"FACE_LANDMARKS"} == set(names["dataTypes"])


def test_a_translation_that_does_not_fit_is_refused() -> None:
    texts = read_texts(HERE / "zh")
    gone = {**texts, "FaceStylistGone": Translation("x", "x")}
    with pytest.raises(ValueError, match="FaceStylistGone is not a node"):
        translated(NODES, gone)
    with pytest.raises(ValueError, match="FaceStylistCompare: image_a is not translated"):
        compare = texts["FaceStylistCompare"]
        slots = {key: text for key, text in compare.slots.items() if key != "image_a"}
        translated(NODES, {**texts, "FaceStylistCompare": replace(compare, slots=slots)})


def test_a_common_text_is_refused_where_the_english_differs() -> None:
    texts = read_texts(HERE / "zh")
    common = texts[""]
    widened = replace(common, slots={**common.slots, "size": ("尺寸", "边长。")})
    without = {
        key: replace(text, slots={name: slot for name, slot in text.slots.items() if name != "size"})
        for key, text in texts.items()
    }
    with pytest.raises(ValueError, match="size says something else"):
        translated(NODES, {**without, "": widened})
