"""Runs workflows with no server, the way ComfyUI's executor does: our nodes and a few of ComfyUI's own."""

from __future__ import annotations

import hashlib
import json
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from ..runtime import folders
from ..runtime.progress import Interrupted
from . import builtin_nodes
from .prompts import WorkflowError, declared_inputs, is_link
from .validation import drop_unknown_inputs, validate
from .values import expand_prefixes, set_input
from .workflow import Workflow, node_types, to_workflow, without_foreign

logger = logging.getLogger(__name__)

Outputs = list[list[Any]]
"""A node's results: for every output slot the list of its values, of length 1 except for OUTPUT_IS_LIST."""


class NodeError(RuntimeError):
    """A node failed; the message names it and says what the node said.

    Args:
        key: the node's id.
        said: what the node said, in words.
    """

    def __init__(self, message: str, key: str, said: str) -> None:
        super().__init__(message)
        self.key = key
        self.said = said


@dataclass(frozen=True)
class RunResult:
    """What a run made."""

    ui: dict[str, dict[str, Any]]
    """What each output node showed, by node id, in ComfyUI's form."""
    outputs: dict[str, Outputs]
    """Every node's results, by node id and slot."""
    executed: tuple[str, ...]
    """The nodes that ran, in order; the others were still good from the run before."""
    skipped: tuple[str, ...] = ()
    """Nodes left out because something they need is muted or bypassed."""

    @property
    def files(self) -> list[Path]:
        """The pictures that were written, in node order."""
        return [path for key in self.ui for path in self.files_of(key)]

    def files_of(self, key: str) -> list[Path]:
        """The pictures that one node wrote."""
        roots = {"output": folders.output_dir(), "temp": folders.temp_dir(), "input": folders.input_dir()}
        return [
            roots[entry["type"]] / entry["subfolder"] / entry["filename"]
            for entry in self.ui.get(key, {}).get("images", [])
            if isinstance(entry, Mapping) and entry.get("type") in roots
        ]


@dataclass
class _Remembered:
    """A node's results and what they were made from."""

    signature: str
    outputs: Outputs
    ui: dict[str, Any]


