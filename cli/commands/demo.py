"""Run the bundled workflow end to end on the embedded networks, once per style, and make a contact sheet of it."""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.assets import ASSETS
from ...core.files import check_writable
from ..console import Console

if TYPE_CHECKING:
    from torch import Tensor

    from ...headless.prompts import Prompt
    from ...headless.runner import Runner

HELP = "the bundled workflow on the sample picture, in every embedded style"
WORKFLOW = Path(__file__).resolve().parents[2] / "workflows" / "stylise_a_photo.json"
SHEET_WIDTH = 1640
MODE_STYLE = "oil"
"""The style that is shown in other appearances, where it ships."""
VARIATIONS, FIRST_SEED = 6, 0
REFERENCE_SEEDS, REFERENCE_STEPS = (11, 36), 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("output") / "demo", metavar="DIR", help="default: output/demo")


def run(args: argparse.Namespace, console: Console) -> None:
    from ...core.pictures import write_picture
    from ...core.sheets import contact_sheet
    from ...headless.runner import Runner
    from ...headless.workflow import read_workflow_file
    from ...runtime.folders import current_folders, list_embedded_styles, use_folders

    check_writable(args.out, folder=True)
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
            _run_stylizers(made, console)
            _run_modes(made, MODE_STYLE if MODE_STYLE in styles else styles[0], console)

    files = [write_picture(made.photo, args.out / "photo.png")]
    for style, picture in made.pasted.items():
        files.append(write_picture(picture, args.out / f"photo_{style}.png"))
    for style, picture in made.redrawn.items():
        files.append(write_picture(picture, args.out / f"photo_{style}_fast.png"))
    for label, batch in {**made.faces, **made.variations, **made.guided}.items():
        name = label.replace(" ", "")
        for index, picture in enumerate(batch):
            files.append(write_picture(picture, args.out / f"face{index + 1}_{name}.png"))
    for index, picture in enumerate(made.references):
        files.append(write_picture(picture, args.out / f"reference{index + 1}.png"))
    sheet = args.out / "contact_sheet.png"
    note = f"workflows/{WORKFLOW.name} on the embedded networks. Photo: NASA, public domain."
    contact_sheet(_rows(made), "ComfyUI-FaceStylist", note, SHEET_WIDTH).save(sheet)
    count, seconds = len(made.faces["aligned"]), round(time.monotonic() - started, 1)
    console.note(f"{count} faces in {len(styles)} styles in {seconds:.0f} s. Look at {sheet}")
    for path in [sheet, *files]:
        console.line(str(path))
    record = {"contact_sheet": str(sheet), "files": [str(path) for path in files]}
    console.result({**record, "styles": styles, "faces": count, "seconds": seconds})


@dataclass
class _Made:
    """Pictures `[H, W, 3]` in 0..1 that the workflow made."""

    photo: Tensor
    faces: dict[str, Tensor] = field(default_factory=dict)
    """Per face, `[N, S, S, 3]`: as aligned, as reconstructed, and in each style."""
    pasted: dict[str, Tensor] = field(default_factory=dict)
    """The photo in each style."""
    redrawn: dict[str, Tensor] = field(default_factory=dict)
    """The photo by each fast stylizer."""
    mode_style: str = ""
    """The style that is varied and led by references."""
    variations: dict[str, Tensor] = field(default_factory=dict)
    """Per seed, `[N, S, S, 3]`."""
    references: list[Tensor] = field(default_factory=list)
    """The reference pictures."""
    guided: dict[str, Tensor] = field(default_factory=dict)
    """Per reference, `[N, S, S, 3]`."""
    latent: Any = None
    generators: dict[str, Any] = field(default_factory=dict)
    """The source, and the styles by their name."""
    encoder: Any = None


