"""Changing a workflow's values from outside: `--set`, `--seed`, and the tokens in file names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from .prompts import InputTypes, WorkflowError, declared_inputs, is_link, is_widget
from .workflow import Workflow


def set_input(workflow: Workflow, input_types: Mapping[str, InputTypes], assignment: str) -> None:
    """Applies one `NODE.INPUT=VALUE`, where NODE is an id or a title that only one node has.

    Raises:
        WorkflowError: there is no such node or input, several nodes have the title, or the value does not fit.
    """
    target, equals, text = assignment.partition("=")
    node_name, dot, name = target.rpartition(".")
    if not equals or not dot:
        raise WorkflowError(f"`{assignment}` is not of the form NODE.INPUT=VALUE, for example 7.strength=0.8.")
    key = _find_node(workflow, node_name)
    if key not in workflow.prompt:
        _set_promoted(workflow, input_types, key, name, text)
        return
    class_type = workflow.prompt[key]["class_type"]
    declared = declared_inputs(input_types[class_type])
    widgets = {known: spec for known, spec in declared.items() if is_widget(*spec)}
    if name not in widgets:
        offered = ", ".join(f"`{known}`" for known in widgets) or "none"
        raise WorkflowError(f"Node {key} ({class_type}) has no value `{name}` to set. It has: {offered}.")
    workflow.prompt[key]["inputs"][name] = _parse(text, *widgets[name], where=f"{class_type}.{name}")


def expand_prefixes(workflow: Workflow, now: datetime) -> None:
    """Fills in the tokens of every `filename_prefix`, in place."""
    for node in workflow.prompt.values():
        prefix = node["inputs"].get("filename_prefix")
        if isinstance(prefix, str):
            node["inputs"]["filename_prefix"] = expand_text(prefix, workflow, now)


def expand_text(text: str, workflow: Workflow, now: datetime) -> str:
    """Fills in `%date:yyyy-MM-dd%` and `%Node.widget%`, which the front end does before it queues a workflow."""

    def fill(match: re.Match[str]) -> str:
        token = match.group(1)
        if token.startswith("date:"):
            return format_date(token.removeprefix("date:"), now)
        node_name, dot, name = token.rpartition(".")
        for key, node in workflow.prompt.items():
            if dot and node_name in (workflow.titles.get(key), node["class_type"]) and name in node["inputs"]:
                value = node["inputs"][name]
                return match.group(0) if is_link(value) else re.sub(r'[\\/:*?"<>|\x00-\x1f]', "_", str(value))
        return match.group(0)

    return re.sub(r"%([^%]+)%", fill, text)


def format_date(pattern: str, now: datetime) -> str:
    """`yyyy-MM-dd hh-mm-ss` in the front end's letters; a single letter gives no leading zero."""
    parts = {"y": now.year, "M": now.month, "d": now.day, "h": now.hour, "m": now.minute, "s": now.second}

    def fill(match: re.Match[str]) -> str:
        letters = match.group(0)
        number = str(parts[letters[0]])
        return number[-len(letters) :] if letters[0] == "y" else number.zfill(len(letters))

    return re.sub(r"yyyy|yy|dd?|MM?|hh?|mm?|ss?", fill, pattern)


def set_seeds(workflow: Workflow, value: int) -> None:
    """Gives every unlinked `seed` or `noise_seed` input of a workflow the same value."""
    for node in workflow.prompt.values():
        for name in ("seed", "noise_seed"):
            if name in node["inputs"] and not is_link(node["inputs"][name]):
                node["inputs"][name] = value


def _set_promoted(workflow: Workflow, input_types: Mapping[str, InputTypes], host: str, name: str, text: str) -> None:
    """Sets a value on a subgraph's node, which is one of the nodes inside, or of several."""
    inside = [(key, own) for key, own in workflow.promoted[host].get(name, []) if key in workflow.prompt]
    if not inside:
        offered = ", ".join(f"`{known}`" for known in workflow.promoted[host])
        title = workflow.titles.get(host)
        raise WorkflowError(f"Node {host} ({title}) has no value `{name}` to set. It has: {offered}.")
    for key, own in inside:
        set_input(workflow, input_types, f"{key}.{own}={text}")


def _find_node(workflow: Workflow, name: str) -> str:
    nodes = [*workflow.prompt, *(key for key in workflow.promoted if key not in workflow.prompt)]
    if name in nodes:
        return name
    for called in (workflow.titles.get, lambda key: workflow.prompt.get(key, {}).get("class_type")):
        found = [key for key in nodes if called(key) == name]
        if len(found) == 1:
            return found[0]
        if found:
            raise WorkflowError(f"{len(found)} nodes are called {name!r}: {', '.join(found)}. Use one of these ids.")
    known = ", ".join(f"{key} ({workflow.titles.get(key) or n['class_type']})" for key, n in workflow.prompt.items())
    raise WorkflowError(f"The workflow has no node {name!r}. It has: {known}.")


def _parse(text: str, kind: Any, options: Mapping[str, Any], *, where: str) -> Any:
    """A value typed on the command line, as the input's type wants it."""
    try:
        if kind == "INT":
            return int(text)
        if kind == "FLOAT":
            return float(text)
    except ValueError as error:
        raise WorkflowError(f"{where} takes a {'whole ' if kind == 'INT' else ''}number, not {text!r}.") from error
    if kind == "BOOLEAN":
        if text.lower() in ("true", "1", "yes", "on"):
            return True
        if text.lower() in ("false", "0", "no", "off"):
            return False
        raise WorkflowError(f"{where} takes true or false, not {text!r}.")
    if isinstance(kind, (list, tuple)) or kind == "COMBO":
        offered = kind if isinstance(kind, (list, tuple)) else options.get("options") or []
        return next((option for option in offered if str(option) == text), text)
    return text
