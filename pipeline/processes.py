"""A shard of the work for each process of a launcher: `torchrun`, `accelerate launch`, or anything that sets RANK.

    torchrun --nproc-per-node 4 -m facestylist stylise photos/*.jpg --style cartoon --out out

Each process takes every WORLD_SIZE-th input, beginning with its RANK. Names of results do not depend on the number of
processes, and files that belong to all of the inputs carry the shard in their name: `landmarks-00001-of-00004.json`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from ..training.kit.distributed import Processes

Items = TypeVar("Items")
"""A list, a range or a tensor."""


@dataclass(frozen=True)
class Shard:
    """What is a process's to do; rank 0 of 1 does all of it."""

    rank: int = 0
    world_size: int = 1

    def of(self, items: Items) -> Items:
        """Those of a sequence, or rows of a tensor, that are this process's."""
        return items[self.rank :: self.world_size]  # type: ignore[index]

    def path_of_rank(self, path: Path) -> Path:
        """Where this process writes what one process alone would write to `path`."""
        if self.world_size == 1:
            return path
        return path.with_name(f"{path.stem}-{self.rank:05}-of-{self.world_size:05}{path.suffix}")

    def as_json(self) -> dict[str, Any]:
        """What a JSON result says of the shard; nothing where there is one process."""
        return {} if self.world_size == 1 else {"rank": self.rank, "world_size": self.world_size}


def current_shard(environment: Mapping[str, str] | None = None) -> Shard:
    """The shard that the launcher gave this process by RANK and WORLD_SIZE.

    Raises:
        ValueError: the two do not make sense.
    """
    env = os.environ if environment is None else environment
    rank, world_size = env.get("RANK", "0"), env.get("WORLD_SIZE", "1")
    if not (rank.isdecimal() and world_size.isdecimal() and int(rank) < int(world_size)):
        raise ValueError(
            f"RANK is {rank!r} and WORLD_SIZE {world_size!r}: a launcher sets them so that RANK is below WORLD_SIZE. "
            "Unset both to run one process."
        )
    return Shard(int(rank), int(world_size))


def require_one_process(what: str, environment: Mapping[str, str] | None = None) -> None:
    """Raises ValueError with a sentence under a launcher of several processes, for what only one can do."""
    count = current_shard(environment).world_size
    if count > 1:
        raise ValueError(
            f"{what} trains in one process, and the launcher started {count}, which would all write the same files. "
            "Start it without a launcher. finetune, train-base, train-encoder, train-pairs and train-stylizer run on "
            "several."
        )


def training_processes() -> Processes:
    """The processes that train one network together, on the devices that `--device` names; one without a launcher."""
    from ..runtime.devices import pick_device
    from ..training.kit.distributed import launch

    return launch(pick_device().type)


def device_of_rank(device: str, environment: Mapping[str, str] | None = None) -> str:
    """The device of this process: for `auto` under a launcher, the graphics card that LOCAL_RANK counts to."""
    env = os.environ if environment is None else environment
    local = env.get("LOCAL_RANK", "")
    if device not in ("auto", "cuda") or not local.isdecimal():
        return device
    import torch

    return f"cuda:{int(local) % torch.cuda.device_count()}" if torch.cuda.is_available() else device
