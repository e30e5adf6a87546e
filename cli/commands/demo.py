"""Run the bundled workflow end to end on the embedded default, once per style, and make a contact sheet of it."""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...models.embedded import ASSETS
from ..console import Console

if TYPE_CHECKING:
    from torch import Tensor

    from ..runner import Runner
    from ..workflow import Prompt

HELP = "the bundled workflow on the sample picture, in every embedded style"
WORKFLOW = Path(__file__).resolve().parents[2] / "workflows" / "stylise_a_photo.json"
PHOTO_HEIGHT = 260


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("output") / "demo", metavar="DIR", help="default: output/demo")


def run(args: argparse.Namespace, console: Console) -> None:
    from ...runtime.contact_sheet import Row, contact_sheet
    from ...runtime.folders import current_folders, list_embedded_styles, use_folders
    from ...runtime.images import write_picture
    from ..runner import Runner
    from ..workflow import read_workflow_file

    started = time.monotonic()
    styles = list_embedded_styles()
    if not styles:
        raise ValueError(f"There is no embedded style in {ASSETS}. Install the pack again, or run `make assets`.")
    runner = Runner()
    document = read_workflow_file(WORKFLOW)
    # What the workflow's own nodes save goes to a folder that vanishes: the demo names its pictures by itself.
    with tempfile.TemporaryDirectory() as scratch:
        folders = dataclasses.replace(current_folders(), output=Path(scratch), temp=Path(scratch) / "temp")
        with use_folders(folders):
            made = _run_styles(runner, document, styles, console)

    files = [write_picture(made.photo, args.out / "photo.png")]
    for style, picture in made.pasted.items():
        files.append(write_picture(picture, args.out / f"photo_{style}.png"))
    for label, batch in made.faces.items():
        for index, picture in enumerate(batch):
            files.append(write_picture(picture, args.out / f"face{index + 1}_{label}.png"))
    count = len(made.faces["aligned"])
    rows = [Row([made.photo, *made.pasted.values()], ["photo", *made.pasted], PHOTO_HEIGHT)]
    # The faces of a row together are as wide as the photos.
    aspect = made.photo.shape[1] / made.photo.shape[0]
    face_height = min(round(PHOTO_HEIGHT * aspect * (len(styles) + 1) / (len(styles) + 2)), made.face_size)
    for index in range(count):
        faces = [batch[index] for batch in made.faces.values()]
        rows.append(Row(faces, list(made.faces), face_height, f"Face {index + 1}"))
    sheet = args.out / "contact_sheet.png"
    contact_sheet(rows, "ComfyUI-FaceStylist", f"workflows/{WORKFLOW.name} on the embedded default").save(sheet)
    seconds = round(time.monotonic() - started, 1)
    for path in [sheet, *files]:
        console.line(str(path))
    console.note(f"{count} faces in {len(styles)} styles in {seconds:.0f} s. Look at {sheet}")
    console.result(
        {
            "contact_sheet": str(sheet),
            "files": [str(path) for path in files],
            "styles": styles,
            "faces": count,
            "seconds": seconds,
        }
    )


@dataclass
class _Made:
    """Pictures `[H, W, 3]` in 0..1 that the workflow made."""

    photo: Tensor
    faces: dict[str, Tensor] = field(default_factory=dict)
    """Per face, `[N, S, S, 3]`: as aligned, as reconstructed, and in each style."""
    pasted: dict[str, Tensor] = field(default_factory=dict)
    """The photo in each style."""

    @property
    def face_size(self) -> int:
        """The side of the largest face picture."""
        return max(batch.shape[1] for batch in self.faces.values())


def _run_styles(runner: Runner, document: dict[str, Any], styles: list[str], console: Console) -> _Made:
    """Runs the workflow, which has a branch for each of a few styles, as often as it takes to see all styles.

    What does not depend on the style is still there from the run before.
    """
    prompt = runner.open(document).prompt
    branches = _nodes(prompt, "FaceStylistStyliseFaces")
    loaders = [str(prompt[key]["inputs"]["style"][0]) for key in branches]
    pastes = {str(prompt[key]["inputs"]["stylised"][0]): key for key in _nodes(prompt, "FaceStylistPasteFaces")}
    shown = [styles[min(index, len(styles) - 1)] for index in range(len(branches))]
    made: _Made | None = None

    def tell(position: int, total: int, key: str, title: str) -> None:
        """Says what runs, but not the branches' titles: they name the styles that the workflow was drawn with."""
        console.note(f"  {runner.display_names[prompt[key]['class_type']]}")

    runner.on_node = tell
    for start in range(0, len(styles), len(branches)):
        some = styles[start : start + len(branches)]
        shown[: len(some)] = some
        assignments = [f"{key}.name=embedded:{style}" for key, style in zip(loaders, shown, strict=True)]
        console.note(f"{', '.join(some)}:")
        outputs = runner.run(runner.prepare(document, assignments)).outputs
        if made is None:
            made = _Made(outputs[_nodes(prompt, "LoadImage")[0]][0][0][0])
            made.faces["aligned"] = outputs[_nodes(prompt, "FaceStylistAlignFaces")[0]][1][0]
            made.faces["reconstruction"] = outputs[_nodes(prompt, "FaceStylistInvertWithEncoder")[0]][1][0]
        for style, branch in zip(some, branches, strict=False):
            made.faces[style] = outputs[branch][0][0]
            made.pasted[style] = outputs[pastes[branch]][0][0][0]
    assert made is not None  # noqa: S101 - there is at least one style
    return made


def _nodes(prompt: Prompt, class_type: str) -> list[str]:
    """The ids of the nodes of this class."""
    return [key for key, node in prompt.items() if node["class_type"] == class_type]
