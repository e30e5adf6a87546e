"""Does the person stay? Photographs through inversion, styles and fast stylizers, told apart by a recognition network.

    facestylist bench likeness --photos DIR [--identity FILE] [--groups FILE.csv] [--json] [--quick]

Each picture's descriptor is compared with that of its own photo and with those of all other photos, one person a photo.
Pictures are found, cut out and drawn by the code of `stylise`; what is compared are the crops, before they are pasted.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...core.files import write_atomically
from ...core.picture_files import find_pictures
from ...core.pictures import tensor_to_image
from ...core.sheets import labelled_grid
from ...faces.align import align_faces, extract_crop, landmarks_in_crop
from ...latents.encoding import invert_with_encoder, mean_squared_error, resize
from ...latents.sampling import synthesise
from ...models.dlib import DlibFace
from ...models.identity import IdentityNetwork
from ...models.stylizer import draw
from ...models.types import FaceEncoder, FaceGenerator, FaceLatent, FaceStylizer
from ...training.data.picture_files import UnusablePicture, read_picture
from ...training.inversion.pivotal import tune_to_faces
from ...training.inversion.search import invert_by_optimisation
from ...training.inversion.settings import InversionConfig, PivotalConfig
from ...training.losses.distances import face_box, gradients
from ...training.losses.reconstruction import peak_signal_to_noise
from .style_scale import Features, StyleScale

SIDE = 256
"""Of the crops that are compared."""
SHEET_PEOPLE = 12
Say = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """One way, averaged over the photos, or over those of a group."""

    how: str
    own: float
    """Distance of a picture's descriptor from its own photo's; dlib's is below 0.6 for one person."""
    others: float
    """From the other photos', on average."""
    top1: float
    """Share of pictures to which no photo is nearer than their own."""
    style: float | None
    """0: an untouched photo, 1: a held-out picture of the style; None where that was not measured."""
    psnr: float | None
    """dB, of reconstructions."""
    gradient_energy: float | None
    """Of reconstructions: squared differences of neighbouring pixels of the face, relative to the photo's."""
    seconds: float | None
    """Of the processor, per face."""


@dataclass(frozen=True, eq=False)
class Photos:
    """The largest face of each photo, and what the students made of it."""

    names: tuple[str, ...]
    """The files' names."""
    crops: Tensor
    """`[N, 3, SIDE, SIDE]` in -1..1."""
    eyes: Tensor | None
    """`[N, 2, 2]` in pixels of the crops; None where nobody looked."""
    drawn: dict[str, Tensor]
    """By student: the same crops of what it drew of the whole photo."""
    seconds: dict[str, float]
    """By student: of the processor, per photo."""

    def __len__(self) -> int:
        return len(self.names)


@torch.no_grad()
def read_photos(
    folder: Path, find: Any, students: Mapping[str, FaceStylizer], most: int, say: Say = lambda text: None
) -> Photos:
    """The photos of a folder, at most so many, and what the students draw of them.

    find: photo [3, H, W] -> the faces in it; None where the photos are aligned faces already.

    Raises:
        ValueError: fewer than two can be used.
    """
    names, crops, eyes = [], [], []
    drawn: dict[str, list[Tensor]] = {name: [] for name in students}
    seconds = dict.fromkeys(students, 0.0)
    for path in find_pictures(folder)[:most]:
        try:
            photo = read_picture(path)[None]
        except UnusablePicture as error:
            say(f"{path.name} was left out: {error}.")
            continue
        matrix = None
        if find is not None:
            faces = align_faces(photo, find, SIDE, on_no_face="skip", order="largest", max_faces=1)
            if not len(faces):
                say(f"{path.name} was left out: no face was found in it.")
                continue
            matrix = faces.crop_to_photo[0]
            eyes.append(landmarks_in_crop(faces)[0, :2])
        elif photo.shape[2] != photo.shape[3]:
            say(f"{path.name} was left out: it is not square, as aligned faces are.")
            continue

        def cut(picture: Tensor, matrix: Tensor | None = matrix) -> Tensor:
            return resize(picture, SIDE)[0] if matrix is None else extract_crop(picture[0], matrix, SIDE)

        names.append(path.name)
        crops.append(cut(photo))
        for name, stylizer in students.items():
            before = time.process_time()
            drawn[name].append(cut(draw(stylizer.network, photo)))
            seconds[name] += time.process_time() - before
    if len(names) < 2:
        raise ValueError(f"{folder} holds {len(names)} photos that can be used; people are told apart from two on.")
    return Photos(
        tuple(names),
        torch.stack(crops),
        torch.stack(eyes) if eyes else None,
        {name: torch.stack(pictures) for name, pictures in drawn.items()},
        {name: total / len(names) for name, total in seconds.items()},
    )


