"""Broken workflows get a sentence: files changed at random, and those of them that were once worth a fix."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest
from graph_corpus import CORPUS
from graph_files import CLASSES

from facestylist.headless import builtin_nodes
from facestylist.headless.prompts import WorkflowError
from facestylist.headless.runner import Runner
from facestylist.headless.workflow import read_workflows

Path_ = tuple[Any, ...]
FOUND = json.loads((Path(__file__).parent / "broken_workflows.json").read_text())
ODD: list[Any] = [
    None,
    True,
    -1,
    0,
    3,
    99,
    1.5,
    10**30,
    float("nan"),
    float("inf"),
    "",
    "1",
    "x",
    "nan",
    "SetNode",
    "a\0b",
    "\ud800",
    "..\\x",
    "C:\\x",
    [],
    [1],
    ["1", 0],
    [None],
    {},
    {"a": 1},
    {"__value__": 1},
]


def runner() -> Runner:
    return Runner({**builtin_nodes.NODE_CLASS_MAPPINGS, **CLASSES}, {"Source": "A Source"})


def places(tree: Any) -> list[Path_]:
    """Every place in a JSON tree but the root."""
    found: list[Path_] = []
    waiting: list[tuple[Path_, Any]] = [((), tree)]
    while waiting:
        path, value = waiting.pop()
        keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        for key in keys:
            found.append((*path, key))
            waiting.append(((*path, key), value[key]))
    return found


def at(tree: Any, path: Path_) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def mutate(document: dict[str, Any], rng: random.Random) -> None:
    """Deletes, doubles, retypes, nests or swaps something, in place."""
    # What the front end draws with decides nothing, so that a change there is a wasted one.
    paths = [path for path in places(document) if not {"pos", "size", "flags", "bounding", "state"} & set(path)]
    if not paths:
        return
    path = rng.choice(paths)
    parent, key = at(document, path[:-1]), path[-1]
    match rng.choice(["delete", "double", "retype", "retype", "nest", "swap"]):
        case "delete":
            del parent[key]
        case "double":
            if isinstance(parent, list):
                parent.insert(key, copy.deepcopy(parent[key]))
            else:
                parent[f"{key} again"] = copy.deepcopy(parent[key])
        case "retype":
            parent[key] = copy.deepcopy(rng.choice(ODD))
        case "nest":
            parent[key] = rng.choice([[parent[key]], {"id": parent[key]}, {"nodes": parent[key]}])
        case "swap":
            other = rng.choice(paths)
            if other[: len(path)] != path and path[: len(other)] != other:
                second = at(document, other[:-1])
                parent[key], second[other[-1]] = second[other[-1]], parent[key]


def outcome(document: dict[str, Any]) -> str:
    """What is said about a workflow, or nothing where it runs; any other error than a sentence is the test's."""
    own = runner()
    try:
        workflow = own.prepare(document)
    except WorkflowError as error:
        said = str(error)
        assert said and not said.startswith(("KeyError", "TypeError")) and "object has no" not in said, said
        return said
    own.run(workflow)
    return ""


@pytest.mark.parametrize("seed", range(4))
def test_a_file_changed_at_random_runs_or_is_told_about(seed: int) -> None:
    rng = random.Random(seed)
    documents = [json.dumps(draw().document()) for draw in CORPUS.values()]
    documents += [json.dumps(runner().open(json.loads(text)).prompt) for text in documents[:6]]
    said = 0
    for _ in range(250):
        document = json.loads(rng.choice(documents))
        for _ in range(rng.randint(1, 3)):
            mutate(document, rng)
        said += outcome(document) != ""
    # Both outcomes are common: neither is everything refused, nor is nothing broken.
    assert 50 < said < 230


@pytest.mark.parametrize("case", FOUND, ids=[str(case["about"]) for case in FOUND])
def test_what_was_found_before(case: dict[str, Any]) -> None:
    said = outcome(case["document"])
    assert all(part in said for part in case["says"]) if case["says"] else said == ""


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "is not JSON"),
        (b"[1, 2", "is not JSON"),
        (b"[" * 100_000, "nested"),
        (b'{"nodes": ' + b"[" * 400 + b"]" * 400 + b"}", "nested more than 200 deep"),
        (b'{"1": {"class_type": "Show", "inputs": {"text": "caf\xe9"}}}', "neither UTF-8 nor UTF-16"),
        (b'{"seed": ' + b"1" * 5000 + b"}", "is not JSON"),
        (b"\x89PNG\r\n\x1a\nrubbish", "cannot be read as a picture"),
        (b"null", "is not a ComfyUI workflow"),
        (b'{"1": {"class": "Show"}}', "is not a ComfyUI workflow"),
    ],
)
def test_files_that_are_no_workflow(tmp_path: Path, data: bytes, sentence: str) -> None:
    (tmp_path / "w.json").write_bytes(data)
    with pytest.raises(WorkflowError, match=sentence):
        read_workflows(tmp_path / "w.json")
