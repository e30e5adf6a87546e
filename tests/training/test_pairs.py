"""Pseudo-pairs: made from tiny random generators, judged, kept in a file, drawn again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tiny_networks import make_source, make_styles
from tolerances import GREY_LEVEL, assert_close, rounding, roundings

from facestylist.core.callbacks import Callbacks
from facestylist.latents.sampling import sample_latent, synthesise
from facestylist.models.types import FaceGenerator, FaceLatent
from facestylist.training.pairs import making
from facestylist.training.pairs.candidates import PicturesWithLatents
from facestylist.training.pairs.filters import REASONS, filter_pairs
from facestylist.training.pairs.making import make_pairs
from facestylist.training.pairs.manifest import load_pairs, merge_pairs, save_pairs
from facestylist.training.pairs.preview import describe
from facestylist.training.pairs.renderer import PairRenderer, _matrices, from_bytes, level_generators, move_pictures
from facestylist.training.pairs.scores import SCORES, PictureHashes, duplicate_mask
from facestylist.training.pairs.settings import PairsConfig
from facestylist.training.pairs.types import StylePairs

pytestmark = pytest.mark.usefixtures("global_rng_untouched")

LOOSE = {"min_contrast": 0.0, "max_reconstruction_error": 4.0, "duplicate_bits": -1}
"""Random networks draw flat things that look alike."""


@pytest.fixture(scope="module")
def target(source: FaceGenerator) -> FaceGenerator:
    """Another generator of the same W."""
    other = make_source(seed=1)
    other.generator.mapping.load_state_dict(source.generator.mapping.state_dict())
    other.generator.mean_latent.copy_(source.mean_latent)
    return other.replace(style="test style")


@pytest.fixture(scope="module")
def anchors(source: FaceGenerator) -> PicturesWithLatents:
    return PicturesWithLatents(sample_latent(source, range(100, 103)), make_styles(3, 48))


@pytest.fixture(scope="module")
def photos(source: FaceGenerator) -> PicturesWithLatents:
    latent = sample_latent(source, range(200, 204))
    return PicturesWithLatents(latent, synthesise(source, latent).clamp(-1, 1))


@pytest.fixture(scope="module")
def pairs(
    source: FaceGenerator, target: FaceGenerator, anchors: PicturesWithLatents, photos: PicturesWithLatents
) -> StylePairs:
    return make_pairs(source, target, PairsConfig(count=6, **LOOSE), anchors, photos)


def same(a: StylePairs, b: StylePairs) -> bool:
    tensors = ("w_plus", "level", "origin", "picture", "flip", "affine", "photos", "style_pictures")
    equal = all(torch.equal(getattr(a, name), getattr(b, name)) for name in tensors)
    scores = all(torch.equal(a.scores[n].nan_to_num(-9), b.scores[n].nan_to_num(-9)) for n in SCORES)
    targets = [p.w_plus if p.target_w_plus is None else p.target_w_plus for p in (a, b)]
    return equal and scores and torch.equal(*targets)


def test_the_same_seed_makes_the_same_pairs(
    source: FaceGenerator,
    target: FaceGenerator,
    anchors: PicturesWithLatents,
    photos: PicturesWithLatents,
    pairs: StylePairs,
) -> None:
    again = make_pairs(source, target, PairsConfig(count=6, **LOOSE), anchors, photos)
    assert same(pairs, again)
    other = make_pairs(source, target, PairsConfig(count=6, seed=1, **LOOSE), anchors, photos)
    assert not same(pairs, other)
    with torch.inference_mode():
        inside = make_pairs(source, target, PairsConfig(count=6, **LOOSE), anchors, photos)
    assert same(pairs, inside) and not inside.w_plus.is_inference()


def test_counts_add_up(pairs: StylePairs) -> None:
    for row in pairs.report["rows"]:
        assert row["made"] == sum(row[reason] for reason in REASONS)
        mine = (pairs.level == row["level"]) & (pairs.origin == ("synthetic", "photo", "anchor").index(row["origin"]))
        assert int(mine.sum()) == row["kept"]
        if row["origin"] == "synthetic":
            assert row["kept"] == 6
    assert {row["level"] for row in pairs.report["rows"]} == {0, 1, 2, 3}
    assert sum(row["kept"] for row in pairs.report["rows"]) == len(pairs)
    told = describe(pairs)
    assert "test style" in told and "level 3 anchor" in told and f"{len(pairs)} pairs" in told


def test_a_saved_manifest_draws_the_same_bits(
    source: FaceGenerator, target: FaceGenerator, pairs: StylePairs, tmp_path: Path
) -> None:
    path = save_pairs(pairs, tmp_path / "p.safetensors")
    loaded = load_pairs(path)
    assert same(pairs, loaded)
    assert loaded.report == json.loads(json.dumps(pairs.report)) and loaded.blend == pairs.blend
    for indices in (range(len(pairs)), [5], [3, 20, 1]):
        for a, b in zip(
            PairRenderer(pairs, source, target)(indices), PairRenderer(loaded, source, target)(indices), strict=True
        ):
            assert torch.equal(a, b)
    # Codes that several pairs share are stored once.
    with safe_open(path, "pt") as file:
        assert len(file.get_tensor("w")) < len(pairs) / 2


def test_levels_are_what_they_say(source: FaceGenerator, target: FaceGenerator, pairs: StylePairs) -> None:
    zero = torch.nonzero(pairs.level == 0)[:, 0]
    before, after = PairRenderer(pairs, source, target)(zero)
    assert torch.equal(before, after)

    whole = torch.nonzero((pairs.level == 3) & (pairs.origin == 0))[:, 0]
    before, after = PairRenderer(pairs, source, target)(whole, move=False)
    codes = FaceLatent(pairs.w_plus[whole])
    assert torch.equal(before, synthesise(source, codes))
    assert torch.equal(after, synthesise(target, codes))

    # Each level is further from the source in the coarse features than the one below.
    levels = level_generators(source, target, pairs.blend, False)
    blocks = [dict(enumerate(g.generator.synthesis.each_block())) for g in levels]
    for k, taken in ((1, {32}), (2, {16, 32})):
        for i, block in blocks[k].items():
            like = blocks[3] if block.resolution in taken else blocks[0]
            assert torch.equal(block.conv1.weight, like[i].conv1.weight)
            assert torch.equal(block.to_rgb.weight, like[i].to_rgb.weight)
    coloured = level_generators(source, target, pairs.blend, True)[1].generator.synthesis.each_block()
    assert all(torch.equal(b.to_rgb.weight, blocks[3][i].to_rgb.weight) for i, b in enumerate(coloured))
    assert torch.equal(coloured[0].conv1.weight, blocks[0][0].conv1.weight)


def test_anchors_and_photos_are_the_pictures_themselves(
    source: FaceGenerator, target: FaceGenerator, pairs: StylePairs, photos: PicturesWithLatents
) -> None:
    anchor = torch.nonzero(pairs.origin == 2)[:, 0]
    before, after = PairRenderer(pairs, source, target)(anchor, move=False)
    assert set(pairs.level[anchor].tolist()) == {3}
    assert torch.equal(after, from_bytes(pairs.style_pictures[pairs.picture[anchor]]))
    assert pairs.target_w_plus is not None
    # With 8 codes the first five hold the shape; only the others take random colours.
    first = PairsConfig().appearance_from(source.num_ws)
    assert torch.equal(pairs.w_plus[anchor, :first], pairs.target_w_plus[anchor, :first])
    assert not (pairs.w_plus[anchor] == pairs.target_w_plus[anchor]).all(2).all(1).any()
    photo = torch.nonzero(pairs.origin == 1)[:, 0]
    before, _ = PairRenderer(pairs, source, target)(photo, move=False)
    assert torch.equal(before, from_bytes(pairs.photos[pairs.picture[photo]]))
    # Half a level of -1..1, squared.
    assert pairs.scores["reconstruction_error"][photo].max() < GREY_LEVEL**2
    assert pairs.scores["reconstruction_error"][anchor].isnan().all()


def test_the_first_of_an_anchors_pairs_may_keep_its_colours(
    source: FaceGenerator, target: FaceGenerator, anchors: PicturesWithLatents
) -> None:
    config = PairsConfig(count=0, keep_anchor_colours=True, **LOOSE, drop_structure=0)
    made = make_pairs(source, target, config, anchors)
    assert made.target_w_plus is not None
    kept = (made.w_plus == made.target_w_plus).all(2).all(1)
    assert kept.tolist() == [True, False, False, False] * 3


def test_both_sides_move_alike(source: FaceGenerator, target: FaceGenerator, pairs: StylePairs) -> None:
    everything = torch.arange(len(pairs))
    still, moved = (PairRenderer(pairs, source, target)(everything, move=move) for move in (False, True))
    for a, b in zip(still, moved, strict=True):
        assert torch.equal(move_pictures(a, pairs, everything), b)
    mirrored = torch.nonzero(pairs.flip & (pairs.affine[:, 1] == 1.0))[:, 0]
    assert len(mirrored) and torch.equal(moved[1][mirrored], still[1][mirrored].flip(3))
    resting = torch.nonzero(~pairs.flip & (pairs.affine[:, 1] == 1.0))[:, 0]
    assert len(resting) and torch.equal(moved[0][resting], still[0][resting])


def test_moved_pictures_show_no_border(source: FaceGenerator, target: FaceGenerator) -> None:
    config = PairsConfig(count=40, levels="0", affine_prob=1.0, max_rotation=45.0, max_shift=0.2, **LOOSE)
    made = make_pairs(source, target, config)
    corners = torch.tensor([[-1.0, -1, 1], [1, -1, 1], [-1, 1, 1], [1, 1, 1]]).t()
    reach = (_matrices(made.affine) @ corners).abs().amax((1, 2))
    assert float(reach.max()) <= 1.0 + rounding(8) and float(reach.max()) > 0.9
    assert float(made.affine[:, 0].abs().max()) > 30


def test_a_shift_goes_right_and_down_and_a_scale_enlarges(pairs: StylePairs) -> None:
    picture = torch.full((1, 3, 32, 32), -1.0)
    picture[:, :, 8:12, 8:12] = 1.0

    def moved(*affine: float) -> torch.Tensor:
        one = pairs.select(torch.tensor([0])).replace(flip=torch.tensor([False]), affine=torch.tensor([affine]))
        return move_pictures(picture, one, [0])

    shifted = moved(0.0, 1.0, 0.25, 0.125)
    # Places among 32 pixels are rounded; a step from pixel to pixel is 2 at most.
    assert_close(shifted[:, :, 12:16, 16:20], torch.ones(1, 3, 4, 4), 8, 32 * 2)
    assert float(shifted[:, :, 6:10, 6:10].mean()) < -0.9
    assert float((moved(0.0, 1.5, 0.0, 0.0) > 0).sum()) > 1.5 * float((picture > 0).sum())
    # Turning by 90 degrees clockwise brings the top left to the top right.
    assert float(moved(90.0, 1.0, 0.0, 0.0)[:, :, 8:12, 20:24].mean()) > 0.9


def test_other_generators_are_refused(source: FaceGenerator, target: FaceGenerator, pairs: StylePairs) -> None:
    with pytest.raises(ValueError, match="another target generator"):
        PairRenderer(pairs, source, source)([0])
    with pytest.raises(ValueError, match="another source generator"):
        PairRenderer(pairs, make_source(seed=3), target)([0])
    with pytest.raises(ValueError, match="mapping networks differ"):
        make_pairs(source, make_source(seed=3), PairsConfig(count=1))


def test_selecting_takes_the_pictures_along(source: FaceGenerator, target: FaceGenerator, pairs: StylePairs) -> None:
    wanted = torch.nonzero(pairs.origin > 0)[:, 0].flip(0)[:3]
    few = pairs.select(wanted)
    assert len(few) == 3 and len(few.style_pictures) + len(few.photos) <= 3
    for a, b in zip(
        PairRenderer(few, source, target)(range(3)), PairRenderer(pairs, source, target)(wanted), strict=True
    ):
        assert torch.equal(a, b)
    assert len(pairs.select(pairs.level == 2)) == int((pairs.level == 2).sum())
    with pytest.raises(ValueError, match="mask"):
        pairs.select(torch.ones(2, dtype=torch.bool))


def test_without_discriminators_their_filter_is_skipped_and_told(
    source: FaceGenerator, target: FaceGenerator, anchors: PicturesWithLatents
) -> None:
    bare = target.replace(discriminator=None)
    made = make_pairs(source, bare, PairsConfig(count=5, **LOOSE), anchors)
    assert made.scores["quality"][made.level > 0].isnan().all()
    assert not made.scores["quality"][made.level == 0].isnan().any()
    assert any("target generator has no discriminator" in note for note in made.report["notes"])
    assert all(row["quality"] == 0 for row in made.report["rows"] if row["level"] > 0)
    assert all(row["kept"] == 5 for row in made.report["rows"] if row["origin"] == "synthetic")
    without = make_pairs(source.replace(discriminator=None), bare, PairsConfig(count=5, **LOOSE), anchors)
    assert any("source generator has no discriminator" in note for note in without.report["notes"])
    assert without.scores["structure"][without.origin == 2].isnan().all()


def scores_of(count: int, **given: list[float]) -> dict[str, torch.Tensor]:
    unknown = torch.full((count,), float("nan"))
    return {name: torch.tensor(given[name]) if name in given else unknown for name in SCORES}


def test_each_filter_drops_what_it_is_for() -> None:
    level, origin, new = torch.full((5,), 3), torch.zeros(5, dtype=torch.long), torch.zeros(5, dtype=torch.bool)
    config = PairsConfig(drop_quality=0.4, drop_structure=0.4, count=10)

    def reasons(config: PairsConfig = config, level: torch.Tensor = level, **given: list[float]) -> list[str]:
        verdict = filter_pairs(level, origin, scores_of(5, **given), new, config)
        return [REASONS[i] for i in verdict.tolist()]

    k = "kept"
    assert reasons() == [k] * 5
    assert reasons(quality=[0.0, 3, -1, 2, 5]) == ["quality", k, "quality", k, k]
    assert reasons(structure=[0.0, 3, -1, 2, 5]) == [k, "structure", k, k, "structure"]
    # Where all are equal none is worse, as at levels 0 and 1.
    assert reasons(structure=[0.0] * 5) == [k] * 5
    assert reasons(saturation=[0.1, 0.7, 0, 0, 0]) == [k, "saturated", k, k, k]
    assert reasons(contrast=[0.1, 0.01, 1, 1, 1]) == [k, "flat", k, k, k]
    assert reasons(reconstruction_error=[0.1, 0.01, 0, 0, 0]) == ["reconstruction", k, k, k, k]
    likeness = [0.5, 0.35, 0.25, 0.1, 0.9]
    for number, kept in ((0, 5), (1, 2), (2, 3), (3, 4)):
        assert reasons(level=torch.full((5,), number), identity=likeness).count(k) == kept
    # The first filter that objects is the one that counts, and the shares are of what it left.
    both = reasons(contrast=[0.0, 0.0, 0, 1, 1], quality=[9.0, 9, 9, 1, 2])
    assert both == ["flat", "flat", "flat", k, k]
    assert reasons(PairsConfig(count=2)) == [k, k, "surplus", "surplus", "surplus"]
    again = filter_pairs(level, origin, scores_of(5), torch.tensor([False, True, False, False, False]), config)
    assert REASONS[int(again[1])] == "duplicate"


@pytest.mark.parametrize("origin,level,dropped", [(2, 3, 0), (1, 0, 0), (1, 3, 1)])
def test_true_pictures_are_not_questioned_by_the_discriminator_nor_trimmed(
    origin: int, level: int, dropped: int
) -> None:
    quality = scores_of(5, quality=[1.0, 2, 3, 4, 5])
    levels, origins, new = torch.full((5,), level), torch.full((5,), origin), torch.zeros(5, dtype=torch.bool)
    assert int((filter_pairs(levels, origins, quality, new, PairsConfig(count=1)) > 0).sum()) == dropped


def test_a_repeated_face_is_found_once() -> None:
    pictures = make_styles(6)
    pictures[3] = pictures[1] + 0.01
    pictures[5] = pictures[1]
    other = pictures[2].clone()
    other[0] += 0.5
    pictures[4] = other
    assert duplicate_mask(PictureHashes.of(pictures), 4).tolist() == [False, False, False, True, False, True]
    assert not duplicate_mask(PictureHashes.of(pictures), -1).any()


def test_style_pictures_that_repeat_are_dropped_with_all_variants(
    source: FaceGenerator, target: FaceGenerator, anchors: PicturesWithLatents
) -> None:
    twice = PicturesWithLatents(anchors.latent, anchors.pictures[[0, 1, 0]])
    config = PairsConfig(count=0, **{**LOOSE, "duplicate_bits": 4, "anchor_variants": 3, "drop_structure": 0.0})
    made = make_pairs(source, target, config, twice)
    assert made.report["rows"][0] | {"made": 9, "duplicate": 3, "kept": 6} == made.report["rows"][0]
    assert len(made.style_pictures) == 2


def test_interrupted_it_passes_the_interrupt_on_and_asked_to_stop_it_keeps_what_it_has(
    source: FaceGenerator, target: FaceGenerator
) -> None:
    def interrupt(done: int, total: int, losses: dict[str, float]) -> None:
        if done >= 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_pairs(source, target, PairsConfig(count=20, **LOOSE), callbacks=Callbacks(on_progress=interrupt))
    asked: list[int] = []
    seen: list[tuple[int, int]] = []
    previews: list[torch.Tensor] = []
    callbacks = Callbacks(
        on_progress=lambda done, total, _: seen.append((done, total)),
        on_preview=lambda _, picture: previews.append(picture),
        should_stop=lambda: asked.append(1) or len(asked) == 2,
    )
    made = make_pairs(source, target, PairsConfig(count=20, **LOOSE), callbacks=callbacks)
    assert seen == [(8, 32), (16, 32)]
    assert previews[0].shape == (3, 5 * 32, 6 * 32) and 0 <= previews[0].min() <= previews[0].max() <= 1
    assert made.report["rows"][0]["made"] == 16 and any("Stopped early" in note for note in made.report["notes"])


def test_impossible_settings_and_faces_are_refused(
    source: FaceGenerator, target: FaceGenerator, anchors: PicturesWithLatents, photos: PicturesWithLatents
) -> None:
    with pytest.raises(ValueError, match="swap them"):
        PairsConfig(truncation_min=0.9)
    for levels in ("", "4", "0-3", "a"):
        with pytest.raises(ValueError, match="write some of 0, 1, 2 and 3"):
            PairsConfig(levels=levels)
    assert PairsConfig(levels="3, 1").chosen_levels == (1, 3)
    with pytest.raises(ValueError, match="No pairs would be made"):
        make_pairs(source, target, PairsConfig(count=0))
    with pytest.raises(ValueError, match="level 3"):
        make_pairs(source, target, PairsConfig(count=0, levels="1"), anchors)
    with pytest.raises(ValueError, match="one for each is needed"):
        make_pairs(source, target, PairsConfig(), photos=PicturesWithLatents(photos.latent, photos.pictures[:2]))
    with pytest.raises(ValueError, match="belong to another generator"):
        make_pairs(
            source,
            target,
            PairsConfig(),
            photos=PicturesWithLatents(photos.latent.replace(w_space="other"), photos.pictures),
        )
    with pytest.raises(ValueError, match="dropped all"):
        make_pairs(source, target, PairsConfig(count=2, min_contrast=1.0))


def test_parts_of_a_run_are_read_as_one(
    source: FaceGenerator, target: FaceGenerator, pairs: StylePairs, tmp_path: Path
) -> None:
    halves = [pairs.select(torch.arange(len(pairs)) % 2 == i) for i in range(2)]
    for i, half in enumerate(halves):
        save_pairs(half, tmp_path / f"p-0000{i}-of-00002.safetensors")
    whole = load_pairs(tmp_path / "p.safetensors")
    assert len(whole) == len(pairs)
    for a, b in zip(
        PairRenderer(whole, source, target)(range(len(whole))),
        zip(*(PairRenderer(half, source, target)(range(len(half))) for half in halves), strict=True),
        strict=True,
    ):
        assert_close(a, torch.cat(b), roundings(source.generator))
    assert whole.report["rows"][0]["made"] == 2 * pairs.report["rows"][0]["made"]
    (tmp_path / "p-00000-of-00002.safetensors").unlink()
    with pytest.raises(ValueError, match="not all of one run"):
        load_pairs(tmp_path / "p.safetensors")
    with pytest.raises(ValueError, match="different generators"):
        merge_pairs([halves[0], halves[1].replace(whole_palette=False)])


def test_wrong_files_are_refused_with_a_sentence(pairs: StylePairs, tmp_path: Path) -> None:
    path = save_pairs(pairs, tmp_path / "p.safetensors")
    with safe_open(path, "pt") as file:
        good = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        metadata = file.metadata()
    bad = tmp_path / "bad.safetensors"

    def refused(match: str, meta: dict[str, str] | None = None, **changes: torch.Tensor | None) -> None:
        tensors = {k: v.contiguous() for k, v in {**good, **changes}.items() if v is not None}
        save_file(tensors, bad, meta or metadata)
        with pytest.raises(ValueError, match=match):
            load_pairs(bad)

    refused("no file of pseudo-pairs", {"format": "other"})
    refused("not a set of pseudo-pairs", metadata | {"kind": "set of latents"})
    refused("Update the node pack", metadata | {"format_version": "9"})
    refused("incomplete or damaged", metadata | {"manifest": "{"})
    refused("incomplete or damaged", code=None)
    refused("out of range", code=good["code"] + 10_000)
    refused("out of range", level=good["level"] + 3)
    refused("not there", picture=good["picture"] * 0)
    refused("wrong shape", affine=good["affine"][:, :2])
    refused("impossible", affine=good["affine"] * 0)
    refused("not finite", w=good["w"] * torch.nan)
    refused("no pictures of 32 px", photos=good["photos"][:, :, :8])
    bad.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="bad.safetensors"):
        load_pairs(bad)
    with pytest.raises(ValueError, match="There is no file"):
        load_pairs(tmp_path / "none.safetensors")
    with pytest.raises(ValueError, match="saved as .safetensors"):
        save_pairs(pairs, tmp_path / "p.pt")
    with pytest.raises(ValueError, match="no pairs to save"):
        save_pairs(pairs.select(torch.zeros(0, dtype=torch.long)), tmp_path / "empty.safetensors")


def test_saving_leaves_nothing_half_written(pairs: StylePairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    path = save_pairs(pairs, tmp_path / "p.safetensors")
    before = path.read_bytes()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_pairs(pairs.select(torch.tensor([0])), path)
    assert [file.name for file in tmp_path.iterdir()] == ["p.safetensors"] and path.read_bytes() == before


def test_making_draws_no_picture_twice(
    source: FaceGenerator, target: FaceGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    original = making._draw

    def counting(generator: FaceGenerator, codes: torch.Tensor) -> object:
        drawn.append(len(codes))
        return original(generator, codes)

    monkeypatch.setattr(making, "_draw", counting)
    make_pairs(source, target, PairsConfig(count=5, drop_quality=0.0, drop_structure=0.0, **LOOSE))
    assert sum(drawn) == 4 * 5