@dataclass
class Runner:
    """Runs prompts and remembers results, so that a second run repeats only what changed.

    Args:
        classes: node classes by name; ours and the stand-ins unless given.
        display_names: what the front end calls them.
        on_node: called with (position, total, node id, title) before each node runs.
        on_kept: called with the nodes whose results of an earlier run are still good, before any node runs.
        on_done: called with a node's id and what it shows, after it ran or, for one that was kept, in its place.
    """

    # Node classes follow a convention of attributes, not a base class.
    classes: Mapping[str, Any] = field(default_factory=lambda: known_classes())
    display_names: Mapping[str, str] = field(default_factory=lambda: known_display_names())
    on_node: Callable[[int, int, str, str], None] | None = None
    on_kept: Callable[[list[str]], None] | None = None
    on_done: Callable[[str, Mapping[str, Any]], None] | None = None
    _memory: dict[str, _Remembered] = field(default_factory=dict, init=False, repr=False)
    _objects: dict[tuple[str, str], Any] = field(default_factory=dict, init=False, repr=False)

    def prepare(self, document: Mapping[str, Any], assignments: Sequence[str] = ()) -> Workflow:
        """Turns a workflow in either format into one that can be run, with every check made.

        Args:
            document: the file's JSON.
            assignments: `NODE.INPUT=VALUE`, applied in order.

        Raises:
            WorkflowError: it holds a node that only ComfyUI has, or a link or value is wrong.
        """
        workflow = self.open(document)
        notes = drop_unknown_inputs(workflow.prompt, self.classes)
        workflow = replace(workflow, notes=(*workflow.notes, *notes))
        input_types = {
            node["class_type"]: self.classes[node["class_type"]].INPUT_TYPES() for node in workflow.prompt.values()
        }
        for assignment in assignments:
            set_input(workflow, input_types, assignment)
        expand_prefixes(workflow, datetime.now())
        needed = _order(workflow.prompt, self.targets(workflow))
        validate(workflow.prompt, needed, self.classes, workflow.titles)
        return workflow

    def open(self, document: Mapping[str, Any]) -> Workflow:
        """The same without the checks of links and values: to see which nodes a workflow has.

        Raises:
            WorkflowError: it holds a node that only ComfyUI has, or cannot be read.
        """
        used = set(node_types(document).values()) & set(self.classes)
        input_types = {kind: self.classes[kind].INPUT_TYPES() for kind in used}
        workflow, foreign = without_foreign(to_workflow(document, input_types, self.display_names), self.classes)
        if foreign:
            names = ", ".join(f"{kind} (node {key})" for key, kind in foreign.items())
            raise WorkflowError(
                f"The workflow uses what only ComfyUI has: {names}. The runner knows the FaceStylist nodes, LoadImage, "
                "SaveImage, PreviewImage and the Primitive nodes. Run it in ComfyUI, or here with --server URL."
            )
        return workflow

    def only(self, workflow: Workflow, targets: Sequence[str]) -> Workflow:
        """A workflow with some of its output nodes and what they need, and nothing else."""
        needed = _order(workflow.prompt, targets)
        return replace(workflow, prompt={key: node for key, node in workflow.prompt.items() if key in needed})

    def run(self, workflow: Workflow) -> RunResult:
        """Runs what the output nodes need, and nothing that is still good from the run before.

        Raises:
            NodeError: a node failed.
            Interrupted: a person cancelled it; what was done until then is kept for the next run.
        """
        import torch

        prompt = workflow.prompt
        order = _order(prompt, self.targets(workflow))
        self._forget(prompt)
        signatures: dict[str, str] = {}
        executed: list[str] = []
        with torch.inference_mode():
            for key in order:
                signatures[key] = self._signature(key, workflow, signatures)
            kept = {key for key in order if key in self._memory and self._memory[key].signature == signatures[key]}
            if self.on_kept is not None:
                self.on_kept([key for key in order if key in kept])
            for position, key in enumerate(order, start=1):
                if key in kept:
                    self._tell_done(key)
                    continue
                title = workflow.titles.get(key) or prompt[key]["class_type"]
                if self.on_node is not None:
                    self.on_node(position, len(order), key, title)
                outputs, ui = self._execute(key, workflow, title)
                self._memory[key] = _Remembered(signatures[key], outputs, ui)
                executed.append(key)
                self._tell_done(key)
        return RunResult(
            ui={key: self._memory[key].ui for key in order if self._memory[key].ui},
            outputs={key: self._memory[key].outputs for key in order},
            executed=tuple(executed),
            skipped=workflow.skipped,
        )

    def _tell_done(self, key: str) -> None:
        if self.on_done is not None:
            self.on_done(key, self._memory[key].ui)

    def targets(self, workflow: Workflow) -> list[str]:
        """The output nodes: ComfyUI runs these and what they need."""
        targets = [
            key
            for key, node in workflow.prompt.items()
            if getattr(self.classes[node["class_type"]], "OUTPUT_NODE", False)
        ]
        if not targets:
            raise WorkflowError("The workflow has no output node that can run. Add a SaveImage or PreviewImage node.")
        return targets

    def forget(self) -> None:
        """Drops every result and node object kept from earlier runs."""
        self._memory.clear()
        self._objects.clear()

    def _forget(self, prompt: Mapping[str, Any]) -> None:
        """Drops what belongs to nodes that are gone or have become another class."""
        for key in [key for key in self._memory if key not in prompt]:
            del self._memory[key]
        alive = {(key, node["class_type"]) for key, node in prompt.items()}
        for owner in [owner for owner in self._objects if owner not in alive]:
            del self._objects[owner]

    def _signature(self, key: str, workflow: Workflow, signatures: Mapping[str, str]) -> str:
        """What a node's results depend on, as a digest: its class, values and IS_CHANGED, and those of all above it."""
        node = workflow.prompt[key]
        node_class = self.classes[node["class_type"]]
        values = [
            (name, [signatures[str(value[0])], value[1]] if is_link(value) else {"value": value})
            for name, value in sorted(node["inputs"].items())
        ]
        changed: list[Any] = []
        if hasattr(node_class, "IS_CHANGED"):
            given = self._given(key, workflow, with_links=False)
            try:
                changed = _each(node_class, "IS_CHANGED", given)
            except Exception as error:
                # As in ComfyUI: such a node runs again, and tells what is wrong when it does.
                logger.debug("IS_CHANGED of node %s failed: %s", key, error)
                changed = [float("nan")]
            # NaN means "always changed": it equals nothing, itself included.
            changed = [uuid.uuid4() if entry != entry else entry for entry in changed]
        text = json.dumps([node["class_type"], values, changed], default=repr)
        return hashlib.sha256(text.encode()).hexdigest()

    def _given(self, key: str, workflow: Workflow, with_links: bool = True) -> dict[str, list[Any]]:
        """A node's arguments, each as a list of values: what is linked, what is typed in, and what is hidden."""
        node = workflow.prompt[key]
        types = self.classes[node["class_type"]].INPUT_TYPES()
        declared = declared_inputs(types)
        given: dict[str, list[Any]] = {}
        for name, value in node["inputs"].items():
            if name not in declared:
                continue
            if is_link(value):
                given[name] = self._memory[str(value[0])].outputs[value[1]] if with_links else [None]
            else:
                given[name] = [value]
        for name, kind in (types.get("hidden") or {}).items():
            if kind in ("PROMPT", "DYNPROMPT"):
                given[name] = [workflow.prompt]
            elif kind == "EXTRA_PNGINFO":
                given[name] = [None if workflow.document is None else {"workflow": workflow.document}]
            elif kind == "UNIQUE_ID":
                given[name] = [key]
        return given

    def _execute(self, key: str, workflow: Workflow, title: str) -> tuple[Outputs, dict[str, Any]]:
        class_type = workflow.prompt[key]["class_type"]
        node_class = self.classes[class_type]
        given = self._given(key, workflow)
        node = self._objects.setdefault((key, class_type), node_class())
        try:
            results = _each(node, node_class.FUNCTION, given)
        except Interrupted:
            raise
        except Exception as error:
            said = str(error) if isinstance(error, (ValueError, RuntimeError, OSError)) else repr(error)
            said = said or type(error).__name__
            raise NodeError(f"Node {key} ({title}): {said}", key, said) from error
        return _collect(results, node_class)


