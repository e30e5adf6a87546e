"""The checks that ComfyUI's server makes before it queues a prompt, with sentences like its own."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..runtime.folders import portable
from .prompts import WIDGET_TYPES, Prompt, WorkflowError, declared_inputs, is_link


@dataclass(frozen=True)
class Fault:
    """What is wrong with one input of a node, or with the node."""

    kind: str
    """ComfyUI's name for it, by which its front end knows what to show."""
    sentence: str
    input: str | None = None


def validate(prompt: Prompt, needed: Sequence[str], classes: Mapping[str, type], titles: Mapping[str, str]) -> None:
    """Checks the links and values of the nodes that will run, and turns numbers into their declared types in place.

    Raises:
        WorkflowError: names every node and input at fault.
    """
    lines = [
        f"Node {key} ({titles.get(key) or prompt[key]['class_type']}): {fault.sentence}"
        for key in needed
        for fault in node_faults(prompt[key], prompt, classes)
    ]
    if lines:
        raise WorkflowError("\n".join(lines))


def node_faults(node: dict[str, Any], prompt: Prompt, classes: Mapping[str, type]) -> list[Fault]:
    """What is wrong with one node's links and values; numbers are turned into their declared types in place."""
    node_class: Any = classes[node["class_type"]]
    types = node_class.INPUT_TYPES()
    required = types.get("required") or {}
    declared = declared_inputs(types)
    inputs = node["inputs"]
    checks = _own_checks(node_class)
    faults: list[Fault] = []
    for name, (kind, options) in declared.items():
        if name not in inputs:
            if name in required:
                sentence = f"Required input is missing: {name}. Connect it or give it a value."
                faults.append(Fault("required_input_missing", sentence, name))
            continue
        value = inputs[name]
        if is_link(value):
            if "input_types" not in checks.names:
                faults += _link_faults(name, kind, value, prompt, classes)
            continue
        if isinstance(value, list):
            sentence = f"Bad linked input: {name}, {value!r}, is not [node id, output slot]. Connect it again."
            faults.append(Fault("bad_linked_input", sentence, name))
            continue
        if value is not None and not _takes_values(kind):
            sentence = f"Bad linked input: {name} takes a link to a {kind}, not the value {value!r}."
            faults.append(Fault("bad_linked_input", sentence, name))
            continue
        if isinstance(value, dict) and "__value__" in value:
            value = inputs[name] = value["__value__"]
        try:
            value = inputs[name] = _convert(value, kind)
        except (TypeError, ValueError, OverflowError):
            sentence = f"Failed to convert an input value to a {kind} value: {name}, {value!r}."
            faults.append(Fault("invalid_input_type", sentence, name))
            continue
        if isinstance(value, str) and (isinstance(kind, (list, tuple)) or kind == "COMBO"):
            value = inputs[name] = portable(value, _offered(kind, options).__contains__)
        if not checks.covers(name):
            faults += _range_faults(name, value, kind, options)
    if not faults:
        faults += _custom_faults(node_class, checks, inputs, declared, prompt, classes)
    return faults


def drop_unknown_inputs(prompt: Prompt, classes: Mapping[str, type]) -> tuple[str, ...]:
    """Takes out, in place, what a node's class does not have, which ComfyUI ignores; a sentence for each."""
    notes = []
    for key, node in prompt.items():
        node_class: Any = classes[node["class_type"]]
        declared = declared_inputs(node_class.INPUT_TYPES())
        uploads = any(options.get("image_upload") for _, options in declared.values())
        for name in [name for name in node["inputs"] if name not in declared]:
            value = node["inputs"].pop(name)
            # An exported LoadImage carries its upload button as an input.
            if not (uploads and value == "image"):
                notes.append(f"Ignored, because it has no such input: `{name}` of node {key} ({node['class_type']})")
    return tuple(notes)


class _OwnChecks:
    """Which inputs a node checks itself in VALIDATE_INPUTS, and so not here."""

    def __init__(self, names: frozenset[str], everything: bool) -> None:
        self.names = names
        self.everything = everything

    def covers(self, name: str) -> bool:
        return self.everything or name in self.names


