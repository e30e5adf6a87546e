"""Run a workflow in the front end's or the API's format, without a server or, with --server, on one."""

from __future__ import annotations

import argparse
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from ...models.files import check_writable
from ..console import Console

HELP = "run a workflow file without a server"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workflow", metavar="WORKFLOW.json", help="a workflow, or a PNG that carries one")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NODE.INPUT=VALUE",
        dest="assignments",
        help="change a value; NODE is an id or a title that only one node has; may be repeated",
    )
    parser.add_argument("--input-dir", type=Path, metavar="DIR", help="where LoadImage looks (default: input)")
    parser.add_argument("--output-dir", type=Path, metavar="DIR", help="where pictures go (default: output)")
    parser.add_argument("--server", metavar="URL", help="a running ComfyUI, for example http://127.0.0.1:8188")


def run(args: argparse.Namespace, console: Console) -> None:
    from ..workflow import read_workflow_file

    check_writable(args.output_dir, folder=True)
    document = read_workflow_file(args.workflow)
    started = time.monotonic()
    record = (_on_server if args.server else _here)(args, document, console)
    record["seconds"] = round(time.monotonic() - started, 2)
    for path in record["files"]:
        console.line(path)
    console.result(record)


def _here(args: argparse.Namespace, document: dict[str, Any], console: Console) -> dict[str, Any]:
    from ..runner import Runner
    from ..values import set_seeds

    def tell(position: int, total: int, key: str, title: str) -> None:
        console.note(f"[{position}/{total}] {title} (node {key})")

    runner = Runner(on_node=tell)
    workflow = runner.prepare(document, args.assignments)
    if args.seed is not None:
        set_seeds(workflow, args.seed)
    for name in workflow.skipped:
        console.note(f"Left out, because what it needs is muted: node {name}")
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


def _on_server(args: argparse.Namespace, document: dict[str, Any], console: Console) -> dict[str, Any]:
    from ...runtime.folders import input_dir, output_dir
    from ..server_client import ServerClient
    from ..values import expand_prefixes, set_input, set_seeds
    from ..workflow import to_workflow

    client = ServerClient(args.server)
    input_types, display_names = client.node_types(document)
    workflow = to_workflow(document, input_types, display_names)
    for assignment in args.assignments:
        set_input(workflow, input_types, assignment)
    if args.seed is not None:
        set_seeds(workflow, args.seed)
    expand_prefixes(workflow, datetime.now())
    client.upload_inputs(workflow, input_types, input_dir())
    outputs = client.run(workflow, console.note)
    files = {key: client.download(ui, output_dir()) for key, ui in outputs.items()}
    return {
        "files": [str(path) for paths in files.values() for path in paths],
        "outputs": {key: {"files": [str(path) for path in paths]} for key, paths in files.items()},
        "skipped": list(workflow.skipped),
    }