def _rows(made: _Made) -> list[Any]:
    """The contact sheet, from the whole picture to the single face."""
    from ...core.sheets import GAP, Row

    photos = [("the photo", made.photo), *made.pasted.items()]
    across = len(photos) if len(photos) < 6 else 4
    aspect = made.photo.shape[1] / made.photo.shape[0]
    height = int((SHEET_WIDTH - GAP * (across + 1)) / across / aspect)
    rows = []
    for start in range(0, len(photos), across):
        part = photos[start : start + across]
        title = "One photo, its faces found, read, drawn in a style and put back" if start == 0 else ""
        rows.append(Row([p for _, p in part], [name for name, _ in part], height, title))
    if made.redrawn:
        title = "The whole photo by a fast stylizer"
        rows.append(Row(list(made.redrawn.values()), list(made.redrawn), height, title))
    count = len(made.faces["aligned"])
    for index in range(count):
        title = "The faces: as found, as the generator knows them, and in each style" if index == 0 else ""
        rows.append(Row([batch[index] for batch in made.faces.values()], list(made.faces), 0, title))
    style = made.mode_style
    for index in range(count):
        title = f"Style Variations: {style} in colours by chance, nothing trained" if index == 0 else ""
        batches = {style: made.faces[style], **made.variations}
        rows.append(Row([batch[index] for batch in batches.values()], list(batches), 0, title))
    pictures: list[Any] = []
    labels: list[str] = []
    for number, (reference, batch) in enumerate(zip(made.references, made.guided.values(), strict=True), start=1):
        pictures += [reference, *batch]
        labels += [f"reference {number}", *[f"face {n + 1} in its look" for n in range(len(batch))]]
    title = f"Reference-guided: {style} in the colours of another picture, nothing trained"
    return [*rows, Row(pictures, labels, SHEET_WIDTH // 6, title)] if pictures else rows


def _run_stylizers(made: _Made, console: Console) -> None:
    """The photo by each fast stylizer that ships."""
    import torch

    from ...core.assets import STUDENT_PREFIX, list_embedded
    from ...nodes.stylizer import LoadFastStylizer, RunFastStylizer

    with torch.inference_mode():
        for name in list_embedded("stylizer"):
            style = name.partition(f":{STUDENT_PREFIX}")[2]
            console.note(f"{style} by its fast stylizer")
            (stylizer,) = LoadFastStylizer().run(name)
            made.redrawn[style] = RunFastStylizer().run(stylizer, 1.0, 0.0, made.photo[None])[0][0]


def _run_modes(made: _Made, style: str, console: Console) -> None:
    """One style varied, and led by pictures of other people in it."""
    import torch

    from ...core.pictures import tensor_to_image
    from ...core.settings import to_mapping
    from ...latents.sampling import sample_latent, synthesise
    from ...latents.settings import ApplyConfig, VariationConfig
    from ...nodes.reference import ApplyReference, EncodeReference
    from ...nodes.variations import StyleVariations

    made.mode_style = style
    generator, source = made.generators[style], made.generators["source"]
    console.note(f"{style} in other appearances:")
    with torch.inference_mode():
        console.note("  Style Variations")
        varied = to_mapping(VariationConfig(count=VARIATIONS))
        by_seed = StyleVariations().run(generator, made.latent, FIRST_SEED, source, **varied)[3]
        made.variations = {f"seed {FIRST_SEED + k}": batch for k, batch in enumerate(by_seed)}
        console.note("  Encode Reference Style")
        # People who do not exist, in the style.
        drawn = tensor_to_image(synthesise(generator, sample_latent(source, REFERENCE_SEEDS)))
        made.references = list(drawn)
        read, _, _ = EncodeReference().run(
            drawn, generator, "off", source, made.encoder, steps=REFERENCE_STEPS, several="batch"
        )
        console.note("  Apply Reference Style")
        guided = ApplyReference().run(generator, made.latent, read, 1.0, **to_mapping(ApplyConfig()))[2]
        made.guided = {f"reference {k + 1}": batch for k, batch in enumerate(guided)}


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
            inversion = outputs[_nodes(prompt, "FaceStylistInvertWithEncoder")[0]]
            made.latent, made.faces["reconstruction"] = inversion[0][0], inversion[1][0]
            made.encoder = outputs[_nodes(prompt, "FaceStylistLoadEncoder")[0]][0][0]
            given = prompt[_nodes(prompt, "FaceStylistInvertWithEncoder")[0]]["inputs"]["generator"]
            made.generators["source"] = outputs[str(given[0])][0][0]
        for style, branch, loader in zip(some, branches, loaders, strict=False):
            made.generators[style] = outputs[loader][0][0]
            made.faces[style] = outputs[branch][0][0]
            made.pasted[style] = outputs[pastes[branch]][0][0][0]
    assert made is not None  # noqa: S101 - there is at least one style
    return made


def _nodes(prompt: Prompt, class_type: str) -> list[str]:
    """The ids of the nodes of this class."""
    return [key for key, node in prompt.items() if node["class_type"] == class_type]