def read_groups(path: Path) -> dict[str, set[str]]:
    """The files of each group of a CSV with the columns `file` and `group`; a file may be in several.

    Raises:
        ValueError: it cannot be read, or the columns are others.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read as a CSV ({error}).") from error
    if not rows or not {"file", "group"} <= rows[0].keys():
        raise ValueError(f"{path} needs a first line `file,group`, and a line for each photo and group.")
    groups: dict[str, set[str]] = {}
    for row in rows:
        groups.setdefault((row["group"] or "").strip(), set()).add((row["file"] or "").strip())
    groups.pop("", None)
    return groups


@dataclass(frozen=True, eq=False)
class _Measured:
    """One way, photo by photo: of the photos with the numbers `index [n]`."""

    how: str
    index: list[int]
    values: dict[str, Tensor]
    """`[n]` each: own, others, top1, and style, psnr, energy of the picture and of the photo where measured."""
    seconds: float | None

    def row(self, members: set[int] | None = None, group: str = "") -> Row | None:
        """The averages over these photos, by default all; None where there are none."""
        chosen = [place for place, number in enumerate(self.index) if members is None or number in members]
        if not chosen:
            return None
        mean = {name: float(values[chosen].mean()) for name, values in self.values.items()}
        energy = mean["energy"] / max(mean["photo_energy"], 1e-12) if "energy" in mean else None
        how = f"{self.how}, {group}" if group else self.how
        return Row(
            how, mean["own"], mean["others"], mean["top1"], mean.get("style"), mean.get("psnr"), energy, self.seconds
        )


@dataclass(eq=False)
class Likeness:
    """Measures one way after the other against the same photos."""

    photos: Photos
    network: IdentityNetwork
    groups: Mapping[str, set[str]] = field(default_factory=dict)
    say: Say = lambda text: None
    measured: list[_Measured] = field(default_factory=list)
    pictures: dict[str, Tensor] = field(default_factory=dict)
    """What each way made, for the sheet."""

    def __post_init__(self) -> None:
        self._known = self._describe(self.photos.crops, self.photos.eyes)

    @torch.no_grad()
    def _describe(self, pictures: Tensor, eyes: Tensor | None) -> Tensor:
        device = next(self.network.parameters()).device
        found = []
        for part in torch.arange(len(pictures)).split(16):
            some = pictures[part].to(device, torch.float32).clamp(-1, 1)
            if isinstance(self.network, DlibFace) and eyes is not None:
                found.append(self.network.describe(some, eyes[part] * (some.shape[2] / SIDE)))
            else:
                found.append(self.network.describe(some))
        return torch.cat(found).cpu()

    def add(
        self,
        how: str,
        made: Tensor,
        seconds: float | None = None,
        scale: StyleScale | None = None,
        reconstructs: bool = False,
    ) -> None:
        """Notes what `made [n, 3, R, R]` are, pictures of the first n photos."""
        made = made.detach().float().cpu().clamp(-1, 1)
        count = len(made)
        eyes = None if self.photos.eyes is None else self.photos.eyes[:count]
        apart = torch.cdist(self._describe(made, eyes), self._known, compute_mode="donot_use_mm_for_euclid_dist")
        own = apart.diagonal()
        values = {
            "own": own,
            "others": (apart.sum(1) - own) / (apart.shape[1] - 1),
            "top1": (own <= apart.min(1).values).float(),
        }
        if scale is not None:
            values["style"] = scale(made)
        if reconstructs:
            wanted = resize(self.photos.crops[:count], made.shape[2])
            values["psnr"] = peak_signal_to_noise(mean_squared_error(made, wanted))
            values["energy"], values["photo_energy"] = _energy(made), _energy(wanted)
        self.measured.append(_Measured(how, list(range(count)), values, seconds))
        self.pictures[how] = made
        self.say(f"{how}: own {float(own.mean()):.2f}, top-1 {float(values['top1'].mean()):.2f}")

    def rows(self) -> list[Row]:
        """A row for each way, then one for each way and group."""
        rows = [measured.row() for measured in self.measured]
        for group, files in self.groups.items():
            members = {number for number, name in enumerate(self.photos.names) if name in files}
            rows += [measured.row(members, group) for measured in self.measured]
        return [row for row in rows if row is not None]


def _energy(pictures: Tensor) -> Tensor:
    """`[N]`: squared differences of neighbouring pixels of the face."""
    return torch.stack([g.square().mean((1, 2, 3)) for g in gradients(face_box(pictures))]).sum(0)


def measure_likeness(
    bench: Likeness,
    source: FaceGenerator,
    encoder: FaceEncoder,
    styles: Mapping[str, FaceGenerator],
    searched: int,
    steps: int,
    pictures_of: Callable[[str], Tensor | None] = lambda name: None,
    features: Features | None = None,
) -> list[Row]:
    """The rows of photo, encoder, search, pivotal tuning, every style and every student.

    Args:
        bench: with the photos, and what the students made of them.
        source: the generator, whose W the styles share.
        encoder: its encoder.
        styles: by name.
        searched: how many of the photos the searches, which take hundreds of times as long, are given; 0 for none.
        steps: of each search, and of the tuning.
        pictures_of: a style's name -> pictures of it `[M, 3, S, S]`, None where there are none.
        features: what style is read off; None leaves that out.
    """
    photos = bench.photos
    faces = resize(photos.crops, source.resolution)
    bench.add("photo", photos.crops)
    codes, seconds = _timed(lambda: invert_with_encoder(photos.crops, encoder, source), len(faces))
    drawn, drawing = _timed(lambda: synthesise(source, codes), len(faces))
    bench.add("encoder", drawn, seconds + drawing, reconstructs=True)
    if searched:
        # Else the searches' rows, of fewer photos, could be compared with nothing.
        bench.add(f"encoder, the {searched} searched", drawn[:searched], seconds + drawing, reconstructs=True)
        _search(bench, source, encoder, faces[:searched], codes, steps, seconds)
    scales = {name: _scale(name, features, photos, pictures_of, bench.say) for name in {**styles, **photos.drawn}}
    for name, style in styles.items():
        made, drawing = _timed(lambda style=style: synthesise(style, codes), len(faces))  # type: ignore[misc]
        bench.add(f"style {name}", made, seconds + drawing, scales[name])
    for name, made in photos.drawn.items():
        bench.add(f"student {name}", made, photos.seconds[name], scales[name])
    return bench.rows()


def _search(
    bench: Likeness,
    source: FaceGenerator,
    encoder: FaceEncoder,
    faces: Tensor,
    codes: FaceLatent,
    steps: int,
    reading: float,
) -> None:
    """The rows of search and tuning, each photo by itself, as `stylise` does."""
    config, pivotal = InversionConfig(steps=steps, preview_interval=0), PivotalConfig(steps=steps, preview_interval=0)
    found, tuned = [], []
    searching = tuning = 0.0
    for number, face in enumerate(faces.split(1)):
        start = codes.replace(w_plus=codes.w_plus[number : number + 1], reconstruction_error=None)
        search = partial(invert_by_optimisation, face, source, start, config, encoder=encoder)
        latent, taken = _timed(search, len(faces))
        searching += taken
        found.append(synthesise(source, latent))
        result, taken = _timed(partial(tune_to_faces, face, source, latent, pivotal, encoder=encoder), len(faces))
        tuning += taken
        tuned.append(synthesise(result.generator, latent))
    bench.add(f"W+, {steps} steps", torch.cat(found), reading + searching, reconstructs=True)
    bench.add(f"PTI, {steps} steps", torch.cat(tuned), reading + searching + tuning, reconstructs=True)


def _timed(make: Callable[[], Any], count: int) -> tuple[Any, float]:
    """What `make` gives, and the processor's seconds for each of `count`."""
    before = time.process_time()
    return make(), (time.process_time() - before) / count


