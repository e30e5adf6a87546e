"""From what the front end posts to a job, or to the errors it shows on the nodes."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..prompts import WorkflowError, is_link
from ..runner import Runner
from ..validation import Fault, node_faults
from ..workflow import Workflow, to_workflow
from .jobs import Job


@dataclass(frozen=True)
class Refused(Exception):
    """A prompt that cannot run at all, in the form in which the front end shows it."""

    error: dict[str, Any]
    node_errors: dict[str, Any]

    def body(self) -> dict[str, Any]:
        return {"error": self.error, "node_errors": self.node_errors}


def make_job(posted: Mapping[str, Any], runner: Runner, number: float) -> tuple[Job, dict[str, Any]]:
    """The job for the body of `POST /prompt`, and the faults of output nodes that are left out of it.

    As in ComfyUI, what can run does: an output node with a fault above it is left out, the others are not.

    Raises:
        Refused: nothing of it can run.
    """
    prompt = posted.get("prompt")
    if not isinstance(prompt, dict) or not prompt:
        raise Refused(_error("no_prompt", "No prompt provided"), {})
    for key, node in prompt.items():
        kind = node.get("class_type") if isinstance(node, dict) else None
        if kind not in runner.classes:
            title = ((node.get("_meta") or {}).get("title") if isinstance(node, dict) else None) or kind or f"#{key}"
            message = (
                f"Node '{title}' is not here. This stand-in has the FaceStylist nodes, Load Image, Save Image, Preview "
                "Image and the Primitive nodes; the workflow needs ComfyUI."
            )
            raise Refused(_error("missing_node_type", message, node_id=key, class_type=kind, node_title=title), {})
    try:
        workflow = to_workflow(prompt, {}, runner.display_names)
        targets = runner.targets(workflow)
        chosen = posted.get("partial_execution_targets")
        if chosen is not None:
            targets = [key for key in targets if key in {str(target) for target in chosen}]
        if not targets:
            raise WorkflowError("The prompt has no output node that can run.")
        good, node_errors = checked_outputs(runner, workflow, targets)
    except WorkflowError as error:
        raise Refused(_error("prompt_no_outputs", str(error)), {}) from error
    if not good:
        details = "\n".join(error["details"] for entry in node_errors.values() for error in entry["errors"])
        message = "Prompt outputs failed validation"
        raise Refused(_error("prompt_outputs_failed_validation", message, details), node_errors)
    given = posted.get("extra_data")
    extra: dict[str, Any] = given if isinstance(given, dict) else {}
    document = (extra.get("extra_pnginfo") or {}).get("workflow")
    runnable = runner.only(workflow, good)
    job = Job(
        id=str(posted.get("prompt_id") or uuid.uuid4()),
        number=number,
        workflow=Workflow(runnable.prompt, document, titles=workflow.titles),
        extra=extra,
        targets=tuple(good),
        client=posted.get("client_id"),
    )
    return job, node_errors


def checked_outputs(runner: Runner, workflow: Workflow, targets: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """The output nodes that can run, and the faults of the others' nodes in ComfyUI's form."""
    faults: dict[str, list[Fault]] = {}
    good: list[str] = []
    node_errors: dict[str, Any] = {}
    for target in targets:
        part = runner.only(workflow, [target])
        faulty = []
        for key in part.prompt:
            if key not in faults:
                faults[key] = node_faults(part.prompt[key], part.prompt, runner.classes)
            if faults[key]:
                faulty.append(key)
        for key in faulty:
            entry = node_errors.setdefault(
                key,
                {
                    "errors": [fault_entry(fault, part.prompt[key]) for fault in faults[key]],
                    "dependent_outputs": [],
                    "class_type": part.prompt[key]["class_type"],
                },
            )
            entry["dependent_outputs"].append(target)
        if not faulty:
            good.append(target)
    return good, node_errors


def fault_entry(fault: Fault, node: Mapping[str, Any]) -> dict[str, Any]:
    """A fault as ComfyUI's server words it."""
    value = node["inputs"].get(fault.input) if fault.input else None
    extra: dict[str, Any] = {"input_name": fault.input} if fault.input else {}
    if fault.input and not is_link(value):
        extra["received_value"] = value
    message = fault.kind.replace("_", " ").capitalize()
    return {"type": fault.kind, "message": message, "details": fault.sentence, "extra_info": extra}


def _error(kind: str, message: str, details: str = "", **extra: Any) -> dict[str, Any]:
    return {"type": kind, "message": message, "details": details, "extra_info": extra}
