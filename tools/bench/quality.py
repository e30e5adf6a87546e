"""The comparison of ways to make a style: rows are trained, measured and kept one by one.

    facestylist bench quality [--only ROW] [--looks LOOK,LOOK] [--seeds 2] [--shots 10] [--quick]

A row is a table of `rows.toml`. For a look and a seed all rows share the source network, the style pictures and their
order. Each leaves its weights and a JSON of numbers in the work folder, named after a hash of all that decides them; a
row that is there is not repeated, and one that was interrupted is resumed.

Every way is measured at four strengths, so that none looks better for being timid: of generators the weights are mixed
with the source's, the same share at every size; a student draws at that strength.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...core.callbacks import Callbacks
from ...core.files import write_atomically
from ...core.settings import from_mapping, parse_toml
from ...latents.encoding import invert_with_encoder, resize
from ...latents.sampling import synthesise
from ...models import checkpoints
from ...models.blending import blend_generators, swap_weights
from ...models.stylizer import draw
from ...models.types import FaceGenerator, FaceStylizer, device_of
from ...training.finetune.run import finetune
from ...training.finetune.settings import FinetuneConfig
from ...training.guides.networks import IdentityGuide
from ...training.kit.fingerprint import fingerprint, generator_fingerprint
from ...training.pairs.anchors import destylise
from ...training.pairs.making import make_pairs
from ...training.pairs.settings import PairsConfig
from ...training.pairs.supervise import supervise
from ...training.pairs.supervision_settings import PairSupervisionConfig
from ...training.stylizer.dataset import pair_batches, shown_pictures
from ...training.stylizer.settings import StylizerConfig
from ...training.stylizer.task import train_stylizer
from .peers import fine_tune
from .peers.cdc import CdcTask
from .peers.fixnoise import FixNoiseTask
from .peers.jojogan import jojogan
from .peers.rssa import RssaTask
from .peers.structure import StructureTask
from .quality_data import Look, People
from .quality_measures import Measures

ROWS = Path(__file__).with_name("rows.toml")
STRENGTHS = (0.25, 0.5, 0.75, 1.0)
QUICK_ROWS, QUICK_STEPS = ("plain", "cdc", "ours"), 0.375
"""`--quick` takes these rows with this share of their steps."""
PEERS = {"cdc": CdcTask, "rssa": RssaTask, "fixnoise": FixNoiseTask, "structure": StructureTask}
KEEP_EVERY = 25
"""Steps between two saved states of a run."""
Style = FaceGenerator | FaceStylizer
Say = Callable[[str], None]


def read_rows(text: str, share: float = 1.0, look: str = "") -> dict[str, dict[str, Any]]:
    """The settings of all rows on a look in full, by name; `share` of the steps.

    Raises:
        ValueError: a row is like, or of, one that is not there before it.
    """
    table = parse_toml(text)
    rows: dict[str, dict[str, Any]] = {}
    for name, given in table["rows"].items():
        for key in ("like", "of"):
            if given.get(key, name) != name and given[key] not in rows:
                raise ValueError(f"The row {name} is {key} {given[key]}, which is no row before it.")
        row = dict(rows[given["like"]]) if "like" in given else {"stage_1": dict(table["common"])}
        for key, value in (*given.items(), *table.get("looks", {}).get(look, {}).get(name, {}).items()):
            row[key] = {**row.get(key, {}), **value} if isinstance(value, Mapping) else value
        row.pop("like", None)
        rows[name] = row
    for row in rows.values():
        for stage in ("stage_1", "stage_2", "student"):
            if share != 1.0 and stage in row:
                row[stage] = {**row[stage], "steps": max(1, round(row[stage]["steps"] * share))}
    return rows


@dataclass(frozen=True)
class Run:
    """A row on one look with one seed."""

    row: str
    seed: int
    shots: int
    """Style pictures it learns from; 0 for all."""


class Comparison:
    """Trains and measures the rows of one look.

    Args:
        look: the look.
        rows: from `read_rows`.
        folder: where everything is kept, resumed and found again.
        identity: the network of the identity guide, None where there is none.
    """

    def __init__(
        self,
        look: Look,
        rows: Mapping[str, Mapping[str, Any]],
        folder: Path,
        identity: Any = None,
        say: Say = lambda text: None,
    ) -> None:
        self.look, self.rows, self.identity, self.say = look, rows, identity, say
        self.folder = folder / look.name
        self.folder.mkdir(parents=True, exist_ok=True)

    @cached_property
    def measures(self) -> Measures:
        return Measures(self.look)

    @cached_property
    def _shared(self) -> str:
        return fingerprint(generator_fingerprint(self.look.source), self.look.style)

    def run(self, row: str, seed: int, shots: int = 0) -> Run:
        """With the row's own number of pictures where it has one."""
        return Run(row, seed, int(self.rows[row].get("shots", shots)))

    def path(self, run: Run) -> Path:
        """Where a run is kept, without an ending."""
        settings, chain = self.rows[run.row], []
        while settings is not None:
            chain.append(json.dumps(settings, sort_keys=True))
            settings = self.rows.get(settings.get("of", ""))  # type: ignore[assignment]
        shots = f"{run.shots}shot-" if run.shots else ""
        return self.folder / f"{run.row}-{shots}{run.seed}-{fingerprint(chain, run.seed, run.shots, self._shared)[:8]}"

    def pictures(self, run: Run) -> Tensor:
        """Its style pictures, those of a few drawn by its seed."""
        if not run.shots:
            return self.look.style
        order = torch.randperm(len(self.look.style), generator=torch.Generator().manual_seed(run.seed))
        return self.look.style[order[: run.shots]]

    def found(self, run: Run) -> dict[str, Any] | None:
        """The numbers of a finished run."""
        path = self.path(run).with_suffix(".json")
        return json.loads(path.read_text()) if path.exists() else None

    def result(self, run: Run) -> dict[str, Any]:
        """The numbers of a run, which is trained and measured where it was not yet."""
        known = self.found(run)
        if known is not None:
            return known
        style = self.style(run)
        self.say(f"{self.look.name}: {run.row}, seed {run.seed}, is measured")
        curve = [{"strength": strength, **self.measured(style, strength)} for strength in STRENGTHS]
        made = {**vars(run), "look": self.look.name, "settings": self.rows[run.row]}
        made |= {"seconds": round(self._seconds(run), 1), "curve": curve}
        self._write(self.path(run).with_suffix(".json"), made)
        return made

    def measured(self, style: Style, strength: float) -> dict[str, dict[str, float]]:
        """Measures of all people as `style` draws them, by group."""
        drawn = {group: self.drawn(style, strength, people) for group, people in self.look.people.items()}
        return {group: self.measures(drawn[group], people) for group, people in self.look.people.items()}

    def references(self) -> dict[str, dict[str, dict[str, float]]]:
        """Measures of people as the source draws them, of their twins where they are known, and of mirrored photos."""
        path = self.folder / f"references-{self._shared[:8]}.json"
        if not path.exists():
            size, people = self.look.source.resolution, self.look.people
            found = {"source": self.measured(self.look.source, 1.0)}
            found["mirrored photos"] = {
                group: self.measures(resize(some.photos.flip(3), size), replace(some, twins=None))
                for group, some in people.items()
            }
            truth = {name: self.measures(one.twins, one) for name, one in people.items() if one.twins is not None}
            self._write(path, found | ({"true twins": truth} if truth else {}))
        known: dict[str, dict[str, dict[str, float]]] = json.loads(path.read_text())
        return known

    @torch.no_grad()
    def drawn(self, style: Style, strength: float, people: People) -> Tensor:
        """People `[N, 3, R, R]` in -1..1 in the style, at a strength 0..1."""
        size = self.look.source.resolution
        if isinstance(style, FaceStylizer):
            return draw(style.network, resize(people.photos, size), strength).clamp(-1, 1)
        shares = dict.fromkeys(style.generator.config.resolutions, strength)
        mixed = style if strength == 1.0 else blend_generators(self.look.source, style, shares)
        return synthesise(mixed, people.codes).float().cpu().clamp(-1, 1)

    def style(self, run: Run) -> Style:
        """What a run has trained, which it does now where it has not yet."""
        weights, row = self.path(run).with_suffix(".safetensors"), self.rows[run.row]
        if not weights.exists():
            if "of" in row:
                self.style(replace(run, row=row["of"]))  # first, so that its time is not counted twice
            run_dir = self.path(run)
            with self._timed(run_dir):
                style = self._trained(run, row, run_dir)
            if isinstance(style, FaceStylizer):
                checkpoints.save_stylizer(style, weights, dict(style.provenance))
            else:
                checkpoints.save_generator(style.replace(discriminator=None), weights)
            self._write(weights.with_suffix(".seconds"), json.loads((run_dir / "seconds.json").read_text()))
            shutil.rmtree(run_dir)
        if "student" in row:
            return checkpoints.load_stylizer(weights)
        found = checkpoints.load_generator(weights)
        found.generator.to(device_of(self.look.source))
        return found

    def _trained(self, run: Run, row: Mapping[str, Any], run_dir: Path) -> Style:
        look, source, pictures = self.look, self.look.source, self.pictures(run)
        callbacks = Callbacks(on_progress=self._reporter(run))
        if "of" in row:
            first = self.style(replace(run, row=row["of"]))
            assert isinstance(first, FaceGenerator)  # noqa: S101 - no row is of a student
            if "student" in row:
                return self._student(first, row["student"], run, callbacks, run_dir)
            return blend_generators(source, first, swap_weights(source.generator.config.resolutions, row["swap"]))
        quiet = {"preview_interval": 0, "snapshot_interval": KEEP_EVERY}
        values = {**row["stage_1"], **quiet, "score_interval": 0, "style_name": look.name, "seed": run.seed}
        config = from_mapping(FinetuneConfig, values)
        if row.get("peer") == "jojogan":
            return jojogan(source, pictures, config, look.encoder, callbacks, run_dir)
        if "peer" in row:
            return fine_tune(PEERS[row["peer"]], source, pictures, config, callbacks, run_dir)
        guides, guides_2 = (
            [IdentityGuide(self.identity, row[name])] if self.identity is not None and name in row else []
            for name in ("guide", "guide_2")
        )
        first = finetune(source, pictures, config, callbacks, run_dir / "1", True, guides).generator
        if "stage_2" not in row:
            return first
        anchors = destylise(source, None, pictures, look.encoder)
        pairs = make_pairs(source, first, from_mapping(PairsConfig, row["pairs"]), anchors)
        values = {"batch_size": config.batch_size, **row["stage_2"], **quiet, "seed": run.seed}
        second = from_mapping(PairSupervisionConfig, values)
        return supervise(source, first, pairs, second, callbacks, run_dir / "2", True, guides=guides_2).generator

    def _student(
        self, teacher: FaceGenerator, values: Mapping[str, Any], run: Run, callbacks: Callbacks, run_dir: Path
    ) -> FaceStylizer:
        """A fast stylizer of photos and what the teacher makes of them."""
        photos = resize(self.look.lessons, teacher.resolution).clamp(-1, 1)
        after = synthesise(teacher, invert_with_encoder(photos, self.look.encoder, self.look.source))
        triples = [(x, y, 3.0) for x, y in zip(photos, after.detach().float().cpu().clamp(-1, 1), strict=True)]
        given = {"preview_interval": 0, "snapshot_interval": KEEP_EVERY, "style_name": self.look.name}
        config = from_mapping(StylizerConfig, {**values, **given, "seed": run.seed})
        batches = pair_batches(
            triples, "none", config.size, config.batch_size, config.degrade, config.pair_share, run.seed
        )
        shown = shown_pictures(triples)
        return train_stylizer(config, batches, "none", None, callbacks, run_dir, True, shown=shown).stylizer

    def _reporter(self, run: Run) -> Callable[[int, int, Mapping[str, float]], None]:
        def report(step: int, total: int, losses: Mapping[str, float]) -> None:
            if step % 100 == 0 or step == total:
                self.say(f"{self.look.name}: {run.row}, seed {run.seed}, step {step} of {total}")

        return report

    @contextmanager
    def _timed(self, run_dir: Path) -> Iterator[None]:
        """Adds the processor's seconds to those that the run has taken before."""
        run_dir.mkdir(parents=True, exist_ok=True)
        kept, before = run_dir / "seconds.json", time.process_time()
        spent = json.loads(kept.read_text()) if kept.exists() else 0.0
        try:
            yield
        finally:
            self._write(kept, spent + time.process_time() - before)

    def _seconds(self, run: Run) -> float:
        """Of the processor, with those of the row it goes on from."""
        known = self.path(run).with_suffix(".seconds")
        own = json.loads(known.read_text()) if known.exists() else 0.0
        before = self.rows[run.row].get("of")
        return float(own) + (self._seconds(replace(run, row=before)) if before else 0.0)

    @staticmethod
    def _write(path: Path, values: Any) -> None:
        write_atomically(path, json.dumps(values, indent=1).encode())
