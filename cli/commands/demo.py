"""Run the bundled workflow end to end on the embedded default, once per style, and make a contact sheet of it."""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..console import Console

if TYPE_CHECKING:
    from ..runner import Runner, RunResult
    from ..workflow import Prompt

HELP = "the bundled workflow on the sample picture, in every embedded style"
WORKFLOW = Path(__file__).resolve().parents[2] / "workflows" / "stylise_photo.json"
FACE_HEIGHT = 176
PHOTO_HEIGHT = 260


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("output") / "demo", metavar="DIR", help="default: output/demo")


def run(args: argparse.Namespace, console: Console) -> None:
    from ...runtime.folders import current_folders, list_embedded_styles, use_folders
    from ...runtime.images import write_picture
    from ..contact_sheet import Row, contact_sheet
    from ..runner import Runner
    from ..workflow import read_workflow_file

    started = time.monotonic()
    styles = list_embedded_styles()
    if not styles:
        raise ValueError("The embedded networks are not there: the folder assets/ is empty. Run `make assets`.")
    document = read_workflow_file(WORKFLOW)
    runner = Runner(on_node=lambda position, total, key, title: console.note(f"  {title}"))
    photos, pasted = [], []
    columns: list[tuple[str, Any]] = []
    folders = dataclasses.replace(current_folders(), output=args.out, temp=args.out / "temp")
    with use_folders(folders):
        for style in styles:
            console.note(f"{style}:")
            result, prompt = _run_style(runner, document, style)
            if not columns:
                photos = [_output(result, prompt, "LoadImage", 0)[0]]
                columns = [
                    ("aligned", _output(result, prompt, "FaceStylistAlignFaces", 1)),
                    ("reconstruction", _output(result, prompt, "FaceStylistInvertWithEncoder", 1)),
                ]
            columns.append((style, _output(result, prompt, "FaceStylistStyliseFaces", 0)))
            pasted.append(_output(result, prompt, "FaceStylistPasteFaces", 0)[0])

    files = [write_picture(photos[0], args.out / "photo.png")]
    for style, picture in zip(styles, pasted, strict=True):
        files.append(write_picture(picture, args.out / f"photo_{style}.png"))
    for label, batch in columns:
        for index, picture in enumerate(batch):
            files.append(write_picture(picture, args.out / f"face{index + 1}_{label}.png"))
    count = len(columns[0][1])
    rows = [Row([*photos, *pasted], ["photo", *styles], PHOTO_HEIGHT)]
    for index in range(count):
        pictures = [batch[index] for _, batch in columns]
        rows.append(Row(pictures, [label for label, _ in columns], FACE_HEIGHT, f"Face {index + 1}"))
    seconds = time.monotonic() - started
    sheet = args.out / "contact_sheet.png"
    contact_sheet(rows, "ComfyUI-FaceStylist", f"{len(styles)} styles, {count} faces").save(sheet)
    for path in [sheet, *files]:
        console.line(str(path))
    console.note(f"{len(styles)} styles in {seconds:.0f} s. Look at {sheet}")
    console.result(
        {
            "contact_sheet": str(sheet),
            "files": [str(path) for path in files],
            "styles": styles,
            "faces": count,
            "seconds": round(seconds, 1),
        }
    )


def _run_style(runner: Runner, document: dict[str, Any], style: str) -> tuple[RunResult, Prompt]:
    """One run of the workflow; what does not depend on the style is still there from the run before."""
    workflow = runner.prepare(document)
    stylise = _node(workflow.prompt, "FaceStylistStyliseFaces")
    loader = str(workflow.prompt[stylise]["inputs"]["style"][0])
    workflow = runner.prepare(document, [f"{loader}.name=embedded:{style}"])
    return runner.run(workflow), workflow.prompt


def _node(prompt: Prompt, class_type: str) -> str:
    """The id of the workflow's node of this class."""
    return next(key for key, node in prompt.items() if node["class_type"] == class_type)


def _output(result: RunResult, prompt: Prompt, class_type: str, slot: int) -> Any:
    """One output of that node."""
    return result.outputs[_node(prompt, class_type)][slot][0]
