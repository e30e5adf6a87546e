"""Making pseudo-pairs: draw candidates once, judge both sides, keep the good ones as latents."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...core.callbacks import Callbacks, batched
from ...core.settings import to_mapping
from ...core.sheets import comparison_grid
from ...latents.encoding import mean_squared_error
from ...models.identity import IdentityNetwork
from ...models.types import FaceGenerator, device_of
from .candidates import Candidates, PicturesWithLatents, all_candidates
from .filters import drop_counts, filter_pairs
from .manifest import merge_pairs
from .renderer import from_bytes, level_blends, level_generators
from .scores import (
    SCORES,
    PairScorers,
    PictureHashes,
    contrast,
    duplicate_mask,
    generator_structure,
    identity,
    picture_structure,
    quality,
    saturation,
)
from .settings import PairsConfig
from .types import PAIR_ORIGINS, GeneratorReference, StylePairs

PREVIEW_FACES = 6
PREVIEW_INTERVAL = 20
"""A preview every so many batches."""


def make_pairs(
    source: FaceGenerator,
    target: FaceGenerator,
    config: PairsConfig,
    anchors: PicturesWithLatents | tuple | None = None,
    photos: PicturesWithLatents | tuple | None = None,
    callbacks: Callbacks | None = None,
    identity_network: IdentityNetwork | None = None,
) -> StylePairs:
    """Pseudo-pairs of the levels and origins asked for, filtered; the same people at every level.

    Args:
        source: the generator before the style. Both have to be on one device.
        target: the generator fine-tuned from it.
        config: how many, how varied, what is dropped.
        anchors: pictures of the style with source codes that keep their structure (`anchors.py: destylise`).
        photos: photos of people with source codes that reconstruct them.
        callbacks: `on_progress` counts faces; `should_stop` ends early with what is made so far. What they raise goes
            through, and nothing is left behind.
        identity_network: turns the identity filter on.

    Returns:
        The pairs that all filters left, with their scores; `report` says what each filter dropped.

    Raises:
        ValueError: the generators do not share W, latents belong to another one, or nothing is left.
    """
    callbacks = callbacks or Callbacks()
    # ComfyUI runs nodes in inference mode, whose tensors no training could use.
    with torch.inference_mode(False), torch.no_grad():
        blend = level_blends(config, source.generator.config.resolutions)
        levels = level_generators(source, target, blend, config.whole_palette)
        scorers = PairScorers.of(source, target, identity_network)
        groups = all_candidates(
            source,
            config,
            None if anchors is None else PicturesWithLatents(*anchors),
            None if photos is None else PicturesWithLatents(*photos),
            judged=scorers.target_discriminator is not None,
        )
        scoring = CandidateScoring(levels, scorers, config, callbacks, sum(len(group) for group in groups))
        made: list[StylePairs] = []
        repeated: list[Tensor] = []
        for group in groups:
            if not scoring.stopped:
                scores = scoring.judge(group)
                made.append(_pairs_of(group, scores, source, target, blend, config))
                repeated.append(scores["repeated"].reshape(-1))
        pairs = merge_pairs(made)
        verdict = filter_pairs(pairs.level, pairs.origin, pairs.scores, torch.cat(repeated), config)
        report = {
            "settings": to_mapping(config),
            "rows": drop_counts(pairs.level, pairs.origin, verdict),
            "notes": _notes(scorers, groups, scoring.stopped),
        }
        if not bool((verdict == 0).any()):
            raise ValueError(
                f"The filters dropped all {len(verdict)} pairs ({json.dumps(report['rows'])}). Loosen the one that "
                "dropped most, or look at what the two generators draw."
            )
        return pairs.select(verdict == 0).replace(report=report)


@dataclass
class CandidateScoring:
    """Draws candidates batch by batch and notes their scores; the pictures are forgotten."""

    levels: tuple[FaceGenerator, ...]
    scorers: PairScorers
    config: PairsConfig
    callbacks: Callbacks
    total: int
    done: int = 0
    batches: int = 0
    stopped: bool = False
    """Whether the outside asked for an end."""

    def judge(self, group: Candidates) -> dict[str, Tensor]:
        """Scores `[levels, M']` by name, and `repeated [levels, M']`; M' < M when it was stopped."""
        size = self.config.batch_size
        found: list[dict[str, Tensor]] = []
        hashes: list[PictureHashes] = []
        for rows in batched(len(group), size):
            before, scores, shown = self._batch(group, rows)
            found.append(scores)
            hashes.append(PictureHashes.of(before))
            self.done += rows.stop - rows.start
            if self.callbacks.on_preview is not None and self.batches % PREVIEW_INTERVAL == 0:
                self.callbacks.on_preview(self.done, comparison_grid(*shown, faces=PREVIEW_FACES))
            self.batches += 1
            self.stopped = self.callbacks.after(self.done, self.total)
            if self.stopped:
                break
        result = {name: torch.cat([part[name] for part in found], 1) for name in found[0]}
        result["repeated"] = self._repeated(group, PictureHashes.joined(hashes)).expand(len(group.levels), -1)
        return result

    def _repeated(self, group: Candidates, hashes: PictureHashes) -> Tensor:
        """`[M']`: whether a face was there before. Variants of one picture are not repetitions of each other."""
        if not len(group.pictures):
            return duplicate_mask(hashes, self.config.duplicate_bits)
        again = duplicate_mask(PictureHashes.of(from_bytes(group.pictures)), self.config.duplicate_bits)
        return again[group.picture[: len(hashes.bits)]]

    def _batch(self, group: Candidates, rows: slice) -> tuple[Tensor, dict[str, Tensor], list[Tensor]]:
        """The source sides, scores `[levels, B]` by name, and all pictures for a preview."""
        device = device_of(self.levels[0])
        codes, target_codes = group.codes[rows].to(device), group.target_codes[rows].to(device)
        drawn, features = _draw(self.levels[0], codes)
        known = from_bytes(group.pictures[group.picture[rows]]).to(device) if len(group.pictures) else drawn
        before = known if group.origin == "photo" else drawn
        error = mean_squared_error(drawn, known) if group.origin == "photo" else torch.full((len(codes),), torch.nan)
        scores: dict[str, list[Tensor]] = {name: [] for name in SCORES}
        shown = [before]
        for level in group.levels:
            if group.origin == "anchor":
                after = known
                structure = picture_structure(self.scorers.source_discriminator, before, after)
            elif level == 0:
                after, structure = before, torch.zeros(len(codes))
            else:
                after, after_features = _draw(self.levels[level], target_codes)
                structure = generator_structure(features, after_features)
            judged = {
                "quality": quality(self.scorers.discriminator_of(level), after),
                "structure": structure,
                "saturation": saturation(before, after),
                "contrast": contrast(before, after),
                "reconstruction_error": error,
                "identity": identity(self.scorers.identity, before, after),
            }
            for name, values in judged.items():
                scores[name].append(values.float().cpu())
            shown.append(after)
        return before, {name: torch.stack(values) for name, values in scores.items()}, shown


