"""Run a workflow in the front end's or the API's format, without a server or, with --server, on one."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.files import check_writable
from ..console import Console

if TYPE_CHECKING:
    from ...headless.workflow import Workflow

HELP = "run a workflow file without a server"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workflow", metavar="WORKFLOW.json", help="a workflow, or a picture that carries one")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NODE.INPUT=VALUE",
        dest="assignments",
        help="change a value; NODE is an id (5:1 for node 1 in the subgraph 5) or a title that only one node has; "
        "may be repeated",
    )
    parser.add_argument("--input-dir", type=Path, metavar="DIR", help="where LoadImage looks (default: input)")
    parser.add_argument("--output-dir", type=Path, metavar="DIR", help="where pictures go (default: output)")
    parser.add_argument("--server", metavar="URL", help="a running ComfyUI, for example http://127.0.0.1:8188")


def run(args: argparse.Namespace, console: Console) -> None:
    from ...headless.workflow import read_workflows

    check_writable(args.output_dir, folder=True)
    documents = read_workflows(args.workflow)
    started = time.monotonic()
    record = (_on_server if args.server else _here)(args, documents, console)
    record["seconds"] = round(time.monotonic() - started, 2)
    for path in record["files"]:
        console.line(path)
    console.result(record)


def _prepare(
    documents: list[dict[str, Any]], prepare: Callable[[dict[str, Any]], Workflow], console: Console
) -> Workflow:
    """The workflow of a file or, where that cannot be run, the prompt that its picture was made with."""
    from ...headless.prompts import WorkflowError
    from ...headless.workflow import is_ui_format

    try:
        return prepare(documents[0])
    except WorkflowError as error:
        for flat in documents[1:]:
            try:
                workflow = prepare(flat)
            except WorkflowError:
                break
            console.note(f"The picture's canvas cannot be run, its prompt is. {error}")
            document = documents[0] if is_ui_format(documents[0]) else None
            return replace(workflow, document=document)
        raise


def _tell(workflow: Workflow, console: Console) -> None:
    for name in workflow.skipped:
        console.note(f"Left out, because what it needs is muted or bypassed: node {name}")
    for note in workflow.notes:
        console.note(note)


def _here(args: argparse.Namespace, documents: list[dict[str, Any]], console: Console) -> dict[str, Any]:
    from ...headless.runner import Runner
    from ...headless.values import set_seeds

    def tell(position: int, total: int, key: str, title: str) -> None:
        console.note(f"[{position}/{total}] {title} (node {key})")

    runner = Runner(on_node=tell)
    workflow = _prepare(documents, lambda document: runner.prepare(document, args.assignments), console)
    if args.seed is not None:
        set_seeds(workflow, args.seed)
    _tell(workflow, console)
    result = runner.run(workflow)
    return {
        "files": [str(path) for path in result.files],
        "outputs": {
            key: {
                **{name: shown for name, shown in ui.items() if name != "images"},
                "files": [str(path) for path in result.files_of(key)],
            }
            for key, ui in result.ui.items()
        },
        "executed": list(result.executed),
        "skipped": list(result.skipped),
    }


def _on_server(args: argparse.Namespace, documents: list[dict[str, Any]], console: Console) -> dict[str, Any]:
    from ...headless.server_client import ServerClient
    from ...headless.values import expand_prefixes, set_input, set_seeds
    from ...runtime.folders import input_dir, output_dir

    client = ServerClient(args.server)

    def prepare(document: dict[str, Any]) -> Workflow:
        workflow = client.prepare(document)
        for assignment in args.assignments:
            set_input(workflow, client.input_types, assignment)
        return workflow

    workflow = _prepare(documents, prepare, console)
    _tell(workflow, console)
    if args.seed is not None:
        set_seeds(workflow, args.seed)
    expand_prefixes(workflow, datetime.now())
    client.upload_inputs(workflow, input_dir())
    outputs = client.run(workflow, console.note)
    files = {key: client.download(ui, output_dir()) for key, ui in outputs.items()}
    return {
        "files": [str(path) for paths in files.values() for path in paths],
        "outputs": {key: {"files": [str(path) for path in paths]} for key, paths in files.items()},
        "skipped": list(workflow.skipped),
    }