def known_classes() -> dict[str, type]:
    """Our nodes and the stand-ins, by class name."""
    from .. import nodes

    return {**builtin_nodes.NODE_CLASS_MAPPINGS, **nodes.NODE_CLASS_MAPPINGS}


def known_display_names() -> dict[str, str]:
    """What the front end calls them."""
    from .. import nodes

    return {**builtin_nodes.NODE_DISPLAY_NAME_MAPPINGS, **nodes.NODE_DISPLAY_NAME_MAPPINGS}


def _each(node: Any, function: str, given: Mapping[str, list[Any]]) -> list[Any]:
    """Calls a node once with lists (INPUT_IS_LIST), or once per value, the shorter lists repeating their last one."""
    method = getattr(node, function)
    if getattr(node, "INPUT_IS_LIST", False):
        return [method(**given)]
    if not given:
        return [method()]
    if any(not values for values in given.values()):
        return []
    count = max(len(values) for values in given.values())
    rows = ({name: values[min(index, len(values) - 1)] for name, values in given.items()} for index in range(count))
    return [method(**row) for row in rows]


def _collect(results: Sequence[Any], node_class: Any) -> tuple[Outputs, dict[str, Any]]:
    """Results of one or several calls as lists per output slot, and what they show joined together."""
    slots = len(node_class.RETURN_TYPES)
    is_list = getattr(node_class, "OUTPUT_IS_LIST", None) or (False,) * slots
    outputs: Outputs = [[] for _ in range(slots)]
    ui: dict[str, Any] = {}
    for result in results:
        if isinstance(result, dict):
            for name, shown in result.get("ui", {}).items():
                ui.setdefault(name, []).extend(shown)
            result = result.get("result", ())
        for slot, value in enumerate(result or ()):
            if is_list[slot]:
                outputs[slot].extend(value)
            else:
                outputs[slot].append(value)
    return outputs, ui


def _order(prompt: Mapping[str, Any], targets: Sequence[str]) -> list[str]:
    """The nodes that the targets need, each after everything it depends on.

    Raises:
        WorkflowError: nodes depend on each other in a circle.
    """
    order: list[str] = []
    done: set[str] = set()
    # An explicit stack, because long chains of nodes are deeper than Python's recursion.
    for target in targets:
        stack: list[tuple[str, bool]] = [(target, False)]
        path: set[str] = set()
        while stack:
            key, finished = stack.pop()
            if finished:
                path.discard(key)
                if key not in done:
                    done.add(key)
                    order.append(key)
                continue
            if key in done:
                continue
            if key in path:
                raise WorkflowError(f"The nodes around node {key} depend on each other in a circle. Remove one link.")
            path.add(key)
            stack.append((key, True))
            sources = [str(value[0]) for value in prompt[key]["inputs"].values() if is_link(value)]
            for source in reversed(sources):
                if source in path:
                    raise WorkflowError(
                        f"The nodes around node {source} depend on each other in a circle. Remove one link."
                    )
                stack.append((source, False))
    return order