def _draw(generator: FaceGenerator, codes: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
    """Pictures of codes and the features they are made of."""
    pictures, features = generator.generator.synthesis(codes, return_features=True)
    return pictures.float(), features


def _pairs_of(
    group: Candidates,
    scores: dict[str, Tensor],
    source: FaceGenerator,
    target: FaceGenerator,
    blend: dict[int, dict[int, float]],
    config: PairsConfig,
) -> StylePairs:
    """The judged candidates of a group as pairs, level by level."""
    judged, levels = scores["repeated"].shape[1], len(group.levels)
    row = torch.arange(judged).repeat(levels)
    none = torch.zeros(0, 3, source.resolution, source.resolution, dtype=torch.uint8)
    return StylePairs(
        w_plus=group.codes[row],
        target_w_plus=group.target_codes[row] if len(group.pictures) else None,
        level=torch.tensor(group.levels).repeat_interleave(judged),
        origin=torch.full((levels * judged,), PAIR_ORIGINS.index(group.origin)),
        picture=group.picture[row],
        flip=group.flip[:, :judged].reshape(-1),
        affine=group.affine[:, :judged].reshape(-1, 4),
        scores={name: scores[name].reshape(-1) for name in SCORES},
        photos=group.pictures if group.origin == "photo" else none,
        style_pictures=group.pictures if group.origin == "anchor" else none,
        source=GeneratorReference.of(source),
        target=GeneratorReference.of(target),
        blend=blend,
        whole_palette=config.whole_palette,
    )


def _notes(scorers: PairScorers, groups: Sequence[Candidates], stopped: bool) -> list[str]:
    """What was not done, and why."""
    notes = []
    if scorers.target_discriminator is None:
        notes.append("The target generator has no discriminator: `drop_quality` was skipped at levels 1 to 3.")
    if scorers.source_discriminator is None:
        notes.append("The source generator has no discriminator: `drop_quality` was skipped at level 0.")
        if any(group.origin == "anchor" for group in groups):
            notes.append("Without it, `drop_structure` was skipped for anchors too.")
    if scorers.identity is None:
        notes.append("No identity network was given: `min_identity` was not asked for.")
    if stopped:
        notes.append("Stopped early: fewer faces were drawn than asked for.")
    return notes