def _scale(
    name: str,
    features: Features | None,
    photos: Photos,
    pictures_of: Callable[[str], Tensor | None],
    say: Say,
) -> StyleScale | None:
    pictures = None if features is None else pictures_of(name)
    if features is None or pictures is None:
        return None
    try:
        return StyleScale(features, photos.crops, pictures)
    except ValueError as error:
        say(f"{name}: its style was not measured. {error}")
        return None


def likeness_table(rows: Sequence[Row]) -> list[str]:
    """Lines of the table."""
    lines = [
        "| how | own | others | top-1 | style | PSNR, dB | gradient energy | processor s per face |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        values = (row.own, row.others, row.top1, row.style, row.psnr, row.gradient_energy, row.seconds)
        cells = ["" if value is None else f"{value:.2f}" for value in values]
        lines.append(f"| {row.how} | {' | '.join(cells)} |")
    return lines


def save_sheet(bench: Likeness, path: Path) -> None:
    """A JPEG of some of the people, each a row, as every way made them."""
    count = len(bench.photos)
    some = sorted({round(i * (count - 1) / (SHEET_PEOPLE - 1)) for i in range(SHEET_PEOPLE)})
    columns = {how: tensor_to_image(pictures) for how, pictures in bench.pictures.items()}
    cells = [[images[i] if i < len(images) else None for images in columns.values()] for i in some]
    sheet = labelled_grid(cells, list(columns), cell=SIDE * 5 // 8)
    write_atomically(path, lambda file: sheet.save(file, "JPEG", quality=86, optimize=True))