def _own_checks(node_class: Any) -> _OwnChecks:
    function = getattr(node_class, "VALIDATE_INPUTS", None)
    if function is None:
        return _OwnChecks(frozenset(), False)
    spec = inspect.getfullargspec(function)
    return _OwnChecks(frozenset([*spec.args, *spec.kwonlyargs]) - {"cls", "self"}, spec.varkw is not None)


def _link_faults(name: str, kind: Any, link: list[Any], prompt: Prompt, classes: Mapping[str, type]) -> list[Fault]:
    origin: Any = classes[prompt[str(link[0])]["class_type"]]
    offered = origin.RETURN_TYPES
    if not 0 <= link[1] < len(offered):
        sentence = f"Bad linked input: {name} asks for output {link[1]} of node {link[0]}, which has {len(offered)}."
        return [Fault("bad_linked_input", sentence, name)]
    received = offered[link[1]]
    if types_match(received, kind):
        return []
    wanted = "COMBO" if isinstance(kind, (list, tuple)) else kind
    sentence = f"Return type mismatch between linked nodes: {name}, received {received}, wants {wanted}."
    return [Fault("return_type_mismatch", sentence, name)]


def types_match(received: Any, wanted: Any) -> bool:
    """Whether an output of one type may be linked to an input of another; types may be `*` or `A,B`."""
    if received == wanted or "*" in (received, wanted):
        return True
    if isinstance(wanted, (list, tuple)):
        return received == "COMBO" or received == wanted
    if not isinstance(received, str) or not isinstance(wanted, str):
        return False
    return {part.strip() for part in received.split(",")} <= {part.strip() for part in wanted.split(",")}


def _takes_values(kind: Any) -> bool:
    return isinstance(kind, (list, tuple)) or kind in WIDGET_TYPES or kind == "*" or "," in kind


def _offered(kind: Any, options: Mapping[str, Any]) -> list[Any]:
    return list(kind) if isinstance(kind, (list, tuple)) else list(options.get("options") or [])


def _convert(value: Any, kind: Any) -> Any:
    if kind == "INT":
        return int(value)
    if kind == "FLOAT":
        number = float(value)
        if not math.isfinite(number):
            raise ValueError(value)
        return number
    if kind == "STRING":
        return str(value)
    if kind == "BOOLEAN":
        return bool(value)
    return value


def _range_faults(name: str, value: Any, kind: Any, options: Mapping[str, Any]) -> list[Fault]:
    if kind in ("INT", "FLOAT"):
        if "min" in options and value < options["min"]:
            sentence = f"Value {value} smaller than min of {options['min']}: {name}."
            return [Fault("value_smaller_than_min", sentence, name)]
        if "max" in options and value > options["max"]:
            sentence = f"Value {value} bigger than max of {options['max']}: {name}."
            return [Fault("value_bigger_than_max", sentence, name)]
    if isinstance(kind, (list, tuple)) or kind == "COMBO":
        offered = _offered(kind, options)
        if value not in offered:
            shown = ", ".join(repr(option) for option in offered[:20]) + (", ..." if len(offered) > 20 else "")
            return [Fault("value_not_in_list", f"Value not in list: {name}: {value!r} not in [{shown}].", name)]
    return []


def _custom_faults(
    node_class: Any,
    checks: _OwnChecks,
    inputs: Mapping[str, Any],
    declared: Mapping[str, tuple[Any, Any]],
    prompt: Prompt,
    classes: Mapping[str, type],
) -> list[Fault]:
    """What VALIDATE_INPUTS says. A linked input is not known yet and given as None."""
    if not checks.names and not checks.everything:
        return []
    given = {
        name: None if is_link(value) else value
        for name, value in inputs.items()
        if name in declared and checks.covers(name)
    }
    if "input_types" in checks.names:
        given["input_types"] = {
            name: getattr(classes[prompt[str(value[0])]["class_type"]], "RETURN_TYPES", ())[value[1]]
            for name, value in inputs.items()
            if is_link(value)
        }
    try:
        result = node_class.VALIDATE_INPUTS(**given)
    except Exception as error:  # whatever a node's own check raises is a fault of that node, reported with the others
        return [Fault("exception_during_validation", f"Exception when validating inputs: {error}")]
    if result is True:
        return []
    sentence = str(result) if isinstance(result, str) else "Custom validation failed."
    # A node that checks one input speaks of that one.
    checked = next(iter(given), None) if len(given) == 1 else None
    return [Fault("custom_validation_failed", sentence, checked)]
