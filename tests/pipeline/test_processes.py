"""Several processes of one launcher: shards of the work, names of files, devices."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tolerances import assert_close

from facestylist.cli.main import main
from facestylist.pipeline.processes import Shard, current_shard, device_of_rank, require_one_process


def test_the_shards_are_all_of_it_and_disjoint() -> None:
    items = list(range(11))
    shards = [current_shard({"RANK": str(rank), "WORLD_SIZE": "3"}) for rank in range(3)]
    assert sorted(item for shard in shards for item in shard.of(items)) == items
    assert [len(shard.of(torch.arange(11))) for shard in shards] == [4, 4, 3]
    assert current_shard({}) == Shard(0, 1) and current_shard({}).of(items) == items
    assert Shard().path_of_rank(Path("a/b.json")) == Path("a/b.json")
    assert shards[1].path_of_rank(Path("a/b.json")) == Path("a/b-00001-of-00003.json")
    assert Shard().as_json() == {} and shards[2].as_json() == {"rank": 2, "world_size": 3}


@pytest.mark.parametrize("rank,world", [("3", "3"), ("-1", "2"), ("x", "2"), ("0", "0")])
def test_nonsense_from_a_launcher_is_told(rank: str, world: str) -> None:
    with pytest.raises(ValueError, match="RANK is"):
        current_shard({"RANK": rank, "WORLD_SIZE": world})


def test_each_process_has_its_graphics_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert device_of_rank("auto", {"LOCAL_RANK": "6"}) == "cuda:2"
    assert (
        device_of_rank("cuda:1", {"LOCAL_RANK": "6"}) == "cuda:1"
        and device_of_rank("cpu", {"LOCAL_RANK": "1"}) == "cpu"
    )
    assert device_of_rank("auto", {}) == "auto"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of_rank("auto", {"LOCAL_RANK": "1"}) == "auto"


def test_rendering_in_two_processes_draws_what_one_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["render", "--count", "3", "--size", "32", "--seed", "4", "--out"]
    assert main([*arguments, str(tmp_path / "one")]) == 0
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        assert main([*arguments, str(tmp_path / "two")]) == 0
    names = sorted(path.name for path in (tmp_path / "one").glob("*.png"))
    assert names == sorted(path.name for path in (tmp_path / "two").glob("*.png")) and len(names) == 3
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    faces = []
    for rank in range(2):
        text = (tmp_path / "two" / f"landmarks-0000{rank}-of-00002.json").read_text()
        faces += json.loads(text)["faces"]
    whole = json.loads((tmp_path / "one" / "landmarks.json").read_text())["faces"]
    by_name = sorted(faces, key=lambda face: face["image"])
    assert [face["image"] for face in by_name] == [face["image"] for face in whole]
    for a, b in zip(by_name, whole, strict=True):
        assert_close(a["landmarks"], b["landmarks"], 16)


def test_a_training_of_one_process_refuses_a_launcher(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    require_one_process("train-detector", {})
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["train-detector", "--out", "x.safetensors"]) == 1
    assert "train-detector trains in one process, and the launcher started 2" in capsys.readouterr().err
